"""From where an optimizer stopped to what that point is: the likelihood itself is asked, direction by direction.

At a regular maximum the log-likelihood falls by ½ t² at t standard errors along every eigen-direction of the Hessian,
for t small enough. Where it does not, the Hessian is not the truth about that direction, and the direction is followed
outward in doubling steps, the likelihood re-maximized over everything else: flat both ways is a parameter the data do
not determine; falling one way and level the other is a supremum at a limit; falling both ways is a maximum without
curvature; rising is a better point, from which the search goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property

import numpy as np
from scipy.optimize import minimize

from mle_pp import report
from mle_pp.linalg import ScaledEigen, complement, curvature_scale, sparse_directions
from mle_pp.objective import Objective
from mle_pp.optimize import Optimum, Stop, maximize
from mle_pp.optimize.newton import newton
from mle_pp.parameters import Parameters
from mle_pp.verdict import Finding, Status, Verdict

_RESTARTS = 4
_DOUBLINGS = (1.0, 2.0, 4.0, 8.0, 16.0)
# Beyond this many log-units a transformed parameter is at 0, at infinity or at its bound for every purpose.
_EXTREME = 100.0


@dataclass(frozen=True)
class Diagnosis:
    """What the end of a search is.

    Attributes
    ----------
    verdict : Verdict
    optimum : Optimum
        Possibly a better one than was handed in.
    null, drift : ndarray, shape (size, k)
        Directions along which the likelihood is flat; along which it approaches its supremum.
    lost : ndarray, shape (size, k)
        Directions that stop mattering in the limit, besides `drift`.
    basis : ndarray, shape (size, rank)
        The directions that the data determine.
    """

    verdict: Verdict
    optimum: Optimum
    null: np.ndarray
    drift: np.ndarray
    lost: np.ndarray
    basis: np.ndarray

    def adding(self, findings: Sequence[Finding]) -> Diagnosis:
        """The same, with more findings."""
        return replace(self, verdict=replace(self.verdict, findings=(*self.verdict.findings, *findings)))


class _Side(Enum):
    """What the likelihood does along a direction."""

    FALLS = auto()
    LEVEL = auto()
    RISES = auto()
    ENDS = auto()


@dataclass(frozen=True)
class _Walk:
    side: _Side
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


class _Case:
    """One point under examination."""

    def __init__(self, objective: Objective, optimum: Optimum) -> None:
        self.objective, self.optimum = objective, optimum
        self.x, self.value = optimum.x, optimum.value
        self.eigen = ScaledEigen.of(-optimum.hessian, optimum.gradient)
        error = 1 / curvature_scale(-optimum.hessian, optimum.gradient)
        # A hundred-thousandth of a conditional standard error costs nothing visible
        self._tiny = 1e-5 * error
        self.unit = np.where(objective.units > 0, 1.0, np.maximum(np.abs(self.x), error))
        self.noise = self.noise_at(self.x)

    def noise_at(self, x: np.ndarray) -> float:
        """Differences of the function that mean nothing: rounding, seen in second differences over tiny steps."""
        rng = np.random.default_rng(1)
        value = self.objective.value(x)
        spread = [0.0]
        for _ in range(3):
            step = rng.normal(size=x.size) * np.minimum(1e-10 * np.maximum(np.abs(x), self.objective.units), self._tiny)
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

        In a curved valley it falls faster along the straight line; there the valley itself is followed.
        """
        curvature = self.eigen.values[k]
        if curvature <= 0:
            return False
        error = self.eigen.direction(k) / np.sqrt(curvature)
        return self._falls_as_expected(error, on_ridge=False) or (
            curvature < 1e-4 and self._falls_as_expected(error, on_ridge=True)
        )

    def _falls_as_expected(self, error: np.ndarray, on_ridge: bool) -> bool:
        """Whether t standard errors cost about ½ t², both ways, for some t at which that is visible."""
        t = 1.0
        while 0.5 * t**2 > 20 * self.noise:
            ends = [self.x + sign * t * error for sign in (1, -1)]
            values = [self.back_to_ridge(x, error)[1] if on_ridge else self.objective.value(x) for x in ends]
            if all(0.2 * t**2 < self.value - value < 1.5 * t**2 for value in values):
                return True
            t /= 4 if not on_ridge else 16
        return False

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

    def walk(self, direction: np.ndarray, on_ridge: bool = True) -> _Walk:
        """Follow a direction outward in doubling steps; where it falls off a curved ridge, back onto it."""
        here, risen = _Walk(_Side.LEVEL, self.x, self.value), False
        noise = self.noise
        for factor in _DOUBLINGS:
            trial = here.x + factor * direction
            value = self.objective.value(trial)
            if not np.isfinite(value):
                return replace(here, side=_Side.RISES if risen else _Side.ENDS if here.x is self.x else here.side)
            noise = max(noise, self.noise_at(trial))
            if value < self.value - noise:
                if on_ridge:
                    trial, value = self.back_to_ridge(trial, direction)
                if not value >= self.value - noise:
                    return replace(here, side=_Side.RISES if risen else _Side.FALLS)
            if self.noise_at(trial) > max(2 * self.noise, 1e-6 * max(1.0, abs(self.value))):
                if self._is_outward(trial):
                    # Far out the function is rounding errors only (the gamma functions of a Student t, say)
                    return replace(here, side=_Side.RISES if risen else here.side)
                here = replace(here, x=trial)
                continue
            risen = risen or value > self.value + noise
            here = _Walk(_Side.LEVEL, trial, value)
        return replace(here, side=_Side.RISES) if risen else here

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


