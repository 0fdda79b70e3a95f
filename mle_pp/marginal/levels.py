"""Elimination of independent sets of nodes, one after the other, and a dense tail.

No two nodes of a set are neighbours, so that their block of the matrix is diagonal and the whole set goes at once, in
array arithmetic on indices that were computed once for the pattern. What is left when the Schur complement has become
small or dense is factorized by LAPACK.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrs
from scipy.sparse import csr_array

from mle_pp.marginal.dense import CACHE, State, cholesky, dense_inverse, fits, require, usable

# Of this many nodes a dense Cholesky takes no longer than a level of elimination
SMALL = 64
# Above this share of all pairs, elimination would fill the rest anyway
DENSE = 0.2
# A pair of sparse elimination takes as long as this many multiplications of a dense product
DENSE_PAIRS = 300


@dataclass
class Level:
    """An independent set, in the order of elimination, and what it meets of the nodes after it.

    Attributes
    ----------
    nodes, entries : slice
        Where its nodes, and its entries with later nodes, are among all.
    row, col, starts : ndarray
        Of each entry, its node within the level and the later node; sorted by node, which start at `starts`.
    dense : bool
        The level before a large tail, of which one dense product is cheaper than the pairs.
    left, right : ndarray
        Pairs of entries of one node: their product is subtracted from the entry of the later two.
    where, place : slice or ndarray, ndarray
        Which entries change, and which of these each pair belongs to.
    """

    nodes: slice
    entries: slice
    row: np.ndarray
    col: np.ndarray
    starts: np.ndarray
    dense: bool
    left: np.ndarray
    right: np.ndarray
    where: slice | np.ndarray
    place: np.ndarray


class Levels:
    """Everything that is no small component: independent sets one after the other, and a dense tail."""

    def __init__(
        self, rows: np.ndarray, cols: np.ndarray, members: np.ndarray, labels: np.ndarray, colors: np.ndarray | None
    ) -> None:
        nodes = np.flatnonzero(members)
        place = np.empty(members.size, dtype=np.intp)
        place[nodes] = np.arange(nodes.size)
        inside = members[rows] & members[cols]
        self.diagonal, self.entries = (np.flatnonzero(inside & of) for of in (rows == cols, rows != cols))
        known = None if colors is None else colors[nodes] == np.bincount(colors[nodes]).argmax()
        self._eliminate(place[rows[self.entries]], place[cols[self.entries]], nodes.size, known)
        self.nodes = nodes[self.order]
        diagonal = np.empty(nodes.size, dtype=np.intp)
        diagonal[place[rows[self.diagonal]]] = self.diagonal
        self.diagonal = diagonal[self.order]
        self.labels = labels[self.nodes[self.start :]]

    def _eliminate(self, r: np.ndarray, c: np.ndarray, size: int, known: np.ndarray | None) -> None:
        """Find the levels. Each entry below the diagonal that exists or is filled in has a number in `ids`.

        The nodes of a `known` independent set go first, if they are more than those of the one that is found.
        """
        nodes, ids, count = np.arange(size), np.arange(r.size), r.size
        sets: list[np.ndarray] = []
        found: list[Any] = []
        held = 0
        while nodes.size > SMALL and (r.size == 0 or r.size < DENSE * nodes.size * (nodes.size - 1) / 2):
            chosen = _independent_set(r, c, nodes.size)
            if not sets and known is not None and np.count_nonzero(known) > np.count_nonzero(chosen):
                chosen = known
            touched = chosen[r] | chosen[c]
            one, other = np.where(chosen[r], r, c)[touched], np.where(chosen[r], c, r)[touched]
            order = np.argsort(one * nodes.size + other)
            one, other, own = one[order], other[order], ids[touched][order]
            row, later = (np.cumsum(chosen) - 1)[one], (np.cumsum(~chosen) - 1)
            left_over = nodes.size - int(np.count_nonzero(chosen))
            starts = np.searchsorted(row, np.arange(nodes.size - left_over + 1))
            # Each entry is paired with those before it in its row
            number = np.arange(row.size) - starts[row]
            pairs = int(number.sum())
            # While they are found, pairs need several arrays more than they do later
            need = held + 8 * (8 * pairs + 3 * (count + size))
            tail = held + 8 * (3 * left_over**2 + 3 * count)
            cheaper = DENSE_PAIRS * pairs > (nodes.size - left_over) * left_over**2
            finish = (cheaper and fits(tail)) or not fits(need)
            held += 8 * 3 * (row.size + (0 if finish else pairs))
            sets.append(nodes[chosen])
            left = right = target = np.empty(0, dtype=np.intp)
            r, c, ids = later[r[~touched]], later[c[~touched]], ids[~touched]
            if not finish:
                left = np.repeat(np.arange(row.size), number)
                right = np.arange(pairs) - np.repeat(np.cumsum(number) - number, number) + starts[row[left]]
                position = later[other]
                r, c, ids, target, count = _fill(r, c, ids, position[left], position[right], left_over, count)
            found.append((nodes[other], own, row, starts, finish, left, right, target))
            nodes = nodes[~chosen]
            if finish:
                break
        require(held + 8 * (3 * nodes.size**2 + 3 * count))
        self._arrange(sets, nodes, found, (r, c, ids), count)

    def _arrange(self, sets: list[Any], tail: np.ndarray, found: list[Any], rest: Any, count: int) -> None:
        """Give every entry its place: those of one level beside each other, at the end the tail as a square."""
        self.order, self.start = np.concatenate([*sets, tail]), sum(map(len, sets))
        rank = np.empty(self.order.size, dtype=np.intp)
        rank[self.order] = np.arange(self.order.size)
        slots = np.empty(count, dtype=np.intp)
        ends = np.cumsum([0, *(len(level[1]) for level in found)]).tolist()
        for (_, own, *_), start, stop in zip(found, ends[:-1], ends[1:], strict=True):
            slots[own] = np.arange(start, stop)
        r, c, ids = rest
        slots[ids] = ends[-1] + r * tail.size + c
        self.below, self.slots = ends[-1], ends[-1] + tail.size**2
        self.place = slots[: self.entries.size]
        self.levels = []
        limits = np.cumsum([0, *map(len, sets)]).tolist()
        for k, (other, _, row, starts, dense, left, right, target) in enumerate(found):
            where, place = _targets(slots[target])
            nodes, entries = slice(*limits[k : k + 2]), slice(*ends[k : k + 2])
            self.levels.append(Level(nodes, entries, row, rank[other], starts, dense, left, right, where, place))

    def factor(self, values: np.ndarray) -> State:
        """L D Lᵀ of the levels, and Cholesky of what is left."""
        pivots, factor, failed = values[self.diagonal], np.zeros(self.slots), [np.empty(0, dtype=np.intp)]
        factor[self.place] = values[self.entries]
        tail = factor[self.below :].reshape(len(self.labels), -1) if len(self.labels) else np.empty((0, 0))
        for level in self.levels:
            own, stop = pivots[level.nodes], level.nodes.stop
            good = usable(own)
            if not good.all():
                # What is not finite stays in its component
                failed.append(self.nodes[level.nodes][~good])
            entries = factor[level.entries]
            weights = entries / own[level.row]
            later = pivots[stop:]
            later -= np.bincount(level.col - stop, weights=weights * entries, minlength=later.size)[: later.size]
            if not level.dense:
                products = weights[level.left] * entries[level.right]
                factor[level.where] -= np.bincount(level.place, weights=products)
            else:
                scaled = entries / np.sqrt(own)[level.row]
                for _, dense in self._dense_rows(level, scaled):
                    tail = dsyrk(-1.0, dense.T, beta=1.0, c=tail.T, lower=0, overwrite_c=1).T
            factor[level.entries] = weights
        state = State(np.concatenate(failed), pivots, factor)
        if not state.failed.size and len(self.labels):
            np.fill_diagonal(tail, pivots[self.start :])
            state.tail, bad = cholesky(tail, self.labels)
            pivots[self.start :] = np.diag(state.tail) ** 2
            state.failed = self.nodes[self.start :][bad]
        return state

    def _dense_rows(self, level: Level, values: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """The entries of the level before the tail as rows of a dense matrix, and which they are."""
        step = max(1, 8 * CACHE // len(self.labels))
        matrix = csr_array(
            (values, level.col - self.start, level.starts), shape=(len(level.starts) - 1, len(self.labels))
        )
        for first in range(0, matrix.shape[0], step):
            last = min(first + step, matrix.shape[0])
            yield slice(level.starts[first], level.starts[last]), matrix[first:last].toarray()

    def logs(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Nodes, and terms of the log-determinants of their components."""
        return self.nodes, np.log(state.pivots)

    def solve(self, state: State, b: np.ndarray, x: np.ndarray) -> None:
        """Put the solution into the rows of x that are this part's."""
        for k in range(b.shape[1]):
            x[self.nodes, k] = self._solve(state, b[self.nodes, k])

    def _solve(self, state: State, y: np.ndarray) -> np.ndarray:
        """For one right-hand side, in the order of elimination; in its place."""
        for level in self.levels:
            stop = level.nodes.stop
            moved = state.factor[level.entries] * y[level.nodes][level.row]
            y[stop:] -= np.bincount(level.col - stop, weights=moved, minlength=y.size - stop)
        if len(self.labels):
            y[self.start :] = dpotrs(state.tail, y[self.start :], lower=0)[0]
        y[: self.start] /= state.pivots[: self.start]
        for level in reversed(self.levels):
            moved = state.factor[level.entries] * y[level.col]
            y[level.nodes] -= np.bincount(level.row, weights=moved, minlength=level.nodes.stop - level.nodes.start)
        return y

    def inverse(self, state: State, out: np.ndarray) -> None:
        """Put the entries of the inverse where this part's entries are: backward from the tail (Takahashi)."""
        found, diagonal = np.empty(self.slots), np.empty(self.nodes.size)
        if len(self.labels):
            tail = found[self.below :].reshape(len(self.labels), -1)
            tail[...] = dense_inverse(state.tail)
            diagonal[self.start :] = np.diag(tail)
        for level in reversed(self.levels):
            weights, nodes = state.factor[level.entries], level.nodes
            if not level.dense:
                known = found[level.where][level.place]
                own = weights * diagonal[level.col]
                own += np.bincount(level.left, weights[level.right] * known, own.size)
                own += np.bincount(level.right, weights[level.left] * known, own.size)
            else:
                own, full = np.empty(weights.size), np.tril(tail) + np.tril(tail, -1).T
                for entries, dense in self._dense_rows(level, weights):
                    first = level.row[entries][0] if entries.stop > entries.start else 0
                    own[entries] = (dense @ full)[level.row[entries] - first, level.col[entries] - self.start]
            sums = np.bincount(level.row, weights=weights * own, minlength=nodes.stop - nodes.start)
            diagonal[nodes] = 1 / state.pivots[nodes] + sums
            found[level.entries] = -own
        out[self.diagonal] = diagonal
        out[self.entries] = found[self.place]


