"""The Wald test of equations in the model's labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from mle_pp.errors import ModelError
from mle_pp.hypothesis.result import TestResult
from mle_pp.information import determined
from mle_pp.intervals.wald import standing
from mle_pp.quantities import masked, quantity

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate


def wald_test(
    est: Estimate, hypothesis: str | Sequence[str], kind: str = "hessian", *, groups: Any = None
) -> TestResult:
    """Wald test of equations in the model's labels.

    Parameters
    ----------
    est : Estimate
    hypothesis : str or list of str
        Equations between expressions in labels of parameters and `Deterministic`s, as `summary` shows them:
        ``"beta[x1] = beta[x2]"``, ``"exp(a) = 2"``, ``"a / b = 1"``; several, in a list or joined by commas, are tested
        together. Functions: ``exp, log, sqrt, abs, logit, expit, tanh, atanh``.
    kind : str
        Which covariance, as for `Estimate.cov`.
    groups : optional
        As for `Estimate.cov`.

    Returns
    -------
    TestResult
        With ``statistic`` the quadratic form in what the equations are off by, χ²(``df``) under the null hypothesis.

    Raises
    ------
    KeyError
        A label that the model does not have.
    ValueError
        No equation, an inequality, or an equation that follows from the others.
    ModelError
        An equation about what has no standard error; the message says why.

    Notes
    -----
    A scalar set equal to a number (``sigma = 2``) is tested on the scale of its Wald interval (the log of a standard
    deviation, the logit of a probability), so that its p-value is below 0.05 exactly if the number is outside the 95 %
    interval. Other equations are tested as they are written, by the delta method: a Wald test depends on how a
    nonlinear restriction is put, and ``a / b = 1`` is not ``a = b``.

    References
    ----------
    Wald (1943), Transactions of the American Mathematical Society 54, 426-482.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model(coords={"group": ["a", "b"]}) as model:
    ...     mu = pm.Normal("mu", 0, 10, dims="group")
    ...     y = pm.Normal("y", mu[[0, 0, 1, 1]], 1, observed=np.array([1.0, 2.0, 3.0, 4.0]))
    >>> mle.wald_test(mle.find_MLE(model), "mu[a] = mu[b]")
    Wald test
      null hypothesis: mu[a] = mu[b]
      statistic = 4, df = 1, p = 0.0455 (χ²(1))
    """
    equations = _equations(est, hypothesis)
    options = {} if groups is None else {"groups": groups}
    covariance = est.cov(kind, scale="unconstrained", **options).values
    rows = [_restriction(est, covariance, left, right) for left, right in equations]
    texts = [f"{left} = {right}" for left, right in equations]
    slopes = np.stack([row.slope for row in rows])
    z = np.array([row.z for row in rows])
    correlation = slopes @ covariance @ slopes.T
    _refuse_redundant(correlation, texts)
    statistic = float(z @ np.linalg.solve(correlation, z))
    table = pd.DataFrame({"value": [r.value for r in rows], "se": [r.error for r in rows], "z": z}, index=texts)
    df = len(texts)
    pvalue = float(chi2.sf(statistic, df))
    return TestResult("Wald test", ", ".join(texts), statistic, df, pvalue, f"χ²({df})", table)


@dataclass(frozen=True)
class _Restriction:
    """One equation at the estimate: left minus right, its standard error, and the slope of its z in the vector."""

    value: float
    error: float
    z: float
    slope: np.ndarray


def _equations(est: Estimate, hypothesis: str | Sequence[str]) -> list[tuple[str, str]]:
    """The two sides of each equation; ``a = b = c`` is two of them."""
    found = []
    for text in [hypothesis] if isinstance(hypothesis, str) else list(hypothesis):
        if not isinstance(text, str):
            raise ValueError(f"A hypothesis is a text such as 'a = b', not {text!r}.")
        for part in _split(est, text, ","):
            if sign := re.search(r"<|>|≤|≥|≠|!=|~", masked(est._objective.parameters, part)):
                raise ValueError(
                    f"{part!r} has the sign {sign.group()}: a hypothesis is an equation. For a one-sided test halve "
                    f"the p-value of the equation, where the estimate is on the side of the alternative."
                )
            sides = [side.strip() for side in _split(est, part, "==?")]
            if len(sides) < 2 or not all(sides):
                raise ValueError(f"{part!r} is no equation. Write both sides: 'a = 0', 'a = b'.")
            found += list(pairwise(sides))
    if not found:
        raise ValueError("No hypothesis was given.")
    return found


def _split(est: Estimate, text: str, separator: str) -> list[str]:
    """`text` in parts, at each separator outside of labels, whose coordinates may hold one."""
    parts, start = [], 0
    for match in re.finditer(separator, masked(est._objective.parameters, text)):
        parts.append(text[start : match.start()])
        start = match.end()
    return [part.strip() for part in [*parts, text[start:]]]


def _restriction(est: Estimate, covariance: np.ndarray, left: str, right: str) -> _Restriction:
    parameters, x = est._objective.parameters, est._optimum.x
    sides = [quantity(parameters, side) for side in (left, right)]
    values = [side.value(x) for side in sides]
    slope = sides[0].gradient(x) - sides[1].gradient(x)
    text = f"{left} = {right}"
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{text}: the two sides are {values[0]:g} and {values[1]:g} at the estimate.")
    _refuse_withheld(est, text, [label for side in sides for label in side.labels], slope, covariance)
    error = float(np.sqrt(slope @ covariance @ slope))
    value = values[0] - values[1]
    # Without rounding: 1e-8 of what the terms' own errors would be if nothing cancelled
    size = np.abs(slope) @ np.sqrt(np.diag(covariance))
    if not error > 1e-12 * max(size, 1e-300):
        raise ValueError(f"{text} says nothing about the parameters: its two sides differ by a constant.")
    z = value / error
    for side, other, sign in ((0, 1, 1.0), (1, 0, -1.0)):
        if not sides[other].labels and sides[side].labels == (sides[side].text,):
            z = sign * standing(est, sides[side].text, values[other], error)
            if not np.isfinite(z):
                raise ValueError(
                    f"{text}: {values[other]:g} is outside the support of {sides[side].text}, or on its edge, where a "
                    f"Wald test has no meaning. Fit with fix= and use lr_test."
                )
    return _Restriction(value, error, z, slope / error)


def _refuse_withheld(
    est: Estimate, text: str, labels: Sequence[str], slope: np.ndarray, covariance: np.ndarray
) -> None:
    """No test of what the verdict withholds; a function of several scalars may have a meaning where these have none."""
    known = np.all(np.isfinite(covariance)) and determined(
        slope[None, :], -est._optimum.hessian, est.cov(scale="unconstrained").values
    )
    withheld = [
        label
        for scales, layout in (
            (est._scales.withheld, est._layout),
            (est._scales.withheld_derived, est._derived_layout),
        )
        for label, is_withheld in zip(layout.labels, scales, strict=True)
        if is_withheld and label in labels
    ]
    if known and not (len(labels) == 1 and withheld):
        return
    reasons = [str(f) for f in est.verdict.findings if set(f.variables).intersection(withheld or labels)]
    raise ModelError(
        f"{text} cannot be tested: there is no standard error for {', '.join(withheld or labels)}. "
        f"{' '.join(reasons) or est.verdict.message}"
    )


def _refuse_redundant(correlation: np.ndarray, texts: Sequence[str]) -> None:
    """Say which equation follows from those before it."""
    for k in range(1, len(texts)):
        weights = np.linalg.solve(correlation[:k, :k], correlation[:k, k])
        left = correlation[k, k] - weights @ correlation[:k, k]
        if left < 1e-10:
            others = [text for text, weight in zip(texts[:k], weights, strict=True) if abs(weight) > 1e-6]
            raise ValueError(f"{texts[k]!r} follows from {', '.join(map(repr, others))}, or contradicts it: drop one.")
