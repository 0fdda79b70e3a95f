"""An estimate as an `xarray.DataTree` of flat groups, and back.

Texts that can be long (findings, roles) are variables, not attributes: HDF5 holds attributes up to 64 kB only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray import DataTree

from mle_pp.errors import ModelError
from mle_pp.estimate import Estimate
from mle_pp.formula import Formula, formula_of
from mle_pp.information import Scales, Special
from mle_pp.intervals.wald import elementwise
from mle_pp.layout import Entry, Layout
from mle_pp.marginal import objective_of
from mle_pp.objective import ModelObjective, constant_data, observed_data
from mle_pp.optimize import Optimum, Stop
from mle_pp.roles import Role, RoleKind, Roles, in_context, resolve_model
from mle_pp.stored import Stored, StoredParameters, between
from mle_pp.verdict import Finding, Status, Verdict

GROUPS = ("mle", "unconstrained_mle", "mle_fit", "mle_optimizer_result")
# Groups beside these that figures of a stored estimate are drawn from
LATENT, PROFILE, SIMULATED = "mle_latent", "mle_profile", "mle_simulated"
_PACKAGES = ("mle_pp", "pymc", "pytensor", "arviz", "numpy", "scipy", "xarray")
_CRITERIA = ("loglik", "n_obs", "n_params", "aic", "aicc", "bic")
_DIRECTIONS = tuple(field.name for field in fields(Special))


# -- out ----------------------------------------------------------------------------------------------------------


def to_datatree(est: Estimate) -> DataTree:
    """See `Estimate.to_datatree`."""
    attrs = {
        "kind": est.kind,
        "status": str(est.verdict.status),
        "created_at": datetime.now(UTC).isoformat(),
        "inference_library": "mle_pp",
        "inference_library_version": version("mle_pp"),
        "versions": json.dumps({package: version(package) for package in _PACKAGES}),
    }
    groups = {
        "mle": est.params.merge(est.derived),
        "unconstrained_mle": est._objective.parameters.unconstrained.dataset(est._optimum.x),
        "mle_fit": _fit(est),
        "mle_optimizer_result": _optimizer_result(est),
    }
    if len(est.latent):
        groups[LATENT] = est.latent
    return DataTree.from_dict({name: dataset.assign_attrs(attrs) for name, dataset in groups.items()})


def _fit(est: Estimate) -> xr.Dataset:
    errors, parameters = est.stderr(), est._objective.parameters
    variables: dict[str, Any] = {name: getattr(est, name) for name in _CRITERIA}
    variables |= {
        "covariance": (("parameter", "parameter_"), est.cov().values),
        "covariance_unconstrained": (("unconstrained", "unconstrained_"), est.cov(scale="unconstrained").values),
        "se": ("parameter", est._layout.vector(errors)),
        "se_derived": ("derived", est._derived_layout.vector(errors)),
        "withheld": ("parameter", est._scales.withheld),
        "withheld_derived": ("derived", est._scales.withheld_derived),
        "jacobian": (("parameter", "unconstrained"), est._scales.jacobian),
        "jacobian_derived": (("derived", "unconstrained"), est._scales.derived_jacobian),
        "ends": (("end", "parameter"), _ends(est)),
        "ends_derived": (("end", "derived"), np.stack(parameters.derived_bounds)),
        "basis": (("unconstrained", "direction"), est._basis),
        **{name: (("unconstrained", f"{name}_direction"), getattr(est._scales.special, name)) for name in _DIRECTIONS},
        "message": est.verdict.message,
        "findings": _json([vars(finding) for finding in est.verdict.findings]),
        "roles": _json(
            {
                "potentials": est.roles.potentials,
                "rows": [vars(role) for role in est.roles],
                "is_formula": est.roles.formula is not None,
            }
        ),
        "transforms": _json({name: _transform(t) for name, t in parameters.transforms.items()}),
        "layouts": _json(
            [
                [(entry.name, entry.dims) for entry in layout]
                for layout in (parameters.layout, parameters.derived_layout, parameters.unconstrained)
            ]
        ),
        "fixed": _json(parameters.fixed),
        "quadrature_points": est._objective.quadrature_points,
        "fingerprints": _json({name: fingerprint(values) for name, values in est._objective.data.items()}),
        "observed": _json([rv.name for rv in est.model.observed_RVs]),
    }
    if est._objective.weights is not None:
        variables["weights"] = ("row", est._objective.weights)
    labels = _labels(est._layout.labels)
    inner = _labels(parameters.unconstrained.labels)
    coords = {
        "end": _labels(["lower", "upper"]),
        "parameter": labels,
        "parameter_": labels,
        "derived": _labels(est._derived_layout.labels),
        "unconstrained": inner,
        "unconstrained_": inner,
    }
    return xr.Dataset(variables, coords={dim: (dim, values) for dim, values in coords.items()})


def _transform(transform: Any) -> list[Any] | None:
    return None if transform is None else [transform.name, transform.ndim_supp]


def _ends(est: Estimate) -> np.ndarray:
    """Between which values each parameter's own transform keeps it, shape (2, scalars).

    NaN where the transform is neither the log nor the logit between these ends, so that they do not tell it.
    """
    parameters, x = est._objective.parameters, est._optimum.x
    values = parameters.constrained(x)
    ends = np.tile([[-np.inf], [np.inf]], values.size)
    with np.errstate(all="ignore"):
        for piece, coordinates in elementwise(est):
            far, near = np.zeros((2, x.size))
            far[coordinates], near[coordinates] = 700.0, 1.0
            both = np.sort([parameters.constrained(x + sign * far)[piece] for sign in (-1, 1)], axis=0)
            both = np.where(np.abs(both) > 1e250, np.copysign(np.inf, both), np.where(np.abs(both) < 1e-250, 0, both))
            slope = np.diag(est._scales.jacobian[piece, coordinates])
            told = between(values[piece], both[0], both[1], slope)
            regular = np.isfinite(told)
            known = np.allclose(told[regular], parameters.constrained(x + near)[piece][regular], rtol=1e-9, atol=0)
            ends[:, piece] = both if known else np.nan
    return ends


def _optimizer_result(est: Estimate) -> xr.Dataset:
    optimum, objective = est._optimum, est._objective
    labels, inner = _labels(est._layout.labels), _labels(objective.parameters.unconstrained.labels)
    variables: dict[str, Any] = {
        "optimum_value": optimum.value,
        "gradient": ("unconstrained", optimum.gradient),
        "hessian": (("unconstrained", "unconstrained_"), optimum.hessian),
        "step": ("unconstrained", optimum.step),
        "optimum_stop": optimum.stop.name,
        "optimum_method": optimum.method,
        "optimum_iterations": optimum.iterations,
        "optimum_evaluations": optimum.evaluations,
        "hessian_method": objective.hessian_method,
        "backend": objective.backend,
    }
    for name, column in est.starts.items():
        variables[f"start_{name}"] = _start_column(column)
    return xr.Dataset(
        variables,
        coords={"parameter": labels, "unconstrained": inner, "unconstrained_": inner, "start": est.starts.index},
        attrs={"columns": json.dumps(list(est.starts.columns))},
    )


def _start_column(column: pd.Series) -> tuple[Any, np.ndarray]:
    """A column of the table of starts: one number, one text, or one array of constrained values a start."""
    if len(column) and isinstance(column.iloc[0], np.ndarray):
        return ("start", "parameter"), np.stack(list(column))
    return "start", column.to_numpy() if column.dtype.kind in "ifb" else _labels(column)


def _labels(texts: Any) -> np.ndarray:
    """Texts as an array; also of none."""
    return np.array([str(text) for text in texts], dtype=np.str_)


def fingerprint(values: np.ndarray) -> dict[str, Any]:
    """Shape and SHA-256 of data, the same for the same numbers in another precision or byte order."""
    numbers = np.ascontiguousarray(values, dtype="<f8")
    return {"shape": list(np.shape(values)), "sha256": hashlib.sha256(numbers.tobytes()).hexdigest()}


def _json(content: Any) -> str:
    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)

    return json.dumps(content, default=plain)


# -- and back -----------------------------------------------------------------------------------------------------


def from_datatree(dt: DataTree, model: Any = None) -> Estimate:
    """The estimate that a DataTree holds, for the model it was made from.

    Parameters
    ----------
    dt : DataTree
        Made by `Estimate.to_datatree`; other groups, such as a posterior, may be there too.
    model : pm.Model or Bambi model, optional
        The model that was estimated, with the same data. Default: the model of the enclosing ``with``. Without one,
        the estimate is there to be read: see Notes.

    Returns
    -------
    Estimate
        Nothing is estimated again: only the likelihood is built, so that covariances and intervals can be computed.

    Raises
    ------
    ModelError
        A group is missing, or the model's variables, shapes, coordinates, data or likelihood are not those of the
        estimate. The message names the variable.

    Notes
    -----
    Without the model, everything that was stored is there: tables, Wald intervals, `compare` with a posterior and its
    reading, `plot_forest`, `plot_starts`, `plot_shrinkage`, `plot_pair` (but for its regions). More is drawn from
    groups that are stored beside the estimate, and an error says which is missing: profiles
    (``mle.profile(est, ci_prob=0.9995).to_datatree().children``, the group ``mle_profile``) serve `profile` and the
    figures, these at smaller probabilities, too; draws (``{"mle_simulated": xr.DataTree(mle.simulate(est, 500))}``)
    and the group ``observed_data`` serve `plot_ppc` and `plot_residuals`. Whatever else needs the likelihood says so.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> tree = mle.find_MLE(model).to_datatree()
    >>> sorted(tree.children)
    ['mle', 'mle_fit', 'mle_optimizer_result', 'unconstrained_mle']
    >>> mle.from_datatree(tree, model).loglik == mle.find_MLE(model).loglik
    True
    >>> mle.from_datatree(tree).stderr()["mu"].item()
    1.0
    """
    missing = [name for name in GROUPS if name not in dt.children]
    if missing:
        raise ModelError(f"The DataTree has no group {', '.join(missing)}: store an estimate with est.to_datatree().")
    values, fit, result = (dt[name].to_dataset() for name in ("mle", "mle_fit", "mle_optimizer_result"))
    if model is None and not in_context():
        return _without_model(dt, values, fit, result)
    root = resolve_model(model)
    roles = _roles(json.loads(_text(fit["roles"])), formula_of(model))
    _check_variables(root, roles)
    _check_data(root, json.loads(_text(fit["fingerprints"])))
    fixed = {name: np.asarray(value, dtype=float) for name, value in json.loads(_text(fit["fixed"])).items()}
    points = int(fit.get("quadrature_points", 1))
    objective = objective_of(root, roles, fixed or None, None, _text(result["backend"]), points)
    if "weights" in fit:
        objective = objective.weighted(fit["weights"].values)
    parameters = objective.parameters
    for layout in (parameters.layout, parameters.derived_layout):
        check_layout(layout, values, "the DataTree")
    x = parameters.unconstrained.vector(dt["unconstrained_mle"].to_dataset())
    optimum = _optimum(x, result)
    _check_value(objective, optimum)
    return Estimate(
        model=root,
        roles=roles,
        params=parameters.layout.dataset(parameters.layout.vector(values)),
        derived=parameters.derived_layout.dataset(parameters.derived_layout.vector(values)),
        loglik=float(fit["loglik"]),
        n_obs=objective.rows,
        n_params=int(fit["n_params"]),
        verdict=_verdict(fit),
        starts=_starts(result),
        kind=fit.attrs["kind"],
        _objective=objective,
        _optimum=optimum,
        _basis=fit["basis"].values,
        _scales=_scales(fit),
    )


def _without_model(dt: DataTree, values: xr.Dataset, fit: xr.Dataset, result: xr.Dataset) -> Estimate:
    """An estimate to be read: what needs the likelihood says so."""
    inner = dt["unconstrained_mle"].to_dataset()
    stored = zip(json.loads(_text(fit["layouts"])), (values, values, inner), strict=True)
    layout, derived_layout, unconstrained = (_layout(entries, dataset) for entries, dataset in stored)
    x, groups = unconstrained.vector(inner), {name: node.to_dataset() for name, node in dt.children.items()}
    scales, latent = _scales(fit), groups.get(LATENT, xr.Dataset())
    transforms = json.loads(_text(fit["transforms"]))
    parameters = StoredParameters(
        layout=layout,
        derived_layout=derived_layout,
        unconstrained=unconstrained,
        transforms={n: t and SimpleNamespace(name=t[0], ndim_supp=t[1]) for n, t in transforms.items()},
        ends=fit["ends"].values,
        derived_bounds=fit["ends_derived"].values,
        jacobian=scales.jacobian,
        x=x,
        values=layout.vector(values),
        fixed=json.loads(_text(fit["fixed"])),
    )
    objective: Any = Stored(
        parameters=parameters,
        data=_stored_data(groups, json.loads(_text(fit["fingerprints"]))),
        weights=fit["weights"].values if "weights" in fit else None,
        backend=_text(result["backend"]),
        hessian_method=_text(result["hessian_method"]),
        quadrature_points=int(fit["quadrature_points"]),
        is_marginal=bool(len(latent)),
        latent=lambda x, covariance: latent,
        profiles=groups.get(PROFILE),
        simulated=groups.get(SIMULATED),
    )
    content = json.loads(_text(fit["roles"]))
    observed = [SimpleNamespace(name=name) for name in json.loads(_text(fit["observed"]))]
    drawn, n_obs = groups.get(SIMULATED, xr.Dataset()), float(fit["n_obs"])
    return Estimate(
        model=Stored(
            observed_RVs=observed,
            named_vars_to_dims={str(name): array.dims[2:] for name, array in drawn.items()},
            coords={str(dim): tuple(values.values) for dim, values in drawn.coords.items()},
        ),
        roles=_roles({**content, "is_formula": False}, None),
        params=layout.dataset(layout.vector(values)),
        derived=derived_layout.dataset(derived_layout.vector(values)),
        loglik=float(fit["loglik"]),
        n_obs=int(n_obs) if n_obs.is_integer() else n_obs,
        n_params=int(fit["n_params"]),
        verdict=_verdict(fit),
        starts=_starts(result),
        kind=fit.attrs["kind"],
        _objective=objective,
        _optimum=_optimum(x, result),
        _basis=fit["basis"].values,
        _scales=scales,
    )


def _layout(entries: Any, dataset: xr.Dataset) -> Layout:
    """The order and the dims that were stored, with the coordinates found."""
    return Layout(
        tuple(
            Entry(name, tuple(dims), tuple(tuple(dataset[name][dim].to_index().tolist()) for dim in dims))
            for name, dims in entries
        )
    )


def _stored_data(groups: Mapping[str, xr.Dataset], fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the fit that the tree holds; of the others, and of changed ones, the fingerprints."""
    found = dict(fingerprints)
    for group in ("observed_data", "constant_data"):
        for name, array in groups.get(group, xr.Dataset()).items():
            if name in found and fingerprint(array.values) == found[name]:
                found[str(name)] = array.values
    return found


