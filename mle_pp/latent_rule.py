"""Which free variables are latent: decided from the graph, and confirmed numerically.

The log-densities of the data, and of the latent variables already found, depend on the free variables only through
their *predictors*: the arguments of these distributions. Whether a variable acts on the data, or does so only
multiplied by another one, is therefore asked of the predictors, which are many numbers at once and need no derivative
of a log-density.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.dims.distributions.transforms import ZeroSumTransform as DimsZeroSum
from pymc.distributions.continuous import FlatRV
from pymc.distributions.distribution import SymbolicRandomVariable
from pymc.distributions.transforms import ZeroSumTransform
from pymc.initial_point import make_initial_point_expression
from pytensor.compile.builders import infer_shape
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import clone_replace, graph_replace
from pytensor.graph.traversal import toposort, walk
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.shape import Reshape, SpecifyShape
from pytensor.tensor.type import continuous_dtypes

from mle_pp import backends
from mle_pp.errors import ModelError
from mle_pp.parameters import Parameters, initial_point, like

# Elements of a variable that are looked at one by one
_ELEMENTWISE = 100


def latent_variables(model: pm.Model, held: set[str], kept: set[str]) -> dict[str, str]:
    """The latent variables of a model, and why each is.

    Parameters
    ----------
    model : pm.Model
    held : set of str
        Variables at a fixed value.
    kept : set of str
        Variables that keep their prior and are maximized.
    """
    found = imputed(model)
    offsets: dict[str, str] = {}
    while True:
        count = len(found)
        found |= centered(model, held, kept, set(found))
        found |= _lost_elements(model, held, kept, found)
        offsets |= _non_centered(model, held, kept, found, offsets)
        found |= offsets
        if len(found) == count:
            return found


# -- the graph ----------------------------------------------------------------------------------------------------


def _inputs(variable: Variable) -> list[Variable]:
    return list(variable.owner.inputs) if variable.owner is not None else []


def direct_parents(model: pm.Model, variables: Sequence[Variable]) -> set[str]:
    """Free variables that these depend on directly: the walk stops at each."""
    free = set(model.free_RVs)
    found: set[str] = set()

    def expand(variable: Variable) -> list[Variable]:
        if variable in free:
            found.add(variable.name)
            return []
        return _inputs(variable)

    for start in variables:
        for _ in walk(_inputs(start) if start in model.basic_RVs else [start], expand):
            pass
    return found


def size_of(rv: Variable) -> int:
    """Number of scalars of a variable."""
    shape = rv.type.shape
    if None in shape:
        with backends.without_c_compiler():
            [lengths] = infer_shape([rv], (), ())
            shape = [int(length) for length in backends.build([], backends.simplify(list(lengths)))()]
    return int(np.prod(shape, dtype=int))


def _likelihood(model: pm.Model, names: Sequence[str]) -> list[Variable]:
    """What is known to be part of the likelihood: the data, potentials, and the priors of `names`."""
    return [*model.observed_RVs, *model.potentials, *(model[name] for name in names)]


def imputed(model: pm.Model) -> dict[str, str]:
    """Missing values of observed variables, which PyMC turns into free variables."""
    observed = {rv.name for rv in model.observed_RVs}
    reason = "missing values of an observed variable, which PyMC imputes"
    return {
        rv.name: reason
        for rv in model.free_RVs
        if rv.name.endswith("_unobserved") and f"{rv.name.removesuffix('_unobserved')}_observed" in observed
    }


def centered(model: pm.Model, held: set[str], kept: set[str], known: set[str]) -> dict[str, str]:
    """Variables without whose prior another free variable would lose all influence on the data.

    Those whose prior has a parent that the likelihood does not reach; their prior then joins the likelihood, until
    nothing changes.
    """
    found: dict[str, str] = {}
    while True:
        reached = direct_parents(model, _likelihood(model, [*known, *kept, *found]))
        new = {}
        for name in sorted(reached - held - set(found) - known - kept):
            lost = sorted(direct_parents(model, [model[name]]) - reached - held)
            if lost:
                new[name] = _without_prior(model, name, lost)
        if not new:
            return found
        found |= new


def _without_prior(model: pm.Model, name: str, lost: Sequence[str]) -> str:
    return f"{', '.join(lost)} would lose all influence on the data without its prior{_second_type(model, name, lost)}"


def _second_type(model: pm.Model, name: str, parameters: Sequence[str]) -> str:
    """Say so where each element has parameters of its own, as those of a horseshoe."""
    size = size_of(model[name])
    own = [p for p in parameters if p in model.named_vars and size > 1 and size_of(model[p]) == size]
    return f" (each element has its own {', '.join(own)}: type-II maximum likelihood)" if own else ""


def _lost_elements(model: pm.Model, held: set[str], kept: set[str], known: Mapping[str, str]) -> dict[str, str]:
    """The same for single elements: u ~ N(0, sd[1]), y ~ N(u, sd[0])."""
    terms = _likelihood(model, [*known, *kept])
    found: dict[str, str] = {}
    for name in sorted(direct_parents(model, terms) - held - set(known) - kept):
        parents = direct_parents(model, [model[name]]) - held
        several = [p for p in sorted(parents) if model[p].dtype in continuous_dtypes and model[p].ndim > 0]
        if not several:
            continue
        data, prior = Predictors(model, terms), Predictors(model, [model[name]])
        lost = []
        for parent in several:
            size = data.size(parent)
            if 1 < size <= _ELEMENTWISE:
                lost += [
                    f"{parent}[{', '.join(map(str, np.unravel_index(k, data.shape(parent))))}]"
                    for k in range(size)
                    if not np.any(data.along(parent, k)) and np.any(prior.along(parent, k))
                ]
        if lost:
            found[name] = _without_prior(model, name, lost)
    return found


# -- predictors ---------------------------------------------------------------------------------------------------


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
        first = self._at(self._points[0], {}, none)
        few = first.size < 1000
        return [p for p in self._points[: 6 if few else 2] if np.all(np.isfinite(self._at(p, {}, none)))]

    def along(self, name: str, element: int | None = None) -> np.ndarray:
        """Σ v ∂η/∂v of the predictors η over a variable's elements v, or over one of them."""
        shape = self.shape(name)
        logs = np.ones(shape)
        if element is not None:
            logs = np.zeros(shape)
            logs.flat[element] = 1.0
        return self._slope({name: logs}, np.zeros(len(self._factors))) if self._used else np.zeros(0)

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
            return _inputs(variable)

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
        shapes = function(*(self._points[0][name] for name in self.roots))
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
            return _inputs(variable)
        if hasattr(variable.type, "dtype") and direct_parents(model, [variable] if variable not in free else []):
            leaves[variable] = None
        if variable in free:
            leaves[variable] = None
        return []

    starts: list[Variable] = []
    for term in terms:
        starts += _inputs(term) if term in free else [term]
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
        if wanted & depends[node.outputs[0]] and hasattr(node.outputs[0], "shape")
        for v in [*node.inputs, *node.outputs]
        if hasattr(v.type, "ndim") and depends.get(v)
    ]
    sizes = shapes(list(dict.fromkeys(touched))) if touched else {}
    # Linear functions of offsets, and whether they still hold each of its elements once
    linear: dict[Variable, bool] = {roots[name]: True for name in offsets}
    factors: dict[Variable, _Factor] = {}
    for node in order:
        output = node.outputs[0]
        held = [i for i in node.inputs if i in linear]
        others = [i for i in node.inputs if i not in linear and depends.get(i)]
        if not held or any(wanted & depends[i] for i in others) or output not in sizes:
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


