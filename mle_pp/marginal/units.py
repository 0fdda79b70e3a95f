"""The independent units of a likelihood with integrated variables: rows that share a latent, however indirectly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pytensor.graph.basic import Variable
from scipy.sparse.csgraph import connected_components

from mle_pp import backends
from mle_pp.derivatives import gradient
from mle_pp.marginal.curvature import Arrays, Refreshing, Scatter, build, weighed
from mle_pp.marginal.latents import Latents
from mle_pp.marginal.sparsity import dependence
from mle_pp.rows import Rows, Units


class Shares(Refreshing):
    """The joint log density g(u, x) as a sum over independent units.

    A unit is a connected component of the graph in which rows of data and latents are tied by the densities that they
    meet in. Latents without data belong to no unit: their integral is one.

    Parameters
    ----------
    rows : Rows
        Of the likelihood's terms.
    terms, priors : sequence of Variable
        The log-densities of the data, row by row, and of the latents.
    latents : Latents
    components : ndarray of int
        The connected component of each latent.
    values : mapping of Variable to ndarray
        A point at which the graphs can be evaluated, as `dependence` takes it.

    Attributes
    ----------
    rows : Rows or Units
        The units, one "row" each; blocks, where there are no two of them.
    of_component : ndarray of int
        The unit of each component; one beyond the last for those without data.
    """

    def __init__(
        self, rows: Rows, names: Sequence[str], terms: Sequence[Variable], priors: Sequence[Variable],
        latents: Latents, components: np.ndarray, values: Mapping[Variable, Any],
    ) -> None:  # fmt: skip
        self._graphs, self._u, self._x = [*terms, *priors], latents.u, latents.parameters.x
        with backends.without_c_compiler():
            patterns = dependence(self._graphs, self._u, values)
        if not all(np.diff(pattern.indptr).all() for pattern in patterns[len(names) :]):
            # A prior of which it is not known whose it is
            self.rows = Rows((), dict.fromkeys(names, rows.size))
            return
        count = int(components.max()) + 1
        # Nodes: components, then rows
        owners = [_rows_of(rows, name, len(patterns[k].indptr) - 1) + count for k, name in enumerate(names)]
        owners += [_first(pattern, components) for pattern in patterns[len(names) :]]
        edges = [
            (np.repeat(owner, np.diff(pattern.indptr)), components[pattern.indices])
            for owner, pattern in zip(owners, patterns, strict=True)
        ]
        one, other = (np.concatenate(ends) for ends in zip(*edges, strict=True))
        total = count + rows.size
        graph = sp.coo_array((np.ones(one.size, dtype=np.int8), (one, other)), shape=(total, total))
        labels = connected_components(graph, directed=False)[1]
        of_row, found = pd.factorize(labels[count:])
        unit = np.full(total, len(found))
        unit[found] = np.arange(len(found))
        unit_of_node = unit[labels]
        self.of_component = unit_of_node[:count]
        self._owners = [Scatter(unit_of_node[owner], len(found)) for owner in owners]
        self.rows = Units.of(rows, of_row) if len(found) > 1 else Rows((), dict.fromkeys(names, rows.size))

    @cached_property
    def _values(self) -> Callable[..., Arrays]:
        return build([self._u, self._x], self._graphs, self._x)

    def values(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The density of each unit."""
        found = np.zeros(self.rows.size)
        for owner, value in zip(self._owners, self._values(u, x), strict=True):
            owner.add(value, 1, found)
        return found

    @cached_property
    def _slope(self) -> Callable[..., Arrays]:
        weights, total = weighed(self._graphs)
        with backends.without_c_compiler():
            outputs = [gradient(total, self._x)]
        return build([self._u, self._x, *weights], outputs)

    def slope(self, u: np.ndarray, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """∂/∂x of the sum of the units' densities, each times its weight."""
        return self._slope(u, x, *(owner.spread(weights, 1) for owner in self._owners))[0]


def _rows_of(rows: Rows, name: str, size: int) -> np.ndarray:
    """The row of each element of a term."""
    axis = rows.axis_of(name)
    assert axis is not None
    where = rows.slices()[axis]
    return where.start + np.arange(size) // (size // (where.stop - where.start))


def _first(pattern: sp.csr_matrix, components: np.ndarray) -> np.ndarray:
    """A component that each element of a prior depends on: every one depends on its own latent."""
    return components[pattern.indices[pattern.indptr[:-1]]]
