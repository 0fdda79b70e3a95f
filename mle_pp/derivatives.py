"""Derivatives of graphs, as functions of one flat vector, with the fallbacks for operations that lack some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

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

    Parameters
    ----------
    cost, x : Variable
        The graph, and the vector it is a function of.
    gradient_function : callable
        Its gradient, from arrays for `x` and `inputs`.
    backend : str
    rows : int
        Numbers in its largest intermediate result, roughly.
    inputs : sequence of Variable
        What else the graph reads: the arrays that each method takes after its own.

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
        inputs: Sequence[Variable] = (),
    ) -> None:
        self._x = x
        self._inputs = list(inputs)
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

    def __call__(self, x: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """The symmetric matrix of second derivatives at `x`."""
        if x.size == 0:
            return np.zeros((0, 0))
        if self.method == VECTORIZED and x.size * self._rows > _VECTORIZED_ELEMENTS:
            self.method = COLUMNS
        while True:
            try:
                matrix = self._evaluate(x, *inputs)
                return 0.5 * (matrix + matrix.T)
            except _NO_DERIVATIVE:
                if self.method == DIFFERENCES:
                    raise
                self.method = COLUMNS if self.method == VECTORIZED else DIFFERENCES

    def with_gradient(self, x: np.ndarray, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Value, gradient and Hessian in one evaluation, which shares what they have in common; None if it cannot."""
        if self.method != VECTORIZED or x.size * self._rows > _VECTORIZED_ELEMENTS:
            return None
        try:
            matrix, value, slope = self._matrix()(x, np.eye(x.size), *inputs)
        except _NO_DERIVATIVE:
            return None
        matrix = _by_seed(matrix, x.size)
        return value, slope, 0.5 * (matrix + matrix.T)

    def product(self, x: np.ndarray, vector: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """Hessian times vector, at the cost of about two gradients."""
        if self._product is None:
            h = 1e-4 / max(float(np.abs(vector).max()), 1e-300)
            ahead, back = (self._gradient(x + sign * h * vector, *inputs) for sign in (1, -1))
            return (ahead - back) / (2 * h)
        if "product" not in self._functions:
            arguments = [self._x, self._seed, *self._inputs]
            self._functions["product"] = backends.build(arguments, [self._product], self._backend)
        return self._functions["product"](x, vector, *inputs)[0]

    def _evaluate(self, x: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        if self.method == DIFFERENCES:
            return central_differences(lambda z: self._gradient(z, *inputs), x)
        if self.method == COLUMNS:
            return np.stack([self.product(x, seed, *inputs) for seed in np.eye(x.size)])
        return _by_seed(self._matrix()(x, np.eye(x.size), *inputs)[0], x.size)

    def _matrix(self) -> Callable[..., list[np.ndarray]]:
        """From the point and the seeds to the products, the value and the gradient."""
        if "matrix" not in self._functions:
            seeds = pt.matrix("seeds", dtype="float64")
            with backends.without_c_compiler():
                [product] = backends.inline([self._product])
                outputs = [vectorize_graph(product, {self._seed: seeds}), self._cost, self._slope]
            self._functions["matrix"] = backends.build([self._x, seeds, *self._inputs], outputs, self._backend)
        return self._functions["matrix"]


class Smooth:
    """A scalar graph of `x`, and of further inputs, as functions: value, gradient and Hessian, each built when needed.

    Parameters
    ----------
    cost, x, backend, rows, inputs
        As for `Hessian`.
    """

    def __init__(
        self, cost: Variable, x: TensorVariable, backend: str, rows: int, inputs: Sequence[Variable] = ()
    ) -> None:
        self.cost, self.x, self.backend, self.rows, self.inputs = cost, x, backend, rows, list(inputs)

    @cached_property
    def _value(self) -> Callable[..., list[np.ndarray]]:
        return backends.build([self.x, *self.inputs], [self.cost], self.backend)

    @cached_property
    def _value_gradient(self) -> Callable[..., list[np.ndarray]]:
        with backends.without_c_compiler():
            slope = gradient(self.cost, self.x)
        return backends.build([self.x, *self.inputs], [self.cost, slope], self.backend)

    @cached_property
    def hessian(self) -> Hessian:
        """The matrix of second derivatives."""
        with backends.without_c_compiler():
            return Hessian(
                self.cost,
                self.x,
                lambda *arrays: self.value_gradient(*arrays)[1],
                self.backend,
                self.rows,
                self.inputs,
            )

    def value(self, x: np.ndarray, *inputs: np.ndarray) -> float:
        """The function at `x`; -inf where it is NaN."""
        return _number(self._value(x, *inputs)[0])

    def value_gradient(self, x: np.ndarray, *inputs: np.ndarray) -> tuple[float, np.ndarray]:
        """The function and its gradient."""
        value, slope = self._value_gradient(x, *inputs)
        return _number(value), slope

    def derivatives(self, x: np.ndarray, *inputs: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian."""
        together = self.hessian.with_gradient(x, *inputs)
        if together is None:
            return *self.value_gradient(x, *inputs), self.hessian(x, *inputs)
        value, slope, matrix = together
        return _number(value), slope, matrix


def _number(value: np.ndarray) -> float:
    number = float(value)
    return -np.inf if np.isnan(number) else number


class Jacobian:
    """The derivative of a vector graph with respect to `x`: one row an output, in forward mode.

    Parameters
    ----------
    output, x : Variable
    inputs : sequence of Variable
        What else the graph reads: the arrays that a call takes after `x`.
    """

    def __init__(self, output: Variable, x: TensorVariable, inputs: Sequence[Variable] = ()) -> None:
        self._function: Callable[..., list[np.ndarray]] | None
        seed, seeds = pt.vector("seed", dtype="float64"), pt.matrix("seeds", dtype="float64")
        try:
            with backends.without_c_compiler():
                matrix = vectorize_graph(tangent(output, x, seed), {seed: seeds})
                self._function = backends.build([x, seeds, *inputs], [matrix])
        except _NO_DERIVATIVE:
            self._function = None
        self._value = backends.build([x, *inputs], [output])
        self._outputs = 0

    def __call__(self, x: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """The derivative at `x`, shape (outputs, size)."""
        if self._function is not None:
            try:
                return self._forward(self._function, x, *inputs)
            except _NO_DERIVATIVE:
                self._function = None
        return central_differences(lambda z: self._value(z, *inputs)[0], x)

    def _forward(self, function: Callable[..., list[np.ndarray]], x: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """A few columns at a time where there are many outputs, so that intermediate results do not fill the memory."""
        self._outputs = self._outputs or self._value(x, *inputs)[0].size
        at_once = max(1, int(_VECTORIZED_ELEMENTS / max(self._outputs, 1)))
        seeds = np.eye(x.size)
        if x.size <= at_once:
            return _by_seed(function(x, seeds, *inputs)[0], x.size).T
        parts = [seeds[k : k + at_once] for k in range(0, x.size, at_once)]
        return np.concatenate([_by_seed(function(x, part, *inputs)[0], len(part)) for part in parts]).T


def tangent(output: Variable, x: TensorVariable, direction: Variable) -> Variable:
    """The derivative of a vector graph along a direction."""
    return pushforward(output, x, direction, disconnected_outputs="ignore", return_disconnected="zero")
