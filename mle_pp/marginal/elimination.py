"""Sparse positive-definite matrices of one pattern, factorized many times: log-determinant, solves, selected inverse.

Everything that does not depend on the values is computed once. Rows that meet a large part of all others are kept for
last, small components are eliminated side by side, paths one after the other, and the rest goes in independent sets.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg.lapack import dpotrs
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mle_pp.marginal.blocks import Blocks
from mle_pp.marginal.dense import State, cholesky, dense_inverse, require
from mle_pp.marginal.levels import SMALL, Levels
from mle_pp.marginal.paths import Paths

# Components up to this size are stored as full blocks, larger ones (up to the second number) only if half full
BLOCK, FULL_BLOCK = 8, 32


class Elimination:
    """How matrices of one sparsity pattern are factorized: everything that does not depend on their values.

    Parameters
    ----------
    rows, cols : ndarray of int
        The entries of the lower triangle (rows ≥ cols), each once, in any order, with the whole diagonal.
    size : int
        Number of rows of the matrix.
    colors : ndarray of int, optional
        Of each row: no two of one color meet.

    Attributes
    ----------
    n_components : int
        Number of connected components of the pattern.
    components : ndarray of int
        The component of each node.

    Raises
    ------
    MemoryError
        If the factor would not fit into the limit on memory; before it is allocated.
    """

    def __init__(self, rows: np.ndarray, cols: np.ndarray, size: int, colors: np.ndarray | None = None) -> None:
        self.rows, self.cols, self.size = np.asarray(rows, dtype=np.intp), np.asarray(cols, dtype=np.intp), size
        self.diagonal = self.rows == self.cols
        if np.count_nonzero(self.diagonal) != size:
            raise ValueError("The pattern needs every entry of the diagonal, once.")
        below = np.flatnonzero(~self.diagonal)
        self.n_components, self.components = _connected(self.rows[below], self.cols[below], size)
        self.border = Border(self.rows, self.cols, size)
        labels, rest = self.components, np.ones(size, dtype=bool)
        if self.border.nodes.size:
            below = below[self.border.inner[below]]
            labels = _connected(self.rows[below], self.cols[below], size)[1]
            rest[self.border.nodes] = False
        sizes, edges = (np.bincount(labels[of], minlength=labels.max() + 1) for of in (rest, self.rows[below]))
        blocks = (sizes <= BLOCK) | ((sizes <= FULL_BLOCK) & (4 * edges >= sizes * (sizes - 1)))
        self.parts: list[Blocks | Paths | Levels] = []
        for width in np.unique(sizes[blocks & (sizes > 0)]).tolist():
            members = rest & (blocks & (sizes == width))[labels]
            if width == 1 or np.count_nonzero(members) > SMALL:
                self.parts.append(Blocks(self.rows, self.cols, members, labels, width))
                rest &= ~members
        neighbours = np.bincount(self.rows[below], minlength=size) + np.bincount(self.cols[below], minlength=size)
        most = np.zeros(sizes.size, dtype=np.intp)
        np.maximum.at(most, labels, neighbours)
        paths = rest & ((most <= 2) & (edges == sizes - 1) & (sizes > 1))[labels]
        if paths.any():
            self.parts.append(Paths(self.rows, self.cols, paths))
            rest &= ~paths
        if rest.any():
            self.parts.append(Levels(self.rows, self.cols, rest, labels, colors))

    def matrix(self, values: np.ndarray) -> sp.csr_matrix:
        """The symmetric matrix with these values, in the order of (rows, cols)."""
        lower = sp.csr_matrix((values, (self.rows, self.cols)), shape=(self.size, self.size))
        return lower + sp.tril(lower, -1, format="csr").T.tocsr()

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
        failed = np.empty(0, dtype=np.intp)
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
            failed = found._failed
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

    def __init__(self, pattern: Elimination, states: list[State], positive: np.ndarray, values: np.ndarray) -> None:
        self.positive, self._pattern, self._states = positive, pattern, states
        self._failed = np.empty(0, dtype=np.intp)
        self.logdet = np.zeros(pattern.n_components)
        for part, state in zip(pattern.parts, states, strict=True):
            nodes, terms = part.logs(state)
            self.logdet += np.bincount(pattern.components[nodes], weights=terms, minlength=pattern.n_components)
        border = pattern.border
        if border.nodes.size:
            self._across, corner = border.split(values)
            self._reduced = self._inner_solve(self._across)
            labels = pattern.components[border.nodes]
            self._corner, bad = cholesky(corner - self._across.T @ self._reduced, labels)
            self._failed = border.nodes[bad]
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


class Border:
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
        require(3 * 8 * count * size)
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
        inverse = dense_inverse(factor)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        entries, row, col = self.corner
        out[entries] = inverse[row, col]
        right = np.ascontiguousarray((reduced @ inverse).T)
        entries, row, col = self.mixed
        out[entries] = -right[col, row]
        entries, row, col = self.pairs
        for one, other in zip(right, np.ascontiguousarray(reduced.T), strict=True):
            out[entries] += one[row] * other[col]


def _connected(rows: np.ndarray, cols: np.ndarray, size: int) -> tuple[int, np.ndarray]:
    """Number of connected components, and the component of each node."""
    if rows.size == 0:
        return size, np.arange(size)
    graph = coo_array((np.ones(rows.size, dtype=np.int8), (rows, cols)), shape=(size, size))
    count, labels = connected_components(graph, directed=False)
    return int(count), labels.astype(np.intp)
