"""Maximum likelihood for the PyMC model you already have."""

from mle_pp.errors import EstimationError, ModelError, VerdictWarning
from mle_pp.roles import Role, RoleKind, Roles, roles
from mle_pp.flatten import flatten
from mle_pp.verdict import Finding, Status, Verdict
from mle_pp.find import find_MAP, find_MLE
from mle_pp.estimate import Estimate
from mle_pp.check import check_gradient
from mle_pp.intervals import interval
from mle_pp.hypothesis import TestResult, lr_test, score_test, wald_test
from mle_pp.predict import Prediction, predict, simulate
from mle_pp.compare import compare
from mle_pp.datatree import from_datatree
from mle_pp.plots import plot_dist, plot_forest, plot_starts

__all__ = [
    "Estimate",
    "EstimationError",
    "Finding",
    "ModelError",
    "Prediction",
    "Role",
    "RoleKind",
    "Roles",
    "Status",
    "TestResult",
    "Verdict",
    "VerdictWarning",
    "check_gradient",
    "compare",
    "find_MAP",
    "find_MLE",
    "flatten",
    "from_datatree",
    "interval",
    "lr_test",
    "plot_dist",
    "plot_forest",
    "plot_starts",
    "predict",
    "roles",
    "score_test",
    "simulate",
    "wald_test",
]
