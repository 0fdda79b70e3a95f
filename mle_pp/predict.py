"""What a fitted model says about rows: its `Deterministic`s, the mean of what is observed, and draws of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from scipy.special import expit, logit, ndtri

from mle_pp import backends
from mle_pp.conventions import bounds as columns
from mle_pp.conventions import one_of, probability, select, whole
from mle_pp.derivatives import Jacobian, Smooth
from mle_pp.errors import ModelError
from mle_pp.information import determined, pinned_at_limit, without_limit
from mle_pp.intervals import KINDS, resampled
from mle_pp.intervals.profiles import profile_targets, warn_of_sides
from mle_pp.intervals.scalars import Target
from mle_pp.layout import Layout, make_layout
from mle_pp.newdata import NewData, refuse_stale, replaced_data
from mle_pp.predictive import at_vector, expected_value, mean_bounds, normal_scale, simulator
from mle_pp.stored import is_stored, stored_draws
from mle_pp.supports import graph_bounds

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
        formula uses, of categories and groups of the fit.
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
        Labels of the new rows. Default: they are counted.
    cov, groups : optional
        The kind of covariance behind "wald", as for `Estimate.cov`.
    n : int
        Number of simulated observations behind prediction intervals, but for "wald" ones of normal variables.
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
        The model has no `pm.Data` to exchange; new data with unknown names, NaN or lengths that do not agree.
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
    one_of("interval", interval, INTERVALS)
    one_of("kind", kind, KINDS)
    if kind == "profile" and interval == "prediction":
        raise ValueError('A new observation has no profile likelihood: use kind="wald" or "bootstrap".')
    if bootstrap is not None and kind != "bootstrap":
        raise ValueError(f'bootstrap= is for kind="bootstrap", not kind={kind!r}.')
    if kind != "wald" and (cov != "hessian" or groups is not None):
        raise ValueError(f'cov= and groups= are for kind="wald", not kind={kind!r}.')
    n, prob = whole("n", n), probability(ci_prob)
    data = replaced_data(est._objective, newdata, coords)
    graphs, notes = _chosen(est, var_names, interval)
    refuse_stale(est._objective, data, [est.model[name] for name in graphs])
    covariance = _covariance(est, cov, groups)
    parts = {name: _part(est, name, graph, data) for name, graph in graphs.items() if graph is not None}
    _refuse_given_latents(parts, kind, interval)
    values = {name: part.value for name, part in parts.items()}
    errors = {name: _errors(est, part, covariance) for name, part in parts.items()}
    withheld = {name: np.isnan(error) for name, error in errors.items()}
    refits = None
    if kind == "bootstrap":
        refits, told = resampled(est, bootstrap).vectors(prob)
        notes += told
        drawn = {name: np.stack([part.at(x) for x in refits]) for name, part in parts.items()}
        errors = {name: np.where(withheld[name], np.nan, draws.std(axis=0, ddof=1)) for name, draws in drawn.items()}
    if interval == "prediction":
        spreads = {} if refits is not None else {n: p.scale for n, p in parts.items() if p.scale is not None}
        z = _normal_quantiles(prob)
        limits = {name: values[name] + np.multiply.outer(z, np.hypot(errors[name], spreads[name])) for name in spreads}
        if others := [name for name in graphs if name not in limits]:
            rng = np.random.default_rng(random_seed)
            points = _around(est, covariance, n, rng) if refits is None else np.resize(refits, (n, refits.shape[1]))
            new = _draws(est, data, points, rng)
            limits |= {name: _quantiles(new[name], prob) for name in others}
            values = {name: new[name].mean(axis=0) for name in others} | values
            errors = {name: np.full(new[name].shape[1:], np.nan) for name in others} | errors
    elif refits is not None:
        limits = {name: np.where(withheld[name], np.nan, _quantiles(d, prob, "weibull")) for name, d in drawn.items()}
    elif kind == "wald":
        limits = {name: _linked(part, errors[name], _normal_quantiles(prob)) for name, part in parts.items()}
    shapes = {name: np.shape(values[name]) for name in graphs}
    layout = make_layout(shapes, est.model.named_vars_to_dims, data.coords)
    if kind == "profile":
        limits = _profiled(est, parts, errors, prob, layout)
    ends = [_dataset(layout, {name: limit[k] for name, limit in limits.items()}) for k in (0, 1)]
    if missing := [label for label, end in zip(layout.labels, layout.vector(ends[0]), strict=True) if np.isnan(end)]:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        notes.append(f"No interval for {shown}: not determined by the data, or at a limit ({est.verdict.status}).")
    return Prediction(
        value=_dataset(layout, values),
        se=_dataset(layout, errors),
        interval=xr.concat(ends, dim=xr.DataArray(["lower", "upper"], dims="ci_bound", name="ci_bound")).transpose(
            ..., "ci_bound"
        ),
        kind=kind,
        of=interval,
        ci_prob=prob,
        notes=tuple(notes),
        _layout=layout,
        _means=tuple(rv.name for rv in est.model.observed_RVs) if interval == "confidence" else (),
    )


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
    data = replaced_data(est._objective, newdata, coords)
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
class _Part:
    """One variable at the estimate.

    Attributes
    ----------
    value, lower, upper : ndarray
        The variable and its bounds, in its shape.
    slopes : ndarray, shape (value.size, size)
        ∂value/∂x.
    withheld : ndarray of bool, shape (value.size,)
        Values that lie at a limit, or have no meaning there.
    scale : ndarray or None
        Of the mean of a normal variable, its standard deviation.
    function : callable
        From the vector to the variable, and more.
    element : Smooth or None
        Each of its elements as a function of the vector and of the element's place; None where it depends on
        integrated variables.
    conditional : ndarray or float
        Variances at known parameters, of what depends on integrated variables.
    """

    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    slopes: np.ndarray
    withheld: np.ndarray
    scale: np.ndarray | None
    function: Callable[[np.ndarray], list[np.ndarray]]
    element: Smooth | None
    conditional: np.ndarray | float = 0.0

    def at(self, x: np.ndarray) -> np.ndarray:
        """The variable at another vector."""
        return self.function(x)[0]


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
    known = [*(est._derived_layout.names if interval == "confidence" else ()), *observed]
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


def _part(est: Estimate, name: str, graph: Variable, data: NewData) -> _Part:
    """Evaluate a variable, its bounds and its derivative."""
    objective, x = est._objective, est._optimum.x
    variable = est.model[name]
    is_observed = variable in est.model.observed_RVs
    family = mean_bounds(variable) if is_observed else ()
    scale = normal_scale(variable) if is_observed else None
    graphs = [graph, *family, *([] if scale is None else [scale])]
    try:
        with backends.without_c_compiler():
            given = objective.is_marginal
            held = at_vector(objective, graphs, data.replacements, hold_observed=True, given_latents=given)
            if given and objective.depends_on_integrated(held[0]):
                return _given_latents(est, held, data, is_observed, scale is not None)
            value, *others = backends.simplify([pt.cast(backends.as_tensor(g), "float64") for g in held])
            ends = [pt.as_tensor(end) for end in graph_bounds([value], objective.parameters.x)[0]]
            function = backends.build([objective.parameters.x], [value, *ends, *others])
            slopes = Jacobian(value.ravel(), objective.parameters.x)(x)
            found, lower, upper, *rest = function(x)
        like = np.zeros_like(found)
        if is_observed:
            lower, upper = np.maximum(lower, rest[0]), np.minimum(upper, rest[1])
        withheld = _at_limit(est, lambda z: function(z)[0].ravel().astype(float), slopes)
        spread = None if scale is None else rest[2] + like
        place = pt.lscalar("place")
        element = Smooth(value.ravel()[place], objective.parameters.x, "interpreted", max(found.size, 1), [place])
        return _Part(found, lower + like, upper + like, slopes, withheld, spread, function, element)
    except _UNFIT as error:
        if not data.names:
            raise
        raise _misfit(est, f"{name} cannot be computed from", data, graphs, error) from error


def _refuse_given_latents(parts: Mapping[str, _Part], kind: str, interval: str) -> None:
    """Of what depends on integrated variables there are errors of prediction, but no profile and no refits."""
    names = ", ".join(name for name, part in parts.items() if part.element is None)
    if names and kind != "wald":
        raise ModelError(
            f"{names}: given integrated variables, which have a distribution and no likelihood of their own. Use "
            f'kind="wald", whose errors are those of the conditional modes.'
        )
    if interval == "prediction" and any(part.element is None and part.scale is None for part in parts.values()):
        raise ModelError(
            f"{names}: a new observation given integrated variables is not normal, and is not drawn by this version. "
            f"mle.simulate draws observations of new groups."
        )


def _given_latents(
    est: Estimate, graphs: Sequence[Variable], data: NewData, is_observed: bool, is_normal: bool
) -> _Part:
    """Of a variable that depends on integrated ones: at their mode, which moves with the parameters."""
    objective: Any = est._objective
    x, u = est._optimum.x, objective.latents.u
    value, *others = backends.simplify([pt.cast(backends.as_tensor(g), "float64") for g in graphs])
    ends = [pt.as_tensor(end) for end in graph_bounds([value], objective.parameters.x)[0]]
    evaluate = backends.build([u, objective.parameters.x], [value, *ends, *others])

    def function(point: np.ndarray) -> list[np.ndarray]:
        mode = objective.mode(point)
        return evaluate(np.full(u.type.shape, np.nan) if mode is None else mode.u, point)

    quantity, mode = objective.conditional(value.ravel()), objective.mode(x)
    slopes = quantity.slopes(mode, x)
    found, lower, upper, *rest = function(x)
    like = np.zeros_like(found)
    if is_observed:
        lower, upper = np.maximum(lower, rest[0]), np.minimum(upper, rest[1])
    withheld = _at_limit(est, lambda z: function(z)[0].ravel().astype(float), slopes)
    spread = rest[2] + like if is_normal else None
    inner = quantity.variances(mode, x)
    return _Part(found, lower + like, upper + like, slopes, withheld, spread, function, None, inner)


# What NumPy and PyTensor raise where new data do not go together with what stays as it was
_UNFIT = (ValueError, IndexError, TypeError, AssertionError)


def _misfit(est: Estimate, what: str, data: NewData, graphs: Sequence[Variable], error: Exception) -> ModelError:
    """The same in the user's names."""
    stem = f"{what} newdata ({', '.join(data.names)}):"
    if isinstance(error, IndexError):
        return ModelError(f"{stem} {str(error).splitlines()[0]}; an index must be one of a group of the fit.")
    used = set(ancestors(graphs))
    kept = [variable.name for variable in est.model.data_vars if variable in used and variable.name not in data.names]
    remedy = f" Give the same rows of {', '.join(kept)}, too." if kept else ""
    return ModelError(
        f"{stem} the lengths do not go together with what stays as it was.{remedy} Arrays that are not in a pm.Data "
        f"keep the length they have, and so do observed variables without dims=."
    )


