"""Pairs of scalars: posterior draws, likelihood regions and Wald ellipses."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_stats import kde

from mle_pp.compare import SAMPLE_DIMS
from mle_pp.conventions import probability
from mle_pp.errors import ProfileWarning
from mle_pp.intervals.regions import Region, region
from mle_pp.plots.dist import GRID, profile_densities
from mle_pp.plots.panels import (
    BLACK,
    COLORS,
    CROSS,
    DASHED,
    DOTTED,
    NAMES,
    SOLID,
    add_caution,
    backend_of,
    chosen_aes,
    flat,
    ignored,
    layout,
    options,
    put,
    refuse_unknown,
    set_aesthetic,
    styled,
)
from mle_pp.plots.sides import Sides, both_sides
from mle_pp.verdict import Status

if TYPE_CHECKING:
    from arviz_plots import PlotMatrix

    from mle_pp.estimate import Estimate

VISUALS = ("scatter", "region", "ellipse", "estimate", "dist", "profile", "xlabel", "ylabel", "legend", "caution")
SIDES = ["posterior", "likelihood", "wald"]
LOOKS = {"color": [COLORS[1], COLORS[0], BLACK], "linestyle": [DASHED, SOLID, DOTTED]}
# More draws than this look the same, and make files large
_MOST = 2000


def plot_pair(
    est: Estimate,
    idata: Any,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
    ci_probs: Sequence[float] = (0.5, 0.95),
    plot_matrix: PlotMatrix | None = None,
    backend: str | None = None,
    labeller: Any = None,
    aes_by_visuals: Mapping[str, Sequence[str]] | None = None,
    visuals: Mapping[str, Any] | None = None,
    stats: Mapping[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotMatrix:
    """Scalars against each other: posterior draws, likelihood regions and Wald ellipses; profiles on the diagonal.

    Parameters
    ----------
    est : Estimate
    idata : DataTree
        With a group ``posterior`` of the same model and data.
    var_names, filter_vars
        As for `compare`.
    coords : mapping, optional
        A choice of coordinates.
    ci_probs : sequence of float
        Of the regions and of the ellipses.
    plot_matrix : PlotMatrix, optional
        With panels for the same scalars.
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    labeller : labeller, optional
    aes_by_visuals : mapping, optional
        For ``scatter`` and ``dist``. Default: they follow all aesthetics, of which there are none unless asked for, as
        by ``aes={"color": ["chain"]}``.
    visuals : mapping of str to (mapping or False), optional
        Options of what is drawn, or False to leave it out: ``scatter`` (2,000 draws at most), ``region``,
        ``ellipse``, ``estimate``, and on the diagonal ``dist`` (the posterior's density) and ``profile``; ``xlabel``,
        ``ylabel``, ``legend``, ``caution`` (on what speaks against the posterior or the estimate).
    stats : mapping, optional
        ``dist``: options of the posterior's density, as in `arviz_plots.plot_pair`, or densities of one's own;
        ``profile``: curves of one's own.
    **pc_kwargs
        Passed to `arviz_plots.PlotMatrix`: ``aes``, ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotMatrix

    Warns
    -----
    UserWarning
        As `compare`: the data could not be checked, or the posterior is not to be believed.
    ProfileWarning
        Pairs have no likelihood region; it says which, and why. An estimate that was read without its model has none.

    Raises
    ------
    ModelError
        There is no posterior, or it is one of another model or of other data.

    Notes
    -----
    Regions are those of `mle_pp.region`, ellipses those of the normal approximation on the user's scale, both with χ²
    of two degrees of freedom. On the diagonal are the posterior's density and the profile likelihood with the area 1.
    Posterior modes and penalized estimates have no regions and profiles, only ellipses. Each pair takes some hundred
    maximizations: choose a few variables.

    Examples
    --------
    >>> import arviz as az
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> y = np.array([1.0, 2.0, 3.0, 6.0])
    >>> with pm.Model() as model:
    ...     mu, sigma = pm.Normal("mu", 0, 5), pm.HalfNormal("sigma", 5)
    ...     _ = pm.Normal("y", mu, sigma, observed=y)
    >>> rng = np.random.default_rng(0)
    >>> draws = {"mu": rng.normal(3, 1, size=(4, 250)), "sigma": rng.lognormal(0.7, 0.4, size=(4, 250))}
    >>> idata = az.from_dict({"posterior": draws, "observed_data": {"y": y}})
    >>> pm_ = mle.plot_pair(mle.find_MLE(model), idata, backend="none")
    >>> sorted(pm_.viz["plot"].sizes.items())
    [('col_index', 2), ('row_index', 2)]
    """
    # Half a second, which a session without figures need not wait for
    from arviz_base.labels import BaseLabeller
    from arviz_plots import PlotMatrix
    from arviz_plots import visuals as draw

    look = options(visuals, VISUALS)
    refuse_unknown("stats", stats, ("dist", "profile"))
    own = {"dist": {}, "profile": {}, **(stats or {})}
    sides = both_sides(est, idata, var_names, filter_vars, coords, None)
    probs = [probability(prob) for prob in ci_probs]
    labels, posterior = sides.scalars, sides.posterior
    number = len(flat(labels))
    if number < 2:
        raise ValueError(f"A pair needs two scalars, and {', '.join(flat(labels)) or 'none'} is chosen.")
    if plot_matrix is None:
        pc_kwargs = layout(pc_kwargs, backend, (max(230 * number, 500), max(200 * number, 420)))
        pc_kwargs["figure_kwargs"].setdefault("sharex", "col")
        pc_kwargs.setdefault("facet_dims", ["__variable__", *labels.dims])
        matrix = PlotMatrix(posterior, **pc_kwargs)
    else:
        matrix = plot_matrix
    has_likelihood = est.kind == "mle" and est.verdict.status is not Status.IRREGULAR
    follows = chosen_aes(aes_by_visuals, {"scatter": matrix.aes_set, "dist": matrix.aes_set})
    shown = [side for side in SIDES if side != "likelihood" or has_likelihood]
    styles = {side: {key: values[k] for key, values in LOOKS.items()} for k, side in enumerate(SIDES)}
    everywhere = {"ignore_aes": set(matrix.aes_set)}
    below = {"triangle": "lower", **everywhere}

    if look["scatter"] is not False:
        step = -(-posterior.sizes["chain"] * posterior.sizes["draw"] // _MOST)
        ignore, rest = _apart(matrix, follows["scatter"])
        draws = posterior.isel(draw=slice(None, None, step)).stack(sample=rest).reset_index("sample", drop=True)
        dots = {"color": COLORS[1], "alpha": 0.25, "size": 3 if matrix.backend == "bokeh" else 9, "width": 0}
        dots = {**styled(dots, follows["scatter"]), **look["scatter"]}
        matrix.map_triangle(draw.scatter_couple, "scatter", data=draws, **{**below, "ignore_aes": ignore}, **dots)
    outlines = _Outlines(sides)
    for visual, side, find in (("region", "likelihood", outlines.region), ("ellipse", "wald", outlines.ellipse)):
        for prob in probs if side in shown and look[visual] is not False else ():
            style = {**styles[side], **look[visual]}
            matrix.map_triangle(_outline(find, prob), f"{visual}_{prob:g}", data=labels, **below, **style)
    if look["estimate"] is not False:
        cross = {"color": BLACK, "marker": CROSS, "size": 8 if matrix.backend == "bokeh" else 40, **look["estimate"]}
        matrix.map_triangle(draw.scatter_couple, "estimate", data=sides.point.isel(model=0), **below, **cross)
    ignore, rest = _apart(matrix, follows["dist"])
    density = own["dist"]
    if not isinstance(density, xr.Dataset):
        density = kde(posterior, dim=rest, **{"grid_len": GRID, **density})
    style = styled(styles["posterior"], follows["dist"])
    put(matrix, look["dist"], "dist", draw.line_xy, density, ignore_aes=ignore, **style)
    if look["profile"] is not False and has_likelihood:
        curves = own["profile"] if isinstance(own["profile"], xr.Dataset) else profile_densities(sides)
        put(matrix, look["profile"], "profile", draw.line_xy, curves, **everywhere, **styles["likelihood"])
    _finish(matrix, labels, labeller or BaseLabeller(), look)
    if look["legend"] is not False:
        names = {"posterior": "posterior", "likelihood": "likelihood", "wald": f"{NAMES[est.kind]}, Wald"}
        title = f"regions: {' and '.join(f'{100 * prob:g} %' for prob in probs)}"
        _add_legend(matrix, {names[side]: styles[side] for side in shown}, title, look["legend"])
    add_caution(matrix, sides.caution, look["caution"])
    if outlines.notes:
        warnings.warn(" ".join(outlines.notes), ProfileWarning, stacklevel=2)
    return matrix


def _apart(matrix: PlotMatrix, follows: Sequence[str]) -> tuple[set[str], list[str]]:
    """The aesthetics that a visual does not follow, and the dims of the draws that none tells apart."""
    ignore = ignored(matrix, follows)
    _, loops = matrix.update_aes(ignore)
    return ignore, [dim for dim in SAMPLE_DIMS if dim not in loops]


def _add_legend(matrix: PlotMatrix, styles: Mapping[str, Any], title: str, look: Mapping[str, Any]) -> None:
    """Which line is which, in the empty corner, once; as a collection of its own, that leaves the user's aesthetics."""
    from arviz_plots import PlotCollection

    if "legend" in matrix.viz.children:
        return
    sides = PlotCollection(xr.Dataset(), matrix.viz, backend=matrix.backend)
    for key in LOOKS:
        set_aesthetic(sides, "side", key, list(styles), [style[key] for style in styles.values()])
    if matrix.backend == "plotly":
        set_aesthetic(sides, "side", "legendgroup", list(styles), list(styles))
    places: dict[str, dict[str, Any]] = {
        "matplotlib": {"loc": "upper right"},
        "bokeh": {"side": "center"},
        "plotly": {"legend": {"x": 1, "y": 1, "xanchor": "right"}},
    }
    sides.add_legend("side", **{"title": title, "aes": list(LOOKS), **places.get(matrix.backend, {}), **look})


def _finish(matrix: PlotMatrix, labels: xr.Dataset, labeller: Any, look: Mapping[str, Any]) -> None:
    """Names below and at the left, and no axes in the empty half."""
    from arviz_plots import visuals as draw

    named = {"ignore_aes": set(matrix.aes_set), "subset_info": True, "labeller": labeller}
    if look["xlabel"] is not False:
        matrix.map_row(draw.labelled_x, "xlabel", index=-1, data=labels, **named, **look["xlabel"])
    if look["ylabel"] is not False:
        matrix.map_col(draw.labelled_y, "ylabel", index=0, data=labels, **named, **look["ylabel"])
        backend_of(matrix).ylabel("density", matrix.iget_target(0, 0), **look["ylabel"])
    quiet = {"data": labels, "ignore_aes": set(matrix.aes_set), "store_artist": False}
    matrix.map_triangle(draw.remove_matrix_axis, "remove_axis", triangle="upper", axis="both", **quiet)


def _outline(find: Any, prob: float) -> Any:
    """A visual that draws the outline of two labelled scalars."""
    from arviz_plots.plot_collection import backend_from_object

    def visual(da_x: xr.DataArray, da_y: xr.DataArray, target: Any, **look: Any) -> Any:
        points = find(str(da_x.item()), str(da_y.item()), prob)
        return None if points is None else backend_from_object(target).line(*points, target, **look)

    return visual


class _Outlines:
    """Regions and ellipses of labelled scalars, and why some have none."""

    def __init__(self, sides: Sides) -> None:
        self._est = est = sides.est
        self.notes: list[str] = []
        labels = [*est._layout.labels, *est._derived_layout.labels]
        values = est._layout.vector(est.params), est._derived_layout.vector(est.derived)
        self._values = dict(zip(labels, np.concatenate(values), strict=True))
        slopes = np.concatenate([est._scales.jacobian, est._scales.derived_jacobian])
        withheld = np.concatenate([est._scales.withheld, est._scales.withheld_derived])
        self._slopes = dict(zip(labels, np.where(withheld[:, None], np.nan, slopes), strict=True))
        self._covariance = est.cov(scale="unconstrained").values
        ends = [getattr(sides.posterior, end)(SAMPLE_DIMS) for end in ("min", "max")]
        self._reach = {
            str(label): (low, high)
            for name, array in sides.scalars.items()
            for label, low, high in zip(np.ravel(array), *(np.ravel(end[name]) for end in ends), strict=True)
        }

    def region(self, x: str, y: str, prob: float) -> np.ndarray | None:
        """The boundary of the likelihood region, shape (2, points); open ones as far as the posterior reaches."""
        try:
            found = region(self._est, x, y, ci_prob=prob, points=40)
        except ValueError as error:
            if str(error) not in self.notes:
                self.notes.append(str(error))
            return None
        points = np.stack([found.x, found.y])
        return points if found.is_closed else self._within_reach(found, points)

    def _within_reach(self, found: Region, points: np.ndarray) -> np.ndarray:
        low, high = np.array([self._reach[label] for label in found.labels]).T[..., None]
        room = high - low
        inside = np.all((points >= low - room) & (points <= high + room), axis=0)
        return np.where(inside, points, np.nan)

    def ellipse(self, x: str, y: str, prob: float) -> np.ndarray | None:
        """The ellipse of the normal approximation, shape (2, points); None where a scalar has no standard error."""
        slopes = np.stack([self._slopes[x], self._slopes[y]])
        spread = slopes @ self._covariance @ slopes.T
        center = np.array([self._values[x], self._values[y]])
        if not np.all(np.isfinite(spread)) or not np.all(np.isfinite(center)):
            return None
        angle = np.linspace(0, 2 * np.pi, 101)
        values, vectors = np.linalg.eigh(spread)
        axes = vectors * np.sqrt(np.maximum(values, 0))
        return center[:, None] + np.sqrt(-2 * np.log1p(-prob)) * axes @ np.stack([np.cos(angle), np.sin(angle)])
