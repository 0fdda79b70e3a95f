"""For objectives whose Hessian costs many gradients: a trust region on a matrix that learns from the gradients seen.

The matrix starts as forward differences of the gradient and takes the symmetric rank-one update (Conn, Gould and Toint
1991; Nocedal and Wright, Numerical Optimization, 2nd ed., section 6.2), which may be indefinite, as the true one may be
far from the maximum. The true Hessian is computed at the best of the ends only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from mle_pp.objective import Objective
from mle_pp.optimize.newton import newton, trust_region
from mle_pp.optimize.optimum import Optimum, Stop

_STEP = 1e-4
# A step that promises less is a millionth of a standard error long, and the Hessian at its end is the same
_SAME = 1e-12


class _Learning:
    """An objective with a Hessian that is learned."""

    has_information = False
    is_costly = True
    default_starts = 1

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._x: np.ndarray | None = None
        self._gradient = np.zeros(0)
        self._matrix = np.zeros((0, 0))

    @property
    def size(self) -> int:
        return self._objective.size

    @property
    def units(self) -> np.ndarray:
        return self._objective.units

    def value(self, x: np.ndarray) -> float:
        return self._objective.value(x)

    def derivatives(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, gradient = self._objective.value_gradient(x)
        if np.all(np.isfinite(gradient)):
            if self._x is None:
                self._matrix = self._differences(x, gradient)
            else:
                self._learn(x - self._x, gradient - self._gradient)
            self._x, self._gradient = x, gradient
        return value, gradient, self._matrix

    def _differences(self, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        columns = []
        for k in range(x.size):
            shift = np.zeros(x.size)
            shift[k] = _STEP * max(1.0, abs(x[k]))
            columns.append((self._objective.value_gradient(x + shift)[1] - gradient) / shift[k])
        matrix = np.array(columns).reshape(x.size, x.size)
        return 0.5 * (matrix + matrix.T)

    def _learn(self, step: np.ndarray, change: np.ndarray) -> None:
        rest = change - self._matrix @ step
        product = float(rest @ step)
        if abs(product) > 1e-8 * float(np.linalg.norm(rest) * np.linalg.norm(step)):
            self._matrix = self._matrix + np.outer(rest, rest) / product


def secant(objective: Objective, start: np.ndarray) -> Optimum:
    """Maximize with a learned Hessian, which the result carries: `polished` gives it the true one."""
    learning = _Learning(objective)
    found = trust_region(
        cast(Objective, learning),
        start,
        "secant",
        lambda point: point.hessian,
        300,
        window=15,
        least=1e-7,
        enough=0.1 * _SAME,
    )
    return replace(found, is_rough=bool(np.isfinite(found.value)))


def polished(objective: Objective, rough: Optimum) -> Optimum:
    """A result with the true Hessian, and what Newton's method gains with that."""
    if not rough.is_rough:
        return rough
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
