"""Sparse positive-definite matrices of one pattern, factorized many times: log-determinant, solves, selected inverse.

Nodes are eliminated in independent sets. No two nodes of a set are neighbours, so that their block of the matrix is
diagonal and the whole set goes at once, in array arithmetic on indices that were computed once for the pattern. What is
left when the Schur complement has become small or dense is factorized by LAPACK. Two structures are taken out before,
because they are common and cheaper on their own: small components, which are eliminated side by side, and a border of a
few rows that meet a large part of all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

# Bytes that one pattern and one factorization of it may need
MEMORY_LIMIT = 2 * 2**30
# Of this many nodes a dense Cholesky takes no longer than a level of elimination
SMALL = 64
# Above this share of all pairs, elimination would fill the rest anyway
DENSE = 0.2
# Components up to this size are stored as full blocks, larger ones (up to the second number) only if half full
BLOCK, FULL_BLOCK = 8, 32
# Doubles of a chunk that should stay in the cache
CACHE = 2**17


class Elimination:
    """How matrices of one sparsity pattern are factorized: everything that does not depend on their values.

    Parameters
    ----------
    rows, cols : ndarray of int
        The entries of the lower triangle (rows ≥ cols), each once, in any order, with the whole diagonal.
    size : int
        Number of rows of the matrix.

    Attributes
    ----------
    n_components : int
        Number of connected components of the pattern.
    components : ndarray of int
        The component of each node.

    Raises
    ------
    MemoryError
        If the factor would not fit into `MEMORY_LIMIT`; before it is allocated.
    """

    def __init__(self, rows: np.ndarray, cols: np.ndarray, size: int) -> None:
        self.rows, self.cols, self.size = np.asarray(rows, dtype=np.intp), np.asarray(cols, dtype=np.intp), size
        self.diagonal = self.rows == self.cols
        if np.count_nonzero(self.diagonal) != size:
            raise ValueError("The pattern needs every entry of the diagonal, once.")
        below = np.flatnonzero(~self.diagonal)
        self.n_components, self.components = _connected(self.rows[below], self.cols[below], size)
        self.border = _Border(self.rows, self.cols, size)
        labels, rest = self.components, np.ones(size, dtype=bool)
        if self.border.nodes.size:
            below = below[self.border.inner[below]]
            labels = _connected(self.rows[below], self.cols[below], size)[1]
            rest[self.border.nodes] = False
        sizes, edges = (np.bincount(labels[of], minlength=labels.max() + 1) for of in (rest, self.rows[below]))
        blocks = (sizes <= BLOCK) | ((sizes <= FULL_BLOCK) & (4 * edges >= sizes * (sizes - 1)))
        self.parts: list[_Blocks | _Levels] = []
        for width in np.unique(sizes[blocks & (sizes > 0)]).tolist():
            members = rest & (blocks & (sizes == width))[labels]
            if width == 1 or np.count_nonzero(members) > SMALL:
                self.parts.append(_Blocks(self.rows, self.cols, members, labels, width))
                rest &= ~members
        if rest.any():
            self.parts.append(_Levels(self.rows, self.cols, rest, labels))

    def factor(self, values: np.ndarray) -> Factorization:
        """Factorize the matrix with these values.

        Parameters
        ----------
        values : ndarray
            In the order of (rows, cols).

        Returns
        -------
        Factorization
            With the identity in place of every component that is not positive definite.
        """
        # One more value, zero: where the entries point to that a block does not have
        padded = np.append(np.asarray(values, dtype=float), 0.0)
        positive = np.ones(self.n_components, dtype=bool)
        failed = self.rows[~np.isfinite(padded[:-1])]
        while True:
            if failed.size:
                positive[self.components[failed]] = False
                bad = np.flatnonzero(~positive[self.components[self.rows]])
                padded[bad] = self.diagonal[bad]
            with np.errstate(all="ignore"):
                states = [part.factor(padded) for part in self.parts]
                failed = np.concatenate([state.failed for state in states])
                if failed.size:
                    continue
                found = Factorization(self, states, positive, padded)
            failed = found.failed
            if not failed.size:
                return found


class Factorization:
    """The factor of one matrix; made by `Elimination.factor`.

    Attributes
    ----------
    positive : ndarray of bool
        Of each component: is it positive definite (and finite)? Where it is not, all results are those of the identity.
    logdet : ndarray
        The log-determinant of each component.
    """

    def __init__(self, pattern: Elimination, states: list[_State], positive: np.ndarray, values: np.ndarray) -> None:
        self.positive, self._pattern, self._states = positive, pattern, states
        self.failed = np.empty(0, dtype=np.intp)
        self.logdet = np.zeros(pattern.n_components)
        for part, state in zip(pattern.parts, states, strict=True):
            nodes, terms = part.logs(state)
            self.logdet += np.bincount(pattern.components[nodes], weights=terms, minlength=pattern.n_components)
        border = pattern.border
        if border.nodes.size:
            self._across, corner = border.split(values)
            self._reduced = self._inner_solve(self._across)
            labels = pattern.components[border.nodes]
            self._corner, bad = _cholesky(corner - self._across.T @ self._reduced, labels)
            self.failed = border.nodes[bad]
            if not bad.size:
                np.add.at(self.logdet, labels, 2 * np.log(np.diag(self._corner)))

    def solve(self, b: np.ndarray) -> np.ndarray:
        """The solution of H x = b, for one right-hand side (q,) or several (q, k)."""
        given = np.asarray(b, dtype=float)
        right = given.reshape(self._pattern.size, -1)
        x = self._inner_solve(right)
        nodes = self._pattern.border.nodes
        if nodes.size:
            x[nodes] = dpotrs(self._corner, right[nodes] - self._across.T @ x, lower=0)[0]
            # The border's own rows of the reduced matrix are zero
            x -= self._reduced @ x[nodes]
        return x.reshape(given.shape)

    def inverse(self) -> np.ndarray:
        """The entries of H⁻¹ at the entries of the pattern, in their order."""
        out = np.empty(self._pattern.rows.size + 1)
        for part, state in zip(self._pattern.parts, self._states, strict=True):
            part.inverse(state, out)
        if self._pattern.border.nodes.size:
            self._pattern.border.inverse(self._corner, self._reduced, out)
        return out[:-1]

    def _inner_solve(self, b: np.ndarray) -> np.ndarray:
        """The solution without the border, whose rows are zero."""
        x = np.zeros(b.shape)
        for part, state in zip(self._pattern.parts, self._states, strict=True):
            part.solve(state, b, x)
        return x


@dataclass
class _State:
    """The numbers of one part: its pivots and its factor, and the nodes that show where it is not positive definite."""

    failed: np.ndarray
    pivots: np.ndarray
    factor: np.ndarray
    tail: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    matrices: list[Any] = field(default_factory=list)


class _Border:
    """The few rows that meet a large part of all others, such as those of coefficients that are integrated, too.

    With H = [[A, B], [Bᵀ, C]] and X = A⁻¹ B, they are left to the Schur complement C − Bᵀ X.
    """

    def __init__(self, rows: np.ndarray, cols: np.ndarray, size: int) -> None:
        degree = np.bincount(rows, minlength=size) + np.bincount(cols, minlength=size)
        self.nodes = np.flatnonzero(4 * degree >= size) if size > SMALL else np.empty(0, dtype=np.intp)
        if 8 * self.nodes.size > size:
            self.nodes = np.empty(0, dtype=np.intp)
        count = self.nodes.size
        if not count:
            return
        _require(3 * 8 * count * size)
        place = np.full(size, -1)
        place[self.nodes] = np.arange(count)
        first, second = place[rows], place[cols]
        self.size, self.inner = size, (first < 0) & (second < 0)
        pairs = np.flatnonzero(self.inner)
        self.pairs = (pairs, rows[pairs], cols[pairs])
        mixed = np.flatnonzero((first < 0) != (second < 0))
        inside = np.where(first < 0, rows, cols)[mixed]
        self.mixed = (mixed, inside, np.maximum(first, second)[mixed])
        corner = np.flatnonzero((first >= 0) & (second >= 0))
        self.corner = (corner, first[corner], second[corner])

    def split(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """B with zeros in the border's own rows, and the lower triangle of C."""
        across, corner = np.zeros((self.size, self.nodes.size)), np.zeros((self.nodes.size, self.nodes.size))
        for matrix, (entries, row, col) in ((across, self.mixed), (corner, self.corner)):
            matrix[row, col] = values[entries]
        return across, corner

    def inverse(self, factor: np.ndarray, reduced: np.ndarray, out: np.ndarray) -> None:
        """Turn entries of A⁻¹ into those of H⁻¹: A⁻¹ + X S⁻¹ Xᵀ, −X S⁻¹ and S⁻¹."""
        inverse = _dense_inverse(factor)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        entries, row, col = self.corner
        out[entries] = inverse[row, col]
        right = np.ascontiguousarray((reduced @ inverse).T)
        entries, row, col = self.mixed
        out[entries] = -right[col, row]
        entries, row, col = self.pairs
        for one, other in zip(right, np.ascontiguousarray(reduced.T), strict=True):
            out[entries] += one[row] * other[col]


