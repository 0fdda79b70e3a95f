"""Where to begin: the model's own initial point, then seeded points around it and around what the first one reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from mle_pp.linalg import curvature_scale
from mle_pp.objective import Objective
from mle_pp.optimize.methods import maximize
from mle_pp.optimize.optimum import Optimum, Stop

FEW, MANY, MOST = 3, 12, 60


@dataclass(frozen=True)
class Anchors:
    """Where some coordinates may be started: at values drawn from these."""

    coordinates: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Run:
    """One start and where it led."""

    origin: str
    start: np.ndarray
    start_value: float
    optimum: Optimum


def run_starts(
    objective: Objective,
    initial: np.ndarray,
    default: np.ndarray,
    starts: int | str,
    seed: int | np.random.Generator | None,
    method: str,
    anchors: Anchors | None = None,
) -> list[Run]:
    """Maximize from several points.

    Parameters
    ----------
    objective : Objective
    initial, default : ndarray, shape (size,)
        The first start, as the user gave it, and the model's own initial point, around which the others lie.
    starts : "auto" or int
        "auto": the objective's own number, three as a rule; twelve where the first three end at different values;
        sixty where only one of the twelve reached the highest. Where a Hessian costs several gradients: that number,
        but for searches that end where a scale vanishes.
    seed : int, Generator or None
        None is a fixed seed: the same model gives the same result.
    method : str
    anchors : Anchors, optional
        Values at which some coordinates may be started, too: the observations, for the locations of a mixture.
    """
    rng = np.random.default_rng(0 if seed is None else seed)
    runs = [_run(objective, "initial point", initial, method, [])]
    if objective.size == 0:
        return runs
    points = _jittered(objective, default, runs[0], rng, anchors)
    wanted = objective.default_starts if starts == "auto" else int(starts)
    if wanted > 1 and not np.array_equal(initial, default):
        runs.append(_run(objective, "the model's own", default, method, runs))
    while len(runs) < wanted:
        runs.append(_run(objective, "jittered", next(points), method, runs))
        if starts == "auto" and objective.is_costly:
            # Where a scale of latents vanishes a search ends lower than others, which says nothing about these
            wanted = min(FEW + _collapsed(objective, runs, default), 2 * FEW)
        elif starts == "auto" and len(runs) == FEW and _disagree(runs):
            wanted = MANY
        if starts == "auto" and len(runs) == MANY and _is_one_of_many(runs):
            wanted = MOST
    return runs


def _run(objective: Objective, origin: str, start: np.ndarray, method: str, earlier: list[Run]) -> Run:
    """A search, which ends where it comes near the end of an earlier one."""
    value, known = objective.value(start), [run.optimum for run in earlier]
    return Run(origin, start, value, maximize(objective, start, method, known))


def _jittered(
    objective: Objective, default: np.ndarray, first: Run, rng: np.random.Generator, anchors: Anchors | None
) -> Iterator[np.ndarray]:
    """Points around the model's initial point and around the first result, in turn, near and far; some at the data."""
    found = first.optimum.x
    moved = np.abs(found - default)
    width = np.where(objective.units > 0, 1.5, np.maximum(moved, _reach(objective, first.optimum)))
    for residuals, slopes in objective.residuals(found):
        # As far as the data reach: other optima may lie at other groups of them
        with np.errstate(all="ignore"):
            spread = 2 * np.std(residuals) / np.sqrt(np.mean(slopes**2, axis=0))
        width = np.where((objective.units == 0) & np.isfinite(spread), np.maximum(width, spread), width)
    near = cache(lambda: _near(objective, default, width))
    centers = (default, np.where((objective.units > 0) & (moved > 5), default, found))
    count = 0
    while True:
        # Half of the spread at every second pair: far starts may leave the support
        draw = rng.normal(size=found.size)
        # Not back to where the first start was
        draw *= max(1.0, np.sqrt(found.size) / np.linalg.norm(draw))
        spread = width if count % 4 < 2 else 0.5 * width if count % 2 else near()
        point = centers[count % 2] + draw * spread
        count += 1
        if anchors is not None and count % 2 == 0:
            point[anchors.coordinates] = rng.choice(anchors.values, anchors.coordinates.size)
        if np.isfinite(objective.value(point)) or count > 200:
            yield point


def _near(objective: Objective, default: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Some standard errors, as they are at the model's initial point: where the first start ran away, all is far."""
    _, gradient, hessian = objective.derivatives(default)
    if not (np.all(np.isfinite(hessian)) and np.all(np.isfinite(gradient))):
        return 0.5 * width
    errors = 1 / curvature_scale(-hessian, gradient)
    return 0.5 * np.where(objective.units > 0, width, np.minimum(width, 10 * errors))


def _reach(objective: Objective, optimum: Optimum) -> np.ndarray:
    """How far each coordinate moves alone before it costs 5 of log-likelihood: other optima lie within, or beyond."""
    if not (np.all(np.isfinite(optimum.hessian)) and np.all(np.isfinite(optimum.gradient))):
        return 1 + np.abs(optimum.x)
    errors = 1 / curvature_scale(-optimum.hessian, optimum.gradient)
    reach = 3 * np.minimum(errors, 1 + np.abs(optimum.x))
    if objective.is_costly:
        # That is what it costs where the function is nearly quadratic
        return 2 * reach
    for k in np.flatnonzero(objective.units == 0):
        step = np.zeros_like(optimum.x)
        for _ in range(8):
            step[k] = reach[k]
            values = [objective.value(optimum.x + sign * step) for sign in (1, -1)]
            if max(values) < optimum.value - 5:
                break
            reach[k] *= 2
    return reach


def _is_one_of_many(runs: list[Run]) -> bool:
    """Whether the highest end is a quick and regular one, which a single start reached: others may be higher."""
    best = max(runs, key=lambda run: run.optimum.value)
    tolerance = 1e-6 * max(1.0, abs(best.optimum.value))
    near = [run for run in runs if abs(run.optimum.value - best.optimum.value) <= tolerance]
    quick = np.median([run.optimum.iterations for run in runs]) <= 60
    return len(near) == 1 and best.optimum.stop is Stop.SMALL_DECREMENT and bool(quick)


def _collapsed(objective: Objective, runs: list[Run], default: np.ndarray) -> int:
    """How many searches ended below the best with a scale that has vanished."""
    best = max(run.optimum.value for run in runs)
    scales = objective.units > 0
    return sum(
        run.optimum.value < best - 1e-6 * max(1.0, abs(best)) and bool(np.any((run.optimum.x - default)[scales] < -6))
        for run in runs
    )


def _disagree(runs: list[Run]) -> bool:
    """Whether the ends differ in the value they reached."""
    values = np.array([run.optimum.value for run in runs])
    if not np.all(np.isfinite(values)):
        return True
    return bool(np.ptp(values) > 1e-6 * max(1.0, float(np.abs(values).max())))
