"""The columns of a comparison of one estimate with one posterior."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from mle_pp.checks import different
from mle_pp.compare.matching import SAMPLE_DIMS, aligned, errors, group_of, layout_of, quantities, wald
from mle_pp.compare.posterior import MAX_RHAT, MIN_ESS, advice, diagnostics, divergences, doubts, limits, moments
from mle_pp.compare.proper import is_flat, refuse_improper
from mle_pp.compare.reading import overlap
from mle_pp.conventions import bounds
from mle_pp.datatree import check_layout
from mle_pp.errors import EstimationError, ModelError, ProfileWarning, VerdictWarning
from mle_pp.find import find_MAP
from mle_pp.intervals import interval
from mle_pp.objective import constant_data, observed_data

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate
    from mle_pp.layout import Layout


def contrasts(
    est: Estimate,
    idata: Any,
    posterior: xr.Dataset,
    kind: str,
    prob: float,
    ci_kind: str,
    map_estimate: Estimate | None,
    bootstrap: Any,
    notes: list[str],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """All columns, and the facts that words about them need besides."""
    names = [str(name) for name in posterior.data_vars]
    layout = layout_of(est, names)
    if map_estimate is None and is_flat(est, idata):
        refuse_improper("idata", est)
        map_estimate = est
        notes.append("The posterior is that of flat priors: the estimate is its mode.")
    mode = posterior_mode(est, map_estimate, names, notes)
    columns: dict[str, xr.Dataset] = {est.kind: quantities(est)[names], "se": errors(est)[names]}
    for each in dict.fromkeys(("wald", kind)):
        columns |= confidence(est, names, each, prob, bootstrap, notes)
    mine = list(columns)
    columns |= moments(posterior)
    columns |= dict(zip(bounds(ci_kind, prob), limits(posterior, ci_kind, prob), strict=True))
    frame = pd.DataFrame({column: layout.vector(dataset) for column, dataset in columns.items()}, index=layout.labels)
    if est.verdict.status.is_failure:
        # Where the search ended is no estimate
        frame[mine] = np.nan
    _add_contrasts(frame, est.kind, layout.vector(mode), bounds(kind, prob), bounds(ci_kind, prob))
    facts = facts_of(est, idata, posterior) | {"kind": kind, "ci_kind": ci_kind, "ci_prob": prob}
    _add_diagnostics(frame, layout, posterior, facts)
    _add_prior(frame, layout, idata)
    return frame, facts


def facts_of(est: Estimate, idata: Any, posterior: xr.Dataset) -> dict[str, Any]:
    """What a reading is about besides the numbers."""
    unknown = [f.variables for f in est.verdict.findings if f.kind == "not_identified"]
    return {
        "estimate": est.kind,
        "status": str(est.verdict.status),
        "verdict": est.verdict.message,
        "failed": est.verdict.status.is_failure,
        "not_identified": [label for variables in unknown for label in variables],
        "chains": posterior.sizes["chain"],
        "draws": posterior.sizes["draw"],
        "divergences": divergences(idata),
        "advice": advice(posterior),
    }


def confidence(
    est: Estimate, names: Sequence[str], kind: str, prob: float, bootstrap: Any, notes: list[str]
) -> dict[str, xr.Dataset]:
    """The limits of a confidence interval, by column; what a profile warns of becomes a note."""
    if kind == "wald":
        found = wald(est, prob)[list(names)]
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            own = [name for name in names if name in est.params or name in est.derived]
            # Only the Wald intervals are of integrated variables, too
            found = xr.full_like(wald(est, prob)[list(names)], np.nan)
            found.update(interval(est, own, kind=kind, ci_prob=prob, bootstrap=bootstrap))
        for warning in caught:
            if issubclass(warning.category, ProfileWarning):
                notes.append(str(warning.message))
            else:
                warnings.warn(warning.message, stacklevel=4)
    sides = (found.sel(ci_bound=side, drop=True) for side in ("lower", "upper"))
    return dict(zip(bounds(kind, prob), sides, strict=True))


def _add_contrasts(
    frame: pd.DataFrame, own: str, mode: np.ndarray, confidence: tuple[str, str], credible: tuple[str, str]
) -> None:
    """The differences between estimate, mode and mean in standard errors; the widths and the overlap of intervals."""
    unit, names = units(frame, own)
    with np.errstate(all="ignore"):
        frame["shift"] = (frame["mean"] - frame[own]) / unit
        frame["prior_pull"] = (mode - frame[own]) / unit
        frame["asymmetry"] = (frame["mean"] - mode) / unit
        theirs, mine = (frame[upper] - frame[lower] for lower, upper in (credible, confidence))
        frame["width_ratio"] = theirs / mine
    frame["overlap"] = overlap(frame, confidence, credible)
    frame["unit"] = names


def units(frame: pd.DataFrame, own: str) -> tuple[pd.Series, np.ndarray]:
    """What differences are divided by: the standard error, or the posterior's standard deviation where it is withheld.

    Constants, such as the diagonal of a correlation matrix, have none.
    """
    known = frame["se"].notna()
    unit = frame["se"].where(known, frame["sd"])
    return unit.where(~(unit <= 1e-12 * frame[own].abs())), np.where(known, "se", "sd")


def doubts_of(est: Estimate, idata: Any, posterior: xr.Dataset) -> dict[str, str]:
    """What speaks against believing these variables of a posterior, in a few words and in a sentence each."""
    layout = layout_of(est, [str(name) for name in posterior.data_vars])
    checks = _checks(layout, posterior)
    return doubts(layout.labels, checks["r_hat"], checks["ess_bulk"], facts_of(est, idata, posterior))


def _checks(layout: Layout, posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """r-hat and effective sample sizes, a number a scalar."""
    return {name: layout.vector(dataset) for name, dataset in diagnostics(posterior).items()}


def _add_diagnostics(frame: pd.DataFrame, layout: Layout, posterior: xr.Dataset, facts: dict[str, Any]) -> None:
    """r-hat and effective sample sizes, where one of them warns."""
    found = _checks(layout, posterior)
    if np.any(found["r_hat"] > MAX_RHAT) or np.any(found["ess_bulk"] < MIN_ESS * facts["chains"]):
        for name, values in found.items():
            frame[name] = values


def _add_prior(frame: pd.DataFrame, layout: Layout, idata: Any) -> None:
    """Mean and standard deviation of the prior draws, where there are any."""
    prior = group_of(idata, "prior")
    if prior is None or any(entry.name not in prior for entry in layout):
        return
    check_layout(layout, prior.isel(chain=0, draw=0), "the prior")
    draws = aligned(prior, layout)
    frame["prior_mean"] = layout.vector(draws.mean(SAMPLE_DIMS))
    frame["prior_sd"] = layout.vector(draws.std(SAMPLE_DIMS, ddof=1))


# -- the posterior mode -------------------------------------------------------------------------------------------


def posterior_mode(est: Estimate, given: Estimate | None, names: Sequence[str], notes: list[str]) -> xr.Dataset:
    """The posterior mode; NaN, with a note, where there is none."""
    mode = est if given is None and est.kind == "map" else given
    if mode is None:
        try:
            mode = _find_mode(est)
        except (ModelError, EstimationError) as error:
            notes.append(f"No posterior mode, so no prior_pull and asymmetry. {error}")
            return xr.full_like(quantities(est), np.nan)
    found = quantities(mode)
    missing = [name for name in names if name not in found]
    if missing:
        raise ModelError(f"map_estimate has no {', '.join(missing)}: it is of another model.")
    return found


def _find_mode(est: Estimate) -> Estimate:
    now = {**observed_data(est.model), **constant_data(est.model)}
    changed = different(est._objective.data, now)
    if changed:
        raise ModelError(f"The data of the model have changed since the fit ({changed}): set them back.")
    with warnings.catch_warnings():
        # What it says about single scalars shows in the table as NaN
        warnings.simplefilter("ignore", VerdictWarning)
        return find_MAP(est.roles.formula or est.model, fix=est._objective.parameters.fixed or None)
