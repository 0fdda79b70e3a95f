"""The log-likelihood of a model as a function of one flat vector: value, gradient, Hessian, terms by row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pymc.logprob.basic import transformed_conditional_logp
from pymc.logprob.rewriting import logprob_rewrites_basic_query, logprob_rewrites_db
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter, SequentialGraphRewriter
from pytensor.graph.traversal import ancestors
from pytensor.tensor.type import discrete_dtypes
from pytensor.xtensor.type import XTensorType, xtensor_shared

from mle_pp import backends
from mle_pp.densities import guarded, precise
from mle_pp.derivatives import Jacobian, Smooth, tangent
from mle_pp.errors import ModelError
from mle_pp.fisher import LOCATIONS, FisherInformation, families_missing
from mle_pp.parameters import Parameters
from mle_pp.roles import RoleKind, Roles
from mle_pp.rows import Rows, check_weights, make_rows


class Objective(Protocol):
    """What the optimizers, the diagnosis and all inference see: a function to be maximized over flat vectors.

    All arrays are float64; `x` has shape (size,). Outside the support the value is -inf or NaN, never an exception.
    """

    @property
    def size(self) -> int:
        """Length of the vectors."""

    @property
    def units(self) -> np.ndarray:
        """Natural unit of each coordinate; zero where none is known."""

    @property
    def has_information(self) -> bool:
        """Whether `information` can be asked for."""

    @property
    def is_costly(self) -> bool:
        """Whether a Hessian costs several gradients."""

    @property
    def default_starts(self) -> int:
        """How many starts are worth their time where nothing else is known."""

    def value(self, x: np.ndarray) -> float:
        """The function at `x`."""

    def value_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The function and its gradient."""

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """The matrix of second derivatives."""

    def derivatives(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian."""

    def product(self, x: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector."""

    def residuals(self, x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each location-scale variable: observation minus location, and the derivative of the location."""

    def information(self, x: np.ndarray) -> np.ndarray:
        """The expected information, on the scale of the negative Hessian."""

    def impossible(self, x: np.ndarray) -> int:
        """How many observations, but not all, have density zero: `x` is outside the support of these data."""


class Costly(Objective, Protocol):
    """An objective of which a Hessian costs several gradients."""

    @property
    def is_quadratic(self) -> bool:
        """Whether it is so in coefficients, as for normal data."""

    def expect(self, x: np.ndarray, hessian: np.ndarray) -> None:
        """Prepare for a Hessian at `x`, which is roughly known."""


class ModelObjective:
    """The log-likelihood of a PyMC model, plus the kept priors of penalized variables.

    Parameters
    ----------
    model : pm.Model
    roles : Roles
    fixed, initvals : mapping of str to array
        Constrained values.
    backend : {"auto", "interpreted", "jax", "numba"}

    Attributes
    ----------
    parameters : Parameters
        The map between vectors and the model's variables.
    backend : str
        The backend in use.
    data : dict of str to array
        The observed variables' values and those of the `pm.Data` containers, as they were at the time of the fit.
    snapshot : dict of Variable to Variable
        The copies of the model's data that the functions read.
    axes : Rows
        The rows of the terms, which scores and weights belong to.
    weights : ndarray or None
        One weight a row, in the order of `axes`.
    """

    weights: np.ndarray | None = None
    is_costly = False
    is_marginal = False
    default_starts = 3
    quadrature_points = 1

    def __init__(
        self,
        model: pm.Model,
        roles: Roles,
        fixed: Mapping[str, Any] | None = None,
        initvals: Mapping[str, Any] | None = None,
        backend: str = "auto",
    ) -> None:
        self.model = model
        self.roles = roles
        estimated = roles.names(RoleKind.PARAMETER, RoleKind.PENALIZED)
        likelihood = [*model.observed_RVs, *(model.potentials if roles.potentials == "likelihood" else ())]
        penalized = [model[name] for name in roles.names(RoleKind.PENALIZED)]
        with backends.without_c_compiler():
            terms, priors = likelihood_terms(model, likelihood), log_densities(model, penalized)
            self.snapshot = copies([*terms, *priors, *model.basic_RVs, *model.deterministics])
            self.parameters = Parameters(model, estimated, fixed, initvals, self.snapshot, formula=roles.formula)
            graphs = evaluable(self.parameters.replace([*terms, *priors]))
        self.data = {**observed_data(model), **constant_data(model)}
        self.names = [variable.name for variable in likelihood]
        self._pointwise = backends.build([self.parameters.x], graphs[: len(terms)])
        shapes = self._check_start()
        self.axes = rows_of(model, likelihood, shapes)
        sizes = [np.prod(shape, dtype=int) for shape in (*shapes, *map(np.shape, observed_data(model).values()))]
        self.backend = backends.resolve(backend, work=float(sum(sizes[len(shapes) :])) * (1 + self.size))
        self._functions = Functions(
            model,
            self.parameters,
            dict(zip(self.names, graphs[: len(terms)], strict=True)),
            graphs[len(terms) :],
            self.axes,
            self.backend,
            int(max(sizes)),
        )

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.parameters.size

    @cached_property
    def units(self) -> np.ndarray:
        """A third of a log-unit for transformed variables; zero, for unknown, otherwise."""
        return np.where(self.parameters.transformed, 1 / 3, 0.0)

    @cached_property
    def is_bounded(self) -> bool:
        """Whether the likelihood is a product of probabilities, which no parameter values make larger than one."""
        discrete = all(rv.dtype in discrete_dtypes for rv in self.model.observed_RVs)
        return discrete and self.roles.potentials != "likelihood"

    @cached_property
    def without_information(self) -> list[str]:
        """Observed variables whose family has no expected information in closed form."""
        return families_missing(self.model)

    @cached_property
    def has_information(self) -> bool:
        """Whether the expected information has a closed form here."""
        plain = not self.roles.names(RoleKind.PENALIZED) and self.roles.potentials != "likelihood"
        return plain and self._is_simple

    @property
    def rows(self) -> float:
        """Rows of data, or the sum of their weights; a whole number as int."""
        total = self.axes.size if self.weights is None else float(self.weights.sum())
        total += sum(self.axes.blocks.values())
        return int(total) if float(total).is_integer() else total

    @property
    def case_weights(self) -> np.ndarray | None:
        """One weight a row of the data, where there are any."""
        return self.weights

    def replace(self, graphs: Sequence[Variable]) -> list[Variable]:
        """Graphs of the model's value variables as graphs of the vector, and of that of integrated variables."""
        return self.parameters.replace(graphs)

    def depends_on_integrated(self, graph: Variable) -> bool:
        """Whether a graph is one of integrated variables: there are none."""
        return False

    def refresh(self) -> None:
        """Nothing is kept that the data went into."""

    # -- rows and weights -----------------------------------------------------------------------------------------

    def weighted(self, weights: np.ndarray) -> ModelObjective:
        """The same log-likelihood with each row's terms multiplied by a weight; kept priors are not weighted.

        The result shares all compiled functions with this objective, so that thousands of weightings cost no more than
        their evaluations. A row of weight zero is left out, also where its density is zero.

        Parameters
        ----------
        weights : ndarray, shape (axes.size,)
            In the order of `axes`; whatever weights this objective has are replaced.

        Raises
        ------
        ModelError
            A term has no rows; or the weights are negative, not finite, all zero or not as many as the rows.
        """
        self.axes.require("weights=")
        found = check_weights(weights)
        if found.shape != (self.axes.size,):
            raise ModelError(f"weights have shape {found.shape}, but the data have {self.axes.size} rows.")
        other = copy.copy(self)
        other.weights = found
        # What was computed with the old weights
        other.__dict__.pop("_row_weights", None)
        return other

    @cached_property
    def _row_weights(self) -> dict[str, np.ndarray]:
        """The weights by variable, in the shape of its rows."""
        if self.weights is None:
            return {}
        slices = self.axes.slices()
        return {name: self.weights[slices[k]] for k, axis in enumerate(self.axes.axes) for name in axis.variables}

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Gradient of each row's log-likelihood at `x`, without its weight; shape (axes.size, size).

        By forward-mode automatic differentiation. Variables that share their rows add up.

        Raises
        ------
        ModelError
            A term has no rows.
        """
        self.axes.require("A score of each row")
        return self._functions.scores(x)

    def row_hessians(self, x: np.ndarray) -> np.ndarray:
        """Second derivatives of each row's log-likelihood at `x`, without its weight; shape (axes.size, size, size).

        Raises
        ------
        ModelError
            A term has no rows.
        """
        self.axes.require("The second derivatives of each row")
        directions = np.eye(self.size)
        return np.stack([self._functions.slopes_along(x, direction) for direction in directions], axis=1)

    def row_values(self, x: np.ndarray) -> np.ndarray:
        """Log-likelihood of each row at `x`, without its weight; shape (axes.size,)."""
        self.axes.require("A log-likelihood of each row")
        return self._functions.row_values(x)[0]

    @property
    def _smooth(self) -> Smooth:
        return self._functions.plain if self.weights is None else self._functions.weighted

    @property
    def _inputs(self) -> tuple[np.ndarray, ...]:
        return () if self.weights is None else (self.weights,)

    # -- the protocol ---------------------------------------------------------------------------------------------

    def value(self, x: np.ndarray) -> float:
        """The maximized function at `x`: log-likelihood plus kept priors."""
        return self._smooth.value(x, *self._inputs)

    def value_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at `x`."""
        return self._smooth.value_gradient(x, *self._inputs)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """The symmetric matrix of second derivatives at `x`, shape (size, size)."""
        return self._smooth.hessian(x, *self._inputs)

    def derivatives(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian at `x`."""
        return self._smooth.derivatives(x, *self._inputs)

    def product(self, x: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector at `x`."""
        return self._smooth.hessian.product(x, vector, *self._inputs)

    def information(self, x: np.ndarray) -> np.ndarray:
        """The expected information at `x`, shape (size, size)."""
        return self._functions.fisher(x, self._row_weights)

    def residuals(self, x: np.ndarray, family: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Residuals of each location-scale variable, and the derivative of its location, a row an observation.

        Rows of weight zero are left out.
        """
        has_location = any(type(rv.owner.op).__name__ in LOCATIONS for rv in self.model.observed_RVs)
        if not (has_location and self._is_simple):
            return iter(())
        return self._functions.fisher.residuals(x, family, self._row_weights)

    @cached_property
    def _is_simple(self) -> bool:
        return not families_missing(self.model)

    @property
    def hessian_method(self) -> str:
        """How the Hessian is computed."""
        return self._smooth.hessian.method

    # -- beyond it ------------------------------------------------------------------------------------------------

    def loglik(self, x: np.ndarray) -> float:
        """The log-likelihood alone, without any prior."""
        if self.weights is None:
            return float(sum(np.sum(term) for term in self._pointwise(x)))
        used = self.weights > 0
        return float(self.weights[used] @ self.row_values(x)[used])

    def pointwise(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Log-likelihood terms by observed variable, without weights.

        Axis 0 is the row axis, a term without axes is one block.
        """
        return dict(zip(self.names, self._pointwise(x), strict=True))

    def impossible(self, x: np.ndarray) -> int:
        """How many observations, but not all of their variable, have density zero at `x`."""
        marks = [np.isneginf(term) for term in self._pointwise(x)]
        return sum(int(mark.sum()) for mark in marks if not mark.all())

    def touched(self, x: np.ndarray, name: str) -> int:
        """The largest number of observations that one element of a parameter acts on."""
        inner = dict(zip(self.parameters.layout.names, self.parameters.unconstrained.slices().values(), strict=True))
        here, most = self._pointwise(x), 0
        for k in range(*inner[name].indices(x.size)):
            moved = x.copy()
            moved[k] += 1e-3 * max(1.0, abs(x[k]))
            most = max(most, sum(int(np.sum(a != b)) for a, b in zip(here, self._pointwise(moved), strict=True)))
        return most

    def _check_start(self) -> list[tuple[int, ...]]:
        """Shapes of the terms; evaluated once, so that data that disagree are told in the user's names."""
        try:
            return [np.shape(term) for term in self._pointwise(self.parameters.initial)]
        except Exception as error:
            names = ", ".join(self.names)
            shapes = ", ".join(
                f"{name} {np.shape(value)}"
                for name, value in {**observed_data(self.model), **constant_data(self.model)}.items()
            )
            raise ModelError(
                f"The log-likelihood of {names} cannot be evaluated: {str(error).splitlines()[0]} "
                f"Shapes of the data: {shapes}. Check that they agree."
            ) from error

    def check_possible(self) -> None:
        """Refuse observations whose density is never finite or always zero: -1 under a Poisson distribution."""
        start, rng = self.parameters.initial, np.random.default_rng(0)
        impossible = [np.full(term.shape, term.ndim > 0) for term in self._pointwise(start)]
        scale = np.maximum(1.0, np.abs(start))
        for width in np.repeat([0.3, 3.0, 30.0], 10):
            terms = self._pointwise(start + width * scale * rng.normal(size=start.size))
            impossible = [marks & ~np.isfinite(term) for marks, term in zip(impossible, terms, strict=True)]
        for name, marks in zip(self.names, impossible, strict=True):
            if marks.size > 1 and np.all(marks):
                raise ModelError(
                    f"The likelihood of {name} is zero or undefined for all of its observations, whatever the "
                    f"parameters: a mean, scale or probability of its distribution is invalid. Check what it is "
                    f"computed from ({', '.join(constant_data(self.model)) or 'the covariates'})."
                )
            if np.any(marks):
                raise ModelError(self._impossible(name, np.argwhere(marks)))

    def _impossible(self, name: str, places: np.ndarray) -> str:
        rows = np.unique(places[:, 0])
        values = self.data.get(name)
        what = ""
        if values is not None and values.ndim == places.shape[1]:
            what = f" ({', '.join(f'{values[tuple(place)]:g}' for place in places[:5])})"
        where = f"row {rows[0]}" if rows.size == 1 else f"rows {', '.join(map(str, rows[:5]))}"
        more = f" and {rows.size - 5} more" if rows.size > 5 else ""
        return (
            f"{name} has a value{what} in {where}{more} (counted from 0) that its distribution does not allow, "
            f"whatever the parameters. Correct or remove it, or choose another distribution for {name}."
        )


class Functions:
    """The functions of a log-likelihood, shared by all weightings of it; each is built when it is needed."""

    def __init__(
        self,
        model: pm.Model,
        parameters: Parameters,
        terms: Mapping[str, Variable],
        priors: Sequence[Variable],
        rows: Rows,
        backend: str,
        largest: int,
    ) -> None:
        self._model, self._parameters = model, parameters
        self._terms, self._priors, self._rows = terms, priors, rows
        self._backend, self._largest = backend, largest

    @cached_property
    def plain(self) -> Smooth:
        """Every row counted once."""
        cost = _total([*self._terms.values(), *self._priors])
        return Smooth(cost, self._parameters.x, self._backend, self._largest)

    @cached_property
    def weighted(self) -> Smooth:
        """Each row times its weight, an input."""
        weights = pt.vector("weights", dtype="float64")
        total = _total(self._priors)
        for part, where in zip(self._row_graphs, self._rows.slices(), strict=True):
            # Not zero times -inf, which is NaN
            total = total + pt.sum(weights[where] * pt.switch(weights[where] > 0, part, 0.0))
        return Smooth(total, self._parameters.x, self._backend, self._largest, [weights])

    @cached_property
    def _row_graphs(self) -> list[Variable]:
        """For each set of rows, the log-likelihood of each row."""
        graphs = []
        for axis in self._rows.axes:
            terms = [self._terms[name] for name in axis.variables]
            summed = [term.sum(axis=tuple(range(1, term.ndim))) if term.ndim > 1 else term.ravel() for term in terms]
            graphs.append(sum(summed[1:], start=summed[0]))
        return graphs

    @cached_property
    def row_values(self) -> Callable[..., list[np.ndarray]]:
        """Log-likelihood of each row."""
        return backends.build([self._parameters.x], [self._row_graph])

    @cached_property
    def scores(self) -> Jacobian:
        """Gradient of each row's log-likelihood."""
        return Jacobian(self._row_graph, self._parameters.x)

    @cached_property
    def slopes_along(self) -> Jacobian:
        """Gradient of each row's derivative along a direction."""
        direction = pt.vector("direction", dtype="float64")
        with backends.without_c_compiler():
            along = tangent(self._row_graph, self._parameters.x, direction)
        return Jacobian(along, self._parameters.x, [direction])

    @cached_property
    def _row_graph(self) -> Variable:
        return pt.concatenate([pt.zeros((0,)), *self._row_graphs])

    @cached_property
    def fisher(self) -> FisherInformation:
        """The expected information."""
        return FisherInformation(self._model, self._parameters)


def _total(terms: Sequence[Variable]) -> Variable:
    total = pt.constant(0.0)
    for term in terms:
        total = total + term.sum()
    return total


def copies(graphs: Sequence[Variable]) -> dict[Variable, Variable]:
    """Copies of all data in the graphs, so that a later `pm.set_data` cannot reach into a finished estimate."""
    copies: dict[Variable, Variable] = {}
    for variable in ancestors(graphs):
        if not isinstance(variable, SharedVariable) or not hasattr(variable, "dtype"):
            continue
        copies[variable] = shared_copy(variable.type, np.array(variable.get_value()), variable.name)
    return copies


def shared_copy(like: Any, value: np.ndarray, name: str | None) -> SharedVariable:
    """A shared variable of the type `like` that holds `value`."""
    value = np.asarray(value, dtype=like.dtype)
    if isinstance(like, XTensorType):
        copy = xtensor_shared(value, dims=like.dims, shape=like.shape)
    else:
        copy = pytensor.shared(value, shape=like.shape)
    copy.name = name
    return copy


class _InDouble(GraphRewriter):
    """Before PyMC derives densities, and folds constants on the way: every number in double precision."""

    def add_requirements(self, fgraph: FunctionGraph) -> None:
        """None."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Replace the graph's outputs."""
        fgraph.replace_all(list(zip(fgraph.outputs, backends.in_double(fgraph.outputs), strict=True)))


def log_densities(model: pm.Model, variables: Sequence[Variable], jacobian: bool = False) -> list[Variable]:
    """`model.logp(variables, sum=False, jacobian=jacobian)`, without single precision on the way."""
    if not variables:
        return []
    rvs = [variable for variable in variables if variable in model.basic_RVs]
    rewriter = SequentialGraphRewriter(_InDouble(), logprob_rewrites_db.query(logprob_rewrites_basic_query))
    densities = transformed_conditional_logp(
        rvs,
        rvs_to_values=model.rvs_to_values,
        rvs_to_transforms=model.rvs_to_transforms,
        jacobian=jacobian,
        ir_rewriter=rewriter,
    )
    potentials = [variable for variable in variables if variable not in model.basic_RVs]
    terms = dict(zip([*rvs, *potentials], [*densities, *model.replace_rvs_by_values(potentials)], strict=True))
    return [terms[variable] for variable in variables]


def likelihood_terms(model: pm.Model, likelihood: Sequence[Variable]) -> list[Variable]:
    """The log-densities of observed variables and potentials, in forms that keep their precision."""
    terms = log_densities(model, likelihood)
    return [precise(model, rv, term) for rv, term in zip(likelihood, terms, strict=True)]


def evaluable(graphs: Sequence[Variable]) -> list[Variable]:
    """Log-densities of the vector in the form in which they are evaluated and differentiated."""
    return guarded(backends.simplify([backends.as_tensor(graph) for graph in graphs]))


def observed_data(model: pm.Model) -> dict[str, np.ndarray]:
    """The observed variables' values."""
    values = [backends.as_tensor(model.rvs_to_values[rv]) for rv in model.observed_RVs]
    with backends.without_c_compiler():
        arrays = backends.build([], values)()
    return {rv.name: array for rv, array in zip(model.observed_RVs, arrays, strict=True)}


def constant_data(model: pm.Model) -> dict[str, np.ndarray]:
    """The values of the model's `pm.Data` containers."""
    return {variable.name: np.array(variable.get_value()) for variable in model.data_vars}


# Distributions of which one vector is one observation, however many categories it has.
_VECTORS = ("MultinomialRV", "DirichletMultinomialRV", "DirichletRV")


def rows_of(model: pm.Model, likelihood: Sequence[Variable], shapes: Sequence[tuple[int, ...]]) -> Rows:
    """The rows of the likelihood's terms.

    Axis 0 of a term is its row axis, and a scalar observation is a row. A term without axes is a block otherwise: one
    vector of counts is one observation; a series, one realization of a process, and elements whose log-densities
    somebody has summed are as many as they are long.
    """
    data = observed_data(model)
    with_rows: dict[str, tuple[int, ...]] = {}
    blocks: dict[str, int] = {}
    for variable, shape in zip(likelihood, shapes, strict=True):
        values = data.get(variable.name)
        if shape or (values is not None and values.ndim == 0):
            with_rows[variable.name] = shape or (1,)
        else:
            blocks[variable.name] = _observations(variable, values)
    return make_rows(with_rows, model.named_vars_to_dims, model.coords, blocks)


def _observations(variable: Variable, values: np.ndarray | None) -> int:
    """How many observations a term without rows counts for."""
    if values is None:
        return 0
    return 1 if type(variable.owner.op).__name__ in _VECTORS else len(values)