def _text(array: xr.DataArray) -> str:
    return str(array.item())


def _roles(content: Mapping[str, Any], formula: Formula | None) -> Roles:
    was = content.get("is_formula", False)
    if was != (formula is not None):
        which = ("a Bambi model", "its PyMC model") if was else ("a PyMC model", "a Bambi model")
        raise ModelError(
            f"The estimate is of {which[0]}, and {which[1]} was given: their intercepts are not the same. Give the "
            f"model that was estimated."
        )
    rows = tuple(Role(row["name"], RoleKind(row["kind"]), row["reason"], row["size"]) for row in content["rows"])
    return Roles(rows, content["potentials"], formula)


def _verdict(fit: xr.Dataset) -> Verdict:
    findings = [
        Finding(**{**content, "variables": tuple(content["variables"])})
        for content in json.loads(_text(fit["findings"]))
    ]
    return Verdict(Status(fit.attrs["status"]), tuple(findings))


def _optimum(x: np.ndarray, result: xr.Dataset) -> Optimum:
    return Optimum(
        x=x,
        value=float(result["optimum_value"]),
        gradient=result["gradient"].values,
        hessian=result["hessian"].values,
        stop=Stop[_text(result["optimum_stop"])],
        method=_text(result["optimum_method"]),
        iterations=int(result["optimum_iterations"]),
        evaluations=int(result["optimum_evaluations"]),
        step=result["step"].values,
    )