def diagnose(objective: Objective, parameters: Parameters, optimum: Optimum) -> Diagnosis:
    """The verdict on where a search ended; where the likelihood still rises, the search goes on.

    Parameters
    ----------
    objective : Objective
    parameters : Parameters
        For the names.
    optimum : Optimum
    """
    for _ in range(_RESTARTS):
        if not np.isfinite(optimum.value) or not np.all(np.isfinite(optimum.hessian)):
            return _failed(Status.NOT_CONVERGED, optimum, report.not_finite(parameters, optimum))
        if objective.size == 0:
            return _regular(optimum)
        case = _Case(objective, optimum)
        if _runs_away(case):
            return _failed(Status.UNBOUNDED, optimum, report.unbounded(parameters, case.x, _extreme(case)))
        if case.is_stationary and not case.suspicious:
            return _regular(optimum)
        diagnosis, better = _explore(case, parameters)
        if diagnosis is not None:
            return diagnosis
        if better is None:
            break
        previous = optimum
        optimum = previous.followed_by(maximize(objective, better))
        if not optimum.value > previous.value + case.noise:
            optimum = previous
            break
    case = _Case(objective, optimum)
    if _runs_away(case):
        return _failed(Status.UNBOUNDED, optimum, report.unbounded(parameters, case.x, _extreme(case)))
    if case.is_stationary and case.eigen.values[0] < -1e-8:
        return _failed(Status.SADDLE, optimum, report.saddle(parameters, optimum))
    return _failed(Status.NOT_CONVERGED, optimum, report.not_converged(parameters, optimum))


def is_noise(objective: Objective, optimum: Optimum) -> bool:
    """Whether the function at the end of a search is mostly rounding errors."""
    if not np.isfinite(optimum.value) or not np.all(np.isfinite(optimum.hessian)) or objective.size == 0:
        return False
    return _Case(objective, optimum).noise > 1e-4 * max(1.0, abs(optimum.value))


def _regular(optimum: Optimum) -> Diagnosis:
    size = optimum.x.size
    none = np.zeros((size, 0))
    return Diagnosis(Verdict(Status.CONVERGED), optimum, none, none, none, np.eye(size))


def _failed(status: Status, optimum: Optimum, finding: Finding) -> Diagnosis:
    return replace(_regular(optimum), verdict=Verdict(status, (finding,)))


def _extreme(case: _Case) -> np.ndarray:
    """Transformed coordinates far beyond any meaning."""
    far = (case.objective.units > 0) & (np.abs(case.x) > _EXTREME)
    return far | (np.abs(case.x) > 1e30)


def _runs_away(case: _Case) -> bool:
    """The search left every reasonable range while the function was still rising."""
    rises = case.optimum.stop is Stop.FAR or case.optimum.decrement > 1e-3
    return rises and (bool(_extreme(case).any()) or case.value > 1e30)


def _explore(case: _Case, parameters: Parameters) -> tuple[Diagnosis | None, np.ndarray | None]:
    """Follow every suspicious direction: a diagnosis, or a better point to go on from."""
    null: list[np.ndarray] = []
    degenerate: list[np.ndarray] = []
    ray = case.in_units(case.x - parameters.default)
    if _is_receding(case, ray):
        return _at_limit(case, parameters, ray, null), None
    for direction in _candidates(case):
        if null and _in_span(case, direction, null):
            continue
        ahead, back = case.walk(direction), case.walk(-direction)
        for walk in (ahead, back):
            if walk.side is _Side.RISES:
                return None, walk.x
        sides = {ahead.side, back.side}
        if sides == {_Side.LEVEL}:
            null.append(direction)
        elif _Side.LEVEL in sides:
            outward = direction if ahead.side is _Side.LEVEL else -direction
            return _at_limit(case, parameters, outward, null), None
        elif case.is_stationary or _Side.ENDS in sides:
            degenerate.append(direction)
    if not case.is_stationary:
        polished = _polished(case)
        if polished.value > case.value + 1e-3:
            return None, polished.x
        return _at_edge(polished, parameters), None
    if null:
        return _flat(case, parameters, null), None
    tiny = (np.abs(case.eigen.values) < 1e-12) & (case.eigen.values != 0)
    if degenerate and (np.any(tiny) or any(_is_quadratic(case, direction) for direction in degenerate)):
        return _failed(Status.NOT_CONVERGED, case.optimum, report.ill_conditioned(parameters, degenerate)), None
    if degenerate:
        return _failed(Status.IRREGULAR, case.optimum, report.singular(parameters, degenerate)), None
    return None, None


