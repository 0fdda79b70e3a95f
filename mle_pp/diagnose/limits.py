"""Suprema that are approached and never reached: what goes to its limit, what stops mattering there, what stays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mle_pp.diagnose.case import Case, Side, Walk
from mle_pp.linalg import complement, curvature_scale, sparse_directions
from mle_pp.optimize import Optimum

# Movements smaller than this share of a unit are rounding, not part of the way to a limit.
_SMALL = 1e-2
# Log-units from the start, from which on a transformed parameter may be on its way to zero or infinity.
_GONE = 10.0
# Steps from the start within which a level direction is none to a limit.
_FAR = 3.0
# Times the rounding errors: derivatives, in units, where the function is not level all around.
_EFFECT = 1e3


@dataclass(frozen=True)
class Limit:
    """A supremum at the end of a way that has none.

    Attributes
    ----------
    optimum : Optimum
        The point nearest to the limit at which the function can still be computed.
    drift : ndarray, shape (size, 1)
        The way: all limits are approached along it together.
    lost : ndarray, shape (size, k)
        What else stops mattering in the limit.
    null : ndarray, shape (size, k)
        Directions along which the function was level already before the limit.
    """

    optimum: Optimum
    drift: np.ndarray
    lost: np.ndarray
    null: np.ndarray


def find_limit(case: Case, outward: np.ndarray) -> Limit:
    """The limit that lies outward.

    All directions that have no effect out there are looked at together: those in which the search came here from the
    model's own initial point are the way to the limit (there may be several limits, one behind each), the others are
    without meaning, in the limit or everywhere.
    """
    walk = _cleaned(case, outward)
    optimum = _trusted(case, walk, outward)
    flat = _without_effect(case, optimum)
    null = _level_before(case, optimum.x, flat)
    moved = walk.x - case.x
    drift = _way(case, optimum, flat, null, case.in_units(moved if np.any(moved) else outward))
    known = np.hstack([drift, null]) / case.unit[:, None]
    rest, flat = complement(known), _without_effect(case, _farther(case, optimum, drift[:, 0]))
    lost = rest @ _orthonormal(rest.T @ flat)
    lost = case.unit[:, None] * np.where(np.abs(lost) > 1e-6, lost, 0.0)
    return Limit(optimum, drift, lost, sparse(case, null))


def growing(case: Case) -> np.ndarray:
    """Which coordinates the function keeps gaining along, every step as much as the one before.

    So it does where a scale shrinks around observations that are fitted exactly: −n log σ has no limit. Towards a
    supremum the gain of each step is a fraction of that of the one before.
    """
    moved = case.x - case.parameters.default
    gone = np.abs(moved) > _GONE * case.stride
    marks = np.zeros(case.x.size, dtype=bool)
    for chosen in [gone, *(np.arange(moved.size) == k for k in np.flatnonzero(gone))]:
        if np.any(chosen) and _grows_along(case, np.where(chosen, moved, 0.0)):
            return chosen
    return marks


def _grows_along(case: Case, way: np.ndarray) -> bool:
    """Whether the last third of a way gained about as much as the third before."""

    def height(share: float) -> tuple[np.ndarray, float]:
        return case.back_to_ridge(case.x - (1 - share) * way, way)

    share, steps = 1.0, float(np.max(np.abs(way) / case.stride))
    while True:
        top, value = height(share)
        # Farther out there may be nothing but rounding
        if np.isfinite(value) and case.noise_at(top) < 1e-6 * max(1.0, abs(case.value)):
            break
        share *= 0.8
        if share * steps < _GONE:
            return False
    values = [value, height(share * 2 / 3)[1], height(share / 3)[1]]
    last, before = values[0] - values[1], values[1] - values[2]
    if not (last > 1 and 0.5 * before < last < 2 * before):
        return False
    # On the user's own scale still at the end: the linear rise of separated observations, on their wrong side, is over
    lately = value - case.back_to_ridge(top - 3 / steps * way, way)[1]
    if np.any((way != 0) & (case.objective.units == 0)) and not lately > 0.3 * last * 3 / (share * steps / 3):
        return False
    # At an interior maximum far from the start the function falls on the other side; or the support of the data ends.
    # A fall out of all proportion is a ridge that was not found again.
    error = 1 / curvature_scale(-case.optimum.hessian, case.optimum.gradient)
    far = np.where(case.objective.units > 0, 2.5, np.minimum(np.maximum(2.5 * case.stride, 3 * error), np.abs(way)))
    on_way = way != 0
    fall = value - case.back_to_ridge(top + np.max(far[on_way] / np.abs(way[on_way])) * way, way)[1]
    falls = 0.05 * last < fall < 1e3 * last
    return not falls and not case.objective.impossible(top + 1e-6 * way)


def way_here(case: Case) -> np.ndarray:
    """How the search came here from the initial point, along the directions that have no effect any more.

    All of the way, where going on changes nothing: what effect a direction has left may be little more than rounding.
    Zero if it did not come far: a limit is not around the corner.
    """
    flat = _without_effect(case, case.optimum)
    moved = case.x - case.parameters.default
    way = case.unit * (flat @ (flat.T @ (moved / case.unit)))
    if not np.any(np.abs(way) > _FAR * case.stride):
        return np.zeros_like(way)
    whole = case.in_units(moved)
    return whole if case.is_receding(whole) else case.in_units(way)


def reached_without(case: Case, way: np.ndarray) -> np.ndarray | None:
    """A point as high as this one that does not lie out on the way; None if there is none.

    Then the function is level on a curve that happened to be followed outward, and nothing is at a limit.
    """
    default = case.parameters.default
    direction = way / case.unit
    length = float(direction @ ((case.x - default) / case.unit)) / float(direction @ direction)
    x, value = case.back_to_ridge(case.x - length * way, way)
    distance = [np.max(np.abs(point - default) / case.stride) for point in (x, case.x)]
    return x if value >= case.value - 10 * case.noise and distance[0] < 0.5 * distance[1] else None


def _cleaned(case: Case, direction: np.ndarray) -> Walk:
    """The walk along the direction, without its smallest components where these are only rounding."""
    main = np.where(np.abs(direction) > _SMALL * case.unit, direction, 0.0)
    walk = case.walk(main)
    return walk if walk.side is Side.LEVEL else case.walk(direction)


def _trusted(case: Case, walk: Walk, outward: np.ndarray) -> Optimum:
    """A point at which the function can be computed and equals its supremum, out towards the limit if that gains."""
    back = [case.x - steps * outward for steps in (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)]
    # Where going on gains nothing, or rounding errors only, the search has come far enough
    size = max(1.0, abs(case.value))
    ahead = [walk.x] if walk.value > case.value + 1e-12 * size and case.noise < 1e-7 * size else []
    for k, x in enumerate([*ahead, *back], start=1 - len(ahead)):
        if k > 1:
            x, _ = case.back_to_ridge(x, outward)
        value, gradient = case.objective.value_gradient(x)
        hessian = case.objective.hessian(x)
        computable = np.all(np.isfinite(hessian)) and case.noise_at(x) < 1e-7 * size
        if computable and abs(value - case.value) <= 10 * case.noise:
            return replace(case.optimum, x=x, value=value, gradient=gradient, hessian=hessian)
    return case.optimum


def _without_effect(case: Case, optimum: Optimum) -> np.ndarray:
    """Orthonormal directions, in units, along which a step of one unit changes nothing visible any more."""
    scaled = -optimum.hessian * np.outer(case.unit, case.unit)
    if not np.all(np.isfinite(scaled)):
        return np.eye(case.x.size)
    values, vectors = np.linalg.eigh(scaled)
    return vectors[:, np.abs(values) < 2 * max(case.noise, case.noise_at(optimum.x))]


def _farther(case: Case, optimum: Optimum, way: np.ndarray) -> Optimum:
    """A point on the way where more has lost its effect: what does so only in the limit still has some before it."""
    for length in (30.0, 10.0, 3.0):
        x = optimum.x + length * way
        value, hessian = case.objective.value(x), case.objective.hessian(x)
        if np.isfinite(value) and np.all(np.isfinite(hessian)) and abs(value - optimum.value) <= 10 * case.noise:
            return replace(optimum, x=x, hessian=hessian)
    return optimum


def is_far(case: Case) -> bool:
    """Whether the search came so far from the initial point that a limit may be near."""
    return bool(np.any(np.abs(case.x - case.parameters.default) > _FAR * case.stride))


def _level_before(case: Case, x: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Directions among the flat ones that had no effect before the limit either: the data never determine them."""
    back = case.unit * (flat @ (flat.T @ ((x - case.parameters.default) / case.unit)))
    for point in (x - back, x - 0.7 * back, x - 0.5 * back, case.parameters.default):
        value, gradient, hessian = case.objective.derivatives(point)
        scaled, slope = hessian * np.outer(case.unit, case.unit), case.unit * gradient
        size = max(np.abs(scaled).max(), np.abs(slope).max())
        # Where nothing has an effect, this is no point before the limit
        if np.isfinite(value) and np.isfinite(size) and size > _EFFECT * case.noise_at(point):
            break
    else:
        return np.zeros((x.size, 0))
    action = np.vstack([scaled @ flat, (flat.T @ slope)[None, :]])
    _, values, vectors = np.linalg.svd(action)
    size = np.zeros(flat.shape[1])
    size[: values.size] = values
    level = case.unit[:, None] * (flat @ vectors[size <= 1e-9 * max(1.0, np.abs(scaled).max())].T)
    noise = case.noise_at(point)
    same = [all(abs(case.objective.value(point + s * v) - value) <= noise for s in (1.0, -1.0, 3.0)) for v in level.T]
    return level[:, np.array(same, dtype=bool)]


