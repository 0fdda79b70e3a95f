"""The arguments of a model's distributions as functions of its free variables, and how they answer to dilations.

The log-densities depend on the free variables only through these *predictors*. Whether a variable acts on the data, or
does so only multiplied by another one, is therefore asked of them: they are many numbers at once, and no derivative of
a log-density is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import clone_replace, graph_replace
from pytensor.graph.traversal import toposort, walk
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.shape import Reshape, SpecifyShape
from pytensor.tensor.type import TensorType, continuous_dtypes

from mle_pp import backends
from mle_pp.parameters import Parameters, initial_point, like

# Elements of a variable that are looked at one by one, and numbers that are computed for that
ELEMENTWISE = 100
_MOST = 2e6
# What an evaluation raises where shapes of the data do not agree; the likelihood, evaluated later, tells which
_CANNOT = (ValueError, IndexError, TypeError, AssertionError)


def inputs_of(variable: Variable) -> list[Variable]:
    """What a variable is computed from; nothing where it is given."""
    return list(variable.owner.inputs) if variable.owner is not None else []


def direct_parents(model: pm.Model, variables: Sequence[Variable]) -> set[str]:
    """Free variables that these depend on directly: the walk stops at each."""
    free = set(model.free_RVs)
    found: set[str] = set()

    def expand(variable: Variable) -> list[Variable]:
        if variable in free:
            found.add(variable.name)
            return []
        return inputs_of(variable)

    for start in variables:
        for _ in walk(inputs_of(start) if start in model.basic_RVs else [start], expand):
            pass
    return found


class _Factor(NamedTuple):
    """An expression that offsets are multiplied by, and the variables it is a function of."""

    variable: Variable
    divides: bool
    names: frozenset[str]


class Predictors:
    """The arguments of some distributions, as functions of the free variables at a few seeded random points.

    Parameters
    ----------
    model : pm.Model
    terms : sequence of Variable
        Random variables and potentials.
    """

    def __init__(self, model: pm.Model, terms: Sequence[Variable]) -> None:
        self.model = model
        leaves = _arguments(model, terms)
        self.roots = {rv.name: backends.as_tensor(rv).type(name=rv.name) for rv in model.free_RVs}
        with backends.without_c_compiler():
            replaced = {rv: like(self.roots[rv.name], rv) for rv in model.free_RVs}
            cut = graph_replace(leaves, replaced, strict=False)
            copies = clone_replace([backends.as_tensor(leaf) for leaf in cut], copy_inputs_over=True)
            self.graphs = backends.opened(copies)
        self._factors: list[_Factor] = []

    @cached_property
    def _points(self) -> list[dict[str, np.ndarray]]:
        parameters = Parameters(self.model, [rv.name for rv in self.model.free_RVs if rv.dtype in continuous_dtypes])
        with backends.without_c_compiler():
            start, pieces = initial_point(self.model), parameters.layout.slices()
        rng = np.random.default_rng(20240229)
        points = []
        for _ in range(6):
            values = parameters.constrained(parameters.initial + rng.normal(0, 0.3, parameters.size))
            point = {name: np.asarray(value) for name, value in start.items()}
            point |= {name: values[piece].reshape(point[name].shape) for name, piece in pieces.items()}
            points.append({name: value.astype(self.roots[name].dtype) for name, value in point.items()})
        return points

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a free variable."""
        return self._points[0][name].shape

    def size(self, name: str) -> int:
        """Number of elements of a free variable."""
        return self._points[0][name].size

    @cached_property
    def _evaluate(self) -> Any:
        """The predictors, flat, as a function of the roots and of the logs of what the factors are multiplied by."""
        scales = pt.vector("scales")
        with backends.without_c_compiler():
            inside: dict[Variable, Variable] = {}
            for k, factor in enumerate(self._factors):
                scaled = factor.variable * pt.exp(-scales[k] if factor.divides else scales[k])
                inside[factor.variable] = like(scaled, factor.variable)
            graphs = graph_replace(self.graphs, inside, strict=False) if inside else self.graphs
            flat = pt.concatenate([pt.zeros(1), *(pt.cast(g, "float64").ravel() for g in graphs)])
        return backends.build([*self.roots.values(), scales], [flat])

    def _at(self, point: Mapping[str, np.ndarray], logs: Mapping[str, np.ndarray], scales: np.ndarray) -> np.ndarray:
        moved = [point[name] * np.exp(logs[name]) if name in logs else point[name] for name in self.roots]
        return self._evaluate(*map(np.asarray, moved), scales)[0]

    def _slope(self, logs: Mapping[str, np.ndarray], scales: np.ndarray) -> np.ndarray:
        """The derivative along a dilation: a five-point rule of fourth order, at every point."""
        step, parts = 1e-3, []
        for point in self._used:
            values = []
            for k in (-2, -1, 1, 2):
                values.append(self._at(point, {n: k * step * v for n, v in logs.items()}, k * step * scales))
            slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
            # Rounding, not a slope
            slope[np.abs(slope) < 1e-10 * np.abs(values[1])] = 0.0
            parts.append(slope)
        return np.concatenate(parts)

    @cached_property
    def _used(self) -> list[dict[str, np.ndarray]]:
        """Points at which all predictors are finite; the fewer predictors, the more points."""
        none = np.zeros(len(self._factors))
        try:
            self.count = self._at(self._points[0], {}, none).size
        except _CANNOT:
            return []
        points = self._points[: 6 if self.count < 1000 else 2]
        return [point for point in points if np.all(np.isfinite(self._at(point, {}, none)))]

    def moves(self, name: str, element: int) -> bool:
        """Whether an element of a variable acts on any predictor."""
        logs, none = {name: self._direction(name, element)}, np.zeros(len(self._factors))
        return any(np.any(self._at(p, logs, none) != self._at(p, {}, none)) for p in self._used[:2])

    def by_element(self, name: str) -> list[np.ndarray]:
        """`along` for each element of a variable; nothing where these are too many."""
        few = 1 < self.size(name) <= ELEMENTWISE and self._used and self.count * self.size(name) <= _MOST
        return [self.along(name, k) for k in range(self.size(name))] if few else []

    def _direction(self, name: str, element: int | None) -> np.ndarray:
        logs = np.full(self.shape(name), float(element is None))
        if element is not None:
            logs.flat[element] = 1.0
        return logs

    def along(self, name: str, element: int | None = None) -> np.ndarray:
        """Σ v ∂η/∂v of the predictors η over a variable's elements v, or over one of them."""
        if not self._used:
            return np.zeros(0)
        return self._slope({name: self._direction(name, element)}, np.zeros(len(self._factors)))

    def along_factors(self, name: str) -> np.ndarray:
        """The same for all factors that are a function of a variable."""
        scales = np.array([float(name in factor.names) for factor in self._factors])
        return self._slope({}, scales) if self._used else np.zeros(0)

    # -- factors of offsets ---------------------------------------------------------------------------------------

    def absorb(self, offsets: Sequence[str]) -> dict[str, list[frozenset[str]]]:
        """Variables that act only in factors that a change of the offsets can undo, and these factors' variables.

        A factor is undone if it multiplies each element of an offset by itself: a number, a vector as long as the
        offset, a square matrix.
        """
        self._factors = _factors(self.graphs, self.roots, offsets, self._shapes)
        inner = {factor.variable for factor in self._factors}
        names = {root: name for name, root in self.roots.items()}
        direct: set[str] = set()

        def expand(variable: Variable) -> list[Variable]:
            if variable in inner:
                return []
            if variable in names:
                direct.add(names[variable])
            return inputs_of(variable)

        for _ in walk(list(self.graphs), expand):
            pass
        found: dict[str, list[frozenset[str]]] = {}
        for factor in self._factors:
            for name in factor.names - direct:
                found.setdefault(name, []).append(factor.names)
        return found

    def _shapes(self, variables: Sequence[Variable]) -> dict[Variable, tuple[int, ...]]:
        with backends.without_c_compiler():
            function = backends.build(list(self.roots.values()), [v.shape for v in variables])
        try:
            shapes = function(*(self._points[0][name] for name in self.roots))
        except _CANNOT:
            return {}
        return {v: tuple(int(n) for n in shape) for v, shape in zip(variables, shapes, strict=True)}


