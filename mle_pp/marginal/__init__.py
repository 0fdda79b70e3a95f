"""Latent variables integrated out: the marginal log-likelihood of a hierarchical model as an `Objective`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pymc as pm

from mle_pp.marginal.objective import MarginalObjective
from mle_pp.objective import ModelObjective
from mle_pp.roles import RoleKind, Roles, droppable


def objective_of(
    model: pm.Model,
    roles: Roles,
    fixed: Mapping[str, Any] | None = None,
    initvals: Mapping[str, Any] | None = None,
    backend: str = "auto",
    quadrature_points: int = 1,
) -> ModelObjective:
    """The log-likelihood of a model whose free variables have these roles.

    Imputed values of independent rows, which integrate to one, are left to be dropped.

    Parameters
    ----------
    model, roles, fixed, initvals, backend
        As for `ModelObjective`.
    quadrature_points : int
        As for `MarginalObjective`.
    """
    latent = [name for name in roles.names(RoleKind.LATENT) if not droppable(model, name)]
    integrated = [*latent, *roles.names(RoleKind.RESTRICTED)]
    if integrated:
        return MarginalObjective(model, roles, integrated, fixed, initvals, quadrature_points)
    return ModelObjective(model, roles, fixed, initvals, backend)
