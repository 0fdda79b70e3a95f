"""What is wrong with a model or its data, said before anything is compiled, in the user's names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.logprob.censoring import MeasurableClip
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.type import discrete_dtypes

from mle_pp import backends
from mle_pp.derivatives import Jacobian
from mle_pp.errors import ModelError
from mle_pp.objective import constant_data, observed_data
from mle_pp.parameters import Parameters
from mle_pp.roles import droppable

# Where location and scale stand among the parameters of location-scale families.
_SCALES = {
    "NormalRV": (0, 1),
    "LaplaceRV": (0, 1),
    "LogisticRV": (0, 1),
    "CauchyRV": (0, 1),
    "LogNormalRV": (0, 1),
    "StudentTRV": (1, 2),
}


def check_model(model: pm.Model, potentials: str, fixed: Collection[str] = ()) -> None:
    """Refuse models without a likelihood to maximize; a discrete variable may be among those held `fixed`.

    Raises
    ------
    ModelError
        No free variable, no observed variable, a discrete free variable, a `Potential` of unknown meaning.
    """
    if not model.free_RVs:
        raise ModelError("The model has no free variables: there is nothing to estimate.")
    if model.potentials and potentials == "error":
        names = ", ".join(potential.name for potential in model.potentials)
        raise ModelError(
            f"The model has the Potential {names}. A model does not tell whether it is part of the likelihood or a "
            f'prior: say potentials="likelihood" to keep it, or potentials="drop". (A log-likelihood written as a '
            f"Potential keeps its sign: it is added to the log-density.)"
        )
    if not model.observed_RVs and not (model.potentials and potentials == "likelihood"):
        raise ModelError(
            "The model has no observed variables, so there is no likelihood. Give one its data: "
            "pm.Normal(..., observed=y)."
        )
    for rv in model.free_RVs:
        if rv.dtype in discrete_dtypes and rv.name not in fixed and not droppable(model, rv.name):
            raise ModelError(_discrete(rv.name))


def _discrete(name: str) -> str:
    if name.endswith("_unobserved"):
        observed = name.removesuffix("_unobserved")
        return (
            f"{observed} has missing values, which PyMC turned into the discrete variable {name}. It cannot be "
            f"maximized over: remove the rows of {observed} with missing values."
        )
    return (
        f"{name} is discrete: a likelihood cannot be maximized over it by derivatives, and it is latent. Sum it out by "
        f"writing the marginal distribution (a pm.Mixture, say), or fix it: fix={{{name!r}: ...}}."
    )


def check_data(model: pm.Model, held: Collection[str] = ()) -> None:
    """Refuse data that no likelihood can be computed from.

    Parameters
    ----------
    model : pm.Model
    held : collection of str
        Variables held at a value.

    Raises
    ------
    ModelError
        Names the variable, the rows and the remedy.
    """
    limits_allowed = {rv.name for rv in model.observed_RVs if _may_be_infinite(rv)}
    for name, values in observed_data(model).items():
        if values.size == 0:
            raise ModelError(f"{name} has no observations. Check what was passed as observed=.")
        _check_finite(name, values, infinite=name in limits_allowed)
    for name, values in constant_data(model).items():
        _check_finite(name, values, infinite=False)
    for rv in model.observed_RVs:
        _check_arrays(model, rv)
        _check_spread(model, rv, held)


def _may_be_infinite(rv: Variable) -> bool:
    """Censored at infinity is a value like any other."""
    return isinstance(rv.owner.op, MeasurableClip) or "Censored" in type(rv.owner.op).__name__


def _check_finite(name: str, values: np.ndarray, infinite: bool) -> None:
    if values.dtype.kind not in "fc":
        return
    for what, bad in (("NaN", np.isnan(values)), ("an infinite value", np.isinf(values) & (not infinite))):
        if np.any(bad):
            rows = np.unique(np.argwhere(bad)[:, 0]) if values.ndim else np.array([], dtype=int)
            where = f" in row {rows[0]}" if rows.size == 1 else f" in rows {_rows(rows)}" if rows.size else ""
            raise ModelError(
                f"{name} contains {what}{where} (counted from 0). Remove or correct "
                f"{'it' if rows.size < 2 else 'them'} before fitting."
            )


def _rows(rows: np.ndarray) -> str:
    shown = ", ".join(map(str, rows[:5]))
    return f"{shown} and {rows.size - 5} more" if rows.size > 5 else shown


def _check_spread(model: pm.Model, rv: Variable, held: Collection[str]) -> None:
    """A constant response is fitted exactly by a constant, and the scale then shrinks to zero without bound."""
    positions = _SCALES.get(type(rv.owner.op).__name__)
    values = observed_data(model)[rv.name]
    if positions is None or values.size < 2 or np.ptp(values) > 0:
        return
    location, scale = (rv.owner.op.dist_params(rv.owner)[position] for position in positions)
    others = [other for other in model.observed_RVs if other is not rv]
    elsewhere = set(ancestors([i for other in others for i in other.owner.inputs]))
    behind = set(ancestors([scale])) - elsewhere
    free = [other.name for other in model.free_RVs if other.name not in held and other in behind]
    if free and _reaches_constants(model, location, values.shape, held):
        raise ModelError(
            f"All {values.size} values of {rv.name} are {np.ravel(values)[0]:g}: the likelihood has no maximum in the "
            f"scale ({', '.join(free)}), which shrinks to zero. Check the data, or hold the scale at a value with fix=."
        )


def _reaches_constants(model: pm.Model, location: Variable, shape: tuple[int, ...], held: Collection[str]) -> bool:
    """Whether a location has an intercept: a direction of the parameters that moves all of it alike."""
    names = [rv.name for rv in model.free_RVs if rv.name not in held and rv.dtype not in discrete_dtypes]
    parameters = Parameters(model, names)
    with backends.without_c_compiler():
        [graph] = parameters.replace(model.replace_rvs_by_values([location]))
        [flat] = backends.simplify([pt.broadcast_to(backends.as_tensor(graph), shape).ravel().astype("float64")])
    slopes = Jacobian(flat, parameters.x)(parameters.initial)
    ones = np.ones(len(slopes))
    weights, *_ = np.linalg.lstsq(slopes, ones, rcond=None)
    return bool(np.allclose(slopes @ weights, ones, atol=1e-6))


def _check_arrays(model: pm.Model, rv: Variable) -> None:
    """Arrays that were put into the graph without `pm.Data`: a covariate with NaN makes everything NaN."""
    stop = set(model.basic_RVs) - {rv}
    for variable in ancestors(rv.owner.inputs, blockers=stop):
        if not isinstance(variable, Constant) or isinstance(variable.owner, RandomVariable):
            continue
        data = getattr(variable, "data", None)
        if not isinstance(data, np.ndarray) or data.size < 2 or data.dtype.kind != "f":
            continue
        # Infinite limits of a censored, truncated or custom distribution are as good as any
        limits = any(word in type(rv.owner.op).__name__ for word in ("Clip", "Censored", "Truncated", "Custom"))
        for what, bad in (("NaN", np.isnan(data)), ("an infinite value", np.isinf(data) & (not limits))):
            if np.any(bad):
                rows = np.unique(np.argwhere(bad)[:, 0])
                raise ModelError(
                    f"An array of shape {data.shape} that {rv.name} depends on (a covariate, say) contains {what} in "
                    f"row{'s' if rows.size > 1 else ''} {_rows(rows)} (counted from 0). Remove or correct them."
                )


def different(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> str:
    """What differs between two sets of data, in words; empty where nothing does."""
    for name, values in first.items():
        other = second[name]
        if np.shape(values) != np.shape(other):
            return f"{name} has shape {np.shape(values)} in one and {np.shape(other)} in the other"
        numbers = np.asarray(values, dtype=float), np.asarray(other, dtype=float)
        if not np.array_equal(*numbers, equal_nan=True):
            rows = np.argwhere(~((numbers[0] == numbers[1]) | (np.isnan(numbers[0]) & np.isnan(numbers[1]))))
            where = f", first in row {rows[0][0]} (counted from 0)" if rows.shape[1] else ""
            return f"{name} differs in {len(rows)} of {numbers[0].size} values{where}"
    return ""
