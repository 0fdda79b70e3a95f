"""From where an optimizer stopped to what that point is: the likelihood itself is asked, direction by direction.

At a regular maximum the log-likelihood falls by ½ t² at t standard errors along every eigen-direction of the Hessian,
for t small enough. Where it does not, the Hessian is not the truth about that direction, and the direction is followed
outward in doubling steps, the likelihood re-maximized over everything else: flat both ways is a parameter the data do
not determine; falling one way and level the other is a supremum at a limit; falling both ways is a maximum without
curvature; rising is a better point, from which the search goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mle_pp import wording
from mle_pp.diagnose.case import Case, Side, Walk
from mle_pp.diagnose.irregular import cornered, find_plateau, grows_towards_edge, kinks, polished, slid, support_ends
from mle_pp.diagnose.limits import find_limit, growing, is_far, reached_without, sparse, way_here
from mle_pp.information import Special
from mle_pp.linalg import curvature_scale, inverse_on
from mle_pp.objective import Objective
from mle_pp.optimize import Optimum, Stop, maximize
from mle_pp.parameters import Parameters
from mle_pp.verdict import Finding, Status, Verdict

_RESTARTS = 8
# Rounding errors of the log-likelihood from which on a limit cannot be told from them.
_VISIBLE = 1e-3
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
    special : Special
        The directions that have no standard errors.
    basis : ndarray, shape (size, rank)
        The directions that the data determine.
    """

    verdict: Verdict
    optimum: Optimum
    special: Special
    basis: np.ndarray

    def adding(self, findings: Sequence[Finding]) -> Diagnosis:
        """The same, with more findings."""
        return replace(self, verdict=replace(self.verdict, findings=(*self.verdict.findings, *findings)))

    def unbounded(self) -> Diagnosis:
        """The same point, taken for no maximum, since the likelihood is unbounded elsewhere."""
        findings = tuple(finding for finding in self.verdict.findings if finding.kind == "unbounded_elsewhere")
        return replace(_regular(self.optimum), verdict=Verdict(Status.UNBOUNDED, findings))


def diagnose(objective: Objective, parameters: Parameters, optimum: Optimum) -> Diagnosis:
    """The verdict on where a search ended; where the likelihood still rises, the search goes on.

    Parameters
    ----------
    objective : Objective
    parameters : Parameters
        For the names.
    optimum : Optimum
    """
    risen: list[Optimum] = [optimum]
    for _ in range(_RESTARTS):
        if not np.isfinite(optimum.value) or not np.all(np.isfinite(optimum.hessian)):
            return _failed(Status.NOT_CONVERGED, optimum, wording.not_finite(parameters, optimum))
        if objective.size == 0:
            return _regular(optimum)
        case = Case(objective, parameters, optimum)
        if _runs_away(case):
            return _unbounded(case, parameters, _extreme(case))
        if case.is_stationary and not case.suspicious:
            return _regular(optimum)
        diagnosis, better = _explore(case, parameters)
        if diagnosis is not None:
            return diagnosis
        if better is None:
            break
        previous, rises = optimum, objective.value(better) > optimum.value + case.noise
        optimum = previous.followed_by(maximize(objective, better))
        # A point as high as this one may be handed over, too, for a better view
        if not optimum.value > previous.value + (case.noise if rises else -10 * case.noise):
            optimum = previous
            break
        risen.append(optimum)
        steady = _rising_steadily(objective, risen)
        if np.any(steady):
            return _unbounded(Case(objective, parameters, optimum), parameters, steady)
    case = Case(objective, parameters, optimum)
    if _runs_away(case):
        return _unbounded(case, parameters, _extreme(case))
    if case.is_stationary and case.eigen.values[0] < -1e-8:
        return _failed(Status.SADDLE, optimum, wording.saddle(parameters, optimum))
    return _failed(Status.NOT_CONVERGED, optimum, wording.not_converged(parameters, optimum))