def _scales(fit: xr.Dataset) -> Scales:
    withheld, withheld_derived = (fit[name].values.astype(bool) for name in ("withheld", "withheld_derived"))
    directions = (fit[name].values for name in _DIRECTIONS)
    jacobians = fit["jacobian"].values, fit["jacobian_derived"].values
    return Scales(*jacobians, withheld, withheld_derived, Special(*directions))


def _starts(result: xr.Dataset) -> pd.DataFrame:
    columns = {name: result[f"start_{name}"] for name in json.loads(result.attrs["columns"])}
    data = {name: list(array.values) if array.ndim == 2 else array.values for name, array in columns.items()}
    return pd.DataFrame(data, index=pd.RangeIndex(result.sizes["start"], name="start"))


# -- is it the same model? ----------------------------------------------------------------------------------------


def _check_variables(model: Any, roles: Roles) -> None:
    there, here = [role.name for role in roles], [rv.name for rv in model.free_RVs]
    for names, others, where in ((there, here, "the model"), (here, there, "the DataTree")):
        unknown = [name for name in names if name not in others]
        if unknown:
            raise ModelError(
                f"{', '.join(unknown)} is not a free variable of {where}: the estimate is of another model."
            )


def _check_data(model: Any, fingerprints: Mapping[str, Any]) -> None:
    data = {**observed_data(model), **constant_data(model)}
    for name in [*fingerprints, *data]:
        if name not in data or name not in fingerprints:
            where = "the model" if name in fingerprints else "the DataTree"
            raise ModelError(f"{name} is not among the data of {where}: the estimate is of another model.")
        if fingerprint(data[name]) != fingerprints[name]:
            raise ModelError(
                f"{name} is not what it was when the estimate was made (shape {np.shape(data[name])}, then "
                f"{tuple(fingerprints[name]['shape'])}): build the model with the same data, or estimate it anew."
            )