class _Blocks:
    """Components of one size b, as full blocks side by side: every operation runs over the blocks.

    The lower triangle is stored by columns, and each entry is an array with a number for each block.
    """

    def __init__(self, rows: np.ndarray, cols: np.ndarray, members: np.ndarray, labels: np.ndarray, width: int) -> None:
        nodes = np.flatnonzero(members)
        nodes = nodes[np.argsort(labels[nodes], kind="stable")] if width > 1 else nodes
        count, packed = nodes.size // width, width * (width + 1) // 2
        _require(8 * 3 * packed * count)
        self.width, self.nodes = width, nodes.reshape(count, width).T.copy()
        self.starts = np.cumsum([0, *range(width, 0, -1)]).tolist()
        place = np.empty(labels.size, dtype=np.intp)
        place[nodes] = np.arange(nodes.size)
        entries = np.flatnonzero(members[rows] & members[cols])
        (block, row), col = np.divmod(place[rows[entries]], width), place[cols[entries]] % width
        self.index = np.full((packed, count), rows.size)
        self.index[np.array(self.starts)[col] + row - col, block] = entries
        chunk = max(CACHE // packed, 256)
        self.chunks = [slice(start, start + chunk) for start in range(0, count, chunk)]

    def _columns(self, array: np.ndarray) -> list[np.ndarray]:
        return [array[start:stop] for start, stop in pairwise(self.starts)]

    def factor(self, values: np.ndarray) -> _State:
        """L D Lᵀ of each block: the pivots D in the places of the diagonal."""
        factor = values[self.index]
        for chunk in self.chunks:
            columns = self._columns(factor[:, chunk])
            for j, column in enumerate(columns[:-1]):
                weights = column[1:] / column[0]
                for k, other in enumerate(columns[j + 1 :]):
                    other -= column[1 + k :] * weights[k]
                column[1:] = weights
        pivots = factor[self.starts[:-1]] if self.width > 1 else factor
        good = _usable(pivots)
        failed = np.empty(0, dtype=np.intp) if good.all() else self.nodes[~good]
        return _State(failed, pivots, factor)

    def logs(self, state: _State) -> tuple[np.ndarray, np.ndarray]:
        """Nodes, and terms of the log-determinants of their components."""
        return self.nodes[0], np.log(state.pivots).sum(axis=0)

    def solve(self, state: _State, b: np.ndarray, x: np.ndarray) -> None:
        """Put the solution into the rows of x that are this part's."""
        y = b[self.nodes]
        columns = self._columns(state.factor[:, :, None])
        for j, column in enumerate(columns[:-1]):
            y[j + 1 :] -= column[1:] * y[j]
        y /= state.pivots[:, :, None]
        for j in reversed(range(self.width - 1)):
            y[j] -= np.einsum("ikr,ikr->kr", np.broadcast_to(columns[j][1:], y[j + 1 :].shape), y[j + 1 :])
        x[self.nodes] = y

    def inverse(self, state: _State, out: np.ndarray) -> None:
        """Put the entries of the inverse where this part's entries are."""
        inverse = np.empty(state.factor.shape)
        for chunk in self.chunks:
            columns, found = self._columns(state.factor[:, chunk]), self._columns(inverse[:, chunk])
            for j in reversed(range(self.width)):
                weights, own = columns[j][1:], found[j][1:]
                own[...] = 0.0
                for k, other in enumerate(found[j + 1 :]):
                    own[k:] -= other * weights[k]
                    own[k] -= np.einsum("ik,ik->k", other[1:], weights[k + 1 :])
                found[j][0] = 1 / columns[j][0] - np.einsum("ik,ik->k", weights, own)
        out[self.index] = inverse


@dataclass
class _Level:
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


class _Levels:
    """Everything that is no small component: independent sets one after the other, and a dense tail."""

    def __init__(self, rows: np.ndarray, cols: np.ndarray, members: np.ndarray, labels: np.ndarray) -> None:
        nodes = np.flatnonzero(members)
        place = np.empty(members.size, dtype=np.intp)
        place[nodes] = np.arange(nodes.size)
        inside = members[rows] & members[cols]
        self.diagonal, self.entries = (np.flatnonzero(inside & of) for of in (rows == cols, rows != cols))
        self._eliminate(place[rows[self.entries]], place[cols[self.entries]], nodes.size)
        self.nodes = nodes[self.order]
        diagonal = np.empty(nodes.size, dtype=np.intp)
        diagonal[place[rows[self.diagonal]]] = self.diagonal
        self.diagonal = diagonal[self.order]
        self.labels = labels[self.nodes[self.start :]]

    def _eliminate(self, r: np.ndarray, c: np.ndarray, size: int) -> None:
        """Find the levels. Each entry below the diagonal that exists or is filled in has a number in `ids`."""
        nodes, ids, count = np.arange(size), np.arange(r.size), r.size
        sets, found, held = [], [], 0
        while nodes.size > SMALL and (r.size == 0 or r.size < DENSE * nodes.size * (nodes.size - 1) / 2):
            chosen = _independent_set(r, c, nodes.size)
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
            finish = 300 * pairs > nodes.size * left_over**2 or need > MEMORY_LIMIT
            if finish and 8 * (3 * left_over**2 + 3 * count) + held > MEMORY_LIMIT:
                _require(need)
                finish = False
            held += 8 * 3 * (pairs + row.size)
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
        _require(held + 8 * (3 * nodes.size**2 + 3 * count))
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
            self.levels.append(_Level(nodes, entries, row, rank[other], starts, dense, left, right, where, place))

    def factor(self, values: np.ndarray) -> _State:
        """L D Lᵀ of the levels, and Cholesky of what is left."""
        pivots, factor, failed = values[self.diagonal], np.zeros(self.slots), [np.empty(0, dtype=np.intp)]
        factor[self.place] = values[self.entries]
        tail = factor[self.below :].reshape(len(self.labels), -1) if len(self.labels) else np.empty((0, 0))
        for level in self.levels:
            own, stop = pivots[level.nodes], level.nodes.stop
            good = _usable(own)
            if not good.all():
                failed.append(self.nodes[level.nodes][~good])
                own[~good] = 1.0
            entries = factor[level.entries]
            weights = entries / own[level.row]
            later = pivots[stop:]
            later -= np.bincount(level.col - stop, weights=weights * entries, minlength=later.size)[: later.size]
            if not level.dense:
                products = weights[level.left] * entries[level.right]
                changed = np.bincount(level.place, weights=products)
                factor[level.where] -= changed
            elif len(failed) == 1:  # else the tail is not wanted, and would mix what is not finite into all components
                scaled = entries / np.sqrt(own)[level.row]
                for _, dense in self._dense_rows(level, scaled):
                    tail = dsyrk(-1.0, dense.T, beta=1.0, c=tail.T, lower=0, overwrite_c=1).T
            factor[level.entries] = weights
        state = _State(np.concatenate(failed), pivots, factor)
        if not state.failed.size and len(self.labels):
            np.fill_diagonal(tail, pivots[self.start :])
            state.tail, bad = _cholesky(tail, self.labels)
            pivots[self.start :] = np.diag(state.tail) ** 2
            state.failed = self.nodes[self.start :][bad]
        return state

    def _dense_rows(self, level: _Level, values: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """The entries of the level before the tail as rows of a dense matrix, and which they are."""
        step = max(1, 8 * CACHE // len(self.labels))
        matrix = csr_array(
            (values, level.col - self.start, level.starts), shape=(len(level.starts) - 1, len(self.labels))
        )
        for first in range(0, matrix.shape[0], step):
            last = min(first + step, matrix.shape[0])
            yield slice(level.starts[first], level.starts[last]), matrix[first:last].toarray()

    def logs(self, state: _State) -> tuple[np.ndarray, np.ndarray]:
        """Nodes, and terms of the log-determinants of their components."""
        return self.nodes, np.log(state.pivots)

    def solve(self, state: _State, b: np.ndarray, x: np.ndarray) -> None:
        """Put the solution into the rows of x that are this part's."""
        y, pivots = b[self.nodes], state.pivots[:, None]
        if not state.matrices:
            for level in self.levels:
                shape, stop = (len(level.starts) - 1, self.nodes.size - level.nodes.stop), level.nodes.stop
                matrix = csr_array((state.factor[level.entries], level.col - stop, level.starts), shape=shape)
                state.matrices.append(matrix)
        for level, matrix in zip(self.levels, state.matrices, strict=True):
            y[level.nodes.stop :] -= matrix.T @ y[level.nodes]
        if len(self.labels):
            y[self.start :] = dpotrs(state.tail, y[self.start :], lower=0)[0]
        for level, matrix in zip(reversed(self.levels), reversed(state.matrices), strict=True):
            y[level.nodes] = y[level.nodes] / pivots[level.nodes] - matrix @ y[level.nodes.stop :]
        x[self.nodes] = y

    def inverse(self, state: _State, out: np.ndarray) -> None:
        """Put the entries of the inverse where this part's entries are: backward from the tail (Takahashi)."""
        found, diagonal = np.empty(self.slots), np.empty(self.nodes.size)
        if len(self.labels):
            tail = found[self.below :].reshape(len(self.labels), -1)
            tail[...] = _dense_inverse(state.tail)
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


def _require(need: int) -> None:
    """Refuse what would not fit into memory."""
    if need > MEMORY_LIMIT:
        raise MemoryError(f"the factor of this pattern needs about {need / 2**30:.1f} GiB")


def _usable(pivots: np.ndarray) -> np.ndarray:
    return (pivots > 0) & (pivots < np.inf)


def _connected(rows: np.ndarray, cols: np.ndarray, size: int) -> tuple[int, np.ndarray]:
    """Number of connected components, and the component of each node."""
    if rows.size == 0:
        return size, np.arange(size)
    graph = coo_array((np.ones(rows.size, dtype=np.int8), (rows, cols)), shape=(size, size))
    count, labels = connected_components(graph, directed=False)
    return int(count), labels.astype(np.intp)


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
        merged = np.unique(np.concatenate([old, new]))
        at_old, at_new = np.searchsorted(merged, old), np.searchsorted(merged, new)
    numbers = np.full(merged.size, -1)
    numbers[at_old] = ids
    added = np.flatnonzero(numbers < 0)
    numbers[added] = count + np.arange(added.size)
    return merged // size, merged % size, numbers, numbers[at_new], count + added.size


def _targets(slots: np.ndarray) -> tuple[slice | np.ndarray, np.ndarray]:
    """The distinct slots, and the place of each given one among them; a whole range where that is not much more."""
    if slots.size == 0:
        return slice(0, 0), slots
    low, high = int(slots.min()), int(slots.max()) + 1
    if high - low <= 4 * slots.size:
        return slice(low, high), slots - low
    return np.unique(slots, return_inverse=True)


def _cholesky(matrix: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper factor of a lower triangle, which may be overwritten, and the rows whose component has none."""
    several = bool(np.any(labels != labels[0]))
    factor, info = dpotrf(matrix.T, lower=0, clean=0, overwrite_a=not several)
    if info == 0 and _usable(np.diag(factor)).all():
        return factor, np.empty(0, dtype=np.intp)
    everything = np.arange(len(labels))
    failed = []
    for label in np.unique(labels) if several else ():
        own = np.flatnonzero(labels == label)
        one, info = dpotrf(matrix[np.ix_(own, own)].T, lower=0)
        if info or not _usable(np.diag(one)).all():
            failed.append(own)
    return factor, np.concatenate(failed) if failed else everything


def _dense_inverse(factor: np.ndarray) -> np.ndarray:
    """The lower triangle of the inverse of what has this upper factor."""
    return dpotri(factor, lower=0)[0].T
