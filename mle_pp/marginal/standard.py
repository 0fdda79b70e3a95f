"""Random variables as affine functions of standard ones, whose densities do not contain the scale.

So a scale of zero is a value like any other. A process enters as its path, not as its innovations, of which the last
step depends on all: its Hessian stays banded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Dot, matmul

from mle_pp import backends

_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)
# Families of a location and a scale: the places of these two among the parameters
_PLACES = {
    "NormalRV": (0, 1),
    "StudentTRV": (1, 2),
    "CauchyRV": (0, 1),
    "LogisticRV": (0, 1),
    "GumbelRV": (0, 1),
}
_KNOWN = {*_PLACES, "MvNormalRV", "ZeroSumNormalRV", "RandomWalkRV", "AutoRegressiveRV"}


class Standard(NamedTuple):
    """A random variable, on its unconstrained scale, as a function of standard ones, and their log-densities."""

    value: Variable
    location: Variable
    densities: list[Variable]


class _Family(NamedTuple):
    """A distribution with a location and a scale, and the log-density of the one with location 0 and scale 1."""

    location: Variable
    scale: Variable
    density: Callable[[Variable], Variable]


def standardized(rv: Variable, z: Variable, free: Collection[Variable]) -> Standard | None:
    """A random variable as an affine function of `z`; None where none is known.

    Parameters
    ----------
    rv : Variable
    z : Variable
        Of the shape of the variable on its unconstrained scale.
    free : collection of Variable
        The model's free variables.
    """
    op = rv.owner.op
    kind = type(op).__name__
    if kind not in _KNOWN:
        return None
    parameters = op.dist_params(rv.owner)
    if any(hasattr(variable.type, "dims") for variable in (rv, *parameters)):
        return None
    if is_normal(rv):
        return Standard(affine(rv, parameters, z), parameters[0], [_normal(z)])
    if kind == "ZeroSumNormalRV":
        # Its transform is a rotation
        return Standard(parameters[0] * z, pt.constant(0.0), [_normal(z)])
    if kind == "RandomWalkRV":
        first, step = _family(parameters[0]), _family(parameters[1])
        if first is None or step is None:
            return None
        return _path(z, _over_time(first, z.ndim), _over_time(step, z.ndim), pt.ones(1), free)
    if kind == "AutoRegressiveRV" and op.ar_order == 1:
        rhos, sigma, start, _ = parameters
        first, drift = _family(start), rhos[..., 0, None] if op.constant_term else pt.constant(0.0)
        return first and _path(z, first, _Family(drift, sigma[..., None], _normal), rhos[..., -1, None], free)
    family = _family(rv)
    return family and Standard(family.location + family.scale * z, family.location, [family.density(z)])


def is_normal(rv: Variable) -> bool:
    """Whether a variable is affine in as many independent standard normals."""
    return type(rv.owner.op).__name__ in ("NormalRV", "MvNormalRV")


def affine(rv: Variable, parameters: Sequence[Variable], z: Variable) -> Variable:
    """A normal variable with these parameters (of several, the second is their covariance), of standard normals."""
    location, scale = parameters
    if type(rv.owner.op).__name__ == "NormalRV":
        return location + scale * z
    return location + _times(z, _root(scale))


def _family(rv: Variable) -> _Family | None:
    """The family of a random variable, if it has a location and a scale."""
    op = rv.owner.op
    places = _PLACES.get(type(op).__name__)
    if places is None:
        return None
    parameters = list(op.dist_params(rv.owner))
    location, scale = (parameters[k] for k in places)
    if type(op).__name__ == "NormalRV":
        return _Family(location, scale, _normal)
    for place, value in zip(places, (0.0, 1.0), strict=True):
        parameters[place] = pt.constant(value, dtype="float64")

    def density(z: Variable) -> Variable:
        standard = op.make_node(*rv.owner.inputs[:2], *parameters).outputs[1]
        return backends.in_double([pm.logp(standard, z)])[0]

    return _Family(location, scale, density)


def _normal(z: Variable) -> Variable:
    return -0.5 * z**2 - _HALF_LOG_2PI


def _over_time(family: _Family, ndim: int) -> _Family:
    """The same with the axis of time, which walks have first, at the end."""
    location, scale = (pt.moveaxis(pt.atleast_Nd(value, n=ndim), 0, -1) for value in family[:2])
    return family._replace(location=location, scale=scale)


def _path(z: Variable, first: _Family, step: _Family, lag: Variable, free: Collection[Variable]) -> Standard | None:
    """A process u_t = ρ u_{t−1} + e_t, with e_t of the family `step`, and its first value of the family `first`.

    In units of the scale of its steps it is a process that starts at zero, to which is added what becomes of the first
    value. None where the scale of that vanishes with the other's, as in stationary processes: these shrink as a whole,
    without loss of precision, and no element need be in all observations.
    """
    own, length = _names(step.scale, free), z.type.shape[-1]
    if length < 2 or own <= _names(first.scale, free):
        return None
    path = pt.concatenate([pt.zeros_like(z[..., :1]), z[..., 1:]], axis=-1)
    densities = [first.density(z[..., :1]), step.density(path[..., 1:] - lag * path[..., :-1])]
    # What becomes of a one at the start, and of one more at each step
    left = pt.concatenate([pt.ones_like(lag), lag, lag ** np.arange(2.0, length)], axis=-1)
    sums = pt.concatenate([pt.zeros_like(lag), pt.cumsum(left, axis=-1)[..., :-1]], axis=-1)
    location = first.location * left + step.location * sums
    return Standard(location + left * (first.scale * z[..., :1]) + step.scale * path, location, densities)


def _names(graph: Variable, free: Collection[Variable]) -> set[Variable]:
    """The free variables that a graph depends on."""
    return set(free).intersection(ancestors([graph]))


def _root(covariance: Variable) -> Variable:
    """A matrix A with A Aᵀ the covariance: the one it was computed from, if it was."""
    inner = covariance
    while inner.owner is not None and isinstance(inner.owner.op, DimShuffle) and inner.owner.op.is_left_expand_dims:
        inner = inner.owner.inputs[0]
    if inner.owner is not None and (inner.owner.op == matmul or isinstance(inner.owner.op, Dot)):
        first, second = inner.owner.inputs
        if second.owner is not None and second.owner.inputs and second.owner.inputs[0] is first and first.ndim == 2:
            return first
    return pt.linalg.cholesky(inner)


def _times(z: Variable, root: Variable) -> Variable:
    """A z for each vector z along the last axis."""
    if root.ndim == 2:
        return pt.dot(z, root.T)
    return pt.matmul(root, z[..., None])[..., 0]
