"""The expected information by simulation, where no closed form is known: data are drawn from the model at the estimate.

The mean of the observed information −∇²ℓ over data sets drawn at x is the expected information at x, and the spread
between the data sets gives the Monte Carlo error (Efron and Hinkley 1978, Biometrika 65, on the two informations).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mle_pp.linalg import inverse_on
from mle_pp.objective import ModelObjective
from mle_pp.predictive import retargeted, simulator

# Until the standard errors are known to this relative accuracy, but not more data sets than this.
ACCURACY = 2e-3
_FEWEST, _MOST = 50, 2000
_SEED = 20240229


def simulated_information(objective: ModelObjective, x: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The observed information at `x` of many data sets drawn from the model at `x`.

    Parameters
    ----------
    objective : ModelObjective
    x : ndarray, shape (size,)
    basis : ndarray, shape (size, rank)
        The identified directions.

    Returns
    -------
    ndarray, shape (simulations, size, size)
        As many as bring the Monte Carlo error of every standard error below 0.2 %, but at most 2,000. The same ones
        each time.

    Raises
    ------
    ModelError
        Data cannot be drawn from the model.
    """
    found: list[np.ndarray] = []
    for information in _informations(objective, x):
        found.append(information)
        if len(found) % _FEWEST == 0 and monte_carlo_error(np.stack(found), basis) < ACCURACY:
            break
    return np.stack(found)


def monte_carlo_error(informations: np.ndarray, basis: np.ndarray) -> float:
    """The largest Monte Carlo error of a standard error from their mean, relative to it (delta method)."""
    mean = informations.mean(axis=0)
    try:
        covariance = inverse_on(mean, basis)
    except np.linalg.LinAlgError:
        return np.inf
    changes = np.einsum("ij,mjk,ki->mi", covariance, informations - mean, covariance)
    variances = np.diag(covariance)
    known = variances > 0
    relative = changes.std(axis=0, ddof=1)[known] / (2 * variances[known] * np.sqrt(len(informations)))
    return float(relative.max(initial=0.0))


def _informations(objective: ModelObjective, x: np.ndarray) -> Iterator[np.ndarray]:
    draw, rng = simulator(objective), np.random.default_rng(_SEED)
    other, observe = retargeted(objective)
    if objective.weights is not None:
        other = other.weighted(objective.weights)
    for _ in range(_MOST):
        observe(draw(rng, x))
        yield -other.hessian(x)
