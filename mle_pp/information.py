"""Covariance matrices of an estimate, on the unconstrained and on the constrained scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mle_pp.linalg import inverse_on
from mle_pp.parameters import Parameters


@dataclass(frozen=True)
class Scales:
    """How the vector's covariance becomes that of named quantities, at one point.

    Attributes
    ----------
    jacobian, derived_jacobian : ndarray
        ∂(constrained)/∂x and ∂(derived)/∂x.
    withheld, withheld_derived : ndarray of bool
        Scalars whose standard error has no meaning.
    """

    jacobian: np.ndarray
    derived_jacobian: np.ndarray
    withheld: np.ndarray
    withheld_derived: np.ndarray


def covariance(information: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The inverse of an information matrix on the directions that the data determine; NaN if it has none there.

    Parameters
    ----------
    information : ndarray, shape (size, size)
        Observed or expected.
    basis : ndarray, shape (size, rank)
        The identified directions.
    """
    try:
        return inverse_on(information, basis)
    except np.linalg.LinAlgError:
        return np.full_like(information, np.nan)


def transformed(covariance: np.ndarray, jacobian: np.ndarray, withheld: np.ndarray) -> np.ndarray:
    """J Σ Jᵀ (the delta method), with rows and columns of the withheld scalars NaN."""
    result = jacobian @ covariance @ jacobian.T
    result[withheld, :] = np.nan
    result[:, withheld] = np.nan
    return result


def scales_at(parameters: Parameters, x: np.ndarray, away: np.ndarray) -> Scales:
    """The derivatives at `x`; a scalar that changes along one of the columns of `away` is withheld."""
    values, derived = parameters.constrained(x), parameters.derived(x)
    withheld = np.zeros(values.size, dtype=bool)
    withheld_derived = np.zeros(derived.size, dtype=bool)
    for direction in away.T:
        # Back from a limit, where derivatives have vanished, the dependence shows.
        for factor in (-0.1, -1.0, -10.0):
            other = x + factor * direction
            withheld |= differ(values, parameters.constrained(other))
            withheld_derived |= differ(derived, parameters.derived(other))
    return Scales(parameters.jacobian(x), parameters.derived_jacobian(x), withheld, withheld_derived)


def limits(
    function: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    null: np.ndarray,
    drift: np.ndarray,
    lost: np.ndarray,
) -> np.ndarray:
    """Values of `function` at the limit along `drift`; NaN where it changes along `null` or `lost`."""
    values = np.array(function(x), dtype=float)
    total = drift.sum(axis=1)
    if drift.size:
        near, far = function(x + 300 * total), function(x + 600 * total)
        grows = np.abs(far) > 1.5 * np.abs(near)
        grows &= np.abs(near) > np.abs(values)
        ends = np.where(grows, np.copysign(np.inf, far), np.where(np.abs(far) < 1e-90, 0.0, far))
        moves = differ(values, near) | differ(values, function(x - 3 * total))
        values = np.where(moves & ~np.isnan(ends), ends, values)
    for direction in np.hstack([null, lost]).T:
        changed = differ(function(x), function(x + 0.1 * direction))
        values = np.where(changed & np.isfinite(values), np.nan, values)
    return values


def differ(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where two vectors of values differ visibly; NaN differs."""
    with np.errstate(all="ignore"):
        return ~(np.abs(first - second) <= 1e-7 * np.maximum(np.abs(first), np.abs(second)))
