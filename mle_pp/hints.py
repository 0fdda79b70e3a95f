"""Findings beside the verdict, where they are cheap and certain: spikes of the likelihood, a forgotten constant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from mle_pp import wording
from mle_pp.objective import ModelObjective
from mle_pp.optimize import Optimum
from mle_pp.verdict import Finding

# More parameters than this are not probed for spikes: the combinations grow.
_MOST = 12
# At least so many elements of a vector, with at most so many observations each, are incidental parameters.
_INCIDENTAL = 10
# Standard errors by which better quadrature may move an estimate, and rows times nodes that are quickly computed.
_COARSE = 0.1
_CHEAP = 100_000
# Of a standard error at known other parameters, for differences
_NEARBY = 0.01
# Log-units that a scale is shrunk by, once and twice; rounding of a residual matters only beyond both.
_SHRINK = 12.0


def hints(objective: ModelObjective, optimum: Optimum) -> list[Finding]:
    """What else can be said of an estimate at `optimum`."""
    found = [
        spike(objective, optimum),
        missing_constant(objective, optimum),
        incidental_parameters(objective, optimum),
        coarse_integral(objective, optimum),
    ]
    return [finding for finding in found if finding is not None]


def spike(objective: ModelObjective, optimum: Optimum) -> Finding | None:
    """Whether the likelihood is unbounded elsewhere: a scale shrinking to zero around a single observation.

    It is, if with a location put on an observation the log-likelihood gains with every log-unit the scale shrinks. The
    classical cases are mixtures with free standard deviations (Day 1969, Biometrika 56) and the Student t with free
    degrees of freedom (Fernandez and Steel 1999, Biometrika 86).
    """
    # A location on an observation is no spike where a distribution of latents is around it
    if objective.size > _MOST or objective.is_bounded or objective.is_marginal:
        return None
    logs = [k for k in range(objective.size) if objective.units[k] > 0]
    for point in _on_an_observation(objective, optimum.x):
        for scale, other in product(logs, [None, *logs]):
            if scale == other:
                continue
            near = point.copy()
            near[scale] -= _SHRINK
            far = near.copy()
            far[scale] -= _SHRINK
            if other is not None:
                near[other] = far[other] = min(point[other], objective.parameters.default[other]) - 2 * _SHRINK
            gain = objective.value(far) - objective.value(near)
            if np.isfinite(gain) and 0.4 * _SHRINK < gain < 50 * _SHRINK:
                shrunk = np.isin(np.arange(objective.size), [k for k in (scale, other) if k is not None])
                return wording.unbounded_elsewhere(wording.owners(objective.parameters, shrunk))
    return None


def _untransformed(objective: ModelObjective, x: np.ndarray) -> list[int]:
    """Entries of the vector that are their variable's own values: of an ordered vector, the first is."""
    parameters = objective.parameters
    values, own, inner = parameters.constrained(x), parameters.layout.slices(), parameters.unconstrained.slices()
    found: list[int] = []
    for outside, inside in zip(own.values(), inner.values(), strict=True):
        entries = np.arange(objective.size)[inside]
        found += [int(k) for k, value in zip(entries, values[outside], strict=False) if value == x[k]]
    return found


def _on_an_observation(objective: ModelObjective, x: np.ndarray) -> Iterator[np.ndarray]:
    """Points at which one location is that of an observation: the coordinate itself, or through the fitted residual."""
    free = _untransformed(objective, x)
    for name in objective.names:
        values = objective.data.get(name)
        if values is None or values.dtype.kind != "f" or values.size == 0:
            continue
        for k in free:
            point = x.copy()
            point[k] = float(np.ravel(values)[0])
            yield point
    for residuals, slopes in objective.residuals(x):
        for k in free:
            if slopes[0, k] != 0:
                point = x.copy()
                point[k] += residuals[0] / slopes[0, k]
                yield point


def missing_constant(objective: ModelObjective, optimum: Optimum) -> Finding | None:
    """Whether a normal model with one estimated scale would gain by a constant in its mean, and how much.

    With the derivative of the mean as the design, adding a column of ones changes the residual sum of squares as in
    linear regression (Frisch and Waugh 1933): exactly so for linear predictors.
    """
    if len(objective.model.observed_RVs) != 1:
        return None
    for residuals, slopes in objective.residuals(optimum.x, family="NormalRV"):
        ones = np.ones_like(residuals)
        extra = ones - slopes @ np.linalg.lstsq(slopes, ones, rcond=None)[0]
        if extra @ extra < 1e-8 * ones.size:
            return None
        rss, n = float(residuals @ residuals), residuals.size
        # Only where one common scale is estimated: its maximum is the mean square, which the log-likelihood then shows
        common = -0.5 * n * (np.log(2 * np.pi * rss / n) + 1)
        if not np.isclose(objective.loglik(optimum.x), common, rtol=1e-6):
            return None
        reduced = rss - float(extra @ residuals) ** 2 / float(extra @ extra)
        gain = 0.5 * n * np.log(rss / reduced) if reduced > 0 else 0.0
        # Twice the gain is χ² with one degree of freedom without a constant; 10 is far beyond its tail
        if gain > 10:
            return wording.no_constant(objective.names[0], float(residuals.mean()), gain)
    return None


