"""What a fitted model says about rows: its `Deterministic`s, the mean of what is observed, and draws of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from pytensor.graph.basic import Variable
from scipy.special import expit, logit, ndtri

from mle_pp.conventions import bounds as columns
from mle_pp.conventions import one_of, probability, select, whole
from mle_pp.derivatives import Smooth
from mle_pp.errors import ModelError
from mle_pp.intervals import KINDS, resampled
from mle_pp.intervals.profiles import profile_targets, warn_of_sides
from mle_pp.intervals.scalars import Target
from mle_pp.layout import Layout, make_layout
from mle_pp.newdata import NewData, refuse_stale, replaced_data
from mle_pp.newgroups import regrouped
from mle_pp.parts import UNFIT, Part, errors_of, misfit, part_of
from mle_pp.predictive import expected_value, simulator
from mle_pp.stored import is_stored, stored_draws

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate
    from mle_pp.resample import Bootstrap

INTERVALS = ("confidence", "prediction")


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Predictions of a fitted model.

    Attributes
    ----------
    value : xr.Dataset
        `Deterministic`s, and the mean of observed variables, in their own dims.
    se : xr.Dataset
        Standard errors of these, by the delta method or, for "bootstrap", standard deviations of the refits'. NaN where
        the data do not determine the value.
    interval : xr.Dataset
        With a last dim ``ci_bound`` = "lower", "upper": for the value, or for a new observation.
    kind : str
        "wald", "profile" or "bootstrap".
    of : str
        "confidence" or "prediction".
    ci_prob : float
        The probability of the intervals.
    notes : tuple of str
        What was left out, and why.
    """

    value: xr.Dataset
    se: xr.Dataset
    interval: xr.Dataset
    kind: str
    of: str
    ci_prob: float
    notes: tuple[str, ...]
    _layout: Layout
    _means: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row a labelled scalar, with columns ``value, se`` and, say, ``confidence89_lb, confidence89_ub``.

        Labels are those of the model (``mean[3]``); the mean of an observed variable is ``E(y[3])``.
        """
        lower, upper = columns(self.of, self.ci_prob)
        parts = {
            "value": self.value,
            "se": self.se,
            lower: self.interval.sel(ci_bound="lower"),
            upper: self.interval.sel(ci_bound="upper"),
        }
        own = zip(self._layout.labels, self._layout.owners(), strict=True)
        labels = [f"E({label})" if name in self._means else label for label, name in own]
        return pd.DataFrame({name: self._layout.vector(part) for name, part in parts.items()}, index=labels)

    @property
    def _heading(self) -> str:
        return f"Predictions with {self.of} intervals ({self.kind}) of probability {self.ci_prob:g}"

    def __repr__(self) -> str:
        notes = "".join(f"\n- {note}" for note in self.notes)
        frame = self.to_frame().to_string(float_format="{:.4g}".format, max_rows=20)
        return f"{self._heading}\n{frame}{notes}"

    def _repr_html_(self) -> str:
        notes = "".join(f"<div><small>{escape(note)}</small></div>" for note in self.notes)
        frame = self.to_frame().to_html(border=0, float_format="{:.4g}".format, max_rows=20)
        return f"<div><p>{self._heading}</p>{frame}{notes}</div>"


def predict(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    newdata: Any = None,
    ci_prob: float | None = None,
    *,
    interval: str = "confidence",
    kind: str = "wald",
    bootstrap: Bootstrap | Mapping[str, Any] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    new_groups: bool = False,
    cov: str = "hessian",
    groups: Any = None,
    n: int = 4000,
    random_seed: Any = None,
) -> Prediction:
    """Predict the model's `Deterministic`s and the mean of its observed variables, at the data of the fit or others.

    The model is not changed.

    Parameters
    ----------
    est : Estimate
    var_names : str or list of str, optional
        `Deterministic`s and observed variables; the name of an observed variable stands for its mean. Default: all of
        them whose mean is known; with prediction intervals, all observed variables.
    newdata : mapping of str to array_like, DataFrame or Dataset, optional
        Values of the model's `pm.Data` containers by name, in any number of rows. Columns of a DataFrame that are no
        container are left aside; its index labels the rows. Of a Bambi model, a DataFrame with the columns that its
        formula uses, of categories of the fit and, but for `new_groups`, of its groups.
    ci_prob : float, optional
        Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    interval : {"confidence", "prediction"}
        For the value itself, or for a new observation.
    kind : {"wald", "profile", "bootstrap"}
        As in `mle_pp.interval`: by the delta method (see Notes); where the profile likelihood of the value falls to the
        χ² cutoff; quantiles of the refits' predictions.
    bootstrap : Bootstrap or mapping, optional
        For "bootstrap": a result of `mle_pp.bootstrap`, or the arguments to call it with.
    coords : mapping of str to sequence, optional
        Labels of the new rows; by default they are counted. And of groups, where these are others than those of the
        fit or in another order: whole numbers in `newdata` then count along these labels. A group of the fit keeps its
        estimates under whatever number.
    new_groups : bool
        Whether `coords` (of a Bambi model, `newdata`) may name groups that the fit had not, whose effects are drawn
        from their distribution (see Notes). Default: it is an error, for a label may be misspelt.
    cov, groups : optional
        The kind of covariance behind "wald", as for `Estimate.cov`.
    n : int
        Number of simulated observations behind prediction intervals, but for "wald" ones of normal variables. With
        integrated variables each needs a search for their mode.
    random_seed : int, Generator or None
        Of these.

    Returns
    -------
    Prediction
        With the Datasets ``value``, ``se`` and ``interval``.

    Warns
    -----
    ProfileWarning
        As `mle_pp.interval` does.

    Raises
    ------
    ValueError
        An option that is not one of those above, or does not belong to this `kind`.
    ModelError
        The model has no `pm.Data` to exchange; new data with unknown names, NaN or lengths that do not agree; groups
        that the fit had not; a profile of what depends on integrated variables.
    KeyError
        An unknown name in `var_names`.

    Notes
    -----
    "wald" confidence intervals are made on a scale on which the value is not bounded, and mapped back: the logit of
    (value − lower) / (upper − lower) where it has two bounds, the log of its distance where it has one, its own scale
    otherwise. Bounds are those of the graph (a `Deterministic` that is an ``exp`` is positive) and, for a mean, of
    the observed family (positive for a Poisson variable, between 0 and 1 for a Bernoulli variable).

    Prediction intervals contain the uncertainty about the parameters, too: N(μ̂, σ̂² + se(μ̂)²) for a normal variable;
    for any other, quantiles of observations simulated with parameters from their asymptotic normal distribution on
    the unconstrained scale; for "bootstrap", with those of the refits. A profile has none.

    What depends on integrated variables u has its value at their mode û given parameters and data, and the prediction
    variance of `Estimate.latent`. Simulated observations have u drawn from N(û, H⁻¹), Laplace's approximation of its
    law, at the parameters of each. "bootstrap" intervals are quantiles of the value at such draws, with the parameters
    of the refits and the data of the fit (Laird and Louis 1987): an interval for these very groups, whose effects
    another sample would redraw. For new groups, normal effects have their own mean as their mode (as in lme4), and
    their variance enters every interval. So the value of a mean such as exp(β + u) is that of a group in the middle,
    not the average over groups.

    References
    ----------
    Kass and Steffey (1989), J. Am. Stat. Assoc. 84. Laird and Louis (1987), J. Am. Stat. Assoc. 82.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     dose = pm.Data("dose", np.array([0.0, 1.0, 2.0, 3.0]), dims="row")
    ...     p = pm.Deterministic("p", pm.math.invlogit(pm.Normal("a") + pm.Normal("b") * dose), dims="row")
    ...     y = pm.Binomial("y", 10, p, observed=np.array([1, 3, 6, 9]), dims="row")
    >>> new = mle.predict(mle.find_MLE(model), "p", {"dose": [1.5, 10.0]}, 0.95)
    >>> new.interval["p"].values.round(4)
    array([[0.2805, 0.6513],
           [0.9915, 1.    ]])
    """
    _check_options(interval, kind, bootstrap is not None, cov != "hessian" or groups is not None)
    n, prob = whole("n", n), probability(ci_prob)
    data = regrouped(est._objective, replaced_data(est._objective, newdata, coords, new_groups))
    graphs, notes = _chosen(est, var_names, interval)
    refuse_stale(est._objective, data, [est.model[name] for name in graphs])
    covariance = _covariance(est, cov, groups)
    parts = {name: part_of(est, name, graph, data) for name, graph in graphs.items() if graph is not None}
    if kind == "profile":
        _refuse_profiles(parts)
    values = {name: part.value for name, part in parts.items()}
    errors = {name: errors_of(est, part, covariance) for name, part in parts.items()}
    rng = np.random.default_rng(random_seed)
    refits = None
    if kind == "bootstrap":
        refits, told = resampled(est, bootstrap).vectors(prob)
        notes += told
        errors, limits = _of_refits(est, data, parts, errors, refits, prob, rng)
    elif kind == "wald":
        limits = {name: _linked(part, errors[name], _normal_quantiles(prob)) for name, part in parts.items()}
    if interval == "prediction":
        limits = {} if refits is not None else _normal_limits(parts, errors, prob)
        if others := [name for name in graphs if name not in limits]:
            points = _around(est, covariance, n, rng) if refits is None else _spread(refits, n)
            new = _draws(est, data, points, rng, est._objective.is_marginal)
            limits |= {name: _quantiles(new[name], prob) for name in others}
            values = {name: new[name].mean(axis=0) for name in others} | values
            errors = {name: np.full(new[name].shape[1:], np.nan) for name in others} | errors
    shapes = {name: np.shape(values[name]) for name in graphs}
    layout = make_layout(shapes, est.model.named_vars_to_dims, data.coords)
    if kind == "profile":
        limits = _profiled(est, parts, errors, prob, layout)
    ends = [_dataset(layout, {name: limit[k] for name, limit in limits.items()}) for k in (0, 1)]
    notes += _told(est, parts, layout, layout.vector(ends[0]))
    bounds = xr.DataArray(["lower", "upper"], dims="ci_bound", name="ci_bound")
    return Prediction(
        value=_dataset(layout, values),
        se=_dataset(layout, errors),
        interval=xr.concat(ends, dim=bounds).transpose(..., "ci_bound"),
        kind=kind,
        of=interval,
        ci_prob=prob,
        notes=tuple(notes),
        _layout=layout,
        _means=tuple(rv.name for rv in est.model.observed_RVs) if interval == "confidence" else (),
    )


def _check_options(interval: str, kind: str, has_refits: bool, has_covariance: bool) -> None:
    one_of("interval", interval, INTERVALS)
    one_of("kind", kind, KINDS)
    if kind == "profile" and interval == "prediction":
        raise ValueError('A new observation has no profile likelihood: use kind="wald" or "bootstrap".')
    if has_refits and kind != "bootstrap":
        raise ValueError(f'bootstrap= is for kind="bootstrap", not kind={kind!r}.')
    if has_covariance and kind != "wald":
        raise ValueError(f'cov= and groups= are for kind="wald", not kind={kind!r}.')


def _normal_limits(parts: Mapping[str, Part], errors: Mapping[str, np.ndarray], prob: float) -> dict[str, np.ndarray]:
    """Prediction intervals of normal variables."""
    z, scales = _normal_quantiles(prob), {name: p.scale for name, p in parts.items() if p.scale is not None}
    return {n: parts[n].value + np.multiply.outer(z, np.hypot(errors[n], scale)) for n, scale in scales.items()}


def _of_refits(
    est: Estimate, data: NewData, parts: Mapping[str, Part], errors: Mapping[str, np.ndarray], refits: np.ndarray,
    prob: float, rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    """Standard errors and limits from the refits' values, NaN where the data do not determine them."""
    given = [*_conditional(est, data, refits, rng)] if any(part.given for part in parts.values()) else []
    drawn = {
        name: np.stack([part.given(*point) for point in given] if part.given else [part.at(x) for x in refits])
        for name, part in parts.items()
    }
    withheld = {name: np.isnan(error) for name, error in errors.items()}
    spread = {name: np.where(withheld[name], np.nan, draws.std(axis=0, ddof=1)) for name, draws in drawn.items()}
    limits = {name: np.where(withheld[name], np.nan, _quantiles(d, prob, "weibull")) for name, d in drawn.items()}
    return spread, limits


