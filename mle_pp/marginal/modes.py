"""Conditional modes of latent variables, on the user's scale, with standard errors.

With c(u, x) a quantity, û(x) the mode and Σ the covariance of the estimate x̂, the prediction variance of c is

    (∂c/∂u) H⁻¹ (∂c/∂u)ᵀ + A Σ Aᵀ,   A = ∂c/∂x + (∂c/∂u) dû/dx,   dû/dx = H⁻¹ ∂²g/∂u∂x

(Kass and Steffey 1989): what is unknown about the latents given the parameters, and what is unknown about those.
"""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import scipy.sparse as sp
import xarray as xr
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors

from mle_pp import backends
from mle_pp.derivatives import tangent
from mle_pp.layout import make_layout
from mle_pp.marginal.curvature import Curvature, build
from mle_pp.marginal.inner import Mode
from mle_pp.marginal.latents import Latents
from mle_pp.marginal.sparsity import coloring, dependence

# Rows of ∂c/∂u that are solved for one by one, where the entries of H⁻¹ at its pattern do not suffice
_SOLVES = 5000


class Conditional:
    """A quantity c(u, x) at the mode of the latents.

    Parameters
    ----------
    graph : Variable
        A vector.
    latents : Latents
    curvature : Curvature
    x0 : ndarray
        A point at which the graph can be evaluated.
    fresh : tuple of (Variable, int), optional
        A vector of standard normals that the graph depends on, too, independent of the latents, and its length: the
        effects of groups without data, whose mode is zero.
    """

    def __init__(
        self, graph: Variable, latents: Latents, curvature: Curvature, x0: np.ndarray,
        fresh: tuple[Variable, int] | None = None,
    ) -> None:  # fmt: skip
        self._u, self._x, self._curvature = latents.u, latents.parameters.x, curvature
        self._fresh = None
        with backends.without_c_compiler():
            if fresh is not None:
                still = {fresh[0]: pt.zeros(fresh[1])}
                in_fresh = pt.vector("in_fresh", dtype="float64")
                slope = graph_replace(tangent(pt.cast(graph, "float64"), fresh[0], in_fresh), still, strict=False)
                self._fresh = build([self._u, self._x, in_fresh], [slope]), fresh[1]
                [graph] = graph_replace([graph], still, strict=False)
            [self._graph] = backends.simplify([pt.cast(graph, "float64")])
            self._value = build([self._u, self._x], [self._graph])
            [self._pattern] = dependence([self._graph], self._u, {self._u: latents.initial, self._x: x0})
            in_u, in_x = pt.vector("in_u", dtype="float64"), pt.vector("in_x", dtype="float64")
            slope = tangent(self._graph, self._u, in_u) + tangent(self._graph, self._x, in_x)
            self._along = build([self._u, self._x, in_u, in_x], [slope])

    def values(self, mode: Mode, x: np.ndarray) -> np.ndarray:
        """The quantity at the mode."""
        return self._value(mode.u, x)[0]

    def slopes(self, mode: Mode, x: np.ndarray) -> np.ndarray:
        """How it changes with the parameters, and the mode with them: A, a row an element."""
        units = np.eye(x.size)
        if not x.size:
            return np.zeros((self._pattern.shape[0], 0))
        moves = mode.factor.solve(np.stack([self._curvature.mixed(mode.u, x, e) for e in units], axis=1))
        return np.stack([self._along(mode.u, x, move, e)[0] for move, e in zip(moves.T, units, strict=True)], axis=1)

    def variances(self, mode: Mode, x: np.ndarray) -> np.ndarray:
        """Its variances at known parameters."""
        jacobian = self._jacobian(mode, x)
        count = np.diff(jacobian.indptr)
        inverse = self._curvature.elimination.matrix(mode.factor.inverse())
        known = sp.csr_matrix((np.ones(inverse.nnz), inverse.indices, inverse.indptr), shape=inverse.shape)
        ones = sp.csr_matrix((np.ones(jacobian.nnz), jacobian.indices, jacobian.indptr), shape=jacobian.shape)
        pairs = np.asarray(ones.multiply(ones @ known).sum(axis=1)).ravel()
        variances = np.asarray(jacobian.multiply(jacobian @ inverse).sum(axis=1)).ravel()
        rest = np.flatnonzero(pairs < count.astype(float) ** 2)
        if rest.size > _SOLVES:
            variances[rest] = np.nan
        else:
            for part in np.array_split(rest, max(1, rest.size // 200)):
                rows = jacobian[part].toarray()
                variances[part] = np.sum(rows * mode.factor.solve(rows.T).T, axis=1)
        if self._fresh is not None:
            along, size = self._fresh
            variances += sum(along(mode.u, x, unit)[0] ** 2 for unit in np.eye(size))
        return variances

    def _jacobian(self, mode: Mode, x: np.ndarray) -> sp.csr_matrix:
        """∂c/∂u at its pattern, by colors."""
        pattern = self._pattern.tocsr()
        colors = coloring(pattern, None)
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        own = colors[pattern.indices]
        data = np.zeros(pattern.nnz)
        still = np.zeros(x.size)
        for color in np.unique(own):
            along = self._along(mode.u, x, (colors == color).astype(float), still)[0]
            data[own == color] = along[rows[own == color]]
        return sp.csr_matrix((data, pattern.indices, pattern.indptr), shape=pattern.shape)


class Modes:
    """The latent variables, and the `Deterministic`s that depend on them, on the user's scale.

    Parameters
    ----------
    latents : Latents
    curvature : Curvature
    x0 : ndarray
        A point at which the graphs can be evaluated.
    """

    def __init__(self, latents: Latents, curvature: Curvature, x0: np.ndarray) -> None:
        model = latents.model
        own = [model[name] for name in latents.names]
        derived = [v for v in model.deterministics if set(own).intersection(ancestors([v]))]
        with backends.without_c_compiler():
            reported = [latents.parameters.reported(name) for name in latents.names]
            graphs = backends.simplify(latents.graphs([*reported, *derived]))
            values = build([latents.u, latents.parameters.x], graphs)(latents.initial, x0)
        names = [variable.name for variable in (*own, *derived)]
        shapes = {name: np.shape(value) for name, value in zip(names, values, strict=True)}
        self._layout = make_layout(shapes, model.named_vars_to_dims, model.coords)
        flat = pt.concatenate([pt.cast(graph, "float64").ravel() for graph in graphs])
        self._quantity = Conditional(flat, latents, curvature, x0)

    def dataset(self, mode: Mode, x: np.ndarray, covariance: np.ndarray) -> xr.Dataset:
        """Values under the variables' names, standard errors under these with ``_se``.

        Parameters
        ----------
        mode : Mode
        x : ndarray, shape (size,)
        covariance : ndarray, shape (size, size)
            Of the estimate of `x`.
        """
        slopes = self._quantity.slopes(mode, x)
        outer = np.einsum("ij,jk,ik->i", slopes, covariance, slopes)
        errors = np.sqrt(np.maximum(self._quantity.variances(mode, x) + outer, 0.0))
        found = self._layout.dataset(self._quantity.values(mode, x))
        return found.merge(self._layout.dataset(errors).rename({name: f"{name}_se" for name in found.data_vars}))
