"""Refits: the same likelihood with other row weights, or other data, maximized again from the estimate.

What is refitted is a graph whose weights or data are inputs; it holds no model, so it pickles and works in any process.
Refits close to the estimate, nearly all of them, are Newton steps of many replicates in one evaluation; the others get
the trust region and the diagnosis that any fit gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace, vectorize_graph

from mle_pp import backends
from mle_pp.derivatives import Smooth, gradient
from mle_pp.diagnose import Diagnosis, diagnose
from mle_pp.estimate import Estimate
from mle_pp.find import assemble, values_at
from mle_pp.information import Special
from mle_pp.linalg import curvature_scale
from mle_pp.optimize import Optimum, Run, Stop, maximize, polished
from mle_pp.optimize.newton import newton
from mle_pp.parameters import like
from mle_pp.predictive import exchangeable
from mle_pp.verdict import Status, Verdict

_ITERATIONS = 30
_DECREMENT = 1e-12
# Of the estimate's information along any direction: a refit with less is looked at closely
_LEAST_INFORMATION = 1e-3
_SMALLEST_SHARE = 1e-3
# Numbers that one evaluation goes through: more replicates at once gain nothing, and leave the processor's cache
_ELEMENTS = 60_000
_MOST = 50

# Values, gradients and Hessians of some replicates
_Derivatives = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Refit:
    """One refit.

    Attributes
    ----------
    status : Status
    value : float
        The maximized function: the log-likelihood, with kept priors where there are any.
    x : ndarray, shape (size,)
        On the unconstrained scale.
    decrement : float
        The Newton decrement at or just before `x`.
    values : ndarray or None
        Constrained parameters and `Deterministic`s where they are not those at `x`: limits, or NaN.
    """

    status: Status
    value: float
    x: np.ndarray
    decrement: float
    values: np.ndarray | None = None

    def record(self) -> list[Any]:
        """As plain numbers, that JSON takes and gives back to the last bit."""
        values = None if self.values is None else self.values.tolist()
        return [str(self.status), float(self.value), self.x.tolist(), float(self.decrement), values]

    @classmethod
    def from_record(cls, record: Sequence[Any]) -> Refit:
        """The inverse of `record`."""
        status, value, x, decrement, values = record
        return cls(Status(status), value, np.array(x), decrement, None if values is None else np.array(values))


class Refitter:
    """Maximizes one likelihood again and again, from the estimate, for other values of its inputs.

    Attributes
    ----------
    parameters : Parameters
        Without a model.
    start : ndarray, shape (size,)
        The estimate.
    reference : ndarray, shape (size, size)
        The observed information there.
    """

    def __init__(self, smooth: Smooth, est: Estimate) -> None:
        self.smooth = smooth
        self.parameters = est._objective.parameters.without_model()
        self.units = est._objective.units
        self.start = est._optimum.x
        self.reference = -est._optimum.hessian
        self.roles = est.roles
        self.rows = est.n_obs
        self._is_regular = est.verdict.ok

    def restart(self, start: np.ndarray, reference: np.ndarray) -> None:
        """Begin at this point, where the information is this matrix."""
        self.start, self.reference = start, reference
        self.__dict__.pop("_information", None)

    def __getstate__(self) -> dict[str, Any]:
        """Without the functions, which are built again where they are needed."""
        smooth = self.smooth
        fresh = Smooth(smooth.cost, smooth.x, smooth.backend, smooth.rows, smooth.inputs)
        kept = ("parameters", "units", "start", "reference", "roles", "rows", "_is_regular")
        return {"smooth": fresh, **{name: self.__dict__[name] for name in kept}}

    _checked = False

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.start.size

    @property
    def dtypes(self) -> list[str]:
        """Of the inputs."""
        return [variable.type.dtype for variable in self.smooth.inputs]

    @property
    def together(self) -> int:
        """How many replicates to hand to `fit` at a time."""
        return int(np.clip(_ELEMENTS // (max(self.smooth.rows, 1) * max(self.size, 1)), 1, _MOST))

    def fit(self, inputs: Sequence[np.ndarray]) -> list[Refit]:
        """Maximize for each replicate.

        Parameters
        ----------
        inputs : sequence of ndarray, shape (replicates, ...)
            One array for each input of the graph.
        """
        count = len(inputs[0])
        with np.errstate(all="ignore"):
            found = self._newton(inputs) if self._information is not None else {}
            return [found[k] if k in found else self.fit_one([array[k] for array in inputs]) for k in range(count)]

    # -- many at once ---------------------------------------------------------------------------------------------

    def _newton(self, inputs: Sequence[np.ndarray]) -> dict[int, Refit]:
        """Newton's method from the estimate, for those that it takes to a regular maximum without detours."""
        found: dict[int, Refit] = {}
        left = np.arange(len(inputs[0]))
        x, step = np.tile(self.start, (left.size, 1)), np.zeros((left.size, self.size))
        before, share = np.full(left.size, -np.inf), np.ones(left.size)
        for _ in range(_ITERATIONS):
            trial = x + share[:, None] * step
            value, slope, matrix = self.derivatives(trial, [array[left] for array in inputs])
            ahead, decrement, least = self._steps(slope, matrix)
            better = value > before - 1e-9 * np.maximum(1.0, np.abs(value))
            better &= np.all(np.isfinite(ahead), axis=1)
            done = better & (decrement < _DECREMENT) & (least > _LEAST_INFORMATION)
            for k in np.flatnonzero(done):
                # One step more: what it gains is known, and too little to be seen in the value
                last = trial[k] + ahead[k]
                found[int(left[k])] = Refit(Status.CONVERGED, value[k] + decrement[k], last, decrement[k])
            x = np.where(better[:, None], trial, x)
            step = np.where(better[:, None], ahead, step)
            before, share = np.where(better, value, before), np.where(better, 1.0, share / 4)
            go = ~done & (share > _SMALLEST_SHARE) & np.isfinite(before)
            left, x, step, before, share = left[go], x[go], step[go], before[go], share[go]
            if not left.size:
                break
        return found

    @cached_property
    def _information(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The scale of the estimate's information, and its inverse Cholesky factor; None if it is not regular."""
        if not self._is_regular or self.size == 0:
            return None
        scale = curvature_scale(self.reference, np.zeros(self.size))
        try:
            factor = np.linalg.cholesky(self.reference / np.outer(scale, scale))
        except np.linalg.LinAlgError:
            return None
        return scale, np.linalg.inv(factor)

    def _steps(self, slope: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Newton steps, their decrements, and the least information along any direction, in units of the estimate's.

        Where there is hardly any curvature, or none downward, the step is one for a little of it.
        """
        assert self._information is not None
        scale, whitener = self._information
        usable = np.all(np.isfinite(matrix), axis=(1, 2)) & np.all(np.isfinite(slope), axis=1)
        scaled = np.where(usable[:, None, None], -matrix / np.outer(scale, scale), -np.eye(self.size))
        values, vectors = np.linalg.eigh(whitener @ scaled @ whitener.T)
        white = (slope / scale) @ whitener.T
        rotated = (vectors.swapaxes(1, 2) @ white[:, :, None])[:, :, 0]
        ratio = rotated / np.maximum(np.abs(values), _LEAST_INFORMATION)
        step = (vectors @ ratio[:, :, None])[:, :, 0] @ whitener / scale
        return step, 0.5 * np.sum(rotated * ratio, axis=1), np.where(usable, values[:, 0], -1.0)

    def derivatives(self, x: np.ndarray, inputs: Sequence[np.ndarray]) -> _Derivatives:
        """Values, gradients and Hessians at one point a replicate; shapes (b,), (b, size), (b, size, size)."""
        if self._batched is None:
            return self._one_by_one(x, inputs)
        try:
            found = self._batched(x, inputs)
        except Exception:  # whatever an operation raises that turns out not to work on many at once
            found = None
        if not self._checked:
            first = self._one_by_one(x[:2], [array[:2] for array in inputs])
            if found is None or not all(
                np.allclose(many[:2], one, rtol=1e-8, atol=1e-8, equal_nan=True)
                for many, one in zip(found, first, strict=True)
            ):
                self._batched = found = None
            self._checked = True
        return self._one_by_one(x, inputs) if found is None else found

    def _one_by_one(self, x: np.ndarray, inputs: Sequence[np.ndarray]) -> _Derivatives:
        rows = [self.smooth.derivatives(x[k], *(array[k] for array in inputs)) for k in range(len(x))]
        value, slope, matrix = (np.array(part) for part in zip(*rows, strict=True))
        return value, slope, matrix

    @cached_property
    def _batched(self) -> Callable[..., _Derivatives] | None:
        """All replicates in one evaluation; None where an operation does not allow that."""
        if self.together == 1:
            return None
        try:
            function = _vectorized(self.smooth)
        except Exception:  # whatever an operation raises that cannot be vectorized
            return None
        size = self.size

        def evaluate(x: np.ndarray, inputs: Sequence[np.ndarray]) -> _Derivatives:
            count = len(x)
            value, slope, matrix = function(x, np.eye(size), *inputs)
            # What does not depend on the replicate, a quadratic's Hessian, comes once
            matrix = np.broadcast_to(matrix, (count, size, size))
            value = np.broadcast_to(np.where(np.isnan(value), -np.inf, value), (count,))
            return value, np.broadcast_to(slope, (count, size)), 0.5 * (matrix + matrix.swapaxes(1, 2))

        return evaluate

    # -- one, with all care ---------------------------------------------------------------------------------------

    def fit_one(self, inputs: Sequence[np.ndarray]) -> Refit:
        """One refit, with all care."""
        return self._judged(self.diagnosis(inputs))

    def diagnosis(self, inputs: Sequence[np.ndarray]) -> Diagnosis:
        """The trust region from the estimate, then from the model's initial point where that fails, and a diagnosis."""
        objective = Replicate(self, inputs)
        # Out at a limit the likelihood is level all around, and tells nothing
        first = newton(objective, self.start) if self._is_regular else maximize(objective, self.parameters.default)
        found = diagnose(objective, self.parameters, first)
        if found.verdict.status.is_failure and self._is_regular:
            again = diagnose(objective, self.parameters, maximize(objective, self.parameters.default))
            found = found if again.verdict.status.is_failure else again
        return found

    def estimate(self, inputs: Sequence[np.ndarray], refit: Refit) -> Estimate:
        """A refit as an estimate without a model: with covariances of the observed information, and with profiles."""
        objective: Any = Replicate(self, inputs)
        if refit.status is Status.CONVERGED:
            value, gradient, hessian = objective.derivatives(refit.x)
            optimum = Optimum(
                refit.x, value, gradient, hessian, Stop.SMALL_DECREMENT, "newton", 0, 0, np.zeros_like(refit.x)
            )
            found = Diagnosis(Verdict(Status.CONVERGED), optimum, Special.none(self.size), np.eye(self.size))
        else:
            found = self.diagnosis(inputs)
        run = Run("the estimate", self.start, np.nan, found.optimum)
        return assemble(None, self.roles, objective, [run], [0], found)

    def _judged(self, diagnosis: Diagnosis) -> Refit:
        optimum, status = diagnosis.optimum, diagnosis.verdict.status
        if status.is_failure:
            values: np.ndarray | None = np.full(
                self.parameters.layout.size + self.parameters.derived_layout.size, np.nan
            )
        elif status is Status.CONVERGED:
            values = None
        else:
            own = self.parameters
            values = np.concatenate(
                [
                    values_at(own.constrained, diagnosis, own.jacobian(optimum.x)),
                    values_at(own.derived, diagnosis, own.derived_jacobian(optimum.x)),
                ]
            )
        return Refit(status, optimum.value, optimum.x, optimum.decrement, values)


class Replicate:
    """One replicate of a `Refitter` as an `Objective`, and as much of a `ModelObjective` as can be had without a model.

    Attributes
    ----------
    parameters : Parameters
    rows : int
        Of data.
    """

    has_information = False
    is_costly = False
    default_starts = 3
    names: tuple[str, ...] = ()
    data: ClassVar[dict[str, np.ndarray]] = {}
    model = SimpleNamespace(observed_RVs=())

    def __init__(self, refitter: Refitter, inputs: Sequence[np.ndarray]) -> None:
        self._smooth, self._inputs = refitter.smooth, list(inputs)
        self.units, self.size = refitter.units, refitter.size
        self.parameters, self.rows = refitter.parameters, refitter.rows

    def loglik(self, x: np.ndarray) -> float:
        """The function at `x`."""
        return self.value(x)

    def value(self, x: np.ndarray) -> float:
        """The function at `x`."""
        return self._smooth.value(x, *self._inputs)

    def value_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The function and its gradient."""
        return self._smooth.value_gradient(x, *self._inputs)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """The matrix of second derivatives."""
        return self._smooth.hessian(x, *self._inputs)

    def derivatives(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian."""
        return self._smooth.derivatives(x, *self._inputs)

    def product(self, x: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector."""
        return self._smooth.hessian.product(x, vector, *self._inputs)

    def residuals(self, x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """None: they are for starting points."""
        return iter(())

    def information(self, x: np.ndarray) -> np.ndarray:
        """There is none."""
        raise NotImplementedError

    def impossible(self, x: np.ndarray) -> int:
        """Not known: the terms were added up."""
        return 0


def _vectorized(smooth: Smooth) -> Callable[..., list[np.ndarray]]:
    """From points, seeds and inputs, each but the seeds with an axis of replicates in front, to their derivatives."""
    points, seeds = pt.matrix("points", dtype="float64"), pt.matrix("seeds", dtype="float64")
    seed = pt.vector("seed", dtype="float64")
    with backends.without_c_compiler():
        slope = gradient(smooth.cost, smooth.x)
        [product] = backends.inline([gradient(pt.dot(slope, seed), smooth.x)])
        matrix = vectorize_graph(product, {seed: seeds})
        many = [pt.TensorType(i.type.dtype, (None, *i.type.shape))() for i in smooth.inputs]
        outputs = vectorize_graph(
            [smooth.cost, slope, matrix], {smooth.x: points, **dict(zip(smooth.inputs, many, strict=True))}
        )
    return backends.build([points, seeds, *many], outputs, smooth.backend)


class MarginalRefitter(Refitter):
    """Refits of a likelihood with integrated variables: one objective, whose observations or weights are exchanged.

    Parameters
    ----------
    est : Estimate
    by_weights : bool
        Whether a refit's input is a weight a unit, or values of the observed variables.
    """

    def __init__(self, est: Estimate, by_weights: bool = False) -> None:
        objective: Any = est._objective
        self._targets: dict[str, Any] | None = None
        if not by_weights:
            objective, self._targets = exchangeable(est._objective)
        self._objective = objective
        self.parameters = objective.parameters.without_model()
        self.units, self.roles, self.rows = objective.units, est.roles, est.n_obs
        self.start, self.reference = est._optimum.x, -est._optimum.hessian
        self._names = list(objective.data)[: len(objective.names)]
        mode = objective.mode(self.start)
        assert mode is not None
        self._mode = mode.u

    def __getstate__(self) -> dict[str, Any]:
        """With an objective that travels without its model."""
        return {**self.__dict__, "_objective": self._objective.without_model()}

    @property
    def dtypes(self) -> list[str]:
        """Of the observations."""
        return [str(self._objective.data[name].dtype) for name in self._names]

    @property
    def together(self) -> int:
        """One at a time."""
        return 1

    def fit(self, inputs: Sequence[np.ndarray]) -> list[Refit]:
        """Maximize for each replicate."""
        with np.errstate(all="ignore"):
            return [self.fit_one([array[k] for array in inputs]) for k in range(len(inputs[0]))]

    def diagnosis(self, inputs: Sequence[np.ndarray]) -> Diagnosis:
        """From the estimate, then from the model's initial point where that fails, and a diagnosis."""
        objective = self._given(inputs)
        for start in (self.start, self.parameters.default):
            end = polished(objective, maximize(objective, start))
            found = diagnose(objective, self.parameters, end)
            if not found.verdict.status.is_failure:
                break
        return found

    def estimate(self, inputs: Sequence[np.ndarray], refit: Refit) -> Estimate:
        """A refit as an estimate without a model; it is to be used before the next one is made."""
        found = self.diagnosis(inputs)
        run = Run("the estimate", self.start, np.nan, found.optimum)
        return assemble(None, self.roles, self._objective, [run], [0], found)

    def _given(self, inputs: Sequence[np.ndarray]) -> Any:
        """The objective with these inputs, as if nothing had been computed with others."""
        objective = self._objective
        if self._targets is None:
            objective = objective.weighted(inputs[0])
        else:
            for name, value in zip(self._names, inputs, strict=True):
                target = self._targets[name]
                target.set_value(np.asarray(value, dtype=target.type.dtype))
            objective.refresh()
        objective.forget(self._mode)
        return objective


def by_weights(est: Estimate) -> Refitter:
    """Refits whose one input is a weight a row; the likelihood has to have rows."""
    if est._objective.is_marginal:
        return MarginalRefitter(est, by_weights=True)
    return Refitter(est._objective._functions.weighted, est)


def by_data(est: Estimate) -> tuple[Refitter, list[str]]:
    """Refits whose inputs are the values of the observed variables; and these variables' names, in order."""
    if est._objective.is_marginal:
        marginal = MarginalRefitter(est)
        return marginal, marginal._names
    other, observed = exchangeable(est._objective)
    plain = other._functions.plain
    inputs = {name: pt.TensorType(v.type.dtype, v.type.shape)(name) for name, v in observed.items()}
    with backends.without_c_compiler():
        replaced: dict[Variable, Variable] = {v: like(inputs[name], v) for name, v in observed.items()}
        # The parameters of the twin are another vector of the same meaning
        [cost] = graph_replace([plain.cost], {**replaced, plain.x: est._objective.parameters.x}, strict=False)
    x = est._objective.parameters.x
    return Refitter(Smooth(cost, x, plain.backend, plain.rows, list(inputs.values())), est), list(inputs)
