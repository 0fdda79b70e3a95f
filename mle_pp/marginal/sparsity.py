"""Which elements of a log-density depend on which latents, and colors of latents that never meet.

A joint log-density is first separated into parts whose elements are summed. The dependence of each element is found by
walking the graph once. Along with an array goes a table of sets, and for each element of the array the number of its
set: indexing, broadcasting and reshaping move these numbers only, and a chain of elementwise operations changes
nothing.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import HasInnerGraph
from pytensor.graph.traversal import toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import EQ, Add, Ceil, Floor, Mul, Neg, RoundHalfToEven, Second, Sign, Sub, Switch, TrueDiv
from pytensor.sparse.math import Dot as SparseDot
from pytensor.sparse.math import StructuredDot, TrueDot
from pytensor.tensor.basic import Alloc, ExtractDiag, Join, MakeVector, ScalarFromTensor, Split, TensorFromScalar
from pytensor.tensor.blas import BatchedDot, Dot22
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.extra_ops import CumOp, FillDiagonal, Repeat
from pytensor.tensor.linalg.solvers.core import SolveBase
from pytensor.tensor.math import Dot, Sum
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape
from pytensor.tensor.subtensor import AdvancedIncSubtensor, AdvancedSubtensor, IncSubtensor, Subtensor
from scipy import sparse

from mle_pp import backends
from mle_pp.errors import ModelError

# Entries of a table of dependences; beyond, it does not fit into memory.
_LIMIT = 500_000_000

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
# Those whose elements, all of them, are those of their first input
_SAME_ELEMENTS = DimShuffle | Reshape | JoinDims | SplitDims | SpecifyShape
_PRODUCTS = (Dot, Dot22, BatchedDot, SparseDot, StructuredDot, TrueDot)
# Their derivatives vanish wherever they exist
_FLAT = (Sign, Floor, Ceil, RoundHalfToEven, EQ)


@dataclass(frozen=True)
class Part:
    """A piece of a log-density.

    Attributes
    ----------
    graph : Variable
        The sum of all its elements, times `count`, is part of the total.
    count : float
        How often each element counts, with its sign and constant factors.
    """

    graph: Variable
    count: float


# -- parts ------------------------------------------------------------------------------------------------------------


def separate(terms: Sequence[Variable], values: Mapping[Variable, np.ndarray]) -> list[Part]:
    """The sum of all elements of `terms` as a sum of parts, each of them elementwise as far as possible.

    Sums, differences, constant factors and movements of elements are taken apart, and factors without axes are
    multiplied into the sums they stand before. Of `switch(valid, sum(a), -inf)`, as parameter checks are written, `a`
    and `switch(valid, 0, -inf)` are two parts: where it is not valid, the total is -inf or NaN.

    Parameters
    ----------
    terms : sequence of Variable
        Log-densities.
    values : mapping of Variable to array
        Values of the graph's inputs, of which only the shapes matter.

    Returns
    -------
    list of Part
    """
    shapes = _Walk(terms, values, {}, set(values)).shapes
    varying = _varying(list(toposort(terms)), set(values))
    sums = _with_sums(terms)
    parts: list[Part] = []
    stack: list[tuple[Variable, float, Variable | None]] = [(term, 1.0, None) for term in reversed(terms)]
    while stack:
        variable, count, factor = stack.pop()
        size = math.prod(shapes[variable])
        if size == 0 or _number(variable) == 0:
            continue
        inner = _opened(variable, count, factor, shapes, varying, sums)
        if inner is None:
            parts.append(Part(variable if factor is None else factor * variable, count))
            continue
        joined = isinstance(variable.owner.op, Join | MakeVector)
        stack += reversed([(v, n if joined else n * _repeats(size, v, shapes), f) for v, n, f in inner])
    return parts


def _repeats(size: int, variable: Variable, shapes: dict[Variable, tuple[int, ...]]) -> float:
    """How often an element is repeated where it is broadcast."""
    own = math.prod(shapes[variable])
    return size / own if own and size > own else 1.0


def _opened(
    variable: Variable,
    count: float,
    factor: Variable | None,
    shapes: dict[Variable, tuple[int, ...]],
    varying: set[Variable],
    sums: set[Variable],
) -> list[tuple[Variable, float, Variable | None]] | None:
    """What a variable is the sum of, with counts (but for repetitions) and factors; None where it is not one."""
    node = variable.owner
    if node is None:
        return None
    op, inputs = node.op, node.inputs
    if isinstance(op, Sum | Alloc | _SAME_ELEMENTS):
        # Whatever is summed over is not repeated: the number of elements of a sum is the smaller one
        return [(inputs[0], count, factor)]
    if isinstance(op, Join | MakeVector):
        return [(v, count, factor) for v in inputs]
    if isinstance(op, CheckAndRaise):
        return None if varying.intersection(inputs[1:]) else [(inputs[0], count, factor)]
    if _is_a(node, Add):
        return [(v, count, factor) for v in inputs]
    if _is_a(node, Sub):
        return [(inputs[0], count, factor), (inputs[1], -count, factor)]
    if _is_a(node, Neg):
        return [(inputs[0], -count, factor)]
    if _is_a(node, Mul, TrueDiv):
        return _without_factors(node, count, factor, shapes, sums)
    checked = _checked(node)
    if checked is not None and inputs[checked] in sums and count > 0 and factor is None:
        branches = [pt.constant(-np.inf)] * 2
        branches[checked - 1] = pt.constant(0.0)
        check = pt.switch(inputs[0], *branches)
        shapes[check] = shapes[inputs[0]]
        return [(inputs[checked], count, None), (check, count, None)]
    return None


def _without_factors(
    node: Apply,
    count: float,
    factor: Variable | None,
    shapes: dict[Variable, tuple[int, ...]],
    sums: set[Variable],
) -> list[tuple[Variable, float, Variable | None]] | None:
    """Of a product or quotient: the one input that is no constant, or that has sums in it."""
    divided = _is_a(node, TrueDiv)
    rest = []
    for place, variable in enumerate(node.inputs):
        number = _number(variable)
        if number is None or not np.isfinite(number) or (number == 0 and divided) or (divided and place == 0):
            rest.append((place, variable))
        else:
            count = count / number if divided else count * number
    if len(rest) == 1:
        return [(rest[0][1], count, factor)]
    within = [(place, v) for place, v in rest if v in sums]
    others = [v for place, v in rest if v not in sums]
    scalar = all(all(length == 1 for length in v.type.shape) for v in others)
    if len(within) != 1 or not others or not scalar or (divided and within[0][0] != 0):
        return None
    product = reduce(lambda a, b: a * b, [v.dimshuffle() for v in others])
    if divided:
        product = 1.0 / product
    return [(within[0][1], count, product if factor is None else factor * product)]


def _with_sums(terms: Sequence[Variable]) -> set[Variable]:
    """The variables that are opened up to a sum."""
    found: set[Variable] = set()
    for node in toposort(terms):
        through = node.inputs
        if not (isinstance(node.op, Join | MakeVector) or _is_a(node, Add, Sub, Neg, Mul, TrueDiv)):
            place = _checked(node) or 0
            opens = place or isinstance(node.op, Alloc | CheckAndRaise | _SAME_ELEMENTS)
            through = [node.inputs[place]] if opens else []
        if isinstance(node.op, Sum) or found.intersection(through):
            found.update(node.outputs)
    return found


def _checked(node: Apply) -> int | None:
    """The place of the input that `switch` lets pass where another one is -inf."""
    if not _is_a(node, Switch):
        return None
    bad = [number is not None and np.isneginf(number) for number in map(_number, node.inputs[1:])]
    return None if bad[0] == bad[1] else 2 if bad[0] else 1


def _is_a(node: Apply | None, *scalars: type) -> bool:
    return node is not None and isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, scalars)


def _number(variable: Variable) -> float | None:
    """The number that all elements of a constant are."""
    while variable.owner is not None and isinstance(variable.owner.op, DimShuffle):
        variable = variable.owner.inputs[0]
    if not isinstance(variable, Constant) or not isinstance(variable.data, np.ndarray | np.generic):
        return None
    data = np.asarray(variable.data)
    if data.size == 0 or data.dtype.kind not in "biuf" or np.any(data != data.flat[0]) or np.isnan(data.flat[0]):
        return None
    return float(data.flat[0])


# -- dependence -------------------------------------------------------------------------------------------------------


def dependence(
    outputs: Sequence[Variable], wrt: Variable, values: Mapping[Variable, np.ndarray]
) -> list[sparse.csr_matrix]:
    """Which elements of the outputs may depend on which elements of a vector: never too few.

    "Depend" means by a derivative: comparisons and whole numbers do not. Zeros in the data count as structural ones
    where they multiply; the result is valid for these data only.

    Parameters
    ----------
    outputs : sequence of Variable
    wrt : Variable
        A vector.
    values : mapping of Variable to array
        Values of the graph's inputs (`wrt` is one of them); shared variables have their own. What is found does not
        depend on these values, but on the shapes that they lead to.

    Returns
    -------
    list of csr_matrix of bool
        One per output, of shape (output.size, wrt.size); elements in C order.
    """
    size = np.size(values[wrt])
    each = sparse.identity(size, dtype=bool, format="csr")
    walk = _Walk(outputs, values, {wrt: _numbered(each, np.shape(values[wrt]))}, set(values))
    found = []
    for output in outputs:
        pattern = walk.patterns.get(output)
        rows = math.prod(walk.shapes[output])
        found.append(sparse.csr_matrix((rows, size), dtype=bool) if pattern is None else _rows(pattern))
    return found


@dataclass(frozen=True, eq=False)
class _Pattern:
    """For each element of an array, the row of a table that says what the element depends on."""

    index: np.ndarray  # in the shape of the array
    table: sparse.csr_matrix  # of which row 0 is empty


def _numbered(rows: sparse.csr_matrix, shape: tuple[int, ...]) -> _Pattern:
    """Of elements that have a row each."""
    indptr = np.concatenate([[0], rows.indptr]).astype(rows.indptr.dtype)
    table = sparse.csr_matrix((rows.data, rows.indices, indptr), shape=(rows.shape[0] + 1, rows.shape[1]))
    return _Pattern(np.arange(1, rows.shape[0] + 1).reshape(shape), table)


def _check_size(entries: float) -> None:
    if entries > _LIMIT:
        raise ModelError(
            f"The log-density couples too many latent variables with each other: a table of what depends on what would "
            f"have {entries:.1e} entries. Write the model so that each observation depends on few latent variables "
            f"(sums over all of them, as of a ZeroSumNormal, and long cumulative sums are dense)."
        )


def _rows(pattern: _Pattern) -> sparse.csr_matrix:
    """The rows of all elements."""
    index = pattern.index.ravel()
    _check_size(float(np.diff(pattern.table.indptr)[index].sum(dtype=float)))
    return pattern.table[index]


def _collect(targets: np.ndarray, sources: np.ndarray, shape: tuple[int, ...], table: sparse.csr_matrix) -> _Pattern:
    """The pattern whose elements `targets` (numbers in C order) depend on the rows `sources`, several for each."""
    size = math.prod(shape)
    entries = np.diff(table.indptr)[sources].sum(dtype=float)
    _check_size(min(entries, float(size) * table.shape[1]))
    chosen = sparse.csr_matrix((np.ones(sources.size, dtype=bool), (targets, sources)), shape=(size, table.shape[0]))
    return _numbered(chosen @ table, shape)


def _spread(pattern: _Pattern, shape: tuple[int, ...]) -> _Pattern:
    return pattern if pattern.index.shape == shape else _Pattern(np.broadcast_to(pattern.index, shape), pattern.table)


def _union(patterns: Sequence[_Pattern | None], shape: tuple[int, ...]) -> _Pattern | None:
    """What elements depend on that are computed from those of several arrays, broadcast to `shape`."""
    found = list({id(pattern): pattern for pattern in patterns if pattern is not None}.values())
    if not found:
        return None
    small = np.broadcast_shapes(*(pattern.index.shape for pattern in found))
    merged: list[_Pattern] = []
    for pattern in found:
        here = _spread(pattern, small)
        for k, other in enumerate(merged):
            together = _overlaid(here, other)
            if together is not None:
                merged[k] = together
                break
        else:
            merged.append(here)
    if len(merged) > 1:
        total = _rows(merged[0])
        for pattern in merged[1:]:
            total = total + _rows(pattern)
            _check_size(total.nnz)
        merged = [_numbered(total, small)]
    return _spread(merged[0], shape)


def _overlaid(one: _Pattern, other: _Pattern) -> _Pattern | None:
    """The union of patterns of which, for each element, one is empty or both are equal."""
    if one.table is not other.table:
        return None
    if np.array_equal(one.index, other.index):
        return other
    if np.any((one.index != other.index) & (one.index != 0) & (other.index != 0)):
        return None
    return _Pattern(np.maximum(one.index, other.index), one.table)


def _reduced(pattern: _Pattern | None, axes: Sequence[int]) -> _Pattern | None:
    """The union over some axes, which are kept with length one."""
    if pattern is None or not axes:
        return pattern
    index = pattern.index
    axes = sorted(axis % index.ndim for axis in axes)
    shape = tuple(1 if axis in axes else length for axis, length in enumerate(index.shape))
    kept = [axis for axis in range(index.ndim) if axis not in axes]
    lines = index.transpose([*kept, *axes]).reshape(math.prod(shape), -1)
    if lines.size == 0:
        return None
    if np.all(lines == lines[:, :1]):
        return _Pattern(lines[:, 0].reshape(shape), pattern.table)
    targets = np.repeat(np.arange(lines.shape[0]), lines.shape[1])
    return _collect(targets, lines.ravel(), shape, pattern.table)


def _last(pattern: _Pattern | None, count: int) -> _Pattern | None:
    """The union over the last axes, which are dropped."""
    if pattern is None:
        return None
    ndim = pattern.index.ndim
    kept = _reduced(pattern, range(ndim - count, ndim))
    return None if kept is None else _Pattern(kept.index.reshape(kept.index.shape[: ndim - count]), kept.table)


def _one_table(patterns: Sequence[_Pattern]) -> tuple[list[np.ndarray], sparse.csr_matrix]:
    """The patterns' numbers as numbers of rows of one table."""
    if all(pattern.table is patterns[0].table for pattern in patterns):
        return [pattern.index for pattern in patterns], patterns[0].table
    indices, tables, start = [], [], 0
    for pattern in patterns:
        # Only what is used, for a table may be much larger than the array
        used, index = np.unique(np.concatenate([[0], pattern.index.ravel()]), return_inverse=True)
        index = index[1:].reshape(pattern.index.shape)
        indices.append(np.where(index > 0, index + start, 0))
        tables.append(pattern.table[used[1:]])
        start += used.size - 1
    tables.insert(0, sparse.csr_matrix((1, patterns[0].table.shape[1]), dtype=bool))
    return indices, sparse.vstack(tables, format="csr")


