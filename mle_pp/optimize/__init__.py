"""Optimizers: one file an algorithm, a table of what each needs, the automatic choice, and where to start."""

from mle_pp.optimize.methods import METHODS, check_method, maximize
from mle_pp.optimize.optimum import Optimum, Stop
from mle_pp.optimize.secant import learning_at, polished
from mle_pp.optimize.starts import Anchors, Run, run_starts

__all__ = [
    "METHODS",
    "Anchors",
    "Optimum",
    "Run",
    "Stop",
    "check_method",
    "learning_at",
    "maximize",
    "polished",
    "run_starts",
]
