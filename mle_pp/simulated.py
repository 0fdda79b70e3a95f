"""The expected information by simulation, where no closed form is known: data are drawn from the model at the estimate.

The mean of the observed information −∇²ℓ over data sets drawn at x is the expected information at x, and the spread
between the data sets gives the Monte Carlo error (Efron and Hinkley 1978, Biometrika 65, on the two informations).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytensor
from pymc.pytensorf import collect_default_updates, reseed_rngs
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.db import RewriteDatabaseQuery

from mle_pp import backends
from mle_pp.errors import ModelError
from mle_pp.linalg import inverse_on
from mle_pp.objective import Functions, ModelObjective, evaluable, likelihood_terms

# Until the standard errors are known to this relative accuracy, but not more data sets than this.
ACCURACY = 2e-3
_FEWEST, _MOST = 50, 2000
_SEED = 20240229

_DRAW = Mode(linker="py", optimizer=RewriteDatabaseQuery(include=["lower_xtensor", "inline_ofg_expansion"]))


def simulated_information(objective: ModelObjective, x: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The observed information at `x` of many data sets drawn from the model at `x`.

    Parameters
    ----------
    objective : ModelObjective
    x : ndarray, shape (size,)
    basis : ndarray, shape (size, rank)
        The identified directions.

    Returns
    -------
    ndarray, shape (simulations, size, size)
        As many as bring the Monte Carlo error of every standard error below 0.2 %, but at most 2,000. The same ones
        each time.

    Raises
    ------
    ModelError
        Data cannot be drawn from the model.
    """
    found: list[np.ndarray] = []
    for information in _informations(objective, x):
        found.append(information)
        if len(found) % _FEWEST == 0 and monte_carlo_error(np.stack(found), basis) < ACCURACY:
            break
    return np.stack(found)


def monte_carlo_error(informations: np.ndarray, basis: np.ndarray) -> float:
    """The largest Monte Carlo error of a standard error from their mean, relative to it (delta method)."""
    mean = informations.mean(axis=0)
    try:
        covariance = inverse_on(mean, basis)
    except np.linalg.LinAlgError:
        return np.inf
    changes = np.einsum("ij,mjk,ki->mi", covariance, informations - mean, covariance)
    variances = np.diag(covariance)
    known = variances > 0
    relative = changes.std(axis=0, ddof=1)[known] / (2 * variances[known] * np.sqrt(len(informations)))
    return float(relative.max(initial=0.0))


def _informations(objective: ModelObjective, x: np.ndarray) -> Iterator[np.ndarray]:
    model, weights = objective.model, objective.weights
    if objective.roles.potentials == "likelihood" and model.potentials:
        names = ", ".join(potential.name for potential in model.potentials)
        raise ModelError(f'cov("expected") needs data drawn from the model, and {names} is a Potential: it draws none.')
    draw, function = _draws(objective), _with_data(objective)
    for _ in range(_MOST):
        data = draw(x)
        if weights is None:
            yield -function.plain.hessian(x, *data)
        else:
            yield -function.weighted.hessian(x, weights, *data)


def _with_data(objective: ModelObjective) -> Functions:
    """The log-likelihood as a function of the observed variables' values, too."""
    model, parameters = objective.model, objective.parameters
    values = [model.rvs_to_values[rv] for rv in model.observed_RVs]
    with backends.without_c_compiler():
        inputs = [value.type() for value in values]
        terms = likelihood_terms(model, model.observed_RVs)
        terms = graph_replace(terms, dict(zip(values, inputs, strict=True)), strict=False)
        graphs = dict(zip(objective.names, evaluable(parameters.replace(terms)), strict=True))
    largest = max(np.size(objective.data[rv.name]) for rv in model.observed_RVs)
    return Functions(model, parameters, graphs, [], objective.axes, objective.backend, largest, inputs)


def _draws(objective: ModelObjective) -> Callable[[np.ndarray], list[np.ndarray]]:
    """From `x` to values of the observed variables, drawn anew at each call."""
    model, parameters = objective.model, objective.parameters
    values = [model.rvs_to_values[rv] for rv in model.observed_RVs]
    with backends.without_c_compiler():
        held = parameters.replace(model.replace_rvs_by_values(model.free_RVs))
        typed = {rv: rv.type.filter_variable(value) for rv, value in zip(model.free_RVs, held, strict=True)}
        drawn: list[Variable] = parameters.replace(graph_replace(model.observed_RVs, typed, strict=False))
        try:
            updates = collect_default_updates(outputs=drawn, inputs=[parameters.x])
            generators = [rng for rng in updates if isinstance(rng, SharedVariable)]
            reseed_rngs(generators, _SEED)
            function = pytensor.function([parameters.x], drawn, updates=updates, mode=_DRAW)
            function(parameters.initial)
        except NotImplementedError as error:
            names = ", ".join(rv.name for rv in model.observed_RVs)
            raise ModelError(f'cov("expected") needs data drawn from the model, but {names}: {error}') from error

    def draw(x: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(new, dtype=value.type.dtype) for new, value in zip(function(x), values, strict=True)]

    return draw