def _rising_steadily(objective: Objective, ends: Sequence[Optimum]) -> np.ndarray:
    """Transformed coordinates along which two restarts in a row gained as much for each log-unit they went."""
    inner = objective.units > 0
    none = np.zeros(inner.size, dtype=bool)
    if len(ends) < 3 or not np.any(inner):
        return none
    gains = [b.value - a.value for a, b in pairwise(ends[-3:])]
    moves = [np.where(inner, b.x - a.x, 0.0) for a, b in pairwise(ends[-3:])]
    lengths = [float(np.linalg.norm(move)) for move in moves]
    if min(lengths) < 3 or min(gains) < 1 or moves[0] @ moves[1] < 0.9 * lengths[0] * lengths[1]:
        return none
    rates = [gain / length for gain, length in zip(gains, lengths, strict=True)]
    return np.abs(moves[1]) > 0.3 * np.abs(moves[1]).max() if 0.8 < rates[1] / rates[0] < 1.25 else none


def is_noise(objective: Objective, parameters: Parameters, optimum: Optimum) -> bool:
    """Whether the function at the end of a search is mostly rounding errors."""
    if not np.isfinite(optimum.value) or not np.all(np.isfinite(optimum.hessian)) or objective.size == 0:
        return False
    return Case(objective, parameters, optimum).noise > 1e-4 * max(1.0, abs(optimum.value))


def rounding(parameters: Parameters, optimum: Optimum) -> Diagnosis:
    """The verdict on a maximum that may be one of rounding errors only."""
    return _failed(Status.NOT_CONVERGED, optimum, wording.rounding(parameters, optimum))


def _regular(optimum: Optimum) -> Diagnosis:
    size = optimum.x.size
    return Diagnosis(Verdict(Status.CONVERGED), optimum, Special.none(size), np.eye(size))


def _failed(status: Status, optimum: Optimum, finding: Finding) -> Diagnosis:
    return replace(_regular(optimum), verdict=Verdict(status, (finding,)))


def _unbounded(case: Case, parameters: Parameters, marks: np.ndarray) -> Diagnosis:
    return _failed(Status.UNBOUNDED, case.optimum, wording.unbounded(parameters, case.x, marks))


def _irregular(case: Case, directions: np.ndarray, finding: Finding) -> Diagnosis:
    """A maximum without smoothness along some directions; along the others, these held, it is like any."""
    special = replace(Special.none(case.x.size), irregular=directions)
    return Diagnosis(Verdict(Status.IRREGULAR, (finding,)), case.optimum, special, case.basis_without(directions))


def _extreme(case: Case) -> np.ndarray:
    """Transformed coordinates far beyond any meaning."""
    far = (case.objective.units > 0) & (np.abs(case.x) > _EXTREME)
    return far | (np.abs(case.x) > 1e30)


def _runs_away(case: Case) -> bool:
    """The search left every reasonable range while the function was still rising."""
    rises = case.optimum.stop is Stop.FAR or case.optimum.decrement > 1e-3
    return rises and (bool(_extreme(case).any()) or case.value > 1e30)


def _explore(case: Case, parameters: Parameters) -> tuple[Diagnosis | None, np.ndarray | None]:
    """Follow every suspicious direction: a diagnosis, or a better point to go on from."""
    case = case.measured()
    grows = growing(case)
    if np.any(grows):
        return _unbounded(case, parameters, grows), None
    # Everything may run away together, as with complete separation. Asked first, for there every direction looks level
    # once the others are free to run away.
    way = way_here(case)
    if case.is_receding(way):
        elsewhere = reached_without(case, way)
        return (_at_limit(case, parameters, way), None) if elsewhere is None else (None, elsewhere)
    null: list[np.ndarray] = []
    degenerate: list[np.ndarray] = []
    outward: list[np.ndarray] = []
    risen: list[Walk] = []
    for direction, alone in _candidates(case):
        if ((null or outward) and alone) or (null and case.in_span(direction, null)):
            continue
        ahead, back = case.walk(direction), case.walk(-direction)
        risen += [walk for walk in (ahead, back) if walk.side is Side.RISES]
        sides = {ahead.side, back.side}
        if sides == {Side.LEVEL}:
            null.append(direction)
        elif Side.LEVEL in sides:
            out = direction if ahead.side is Side.LEVEL else -direction
            (outward if is_far(case) or _falls_near(case, -out) else null).append(out)
        elif case.is_stationary or Side.ENDS in sides:
            degenerate.append(direction)
    if risen:
        return None, max(risen, key=lambda walk: walk.value).x
    if outward:
        return _at_limit(case, parameters, outward[0]), None
    return _without_curvature(case, parameters, null, degenerate)


