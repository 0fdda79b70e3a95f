"""Covariance matrices of an estimate, on the unconstrained and on the constrained scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mle_pp.linalg import curvature_scale, inverse_on
from mle_pp.parameters import Parameters


@dataclass(frozen=True)
class Special:
    """Directions of the vector along which there is no standard error; each of shape (size, k).

    Attributes
    ----------
    null : ndarray
        The likelihood is level.
    drift : ndarray
        It rises towards a supremum, all limits along one direction together.
    lost : ndarray
        It becomes level in the limit: what moves along these has no meaning there.
    irregular : ndarray
        It has an edge, a kink, a plateau or no curvature.
    """

    null: np.ndarray
    drift: np.ndarray
    lost: np.ndarray
    irregular: np.ndarray

    @classmethod
    def none(cls, size: int) -> Special:
        """No such direction."""
        empty = np.zeros((size, 0))
        return cls(empty, empty, empty, empty)


@dataclass(frozen=True)
class Scales:
    """How the vector's covariance becomes that of named quantities, at one point.

    Attributes
    ----------
    jacobian, derived_jacobian : ndarray
        ∂(constrained)/∂x and ∂(derived)/∂x.
    withheld, withheld_derived : ndarray of bool
        Scalars whose standard error has no meaning.
    special : Special
        The directions that make it so.
    """

    jacobian: np.ndarray
    derived_jacobian: np.ndarray
    withheld: np.ndarray
    withheld_derived: np.ndarray
    special: Special


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


def sandwich(bread: np.ndarray, scores: np.ndarray, weights: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """B (Σ w s sᵀ) B, the covariance of an estimator whose model need not be true (Huber 1967; White 1982).

    Parameters
    ----------
    bread : ndarray, shape (size, size)
        The inverse of the observed information.
    scores : ndarray, shape (n, size)
        A gradient a row.
    weights : ndarray, shape (n,)
        Of how many equal rows each stands for.
    groups : ndarray of int, shape (n,), optional
        The group of each row: scores are summed within groups first (Liang and Zeger 1986).
    """
    if groups is None:
        meat = scores.T @ (weights[:, None] * scores)
    else:
        sums = np.zeros((groups.max() + 1, scores.shape[1]))
        np.add.at(sums, groups, weights[:, None] * scores)
        meat = sums.T @ sums
    return bread @ meat @ bread


def small_sample_factor(kind: str, n: float, k: int, groups: int) -> float:
    """What a robust covariance is multiplied by.

    Parameters
    ----------
    kind : str
        "HC1": n/(n−k) (Hinkley 1977). "CR1": G/(G−1). "CR1S": G/(G−1) · (n−1)/(n−k), that of Stata and statsmodels.
        Others: 1.
    n, k, groups
        Rows, parameters and groups.
    """
    if kind == "HC1":
        return n / (n - k)
    if kind == "CR1":
        return groups / (groups - 1)
    if kind == "CR1S":
        return groups / (groups - 1) * (n - 1) / (n - k)
    return 1.0


def transformed(covariance: np.ndarray, jacobian: np.ndarray, withheld: np.ndarray) -> np.ndarray:
    """J Σ Jᵀ (the delta method), with rows and columns of the withheld scalars NaN."""
    result = jacobian @ covariance @ jacobian.T
    result[withheld, :] = np.nan
    result[:, withheld] = np.nan
    return result


def determined(slopes: np.ndarray, information: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Which quantities the data determine, by their slopes gᵀ in the vector: one row a quantity.

    They do if g is in the range of the observed information H; then H Σ g = g, with Σ its (generalized) inverse.
    """
    scale = curvature_scale(information, np.zeros(len(information)))
    outside = slopes - slopes @ covariance @ information
    with np.errstate(all="ignore"):
        found = np.abs(outside / scale).max(axis=1, initial=0) <= 1e-5 * np.abs(slopes / scale).max(axis=1, initial=0)
    return found & np.all(np.isfinite(covariance))