# -- non-centered -------------------------------------------------------------------------------------------------


def _non_centered(
    model: pm.Model, held: set[str], kept: set[str], known: Mapping[str, str], before: Mapping[str, str]
) -> dict[str, str]:
    """Offsets z ~ N(0, 1) that reach the data only multiplied by functions of parameters.

    Under (z, σ) → (cz, σ/c) such predictors do not change, so Σ z ∂η/∂z = Σ σ ∂η/∂σ at every point, the sum over all
    offsets of one σ. That tells which offsets belong to which scale.
    """
    terms = _likelihood(model, [*known, *kept])
    reached = direct_parents(model, terms) - held - kept
    offsets = [n for n in reached - set(known) if _is_standard_offset(model, n, held)]
    offsets = [rv.name for rv in model.free_RVs if rv.name in offsets]
    others = [rv.name for rv in model.free_RVs if rv.name in reached - set(before) and rv.dtype in continuous_dtypes]
    pairs = _multiplied(model, terms, offsets, others)
    offsets = [z for z in offsets if any(z == a for a, _ in pairs)]
    others = [s for s in others if any(s == b for _, b in pairs)]
    if not pairs:
        return {}
    predictors = Predictors(model, terms)
    vectors = [z for z in offsets if predictors.size(z) > 1]
    absorbed = predictors.absorb(vectors)
    table = {z: predictors.along(z) for z in offsets}
    groups: dict[str, list[str]] = {}
    for scale in others:
        columns = {z: column for z, column in table.items() if z != scale}
        target = table[scale] if scale in table else predictors.along(scale)
        group = _matching(target, columns)
        if scale in vectors:
            both = [z for z in group if z in vectors]
            if both:
                raise _two_sides(scale, both, known)
            continue
        if group:
            groups[scale] = group
    whole = {scale: group for scale, group in groups.items() if set(group) & set(vectors)}
    # A product of numbers is the same from both sides
    for scale, group in groups.items():
        numbers = [z for z in group if z not in vectors]
        if numbers and not (scale in numbers or scale in {s for z in numbers for s in whole if z == s}):
            raise _numbers(scale, numbers, group, known)
    through: dict[str, list[frozenset[str]]] = {}
    for scale, group in whole.items():
        for z in group:
            through.setdefault(z, []).append(frozenset([scale]))
    for name, sets in absorbed.items():
        if name in groups or (name in offsets and name in vectors):
            continue
        for z in _matching(predictors.along_factors(name), {z: table[z] for z in vectors}):
            through.setdefault(z, [])
            through[z] = [old for old in through[z] if not any(old < new for new in sets)]
            through[z] += [new for new in dict.fromkeys(sets) if new not in through[z]]
    _refuse_partial(
        predictors, [z for z in vectors if z not in through], [s for s in others if s not in vectors], known
    )
    return {z: _offset_reason(model, z, through[z], known) for z in offsets if z in through}