def incidental_parameters(objective: ModelObjective, optimum: Optimum) -> Finding | None:
    """Whether a vector has about as many elements as there are units of data, a few observations for each.

    Then the other parameters are estimated inconsistently (Neyman and Scott 1948, Econometrica 16).
    """
    parameters = objective.parameters
    names = [entry.name for entry in parameters.layout]
    large = [entry for entry in parameters.layout if entry.size >= _INCIDENTAL and len(names) > 1]
    count = sum(term.size for term in objective.pointwise(optimum.x).values()) if large else 0
    for entry in large:
        others = [name for name in names if name != entry.name]
        if count > _INCIDENTAL * entry.size:
            continue
        touched = objective.touched(optimum.x, entry.name)
        if 1 <= touched <= _INCIDENTAL:
            return wording.incidental(entry.name, entry.size, touched, others)
    return None


def without_effect(objective: Any, x: np.ndarray, drift: np.ndarray) -> dict[str, list[str]]:
    """For each variable on its way to an edge, which latent variables have no effect on the data there, in words.

    Those of a random effect whose scale vanishes. Put back to where the search began, the variable restores it.

    Parameters
    ----------
    objective : Objective
    x : ndarray, shape (size,)
    drift : ndarray, shape (size, k)
        The way to the edge.
    """
    if not objective.is_marginal:
        return {}
    way, parameters = drift.sum(axis=1), objective.parameters
    edge = x + 300 * way
    at_edge = np.abs(objective.reach(edge))
    found = {}
    for name, piece in zip(parameters.layout.names, parameters.unconstrained.slices().values(), strict=True):
        inside = edge.copy()
        inside[piece] = np.where(way[piece] != 0, parameters.default[piece], edge[piece])
        lost = at_edge < 1e-6 * np.abs(objective.reach(inside))
        latents = [
            _values_of(objective.model, latent, lost[own]) for latent, own in objective.latents.slices.items()
            if np.any(lost[own])
        ]  # fmt: skip
        if latents:
            found[name] = latents
    return found


def _values_of(model: Any, name: str, marks: np.ndarray) -> str:
    """The marked values of a variable in words."""
    dims = [dim for dim in model.named_vars_to_dims.get(name) or () if dim]
    count = f"the {marks.size}" if marks.all() else f"{marks.sum()} of the {marks.size}"
    values = "the value" if marks.size == 1 else f"{count} values"
    return f"{values} of {name}{f' ({", ".join(dims)})' if dims else ''}"


def coarse_integral(objective: Any, optimum: Optimum) -> Finding | None:
    """Whether more nodes would move the estimates by more than a tenth of a standard error.

    To first order the maximum of the better likelihood is one Newton step away. Looked for where it costs little: with
    few nodes in few dimensions. The gradient of the difference comes from values: functions for more take longer to
    build.
    """
    if not objective.is_marginal or objective.dimensions > 2:
        return None
    points = 2 * objective.quadrature_points + 7
    if points**objective.dimensions * objective.rows > _CHEAP:
        return None
    eigen = optimum.eigen
    if not np.all(eigen.values > 1e-8):
        return None
    better = objective.with_nodes(points)

    def gain(x: np.ndarray) -> float:
        return better.value(x) - objective.value(x)

    # A standard error of a scale that has vanished is hundreds of log-units
    most = np.where(objective.units > 0, objective.units, np.inf)
    steps = np.minimum(_NEARBY / np.sqrt(np.diag(-optimum.hessian)), most)
    gradient = np.array([gain(optimum.x + step) - gain(optimum.x - step) for step in np.diag(steps)]) / (2 * steps)
    errors = np.sqrt(np.diag(np.linalg.inv(-optimum.hessian)))
    shifts = eigen.unrotate(eigen.rotate(gradient) / eigen.values) / errors
    if not np.all(np.isfinite(shifts)) or np.abs(shifts).max(initial=0.0) <= _COARSE:
        return None
    names = wording.owners(objective.parameters, np.abs(shifts) > _COARSE)
    return wording.coarse_integral(names, float(np.abs(shifts).max()), objective.quadrature_points)
