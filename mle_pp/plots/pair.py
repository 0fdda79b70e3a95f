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
    flat,
    layout,
    options,
    set_aesthetic,
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
    visuals: Mapping[str, Any] | None = None,
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
    visuals : mapping of str to (mapping or False), optional
        Options of what is drawn, or False to leave it out: ``scatter`` (2,000 draws at most), ``region``,
        ``ellipse``, ``estimate``, and on the diagonal ``dist`` (the posterior's density) and ``profile``; ``xlabel``,
        ``ylabel``, ``legend``, ``caution`` (on what speaks against the posterior or the estimate).
    **pc_kwargs
        Passed to `arviz_plots.PlotMatrix`: ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotMatrix

    Warns
    -----
    UserWarning
        As `compare`: the data could not be checked, or the posterior is not to be believed.
    ProfileWarning
        Pairs have no likelihood region; it says which, and why.

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
    name = NAMES[est.kind]
    names = {"posterior": "posterior", "likelihood": "likelihood", "wald": f"{name}, Wald"}
    shown = [side for side in SIDES if side != "likelihood" or has_likelihood]
    for key, values in LOOKS.items():
        mine = [value for side, value in zip(SIDES, values, strict=True) if side in shown]
        set_aesthetic(matrix, "side", key, [names[side] for side in shown], mine)
    if matrix.backend == "plotly":
        set_aesthetic(matrix, "side", "legendgroup", [names[side] for side in shown], [names[side] for side in shown])
    styles = {side: {key: values[k] for key, values in LOOKS.items()} for k, side in enumerate(SIDES)}
    everywhere = {"ignore_aes": set(matrix.aes_set)}

    if look["scatter"] is not False:
        step = -(-posterior.sizes["chain"] * posterior.sizes["draw"] // _MOST)
        draws = (
            posterior.stack(sample=SAMPLE_DIMS).isel(sample=slice(None, None, step)).reset_index("sample", drop=True)
        )
        dots = {"color": COLORS[1], "alpha": 0.25, "size": 3 if matrix.backend == "bokeh" else 9, "width": 0}
        matrix.map_triangle(
            draw.scatter_couple, "scatter", triangle="lower", data=draws, **everywhere, **{**dots, **look["scatter"]}
        )
    outlines = _Outlines(sides)
    if look["region"] is not False and has_likelihood:
        for prob in probs:
            style = {**styles["likelihood"], **look["region"]}
            matrix.map_triangle(
                _outline(outlines.region, prob),
                f"region_{prob:g}",
                triangle="lower",
                data=labels,
                **everywhere,
                **style,
            )
    if look["ellipse"] is not False:
        for prob in probs:
            style = {**styles["wald"], **look["ellipse"]}
            matrix.map_triangle(
                _outline(outlines.ellipse, prob),
                f"ellipse_{prob:g}",
                triangle="lower",
                data=labels,
                **everywhere,
                **style,
            )
    if look["estimate"] is not False:
        cross = {"color": BLACK, "marker": CROSS, "size": 8 if matrix.backend == "bokeh" else 40, **look["estimate"]}
        matrix.map_triangle(
            draw.scatter_couple, "estimate", triangle="lower", data=sides.point.isel(model=0), **everywhere, **cross
        )
    if look["dist"] is not False:
        density = kde(posterior, dim=list(SAMPLE_DIMS), grid_len=GRID)
        matrix.map(draw.line_xy, "dist", data=density, ignore_aes="all", **{**styles["posterior"], **look["dist"]})
    if look["profile"] is not False and has_likelihood:
        style = {**styles["likelihood"], **look["profile"]}
        matrix.map(draw.line_xy, "profile", data=profile_densities(sides), ignore_aes="all", **style)
    _finish(matrix, labels, labeller or BaseLabeller(), look)
    if look["legend"] is not False:
        levels = " and ".join(f"{100 * prob:g} %" for prob in probs)
        places: dict[str, dict[str, Any]] = {
            "matplotlib": {"loc": "upper right"},
            "bokeh": {"side": "center"},
            "plotly": {"legend": {"x": 1, "y": 1, "xanchor": "right"}},
        }
        own = {"title": f"regions: {levels}", "aes": list(LOOKS), **places.get(matrix.backend, {})}
        matrix.add_legend("side", **{**own, **look["legend"]})
    add_caution(matrix, sides.caution, look["caution"])
    if outlines.notes:
        warnings.warn(" ".join(outlines.notes), ProfileWarning, stacklevel=2)
    return matrix


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
