"""Derivatives of graphs, as functions of one flat vector, with the fallbacks for operations that lack some."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import NullTypeGradError, grad, pushforward
from pytensor.graph.basic import Variable
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import toposort
from pytensor.graph.utils import MethodNotDefined
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.variable import TensorVariable

from mle_pp import backends

# What PyTensor raises where an operation has no derivative, or no vectorized form of it.
_NO_DERIVATIVE = (NotImplementedError, MethodNotDefined, NullTypeGradError, TypeError, ValueError)

# A vectorized Hessian holds size × rows numbers for each node of its graph; beyond this it goes column by column.
_VECTORIZED_ELEMENTS = 5e6

VECTORIZED = "automatic differentiation"
COLUMNS = "automatic differentiation, column by column"
DIFFERENCES = "central differences of the exact gradient"


def gradient(cost: Variable, x: TensorVariable) -> Variable:
    """The gradient; a cost that does not depend on `x` has the gradient zero."""
    return grad(cost, x, disconnected_inputs="ignore", return_disconnected="zero")


def central_differences(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The derivative of a vector function, one column an input, by a five-point rule of fourth order."""
    step = 1e-3 * np.maximum(1.0, np.abs(x))
    columns = []
    for k, h in enumerate(step):
        shift = np.zeros_like(x)
        shift[k] = h
        near = function(x + shift) - function(x - shift)
        far = function(x + 2 * shift) - function(x - 2 * shift)
        columns.append((8 * near - far) / (12 * h))
    return np.stack(columns, axis=-1)


def _by_seed(result: np.ndarray, seeds: int) -> np.ndarray:
    """One row a seed, also where the result does not depend on the seed, and so was not vectorized."""
    return np.broadcast_to(result, (seeds, result.shape[-1]))


class Hessian:
    """The Hessian of a scalar graph, and its products with vectors.

    Attributes
    ----------
    method : str
        How it is computed: vectorized Hessian-vector products; a loop of them where an operation has no vectorized
        form; central differences of the exact gradient where it has no second derivative.
    """

    def __init__(
        self,
        cost: Variable,
        x: TensorVariable,
        gradient_function: Callable[..., np.ndarray],
        backend: str,
        rows: int,
    ) -> None:
        self._x = x
        self._gradient = gradient_function
        self._backend = backend
        self._rows = rows
        self._functions: dict[str, Callable[..., list[np.ndarray]]] = {}
        self._seed = pt.vector("seed", dtype="float64")
        self.method = VECTORIZED
        try:
            self._cost, self._slope = cost, gradient(cost, x)
            self._product: Variable | None = gradient(pt.dot(self._slope, self._seed), x)
            if any(isinstance(node.op, Blockwise) for node in toposort([cost])):
                # Matrix operations run in a loop over the seeds anyway, and take seconds to vectorize
                self.method = COLUMNS
        except _NO_DERIVATIVE:
            self._product, self.method = None, DIFFERENCES

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The symmetric matrix of second derivatives at `x`."""
        if x.size == 0:
            return np.zeros((0, 0))
        if self.method == VECTORIZED and x.size * self._rows > _VECTORIZED_ELEMENTS:
            self.method = COLUMNS
        while True:
            try:
                matrix = self._evaluate(x)
                return 0.5 * (matrix + matrix.T)
            except _NO_DERIVATIVE:
                if self.method == DIFFERENCES:
                    raise
                self.method = COLUMNS if self.method == VECTORIZED else DIFFERENCES

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Value, gradient and Hessian in one evaluation, which shares what they have in common; None if it cannot."""
        if self.method != VECTORIZED or x.size * self._rows > _VECTORIZED_ELEMENTS:
            return None
        try:
            matrix, value, slope = self._matrix()(x, np.eye(x.size))
        except _NO_DERIVATIVE:
            return None
        matrix = _by_seed(matrix, x.size)
        return value, slope, 0.5 * (matrix + matrix.T)

    def product(self, x: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector, at the cost of about two gradients."""
        if self._product is None:
            h = 1e-4 / max(float(np.abs(vector).max()), 1e-300)
            return (self._gradient(x + h * vector) - self._gradient(x - h * vector)) / (2 * h)
        if "product" not in self._functions:
            self._functions["product"] = backends.build([self._x, self._seed], [self._product], self._backend)
        return self._functions["product"](x, vector)[0]

    def _evaluate(self, x: np.ndarray) -> np.ndarray:
        if self.method == DIFFERENCES:
            return central_differences(lambda z: self._gradient(z), x)
        if self.method == COLUMNS:
            return np.stack([self.product(x, seed) for seed in np.eye(x.size)])
        return _by_seed(self._matrix()(x, np.eye(x.size))[0], x.size)

    def _matrix(self) -> Callable[..., list[np.ndarray]]:
        """From the point and the seeds to the products, the value and the gradient."""
        if "matrix" not in self._functions:
            seeds = pt.matrix("seeds", dtype="float64")
            with backends.without_c_compiler():
                [product] = backends.inline([self._product])
                outputs = [vectorize_graph(product, {self._seed: seeds}), self._cost, self._slope]
            self._functions["matrix"] = backends.build([self._x, seeds], outputs, self._backend)
        return self._functions["matrix"]


class Jacobian:
    """The derivative of a vector graph with respect to `x`: one row an output, in forward mode."""

    def __init__(self, output: Variable, x: TensorVariable) -> None:
        self._function: Callable[..., list[np.ndarray]] | None
        seed, seeds = pt.vector("seed", dtype="float64"), pt.matrix("seeds", dtype="float64")
        try:
            with backends.without_c_compiler():
                tangent = pushforward(output, x, seed, disconnected_outputs="ignore", return_disconnected="zero")
                matrix = vectorize_graph(tangent, {seed: seeds})
                self._function = backends.build([x, seeds], [matrix])
        except _NO_DERIVATIVE:
            self._function = None
        self._value = backends.build([x], [output])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The derivative at `x`, shape (outputs, size)."""
        if self._function is not None:
            try:
                return _by_seed(self._function(x, np.eye(x.size))[0], x.size).T
            except _NO_DERIVATIVE:
                self._function = None
        return central_differences(lambda z: self._value(z)[0], x)