def _falls_near(case: Case, direction: np.ndarray) -> bool:
    """Whether the function falls within less than a unit, even on the ridge: one that bends falls only farther on."""
    near = case.x + 0.7 * case.in_units(direction)
    return case.back_to_ridge(near, direction)[1] < case.value - 5 * case.noise


def _without_curvature(
    case: Case, parameters: Parameters, null: list[np.ndarray], degenerate: list[np.ndarray]
) -> tuple[Diagnosis | None, np.ndarray | None]:
    """Nothing rises and no limit is near: level, edged, kinked, or a maximum of higher order than two."""
    for k in _without_slope(case) if case.is_stationary else []:
        step = find_plateau(case, k)
        if step is not None:
            found, plateau = step
            return _irregular(
                found, np.eye(case.x.size)[:, [k]], wording.plateau(parameters, found.x, plateau.lower, plateau.upper)
            ), None
    if not case.is_stationary:
        better = polished(case)
        return (None, better.x) if better.value > case.value + 1e-3 else (_at_edge(better, parameters), None)
    if null:
        return _flat(case, parameters, null), None
    if not degenerate:
        return None, None
    tiny = (np.abs(case.eigen.values) < 1e-12) & (case.eigen.values != 0)
    if np.any(tiny) or any(_is_quadratic(case, direction) for direction in degenerate):
        return _failed(Status.NOT_CONVERGED, case.optimum, wording.ill_conditioned(parameters, degenerate)), None
    columns = np.stack(degenerate, axis=1)
    return _irregular(case, columns, wording.singular(parameters, case.x, degenerate)), None


def _without_slope(case: Case) -> list[int]:
    """Coordinates that the derivatives know nothing of."""
    hessian, gradient = case.optimum.hessian, case.optimum.gradient
    return [k for k in range(case.x.size) if gradient[k] == 0 and not np.any(hessian[k])]


def _is_quadratic(case: Case, direction: np.ndarray) -> bool:
    """Whether the function falls with the square of the distance: there is curvature, too little to be computed."""
    for t in 10.0 ** np.arange(-8, 1):
        near, far = (
            np.mean([case.value - case.objective.value(case.x + s * length * direction) for s in (1, -1)])
            for length in (t, 2 * t)
        )
        if near > 1e3 * case.noise:
            return bool(3 < far / near < 5.5)
    return False


def _candidates(case: Case) -> list[tuple[np.ndarray, bool]]:
    """The last step, if it was still a step, the suspicious eigen-directions, and, marked, their coordinates."""
    # An estimate of zero has no size of its own: there, a standard error counts, if it is one
    error = np.minimum(1 / curvature_scale(-case.optimum.hessian, case.optimum.gradient), 1.0)
    size = np.where(case.objective.units > 0, 1.0, np.maximum(np.abs(case.x), error))
    step = case.optimum.step
    moving = bool(np.all(np.isfinite(step))) and bool(np.any(np.abs(step) > 1e-3 * size))
    # Along a ray to infinity Newton's steps do not shrink: one of them is the natural stride, about a log-unit
    directions = [case.in_units(case.eigen.direction(k)) for k in case.suspicious]
    # On a curved way the coordinate alone leads on, the others following on the ridge
    behind = np.max([np.abs(d) / case.unit for d in directions], axis=0, initial=0.0) > 0.3
    alone = [case.unit[k] * np.eye(case.x.size)[k] for k in np.flatnonzero(behind)]
    return [
        (direction, k >= len(directions) + moving)
        for k, direction in enumerate([*([step] if moving else []), *directions, *alone])
        if np.any(direction)
    ]


