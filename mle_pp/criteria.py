"""Information criteria of several estimates, and tests of whether a model is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2

from mle_pp.conventions import formatted
from mle_pp.covariances import row_scores
from mle_pp.errors import ModelError
from mle_pp.estimate import Estimate
from mle_pp.hypothesis.result import TestResult
from mle_pp.linalg import inverse_on
from mle_pp.roles import RoleKind
from mle_pp.verdict import Status

CRITERIA = ("aic", "aicc", "bic")
# A linear combination of columns that is this small is zero: rounding errors of derivatives.
_NOTHING = 1e-7


def rank(ests: Mapping[str, Estimate] | Sequence[Estimate], criterion: str = "aic") -> pd.DataFrame:
    """Models of the same data, by information criteria.

    Parameters
    ----------
    ests : mapping of str to Estimate, or sequence of Estimate
        Maximum-likelihood fits; those of a sequence are named ``model_0``, ``model_1``, ...
    criterion : {"aic", "aicc", "bic"}
        Which one the order, the differences and the weights belong to.

    Returns
    -------
    pd.DataFrame
        A row a model, best first, with columns ``loglik``, ``n_params``, ``n_obs``, ``aic``, ``aicc``, ``bic``,
        ``delta`` (the criterion minus the lowest), ``weight`` (∝ exp(−delta/2); Akaike's weights, or for "bic" the
        approximate posterior probabilities of the models) and ``status`` of its verdict.

    Raises
    ------
    ValueError
        Fewer than two estimates; different data or weights; a penalized fit or a posterior mode; a verdict without a
        maximum or without the smoothness that criteria need; AICc where n_obs ≤ n_params + 1. The message names the
        model.

    Notes
    -----
    The log-likelihoods are compared as they are: of the same observed values, not of a transformed response. BIC takes
    n = `n_obs`, the rows of data.

    References
    ----------
    Burnham and Anderson (2002), "Model Selection and Multimodel Inference", sections 2.4 to 2.9.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> y = [1.0, 2.0, 3.0, 6.0]
    >>> with pm.Model() as free:
    ...     observed = pm.Normal("y", pm.Normal("mu", 0, 10), 2, observed=y)
    >>> with pm.Model() as wide:
    ...     observed = pm.Normal("y", pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10), observed=y)
    >>> table = mle.rank({"known sigma": mle.find_MLE(free), "free sigma": mle.find_MLE(wide)})
    >>> table["delta"].round(3).to_dict()
    {'known sigma': 0.0, 'free sigma': 1.966}
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion={criterion!r} is not one of {', '.join(map(repr, CRITERIA))}.")
    named = dict(ests) if isinstance(ests, Mapping) else {f"model_{k}": est for k, est in enumerate(ests)}
    if len(named) < 2:
        raise ValueError("rank compares at least two estimates.")
    for name, est in named.items():
        _check(name, est)
    first, *others = named
    for name in others:
        _check_same_data(first, named[first], name, named[name])
    columns = ("loglik", "n_params", "n_obs", *CRITERIA)
    table = pd.DataFrame({name: {c: getattr(est, c) for c in columns} for name, est in named.items()}).T
    # The sum of case weights need not be whole
    whole = all(float(est.n_obs).is_integer() for est in named.values())
    table = table.astype({"n_params": int, **({"n_obs": int} if whole else {})})
    missing = table.index[table[criterion].isna()]
    if len(missing):
        raise ValueError(f"{criterion} of {', '.join(missing)} is not defined: n_obs ≤ n_params + 1.")
    table["delta"] = table[criterion] - table[criterion].min()
    likelihood = np.exp(-table["delta"] / 2)
    table["weight"] = likelihood / likelihood.sum()
    table["status"] = [str(named[name].verdict.status) for name in table.index]
    table = table.sort_values("delta", kind="stable")
    decimals = {"loglik": 2, **dict.fromkeys(CRITERIA, 2), "delta": 2, "weight": 3}
    return formatted(
        table, {column: {k: f"{v:.{d}f}" for k, v in table[column].items()} for column, d in decimals.items()}
    )


def _check(name: str, est: Estimate) -> None:
    if est.kind != "mle":
        kind = "a penalized fit" if est.kind == "penalized" else "a posterior mode"
        raise ValueError(f"{name} is {kind}: information criteria belong to maximum-likelihood fits.")
    if est.verdict.status.is_failure or est.verdict.status is Status.IRREGULAR:
        raise ValueError(f"{name} is {est.verdict.status}: its log-likelihood is that of no regular maximum.")


