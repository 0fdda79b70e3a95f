"""Adaptive Gauss–Hermite quadrature for latents that fall apart into small independent blocks.

In each block the nodes are centered at the mode û and scaled by L with L Lᵀ = H⁻¹, the inverse of the negative Hessian
there (Naylor and Smith 1982; Pinheiro and Bates 1995):

    ∫ exp g(u) du ≈ |L| Σ_k w_k exp(½ z_kᵀz_k) (2π)^{d/2} exp g(û + L z_k),

z_k and w_k those of the standard normal density. One node is Laplace's method. The gradient is exact: nodes move with û
and L, and both depend on the parameters.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import logsumexp, softmax

from mle_pp.errors import ModelError
from mle_pp.marginal.curvature import Colored, Curvature
from mle_pp.marginal.inner import Mode

_LARGEST_BLOCK = 3
_LARGEST_GRID = 20_000


class Quadrature:
    """Nodes and weights for the blocks of a latent vector.

    Parameters
    ----------
    curvature : Curvature
    points : int
        Nodes in each dimension.
    names : sequence of str
        The latent variables, for messages.

    Raises
    ------
    ModelError
        Blocks that are too large.
    """

    def __init__(self, curvature: Curvature, points: int, names: list[str]) -> None:
        elimination = curvature.elimination
        sizes = np.bincount(elimination.components, minlength=elimination.n_components)
        largest = int(sizes.max())
        if largest > _LARGEST_BLOCK or not isinstance(curvature, Colored) or points**largest > _LARGEST_GRID:
            raise ModelError(
                f"quadrature_points={points}: {', '.join(names)} must be integrated together in blocks of {largest} "
                f"elements, and quadrature takes at most {_LARGEST_BLOCK} (random intercepts, or intercepts and "
                f"slopes, of separate groups). Use quadrature_points=1, Laplace's method, and `check_marginal`."
            )
        self._curvature = curvature
        # The place of each latent in its block, and for each block its latents; -1 where it has fewer
        order = np.argsort(elimination.components, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._inside = np.empty(sizes.sum(), dtype=int)
        self._inside[order] = np.arange(sizes.sum()) - np.repeat(starts, sizes)
        # Over a dimension that a block has not got, the weights sum to one, and there is nothing to compensate for
        self._present = (np.arange(largest) < sizes[:, None]).astype(float)
        self._owner, self._sizes, self._largest = elimination.components, sizes, largest
        z, w = hermegauss(points)
        self._nodes = np.array(list(product(z, repeat=largest)))
        self._log_weights = np.log(np.array(list(product(w / w.sum(), repeat=largest)))).sum(axis=1)
        low, high = np.minimum(elimination.rows, elimination.cols), np.maximum(elimination.rows, elimination.cols)
        self._entry = (self._owner[low], self._inside[high], self._inside[low])
        self._last: tuple[Mode | None, np.ndarray] = (None, np.zeros(0))

    def __getstate__(self) -> dict[str, Any]:
        """Without what was computed last."""
        return {**self.__dict__, "_last": (None, np.zeros(0))}

    def _blocks(self, entries: np.ndarray) -> np.ndarray:
        """Entries of the negative Hessian as matrices (blocks, d, d); missing dimensions have ones on the diagonal."""
        matrices = np.tile(np.eye(self._largest), (len(self._sizes), 1, 1))
        owner, row, col = self._entry
        matrices[owner, row, col] = entries
        matrices[owner, col, row] = entries
        return matrices

    def _scales(self, mode: Mode) -> np.ndarray:
        """The factors L, lower triangular in reverse: H = R Rᵀ, L = R⁻ᵀ."""
        root = np.linalg.cholesky(self._blocks(mode.local.entries))
        return np.swapaxes(np.linalg.inv(root), 1, 2)

    def _at(self, scales: np.ndarray, node: np.ndarray) -> np.ndarray:
        """How far each latent is from the mode at a node."""
        return (scales @ node)[self._owner, self._inside]

    def _joint(self, mode: Mode, x: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Log of weight times integrand, of each node and block, shape (nodes, blocks)."""
        # Asked for with the value, then with the gradient
        if self._last[0] is not mode:
            rows = [
                self._curvature.values(mode.u + self._at(scales, node), x) + 0.5 * self._present @ node**2 + weight
                for node, weight in zip(self._nodes, self._log_weights, strict=True)
            ]
            self._last = mode, np.stack(rows)
        return self._last[1]

    def _logs(self, mode: Mode, joint: np.ndarray) -> np.ndarray:
        return logsumexp(joint, axis=0) - 0.5 * mode.factor.logdet + 0.5 * self._sizes * np.log(2 * np.pi)

    def values(self, mode: Mode, x: np.ndarray) -> np.ndarray:
        """The log of each block's integral; what belongs to none is with the first."""
        return self._logs(mode, self._joint(mode, x, self._scales(mode)))

    def adjoints(
        self, mode: Mode, x: np.ndarray, weights: np.ndarray | None
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """The sum of the logs of the blocks' integrals, and its derivatives in what it is computed from.

        Parameters
        ----------
        mode : Mode
        x : ndarray
        weights : ndarray or None
            Of each block; None: ones.

        Returns
        -------
        value : float
        outer : ndarray
            ∂/∂x at fixed nodes, beyond that of the density at the mode.
        bar : ndarray
            B in −⟨B, dH⟩, at the entries of H.
        push : ndarray
            ∂/∂û.
        """
        scales = self._scales(mode)
        joint = self._joint(mode, x, scales)
        weights = np.ones(joint.shape[1]) if weights is None else weights
        shares = softmax(joint, axis=0) * weights
        outer = -self._curvature.weighted(mode.u, x, weights)[0]
        push = np.zeros(mode.u.size)
        towards = np.zeros((len(self._sizes), self._largest, self._largest))
        for node, share in zip(self._nodes, shares, strict=True):
            in_x, in_u = self._curvature.weighted(mode.u + self._at(scales, node), x, share)
            outer += in_x
            push += in_u
            slope = np.zeros((len(self._sizes), self._largest))
            slope[self._owner, self._inside] = in_u
            towards += slope[:, :, None] * node
        inverse = weights[self._entry[0]] * mode.factor.inverse()
        bar = 0.5 * inverse - _through_scales(scales, towards)[self._entry]
        return float(weights @ self._logs(mode, joint)), outer, bar, push


def _through_scales(scales: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """From the derivative in L to the symmetric one in H, with H = R Rᵀ and L = R⁻ᵀ (Murray 2016)."""
    transposed = np.swapaxes(scales, 1, 2)
    root = np.linalg.inv(transposed)
    in_root = -scales @ np.swapaxes(towards, 1, 2) @ scales
    lower = np.tril(np.swapaxes(root, 1, 2) @ in_root)
    lower[:, *np.diag_indices(lower.shape[1])] *= 0.5
    whole = scales @ lower @ transposed
    return 0.5 * (whole + np.swapaxes(whole, 1, 2))
