"""For objectives whose Hessian costs many gradients: a trust region on a matrix that learns from the gradients seen.

The matrix starts as forward differences of the gradient, made definite, or as that at the end of an earlier search. It
takes the symmetric rank-one update where it stays definite with that, else the damped BFGS update (Powell 1978; Nocedal
and Wright, Numerical Optimization, 2nd ed., sections 6.2 and 18.3). The true Hessian is computed at the best of the
ends only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from mle_pp.objective import Costly, Objective
from mle_pp.optimize.newton import newton, trust_region
from mle_pp.optimize.optimum import Optimum, Stop

_STEP = 1e-4
# The least eigenvalue of the matrix, scaled to a diagonal of ones, at the start and after a rank-one update
_DEFINITE, _STILL = 1e-6, 1e-4
# Scales that are expected to be wrong by more than this, in log-units, are set right before the search
_MATTERS = 0.5
_FARTHEST = 6.0
# A step that promises less is a millionth of a standard error long, and the Hessian at its end is the same
_SAME = 1e-12


class Learning:
    """An objective with a Hessian that is learned, from a matrix that may be known."""

    has_information = False
    is_costly = True
    default_starts = 1

    def __init__(self, objective: Objective, first: np.ndarray | None = None) -> None:
        self._objective, self._first = objective, first
        self._x: np.ndarray | None = None
        self._gradient, self._matrix = np.zeros(0), np.zeros((0, 0))

    def __getattr__(self, name: str) -> Any:
        # Everything else is asked of the objective itself
        return getattr(self._objective, name)

    def derivatives(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and the Hessian learned so far."""
        value, gradient = self._objective.value_gradient(x)
        if np.all(np.isfinite(gradient)):
            if self._x is None:
                first = self._first
                if first is None:
                    first = differences(self._objective, x, gradient, np.arange(x.size))
                self.begin(x, gradient, first)
            else:
                self._learn(x - self._x, gradient - self._gradient)
                self._x, self._gradient = x, gradient
        return value, gradient, self._matrix

    def begin(self, x: np.ndarray, gradient: np.ndarray, matrix: np.ndarray) -> None:
        """What is known at a point."""
        self._x, self._gradient, self._matrix = x, gradient, matrix

    def _learn(self, step: np.ndarray, change: np.ndarray) -> None:
        rest = change - self._matrix @ step
        product = float(rest @ step)
        if abs(product) <= 1e-8 * float(np.linalg.norm(rest) * np.linalg.norm(step)):
            return
        new = self._matrix + np.outer(rest, rest) / product
        scale = np.sqrt(-np.diag(self._matrix))
        if np.linalg.eigvalsh(new / np.outer(scale, scale))[-1] > -_STILL:
            new = _damped(-self._matrix, step, -change)
        self._matrix = new


def slope(objective: Objective, x: np.ndarray, gradient: np.ndarray, k: int) -> np.ndarray:
    """The change of the gradient along a coordinate, by a forward difference."""
    shift = np.zeros(x.size)
    shift[k] = _STEP * max(1.0, abs(x[k]))
    return (objective.value_gradient(x + shift)[1] - gradient) / shift[k]


