"""What the parts of a sparse factorization share: the memory they may need, and the dense algebra at their ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

# Bytes that one pattern and one factorization of it may need
MEMORY_LIMIT = 2 * 2**30
# Doubles of an array that should stay in the cache
CACHE = 2**17
# OpenBLAS starts threads for the inverse even of a tiny matrix, which on a busy machine takes milliseconds
UNTHREADED = 100


@dataclass
class State:
    """The numbers of one part: its pivots and its factor, and the nodes that show where it is not positive definite."""

    failed: np.ndarray
    pivots: np.ndarray
    factor: np.ndarray
    tail: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def fits(need: int) -> bool:
    """Whether so many bytes are within the limit."""
    return need <= MEMORY_LIMIT


def require(need: int) -> None:
    """Refuse what is not.

    Raises
    ------
    MemoryError
        Says how much it is.
    """
    if not fits(need):
        raise MemoryError(f"the factor of this pattern needs about {need / 2**30:.1f} GiB")


def usable(pivots: np.ndarray) -> np.ndarray:
    """Which pivots are those of a positive definite matrix."""
    return (pivots > 0) & (pivots < np.inf)


def cholesky(matrix: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper factor of a lower triangle, which may be overwritten, and the rows whose component has none."""
    several = bool(np.any(labels != labels[0]))
    factor, info = dpotrf(matrix.T, lower=0, clean=0, overwrite_a=not several)
    if info == 0 and usable(np.diag(factor)).all():
        return factor, np.empty(0, dtype=np.intp)
    everything = np.arange(len(labels))
    failed = []
    for label in np.unique(labels) if several else ():
        own = np.flatnonzero(labels == label)
        one, info = dpotrf(matrix[np.ix_(own, own)].T, lower=0)
        if info or not usable(np.diag(one)).all():
            failed.append(own)
    return factor, np.concatenate(failed) if failed else everything


def dense_inverse(factor: np.ndarray) -> np.ndarray:
    """The lower triangle of the inverse of what has this upper factor."""
    if len(factor) <= UNTHREADED:
        return dpotrs(factor, np.eye(len(factor)), lower=0)[0].T
    return dpotri(factor, lower=0)[0].T
