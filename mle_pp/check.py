"""`check_gradient`: the derivatives of a likelihood against differences of its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mle_pp.checks import check_data, check_model
from mle_pp.derivatives import central_differences
from mle_pp.marginal import objective_of
from mle_pp.objective import ModelObjective
from mle_pp.roles import resolve_model, roles

if TYPE_CHECKING:
    import pymc as pm

# A derivative that is right agrees with differences up to their own error; a wrong one is usually off by its own size.
_TOLERANCE = 1e-5


def check_gradient(
    model: pm.Model | None = None,
    *,
    initvals: Mapping[str, Any] | None = None,
    keep_priors: Sequence[str] = (),
    fix: Mapping[str, Any] | None = None,
    potentials: str = "error",
    n_points: int = 3,
    random_seed: Any = None,
) -> pd.DataFrame:
    """Compare the derivatives that the library uses with differences of the log-likelihood.

    For models with a `CustomDist` or an operation of one's own, whose gradient may be wrong: a fit would then stop at a
    point that is no maximum.

    Parameters
    ----------
    model : pm.Model, optional
        Default: the model of the enclosing ``with``.
    initvals, keep_priors, fix, potentials
        As for `find_MLE`.
    n_points : int
        The first point is the model's initial point, with `initvals` put in; the others lie around it.
    random_seed : int, Generator or None
        For the other points. None is a fixed seed.

    Returns
    -------
    pd.DataFrame
        A row a point and scalar of the unconstrained vector, with columns ``gradient`` (automatic differentiation),
        ``difference`` (five-point central differences of the log-likelihood), ``hessian_error`` (largest relative
        difference in that row of the Hessian from differences of the gradient) and ``ok``.

    Raises
    ------
    ModelError
        As for `find_MLE`.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 1, observed=[1.0, 2.0])
    >>> bool(mle.check_gradient(model)["ok"].all())
    True
    """
    root = resolve_model(model)
    check_model(root, potentials)
    found = roles(model, keep_priors=keep_priors, fix=fix, potentials=potentials)
    check_data(root)
    objective = objective_of(root, found, fix, initvals)
    rng = np.random.default_rng(0 if random_seed is None else random_seed)
    start = objective.parameters.initial
    points = [start + (k > 0) * 0.3 * rng.normal(size=start.size) for k in range(n_points)]
    tables = [_compare(objective, point) for point in points]
    return pd.concat(tables, keys=range(n_points), names=["point", "parameter"])


def _compare(objective: ModelObjective, x: np.ndarray) -> pd.DataFrame:
    """One point: exact derivatives beside differences."""
    with np.errstate(all="ignore"):
        gradient = objective.value_gradient(x)[1]
        difference = central_differences(lambda z: np.array([objective.value(z)]), x)[0]
        hessian = objective.hessian(x)
        rough = central_differences(lambda z: objective.value_gradient(z)[1], x)
        scale = np.sqrt(np.abs(np.outer(np.diag(hessian), np.diag(hessian)))) + np.abs(hessian)
        error = np.max(np.abs(hessian - rough) / np.where(scale > 0, scale, 1.0), axis=1)
        floor = 1e-9 * max(1.0, abs(objective.value(x)))
        close = np.abs(gradient - difference) <= _TOLERANCE * np.abs(difference) + _TOLERANCE * np.abs(gradient) + floor
    return pd.DataFrame(
        {
            "gradient": gradient,
            "difference": difference,
            "hessian_error": error,
            "ok": close & (error <= 1e3 * _TOLERANCE),
        },
        index=objective.parameters.unconstrained.labels,
    )