# -- rules ------------------------------------------------------------------------------------------------------------


class _Walk:
    """The shapes of all variables of a graph, and the patterns and values that outputs have.

    Values are computed where shapes, indices or patterns depend on them; otherwise zeros that take no memory stand in.
    """

    def __init__(
        self,
        outputs: Sequence[Variable],
        values: Mapping[Variable, Any],
        patterns: Mapping[Variable, _Pattern],
        varying: set[Variable],
        evaluate: bool = False,
    ) -> None:
        self.values, self.patterns = dict(values), dict(patterns)
        nodes = list(toposort(outputs))
        self._varying = _varying(nodes, varying)
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
            return data and (_is_a(node, Mul) or (_is_a(node, Switch) and place == 0))
        if isinstance(op, CAReduce | CumOp | Shape | Shape_i | CheckAndRaise) or isinstance(_core(op), SolveBase):
            return False
        if isinstance(_core(op), _PRODUCTS):
            return data
        moved = self._moves(node)
        return not moved or place >= moved

    def _step(self, node: Apply) -> tuple[Sequence[Any], Sequence[_Pattern | None]]:
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
        patterns: Sequence[_Pattern | None],
        shapes: Sequence[tuple[int, ...]],
    ) -> Sequence[_Pattern | None]:
        """The patterns of the outputs, whose shapes are known."""
        op = node.op
        data = [value if v not in self._varying else None for v, value in zip(node.inputs, values, strict=True)]
        if isinstance(op, Elemwise):
            return [_elementwise(op.scalar_op, data, patterns, shapes[0])] * len(shapes)
        if isinstance(op, CAReduce):
            axes = range(np.ndim(values[0])) if op.axis is None else op.axis
            reduced = _reduced(patterns[0], axes)
            return [reduced and _Pattern(reduced.index.reshape(shapes[0]), reduced.table)]
        if isinstance(op, CumOp):
            return [_cumulated(patterns[0], op.axis, shapes[0])]
        if isinstance(_core(op), SolveBase):
            return [_solved(patterns, _core(op).b_ndim, shapes[0])]
        if isinstance(_core(op), _PRODUCTS) and len(patterns) == 2:
            return [_product(data, patterns, [self.shapes[v] for v in node.inputs], shapes[0])]
        moved = self._moves(node)
        if moved:
            return _moved(node, moved, values, patterns, shapes)
        return _all_of_batch(node, patterns, shapes)


