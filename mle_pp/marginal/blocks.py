"""Factorizations of many small matrices of one size, side by side."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mle_pp.marginal.dense import CACHE, State, require, usable


class Blocks:
    """Components of one size b, as full blocks side by side: every operation runs over the blocks.

    The lower triangle is stored by columns, and each entry is an array with a number for each block.
    """

    def __init__(self, rows: np.ndarray, cols: np.ndarray, members: np.ndarray, labels: np.ndarray, width: int) -> None:
        nodes = np.flatnonzero(members)
        nodes = nodes[np.argsort(labels[nodes], kind="stable")] if width > 1 else nodes
        count, packed = nodes.size // width, width * (width + 1) // 2
        require(8 * 3 * packed * count)
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

    def factor(self, values: np.ndarray) -> State:
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
        good = usable(pivots)
        failed = np.empty(0, dtype=np.intp) if good.all() else self.nodes[~good]
        return State(failed, pivots, factor)

    def logs(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Nodes, and terms of the log-determinants of their components."""
        return self.nodes[0], np.log(state.pivots).sum(axis=0)

    def solve(self, state: State, b: np.ndarray, x: np.ndarray) -> None:
        """Put the solution into the rows of x that are this part's."""
        y = b[self.nodes]
        columns = self._columns(state.factor[:, :, None])
        for j, column in enumerate(columns[:-1]):
            y[j + 1 :] -= column[1:] * y[j]
        y /= state.pivots[:, :, None]
        for j in reversed(range(self.width - 1)):
            y[j] -= np.einsum("ikr,ikr->kr", np.broadcast_to(columns[j][1:], y[j + 1 :].shape), y[j + 1 :])
        x[self.nodes] = y

    def inverse(self, state: State, out: np.ndarray) -> None:
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