def _told(est: Estimate, parts: Mapping[str, Part], layout: Layout, ends: np.ndarray) -> list[str]:
    """What is to be known about the intervals."""
    notes = [est._held] if est._held and any(part.given for part in parts.values()) else []
    if missing := [label for label, end in zip(layout.labels, ends, strict=True) if np.isnan(end)]:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        cause = "" if est.verdict.ok else f", or at a limit ({est.verdict.status})"
        notes.append(f"No interval for {shown}: not determined by the data{cause}.")
    return notes


def simulate(
    est: Estimate,
    n: int = 1,
    *,
    random_seed: Any = None,
    newdata: Any = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    uncertainty: bool = False,
) -> xr.Dataset:
    """Draw the observed variables from the fitted model.

    Parameters
    ----------
    est : Estimate
    n : int
        Number of data sets.
    random_seed : int, Generator or None
    newdata, coords : optional
        As for `predict`.
    uncertainty : bool
        Draw the parameters of each data set, too, from their asymptotic normal distribution on the unconstrained
        scale. Default: they are held at the estimate, as for a parametric bootstrap.

    Returns
    -------
    xr.Dataset
        The observed variables with dims (chain, draw, ...), as ArviZ takes them: one chain of `n` draws.

    Raises
    ------
    ModelError
        A variable that cannot be drawn: a `CustomDist` without ``random=`` or ``dist=``, a `Potential`.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=np.array([1.0, 2.0, 3.0, 6.0]))
    >>> draws = mle.simulate(mle.find_MLE(model), 100, random_seed=1)
    >>> dict(draws.sizes)
    {'chain': 1, 'draw': 100, 'y_dim_0': 4}
    """
    n = whole("n", n)
    if is_stored(est) and newdata is None and not uncertainty:
        return stored_draws(est, n)
    data = regrouped(est._objective, replaced_data(est._objective, newdata, coords, True), given_latents=False)
    refuse_stale(est._objective, data, est.model.observed_RVs)
    rng = np.random.default_rng(random_seed)
    points = _around(est, _covariance(est) if uncertainty else None, n, rng)
    drawn = _draws(est, data, points, rng)
    shapes = {name: values.shape[1:] for name, values in drawn.items()}
    layout = make_layout(shapes, est.model.named_vars_to_dims, data.coords)
    variables = {e.name: (("chain", "draw", *e.dims), drawn[e.name][None]) for e in layout}
    dims = {dim: list(values) for e in layout for dim, values in zip(e.dims, e.coords, strict=True)}
    return xr.Dataset(variables, coords={"chain": [0], "draw": np.arange(n), **dims})