def _varying(nodes: Sequence[Apply], roots: set[Variable]) -> set[Variable]:
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


def _inner(op: OpFromGraph, values: list, patterns: list, varying: list[bool], evaluate: bool) -> _Walk:
    """The walk through an inner graph."""
    inputs = op.fgraph.inputs
    found = {v: pattern for v, pattern in zip(inputs, patterns, strict=True) if pattern is not None}
    roots = {v for v, varies in zip(inputs, varying, strict=True) if varies}
    return _Walk(op.fgraph.outputs, dict(zip(inputs, values, strict=True)), found, roots, evaluate)


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
    scalar: Any, data: Sequence[Any], patterns: Sequence[_Pattern | None], shape: tuple[int, ...]
) -> _Pattern | None:
    if isinstance(scalar, _FLAT):
        return None
    if isinstance(scalar, Second):
        return _union(patterns[1:], shape)
    if isinstance(scalar, Switch):
        if data[0] is None:
            return _union(patterns[1:], shape)
        first, second = (_where(data[0], patterns[1], shape), _where(np.logical_not(data[0]), patterns[2], shape))
        return _union([first, second], shape)
    if isinstance(scalar, Mul):
        patterns = list(patterns)
        for value in data:
            # What zeros in the data multiply has no derivative
            if value is not None and not np.all(value):
                patterns = [_where(value, pattern, shape) for pattern in patterns]
    return _union(patterns, shape)


