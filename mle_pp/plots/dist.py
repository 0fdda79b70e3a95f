"""The posterior's density and the normal approximation around the estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mle_pp.conventions import probability
from mle_pp.plots.sides import Sides, add_legend, both_sides, layout

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate


def plot_dist(
    est: Estimate,
    idata: Any,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
    ci_kind: str | None = None,
    ci_prob: float | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    labeller: Any = None,
    visuals: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> PlotCollection:
    """Densities, a panel a scalar: the posterior's, and the one that the Wald intervals of the estimate belong to.

    Parameters
    ----------
    est : Estimate
    idata : DataTree
        With a group ``posterior`` of the same model and data.
    var_names, filter_vars
        As for `compare`.
    coords : mapping, optional
        A choice of coordinates.
    ci_kind : {"eti", "hdi"}, optional
        The posterior's interval. Default: ArviZ's ``rcParams["stats.ci_kind"]``.
    ci_prob : float, optional
        Of both intervals. Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    plot_collection : PlotCollection, optional
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    labeller : labeller, optional
    visuals : mapping, optional
        As in `arviz_plots.plot_dist`; ``point_estimate_text`` is off unless asked for.
    **kwargs
        Passed to `arviz_plots.plot_dist`: ``aes_by_visuals``, ``col_wrap``, ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotCollection
        Scalars without a standard error show no curve of the estimate.

    Raises
    ------
    ModelError
        There is no posterior, or it is one of another model or of other data.

    Notes
    -----
    The estimate's curve is its confidence density (Xie and Singh 2013): its quantiles are the limits of the Wald
    intervals of all probabilities. It is a normal density on the scale on which the interval is computed, so a
    log-normal one for a standard deviation, with the estimate as its median.

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

    sides = both_sides(est, idata, var_names, filter_vars, coords, ci_kind)
    prob = probability(ci_prob)
    if plot_collection is None:
        # The intervals below the curves, not across them
        kwargs.setdefault("y", [-0.7, -1.6])
        figure = kwargs.get("figure_kwargs", {})
        size = {} if "figsize" in figure else _size(sides, kwargs.get("col_wrap", 4))
        kwargs["figure_kwargs"] = {**size, **figure}
    kwargs["visuals"] = {"point_estimate_text": False, **(visuals or {})}
    collection = draw(
        sides.trees,
        kind="kde",
        ci_prob=prob,
        labeller=labeller,
        stats={"dist": sides.density, "credible_interval": sides.interval(prob), "point_estimate": sides.point},
        **layout(kwargs, plot_collection, backend),
    )
    add_legend(collection, f"estimate or mean, and {100 * prob:g} % interval")
    return collection


def _size(sides: Sides, columns: int) -> dict[str, Any]:
    """ArviZ's own size has no room for a legend above the panels."""
    panels = sum(variable.size for variable in sides.point.isel(model=0).values())
    wide, rows = min(panels, columns), -(-panels // columns)
    return {"figsize": (max(360 * wide, 500), 80 + 260 * rows), "figsize_units": "dots"}