def _flat(case: Case, parameters: Parameters, null: list[np.ndarray]) -> Diagnosis:
    """A maximum that is not unique."""
    directions = sparse(case, _without_curvature_in(case, np.stack(null, axis=1)))
    finding = wording.not_identified(parameters, case.x, directions)
    basis = case.basis_without(directions)
    special = replace(Special.none(case.x.size), null=directions, irregular=_unsettled(case, directions, basis))
    return Diagnosis(Verdict(Status.NOT_IDENTIFIED, (finding,)), case.optimum, special, basis)


def _without_curvature_in(case: Case, directions: np.ndarray) -> np.ndarray:
    """The part of a span in which the Hessian vanishes: two directions may have been found level by one and the same.

    (Each of them, the other following on the ridge.)
    """
    columns, _ = np.linalg.qr(directions / case.unit[:, None])
    scaled = case.optimum.hessian * np.outer(case.unit, case.unit)
    values, vectors = np.linalg.eigh(columns.T @ scaled @ columns)
    level = np.abs(values) <= max(1e-9 * np.abs(scaled).max(), np.abs(values).min())
    return case.unit[:, None] * (columns @ vectors[:, level])


def _unsettled(case: Case, null: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Coordinates whose curvature depends on where on the level ridge the search ended, as columns.

    The means of two equal components of a mixture, for example: each one's standard error goes with its weight, which
    the data do not determine.
    """
    variances = [_variances(case.optimum.hessian, basis)]
    for direction in null.T:
        for sign in (0.3, -0.3):
            x, value = case.back_to_ridge(case.x + sign * direction, direction)
            if abs(value - case.value) <= 10 * case.noise:
                variances.append(_variances(case.objective.hessian(x), basis))
    spread = np.ptp(variances, axis=0) > 1e-3 * np.max(variances, axis=0)
    spread &= ~np.any(null != 0, axis=1)
    return np.eye(case.x.size)[:, spread]


def _variances(hessian: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Variances of the coordinates from the curvature on a basis; zero where it has none."""
    try:
        return np.diag(inverse_on(-hessian, basis))
    except np.linalg.LinAlgError:
        return np.zeros(len(hessian))


def _at_limit(case: Case, parameters: Parameters, outward: np.ndarray) -> Diagnosis:
    """A supremum that is approached outward; whatever has no effect any more out there is lost with it."""
    if case.noise > _VISIBLE:
        return _failed(Status.NOT_CONVERGED, case.optimum, wording.not_converged(parameters, case.optimum))
    limit = find_limit(case, outward)
    special = replace(Special.none(case.x.size), null=limit.null, drift=limit.drift, lost=limit.lost)
    basis = case.basis_without(np.hstack([limit.null, limit.drift, limit.lost]))
    status, findings = wording.at_limit(parameters, limit.optimum.x, special, basis, limit.optimum.value)
    if limit.null.size:
        status = Status.NOT_IDENTIFIED
        findings = [wording.not_identified(parameters, case.x, limit.null), *findings]
    return Diagnosis(Verdict(status, tuple(findings)), limit.optimum, special, basis)


def _at_edge(case: Case, parameters: Parameters) -> Diagnosis | None:
    """The function still rises here, yet no step gains: the support ends, or the function has a kink or a jump."""
    uphill = case.in_units(case.unit**2 * case.optimum.gradient)
    steps = 10.0 ** np.arange(-9, -3)
    ahead = np.array([case.objective.value(case.x + t * uphill) for t in steps])
    if np.all(~np.isfinite(ahead)):
        if grows_towards_edge(case, uphill):
            return _unbounded(case, parameters, support_ends(case))
        case = slid(case, uphill)
        marks = support_ends(case)
        case = cornered(case, marks)
        columns = _columns(marks, uphill)
        return _irregular(case, columns, wording.support_edge(parameters, case.x, columns))
    if np.all(ahead < case.value - case.noise * steps / steps[-1]) and case.optimum.stop is not Stop.ITERATIONS:
        columns = _columns(kinks(case), uphill)
        return _irregular(case, columns, wording.kink(parameters, case.x, columns))
    return None


def _columns(marks: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The marked coordinates as directions; where none is marked, the direction given."""
    return np.eye(marks.size)[:, marks] if np.any(marks) else otherwise[:, None]
