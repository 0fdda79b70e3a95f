"""Whether a posterior is that of flat priors, and whether the likelihood has one: else its draws are of nothing.

Under priors that are flat on the user's scale the posterior is the normalized likelihood. It is improper where the
likelihood does not fall, or too slowly, on the way to infinity: the shape of a negative binomial towards the Poisson
limit, the degrees of freedom of a Student t towards the normal one, separated observations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mle_pp.compare.matching import aligned, group_of
from mle_pp.compare.posterior import some
from mle_pp.datatree import check_layout
from mle_pp.errors import ModelError
from mle_pp.intervals.constrained import constrained_maximum
from mle_pp.intervals.scalars import Coordinate, target
from mle_pp.roles import RoleKind
from mle_pp.stored import is_stored
from mle_pp.unconstrained import UnconstrainedDensity
from mle_pp.verdict import Status

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

# Powers of ten, in standard errors from the estimate, on the way to the tail of the likelihood, which are the last ones
_DECADES = (1, 2, 3, 4, 5, 6, 7, 8)
_LAST = 5
# A log-likelihood this far below its maximum has fallen: slower than 1/distance, it would have lost 18 on all the way
_FALLEN = 200.0


def is_flat(est: Estimate, idata: Any, name: str = "") -> bool:
    """Whether draws are those of `mle_pp.flatten`: by the density that the sampler kept, else by the name.

    The sampler's ``lp`` is then the log-likelihood plus the log-Jacobian of the transforms, and nothing else.
    """
    posterior, stats = (group_of(idata, group) or xr.Dataset() for group in ("posterior", "sample_stats"))
    known = "lp" in stats and all(variable in posterior for variable in est.params)
    if not known or is_stored(est) or est.kind != "mle" or est.roles.names(RoleKind.LATENT, RoleKind.RESTRICTED):
        return name.lower().startswith("flat")
    check_layout(est._layout, posterior.isel(chain=0, draw=0), "the posterior")
    draws = aligned(posterior, est._layout)
    density = UnconstrainedDensity(est._objective)
    differences = []
    for draw in np.linspace(0, draws.sizes["draw"] - 1, 3).astype(int):
        x = density.parameters.unconstrained_at(est._layout.vector(draws.isel(chain=0, draw=draw)))
        differences.append(density.value(x) - float(stats["lp"].isel(chain=0, draw=draw)))
    return bool(np.all(np.abs(differences) < 1e-5 * (1 + abs(est.loglik))))


def refuse_improper(name: str, est: Estimate) -> None:
    """Refuse draws under flat priors from a posterior that does not exist."""
    reason = improper(est)
    if reason:
        raise ModelError(
            f"{name}: under flat priors this model has no posterior, for its likelihood has no finite integral; draws "
            f"only show how far the sampler came. {reason} Leave {name} out, or keep the priors of these variables: "
            f"pm.sample(model=mle.flatten(model, keep=[...]))."
        )


def improper(est: Estimate) -> str:
    """Why a likelihood has no posterior under flat priors; empty if nothing shows it, which proves nothing.

    Parameters
    ----------
    est : Estimate
        A maximum-likelihood estimate.
    """
    status = est.verdict.status
    if status in (Status.AT_INFINITY, Status.UNBOUNDED):
        return f"The likelihood does not fall towards its supremum. {est.verdict.message}"
    if status is Status.NOT_IDENTIFIED:
        labels = [label for f in est.verdict.findings if f.kind == "not_identified" for label in f.variables]
        if not _is_bounded(est, {label.partition("[")[0] for label in labels}):
            return f"The likelihood is level without end along {some(labels)}. {est.verdict.message}"
    found = [f"{label} → {'+' if sign > 0 else '−'}∞" for label, sign in level_tails(est)]
    if not found:
        return ""
    return f"The likelihood tends to a positive constant, or falls no faster than 1/distance, as {some(found)}."


def _is_bounded(est: Estimate, names: set[str]) -> bool:
    """Whether the supports of these variables are bounded: far out on the unconstrained scale nothing moves."""
    parameters, x = est._objective.parameters, est._optimum.x
    pieces = zip(parameters.layout, parameters.unconstrained.slices().values(), strict=True)
    for k in np.concatenate([np.arange(x.size)[piece] for entry, piece in pieces if entry.name in names]):
        for sign in (1, -1):
            far, farther = (parameters.constrained(x + sign * way * np.eye(x.size)[k]) for way in (300.0, 600.0))
            if not np.allclose(far, farther, rtol=1e-6, atol=1e-12):
                return False
    return True


def level_tails(est: Estimate) -> list[tuple[str, int]]:
    """The scalars, and the sides of them, towards whose infinity the likelihood falls no faster than 1/distance.

    That is the likelihood integrated over everything else, by Laplace's method: its maximum there times the width of
    what lies around it, which grows where the others become uncertain (a standard deviation takes the coefficients with
    it) and shrinks along a ridge. Where there is no such maximum, everything else is held at the estimate.
    """
    values, errors = est._layout.vector(est.params), est._layout.vector(est.stderr())
    steps = np.where(np.isfinite(errors) & (errors > 0), errors, np.maximum(np.abs(values), 1.0))
    integrated, found = _Integrated(est), []
    for k, label in enumerate(est._layout.labels):
        for sign in (1, -1):
            places = values[k] + sign * steps[k] * 10.0 ** np.array(_DECADES)
            heights = integrated.heights(k, label, places)
            # It falls as distance**-a, with a from one power of ten to the next
            far = heights[-_LAST:]
            if np.all(np.isfinite(far)) and np.all(-np.diff(far) / np.log(10) < 1 + 1e-3):
                found.append((label, sign))
    return found


class _Integrated:
    """The logarithm of the likelihood of one scalar, others integrated under flat priors on the user's scale."""

    def __init__(self, est: Estimate) -> None:
        self._est, self._objective = est, est._objective
        self._density = UnconstrainedDensity(est._objective)
        self._values = est._objective.parameters.constrained(est._optimum.x)

    def heights(self, row: int, label: str, places: np.ndarray) -> np.ndarray:
        """At each place on the way out; minus infinity outside the support, and once it has fallen for good."""
        with np.errstate(all="ignore"):
            vectors = [self._moved(row, place) for place in places]
            inside = [np.all(np.isfinite(x)) for x in vectors]
            if not all(inside):
                return np.full(places.size, -np.inf)
            scalar = target(self._est, label).working
            along = self._along(row, scalar, vectors) if isinstance(scalar, Coordinate) else None
            return np.array([self._objective.value(x) for x in vectors]) if along is None else along

    def _moved(self, row: int, place: float) -> np.ndarray:
        moved = self._values.copy()
        moved[row] = place
        return self._objective.parameters.unconstrained_at(moved)

    def _along(self, row: int, scalar: Coordinate, vectors: list[np.ndarray]) -> np.ndarray | None:
        """From each maximum to the next; None where there is none, or no curvature around it."""
        x, heights = self._est._optimum.x, np.full(len(vectors), -np.inf)
        others = np.arange(x.size) != scalar.index
        for j, vector in enumerate(vectors):
            start = x.copy()
            start[scalar.index] = vector[scalar.index]
            top = constrained_maximum(self._objective, [scalar], [start[scalar.index]], start)
            if self._est._optimum.value - top.value > _FALLEN:
                return heights
            x, information = top.x, -self._objective.hessian(top.x)[np.ix_(others, others)]
            sign, size = np.linalg.slogdet(information)
            if not top.converged or (others.any() and (sign <= 0 or np.linalg.eigvalsh(information)[0] <= 0)):
                return None
            # The Jacobian of the others alone
            slope = np.log(np.abs(self._objective.parameters.jacobian(x)[row, scalar.index]))
            heights[j] = self._density.value(x) - slope - size / 2
        return heights
