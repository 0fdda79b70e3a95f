"""The marginal log-likelihood: latent variables integrated out by Laplace's method or quadrature.

With g(u, x) the joint log density of data and latents u at parameters x, û its mode in u and H = −∂²g/∂u² there,

    ℓ(x) = g(û, x) − ½ log det H + (q/2) log 2π

(Tierney and Kadane 1986; Skaug and Fournier 2006; Kristensen et al. 2016). It is exact where g is quadratic in u. The
gradient is exact: with S = −½ log det H,

    dℓ/dx = ∂g/∂x + ∂S/∂x + (∂²g/∂x∂u) H⁻¹ ∂S/∂u,

for which the entries of H⁻¹ at the pattern of H suffice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from threadpoolctl import ThreadpoolController

from mle_pp import backends
from mle_pp.errors import ModelError
from mle_pp.marginal.curvature import Local, curvature
from mle_pp.marginal.inner import FEW, MANY, Mode, drawn, find_mode
from mle_pp.marginal.latents import Latents
from mle_pp.marginal.modes import Conditional, Modes
from mle_pp.marginal.quadrature import Quadrature
from mle_pp.marginal.units import Shares
from mle_pp.objective import (
    ModelObjective,
    constant_data,
    copies,
    evaluable,
    likelihood_terms,
    log_densities,
    observed_data,
    rows_of,
)  # fmt: skip
from mle_pp.parameters import Parameters
from mle_pp.roles import RoleKind, Roles
from mle_pp.rows import Rows, Units

_LOG_2PI = np.log(2 * np.pi)
# With more rows than this a search takes seconds, and the likelihood is nearly quadratic
_MANY_ROWS = 20_000
# The step of a difference, in standard errors
_FRACTION = 5e-4
_REMEMBERED = 100
# The step of a difference of fourth order, in the steps of others
_WIDER = 20


class MarginalObjective(ModelObjective):
    """The marginal log-likelihood of a model with latent variables, plus the kept priors of penalized ones.

    Parameters
    ----------
    model, roles, fixed, initvals
        As for `ModelObjective`.
    integrated : list of str
        The variables to integrate.
    quadrature_points : int
        Nodes of adaptive Gauss–Hermite quadrature in each dimension; one is Laplace's method.

    Attributes
    ----------
    latents : Latents
        The map between the latent vector and the model's variables.
    """

    is_costly = True
    is_marginal = True
    has_information = False

    def __init__(
        self,
        model: pm.Model,
        roles: Roles,
        integrated: list[str],
        fixed: Mapping[str, Any] | None = None,
        initvals: Mapping[str, Any] | None = None,
        quadrature_points: int = 1,
    ) -> None:
        self.quadrature_points = quadrature_points
        self.model, self.roles, self.backend = model, roles, "interpreted"
        estimated = roles.names(RoleKind.PARAMETER, RoleKind.PENALIZED)
        likelihood = [*model.observed_RVs, *(model.potentials if roles.potentials == "likelihood" else ())]
        penalized = [model[name] for name in roles.names(RoleKind.PENALIZED)]
        self.names = [variable.name for variable in likelihood]
        self.data = {**observed_data(model), **constant_data(model)}
        with backends.without_c_compiler():
            terms, priors = likelihood_terms(model, likelihood), log_densities(model, penalized)
            self.snapshot = copies([*terms, *priors, *model.basic_RVs, *model.deterministics])
            self.parameters = Parameters(model, estimated, fixed, initvals, self.snapshot, integrated, roles.formula)
            self.latents = Latents(model, self.parameters, roles.names(RoleKind.RESTRICTED))
            graphs = evaluable(self.latents.replace([*terms, *self.latents.priors(), *priors]))
        self._graphs = (graphs[: len(terms)], graphs[len(terms) : len(graphs) - len(priors)])
        self._penalties = graphs[len(graphs) - len(priors) :]
        self._known: tuple[bytes | None, Mode | None] = (None, None)
        self._values: dict[bytes, float] = {}
        self._last = self.latents.initial
        self._steps: np.ndarray | None = None
        shapes = self._check_start()
        self.rows_of_data = sum(int(np.prod(shape[:1])) for shape in shapes)
        self._rows = rows_of(model, likelihood, shapes)
        self._observations = self._observed(likelihood)
        self.curvature = curvature(
            graphs, self.latents.u, self.parameters.x, self.latents.initial, self.parameters.initial,
            self.latents.slots, self.latents.names, self._observations,
        )  # fmt: skip
        self.default_starts = 3 if max(self.rows_of_data, self.latents.size) <= _MANY_ROWS else 1
        self._quadrature = (
            None if quadrature_points == 1 else Quadrature(self.curvature, quadrature_points, self.latents.names)
        )

    @cached_property
    def _terms(self) -> Callable[..., list[np.ndarray]]:
        return backends.build([self.latents.u, self.parameters.x], self._graphs[0])

    @cached_property
    def _kept(self) -> Callable[..., list[np.ndarray]]:
        return backends.build([self.latents.u, self.parameters.x], self._penalties)

    def _observed(self, likelihood: Sequence[Variable]) -> dict[Variable, np.ndarray]:
        """The variables that hold observations which may be exchanged, and these."""
        values = [self.model.rvs_to_values.get(variable) for variable in likelihood]
        shared = [self.snapshot[value] for value in values if value in self.snapshot]
        return {variable: variable.get_value() for variable in shared}

    def with_nodes(self, points: int) -> MarginalObjective:
        """The same likelihood by quadrature with so many nodes in each dimension.

        Raises
        ------
        ModelError
            Blocks that are too large for it.
        """
        other = copy.copy(self)
        other.quadrature_points, other._values = points, {}
        other._quadrature = Quadrature(self.curvature, points, self.latents.names)
        return other

    @property
    def dimensions(self) -> int:
        """How many latents have to be integrated together, at most."""
        return int(np.bincount(self.curvature.elimination.components).max())

    def refresh(self) -> None:
        """Take in what the variables that hold the data have become."""
        self.curvature.refresh()
        if (shares := self.__dict__.get("_shares")) is not None:
            shares.refresh()
        self.forget(self.latents.initial)

    def forget(self, start: np.ndarray) -> None:
        """What was found on the way; the next mode is searched from `start`.

        What follows is then the same, to the last bit, whatever was computed before.
        """
        self._known, self._values = (None, None), {}
        self._last, self._steps = start, None

    def without_model(self) -> MarginalObjective:
        """The same from graphs alone, which pickle where a model and functions do not."""
        other = copy.copy(self)
        other.model = cast(pm.Model, SimpleNamespace(observed_RVs=()))
        other.parameters = self.parameters.without_model()
        other.latents = self.latents.without_model(other.parameters)
        for name in ("_terms", "_kept", "modes"):
            other.__dict__.pop(name, None)
        other.forget(self._last)
        return other

    # -- independent units ----------------------------------------------------------------------------------------

    @cached_property
    def _shares(self) -> Shares | None:
        if self._rows.blocks:
            return None
        values = {self.latents.u: self.latents.initial, self.parameters.x: self.parameters.initial}
        return Shares(
            self._rows, self.names, *self._graphs, self.latents, self.curvature.elimination.components,
            {**values, **self._observations},
        )  # fmt: skip

    @property
    def axes(self) -> Rows:  # type: ignore[override]
        """The independent units, rows that share latents; blocks, where there are no two of them."""
        return self._rows if self._shares is None else self._shares.rows

    def weighted(self, weights: np.ndarray) -> MarginalObjective:
        """The same likelihood with that of each unit multiplied by a weight; see `ModelObjective.weighted`."""
        other = super().weighted(weights)
        assert isinstance(other, MarginalObjective)
        other._values, other._steps = {}, None
        return other

    @property
    def case_weights(self) -> np.ndarray | None:
        """One weight a row of the data, where there are any."""
        if self.weights is None:
            return None
        assert isinstance(self.axes, Units)
        return self.weights[self.axes.of_row]

    def _of_units(self, mode: Mode, x: np.ndarray) -> np.ndarray:
        """The marginal log-likelihood of each unit."""
        assert self._shares is not None
        owner = self.curvature.elimination.components
        if self._quadrature is None:
            gain = np.bincount(owner, mode.correction * mode.local.gradient, len(mode.factor.logdet))
            extra = 0.5 * (gain - mode.factor.logdet + np.bincount(owner) * _LOG_2PI)
        else:
            extra = self._quadrature.values(mode, x) - self.curvature.values(mode.u, x)
        units = self._shares.of_component
        return self._shares.values(mode.u, x) + np.bincount(units, extra, self.axes.size + 1)[: self.axes.size]

    def row_values(self, x: np.ndarray) -> np.ndarray:
        """The marginal log-likelihood of each unit at `x`, without its weight; NaN where the latents have no mode."""
        self.axes.require("A log-likelihood of each row")
        mode = self.mode(x)
        if mode is None:
            return np.full(self.axes.size, np.nan)
        with one_thread():
            return self._of_units(mode, x)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Gradient of each unit's log-likelihood, without its weight: differences of fourth order."""
        self.axes.require("The scores")
        columns = []
        for shift in self._shifts(x):
            ahead, back = (self.row_values(x + shift) - self.row_values(x - shift) for shift in (shift, 2 * shift))
            columns.append((8 * ahead - back) / (12 * shift.sum()))
        self.mode(x)
        return np.stack(columns, axis=1) if columns else np.zeros((self.axes.size, 0))

    def _shifts(self, x: np.ndarray) -> np.ndarray:
        """Steps along each coordinate, for differences of values."""
        if self._steps is None:
            self.hessian(x)
        assert self._steps is not None
        return np.diag(_WIDER * self._steps)

    # -- the inner problem ----------------------------------------------------------------------------------------

    def mode(self, x: np.ndarray) -> Mode | None:
        """The mode of the latents at `x`, searched from the last one, else from the start; None where there is none."""
        key = x.tobytes()
        if self._known[0] != key:
            found = None
            with one_thread():
                for start, steps in ((self._last, FEW), (self.latents.initial, MANY), (self._last, MANY)):
                    found = find_mode(self.curvature, x, start, steps)
                    if found is not None:
                        self._last = found.u
                        break
            self._known = (key, found)
        return self._known[1]

    # -- the protocol ---------------------------------------------------------------------------------------------

    def value(self, x: np.ndarray) -> float:
        """The marginal log-likelihood, plus kept priors; -inf where the latents have no mode."""
        key = x.tobytes()
        if key not in self._values:
            # The diagnosis asks several times for the same points
            if len(self._values) == _REMEMBERED:
                del self._values[next(iter(self._values))]
            self._values[key] = self._value(x)
        return self._values[key]

    def _value(self, x: np.ndarray) -> float:
        mode = self.mode(x)
        if mode is None:
            return -np.inf
        if self.weights is not None:
            return float(self.weights @ self._of_units(mode, x)) + self._kept_at(x)
        return laplace(mode) if self._quadrature is None else float(self._quadrature.values(mode, x).sum())

    def _kept_at(self, x: np.ndarray) -> float:
        """The kept priors."""
        return float(sum(np.sum(prior) for prior in self._kept(self.latents.initial, x)))

    def value_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and exact gradient."""
        mode = self.mode(x)
        if mode is None:
            return -np.inf, np.full(x.size, np.nan)
        with one_thread():
            return self._value_gradient(mode, x)

    def _value_gradient(self, mode: Mode, x: np.ndarray) -> tuple[float, np.ndarray]:
        weights, owner = None, self.curvature.elimination.components
        if self.weights is not None:
            assert self._shares is not None
            weights = np.append(self.weights, 0.0)[self._shares.of_component]
        if self._quadrature is None:
            # What is left of the gradient in u makes the result that at the mode itself, to first order
            value, outer, push = laplace(mode), np.zeros(x.size), mode.local.gradient
            bar = 0.5 * mode.factor.inverse()
            if weights is not None:
                bar, push = weights[owner[self.curvature.elimination.rows]] * bar, weights[owner] * push
        else:
            value, outer, bar, push = self._quadrature.adjoints(mode, x, weights)
        in_x, in_u = self.curvature.slopes(mode.u, x, bar)
        if self.weights is not None:
            assert self._shares is not None
            value = self.value(x)
            # The slope of the density counts every unit once
            in_x = in_x + self._shares.slope(mode.u, x, self.weights - 1)
        v = mode.factor.solve(in_u + push)
        return value, in_x + outer + self.curvature.along(mode.u, x, v)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Second derivatives: central differences of the exact gradient, by fractions of a standard error."""
        steps = 1e-5 * np.maximum(1.0, np.abs(x)) if self._steps is None else self._steps.copy()
        matrix = np.zeros((x.size, x.size))
        for k, step in enumerate(steps):
            matrix[k] = self._column(x, k, step)
        for k, fitting in enumerate(self._fitting_steps(x, matrix)):
            if np.isfinite(matrix[k, k]) and not 1 / 3 < steps[k] / fitting < 3:
                steps[k] = fitting
                matrix[k] = self._column(x, k, fitting)
        self._steps = steps
        self.mode(x)
        return 0.5 * (matrix + matrix.T)

    @cached_property
    def is_quadratic(self) -> bool:
        """Whether the joint density is so in the latents, as for normal data: its Hessian is the same everywhere."""
        start, x = self.latents.initial, self.parameters.default
        away = start + np.random.default_rng(0).normal(size=start.size)
        with np.errstate(all="ignore"):
            here, there = self.curvature.local(start, x).entries, self.curvature.local(away, x).entries
        return bool(np.array_equal(here, there))

    def expect(self, x: np.ndarray, hessian: np.ndarray) -> None:
        """Choose the steps of differences by a Hessian that is roughly the one at `x`."""
        if np.all(np.isfinite(hessian)):
            self._steps = self._fitting_steps(x, hessian)

    @staticmethod
    def _fitting_steps(x: np.ndarray, hessian: np.ndarray) -> np.ndarray:
        """Fractions of conditional standard errors."""
        errors = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-300))
        return np.clip(_FRACTION * errors, 1e-7, 1e-2 * np.maximum(1.0, np.abs(x)))

    def _column(self, x: np.ndarray, k: int, step: float) -> np.ndarray:
        """The change of the gradient along a coordinate."""
        shift = np.zeros(x.size)
        shift[k] = step
        return (self.value_gradient(x + shift)[1] - self.value_gradient(x - shift)[1]) / (2 * shift[k])

    def derivatives(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian."""
        value, gradient = self.value_gradient(x)
        return value, gradient, self.hessian(x) if np.isfinite(value) else np.full((x.size, x.size), np.nan)

    def product(self, x: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector, by differences of the gradient."""
        h = 1e-4 / max(float(np.abs(vector).max()), 1e-300)
        return (self.value_gradient(x + h * vector)[1] - self.value_gradient(x - h * vector)[1]) / (2 * h)

    def residuals(self, x: np.ndarray, family: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """None: the observations are not independent."""
        return iter(())

    @property
    def hessian_method(self) -> str:
        """How the Hessian is computed."""
        return "central differences of the exact gradient"

    # -- beyond it ------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> float:
        """Rows of data, or the sum of their weights; a whole number as int."""
        weights = self.case_weights
        if weights is None:
            return self.rows_of_data
        total = float(weights.sum())
        return int(total) if total.is_integer() else total

    def loglik(self, x: np.ndarray) -> float:
        """The marginal log-likelihood, without kept priors."""
        return self.value(x) - self._kept_at(x)

    @cached_property
    def modes(self) -> Modes:
        """The latent variables on the user's scale."""
        return Modes(self.latents, self.curvature, self.parameters.initial)

    def latent(self, x: np.ndarray, covariance: np.ndarray) -> Any:
        """Conditional modes at `x` and their standard errors, as an xr.Dataset.

        Parameters
        ----------
        x : ndarray, shape (size,)
        covariance : ndarray, shape (size, size)
            Of the estimate of `x`.
        """
        mode = self.mode(x)
        assert mode is not None
        return self.modes.dataset(mode, x, covariance)

    def replace(self, graphs: Sequence[Variable]) -> list[Variable]:
        """Graphs of the model's value variables as graphs of the parameters' `x` and the latents' `u`."""
        return self.latents.replace(graphs)

    def depends_on_integrated(self, graph: Variable) -> bool:
        """Whether a graph is one of the latents' vector."""
        return self.latents.u in ancestors([graph])

    def conditional(self, graph: Variable, fresh: tuple[Variable, int] | None = None) -> Conditional:
        """A vector of the latents' `u` and the parameters' `x` (and of effects without data) at the mode."""
        return Conditional(graph, self.latents, self.curvature, self.parameters.initial, fresh)

    def drawn_latents(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """The latents' vector drawn from N(û, H⁻¹), Laplace's approximation of its law given parameters and data."""
        mode = self.mode(x)
        return None if mode is None else mode.u + drawn(self.curvature.elimination, mode, rng)

    def reach(self, x: np.ndarray) -> np.ndarray:
        """How much the likelihood given the latents changes with each of these, at some values of them."""
        return self._reach(np.random.default_rng(0).normal(size=self.latents.size), x)[0]

    @cached_property
    def _reach(self) -> Any:
        with backends.without_c_compiler():
            total = sum(pt.sum(graph) for graph in self._graphs[0])
            slope = pt.grad(total, self.latents.u, disconnected_inputs="ignore")
            return backends.build([self.latents.u, self.parameters.x], backends.simplify([slope]))

    def check_possible(self) -> None:
        """Refuse impossible observations, and latent variables whose density given the parameters has no maximum.

        Raises
        ------
        ModelError
            Names them.
        """
        super().check_possible()
        start, rng = self.parameters.initial, np.random.default_rng(0)
        if not any(
            self.mode(start + width * rng.normal(size=start.size)) for width in (0.0, *np.repeat([0.3, 1.0], 5))
        ):
            names = ", ".join(self.latents.names)
            raise ModelError(
                f"Given parameters and data, the density of {names} has no maximum where the search for it begins: it "
                f"grows without bound, or is flat, as where a latent variable has an improper prior and the data do "
                f"not determine it. Check the priors of {names}, or leave out of integrate= what is to be a parameter."
            )

    def _pointwise(self, x: np.ndarray) -> list[np.ndarray]:
        """The likelihood's terms given the latents at their mode, where that is known, else at their start."""
        key, mode = self._known
        known = mode is not None and key == x.tobytes()
        return self._terms(mode.u if mode is not None and known else self.latents.initial, x)


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> Any:
    """Linear algebra on one thread: for thousands of small matrices, waking others takes longer than the work."""
    return _threads().limit(limits=1, user_api="blas")


def laplace(mode: Mode) -> float:
    """Laplace's approximation of the log of the integral."""
    local: Local = mode.local
    # Not a matrix product, which would start threads for it
    gain = 0.5 * float(np.sum(mode.correction * local.gradient))
    return local.value + gain - 0.5 * float(mode.factor.logdet.sum()) + 0.5 * mode.u.size * _LOG_2PI
