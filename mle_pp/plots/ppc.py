"""Predictive checks: the observations among draws of the posterior predictive and of the plug-in predictive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mle_pp.compare import SAMPLE_DIMS, matched_posterior
from mle_pp.conventions import probability, select, whole
from mle_pp.errors import ModelError
from mle_pp.plots.panels import (
    BLACK,
    COLORS,
    DASHED,
    NAMES,
    SOLID,
    add_caution,
    add_legend,
    add_title,
    chosen_aes,
    grid_size,
    ignored,
    layout,
    options,
    put,
    refuse_failure,
    set_aesthetic,
)
from mle_pp.plots.sides import tell
from mle_pp.predict import simulate
from mle_pp.stored import is_stored, observed_values, stored_draws

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate

VISUALS = ("band", "edges", "observed", "title", "xlabel", "ylabel", "legend", "caution")
GRID = 200


def plot_ppc(
    est: Estimate,
    idata: Any,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
    n: int = 500,
    random_seed: Any = None,
    uncertainty: bool = False,
    ci_prob: float | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    labeller: Any = None,
    aes_by_visuals: Mapping[str, Sequence[str]] | None = None,
    visuals: Mapping[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Distribution function of the observations, within bands of the posterior and of the plug-in predictive.

    Parameters
    ----------
    est : Estimate
    idata : DataTree
        With a group ``posterior_predictive`` of the same model and data (`pm.sample_posterior_predictive`).
    var_names, filter_vars
        Observed variables, as in ArviZ. Default: all.
    coords : mapping, optional
        A choice of observations.
    n : int
        Number of data sets drawn at the estimate, and of posterior predictive ones, where there are as many.
    random_seed : int, Generator or None
        Of these.
    uncertainty : bool
        Draw the parameters of each data set too, as for `simulate`. Default: they are held at the estimate.
    ci_prob : float, optional
        Of the bands. Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    plot_collection : PlotCollection, optional
        With a panel for each variable.
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    labeller : labeller, optional
    aes_by_visuals : mapping, optional
        For ``band`` and ``edges``. Default: color, and color and linestyle, tell the two predictives apart.
    visuals : mapping of str to (mapping or False), optional
        Options of what is drawn, or False to leave it out: ``band``, ``edges``, ``observed``, ``title``, ``xlabel``,
        ``ylabel``, ``legend``, ``caution`` (on what speaks against the posterior or the estimate).
    **pc_kwargs
        Passed to `arviz_plots.PlotCollection.wrap`: ``col_wrap``, ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotCollection

    Warns
    -----
    UserWarning
        As `compare`: the data could not be checked, or the posterior is not to be believed.

    Raises
    ------
    ModelError
        There is no posterior predictive of these variables, the posterior is of another model or of other data, or
        data cannot be drawn from the model.

    Notes
    -----
    A band holds, at each value by itself, the share of observations up to it in `ci_prob` of the data sets drawn. With
    latent variables, plug-in data sets are of new groups, and posterior predictive ones of those that were observed.

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
    >>> rng = np.random.default_rng(0)
    >>> draws = rng.normal(2.4, 0.8944, size=(4, 500))
    >>> new = rng.normal(draws[..., None], 2, size=(4, 500, 4))
    >>> groups = {"posterior": {"mu": draws}, "posterior_predictive": {"y": new}, "observed_data": {"y": y}}
    >>> pc = mle.plot_ppc(mle.find_MLE(model), az.from_dict(groups), random_seed=1, backend="none")
    >>> [str(name) for name in pc.viz["observed"].data_vars]
    ['y']
    """
    # Half a second, which a session without figures need not wait for
    from arviz_plots import PlotCollection
    from arviz_plots import visuals as draw

    refuse_failure(est)
    look = options(visuals, VISUALS)
    follows = chosen_aes(aes_by_visuals, {"band": ["color"], "edges": ["color", "linestyle"]})
    n, prob = whole("n", n), probability(ci_prob)
    _, unchecked = matched_posterior(est, idata, [], None)
    held = [str(name) for name in est.params if name in idata["posterior"]]
    caution = tell(est, idata, matched_posterior(est, idata, held, None)[0], unchecked)
    observed, theirs = _posterior_predictive(est, idata, var_names, filter_vars)
    # Fewer draws that were stored serve as well
    number = min(n, stored_draws(est).sizes["draw"]) if is_stored(est) else n
    mine = simulate(est, number, random_seed=random_seed, uncertainty=uncertainty)[list(observed.data_vars)]
    rng = np.random.default_rng(random_seed)
    names = [f"plug-in predictive ({NAMES[est.kind]})", "posterior predictive", "observed"]
    pairs = {}
    for name, values in observed.items():
        where = {dim: at for dim, at in (coords or {}).items() if dim in values.dims}
        draws = [
            np.reshape(part.sel(where).values, (-1, values.sel(where).size)) for part in (mine[name], theirs[name])
        ]
        draws = [part if len(part) <= n else part[rng.choice(len(part), n, replace=False)] for part in draws]
        pairs[str(name)] = _functions(np.ravel(values.sel(where).values), draws, prob)
    unknown = [dim for dim in coords or {} if dim not in observed.dims]
    if unknown:
        raise KeyError(f"coords: {', '.join(unknown)} not among the dims ({', '.join(map(str, observed.dims))}).")
    bands = xr.Dataset({name: pair[0] for name, pair in pairs.items()}).assign_coords(model=names[:2])
    steps = xr.Dataset({name: pair[1] for name, pair in pairs.items()})
    if plot_collection is None:
        looks = {"color": COLORS, "linestyle": [SOLID, DASHED]}
        pc_kwargs = layout(pc_kwargs, backend, grid_size(len(pairs), pc_kwargs.get("col_wrap", 4)))
        pc_kwargs.setdefault("cols", ["__variable__"])
        collection = PlotCollection.wrap(bands, **pc_kwargs)
        for key, two in looks.items():
            set_aesthetic(collection, "model", key, names, [*two, BLACK if key == "color" else SOLID])
    else:
        collection = plot_collection
    if collection.backend == "plotly":
        set_aesthetic(collection, "model", "legendgroup", names, names)

    draw_all = partial(put, collection)
    ignore = ignored(collection, follows["band"])
    draw_all(look["band"], "band", draw.fill_between_y, bands, ignore_aes=ignore, alpha=0.25)
    ignore = ignored(collection, follows["edges"])
    for edge in ("y_bottom", "y_top"):
        line = bands.sel(kwarg=["x", edge]).rename(kwarg="plot_axis").assign_coords(plot_axis=["x", "y"])
        draw_all(look["edges"], f"edges_{edge}", draw.line_xy, line, ignore_aes=ignore)
    draw_all(look["observed"], "observed", draw.line_xy, steps, color=BLACK, width=2)
    labels = xr.Dataset(dict.fromkeys(pairs, 0.0))
    add_title(collection, labels, labeller, look["title"])
    draw_all(look["xlabel"], "xlabel", draw.labelled_x, labels, text="value")
    draw_all(look["ylabel"], "ylabel", draw.labelled_y, labels, text="share up to the value")
    if look["legend"] is not False:
        add_legend(collection, "model", f"distribution functions, {100 * prob:g} % bands", 3, **look["legend"])
    add_caution(collection, caution, look["caution"])
    return collection