@dataclass(frozen=True)
class _Element:
    """One element of a variable, for its profile."""

    element: Smooth
    place: np.ndarray

    def value(self, x: np.ndarray) -> float:
        return self.element.value(x, self.place)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return self.element.value_gradient(x, self.place)[1]

    def hessian(self, x: np.ndarray) -> np.ndarray:
        return self.element.hessian(x, self.place)


def _chosen(
    est: Estimate, var_names: str | Sequence[str] | None, interval: str
) -> tuple[dict[str, Variable | None], list[str]]:
    """The graph to predict of each variable asked for, None where only draws of it can be had; and notes."""
    observed = {rv.name: rv for rv in est.model.observed_RVs}
    derived = [variable.name for variable in est.model.deterministics]
    known = [*(derived if interval == "confidence" else ()), *observed]
    names = select(xr.Dataset(dict.fromkeys(known, 0.0)), var_names)
    graphs: dict[str, Variable | None] = {}
    notes = []
    for name in names:
        graphs[name] = expected_value(observed[name]) if name in observed else est.model[name]
        if graphs[name] is not None:
            continue
        what = f"PyMC has no formula for the mean of {name}"
        if interval == "prediction":
            notes.append(f"{what}: its value is that of {name} simulated, without a standard error.")
        elif var_names is None:
            del graphs[name]
            notes.append(f"{what}: left out.")
        else:
            raise ModelError(
                f'{what}. Ask for interval="prediction", or put what you want predicted in a pm.Deterministic.'
            )
    return graphs, notes


