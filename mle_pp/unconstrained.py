"""The density that a sampler sees: on the unconstrained scale, the Jacobian of the transforms included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.replace import vectorize_graph

from mle_pp import backends
from mle_pp.derivatives import Smooth
from mle_pp.objective import ModelObjective

# Numbers in the largest intermediate result of an evaluation at many points: what a processor keeps at hand; and how
# many of these at once are less work than the translation that a second evaluation brings
_ELEMENTS, _PIECES = 5e4, 4


class UnconstrainedDensity:
    """An objective plus the log-Jacobian of its parameters' transforms: itself an objective.

    Parameters
    ----------
    objective : ModelObjective
        Of a posterior mode: with the priors of all variables. Without priors, the density under flat ones.

    Attributes
    ----------
    parameters : Parameters
    """

    has_information = False
    is_costly = False
    default_starts = 3

    def __init__(self, objective: ModelObjective) -> None:
        self._objective = objective
        self.parameters = objective.parameters
        self._jacobian = Smooth(self.parameters.log_jacobian_graph, self.parameters.x, "interpreted", self.size)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self._objective.size

    @property
    def units(self) -> np.ndarray:
        """Those of the objective."""
        return self._objective.units

    def value(self, x: np.ndarray) -> float:
        """The log-density."""
        return self._objective.value(x) + self._jacobian.value(x)

    def value_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The log-density and its gradient."""
        (a, g), (b, h) = self._objective.value_gradient(x), self._jacobian.value_gradient(x)
        return a + b, g + h

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """The matrix of second derivatives."""
        return self._objective.hessian(x) + self._jacobian.hessian(x)

    def derivatives(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian."""
        one, two = self._objective.derivatives(x), self._jacobian.derivatives(x)
        return one[0] + two[0], one[1] + two[1], one[2] + two[2]

    def product(self, x: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector."""
        return self._objective.product(x, vector) + self._jacobian.hessian.product(x, vector)

    def residuals(self, x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """None: they are for starting points."""
        return iter(())

    def information(self, x: np.ndarray) -> np.ndarray:
        """There is none."""
        raise NotImplementedError

    def impossible(self, x: np.ndarray) -> int:
        """That of the likelihood."""
        return self._objective.impossible(x)

    @cached_property
    def _many(self) -> Callable[..., list[np.ndarray]]:
        x = self.parameters.x
        points = pt.matrix("points", dtype="float64")
        with backends.without_c_compiler():
            cost = self._objective._functions.plain.cost + self._jacobian.cost
            graphs = backends.inline([cost, self.parameters.constrained_graph, self.parameters.derived_graph])
            return backends.build([points], vectorize_graph(graphs, {x: points}))

    def many(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-densities, constrained values and `Deterministic`s at many points, one a row."""
        rows = max(self._objective._functions.plain.rows, 1)
        few = len(points) * rows <= _PIECES * _ELEMENTS
        at_once = max(1, len(points) if few else int(_ELEMENTS / rows))
        parts = [self._at(points[k : k + at_once]) for k in range(0, len(points), at_once)]
        values, constrained, derived = (np.concatenate(column) for column in zip(*parts, strict=True))
        return np.where(np.isnan(values), -np.inf, values), constrained, derived

    def _at(self, points: np.ndarray) -> list[np.ndarray]:
        found = self._many(points)
        # What does not depend on the point has not been vectorized
        shapes = ((), (self.parameters.layout.size,), (self.parameters.derived_layout.size,))
        return [np.broadcast_to(a, (len(points), *shape)) for a, shape in zip(found, shapes, strict=True)]
