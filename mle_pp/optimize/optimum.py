"""What an optimizer hands over: where it stopped, and the derivatives there. It does not judge what that point is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from mle_pp.linalg import ScaledEigen


class Stop(StrEnum):
    """Why the iterations ended."""

    SMALL_DECREMENT = "the quadratic model promises no further gain"
    NO_PROGRESS = "steps hardly raise the function any more"
    WALL = "every uphill step leaves the support"
    ITERATIONS = "the iteration limit was reached"
    FAR = "the search left every reasonable range"
    NOT_FINITE = "the function is not finite at the starting point"


@dataclass(frozen=True)
class Optimum:
    """Where a maximization ended.

    Attributes
    ----------
    x : ndarray, shape (size,)
    value : float
        The maximized function at `x`.
    gradient : ndarray, shape (size,)
    hessian : ndarray, shape (size, size)
        Of the function itself, so negative definite at a regular maximum.
    stop : Stop
    method : str
        The algorithm, or a chain of them joined by " → ".
    iterations, evaluations : int
    step : ndarray, shape (size,)
        The last Newton step proposed: the direction in which the function still rises, if it does.
    is_rough : bool
        Whether `hessian` is only the one that the search has learned.
    """

    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    stop: Stop
    method: str
    iterations: int
    evaluations: int
    step: np.ndarray
    is_rough: bool = False

    @classmethod
    def failed(cls, start: np.ndarray, method: str) -> Optimum:
        """Nothing was found: the function is not finite at the starting point."""
        size = len(start)
        x = np.asarray(start, dtype=float)
        return cls(
            x, -np.inf, np.full(size, np.nan), np.full((size, size), np.nan), Stop.NOT_FINITE, method, 0, 1, 0 * x
        )

    def followed_by(self, other: Optimum) -> Optimum:
        """The result of `other`, which began where this one or a better one ended, with both their efforts."""
        return replace(
            other,
            method=f"{self.method} → {other.method}",
            iterations=self.iterations + other.iterations,
            evaluations=self.evaluations + other.evaluations,
        )

    @property
    def eigen(self) -> ScaledEigen:
        """Scaled eigen-decomposition of the negative Hessian."""
        return ScaledEigen.of(-self.hessian, self.gradient)

    @property
    def decrement(self) -> float:
        """Newton decrement gᵀ|H|⁻¹g/2: the log-likelihood still to gain if the function were quadratic."""
        return newton_decrement(self.eigen, self.gradient)


# Scaled curvatures below this are rounding errors of the Hessian: no step is taken on their account.
FLAT = 1e-13


def newton_decrement(eigen: ScaledEigen, gradient: np.ndarray) -> float:
    """gᵀ|H|⁻¹g/2 over the directions that have curvature."""
    rotated = eigen.rotate(gradient)
    return float(0.5 * np.sum(rotated**2 / np.maximum(np.abs(eigen.values), FLAT)))
