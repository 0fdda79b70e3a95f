"""Confidence intervals, for every labelled scalar of an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from mle_pp.conventions import choose, one_of, probability
from mle_pp.intervals.profiles import profile_labels, warn_of_sides
from mle_pp.intervals.wald import wald_quantiles

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate
    from mle_pp.resample import Bootstrap

KINDS = ("wald", "profile", "bootstrap")
SCALES = ("unconstrained", "natural")


def interval(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    *,
    kind: str = "wald",
    ci_prob: float | None = None,
    scale: str = "unconstrained",
    bootstrap: Bootstrap | Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Confidence intervals of parameters and `Deterministic`s.

    Parameters
    ----------
    est : Estimate
    var_names : str or list of str, optional
        Names of variables, or labels of single elements (``"beta[x1]"``), which are then variables of the result.
        Default: all parameters and, but for profiles, `Deterministic`s. A name with ``~`` in front is left out.
    kind : {"wald", "profile", "bootstrap"}
        "wald": the normal approximation (Wald 1943), on a scale where it is a good one. "profile": where the profile
        likelihood falls to the χ² cutoff, see `profile`, which tells more, and also takes expressions. "bootstrap":
        quantiles of refits, see `mle_pp.bootstrap`, whose result has other bootstrap intervals, too.
    ci_prob : float, optional
        Default: ArviZ's ``rcParams["stats.ci_prob"]``, so that estimate and posterior show the same probability.
    scale : {"unconstrained", "natural"}
        Of Wald intervals: see Notes, or the user's own scale, symmetric about the estimate, on which an interval can
        reach beyond the support. Profile intervals are the same on every scale.
    bootstrap : Bootstrap or mapping, optional
        For "bootstrap": a result of `mle_pp.bootstrap`, or the arguments to call it with.

    Returns
    -------
    xr.Dataset
        On the user's scale, in the shape of each variable with a last dim ``ci_bound`` = "lower", "upper". NaN for
        scalars without a standard error: not identified, or at a limit. Profile intervals exist at limits, too.

    Warns
    -----
    ProfileWarning
        Not every side of a profile interval is a crossing of the cutoff, or a better optimum was found.

    Raises
    ------
    ValueError
        An unknown `kind` or `scale`, or `ci_prob` not between 0 and 1; a profile of what has none (see `profile`).
    KeyError
        An unknown name in `var_names`.

    Notes
    -----
    The scale of Wald intervals is that of the variable's own transform where it acts element by element (log for a
    standard deviation, logit for a probability). Elements of a simplex use the delta method on the logit, those of an
    ordered vector on their own scale, those of a Cholesky factor on the log (diagonal) or their own scale (off it).
    `Deterministic`s use the log, logit or atanh where their graph shows that they are positive (or negative), between 0
    and 1, or between -1 and 1, and for the standard deviations and correlations that ``pm.LKJCholeskyCov`` derives;
    otherwise their own scale.

    References
    ----------
    Pawitan (2001), "In All Likelihood", sections 2.9 and 4.7.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> mle.interval(mle.find_MLE(model), ci_prob=0.95)["mu"].values.round(3)
    array([1.04, 4.96])
    """
    one_of("kind", kind, KINDS)
    one_of("scale", scale, SCALES)
    prob = probability(ci_prob)
    values, entries = est.params.merge(est.derived), (*est._layout, *est._derived_layout)
    if kind == "bootstrap":
        return resampled(est, bootstrap).interval(var_names, ci_prob=prob)
    if bootstrap is not None:
        raise ValueError(f'bootstrap= is for kind="bootstrap", not kind={kind!r}.')
    if kind == "profile":
        return _profile_intervals(est, choose(est.params if var_names is None else values, entries, var_names), prob)
    found = wald_intervals(est, prob) if scale == "unconstrained" else _symmetric(values, est.stderr(), prob)
    return choose(found, entries, var_names)


def resampled(est: Estimate, given: Bootstrap | Mapping[str, Any] | None) -> Bootstrap:
    """The bootstrap that was given, or one made with these arguments."""
    from mle_pp.resample import Bootstrap, bootstrap

    made = given if isinstance(given, Bootstrap) else bootstrap(est, **dict(given or {}))
    if made.estimate is not est:
        raise ValueError("bootstrap= is of another estimate.")
    return made


def wald_intervals(est: Estimate, ci_prob: float, kind: str = "hessian", groups: Any = None) -> xr.Dataset:
    """Wald intervals of all scalars, from a covariance of this kind."""
    z = -ndtri((1 - ci_prob) / 2)
    return as_dataset(est, *wald_quantiles(est, np.array([-z, z]), kind, groups), "ci_bound", ["lower", "upper"])


def _symmetric(values: xr.Dataset, errors: xr.Dataset, ci_prob: float) -> xr.Dataset:
    """Estimates ± z standard errors."""
    z = -ndtri((1 - ci_prob) / 2)
    bounds = xr.DataArray([-z, z], coords={"ci_bound": ["lower", "upper"]}, dims="ci_bound")
    return (values + bounds * errors).transpose(..., "ci_bound")


def _profile_intervals(est: Estimate, chosen: xr.Dataset, ci_prob: float) -> xr.Dataset:
    """Profile intervals in the shapes of the variables, with a warning where a side is special."""
    layouts, names = (est._layout, est._derived_layout), [str(name) for name in chosen]
    elements = {entry.name: entry.labels for layout in layouts for entry in layout}
    labels = list(dict.fromkeys(label for name in names for label in elements.get(name, [name])))
    found = profile_labels(est, labels, ci_prob, points=0)
    warn_of_sides(est, found, stacklevel=4)
    rows = [
        [
            np.array([getattr(found[label], side) if label in found else np.nan for label in layout.labels])
            for side in ("lower", "upper")
        ]
        for layout in layouts
    ]
    params, derived = (np.array(row) for row in rows)
    dataset = as_dataset(est, params, derived, "ci_bound", ["lower", "upper"])
    return choose(dataset, [entry for layout in layouts for entry in layout], names)


def as_dataset(est: Estimate, params: np.ndarray, derived: np.ndarray, dim: str, coord: Sequence) -> xr.Dataset:
    """Rows of scalars as variables with a last dim `dim`."""
    rows = [est._layout.dataset(p).merge(est._derived_layout.dataset(d)) for p, d in zip(params, derived, strict=True)]
    return xr.concat(rows, dim=xr.DataArray(list(coord), dims=dim, name=dim)).transpose(..., dim)
