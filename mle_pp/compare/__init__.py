"""The estimate against the posterior of the same model and data, scalar by scalar."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from mle_pp.compare.comparison import Comparison, table
from mle_pp.compare.contrasts import contrasts, doubts_of
from mle_pp.compare.matching import SAMPLE_DIMS, layout_of, matched_posterior, quantities
from mle_pp.compare.posterior import CI_KINDS
from mle_pp.compare.reading import posterior_doubts
from mle_pp.compare.several import several, warn_of
from mle_pp.conventions import one_of, probability
from mle_pp.errors import VerdictWarning
from mle_pp.intervals import KINDS

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate
    from mle_pp.layout import Layout

__all__ = ["SAMPLE_DIMS", "Comparison", "compare", "doubts_of", "matched_posterior"]

SORTS = (None, "shift", "step", "prior_pull", "asymmetry", "width_ratio", "overlap")


def compare(
    est: Estimate | Mapping[str, Any],
    idata: Any = None,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    kind: str = "wald",
    ci_prob: float | None = None,
    ci_kind: str = "eti",
    bootstrap: Any = None,
    map_estimate: Estimate | None = None,
    sort: str | None = None,
    fmt: str = "wide",
    round_to: int | str | None = "auto",
) -> Any:
    """Estimate and posterior of the same model, side by side, and where their difference comes from.

    Parameters
    ----------
    est : Estimate or mapping of str to Estimate or DataTree
        Several at once by name, instead of `idata`: estimates, of which there must be one, posteriors, and posteriors
        under flat priors (``pm.sample(model=mle.flatten(model))``), the bridge between likelihood and posterior.
    idata : DataTree
        With a group ``posterior`` of the same model and data, as `pm.sample` returns it. Its groups
        ``observed_data`` and ``constant_data`` are compared with the data of the estimate; ``sample_stats`` tells of
        divergences, ``prior`` how much the data have narrowed each scalar.
    var_names : str or list of str, optional
        Default: all parameters, and the `Deterministic`s and integrated variables that the posterior holds. A name
        with ``~`` in front is left out.
    filter_vars : {None, "like", "regex"}
        How `var_names` are matched, as in ArviZ.
    kind : {"wald", "profile", "bootstrap"}
        The confidence interval, as for `interval`. Wald limits are in the table besides the others, too; integrated
        variables, whose estimates are conditional modes, have no others.
    ci_prob : float, optional
        Of both intervals. Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    ci_kind : {"eti", "hdi"}
        The posterior's interval: equal tails, or highest density.
    bootstrap : Bootstrap or mapping, optional
        As for `interval`.
    map_estimate : Estimate, optional
        The posterior mode. Default: `find_MAP` of the model.
    sort : {None, "shift", "prior_pull", "asymmetry", "width_ratio", "overlap", "step"}
        What differs most by this column first. None: in the model's order.
    fmt : {"wide", "long", "xarray"}
        A row a scalar; a row a statistic; a Dataset with a dim ``summary``.
    round_to : int, "auto" or "none"
        As in ArviZ: "auto" keeps the numbers and shows as many digits as their errors warrant.

    Returns
    -------
    Comparison, pd.DataFrame or xr.Dataset
        For "wide" a DataFrame with a row a labelled scalar, on the user's scale, whose `~Comparison.reading` says in
        words what it shows:

        - ``mle, se, wald89_lb, wald89_ub``: the estimate, its standard error and Wald interval;
        - ``mean, mcse_mean, sd, eti89_lb, eti89_ub``: the posterior's mean, its Monte Carlo error, standard deviation
          and interval;
        - ``shift``: (mean − mle) / se, the sum of the next two;
        - ``prior_pull``: (MAP − mle) / se, what the prior does to the maximum;
        - ``asymmetry``: (mean − MAP) / se, what comes from averaging over a skewed posterior;
        - ``width_ratio``: the width of the posterior's interval over that of the confidence interval;
        - ``overlap``: the length of what is in both intervals over the length of what is in either: 1 where they are
          the same, 0 where they do not meet;
        - ``unit``: "se", or "sd" where the standard error is withheld and the posterior's standard deviation serves in
          its place for shift, prior_pull and asymmetry;
        - ``r_hat, ess_bulk``: only if one of them warns (above 1.01, below 100 a chain);
        - ``prior_mean, prior_sd``: only if `idata` holds draws of the prior.

        Of several, a row a scalar and side, with ``value`` (estimate or mean), ``error`` (standard error or standard
        deviation), ``ci89_lb, ci89_ub``, ``mcse``, ``shift`` from the first maximum-likelihood estimate, ``step`` from
        the side before, and ``unit``, for both.

        ``attrs["notes"]`` is a list of what could not be computed or checked, and why. The posterior mode depends on
        the parametrization: this is the mode on the user's scale. Texts (``unit``) are not in the other formats.

    Raises
    ------
    ModelError
        There is no posterior, or it is one of another model or of other data (the message names the variable), or the
        estimate has case weights, of which a posterior knows nothing. Draws under flat priors, where the verdict or the
        tail of the likelihood shows that there is no such posterior: the integral of the likelihood is infinite.

    Warns
    -----
    UserWarning
        `idata` holds no data, so that it cannot be checked whether the posterior is of the same ones; or the posterior
        is not to be believed: r-hat, divergences, a single chain.
    VerdictWarning
        The estimate is no maximum: its columns are NaN.

    Examples
    --------
    A normal mean with known standard deviation 2, and its exact posterior N(2.4, 0.894) under the prior N(0, 2):

    >>> import arviz as az
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> y = np.array([1.0, 2.0, 3.0, 6.0])
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 2)
    ...     _ = pm.Normal("y", mu, 2, observed=y)
    >>> draws = np.random.default_rng(0).normal(2.4, 0.8944, size=(4, 1000))
    >>> idata = az.from_dict({"posterior": {"mu": draws}, "observed_data": {"y": y}})
    >>> table = mle.compare(mle.find_MLE(model), idata, round_to=3)
    >>> table[["mle", "se", "prior_pull", "unit"]].to_dict("index")
    {'mu': {'mle': 3.0, 'se': 1.0, 'prior_pull': -0.6, 'unit': 'se'}}
    >>> table.reading()
    'The prior moved mu (-0.60 se).'
    """
    one_of("kind", kind, KINDS)
    one_of("ci_kind", ci_kind, tuple(CI_KINDS))
    one_of("fmt", fmt, ("wide", "long", "xarray"))
    one_of("sort", sort, SORTS)
    prob = probability(ci_prob)
    notes: list[str] = []
    if isinstance(est, Mapping):
        if idata is not None or map_estimate is not None:
            raise ValueError("idata= and map_estimate= belong to one estimate: put them into the mapping.")
        frame, facts, layout = several(est, var_names, filter_vars, kind, prob, ci_kind, bootstrap, notes)
        warn_of(facts, notes, stacklevel=3)
        return _formatted(frame, facts, notes, layout, sort, fmt, round_to)
    posterior, unchecked = matched_posterior(est, idata, var_names, filter_vars, quantities(est))
    if unchecked:
        warnings.warn(unchecked, UserWarning, stacklevel=2)
        notes.append(unchecked)
    frame, facts = contrasts(est, idata, posterior, kind, prob, ci_kind, map_estimate, bootstrap, notes)
    if facts["failed"]:
        warnings.warn(f"There is no estimate to compare. {facts['verdict']}", VerdictWarning, stacklevel=2)
    elif (frame["unit"] == "sd").any():
        withheld = ", ".join(frame.index[frame["unit"] == "sd"])
        notes.append(f"No standard error for {withheld}: in units of the posterior's standard deviation.")
    for doubt in posterior_doubts(frame, facts):
        warnings.warn(doubt, UserWarning, stacklevel=2)
    layout = layout_of(est, [str(name) for name in posterior.data_vars])
    return _formatted(frame, facts, notes, layout, sort, fmt, round_to)


def _formatted(
    frame: pd.DataFrame,
    facts: dict[str, Any],
    notes: list[str],
    layout: Layout,
    sort: str | None,
    fmt: str,
    round_to: int | str | None,
) -> Any:
    """The table in the order and the form that were asked for."""
    if fmt != "wide":
        stacked = _stacked(frame, layout)
        return stacked if fmt == "xarray" else stacked.to_dataframe().reset_index().set_index("summary")
    if sort is None:
        return table(frame, facts, notes, round_to)
    if sort not in frame:
        raise ValueError(f"sort={sort!r} is no column of a comparison of several: {', '.join(frame.columns)}.")
    if frame.index.nlevels == 1:
        return table(frame.iloc[_order(frame[sort], sort)], facts, notes, round_to)
    most = frame[sort].abs().groupby(level="label").max()[layout.labels]
    labels = [layout.labels[k] for k in _order(most, sort)]
    return table(frame.loc[[(label, name) for label in labels for name in facts["names"]]], facts, notes, round_to)


def _order(column: pd.Series, sort: str) -> np.ndarray:
    """Rows by how much they differ, most first, those that cannot be told last."""
    with np.errstate(all="ignore"):
        size = -column if sort == "overlap" else np.log(column).abs() if sort == "width_ratio" else column.abs()
    return np.argsort(-size.fillna(-np.inf).to_numpy(), kind="stable")


def _stacked(frame: pd.DataFrame, layout: Layout) -> xr.Dataset:
    """The numbers in the shapes of the variables, along a dim ``summary`` (and of several, ``model``)."""
    if frame.index.nlevels > 1:
        names = list(dict.fromkeys(frame.index.get_level_values("model")))
        parts = [_stacked(frame.xs(name, level="model"), layout) for name in names]
        return xr.concat(parts, dim=xr.DataArray(names, dims="model", name="model"))
    numbers = frame.select_dtypes("number")
    each = [layout.dataset(numbers[column].to_numpy()) for column in numbers]
    return xr.concat(each, dim=xr.DataArray(list(numbers.columns), dims="summary", name="summary"))
