"""Confidence intervals, for every labelled scalar of an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from mle_pp.conventions import one_of, probability, select
from mle_pp.intervals.wald import wald_quantiles

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

KINDS = ("wald",)


def interval(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    *,
    kind: str = "wald",
    ci_prob: float | None = None,
) -> xr.Dataset:
    """Confidence intervals of parameters and `Deterministic`s.

    Parameters
    ----------
    est : Estimate
    var_names : str or list of str, optional
        Default: all parameters and `Deterministic`s. A name with ``~`` in front is left out.
    kind : {"wald"}
        "wald": the normal approximation (Wald 1943), on a scale where it is a good one.
    ci_prob : float, optional
        Default: ArviZ's ``rcParams["stats.ci_prob"]``, so that estimate and posterior show the same probability.

    Returns
    -------
    xr.Dataset
        On the user's scale, in the shape of each variable with a last dim ``ci_bound`` = "lower", "upper". NaN for
        scalars without a standard error: not identified, or at a limit.

    Raises
    ------
    ValueError
        An unknown `kind`, or `ci_prob` not between 0 and 1.
    KeyError
        An unknown name in `var_names`.

    Notes
    -----
    The scale is that of the variable's own transform where it acts element by element (log for a standard deviation,
    logit for a probability). Elements of a simplex use the delta method on the logit, those of an ordered vector on
    their own scale, those of a Cholesky factor on the log (diagonal) or their own scale (off it). `Deterministic`s use
    their own scale, but the log and atanh for the standard deviations and correlations that ``pm.LKJCholeskyCov``
    derives.

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
    found = wald(est, probability(ci_prob))
    return found[select(found, var_names)]


def wald(est: Estimate, ci_prob: float, kind: str = "hessian", groups: Any = None) -> xr.Dataset:
    """Wald intervals of all scalars, from a covariance of this kind."""
    z = -ndtri((1 - ci_prob) / 2)
    return as_dataset(est, *wald_quantiles(est, np.array([-z, z]), kind, groups), "ci_bound", ["lower", "upper"])


def as_dataset(est: Estimate, params: np.ndarray, derived: np.ndarray, dim: str, coord: Sequence) -> xr.Dataset:
    """Rows of scalars as variables with a last dim `dim`."""
    rows = [est._layout.dataset(p).merge(est._derived_layout.dataset(d)) for p, d in zip(params, derived, strict=True)]
    return xr.concat(rows, dim=xr.DataArray(list(coord), dims=dim, name=dim)).transpose(..., dim)