def _way(case: Case, optimum: Optimum, flat: np.ndarray, null: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """The way to all limits together, shape (size, 1): what had to move, each variable about as far as the others."""
    step, parameters = outward / case.unit, case.parameters
    come = flat @ (flat.T @ ((optimum.x - parameters.default) / case.unit))
    if null.size:
        never = _orthonormal(null / case.unit[:, None])
        come = come - never @ (never.T @ come)
    both = case.in_units(outward)
    if come @ step > 0:
        both = both + case.in_units(case.unit * come)
    both = np.where(np.abs(both) > _SMALL * case.unit, both, 0.0)
    way = _necessary(case, optimum, case.in_units(both))
    way = way if np.any(way) else case.in_units(outward)
    even = way.copy()
    for piece in parameters.unconstrained.slices().values():
        even[piece] /= max(np.max(np.abs(way[piece]) / case.unit[piece]), np.finfo(float).tiny)
    return (even if _is_level(case, optimum, even) else way)[:, None]


def _is_level(case: Case, optimum: Optimum, direction: np.ndarray) -> bool:
    ends = [case.objective.value(optimum.x + length * direction) for length in (1.0, 10.0, 100.0)]
    return all(np.isfinite(end) and end >= optimum.value - 10 * case.noise for end in ends)


def _necessary(case: Case, optimum: Optimum, way: np.ndarray) -> np.ndarray:
    """The way without the coordinates that could have stayed.

    Put back to the start, these cost nothing; or they had to come, but need not go on, and could not alone.
    """
    x, needed = optimum.x.copy(), way.copy()
    for k in np.argsort(np.abs(way) / case.unit):
        if way[k] == 0:
            continue
        alone = np.where(np.arange(way.size) == k, needed, 0.0)
        without = needed - alone
        own_scale = case.objective.units[k] == 0 and np.any(without)
        if own_scale and _is_level(case, optimum, without) and not _is_level(case, optimum, alone):
            needed[k] = 0.0
            continue
        tried = x.copy()
        tried[k] = case.parameters.default[k]
        if case.objective.value(tried) >= optimum.value - 10 * case.noise:
            x, needed[k] = tried, 0.0
    return needed


def sparse(case: Case, directions: np.ndarray) -> np.ndarray:
    """A basis of the same directions with many zeros, whatever the units of the coordinates."""
    return case.unit[:, None] * sparse_directions(directions / case.unit[:, None]) if directions.size else directions


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns' span, small parts neglected."""
    if columns.size == 0:
        return np.zeros((columns.shape[0], 0))
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, values > 0.1]
