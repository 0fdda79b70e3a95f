"""The model beyond its likelihood, as graphs of the flat vector: `Deterministic`s, means, draws of what is observed.

At the data of the fit, or at others: a graph's `pm.Data` containers are replaced by copies, never written to, so that
the user's model stays as it is whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions.moments.means import mean
from pymc.exceptions import UndefinedMomentException
from pymc.logprob.basic import logcdf
from pymc.pytensorf import find_rng_nodes
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.type import discrete_dtypes

from mle_pp import backends
from mle_pp.errors import ModelError
from mle_pp.marginal import objective_of
from mle_pp.objective import ModelObjective, shared_copy
from mle_pp.redesign import rebuilt
from mle_pp.roles import RoleKind

# From a generator and a vector, and what else the graphs read, to the observed variables, by name.
Draw = Callable[..., dict[str, np.ndarray]]


def at_vector(
    objective: ModelObjective,
    variables: Sequence[Variable],
    data: Mapping[Variable, Variable] | None = None,
    hold_observed: bool = False,
    given_latents: bool = False,
) -> list[Variable]:
    """Variables of a model as graphs of the flat vector; what is latent stays random, or is a graph of `latents.u`.

    Parameters
    ----------
    objective : ModelObjective
    variables : sequence of Variable
        Of the model: `Deterministic`s, observed variables, or anything computed from them.
    data : mapping of Variable to Variable, optional
        What the model's data are replaced by, and variables of groups others than those of the fit. Default: what they
        were at the time of the fit.
    hold_observed : bool
        Whether observed variables that others depend on stand for their observations, or stay random.
    given_latents : bool
        Whether integrated variables, too, are graphs: of their vector.
    """
    model = objective.model
    restricted = objective.roles.names(RoleKind.RESTRICTED)
    if restricted and not given_latents:
        raise ModelError(
            f"{', '.join(restricted)} were integrated under a flat prior, from which nothing can be drawn. Fit without "
            f"restricted=."
        )
    latent = [] if given_latents else objective.roles.names(RoleKind.LATENT)
    free = [rv for rv in model.free_RVs if rv.name not in latent]
    # Parameters keep the meaning they were fitted with: their bounds are those of the fit's data
    values = objective.replace(model.replace_rvs_by_values(free))
    replaced = {**objective.snapshot, **dict(zip(free, values, strict=True)), **(data or {})}
    if hold_observed:
        replaced |= {rv: _as(rv, objective.data[rv.name]) for rv in model.observed_RVs}
    # Constants, which new data of a Bambi model replace, have types of their own length
    constants = {variable: new for variable, new in (data or {}).items() if isinstance(variable, Constant)}
    others = {variable: new for variable, new in replaced.items() if variable not in constants}
    return graph_replace(rebuilt(list(variables), constants), others, strict=False)


def _as(variable: Any, value: np.ndarray) -> Variable:
    return shared_copy(variable.type, value, variable.name)


def expected_value(rv: Any) -> Variable | None:
    """The mean of a random variable as a graph of its parents; None where PyMC has no formula for it."""
    try:
        return mean(rv)
    except (NotImplementedError, UndefinedMomentException):
        return None


# Families whose mean has a bound that a graph of it may not show.
_POSITIVE = {
    "PoissonRV", "NegBinomialRV", "GeometricRV", "GammaRV", "ExponentialRV", "LogNormalRV", "HalfNormalRV", "WeibullRV",
    "WeibullBetaRV", "HalfStudentTRV", "InvGammaRV", "WaldRV", "ParetoRV", "RiceRV",
}  # fmt: skip
_UNIT = {"BernoulliRV", "BetaRV", "KumaraswamyRV"}
_COUNTED = {"BinomialRV", "BetaBinomialRV"}


def mean_bounds(rv: Any) -> tuple[Variable, Variable]:
    """Between which bounds the mean of a random variable lies because of its family."""
    family = type(rv.owner.op).__name__
    lower = 0.0 if family in _POSITIVE | _UNIT | _COUNTED else -np.inf
    if family in _COUNTED:
        return pt.constant(lower), pt.cast(rv.owner.op.dist_params(rv.owner)[0], "float64")
    return pt.constant(lower), pt.constant(1.0 if family in _UNIT else np.inf)


def normal_scale(rv: Any) -> Variable | None:
    """The standard deviation of a normal variable; None for any other."""
    return rv.owner.op.dist_params(rv.owner)[1] if type(rv.owner.op).__name__ == "NormalRV" else None


def simulator(
    objective: ModelObjective, data: Mapping[Variable, Variable] | None = None, given: Sequence[Variable] = ()
) -> Draw:
    """A function that draws the observed variables from the model, built once and cheap to call.

    Parameters
    ----------
    objective : ModelObjective
    data : mapping of Variable to Variable, optional
        As for `at_vector`.
    given : sequence of Variable
        The vectors that integrated variables are graphs of. Default: these are drawn, too.

    Returns
    -------
    callable
        ``draw(rng, x, *given)``: from a generator, which is advanced, and the parameters as a flat vector, to a dict of
        arrays by name. The same state of the generator gives the same draws.

    Raises
    ------
    ModelError
        A variable cannot be drawn; the message names it and the remedy.
    """
    observed = objective.model.observed_RVs
    if objective.roles.potentials == "likelihood" and objective.model.potentials:
        names = ", ".join(potential.name for potential in objective.model.potentials)
        raise ModelError(
            f"The likelihood has the Potential {names}, a term without a random variable: nothing can be drawn from "
            f"it. Write it as a pm.CustomDist with dist= or random=, and observed data."
        )
    with backends.without_c_compiler():
        held = at_vector(objective, observed, data, given_latents=bool(given))
        graphs = backends.opened([backends.as_tensor(graph) for graph in held])
        generators = find_rng_nodes(graphs)
        inputs = [generator.type() for generator in generators]
        graphs = graph_replace(graphs, dict(zip(generators, inputs, strict=True)), strict=False)
    drawn = [rv.name for rv in observed]
    vectors = [objective.parameters.x, *given]
    return _Simulator(vectors, inputs, graphs, drawn, _without_draws(objective) or ", ".join(drawn))


class _Simulator:
    """Graphs of the observed variables, and their function once it is needed; pickles without it."""

    def __init__(
        self, vectors: Sequence[Variable], inputs: Sequence[Variable], graphs: Sequence[Variable],
        names: Sequence[str], suspects: str,
    ) -> None:  # fmt: skip
        self._vectors, self._inputs, self._graphs = vectors, inputs, graphs
        self._names, self._suspects = names, suspects

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_function"}

    @cached_property
    def _function(self) -> Callable[..., list[np.ndarray]]:
        return backends.build([*self._vectors, *self._inputs], self._graphs)

    def __call__(self, rng: np.random.Generator, *vectors: np.ndarray) -> dict[str, np.ndarray]:
        try:
            arrays = self._function(*vectors, *rng.spawn(len(self._inputs)))
        except NotImplementedError as error:
            raise ModelError(
                f"{self._suspects} cannot be drawn: its distribution has a density only. Give pm.CustomDist the "
                f"argument dist= or random=."
            ) from error
        return dict(zip(self._names, arrays, strict=True))


def _without_draws(objective: ModelObjective) -> str:
    """The observed variables made by a `CustomDist`, which may come without a random method."""
    return ", ".join(rv.name for rv in objective.model.observed_RVs if "CustomDist" in type(rv.owner.op).__name__)


def exchangeable(objective: ModelObjective) -> tuple[ModelObjective, dict[str, Any]]:
    """The same likelihood, reading the observed values from variables of its own.

    Returns
    -------
    objective : ModelObjective
    observed : dict of str to SharedVariable
        By the observed variables' names.
    """
    model = objective.model
    stand_ins: dict[Variable, Any] = {}
    for rv in model.observed_RVs:
        value = model.rvs_to_values[rv]
        stand_ins[rv] = shared_copy(value.type, objective.data[rv.name], value.name)
    # A model like this one but for its observed values; what it is made of is the same, and none of it is written to
    twin = object.__new__(type(model))
    twin.__dict__.update(model.__dict__)
    twin.rvs_to_values = {**model.rvs_to_values, **stand_ins}
    twin.values_to_rvs = {value: rv for rv, value in twin.rvs_to_values.items()}
    parameters = objective.parameters
    other = objective_of(twin, objective.roles, parameters.fixed, None, objective.backend, objective.quadrature_points)
    return other, {rv.name: other.snapshot[stand_in] for rv, stand_in in stand_ins.items()}


def retargeted(objective: ModelObjective) -> tuple[ModelObjective, Callable[[Mapping[str, np.ndarray]], None]]:
    """The same likelihood for observations that can be exchanged, without building it again for each set of them.

    Returns
    -------
    objective : ModelObjective
    observe : callable
        Puts in values of the observed variables, by name, of the shapes they have.
    """
    other, targets = exchangeable(objective)

    def observe(values: Mapping[str, np.ndarray]) -> None:
        for name, target in targets.items():
            target.set_value(np.asarray(values[name], dtype=target.type.dtype))
        other.refresh()

    return other, observe


def depends_on_latent(objective: ModelObjective, rv: Any) -> bool:
    """Whether the law of an observed variable is known only when latent ones are."""
    latent = {objective.model[name] for name in objective.roles.names(RoleKind.LATENT)}
    return not latent.isdisjoint(ancestors([rv]))


def log_cdfs(objective: ModelObjective, rv: Any) -> list[Variable] | None:
    """Logarithms of F(y) and F(y−) at the observations of a variable, as graphs of the flat vector.

    Returns
    -------
    list of Variable or None
        None where PyMC knows no distribution function, the variable is no plain one (censored, mixed, a mixture), has
        several dimensions to a draw, or depends on what is latent.
    """
    op = rv.owner.op
    if not isinstance(op, RandomVariable) or op.ndim_supp or depends_on_latent(objective, rv):
        return None
    value = objective.data[rv.name]
    is_discrete = rv.dtype in discrete_dtypes
    try:
        graphs = [logcdf(rv, at, warn_rvs=False) for at in (value, value - 1 if is_discrete else value)]
    except NotImplementedError:
        return None
    return at_vector(objective, graphs, hold_observed=True)
