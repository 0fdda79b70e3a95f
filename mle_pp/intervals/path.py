"""One side of a profile, followed from the maximum outward: for what Newton's method does not reach at once.

Points of the profile, constrained maxima each, lie on a path through the vector's space. Each starts the next, farther
out in the direction of the last step, until the likelihood has fallen to the cutoff, has levelled off above it, or
turns out to be higher than at the supposed maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise

import numpy as np

from mle_pp.diagnose.case import Slice
from mle_pp.intervals.constrained import Scalar, constrained_maximum
from mle_pp.intervals.endpoint import Endpoint, Point, Top, newton_endpoint, tolerance
from mle_pp.linalg import curvature_scale

_MOST = 80
_SMALLEST = 1e-6
# A doubling of the distance that costs less than this of what is left to fall is one along a plateau
_LEVEL = 1e-3


class Ending(Enum):
    """How a path ends."""

    CROSSED = auto()
    LEVEL = auto()
    STUCK = auto()


@dataclass(frozen=True)
class Path:
    """Points of one side of a profile, from the maximum outward; the last one is the endpoint if it was crossed."""

    points: list[Endpoint]
    ending: Ending


def maximum_at(top: Top, scalar: Scalar, psi: float, start: np.ndarray) -> Endpoint | None:
    """The point of the profile where the scalar is `psi`; None if it was not found from this start."""
    starts = [start]
    if top.holds:
        held = _held(top, scalar, psi, start)
        inward = off_the_edge(top, held.x, held.value) if held else []
        if held and not inward:
            top.check(held.x, held.value)
            return held
        starts += inward
    found = _highest(top, scalar, psi, starts)
    if found is not None and not top.holds:
        found = _highest(top, scalar, psi, off_the_edge(top, found.x, found.value), found)
    if found is not None:
        top.check(found.x, found.value)
    return found


def _highest(
    top: Top, scalar: Scalar, psi: float, starts: Sequence[np.ndarray], known: Endpoint | None = None
) -> Endpoint | None:
    """The best of the constrained maxima from these starts, and of one that is known."""
    for start in starts:
        found = constrained_maximum(top.objective, [scalar], [psi], start)
        if found.converged and (known is None or found.value > known.value):
            known = Endpoint(found.x, psi, found.value, float(found.multipliers[0]))
    return known


@dataclass(frozen=True)
class _InPlane:
    """A scalar on a plane."""

    scalar: Scalar
    plane: Slice
    basis: np.ndarray

    def value(self, u: np.ndarray) -> float:
        return self.scalar.value(self.plane.point(u))

    def gradient(self, u: np.ndarray) -> np.ndarray:
        return self.basis.T @ self.scalar.gradient(self.plane.point(u))

    def hessian(self, u: np.ndarray) -> np.ndarray:
        return self.basis.T @ self.scalar.hessian(self.plane.point(u)) @ self.basis


def _held(top: Top, scalar: Scalar, psi: float, start: np.ndarray) -> Endpoint | None:
    """The constrained maximum at the limit."""
    plane = Slice(top.objective, top.point.x, top.basis)
    inside = np.linalg.lstsq(top.basis, start - top.point.x)[0]
    found = constrained_maximum(plane, [_InPlane(scalar, plane, top.basis)], [psi], inside)
    if not found.converged:
        return None
    return Endpoint(plane.point(found.x), psi, found.value, float(found.multipliers[0]))


def off_the_edge(top: Top, x: np.ndarray, value: float) -> list[np.ndarray]:
    """Points back from the limit where the likelihood is higher than at x.

    At the edge of a transformed scale slopes vanish, and the likelihood may have come to rise inward unseen.
    """
    found = []
    for whole in top.drift.T:
        moving = np.flatnonzero(whole)
        alone = [np.where(np.arange(whole.size) == k, whole, 0.0) for k in moving] if moving.size > 1 else []
        for direction in [whole, *alone]:
            # Steps that are too small to change anything show the rounding errors
            near = [top.objective.value(x + k * 1e-8 * direction) for k in range(-2, 3)]
            back = [x - t * direction for t in 2.0 ** np.arange(-5, 7, 0.5)]
            values = [top.objective.value(b) for b in back]
            best = int(np.argmax(values))
            if values[best] > value + 10 * np.ptp(near) + tolerance(1.0, value):
                found.append(back[best])
    return found


def follow(
    top: Top,
    scalar: Scalar,
    side: int,
    drop: float,
    first: Sequence[Endpoint],
    direction: np.ndarray,
) -> Path:
    """Follow a side of the profile until it has fallen by `drop`.

    Parameters
    ----------
    top : Top
    scalar : Scalar
    side : {-1, 1}
    drop : float
    first : sequence of Endpoint
        Points that are known, from the maximum outward.
    direction : ndarray, shape (size,)
        The first step from the last of them.
    """
    points, factor = list(first), 1.0
    for _ in range(_MOST):
        ahead = _next(top, scalar, side, points[-1], factor * direction)
        if ahead is None:
            if _stays_level(top, points, drop):
                return Path(points, Ending.LEVEL)
            factor /= 2
            if factor < _SMALLEST:
                break
            continue
        points.append(ahead)
        fallen = top.point.value - ahead.value
        if fallen >= drop:
            end = _between(top, scalar, side, drop, points[-2], ahead)
            return Path([*points[:-1], end] if end else points, Ending.CROSSED if end else Ending.STUCK)
        if _is_level(top, points, drop):
            return Path(points, Ending.LEVEL)
        direction = ahead.x - points[-2].x
        gained = _root(top, ahead) - _root(top, points[-2])
        factor = 2.0 if gained < np.sqrt(2 * drop) / 4 else 1.0
    return Path(points, Ending.STUCK)


def _next(top: Top, scalar: Scalar, side: int, last: Endpoint, step: np.ndarray) -> Endpoint | None:
    """The point of the profile that a step leads to."""
    start = last.x + step
    psi = scalar.value(start)
    if not (np.isfinite(psi) and side * (psi - last.psi) > 0):
        return None
    return _best_at(top, scalar, psi, [start, last.x], last)


def _best_at(top: Top, scalar: Scalar, psi: float, starts: Sequence[np.ndarray], last: Endpoint) -> Endpoint | None:
    """The point of the profile that the first start leads to or, if it does not fit the last one, the best of all.

    The profile falls by the integral of its slope; where it does not, some point is only a local maximum, or lies on
    a plateau far out.
    """
    best: Endpoint | None = None
    for start in starts:
        found = maximum_at(top, scalar, psi, start) if np.isfinite(top.objective.value(start)) else None
        if found is None or (best is not None and best.value >= found.value):
            continue
        best = found
        change = best.value - last.value
        if abs(change - 0.5 * (best.slope + last.slope) * (psi - last.psi)) < 0.5 * abs(change) + 0.01:
            break
    return best


def _root(top: Top, point: Endpoint) -> float:
    return float(np.sqrt(2 * max(top.point.value - point.value, 0.0)))


def _is_level(top: Top, points: list[Endpoint], drop: float) -> bool:
    """Whether two doublings of the distance in a row have cost next to nothing."""
    if len(points) < 4:
        return False
    fallen = [top.point.value - point.value for point in points[-3:]]
    left = drop - fallen[-1]
    psi = np.array([point.psi for point in points[-4:]])
    strides = np.abs(np.diff(psi))
    lengths = [np.linalg.norm(b.x - a.x) for a, b in zip(points[-4:-1], points[-3:], strict=True)]
    doubles = all(strides[k + 1] > 1.5 * strides[k] or lengths[k + 1] > 1.5 * lengths[k] for k in range(2))
    return doubles and all(abs(b - a) < _LEVEL * left for a, b in pairwise(fallen))


def _stays_level(top: Top, points: list[Endpoint], drop: float) -> bool:
    """Whether as long a way again would cost next to nothing, as far as the slope at the end tells."""
    last = points[-1]
    left = drop - (top.point.value - last.value)
    return len(points) > 1 and abs(last.slope * (last.psi - points[0].psi)) < _LEVEL * left


def _between(top: Top, scalar: Scalar, side: int, drop: float, inner: Endpoint, outer: Endpoint) -> Endpoint | None:
    """The endpoint between two points of the profile: by Newton's method, or by halving with constrained maxima."""
    goal = top.point.value - drop
    enough = tolerance(drop, goal)
    for k in range(_MOST):
        low, high = _root(top, inner), _root(top, outer)
        share = float(np.clip((np.sqrt(2 * drop) - low) / (high - low), 0.05, 0.95)) if high > low else 0.5
        start = inner.x + share * (outer.x - inner.x)
        if k < 5:
            found = _newton(top, scalar, side, drop, start, inner.slope + share * (outer.slope - inner.slope))
            if found is not None and side * (found.psi - inner.psi) >= 0 and side * (outer.psi - found.psi) >= 0:
                return found
        elif k % 3 == 0:
            # Interpolation may creep up to one end
            share = 0.5
        psi = inner.psi + share * (outer.psi - inner.psi)
        middle = _best_at(top, scalar, psi, [start, inner.x, outer.x], inner)
        if middle is None:
            return None
        if abs(middle.value - goal) <= enough:
            return middle
        inner, outer = (middle, outer) if middle.value > goal else (inner, middle)
        if abs(outer.psi - inner.psi) <= 4e-16 * max(abs(outer.psi), abs(inner.psi)):
            return inner if inner.value - outer.value < 1e-6 * drop else None
    return None


