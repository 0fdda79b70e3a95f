"""A compiled PyTensor function as a plain list of NumPy calls, for functions that are evaluated many times.

PyTensor's Python linker spends some microseconds on each operation besides the operation itself: checks of shapes and
types, error states, storage. On small data that is most of the time. Here each operation is one call of NumPy. Each is
compared with PyTensor's own implementation once, on the arrays of the call at hand, and left to that where the two are
not the same to the last bit.

On large data, operations that go row by row are joined (see `inblocks`). This, too, is compared once, and left where
results are not the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import HasInnerGraph
from pytensor.scalar.basic import AND, Add, Cast, Mul, Second, Switch
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.math import Dot
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.shape import SpecifyShape
from pytensor.tensor.subtensor import AdvancedIncSubtensor, AdvancedSubtensor, IncSubtensor, Subtensor

from mle_pp import inblocks
from mle_pp.inblocks import LARGE, Call, OtherCaseError, Shapes, joined

Function = Callable[..., Any]
# A function of arrays; the places of its arguments, and of its results; the places that nothing reads any more.
Step = tuple[Callable[..., Sequence[Any]], list[int], list[int], list[int]]
# Operations whose results have a shape that depends on nothing but the shapes of the arguments
_BY_SHAPE = Elemwise | CAReduce | DimShuffle | Dot | IncSubtensor | AdvancedIncSubtensor | SpecifyShape


def translate(compiled: Any, arguments: Sequence[np.ndarray]) -> Callable[..., list[np.ndarray]] | None:
    """A function that computes the same; None where there is none.

    Parameters
    ----------
    compiled : pytensor function
        Of the Python linker.
    arguments : sequence of ndarray
        Of a call. Where later ones have other shapes, the compiled function, with its checks, answers.
    """
    graph = compiled.maker.fgraph
    if any(isinstance(node.op, HasInnerGraph | RandomVariable) for node in graph.apply_nodes):
        return None
    containers = compiled.input_storage[len(arguments) :]
    values = [*arguments, *(container.data for container in containers)]
    shapes = [np.shape(value) for value in values]
    try:
        run = _best(graph, values)
    except Exception:
        # Whatever an operation cannot do outside its linker, it can do inside
        return None

    def call(*given: np.ndarray) -> list[np.ndarray]:
        here = [*given, *(container.data for container in containers)]
        if [np.shape(value) for value in here] != shapes:
            return compiled(*given)
        try:
            return run(here)
        except OtherCaseError:
            return compiled(*given)

    return call


def is_large(compiled: Any, arguments: Sequence[np.ndarray]) -> bool:
    """Whether a function works on so many elements that its translation runs in blocks, and so pays soon."""
    constants = (v.data for node in compiled.maker.fgraph.apply_nodes for v in node.inputs if isinstance(v, Constant))
    shared = (container.data for container in compiled.input_storage[len(arguments) :])
    return any(isinstance(value, np.ndarray) and value.size >= LARGE for value in (*arguments, *shared, *constants))


def _best(graph: Any, values: Sequence[Any]) -> Callable[[Sequence[Any]], list[np.ndarray]]:
    """The fastest form of the graph that computes the same."""
    calls, shapes, expected = _calls(graph, values)
    parts = [part for call in calls for part in _presumed(call)]
    for sums in (True, False):
        fewer = joined(parts, shapes, graph.outputs, sums)
        if len(fewer) < len(parts):
            run = _linear(fewer, graph)
            if all(_is_same(a, b) for a, b in zip(run(values), expected, strict=True)):
                return run
    return _linear(calls, graph)


def _presumed(call: Call) -> list[Call]:
    """A check of all elements that held is presumed to hold: nothing waits for it, and it is made on the way."""
    if call.rows is None or not call.rows.holds:
        return [call]
    [output] = call.outputs
    check = Call(partial(_required, call.function), call.inputs, [output.clone()], call.rows)
    return [Call(partial(_alone, np.array, True), [], [output]), check]


def _required(function: Function, *arrays: Any) -> Sequence[Any]:
    results = function(*arrays)
    if not results[0]:
        raise OtherCaseError
    return results


def _calls(graph: Any, values: Sequence[Any]) -> tuple[list[Call], Shapes, list[Any]]:
    """What has to be called, in order; the shape of each variable; the results."""
    nodes = graph.toposort()
    constants = [v for v in (*graph.outputs, *(v for node in nodes for v in node.inputs)) if isinstance(v, Constant)]
    store = dict(zip(graph.inputs, values, strict=True)) | {v: v.data for v in constants}
    shapes = {v: np.shape(value) for v, value in store.items()}
    # Variables whose shapes follow from those of the inputs
    fixed = set(shapes)
    last = {v: node for node in nodes for v in node.inputs}
    calls = []
    for node in nodes:
        if _has_fixed_shape(node, fixed):
            fixed.update(node.outputs)
        call, results = _translated(node, [store[v] for v in node.inputs], fixed)
        calls.append(call)
        store |= zip(node.outputs, results, strict=True)
        shapes |= {v: np.shape(value) for v, value in zip(node.outputs, results, strict=True)}
        for v in {v for v in (*node.inputs, *node.outputs) if last.get(v, node) is node}.difference(graph.outputs):
            store[v] = None
    needed = set(graph.outputs)
    for call in reversed(calls):
        if needed.intersection(call.outputs):
            needed.update(call.inputs)
    return [call for call in calls if needed.intersection(call.outputs)], shapes, [store[v] for v in graph.outputs]


def _has_fixed_shape(node: Apply, fixed: set[Variable]) -> bool:
    """Whether the shapes of the outputs follow from those that are known to be `fixed`."""
    if all(None not in getattr(v.type, "shape", [None]) for v in node.outputs):
        return True
    op = node.op.core_op if isinstance(node.op, Blockwise) else node.op
    by_shape = isinstance(op, _BY_SHAPE)
    by_slice = isinstance(op, Subtensor) and all(isinstance(v, Constant) for v in node.inputs[1:])
    return (by_shape or by_slice) and fixed.issuperset(node.inputs)


def _linear(calls: Sequence[Call], graph: Any) -> Callable[[Sequence[Any]], list[np.ndarray]]:
    """All calls one after the other."""
    read = dict.fromkeys(v for call in calls for v in call.inputs) | dict.fromkeys(graph.outputs)
    constants = [v for v in read if isinstance(v, Constant)]
    made = [v for call in calls for v in call.outputs]
    places = {v: k for k, v in enumerate([*graph.inputs, *constants, *made])}
    fixed = [*(v.data for v in constants), *([None] * len(made))]
    last = {v: call for call in calls for v in (*call.outputs, *call.inputs)} | {v: c for c in calls for v in c.inputs}
    steps: list[Step] = []
    for call in calls:
        finished = {v for v in (*call.inputs, *call.outputs) if v.owner and last[v] is call and v not in graph.outputs}
        inputs, outputs, unused = ([places[v] for v in some] for some in (call.inputs, call.outputs, finished))
        steps.append((call.function, inputs, outputs, unused))
    results = [places[v] for v in graph.outputs]
    known = {id(v.data) for v in constants}

    def run(values: Sequence[Any]) -> list[np.ndarray]:
        store: list[Any] = [*values, *fixed]
        others = {id(value) for value in values} | known
        for function, inputs, outputs, unused in steps:
            for place, value in zip(outputs, function(*[store[k] for k in inputs]), strict=True):
                store[place] = value
            for place in unused:
                store[place] = None
        return [_own(store[place], others) for place in results]

    return run


def _own(value: Any, others: set[int]) -> np.ndarray:
    """A result as an array that shares no memory with any of the `others`, which it joins."""
    if not isinstance(value, np.ndarray) or not value.flags.owndata or id(value) in others:
        value = np.array(value)
    others.add(id(value))
    return value


def _translated(node: Apply, arrays: Sequence[Any], fixed: set[Variable]) -> tuple[Call, Sequence[Any]]:
    """From an operation's inputs to its outputs; and these for `arrays`."""
    own = partial(_perform, node)
    results, inputs = own(*arrays), node.inputs
    function = _numpy(node.op, arrays)
    if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Second) and node.outputs[0] in fixed:
        # It takes nothing but the shape from the first, which need not be computed for that
        inputs, arrays = inputs[1:], arrays[1:]
        function = partial(np.broadcast_to, shape=np.shape(results[0]))
    if function is not None and not _is_same(np.asarray(function(*arrays)), results[0]):
        return Call(own, node.inputs, node.outputs), results
    rows = _rows(node, function, arrays, results[0]) if len(results) == 1 else None
    return Call(partial(_alone, function) if function else own, inputs, node.outputs, rows), results


