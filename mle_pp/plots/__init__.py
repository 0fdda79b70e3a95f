"""Estimate and posterior in one picture, drawn by ArviZ on any of its backends."""

from mle_pp.plots.dist import plot_dist
from mle_pp.plots.forest import plot_forest
from mle_pp.plots.pair import plot_pair
from mle_pp.plots.ppc import plot_ppc
from mle_pp.plots.profile import plot_profile
from mle_pp.plots.residuals import plot_residuals
from mle_pp.plots.shrinkage import plot_shrinkage
from mle_pp.plots.starts import plot_starts

__all__ = [
    "plot_dist",
    "plot_forest",
    "plot_pair",
    "plot_ppc",
    "plot_profile",
    "plot_residuals",
    "plot_shrinkage",
    "plot_starts",
]