def _where(mask: np.ndarray, pattern: _Pattern | None, shape: tuple[int, ...]) -> _Pattern | None:
    """The pattern, empty where the mask is zero."""
    if pattern is None or np.all(mask):
        return pattern
    return _Pattern(np.where(mask, np.broadcast_to(pattern.index, shape), 0), pattern.table) if np.any(mask) else None


def _moved(
    node: Apply,
    count: int,
    values: Sequence[Any],
    patterns: Sequence[_Pattern | None],
    shapes: Sequence[tuple[int, ...]],
) -> list[_Pattern | None]:
    """The operation replayed on the numbers of rows."""
    op, rest = node.op, values[count:]
    if type(op) in _INCREMENTS and not op.set_instead_of_inc:
        return [_incremented(op, values, patterns, shapes[0])]
    moved, table = _one_table([pattern for pattern in patterns if pattern is not None])
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
    return [_Pattern(np.asarray(result), table) for result in results]


def _incremented(
    op: Any, values: Sequence[Any], patterns: Sequence[_Pattern | None], shape: tuple[int, ...]
) -> _Pattern | None:
    """What is added to some elements joins what they depend on."""
    if patterns[1] is None:
        return patterns[0]
    cell: list[Any] = [None]
    numbers = np.arange(math.prod(shape)).reshape(shape)
    _INCREMENTS[type(op)](op.idx_list).perform(None, [numbers, *values[2:]], [cell])
    added = np.broadcast_to(patterns[1].index, np.shape(cell[0]))
    return _union([patterns[0], _collect(np.ravel(cell[0]), added.ravel(), shape, patterns[1].table)], shape)


