"""Densities: the posterior's, the prior's, and the likelihood's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_stats import kde

from mle_pp.compare import SAMPLE_DIMS
from mle_pp.conventions import probability
from mle_pp.intervals import as_dataset
from mle_pp.intervals.profiles import Profile, SideStatus
from mle_pp.intervals.wald import wald_quantiles
from mle_pp.plots.panels import (
    DISK,
    DOTTED,
    GREY,
    NAMES,
    add_caution,
    add_legend,
    few_ticks,
    flat,
    grid_size,
    increasing,
    layout,
    profiles_of,
    root_at,
    set_aesthetic,
    shaped,
)
from mle_pp.plots.sides import LOOKS, Sides, as_trees, both_sides, joined
from mle_pp.verdict import Status

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate

GRID = 200
# Of the intervals below the curves
HEIGHTS = [-0.7, -1.6, -0.7]
# Profiles are followed this far: three and a half standard errors
FAR = 0.9995
_FEWEST = 20


def plot_dist(
    est: Estimate,
    idata: Any,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
    kind: str | None = None,
    ci_kind: str | None = None,
    ci_prob: float | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    labeller: Any = None,
    aes_by_visuals: Mapping[str, Sequence[str]] | None = None,
    visuals: Mapping[str, Any] | None = None,
    stats: Mapping[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Densities, a panel a scalar: the posterior's, the normalized profile likelihood, and the prior's.

    Below the curves, the interval that belongs to each.

    Parameters
    ----------
    est : Estimate
    idata : DataTree
        With a group ``posterior`` of the same model and data. The density of a group ``prior`` is shown where it lies
        within reach of the others.
    var_names, filter_vars
        As for `compare`.
    coords : mapping, optional
        A choice of coordinates.
    kind : {"profile", "wald"}, optional
        The estimate's curve and interval: see Notes. Default: "profile", where there is a profile (it takes some
        maximizations a scalar), "wald" for posterior modes, penalized estimates and at irregular maxima.
    ci_kind : {"eti", "hdi"}, optional
        The posterior's interval. Default: ArviZ's ``rcParams["stats.ci_kind"]``.
    ci_prob : float, optional
        Of both intervals. Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    plot_collection : PlotCollection, optional
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    labeller : labeller, optional
    aes_by_visuals, visuals : mapping, optional
        As in `arviz_plots.plot_dist`; ``point_estimate_text`` is off unless asked for, and ``caution`` is the line on
        what speaks against the posterior or the estimate.
    stats : mapping, optional
        As in `arviz_plots.plot_dist`: densities, intervals or points in place of those computed here.
    **pc_kwargs
        Passed to `arviz_plots.plot_dist`: ``col_wrap``, ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotCollection
        Scalars without a profile, or without a standard error for "wald", show no curve of the estimate.

    Warns
    -----
    UserWarning
        As `compare`: the data could not be checked, or the posterior is not to be believed.

    Raises
    ------
    ModelError
        There is no posterior, or it is one of another model or of other data.

    Notes
    -----
    "profile": the profile likelihood, scaled to the area 1 over what is shown of it: what the posterior would be under
    a flat prior, were the other parameters known to be where they fit best. Where a side never falls (at an edge, or
    towards infinity), it is shown as far as the posterior reaches.

    "wald": the confidence density (Xie and Singh 2013), whose quantiles are the limits of the Wald intervals of all
    probabilities. It is a normal density on the scale on which the interval is computed, so a log-normal one for a
    standard deviation, with the estimate as its median.

    References
    ----------
    Xie and Singh (2013), "Confidence distribution, the frequentist distribution estimator of a parameter: a review",
    International Statistical Review 81, 3-39.

    Examples
    --------
    >>> import arviz as az
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> y = np.array([1.0, 2.0, 3.0, 6.0])
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 2)
    ...     _ = pm.Normal("y", mu, 2, observed=y)
    >>> draws = np.random.default_rng(0).normal(2.4, 0.8944, size=(4, 1000))
    >>> idata = az.from_dict({"posterior": {"mu": draws}, "observed_data": {"y": y}})
    >>> pc = mle.plot_dist(mle.find_MLE(model), idata, backend="none")
    >>> pc.backend
    'none'
    """
    # Half a second, which a session without figures need not wait for
    from arviz_plots import plot_dist as draw

    if kind is None:
        kind = "profile" if est.kind == "mle" and est.verdict.status is not Status.IRREGULAR else "wald"
    sides = both_sides(est, idata, var_names, filter_vars, coords, ci_kind, kind)
    prob = probability(ci_prob)
    curves = _Curves(sides, kind, _prior(idata, sides))
    labels, looks = curves.labels, curves.looks
    if plot_collection is None:
        # The intervals below the curves, not across them
        panels = sum(array.size for array in sides.scalars.values())
        size = grid_size(panels, pc_kwargs.get("col_wrap", 4))
        pc_kwargs = layout({"y": HEIGHTS[: len(labels)], **looks, **pc_kwargs}, backend, size)
        pc_kwargs["aes"] = {**{key: ["model"] for key in looks}, **pc_kwargs.get("aes", {})}
    else:
        pc_kwargs["plot_collection"] = plot_collection
        # ArviZ has scaled those of the figure before to its curves, and fails to do so twice
        if "y" in plot_collection.aes_set:
            set_aesthetic(plot_collection, "model", "y", labels, HEIGHTS[: len(labels)])
    follow = {
        "dist": ["color", "linestyle"],
        "credible_interval": ["color", "linestyle", "y"],
        "point_estimate": ["color", "marker", "y"],
    }
    point = curves.with_prior(sides.point)
    numbers = {
        "dist": curves.density,
        "credible_interval": curves.with_prior(sides.interval(prob)),
        "point_estimate": point,
    }
    shown = {"point_estimate_text": False, **(visuals or {})}
    caution_look = shown.pop("caution", True)
    given: dict[str, Any] = {
        "stats": {**numbers, **(stats or {})},
        "aes_by_visuals": {**follow, **(aes_by_visuals or {})},
        "visuals": shown,
    }
    collection = draw(
        as_trees(point),
        kind="kde",
        ci_prob=prob,
        labeller=labeller,
        **given,
        **pc_kwargs,
    )
    few_ticks(collection)
    # Curves carry no markers
    lines = {"aes": [key for key in ("color", "linestyle") if key in collection.aes_set]}
    add_legend(collection, "model", f"density; estimate or mean, and {100 * prob:g} % interval", 3, **lines)
    add_caution(collection, sides.caution, caution_look)
    return collection


