"""The kinds of covariance matrix of an estimate, on the unconstrained scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mle_pp.errors import ModelError
from mle_pp.information import covariance, sandwich, small_sample_factor
from mle_pp.simulated import monte_carlo_error, simulated_information

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

# Other names of the same: those of White (1980) and MacKinnon and White (1985), and of R's clubSandwich.
_ALIASES = {"sandwich": "HC0", "cluster": "CR1S"}
_ROW_KINDS = ("HC0", "HC1")
_GROUP_KINDS = ("CR0", "CR1", "CR1S")
KINDS = ("hessian", "expected", "opg", "sandwich", "cluster", *_ROW_KINDS, *_GROUP_KINDS)


@dataclass(frozen=True)
class Covariance:
    """A covariance matrix of the unconstrained vector, and what is to be known about it."""

    matrix: np.ndarray
    attrs: dict[str, Any] = field(default_factory=dict)


def covariance_of(est: Estimate, kind: str, groups: Any) -> Covariance:
    """The covariance of the unconstrained vector.

    Parameters
    ----------
    est : Estimate
    kind : str
        One of `KINDS`.
    groups : array_like, optional
        Labels, one a row, for the kinds that need them.

    Raises
    ------
    ValueError
        An unknown kind; groups that are missing, or not asked for; a kind that has no meaning for this estimate.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, KINDS))}.")
    name = _ALIASES.get(kind, kind)
    if (name in _GROUP_KINDS) != (groups is not None):
        raise ValueError(
            f"kind={kind!r} needs groups=, a label a row."
            if groups is None
            else f"groups= belongs to kind='cluster' (or 'CR0', 'CR1'), not to kind={kind!r}."
        )
    if not est._has_curvature:
        return Covariance(np.full_like(est._optimum.hessian, np.nan))
    if name == "hessian":
        return Covariance(covariance(-est._optimum.hessian, est._basis))
    if name == "expected":
        return _expected(est)
    return _from_scores(est, kind, groups)


def _expected(est: Estimate) -> Covariance:
    """From the closed form, or simulated from the model where there is none."""
    objective, x, basis = est._objective, est._optimum.x, est._basis
    if est.kind != "mle":
        raise ValueError(
            'cov("expected") has no meaning with kept priors: the expected information is that of the data alone. '
            'Use cov("hessian").'
        )
    if objective.is_marginal:
        raise ValueError(
            'cov("expected") is not computed for models with integrated variables. Use cov("hessian"), or '
            "mle.bootstrap."
        )
    if objective.has_information:
        return Covariance(covariance(objective.information(x), basis))
    simulated = simulated_information(objective, x, basis)
    attrs = {"n_simulations": len(simulated), "mc_error": monte_carlo_error(simulated, basis)}
    return Covariance(covariance(simulated.mean(axis=0), basis), attrs)


def _from_scores(est: Estimate, kind: str, groups: Any) -> Covariance:
    objective, basis, name = est._objective, est._basis, _ALIASES.get(kind, kind)
    scores, weights, used = row_scores(est, f'cov("{kind}")')
    if name == "opg":
        if est.kind != "mle":
            raise ValueError(
                'cov("opg") has no meaning with kept priors: the scores are those of the data alone. Use '
                'cov("hessian") or cov("sandwich").'
            )
        found = covariance(scores.T @ (weights[:, None] * scores), basis)
        # The scores sum to zero
        if len(scores) <= basis.shape[1] or not np.all(np.isfinite(found)):
            raise ValueError(
                f'cov("opg"): the outer product of the scores of {len(scores)} rows is singular for {basis.shape[1]} '
                f"parameters."
            )
        return Covariance(found)
    codes, count, attrs = None, 0, {}
    if name in _GROUP_KINDS:
        codes, count = _codes(objective.axes.align(groups, "groups"), used)
        attrs = {"n_groups": count}
    n, k = float(weights.sum()), est.n_params
    if name in ("HC1", "CR1S") and n <= k:
        raise ValueError(f'cov("{kind}"): its factor 1/(n−k) needs more rows (n = {n:g}) than parameters (k = {k}).')
    bread = covariance(-est._optimum.hessian, basis)
    matrix = small_sample_factor(name, n, k, count) * sandwich(bread, scores, weights, codes)
    return Covariance(matrix, attrs)


def row_scores(est: Estimate, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and weights of the rows whose weight is not zero, and which these are.

    Kept priors count as a part of every row, so that the scores sum to zero at a penalized estimate, too.
    """
    objective = est._objective
    objective.axes.require(what)
    weights = np.ones(objective.axes.size) if objective.weights is None else objective.weights
    used = weights > 0
    scores, weights = objective.scores(est._optimum.x)[used], weights[used]
    if est.kind != "mle":
        scores = scores - (weights @ scores) / weights.sum()
    return scores, weights, used


def _codes(groups: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, int]:
    """Groups as numbers from 0, of the rows that are used."""
    missing = pd.isna(groups)
    if np.any(missing):
        raise ModelError(f"groups has a missing label in row {int(np.argmax(missing))} (counted from 0).")
    codes, labels = pd.factorize(groups[used])
    if len(labels) < 2:
        raise ModelError(f"groups has one group only ({labels[0]}): a cluster covariance needs at least two.")
    return codes, len(labels)