def _arguments(model: pm.Model, terms: Sequence[Variable]) -> list[Variable]:
    """What the distributions of `terms` are given: the largest expressions that draw nothing."""
    free = set(model.free_RVs)
    draws: dict[Variable, bool] = {}
    for node in toposort(list(terms)):
        random = any(isinstance(i.type, RandomType) or draws.get(i, False) for i in node.inputs)
        draws |= {output: random and output not in free for output in node.outputs}
    leaves: dict[Variable, None] = {}

    def expand(variable: Variable) -> list[Variable]:
        if draws.get(variable, False):
            return inputs_of(variable)
        if hasattr(variable.type, "dtype") and direct_parents(model, [variable] if variable not in free else []):
            leaves[variable] = None
        if variable in free:
            leaves[variable] = None
        return []

    starts: list[Variable] = []
    for term in terms:
        starts += inputs_of(term) if term in free else [term]
    for _ in walk(starts, expand):
        pass
    return list(leaves)


_LINEAR = ("Subtensor", "AdvancedSubtensor", "AdvancedSubtensor1", "AdvancedBooleanSubtensor", "CumOp", "Sum")


def _scalar(node: Apply) -> str:
    """The name of an elementwise operation."""
    return type(node.op.scalar_op).__name__ if isinstance(node.op, Elemwise) else ""


