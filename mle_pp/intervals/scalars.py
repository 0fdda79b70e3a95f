"""The scalars that profiles are about, and the scale on which each is followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mle_pp.information import Special, limits, pinned_at_limit, slides, without_limit
from mle_pp.intervals.constrained import Scalar
from mle_pp.quantities import quantity

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate


@dataclass(frozen=True)
class Coordinate:
    """One entry of the unconstrained vector."""

    index: int
    size: int

    def value(self, x: np.ndarray) -> float:
        """The entry."""
        return float(x[self.index])

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """A unit vector."""
        unit = np.zeros(self.size)
        unit[self.index] = 1.0
        return unit

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Zero."""
        return np.zeros((self.size, self.size))


@dataclass(frozen=True)
class Target:
    """A scalar and how to follow it.

    Attributes
    ----------
    label : str
    value : callable
        From the vector to the scalar on the user's scale.
    working : Scalar
        A function with the same level sets: the one entry of the vector that the scalar depends on, or itself.
    sign : {-1, 1}
        Whether the scalar falls or rises with `working`.
    bounds : tuple of float
        Between which it lies, where that is known.
    """

    label: str
    value: Callable[[np.ndarray], float]
    working: Scalar
    sign: int
    bounds: tuple[float, float] = (-np.inf, np.inf)


def target(est: Estimate, label: str) -> Target:
    """The scalar that a label or an expression means.

    Raises
    ------
    KeyError, ValueError
        As `mle_pp.quantities.quantity`.
    """
    if not isinstance(label, str):
        raise ValueError(f"{label!r} is not a label or an expression in labels, such as 'beta[x1]' or 'exp(a) / b'.")
    parameters = est._objective.parameters
    if label in parameters.layout.labels:
        row = parameters.layout.labels.index(label)
        index = _only_coordinate(est, row)
        if index is not None:
            slope = parameters.jacobian(parameters.initial)[row, index]
            return Target(
                label,
                lambda x: float(parameters.constrained(x)[row]),
                Coordinate(index, parameters.size),
                1 if slope > 0 else -1,
            )
    scalar = quantity(parameters, label)
    if not np.any(scalar.gradient(parameters.initial)) and not np.any(scalar.gradient(est._optimum.x)):
        raise ValueError(f"{label} does not depend on the estimated parameters.")
    if label not in parameters.derived_layout.labels:
        return Target(scalar.text, scalar.value, scalar, 1)
    row = parameters.derived_layout.labels.index(label)
    lower, upper = (float(ends[row]) for ends in parameters.derived_bounds)
    return Target(scalar.text, scalar.value, scalar, 1, (lower, upper))


def _only_coordinate(est: Estimate, row: int) -> int | None:
    """The one entry of the vector that a parameter depends on, monotonically; None if there are several."""
    parameters = est._objective.parameters
    transform = parameters.transforms[parameters.layout.owners()[row]]
    if transform is not None and transform.ndim_supp != 0 and transform.name != "ordered":
        return None
    depends = np.flatnonzero(parameters.jacobian(parameters.initial)[row])
    others = np.flatnonzero(est._scales.jacobian[row])
    return int(depends[0]) if depends.size == 1 and set(others) <= set(depends) else None


@dataclass(frozen=True)
class Limits:
    """The directions in which an estimate has no regular maximum, and what they do to a scalar."""

    special: Special
    basis: np.ndarray

    @classmethod
    def of(cls, est: Estimate) -> Limits:
        """Those of an estimate."""
        return cls(est._scales.special, est._basis)

    def reason(self, scalar: Target, x: np.ndarray) -> str:
        """Why a scalar has no interval; empty if it has one."""
        if slides(scalar.working.gradient(x)[None, :], self.special.null)[0]:
            return "the data do not determine it"
        return "it has no effect at the maximum" if without_limit(_as_vector(scalar), x, self.special)[0] else ""

    def pinned(self, scalar: Target, x: np.ndarray) -> bool:
        """Whether the estimate of the scalar itself lies at a limit."""
        if not self.special.drift.size:
            return False
        jacobian = scalar.working.gradient(x)[None, :]
        return bool(pinned_at_limit(_as_vector(scalar), jacobian, x, self.special.drift, self.basis)[0])

    def end(self, scalar: Target, x: np.ndarray) -> float:
        """The limit of a pinned scalar."""
        return float(limits(_as_vector(scalar), x, self.special.drift)[0])


def _as_vector(scalar: Target) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.array([scalar.value(x)])