def _cumulated(pattern: _Pattern | None, axis: int | None, shape: tuple[int, ...]) -> _Pattern | None:
    """Each element depends on those before it."""
    if pattern is None:
        return None
    index = pattern.index.ravel() if axis is None else np.moveaxis(pattern.index, axis, -1)
    length = index.shape[-1]
    lines = index.reshape(-1, length)
    _check_size(lines.shape[0] * length * (length + 1) / 2)
    last, first = np.tril_indices(length)
    targets = (np.arange(lines.shape[0])[:, None] * length + last).ravel()
    found = _collect(targets, lines[:, first].ravel(), index.shape, pattern.table)
    return _Pattern(found.index.reshape(shape) if axis is None else np.moveaxis(found.index, -1, axis), found.table)


def _solved(patterns: Sequence[_Pattern | None], b_ndim: int, shape: tuple[int, ...]) -> _Pattern | None:
    """Solutions of linear equations depend on the matrix, and on the right-hand side column by column."""
    matrix, right = patterns[0], _reduced(patterns[1], [-b_ndim])
    matrix = _last(matrix, 2)
    if matrix is not None:
        matrix = _Pattern(matrix.index[(..., *[None] * b_ndim)], matrix.table)
    return _union([matrix, right], shape)


def _product(
    data: Sequence[Any],
    patterns: Sequence[_Pattern | None],
    shapes: Sequence[tuple[int, ...]],
    shape: tuple[int, ...],
) -> _Pattern | None:
    """Row by column; zeros of a factor that is data are structural."""
    is_vector = [len(own) == 1 for own in shapes]
    batch = shape[: len(shape) - 2 + sum(is_vector)]
    # The right factor as the left one of the transposed product
    left = None if patterns[0] is None else np.atleast_2d(patterns[0].index)
    right = None if patterns[1] is None else patterns[1].index
    if right is not None:
        right = right[None] if is_vector[1] else np.swapaxes(right, -1, -2)
    rows = 1 if is_vector[0] else shapes[0][-2]
    columns = 1 if is_vector[1] else shapes[1][-1]
    found = []
    if left is not None and patterns[0] is not None:
        entries = _entries(data[1], is_vector[1], False, batch)
        found.append(_times(_Pattern(left, patterns[0].table), entries, (*batch, rows, columns)))
    if right is not None and patterns[1] is not None:
        entries = _entries(data[0], is_vector[0], True, batch)
        turned = _times(_Pattern(right, patterns[1].table), entries, (*batch, columns, rows))
        found.append(_Pattern(np.swapaxes(turned.index, -1, -2), turned.table))
    total = _union(found, (*batch, rows, columns))
    return total and _Pattern(total.index.reshape(shape), total.table)


