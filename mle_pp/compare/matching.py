"""Whether a posterior is of the same model and data as an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from mle_pp.checks import different
from mle_pp.conventions import select
from mle_pp.datatree import check_layout, fingerprint
from mle_pp.errors import ModelError
from mle_pp.intervals import wald_intervals
from mle_pp.layout import Entry, Layout

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

SAMPLE_DIMS = ("chain", "draw")


def quantities(est: Estimate) -> xr.Dataset:
    """The values that a comparison is about: parameters, `Deterministic`s, and what was integrated, at its mode."""
    return est.params.merge(est.derived).merge(est.latent[_integrated(est)])


def errors(est: Estimate) -> xr.Dataset:
    """Their standard errors."""
    latent = xr.Dataset({name: est.latent[f"{name}_se"] for name in _integrated(est)})
    return est.stderr().merge(latent)


def wald(est: Estimate, prob: float) -> xr.Dataset:
    """Their Wald intervals; those of integrated variables are symmetric about the mode."""
    names, z = _integrated(est), -ndtri((1 - prob) / 2)
    sides = xr.DataArray([-z, z], coords={"ci_bound": ["lower", "upper"]}, dims="ci_bound")
    return wald_intervals(est, prob).merge(est.latent[names] + sides * errors(est)[names])


def layout_of(est: Estimate, names: Sequence[str]) -> Layout:
    """The labelled scalars of these variables, parameters first."""
    latent = [
        Entry(str(name), tuple(map(str, array.dims)), tuple(tuple(array[dim].values.tolist()) for dim in array.dims))
        for name, array in est.latent[_integrated(est)].items()
    ]
    return Layout(tuple(entry for entry in (*est._layout, *est._derived_layout, *latent) if entry.name in names))


def _integrated(est: Estimate) -> list[str]:
    """The variables of `est.latent` that are no standard errors."""
    return [str(name) for name in est.latent if f"{name}_se" in est.latent]


def matched_posterior(
    est: Estimate,
    idata: Any,
    var_names: str | Sequence[str] | None,
    filter_vars: str | None,
    values: xr.Dataset | None = None,
) -> tuple[xr.Dataset, str]:
    """The chosen variables of the posterior, in the estimate's order of coordinates.

    Parameters
    ----------
    est, idata, var_names, filter_vars
        As for `compare`.
    values : xr.Dataset, optional
        What there is to choose from. Default: parameters and `Deterministic`s.

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
    posterior = group_of(idata, "posterior")
    if posterior is None:
        raise ModelError("idata has no group posterior: sample the model with pm.sample().")
    estimates = est.params.merge(est.derived) if values is None else values
    names = [str(name) for name in estimates.data_vars if name in est.params or name in posterior]
    chosen = select(estimates[names], var_names, filter_vars)
    missing = [name for name in chosen if name not in posterior]
    if missing:
        raise ModelError(
            f"{', '.join(missing)} is not in the posterior, which holds {', '.join(map(str, posterior.data_vars))}: it "
            f"is of another model. If var_names= of pm.sample left it out, leave it out here: "
            f"var_names={[f'~{name}' for name in missing]}."
        )
    layout = layout_of(est, chosen)
    check_layout(layout, posterior.isel(chain=0, draw=0), "the posterior")
    unchecked = " ".join(filter(None, [_check_data(est, idata), _check_intercept(est, posterior, chosen)]))
    return aligned(posterior, layout)[chosen].assign_attrs(posterior.attrs), unchecked


def aligned(draws: xr.Dataset, layout: Layout) -> xr.Dataset:
    """These variables of a posterior or prior, in the layout's order of dims and coordinates.

    By label where labels are unique; equal labels that repeat can only be in the same order.
    """
    found = {}
    for entry in layout:
        array = draws[entry.name].transpose(*SAMPLE_DIMS, *entry.dims)
        unique = {d: list(c) for d, c in zip(entry.dims, entry.coords, strict=True) if len(set(c)) == len(c)}
        found[entry.name] = array.sel(unique) if unique else array
    return xr.Dataset(found)


def group_of(idata: Any, name: str) -> xr.Dataset | None:
    """A group of a DataTree, or of whatever else holds datasets by name."""
    try:
        group = idata[name]
    except (KeyError, TypeError):
        return None
    return group if isinstance(group, xr.Dataset) else group.to_dataset()


def _check_intercept(est: Estimate, posterior: xr.Dataset, chosen: Sequence[str]) -> str:
    """Bambi reports the intercepts of its formula, `pm.sample` those of centered predictors."""
    shifted = [name for name in chosen if est.roles.formula is not None and name in est.roles.formula.shifts]
    ours = posterior.attrs.get("inference_library") == "mle_pp"
    if not shifted or ours or posterior.attrs.get("modeling_interface") == "bambi":
        return ""
    return (
        f"idata does not say that it comes from the Bambi model's fit(): if pm.sample() made it, its "
        f"{', '.join(shifted)} is that of centered predictors, and not the formula's."
    )


def _check_data(est: Estimate, idata: Any) -> str:
    weights = est._objective.weights
    if weights is not None and np.any(weights != 1):
        raise ModelError(
            "The estimate has case weights, and the posterior counts every row once. Repeat the rows in the model's "
            "data, or fit it without weights=."
        )
    groups = [group_of(idata, name) for name in ("observed_data", "constant_data")]
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
    changed = changed_data({name: fitted[name] for name in sampled}, sampled)
    if changed:
        raise ModelError(
            f"The posterior is of other data than the estimate: {changed}. Fit and sample with the same data."
        )
    # PyMC does not store a container whose content an observed variable holds
    known = [*observed, *sampled, *(n for n in fitted if any(np.array_equal(fitted[n], fitted[o]) for o in observed))]
    unknown = [name for name in fitted if name not in known]
    return f"idata does not hold {', '.join(unknown)}, so it is not checked." if unknown else ""


def changed_data(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """What differs between two sets of data, in words; of stored ones that may be the fingerprint alone."""
    whole: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name in first:
        pair = first[name], second[name]
        if not any(isinstance(values, dict) for values in pair):
            for part, values in zip(whole, pair, strict=True):
                part[name] = values
        elif len({str(v if isinstance(v, dict) else fingerprint(v)) for v in pair}) > 1:
            return f"{name} is not what it was when the estimate was stored"
    return different(*whole)


def _in_order(array: xr.DataArray, coords: Mapping[str, Any]) -> np.ndarray:
    """Values in the order of the model's coordinates, where the same labels are in another one."""
    for dim in array.dims:
        known = coords.get(str(dim))
        if known is None or dim not in array.coords or len(set(known)) != len(known):
            continue
        if set(known) == set(array[dim].values.tolist()):
            array = array.sel({dim: list(known)})
    return array.values
