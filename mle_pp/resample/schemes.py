"""What is drawn for a replicate: weights of the rows, or data from the model.

The randomness of replicate k depends on the seed and on k alone, so results do not depend on who computes which
replicate, in which order, or how often it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mle_pp.errors import ModelError
from mle_pp.rows import Rows

# The seed for random_seed=None: results repeat unless asked not to
_DEFAULT_SEED = 20_260_101


def entropy(random_seed: Any) -> int | list[int]:
    """Numbers that stand for whatever `pm.sample` takes as a seed; a generator is advanced.

    Raises
    ------
    ValueError
        Not a seed.
    """
    if random_seed is None:
        return _DEFAULT_SEED
    if isinstance(random_seed, np.random.Generator):
        return int(random_seed.integers(2**63))
    if isinstance(random_seed, np.random.RandomState):
        return int(random_seed.randint(2**31))
    try:
        given = np.asarray(random_seed)
        if given.dtype.kind not in "iu" or given.ndim > 1:
            raise ValueError
        numbers: Any = given.tolist()
        np.random.SeedSequence(numbers)
    except (ValueError, TypeError):
        raise ValueError(
            f"random_seed={random_seed!r} is no seed: give a whole number ≥ 0, a sequence of them, or a Generator."
        ) from None
    return numbers


def generator(seed: int | list[int], *key: int) -> np.random.Generator:
    """The generator of one replicate, by its number: streams with other keys are independent (NumPy's SeedSequence)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def cluster_index(rows: Rows, groups: Any) -> np.ndarray:
    """For each row, the number of its cluster.

    Raises
    ------
    ModelError
        No groups, not one a row, missing ones, or a single cluster.
    """
    if groups is None:
        raise ModelError('kind="clusters" needs groups=, the cluster of each row.')
    labels = rows.align(groups, "groups")
    missing = np.array([label is None or label != label for label in labels.tolist()])
    if missing.any():
        raise ModelError(f"groups has no label in row {int(np.argmax(missing))} (counted from 0).")
    names, index = np.unique(labels.astype(str) if labels.dtype == object else labels, return_inverse=True)
    if len(names) < 2:
        raise ModelError(f"groups has one cluster only ({names[0]}): resampling clusters needs several.")
    return index


def resampled_rows(rows: Rows, base: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    """Multinomial weights: rows drawn with replacement, within each set of rows; `base` counts identical rows."""
    strata = [(part, base[part].sum()) for part in rows.slices()]

    def draw(rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([rng.multinomial(round(total), base[part] / total) for part, total in strata]) * 1.0

    return draw


def resampled_clusters(index: np.ndarray, base: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    """Multinomial weights of clusters: clusters drawn with replacement, each with all its rows."""
    count = int(index.max()) + 1

    def draw(rng: np.random.Generator) -> np.ndarray:
        return rng.multinomial(count, np.full(count, 1 / count))[index] * base

    return draw


def bayesian(rows: Rows, base: np.ndarray, index: np.ndarray | None) -> Callable[[np.random.Generator], np.ndarray]:
    """Dirichlet weights that sum to the number of rows (Rubin 1981); of clusters, where `index` is given."""
    if index is not None:
        count = int(index.max()) + 1
        return lambda rng: count * rng.dirichlet(np.ones(count))[index] * base
    strata = [(part, base[part].sum()) for part in rows.slices()]

    def draw(rng: np.random.Generator) -> np.ndarray:
        weights = np.zeros_like(base)
        for part, total in strata:
            gamma = rng.standard_gamma(base[part])
            weights[part] = total * gamma / gamma.sum()
        return weights

    return draw


def left_out(rows: Rows, base: np.ndarray, index: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """What the jackknife leaves out: the units, the stratum of each, and how many alike there are.

    Returns
    -------
    units : list of ndarray
        What to subtract from the weights.
    strata, times : ndarray, one entry a unit

    Raises
    ------
    ModelError
        Case weights that are no counts.
    """
    if index is not None:
        members = [np.where(index == k, base, 0.0) for k in range(int(index.max()) + 1)]
        return members, np.zeros(len(members), dtype=int), np.ones(len(members))
    if np.any(base != np.round(base)):
        raise ModelError("The jackknife leaves out one observation: the case weights have to be whole numbers.")
    stratum = np.repeat(np.arange(len(rows.axes)), [axis.length for axis in rows.axes])
    # A set with one row cannot do without it
    used = np.flatnonzero((base > 0) & np.isin(stratum, [k for k, p in enumerate(rows.slices()) if base[p].sum() > 1]))
    return [_unit(base.size, int(row)) for row in used], stratum[used], base[used]


def _unit(size: int, row: int) -> np.ndarray:
    unit = np.zeros(size)
    unit[row] = 1.0
    return unit
