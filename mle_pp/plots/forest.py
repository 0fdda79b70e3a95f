"""Intervals of estimate and posterior, below each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from mle_pp.conventions import probability
from mle_pp.plots.panels import add_caution, add_legend, layout
from mle_pp.plots.sides import as_trees, both_sides

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate


def plot_forest(
    est: Estimate,
    idata: Any,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
    kind: str | Sequence[str] = "wald",
    ci_kind: str | None = None,
    ci_probs: tuple[float, float] | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    labeller: Any = None,
    aes_by_visuals: Mapping[str, Sequence[str]] | None = None,
    visuals: Mapping[str, Any] | None = None,
    stats: Mapping[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Forest plot: each scalar's estimate with its intervals, and below the posterior mean with its credible intervals.

    Parameters
    ----------
    est : Estimate
    idata : DataTree
        With a group ``posterior`` of the same model and data.
    var_names, filter_vars
        As for `compare`.
    coords : mapping, optional
        A choice of coordinates.
    kind : {"wald", "profile"} or a list of these
        The estimate's intervals, as for `mle_pp.interval`; a list shows them below each other.
    ci_kind : {"eti", "hdi"}, optional
        The posterior's intervals. Default: ArviZ's ``rcParams["stats.ci_kind"]``.
    ci_probs : (float, float), optional
        Probabilities of the thick and of the thin line, for both. Default: ``(0.5, rcParams["stats.ci_prob"])``.
    plot_collection : PlotCollection, optional
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    labeller : labeller, optional
    aes_by_visuals, visuals : mapping, optional
        As in `arviz_plots.plot_forest`; a visual more is ``caution``, the line on what speaks against the posterior or
        the estimate.
    stats : mapping, optional
        As in `arviz_plots.plot_forest`: intervals or points in place of those computed here.
    **pc_kwargs
        Passed to `arviz_plots.plot_forest`: ``labels``, ``shade_label``, ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotCollection
        Scalars without a standard error show no Wald interval, those that are not identified or infinite no point.
        A profile interval that is infinite goes to the edge of what else is drawn of its variable.

    Warns
    -----
    UserWarning
        As `compare`: the data could not be checked, or the posterior is not to be believed.
    ProfileWarning
        As `mle_pp.interval` does for profiles.

    Raises
    ------
    ModelError
        There is no posterior, or it is one of another model or of other data.

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
    >>> pc = mle.plot_forest(mle.find_MLE(model), idata, backend="none")
    >>> pc.backend
    'none'
    """
    sides = both_sides(est, idata, var_names, filter_vars, coords, ci_kind, kind)
    inner, outer = two_probabilities(ci_probs)
    given: dict[str, Any] = {"plot_collection": plot_collection, "backend": backend, "labeller": labeller}
    given |= {"aes_by_visuals": aes_by_visuals, "visuals": visuals, "stats": stats}
    trunk, twig = sides.interval(inner), sides.interval(outer)
    return draw_forest(sides.point, trunk, twig, (inner, outer), sides.looks, sides.caution, **given, **pc_kwargs)


def two_probabilities(ci_probs: tuple[float, float] | None) -> tuple[float, float]:
    """Those of the thick and of the thin line."""
    if ci_probs is None:
        outer = probability(None)
        return (0.5 if outer > 0.5 else outer / 2, outer)
    inner, outer = map(probability, ci_probs)
    return inner, outer


def draw_forest(
    point: xr.Dataset,
    trunk: xr.Dataset,
    twig: xr.Dataset,
    probs: tuple[float, float],
    looks: Mapping[str, Sequence[Any]],
    caution: str,
    *,
    plot_collection: PlotCollection | None,
    backend: str | None,
    labeller: Any,
    aes_by_visuals: Mapping[str, Sequence[str]] | None,
    visuals: Mapping[str, Any] | None,
    stats: Mapping[str, Any] | None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Summaries along the dim ``model``, below each other, by ArviZ."""
    # Half a second, which a session without figures need not wait for
    from arviz_plots import plot_forest as draw

    if plot_collection is None:
        pc_kwargs = layout({**looks, **pc_kwargs}, backend)
        pc_kwargs["aes"] = {**{key: ["model"] for key in looks}, **pc_kwargs.get("aes", {})}
    else:
        pc_kwargs["plot_collection"] = plot_collection
    follow = {"credible_interval": ["color", "y"], "point_estimate": ["color", "y", "marker"]}
    shown = dict(visuals or {})
    caution_look = shown.pop("caution", True)
    given: dict[str, Any] = {"aes_by_visuals": {**follow, **(aes_by_visuals or {})}, "visuals": shown}
    given["stats"] = {"trunk": trunk, "twig": twig, "point_estimate": point, **(stats or {})}
    collection = draw(
        as_trees(point),
        combined=True,
        ci_probs=probs,
        labeller=labeller,
        **given,
        **pc_kwargs,
    )
    title = f"estimate or mean, {100 * probs[0]:g} % and {100 * probs[1]:g} %; from top to bottom:"
    aes = ["color", "marker"] if collection.backend == "matplotlib" else ["color"]
    columns = point.sizes["model"]
    add_legend(collection, "model", title, columns, aes=[key for key in aes if key in collection.aes_set])
    add_caution(collection, caution, caution_look)
    return collection
