"""Newton's method in a trust region: on the exact Hessian, or on the Fisher information (scoring).

The trust-region problem is solved exactly through an eigen-decomposition (Nocedal and Wright, Numerical Optimization,
2nd ed., section 4.3, with the hard case), so saddles are left along their most negative curvature. Points where the
function is not finite are steps that failed, never results.

The region is measured in units of each coordinate, so that the path does not depend on the user's units: a tenth of
the starting value where it is not zero (its "typical size", Dennis and Schnabel 1983, section 7.1), a fraction of a
log-unit for transformed variables, and some standard errors where the starting value is zero. Tuned on NIST's nonlinear
regressions, where scaling by curvature alone runs away on problems with plateaus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from mle_pp.linalg import ScaledEigen, curvature_scale
from mle_pp.objective import Objective
from mle_pp.optimize.optimum import FLAT, Optimum, Stop, newton_decrement

MAX_ITERATIONS = 1000
_TINY_DECREMENT = 1e-24
_WINDOW = 50
_PATIENCE = 150
_FAR = 1e100
# In log-units: a scale of e⁻²⁰⁰ is a likelihood without bound, not an estimate.
_FAR_LOG = 200.0
# A known maximum is near where it is so much higher, and explains what is found there if it errs by so little of that
_NEAR = 1.0
_EXPLAINED = 0.2


@dataclass
class _Point:
    """One iterate with all that is known there; the function is turned into one to be minimized."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray

    def __post_init__(self) -> None:
        eigen = ScaledEigen.of(self.hessian, self.gradient)
        self.decrement = newton_decrement(eigen, self.gradient)
        self.is_convex = bool(np.all(eigen.values > -FLAT))

    @classmethod
    def at(cls, objective: Objective, x: np.ndarray) -> _Point | None:
        value, gradient, hessian = objective.derivatives(x)
        if not (np.isfinite(value) and np.all(np.isfinite(gradient)) and np.all(np.isfinite(hessian))):
            return None
        return cls(x, -value, -gradient, -hessian)


