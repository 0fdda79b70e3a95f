"""Conditional modes of latent variables against their posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_base.validate import validate_or_use_rcparam
from arviz_stats import eti, hdi
from scipy.special import ndtri

from mle_pp.compare import SAMPLE_DIMS, matched_posterior
from mle_pp.conventions import select
from mle_pp.errors import ModelError
from mle_pp.plots.forest import draw_forest, two_probabilities
from mle_pp.plots.panels import NAMES, refuse_failure
from mle_pp.plots.sides import LOOKS, joined, tell

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate


def plot_shrinkage(
    est: Estimate,
    idata: Any,
    var_names: str | Sequence[str] | None = None,
    *,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
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
    """Forest plot of what was integrated: conditional modes with their intervals, and below them the posterior.

    Parameters
    ----------
    est : Estimate
        With latent variables.
    idata : DataTree
        With a group ``posterior`` of the same model and data.
    var_names, filter_vars
        Variables of `Estimate.latent`, as in ArviZ. Default: the latent variables, and the `Deterministic`s that
        depend on them and are in the posterior.
    coords : mapping, optional
        A choice of coordinates.
    ci_kind : {"eti", "hdi"}, optional
        The posterior's intervals. Default: ArviZ's ``rcParams["stats.ci_kind"]``.
    ci_probs : (float, float), optional
        Probabilities of the thick and of the thin line, for both. Default: ``(0.5, rcParams["stats.ci_prob"])``.
    plot_collection : PlotCollection, optional
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    labeller : labeller, optional
    aes_by_visuals, visuals, stats : mapping, optional
        As in `mle_pp.plot_forest`.
    **pc_kwargs
        Passed to `arviz_plots.plot_forest`: ``labels``, ``shade_label``, ``figure_kwargs``, ...

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
        Nothing was integrated; there is no posterior, or it is one of another model or of other data.

    Notes
    -----
    Intervals are symmetric about the mode on the user's scale, with a standard error that includes the uncertainty of
    the estimates but not what their skewness does. Where the estimated scale of the latent variables is zero, all
    modes are at their mean, and the posterior, which averages over scales, is not.

    Examples
    --------
    >>> import arviz as az
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> y = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 5.0], [9.0, 7.0, 8.0]])
    >>> with pm.Model(coords={"group": ["a", "b", "c"]}) as model:
    ...     mu, tau = pm.Normal("mu", 0, 10), pm.HalfNormal("tau", 10)
    ...     u = pm.Normal("u", mu, tau, dims="group")
    ...     _ = pm.Normal("y", u[:, None], 1, observed=y)
    >>> rng = np.random.default_rng(0)
    >>> draws = {"mu": rng.normal(5, 2, size=(2, 500)), "tau": rng.gamma(3, size=(2, 500))}
    >>> draws["u"] = rng.normal(y.mean(axis=1), 0.6, size=(2, 500, 3))
    >>> groups = {"posterior": draws, "observed_data": {"y": y}}
    >>> idata = az.from_dict(groups, dims={"u": ["group"]}, coords={"group": ["a", "b", "c"]})
    >>> pc = mle.plot_shrinkage(mle.find_MLE(model), idata, backend="none")
    >>> [str(name) for name in pc.viz["point_estimate"].data_vars]
    ['u']
    """
    refuse_failure(est)
    modes, errors = _latent(est)
    _, unchecked = matched_posterior(est, idata, [], None)
    posterior = _matching(idata["posterior"], modes, var_names, filter_vars, coords or {})
    caution = tell(est, idata, posterior, unchecked)
    names = list(posterior.data_vars)
    modes, errors = (part[names].sel(coords or {}) for part in (modes, errors))
    ci_kind = validate_or_use_rcparam(ci_kind, "stats.ci_kind")
    labels = [f"{NAMES[est.kind]}, conditional mode", f"posterior, {ci_kind.upper()}"]

    def interval(prob: float) -> xr.Dataset:
        z = -ndtri((1 - prob) / 2)
        bounds = xr.DataArray([-z, z], coords={"ci_bound": ["lower", "upper"]}, dims="ci_bound")
        mine = (modes + bounds * errors).transpose(..., "ci_bound")
        theirs = (eti if ci_kind == "eti" else hdi)(posterior, prob=prob, dim=list(SAMPLE_DIMS))
        return joined([mine, theirs], labels)

    inner, outer = two_probabilities(ci_probs)
    columns = zip(LOOKS["wald"], LOOKS["posterior"], strict=True)
    looks = {key: list(pair) for key, pair in zip(("color", "linestyle", "marker"), columns, strict=True)}
    given: dict[str, Any] = {"plot_collection": plot_collection, "backend": backend, "labeller": labeller}
    given |= {"aes_by_visuals": aes_by_visuals, "visuals": visuals, "stats": stats}
    point = joined([modes, posterior.mean(SAMPLE_DIMS)], labels)
    return draw_forest(point, interval(inner), interval(outer), (inner, outer), looks, caution, **given, **pc_kwargs)


def _latent(est: Estimate) -> tuple[xr.Dataset, xr.Dataset]:
    """Modes and standard errors under the variables' names."""
    names = [str(name) for name in est.latent if f"{name}_se" in est.latent]
    if not names:
        raise ModelError("Nothing was integrated in this estimate: it has no latent variables (see est.roles).")
    errors = est.latent[[f"{name}_se" for name in names]].rename({f"{name}_se": name for name in names})
    return est.latent[names], errors


def _matching(
    group: Any,
    modes: xr.Dataset,
    var_names: str | Sequence[str] | None,
    filter_vars: str | None,
    coords: Mapping[str, Any],
) -> xr.Dataset:
    """The posterior of the chosen variables, in the order of the modes."""
    posterior = group if isinstance(group, xr.Dataset) else group.to_dataset()
    chosen = select(modes, var_names, filter_vars)
    if var_names is None:
        chosen = [name for name in chosen if name in posterior]
    missing = [name for name in chosen if name not in posterior]
    if missing or not chosen:
        raise ModelError(f"{', '.join(missing) or ', '.join(map(str, modes))} is not in the posterior.")
    unknown = [dim for dim in coords if dim not in modes[chosen].dims]
    if unknown:
        raise KeyError(f"coords: {', '.join(unknown)} not among the dims ({', '.join(map(str, modes[chosen].dims))}).")
    found = {}
    for name in chosen:
        array, like = posterior[name], modes[name]
        if set(array.dims) != {*SAMPLE_DIMS, *like.dims} or any(array.sizes[d] != like.sizes[d] for d in like.dims):
            raise ModelError(f"{name} has other dims in the posterior: that is of another model.")
        order = {dim: like[dim].values for dim in like.dims if len(np.unique(like[dim])) == like.sizes[dim]}
        try:
            found[name] = array.transpose(*SAMPLE_DIMS, *like.dims).sel(order).sel(coords)
        except KeyError:
            raise ModelError(f"{name} has other coordinates in the posterior: that is of another model.") from None
    return xr.Dataset(found)
