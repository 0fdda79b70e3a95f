"""An instant posterior: Laplace's approximation at the mode, corrected by importance sampling, with its diagnostic."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from mle_pp.conventions import whole
from mle_pp.errors import ModelError
from mle_pp.layout import Entry, make_layout
from mle_pp.optimize import Optimum, Stop, maximize
from mle_pp.roles import RoleKind, droppable
from mle_pp.unconstrained import UnconstrainedDensity

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

CHAINS = 4
# Of the t distribution that proposes: skewed posteriors of standard deviations need tails this heavy on the log scale
FREEDOM = 4.0


def approximate_posterior(map_est: Estimate, draws: int = 1000, *, random_seed: Any = None) -> xr.DataTree:
    """Draws from the posterior without sampling: Laplace's approximation, corrected and judged by importance weights.

    Parameters
    ----------
    map_est : Estimate
        A regular posterior mode, from `find_MAP`, of a model whose variables are all in it: no latent ones.
    draws : int
        In each of four chains, as `pm.sample` makes them.
    random_seed : int, sequence of int, Generator or None
        As for `pm.sample`.

    Returns
    -------
    xarray.DataTree
        What ArviZ, and `compare`, take for a posterior: groups ``posterior`` (parameters and `Deterministic`s, with
        dims ``chain`` and ``draw``), ``sample_stats`` (``lp``), ``observed_data``, ``constant_data``. Attributes of
        ``posterior``: ``pareto_k``, which tells how good the approximation is; ``pareto_k_max``, below which it is good
        enough; ``ess``, the effective number of draws, for some are repeated; ``advice``, what to do.

    Raises
    ------
    ModelError
        Not a posterior mode, not a regular interior one (at the edge of the support or at infinity there is no bell to
        approximate), or one with latent variables integrated out.

    Warns
    -----
    UserWarning
        Pareto k is too large: the draws are not the posterior, and the model should be sampled instead.

    Notes
    -----
    The density is that of the unconstrained scale, the Jacobian of the transforms included, whose mode is not that of
    `find_MAP` and is searched from there. Proposals are from the multivariate t distribution with 4 degrees of freedom
    with the mode and the curvature of that density; they are resampled (systematically) with Pareto-smoothed importance
    weights. k is the shape of the largest weights, or of the largest terms of a parameter's variance on the user's
    scale, if that is greater: below 0.7 (1 − 1/log₁₀ S for fewer than 2,200 draws S) means and standard deviations can
    be trusted (Vehtari et al. 2024, section 2.4). A second mode far away is not seen.

    References
    ----------
    Tierney and Kadane (1986), JASA 81. Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance
    sampling", JMLR 25.

    Examples
    --------
    A rate with the posterior Gamma(6, 4), of mean 1.5 and standard deviation 0.612:

    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     rate = pm.Gamma("rate", 2, 1)
    ...     y = pm.Poisson("y", rate, observed=[1, 0, 3])
    >>> posterior = mle.approximate_posterior(mle.find_MAP(model), 5000, random_seed=1)["posterior"]
    >>> f'{posterior["rate"].mean().item():.1f} {posterior["rate"].std().item():.1f}'
    '1.5 0.6'
    >>> posterior.attrs["pareto_k"] < 0.7
    True
    """
    total = CHAINS * whole("draws", draws, least=10)
    _check(map_est)
    density = UnconstrainedDensity(map_est._objective)
    rng = np.random.default_rng(random_seed)
    with np.errstate(all="ignore"):
        mode = _mode(density, map_est)
        points, log_proposal = _proposals(mode, total, rng)
        log_density, constrained, derived = density.many(points)
        log_weights, k = _smoothed(log_density - log_proposal)
        weights = np.exp(log_weights - log_weights.max())
        k = max([k, *_moments_k(weights, constrained)])
    chosen = _resample(weights, rng)
    limit = min(1 - 1 / np.log10(total), 0.7)
    ess = weights.sum() ** 2 / (weights**2).sum()
    advice = _advice(k, limit)
    if not k < limit:
        warnings.warn(advice, UserWarning, stacklevel=2)
    attrs = {
        "inference_library": "mle_pp",
        "inference_library_version": version("mle_pp"),
        "method": "Laplace approximation, importance-resampled with Pareto-smoothed weights",
        "pareto_k": float(k),
        "pareto_k_max": float(limit),
        "ess": float(ess),
        "advice": advice,
    }
    parameters = density.parameters
    posterior = _dataset(parameters.layout, constrained[chosen]).merge(
        _dataset(parameters.derived_layout, derived[chosen])
    )
    stats = xr.Dataset({"lp": (("chain", "draw"), log_density[chosen].reshape(CHAINS, -1))})
    groups = {"posterior": posterior.assign_attrs(attrs), "sample_stats": stats, **_data(map_est)}
    return xr.DataTree.from_dict(groups)


def _check(est: Estimate) -> None:
    """Refuse what has no bell-shaped posterior, or not all of it."""
    if est.kind != "map":
        raise ModelError(
            f"approximate_posterior needs the posterior mode, find_MAP(model), and this is a "
            f"{'maximum-likelihood' if est.kind == 'mle' else 'penalized'} estimate, without the priors."
        )
    if not est.verdict.ok:
        raise ModelError(
            f"The posterior has no regular interior mode, so there is no Laplace approximation of it: sample the model "
            f"instead, pm.sample(model=model). {est.verdict.message}"
        )
    latent = [name for name in est.roles.names(RoleKind.LATENT) if not droppable(est.model, name)]
    if latent:
        raise ModelError(
            f"{', '.join(latent)}: latent, integrated out by find_MAP, and an approximate posterior would lack it. "
            f"Sample the model instead, pm.sample(model=model)."
        )


def _mode(density: UnconstrainedDensity, est: Estimate) -> Optimum:
    """The mode on the unconstrained scale, with positive curvature in every direction."""
    mode = maximize(density, est._optimum.x)
    if mode.stop is not Stop.SMALL_DECREMENT or not np.all(mode.eigen.values > 1e-10):
        raise ModelError(
            "The posterior has no regular mode on the unconstrained scale, so there is no Laplace approximation of it: "
            "sample the model instead, pm.sample(model=model)."
        )
    return mode


def _proposals(mode: Optimum, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points from the multivariate t distribution around the mode, and their log-density up to a constant."""
    eigen, size = mode.eigen, mode.x.size
    z = rng.normal(size=(count, size)) / np.sqrt(rng.chisquare(FREEDOM, size=(count, 1)) / FREEDOM)
    points = mode.x + (z / np.sqrt(eigen.values)) @ eigen.vectors.T / eigen.scale
    return points, -(FREEDOM + size) / 2 * np.log1p((z**2).sum(axis=1) / FREEDOM)