def _offset_reason(model: pm.Model, name: str, factors: Sequence[frozenset[str]], known: Mapping[str, str]) -> str:
    parts = [", ".join(sorted(f)) if len(f) == 1 else f"a function of {', '.join(sorted(f))}" for f in factors]
    scales = sorted(frozenset[str]().union(*factors) - set(known))
    return (
        f"an offset: the data depend on {name} only through its product with {' and '.join(parts)}"
        f"{_second_type(model, name, scales)}"
    )


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(repr, names))}]"


def _numbers(scale: str, numbers: Sequence[str], group: Sequence[str], known: Mapping[str, str]) -> ModelError:
    names = ", ".join(numbers)
    rest = [z for z in group if z not in numbers]
    return ModelError(
        f"The data depend on {scale} and {', '.join(group)} only through their product. Whether {names} is a random "
        f"effect with the scale {scale} or a coefficient cannot be told from one number: say "
        f"integrate={_list([*known, *group])} to integrate it out, or integrate={_list([*known, *rest])} for a "
        f"coefficient."
    )


def _two_sides(one: str, two: Sequence[str], known: Mapping[str, str]) -> ModelError:
    names = ", ".join(two)
    return ModelError(
        f"The data depend on {one} and {names} only through their product, and the priors of both are centered at "
        f"zero: either can be the latent variable with the other as its coefficients. Say "
        f"integrate={_list([*known, one])} or integrate={_list([*known, *two])}, or integrate={_list([*known])} to "
        f"maximize over both."
    )


