"""Optimizers: one file an algorithm, a table of what each needs, and the automatic choice among them."""

from mle_pp.optimize.methods import METHODS, maximize
from mle_pp.optimize.optimum import Optimum, Stop

__all__ = ["METHODS", "Optimum", "Stop", "maximize"]