def _posterior_predictive(
    est: Estimate, idata: Any, var_names: str | Sequence[str] | None, filter_vars: str | None
) -> tuple[xr.Dataset, xr.Dataset]:
    """The observations of the chosen variables, and their posterior predictive draws with the same dims."""
    try:
        group = idata["posterior_predictive"]
    except (KeyError, TypeError):
        raise ModelError(
            "idata has no group posterior_predictive: make one with pm.sample_posterior_predictive(idata, model=model, "
            "extend_inferencedata=True)."
        ) from None
    like = simulate(est, 1, random_seed=0).isel(chain=0, draw=0, drop=True)
    names = select(like, var_names, filter_vars)
    missing = [name for name in names if name not in group]
    if missing:
        raise ModelError(f"{', '.join(missing)} is not in the group posterior_predictive: leave it out by var_names=.")
    observed = xr.Dataset({name: like[name].copy(data=observed_values(est, name)) for name in names})
    theirs = {}
    for name in names:
        draws = group[name].transpose(*SAMPLE_DIMS, ...)
        if draws.shape[2:] != observed[name].shape:
            raise ModelError(
                f"{name} has the shape {draws.shape[2:]} in the group posterior_predictive, and {observed[name].shape} "
                f"in the data of the estimate: predict at the data of the fit."
            )
        theirs[name] = xr.DataArray(
            draws.values, dims=(*SAMPLE_DIMS, *observed[name].dims), coords=dict(observed[name].coords)
        )
    return observed, xr.Dataset(theirs)


def _functions(observed: np.ndarray, draws: Sequence[np.ndarray], prob: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Bands of the distribution functions of draws, and that of the observations."""
    observed = observed[np.isfinite(observed)]
    ends = [np.quantile(np.concatenate([np.ravel(part) for part in draws]), q) for q in (0.005, 0.995)]
    low, high = min(ends[0], observed.min()), max(ends[1], observed.max())
    counts = all(np.array_equal(part, np.round(part)) for part in (observed, *draws))
    if counts and high - low < GRID:
        # A step at each value: the share below it, and that up to it
        x = np.repeat(np.arange(low - 1, high + 2), 2)
        sides = ["left", "right"] * (x.size // 2)
    else:
        room = 0.03 * (high - low)
        x = np.linspace(low - room, high + room, GRID)
        sides = ["right"] * GRID
    tails = [(1 - prob) / 2, (1 + prob) / 2]
    bands = [[x, *np.quantile([_shares(np.sort(row), x, sides) for row in part], tails, axis=0)] for part in draws]
    axes = {"kwarg": ["x", "y_bottom", "y_top"]}
    steps = np.stack([x, _shares(np.sort(observed), x, sides)])
    dim = f"at_{x.size}"
    return (
        xr.DataArray(np.array(bands), axes, dims=("model", "kwarg", dim)),
        xr.DataArray(steps, {"plot_axis": ["x", "y"]}, dims=("plot_axis", dim)),
    )


def _shares(values: np.ndarray, x: np.ndarray, sides: Sequence[str]) -> np.ndarray:
    """Which share of sorted values lies below, or up to, each point."""
    below, upto = (np.searchsorted(values, x, side) for side in ("left", "right"))
    return np.where(np.array(sides) == "left", below, upto) / values.size
