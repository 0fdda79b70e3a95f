"""Maximum likelihood for the PyMC model you already have."""

from mle_pp.errors import EstimationError, ModelError, ProfileWarning, VerdictWarning
from mle_pp.roles import Role, RoleKind, Roles, roles
from mle_pp.flatten import flatten
from mle_pp.verdict import Finding, Status, Verdict
from mle_pp.find import find_MAP, find_MLE
from mle_pp.estimate import Estimate
from mle_pp.check import check_gradient
from mle_pp.approximation import MarginalCheck, check_marginal
from mle_pp.intervals import interval
from mle_pp.intervals.profiles import Profile, Profiles, SideStatus, profile
from mle_pp.intervals.regions import Region, region
from mle_pp.resample import Bootstrap, Coverage, Jackknife, bootstrap, coverage, jackknife
from mle_pp.hypothesis import TestResult, lr_test, score_test, wald_test
from mle_pp.predict import Prediction, predict, simulate
from mle_pp.criteria import information_matrix_test, rank, tic
from mle_pp.compare import Comparison, compare
from mle_pp.approximate import approximate_posterior
from mle_pp.datatree import from_datatree
from mle_pp.plots import plot_dist, plot_forest, plot_pair, plot_ppc, plot_profile, plot_residuals, plot_shrinkage
from mle_pp.plots import plot_starts
from mle_pp.page import report

__all__ = [
    "Bootstrap",
    "Comparison",
    "Coverage",
    "Estimate",
    "EstimationError",
    "Finding",
    "Jackknife",
    "MarginalCheck",
    "ModelError",
    "Prediction",
    "Profile",
    "ProfileWarning",
    "Profiles",
    "Region",
    "Role",
    "RoleKind",
    "Roles",
    "SideStatus",
    "Status",
    "TestResult",
    "Verdict",
    "VerdictWarning",
    "approximate_posterior",
    "bootstrap",
    "check_gradient",
    "check_marginal",
    "compare",
    "coverage",
    "find_MAP",
    "find_MLE",
    "flatten",
    "from_datatree",
    "information_matrix_test",
    "interval",
    "jackknife",
    "lr_test",
    "plot_dist",
    "plot_forest",
    "plot_pair",
    "plot_ppc",
    "plot_profile",
    "plot_residuals",
    "plot_shrinkage",
    "plot_starts",
    "predict",
    "profile",
    "rank",
    "region",
    "report",
    "roles",
    "score_test",
    "simulate",
    "tic",
    "wald_test",
]
