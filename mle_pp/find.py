"""`find_MLE` and `find_MAP`: from a model to an `Estimate`, through every layer below."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mle_pp import wording
from mle_pp.checks import check_data, check_model
from mle_pp.diagnose import Diagnosis, diagnose, is_noise, rounding
from mle_pp.errors import EstimationError, ModelError, VerdictWarning
from mle_pp.estimate import Estimate, kind_of
from mle_pp.hints import hints, without_effect
from mle_pp.information import limits, scales_at, slides, without_limit
from mle_pp.marginal import objective_of
from mle_pp.objective import ModelObjective
from mle_pp.optimize import Anchors, Optimum, Run, Stop, check_method, maximize, polished, run_starts
from mle_pp.roles import RoleKind, Roles, droppable, resolve_model, roles
from mle_pp.verdict import Finding, Status

if TYPE_CHECKING:
    import pymc as pm

_log = logging.getLogger("mle_pp")


def find_MLE(
    model: Any = None,
    *,
    integrate: str | Sequence[str] = "auto",
    keep_priors: Sequence[str] = (),
    restricted: Sequence[str] = (),
    fix: Mapping[str, Any] | None = None,
    potentials: str = "error",
    weights: Any = None,
    quadrature_points: int = 1,
    method: str = "auto",
    starts: int | str = "auto",
    initvals: Mapping[str, Any] | None = None,
    random_seed: Any = None,
    backend: str = "auto",
    on_failure: str = "raise",
) -> Estimate:
    """Maximum-likelihood estimate of a PyMC model: its priors are dropped, the likelihood of its data is maximized.

    The model is not changed: sample it with `pm.sample` for the posterior of the same graph.

    Parameters
    ----------
    model : pm.Model or Bambi model, optional
        Default: the model of the enclosing ``with``.
    integrate : "auto" or sequence of str
        Which variables are latent, and so integrated out: as `roles` finds them, or exactly those named. Missing values
        of independent rows, which PyMC imputes, integrate to one: their rows are dropped, and a finding says so.
    keep_priors : sequence of str
        Variables whose priors stay (penalized likelihood).
    restricted : sequence of str
        Coefficients to be integrated under a flat prior: restricted maximum likelihood (REML). `loglik` is then the
        restricted one, and the coefficients are found in `Estimate.latent`.
    fix : mapping of str to array_like, optional
        Variables held at values, on the constrained scale.
    potentials : {"error", "likelihood", "drop"}
        What `pm.Potential` terms are: part of the likelihood, or priors to be dropped. A model cannot tell.
    weights : array_like, DataArray or mapping, optional
        Case weights: a row of weight 3 counts as three equal rows, one of weight 0 is left out. One number a row, in
        the order of the data (a DataArray with labels along the row dim: by label). Observed variables that share
        their first named dim share their rows; where there are several sets of rows, a mapping from the name of the
        dim, or of an observed variable, to its weights. `n_obs` is then the sum of the weights. Rows that share latent
        variables need the same weight.
    quadrature_points : int
        Nodes in each dimension of adaptive Gauss–Hermite quadrature over latent variables that fall apart into blocks
        of at most three; 1 is Laplace's method, for any latent variables.
    method : {"auto", "newton", "scoring", "secant", "quasi-newton"}
        The optimizer. "auto" takes the first that suits the model and falls back to the next where one fails.
    starts : "auto" or int
        Number of starting points; the first is the model's initial point. "auto": three; twelve where these disagree;
        sixty where only one of the twelve reached the highest value. With latent variables three, but for those that
        end where a scale vanishes; with more than 20,000 rows one. A search that comes within about a standard error of
        a known maximum, and finds what its Hessian tells, ends there.
    initvals : mapping of str to array_like, optional
        Starting values on the constrained scale; some variables are enough.
    random_seed : int, Generator or None
        For the starting points after the first. None: a fixed seed, so that results repeat.
    backend : {"auto", "interpreted", "jax", "numba"}
        How the likelihood is evaluated. "auto" interprets small models, which takes no compilation.
    on_failure : {"raise", "return"}
        What happens where no maximum is found.

    Returns
    -------
    Estimate
        Read `verdict` first. Where it is not CONVERGED, a `VerdictWarning` says so, and numbers without meaning are
        NaN.

    Raises
    ------
    ModelError
        The model or an argument does not define a likelihood to maximize. Raised before any optimization.
    EstimationError
        No maximum was found (NOT_CONVERGED, SADDLE, UNBOUNDED); its ``estimate`` holds what was.

    Notes
    -----
    A trust-region Newton method on the exact Hessian maximizes on the unconstrained scale, without Jacobian terms, so
    that the result does not depend on the parametrization. Latent variables are integrated out around their
    conditional mode by Laplace's method, which is exact for normal models, with exact gradients (Skaug and Fournier
    2006; Kristensen et al. 2016); normal ones are standardized first, so that centered and non-centered declarations
    agree. Whether the end of the search is a maximum is decided by following the likelihood along every direction, not
    by the optimizer.

    Bambi centers predictors: the intercept in its graph is that of centered ones. Of a Bambi model, the formula's own
    intercept is estimated and reported, as `bambi.Model.fit` does, and `fix` and `initvals` are about it. A prior that
    is kept is that of the graph. A PyMC model that was taken out of a Bambi model is an ordinary one.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     sigma = pm.HalfNormal("sigma", 10)
    ...     y = pm.Normal("y", mu, sigma, observed=[1.0, 2.0, 3.0, 6.0])
    >>> est = mle.find_MLE(model)
    >>> round(float(est.params["mu"]), 6), est.verdict.ok
    (3.0, True)
    """
    root = resolve_model(model)
    check_model(root, potentials, fixed=set(fix or ()))
    found = roles(
        model, integrate=integrate, keep_priors=keep_priors, restricted=restricted, fix=fix, potentials=potentials
    )
    return _find(
        root, found, fix, weights, method, starts, initvals, random_seed, backend, on_failure, quadrature_points
    )


def find_MAP(
    model: Any = None,
    *,
    fix: Mapping[str, Any] | None = None,
    method: str = "auto",
    starts: int | str = "auto",
    initvals: Mapping[str, Any] | None = None,
    random_seed: Any = None,
    backend: str = "auto",
    on_failure: str = "raise",
) -> Estimate:
    """Posterior mode (maximum a posteriori) of a PyMC model: every prior is kept.

    The density is maximized on the constrained scale, as `pm.find_MAP` does; `Potential` terms are part of it.

    Parameters
    ----------
    model, fix, method, starts, initvals, random_seed, backend, on_failure
        As for `find_MLE`.

    Returns
    -------
    Estimate
        With ``kind == "map"``. `loglik` is the log-likelihood at the mode, without priors; AIC and BIC are NaN.

    Raises
    ------
    ModelError, EstimationError
        As for `find_MLE`.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 1)
    ...     y = pm.Normal("y", mu, 1, observed=[1.0, 2.0, 3.0])
    >>> round(float(mle.find_MAP(model).params["mu"]), 6)
    1.5
    """
    root = resolve_model(model)
    check_model(root, "likelihood", fixed=set(fix or ()))
    first = roles(model, fix=fix, potentials="likelihood")
    # What is latent is so also where the priors of its scales stay
    latent, kept = first.names(RoleKind.LATENT), first.names(RoleKind.PARAMETER)
    found = roles(model, integrate=latent, keep_priors=kept, fix=fix, potentials="likelihood")
    return _find(root, found, fix, None, method, starts, initvals, random_seed, backend, on_failure)


def _find(
    model: pm.Model,
    found: Roles,
    fix: Mapping[str, Any] | None,
    weights: Any,
    method: str,
    starts: int | str,
    initvals: Mapping[str, Any] | None,
    seed: Any,
    backend: str,
    on_failure: str,
    quadrature_points: int = 1,
) -> Estimate:
    _check_options(method, starts, on_failure)
    check_data(model, held=set(fix or ()))
    if isinstance(quadrature_points, bool) or not isinstance(quadrature_points, int) or quadrature_points < 1:
        raise ValueError(f"quadrature_points={quadrature_points!r} is not a positive whole number.")
    objective = objective_of(model, found, fix, initvals, backend, quadrature_points)
    if weights is not None:
        objective = objective.weighted(objective.axes.align(weights, "weights"))
    _log.debug("maximizing over %d parameters, %s backend", objective.size, objective.backend)
    # Overflow and NaN on the way are answered by stepping back, not by warnings
    with np.errstate(all="ignore"):
        parameters = objective.parameters
        if not np.isfinite(objective.value(parameters.initial)):
            objective.check_possible()
        runs = run_starts(objective, parameters.initial, parameters.default, starts, seed, method, _anchors(objective))
        if runs[0].optimum.stop is Stop.NOT_FINITE:
            # The value is finite, its derivatives are not
            objective.check_possible()
        diagnosis, reached = _judge(objective, runs)
        dropped = [name for name in found.names(RoleKind.LATENT) if droppable(model, name)]
        diagnosis = diagnosis.adding([wording.missing(name) for name in dropped])
        estimate = assemble(model, found, objective, runs, reached, diagnosis)
    verdict = estimate.verdict
    if verdict.status.is_failure and on_failure == "raise":
        raise EstimationError(verdict.message, estimate)
    if not verdict.ok:
        warnings.warn(verdict.message, VerdictWarning, stacklevel=3)
    return estimate


def refit(est: Estimate, x: np.ndarray) -> Estimate:
    """The estimate at the maximum that is reached from `x`, with this start added to those of `est`.

    Parameters
    ----------
    est : Estimate
    x : ndarray, shape (size,)
        On the unconstrained scale.
    """
    objective = est._objective
    with np.errstate(all="ignore"):
        run = Run("profile", x, objective.value(x), maximize(objective, x))
        diagnosis, reached = _judge(objective, [run])
        found = assemble(est.model, est.roles, objective, [run], reached, diagnosis)
    earlier = est.starts.assign(optimum=est.starts["optimum"] + 1)
    starts = pd.concat([earlier, found.starts], ignore_index=True).rename_axis("start")
    return replace(found, starts=starts)


def _check_options(method: str, starts: int | str, on_failure: str) -> None:
    check_method(method)
    if starts != "auto" and not (isinstance(starts, int) and not isinstance(starts, bool) and starts >= 1):
        raise ValueError(f'starts={starts!r} is neither "auto" nor a positive number.')
    if on_failure not in ("raise", "return"):
        raise ValueError(f'on_failure={on_failure!r} is not one of "raise", "return".')


def _refuse_latents(model: pm.Model, found: Roles) -> None:
    latent = [name for name in found.names(RoleKind.LATENT) if not droppable(model, name)]
    if not latent:
        return
    imputed = [name.removesuffix("_unobserved") for name in latent if name.endswith("_unobserved")]
    if imputed:
        names = ", ".join(imputed)
        raise ModelError(
            f"{names} has missing values: missing values of an observed variable, which PyMC imputes, are latent "
            f"({', '.join(f'{name}_unobserved' for name in imputed)}), and part of the likelihood is an integral over "
            f"them, which this version does not compute where rows depend on each other or other data depend on "
            f"{names}. Where they do not, remove the rows with missing values from {names} and its covariates."
        )
    reasons = "; ".join(f"{name}: {found[name].reason}" for name in latent)
    scales = [name for name in found.names(RoleKind.PARAMETER) if any(name in found[u].reason for u in latent)]
    raise ModelError(
        f"{', '.join(latent)}: latent, so part of the likelihood is an integral over it ({reasons}). Maximizing over "
        f"it jointly with the parameters is no maximum-likelihood estimate: that joint density is unbounded, or has a "
        f"maximum that depends on the parametrization. This version does not integrate. Sample the model instead, or "
        f"hold {' and '.join(scales) or 'their scale'} at known values with fix= (and, for a penalized fit at these "
        f"values, add keep_priors={latent})."
    )


def _judge(objective: ModelObjective, runs: list[Run]) -> tuple[Diagnosis, list[int]]:
    """The best end that is a maximum, and for every start the number of the optimum it reached."""
    optima, reached = _group(objective, runs)
    # A value that is rounding errors only is none, however high
    rank = [(_is_rounding(objective, run.optimum), -run.optimum.value) for run in optima]
    order = sorted(range(len(optima)), key=lambda k: rank[k])
    diagnoses: list[Diagnosis] = []
    for k in order:
        optima[k] = replace(optima[k], optimum=polished(objective, optima[k].optimum))
        diagnoses.append(diagnose(objective, objective.parameters, optima[k].optimum))
        if not diagnoses[-1].verdict.status.is_failure:
            break
    chosen = next((d for d in diagnoses if not d.verdict.status.is_failure), diagnoses[0])
    if not chosen.verdict.status.is_failure and _is_rounding(objective, chosen.optimum):
        chosen = rounding(objective.parameters, chosen.optimum)
    if not chosen.verdict.status.is_failure:
        chosen = _about_latents(objective, chosen)
        found = _beside(objective, runs, [optima[k].optimum for k in order], chosen)
        known = {finding.kind for finding in chosen.verdict.findings}
        chosen = chosen.adding([finding for finding in found if finding.kind not in known])
    if chosen.special.lost.size and any(f.kind == "unbounded_elsewhere" for f in chosen.verdict.findings):
        # An edge at which other parameters lose their meaning: where these sit on the spike, it is no maximum either
        chosen = chosen.unbounded()
    return chosen, [order.index(k) for k in reached]


def _about_latents(objective: ModelObjective, diagnosis: Diagnosis) -> Diagnosis:
    """The same, with what it means where the edge is one of the distribution of latent variables."""
    x, drift, parameters = diagnosis.optimum.x, diagnosis.special.drift, objective.parameters
    told: list[Finding] = []
    for finding in diagnosis.verdict.findings:
        latents = without_effect(objective, x, drift) if finding.kind == "boundary" else {}
        told += wording.at_latent_edges(parameters, x, drift, finding, latents) if latents else [finding]
    return replace(diagnosis, verdict=replace(diagnosis.verdict, findings=tuple(told)))


def _anchors(objective: ModelObjective) -> Anchors | None:
    """The elements of a mixture's vectors on their own scale may be locations, each of other observations."""
    parameters = objective.parameters
    mixed = [rv.name for rv in objective.model.observed_RVs if "Mixture" in type(rv.owner.op).__name__]
    inner = parameters.unconstrained.slices()
    pairs = zip(parameters.layout, parameters.unconstrained, strict=True)
    own = [e.name for outer, e in pairs if outer.size > 1 and parameters.transforms[outer.name] is None]
    values = [
        value.ravel()
        for name, value in objective.data.items()
        if name in mixed and value.dtype.kind == "f" and value.size > 1
    ]
    if not own or not values:
        return None
    coordinates = np.concatenate([np.arange(objective.size)[inner[name]] for name in own])
    return Anchors(coordinates, np.concatenate(values))


