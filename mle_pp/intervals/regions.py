"""Two-dimensional likelihood regions, by following their boundary."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from mle_pp.conventions import probability
from mle_pp.errors import ModelError
from mle_pp.intervals.constrained import constrained_maximum
from mle_pp.intervals.endpoint import HigherPointError, Top, tolerance
from mle_pp.intervals.profiles import check_allowed, top_of
from mle_pp.intervals.scalars import Limits, Target, target
from mle_pp.linalg import inverse_on
from mle_pp.stored import is_stored

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

_CORRECTIONS = 12
# As many times the size of the Wald ellipse, or so many log-units, away from the estimate, a boundary counts as open
_FAR = 1000.0
_FAR_LOG = 25.0
_MOST = 1000
# A step turns by at most about this, in radians
_TURN = 0.35


@dataclass(frozen=True, eq=False, repr=False)
class Region:
    """The region of two scalars whose profile likelihood is not too far below the maximum.

    Attributes
    ----------
    labels : tuple of str
        Of the two scalars.
    estimate : ndarray, shape (2,)
    x, y : ndarray, shape (points,)
        The boundary, counter-clockwise on the working scale, on the user's scale; where `is_closed`, the last point
        is the first one again.
    is_closed : bool
        False where the region reaches to infinity or to the edge of the support: the boundary then goes from one end
        to the other.
    ci_prob : float
    loglik : float
        The profile log-likelihood on the boundary.
    """

    labels: tuple[str, str]
    estimate: np.ndarray
    x: np.ndarray
    y: np.ndarray
    is_closed: bool
    ci_prob: float
    loglik: float

    @property
    def _lines(self) -> list[str]:
        kind = "closed" if self.is_closed else "open: it reaches to infinity or to the edge of the support"
        heading = f"Likelihood region of {' and '.join(self.labels)}, {100 * self.ci_prob:g} %, {kind}"
        rows = zip(self.labels, self.estimate, (self.x, self.y), strict=True)
        return [
            heading,
            *(f"{label} = {at:.4g}, boundary from {v.min():.4g} to {v.max():.4g}" for label, at, v in rows),
            f"{len(self.x)} points in .x and .y",
        ]

    def __repr__(self) -> str:
        return "\n  ".join(self._lines)

    def _repr_html_(self) -> str:
        return f"<div>{'<br>'.join(map(escape, self._lines))}</div>"


def region(est: Estimate, x: str, y: str, *, ci_prob: float | None = None, points: int = 60) -> Region:
    """Likelihood region of two scalars: all pairs whose profile log-likelihood is within half the χ²₂ quantile.

    Parameters
    ----------
    est : Estimate
        A maximum-likelihood estimate.
    x, y : str
        Labels of single scalars or expressions in labels, as for `profile`.
    ci_prob : float, optional
        Probability of the region under χ² with two degrees of freedom. Default: ArviZ's
        ``rcParams["stats.ci_prob"]``.
    points : int
        About how many points the boundary gets; more where it is strongly curved.

    Returns
    -------
    Region
        The boundary as arrays ``x`` and ``y``, in order.

    Raises
    ------
    ValueError
        A vector where a scalar is needed; a scalar without a regular maximum; two that depend on each other; an
        estimate that is none of the likelihood's regular maxima; `ci_prob` not between 0 and 1.
    KeyError
        An unknown label.
    ModelError
        The estimate was read without its model.

    Notes
    -----
    The boundary is followed in coordinates in which the Wald ellipse is a circle, each point a maximum under two
    constraints that starts at the one before; the multipliers of these maxima are the slopes of the profile. So it
    need be neither convex nor star-shaped.

    References
    ----------
    Pawitan (2001), "In All Likelihood", section 9.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     sigma = pm.HalfNormal("sigma", 10)
    ...     y = pm.Normal("y", mu, sigma, observed=[1.0, 2.0, 3.0, 6.0])
    >>> boundary = mle.region(mle.find_MLE(model), "mu", "sigma", ci_prob=0.95)
    >>> boundary.is_closed
    True
    """
    prob = probability(ci_prob)
    check_allowed(est, "likelihood region")
    if not isinstance(points, int) or isinstance(points, bool) or points < 8:
        raise ValueError(f"points={points!r} is not a number of at least 8 points.")
    if is_stored(est):
        raise ModelError(
            "Likelihood regions are made from the model, and the estimate was read without it: "
            "mle.from_datatree(tree, model) reads it with."
        )
    targets = (target(est, x), target(est, y))
    limits = Limits.of(est)
    for scalar in targets:
        reason = limits.reason(scalar, est._optimum.x)
        if not reason and limits.pinned(scalar, est._optimum.x):
            reason = "its estimate is at a limit"
        if reason:
            raise ValueError(f"{scalar.label} has no region: {reason} ({est.verdict.status}).")
    drop = -np.log1p(-prob)
    with np.errstate(all="ignore"):
        boundary = _Boundary(top_of(est, limits), targets, drop)
        try:
            found, is_closed = boundary.around(2 * np.pi * np.sqrt(2 * drop) / points)
        except HigherPointError:
            raise ValueError(
                "On the boundary of the region the likelihood is higher than at the estimate: there is a better "
                "optimum. Estimate again with more starting points (starts=50)."
            ) from None
    values = np.array([[scalar.value(z) for scalar in targets] for z in found])
    estimate = np.array([scalar.value(est._optimum.x) for scalar in targets])
    labels = (targets[0].label, targets[1].label)
    return Region(labels, estimate, values[:, 0], values[:, 1], is_closed, prob, est._optimum.value - drop)


@dataclass(frozen=True)
class _Node:
    """A point of the plane, in which the Wald ellipse is a circle, with the maximum there."""

    u: np.ndarray
    x: np.ndarray
    value: float
    gradient: np.ndarray

    @property
    def tangent(self) -> np.ndarray:
        """Counter-clockwise around higher ground."""
        along = np.array([self.gradient[1], -self.gradient[0]])
        return along / np.linalg.norm(along)


class _Boundary:
    """The boundary of the region, as a curve in the plane."""

    def __init__(self, top: Top, targets: tuple[Target, Target], drop: float) -> None:
        self._top, self._drop = top, drop
        self._scalars = [scalar.working for scalar in targets]
        x = top.point.x
        self._center = np.array([scalar.value(x) for scalar in self._scalars])
        slopes = np.array([scalar.gradient(x) for scalar in self._scalars])
        self._spread = inverse_on(-top.point.hessian, top.basis) @ slopes.T
        try:
            self._axes = np.linalg.cholesky(slopes @ self._spread)
            if not abs(np.linalg.det(self._axes / np.linalg.norm(self._axes, axis=1)[:, None])) > 1e-7:
                raise np.linalg.LinAlgError
        except np.linalg.LinAlgError:
            names = " and ".join(scalar.label for scalar in targets)
            raise ValueError(f"{names} depend on each other: they span no region.") from None

    def around(self, stride: float) -> tuple[list[np.ndarray], bool]:
        """Points of the boundary in order, and whether it is closed."""
        first = self._first()
        forth, is_closed = self._trace(first, stride, 1)
        if is_closed:
            return [node.x for node in [*forth, first]], True
        back, _ = self._trace(first, stride, -1)
        return [node.x for node in [*back[:0:-1], *forth]], False

    def _first(self) -> _Node:
        """A point of the boundary: along some ray from the estimate, the first that meets it."""
        for angle in np.arange(8) * np.pi / 4:
            u = np.sqrt(2 * self._drop) * np.array([np.cos(angle), np.sin(angle)])
            start = self._top.point.x + self._spread @ np.linalg.solve(self._axes.T, u)
            for shrink in (1.0, 0.5, 0.25):
                node = self._node(shrink * u, self._top.point.x + shrink * (start - self._top.point.x))
                found = self._corrected(node) if node is not None else None
                if found is not None:
                    return found
        raise ValueError("No boundary was found: the likelihood does not fall to the cutoff near the estimate.")

    def _node(self, u: np.ndarray, start: np.ndarray) -> _Node | None:
        found = constrained_maximum(self._top.objective, self._scalars, self._center + self._axes @ u, start)
        if not found.converged:
            return None
        self._top.check(found.x, found.value)
        return _Node(u, found.x, found.value, self._axes.T @ found.multipliers)

    def _corrected(self, node: _Node | None) -> _Node | None:
        """Straight up or down the slope to the boundary."""
        goal = self._top.point.value - self._drop
        for _ in range(_CORRECTIONS):
            if node is None:
                return None
            miss, steepness = node.value - goal, float(node.gradient @ node.gradient)
            if abs(miss) <= tolerance(self._drop, goal):
                return node
            if steepness == 0 or miss**2 / steepness > 2 * self._drop:
                return None
            node = self._node(node.u - miss / steepness * node.gradient, node.x)
        return None

    def _trace(self, first: _Node, stride: float, sense: int) -> tuple[list[_Node], bool]:
        """From a point on until it is reached again, or the boundary leaves every reasonable range."""
        nodes, length, turned, radius = [first], stride, 0.0, np.sqrt(2 * self._drop)
        while not self._is_far(nodes[-1]) and len(nodes) < _MOST:
            last = nodes[-1]
            move = sense * length * last.tangent
            before = nodes[-2] if len(nodes) > 1 else None
            shift = (last.x - before.x) * length / np.linalg.norm(last.u - before.u) if before else 0 * last.x
            ahead = next(
                (
                    n
                    for s in (last.x + shift, last.x)
                    if (n := self._corrected(self._node(last.u + move, s))) is not None
                ),
                None,
            )
            turn = _angle(last.tangent, ahead.tangent) if ahead else np.inf
            if ahead is None or abs(turn) > _TURN:
                length /= 2
                if length < 1e-8 * stride:
                    break
                continue
            turned += sense * turn
            if abs(turned) > np.pi and self._passes(last, ahead, first):
                return nodes, True
            nodes.append(ahead)
            # Far out, where a region is long or open, steps grow with the distance
            most = stride * max(1.0, float(np.linalg.norm(ahead.u)) / radius)
            length = min(most, 2 * length if abs(turn) < _TURN / 2 else length)
        return nodes, False

    def _is_far(self, node: _Node) -> bool:
        """Whether the boundary has gone so far that it does not come back."""
        log_units = np.abs(node.x - self._top.point.x)[self._top.objective.units > 0]
        far = np.linalg.norm(node.u) > _FAR * np.sqrt(2 * self._drop)
        return bool(far or np.any(log_units > _FAR_LOG))

    @staticmethod
    def _passes(last: _Node, ahead: _Node, first: _Node) -> bool:
        """Whether the first point lies between two successive ones."""
        step, to_first = ahead.u - last.u, first.u - last.u
        along = float(step @ to_first) / float(step @ step)
        return 0 < along <= 1 + 1e-9 and np.linalg.norm(to_first - along * step) < 0.5 * np.linalg.norm(step)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    """From one direction to another, counter-clockwise."""
    return float(np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b))