def _entries(factor: Any, is_vector: bool, transpose: bool, batch: tuple[int, ...]) -> tuple[np.ndarray, ...] | None:
    """Batch, row and column of the nonzero entries; None where all are, or where it is not known."""
    if factor is None:
        return None
    if sparse.issparse(factor):
        entries = factor.tocoo()
        row, column = (entries.col, entries.row) if transpose else (entries.row, entries.col)
        return np.zeros(entries.nnz, dtype=int), row, column
    array = np.asarray(factor)
    if is_vector:
        array = array[:, None]
    elif transpose:
        array = np.swapaxes(array, -1, -2)
    nonzero = array != 0
    if np.all(nonzero):
        return None
    return np.nonzero(np.broadcast_to(nonzero, (*batch, *nonzero.shape[-2:])).reshape(-1, *nonzero.shape[-2:]))


def _times(pattern: _Pattern, entries: tuple[np.ndarray, ...] | None, shape: tuple[int, ...]) -> _Pattern:
    """A matrix with a pattern, times one of which the nonzero entries are known."""
    rows, columns = shape[-2:]
    if entries is None:
        reduced = _reduced(pattern, [-1])
        # Nothing is a pattern here, too
        return _Pattern(np.zeros(shape, dtype=int), pattern.table) if reduced is None else _spread(reduced, shape)
    inner = pattern.index.shape[-1]
    index = np.broadcast_to(pattern.index, (*shape[:-1], inner)).reshape(-1, rows, inner)
    batch, row, column = entries
    sources = index[batch, :, row]
    targets = (batch[:, None] * rows + np.arange(rows)) * columns + column[:, None]
    return _collect(targets.ravel(), sources.ravel(), shape, pattern.table)