def _refuse_partial(
    predictors: Predictors, offsets: Sequence[str], scales: Sequence[str], known: Mapping[str, str]
) -> None:
    """Ask where a part of a variable is an offset, or a part of another the scale of one."""
    for z in offsets:
        for scale in scales:
            if 1 < predictors.size(scale) <= _ELEMENTWISE:
                parts = [predictors.along(scale, k) for k in range(predictors.size(scale))]
                mine = _matching(predictors.along(z), {str(k): part for k, part in enumerate(parts)})
                rest = [k for k, part in enumerate(parts) if str(k) not in mine and np.any(part)]
                if mine and rest:
                    raise _partial(z, f"some elements of {scale}", f"the others of {scale} act differently", z, known)
            if predictors.size(z) <= _ELEMENTWISE:
                parts = [predictors.along(z, k) for k in range(predictors.size(z))]
                mine = _matching(predictors.along(scale), {str(k): part for k, part in enumerate(parts)})
                rest = [k for k, part in enumerate(parts) if str(k) not in mine and np.any(part)]
                if mine and rest:
                    raise _partial(f"some elements of {z}", scale, "the others act without it", z, known)


def _partial(one: str, two: str, but: str, name: str, known: Mapping[str, str]) -> ModelError:
    return ModelError(
        f"The data depend on {one} and {two} only through their product, and {but}: whether {name} is a random effect "
        f"with that scale or a coefficient cannot be told. Say integrate={_list([*known, name])} to integrate it out, "
        f"or integrate={_list([*known])} for a coefficient; or declare the parts as variables of their own."
    )


def _is_standard_offset(model: pm.Model, name: str, held: set[str]) -> bool:
    """A continuous variable on the whole line with a proper constant prior around zero."""
    rv = model[name]
    transform, op = model.rvs_to_transforms[rv], rv.owner.op
    if rv.dtype not in continuous_dtypes or isinstance(getattr(op, "core_op", op), FlatRV):
        return False
    if transform is not None and not isinstance(transform, ZeroSumTransform | DimsZeroSum):
        return False
    if direct_parents(model, [rv]) - held:
        return False
    with backends.without_c_compiler(), warnings.catch_warnings():
        # Where PyMC knows no center it says so, and draws: hardly zeros
        warnings.simplefilter("ignore", UserWarning)
        centers = make_initial_point_expression(free_rvs=[rv], rvs_to_transforms={}, initval_strategies={})
        [center] = backends.build([], backends.simplify([backends.as_tensor(c) for c in centers]))()
    return bool(np.all(np.abs(center) < 1e-10))


def _multiplied(
    model: pm.Model, terms: Sequence[Variable], offsets: Sequence[str], others: Sequence[str]
) -> set[tuple[str, str]]:
    """Pairs that meet in an operation other than a sum before they reach the data."""
    watched = {rv: rv.name for rv in model.free_RVs}
    left, right = set(offsets), set(others)
    if not left:
        return set()
    reach: dict[Variable, frozenset[str]] = {}
    pairs: set[tuple[str, str]] = set()
    nothing: frozenset[str] = frozenset()
    for node in toposort(list(terms)):
        parts = [reach.get(i, nothing) for i in node.inputs]
        for output in node.outputs:
            reach[output] = frozenset([watched[output]]) if output in watched else nothing.union(*parts)
        is_sum = str(getattr(node.op, "scalar_op", "")).lower() in ("add", "sub")
        if is_sum or isinstance(node.op, RandomVariable | SymbolicRandomVariable):
            continue
        for a, b in permutations(parts, 2):
            pairs |= {(z, s) for z in (a - b) & left for s in (b - a) & right}
    return pairs


def _matching(target: np.ndarray, columns: Mapping[str, np.ndarray]) -> list[str]:
    """The columns that, each times a number other than zero, add up to the target; none if no set does."""
    columns = {name: column for name, column in columns.items() if np.any(column)}
    if not columns or not np.any(target):
        return []
    table = np.stack(list(columns.values()), axis=1)
    rows = np.any(table != 0, axis=1)
    if np.any(target[~rows]):
        return []
    weights, *_ = np.linalg.lstsq(table[rows], target[rows], rcond=None)
    chosen = np.abs(weights) > 1e-6
    error = np.abs(table[:, chosen] @ weights[chosen] - target).max()
    if error > 1e-8 * np.abs(target).max():
        return []
    return [name for name, use in zip(columns, chosen, strict=True) if use]
