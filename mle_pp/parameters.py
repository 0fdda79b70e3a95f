"""Flat vector to named constrained values and back, with the derivative of that map and the labels.

The vector lives on the unconstrained scale: PyMC's own transforms, and where a bounded variable was declared without
one (`default_transform=None`) the transform PyMC would have given it, so that no step can leave a support. The
constrained values, on which everything is reported, do not depend on that choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import CholeskyCorrTransform, Interval, _default_transform
from pymc.initial_point import make_initial_point_expression
from pymc.pytensorf import find_rng_nodes
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import ancestors
from pytensor.xtensor import as_xtensor
from pytensor.xtensor.type import XTensorType

from mle_pp import backends
from mle_pp.derivatives import Jacobian
from mle_pp.errors import ModelError
from mle_pp.formula import Formula
from mle_pp.layout import Layout, make_layout
from mle_pp.stretched import Stretched, on_own_scale
from mle_pp.supports import graph_bounds


@dataclass(frozen=True)
class Free:
    """A free variable: its random variable, its value variable, and the transform that the vector uses on top."""

    rv: Any
    value: Any
    transform: Any
    added: Any
    fixed: Any

    @property
    def name(self) -> str:
        """Of the variable."""
        return self.rv.name


def _close(expressions: Sequence[Variable], substitutions: Mapping[Variable, Variable]) -> list[Variable]:
    """Substitute until nothing is left to substitute: one substitution may contain another's variable."""
    found = list(expressions)
    while any(variable in substitutions for variable in ancestors(found)):
        found = graph_replace(found, substitutions, strict=False)
    return found


def like(expression: Variable, template: Variable) -> Variable:
    """`expression` as a variable of the template's type (an xtensor, an integer, a static shape)."""
    if isinstance(template.type, XTensorType):
        plain = pt.cast(backends.as_tensor(expression), template.dtype)
        return as_xtensor(plain, dims=template.type.dims)
    expression = pt.cast(expression, template.dtype)
    return expression if expression.type == template.type else template.type.filter_variable(expression)


