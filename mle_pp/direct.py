"""A compiled PyTensor function as a plain list of NumPy calls, for functions that are evaluated many times.

PyTensor's Python linker spends some microseconds on each operation besides the operation itself: checks of shapes and
types, error states, storage. On small data that is most of the time. Here each operation is one call of NumPy. Each is
compared with PyTensor's own implementation once, on the arrays of the call at hand, and left to that where the two are
not the same to the last bit.

On large data most of the time goes into memory: each operation reads arrays that have left the cache since they were
written, and writes one more. There, operations that go row by row are run together, block by block, so that only what
others need is ever written as a whole. Sums over all rows and by index are added up on the way. This, too, is compared
once, and left where results are not the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import HasInnerGraph
from pytensor.scalar.basic import AND, Add, Cast, Mul, Second, Switch
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.subtensor import AdvancedIncSubtensor, AdvancedSubtensor

# Arrays of so many elements are worked on in blocks of at most so many: a dozen of these fit the cache.
_LARGE = 20_000
_BLOCK = 16_384
# Blocks begin at multiples of it, as many as processors take at a time, so that ends of arrays are where they were.
_EVEN = 8

Function = Callable[..., Any]
# A function of arrays; the places of its arguments, and of its results; the places that nothing reads any more.
Step = tuple[Callable[..., Sequence[Any]], list[int], list[int], list[int]]
# Of each variable, when seen for the first time.
Shapes = dict[Variable, tuple[int, ...]]


@dataclass
class _Call:
    """A function from the arrays of some variables to those of others."""

    function: Callable[..., Sequence[Any]]
    inputs: Sequence[Variable]
    outputs: Sequence[Variable]
    # The same for a block of rows, where there is such a thing; so many of the first inputs are not cut into blocks
    block: Function | None = None
    whole: int = 0
    # Where something is added up: from these inputs to what `block` adds to, and from that to the output
    begin: Function | None = None
    end: Function | None = None


class _OtherShapeError(Exception):
    """An array within has not the shape that it had at translation."""


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
        except _OtherShapeError:
            return compiled(*given)

    return call


def is_large(compiled: Any, arguments: Sequence[np.ndarray]) -> bool:
    """Whether a function works on so many elements that its translation runs in blocks, and so pays soon."""
    constants = (v.data for node in compiled.maker.fgraph.apply_nodes for v in node.inputs if isinstance(v, Constant))
    shared = (container.data for container in compiled.input_storage[len(arguments) :])
    return any(isinstance(value, np.ndarray) and value.size >= _LARGE for value in (*arguments, *shared, *constants))


def _best(graph: Any, values: Sequence[Any]) -> Callable[[Sequence[Any]], list[np.ndarray]]:
    """The fastest form of the graph that computes the same."""
    calls, shapes, expected = _calls(graph, values)
    for sums in (True, False):
        blocked = _blocked(calls, shapes, graph.outputs, sums)
        if len(blocked) < len(calls):
            run = _linear(blocked, graph)
            if all(_is_same(a, b) for a, b in zip(run(values), expected, strict=True)):
                return run
    return _linear(calls, graph)


def _calls(graph: Any, values: Sequence[Any]) -> tuple[list[_Call], Shapes, list[Any]]:
    """What has to be called, in order; the shape of each variable; the results."""
    nodes = [(node, _sources(node)) for node in graph.toposort()]
    needed = set(graph.outputs)
    for node, inputs in reversed(nodes):
        if needed.intersection(node.outputs):
            needed.update(inputs)
    nodes = [(node, inputs) for node, inputs in nodes if needed.intersection(node.outputs)]
    store = dict(zip(graph.inputs, values, strict=True)) | {v: v.data for v in needed if isinstance(v, Constant)}
    shapes = {v: np.shape(value) for v, value in store.items()}
    last = {v: node for node, inputs in nodes for v in inputs}
    calls = []
    for node, inputs in nodes:
        call, results = _translated(node, inputs, [store[v] for v in inputs])
        calls.append(call)
        store |= zip(node.outputs, results, strict=True)
        shapes |= {v: np.shape(value) for v, value in zip(node.outputs, results, strict=True)}
        for v in {v for v in (*inputs, *node.outputs) if last.get(v, node) is node}.difference(graph.outputs):
            store[v] = None
    return calls, shapes, [store[v] for v in graph.outputs]


def _sources(node: Apply) -> list[Variable]:
    """What a node reads: `second`, which takes nothing but the shape of the first, only the other if that is known."""
    known = None not in getattr(node.outputs[0].type, "shape", [None])
    return node.inputs[1:] if known and _is_elemwise(node, Second) else node.inputs


def _is_elemwise(node: Apply, scalar: type) -> bool:
    return isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, scalar)


def _linear(calls: Sequence[_Call], graph: Any) -> Callable[[Sequence[Any]], list[np.ndarray]]:
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


def _translated(node: Apply, inputs: Sequence[Variable], arrays: Sequence[Any]) -> tuple[_Call, Sequence[Any]]:
    """From an operation's inputs to its outputs; and these for `arrays`."""
    if len(inputs) < len(node.inputs):
        numpy: Function = partial(np.broadcast_to, shape=node.outputs[0].type.shape)
        results: Sequence[Any] = _alone(numpy, *arrays)
    else:
        own = partial(_perform, node)
        results = own(*arrays)
        known = _numpy(node.op, arrays)
        if known is None or not _is_same(np.asarray(known(*arrays)), results[0]):
            return _summing(_Call(own, inputs, node.outputs), node, arrays), results
        numpy = known
    call = _Call(partial(_alone, numpy), inputs, node.outputs)
    if isinstance(node.op, Elemwise):
        call.block = numpy
        if isinstance(node.op.scalar_op, Switch):
            call.block = partial(_select, np.dtype(node.outputs[0].type.dtype))
        if isinstance(node.op.scalar_op, Second):
            call.block = _last
    elif isinstance(node.op, AdvancedSubtensor) and arrays[0].ndim == arrays[1].ndim == 1:
        call.block, call.whole = np.take, 1
    return _summing(call, node, arrays), results