def _profiled(
    est: Estimate, parts: Mapping[str, _Part], errors: Mapping[str, np.ndarray], prob: float, layout: Layout
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


def _at_limit(est: Estimate, function: Callable[[np.ndarray], np.ndarray], slopes: np.ndarray) -> np.ndarray:
    """Which values lie at the limit that an estimate approaches, or have no meaning there."""
    special, x = est._scales.special, est._optimum.x
    if not special.drift.size:
        return np.zeros(len(slopes), dtype=bool)
    return pinned_at_limit(function, slopes, x, special.drift, est._basis) | without_limit(function, x, special)


def _errors(est: Estimate, part: _Part, covariance: np.ndarray) -> np.ndarray:
    """Standard errors by the delta method, NaN where the data do not determine the value."""
    variances = np.einsum("ij,jk,ik->i", part.slopes, covariance, part.slopes) + part.conditional
    known = determined(part.slopes, -est._optimum.hessian, est.cov(scale="unconstrained").values)
    # A constant has no error
    is_constant = ~part.slopes.any(axis=1) & (np.asarray(part.conditional) == 0) & ~part.withheld
    known &= ~part.withheld
    errors = np.where(known, np.sqrt(np.maximum(variances, 0.0)), np.where(is_constant, 0.0, np.nan))
    return errors.reshape(part.value.shape)


def _normal_quantiles(prob: float) -> np.ndarray:
    return ndtri((1 - prob) / 2) * np.array([1.0, -1.0])


def _linked(part: _Part, errors: np.ndarray, z: np.ndarray) -> np.ndarray:
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


def _draws(est: Estimate, data: NewData, points: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A set of observations for each vector."""
    draw = simulator(est._objective, data.replacements)
    try:
        sets = [draw(rng, x) for x in points]
    except _UNFIT as error:
        if not data.names or isinstance(error, ModelError):
            raise
        raise _misfit(est, "Nothing can be drawn at", data, est.model.observed_RVs, error) from error
    return {name: np.stack([drawn[name] for drawn in sets]) for name in sets[0]}


def _quantiles(drawn: np.ndarray, prob: float, method: Any = "linear") -> np.ndarray:
    """The equal-tailed interval of draws along their first axis, of whole numbers for counts."""
    if drawn.dtype.kind in "iub":
        method = "inverted_cdf"
    return np.quantile(drawn, [(1 - prob) / 2, (1 + prob) / 2], axis=0, method=method)


def _dataset(layout: Layout, arrays: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Arrays by name with their dims and coords."""
    return layout.dataset(np.concatenate([np.zeros(0), *(np.ravel(arrays[name]) for name in layout.names)]))