class Parameters:
    """The map between the flat unconstrained vector and the model's variables.

    Parameters
    ----------
    model : pm.Model
    estimated : sequence of str
        The free variables that the vector holds, in the model's order.
    fixed : mapping of str to array, optional
        Constrained values of the others.
    initvals : mapping of str to array, optional
        Constrained starting values for some of the estimated variables.
    snapshot : mapping of Variable to Variable, optional
        Replacements of the model's data by copies.
    integrated : sequence of str
        Variables that graphs keep: neither in the vector nor held.
    formula : Formula, optional
        Of a Bambi model, whose intercepts of centered predictors are estimated, started, held and reported as those of
        the formula. They have no transform, and no support depends on them.

    Attributes
    ----------
    x : TensorVariable
        The symbolic vector.
    initial, default : ndarray, shape (size,)
        The model's own initial point, with and without `initvals` put in.
    layout, derived_layout : Layout
        Labels of the constrained scalars, and of the `Deterministic`s.
    unconstrained : Layout
        Labels of the vector's own entries (``sigma_log__``).
    fixed : dict of str to ndarray
        Constrained values of the variables that are held.
    """

    def __init__(
        self,
        model: pm.Model,
        estimated: Sequence[str],
        fixed: Mapping[str, Any] | None = None,
        initvals: Mapping[str, Any] | None = None,
        snapshot: Mapping[Variable, Variable] | None = None,
        integrated: Sequence[str] = (),
        formula: Formula | None = None,
    ) -> None:
        self.model = model
        self.x = pt.vector("x", dtype="float64")
        self._snapshot = dict(snapshot or {})
        self._starts = {} if formula is None else formula.starts
        self._shifts = {} if formula is None else {n: _shift(model, n, means) for n, means in formula.shifts.items()}
        for argument, given in (("fix", fixed), ("initvals", initvals)):
            if given is not None and not isinstance(given, Mapping):
                raise ModelError(f"{argument} takes a mapping of names to values: {argument}={{name: value}}.")
        fixed = dict(fixed or {})
        initvals = dict(initvals or {})
        check_names(model, initvals, "initvals")
        with backends.without_c_compiler():
            self._free = [self._describe(rv, fixed) for rv in model.free_RVs]
            constrained = self._start(initvals, fixed)
            unconstrained = self._forward(constrained, set(initvals) | set(fixed))
            self._estimated = [free for free in self._free if free.name in set(estimated)]
            self._substitutions = self._substitute(unconstrained, constrained, set(integrated))
            known = {free.rv: like(pt.constant(constrained[free.name]), free.rv) for free in self._free}
            shift = self._shift_values(known)
        self._integrated = {name: unconstrained[name] + shift.get(name, 0.0) for name in integrated}
        self.fixed = {name: constrained[name] for name in fixed}
        dims, coords = model.named_vars_to_dims, model.coords
        estimated_names = [free.name for free in self._estimated]
        self.layout = make_layout({n: constrained[n].shape for n in estimated_names}, dims, coords)
        same = {free.name for free in self._estimated if free.transform is None and free.added is None}
        self.unconstrained = make_layout(
            {self._value_name(f): unconstrained[f.name].shape for f in self._estimated},
            {name: dims.get(name) for name in same},
            coords,
        )
        self.initial = np.concatenate([np.zeros(0), *(np.ravel(unconstrained[n]) for n in estimated_names)])
        own = self._forward(self._start({}, fixed), set(fixed)) if initvals else unconstrained
        self.default = np.concatenate([np.zeros(0), *(np.ravel(own[n]) for n in estimated_names)])
        self.transforms = {f.name: f.transform if f.added is None else f.added for f in self._estimated}

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.initial.size

    @cached_property
    def transformed(self) -> np.ndarray:
        """Which entries are on another scale than the user's: those along which the derivative of the map changes.

        The first entry of an ordered vector shifts all of it, and is not.
        """
        with np.errstate(all="ignore"):
            here, there = self.jacobian(self.initial), self.jacobian(self.initial + 1.0)
        changes = ~np.isclose(here, there, rtol=1e-9, atol=0)
        # Of its own variable: a location on which another's bound depends is still a location
        own, inner = self.layout.slices().values(), self.unconstrained.slices().values()
        return np.concatenate(
            [np.zeros(0, dtype=bool), *(changes[o, i].any(axis=0) for o, i in zip(own, inner, strict=True))]
        )

    def replace(self, graphs: Sequence[Variable], also: Mapping[Variable, Variable] | None = None) -> list[Variable]:
        """Graphs of the model's value variables as graphs of `x`, reading copies of the data.

        Parameters
        ----------
        graphs : sequence of Variable
        also : mapping of Variable to Variable, optional
            What else is replaced, by graphs of value variables.
        """
        return _close(graphs, {**self._substitutions, **self._snapshot, **(also or {})})

    def reported(self, name: str) -> Variable:
        """A free variable as it is reported, in terms of the model's variables."""
        rv = self.model[name]
        return rv - self._shifts[name] if name in self._shifts else rv

    def integrated(self) -> list[tuple[Free, np.ndarray]]:
        """The free variables that are integrated, and where their own unconstrained values start."""
        return [(free, self._integrated[free.name]) for free in self._free if free.name in self._integrated]

    # -- set-up ---------------------------------------------------------------------------------------------------

    def _describe(self, rv: Any, fixed: Mapping[str, Any]) -> Free:
        transform = self.model.rvs_to_transforms[rv]
        added = None
        if transform is None and rv.name not in fixed and rv.dtype in pt.type.continuous_dtypes:
            added = _default_transform(rv.owner.op, rv)
        if isinstance(transform, CholeskyCorrTransform):
            transform = Stretched(transform)
        return Free(rv, self.model.rvs_to_values[rv], transform, added, fixed.get(rv.name))

    @staticmethod
    def _value_name(free: Free) -> str:
        own = free.transform if isinstance(free.transform, Stretched) else free.added
        return free.value.name if own is None else f"{free.name}_{own.name}__"

    def _start(self, initvals: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Constrained starting values of every free variable."""
        start = initial_point(self.model)
        start |= {name: np.asarray(value, dtype=start[name].dtype) for name, value in self._starts.items()}
        for given, argument in ((initvals, "initvals"), (fixed, "fix")):
            for name, value in given.items():
                shape = start[name].shape
                try:
                    start[name] = np.broadcast_to(np.asarray(value, dtype=start[name].dtype), shape).copy()
                except (ValueError, TypeError):
                    numeric = np.asarray(value).dtype.kind in "biuf"
                    what = f"has shape {np.shape(value)}, but {name} has shape {shape}" if numeric else "is no number"
                    raise ModelError(f"{argument}[{name!r}] = {value!r} {what}.") from None
        # The model's own values are the graph's
        shift = self._shift_values({free.rv: like(pt.constant(start[free.name]), free.rv) for free in self._free})
        own = [name for name in shift if name not in initvals and name not in fixed]
        return start | {name: np.asarray(start[name] - shift[name]) for name in own}

    def _shift_values(self, values: Mapping[Variable, Variable]) -> dict[str, np.ndarray]:
        """What is added to the reported values to have the graph's."""
        if not self._shifts:
            return {}
        graphs = _close(list(self._shifts.values()), {**self._snapshot, **values})
        return dict(zip(self._shifts, backends.build([], backends.simplify(graphs))(), strict=True))

    def _forward(self, start: Mapping[str, np.ndarray], given: set[str]) -> dict[str, np.ndarray]:
        """The starting values on the scale of the vector; one outside its support is refused."""
        values = {free.rv: pt.as_tensor(start[free.name]) for free in self._free}
        outputs, back = [], []
        for free in self._free:
            transform = free.transform if free.added is None else free.added
            value = like(values[free.rv], free.rv)
            if transform is not None:
                inputs = graph_replace(
                    [i for i in free.rv.owner.inputs if _is_numeric(i)],
                    {rv: like(v, rv) for rv, v in values.items()},
                    strict=False,
                )
                replaced = iter(inputs)
                arguments = [next(replaced) if _is_numeric(i) else i for i in free.rv.owner.inputs]
                value = transform.forward(value, *arguments)
                back.append(transform.backward(value, *arguments) if free.name in given else value)
            else:
                back.append(value)
            outputs.append(backends.as_tensor(value))
        both = graph_replace([*outputs, *map(backends.as_tensor, back)], self._snapshot, strict=False)
        numbers = backends.build([], backends.simplify(both))()
        forward = {}
        count = len(outputs)
        for free, number, returned in zip(self._free, numbers[:count], numbers[count:], strict=True):
            inside = np.isfinite(number) | ((free.fixed is not None) & ~np.isnan(number))
            # A transform of several elements together, of a simplex, say, also takes what is none
            if free.name in given and np.shape(returned) == np.shape(start[free.name]):
                inside = np.all(inside) & np.isclose(returned, start[free.name], rtol=1e-6, atol=1e-8)
            if not np.all(inside):
                argument = "fix" if free.fixed is not None else "initvals"
                origin = f"{argument}[{free.name!r}]" if free.name in given else f"The initial value of {free.name}"
                raise ModelError(
                    f"{origin} = {start[free.name]} is outside the support of {free.name} "
                    f"({_distribution(free.rv)}). Give a value inside it."
                )
            forward[free.name] = number
        return forward

    def _substitute(
        self, unconstrained: Mapping[str, np.ndarray], constrained: Mapping[str, np.ndarray], integrated: set[str]
    ) -> dict[Variable, Variable]:
        """Each value variable as an expression of `x`, or a constant."""
        substitutions: dict[Variable, Variable] = {}
        shifts = dict(zip(self._shifts, self.model.replace_rvs_by_values(list(self._shifts.values())), strict=True))
        self._pieces: dict[str, Variable] = {}
        names = {free.name for free in self._estimated}
        start = 0
        for free in self._free:
            if free.name in integrated:
                continue
            if free.name not in names:
                held = pt.constant(unconstrained[free.name])
                parents = set(self.model.free_RVs).intersection(ancestors(free.rv.owner.inputs))
                if free.transform is not None and parents:
                    # Bounds that are estimated: the value is held, wherever it lies between them
                    value = like(pt.constant(constrained[free.name]), free.rv)
                    held = free.transform.forward(value, *self.transform_inputs(free))
                if free.name in shifts:
                    held = held + shifts[free.name]
                substitutions[free.value] = like(on_own_scale(free.transform, held), free.value)
                continue
            shape = unconstrained[free.name].shape
            size = int(np.prod(shape, dtype=int))
            piece = self.x[start : start + size].reshape(shape)
            self._pieces[free.name] = piece
            if free.added is not None:
                piece = free.added.backward(piece, *self.transform_inputs(free))
            if free.name in shifts:
                piece = piece + shifts[free.name]
            substitutions[free.value] = like(on_own_scale(free.transform, piece), free.value)
            start += size
        return substitutions

    def transform_inputs(self, free: Free) -> list[Variable]:
        """What a transform reads its bounds from, in terms of value variables."""
        replaced = iter(self.model.replace_rvs_by_values([i for i in free.rv.owner.inputs if _is_numeric(i)]))
        return [next(replaced) if _is_numeric(i) else i for i in free.rv.owner.inputs]

    @cached_property
    def unconstrained_graph(self) -> tuple[Variable, Variable]:
        """`unconstrained_at` as a graph, and the vector of constrained values that it is a graph of."""
        values = pt.vector("values", dtype="float64")
        pieces, replaced = self.layout.slices(), dict(self._snapshot)
        for free in self._free:
            given = pt.constant(self.fixed[free.name]) if free.name in self.fixed else None
            if free.name in pieces:
                given = values[pieces[free.name]].reshape(self.layout[free.name].shape)
            if given is not None:
                replaced[free.rv] = like(given, free.rv)
        parts: list[Variable] = [pt.zeros((0,))]
        with backends.without_c_compiler():
            for free in self._estimated:
                transform, part = self.transforms[free.name], replaced[free.rv]
                part = part if transform is None else transform.forward(part, *free.rv.owner.inputs)
                parts.append(backends.as_tensor(part).ravel())
            graph = graph_replace([pt.concatenate(parts)], replaced, strict=False)
            return values, backends.simplify(graph)[0]

    @cached_property
    def _unconstrain(self) -> Any:
        values, graph = self.unconstrained_graph
        return backends.build([values], [graph])

    # -- constrained values ---------------------------------------------------------------------------------------

    def _flat(self, variables: Sequence[Variable]) -> Variable:
        return self._concatenated(self.replace(self.model.replace_rvs_by_values(variables)))

    def _concatenated(self, graphs: Sequence[Variable]) -> Variable:
        parts = [pt.cast(backends.as_tensor(g), "float64").ravel() for g in graphs]
        flat = pt.concatenate([pt.zeros((0,)), *parts])
        return backends.simplify([flat])[0]

    @property
    def _deterministics(self) -> list[Any]:
        """Those that do not depend on what is neither estimated nor held."""
        known = {free.name for free in self._estimated} | set(self.fixed)
        latent = {free.rv for free in self._free if free.name not in known}
        return [variable for variable in self.model.deterministics if not latent.intersection(ancestors([variable]))]

    @cached_property
    def constrained_graph(self) -> Variable:
        """`constrained` as a graph of `x`."""
        own = self.unconstrained.slices()
        with backends.without_c_compiler():
            graphs = self.replace(self.model.replace_rvs_by_values([free.rv for free in self._estimated]))
            return self._concatenated(
                [
                    self.x[own[self._value_name(free)]] if free.name in self._shifts else graph
                    for free, graph in zip(self._estimated, graphs, strict=True)
                ]
            )

    @cached_property
    def log_jacobian_graph(self) -> Variable:
        """The log of the determinant of ∂(constrained)/∂x, in the sense of each transform, as a graph of `x`."""
        total = pt.constant(0.0)
        with backends.without_c_compiler():
            for free in self._estimated:
                transform = self.transforms[free.name]
                if transform is None:
                    continue
                term = transform.log_jac_det(self._pieces[free.name], *self.transform_inputs(free))
                total = total + backends.as_tensor(term).sum()
            return backends.simplify(self.replace([total]))[0]

    @cached_property
    def derived_graph(self) -> Variable:
        """`derived` as a graph of `x`."""
        with backends.without_c_compiler():
            return self._flat(self._deterministics)

    @cached_property
    def _constrained_function(self) -> Any:
        return backends.build([self.x], [self.constrained_graph])

    @cached_property
    def _derived_function(self) -> Any:
        return backends.build([self.x], [self.derived_graph])

    @cached_property
    def _jacobian(self) -> Jacobian:
        return Jacobian(self.constrained_graph, self.x)

    @cached_property
    def _derived_jacobian(self) -> Jacobian:
        return Jacobian(self.derived_graph, self.x)

    @cached_property
    def derived_layout(self) -> Layout:
        """Labels of the model's `Deterministic`s."""
        variables = self._deterministics
        with backends.without_c_compiler():
            graphs = self.replace(self.model.replace_rvs_by_values(variables))
            shapes = backends.build([self.x], backends.simplify([backends.as_tensor(g).shape for g in graphs]))(
                self.initial
            )
        by_name = {v.name: tuple(int(n) for n in s) for v, s in zip(variables, shapes, strict=True)}
        return make_layout(by_name, self.model.named_vars_to_dims, self.model.coords)

    @cached_property
    def derived_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Between which values the `Deterministic`s lie, in the order of `derived_layout`.

        As their graphs show; of what PyMC derives from a Cholesky factor, by its nature.
        """
        with backends.without_c_compiler():
            pair = graph_bounds([self.derived_graph], self.x)[0]
            lower, upper = backends.build([self.x], [pt.as_tensor(end) for end in pair])(self.initial)
        owners = np.array(self.derived_layout.owners())
        for name, transform in self.transforms.items():
            if getattr(transform, "name", None) == "cholesky-cov-packed":
                lower[owners == f"{name}_stds"] = 0.0
                lower[owners == f"{name}_corr"], upper[owners == f"{name}_corr"] = -1.0, 1.0
        return lower, upper

    def declared_bounds(self, name: str) -> list[float]:
        """Constant bounds of a variable's prior, such as those of a `Uniform`; only finite ones."""
        transform, rv = self.transforms[name], self.model[name]
        if getattr(transform, "name", None) in ("log", "log_exp_m1"):
            return [0.0]
        if not isinstance(transform, Interval):
            return []
        bounds = [backends.as_tensor(b) for b in transform.args_fn(*rv.owner.inputs) if b is not None]
        constant = [b for b in bounds if not any(v in self.model.basic_RVs for v in ancestors([b]))]
        with backends.without_c_compiler():
            values = backends.build([], backends.simplify(constant))()
        return [float(v) for value in values for v in np.unique(value) if np.isfinite(v)]

    @cached_property
    def priors(self) -> dict[str, str]:
        """The names of the variables' priors, as the user wrote them."""
        return {name: _distribution(self.model[name]) for name in self.layout.names}

    @cached_property
    def potentials(self) -> list[str]:
        """The names of the model's potentials."""
        return [potential.name for potential in self.model.potentials]

    def forward(self, name: str, value: Any, x: np.ndarray) -> np.ndarray:
        """A variable's constrained value on the scale of the vector: infinite on the edge of its support, NaN outside.

        Parameters
        ----------
        name : str
            Of an estimated variable.
        value : array_like
            In the shape of the variable.
        x : ndarray, shape (size,)
            The point at which bounds that depend on other variables are taken.
        """
        own, inner = self.layout.slices()[name], self.unconstrained.slices()
        values = self.constrained(x)
        values[own] = np.ravel(value)
        entry = next(there for here, there in zip(self.layout, self.unconstrained, strict=True) if here.name == name)
        return self.unconstrained_at(values)[inner[entry.name]].reshape(entry.shape)

    def constrained(self, x: np.ndarray) -> np.ndarray:
        """Constrained values of the estimated variables, flat in the order of `layout`."""
        return self._constrained_function(x)[0]

    def unconstrained_at(self, values: np.ndarray) -> np.ndarray:
        """The vector at which `constrained` has these values; not finite where they are outside the support."""
        return self._unconstrain(values)[0]

    def derived(self, x: np.ndarray) -> np.ndarray:
        """Values of the `Deterministic`s, flat in the order of `derived_layout`."""
        return self._derived_function(x)[0]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """∂(constrained)/∂x, shape (layout.size, size)."""
        return self._jacobian(x)

    def derived_jacobian(self, x: np.ndarray) -> np.ndarray:
        """∂(derived)/∂x, shape (derived_layout.size, size)."""
        return self._derived_jacobian(x)

    def without_model(self) -> Parameters:
        """The same map from graphs alone, which pickle where a model does not."""
        return _Portable(self)


class _Transform(NamedTuple):
    """What is asked of a transform once the graphs are made."""

    name: str
    ndim_supp: int


class _Portable(Parameters):
    """`Parameters` that hold no model."""

    def __init__(self, whole: Parameters) -> None:
        self.x, self.fixed = whole.x, whole.fixed
        self.initial, self.default = whole.initial, whole.default
        self.layout, self.unconstrained = whole.layout, whole.unconstrained
        self.constrained_graph, self.derived_graph = whole.constrained_graph, whole.derived_graph
        self.derived_layout = whole.derived_layout
        self.transforms = {
            name: None if t is None else _Transform(t.name, getattr(t, "ndim_supp", 0))
            for name, t in whole.transforms.items()
        }
        self.unconstrained_graph = whole.unconstrained_graph
        self.priors, self.potentials = whole.priors, whole.potentials
        self._bounds = {name: whole.declared_bounds(name) for name in whole.layout.names}

    def __getstate__(self) -> dict[str, Any]:
        """Without the functions, which are built again where they are needed."""
        functions = ("_constrained_function", "_derived_function", "_jacobian", "_derived_jacobian", "_unconstrain")
        return {name: value for name, value in self.__dict__.items() if name not in functions}

    def declared_bounds(self, name: str) -> list[float]:
        """As they were when the model was at hand."""
        return self._bounds[name]


_SHAPES = ("ShapeOpt", "inline_ofg_expansion", "canonicalize", "specialize")


def initial_point(model: pm.Model) -> dict[str, np.ndarray]:
    """The model's own initial point, on the constrained scale, without PyMC's compilation where nothing is drawn."""
    expressions = make_initial_point_expression(
        free_rvs=model.free_RVs,
        rvs_to_transforms=model.rvs_to_transforms,
        initval_strategies=model.rvs_to_initial_values,
    )
    if find_rng_nodes(expressions):
        # Of a process, for instance, that is only asked for its shape
        with backends.without_c_compiler():
            expressions = rewrite_graph(list(expressions), include=_SHAPES)
    if find_rng_nodes(expressions):
        return {name: np.asarray(v) for name, v in model._make_initial_point(return_transformed=False)(0).items()}
    values = backends.build([], [backends.as_tensor(e) for e in expressions])()
    return {rv.name: value for rv, value in zip(model.free_RVs, values, strict=True)}


def _shift(model: pm.Model, name: str, means: Mapping[str, np.ndarray]) -> Variable:
    """The sum of means times variables, in the shape of `name`: theirs, or theirs without the first axis."""
    axes, total = model[name].ndim, pt.zeros(())
    for other, mean in means.items():
        value = backends.as_tensor(model[other])
        value = value if value.ndim > axes else value[None]
        total = total + (np.reshape(mean, (-1, *[1] * axes)) * value).sum(axis=0)
    return total


def _is_numeric(variable: Variable) -> bool:
    """Not a random generator, a size, or another input without a number type."""
    return hasattr(variable, "dtype")


def _distribution(rv: Any) -> str:
    """The distribution's name as a user wrote it."""
    name = getattr(rv.owner.op, "_print_name", None)
    return name[0] if name else type(rv.owner.op).__name__.removesuffix("RV")


def check_names(model: pm.Model, given: Any, argument: str) -> None:
    """Refuse names that are not free variables of the model."""
    free = [rv.name for rv in model.free_RVs]
    unknown = [str(name) for name in given if name not in free]
    if unknown:
        close = [match for name in unknown for match in get_close_matches(name, free, n=1)]
        raise ModelError(
            f"{argument}: {', '.join(unknown)} not among the model's free variables ({', '.join(free) or 'none'})."
            + (f" Did you mean {', '.join(dict.fromkeys(close))}?" if close else "")
        )
