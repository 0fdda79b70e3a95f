"""A Bambi model at other data: the arrays of its design that are constants of its graph, evaluated anew.

Bambi's models hold no `pm.Data`. Their formulas evaluate new data as they evaluated those of the fit (with the same
knots of a spline, the same levels of a category), and the means that were subtracted stay those of the fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors, toposort

from mle_pp import backends
from mle_pp.errors import ModelError
from mle_pp.formula import Formula

# An array of the graph, what takes its place, and the term it belongs to.
Exchange = tuple[np.ndarray, np.ndarray, str]


def new_levels(formula: Formula, newdata: pd.DataFrame) -> dict[str, list[str]]:
    """The groups that the data of the fit did not have, by the dim of the group-specific effects.

    Of factors that are a column: those of an interaction are refused where they are evaluated.
    """
    found: dict[str, list[str]] = {}
    for part in formula.parts.values():
        for term in part.component.group_specific_terms.values():
            factor = term.term.factor
            if len(factor.components) == 1 and factor.name in newdata:
                labels = newdata[factor.name].astype(str)
                new = list(dict.fromkeys(labels[~labels.isin([str(level) for level in factor.levels])]))
                if new:
                    found[f"{factor.name}__factor_dim"] = new
    return found


def redesigned(formula: Formula, newdata: pd.DataFrame, added: Mapping[str, Sequence[str]]) -> dict[Variable, Variable]:
    """The constants of a Bambi model's graph that depend on its data, and what they are at new data.

    Parameters
    ----------
    formula : Formula
    newdata : pd.DataFrame
        With the columns that the formula's right-hand sides use; for the mean of binomial counts the trials, too.
    added : mapping of str to sequence of str
        New groups, as `new_levels` has them: they are counted on from those of the fit.

    Raises
    ------
    ModelError
        A column that is missing, a category that the data of the fit did not have or a group not in `added`, values
        that are no finite numbers, or a model whose arrays are not found.
    """
    found: dict[Variable, Variable] = {}
    done: set[Variable] = set()
    rows = len(formula.source.response_term.data)
    for name, part in formula.parts.items():
        constants = _constants(formula, [formula.model[name]])
        for column in constants:
            # Of the reference category, say: in each row the same
            if column.data.shape == (rows, 1) and np.all(column.data == column.data[0]):
                found[column] = backends.as_tensor(np.repeat(column.data[:1], len(newdata), axis=0))
        for old, new, term in _exchanges(part, newdata, added):
            same = [v for v in constants if _equal(v.data, old)]
            if not same:
                raise ModelError(
                    f"newdata: the array of {term} is not found in the graph of {name}, so that it cannot be exchanged."
                )
            for constant in same:
                if constant in done and not _equal(found[constant].data, new):
                    raise ModelError(
                        f"newdata: {term} has the same values as another term in the data of the fit, and others here, "
                        f"so that the two cannot be told apart in the graph."
                    )
                found[constant] = backends.as_tensor(np.asarray(new))
                done.add(constant)
    trials = _trials(formula, newdata)
    if trials is not None:
        old, new = trials
        inputs = [v for rv in formula.model.observed_RVs for v in rv.owner.inputs]
        direct = [v for v in _constants(formula, inputs) if v not in done and _equal(v.data, old)]
        found |= {v: backends.as_tensor(np.asarray(new)) for v in direct}
    return found


def rebuilt(outputs: Sequence[Variable], replaced: Mapping[Variable, Variable]) -> list[Variable]:
    """Graphs with constants replaced by others of any length: what depends on them is made anew."""
    if not replaced:
        return list(outputs)
    made = dict(replaced)
    for node in toposort(outputs):
        if any(variable in made for variable in node.inputs):
            inputs = [made.get(variable, variable) for variable in node.inputs]
            if isinstance(node.op, OpFromGraph):
                # Its own graph insists on the lengths it was made with
                new = rebuilt(node.op.inner_outputs, dict(zip(node.op.inner_inputs, inputs, strict=True)))
            else:
                new = node.op.make_node(*inputs).outputs
            made.update(zip(node.outputs, new, strict=True))
    return [made.get(variable, variable) for variable in outputs]


def _constants(formula: Formula, outputs: Sequence[Variable]) -> list[Any]:
    """Arrays that these depend on, without those of priors."""
    found = ancestors(outputs, blockers=formula.model.free_RVs)
    return [v for v in found if isinstance(v, Constant) and isinstance(v.data, np.ndarray) and v.data.ndim]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other))


def _exchanges(part: Any, newdata: pd.DataFrame, added: Mapping[str, Sequence[str]]) -> Iterator[Exchange]:
    """The arrays of one parameter's linear predictor."""
    component, design = part.component, part.component.design
    if component.hsgp_terms:
        raise ModelError(
            f"newdata: {', '.join(component.hsgp_terms)} is a Gaussian process, which is not evaluated at new data."
        )
    if design.common is not None:
        columns = _evaluated(lambda: design.common.evaluate_new_data(newdata).design_matrix, newdata)
        slices = design.common.slices
        if component.common_terms:
            old = np.column_stack([term.data for term in component.common_terms.values()])
            new = np.column_stack([columns[:, slices[name]] for name in component.common_terms])
            if part.design_matrix_without_intercept is not None:
                old, new = old - old.mean(0), new - old.mean(0)
            yield old, _finite(new, ", ".join(component.common_terms)), ", ".join(component.common_terms)
        for name, term in component.offset_terms.items():
            yield term.data, _finite(np.ravel(columns[:, slices[name]]), name), name
    for name, term in component.group_specific_terms.items():
        yield from _of_group(name, term, newdata, added)


