"""Likelihood limits of a parameter at which the support of the data ends: θ of y ~ Uniform(0, θ), for example.

There the log-likelihood does not bend at its maximum, it breaks off, and falls linearly on the other side: twice its
fall is χ² with two degrees of freedom, not one (Hogg 1956, Annals of Mathematical Statistics 27; exactly so for the
uniform and the shifted exponential distribution).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from mle_pp.diagnose.case import Case
from mle_pp.intervals.scalars import Coordinate, Target

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

_DOUBLINGS = 60


def support_coordinate(est: Estimate) -> int | None:
    """The one coordinate in which the support ends at the estimate; None if the verdict is another."""
    irregular = est._scales.special.irregular
    is_support = [finding.kind for finding in est.verdict.findings if finding.kind in ("support", "kink", "plateau")]
    moving = np.flatnonzero(irregular)
    return int(moving[0]) if is_support == ["support"] and irregular.shape[1] == 1 and moving.size == 1 else None


def support_limits(est: Estimate, scalar: Target, ci_prob: float) -> tuple[float, float] | None:
    """Lower and upper limit of a scalar: its estimate on the side where the support ends; None for any other scalar."""
    k = support_coordinate(est)
    if not isinstance(scalar.working, Coordinate) or scalar.working.index != k:
        return None
    case = Case(est._objective, est._objective.parameters, est._optimum)
    with np.errstate(all="ignore"):
        ends = [_limit(case, k, side, -np.log1p(-ci_prob)) for side in (-1, 1)]
    lower, upper = sorted(scalar.value(end) for end in ends)
    return lower, upper


def _limit(case: Case, k: int, side: int, drop: float) -> np.ndarray:
    """Where the profile has fallen by `drop`, or the estimate itself."""
    away = np.where(np.arange(case.x.size) == k, side * case.unit[k], 0.0)

    def fall(length: float) -> float:
        _, value = case.back_to_ridge(case.x + length * away, away)
        return case.value - value - drop if np.isfinite(value) else np.inf

    if not np.isfinite(case.objective.value(case.x + 1e-6 * away)):
        return case.x
    far = next((length for length in 2.0 ** np.arange(-10, _DOUBLINGS) if fall(length) > 0), None)
    if far is None:
        return np.where(away != 0, np.copysign(np.inf, away), case.x)
    return case.x + brentq(fall, 0.0, far, xtol=1e-14, rtol=1e-14) * away