def _rows(node: Apply, function: Function | None, arrays: Sequence[Any], result: Any) -> inblocks.Rows | None:
    """How an operation does its work on some of the rows, if it can."""
    op = node.op
    if isinstance(op, AdvancedIncSubtensor) and op.idx_list == (0,) and len(arrays) == 3:
        target, value, index = arrays
        plain = target.ndim == 1 and value.shape == index.shape == (index.size,) and index.dtype.kind in "iu"
        inc = not (op.inplace or op.set_instead_of_inc or op.ignore_duplicates)
        return inblocks.added_by_index() if plain and inc else None
    if isinstance(op, CAReduce):
        shape = np.shape(arrays[0])
        axes = tuple(range(len(shape))) if op.axis is None else tuple(op.axis)
        if isinstance(op.scalar_op, AND) and arrays[0].dtype == bool and len(axes) == len(shape):
            return inblocks.all_true(shape) if shape and result else None
        return inblocks.summed(function, axes, shape) if function and arrays[0].dtype == result.dtype == float else None
    if function is None:
        return None
    if isinstance(op, Elemwise):
        if isinstance(op.scalar_op, Switch):
            function = partial(inblocks.select, result.dtype)
        elif isinstance(op.scalar_op, Second):
            function = _last
        return inblocks.elementwise(function, arrays, result)
    if isinstance(op, DimShuffle):
        return inblocks.moved(function, list(op.new_order), np.shape(arrays[0]), result)
    if isinstance(op, AdvancedSubtensor) and np.ndim(arrays[0]) == np.ndim(arrays[1]) == 1:
        return inblocks.taken()
    return None