class _Curves:
    """The densities of a figure, and its intervals with none for the prior."""

    def __init__(self, sides: Sides, kind: str, prior: xr.Dataset | None) -> None:
        self._sides, self._kind, self._prior = sides, kind, prior
        words = {"profile": "profile likelihood", "wald": "Wald interval"}
        own = [f"{NAMES[sides.est.kind]}, {words[kind]}", sides.labels[-1]]
        self.labels = own if prior is None else [*own, "prior"]
        columns = zip(LOOKS["wald"], LOOKS["posterior"], (GREY, DOTTED, DISK), strict=True)
        looks = zip(("color", "linestyle", "marker"), columns, strict=True)
        self.looks = {key: list(values)[: len(self.labels)] for key, values in looks}

    def with_prior(self, dataset: xr.Dataset) -> xr.Dataset:
        """The same, under the names of the curves."""
        parts = [dataset.isel(model=k, drop=True) for k in range(dataset.sizes["model"])]
        if self._prior is not None:
            parts.append(xr.full_like(parts[0], np.nan, dtype=float))
        return joined(parts, self.labels)

    @property
    def density(self) -> xr.Dataset:
        """All curves, as ArviZ takes them."""
        sides = self._sides
        theirs = kde(sides.posterior, dim=list(SAMPLE_DIMS), grid_len=GRID).reset_coords(drop=True)
        mine = profile_densities(sides) if self._kind == "profile" else _wald_density(sides)
        names = list(sides.posterior.data_vars)
        parts = [mine[names], theirs[names]]
        if self._prior is not None:
            parts.append(_prior_density(self._prior[names], parts))
        both = joined([part.transpose("plot_axis", ..., "kde_dim") for part in parts], self.labels)
        for variable in both.values():
            variable.attrs["kind"] = "kde"
        return both


def _wald_density(sides: Sides) -> xr.Dataset:
    """The density whose quantiles are the limits of the Wald intervals."""
    z = np.linspace(-3.5, 3.5, GRID)
    est, names = sides.est, list(sides.posterior.data_vars)
    quantiles = as_dataset(est, *wald_quantiles(est, z), "kde_dim", range(GRID))[names].sel(sides.coords)
    quantiles = quantiles.drop_vars("kde_dim")
    heights = xr.DataArray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), dims="kde_dim")
    # A constant has no density
    slope = quantiles.map(lambda x: xr.apply_ufunc(np.gradient, x, z, kwargs={"axis": -1}))
    curve = (heights / slope).where(slope > 0)
    return xr.concat([quantiles, curve], dim=xr.DataArray(["x", "y"], dims="plot_axis", name="plot_axis"))


