"""The estimate against the posterior of the same model and data, scalar by scalar."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import eti, hdi, mcse

from mle_pp.checks import different
from mle_pp.conventions import bounds, one_of, probability, select
from mle_pp.datatree import check_layout
from mle_pp.errors import EstimationError, ModelError, VerdictWarning
from mle_pp.find import find_MAP
from mle_pp.intervals import wald_intervals
from mle_pp.layout import Layout
from mle_pp.objective import constant_data, observed_data
from mle_pp.table import rounded

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

SAMPLE_DIMS = ("chain", "draw")
CI_KINDS: dict[str, Any] = {"eti": eti, "hdi": hdi}


def compare(
    est: Estimate,
    idata: Any,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    ci_prob: float | None = None,
    ci_kind: str = "eti",
    map_estimate: Estimate | None = None,
    round_to: int | str | None = "auto",
) -> pd.DataFrame:
    """Estimate and posterior of the same model, side by side, and where their difference comes from.

    Parameters
    ----------
    est : Estimate
    idata : DataTree
        With a group ``posterior`` of the same model and data, as `pm.sample` returns it. Its groups
        ``observed_data`` and ``constant_data`` are compared with the data of the estimate.
    var_names : str or list of str, optional
        Default: all parameters, and the `Deterministic`s that the posterior holds. A name with ``~`` in front is left
        out.
    filter_vars : {None, "like", "regex"}
        How `var_names` are matched, as in ArviZ.
    ci_prob : float, optional
        Of both intervals. Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    ci_kind : {"eti", "hdi"}
        The posterior's interval: equal tails, or highest density.
    map_estimate : Estimate, optional
        The posterior mode. Default: `find_MAP` of the model.
    round_to : int, "auto" or "none"
        As in ArviZ: "auto" keeps the numbers and shows as many digits as their errors warrant.

    Returns
    -------
    pd.DataFrame
        A row a labelled scalar, on the user's scale:

        - ``mle, se, wald89_lb, wald89_ub``: the estimate, its standard error and Wald interval;
        - ``mean, mcse_mean, sd, eti89_lb, eti89_ub``: the posterior's mean, its Monte Carlo error, standard deviation
          and interval;
        - ``shift``: (mean − mle) / se, the sum of the next two;
        - ``prior_pull``: (MAP − mle) / se, what the prior does to the maximum;
        - ``asymmetry``: (mean − MAP) / se, what comes from averaging over a skewed posterior;
        - ``width_ratio``: the width of the posterior's interval over that of the Wald interval;
        - ``unit``: "se", or "sd" where the standard error is withheld and the posterior's standard deviation serves in
          its place for the three above.

        ``attrs["notes"]`` is a list of what could not be computed or checked, and why. The posterior mode depends on
        the parametrization: this is the mode on the user's scale.

    Raises
    ------
    ModelError
        There is no posterior, or it is one of another model or of other data (the message names the variable), or the
        estimate has case weights, of which a posterior knows nothing.

    Warns
    -----
    UserWarning
        `idata` holds no data, so that it cannot be checked whether the posterior is of the same ones.

    Examples
    --------
    A normal mean with known standard deviation 2, and its exact posterior N(2.4, 0.894) under the prior N(0, 2):

    >>> import arviz as az
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> y = np.array([1.0, 2.0, 3.0, 6.0])
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 2)
    ...     _ = pm.Normal("y", mu, 2, observed=y)
    >>> draws = np.random.default_rng(0).normal(2.4, 0.8944, size=(4, 1000))
    >>> idata = az.from_dict({"posterior": {"mu": draws}, "observed_data": {"y": y}})
    >>> table = mle.compare(mle.find_MLE(model), idata, round_to=3)
    >>> table[["mle", "se", "prior_pull", "unit"]].to_dict("index")
    {'mu': {'mle': 3.0, 'se': 1.0, 'prior_pull': -0.6, 'unit': 'se'}}
    """
    one_of("ci_kind", ci_kind, tuple(CI_KINDS))
    prob = probability(ci_prob)
    notes: list[str] = []
    posterior, unchecked = matched_posterior(est, idata, var_names, filter_vars)
    if unchecked:
        warnings.warn(unchecked, UserWarning, stacklevel=2)
        notes.append(unchecked)
    names = [str(name) for name in posterior.data_vars]
    layout = _layout(est, names)
    estimates = est.params.merge(est.derived)
    mode = _mode(est, map_estimate, names, notes)
    with warnings.catch_warnings():
        # A single chain is no mistake here: only its mean and interval are asked for
        warnings.filterwarnings("ignore", message="Your data appears to have a single")
        post = {
            "mean": posterior.mean(SAMPLE_DIMS),
            "mcse_mean": mcse(posterior, sample_dims=list(SAMPLE_DIMS), method="mean"),
            "sd": posterior.std(SAMPLE_DIMS, ddof=1),
        }
        interval = CI_KINDS[ci_kind](posterior, prob=prob, dim=list(SAMPLE_DIMS))
    lower, upper = "lower", "upper"
    confidence = wald_intervals(est, prob)[names]
    columns: dict[str, xr.Dataset] = {est.kind: estimates[names], "se": est.stderr()[names]}
    columns |= dict(zip(bounds("wald", prob), (confidence.sel(ci_bound=b) for b in (lower, upper)), strict=True))
    columns |= post
    columns |= dict(zip(bounds(ci_kind, prob), (interval.sel(ci_bound=b) for b in (lower, upper)), strict=True))
    frame = pd.DataFrame({column: layout.vector(dataset) for column, dataset in columns.items()}, index=layout.labels)
    _add_contrasts(frame, est.kind, layout.vector(mode), prob, ci_kind)
    withheld = list(frame.index[frame["unit"] == "sd"])
    if withheld:
        notes.append(f"No standard error for {', '.join(withheld)}: in units of the posterior's standard deviation.")
    errors = dict.fromkeys((est.kind, *bounds("wald", prob)), "se") | dict.fromkeys(bounds(ci_kind, prob), "sd")
    table = rounded(frame, round_to, errors | _ERRORS)
    table.attrs["notes"] = notes
    return table


# The column whose size, or the size itself, that says how many digits are worth showing
_ERRORS: dict[str, str | float] = {
    "mean": "mcse_mean",
    "shift": 0.1,
    "prior_pull": 0.1,
    "asymmetry": 0.1,
    "width_ratio": 0.1,
}


def _add_contrasts(frame: pd.DataFrame, kind: str, mode: np.ndarray, prob: float, ci_kind: str) -> None:
    """The differences between estimate, mode and mean in standard errors, and the ratio of the intervals' widths."""
    own = frame["se"].notna()
    unit = frame["se"].where(own, frame["sd"])
    # Constants, such as the diagonal of a correlation matrix, have no contrasts
    unit = unit.where(~(unit <= 1e-12 * frame[kind].abs()))
    with np.errstate(all="ignore"):
        frame["shift"] = (frame["mean"] - frame[kind]) / unit
        frame["prior_pull"] = (mode - frame[kind]) / unit
        frame["asymmetry"] = (frame["mean"] - mode) / unit
        (wald_lb, wald_ub), (lb, ub) = bounds("wald", prob), bounds(ci_kind, prob)
        frame["width_ratio"] = (frame[ub] - frame[lb]) / (frame[wald_ub] - frame[wald_lb])
    frame["unit"] = np.where(own, "se", "sd")