def _newton(top: Top, scalar: Scalar, side: int, drop: float, x: np.ndarray, multiplier: float) -> Endpoint | None:
    """Newton's method from near the endpoint, in the directions that matter there."""
    value, gradient, hessian = top.objective.derivatives(x)
    if not (np.isfinite(value) and np.all(np.isfinite(gradient)) and np.all(np.isfinite(hessian))):
        return None
    start = Point(x, value, gradient, hessian)
    basis = _curved(top, start, multiplier * scalar.hessian(x))
    found = newton_endpoint(top, scalar, side, drop, start, multiplier, basis)
    if found is None:
        return None
    # It is stationary; whether it is a maximum is seen by maximizing from there
    best = maximum_at(top, scalar, found.psi, found.x)
    is_highest = best is not None and best.value - found.value <= 10 * tolerance(drop, found.value)
    return found if is_highest else None


def _curved(top: Top, point: Point, bend: np.ndarray) -> np.ndarray:
    """The directions along which a step of one unit changes the likelihood visibly."""
    error = 1 / curvature_scale(-point.hessian, point.gradient)
    unit = np.where(top.objective.units > 0, 1.0, np.maximum(np.abs(point.x), error))
    matrix = (bend - point.hessian) * np.outer(unit, unit)
    if not np.all(np.isfinite(matrix)):
        return np.eye(point.x.size)
    values, vectors = np.linalg.eigh(matrix)
    return unit[:, None] * vectors[:, np.abs(values) > 1e-8]


def refined(top: Top, scalar: Scalar, points: list[Endpoint], count: int) -> list[Endpoint]:
    """At least `count` points of one side of the profile, about equally far apart in the signed root."""
    points = list(points)
    roots = [_root(top, point) for point in points]
    stride = (roots[-1] - roots[0]) / max(count - 1, 1)
    for wanted in np.linspace(roots[0], roots[-1], count)[1:-1]:
        k = next((k for k in range(1, len(roots)) if roots[k - 1] <= wanted <= roots[k]), None)
        if k is None or min(wanted - roots[k - 1], roots[k] - wanted) < 0.1 * stride:
            continue
        a, b = points[k - 1], points[k]
        share = (wanted - roots[k - 1]) / (roots[k] - roots[k - 1])
        psi, start = a.psi + share * (b.psi - a.psi), a.x + share * (b.x - a.x)
        middle = _best_at(top, scalar, psi, [start, a.x, b.x], a)
        if middle is not None:
            points.insert(k, middle)
            roots.insert(k, _root(top, middle))
    return points
