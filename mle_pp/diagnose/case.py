"""One point under examination: what the likelihood does around it, and along directions out of it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property

import numpy as np

from mle_pp.linalg import ScaledEigen, complement, curvature_scale
from mle_pp.objective import Objective
from mle_pp.optimize import Optimum, Stop
from mle_pp.optimize.newton import newton
from mle_pp.parameters import Parameters

# A direction is followed over this many units, and on while the function still rises there, in so many steps.
_FAR_ENOUGH, _MOST_STEPS = 31.0, 50
# Steps out of the range in which the function can be computed are cut to a quarter this many times.
_SHORTER = 16


class Side(Enum):
    """What the likelihood does along a direction."""

    FALLS = auto()
    LEVEL = auto()
    RISES = auto()
    ENDS = auto()


@dataclass(frozen=True)
class Walk:
    """Where a walk came to, and what the likelihood did on the way."""

    side: Side
    x: np.ndarray
    value: float


class Slice:
    """An objective on the plane x + Z u.

    Parameters
    ----------
    objective : Objective
    origin : ndarray, shape (size,)
    basis : ndarray, shape (size, k)
    """

    has_information = False
    is_costly = False
    default_starts = 3

    def __init__(self, objective: Objective, origin: np.ndarray, basis: np.ndarray) -> None:
        self._objective, self._origin, self._basis = objective, origin, basis
        self.units = np.zeros(basis.shape[1])

    @property
    def size(self) -> int:
        """Number of coordinates in the plane."""
        return self._basis.shape[1]

    def point(self, u: np.ndarray) -> np.ndarray:
        """Where a point of the plane lies in the whole space."""
        return self._origin + self._basis @ u

    def value(self, u: np.ndarray) -> float:
        """The objective there."""
        return self._objective.value(self.point(u))

    def value_gradient(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient in the plane."""
        value, gradient = self._objective.value_gradient(self.point(u))
        return value, self._basis.T @ gradient

    def hessian(self, u: np.ndarray) -> np.ndarray:
        """Second derivatives in the plane."""
        return self._basis.T @ self._objective.hessian(self.point(u)) @ self._basis

    def derivatives(self, u: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian in the plane."""
        value, gradient, hessian = self._objective.derivatives(self.point(u))
        return value, self._basis.T @ gradient, self._basis.T @ hessian @ self._basis

    def product(self, u: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector in the plane."""
        return self._basis.T @ self._objective.product(self.point(u), self._basis @ vector)

    def residuals(self, u: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """None: they belong to the whole space."""
        return iter(())

    def information(self, u: np.ndarray) -> np.ndarray:
        """Not available."""
        raise NotImplementedError

    def impossible(self, u: np.ndarray) -> int:
        """Observations of density zero."""
        return self._objective.impossible(self.point(u))


class Case:
    """One point under examination.

    Attributes
    ----------
    objective : Objective
    parameters : Parameters
        The user's scale.
    optimum : Optimum
    x, value : ndarray, float
        The point, and the function there.
    eigen : ScaledEigen
        Of the negative Hessian.
    unit : ndarray, shape (size,)
        A natural step of each coordinate: a log-unit where it is transformed, else its own size.
    stride : ndarray, shape (size,)
        How far each coordinate goes in a step at the start.
    noise : float
        Differences of the function that mean nothing.
    """

    def __init__(self, objective: Objective, parameters: Parameters, optimum: Optimum) -> None:
        self.objective, self.parameters, self.optimum = objective, parameters, optimum
        self.x, self.value = optimum.x, optimum.value
        self.eigen = ScaledEigen.of(-optimum.hessian, optimum.gradient)
        error = 1 / curvature_scale(-optimum.hessian, optimum.gradient)
        # A hundred-thousandth of a conditional standard error costs nothing visible
        self._tiny = 1e-5 * error
        self.unit = np.where(objective.units > 0, 1.0, np.maximum(np.abs(self.x), error))
        self.stride = self.unit
        self.noise = self.noise_at(self.x)

    def measured(self) -> Case:
        """The same with units as seen from the start: on the way to a limit, standard errors grow without bound."""
        default = self.parameters.default
        _, gradient, hessian = self.objective.derivatives(default)
        known = np.isfinite(np.diag(hessian)) & (np.diag(hessian) != 0)
        error = np.where(known, 1 / curvature_scale(-np.nan_to_num(hessian), np.nan_to_num(gradient)), self.unit)
        inner = self.objective.units > 0
        length = np.maximum(np.abs(self.x), np.abs(self.x - default))
        case = copy(self)
        case.stride = np.where(inner, 1.0, error)
        case.unit = np.where(inner, 1.0, np.maximum(length, np.minimum(error, self.unit)))
        return case

    def noise_at(self, x: np.ndarray) -> float:
        """Rounding errors of the function, seen in second differences over tiny steps."""
        rng = np.random.default_rng(1)
        value = self.objective.value(x)
        spread = [0.0]
        # Tiny, but steps: some units in the last place
        size = np.maximum(
            np.minimum(1e-10 * np.maximum(np.abs(x), self.objective.units), self._tiny), 4 * np.spacing(x)
        )
        for _ in range(1 if self.objective.is_costly else 3):
            step = rng.normal(size=x.size) * size
            second = self.objective.value(x + step) + self.objective.value(x - step) - 2 * value
            spread.append(abs(second) if np.isfinite(second) else 0.0)
        return float(max(1e-10 * max(1.0, abs(value)), 20 * max(spread)))

    @cached_property
    def is_stationary(self) -> bool:
        """Nothing visible is left to gain."""
        # A millionth of log-likelihood is a thousandth of a standard error, and as far as rounding lets some data go
        enough = 1e-6 if self.optimum.stop is Stop.SMALL_DECREMENT else 1e-9
        return self.optimum.decrement < max(self.noise, enough)

    def is_regular(self, k: int) -> bool:
        """Whether the function falls along an eigen-direction as its curvature says.

        In a curved valley it falls faster along the straight line; there the valley itself is followed. Close to a
        bound the standard error reaches beyond it, and on the user's scale the slope is asked at smaller distances.
        """
        curvature = self.eigen.values[k]
        if curvature <= 0:
            return False
        error = self.eigen.direction(k) / np.sqrt(curvature)
        return (
            self._falls_as_expected(error, on_ridge=False)
            or (curvature < 1e-4 and self._falls_as_expected(error, on_ridge=True))
            or self._slopes_as_expected(error)
        )

    def _falls_as_expected(self, error: np.ndarray, on_ridge: bool) -> bool:
        """Whether t standard errors cost about ½ t², both ways, at two t at which that is visible.

        At two, for what falls with another power of the distance does so by that much somewhere, too; where values are
        costly, at one if it is ½ t² nearly.
        """
        t, before = 1.0, False
        while 0.5 * t**2 > 20 * self.noise:
            ends = [self.x + sign * t * error for sign in (1, -1)]
            values = [self.back_to_ridge(x, error)[1] if on_ridge else self.objective.value(x) for x in ends]
            falls = [(self.value - value) / t**2 for value in values]
            now = all(0.3 < fall < 1.2 for fall in falls)
            nearly = self.objective.is_costly and all(0.45 < fall < 0.55 for fall in falls)
            if now and (before or nearly):
                return True
            t, before = t / 4, now
        return False

    def _slopes_as_expected(self, error: np.ndarray) -> bool:
        """Whether the slope at t standard errors is −t, both ways, on the user's scale, for two small t."""
        center, jacobian = self.parameters.constrained(self.x), self.parameters.jacobian(self.x)
        move = jacobian @ error
        before = False
        for t in 10.0 ** np.arange(-1.0, -8.0, -1.0):
            now = all(abs(self._slope(center + s * t * move, move) + s * t) < 0.4 * t for s in (1, -1))
            if now and before:
                return True
            before = now
        return False

    def _slope(self, values: np.ndarray, move: np.ndarray) -> float:
        """The derivative along a direction of the constrained values; NaN outside the support."""
        x = self.parameters.unconstrained_at(values)
        if not np.all(np.isfinite(x)):
            return np.nan
        _, gradient = self.objective.value_gradient(x)
        jacobian = self.parameters.jacobian(x)
        if not (np.all(np.isfinite(gradient)) and np.all(np.isfinite(jacobian))):
            return np.nan
        return float(gradient @ np.linalg.lstsq(jacobian, move, rcond=None)[0])

    @cached_property
    def suspicious(self) -> list[int]:
        """Eigen-directions along which the Hessian does not tell the truth."""
        return [k for k in range(self.x.size) if not self.is_regular(k)]

    def in_units(self, direction: np.ndarray) -> np.ndarray:
        """The direction scaled to a step of one unit in the coordinate that moves most."""
        length = np.max(np.abs(direction) / self.unit)
        return direction / length if np.isfinite(length) and length > 0 else np.zeros_like(direction)

    def basis_without(self, directions: np.ndarray) -> np.ndarray:
        """All directions but these."""
        return self.unit[:, None] * complement(directions / self.unit[:, None])

    def walk(self, direction: np.ndarray, on_ridge: bool = True) -> Walk:
        """Follow a direction outward in doubling steps; where it falls off a curved ridge, back onto it."""
        here, risen, noise = Walk(Side.LEVEL, self.x, self.value), False, self.noise
        stride, come, shorter = 1.0, 0.0, 0
        for _ in range(_MOST_STEPS):
            trial = here.x + stride * direction
            value = self.objective.value(trial)
            if not np.isfinite(value):
                # On a curved ridge a shorter step may stay where the function can be computed
                if on_ridge and shorter < _SHORTER:
                    stride, shorter = stride / 4, shorter + 1
                    continue
                ends = come < 1 or (come < _FAR_ENOUGH and self.objective.impossible(trial) > 0)
                return replace(here, side=Side.RISES if risen else Side.ENDS if ends else here.side)
            if on_ridge and value < self.value - noise:
                trial, value = self.back_to_ridge(trial, direction)
            here_noise = self.noise_at(trial)
            noise = max(noise, here_noise)
            # A maximum found among rounding errors is their maximum, too: some multiples of them below is level
            if not value >= self.value - 5 * noise:
                if on_ridge and stride > 1 and not shorter and self.objective.is_costly:
                    # From a long step, the search for the ridge may have ended on something lower: variances that
                    # share latent variables have ridges that bend round
                    stride, shorter = 1.0, 1
                    continue
                return replace(here, side=Side.RISES if risen else Side.FALLS)
            come, stride = come + stride, stride if shorter else 2 * stride
            if here_noise > max(2 * self.noise, 1e-6 * max(1.0, abs(self.value))):
                if self._is_outward(trial):
                    # Far out the function is rounding errors only (the gamma functions of a Student t, say)
                    return replace(here, side=Side.RISES if risen else here.side)
                here = replace(here, x=trial)
                continue
            risen = risen or value > self.value + noise
            gained = value > here.value + noise
            here = Walk(Side.LEVEL, trial, value)
            if come >= _FAR_ENOUGH and not gained:
                break
        return replace(here, side=Side.RISES if risen else Side.ENDS if come < 1 else here.side)

    def _is_outward(self, x: np.ndarray) -> bool:
        """Farther into the extremes of the transformed scales than the point under examination."""
        inner = self.objective.units > 0
        return bool(np.linalg.norm(x[inner]) > np.linalg.norm(self.x[inner]))

    def back_to_ridge(self, x: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, float]:
        """Re-maximize over everything but the direction."""
        basis = self.basis_without(direction[:, None])
        if basis.shape[1] == 0:
            return x, self.objective.value(x)
        plane = Slice(self.objective, x, basis)
        found = newton(plane, np.zeros(plane.size), max_iterations=50)
        return plane.point(found.x), found.value

    def is_receding(self, ray: np.ndarray) -> bool:
        """Level straight ahead, falling back: the way to a limit."""
        if not np.any(ray):
            return False
        ahead, back = self.walk(ray, on_ridge=False), self.walk(-ray, on_ridge=False)
        return ahead.side is Side.LEVEL and back.side is Side.FALLS

    def in_span(self, direction: np.ndarray, known: list[np.ndarray]) -> bool:
        """Whether a direction is a combination of known ones."""
        rest = self.basis_without(np.stack(known, axis=1)) / self.unit[:, None]
        scaled = direction / self.unit
        return bool(np.linalg.norm(rest.T @ scaled) < 1e-4 * np.linalg.norm(scaled)) if rest.size else True
