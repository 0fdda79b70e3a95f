"""What a fitted model says about rows: its `Deterministic`s, the mean of what is observed, and draws of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable
from scipy.special import expit, logit, ndtri

from mle_pp import backends
from mle_pp.conventions import bounds as columns
from mle_pp.conventions import one_of, probability, select
from mle_pp.derivatives import Jacobian
from mle_pp.errors import ModelError
from mle_pp.information import determined, pinned_at_limit, without_limit
from mle_pp.layout import Layout, make_layout
from mle_pp.newdata import NewData, refuse_stale, replaced_data
from mle_pp.predictive import Draw, at_vector, expected_value, mean_bounds, normal_scale, simulator
from mle_pp.supports import graph_bounds

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

INTERVALS = ("confidence", "prediction")


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Predictions of a fitted model.

    Attributes
    ----------
    value : xr.Dataset
        `Deterministic`s, and the mean of observed variables, in their own dims.
    se : xr.Dataset
        Standard errors of these, by the delta method. NaN where the data do not determine the value.
    interval : xr.Dataset
        With a last dim ``ci_bound`` = "lower", "upper": for the value, or for a new observation.
    kind : str
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
    ci_prob: float
    notes: tuple[str, ...]
    _layout: Layout

    def to_frame(self) -> pd.DataFrame:
        """A row a labelled scalar (``mean[3]``), with columns ``value, se`` and, say, ``confidence89_lb, ..._ub``."""
        lower, upper = columns(self.kind, self.ci_prob)
        parts = {
            "value": self.value,
            "se": self.se,
            lower: self.interval.sel(ci_bound="lower"),
            upper: self.interval.sel(ci_bound="upper"),
        }
        return pd.DataFrame(
            {name: self._layout.vector(part) for name, part in parts.items()}, index=self._layout.labels
        )

    def __repr__(self) -> str:
        notes = "".join(f"\n- {note}" for note in self.notes)
        frame = self.to_frame().to_string(float_format="{:.4g}".format, max_rows=20)
        return f"Predictions with {self.kind} intervals of probability {self.ci_prob:g}\n{frame}{notes}"

    def _repr_html_(self) -> str:
        notes = "".join(f"<div><small>{note}</small></div>" for note in self.notes)
        frame = self.to_frame().to_html(border=0, float_format="{:.4g}".format, max_rows=20)
        return f"<div><p>Predictions with {self.kind} intervals of probability {self.ci_prob:g}</p>{frame}{notes}</div>"


def predict(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    newdata: Any = None,
    ci_prob: float | None = None,
    *,
    interval: str = "confidence",
    coords: Mapping[str, Sequence[Any]] | None = None,
    kind: str = "hessian",
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
        container are left aside; its index labels the rows.
    ci_prob : float, optional
        Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    interval : {"confidence", "prediction"}
        For the value itself, or for a new observation.
    coords : mapping of str to sequence, optional
        Labels of the new rows. Default: they are counted.
    kind, groups : optional
        Which covariance, as for `Estimate.cov`.
    n : int
        Number of simulated observations behind prediction intervals of variables that are not normal.
    random_seed : int, Generator or None
        Of these.

    Returns
    -------
    Prediction
        With the Datasets ``value``, ``se`` and ``interval``.

    Raises
    ------
    ModelError
        The model has no `pm.Data` to exchange; new data with unknown names, NaN or lengths that do not agree.
    KeyError
        An unknown name in `var_names`.

    Notes
    -----
    Confidence intervals are Wald intervals on a scale on which the value is not bounded, mapped back: the logit of
    (value − lower) / (upper − lower) where it has two bounds, the log of its distance where it has one, its own scale
    otherwise. Bounds are those of the graph (a `Deterministic` that is an ``exp`` is positive) and, for a mean, of
    the observed family (positive for a Poisson variable, between 0 and 1 for a Bernoulli variable).

    Prediction intervals contain the uncertainty about the parameters, too: N(μ̂, σ̂² + se(μ̂)²) for a normal variable;
    for any other, quantiles of observations simulated with parameters from their asymptotic normal distribution on
    the unconstrained scale.

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
    prob = probability(ci_prob)
    data = replaced_data(est._objective, newdata, coords)
    graphs, notes = _chosen(est, var_names, interval)
    refuse_stale(est._objective, data, [est.model[name] for name in graphs])
    covariance = _covariance(est, kind, groups)
    parts = {name: _part(est, name, graph, data) for name, graph in graphs.items() if graph is not None}
    errors = {name: _errors(est, part, covariance) for name, part in parts.items()}
    values = {name: part.value for name, part in parts.items()}
    z = -ndtri((1 - prob) / 2) * np.array([-1.0, 1.0])
    if interval == "confidence":
        limits = {name: _linked(part, errors[name], z) for name, part in parts.items()}
    else:
        spreads = {name: np.hypot(errors[name], part.scale) for name, part in parts.items() if part.scale is not None}
        limits = {name: values[name] + np.multiply.outer(z, spread) for name, spread in spreads.items()}
        simulated = [name for name in graphs if name not in spreads]
        drawn = _draws(est, data, n, random_seed, covariance) if simulated else {}
        for name in simulated:
            limits[name] = _quantiles(drawn[name], prob)
            values.setdefault(name, drawn[name].mean(axis=0))
            errors.setdefault(name, np.full(drawn[name].shape[1:], np.nan))
    shapes = {name: np.shape(values[name]) for name in graphs}
    layout = make_layout(shapes, est.model.named_vars_to_dims, data.coords)
    ends = [_dataset(layout, {name: limit[k] for name, limit in limits.items()}) for k in (0, 1)]
    return Prediction(
        value=_dataset(layout, values),
        se=_dataset(layout, errors),
        interval=xr.concat(ends, dim=xr.DataArray(["lower", "upper"], dims="ci_bound", name="ci_bound")).transpose(
            ..., "ci_bound"
        ),
        kind=interval,
        ci_prob=prob,
        notes=tuple(notes),
        _layout=layout,
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
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n={n!r} is not a positive number of data sets.")
    data = replaced_data(est._objective, newdata, coords)
    refuse_stale(est._objective, data, est.model.observed_RVs)
    drawn = _draws(est, data, n, random_seed, _covariance(est) if uncertainty else None)
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
    """

    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    slopes: np.ndarray
    withheld: np.ndarray
    scale: np.ndarray | None


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
            held = at_vector(objective, graphs, data.replacements, hold_observed=True)
            value, *others = backends.simplify([pt.cast(backends.as_tensor(g), "float64") for g in held])
            ends = [pt.as_tensor(end) for end in graph_bounds([value], objective.parameters.x)[0]]
            function = backends.build([objective.parameters.x], [value, *ends, *others])
            slopes = Jacobian(value.ravel(), objective.parameters.x)(x)
            found, lower, upper, *rest = function(x)
        like = np.zeros_like(found)
        if is_observed:
            lower, upper = np.maximum(lower, rest[0]), np.minimum(upper, rest[1])
        withheld = _at_limit(est, lambda z: function(z)[0].ravel().astype(float), slopes)
        return _Part(found, lower + like, upper + like, slopes, withheld, None if scale is None else rest[2] + like)
    except (ValueError, IndexError, TypeError, AssertionError) as error:
        if not data.names:
            raise
        raise ModelError(
            f"{name} cannot be computed from newdata ({', '.join(data.names)}): {str(error).splitlines()[0]} Arrays "
            f"that are not in a pm.Data keep the length they have; an index must be one of a group of the fit."
        ) from error


