"""Interval limits from bootstrap draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri

from mle_pp.estimate import Estimate
from mle_pp.intervals.wald import from_links, to_links

if TYPE_CHECKING:
    from mle_pp.resample.replicates import Jackknife

INTERVALS = ("percentile", "basic", "bca")


def fewest(ci_prob: float) -> int:
    """How many draws an interval takes whose ends are not simply the lowest and the highest of them."""
    return int(np.ceil(2 / (1 - ci_prob) - 1e-6)) - 1


def bootstrap_limits(
    est: Estimate, values: np.ndarray, x: np.ndarray, kind: str, ci_prob: float, speed: np.ndarray | None
) -> np.ndarray:
    """Lower and upper limits of all scalars.

    Parameters
    ----------
    est : Estimate
    values : ndarray, shape (draws, scalars)
        Constrained parameters, then `Deterministic`s.
    x : ndarray, shape (draws, size)
        The same on the unconstrained scale.
    kind : {"percentile", "basic", "bca"}
    ci_prob : float
    speed : ndarray, shape (scalars,)
        The acceleration, for "bca".

    Returns
    -------
    ndarray, shape (2, scalars)
    """
    tails = np.array([(1 - ci_prob) / 2, (1 + ci_prob) / 2])
    withheld = np.concatenate([est._scales.withheld, est._scales.withheld_derived])
    if not len(values):
        return np.full((2, withheld.size), np.nan)
    if kind == "percentile":
        limits = _quantiles(values, np.tile(tails[:, None], withheld.size))
    elif kind == "basic":
        center, draws = to_links(est, values, x)
        # A refit at infinity has a finite vector, far out
        draws = np.where(np.isinf(values), values, draws)
        limits = from_links(est, 2 * center - _quantiles(draws, np.tile(tails[::-1, None], withheld.size)))
    else:
        assert speed is not None
        limits = _quantiles(values, _corrected(est, values, tails, speed))
    return np.where(withheld, np.nan, limits)


def _quantiles(values: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """The tails' quantiles of each column, with (n + 1) p as the rank, between neighbours by interpolation.

    Infinite draws are as good as any: they come last.
    """
    ordered = np.sort(values, axis=0)
    count = len(ordered)
    rank = np.clip((count + 1) * tails, 1, count) - 1
    lower = np.floor(np.nan_to_num(rank)).astype(int)
    upper, share = np.minimum(lower + 1, count - 1), rank - lower
    columns = np.arange(values.shape[1])
    below, above = ordered[lower, columns], ordered[upper, columns]
    with np.errstate(invalid="ignore"):
        between = below + share * (above - below)
    return np.where((share == 0) | (below == above), below, between) + 0 * rank


def _corrected(est: Estimate, values: np.ndarray, tails: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """The tails that correct for bias and acceleration (Efron 1987), shape (2, scalars)."""
    center = np.concatenate([est._layout.vector(est.params), est._derived_layout.vector(est.derived)])
    # Rounding puts a draw that is the estimate itself on either side of it
    close = np.isclose(values, center, rtol=1e-9, atol=0)
    below = np.mean(np.where(close, 0.5, values < center), axis=0)
    with np.errstate(all="ignore"):
        shift = ndtri(below)
        moved = shift + ndtri(tails)[:, None]
        return ndtr(shift + moved / (1 - speed * moved))


def acceleration(jack: Jackknife) -> np.ndarray:
    """Σ l³ / (6 (Σ l²)^{3/2}), with l the influence of each row: Davison and Hinkley (1997), equation (5.23)."""
    second, third = jack.influence
    with np.errstate(all="ignore"):
        return np.where(second > 0, third / (6 * second**1.5), 0.0)
