"""Randomized quantile residuals, against the fitted mean and against normal quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import ndtri
from scipy.stats import beta

from mle_pp.conventions import probability
from mle_pp.plots.panels import (
    BLACK,
    COLORS,
    DASHED,
    DISK,
    DOTTED,
    GREY,
    SOLID,
    chosen_aes,
    ignored,
    layout,
    options,
    put,
    refuse_failure,
    styled,
)
from mle_pp.residuals import Residuals, quantile_residuals

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate

VISUALS = ("points", "zero", "diagonal", "band", "title", "xlabel", "ylabel")
PANELS = ["fitted", "normal"]


def plot_residuals(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    *,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
    method: str = "auto",
    n: int = 1000,
    random_seed: Any = None,
    ci_prob: float | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    labeller: Any = None,
    aes_by_visuals: Mapping[str, Sequence[str]] | None = None,
    visuals: Mapping[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Randomized quantile residuals of what was observed: against the fitted mean, and a normal quantile plot.

    If the model is true they are standard normal, whatever the likelihood: counts, proportions and zeros included.

    Parameters
    ----------
    est : Estimate
    var_names, filter_vars
        Observed variables, as in ArviZ. Default: all.
    coords : mapping, optional
        A choice of observations.
    method : {"auto", "cdf", "simulation"}
        From the distribution function, from `n` data sets drawn at the estimate, or the first where PyMC knows it and
        nothing is latent.
    n : int
        Number of simulated data sets.
    random_seed : int, Generator or None
        Of the simulations, and of the random part of residuals of counts.
    ci_prob : float, optional
        Of the band around the diagonal, for each point by itself. Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    plot_collection : PlotCollection, optional
        With a row for each variable, and two columns.
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    labeller : labeller, optional
    aes_by_visuals : mapping, optional
        For ``points``. Default: they follow no aesthetic.
    visuals : mapping of str to (mapping or False), optional
        Options of what is drawn, or False to leave it out: ``points``, ``zero``, ``diagonal``, ``band``, ``title``,
        ``xlabel``, ``ylabel``.
    **pc_kwargs
        Passed to `arviz_plots.PlotCollection.grid`: ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotCollection

    Raises
    ------
    ValueError
        An unknown visual or method; "cdf" where the distribution function is not known.
    ModelError
        Data cannot be drawn from the model.

    Notes
    -----
    A residual is Φ⁻¹(u), with u uniform between F(y−) and F(y), the model's distribution function at the estimate
    (Dunn and Smyth 1996). By simulation, it cannot exceed Φ⁻¹(1 − 1/n) by much; means without a formula are simulated,
    too, and have a Monte Carlo error. With latent variables, F is that of the observation after they were integrated:
    the residuals of a group go up and down together.

    References
    ----------
    Dunn and Smyth (1996), "Randomized quantile residuals", J. Comput. Graph. Stat. 5, 236-244.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     y = pm.Poisson("y", pm.Exponential("rate", 1), observed=[1, 2, 3, 6])
    >>> pc = mle.plot_residuals(mle.find_MLE(model), random_seed=1, backend="none")
    >>> sorted(map(str, pc.viz["plot"].data_vars))
    ['y']
    """
    # Half a second, which a session without figures need not wait for
    from arviz_base.labels import BaseLabeller
    from arviz_plots import PlotCollection
    from arviz_plots import visuals as draw

    refuse_failure(est)
    look, follows = options(visuals, VISUALS), chosen_aes(aes_by_visuals, {"points": []})
    found = quantile_residuals(est, var_names, filter_vars, method=method, n=n, random_seed=random_seed)
    points = _points(found, coords or {})
    if plot_collection is None:
        dots = (900, 60 + 330 * len(points))
        pc_kwargs = layout({"rows": ["__variable__"], "cols": ["panel"], **pc_kwargs}, backend, dots)
        collection = PlotCollection.grid(xr.Dataset(points), **pc_kwargs)
    else:
        collection = plot_collection
    left, right = ({"coords": {"panel": panel}} for panel in PANELS)

    names, draw_all = xr.Dataset(dict.fromkeys(points, 0.0)), partial(put, collection)
    for name, height in (("zero", 0.0), ("lower", -1.96), ("upper", 1.96)):
        style = {"color": GREY, "linestyle": SOLID if height == 0 else DOTTED, **left}
        draw_all(look["zero"], name, draw.hline, names + height, **style)
    prob = probability(ci_prob)
    band = xr.Dataset({name: _band(array.sizes[array.dims[-1]], prob) for name, array in points.items()})
    # Of an intensity that is seen in print, too
    draw_all(look["band"], "band", draw.fill_between_y, band, color=GREY, alpha=0.35, **right)
    ends = xr.Dataset({name: _diagonal(array) for name, array in points.items()})
    draw_all(look["diagonal"], "diagonal", draw.line_xy, ends, color=BLACK, linestyle=DASHED, width=1, **right)
    size = 5 if collection.backend == "bokeh" else 18
    style = styled({"color": COLORS[0], "alpha": 0.6, "size": size, "marker": DISK, "width": 0}, follows["points"])
    ignore = ignored(collection, follows["points"])
    draw_all(look["points"], "points", draw.scatter_xy, xr.Dataset(points), ignore_aes=ignore, **style)
    words = {"cdf": "exact", "simulation": f"{found.n:,} simulations"}
    labeller = labeller or BaseLabeller()
    for name in points:
        only, label = names[[name]], labeller.make_label_flat(name, {}, {})
        draw_all(look["xlabel"], "xlabel_left", draw.labelled_x, only, text=f"fitted mean of {label}", **left)
        draw_all(look["xlabel"], "xlabel_right", draw.labelled_x, only, text="normal quantile", **right)
        draw_all(look["ylabel"], "ylabel", draw.labelled_y, only, text="quantile residual", **left)
        title = f"{label}: quantile residuals ({words[found.methods[name]]})"
        draw_all(look["title"], "title", draw.labelled_title, only, text=title, **left)
        title = f"in order, with {100 * prob:g} % bands"
        draw_all(look["title"], "title_right", draw.labelled_title, only, text=title, **right)
    return collection