def profile_densities(sides: Sides) -> xr.Dataset:
    """Profile likelihoods with the area 1."""
    profiles = profiles_of(sides.est, flat(sides.scalars), FAR, points=41)
    names = list(sides.posterior.data_vars)
    reach = [getattr(sides.posterior[names], end)(SAMPLE_DIMS) for end in ("min", "max")]
    ends = {name: np.stack([np.ravel(end[name]) for end in reach], axis=-1) for name in names}
    curves = {}
    for name in names:
        for label, limits in zip(np.ravel(sides.scalars[name]), ends[name], strict=True):
            if label in profiles:
                curves[str(label)] = normalized(profiles[label], *limits)
    found = shaped(sides.scalars, curves, plot_axis=["x", "y"], kde_dim=range(GRID))
    return found.drop_vars("kde_dim")


def normalized(one: Profile, low: float, high: float) -> np.ndarray:
    """A profile likelihood with the area 1; a side that never falls, or only far out, ends at `low` or `high`.

    Returns
    -------
    ndarray, shape (2, grid)
        The scalar and its density; NaN where there is no profile.
    """
    psi, _ = increasing(one)
    if psi.size < 3:
        return np.full((2, GRID), np.nan)
    begin = psi[0] if one.lower_status is SideStatus.FOUND else max(psi[0], min(low, one.estimate))
    end = psi[-1] if one.upper_status is SideStatus.FOUND else min(psi[-1], max(high, one.estimate))
    x = np.linspace(begin, end, GRID)
    height = np.exp(-(root_at(one, x) ** 2) / 2)
    return np.stack([x, height / np.trapezoid(height, x)])


def _prior(idata: Any, sides: Sides) -> xr.Dataset | None:
    """The prior draws of the same scalars, if there are any."""
    try:
        group = idata["prior"]
    except (KeyError, TypeError):
        return None
    names = [name for name in sides.posterior.data_vars if name in group]
    if not names:
        return None
    found = group[names] if isinstance(group, xr.Dataset) else group.to_dataset()[names]
    # By label, in the posterior's order
    template = sides.posterior.isel(chain=0, draw=0, drop=True)
    found = found.sel({dim: template[dim].values for dim in template.dims if dim in found.dims})
    # The others have none
    first = found[names[0]]
    nothing = first.isel({dim: 0 for dim in first.dims if dim not in SAMPLE_DIMS}, drop=True) * np.nan
    return found.assign({name: nothing * template[name] for name in template if name not in names})


def _prior_density(prior: xr.Dataset, others: Sequence[xr.Dataset]) -> xr.Dataset:
    """The prior's density as far as the other curves go."""
    curves = {}
    for name, draws in prior.items():
        x = xr.concat([part[name].sel(plot_axis="x", drop=True) for part in others], "side")
        low, high = (getattr(x, end)(["side", "kde_dim"]) for end in ("min", "max"))
        stacked = draws.stack(s=SAMPLE_DIMS).reset_index("s", drop=True)
        curve = xr.apply_ufunc(
            _within, stacked, low, high, input_core_dims=[["s"], [], []], output_core_dims=[["plot_axis", "kde_dim"]],
            vectorize=True,
        )  # fmt: skip
        curves[name] = curve.assign_coords(plot_axis=["x", "y"])
    return xr.Dataset(curves)


def _within(draws: np.ndarray, low: float, high: float) -> np.ndarray:
    """The density of draws between two ends: that of those inside, with their share as its area."""
    inside = draws[(draws >= low) & (draws <= high)]
    if not inside.size:
        return np.full((2, GRID), np.nan)
    x, share = np.linspace(low, high, GRID), inside.size / np.sum(np.isfinite(draws))
    if inside.size < _FEWEST or np.ptp(inside) == 0:
        return np.stack([x, np.full(GRID, share / (high - low))])
    # As far as there are draws
    at, heights = kde(inside, grid_len=GRID)[:2]
    return np.stack([x, share * np.interp(x, at, heights, left=np.nan, right=np.nan)])
