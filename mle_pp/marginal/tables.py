"""What the elements of arrays depend on, as numbers of rows of a table of sets.

Along with an array goes a table of sets, and for each element of the array the number of its set: indexing,
broadcasting and reshaping move these numbers only, and a chain of elementwise operations changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from mle_pp.errors import ModelError

# Entries of a table of dependences; beyond, it does not fit into memory.
_LIMIT = 500_000_000


@dataclass(frozen=True, eq=False)
class Pattern:
    """For each element of an array, the row of a table that says what the element depends on."""

    index: np.ndarray  # in the shape of the array
    table: sparse.csr_matrix  # of which row 0 is empty


def numbered(rows: sparse.csr_matrix, shape: tuple[int, ...]) -> Pattern:
    """Of elements that have a row each."""
    indptr = np.concatenate([[0], rows.indptr]).astype(rows.indptr.dtype)
    table = sparse.csr_matrix((rows.data, rows.indices, indptr), shape=(rows.shape[0] + 1, rows.shape[1]))
    return Pattern(np.arange(1, rows.shape[0] + 1).reshape(shape), table)


def _check_size(entries: float) -> None:
    if entries > _LIMIT:
        raise ModelError(
            f"The log-density couples too many latent variables with each other: a table of what depends on what would "
            f"have {entries:.1e} entries. Write the model so that each observation depends on few latent variables "
            f"(sums over all of them, as of a ZeroSumNormal, and long cumulative sums are dense)."
        )


def rows_of(pattern: Pattern) -> sparse.csr_matrix:
    """The rows of all elements."""
    index = pattern.index.ravel()
    _check_size(float(np.diff(pattern.table.indptr)[index].sum(dtype=float)))
    return pattern.table[index]


def collect(targets: np.ndarray, sources: np.ndarray, shape: tuple[int, ...], table: sparse.csr_matrix) -> Pattern:
    """The pattern whose elements `targets` (numbers in C order) depend on the rows `sources`, several for each."""
    size = math.prod(shape)
    entries = np.diff(table.indptr)[sources].sum(dtype=float)
    _check_size(min(entries, float(size) * table.shape[1]))
    chosen = sparse.csr_matrix((np.ones(sources.size, dtype=bool), (targets, sources)), shape=(size, table.shape[0]))
    return numbered(chosen @ table, shape)


def spread(pattern: Pattern, shape: tuple[int, ...]) -> Pattern:
    """Broadcast to a shape."""
    return pattern if pattern.index.shape == shape else Pattern(np.broadcast_to(pattern.index, shape), pattern.table)


def union(patterns: Sequence[Pattern | None], shape: tuple[int, ...]) -> Pattern | None:
    """What elements depend on that are computed from those of several arrays, broadcast to `shape`."""
    found = list({id(pattern): pattern for pattern in patterns if pattern is not None}.values())
    if not found:
        return None
    small = np.broadcast_shapes(*(pattern.index.shape for pattern in found))
    merged: list[Pattern] = []
    for pattern in found:
        here = spread(pattern, small)
        for k, other in enumerate(merged):
            together = _overlaid(here, other)
            if together is not None:
                merged[k] = together
                break
        else:
            merged.append(here)
    if len(merged) > 1:
        total = rows_of(merged[0])
        for pattern in merged[1:]:
            total = total + rows_of(pattern)
            _check_size(total.nnz)
        merged = [numbered(total, small)]
    return spread(merged[0], shape)


def _overlaid(one: Pattern, other: Pattern) -> Pattern | None:
    """The union of patterns of which, for each element, one is empty or both are equal."""
    if one.table is not other.table:
        return None
    if np.array_equal(one.index, other.index):
        return other
    if np.any((one.index != other.index) & (one.index != 0) & (other.index != 0)):
        return None
    return Pattern(np.maximum(one.index, other.index), one.table)


def only_where(mask: np.ndarray, pattern: Pattern | None, shape: tuple[int, ...]) -> Pattern | None:
    """The pattern, empty where the mask is zero."""
    if pattern is None or np.all(mask):
        return pattern
    return Pattern(np.where(mask, np.broadcast_to(pattern.index, shape), 0), pattern.table) if np.any(mask) else None


def reduced(pattern: Pattern | None, axes: Sequence[int]) -> Pattern | None:
    """The union over some axes, which are kept with length one."""
    if pattern is None or not axes:
        return pattern
    index = pattern.index
    axes = sorted(axis % index.ndim for axis in axes)
    shape = tuple(1 if axis in axes else length for axis, length in enumerate(index.shape))
    kept = [axis for axis in range(index.ndim) if axis not in axes]
    lines = index.transpose([*kept, *axes]).reshape(math.prod(shape), -1)
    if lines.size == 0:
        return None
    if np.all(lines == lines[:, :1]):
        return Pattern(lines[:, 0].reshape(shape), pattern.table)
    targets = np.repeat(np.arange(lines.shape[0]), lines.shape[1])
    return collect(targets, lines.ravel(), shape, pattern.table)


def over_last(pattern: Pattern | None, count: int) -> Pattern | None:
    """The union over the last axes, which are dropped."""
    if pattern is None:
        return None
    ndim = pattern.index.ndim
    kept = reduced(pattern, range(ndim - count, ndim))
    return None if kept is None else Pattern(kept.index.reshape(kept.index.shape[: ndim - count]), kept.table)


def one_table(patterns: Sequence[Pattern]) -> tuple[list[np.ndarray], sparse.csr_matrix]:
    """The patterns' numbers as numbers of rows of one table."""
    if all(pattern.table is patterns[0].table for pattern in patterns):
        return [pattern.index for pattern in patterns], patterns[0].table
    indices, tables, start = [], [], 0
    for pattern in patterns:
        # Only what is used, for a table may be much larger than the array
        used, index = np.unique(np.concatenate([[0], pattern.index.ravel()]), return_inverse=True)
        index = index[1:].reshape(pattern.index.shape)
        indices.append(np.where(index > 0, index + start, 0))
        tables.append(pattern.table[used[1:]])
        start += used.size - 1
    tables.insert(0, sparse.csr_matrix((1, patterns[0].table.shape[1]), dtype=bool))
    return indices, sparse.vstack(tables, format="csr")