def _covariance(est: Estimate, kind: str = "hessian", groups: Any = None) -> np.ndarray:
    """Of the unconstrained vector."""
    options = {} if groups is None else {"groups": groups}
    return est.cov(kind, scale="unconstrained", **options).values


def _refuse_profiles(parts: Mapping[str, Part]) -> None:
    if names := ", ".join(name for name, part in parts.items() if part.given):
        raise ModelError(
            f"{names}: no profile. It depends on integrated variables, and the likelihood is an integral over all "
            f"values of these: there is none to be held at one of them. They have a distribution given the data: use "
            f'kind="wald" (errors of their modes) or "bootstrap".'
        )


def _profiled(
    est: Estimate, parts: Mapping[str, Part], errors: Mapping[str, np.ndarray], prob: float, layout: Layout
) -> dict[str, np.ndarray]:
    """Limits of the profile intervals; a constant is its own."""
    targets = {}
    for name, part in parts.items():
        for place, label in enumerate(layout[name].labels):
            if errors[name].flat[place] != 0:
                assert part.element is not None
                one = _Element(part.element, np.asarray(place))
                targets[label] = Target(label, one.value, one, 1)
    found = profile_targets(est, targets, prob, points=0)
    warn_of_sides(est, found, stacklevel=4)
    limits = {}
    for name, part in parts.items():
        pairs = [
            (found[label].lower, found[label].upper) if label in found else (part.value.flat[place],) * 2
            for place, label in enumerate(layout[name].labels)
        ]
        limits[name] = np.reshape(np.transpose(pairs), (2, *part.value.shape))
    return limits


