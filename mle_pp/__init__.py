"""Maximum likelihood for the PyMC model you already have."""

from mle_pp.errors import EstimationError, ModelError, VerdictWarning
from mle_pp.roles import Role, RoleKind, Roles, roles
from mle_pp.flatten import flatten
from mle_pp.verdict import Finding, Status, Verdict
from mle_pp.find import find_MAP, find_MLE
from mle_pp.estimate import Estimate
