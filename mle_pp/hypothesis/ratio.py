"""The likelihood-ratio test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2

from mle_pp.checks import different
from mle_pp.conventions import whole
from mle_pp.errors import ModelError
from mle_pp.hypothesis.nesting import listed, observed, scalars_at_edge
from mle_pp.hypothesis.result import TestResult
from mle_pp.linalg import complement
from mle_pp.objective import ModelObjective
from mle_pp.optimize import Stop, maximize
from mle_pp.predictive import retargeted, simulator
from mle_pp.roles import RoleKind
from mle_pp.verdict import Status

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

# Likelihood ratios this close to zero are the optimizers' rounding; further below it, something is wrong.
_ROUNDING = 1e-6
# At a limit, differences of large terms are left (log-gamma functions of a dispersion of 1e8): the same, coarser.
_ROUNDING_AT_LIMIT = 1e-3
_LIMITS = (Status.AT_INFINITY, Status.BOUNDARY)
# On the scale of a logarithm or logit: so far out that derivatives have vanished.
_EXTREME = 12.0


def lr_test(
    small: Estimate,
    large: Estimate,
    n_bootstrap: int = 0,
    *,
    boundary: int | None = None,
    random_seed: Any = None,
) -> TestResult:
    """Likelihood-ratio test of a model against a larger one that contains it.

    Parameters
    ----------
    small, large : Estimate
        Maximum-likelihood fits to the same data: of the same model, say, with and without ``fix=``, or of two models.
    n_bootstrap : int
        Calibrate by this many data sets, simulated from `small` and fitted with both models. 0: by the asymptotic law.
    boundary : int, optional
        How many scalars of `large` the null hypothesis puts on the edge of their support (a variance of zero). Default:
        found from the fits, and asked for where it cannot be.
    random_seed : int, Generator or None
        Of the simulations.

    Returns
    -------
    TestResult
        With ``statistic`` 2 (ℓ(large) − ℓ(small)) and ``df`` the difference of the numbers of parameters.

    Raises
    ------
    ModelError
        The fits are not to the same data, are not maximum-likelihood fits, have no maximum, or are not nested; or the
        law is not known and has to be simulated.

    Notes
    -----
    The law is χ²(df) (Wilks 1938). Where the null hypothesis puts one scalar on the edge of its support, it is the
    mixture ½ χ²(df − 1) + ½ χ²(df) (Self and Liang 1987, case 5); with several of them, or where other parameters are
    on an edge or have no meaning under the null hypothesis, the weights are not known and `n_bootstrap` is needed.

    The null is recognized to be on an edge if `small` holds the scalar there (``fix={"mu": 0.0}``), or if the
    likelihood of `large` becomes that of `small` as its only additional bounded scalar goes to one.

    The simulated p-value is (1 + #{T* ≥ T}) / (1 + n) (Davison and Hinkley 1997, section 4.2).

    References
    ----------
    Self and Liang (1987), Journal of the American Statistical Association 82, 605-610.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=np.array([1.0, 2.0, 3.0, 6.0]))
    >>> mle.lr_test(mle.find_MLE(model, fix={"mu": 1.0}), mle.find_MLE(model))
    Likelihood-ratio test
      null hypothesis: mu = 1
      statistic = 4, df = 1, p = 0.0455 (χ²(1))
    """
    n_bootstrap = whole("n_bootstrap", n_bootstrap, least=0)
    _refuse_unlike(small, large)
    df = large.n_params - small.n_params
    if df == 0 and small._layout.labels == large._layout.labels:
        raise ModelError(
            "small and large estimate the same parameters. Fit the null hypothesis with fix=, or as a model that lacks "
            "the terms in question."
        )
    if df <= 0:
        raise ModelError(
            f"small has {small.n_params} parameters, large {large.n_params}: the first model must be the smaller "
            f"one. Swap them, or check which variables are held."
        )
    statistic = 2 * (_supremum(large) - small.loglik)
    rounding = _ROUNDING_AT_LIMIT if large.verdict.status in _LIMITS else _ROUNDING
    if statistic < -rounding:
        raise ModelError(
            f"The larger model has the lower log-likelihood ({large.loglik:.8g}, {small.loglik:.8g}): it does not "
            f"contain the smaller one, or its maximum was not found; fit it again with more starts= or with initvals= "
            f"at the estimates of the smaller one."
        )
    statistic = statistic if statistic > rounding else 0.0
    hypothesis = _nested_hypothesis(small, large)
    notes = _verdict_notes(small, large)
    if n_bootstrap:
        drawn = _simulated_ratios(small, large, n_bootstrap, np.random.default_rng(random_seed))
        if len(drawn) < n_bootstrap:
            notes.append(f"{n_bootstrap - len(drawn)} of the {n_bootstrap} simulated data sets could not be fitted.")
        # Equal up to rounding, so that the many zeros at an edge count as equal
        pvalue = float((1 + np.sum(drawn >= statistic - rounding)) / (1 + len(drawn)))
        law = f"{len(drawn)} simulations"
        return TestResult("Likelihood-ratio test", hypothesis, statistic, df, pvalue, law, None, drawn, tuple(notes))
    count = scalars_at_edge(small, large) if boundary is None else _checked_boundary(boundary, df)
    if count > 1:
        raise ModelError(
            f"The null hypothesis puts {count} scalars on the edge of their support: the weights of the mixture of χ² "
            f"laws depend on the information matrix. Simulate the law: n_bootstrap=1000, say."
        )
    pvalue, law = _asymptotic(statistic, df, count)
    return TestResult("Likelihood-ratio test", hypothesis, statistic, df, pvalue, law, notes=tuple(notes))


def _supremum(est: Estimate) -> float:
    """The log-likelihood; at a limit, which a search ends short of, the highest value found further along."""
    if est.verdict.status not in _LIMITS:
        return est.loglik
    directions = complement(est._basis).T
    further = [est._optimum.x + step * direction for direction in directions for step in (-30, -15, -5, 5, 15, 30)]
    with np.errstate(all="ignore"):
        values = [est._objective.loglik(x) for x in further]
    return max(value for value in [est.loglik, *values] if np.isfinite(value))


def _asymptotic(statistic: float, df: int, at_edge: int) -> tuple[float, str]:
    """The p-value, and the law in words."""
    if not at_edge:
        return float(chi2.sf(statistic, df)), f"χ²({df})"
    # χ²(0) is all at zero
    below = chi2.sf(statistic, df - 1) if df > 1 else float(statistic <= 0)
    return float(0.5 * below + 0.5 * chi2.sf(statistic, df)), f"½ χ²({df - 1}) + ½ χ²({df})"


def _checked_boundary(boundary: Any, df: int) -> int:
    if isinstance(boundary, bool) or not isinstance(boundary, int) or not 0 <= boundary <= df:
        raise ValueError(f"boundary={boundary!r} is not a number of scalars from 0 to {df}.")
    return boundary


def _refuse_unlike(small: Estimate, large: Estimate) -> None:
    """Only maximum-likelihood fits, with a maximum, to the same data."""
    for which, est in (("small", small), ("large", large)):
        if est.kind != "mle":
            raise ModelError(f"{which} is a {_KINDS[est.kind]}: its log-likelihood is not the largest.")
        if est.verdict.status.is_failure or est.verdict.status is Status.IRREGULAR:
            raise ModelError(f"{which} has no regular maximum, so its likelihood ratio has no law: {est.verdict}")
    if small.roles.potentials != large.roles.potentials and (small.model.potentials or large.model.potentials):
        raise ModelError("The Potentials are part of the likelihood in only one of the two fits.")
    data = [observed(est) for est in (small, large)]
    if set(data[0]) != set(data[1]):
        raise ModelError(
            f"The two fits are not to the same data: observed are {', '.join(data[0])}, and {', '.join(data[1])}."
        )
    if changed := different(*data):
        raise ModelError(f"The two fits are not to the same data: {changed}.")
    if small.roles.names(RoleKind.RESTRICTED) != large.roles.names(RoleKind.RESTRICTED):
        raise ModelError(
            "The two fits have different restricted= variables, so that their log-likelihoods are of different "
            "contrasts of the data. Fit both without restricted=."
        )
    one, other = small._objective.case_weights, large._objective.case_weights
    same = other is None if one is None else other is not None and np.array_equal(one, other)
    if not same:
        raise ModelError("The two fits have different case weights.")


_KINDS = {"penalized": "penalized fit", "map": "posterior mode"}


def _nested_hypothesis(small: Estimate, large: Estimate) -> str:
    """The null hypothesis in words: what `small` holds, or what it lacks."""
    held = small._objective.parameters.fixed
    texts = []
    for entry in large._layout:
        if entry.name in held:
            values = np.broadcast_to(held[entry.name], entry.shape).ravel()
            texts += [f"{label} = {value:.6g}" for label, value in zip(entry.labels, values, strict=True)]
    if texts:
        return listed(texts)
    lacking = [label for label in large._layout.labels if label not in small._layout.labels]
    return f"the model without {', '.join(lacking[:6])}" if lacking else "the smaller model"


def _verdict_notes(small: Estimate, large: Estimate) -> list[str]:
    return [
        f"{which}: {est.verdict.message.splitlines()[0]}"
        for which, est in (("small", small), ("large", large))
        if not est.verdict.ok
    ]


def _simulated_ratios(small: Estimate, large: Estimate, n: int, rng: np.random.Generator) -> np.ndarray:
    """Likelihood ratios of data simulated from `small`; those that could not be had are left out."""
    if small._objective.weights is not None:
        raise ModelError("The fits have case weights, and simulated data have none: repeat the rows instead.")
    draw = simulator(small._objective)
    null, observe_null = retargeted(small._objective)
    full, observe_full = retargeted(large._objective)
    ratios = []
    with np.errstate(all="ignore"):
        for _ in range(n):
            data = draw(rng, small._optimum.x)
            observe_null(data)
            observe_full(data)
            lower = _highest(null, small._optimum.x)
            ratios.append(2 * (_highest(full, large._optimum.x, lower) - lower))
    found = np.array(ratios)
    # Far below zero, the larger model's maximum was missed
    return np.maximum(found[np.isfinite(found) & (found > -1e-3)], 0.0)


def _highest(objective: ModelObjective, start: np.ndarray, floor: float = -np.inf) -> float:
    """The maximum reached from `start`; where that is at an edge or below `floor`, the higher of it and of another.

    NaN where the likelihood has no maximum. At an edge derivatives vanish, so that a search ends where it began.
    """
    values = []
    for begin in (start, objective.parameters.default):
        end = maximize(objective, begin)
        if end.stop is not Stop.FAR:
            values.append(end.value)
        at_edge = np.any((objective.units > 0) & (np.abs(end.x) > _EXTREME))
        if end.stop is Stop.SMALL_DECREMENT and end.value >= floor and not at_edge:
            break
    return max(values, default=np.nan)