def _normal_quantiles(prob: float) -> np.ndarray:
    return ndtri((1 - prob) / 2) * np.array([1.0, -1.0])


def _linked(part: Part, errors: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Value plus z standard errors on a scale without bounds, mapped back; first axis that of z."""
    value, lower, upper = part.value, part.lower, part.upper
    step = np.multiply.outer(z, errors)
    with np.errstate(all="ignore"):
        width, above, below = upper - lower, value - lower, upper - value
        share = above / width
        has_lower, has_upper = np.isfinite(lower), np.isfinite(upper)
        found = np.select(
            [has_lower & has_upper, has_lower, has_upper],
            [
                lower + width * expit(logit(share) + step * width / (above * below)),
                lower + above * np.exp(step / above),
                upper - below * np.exp(-step / below),
            ],
            value + step,
        )
    # Constants, which have no link where their bounds meet
    return np.where((errors == 0) & np.isfinite(value), value, found)


def _around(est: Estimate, covariance: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` times the estimate's vector, or vectors drawn around it with this covariance."""
    x = np.tile(est._optimum.x, (n, 1))
    if covariance is None:
        return x
    if not np.all(np.isfinite(covariance)):
        raise ModelError(f"There is no covariance to draw parameters from. {est.verdict}")
    values, vectors = np.linalg.eigh(covariance)
    return x + rng.normal(size=x.shape) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T


def _spread(refits: np.ndarray, n: int) -> np.ndarray:
    """`n` vectors, each refit about as often as any other, and one after itself: its modes are searched once."""
    return refits[np.arange(n) * len(refits) // n]


def _conditional(est: Estimate, data: NewData, points: np.ndarray, rng: np.random.Generator) -> Iterator[tuple]:
    """Each vector with a draw of the integrated variables given it and the data, and of the effects of new groups."""
    objective: Any = est._objective
    for x in points:
        u = objective.drawn_latents(x, rng)
        if u is not None:
            yield (x, u, *([rng.normal(size=data.fresh[1])] if data.fresh else []))


def _draws(
    est: Estimate, data: NewData, points: np.ndarray, rng: np.random.Generator, given: bool = False
) -> dict[str, np.ndarray]:
    """A set of observations for each vector: of new groups, or given what the data say about those of the fit."""
    objective: Any = est._objective
    try:
        if given:
            vectors = [objective.latents.u, *([data.fresh[0]] if data.fresh else [])]
            draw = simulator(objective, {**data.replacements, **data.effects}, vectors)
            sets = [draw(rng, *point) for point in _conditional(est, data, points, rng)]
        else:
            draw = simulator(objective, data.replacements)
            sets = [draw(rng, x) for x in points]
    except UNFIT as error:
        if not data.names or isinstance(error, ModelError):
            raise
        raise misfit(est, "Nothing can be drawn at", data, est.model.observed_RVs, error) from error
    return {name: np.stack([drawn[name] for drawn in sets]) for name in sets[0]}


def _quantiles(drawn: np.ndarray, prob: float, method: Any = "linear") -> np.ndarray:
    """The equal-tailed interval of draws along their first axis, of whole numbers for counts."""
    if drawn.dtype.kind in "iub":
        method = "inverted_cdf"
    return np.quantile(drawn, [(1 - prob) / 2, (1 + prob) / 2], axis=0, method=method)


def _dataset(layout: Layout, arrays: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Arrays by name with their dims and coords."""
    return layout.dataset(np.concatenate([np.zeros(0), *(np.ravel(arrays[name]) for name in layout.names)]))
