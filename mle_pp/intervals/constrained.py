"""The maximum of a likelihood on the surface where some quantities have given values.

Sequential quadratic programming in a trust region, with exact second derivatives of the likelihood and of the
quantities, after Byrd and Omojokun (Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 18.4): a step has
one part towards the surface and one along it, the merit of a point is its likelihood less a multiple of its distance
to the surface, and a rejected step is tried again after a second-order correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import eigh, qr, solve_triangular

from mle_pp.objective import Objective
from mle_pp.optimize.newton import trust_region_step, units
from mle_pp.optimize.optimum import FLAT

MAX_ITERATIONS = 100
# What rounding leaves of the likelihood's own digits, of the Newton decrement, and of a quantity's digits
_NOISE = 1e-13
_DECREMENT = 1e-20
_FEASIBLE = 1e-13
# Where the likelihood itself is rounding errors, what may be left to gain: a thousandth of a standard error squared
_ENOUGH = 1e-6


class Scalar(Protocol):
    """A smooth function of the vector, such as `mle_pp.quantities.Quantity`."""

    def value(self, x: np.ndarray) -> float:
        """The function at `x`."""

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Its gradient, shape (size,)."""

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Its matrix of second derivatives, shape (size, size)."""


class ConstrainedMaximum(NamedTuple):
    """Where a constrained maximization ended.

    Attributes
    ----------
    x : ndarray, shape (size,)
    value : float
        The objective at `x`.
    multipliers : ndarray, shape (k,)
        ∂(maximum)/∂(value of each quantity); at `x` the gradient is the sum of multipliers × quantities' gradients.
    converged : bool
        Whether `x` lies on the surface and is a maximum on it, as far as derivatives tell.
    """

    x: np.ndarray
    value: float
    multipliers: np.ndarray
    converged: bool


def constrained_maximum(
    objective: Objective,
    quantities: Sequence[Scalar],
    values: Sequence[float] | np.ndarray,
    start: np.ndarray,
    max_iterations: int = MAX_ITERATIONS,
) -> ConstrainedMaximum:
    """Maximize an objective where each quantity has its value.

    Parameters
    ----------
    objective : Objective
    quantities : sequence of Scalar
        Fewer than the objective has coordinates, or as many; with independent gradients.
    values : sequence of float
        One for each quantity.
    start : ndarray, shape (size,)
        Anywhere the objective is finite; on the surface or not.
    max_iterations : int

    Returns
    -------
    ConstrainedMaximum
        ``x, value, multipliers, converged``.
    """
    target = np.asarray(values, dtype=float)
    point = _Point.at(objective, quantities, target, np.asarray(start, dtype=float))
    if point is None:
        return ConstrainedMaximum(start, -np.inf, np.full(target.size, np.nan), False)
    scale = 1 / units(point.x, objective.units, -point.hessian, -point.gradient)
    radius, penalty = 1.0, 0.0
    for _ in range(max_iterations):
        local = _Local.of(point, scale)
        step = local.step(radius)
        if local.is_feasible and local.is_convex and local.decrement < _DECREMENT:
            return ConstrainedMaximum(point.x, point.value, local.multipliers, True)
        gain = local.model(step)
        closer = local.distance - float(np.linalg.norm(local.offset + local.slopes @ step))
        if closer > 0:
            # Large enough that the step, and the solution, are improvements
            penalty = max(penalty, -gain / (0.7 * closer), 1.5 * float(np.abs(local.normal_multipliers).max()))
        predicted = gain + penalty * closer
        noise = _NOISE * max(1.0, abs(point.value))
        new = _Point.at(objective, quantities, target, point.x + step / scale)
        if predicted < noise:
            # The likelihood can no longer tell which point is better; its gradient still can
            better = new is not None and _Local.of(new, scale).size < 0.5 * local.size
            if not better:
                done = local.is_almost_feasible and local.is_convex and local.decrement < _ENOUGH
                return ConstrainedMaximum(point.x, point.value, local.multipliers, done)
            assert new is not None
            point = new
            continue
        length = float(np.linalg.norm(step))
        ratio = local.merit_gain(point, new, penalty) / predicted
        if ratio < 0.25 and new is not None and local.distance < 0.1 * length:
            corrected = step + local.towards_surface(new)
            again = _Point.at(objective, quantities, target, point.x + corrected / scale)
            other = local.merit_gain(point, again, penalty) / predicted
            if other > ratio:
                new, ratio = again, other
        if ratio < 0.25:
            radius = 0.25 * length
        elif ratio > 0.75 and length > 0.8 * radius:
            radius = min(3 * radius, 1e10)
        if ratio > 1e-4 and new is not None:
            point = new
        if radius < 1e-15 * max(1.0, float(np.linalg.norm(scale * point.x))):
            break
    local = _Local.of(point, scale)
    done = local.is_almost_feasible and local.is_convex and local.decrement < _ENOUGH
    return ConstrainedMaximum(point.x, point.value, local.multipliers, done)


@dataclass
class _Point:
    """All derivatives at one point; `offsets` is how much each quantity exceeds its value."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    target: np.ndarray
    offsets: np.ndarray
    slopes: np.ndarray
    curvatures: list[np.ndarray]

    @classmethod
    def at(cls, objective: Objective, quantities: Sequence[Scalar], target: np.ndarray, x: np.ndarray) -> _Point | None:
        """None where anything is not finite."""
        value, gradient, hessian = objective.derivatives(x)
        offsets = np.array([q.value(x) for q in quantities]) - target
        slopes = np.array([q.gradient(x) for q in quantities])
        curvatures = [q.hessian(x) for q in quantities]
        parts = (value, gradient, hessian, offsets, slopes, *curvatures)
        if not all(np.all(np.isfinite(part)) for part in parts):
            return None
        return cls(x, value, gradient, hessian, target, offsets, slopes, curvatures)


