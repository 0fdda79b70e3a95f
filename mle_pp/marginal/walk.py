"""A walk through a graph: what each variable depends on, operation by operation."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import HasInnerGraph
from pytensor.graph.traversal import toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import EQ, Ceil, Floor, Mul, RoundHalfToEven, Second, Sign, Switch
from pytensor.sparse.math import Dot as SparseDot
from pytensor.sparse.math import StructuredDot, TrueDot
from pytensor.tensor.basic import Alloc, ExtractDiag, Join, MakeVector, ScalarFromTensor, Split, TensorFromScalar
from pytensor.tensor.blas import BatchedDot, Dot22
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.extra_ops import CumOp, FillDiagonal, Repeat
from pytensor.tensor.linalg.solvers.core import SolveBase
from pytensor.tensor.math import Dot
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape
from pytensor.tensor.subtensor import AdvancedIncSubtensor, AdvancedSubtensor, IncSubtensor, Subtensor

from mle_pp import backends
from mle_pp.marginal.tables import (
    Pattern,
    collect,
    cumulated,
    one_table,
    only_where,
    over_last,
    product,
    reduced,
    solved,
    spread,
    union,
)

# The operations that only move elements about, and how many of their first inputs are moved (None: all).
_MOVES: dict[type, int | None] = {
    Subtensor: 1,
    AdvancedSubtensor: 1,
    IncSubtensor: 2,
    AdvancedIncSubtensor: 2,
    FillDiagonal: 2,
    Join: None,
    MakeVector: None,
    Split: 1,
    Alloc: 1,
    Repeat: 1,
    ExtractDiag: 1,
    DimShuffle: 1,
    Reshape: 1,
    JoinDims: 1,
    SplitDims: 1,
    SpecifyShape: 1,
    TensorFromScalar: 1,
    ScalarFromTensor: 1,
}
_INCREMENTS = {IncSubtensor: Subtensor, AdvancedIncSubtensor: AdvancedSubtensor}
_PRODUCTS = (Dot, Dot22, BatchedDot, SparseDot, StructuredDot, TrueDot)
# Their derivatives vanish wherever they exist
_FLAT = (Sign, Floor, Ceil, RoundHalfToEven, EQ)


def is_a(node: Apply | None, *scalars: type) -> bool:
    """Whether a node is one of these operations, element by element."""
    return node is not None and isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, scalars)


class Walk:
    """The shapes of all variables of a graph, and the patterns and values that outputs have.

    Values are computed where shapes, indices or patterns depend on them; otherwise zeros that take no memory stand in.
    """

    def __init__(
        self,
        outputs: Sequence[Variable],
        values: Mapping[Variable, Any],
        patterns: Mapping[Variable, Pattern],
        varying: set[Variable],
        evaluate: bool = False,
    ) -> None:
        self.values, self.patterns = dict(values), dict(patterns)
        nodes = list(toposort(outputs))
        self._varying = varying_variables(nodes, varying)
        self._needed = set(outputs) if evaluate else set()
        for node in reversed(nodes):
            real = not self._needed.isdisjoint(node.outputs)
            self._needed.update(v for k, v in enumerate(node.inputs) if real or self._needs(node, k))
        uses = Counter(v for node in nodes for v in node.inputs) + Counter(outputs)
        self.shapes = {v: np.shape(self._value(v)) for v in [*values, *outputs] if v.owner is None}
        for node in nodes:
            for v in node.inputs:
                if v not in self.shapes:
                    self.shapes[v] = getattr(self._value(v), "shape", ())
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                results, found = self._step(node)
            for v, result, pattern in zip(node.outputs, results, found, strict=True):
                self.values[v], self.shapes[v] = result, getattr(result, "shape", ())
                if pattern is not None and not _is_discrete(v) and pattern.index.any():
                    self.patterns[v] = pattern
            for v in node.inputs:
                uses[v] -= 1
                if not uses[v] and v.owner is not None:
                    self.values.pop(v)
                    self.patterns.pop(v, None)

    def _value(self, variable: Variable) -> Any:
        if variable in self.values:
            return self.values[variable]
        if isinstance(variable, Constant):
            return variable.data
        if isinstance(variable, SharedVariable):
            return variable.get_value(borrow=True)
        raise ValueError(f"{variable} has no value.")

    def _moves(self, node: Apply) -> int:
        """How many inputs the operation moves; 0 if it does something else, or where to is not known."""
        if type(node.op) not in _MOVES:
            return 0
        count = _MOVES[type(node.op)] or len(node.inputs)
        return 0 if self._varying.intersection(node.inputs[count:]) else count

    def _needs(self, node: Apply, place: int) -> bool:
        """Whether the value of an input is needed, and not just its shape."""
        op, data = node.op, node.inputs[place] not in self._varying
        if isinstance(op, Elemwise):
            return data and (is_a(node, Mul) or (is_a(node, Switch) and place == 0))
        if isinstance(op, CAReduce | CumOp | Shape | Shape_i | CheckAndRaise) or isinstance(_core(op), SolveBase):
            return False
        if isinstance(_core(op), _PRODUCTS):
            return data
        moved = self._moves(node)
        return not moved or place >= moved

    def _step(self, node: Apply) -> tuple[Sequence[Any], Sequence[Pattern | None]]:
        """Values, or what stands in for them, and patterns of the outputs."""
        op, values = node.op, [self._value(v) for v in node.inputs]
        patterns = [self.patterns.get(v) for v in node.inputs]
        real = not self._needed.isdisjoint(node.outputs)
        if isinstance(op, OpFromGraph):
            inner = _inner(op, values, patterns, [v in self._varying for v in node.inputs], real)
            return [inner._value(v) for v in op.fgraph.outputs], [inner.patterns.get(v) for v in op.fgraph.outputs]
        if isinstance(op, CheckAndRaise):
            return values[:1], patterns[:1]
        shape = None if real else self._shape(node)
        if shape is None:
            results = _perform(node, values)
        else:
            results = [np.broadcast_to(np.zeros((), dtype=node.outputs[0].dtype), shape)] * len(node.outputs)
        if all(pattern is None for pattern in patterns) or all(map(_is_discrete, node.outputs)):
            return results, [None] * len(results)
        return results, self._rule(node, values, patterns, [getattr(result, "shape", ()) for result in results])

    def _shape(self, node: Apply) -> tuple[int, ...] | None:
        """The outputs' shape, where it is known without them."""
        op, shapes = node.op, [self.shapes[v] for v in node.inputs]
        if isinstance(op, Elemwise):
            return np.broadcast_shapes(*shapes)
        if isinstance(op, CAReduce):
            axes = range(len(shapes[0])) if op.axis is None else op.axis
            return tuple(length for axis, length in enumerate(shapes[0]) if axis not in axes)
        if isinstance(_core(op), SolveBase):
            count = _core(op).b_ndim
            return (*np.broadcast_shapes(shapes[0][:-2], shapes[1][:-count]), *shapes[1][-count:])
        return None

    def _rule(
        self,
        node: Apply,
        values: Sequence[Any],
        patterns: Sequence[Pattern | None],
        shapes: Sequence[tuple[int, ...]],
    ) -> Sequence[Pattern | None]:
        """The patterns of the outputs, whose shapes are known."""
        op = node.op
        data = [value if v not in self._varying else None for v, value in zip(node.inputs, values, strict=True)]
        if isinstance(op, Elemwise):
            return [_elementwise(op.scalar_op, data, patterns, shapes[0])] * len(shapes)
        if isinstance(op, CAReduce):
            axes = range(np.ndim(values[0])) if op.axis is None else op.axis
            found = reduced(patterns[0], axes)
            return [found and Pattern(found.index.reshape(shapes[0]), found.table)]
        if isinstance(op, CumOp):
            return [cumulated(patterns[0], op.axis, shapes[0])]
        if isinstance(_core(op), SolveBase):
            return [solved(patterns, _core(op).b_ndim, shapes[0])]
        if isinstance(_core(op), _PRODUCTS) and len(patterns) == 2:
            return [product(data, patterns, [self.shapes[v] for v in node.inputs], shapes[0])]
        moved = self._moves(node)
        if moved:
            return _moved(node, moved, values, patterns, shapes)
        return _all_of_batch(node, patterns, shapes)