def _smoothed(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed log-weights, and the shape k; a point of density zero has no weight."""
    finite = np.isfinite(log_weights)
    smoothed = np.full(log_weights.shape, -np.inf)
    # ArviZ takes log-likelihoods, of which the weights are the inverse
    smoothed[finite], k = array_stats.psislw(-log_weights[finite])
    return smoothed, float(k)


def _moments_k(weights: np.ndarray, values: np.ndarray) -> list[float]:
    """The shape k of what a variance sums, weight times squared distance from the mean, of each scalar that varies.

    Weights with a finite variance can have an infinite one with such factors: the mass of a heavy tail may be found,
    and the standard deviation not.
    """
    used = weights > 0
    away = values[used] - np.average(values[used], axis=0, weights=weights[used])
    return [
        _smoothed(np.log(weights[used]) + 2 * np.log(np.abs(column)))[1]
        for column, wide in zip(away.T, np.ptp(away, axis=0) > 0, strict=True)
        if wide
    ]


def _resample(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many indices as there are weights, drawn systematically, in random order."""
    steps = (np.arange(weights.size) + rng.uniform()) / weights.size
    share = np.cumsum(weights) / weights.sum()
    return rng.permutation(np.minimum(np.searchsorted(share, steps), weights.size - 1))


def _advice(k: float, limit: float) -> str:
    if k < limit:
        return f"Pareto k is {k:.2f}, below {limit:.2f}: means and standard deviations can be trusted."
    return (
        f"Pareto k is {k:.2f}, not below {limit:.2f}: the posterior is too far from a bell on the unconstrained scale, "
        f"and these draws are not it. Sample instead: pm.sample(model=model)."
    )


def _dataset(layout: Iterable[Entry], rows: np.ndarray) -> xr.Dataset:
    """Rows of scalars as variables with dims chain and draw in front."""
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    start = 0
    for entry in layout:
        values = rows[:, start : start + entry.size].reshape(CHAINS, -1, *entry.shape)
        variables[entry.name] = (("chain", "draw", *entry.dims), values)
        coords |= {dim: list(labels) for dim, labels in zip(entry.dims, entry.coords, strict=True)}
        start += entry.size
    steps = {"chain": np.arange(CHAINS), "draw": np.arange(len(rows) // CHAINS)}
    return xr.Dataset(variables, coords=coords | steps)


def _data(est: Estimate) -> dict[str, xr.Dataset]:
    """The data of the fit, as `pm.sample` stores them."""
    observed = {rv.name for rv in est.model.observed_RVs}
    groups: dict[str, dict[str, np.ndarray]] = {"observed_data": {}, "constant_data": {}}
    for name, values in est._objective.data.items():
        groups["observed_data" if name in observed else "constant_data"][name] = np.asarray(values)
    return {name: _plain(est, arrays) for name, arrays in groups.items() if arrays}


def _plain(est: Estimate, arrays: Mapping[str, np.ndarray]) -> xr.Dataset:
    shapes = {name: values.shape for name, values in arrays.items()}
    entries = make_layout(shapes, est.model.named_vars_to_dims, est.model.coords)
    variables = {entry.name: (entry.dims, arrays[entry.name]) for entry in entries}
    coords = {d: list(c) for entry in entries for d, c in zip(entry.dims, entry.coords, strict=True)}
    return xr.Dataset(variables, coords=coords)