def _all_of_batch(
    node: Apply, patterns: Sequence[_Pattern | None], shapes: Sequence[tuple[int, ...]]
) -> list[_Pattern | None]:
    """Any operation: within an element of the batch, everything depends on everything."""
    batched = isinstance(node.op, Blockwise)
    # Without a batch: all axes
    inner = [
        len(node.op.inputs_sig[k]) if batched else pattern.index.ndim if pattern is not None else 0
        for k, pattern in enumerate(patterns)
    ]
    cores = [_last(pattern, count) for pattern, count in zip(patterns, inner, strict=True)]
    results: list[_Pattern | None] = []
    for k, shape in enumerate(shapes):
        count = len(node.op.outputs_sig[k]) if batched else len(shape)
        found = _union(cores, shape[: len(shape) - count])
        results.append(found and _spread(_Pattern(found.index[(..., *[None] * count)], found.table), shape))
    return results


# -- colors -----------------------------------------------------------------------------------------------------------


def coloring(pattern: sparse.csr_matrix, hint: np.ndarray | None = None) -> np.ndarray:
    """Colors of the columns such that no row has two columns of one color.

    Parameters
    ----------
    pattern : csr_matrix
        Its nonzero entries are what matters.
    hint : ndarray or None
        Colors that are taken, renumbered, if they are valid; else each column in turn gets the first color that none
        of its rows has yet.

    Returns
    -------
    ndarray of int
        One color per column, counted from 0.
    """
    pattern = sparse.csr_matrix(pattern, dtype=bool, copy=True)
    pattern.sum_duplicates()
    pattern.eliminate_zeros()
    # A row with one column is no constraint
    pattern = pattern[np.diff(pattern.indptr) > 1]
    if hint is not None:
        colors = np.unique(hint, return_inverse=True)[1].reshape(-1)
        if colors.size == pattern.shape[1] and _is_valid(pattern, colors):
            return colors
    if pattern.nnz == 0:
        return np.zeros(pattern.shape[1], dtype=int)
    return _greedy(pattern)


def _is_valid(pattern: sparse.csr_matrix, colors: np.ndarray) -> bool:
    shape = (pattern.shape[0], int(colors.max(initial=-1)) + 1)
    # A copy, for joining duplicates would change the pattern, too
    found = sparse.csr_matrix((pattern.data, colors[pattern.indices], pattern.indptr), shape=shape, copy=True)
    found.sum_duplicates()
    return found.nnz == pattern.nnz


def _greedy(pattern: sparse.csr_matrix) -> np.ndarray:
    """The first color that is free, column by column."""
    columns = pattern.tocsc()
    starts, rows = columns.indptr.tolist(), columns.indices.tolist()
    # The colors of each row, as the bits of a number: this is fast for short rows, and possible for full ones
    taken = [0] * pattern.shape[0]
    colors = [0] * pattern.shape[1]
    for k in range(pattern.shape[1]):
        here = rows[starts[k] : starts[k + 1]]
        used = 0
        for row in here:
            used |= taken[row]
        bit = ~used & (used + 1)
        for row in here:
            taken[row] |= bit
        colors[k] = bit.bit_length() - 1
    return np.array(colors)