def check_layout(layout: Layout, dataset: xr.Dataset, where: str) -> None:
    """Refuse a dataset whose variables do not have the layout's names, dims and coords, in any order of each.

    Raises
    ------
    ModelError
        Names the variable.
    """
    for entry in layout:
        if entry.name not in dataset:
            raise ModelError(f"{entry.name} is not in {where}: that is of another model.")
        array = dataset[entry.name]
        if sorted(map(str, array.dims)) != sorted(entry.dims):
            raise ModelError(
                f"{entry.name} has dims {array.dims} in {where}, but {entry.dims} in the model: that is of another "
                f"model."
            )
        for dim, values in zip(entry.dims, entry.coords, strict=True):
            found = array[dim].values.tolist()
            if len(found) != len(values) or set(map(str, found)) != set(map(str, values)):
                raise ModelError(
                    f"{entry.name} has the coordinates {_few(found)} along {dim} in {where}, but {_few(values)} in the "
                    f"model: that is of another model."
                )


def _few(values: Any) -> str:
    shown = ", ".join(str(value) for value in list(values)[:6])
    return f"({shown}, … {len(values)} in all)" if len(values) > 6 else f"({shown})"


def _check_value(objective: ModelObjective, optimum: Optimum) -> None:
    """The same log-likelihood at the estimate: arrays that are in no `pm.Data`, and the formulas, are the same."""
    value = objective.value(optimum.x)
    if np.isfinite(optimum.value) and not np.isclose(value, optimum.value, rtol=1e-8, atol=1e-8):
        raise ModelError(
            f"The model's log-likelihood at the estimate is {value:.8g}, not {optimum.value:.8g} as it was: its "
            f"formulas or an array that is not in a pm.Data are others. Estimate it anew."
        )
