"""Several estimates and posteriors of one model side by side, each a step from the one before."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mle_pp.compare.contrasts import confidence, doubts_of, units
from mle_pp.compare.matching import changed_data, errors, layout_of, matched_posterior, quantities
from mle_pp.compare.posterior import limits, moments
from mle_pp.compare.proper import is_flat, refuse_improper
from mle_pp.conventions import bounds, select
from mle_pp.errors import ModelError
from mle_pp.estimate import Estimate
from mle_pp.layout import Layout
from mle_pp.stored import is_stored


@dataclass(frozen=True)
class Side:
    """One column of the mapping: its values, errors and limits by labelled scalar, and what is to be said of it."""

    kind: str
    value: np.ndarray
    error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    mcse: np.ndarray
    told: list[str] = field(default_factory=list)


def several(
    sides: Mapping[str, Any],
    var_names: str | Sequence[str] | None,
    filter_vars: str | None,
    kind: str,
    prob: float,
    ci_kind: str,
    bootstrap: Any,
    notes: list[str],
) -> tuple[pd.DataFrame, dict[str, Any], Layout]:
    """The table of all sides, the facts for its reading, and the labels."""
    estimates = {name: side for name, side in sides.items() if isinstance(side, Estimate)}
    if len(sides) < 2 or not estimates:
        raise ModelError("A comparison of several takes at least two sides, one of them an estimate.")
    reference = next((est for est in estimates.values() if est.kind == "mle"), next(iter(estimates.values())))
    posteriors = _posteriors(sides, reference, var_names, filter_vars, notes)
    names = [str(name) for name in next(iter(posteriors.values()))] if posteriors else None
    if names is None:
        names = select(quantities(reference), var_names, filter_vars)
    layout = layout_of(reference, names)
    found: dict[str, Side] = {}
    for name, side in sides.items():
        if name in estimates:
            _check_estimate(name, side, reference, names)
            found[name] = _of_estimate(side, layout, names, kind, prob, bootstrap, notes)
        else:
            what = flat_or_not(name, side, reference, notes)
            found[name] = _of_posterior(side, posteriors[name], reference, layout, prob, ci_kind, what)
    first = next(name for name, side in sides.items() if side is reference)
    frame = _table(found, first, layout, prob)
    facts = {
        "names": list(sides),
        "kinds": {name: side.kind for name, side in found.items()},
        "doubts": [f"{name}: {text}" for name, side in found.items() for text in side.told],
    }
    return frame, facts, layout


def _posteriors(
    sides: Mapping[str, Any],
    reference: Estimate,
    var_names: str | Sequence[str] | None,
    filter_vars: str | None,
    notes: list[str],
) -> dict[str, xr.Dataset]:
    """The chosen variables of every posterior; those that all of them hold."""
    found, values = {}, quantities(reference)
    for name, side in sides.items():
        if isinstance(side, Estimate):
            continue
        try:
            found[name], unchecked = matched_posterior(reference, side, var_names, filter_vars, values)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from error
        if unchecked:
            notes.append(f"{name}: {unchecked}")
    common = [v for v in next(iter(found.values()), xr.Dataset()) if all(v in one for one in found.values())]
    return {name: one[common] for name, one in found.items()}


def _check_estimate(name: str, est: Estimate, reference: Estimate, names: Sequence[str]) -> None:
    """Refuse an estimate of another model, of other data or with other weights."""
    if layout_of(est, names) != layout_of(reference, names):
        missing = [n for n in names if n not in quantities(est)]
        which = ", ".join(missing) if missing else "a variable of other dims or coords"
        raise ModelError(f"{name} is an estimate of another model than the others: {which}.")
    changed = changed_data(reference._objective.data, est._objective.data)
    if changed:
        raise ModelError(f"{name} is an estimate from other data than the others: {changed}.")
    given = (e._objective.case_weights for e in (est, reference))
    mine, theirs = (np.ones(1) if weights is None else weights for weights in given)
    if not np.all(mine == theirs):
        raise ModelError(f"{name} is an estimate with other case weights than the others.")


def flat_or_not(name: str, idata: Any, reference: Estimate, notes: list[str]) -> str:
    """Whether a posterior is "flat" or a "posterior"; a flat one that does not exist is refused."""
    if not is_flat(reference, idata, name):
        if name.lower().startswith("flat"):
            notes.append(f"{name}: the density that its sampler kept is not the likelihood alone, so it has priors.")
        return "posterior"
    if is_stored(reference):
        notes.append(f"{name}: without the model it is not checked that its posterior is proper.")
    elif reference.kind == "mle":
        refuse_improper(name, reference)
    else:
        notes.append(f"{name}: without a maximum-likelihood estimate it is not checked that its posterior is proper.")
    return "flat"


def _of_estimate(
    est: Estimate, layout: Layout, names: list[str], kind: str, prob: float, bootstrap: Any, notes: list[str]
) -> Side:
    # The other intervals are of a likelihood
    own = kind if est.kind == "mle" else "wald"
    limits_ = [layout.vector(side) for side in confidence(est, names, own, prob, bootstrap, notes).values()]
    values, spread = layout.vector(quantities(est)[names]), layout.vector(errors(est)[names])
    none = np.full(layout.size, np.nan)
    told = [] if est.verdict.ok else [est.verdict.message]
    if est.verdict.status.is_failure:
        # Where the search ended is no estimate
        return Side(est.kind, none, none, none, none, none, [f"no estimate. {told[0]}"])
    return Side(est.kind, values, spread, limits_[0], limits_[1], none, told)


def _of_posterior(
    idata: Any, posterior: xr.Dataset, reference: Estimate, layout: Layout, prob: float, ci_kind: str, kind: str
) -> Side:
    numbers = {name: layout.vector(dataset) for name, dataset in moments(posterior).items()}
    lower, upper = (layout.vector(side) for side in limits(posterior, ci_kind, prob))
    told = list(doubts_of(reference, idata, posterior).values())
    return Side(kind, numbers["mean"], numbers["sd"], lower, upper, numbers["mcse_mean"], told)


def _table(sides: dict[str, Side], first: str, layout: Layout, prob: float) -> pd.DataFrame:
    """A row a scalar and side, in this order."""
    spread = [side.error for side in sides.values() if side.kind in ("posterior", "flat")]
    own = {"value": sides[first].value, "se": sides[first].error, "sd": spread[-1] if spread else sides[first].error}
    unit, names = units(pd.DataFrame(own), "value")
    lower, upper = bounds("ci", prob)
    frames, before = {}, sides[first].value
    with np.errstate(all="ignore"):
        for k, (name, side) in enumerate(sides.items()):
            columns: dict[str, Any] = {"value": side.value, "error": side.error, lower: side.lower, upper: side.upper}
            columns |= {"mcse": side.mcse, "shift": (side.value - sides[first].value) / unit.to_numpy()}
            columns |= {"step": (side.value - before) / unit.to_numpy() if k else np.nan, "unit": names}
            frames[name] = pd.DataFrame(columns, index=layout.labels)
            before = side.value
    whole = pd.concat(frames, names=["model", "label"]).swaplevel()
    return whole.loc[[(label, name) for label in layout.labels for name in sides]]


def warn_of(facts: Mapping[str, Any], notes: Sequence[str], stacklevel: int) -> None:
    """What speaks against a side, and what could not be checked, as warnings."""
    for text in [*facts["doubts"], *notes]:
        warnings.warn(text, UserWarning, stacklevel=stacklevel)