def _independent_set(rows: np.ndarray, cols: np.ndarray, size: int) -> np.ndarray:
    """Nodes of low degree, of which no two are neighbours, as a mask.

    In each round the nodes join that come before all their neighbours. Low degrees come first, then every second node:
    numbered along a chain, they leave a chain of half the length.
    """
    degree = np.bincount(rows, minlength=size) + np.bincount(cols, minlength=size)
    free = degree <= max(2 * degree.min(), 1.5 * degree.mean())
    rank = (2 * degree + np.arange(size) % 2) * size + np.random.default_rng(0).permutation(size)
    chosen = np.zeros(size, dtype=bool)
    while free.any():
        both = free[rows] & free[cols]
        rows, cols = rows[both], cols[both]
        first = free.copy()
        first[np.where(rank[rows] < rank[cols], cols, rows)] = False
        chosen |= first
        free &= ~first
        free[cols[first[rows]]] = False
        free[rows[first[cols]]] = False
    return chosen


def _fill(
    r: np.ndarray, c: np.ndarray, ids: np.ndarray, row: np.ndarray, col: np.ndarray, size: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Entries with those that the pairs (row, col) add, their numbers, the number of each pair's, and how many now."""
    old, new = r * size + c, row * size + col
    if size**2 <= 8 * (old.size + new.size):
        table = np.zeros(size**2, dtype=np.intp)
        table[old] = table[new] = 1
        merged = np.flatnonzero(table)
        table[merged] = np.arange(merged.size)
        at_old, at_new = table[old], table[new]
    else:
        merged = _distinct(np.concatenate([old, new]))
        at_old, at_new = np.searchsorted(merged, old), np.searchsorted(merged, new)
    numbers = np.full(merged.size, -1)
    numbers[at_old] = ids
    added = np.flatnonzero(numbers < 0)
    numbers[added] = count + np.arange(added.size)
    return merged // size, merged % size, numbers, numbers[at_new], count + added.size


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct keys in order; np.unique hashes, which is much slower for millions."""
    keys = np.sort(keys)
    return keys[np.concatenate([keys[:1] == keys[:1], keys[1:] != keys[:-1]])]


def _targets(slots: np.ndarray) -> tuple[slice | np.ndarray, np.ndarray]:
    """The distinct slots, and the place of each given one among them; a whole range where that is not much more."""
    if slots.size == 0:
        return slice(0, 0), slots
    low, high = int(slots.min()), int(slots.max()) + 1
    if high - low <= 4 * slots.size:
        return slice(low, high), slots - low
    where = _distinct(slots)
    return where, np.searchsorted(where, slots)
