"""Newton's method in a trust region, on the exact Hessian, in coordinates scaled by the curvature.

The trust-region problem is solved exactly through an eigen-decomposition (Nocedal and Wright, Numerical Optimization,
2nd ed., section 4.3, with the hard case), so saddles are left along their most negative curvature. Coordinates are
scaled by the square roots of the Hessian's diagonal at each iterate (after Moré, 1978): the path does not depend on
the units of the parameters. Points where the function is not finite are steps that failed, never results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from mle_pp.linalg import ScaledEigen
from mle_pp.objective import Objective
from mle_pp.optimize.optimum import FLAT, Optimum, Stop, newton_decrement

MAX_ITERATIONS = 500
_FIRST_RADIUS = 10.0
_TINY_DECREMENT = 1e-24
_FAR = 1e100


@dataclass
class _Point:
    """One iterate with all that is known there; the function is turned into one to be minimized."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray

    def __post_init__(self) -> None:
        self.eigen = ScaledEigen.of(self.hessian, self.gradient)
        self.decrement = newton_decrement(self.eigen, self.gradient)

    @classmethod
    def at(cls, objective: Objective, x: np.ndarray) -> _Point | None:
        value, gradient = objective.value_gradient(x)
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            return None
        hessian = objective.hessian(x)
        return cls(x, -value, -gradient, -hessian) if np.all(np.isfinite(hessian)) else None


def trust_region_step(gradient: np.ndarray, curvature: np.ndarray, radius: float) -> np.ndarray:
    """The minimizer of gᵀp + ½ pᵀ diag(w) p over ‖p‖ ≤ radius, in eigen-coordinates."""
    floor = FLAT * max(1.0, float(np.abs(curvature).max()))
    flat = (np.abs(curvature) < floor) & (np.abs(gradient) < 1e-9 * (1 + np.abs(gradient).max()))
    gradient = np.where(flat, 0.0, gradient)
    curvature = np.where(flat, 1.0, curvature)
    lowest = float(curvature.min())
    if lowest > 0:
        newton = -gradient / curvature
        if np.linalg.norm(newton) <= radius:
            return newton

    def length(shift: float) -> float:
        return float(np.linalg.norm(gradient / (curvature + shift)))

    start = max(0.0, -lowest)
    low = start + 1e-14 * max(1.0, abs(start))
    if length(low) < radius:
        # The hard case: the gradient has no component along the most negative curvature, at a saddle for instance.
        step = -gradient / (curvature + low)
        k = int(np.argmin(curvature))
        rest = np.sqrt(max(radius**2 - float(step @ step) + step[k] ** 2, 0.0))
        step[k] = -np.copysign(rest, gradient[k])
        return step
    high = start + float(np.linalg.norm(gradient)) / radius
    shift = brentq(lambda s: 1 / radius - 1 / length(s), low, max(high, low * (1 + 1e-12)), rtol=1e-10, maxiter=200)
    return -gradient / (curvature + shift)


def newton(objective: Objective, start: np.ndarray, max_iterations: int = MAX_ITERATIONS) -> Optimum:
    """Maximize from `start`; stops where the quadratic model promises nothing more."""
    point = _Point.at(objective, np.asarray(start, dtype=float))
    evaluations = 1
    if point is None:
        size = len(start)
        return Optimum(
            np.asarray(start, dtype=float), -np.inf, np.full(size, np.nan), np.full((size, size), np.nan),
            Stop.NOT_FINITE, "newton", 0, 1, np.zeros(size),
        )  # fmt: skip
    radius, stop, step = _FIRST_RADIUS, Stop.ITERATIONS, np.zeros_like(point.x)
    decrements = [point.decrement]
    iteration, walled = 0, False
    for iteration in range(1, max_iterations + 1):
        if point.decrement < _TINY_DECREMENT and point.eigen.values[0] > -FLAT:
            stop = Stop.SMALL_DECREMENT
            break
        gradient = point.eigen.rotate(point.gradient)
        scaled = trust_region_step(gradient, point.eigen.values, radius)
        step = point.eigen.unrotate(scaled)
        predicted = -float(gradient @ scaled + 0.5 * scaled @ (point.eigen.values * scaled))
        trial = point.x + step
        value = -objective.value(trial)
        evaluations += 1
        length = float(np.linalg.norm(scaled))
        noise = 1e-13 * max(1.0, abs(point.value))
        if not np.isfinite(value):
            walled, radius = True, 0.25 * length
        elif predicted < noise:
            # Values can no longer tell which point is better; gradients still can.
            new = _Point.at(objective, trial)
            evaluations += 1
            if new is None or new.decrement > 0.25 * point.decrement or value > point.value + 100 * noise:
                stop = Stop.SMALL_DECREMENT
                break
            point = new
            decrements.append(point.decrement)
            continue
        else:
            ratio = (point.value - value) / predicted
            if ratio < 0.25:
                radius = 0.25 * length
            elif ratio > 0.75 and length > 0.8 * radius:
                radius = min(3 * radius, 1e10)
            if ratio > 1e-4:
                new = _Point.at(objective, trial)
                evaluations += 1
                if new is None:
                    walled, radius = True, 0.25 * length
                    continue
                point, walled = new, False
                decrements.append(point.decrement)
                if -point.value > _FAR or np.abs(point.x).max() > _FAR:
                    stop = Stop.FAR
                    break
                if _linear(decrements) and point.decrement < 1e-9:
                    stop = Stop.SLOW_RAY
                    break
        if radius < 1e-15 * max(1.0, float(np.linalg.norm(point.eigen.scale * point.x))):
            stop = Stop.WALL if walled else Stop.NO_PROGRESS
            break
    return Optimum(
        point.x, -point.value, -point.gradient, -point.hessian, stop, "newton", iteration, evaluations, step
    )


def _linear(decrements: list[float]) -> bool:
    """The last gains shrank by a nearly constant factor: Newton's method is not converging quadratically."""
    if len(decrements) < 7:
        return False
    ratios = np.array(decrements[-5:]) / np.array(decrements[-6:-1])
    return bool(np.all(ratios > 0.02) and np.all(ratios < 1))