def _summing(call: _Call, node: Apply, arrays: Sequence[Any]) -> _Call:
    """With what is added up over blocks, if the operation can be done so."""
    op, first = node.op, np.asarray(arrays[0] if arrays else 0.0)
    if isinstance(op, CAReduce) and np.ndim(first) == 1 and node.outputs[0].type.ndim == 0:
        if isinstance(op.scalar_op, AND) and first.dtype == bool:
            call.begin, call.block, call.end = partial(bool, True), _and, np.asarray
        if isinstance(op.scalar_op, Add) and first.dtype == node.outputs[0].type.dtype == "float64":
            call.begin, call.block, call.end = list, _partial_sum, partial(_total, first.size)
    if isinstance(op, AdvancedIncSubtensor) and op.idx_list == (0,) and len(arrays) == 3:
        by_element = np.ndim(first) == 1 and arrays[1].shape == arrays[2].shape and arrays[2].dtype.kind in "iu"
        if by_element and not (op.inplace or op.set_instead_of_inc or op.ignore_duplicates):
            call.begin, call.block, call.end, call.whole = np.array, _add_at, np.asarray, 1
    return call


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


def _blocked(calls: Sequence[_Call], shapes: Shapes, results: Sequence[Variable], sums: bool) -> list[_Call]:
    """The same with those calls joined that can go through their rows together.

    What waits for the end of such a run is in a later phase than it.
    """
    phases: dict[Variable, int] = {}
    runs: Shapes = {}
    keys = []
    for call in calls:
        shape = _rows(call, shapes, runs, sums)
        phase = 0
        for k, v in enumerate(call.inputs):
            joins = shape and k >= call.whole and runs.get(v) == shape
            phase = max(phase, phases.get(v, 0) + (v in runs and not joins))
        phases |= dict.fromkeys(call.outputs, phase)
        if shape:
            runs |= dict.fromkeys(call.outputs, () if call.begin else shape)
        keys.append((phase, bool(shape), shape))
    _postpone(calls, keys, results)
    members: dict[tuple[int, bool, tuple[int, ...]], list[_Call]] = {}
    for call, key in zip(calls, keys, strict=True):
        members.setdefault(key, []).append(call)
    found = []
    for key in sorted(members):
        if key[1] and len(members[key]) > 1:
            outside = (call for other, some in members.items() if other != key for call in some)
            found.append(_together(members[key], key[2], shapes, {v for c in outside for v in c.inputs}.union(results)))
        else:
            found += members[key]
    return found


def _postpone(calls: Sequence[_Call], keys: list[Any], results: Sequence[Variable]) -> None:
    """Leave to a later run what only that one reads, unless it takes more whole arrays from earlier runs then."""
    made = {v: k for k, call in enumerate(calls) for v in call.outputs}
    reads = [(v, k, position >= call.whole) for k, call in enumerate(calls) for position, v in enumerate(call.inputs)]
    readers: dict[Variable, list[tuple[int, bool]]] = {v: [(0, False)] for v in results}
    for v, k, joins in reads:
        readers.setdefault(v, []).append((k, joins))
    for k in reversed(range(len(calls))):
        if keys[k][1] and not calls[k].begin:
            there = {keys[reader] if joins else None for reader, joins in readers[calls[k].outputs[0]]}
            later = there.pop() if len(there) == 1 else None
            if later is not None and later[1:] == keys[k][1:] and later[0] > keys[k][0]:
                own = [v for v in calls[k].inputs[calls[k].whole :] if v in made]
                added = [v for v in own if all(joins and keys[reader] == keys[made[v]] for reader, joins in readers[v])]
                if len(added) <= 1:
                    keys[k] = later


