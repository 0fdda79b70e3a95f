"""A compiled PyTensor function as a plain list of NumPy calls, for functions that are evaluated many times.

PyTensor's Python linker spends some microseconds on each operation besides the operation itself: checks of shapes and
types, error states, storage. On small data that is most of the time. Here each operation is one call of NumPy. Each is
compared with PyTensor's own implementation once, on the arrays of the call at hand, and left to that where the two are
not the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Constant
from pytensor.graph.op import HasInnerGraph
from pytensor.scalar.basic import Add, Mul
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.random.op import RandomVariable

# A function of arrays; the places of its arguments, and of its results; the places that nothing reads any more.
Step = tuple[Callable[..., Sequence[Any]], list[int], list[int], list[int]]


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
        steps, constants, results = _steps(graph, values)
    except Exception:
        # Whatever an operation cannot do outside its linker, it can do inside
        return None

    def call(*given: np.ndarray) -> list[np.ndarray]:
        here = [*given, *(container.data for container in containers)]
        if [np.shape(value) for value in here] != shapes:
            return compiled(*given)
        store: list[Any] = [*here, *constants]
        for function, inputs, outputs, unused in steps:
            for place, value in zip(outputs, function(*[store[k] for k in inputs]), strict=True):
                store[place] = value
            for place in unused:
                store[place] = None
        # Copies, for a result may be a view of another one or of an input
        return [np.array(store[place]) for place in results]

    return call


def _steps(graph: Any, values: Sequence[Any]) -> tuple[list[Step], list[Any], list[int]]:
    """The graph in order; what is in store besides the inputs; where the results are."""
    nodes = graph.toposort()
    constants = list(dict.fromkeys(v for node in nodes for v in node.inputs if isinstance(v, Constant)))
    constants += [v for v in graph.outputs if isinstance(v, Constant) and v not in constants]
    places = {v: k for k, v in enumerate([*graph.inputs, *constants, *(v for node in nodes for v in node.outputs)])}
    store: list[Any] = [*values, *(v.data for v in constants), *([None] * sum(len(node.outputs) for node in nodes))]
    last = {v: node for node in nodes for v in (*node.inputs, *node.outputs)}
    last |= {v: node for node in nodes for v in node.inputs}
    steps = []
    for node in nodes:
        inputs, outputs = [places[v] for v in node.inputs], [places[v] for v in node.outputs]
        function, results = _function(node, [store[k] for k in inputs])
        for place, value in zip(outputs, results, strict=True):
            store[place] = value
        finished = {v for v in (*node.inputs, *node.outputs) if v.owner and last[v] is node and v not in graph.outputs}
        unused = [places[v] for v in finished]
        for place in unused:
            store[place] = None
        steps.append((function, inputs, outputs, unused))
    fixed = [*(v.data for v in constants), *([None] * (len(store) - len(values) - len(constants)))]
    return steps, fixed, [places[v] for v in graph.outputs]


def _function(node: Apply, arrays: Sequence[Any]) -> tuple[Callable[..., Sequence[Any]], Sequence[Any]]:
    """From an operation's inputs to its outputs; and these for `arrays`."""
    own = partial(_perform, node)
    expected = own(*arrays)
    numpy = _numpy(node.op, len(arrays))
    if numpy is not None:
        result = np.asarray(numpy(*arrays))
        same = result.dtype == expected[0].dtype and result.shape == expected[0].shape
        if same and np.array_equal(result, expected[0], equal_nan=result.dtype.kind == "f"):
            return partial(_alone, numpy), [result]
    return own, expected


def _alone(function: Callable[..., Any], *arrays: Any) -> tuple[Any]:
    return (function(*arrays),)


def _perform(node: Apply, *arrays: Any) -> list[np.ndarray]:
    """PyTensor's own implementation."""
    storage: list[list[Any]] = [[None] for _ in node.outputs]
    # NumPy makes its own scalars of arrays without axes
    node.op.perform(node, [np.asarray(a) if isinstance(a, np.generic) else a for a in arrays], storage)
    return [cell[0] for cell in storage]


def _numpy(op: Any, count: int) -> Callable[..., Any] | None:
    """NumPy's function for an operation with so many inputs, where there is one."""
    if isinstance(op, Elemwise) and not op.inplace_pattern and op.nfunc is not None:
        if count == op.nfunc_spec[1]:
            return op.nfunc
        return partial(_folded, op.nfunc) if isinstance(op.scalar_op, Add | Mul) else None
    if isinstance(op, CAReduce):
        axis = op.axis if op.axis is None else tuple(op.axis)
        return {"add": partial(np.add.reduce, axis=axis)}.get(getattr(op.scalar_op, "name", ""))
    if isinstance(op, DimShuffle):
        return partial(_shuffled, list(op.drop), list(op.shuffle), tuple(_axes(op.new_order)))
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