def _layout(est: Estimate, names: Sequence[str]) -> Layout:
    """The labelled scalars of these variables, parameters first."""
    return Layout(tuple(entry for entry in (*est._layout, *est._derived_layout) if entry.name in names))


def _mode(est: Estimate, given: Estimate | None, names: list[str], notes: list[str]) -> xr.Dataset:
    """The posterior mode; NaN, with a note, where there is none."""
    mode = est if given is None and est.kind == "map" else given
    if mode is None:
        try:
            mode = _find_mode(est)
        except (ModelError, EstimationError) as error:
            notes.append(f"No posterior mode, so no prior_pull and asymmetry. {error}")
            return xr.full_like(est.params.merge(est.derived), np.nan)
    found = mode.params.merge(mode.derived)
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
        return find_MAP(est.model, fix=est._objective.parameters.fixed or None)


# -- is it the same model, and are they the same data? ------------------------------------------------------------


def matched_posterior(
    est: Estimate, idata: Any, var_names: str | Sequence[str] | None, filter_vars: str | None
) -> tuple[xr.Dataset, str]:
    """The chosen variables of the posterior, in the estimate's order of coordinates.

    Returns
    -------
    posterior : xr.Dataset
    unchecked : str
        What could not be checked, and why; empty where everything was.

    Raises
    ------
    ModelError
        There is no posterior, or it is one of another model or of other data.
    """
    posterior = _group(idata, "posterior")
    if posterior is None:
        raise ModelError("idata has no group posterior: sample the model with pm.sample().")
    estimates = est.params.merge(est.derived)
    names = [str(name) for name in estimates.data_vars if name in est.params or name in posterior]
    chosen = select(estimates[names], var_names, filter_vars)
    missing = [name for name in chosen if name not in posterior]
    if missing:
        raise ModelError(
            f"{', '.join(missing)} is not in the posterior, which holds {', '.join(map(str, posterior.data_vars))}: it "
            f"is of another model. If var_names= of pm.sample left it out, leave it out here: "
            f"var_names={[f'~{name}' for name in missing]}."
        )
    layout = _layout(est, chosen)
    check_layout(layout, posterior.isel(chain=0, draw=0), "the posterior")
    unchecked = _check_data(est, idata)
    aligned = {}
    for entry in layout:
        # By label where labels are unique; equal labels that repeat can only be in the same order
        array = posterior[entry.name].transpose(*SAMPLE_DIMS, *entry.dims)
        unique = {d: list(c) for d, c in zip(entry.dims, entry.coords, strict=True) if len(set(c)) == len(c)}
        aligned[entry.name] = array.sel(unique) if unique else array
    return xr.Dataset({name: aligned[name] for name in chosen}), unchecked