def _is_rounding(objective: ModelObjective, optimum: Optimum) -> bool:
    """Whether the value at the end of a search is mostly rounding errors, or larger than a probability can be."""
    impossible = objective.is_bounded and optimum.value > 1e-6
    return impossible or is_noise(objective, objective.parameters, optimum)


def _beside(objective: ModelObjective, runs: list[Run], optima: list[Optimum], chosen: Diagnosis) -> list[Finding]:
    """What else is worth knowing about an estimate."""
    found = hints(objective, chosen.optimum)
    parameters, value = objective.parameters, chosen.optimum.value
    if chosen.verdict.status is Status.BOUNDARY:
        own = [name for name in objective.roles.names(RoleKind.LATENT) if "type-II" in objective.roles[name].reason]
        found += [wording.one_each(name) for name in own]
    ran_away = [end for end in optima if end.stop is Stop.FAR and end.value > value]
    if ran_away and not objective.is_bounded:
        collapsed = (np.abs(ran_away[0].x - parameters.default) > 5) & (objective.units > 0)
        found.insert(0, wording.unbounded_elsewhere(wording.owners(parameters, collapsed)))
    ends = [run.optimum.value for run in runs if run.optimum.stop is Stop.SMALL_DECREMENT]
    here = sum(abs(end - value) <= 1e-6 * max(1.0, abs(value)) for end in ends)
    lower = [end for end in optima if end.stop is Stop.SMALL_DECREMENT and end.value < value - 1e-3]
    if chosen.verdict.ok and len(lower) >= 2 and here <= 1:
        found.append(wording.many_maxima(parameters, len(runs), 1 + len(lower)))
    return found


