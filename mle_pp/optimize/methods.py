"""The table of algorithms and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mle_pp.objective import Objective
from mle_pp.optimize.newton import newton, scoring
from mle_pp.optimize.optimum import Optimum, Stop
from mle_pp.optimize.quasi import quasi_newton
from mle_pp.optimize.secant import secant


@dataclass(frozen=True)
class Method:
    """An algorithm and what it needs of an objective.

    Attributes
    ----------
    run : callable
        From an objective, a start and the ends of earlier searches to an `Optimum`.
    needs : tuple of str
        "hessian", "information": the matrices it asks for; "gradients": that these are what costs.
    largest : int
        The number of parameters beyond which it is too slow.
    about : str
    """

    run: Callable[[Objective, np.ndarray, Sequence[Optimum]], Optimum]
    needs: tuple[str, ...]
    largest: int
    about: str


METHODS = {
    "newton": Method(newton, ("hessian",), 400, "trust region on the exact Hessian"),
    "scoring": Method(scoring, ("hessian", "information"), 400, "trust region on the Fisher information, then Newton"),
    "secant": Method(secant, ("gradients",), 400, "trust region on a Hessian learned from gradients"),
    "quasi-newton": Method(quasi_newton, (), 100_000, "L-BFGS, then Newton with conjugate gradients"),
}


def suitable(objective: Objective) -> list[str]:
    """The methods that can be used, in the order they are tried: without Hessians only where these are too large."""
    names = ["newton", *(["scoring"] if objective.has_information else [])]
    if objective.is_costly:
        names = ["secant"]
    return [name for name in names if objective.size <= METHODS[name].largest] or ["quasi-newton"]


def maximize(objective: Objective, start: np.ndarray, method: str = "auto", known: Sequence[Optimum] = ()) -> Optimum:
    """Maximize from one start: with the method asked for, or the first one that ends at a stationary point.

    A search that comes near one of the `known` maxima, the ends of earlier ones, ends there.
    """
    if method != "auto":
        return METHODS[method].run(objective, start, known)
    best: Optimum | None = None
    tried: list[str] = []
    for name in suitable(objective):
        found = METHODS[name].run(objective, start, known)
        tried.append(found.method)
        if best is None or found.value > best.value + 1e-9 * max(1.0, abs(best.value)):
            best = found
        if found.stop in (Stop.SMALL_DECREMENT, Stop.FAR) or not np.isfinite(found.value):
            break
    assert best is not None
    return replace(best, method=" / ".join(tried))


def check_method(method: str) -> None:
    """Refuse an unknown method by name."""
    if method != "auto" and method not in METHODS:
        raise ValueError(f"method={method!r} is not one of 'auto', {', '.join(map(repr, METHODS))}.")
