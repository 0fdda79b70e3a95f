"""Other data in place of a model's `pm.Data` containers, without touching these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors

from mle_pp.errors import ModelError
from mle_pp.formula import Formula
from mle_pp.objective import ModelObjective, shared_copy
from mle_pp.redesign import new_levels, redesigned

# What Bambi calls the dim of its rows
_ROWS = "__obs__"


@dataclass(frozen=True)
class NewData:
    """What a model's data are replaced by.

    Attributes
    ----------
    replacements : dict of Variable to Variable
        Containers, and the lengths of dims, by what takes their place.
    coords : dict of str to sequence
        Coordinate values of the model's dims, with those of the new data.
    names : tuple of str
        The containers that are replaced.
    positions : dict of str to ndarray of int
        For dims of which parameters or integrated variables have values, where their labels are others than in the fit:
        the place of each label among those of the fit, -1 for a new one.
    effects : dict of Variable to Variable
        Integrated variables of such dims, as graphs of the latents' vector, the parameters' and `fresh`.
    fresh : tuple of (Variable, int), optional
        The vector of standard normals of new groups, and its length.
    """

    replacements: dict[Variable, Variable] = field(default_factory=dict)
    coords: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    positions: dict[str, np.ndarray] = field(default_factory=dict)
    effects: dict[Variable, Variable] = field(default_factory=dict)
    fresh: tuple[Any, int] | None = None


def replaced_data(
    objective: ModelObjective, newdata: Any, coords: Mapping[str, Sequence[Any]] | None, new_groups: bool = False
) -> NewData:
    """Check new data, and put them into variables that can take the place of the model's own.

    Parameters
    ----------
    objective : ModelObjective
    newdata : mapping of str to array_like, DataFrame, Dataset or None
        By the names of the model's `pm.Data` containers. Columns of a DataFrame that are no container are left aside.
        Of a Bambi model, a DataFrame with the columns of its formula.
    coords : mapping of str to sequence, optional
        Coordinate values of dims whose rows, or groups, are others than those of the fit.
    new_groups : bool
        Whether there may be groups that the fit had not.

    Raises
    ------
    ModelError
        Unknown names, values that are no finite numbers, lengths that do not agree; groups that the fit had not.
    """
    model = objective.model
    positions = _positions(model, coords or {}, new_groups)
    if newdata is None and not positions:
        if coords:
            raise ModelError("coords label new data: give newdata, too.")
        return NewData({}, dict(model.coords))
    if objective.roles.formula is not None:
        return _through_formula(objective.roles.formula, newdata, coords or {}, new_groups)
    containers = {variable.name: variable for variable in model.data_vars}
    if not containers and newdata is not None:
        raise ModelError(
            "The model has no pm.Data, so its data cannot be exchanged: its arrays are constants of the graph. Declare "
            'what is to change with pm.Data("x", x, dims="row"), and fit it again.'
        )
    given, labels = _by_name({} if newdata is None else newdata, containers, model.named_vars_to_dims)
    _check_names(given, containers)
    values = {name: _checked(name, value, containers[name]) for name, value in given.items()}
    lengths = _lengths(model, values, {dim: len(places) for dim, places in positions.items()})
    labels |= {str(dim): tuple(values) for dim, values in (coords or {}).items()}
    replacements: dict[Variable, Variable] = {
        containers[name]: shared_copy(containers[name].type, value, name) for name, value in values.items()
    }
    for dim, length in lengths.items():
        if dim in labels and len(labels[dim]) != length:
            raise ModelError(f"coords has {len(labels[dim])} values of {dim}, newdata {length}.")
        variable = model.dim_lengths[dim]
        replacements[variable] = pt.constant(length, dtype=variable.type.dtype)
    if unknown := [dim for dim in (coords or {}) if dim not in lengths]:
        raise ModelError(
            f"coords: {', '.join(unknown)} is no dim of newdata ({', '.join(lengths) or 'which has none'})."
        )
    new = {dim: labels.get(dim, tuple(range(length))) for dim, length in lengths.items()}
    return NewData(replacements, {**model.coords, **new}, tuple(values), positions)


def _positions(model: pm.Model, coords: Mapping[str, Sequence[Any]], new_groups: bool) -> dict[str, np.ndarray]:
    """Where the labels of groups are among those of the fit, where they are others."""
    found = {}
    for dim in {dim for rv in model.free_RVs for dim in model.named_vars_to_dims.get(rv.name) or ()} & set(coords):
        old, new = list(model.coords.get(dim) or ()), list(coords[dim])
        if not old or new == old:
            continue
        if repeated := sorted({str(label) for label in new if new.count(label) > 1}):
            raise ModelError(f"coords: {', '.join(repeated)} is more than once among the labels of {dim}.")
        if (unknown := [label for label in new if label not in old]) and not new_groups:
            close = get_close_matches(str(unknown[0]), [str(label) for label in old], n=1, cutoff=0.6)
            raise ModelError(
                f"coords: {dim} has {_shown(unknown)}, which the fit had not; it had {_shown(old)}."
                + (f" Did you mean {close[0]}?" if close else "")
                + " If these are new groups, whose effects come from their distribution, say new_groups=True."
            )
        found[dim] = np.array([old.index(label) if label in old else -1 for label in new], dtype=int)
    return found


def _shown(labels: Sequence[Any]) -> str:
    return ", ".join(map(str, labels[:5])) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _through_formula(formula: Formula, newdata: Any, coords: Mapping[str, Sequence[Any]], new_groups: bool) -> NewData:
    """New rows of a Bambi model, which holds no `pm.Data`."""
    if isinstance(newdata, Mapping):
        newdata = pd.DataFrame(dict(newdata))
    if not isinstance(newdata, pd.DataFrame):
        raise ModelError("newdata of a Bambi model is a DataFrame with the columns that its formula uses.")
    if not len(newdata):
        raise ModelError("newdata has no rows.")
    if unknown := [dim for dim in coords if dim != _ROWS]:
        raise ModelError(f"coords: {', '.join(unknown)} is no dim of newdata ({_ROWS}).")
    labels = tuple(coords.get(_ROWS, newdata.index))
    if len(labels) != len(newdata):
        raise ModelError(f"coords has {len(labels)} values of {_ROWS}, newdata {len(newdata)}.")
    added = new_levels(formula, newdata) if new_groups else {}
    groups = {dim: (*formula.model.coords[dim], *new) for dim, new in added.items()}
    positions = {
        dim: np.append(np.arange(len(groups[dim]) - len(new)), np.full(len(new), -1)) for dim, new in added.items()
    }
    replacements = redesigned(formula, newdata, added)
    for dim, count in {_ROWS: len(newdata), **{dim: len(labels) for dim, labels in groups.items()}}.items():
        length = formula.model.dim_lengths[dim]
        replacements[length] = pt.constant(count, dtype=length.type.dtype)
    return NewData(
        replacements,
        {**formula.model.coords, _ROWS: labels, **groups},
        tuple(map(str, newdata.columns)),
        positions,
    )


def refuse_stale(objective: ModelObjective, data: NewData, variables: Sequence[Variable]) -> None:
    """Refuse to compute variables from new rows of some containers and old rows of others."""
    model = objective.model
    # Not through the lengths of dims, which new data give anew
    used = set(ancestors(list(variables), blockers=set(data.replacements)))
    new_dims = {dim for name in data.names for dim in model.named_vars_to_dims.get(name) or () if dim}
    new_dims |= set(data.positions)
    _refuse_old_indices(model, data, variables)
    for variable in model.data_vars:
        shared = new_dims.intersection(model.named_vars_to_dims.get(variable.name) or ())
        if variable.name not in data.names and variable in used and shared:
            raise ModelError(
                f"newdata has {', '.join(data.names) or 'other groups'}, but not {variable.name}, which has the dim "
                f"{', '.join(sorted(map(str, shared)))}, too: give the same rows of it."
            )


def _refuse_old_indices(model: pm.Model, data: NewData, variables: Sequence[Variable]) -> None:
    """Rows of the fit say by a number which group they are of: among its groups, in their order."""
    moved = [dim for dim, places in data.positions.items() if not _extends(places, len(model.coords[dim]))]
    whole = {v for v in model.data_vars if v.type.dtype.startswith(("int", "uint"))}
    for variable in variables if moved else ():
        used = set(ancestors([variable], blockers={*data.replacements, *model.free_RVs}))
        old = sorted(v.name for v in whole & used if v.name not in data.names)
        given = any(v in used for v in whole if v.name in data.names)
        own = set(moved) <= set(model.named_vars_to_dims.get(variable.name) or ())
        if old or not (given or own):
            raise ModelError(
                f"coords: {', '.join(moved)} has other groups, or another order, than in the fit, so {variable.name} "
                f"needs newdata that say which row is of which of them"
                + (f": {', '.join(old)} is still that of the fit." if old else ", in a pm.Data.")
                + " Or list the groups of the fit first, in their order."
            )


def _extends(places: np.ndarray, count: int) -> bool:
    return len(places) >= count and bool(np.all(places[:count] == np.arange(count)))


def _by_name(
    newdata: Any, containers: Mapping[str, Any], dims: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """The new values by container, and the labels of dims that come with them."""
    labels: dict[str, tuple[Any, ...]] = {}
    if isinstance(newdata, pd.DataFrame):
        given = {str(name): newdata[name] for name in newdata.columns if name in containers}
        if not given:
            raise ModelError(
                f"No column of newdata ({', '.join(map(str, newdata.columns))}) is a pm.Data of the model, which has "
                f"{', '.join(containers)}."
            )
    elif isinstance(newdata, xr.Dataset):
        given = {str(name): newdata[name] for name in newdata.data_vars}
    elif isinstance(newdata, Mapping):
        given = {str(name): value for name, value in newdata.items()}
    else:
        raise ModelError("newdata is a mapping of names to arrays, or a DataFrame: newdata={'x': [1.0, 2.0]}.")
    for name, value in given.items():
        if isinstance(value, xr.DataArray):
            labels |= {str(dim): tuple(value[dim].values.tolist()) for dim in value.dims if dim in value.coords}
        elif isinstance(value, pd.Series):
            labels |= {str(dim): tuple(value.index) for dim in dims.get(name) or () if dim}
    return given, labels


def _check_names(given: Mapping[str, Any], containers: Mapping[str, Any]) -> None:
    for name in given:
        if name not in containers:
            close = get_close_matches(name, containers, n=1, cutoff=0.5)
            raise ModelError(
                f"newdata: {name} is no pm.Data of the model ({', '.join(containers)})."
                + (f" Did you mean {close[0]}?" if close else "")
            )


def _checked(name: str, value: Any, container: Any) -> np.ndarray:
    """The new values in the type of the container."""
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ModelError(f"newdata: {name} holds values that are no numbers.") from None
    if numbers.ndim != container.type.ndim:
        raise ModelError(f"newdata: {name} has {numbers.ndim} dimensions, but {container.type.ndim} in the model.")
    if bad := int(np.sum(~np.isfinite(numbers))):
        where = f", first in row {np.argwhere(~np.isfinite(numbers))[0][0]} (counted from 0)" if numbers.ndim else ""
        raise ModelError(f"newdata: {name} has {bad} values that are NaN or infinite{where}.")
    if container.type.dtype.startswith(("int", "uint")) and np.any(numbers != np.round(numbers)):
        raise ModelError(
            f"newdata: {name} holds whole numbers in the model, but {numbers[numbers % 1 != 0][0]:g} here."
        )
    for old, new in zip(container.type.shape, numbers.shape, strict=True):
        if old is not None and old != new:
            raise ModelError(
                f"newdata: {name} has shape {numbers.shape}, but always {container.type.shape} in the model."
            )
    return numbers


def _lengths(model: pm.Model, values: Mapping[str, np.ndarray], groups: Mapping[str, int]) -> dict[str, int]:
    """The length of each dim of the new data; one that parameters have, too, changes with the labels of groups only."""
    lengths = dict(groups)
    origin = dict.fromkeys(groups, "coords")
    for name, value in values.items():
        for dim, length in zip(model.named_vars_to_dims.get(name) or (), value.shape, strict=False):
            if dim is None:
                continue
            if lengths.setdefault(dim, length) != length:
                raise ModelError(
                    f"newdata: {origin[dim]} has {lengths[dim]} values along {dim}, but {name} has {length}."
                )
            origin.setdefault(dim, name)
    for rv in model.free_RVs:
        for dim in set(model.named_vars_to_dims.get(rv.name) or ()).intersection(lengths) - set(groups):
            coords = model.coords.get(dim)
            if coords is not None and len(coords) != lengths[dim]:
                raise ModelError(
                    f"newdata: {origin[dim]} has {lengths[dim]} values along {dim}, but {rv.name} was estimated for "
                    f"{len(coords)}. Name the groups: coords={{{dim!r}: [...]}}."
                )
    return {dim: length for dim, length in lengths.items() if dim in model.dim_lengths}