def varying_variables(nodes: Sequence[Apply], roots: set[Variable]) -> set[Variable]:
    """The variables whose values depend on the roots; shapes, however, are fixed."""
    found = set(roots)
    for node in nodes:
        if not isinstance(node.op, Shape | Shape_i) and not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found


def _is_discrete(variable: Variable) -> bool:
    return getattr(variable, "dtype", "").startswith(("bool", "int", "uint"))


def _core(op: Any) -> Any:
    return op.core_op if isinstance(op, Blockwise) else op


def _inner(op: OpFromGraph, values: list, patterns: list, varying: list[bool], evaluate: bool) -> Walk:
    """The walk through an inner graph."""
    inputs = op.fgraph.inputs
    found = {v: pattern for v, pattern in zip(inputs, patterns, strict=True) if pattern is not None}
    roots = {v for v, varies in zip(inputs, varying, strict=True) if varies}
    return Walk(op.fgraph.outputs, dict(zip(inputs, values, strict=True)), found, roots, evaluate)


def _perform(node: Apply, values: Sequence[Any]) -> list[Any]:
    """PyTensor's own implementation of an operation."""
    values = [np.asarray(value) if isinstance(value, np.generic) else value for value in values]
    if isinstance(node.op, HasInnerGraph):
        # A loop has to be compiled
        inputs = [v if isinstance(v, Constant) else v.type() for v in node.inputs]
        given = {v: value for v, value in zip(inputs, values, strict=True) if not isinstance(v, Constant)}
        with backends.without_c_compiler():
            return backends.build(list(given), node.op.make_node(*inputs).outputs)(*given.values())
    storage: list[list[Any]] = [[None] for _ in node.outputs]
    node.op.perform(node, values, storage)
    return [cell[0] for cell in storage]


