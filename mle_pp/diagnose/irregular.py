"""Maxima without the smoothness that standard errors need: edges of the support, kinks, jumps and plateaus."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from mle_pp.diagnose.case import Case
from mle_pp.optimize import Stop

# Steps of a likelihood that are searched on each side.
_MOST_STEPS = 200
_TINY = 1e-13


@dataclass(frozen=True)
class Plateau:
    """A range of one coordinate over which the function is exactly level, ending in kinks or jumps.

    Attributes
    ----------
    lower, upper : ndarray, shape (size,)
        The points at its ends; at its middle lies the point that was examined.
    """

    lower: np.ndarray
    upper: np.ndarray


def find_plateau(case: Case, k: int) -> tuple[Case, Plateau] | None:
    """The plateau that the point lies on along coordinate `k`, or a higher one, from its middle; None if it has none.

    A likelihood with steps (a change point, a threshold) has no slope that could lead to its highest one: they are
    visited one after the other, the other parameters re-maximized on each.
    """
    first = _level_range(case, case.x, k)
    if first is None:
        return None
    best = (case.value, case.x, first)
    for side in (0, 1):
        x, ends = case.x, first
        for _ in range(_MOST_STEPS):
            beyond = _beyond(case, x, k, ends[side], 1 if side else -1)
            following = None if beyond is None else _level_range(case, beyond, k)
            if beyond is None or following is None:
                break
            ends = following
            beyond[k] = 0.5 * (ends[0] + ends[1])
            x, value = case.back_to_ridge(beyond, np.eye(x.size)[k])
            if value > best[0] + case.noise:
                best = (value, x, ends)
    _, x, ends = best
    middle, lower, upper = x.copy(), x.copy(), x.copy()
    middle[k], lower[k], upper[k] = 0.5 * (ends[0] + ends[1]), *ends
    return _moved(case, middle), Plateau(lower, upper)


def _level_range(case: Case, x: np.ndarray, k: int) -> tuple[float, float] | None:
    """Where along coordinate `k` the function stops being exactly what it is at `x`; None if it nowhere is, or ever."""
    value = case.objective.value(x)
    rounding = _TINY * max(1.0, abs(value)) * 10

    def level(z: float) -> bool:
        point = x.copy()
        point[k] = z
        return abs(case.objective.value(point) - value) <= rounding

    ends = []
    for sign in (-1.0, 1.0):
        step = 1e-3 * case.unit[k]
        if not level(x[k] + sign * step):
            # At the edge of a plateau the other side may be level
            step = 0.0
        inside, outside = step, max(step, 1e-3 * case.unit[k]) * 2
        while level(x[k] + sign * outside):
            inside, outside = outside, 2 * outside
            if outside > 100 * case.unit[k]:
                return None
        for _ in range(60):
            middle = 0.5 * (inside + outside)
            inside, outside = (middle, outside) if level(x[k] + sign * middle) else (inside, middle)
        ends.append(x[k] + sign * inside)
    lower, upper = ends
    return (lower, upper) if upper - lower > 1e-3 * case.unit[k] else None


def _beyond(case: Case, x: np.ndarray, k: int, end: float, sign: int) -> np.ndarray | None:
    """A point on the next step, if there is one and the function is finite there."""
    point = x.copy()
    point[k] = end + sign * 1e-6 * case.unit[k]
    return point if np.isfinite(case.objective.value(point)) else None


def polished(case: Case) -> Case:
    """A corner or a kink is not found by derivatives: search it out with a simplex (Nelder and Mead 1965)."""
    x = case.x
    if x.size > 10 or case.optimum.stop is Stop.ITERATIONS:
        return case
    for width in (1e-2, 1e-4, 1e-4):
        corners = np.vstack([x, x + width * np.diag(np.maximum(case.objective.units, np.abs(x) + (x == 0)))])
        options = {"initial_simplex": corners, "xatol": 1e-13, "fatol": 1e-14, "maxiter": 400 * x.size}
        x = minimize(lambda z: -case.objective.value(z), x, method="Nelder-Mead", options=options).x
    return _moved(case, x) if case.objective.value(x) > case.value else case


def grows_towards_edge(case: Case, uphill: np.ndarray) -> bool:
    """Whether the function keeps rising by as much for each power of ten that the edge comes nearer.

    So it does where the density of an observation at the end of the support is infinite (Weibull with a shape below 1).
    """
    heights = [case.objective.value(_pushed(case, case.x, uphill) - t * uphill) for t in (1e-4, 1e-6, 1e-8)]
    first, second = heights[1] - heights[0], heights[2] - heights[1]
    return bool(second > 0.1 and second > 0.5 * first)


def slid(case: Case, uphill: np.ndarray) -> Case:
    """The highest point along the edge of the support: a compass search, each point pushed uphill to the edge."""
    x, length = _pushed(case, case.x, uphill), 1.0
    best = case.objective.value(x)
    while length > 1e-9:
        moves = [s * length * case.unit[k] * np.eye(x.size)[k] for k in range(x.size) for s in (1.0, -1.0)]
        points = [_pushed(case, x + move, uphill) for move in moves]
        values = [case.objective.value(point) for point in points]
        k = int(np.argmax(np.where(np.isfinite(values), values, -np.inf)))
        if values[k] > best + 1e-14 * max(1.0, abs(best)):
            x, best = points[k], values[k]
        else:
            length /= 4
    return _moved(case, x) if best > case.value else case


def _pushed(case: Case, x: np.ndarray, uphill: np.ndarray) -> np.ndarray:
    """The point on the edge of the support that lies uphill of `x` or, if `x` is outside, downhill."""
    inside = np.isfinite(case.objective.value(x))
    sign = 1.0 if inside else -1.0
    near = far = 0.0
    for length in 2.0 ** np.arange(-30, 4):
        near, far = far, float(length)
        if np.isfinite(case.objective.value(x + sign * length * uphill)) != inside:
            break
    else:
        return x
    for _ in range(50):
        middle = 0.5 * (near + far)
        same = np.isfinite(case.objective.value(x + sign * middle * uphill)) == inside
        near, far = (middle, far) if same else (near, middle)
    return x + sign * (near if inside else far) * uphill


def cornered(case: Case, marks: np.ndarray) -> Case:
    """The marked coordinates moved to where the support ends exactly, one after the other, while nothing is lost."""
    x = case.x.copy()
    for _ in range(3):
        for k in map(int, np.flatnonzero(marks)):
            x = max((_to_the_end(case, x, k, sign) for sign in (1.0, -1.0)), key=case.objective.value)
    return _moved(case, x) if case.objective.value(x) >= case.value else case


def _to_the_end(case: Case, x: np.ndarray, k: int, sign: float) -> np.ndarray:
    """As far along a coordinate as the function is finite, if the end is near and no lower."""
    inside, outside = 0.0, 1e-3 * case.unit[k]

    def point(length: float) -> np.ndarray:
        return np.where(np.arange(x.size) == k, x + sign * length, x)

    if np.isfinite(case.objective.value(point(outside))):
        return x
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        inside, outside = (middle, outside) if np.isfinite(case.objective.value(point(middle))) else (inside, middle)
    end = point(inside)
    return end if case.objective.value(end) >= case.objective.value(x) else x


def _moved(case: Case, x: np.ndarray) -> Case:
    value, gradient = case.objective.value_gradient(x)
    hessian = case.objective.hessian(x)
    return Case(
        case.objective, case.parameters, replace(case.optimum, x=x, value=value, gradient=gradient, hessian=hessian)
    )


def support_ends(case: Case) -> np.ndarray:
    """Coordinates of which the smallest step, one way or the other, makes some observation impossible."""
    marks = np.zeros(case.x.size, dtype=bool)
    for k in range(case.x.size):
        for sign in (1.0, -1.0):
            x = case.x.copy()
            x[k] += sign * 1e-6 * case.unit[k]
            marks[k] |= not np.isfinite(case.objective.value(x))
    return marks


def kinks(case: Case) -> np.ndarray:
    """Coordinates along which the function falls both ways in proportion to the distance, or at once."""
    marks = np.zeros(case.x.size, dtype=bool)
    for k in range(case.x.size):
        falls = np.empty((2, 2))
        for side, sign in enumerate((1.0, -1.0)):
            for j, length in enumerate((1e-5, 4e-5)):
                x = case.x.copy()
                x[k] += sign * length * case.unit[k]
                falls[side, j] = case.value - case.objective.value(x)
        linear = np.all(falls[:, 1] > 10 * case.noise) and np.all(falls[:, 1] < 8 * falls[:, 0])
        marks[k] = bool(linear)
    return marks