@dataclass
class _Local:
    """The quadratic model at a point, in scaled coordinates, and each quantity in units of its own slope there."""

    gradient: np.ndarray
    matrix: np.ndarray
    lengths: np.ndarray
    offset: np.ndarray
    slopes: np.ndarray
    range: np.ndarray
    null: np.ndarray
    triangle: np.ndarray
    normal_multipliers: np.ndarray
    is_feasible: bool
    is_almost_feasible: bool

    @classmethod
    def of(cls, point: _Point, scale: np.ndarray) -> _Local:
        gradient, slopes = point.gradient / scale, point.slopes / scale
        lengths = np.linalg.norm(slopes, axis=1)
        lengths = np.where(lengths > 0, lengths, 1.0)
        slopes = slopes / lengths[:, None]
        k = len(slopes)
        orthogonal, triangle = qr(slopes.T)
        triangle = triangle[:k]
        # Quantities that depend on each other here have no independent steps; a tiny diagonal keeps these finite
        small = np.abs(np.diag(triangle)) < 1e-12
        triangle[np.diag(small)] = 1e-12
        multipliers = solve_triangular(triangle, orthogonal[:, :k].T @ gradient)
        curvature = sum(
            (m / length * c for m, length, c in zip(multipliers, lengths, point.curvatures, strict=True)),
            np.zeros_like(point.hessian),
        )
        matrix = (curvature - point.hessian) / np.outer(scale, scale)
        reach = np.maximum(np.abs(point.target), lengths)
        misses = np.abs(point.offsets) / reach
        return cls(
            gradient,
            matrix,
            lengths,
            point.offsets / lengths,
            slopes,
            orthogonal[:, :k],
            orthogonal[:, k:],
            triangle,
            multipliers,
            bool(np.all(misses < _FEASIBLE)),
            bool(np.all(misses < 1e-9)),
        )

    @property
    def multipliers(self) -> np.ndarray:
        return self.normal_multipliers / self.lengths

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.offset))

    def __post_init__(self) -> None:
        # The curvature of the likelihood along the surface, and its slope there
        if self.null.shape[1]:
            self.values, self.vectors = eigh(self.null.T @ self.matrix @ self.null)
        else:
            self.values, self.vectors = np.zeros(0), np.zeros((0, 0))
        along = self.vectors.T @ (self.null.T @ self.gradient)
        largest = max(1.0, float(np.abs(self.values).max(initial=0.0)))
        self.decrement = float(0.5 * np.sum(along**2 / np.maximum(np.abs(self.values), FLAT * largest)))
        self.is_convex = bool(np.all(self.values > -1e-9 * largest))
        self.size = self.decrement + self.distance**2

    def step(self, radius: float) -> np.ndarray:
        """Towards the surface, most of the way that the region allows, then along it."""
        normal = self._to_surface(self.offset)
        length = float(np.linalg.norm(normal))
        if length > 0.8 * radius:
            normal *= 0.8 * radius / length
        if not self.values.size:
            return normal
        slope = self.vectors.T @ (self.null.T @ (self.matrix @ normal - self.gradient))
        rest = np.sqrt(radius**2 - float(normal @ normal))
        return normal + self.null @ (self.vectors @ trust_region_step(slope, self.values, rest))

    def _to_surface(self, offset: np.ndarray) -> np.ndarray:
        return -self.range @ solve_triangular(self.triangle, offset, trans="T")

    def towards_surface(self, new: _Point) -> np.ndarray:
        """The second-order correction: what is missing to the surface after a step."""
        return self._to_surface(new.offsets / self.lengths)

    def model(self, step: np.ndarray) -> float:
        """What the step gains according to the model."""
        return float(self.gradient @ step - 0.5 * step @ self.matrix @ step)

    def merit_gain(self, point: _Point, new: _Point | None, penalty: float) -> float:
        """What it gains in truth."""
        if new is None:
            return -np.inf
        return new.value - point.value + penalty * (self.distance - float(np.linalg.norm(new.offsets / self.lengths)))