def _at_limit(est: Estimate, function: Callable[[np.ndarray], np.ndarray], slopes: np.ndarray) -> np.ndarray:
    """Which values lie at the limit that an estimate approaches, or have no meaning there."""
    special, x = est._scales.special, est._optimum.x
    if not special.drift.size:
        return np.zeros(len(slopes), dtype=bool)
    return pinned_at_limit(function, slopes, x, special.drift, est._basis) | without_limit(function, x, special)


def _errors(est: Estimate, part: _Part, covariance: np.ndarray) -> np.ndarray:
    """Standard errors by the delta method, NaN where the data do not determine the value."""
    variances = np.einsum("ij,jk,ik->i", part.slopes, covariance, part.slopes)
    known = determined(part.slopes, -est._optimum.hessian, est.cov(scale="unconstrained").values)
    # A constant has no error
    is_constant = ~part.slopes.any(axis=1) & ~part.withheld
    known &= ~part.withheld
    errors = np.where(known, np.sqrt(np.maximum(variances, 0.0)), np.where(is_constant, 0.0, np.nan))
    return errors.reshape(part.value.shape)


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


def _draws(
    est: Estimate, data: NewData, n: int, random_seed: Any, covariance: np.ndarray | None
) -> dict[str, np.ndarray]:
    """`n` sets of observations, at the estimate, or at parameters drawn around it with this covariance."""
    draw = simulator(est._objective, data.replacements)
    rng = np.random.default_rng(random_seed)
    points = np.broadcast_to(est._optimum.x, (n, est._optimum.x.size))
    if covariance is not None:
        if not np.all(np.isfinite(covariance)):
            raise ModelError(f"There is no covariance to draw parameters from. {est.verdict}")
        values, vectors = np.linalg.eigh(covariance)
        points = points + rng.normal(size=points.shape) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    sets = [_one_draw(draw, rng, x, data) for x in points]
    return {name: np.stack([drawn[name] for drawn in sets]) for name in sets[0]}


def _one_draw(draw: Draw, rng: np.random.Generator, x: np.ndarray, data: NewData) -> dict[str, np.ndarray]:
    try:
        return draw(rng, x)
    except (ValueError, IndexError, TypeError, AssertionError) as error:
        if not data.names or isinstance(error, ModelError):
            raise
        raise ModelError(
            f"Nothing can be drawn at newdata ({', '.join(data.names)}): {str(error).splitlines()[0]} Arrays that are "
            f"not in a pm.Data keep the length they have."
        ) from error


def _quantiles(drawn: np.ndarray, prob: float) -> np.ndarray:
    """The equal-tailed interval of draws along their first axis, of whole numbers for counts."""
    method: Any = "inverted_cdf" if drawn.dtype.kind in "iub" else "linear"
    return np.quantile(drawn, [(1 - prob) / 2, (1 + prob) / 2], axis=0, method=method)


def _dataset(layout: Layout, arrays: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Arrays by name with their dims and coords."""
    return layout.dataset(np.concatenate([np.zeros(0), *(np.ravel(arrays[name]) for name in layout.names)]))
