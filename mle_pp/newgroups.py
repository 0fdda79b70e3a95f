"""Other groups than those of the fit: each variable with a value for a group, by the groups' labels.

A group of the fit keeps its estimates, and its effects their conditional distribution; those of a group that the fit
had not are drawn from their distribution given the parameters. As in the integral, a normal variable is μ + σz with z
standard normal: of a known group z is that of the fit, of a new one it is an element of a vector of its own, whose
mode is zero. So centered and non-centered declarations are predicted alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor import shared
from pytensor.graph.basic import Variable

from mle_pp.errors import ModelError
from mle_pp.marginal.standard import affine
from mle_pp.newdata import NewData
from mle_pp.objective import ModelObjective
from mle_pp.predictive import at_vector


def regrouped(objective: ModelObjective, data: NewData, given_latents: bool = True) -> NewData:
    """New data with the variables that have values for groups, where `data.positions` says that these are others.

    Parameters
    ----------
    objective : ModelObjective
    data : NewData
    given_latents : bool
        Whether integrated variables become graphs, too, or stay random.

    Raises
    ------
    ModelError
        A parameter has no estimate for a new group; the effects of one have a distribution that is not normal.
    """
    if not data.positions:
        return data
    model, taken = objective.model, dict(data.replacements)
    effects: dict[Variable, Variable] = {}
    fresh = pt.vector("fresh", dtype="float64")
    count = 0
    integrated = set(objective.latents.names) if objective.is_marginal else set()  # type: ignore[attr-defined]
    for rv in model.free_RVs:
        axes = _positions(model, rv, data)
        if all(places is None for places in axes):
            continue
        if rv.name not in integrated:
            _require_known(rv, model, data)
            [value] = objective.replace(model.replace_rvs_by_values([rv]))
            taken[rv] = _taken(value, axes)
            continue
        if not given_latents:
            continue
        z, is_new = _standard(objective, rv, axes)
        added = int(is_new.sum())
        if added:
            z = pt.set_subtensor(z[np.nonzero(is_new)], fresh[count : count + added])
        count += added
        location, scale = rv.owner.op.dist_params(rv.owner)
        at = at_vector(objective, [location, scale], {**taken, **effects}, given_latents=True)
        effects[rv] = affine(rv, at, z)
    return replace(data, replacements=taken, effects=effects, fresh=(fresh, count) if count else None)


def _positions(model: Any, rv: Any, data: NewData) -> list[np.ndarray | None]:
    """For each axis of a variable: where the values of the new groups are among those of the fit, -1 for none."""
    dims = model.named_vars_to_dims.get(rv.name) or ()
    return [data.positions.get(dim) for dim in dims]


def _standard(objective: Any, rv: Any, axes: Sequence[np.ndarray | None]) -> tuple[Variable, np.ndarray]:
    """The standard normals of a variable at the new groups, and which of them are none of the fit's."""
    latents = objective.latents
    if rv.name not in latents.normal:
        raise ModelError(
            f"{rv.name} cannot be predicted for other groups: it is not normal given parameters, or a process along "
            f"its groups, or integrated without its prior (restricted=). mle.simulate draws observations whose groups "
            f"are all new."
        )
    shape = latents.shapes[rv.name]
    z = _taken(latents.u[latents.slices[rv.name]].reshape(shape), axes)
    is_new = np.zeros([size if p is None else len(p) for size, p in zip(shape, axes, strict=True)], dtype=bool)
    for axis, places in enumerate(axes):
        if places is not None:
            is_new |= (places < 0).reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return z, is_new


def _taken(value: Variable, axes: Sequence[np.ndarray | None]) -> Variable:
    """The values at the new groups; of those that are none of the fit's, any."""
    for axis, places in enumerate(axes):
        if places is not None:
            # Not a constant: an axis that is known to have length 1 would take any index
            value = pt.take(value, shared(np.maximum(places, 0)), axis=axis)
    return value


def _require_known(rv: Any, model: Any, data: NewData) -> None:
    for dim in model.named_vars_to_dims[rv.name]:
        places = data.positions.get(dim, np.zeros(0))
        if np.any(places < 0):
            new = [str(label) for label, place in zip(data.coords[dim], places, strict=True) if place < 0]
            raise ModelError(
                f"{rv.name} was estimated for each {dim} and has no distribution to draw from: there is none for "
                f"{', '.join(new[:5])}, which the fit had not."
            )