def _is_product(node: Apply) -> bool:
    name = type(getattr(node.op, "core_op", node.op)).__name__
    return name in ("Dot", "BatchedDot", "Matmul") or str(node.op).startswith(("Matmul", "Dot"))


def _factors(graphs: Sequence[Variable], roots: Mapping[str, Variable], offsets: Sequence[str], shapes: Any) -> list:
    """What offsets are multiplied by before anything else that is not linear happens to them."""
    names = {root: name for name, root in roots.items()}
    nothing: frozenset[str] = frozenset()
    depends: dict[Variable, frozenset[str]] = {root: frozenset([name]) for root, name in names.items()}
    order = list(toposort(list(graphs)))
    for node in order:
        union = nothing.union(*(depends.get(i, nothing) for i in node.inputs))
        depends |= dict.fromkeys(node.outputs, union)
    wanted = set(offsets)
    touched = [
        v
        for node in order
        if wanted & depends[node.outputs[0]]
        for v in [*node.inputs, *node.outputs]
        if isinstance(v.type, TensorType) and depends.get(v)
    ]
    sizes = shapes(list(dict.fromkeys(touched))) if touched else {}
    # Linear functions of offsets, and whether they still hold each of its elements once
    linear: dict[Variable, bool] = {roots[name]: True for name in offsets}
    factors: dict[Variable, _Factor] = {}
    for node in order:
        output = node.outputs[0]
        held = [i for i in node.inputs if i in linear]
        others = [i for i in node.inputs if i not in linear and depends.get(i)]
        if (
            not held
            or any(wanted & depends[i] for i in others)
            or any(v not in sizes for v in [output, *held, *others])
        ):
            continue
        kind, full, same = _scalar(node), linear[held[0]], np.prod(sizes[output]) == np.prod(sizes[held[0]])
        if len(held) > 1:
            if kind in ("Add", "Sub") and not others and len(held) == len(node.inputs):
                linear[output] = False
        elif not others:
            moves = isinstance(node.op, DimShuffle | Reshape | SpecifyShape) or kind in ("Cast", "Identity", "Neg")
            constant = kind == "Mul" or (kind == "TrueDiv" and node.inputs[0] is held[0]) or _is_product(node)
            if moves or constant or type(node.op).__name__ in _LINEAR:
                linear[output] = full and same and (moves or kind in ("Mul", "TrueDiv"))
        elif kind == "Mul" or (kind == "TrueDiv" and node.inputs[0] is held[0]):
            if (full and same) or all(np.prod(sizes[i]) == 1 for i in others):
                linear[output] = full and same
                for i in others:
                    factors[i] = _Factor(i, kind == "TrueDiv", depends[i])
        elif _is_product(node) and full and same:
            shape = sizes[others[0]]
            if len(shape) >= 2 and shape[-1] == shape[-2]:
                linear[output] = True
                factors[others[0]] = _Factor(others[0], False, depends[others[0]])
    return list(factors.values())
