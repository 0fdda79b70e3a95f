"""The log-likelihood of a model as a function of one flat vector: value, gradient, Hessian, terms by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pymc as pm
import pytensor
from pymc.logprob.basic import transformed_conditional_logp
from pymc.logprob.rewriting import logprob_rewrites_basic_query, logprob_rewrites_db
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter, SequentialGraphRewriter
from pytensor.graph.traversal import ancestors
from pytensor.xtensor.type import XTensorType, xtensor_shared

from mle_pp import backends
from mle_pp.densities import precise
from mle_pp.derivatives import Hessian, gradient
from mle_pp.errors import ModelError
from mle_pp.fisher import LOCATIONS, FisherInformation, families_missing
from mle_pp.parameters import Parameters
from mle_pp.roles import RoleKind, Roles


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
    """

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
            terms, priors = log_densities(model, likelihood), log_densities(model, penalized)
            terms = [precise(model, rv, term) for rv, term in zip(likelihood, terms, strict=True)]
            self.snapshot = _copies([*terms, *priors, *model.basic_RVs, *model.deterministics])
            self.parameters = Parameters(model, estimated, fixed, initvals, self.snapshot)
            graphs = backends.simplify(
                [backends.as_tensor(graph) for graph in self.parameters.replace([*terms, *priors])]
            )
        self.data = {**observed_data(model), **constant_data(model)}
        self.names = [variable.name for variable in likelihood]
        self._terms, self._priors = graphs[: len(terms)], graphs[len(terms) :]
        self.rows = _rows(model)
        self.backend = backends.resolve(backend, work=float(sum(self._term_sizes)) * (1 + self.size))
        self._check_start()

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.parameters.size

    @cached_property
    def units(self) -> np.ndarray:
        """A third of a log-unit for transformed variables; zero, for unknown, otherwise."""
        return np.where(self.parameters.transformed, 1 / 3, 0.0)

    @cached_property
    def without_information(self) -> list[str]:
        """Observed variables whose family has no expected information in closed form."""
        return families_missing(self.model)

    @cached_property
    def has_information(self) -> bool:
        """Whether the expected information has a closed form here."""
        plain = not self.roles.names(RoleKind.PENALIZED) and self.roles.potentials != "likelihood"
        return plain and self._is_simple

    # -- graphs and functions -------------------------------------------------------------------------------------

    @cached_property
    def _pointwise(self) -> Any:
        return backends.build([self.parameters.x], self._terms)

    @cached_property
    def _cost(self) -> Variable:
        return _total([*self._terms, *self._priors])

    @cached_property
    def _value(self) -> Any:
        return backends.build([self.parameters.x], [self._cost], self.backend)

    @cached_property
    def _value_gradient(self) -> Any:
        with backends.without_c_compiler():
            slope = gradient(self._cost, self.parameters.x)
        return backends.build([self.parameters.x], [self._cost, slope], self.backend)

    @cached_property
    def _hessian(self) -> Hessian:
        with backends.without_c_compiler():
            return Hessian(
                self._cost,
                self.parameters.x,
                lambda x: self.value_gradient(x)[1],
                self.backend,
                max(self._term_sizes, default=1),
            )

    @cached_property
    def _term_sizes(self) -> list[int]:
        return [int(np.prod(shape, dtype=int)) for shape in self._data_shapes]

    @cached_property
    def _data_shapes(self) -> list[tuple[int, ...]]:
        return [np.shape(value) for value in observed_data(self.model).values()] or [()]

    # -- the protocol ---------------------------------------------------------------------------------------------

    def value(self, x: np.ndarray) -> float:
        """The maximized function at `x`: log-likelihood plus kept priors."""
        return _scalar(self._value(x)[0])

    def value_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at `x`."""
        value, slope = self._value_gradient(x)
        return _scalar(value), slope

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """The symmetric matrix of second derivatives at `x`, shape (size, size)."""
        return self._hessian(x)

    def derivatives(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian at `x`."""
        together = self._hessian.with_gradient(x)
        if together is None:
            return *self.value_gradient(x), self.hessian(x)
        value, slope, matrix = together
        return _scalar(value), slope, matrix

    def product(self, x: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector at `x`."""
        return self._hessian.product(x, vector)

    def information(self, x: np.ndarray) -> np.ndarray:
        """The expected information at `x`, shape (size, size)."""
        return self._fisher(x)

    @cached_property
    def _fisher(self) -> FisherInformation:
        return FisherInformation(self.model, self.parameters)

    def residuals(self, x: np.ndarray, family: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Residuals of each location-scale variable, and the derivative of its location, a row an observation."""
        has_location = any(type(rv.owner.op).__name__ in LOCATIONS for rv in self.model.observed_RVs)
        return self._fisher.residuals(x, family) if has_location and self._is_simple else iter(())

    @cached_property
    def _is_simple(self) -> bool:
        return not families_missing(self.model)

    @property
    def hessian_method(self) -> str:
        """How the Hessian is computed."""
        return self._hessian.method

    # -- beyond it ------------------------------------------------------------------------------------------------

    def loglik(self, x: np.ndarray) -> float:
        """The log-likelihood alone, without any prior."""
        return float(sum(np.sum(term) for term in self._pointwise(x)))

    def pointwise(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Log-likelihood terms by observed variable; axis 0 is the row axis, a term without axes is one block."""
        return dict(zip(self.names, self._pointwise(x), strict=True))

    def _check_start(self) -> None:
        """Evaluate once, so that shapes that disagree are found here and told in the user's names."""
        try:
            self._pointwise(self.parameters.initial)
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


def _scalar(value: np.ndarray) -> float:
    number = float(value)
    return -np.inf if np.isnan(number) else number


def _total(terms: Sequence[Variable]) -> Variable:
    total = pytensor.tensor.constant(0.0)
    for term in terms:
        total = total + term.sum()
    return total


def _copies(graphs: Sequence[Variable]) -> dict[Variable, Variable]:
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


def log_densities(model: pm.Model, variables: Sequence[Variable]) -> list[Variable]:
    """`model.logp(variables, sum=False, jacobian=False)`, without single precision on the way."""
    rvs = [variable for variable in variables if variable in model.basic_RVs]
    rewriter = SequentialGraphRewriter(_InDouble(), logprob_rewrites_db.query(logprob_rewrites_basic_query))
    densities = transformed_conditional_logp(
        rvs,
        rvs_to_values=model.rvs_to_values,
        rvs_to_transforms=model.rvs_to_transforms,
        jacobian=False,
        ir_rewriter=rewriter,
    )
    potentials = [variable for variable in variables if variable not in model.basic_RVs]
    terms = dict(zip([*rvs, *potentials], [*densities, *model.replace_rvs_by_values(potentials)], strict=True))
    return [terms[variable] for variable in variables]


def observed_data(model: pm.Model) -> dict[str, np.ndarray]:
    """The observed variables' values."""
    values = [backends.as_tensor(model.rvs_to_values[rv]) for rv in model.observed_RVs]
    with backends.without_c_compiler():
        arrays = backends.build([], values)()
    return {rv.name: array for rv, array in zip(model.observed_RVs, arrays, strict=True)}


def constant_data(model: pm.Model) -> dict[str, np.ndarray]:
    """The values of the model's `pm.Data` containers."""
    return {variable.name: np.array(variable.get_value()) for variable in model.data_vars}


def _rows(model: pm.Model) -> int:
    """Rows of data: observed variables that share a named first dim are columns of the same rows."""
    counts: dict[str, int] = {}
    for name, value in observed_data(model).items():
        dims = model.named_vars_to_dims.get(name) or (None,)
        counts[str(dims[0] if dims and dims[0] is not None else f"{name} ")] = len(value) if value.ndim else 1
    return sum(counts.values())
