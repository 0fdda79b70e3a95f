"""The table of algorithms and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mle_pp.objective import Objective
from mle_pp.optimize.newton import newton
from mle_pp.optimize.optimum import Optimum
from mle_pp.optimize.quasi import quasi_newton


@dataclass(frozen=True)
class Method:
    """An algorithm and what it needs of an objective."""

    run: Callable[[Objective, np.ndarray], Optimum]
    hessian: bool
    largest: int
    about: str


METHODS = {
    "newton": Method(newton, hessian=True, largest=400, about="trust region on the exact Hessian"),
    "quasi-newton": Method(
        quasi_newton, hessian=False, largest=100_000, about="L-BFGS, then Newton with conjugate gradients"
    ),
}


def maximize(objective: Objective, start: np.ndarray, method: str = "auto") -> Optimum:
    """Maximize from one start with the method asked for, or the first of the table that takes the size."""
    if method == "auto":
        method = next(name for name, entry in METHODS.items() if objective.size <= entry.largest)
    return METHODS[method].run(objective, start)


def check_method(method: str) -> None:
    """Refuse an unknown method by name."""
    if method != "auto" and method not in METHODS:
        raise ValueError(f"method={method!r} is not one of 'auto', {', '.join(map(repr, METHODS))}.")