def _check_same_data(first: str, one: Estimate, second: str, other: Estimate) -> None:
    names = one._objective.names, other._objective.names
    if set(names[0]) != set(names[1]):
        raise ValueError(
            f"{first} and {second} are of different data: one has the likelihood of {', '.join(names[0])}, the other "
            f"of {', '.join(names[1])}."
        )
    for name in names[0]:
        here, there = one._objective.data.get(name), other._objective.data.get(name)
        if here is not None and there is not None and not np.array_equal(here, there):
            raise ValueError(f"{first} and {second} are of different data: {name} differs. Fit both to the same rows.")
    if one.n_obs != other.n_obs:
        raise ValueError(f"{first} has {one.n_obs:g} rows and {second} has {other.n_obs:g}: fit both to the same rows.")
    if one.roles.names(RoleKind.RESTRICTED) != other.roles.names(RoleKind.RESTRICTED):
        raise ValueError(
            f"{first} and {second} have different restricted= variables: their log-likelihoods are of different "
            f"contrasts of the data. Fit both without restricted=."
        )
    given = (e._objective.case_weights for e in (one, other))
    mine, theirs = (np.ones(1) if weights is None else weights for weights in given)
    if not np.all(mine == theirs):
        raise ValueError(f"{first} and {second} have different case weights: fit both with the same.")


def tic(est: Estimate) -> float:
    """Takeuchi's information criterion, −2 loglik + 2 tr(H⁻¹ Σ s sᵀ): AIC that does not assume the model to be true.

    Parameters
    ----------
    est : Estimate
        A maximum-likelihood fit whose data are independent rows.

    Returns
    -------
    float
        If the model is true, the trace is about the number of parameters, and TIC about AIC.

    Raises
    ------
    ValueError
        A penalized fit, a posterior mode, or a verdict without a regular maximum.
    ModelError
        A term of the likelihood has no rows.

    References
    ----------
    Takeuchi (1976), Suri-Kagaku 153. Burnham and Anderson (2002), section 7.3.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> est = mle.find_MLE(model)
    >>> round(mle.tic(est) - est.aic, 3)
    -0.25
    """
    _check("The estimate", est)
    scores, weights, _ = row_scores(est, "TIC")
    meat = scores.T @ (weights[:, None] * scores)
    penalty = np.trace(inverse_on(-est._optimum.hessian, est._basis) @ meat)
    return float(-2 * est.loglik + 2 * penalty)


def information_matrix_test(est: Estimate) -> TestResult:
    """White's test of whether the model is true: the two forms of the information, −∇²ℓ and Σ s sᵀ, are then equal.

    Parameters
    ----------
    est : Estimate
        A maximum-likelihood fit whose data are independent rows.

    Returns
    -------
    TestResult
        With ``statistic`` n R² of a regression of ones on the scores and the distinct elements of s sᵀ + ∇²ℓ of each
        row (Chesher 1983; Lancaster 1984). Elements that are linear combinations of others are left out, and do not
        count in `df`.

    Raises
    ------
    ValueError
        A penalized fit, a posterior mode, or a verdict other than CONVERGED; nothing left to test (the two forms of a
        model with one proportion always agree).
    ModelError
        A term of the likelihood has no rows, or variables were integrated.

    Notes
    -----
    Case weights count as repeated rows.

    In samples of a few hundred rows this form rejects true models too often; read a small p-value as a hint to use
    ``cov("sandwich")``. A bootstrap of the statistic gives honest p-values.

    References
    ----------
    White (1982), Econometrica 50, 1-25.
    """
    _check("The estimate", est)
    if not est.verdict.ok:
        raise ValueError(f"The information-matrix test needs a regular maximum, and this one is {est.verdict.status}.")
    objective, x = est._objective, est._optimum.x
    if objective.is_marginal:
        # Of a normal intercept, ∂ℓ/∂τ² = (∂²ℓ/∂β² + (∂ℓ/∂β)²)/2 for any data: what is left is the integral's error
        raise ModelError(
            "The information-matrix test is not made for models with integrated variables: part of what it compares "
            "agrees for any data, up to the error of the integral. Compare the standard errors of "
            'cov("sandwich") with those of cov("hessian").'
        )
    scores, weights, used = row_scores(est, "The information-matrix test")
    # In units of standard errors; the statistic does not depend on them
    error = np.sqrt(np.diag(est.cov(scale="unconstrained")))

    here = scores * error
    curvature = objective.row_hessians(x)[used] * np.outer(error, error)
    upper = np.triu_indices(x.size)
    contrast = (here[:, :, None] * here[:, None, :] + curvature)[:, *upper]
    root = np.sqrt(weights)
    df = _rank(root[:, None] * np.hstack([here, contrast])) - _rank(root[:, None] * here)
    if df == 0:
        raise ValueError("The information-matrix test has nothing to test: the two forms agree for any data.")
    columns = _scaled(root[:, None] * np.hstack([here, contrast]))
    fitted = columns @ np.linalg.lstsq(columns, root, rcond=_NOTHING)[0]
    statistic = float(fitted @ fitted)
    pvalue = float(chi2.sf(statistic, df))
    return TestResult("Information-matrix test", "the model is true", statistic, df, pvalue, f"χ²({df})")


def _scaled(columns: np.ndarray) -> np.ndarray:
    """Columns of length one, but those that are zero up to rounding."""
    length = np.linalg.norm(columns, axis=0)
    return columns[:, length > _NOTHING * length.max()] / length[length > _NOTHING * length.max()]


def _rank(columns: np.ndarray) -> int:
    return int(np.linalg.matrix_rank(_scaled(columns), rtol=_NOTHING))
