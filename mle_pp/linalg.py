"""Linear algebra of information matrices: the only place that asks "can this be inverted?"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, solve_triangular


def curvature_scale(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """A positive scale for each coordinate, in which the diagonal of the Hessian is about one.

    Multiplying a parameter by c divides its scale by c, so whatever is done in scaled coordinates does not depend on
    the units of the parameters. A coordinate without curvature takes its scale from its gradient.
    """
    diagonal = np.abs(np.diag(hessian))
    squared = np.maximum(diagonal, 1e-8 * gradient**2)
    positive = squared[squared > 0]
    floor = positive.min() if positive.size else 1.0
    return np.sqrt(np.where(squared > 0, squared, floor))


@dataclass(frozen=True)
class ScaledEigen:
    """Eigenvalues and eigenvectors of D⁻¹ H D⁻¹, with D the curvature scale; H is then V̂ diag(w) V̂ᵀ, V̂ = D V."""

    scale: np.ndarray
    values: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(
        cls, hessian: np.ndarray, gradient: np.ndarray | None = None, scale: np.ndarray | None = None
    ) -> ScaledEigen:
        """Decompose; by default in the scale of the curvature."""
        if scale is None:
            scale = curvature_scale(hessian, np.zeros(len(hessian)) if gradient is None else gradient)
        # Divided one after the other, for the product of two scales may overflow or underflow
        values, vectors = eigh(np.nan_to_num(hessian / scale[:, None] / scale, posinf=1e100, neginf=-1e100))
        return cls(scale, values, vectors)

    def rotate(self, gradient: np.ndarray) -> np.ndarray:
        """A gradient in scaled eigen-coordinates."""
        return self.vectors.T @ (gradient / self.scale)

    def unrotate(self, step: np.ndarray) -> np.ndarray:
        """A step in scaled eigen-coordinates, back in the original ones."""
        return (self.vectors @ step) / self.scale

    def direction(self, k: int) -> np.ndarray:
        """The k-th eigenvector in the original coordinates (not normalized)."""
        return self.vectors[:, k] / self.scale


def inverse_on(hessian: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Z (Zᵀ H Z)⁻¹ Zᵀ for a basis Z of the directions that have curvature, through a Cholesky factor.

    Raises
    ------
    numpy.linalg.LinAlgError
        If H is not positive definite on the basis.
    """
    if basis.shape[1] == 0:
        return np.zeros_like(hessian)
    inner = basis.T @ hessian @ basis
    scale = curvature_scale(inner, np.zeros(len(inner)))
    factor = np.linalg.cholesky(inner / np.outer(scale, scale))
    half = np.linalg.solve(factor, (basis / scale).T)
    return half.T @ half


def complement(directions: np.ndarray) -> np.ndarray:
    """An orthonormal basis of everything orthogonal to the columns of `directions`."""
    size, count = directions.shape
    if count == 0:
        return np.eye(size)
    left, values, _ = np.linalg.svd(directions / np.linalg.norm(directions, axis=0), full_matrices=True)
    rank = int(np.sum(values > 1e-10))
    return left[:, rank:]


def sparse_directions(directions: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """A basis of the same space with as many zeros as elimination can make, each column scaled to a largest entry of 1.

    A null space is not unique: rotated bases of it say nothing to a reader, "b[a] - b[b]" does.
    """
    rows = directions.T.copy()
    for k in range(len(rows)):
        rest = np.abs(rows[k:])
        row, column = (int(i) for i in np.unravel_index(np.argmax(rest), rest.shape))
        rows[[k, k + row]] = rows[[k + row, k]]
        rows[k] /= rows[k, column]
        for other in range(len(rows)):
            if other != k:
                rows[other] -= rows[other, column] * rows[k]
    rows /= np.abs(rows).max(axis=1, keepdims=True)
    rows[np.abs(rows) < tolerance] = 0.0
    signs = np.array([np.sign(row[np.flatnonzero(row)[0]]) for row in rows])
    return (rows * signs[:, None]).T


def definite_solver(
    matrix: np.ndarray, basis: np.ndarray, slope: np.ndarray
) -> Callable[[np.ndarray], np.ndarray] | None:
    """A function from r to the d on the basis with (M + ρ s sᵀ) d = r there; None if no such ρ makes it definite.

    Where M is positive definite on everything orthogonal to the slope s, that is at a maximum under a constraint with
    this slope, some ρ does, and the d it leads to differ only by multiples of one vector.
    """
    inner = basis.T @ matrix @ basis
    scale = curvature_scale(inner, np.zeros(len(inner)))
    inner, projected = inner / np.outer(scale, scale), (basis.T @ slope) / scale
    length = float(projected @ projected)
    if not (np.all(np.isfinite(inner)) and 0 < length < np.inf):
        return None
    for rho in (0.0, 2.0 * len(inner), 100.0 * len(inner)):
        try:
            factor = np.linalg.cholesky(inner + rho / length * np.outer(projected, projected))
        except np.linalg.LinAlgError:
            continue
        half = solve_triangular(factor, (basis / scale).T, lower=True)
        return lambda r: half.T @ (half @ r)
    return None
