"""Randomized quantile residuals: standard normal if the model is true, whatever its likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytensor.tensor as pt
import xarray as xr
from scipy.special import ndtri

from mle_pp import backends
from mle_pp.conventions import one_of, select, whole
from mle_pp.layout import make_layout
from mle_pp.predictive import at_vector, depends_on_latent, expected_value, log_cdfs, simulator
from mle_pp.stored import is_stored, observed_values, stored_draws

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

METHODS = ("auto", "cdf", "simulation")
# The smallest probability that is told apart from 0 and from 1: residuals lie between ±8.2
_TINY = 1e-16


@dataclass(frozen=True)
class Residuals:
    """Quantile residuals of observed variables.

    Attributes
    ----------
    value, fitted : xr.Dataset
        Residuals, and the means they belong to, in the shapes of the observed variables.
    methods : dict of str to str
        "cdf" or "simulation", by variable.
    n : int
        Number of simulated data sets, where there are some.
    """

    value: xr.Dataset
    fitted: xr.Dataset
    methods: dict[str, str]
    n: int


def quantile_residuals(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    *,
    method: str = "auto",
    n: int = 1000,
    random_seed: Any = None,
) -> Residuals:
    """Randomized quantile residuals of what was observed.

    Parameters
    ----------
    est : Estimate
    var_names, filter_vars
        Observed variables, as in ArviZ. Default: all.
    method : {"auto", "cdf", "simulation"}
        From the distribution function, from `n` data sets drawn at the estimate, or the first where it is known.
    n : int
        Number of simulated data sets.
    random_seed : int, Generator or None
        Of the simulations, and of the places between F(y−) and F(y).

    Raises
    ------
    ValueError
        "cdf" where the distribution function is not known.
    ModelError
        Data cannot be drawn from the model.

    Notes
    -----
    Φ⁻¹(u) with u uniform between F(y−) and F(y) (Dunn and Smyth 1996). By simulation, u is the rank of the observation
    among the draws, at a random place among equal ones, divided by n + 1. Where variables are latent, F is that of the
    observation after they were integrated, and residuals of the same group depend on each other.

    References
    ----------
    Dunn and Smyth (1996), J. Comput. Graph. Stat. 5, 236-244.
    """
    one_of("method", method, METHODS)
    n, rng = whole("n", n), np.random.default_rng(random_seed)
    variables = {rv.name: rv for rv in est.model.observed_RVs}
    names = select(xr.Dataset(dict.fromkeys(variables, 0.0)), var_names, filter_vars)
    data = {name: np.asarray(observed_values(est, name), dtype=float) for name in names}
    by_draws = method == "simulation" or (method == "auto" and is_stored(est))
    ends = {} if by_draws else {name: _probabilities(est, variables[name]) for name in names}
    cdfs = {name: pair for name, pair in ends.items() if pair is not None}
    unknown = [name for name in names if name not in cdfs]
    if method == "cdf" and unknown:
        raise ValueError(f'{", ".join(unknown)} has no known distribution function: use method="simulation".')
    formulas = {} if is_stored(est) else {name: _mean(est, variables[name]) for name in names}
    means = {name: mean for name, mean in formulas.items() if mean is not None}
    places = {name: rng.uniform(size=data[name].shape) for name in names}
    u = {name: lower + places[name] * (upper - lower) for name, (upper, lower) in cdfs.items()}
    if unknown or len(means) < len(names):
        n = min(n, stored_draws(est).sizes["draw"]) if is_stored(est) else n
        below, equal, total = ({name: np.zeros(data[name].shape) for name in names} for _ in range(3))
        for drawn in _data_sets(est, n, rng):
            for name in names:
                below[name] += drawn[name] < data[name]
                equal[name] += drawn[name] == data[name]
                total[name] += drawn[name]
        u |= {name: (below[name] + places[name] * (equal[name] + 1)) / (n + 1) for name in unknown}
        means = {name: total[name] / n for name in names} | means
    layout = make_layout({name: data[name].shape for name in names}, est.model.named_vars_to_dims, est.model.coords)
    missing = {name: np.isnan(data[name]) for name in names}
    values = {name: np.where(missing[name], np.nan, ndtri(np.clip(u[name], _TINY, 1 - _TINY))) for name in names}
    parts = [np.concatenate([np.ravel(found[name]) for name in names]) for found in (values, means)]
    methods = {name: "cdf" if name in cdfs else "simulation" for name in names}
    return Residuals(layout.dataset(parts[0]), layout.dataset(parts[1]), methods, n)


def _data_sets(est: Estimate, n: int, rng: np.random.Generator) -> Iterator[Mapping[str, np.ndarray]]:
    """Drawn at the estimate, or before it was stored."""
    if is_stored(est):
        stored = stored_draws(est, n)
        yield from ({str(name): array.values[0, k] for name, array in stored.items()} for k in range(n))
        return
    draw = simulator(est._objective)
    yield from (draw(rng, est._optimum.x) for _ in range(n))


def _probabilities(est: Estimate, rv: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """F(y) and F(y−) at the estimate."""
    with backends.without_c_compiler():
        graphs = log_cdfs(est._objective, rv)
        if graphs is None:
            return None
        try:
            upper, lower = _evaluated(est, graphs)
        except NotImplementedError:
            return None
    shape = np.shape(est._objective.data[rv.name])
    return np.broadcast_to(np.exp(upper), shape), np.broadcast_to(np.exp(lower), shape)


def _mean(est: Estimate, rv: Any) -> np.ndarray | None:
    """The mean at the estimate; None where there is no formula for it, or it depends on what is latent."""
    if depends_on_latent(est._objective, rv):
        return None
    with backends.without_c_compiler():
        graph = expected_value(rv)
        if graph is None:
            return None
        [found] = _evaluated(est, at_vector(est._objective, [graph], hold_observed=True))
    return np.broadcast_to(found, np.shape(est._objective.data[rv.name]))


def _evaluated(est: Estimate, graphs: Sequence[Any]) -> list[np.ndarray]:
    simple = backends.simplify([pt.cast(backends.as_tensor(graph), "float64") for graph in graphs])
    return backends.build([est._objective.parameters.x], simple)(est._optimum.x)
