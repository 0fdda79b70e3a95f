"""Any scalar of a model as a function of the flat vector: a label, or an expression in labels.

``beta[x1]``, ``exp(a) / (1 + exp(a))`` and ``p[a] - p[b]`` are graphs of the vector, so that values, gradients and
Hessians are those of automatic differentiation.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from mle_pp import backends
from mle_pp.derivatives import Hessian, gradient
from mle_pp.parameters import Parameters

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": pt.exp,
    "log": pt.log,
    "sqrt": pt.sqrt,
    "abs": pt.abs,
    "logit": lambda p: pt.log(p) - pt.log1p(-p),
    "expit": pt.sigmoid,
    "tanh": pt.tanh,
    "atanh": pt.arctanh,
}

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
    ast.USub: lambda a: -a,
    ast.UAdd: lambda a: a,
}


@dataclass(frozen=True)
class Quantity:
    """A scalar function of the unconstrained vector.

    Attributes
    ----------
    text : str
        The label or expression it was made from.
    labels : tuple of str
        The labelled scalars in it.
    """

    text: str
    labels: tuple[str, ...]
    _graph: Variable
    _x: Variable

    @cached_property
    def _value(self) -> Any:
        return backends.build([self._x], [self._graph])

    @cached_property
    def _gradient(self) -> Any:
        with backends.without_c_compiler():
            slope = gradient(self._graph, self._x)
        return backends.build([self._x], [slope])

    @cached_property
    def _hessian(self) -> Hessian:
        with backends.without_c_compiler():
            return Hessian(self._graph, self._x, self.gradient, "interpreted", 1)

    def value(self, x: np.ndarray) -> float:
        """The quantity at `x`."""
        return float(self._value(x)[0])

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Its gradient, shape (size,)."""
        return self._gradient(x)[0]

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Its matrix of second derivatives, shape (size, size)."""
        return self._hessian(x)


def quantity(parameters: Parameters, text: str) -> Quantity:
    """The scalar that a label or an expression means.

    Parameters
    ----------
    parameters : Parameters
    text : str
        ArviZ's label of a parameter or `Deterministic`, or numbers and labels combined by ``+ - * / **``, parentheses
        and the functions ``exp, log, sqrt, abs, logit, expit, tanh, atanh``.

    Raises
    ------
    KeyError
        A label that is none of the model's; the message has those close to it.
    ValueError
        Not an expression, or the name of a variable with several elements.
    """
    scalars = _Scalars(parameters)
    replaced, used = _placeholders(text, scalars)
    try:
        tree = ast.parse(replaced.strip(), mode="eval").body
    except SyntaxError:
        raise ValueError(f"{text!r} is not an expression in the model's labels.") from None
    with backends.without_c_compiler():
        graph = _graph(tree, {name: scalars.graph(label) for name, label in used.items()}, text, scalars)
        [simplified] = backends.simplify([pt.cast(pt.as_tensor(graph), "float64")])
    return Quantity(text.strip(), tuple(dict.fromkeys(used.values())), simplified, parameters.x)


def masked(parameters: Parameters, text: str) -> str:
    """`text` with its labels, and whatever else is in brackets, blotted out: what is left to split or search it by.

    Of the same length, so that places found in it are places in `text`.
    """

    def blot(match: re.Match[str]) -> str:
        return "_" * len(match.group())

    pattern = _pattern(_Scalars(parameters))
    return re.sub(r"\[[^\[\]]*\]", blot, re.sub(pattern, blot, text) if pattern else text)


class _Scalars:
    """The labelled scalars of parameters, `Deterministic`s and held variables."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        layouts = (parameters.layout, parameters.derived_layout)
        self.entries = {entry.name: entry for layout in layouts for entry in layout}
        self._places = {label: (k, i) for k, layout in enumerate(layouts) for i, label in enumerate(layout.labels)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def graph(self, label: str) -> Variable:
        if label not in self._places:
            entry = self.entries[label]
            shown = ", ".join(entry.labels[:3]) + (", …" if entry.size > 3 else "")
            raise ValueError(f"{label} has {entry.size} elements, and one is needed: {shown}.")
        which, position = self._places[label]
        return (self._parameters.constrained_graph, self._parameters.derived_graph)[which][position]


def _placeholders(text: str, scalars: _Scalars) -> tuple[str, dict[str, str]]:
    """The expression with a Python name for each label, for coordinates hold spaces, commas, anything."""
    pattern = _pattern(scalars)
    used: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        found = next((known for known, label in used.items() if label == match.group()), f"scalar_{len(used)}")
        used[found] = match.group()
        return found

    return re.sub(pattern, name, text) if pattern else text, used


def _pattern(scalars: _Scalars) -> str:
    """A regular expression for any label, and for names of vectors; empty where there is none."""
    names = sorted({*scalars, *scalars.entries}, key=len, reverse=True)
    labels = "|".join(map(re.escape, names))
    # A label is not part of a longer word, nor a function that is called
    return rf"(?<![\w.\]])(?:{labels})(?![\w\[(])" if labels else ""


def _graph(node: ast.AST, names: dict[str, Variable], text: str, scalars: _Scalars) -> Any:
    """The expression's graph."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        sides = [_graph(side, names, text, scalars) for side in (node.left, node.right)]
        return _OPERATORS[type(node.op)](*sides)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
        raise ValueError(f"{text!r}: for a power write **.")
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_graph(node.operand, names, text, scalars))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords and len(node.args) == 1:
        if node.func.id not in FUNCTIONS:
            raise ValueError(f"{node.func.id} in {text!r} is not one of the functions {', '.join(FUNCTIONS)}.")
        return FUNCTIONS[node.func.id](pt.as_tensor(_graph(node.args[0], names, text, scalars)))
    if isinstance(node, ast.Name | ast.Subscript):
        unknown = ast.unparse(node)
        raise KeyError(_unknown(unknown, text, scalars))
    raise ValueError(f"{text!r} is not an expression in the model's labels.")


def _unknown(label: str, text: str, scalars: _Scalars) -> str:
    close = get_close_matches(label, scalars, n=5, cutoff=0.4) or list(scalars)[:8]
    return f"{label} in {text!r} is no label of the model. Some that are: {', '.join(close)}."