def _group(idata: Any, name: str) -> xr.Dataset | None:
    """A group of a DataTree, or of whatever else holds datasets by name."""
    try:
        group = idata[name]
    except (KeyError, TypeError):
        return None
    return group if isinstance(group, xr.Dataset) else group.to_dataset()


def _check_data(est: Estimate, idata: Any) -> str:
    weights = est._objective.weights
    if weights is not None and np.any(weights != 1):
        raise ModelError(
            "The estimate has case weights, and the posterior counts every row once. Repeat the rows in the model's "
            "data, or fit it without weights=."
        )
    groups = [_group(idata, name) for name in ("observed_data", "constant_data")]
    stored = {str(name): array for group in groups if group is not None for name, array in group.data_vars.items()}
    fitted = est._objective.data
    if not stored:
        return (
            f"idata has no groups observed_data and constant_data, so it is not checked whether the posterior is of "
            f"the data of the estimate ({', '.join(fitted)})."
        )
    observed = [rv.name for rv in est.model.observed_RVs]
    others = [str(name) for name in (groups[0] if groups[0] is not None else ()) if name not in observed]
    others += [name for name in observed if name not in stored]
    if others:
        raise ModelError(
            f"{', '.join(others)} is observed in only one of idata and the estimate: the posterior is of another model."
        )
    sampled = {name: _in_order(array, est.model.coords) for name, array in stored.items() if name in fitted}
    changed = different({name: fitted[name] for name in sampled}, sampled)
    if changed:
        raise ModelError(
            f"The posterior is of other data than the estimate: {changed}. Fit and sample with the same data."
        )
    # PyMC does not store a container whose content an observed variable holds
    known = [*observed, *sampled, *(n for n in fitted if any(np.array_equal(fitted[n], fitted[o]) for o in observed))]
    unknown = [name for name in fitted if name not in known]
    return f"idata does not hold {', '.join(unknown)}, so it is not checked." if unknown else ""


def _in_order(array: xr.DataArray, coords: Mapping[str, Any]) -> np.ndarray:
    """Values in the order of the model's coordinates, where the same labels are in another one."""
    for dim in array.dims:
        known = coords.get(str(dim))
        if known is None or dim not in array.coords or len(set(known)) != len(known):
            continue
        if set(known) == set(array[dim].values.tolist()):
            array = array.sel({dim: list(known)})
    return array.values
