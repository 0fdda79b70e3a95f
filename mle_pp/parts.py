"""One variable at the estimate and at other data: its value, its bounds, its derivatives and its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors

from mle_pp import backends
from mle_pp.derivatives import Jacobian, Smooth
from mle_pp.errors import ModelError
from mle_pp.information import determined, pinned_at_limit, without_limit
from mle_pp.newdata import NewData
from mle_pp.predictive import at_vector, mean_bounds, normal_scale
from mle_pp.supports import graph_bounds

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate


@dataclass(frozen=True)
class Part:
    """One variable at the estimate.

    Attributes
    ----------
    value, lower, upper : ndarray
        The variable and its bounds, in its shape.
    slopes : ndarray, shape (value.size, size)
        ∂value/∂x.
    withheld : ndarray of bool, shape (value.size,)
        Values that lie at a limit, or have no meaning there.
    scale : ndarray or None
        Of the mean of a normal variable, its standard deviation.
    function : callable
        From the vector to the variable, and more.
    element : Smooth or None
        Each of its elements as a function of the vector and of the element's place; None where it depends on
        integrated variables.
    conditional : ndarray or float
        Variances at known parameters, of what depends on integrated variables.
    given : callable or None
        From the vector and those of the integrated variables to the variable, where it depends on these.
    """

    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    slopes: np.ndarray
    withheld: np.ndarray
    scale: np.ndarray | None
    function: Callable[[np.ndarray], list[np.ndarray]]
    element: Smooth | None = None
    conditional: np.ndarray | float = 0.0
    given: Callable[..., np.ndarray] | None = None

    def at(self, x: np.ndarray) -> np.ndarray:
        """The variable at another vector."""
        return self.function(x)[0]


def part_of(est: Estimate, name: str, graph: Variable, data: NewData) -> Part:
    """Evaluate a variable, its bounds and its derivative."""
    objective: Any = est._objective
    variable = est.model[name]
    is_observed = variable in est.model.observed_RVs
    family = mean_bounds(variable) if is_observed else ()
    scale = normal_scale(variable) if is_observed else None
    graphs = [graph, *family, *([] if scale is None else [scale])]
    try:
        with backends.without_c_compiler():
            held = at_vector(objective, graphs, {**data.replacements, **data.effects}, True, objective.is_marginal)
            outputs = backends.simplify([pt.cast(backends.as_tensor(g), "float64") for g in held])
            vectors = _latent_vectors(objective, data)
            ends = [pt.as_tensor(end) for end in graph_bounds(outputs[:1], objective.parameters.x, *vectors)[0]]
            outputs = [outputs[0], *ends, *outputs[1:]]
            made = _direct if set(vectors).isdisjoint(ancestors(outputs[:1])) else _given_latents
            x, function, slopes, more = made(est, outputs, data)
            found, lower, upper, *rest = function(x)
    except UNFIT as error:
        if not (data.names or data.positions) or isinstance(error, ModelError):
            raise
        raise misfit(est, f"{name} cannot be computed from", data, graphs, error) from error
    like = np.zeros_like(found)
    if is_observed:
        lower, upper = np.maximum(lower, rest[0]), np.minimum(upper, rest[1])
    spread = None if scale is None else rest[2] + like
    withheld = _at_limit(est, lambda z: function(z)[0].ravel().astype(float), slopes, made is _direct)
    return Part(found, lower + like, upper + like, slopes, withheld, spread, function, **more)


def _latent_vectors(objective: Any, data: NewData) -> list[Variable]:
    """The integrated variables' vector, and that of the effects of new groups."""
    return [*([objective.latents.u] if objective.is_marginal else []), *([data.fresh[0]] if data.fresh else [])]


# The point of the estimate, the outputs as functions of the vector, ∂value/∂x there, and what else a `Part` has.
_Made = tuple[np.ndarray, Callable[[np.ndarray], list[np.ndarray]], np.ndarray, dict[str, Any]]


def _direct(est: Estimate, outputs: Sequence[Variable], data: NewData) -> _Made:
    """Of a variable that depends on parameters only."""
    x, point = est._objective.parameters.x, est._optimum.x
    function = backends.build([x], list(outputs))
    slopes, place = Jacobian(outputs[0].ravel(), x)(point), pt.lscalar("place")
    element = Smooth(outputs[0].ravel()[place], x, "interpreted", max(len(slopes), 1), [place])
    return point, function, slopes, {"element": element}


def _given_latents(est: Estimate, outputs: Sequence[Variable], data: NewData) -> _Made:
    """Of a variable that depends on integrated ones: at their mode, which moves with the parameters."""
    objective: Any = est._objective
    x, u, point = objective.parameters.x, objective.latents.u, est._limit
    vectors, still = ([data.fresh[0]], [np.zeros(data.fresh[1])]) if data.fresh else ([], [])
    evaluate = backends.build([x, u, *vectors], list(outputs))

    def function(at: np.ndarray) -> list[np.ndarray]:
        mode = objective.mode(at)
        return evaluate(at, np.full(objective.latents.size, np.nan) if mode is None else mode.u, *still)

    def given(*at: np.ndarray) -> np.ndarray:
        return evaluate(*at)[0]

    quantity, mode = objective.conditional(outputs[0].ravel(), data.fresh), objective.mode(point)
    more = {"conditional": quantity.variances(mode, point), "given": given}
    return point, function, quantity.slopes(mode, point), more


# What NumPy and PyTensor raise where new data do not go together with what stays as it was
UNFIT = (ValueError, IndexError, TypeError, AssertionError)


def misfit(est: Estimate, what: str, data: NewData, graphs: Sequence[Variable], error: Exception) -> ModelError:
    """The same in the user's names."""
    stem = f"{what} newdata ({', '.join(data.names or data.positions)}):"
    if isinstance(error, IndexError):
        return ModelError(
            f"{stem} {str(error).splitlines()[0]}; an index must be one of a group of the fit, or of coords=."
        )
    used = set(ancestors(graphs))
    kept = [variable.name for variable in est.model.data_vars if variable in used and variable.name not in data.names]
    remedy = f" Give the same rows of {', '.join(kept)}, too." if kept else ""
    return ModelError(
        f"{stem} the lengths do not go together with what stays as it was.{remedy} Arrays that are not in a pm.Data "
        f"keep the length they have, and so do observed variables without dims=."
    )


def _at_limit(
    est: Estimate, function: Callable[[np.ndarray], np.ndarray], slopes: np.ndarray, pinned: bool
) -> np.ndarray:
    """Which values lie at the limit that an estimate approaches (if that matters), or have no meaning there."""
    special, x = est._scales.special, est._optimum.x
    if not special.drift.size:
        return np.zeros(len(slopes), dtype=bool)
    lost = without_limit(function, x, special)
    return lost | pinned_at_limit(function, slopes, x, special.drift, est._basis) if pinned else lost


def errors_of(est: Estimate, part: Part, covariance: np.ndarray) -> np.ndarray:
    """Standard errors by the delta method, NaN where the data do not determine the value."""
    variances = np.einsum("ij,jk,ik->i", part.slopes, covariance, part.slopes) + part.conditional
    known = determined(part.slopes, -est._optimum.hessian, est.cov(scale="unconstrained").values)
    # A constant has no error
    is_constant = ~part.slopes.any(axis=1) & (np.asarray(part.conditional) == 0) & ~part.withheld
    known &= ~part.withheld
    errors = np.where(known, np.sqrt(np.maximum(variances, 0.0)), np.where(is_constant, 0.0, np.nan))
    return errors.reshape(part.value.shape)