def _elementwise(
    scalar: Any, data: Sequence[Any], patterns: Sequence[Pattern | None], shape: tuple[int, ...]
) -> Pattern | None:
    if isinstance(scalar, _FLAT):
        return None
    if isinstance(scalar, Second):
        return union(patterns[1:], shape)
    if isinstance(scalar, Switch):
        if data[0] is None:
            return union(patterns[1:], shape)
        first = only_where(data[0], patterns[1], shape)
        second = only_where(np.logical_not(data[0]), patterns[2], shape)
        return union([first, second], shape)
    if isinstance(scalar, Mul):
        patterns = list(patterns)
        for value in data:
            # What zeros in the data multiply has no derivative
            if value is not None and not np.all(value):
                patterns = [only_where(value, pattern, shape) for pattern in patterns]
    return union(patterns, shape)


def _moved(
    node: Apply,
    count: int,
    values: Sequence[Any],
    patterns: Sequence[Pattern | None],
    shapes: Sequence[tuple[int, ...]],
) -> list[Pattern | None]:
    """The operation replayed on the numbers of rows."""
    op, rest = node.op, values[count:]
    if type(op) in _INCREMENTS and not op.set_instead_of_inc:
        return [_incremented(op, values, patterns, shapes[0])]
    moved, table = one_table([pattern for pattern in patterns if pattern is not None])
    numbers = iter(moved)
    indices = [
        np.broadcast_to(np.int64(0), np.shape(value)) if pattern is None else next(numbers)
        for pattern, value in zip(patterns[:count], values, strict=False)
    ]
    if isinstance(op, Join | MakeVector):
        # These would make numbers of the outputs' precision of them
        results = [np.concatenate(indices, axis=op.axis) if isinstance(op, Join) else np.array(indices)]
    else:
        results = _perform(node, [*indices, *rest])
    return [Pattern(np.asarray(result), table) for result in results]


def _incremented(
    op: Any, values: Sequence[Any], patterns: Sequence[Pattern | None], shape: tuple[int, ...]
) -> Pattern | None:
    """What is added to some elements joins what they depend on."""
    if patterns[1] is None:
        return patterns[0]
    cell: list[Any] = [None]
    numbers = np.arange(math.prod(shape)).reshape(shape)
    _INCREMENTS[type(op)](op.idx_list).perform(None, [numbers, *values[2:]], [cell])
    added = np.broadcast_to(patterns[1].index, np.shape(cell[0]))
    return union([patterns[0], collect(np.ravel(cell[0]), added.ravel(), shape, patterns[1].table)], shape)


def _all_of_batch(
    node: Apply, patterns: Sequence[Pattern | None], shapes: Sequence[tuple[int, ...]]
) -> list[Pattern | None]:
    """Any operation: within an element of the batch, everything depends on everything."""
    batched = isinstance(node.op, Blockwise)
    # Without a batch: all axes
    inner = [
        len(node.op.inputs_sig[k]) if batched else pattern.index.ndim if pattern is not None else 0
        for k, pattern in enumerate(patterns)
    ]
    cores = [over_last(pattern, count) for pattern, count in zip(patterns, inner, strict=True)]
    results: list[Pattern | None] = []
    for k, shape in enumerate(shapes):
        count = len(node.op.outputs_sig[k]) if batched else len(shape)
        found = union(cores, shape[: len(shape) - count])
        results.append(found and spread(Pattern(found.index[(..., *[None] * count)], found.table), shape))
    return results