def scales_at(parameters: Parameters, x: np.ndarray, special: Special, basis: np.ndarray) -> Scales:
    """The derivatives at `x`, and which scalars have no standard error.

    Parameters
    ----------
    parameters : Parameters
    x : ndarray, shape (size,)
    special : Special
    basis : ndarray, shape (size, rank)
        The directions that the data determine.
    """

    def withheld(function: Callable[[np.ndarray], np.ndarray], jacobian: np.ndarray) -> np.ndarray:
        pinned = pinned_at_limit(function, jacobian, x, special.drift, basis)
        moves = slides(jacobian, special.null) | slides(jacobian, special.irregular)
        return moves | pinned | without_limit(function, x, special)

    jacobian, derived = parameters.jacobian(x), parameters.derived_jacobian(x)
    direct = withheld(parameters.constrained, jacobian)
    return Scales(jacobian, derived, direct, withheld(parameters.derived, derived), special)


def slides(jacobian: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Which quantities change, to first order, along any of the directions (to second order, all do on a curve)."""
    with np.errstate(all="ignore"):
        change = np.abs(jacobian @ directions)
        whole = np.abs(jacobian) @ np.abs(directions)
        return np.any(change > 1e-5 * whole, axis=1)


def travel(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How far quantities come along any of the directions; zero where they do not change.

    Looked for far back, too, for at a limit derivatives have vanished.
    """
    values = function(x)
    most = np.zeros(values.size)
    for direction in directions.T:
        for factor in (0.1, -0.1, -1.0, *range(-10, -101, -10)):
            other = function(x + factor * direction)
            change = np.where(differ(values, other), np.abs(other - values), 0.0)
            most = np.fmax(most, np.where(np.isnan(change), np.inf, change))
    return most


def without_limit(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, special: Special) -> np.ndarray:
    """Which quantities end elsewhere in the limit when they start elsewhere along a direction that is lost there."""
    ends = limits(function, x, special.drift)
    marks = np.zeros(ends.size, dtype=bool)
    for direction in special.lost.T:
        for factor in (1.0, -1.0, 5.0, -5.0):
            other = limits(function, x + factor * direction, special.drift)
            marks |= (other != ends) & differ(ends, other)
    return marks


def pinned_at_limit(
    function: Callable[[np.ndarray], np.ndarray],
    jacobian: np.ndarray,
    x: np.ndarray,
    drift: np.ndarray,
    basis: np.ndarray,
) -> np.ndarray:
    """Which quantities are infinite at the limit along `drift`, or do not depend on anything else there.

    The share of an empty category is pinned at zero; those of the others, which its way to zero moves too, are not.
    """
    if drift.shape[1] == 0:
        return np.zeros(len(jacobian), dtype=bool)
    with np.errstate(all="ignore"):
        free = np.linalg.norm(jacobian @ basis, axis=1)
        way = np.minimum(travel(function, x, drift), 1 + np.abs(function(x)))
        return np.isinf(limits(function, x, drift)) | ((way > 0) & ~(free > 1e-6 * way))


def limits(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """Values of quantities at the limit along the directions `drift`, finite or not."""
    values = np.array(function(x), dtype=float)
    if drift.shape[1] == 0:
        return values
    total = drift.sum(axis=1)
    near, far = function(x + 300 * total), function(x + 600 * total)
    grows = (np.abs(far) > 1.5 * np.abs(near)) & (np.abs(near) > np.abs(values))
    ends = np.where(grows, np.copysign(np.inf, far), np.where(np.abs(far) < 1e-60, 0.0, far))
    moves = (travel(function, x, drift) > 0) | differ(values, far)
    return np.where(moves & ~np.isnan(ends), ends, values)


def differ(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where two vectors of values differ visibly; NaN differs."""
    with np.errstate(all="ignore"):
        return ~(np.abs(first - second) <= 1e-7 * np.maximum(np.abs(first), np.abs(second)))