def cumulated(pattern: Pattern | None, axis: int | None, shape: tuple[int, ...]) -> Pattern | None:
    """Each element depends on those before it."""
    if pattern is None:
        return None
    index = pattern.index.ravel() if axis is None else np.moveaxis(pattern.index, axis, -1)
    length = index.shape[-1]
    lines = index.reshape(-1, length)
    _check_size(lines.shape[0] * length * (length + 1) / 2)
    last, first = np.tril_indices(length)
    targets = (np.arange(lines.shape[0])[:, None] * length + last).ravel()
    found = collect(targets, lines[:, first].ravel(), index.shape, pattern.table)
    return Pattern(found.index.reshape(shape) if axis is None else np.moveaxis(found.index, -1, axis), found.table)


def solved(patterns: Sequence[Pattern | None], b_ndim: int, shape: tuple[int, ...]) -> Pattern | None:
    """Solutions of linear equations depend on the matrix, and on the right-hand side column by column."""
    matrix, right = patterns[0], reduced(patterns[1], [-b_ndim])
    matrix = over_last(matrix, 2)
    if matrix is not None:
        matrix = Pattern(matrix.index[(..., *[None] * b_ndim)], matrix.table)
    return union([matrix, right], shape)


def product(
    data: Sequence[Any],
    patterns: Sequence[Pattern | None],
    shapes: Sequence[tuple[int, ...]],
    shape: tuple[int, ...],
) -> Pattern | None:
    """Row by column; zeros of a factor that is data are structural."""
    is_vector = [len(own) == 1 for own in shapes]
    batch = shape[: len(shape) - 2 + sum(is_vector)]
    # The right factor as the left one of the transposed product
    left = None if patterns[0] is None else np.atleast_2d(patterns[0].index)
    right = None if patterns[1] is None else patterns[1].index
    if right is not None:
        right = right[None] if is_vector[1] else np.swapaxes(right, -1, -2)
    rows = 1 if is_vector[0] else shapes[0][-2]
    columns = 1 if is_vector[1] else shapes[1][-1]
    found = []
    if left is not None and patterns[0] is not None:
        entries = _entries(data[1], is_vector[1], False, batch)
        found.append(_times(Pattern(left, patterns[0].table), entries, (*batch, rows, columns)))
    if right is not None and patterns[1] is not None:
        entries = _entries(data[0], is_vector[0], True, batch)
        turned = _times(Pattern(right, patterns[1].table), entries, (*batch, columns, rows))
        found.append(Pattern(np.swapaxes(turned.index, -1, -2), turned.table))
    total = union(found, (*batch, rows, columns))
    return total and Pattern(total.index.reshape(shape), total.table)


def _entries(factor: Any, is_vector: bool, transpose: bool, batch: tuple[int, ...]) -> tuple[np.ndarray, ...] | None:
    """Batch, row and column of the nonzero entries; None where all are, or where it is not known."""
    if factor is None:
        return None
    if sparse.issparse(factor):
        entries = factor.tocoo()
        row, column = (entries.col, entries.row) if transpose else (entries.row, entries.col)
        return np.zeros(entries.nnz, dtype=int), row, column
    array = np.asarray(factor)
    if is_vector:
        array = array[:, None]
    elif transpose:
        array = np.swapaxes(array, -1, -2)
    nonzero = array != 0
    if np.all(nonzero):
        return None
    return np.nonzero(np.broadcast_to(nonzero, (*batch, *nonzero.shape[-2:])).reshape(-1, *nonzero.shape[-2:]))


def _times(pattern: Pattern, entries: tuple[np.ndarray, ...] | None, shape: tuple[int, ...]) -> Pattern:
    """A matrix with a pattern, times one of which the nonzero entries are known."""
    rows, columns = shape[-2:]
    if entries is None:
        found = reduced(pattern, [-1])
        # Nothing is a pattern here, too
        return Pattern(np.zeros(shape, dtype=int), pattern.table) if found is None else spread(found, shape)
    inner = pattern.index.shape[-1]
    index = np.broadcast_to(pattern.index, (*shape[:-1], inner)).reshape(-1, rows, inner)
    batch, row, column = entries
    sources = index[batch, :, row]
    targets = (batch[:, None] * rows + np.arange(rows)) * columns + column[:, None]
    return collect(targets.ravel(), sources.ravel(), shape, pattern.table)
