"""Wald intervals: the normal approximation, for each scalar on a scale where it is a good one.

Every scalar has a *link*: the scale on which its estimate is taken to be normal. Its standard error there is the one on
the user's scale times the derivative of the link (delta method); the limits are mapped back, so that they cannot leave
the support.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate
    from mle_pp.layout import Entry


def wald_quantiles(
    est: Estimate, z: np.ndarray, kind: str = "hessian", groups: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Where each scalar lies `z` standard errors from its estimate, on the scale of its link.

    Parameters
    ----------
    est : Estimate
    z : array, shape (k,)
        Standard normal quantiles.
    kind, groups
        The covariance, as for `Estimate.cov`.

    Returns
    -------
    params, derived : ndarray, shape (k, number of scalars)
        On the constrained scale, in the order of the layouts; NaN where there is no standard error.
    """
    errors = est.stderr(kind, groups)
    values = est._layout.vector(est.params)
    params = _at_links(values, est._layout.vector(errors), _links(est), z)
    _replace_elementwise(est, params, est._layout.vector(errors), z)
    derived = _at_links(
        est._derived_layout.vector(est.derived), est._derived_layout.vector(errors), _derived_links(est), z
    )
    return params, derived


def _at_links(values: np.ndarray, errors: np.ndarray, links: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Value ± z se on the link's scale, mapped back."""
    v, step = values[None, :], z[:, None] * errors[None, :]
    with np.errstate(all="ignore"):
        return np.select(
            [links == "log", links == "logit", links == "atanh"],
            [
                v * np.exp(step / v),
                expit(logit(v) + step / (v * (1 - v))),
                # The diagonal of a correlation matrix is a constant
                np.where(step == 0, v, np.tanh(np.arctanh(v) + step / (1 - v**2))),
            ],
            v + step,
        )


def to_links(est: Estimate, values: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scalars on the scales of their links: of the estimate, shape (scalars,), and of draws, shape (draws, scalars).

    Parameters
    ----------
    est : Estimate
    values : ndarray, shape (draws, scalars)
        Parameters, then `Deterministic`s, on the user's scale.
    x : ndarray, shape (draws, size)
        The same draws as vectors.
    """
    links = np.concatenate([_links(est), _derived_links(est)])
    center = np.concatenate([est._layout.vector(est.params), est._derived_layout.vector(est.derived)])
    both = np.vstack([center, values])
    with np.errstate(all="ignore"):
        linked = np.select(
            [links == "log", links == "logit", links == "atanh"],
            [np.log(np.abs(both)), logit(both), np.arctanh(both)],
            both,
        )
    vectors = np.vstack([est._optimum.x, x])
    for piece, coordinates in elementwise(est):
        linked[:, piece] = vectors[:, coordinates]
    return linked[0], linked[1:]


def from_links(est: Estimate, limits: np.ndarray) -> np.ndarray:
    """Limits on the scales of the links, shape (2, scalars), on the user's: the lower one first."""
    links = np.concatenate([_links(est), _derived_links(est)])
    center = np.concatenate([est._layout.vector(est.params), est._derived_layout.vector(est.derived)])
    with np.errstate(all="ignore"):
        values = np.select(
            [links == "log", links == "logit", links == "atanh"],
            [np.copysign(np.exp(limits), center), expit(limits), np.tanh(limits)],
            limits,
        )
    for piece, coordinates in elementwise(est):
        for row, limit in zip(values, limits, strict=True):
            moved = est._optimum.x.copy()
            moved[coordinates] = limit[piece]
            row[piece] = est._objective.parameters.constrained(moved)[piece]
    return np.sort(values, axis=0)


def elementwise(est: Estimate) -> Iterator[tuple[slice, slice]]:
    """Where parameters transformed element by element lie among the scalars, and in the vector."""
    parameters = est._objective.parameters
    here, there = parameters.layout.slices(), parameters.unconstrained.slices()
    for own, inner in zip(parameters.layout, parameters.unconstrained, strict=True):
        transform = parameters.transforms[own.name]
        if transform is not None and transform.ndim_supp == 0:
            yield here[own.name], there[inner.name]


def _links(est: Estimate) -> np.ndarray:
    """The link of each parameter that is not transformed element by element."""
    parts: list[np.ndarray] = [np.zeros(0, dtype="<U8")]
    for entry in est._layout:
        transform = est._objective.parameters.transforms[entry.name]
        name = getattr(transform, "name", None)
        links = np.full(entry.shape, "identity", dtype="<U8")
        if name == "simplex":
            links[:] = "logit"
        elif name == "cholesky_corr_asinh":
            links[:] = "atanh"
        elif name == "cholesky-cov-packed":
            links[..., _packed_diagonal(entry)] = "log"
        elif name == "cholesky-cov":
            diagonal = np.arange(entry.shape[-1])
            links[..., diagonal, diagonal] = "log"
        parts.append(links.ravel())
    return np.concatenate(parts)


def _packed_diagonal(entry: Entry) -> np.ndarray:
    """Where the diagonal lies in the packed lower triangle of an n × n matrix, row by row: 0, 2, 5, ..."""
    n = round((np.sqrt(8 * entry.shape[-1] + 1) - 1) / 2)
    return np.cumsum(np.arange(1, n + 1)) - 1


def _derived_links(est: Estimate) -> np.ndarray:
    """By the bounds of each."""
    lower, upper = est._objective.parameters.derived_bounds
    return np.select(
        [
            (lower == 0) & (upper == 1),
            (lower == -1) & (upper == 1),
            ((lower == 0) & np.isposinf(upper)) | ((upper == 0) & np.isneginf(lower)),
        ],
        ["logit", "atanh", "log"],
        "identity",
    )


def _replace_elementwise(est: Estimate, params: np.ndarray, errors: np.ndarray, z: np.ndarray) -> None:
    """Parameters transformed element by element (log, logit, interval, ...): the link is the transform itself."""
    parameters, x = est._objective.parameters, est._optimum.x
    for piece, coordinates in elementwise(est):
        slope = np.diag(est._scales.jacobian[piece, coordinates])
        with np.errstate(all="ignore"):
            step = errors[piece] / slope
        known = np.isfinite(step)
        for row, quantile in zip(params, z, strict=True):
            moved = x.copy()
            moved[coordinates] += quantile * np.where(known, step, 0.0)
            row[piece] = np.where(known, parameters.constrained(moved)[piece], np.nan)


def standing(est: Estimate, label: str, value: float, error: float) -> float:
    """How many standard errors the estimate of a labelled scalar lies above `value`, on the scale of its link.

    The inverse of `wald_quantiles`: an interval that reaches this many standard errors down ends at `value`.

    Parameters
    ----------
    est : Estimate
    label : str
        Of a parameter or `Deterministic`.
    value : float
        On the constrained scale.
    error : float
        The standard error on the constrained scale.

    Returns
    -------
    float
        NaN or infinite where `value` is outside the support or on its edge.
    """
    is_parameter = label in est._layout.labels
    layout, dataset = (est._layout, est.params) if is_parameter else (est._derived_layout, est.derived)
    place = layout.labels.index(label)
    estimate = float(layout.vector(dataset)[place])
    name = layout.owners()[place]
    parameters, x = est._objective.parameters, est._optimum.x
    transform = parameters.transforms[name] if is_parameter else None
    with np.errstate(all="ignore"):
        if transform is not None and transform.ndim_supp == 0:
            values = layout.vector(dataset)
            values[place] = value
            own = layout.slices()[name]
            shape = next(entry.shape for entry in layout if entry.name == name)
            inner = parameters.unconstrained.entries[layout.names.index(name)].name
            coordinate = parameters.unconstrained.slices()[inner].start + place - own.start
            there = parameters.forward(name, values[own].reshape(shape), x).ravel()[place - own.start]
            return float((x[coordinate] - there) * est._scales.jacobian[place, coordinate] / error)
        link = (_links(est) if is_parameter else _derived_links(est))[place]
        if link == "log":
            return float(np.log(estimate / value) * estimate / error)
        if link == "logit":
            return float((logit(estimate) - logit(value)) * estimate * (1 - estimate) / error)
        if link == "atanh":
            return float((np.arctanh(estimate) - np.arctanh(value)) * (1 - estimate**2) / error)
        return float((estimate - value) / error)