def _is_receding(case: _Case, ray: np.ndarray) -> bool:
    """Whether everything runs away together, as with complete separation: level straight ahead, falling back.

    Asked first, because there every direction looks level once the others are free to run away.
    """
    if not np.any(ray):
        return False
    ahead, back = case.walk(ray, on_ridge=False), case.walk(-ray, on_ridge=False)
    return ahead.side is _Side.LEVEL and back.side is _Side.FALLS


def _is_quadratic(case: _Case, direction: np.ndarray) -> bool:
    """Whether the function falls with the square of the distance: there is curvature, too little to be computed."""
    for t in 10.0 ** np.arange(-8, 1):
        near, far = (
            np.mean([case.value - case.objective.value(case.x + s * length * direction) for s in (1, -1)])
            for length in (t, 2 * t)
        )
        if near > 1e3 * case.noise:
            return bool(3 < far / near < 5.5)
    return False


def _candidates(case: _Case) -> list[np.ndarray]:
    """The last step, if it was still a step, and the suspicious eigen-directions."""
    # An estimate of zero has no size of its own: there, a standard error counts, if it is one
    error = np.minimum(1 / curvature_scale(-case.optimum.hessian, case.optimum.gradient), 1.0)
    size = np.where(case.objective.units > 0, 1.0, np.maximum(np.abs(case.x), error))
    step = case.optimum.step
    moving = np.all(np.isfinite(step)) and np.any(np.abs(step) > 1e-3 * size)
    # Along a ray to infinity Newton's steps do not shrink: one of them is the natural stride, about a log-unit
    directions = [case.in_units(case.eigen.direction(k)) for k in case.suspicious]
    return [d for d in [*([step] if moving else []), *directions] if np.any(d)]


def _in_span(case: _Case, direction: np.ndarray, known: list[np.ndarray]) -> bool:
    rest = case.basis_without(np.stack(known, axis=1)) / case.unit[:, None]
    scaled = direction / case.unit
    return bool(np.linalg.norm(rest.T @ scaled) < 1e-4 * np.linalg.norm(scaled)) if rest.size else True


def _flat(case: _Case, parameters: Parameters, null: list[np.ndarray]) -> Diagnosis:
    """A maximum that is not unique."""
    directions = sparse_directions(np.stack(null, axis=1))
    none = np.zeros((case.x.size, 0))
    finding = report.not_identified(parameters, case.x, directions)
    verdict = Verdict(Status.NOT_IDENTIFIED, (finding,))
    return Diagnosis(verdict, case.optimum, directions, none, none, case.basis_without(directions))


def _cleaned(case: _Case, direction: np.ndarray) -> _Walk:
    """The walk along the direction, without its smallest components where these are only rounding."""
    main = np.where(np.abs(direction) > 1e-2 * case.unit, direction, 0.0)
    walk = case.walk(main)
    return walk if walk.side is _Side.LEVEL else case.walk(direction)


def _at_limit(case: _Case, parameters: Parameters, outward: np.ndarray, null: list[np.ndarray]) -> Diagnosis:
    """A supremum that is approached outward; whatever has no effect any more out there is lost with it."""
    objective, walk = case.objective, _cleaned(case, outward)
    optimum = _trusted(case, walk, outward)
    if _grows_steadily(case, outward):
        extreme = (np.abs(outward) > 1e-2 * case.unit) & (objective.units > 0)
        return _failed(Status.UNBOUNDED, optimum, report.unbounded(parameters, case.x, extreme))
    moved = case.in_units(walk.x - case.x if np.any(walk.x != case.x) else outward)
    drift = _necessary(case, np.where(np.abs(moved) > 1e-2 * case.unit, moved, 0.0))[:, None]
    flat = _without_effect(case, optimum)
    rest = complement(drift / case.unit[:, None])
    lost = case.unit[:, None] * (rest @ _orthonormal(rest.T @ (flat / case.unit[:, None])))
    known = np.stack(null, axis=1) if null else np.zeros((case.x.size, 0))
    findings = []
    if null:
        known = sparse_directions(known)
        findings.append(report.not_identified(parameters, case.x, known))
        lost = np.zeros((case.x.size, 0))
    basis = case.basis_without(np.hstack([known, drift, lost]))
    status, finding = report.at_limit(parameters, optimum.x, drift, lost, basis, optimum.value)
    findings.append(finding)
    verdict = Verdict(Status.NOT_IDENTIFIED if null else status, tuple(findings))
    return Diagnosis(verdict, optimum, known, drift, lost, basis)


