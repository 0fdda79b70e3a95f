"""What a Bambi model knows beyond its PyMC model: its formula's intercepts, and its design.

Bambi centers predictors: in its graph, the linear predictor is a + Σ (xⱼ − x̄ⱼ) βⱼ, and what the formula calls the
intercept, and `bambi.Model.fit` reports, is a − Σ x̄ⱼ βⱼ. Bambi itself is not imported here: whoever has such a model
has imported it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm

from mle_pp.errors import ModelError


@dataclass(frozen=True, eq=False, repr=False)
class Formula:
    """A Bambi model, as it was built at the time of the fit.

    Attributes
    ----------
    model : pm.Model
        Its PyMC model.
    source : bambi.Model
    shifts : mapping of str to mapping of str to ndarray
        For each intercept of centered predictors, by name: the coefficients by name, and the means that Bambi
        subtracted from the columns of their predictors. The formula's intercept is the graph's, minus the sum of the
        products.
    starts : mapping of str to float
        Where the search for an intercept begins, in the graph, where Bambi's own initial value has no meaning: zero,
        for links like 1/μ.
    parts : mapping of str to Any
        Bambi's own linear predictors, by the name of the `Deterministic` that each makes.
    """

    model: pm.Model
    source: Any
    shifts: Mapping[str, Mapping[str, np.ndarray]]
    starts: Mapping[str, float]
    parts: Mapping[str, Any]

    def __getstate__(self) -> dict[str, Any]:
        """Without the models, which do not pickle."""
        return {"model": None, "source": None, "shifts": self.shifts, "starts": self.starts, "parts": {}}


def formula_of(model: Any) -> Formula | None:
    """The formula of a Bambi model, which is built if it was not; None for any other model.

    Raises
    ------
    ModelError
        An intercept of centered predictors that its prior bounds, or that is no free variable.
    """
    if model is None or isinstance(model, pm.Model | Formula):
        return model if isinstance(model, Formula) else None
    if getattr(model, "built", None) is False:
        model.build()
    backend: Any = getattr(model, "backend", None)
    own = getattr(backend, "model", None)
    if not isinstance(own, pm.Model):
        return None
    parts = {_name(part.component): part for part in backend.distributional_components.values()}
    return Formula(own.root, model, _shifts(own.root, backend), _starts(own.root, model), parts)


def _shifts(model: pm.Model, backend: Any) -> dict[str, dict[str, np.ndarray]]:
    shifts = {}
    for part in backend.distributional_components.values():
        design = part.design_matrix_without_intercept
        if design is None:
            # Not centered
            continue
        intercept = _name(part.component.intercept_term)
        _require_unbounded(model, intercept)
        terms = list(part.component.common_terms.values())
        widths = [1 if term.data.ndim == 1 else term.data.shape[1] for term in terms]
        means = np.split(np.asarray(design, dtype=float).mean(axis=0), np.cumsum(widths)[:-1])
        shifts[intercept] = {_name(term): mean for term, mean in zip(terms, means, strict=True)}
    return shifts


def _starts(model: pm.Model, source: Any) -> dict[str, float]:
    parent = source.family.likelihood.parent
    link, component = source.family.link[parent], source.conditional_parameters.get(parent)
    intercept = getattr(component, "intercept_term", None)
    if link.name not in ("inverse", "inverse_squared") or intercept is None or model[_name(intercept)].ndim:
        return {}
    # What stands beside the response, as in censored(), is in further columns
    response = np.asarray(source.response_term.data, dtype=float)
    return {_name(intercept): float(link.link(np.mean(response if response.ndim == 1 else response[:, 0])))}


def _name(term: Any) -> str:
    """What the variable of a term, or of a parameter, is called in the PyMC model."""
    return term.alias or term.name


def _require_unbounded(model: pm.Model, intercept: str) -> None:
    rv = model[intercept]
    if rv in model.free_RVs and model.rvs_to_transforms[rv] is None:
        return
    raise ModelError(
        f"Bambi centers the predictors, so that its prior of {intercept} bounds, or defines, the intercept of centered "
        f"predictors, and not that of the formula. Build the model with bmb.Model(..., center_predictors=False): then "
        f"both are the same."
    )