def _last(*arrays: np.ndarray) -> np.ndarray:
    return arrays[-1]


def _is_same(result: Any, expected: Any) -> bool:
    same = result.dtype == expected.dtype and result.shape == expected.shape
    return same and np.array_equal(result, expected, equal_nan=result.dtype.kind == "f")


def _alone(function: Callable[..., Any], *arrays: Any) -> tuple[Any]:
    return (function(*arrays),)


def _perform(node: Apply, *arrays: Any) -> list[np.ndarray]:
    """PyTensor's own implementation."""
    storage: list[list[Any]] = [[None] for _ in node.outputs]
    # NumPy makes its own scalars of arrays without axes
    node.op.perform(node, [np.asarray(a) if isinstance(a, np.generic) else a for a in arrays], storage)
    return [cell[0] for cell in storage]


def _numpy(op: Any, arrays: Sequence[Any]) -> Function | None:
    """NumPy's function for an operation, where there is one."""
    if isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast) and not op.inplace_pattern:
        return partial(np.asarray, dtype=op.scalar_op.o_type.dtype)
    if isinstance(op, Elemwise) and not op.inplace_pattern and op.nfunc is not None:
        if len(arrays) == op.nfunc_spec[1]:
            return op.nfunc
        return partial(_folded, op.nfunc) if isinstance(op.scalar_op, Add | Mul) else None
    if isinstance(op, CAReduce):
        axis = op.axis if op.axis is None else tuple(op.axis)
        return {"add": partial(np.add.reduce, axis=axis)}.get(getattr(op.scalar_op, "name", ""))
    if isinstance(op, DimShuffle):
        return partial(_shuffled, list(op.drop), list(op.shuffle), tuple(_axes(op.new_order)))
    if isinstance(op, AdvancedSubtensor) and op.idx_list == (0,) and len(arrays) == 2:
        index = arrays[1]
        # Several times faster than brackets, with the same checks
        return partial(np.take, axis=0) if index.dtype.kind in "iu" and np.can_cast(index.dtype, np.intp) else None
    return None


def _folded(function: Callable[..., Any], *arrays: Any) -> Any:
    return reduce(function, arrays)


def _axes(order: Sequence[Any]) -> list[Any]:
    return [None if axis == "x" else slice(None) for axis in order]


def _shuffled(drop: list[int], order: list[int], axes: tuple[Any, ...], array: Any) -> Any:
    """Axes dropped, permuted, and new ones put in."""
    array = np.asarray(array)
    if drop:
        array = np.squeeze(array, axis=tuple(drop))
        order = [axis - sum(other < axis for other in drop) for axis in order]
    return np.transpose(array, order)[axes]