def _rows(call: _Call, shapes: Shapes, runs: Shapes, sums: bool) -> tuple[int, ...]:
    """The shape of the array that a call can go through by rows, together with others; without axes if it cannot."""
    if call.block is None or (call.begin and not sums):
        return ()
    arrays = [shapes[v] for v in call.inputs[call.whole :]]
    if call.begin:
        return arrays[0] if runs.get(call.inputs[call.whole]) == arrays[0] else ()
    shape = shapes[call.outputs[0]]
    if prod(shape) < _LARGE or _fitting(shape) < _EVEN:
        return ()
    lengths = {array[:1] for array in arrays}
    return shape if shape[:1] in lengths <= {(1,), shape[:1]} else ()


def _together(calls: Sequence[_Call], shape: tuple[int, ...], shapes: Shapes, read: set[Variable]) -> _Call:
    """All of the calls, block by block."""
    made = dict.fromkeys(v for call in calls for v in call.outputs)
    inputs = list(dict.fromkeys(v for call in calls for v in call.inputs if v not in made))
    outputs = [v for v in made if v in read]
    # What an array is in a block, and what it is as a whole, are different things; the first is the size of the block
    places: dict[tuple[Variable | None, bool], int] = {(None, False): 0}
    begins: list[tuple[int, Function, list[int]]] = []
    ends: dict[Variable, Function] = {}
    steps: list[tuple[Function, list[int], int]] = []
    for call in calls:
        sources = [places.setdefault((v, k < call.whole), len(places)) for k, v in enumerate(call.inputs)]
        place = places.setdefault((call.outputs[0], False), len(places))
        if call.begin is not None and call.end is not None:
            begins.append((place, call.begin, sources[: call.whole]))
            ends[call.outputs[0]] = call.end
            sources = [place, *sources[call.whole :], 0]
        assert call.block is not None
        steps.append((call.block, sources, place))
    last = {place: k for k, (_, sources, place) in enumerate(steps)}
    last |= {place: k for k, (_, sources, _) in enumerate(steps) for place in sources}
    passing = {places[v, False] for v in made if v not in read}
    program = [(*step, [p for p in {*step[1], step[2]} & passing if last[p] == k]) for k, step in enumerate(steps)]
    given = [(k, place, whole) for (v, whole), place in places.items() for k, u in enumerate(inputs) if u is v]
    expected = [shapes[v] for v in inputs]
    arrays = [(places[v, False], v.type.dtype) for v in outputs if v not in ends]
    bounds = list(_halves(0, shape[0], _fitting(shape)))

    def run(*values: np.ndarray) -> list[np.ndarray]:
        if [value.shape for value in values] != expected:
            raise _OtherShapeError
        store: list[Any] = [None] * len(places)
        cut = []
        for k, place, whole in given:
            # One row stands for many that are the same
            same = whole or values[k].shape[0] != shape[0] or values[k].strides[0] == 0
            if same:
                store[place] = values[k] if whole else values[k][:1]
            else:
                cut.append((place, values[k]))
        for place, begin, sources in begins:
            store[place] = begin(*[store[k] for k in sources])
        full = {place: np.empty(shape, dtype) for place, dtype in arrays}
        for start, stop in bounds:
            store[0] = stop - start
            for place, value in cut:
                store[place] = value[start:stop]
            for function, sources, place, unused in program:
                store[place] = function(*[store[k] for k in sources])
                for k in unused:
                    store[k] = None
            for place, array in full.items():
                array[start:stop] = store[place]
        return [ends[v](store[places[v, False]]) if v in ends else full[places[v, False]] for v in outputs]

    return _Call(run, inputs, outputs)


def _fitting(shape: tuple[int, ...]) -> int:
    """How many rows make a block."""
    return _BLOCK // max(1, prod(shape[1:]))


def _halves(start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    """Blocks as NumPy cuts a long sum: in halves, multiples of eight, and these again."""
    if stop - start <= most:
        yield start, stop
        return
    middle = start + (stop - start) // 2 // _EVEN * _EVEN
    yield from _halves(start, middle, most)
    yield from _halves(middle, stop, most)


def _total(size: int, parts: list[Any]) -> np.ndarray:
    """From the sums of the blocks to that of all."""
    rest = iter(parts)

    def total(size: int) -> Any:
        if size <= _BLOCK:
            return next(rest)
        half = size // 2 // _EVEN * _EVEN
        return total(half) + total(size - half)

    return np.asarray(total(size))


def _partial_sum(parts: list[Any], value: np.ndarray, size: int) -> list[Any]:
    parts.append(np.add.reduce(value if len(value) == size else np.broadcast_to(value, (size,))))
    return parts


def _and(state: bool, value: np.ndarray, size: int) -> bool:
    return state and bool(value.all())


def _add_at(target: np.ndarray, value: np.ndarray, index: np.ndarray, size: int) -> np.ndarray:
    np.add.at(target, index if len(index) == size else np.broadcast_to(index, (size,)), value)
    return target


def _last(*arrays: np.ndarray) -> np.ndarray:
    return arrays[-1]


def _select(dtype: np.dtype, condition: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """NumPy's `where`; most blocks lie on one side altogether, and need no new array."""
    if not condition.any():
        only = second
    elif condition.all():
        only = first
    else:
        return np.where(condition, first, second)
    return only if only.dtype == dtype else only.astype(dtype)
