"""One end of a profile interval, by Newton's method on the point and its multiplier together.

At the end of an interval the likelihood has fallen to the cutoff, and its gradient is a multiple of the quantity's
(Venzon and Moolgavkar 1988, Applied Statistics 37, 87-94). Each step stays on the line of points that are stationary
according to the quadratic model, and goes to where that model meets the cutoff: from the maximum, to the end of the
Wald interval. The Hessian is computed only where the one at hand, kept up to date by Powell's symmetric form of
Broyden's formula (Dennis and Schnabel 1983, section 9.1), no longer predicts well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mle_pp.intervals.constrained import Scalar
from mle_pp.linalg import curvature_scale, definite_solver
from mle_pp.objective import Objective

MAX_ITERATIONS = 30
# Of the fall of the log-likelihood from its maximum to the cutoff; and what rounding leaves of the log-likelihood
ACCURACY = 1e-10
ROUNDING = 1e-14
# A new Hessian is worth its price where a step leaves more than this of the error
_SLOW = 0.1


@dataclass(frozen=True)
class Point:
    """A point of the likelihood with its derivatives; the Hessian may be that of a point nearby."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray


@dataclass(frozen=True)
class Endpoint:
    """A point of the profile: the quantity's value, the profile log-likelihood and its derivative there."""

    x: np.ndarray
    psi: float
    value: float
    slope: float


class HigherPointError(Exception):
    """A point where the likelihood exceeds what was believed to be its maximum."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__("The likelihood is higher elsewhere.")
        self.x = x


@dataclass(frozen=True)
class Top:
    """The maximum from which intervals are taken.

    Attributes
    ----------
    objective : Objective
    point : Point
    basis : ndarray, shape (size, rank)
        The directions that the data determine.
    drift : ndarray, shape (size, k)
        Those towards a limit that the point stands for.
    holds : bool
        Whether to look for maxima at that limit first: the likelihood is flat there in the directions of `drift`, and
        its values may be rounding errors farther out.
    """

    objective: Objective
    point: Point
    basis: np.ndarray
    drift: np.ndarray
    holds: bool = False

    def check(self, x: np.ndarray, value: float) -> None:
        """Raise where the likelihood is visibly higher than at the top."""
        if value > self.point.value + max(1e-6, 1e-9 * abs(self.point.value)):
            raise HigherPointError(x)


def tolerance(drop: float, value: float) -> float:
    """How exactly the likelihood is to meet its cutoff."""
    return max(ACCURACY * drop, ROUNDING * abs(value))


def newton_endpoint(
    top: Top, scalar: Scalar, side: int, drop: float, start: Point, multiplier: float, basis: np.ndarray
) -> Endpoint | None:
    """Where the profile log-likelihood of a scalar has fallen by `drop`, above (side 1) or below (side -1) the top.

    Parameters
    ----------
    top : Top
    scalar : Scalar
    side : {-1, 1}
    drop : float
    start : Point
        The top, or a point near the end that is sought.
    multiplier : float
        Of the scalar at `start`; zero at the top.
    basis : ndarray, shape (size, k)
        Steps stay in its span.

    Returns
    -------
    Endpoint or None
        None where the iteration does not converge.
    """
    objective, goal = top.objective, top.point.value - drop
    enough = tolerance(drop, goal)
    point, error = start, np.inf
    scale = curvature_scale(top.point.hessian, top.point.gradient)
    slope, bend = scalar.gradient(point.x), scalar.hessian(point.x)
    for _ in range(MAX_ITERATIONS):
        plan = _plan(point, slope, multiplier * bend, basis, point.value - goal, side)
        if plan is None and point is not start:
            point = replace(point, hessian=objective.hessian(point.x))
            plan = _plan(point, slope, multiplier * bend, basis, point.value - goal, side)
        if plan is None:
            return None
        step, multiplier, solve = plan
        value, gradient, step = _evaluate(objective, point, step, 2 * drop)
        if not np.isfinite(value):
            return None
        x = point.x + step
        top.check(x, value)
        slope, bend = scalar.gradient(x), scalar.hessian(x)
        if not (np.all(np.isfinite(gradient)) and np.all(np.isfinite(slope)) and np.all(np.isfinite(bend))):
            return None
        miss, decrement, fitted = _errors(gradient, slope, solve, value - goal)
        if miss <= enough and decrement <= enough:
            return Endpoint(x, scalar.value(x), value, fitted)
        hessian = _updated(point.hessian, step * scale, (gradient - point.gradient) / scale, scale)
        point = Point(x, value, gradient, hessian)
        if miss + decrement > _SLOW * error:
            point = replace(point, hessian=objective.hessian(x))
        error = miss + decrement
    return None


def _plan(
    point: Point, slope: np.ndarray, bent: np.ndarray, basis: np.ndarray, gap: float, side: int
) -> tuple[np.ndarray, float, Callable[[np.ndarray], np.ndarray]] | None:
    """The step to where the quadratic model meets the cutoff, the multiplier there, and the solver of the model.

    None where the model has no maximum along the surface, or does not fall. The candidates are u − t v; the model is
    quadratic in t, and of its two roots one lies on each side.
    """
    solve = definite_solver(bent - point.hessian, basis, slope)
    if solve is None:
        return None
    u, v = solve(point.gradient), solve(slope)
    second = 0.5 * v @ point.hessian @ v
    first = -point.gradient @ v - u @ point.hessian @ v
    zeroth = gap + point.gradient @ u + 0.5 * u @ point.hessian @ u
    if not second < 0:
        return None
    # Without a root, to where the model comes closest to the cutoff
    root = np.sqrt(max(first**2 - 4 * second * zeroth, 0.0))
    step = u - (first - side * root) / (-2 * second) * v
    # The multiplier that leaves no slope along the candidates: bent is the constraint's part of the matrix
    ahead = point.gradient + (point.hessian - bent) @ step
    return step, float((ahead @ v) / (slope @ v)), solve


def _evaluate(
    objective: Objective, point: Point, step: np.ndarray, most: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Value and gradient after the step, or after as much of it as does not leave the region of interest."""
    for _ in range(8):
        value, gradient = objective.value_gradient(point.x + step)
        if np.isfinite(value) and value > point.value - 3 * most:
            return value, gradient, step
        step = step / 2
    return -np.inf, point.gradient, step


def _errors(
    gradient: np.ndarray, slope: np.ndarray, solve: Callable[[np.ndarray], np.ndarray], gap: float
) -> tuple[float, float, float]:
    """Distance to the cutoff, what is to gain along the surface, and the multiplier."""
    v = solve(slope)
    multiplier = float((gradient @ v) / (slope @ v))
    rest = gradient - multiplier * slope
    return abs(gap), float(0.5 * rest @ solve(rest)), multiplier


def _updated(hessian: np.ndarray, step: np.ndarray, change: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The Hessian, changed as little as explains the change of the gradient along the step (both scaled)."""
    outer = np.outer(scale, scale)
    rest = change - (hessian / outer) @ step
    unit = step / float(step @ step)
    both = np.outer(rest, unit)
    return hessian + outer * (both + both.T - float(rest @ step) * np.outer(unit, unit))