def _points(found: Residuals, coords: Mapping[str, Any]) -> dict[str, xr.DataArray]:
    """Where the residuals lie in both panels, with an observation dim of its own for each variable."""
    unknown = [dim for dim in coords if dim not in found.value.dims]
    if unknown:
        raise KeyError(f"coords: {', '.join(unknown)} not among the dims ({', '.join(map(str, found.value.dims))}).")
    points = {}
    for name, array in found.value.items():
        where = {dim: at for dim, at in coords.items() if dim in array.dims}
        values, means = (np.ravel(part.sel(where)) for part in (array, found.fitted[name]))
        values, means = values[~np.isnan(values)], means[~np.isnan(values)]
        order = np.argsort(values)
        quantiles = ndtri((np.arange(values.size) + 0.5) / max(values.size, 1))
        both = [[means, values], [quantiles, values[order]]]
        coordinates = {"panel": PANELS, "plot_axis": ["x", "y"]}
        points[str(name)] = xr.DataArray(both, coordinates, dims=("panel", "plot_axis", f"{name}_observation"))
    return points


def _band(number: int, prob: float) -> xr.DataArray:
    """Between which quantiles each order statistic lies with this probability."""
    # A line of some hundred points looks the same
    rank = np.unique(np.linspace(1, number, min(number, 300)).astype(int))
    x = ndtri((rank - 0.5) / number)
    ends = [ndtri(beta.ppf(q, rank, number + 1 - rank)) for q in ((1 - prob) / 2, (1 + prob) / 2)]
    return xr.DataArray([x, *ends], {"kwarg": ["x", "y_bottom", "y_top"]}, dims=("kwarg", f"rank_{number}"))


def _diagonal(points: xr.DataArray) -> xr.DataArray:
    """From the smallest to the largest normal quantile."""
    x = points.sel(panel="normal", plot_axis="x").values
    ends = [x.min(initial=0.0), x.max(initial=0.0)]
    return xr.DataArray([ends, ends], {"plot_axis": ["x", "y"]}, dims=("plot_axis", "end"))