def _group(objective: ModelObjective, runs: list[Run]) -> tuple[list[Run], list[int]]:
    """Runs that reached the same optimum, up to relabeling of exchangeable components, count once."""
    optima: list[Run] = []
    reached = []
    for run in runs:
        for k, known in enumerate(optima):
            if _same(objective, known, run):
                reached.append(k)
                if run.optimum.value > known.optimum.value:
                    optima[k] = run
                break
        else:
            reached.append(len(optima))
            optima.append(run)
    return optima, reached


def _same(objective: ModelObjective, one: Run, other: Run) -> bool:
    a, b = one.optimum.value, other.optimum.value
    if not (np.isfinite(a) and np.isfinite(b)):
        return a == b
    return abs(a - b) <= 1e-7 * max(1.0, abs(a))


def assemble(
    model: pm.Model,
    found: Roles,
    objective: ModelObjective,
    runs: list[Run],
    reached: list[int],
    diagnosis: Diagnosis,
) -> Estimate:
    """The estimate that a diagnosis makes of the runs that led to it."""
    parameters, x = objective.parameters, diagnosis.optimum.x
    status = diagnosis.verdict.status
    scales = scales_at(parameters, x, diagnosis.special, diagnosis.basis)
    return Estimate(
        model=model,
        roles=found,
        params=parameters.layout.dataset(values_at(parameters.constrained, diagnosis, scales.jacobian)),
        derived=parameters.derived_layout.dataset(values_at(parameters.derived, diagnosis, scales.derived_jacobian)),
        loglik=np.nan if status.is_failure else objective.loglik(x),
        n_obs=objective.rows,
        n_params=objective.size - diagnosis.special.null.shape[1],
        verdict=diagnosis.verdict,
        starts=_table(objective, runs, reached),
        kind=kind_of(found),
        _objective=objective,
        _optimum=diagnosis.optimum,
        _basis=diagnosis.basis,
        _scales=scales,
    )


def values_at(function: Callable[[np.ndarray], np.ndarray], diagnosis: Diagnosis, jacobian: np.ndarray) -> np.ndarray:
    """Values of named quantities: the limit where one is approached, NaN where any value would do."""
    x, special = diagnosis.optimum.x, diagnosis.special
    values = limits(function, x, special.drift)
    return np.where(slides(jacobian, special.null) | without_limit(function, x, special), np.nan, values)


def _table(objective: ModelObjective, runs: list[Run], reached: list[int]) -> pd.DataFrame:
    """One row a start."""
    parameters = objective.parameters
    rows = [
        {
            "origin": run.origin,
            "value_start": run.start_value,
            "value": run.optimum.value,
            "optimum": k,
            "method": run.optimum.method,
            "iterations": run.optimum.iterations,
            "stop": str(run.optimum.stop),
            "began": parameters.constrained(run.start),
            "ended": parameters.constrained(run.optimum.x),
        }
        for run, k in zip(runs, reached, strict=True)
    ]
    return pd.DataFrame(rows, index=pd.RangeIndex(len(rows), name="start"))