def _necessary(case: _Case, drift: np.ndarray) -> np.ndarray:
    """The drift without the parts that need not go: the supremum is approached without them, too."""
    for k in np.argsort(np.abs(drift) / case.unit):
        less = np.where(np.arange(drift.size) == k, 0.0, drift)
        if drift[k] != 0 and np.any(less) and _is_receding(case, less):
            drift = less
    return drift


def _trusted(case: _Case, walk: _Walk, outward: np.ndarray) -> Optimum:
    """The point nearest to the limit at which the function can still be computed, and equals its supremum."""
    back = [case.x - steps * outward for steps in (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)]
    for k, x in enumerate((walk.x, *back)):
        if k > 1:
            x, _ = case.back_to_ridge(x, outward)
        value, gradient = case.objective.value_gradient(x)
        hessian = case.objective.hessian(x)
        computable = np.all(np.isfinite(hessian)) and case.noise_at(x) < 1e-7 * max(1.0, abs(case.value))
        if computable and abs(value - case.value) <= 10 * case.noise:
            return replace(case.optimum, x=x, value=value, gradient=gradient, hessian=hessian)
    return case.optimum


def _grows_steadily(case: _Case, outward: np.ndarray) -> bool:
    """Whether a scale's way here gained as much in its last log-units as in those before: growth without a limit."""
    main = np.abs(outward) > 1e-2 * case.unit
    if np.any(main & (case.objective.units == 0)):
        return False
    values = [case.value]
    for steps in (3.0, 6.0):
        values.append(case.objective.value(case.x - steps * outward))
    last, before = values[0] - values[1], values[1] - values[2]
    return bool(last > 1 and np.isfinite(before) and last > 0.5 * before)


def _without_effect(case: _Case, optimum: Optimum) -> np.ndarray:
    """Directions along which a step of one unit changes nothing visible any more."""
    scaled = -optimum.hessian * np.outer(case.unit, case.unit)
    if not np.all(np.isfinite(scaled)):
        return np.eye(case.x.size)
    values, vectors = np.linalg.eigh(scaled)
    return case.unit[:, None] * vectors[:, np.abs(values) < 2 * max(case.noise, case.noise_at(optimum.x))]


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns' span, small parts neglected."""
    if columns.size == 0:
        return np.zeros((columns.shape[0], 0))
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, values > 0.1]


def _polished(case: _Case) -> _Case:
    """A corner or a kink is not found by derivatives: search it out with a simplex (Nelder and Mead 1965)."""
    x = case.x
    if x.size > 10 or case.optimum.stop is Stop.ITERATIONS:
        return case
    for width in (1e-2, 1e-4, 1e-4):
        corners = np.vstack([x, x + width * np.diag(np.maximum(case.objective.units, np.abs(x) + (x == 0)))])
        options = {"initial_simplex": corners, "xatol": 1e-13, "fatol": 1e-14, "maxiter": 400 * x.size}
        x = minimize(lambda z: -case.objective.value(z), x, method="Nelder-Mead", options=options).x
    value, gradient = case.objective.value_gradient(x)
    if not value > case.value:
        return case
    optimum = replace(case.optimum, x=x, value=value, gradient=gradient, hessian=case.objective.hessian(x))
    return _Case(case.objective, optimum)


def _at_edge(case: _Case, parameters: Parameters) -> Diagnosis | None:
    """The function still rises here, yet no step gains: the support ends, or the function has a kink or a jump."""
    uphill = case.in_units(case.unit**2 * case.optimum.gradient)
    steps = 10.0 ** np.arange(-9, -3)
    ahead = np.array([case.objective.value(case.x + t * uphill) for t in steps])
    if np.all(~np.isfinite(ahead)):
        return _failed(Status.IRREGULAR, case.optimum, report.support_edge(parameters, case.x, uphill))
    if np.all(ahead < case.value - case.noise * steps / steps[-1]) and case.optimum.stop is not Stop.ITERATIONS:
        return _failed(Status.IRREGULAR, case.optimum, report.kink(parameters, case.x, uphill))
    return None