def _of_group(name: str, term: Any, newdata: pd.DataFrame, added: Mapping[str, Sequence[str]]) -> Iterator[Exchange]:
    """Bambi picks each row's group by its place, and multiplies by the predictor."""
    factor, known = term.term.factor, newdata
    new = list(added.get(f"{factor.name}__factor_dim", ()))
    is_new = np.zeros(len(newdata), dtype=bool)
    if new:
        labels = newdata[factor.name].astype(str)
        is_new = labels.isin(new).to_numpy()
        # Formulas know the levels of the fit only: a new group stands under the first of these until it is counted
        known = newdata.assign(**{factor.name: newdata[factor.name].where(~is_new, factor.components[0].levels[0])})
    groups = _evaluated(lambda: np.asarray(factor.eval_new_data(known)), newdata)
    places = groups.reshape(len(newdata), -1).argmax(axis=1)
    if new:
        places[is_new] = [len(factor.levels) + new.index(label) for label in labels[is_new]]
    yield term.group_index, places, name
    old = np.asarray(term.predictor)
    values = _evaluated(lambda: np.asarray(term.term.expr.eval_new_data(newdata)), newdata)
    yield old, _finite(values.reshape(len(newdata), *old.shape[1:]), name), name


def _trials(formula: Formula, newdata: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    """The numbers of trials of binomial counts, where new data have them: the second column of the response."""
    response = formula.source.response_term
    if formula.source.family.name not in ("binomial", "beta_binomial"):
        return None
    missing = [name for name in response.term.var_names if name not in newdata]
    if len(missing) > 1:
        return None
    # What is to be predicted need not be given
    new = np.asarray(response.evaluate_new_data(newdata.assign(**dict.fromkeys(missing, 0))))[:, 1]
    return (response.data[:, 1], new) if np.all(new > 0) else None


def _evaluated(evaluate: Any, newdata: pd.DataFrame) -> np.ndarray:
    try:
        return evaluate()
    except KeyError as error:
        given = ", ".join(map(str, newdata.columns))
        raise ModelError(f"newdata ({given}) has no column {error.args[0]}, which the formula uses.") from error
    except Exception as error:
        # Whatever an expression of the formula raises, and unknown levels
        raise ModelError(f"newdata: the formula cannot be evaluated. {str(error).splitlines()[0]}") from error


def _finite(values: np.ndarray, term: str) -> np.ndarray:
    if not np.all(np.isfinite(values)):
        row = np.argwhere(~np.isfinite(values))[0][0]
        raise ModelError(f"newdata: {term} is NaN or infinite, first in row {row} (counted from 0).")
    return values