def units(start: np.ndarray, natural: np.ndarray, hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """How far each coordinate may move in a first step.

    Parameters
    ----------
    start : ndarray, shape (size,)
    natural : ndarray, shape (size,)
        Units known beforehand; zero where there is none.
    hessian, gradient : ndarray
        At `start`.
    """
    error = 1 / curvature_scale(hessian, gradient)
    typical = np.where(start == 0, 10 * error, np.maximum(np.abs(start) / 10, error / 1000))
    return np.where(natural > 0, natural, typical)


@np.errstate(over="ignore")
def trust_region_step(gradient: np.ndarray, curvature: np.ndarray, radius: float) -> np.ndarray:
    """The minimizer of gᵀp + ½ pᵀ diag(w) p over ‖p‖ ≤ radius, in eigen-coordinates."""
    floor = FLAT * max(1.0, float(np.abs(curvature).max()))
    largest = max(float(np.abs(gradient).max()), float(np.abs(curvature).max()))
    if largest > 1e100:
        # The step is the same, and no square overflows
        gradient, curvature, floor = gradient / largest, curvature / largest, floor / largest
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
    high = max(start + float(np.linalg.norm(gradient)) / radius, 2 * low)
    while length(high) > radius:
        high *= 2
    shift = brentq(lambda s: radius / length(s) - 1, low, high, xtol=1e-300, rtol=1e-15, maxiter=500)
    step = -gradient / (curvature + shift)
    return step * min(1.0, radius / float(np.linalg.norm(step)))


def newton(
    objective: Objective, start: np.ndarray, known: Sequence[Optimum] = (), max_iterations: int = MAX_ITERATIONS
) -> Optimum:
    """Maximize with the exact Hessian."""
    return trust_region(objective, start, "newton", lambda point: point.hessian, max_iterations, known)


def scoring(objective: Objective, start: np.ndarray, known: Sequence[Optimum] = ()) -> Optimum:
    """Maximize with the Fisher information; near the maximum, where the Hessian is better, continue with that."""
    first = trust_region(
        objective, start, "scoring", lambda point: objective.information(point.x), MAX_ITERATIONS, known
    )
    if not np.isfinite(first.value):
        return first
    return first.followed_by(newton(objective, first.x, known))


def _leads_to(point: _Point, end: Optimum) -> bool:
    """Whether a point is within about a standard error of a known maximum, whose Hessian explains value and slope."""
    way = end.x - point.x
    slope = end.hessian @ way
    gain = -0.5 * float(way @ slope)
    if not (0 <= gain < _NEAR and abs(end.value + point.value - gain) < _EXPLAINED * gain):
        return False
    eigen, rest = end.eigen, point.gradient - slope
    is_maximum = end.stop is Stop.SMALL_DECREMENT and np.all(eigen.values > -FLAT)
    return bool(is_maximum) and newton_decrement(eigen, rest) < _EXPLAINED**2 * gain


def _has_collapsed(objective: Objective, start: np.ndarray, x: np.ndarray) -> bool:
    """A scale has shrunk or grown by many orders of magnitude."""
    return bool(np.any((np.abs(x - start) > 10) & (objective.units > 0)))


def trust_region(
    objective: Objective,
    start: np.ndarray,
    name: str,
    curvature: Callable[[_Point], np.ndarray],
    max_iterations: int,
    known: Sequence[Optimum] = (),
    window: int = _WINDOW,
    least: float = 1e-4,
    enough: float = _TINY_DECREMENT,
) -> Optimum:
    """Iterate until the quadratic model promises nothing more.

    Parameters
    ----------
    objective : Objective
    start : ndarray, shape (size,)
    name : str
        Of the method.
    curvature : callable
        From a point to the matrix of the quadratic model.
    max_iterations : int
    known : sequence of Optimum
        The ends of earlier searches: one that this one is about to come to is its end, too.
    window : int
    least : float
        The search ends where the function has not risen by so much, relative to its size, in so many iterations.
    enough : float
        The decrement at which the search ends.
    """
    point = _Point.at(objective, np.asarray(start, dtype=float))
    if point is None:
        return Optimum.failed(start, name)
    scale = 1 / units(point.x, objective.units, point.hessian, point.gradient)
    radius, stop, walled, evaluations = 1.0, Stop.ITERATIONS, False, 1
    step, last = np.zeros_like(point.x), np.inf
    iteration = 0
    for iteration in range(1, max_iterations + 1):
        if point.decrement < enough and point.is_convex:
            stop = Stop.SMALL_DECREMENT
            break
        for end in known:
            # Others may lie on the way of several steps
            if np.linalg.norm(scale * (end.x - point.x)) <= radius and _leads_to(point, end):
                return replace(end, method=name, iterations=iteration, evaluations=evaluations)
        matrix = curvature(point)
        if not np.all(np.isfinite(matrix)):
            stop = Stop.NO_PROGRESS
            break
        eigen = ScaledEigen.of(matrix, scale=scale)
        gradient = eigen.rotate(point.gradient)
        scaled = trust_region_step(gradient, eigen.values, radius)
        step = eigen.unrotate(scaled)
        predicted = -float(gradient @ scaled + 0.5 * scaled @ (eigen.values * scaled))
        length = float(np.linalg.norm(scaled))
        trial = point.x + step
        value = -objective.value(trial)
        evaluations += 1
        noise = 1e-13 * max(1.0, abs(point.value))
        new = _Point.at(objective, trial) if np.isfinite(value) and point.value - value > -100 * noise else None
        if predicted < noise and point.decrement > 1e-6 and length > 0.8 * radius and radius < 1e10:
            # It is the region that is too small for anything to be seen, not the slope
            radius *= 10
            continue
        if predicted < noise:
            # Values can no longer tell which point is better; gradients still can.
            if new is None or new.decrement > 0.25 * point.decrement:
                stop = Stop.SMALL_DECREMENT
                break
            point = new
            continue
        ratio = (point.value - value) / predicted if np.isfinite(value) else -1.0
        walled = not np.isfinite(value)
        if ratio < 0.25:
            radius = 0.25 * length
        elif ratio > 0.75 and length > 0.8 * radius:
            radius = min(3 * radius, 1e10)
        if ratio > 1e-4:
            if new is None:
                walled, radius = True, 0.25 * length
                continue
            point = new
            far = np.where(objective.units > 0, _FAR_LOG, _FAR)
            if -point.value > _FAR or np.any(np.abs(point.x) > far):
                stop = Stop.FAR
                break
        if iteration % window == 0:
            if last - point.value < least * max(1.0, abs(point.value)):
                stop = Stop.NO_PROGRESS
                break
            last = point.value
        if iteration >= _PATIENCE and point.decrement > 1e3 and _has_collapsed(objective, start, point.x):
            stop = Stop.FAR
            break
        if radius < 1e-15 * max(1.0, float(np.linalg.norm(scale * point.x))):
            stop = Stop.WALL if walled else Stop.NO_PROGRESS
            break
    return Optimum(point.x, -point.value, -point.gradient, -point.hessian, stop, name, iteration, evaluations, step)
