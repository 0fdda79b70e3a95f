"""Rao's score test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2

from mle_pp.checks import check_data, check_model, different
from mle_pp.errors import ModelError
from mle_pp.hypothesis.nesting import listed, observed, shared_values
from mle_pp.hypothesis.result import TestResult
from mle_pp.linalg import inverse_on
from mle_pp.marginal import objective_of
from mle_pp.objective import ModelObjective
from mle_pp.roles import RoleKind, resolve_model, roles
from mle_pp.verdict import Status

if TYPE_CHECKING:
    import pymc as pm

    from mle_pp.estimate import Estimate


def score_test(
    small: Estimate,
    large_model: pm.Model | None = None,
    *,
    null: Mapping[str, Any] | None = None,
    keep_fixed: Sequence[str] = (),
    kind: str | None = None,
) -> TestResult:
    """Rao's score test of a fit against a larger model, which is not fitted.

    Parameters
    ----------
    small : Estimate
        The fit under the null hypothesis.
    large_model : pm.Model, optional
        The larger model, with the same observed variables. Its scalars take the values of the scalars of `small` with
        the same labels, estimated or held. Default: the model of `small`, with what was held by ``fix=`` set free.
    null : mapping of str to array_like, optional
        Values under the null hypothesis of what `small` does not have: by name, or by label (``"beta[x3]"``).
    keep_fixed : sequence of str
        Variables that are held by `small` and stay so in the larger model.
    kind : {"expected", "hessian"}, optional
        The information matrix: the expected one, with which the test does not depend on the parametrization, or the
        observed one on the unconstrained scale. Default: the expected one where it has a closed form.

    Returns
    -------
    TestResult
        With ``statistic`` gᵀ I⁻¹ g, of the larger model's score and information at the restricted estimate.

    Raises
    ------
    ModelError
        A scalar of the larger model without a value, a value on the edge of its support (where the score has one side
        only, as at a variance of zero: use `lr_test`), other data, or an estimate that is not the maximum of the larger
        model under the null hypothesis.

    Notes
    -----
    Latent variables of the larger model are integrated, as in a fit; the information is then the observed one.

    References
    ----------
    Rao (1948), Mathematical Proceedings of the Cambridge Philosophical Society 44, 50-57.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     p = pm.Beta("p", 1, 1)
    ...     y = pm.Bernoulli("y", p, observed=np.repeat([0, 1], [7, 18]))
    >>> mle.score_test(mle.find_MLE(model, fix={"p": 0.5}))
    Score test
      null hypothesis: p = 0.5
      statistic = 4.84, df = 1, p = 0.02781 (χ²(1))
      - With the expected information.
    """
    if small.kind != "mle" or small.verdict.status.is_failure or small.verdict.status is Status.IRREGULAR:
        raise ModelError(f"The score test needs a maximum-likelihood fit under the null hypothesis: {small.verdict}")
    objective, equations = _larger(small, large_model, dict(null or {}), keep_fixed)
    df = objective.size - small.n_params
    if df <= 0:
        raise ModelError(f"The larger model has {objective.size} parameters, no more than small ({small.n_params}).")
    x = objective.parameters.initial
    kind = kind or ("expected" if objective.has_information else "hessian")
    if kind not in ("expected", "hessian"):
        raise ValueError(f"kind={kind!r} is not one of 'expected', 'hessian'.")
    if kind == "expected" and not objective.has_information:
        missing = ", ".join(objective.without_information) or "this likelihood"
        raise ValueError(f'The expected information has no closed form for {missing}: use kind="hessian".')
    with np.errstate(all="ignore"):
        gradient = objective.value_gradient(x)[1]
        information = objective.information(x) if kind == "expected" else -objective.hessian(x)
    _refuse_other_maximum(small, objective, gradient, information)
    try:
        statistic = float(gradient @ inverse_on(information, np.eye(len(x))) @ gradient)
    except np.linalg.LinAlgError:
        raise ModelError(
            "The information of the larger model is singular at the null hypothesis: some of its parameters have no "
            "meaning there. Use lr_test with n_bootstrap=."
        ) from None
    notes = [f"With the {'expected' if kind == 'expected' else 'observed'} information."]
    if len(equations) > df:
        notes.append(f"Of these {len(equations)} equations {df} are restrictions; the others say where small lies.")
    pvalue = float(chi2.sf(statistic, df))
    return TestResult("Score test", listed(equations), statistic, df, pvalue, f"χ²({df})", notes=tuple(notes))


def _larger(
    small: Estimate, large_model: Any, null: dict[str, Any], keep_fixed: Sequence[str]
) -> tuple[ModelObjective, list[str]]:
    """The larger model's likelihood, begun at the restricted estimate, and the equations of the null hypothesis."""
    held = small._objective.parameters.fixed
    if unknown := [name for name in keep_fixed if name not in held]:
        raise ModelError(f"keep_fixed: {', '.join(unknown)} is not held by small ({', '.join(held) or 'nothing'} is).")
    given = small.roles.formula or small.model if large_model is None else large_model
    model = resolve_model(given)
    fixed = {name: held[name] for name in keep_fixed}
    check_model(model, small.roles.potentials, fixed=set(fixed))
    found = roles(given, fix=fixed, potentials=small.roles.potentials)
    treated = small.roles.names(RoleKind.LATENT, RoleKind.RESTRICTED)
    if other := [name for name in treated if name not in found.names(RoleKind.LATENT)]:
        raise ModelError(
            f"{', '.join(other)} is integrated in small, and would be a parameter of the larger model. Use lr_test."
        )
    check_data(model, held=set(fixed))
    values, equations = shared_values(small, model, found.names(RoleKind.PARAMETER), null)
    try:
        objective = objective_of(model, found, fixed, values, quadrature_points=small._objective.quadrature_points)
    except ModelError as error:
        # The values are those of fix= or null=, and begin the larger model's likelihood
        told = re.sub(r"initvals\['(.*?)'\]", r"\1", str(error))
        raise ModelError(
            f"The null hypothesis is not inside the larger model. {told} On the edge of a support the score has one "
            f"side only: use lr_test."
        ) from error
    if (weights := small._objective.case_weights) is not None:
        objective = objective.weighted(objective.axes.of_units(weights, "weights of small"))
    data = [observed(small), {rv.name: objective.data[rv.name] for rv in model.observed_RVs}]
    if set(data[0]) != set(data[1]) or different(*data):
        raise ModelError(
            "The larger model is not of the data that small was fitted to"
            + (f": {different(*data)}." if set(data[0]) == set(data[1]) else f" ({', '.join(data[0])}).")
        )
    return objective, equations


def _refuse_other_maximum(
    small: Estimate, objective: ModelObjective, gradient: np.ndarray, information: np.ndarray
) -> None:
    """In the parameters that `small` estimates, the larger model's score is zero if the one contains the other."""
    own = np.isin(objective.parameters.unconstrained.labels, small._objective.parameters.unconstrained.labels)
    if not own.any():
        return
    inner = information[np.ix_(own, own)]
    gain = 0.5 * gradient[own] @ np.linalg.lstsq(inner, gradient[own], rcond=None)[0]
    if abs(gain) > 1e-4:
        raise ModelError(
            f"The larger model can be improved by {gain:.3g} (log-likelihood) in the parameters of small alone: it "
            f"does not contain small under this null hypothesis, or small is not at its maximum."
        )
