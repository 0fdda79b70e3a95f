"""The inner problem: the mode of the latent vector, by a Newton method that is damped in each component on its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mle_pp.marginal.curvature import Curvature, Local
from mle_pp.marginal.dense import require
from mle_pp.marginal.elimination import Elimination, Factorization

# A start from which it takes more than the first number may be a bad one
FEW, MANY = 25, 200
# δᵀHδ of the last step, in any component: what is left after it is below rounding.
_CONVERGED = 1e-20
_NOISE = 1e-10
# Of the latents, some units in the last place: smaller steps mean nothing where the curvature is huge.
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Mode:
    """The mode of the latents at one point of the parameters.

    Attributes
    ----------
    u : ndarray, shape (q,)
    local : Local
        The joint density there.
    factor : Factorization
        Of its negative Hessian.
    correction : ndarray, shape (q,)
        The Newton step that is left.
    """

    u: np.ndarray
    local: Local
    factor: Factorization
    correction: np.ndarray


def find_mode(curvature: Curvature, x: np.ndarray, start: np.ndarray, iterations: int = MANY) -> Mode | None:
    """The mode that is reached from `start`; None where there is none.

    Parameters
    ----------
    curvature : Curvature
    x : ndarray
        The parameters.
    start : ndarray, shape (q,)
    iterations : int
        At most.
    """
    elimination = curvature.elimination
    owner = elimination.components
    u, here = start, curvature.local(start, x)
    if not here.is_finite:
        return None
    damping = np.zeros(elimination.n_components)
    last = np.inf
    factor, factored = None, None
    for _ in range(iterations):
        # The Hessian of normal data does not depend on the latents
        if factored is None or np.any(damping) or not np.array_equal(here.entries, factored):
            factor, damping = _factor(curvature, here, damping)
            factored = None if np.any(damping) else here.entries
        if factor is None:
            return None
        step = factor.solve(here.gradient)
        by_component = np.bincount(owner, here.gradient * step, elimination.n_components)
        largest = float(by_component.max(initial=0.0))
        stalls = largest < _NOISE and largest > 0.25 * last
        is_rounding = bool(np.all(np.abs(step) <= _ROUNDING * np.maximum(1.0, np.abs(u).max(initial=0.0))))
        if not np.any(damping) and (largest < _CONVERGED or stalls or is_rounding):
            return Mode(u, here, factor, step)
        last = largest
        u, there, damping = _move(curvature, x, u, here, step, damping, by_component)
        if there is None:
            return None
        here = there
    return None


def _factor(curvature: Curvature, here: Local, damping: np.ndarray) -> tuple[Factorization | None, np.ndarray]:
    """The Hessian factorized, with as much added to its diagonal as makes it positive definite."""
    elimination = curvature.elimination
    for _ in range(60):
        entries = here.entries
        if np.any(damping):
            entries = entries.copy()
            owner = elimination.components[elimination.rows[elimination.diagonal]]
            scale = np.ones(elimination.n_components)
            np.maximum.at(scale, owner, np.abs(here.entries[elimination.diagonal]))
            entries[elimination.diagonal] += (damping * scale)[owner]
        factor = elimination.factor(entries)
        if np.all(factor.positive):
            return factor, damping
        damping = np.where(factor.positive, damping, np.maximum(4 * damping, 1e-3))
    return None, damping


def _move(
    curvature: Curvature, x: np.ndarray, u: np.ndarray, here: Local, step: np.ndarray, damping: np.ndarray,
    promised: np.ndarray,
) -> tuple[np.ndarray, Local | None, np.ndarray]:  # fmt: skip
    """The step, halved in the components where it does not raise the density."""
    owner = curvature.elimination.components
    noise = 1e-12 * max(1.0, abs(here.value))
    trial = u + step
    there = curvature.local(trial, x)
    if there.is_finite and there.value >= here.value - noise and not _overshoots(there, step, promised, owner):
        return trial, there, np.where(damping > 1e-9, 0.1 * damping, 0.0)
    before = curvature.values(u, x)
    length = np.ones(len(damping))
    for _ in range(60):
        after = curvature.values(u + length[owner] * step, x)
        with np.errstate(invalid="ignore"):
            worse = ~(after >= before + 1e-4 * length * promised - noise)
        if not np.any(worse):
            break
        length = np.where(worse, 0.5 * length, length)
    trial = u + length[owner] * step
    there = curvature.local(trial, x)
    if not there.is_finite:
        return trial, None, damping
    return trial, there, np.where(damping > 1e-9, 0.1 * damping, 0.0)


def _overshoots(there: Local, step: np.ndarray, promised: np.ndarray, owner: np.ndarray) -> bool:
    """Whether some component has gone downhill, though the sum has risen: its slope along the step has turned round."""
    slope = np.bincount(owner, there.gradient * step, len(promised))
    return bool(np.any(slope < -0.9 * promised - 1e-12))


def drawn(elimination: Elimination, mode: Mode, rng: np.random.Generator) -> np.ndarray:
    """A draw from N(0, H⁻¹): with H = L Lᵀ the solution of Lᵀ v = z, in all components of one size together."""
    hessian, z = elimination.matrix(mode.local.entries), rng.normal(size=mode.u.size)
    sizes, found = np.bincount(elimination.components), np.empty(mode.u.size)
    # Nodes of one component side by side
    order = np.argsort(elimination.components, kind="stable")
    for size in np.unique(sizes):
        nodes = order[sizes[elimination.components[order]] == size].reshape(-1, size)
        require(8 * 2 * nodes.size * int(size))
        block, place = np.arange(nodes.size) // size, np.arange(nodes.size) % size
        rows = hessian[nodes.ravel()].tocoo()
        where = np.empty(mode.u.size, dtype=int)
        where[nodes.ravel()] = place
        matrices = np.zeros((len(nodes), size, size))
        matrices[block[rows.row], place[rows.row], where[rows.col]] = rows.data
        root = np.linalg.cholesky(matrices)
        found[nodes] = np.linalg.solve(root.swapaxes(1, 2), z[nodes][..., None])[..., 0]
    return found
