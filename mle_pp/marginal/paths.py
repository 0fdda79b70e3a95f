"""Factorizations of tridiagonal matrices: components in which each node has at most two neighbours, and no ring."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpttrf, dpttrs, dtbtrs
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from mle_pp.marginal.dense import State, usable


class Paths:
    """Such components one after the other, as one tridiagonal matrix with zeros between them.

    By LAPACK: as many operations as nodes, where elimination in independent sets takes a dozen rounds.
    """

    def __init__(self, rows: np.ndarray, cols: np.ndarray, members: np.ndarray) -> None:
        nodes = np.flatnonzero(members)
        place = np.empty(members.size, dtype=np.intp)
        place[nodes] = np.arange(nodes.size)
        inside = np.flatnonzero(members[rows] & members[cols])
        one, other = place[rows[inside]], place[cols[inside]]
        graph = csr_array((np.ones(inside.size), (one, other)), shape=(nodes.size, nodes.size))
        order = reverse_cuthill_mckee((graph + graph.T).tocsr(), symmetric_mode=True)
        self.nodes = nodes[order]
        at = np.empty(nodes.size, dtype=np.intp)
        at[order] = np.arange(nodes.size)
        first = np.minimum(at[one], at[other])
        self.diagonal, self.beside = np.empty(nodes.size, dtype=np.intp), np.full(nodes.size - 1, rows.size)
        is_diagonal = one == other
        self.diagonal[first[is_diagonal]] = inside[is_diagonal]
        self.beside[first[~is_diagonal]] = inside[~is_diagonal]

    def factor(self, values: np.ndarray) -> State:
        """L D Lᵀ: the pivots, and what is below the diagonal of L."""
        diagonal, beside = values[self.diagonal], values[self.beside]
        good = np.isfinite(diagonal)
        good[1:] &= np.isfinite(beside)
        if not good.all():
            return State(self.nodes[~good], diagonal, beside)
        pivots, factor, info = dpttrf(diagonal, beside)
        # It stops at the first pivot that is not positive
        return State(self.nodes[info - 1 : info] if info else self.nodes[~usable(pivots)], pivots, factor)

    def logs(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Nodes, and terms of the log-determinants of their components."""
        return self.nodes, np.log(state.pivots)

    def solve(self, state: State, b: np.ndarray, x: np.ndarray) -> None:
        """Put the solution into the rows of x that are this part's."""
        x[self.nodes] = dpttrs(state.pivots, state.factor, b[self.nodes])[0]

    def inverse(self, state: State, out: np.ndarray) -> None:
        """Put the entries of the inverse where this part's entries are (Takahashi): sums of positive numbers only.

        With l below the diagonal of L, G the inverse: Gᵢᵢ = 1/dᵢ + lᵢ² Gᵢ₊₁,ᵢ₊₁, which is a triangular system.
        """
        band = np.ones((2, self.nodes.size))
        band[0, 1:] = -(state.factor**2)
        found = dtbtrs(band, 1 / state.pivots[:, None], uplo="U", diag="U")[0][:, 0]
        out[self.beside] = -state.factor * found[1:]
        out[self.diagonal] = found