def differences(objective: Objective, x: np.ndarray, gradient: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The Hessian in some coordinates by forward differences, made definite."""
    columns = np.array([slope(objective, x, gradient, k)[among] for k in among]).reshape(among.size, among.size)
    if not np.all(np.isfinite(columns)):
        return columns
    scale = np.sqrt(np.maximum(np.abs(np.diag(columns)), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(0.5 * (columns + columns.T) / np.outer(scale, scale))
    values = -np.maximum(np.abs(values), _DEFINITE)
    return (vectors * values) @ vectors.T * np.outer(scale, scale)


def _damped(matrix: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The BFGS update of a positive-definite matrix, with as much of the old one as keeps it so; negative."""
    product = matrix @ step
    old, now = float(step @ product), float(step @ change)
    share = 1.0 if now >= 0.2 * old else 0.8 * old / (old - now)
    mixed = share * change + (1 - share) * product
    return np.outer(product, product) / old - np.outer(mixed, mixed) / float(step @ mixed) - matrix


def located(objective: Objective, start: np.ndarray) -> np.ndarray:
    """The start with coefficients at their maximum given the scales, for normal data: one Newton step.

    With scales that are too large, it is about least squares; scales that are then set right are those of residuals.
    """
    free = np.flatnonzero(objective.units == 0)
    if not (free.size and objective.is_costly and cast(Costly, objective).is_quadratic):
        return start
    value, gradient = objective.value_gradient(start)
    matrix = differences(objective, start, gradient, free)
    moved = start.copy()
    if np.all(np.isfinite(matrix)):
        moved[free] -= np.linalg.solve(matrix, gradient[free])
    return moved if objective.value(moved) > value else start


def sized(objective: Objective, start: np.ndarray) -> np.ndarray:
    """The start with scales of about the right size, each on its own, if that is a higher point.

    The likelihood of a scale σ = eˣ is about −m x − S/(2σ²). Its slope and curvature tell m and S, and with them the
    maximum, wherever σ begins; Newton's method would go there in steps of about a log-unit.
    """
    scales = np.flatnonzero(objective.units > 0).tolist()
    value, gradient = objective.value_gradient(start)
    if not np.isfinite(value) or not scales:
        return start
    moved = start.copy()
    for k in scales:
        half = -0.5 * slope(objective, start, gradient, k)[k]
        if half > 0 and half > gradient[k]:
            moved[k] += np.clip(0.5 * np.log(half / (half - gradient[k])), -_FARTHEST, _FARTHEST)
    if np.abs(moved - start).max() < _MATTERS or not objective.value(moved) > value:
        return start
    return moved


def secant(objective: Objective, start: np.ndarray, known: Sequence[Optimum] = ()) -> Optimum:
    """Maximize with a learned Hessian, which the result carries: `polished` gives it the true one."""
    ends = [end for end in known if end.stop is Stop.SMALL_DECREMENT and np.all(end.eigen.values > _DEFINITE)]
    best = max(ends, key=lambda end: end.value, default=None)
    found = trust_region(
        cast(Objective, Learning(objective, None if best is None else best.hessian)),
        sized(objective, located(objective, start)),
        "secant",
        lambda point: point.hessian,
        300,
        known,
        window=15,
        least=1e-7,
        enough=_SAME,
    )
    return replace(found, is_rough=bool(np.isfinite(found.value)))


def learning_at(objective: Objective, optimum: Optimum) -> Objective:
    """An objective as cheap as it gets around a maximum: with a learned Hessian, if a true one costs gradients."""
    if not objective.is_costly or not np.all(optimum.eigen.values > 1e-6):
        return objective
    learned = Learning(objective)
    learned.begin(optimum.x, optimum.gradient, optimum.hessian)
    return cast(Objective, learned)


def polished(objective: Objective, rough: Optimum) -> Optimum:
    """A result with the true Hessian, and what Newton's method gains with that."""
    if not rough.is_rough:
        return rough
    cast(Costly, objective).expect(rough.x, rough.hessian)
    value, gradient, hessian = objective.derivatives(rough.x)
    exact = replace(rough, value=value, gradient=gradient, hessian=hessian, is_rough=False)
    if rough.stop is Stop.FAR or not np.all(np.isfinite(hessian)):
        return exact
    if np.all(exact.eigen.values > 1e-6) and exact.decrement < 1e-4:
        return _chord(objective, exact)
    return rough.followed_by(newton(objective, rough.x))


def _chord(objective: Objective, near: Optimum) -> Optimum:
    """Newton steps with one Hessian, which is computed once more if they were long enough to matter."""
    best, eigen = near, near.eigen
    for _ in range(8):
        step = eigen.unrotate(eigen.rotate(best.gradient) / eigen.values)
        value, gradient = objective.value_gradient(best.x + step)
        moved = replace(best, x=best.x + step, value=value, gradient=gradient, step=step, stop=Stop.SMALL_DECREMENT)
        if not np.all(np.isfinite(gradient)) or moved.decrement > 0.25 * best.decrement:
            break
        best = moved
    if near.decrement > _SAME:
        best = replace(best, hessian=objective.hessian(best.x))
    return best
