"""Between which bounds a quantity lies, whatever the parameters: interval arithmetic on its graph.

The parameters' vector is unbounded; what follows from it is not: ``exp`` is positive, ``sigmoid`` lies between 0 and 1,
``1 - exp(-rate * t)`` too if rate and t are positive. The bounds hold always; they may be wider than need be, for each
occurrence of a variable is taken to vary on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import CAReduce, Elemwise

from mle_pp import backends

Bounds = tuple[Variable, Variable]

_INCREASING = {
    "exp", "expm1", "log", "log1p", "sigmoid", "softplus", "tanh", "sinh", "arcsinh", "arctan", "sqrt", "erf", "cast",
    "identity", "floor", "ceil",
}  # fmt: skip
_DECREASING = {"neg", "erfc"}
# Operations that move or repeat the elements of their first input, or of all of them.
_MOVES_FIRST = {
    "DimShuffle", "Reshape", "Subtensor", "AdvancedSubtensor", "AdvancedSubtensor1", "Alloc", "SpecifyShape",
    "CheckAndRaise", "CheckParameterValue", "Assert", "CumOp", "ViewOp", "ExtractDiag", "BroadcastTo",
}  # fmt: skip
_MOVES_ALL = {"MakeVector"}


def graph_bounds(variables: Sequence[Variable], *vectors: Variable) -> list[Bounds]:
    """Lower and upper bounds, element by element, as graphs that depend on the vectors through shapes only.

    Parameters
    ----------
    variables : sequence of Variable
        Graphs of the vectors.
    *vectors : Variable
        The parameters' flat vector, and others; these are unbounded.
    """
    moving = set(vectors)
    known: dict[Variable, Bounds] = {x: (pt.full_like(x, -np.inf), pt.full_like(x, np.inf)) for x in vectors}
    for node in toposort(list(variables)):
        if not moving.intersection(node.inputs):
            continue
        moving.update(node.outputs)
        inputs = [known.get(variable, (variable, variable)) for variable in node.inputs]
        found = _through(node, inputs)
        for output in node.outputs:
            if hasattr(output, "dtype"):
                known[output] = found if found is not None and len(node.outputs) == 1 else _unbounded(output)
    return [known.get(variable, (variable, variable)) for variable in variables]


def _unbounded(variable: Variable) -> Bounds:
    like = pt.zeros_like(backends.as_tensor(variable), dtype="float64")
    return like - np.inf, like + np.inf


def _through(node: Apply, inputs: Sequence[Bounds]) -> Bounds | None:
    """The bounds of a node's output; None where nothing is known."""
    name = type(node.op).__name__
    if isinstance(node.op, Elemwise):
        return _elementwise(type(node.op.scalar_op).__name__.lower(), node, inputs)
    if isinstance(node.op, CAReduce) and str(node.op.scalar_op).lower().startswith("add"):
        return node.op(inputs[0][0]), node.op(inputs[0][1])
    if name in _MOVES_FIRST:
        return tuple(node.op(side, *node.inputs[1:]) for side in inputs[0])
    if name == "Join":
        return node.op(*(pair[0] for pair in inputs)), node.op(*(pair[1] for pair in inputs))
    if name in _MOVES_ALL:
        return tuple(pt.stack([pair[k] for pair in inputs]) for k in (0, 1))
    if name == "Softmax":
        return pt.zeros_like(node.outputs[0]), pt.ones_like(node.outputs[0])
    return None


def _elementwise(name: str, node: Apply, inputs: Sequence[Bounds]) -> Bounds | None:
    lower, upper = inputs[0]
    if name in _INCREASING:
        return _or_infinite(node.op(lower), node.op(upper))
    if name in _DECREASING:
        return _or_infinite(node.op(upper), node.op(lower))
    if name == "add":
        return _or_infinite(_sum([pair[0] for pair in inputs]), _sum([pair[1] for pair in inputs]))
    if name == "sub":
        return _or_infinite(lower - inputs[1][1], upper - inputs[1][0])
    if name == "mul":
        found = inputs[0]
        for other in inputs[1:]:
            found = _product(found, other)
        return found
    if name == "truediv":
        least, most = _product(inputs[0], _reciprocal(inputs[1]))
        whole = node.inputs[1]
        if whole.owner is None or node.inputs[0] not in whole.owner.inputs or not _is_sum(whole.owner.op):
            return least, most
        # a / (a + b) of what is positive: a share
        is_share = pt.and_(lower >= 0, inputs[1][0] - lower >= 0)
        return pt.switch(is_share, 0.0, least), pt.switch(is_share, 1.0, most)
    if name == "reciprocal":
        return _reciprocal(inputs[0])
    if name in ("sqr", "abs"):
        ends = [node.op(lower), node.op(upper)]
        least = pt.switch(pt.and_(lower <= 0, upper >= 0), 0.0, pt.minimum(*ends))
        return _or_infinite(least, pt.maximum(*ends))
    if name == "pow":
        # Powers of a positive base, and even powers, are positive; more is not asked
        exponent = inputs[1][0]
        is_even = pt.eq(exponent % 2, 0) if exponent is inputs[1][1] else pt.zeros_like(lower, dtype="bool")
        positive = pt.or_(lower >= 0, is_even)
        return pt.switch(positive, 0.0, -np.inf), pt.full_like(lower, np.inf, dtype="float64")
    if name in ("maximum", "minimum"):
        function: Callable[..., Any] = getattr(pt, name)
        return _or_infinite(*(function(inputs[0][k], inputs[1][k]) for k in (0, 1)))
    if name == "clip":
        return _or_infinite(*(pt.clip(side, node.inputs[1], node.inputs[2]) for side in (lower, upper)))
    if name == "switch":
        return _or_infinite(pt.minimum(inputs[1][0], inputs[2][0]), pt.maximum(inputs[1][1], inputs[2][1]))
    return None


def _is_sum(op: Any) -> bool:
    return isinstance(op, Elemwise) and type(op.scalar_op).__name__ == "Add"


def _sum(terms: Sequence[Variable]) -> Variable:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _or_infinite(lower: Variable, upper: Variable) -> Bounds:
    """Bounds that came out as no number are none."""
    return pt.switch(pt.isnan(lower), -np.inf, lower), pt.switch(pt.isnan(upper), np.inf, upper)


def _product(one: Bounds, other: Bounds) -> Bounds:
    # Zero times a bound at infinity is zero: the bound is never reached
    ends = [pt.switch(pt.or_(pt.eq(a, 0), pt.eq(b, 0)), 0.0, a * b) for a in one for b in other]
    least, most = ends[0], ends[0]
    for end in ends[1:]:
        least, most = pt.minimum(least, end), pt.maximum(most, end)
    return _or_infinite(least, most)


def _reciprocal(pair: Bounds) -> Bounds:
    lower, upper = pair
    positive, negative = lower >= 0, upper <= 0
    above = pt.switch(pt.eq(lower, 0), np.inf, 1 / lower)
    below = pt.switch(pt.eq(upper, 0), -np.inf, 1 / upper)
    return (
        pt.switch(positive, 1 / upper, pt.switch(negative, below, -np.inf)),
        pt.switch(positive, above, pt.switch(negative, 1 / lower, np.inf)),
    )
