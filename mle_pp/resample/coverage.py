"""Are the intervals honest? Simulate from the estimate, refit, count how often they hold what was simulated from."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtri

from mle_pp.conventions import probability, whole
from mle_pp.errors import ModelError, VerdictWarning
from mle_pp.estimate import Estimate
from mle_pp.intervals.profiles import check_allowed, profile_labels
from mle_pp.intervals.wald import wald_quantiles
from mle_pp.predictive import Draw, simulator
from mle_pp.resample import schemes
from mle_pp.resample.execute import Journal, header_of, run_blocks
from mle_pp.resample.limits import bootstrap_limits, fewest
from mle_pp.resample.refit import Refitter, by_data
from mle_pp.resample.replicates import blocks_of, scalars_of, stacked
from mle_pp.verdict import Status

KINDS = ("wald", "profile", "bootstrap", "posterior")

# From simulated data, by the observed variables' names, to posterior draws with dims chain and draw.
Sampler = Callable[[dict[str, np.ndarray]], xr.Dataset]


@dataclass(frozen=True, eq=False, repr=False)
class Coverage:
    """How often intervals hold the value that data were simulated from, made by `coverage`.

    Attributes
    ----------
    table : pd.DataFrame
        A row a kind of interval and scalar: ``coverage`` and its Monte Carlo standard error ``mcse``, the shares of
        intervals that lie ``above`` and ``below`` the true value, the mean ``width`` and its ``width_mcse``, the number
        of ``intervals``, and of refits without one (``missing``), which do not count.
    status : dict of str to int
        How many refits ended with which status.
    limits : xr.DataArray
        All intervals, with dims ``replicate``, ``kind``, ``scalar``, ``ci_bound``.
    ci_prob : float
    """

    table: pd.DataFrame
    status: dict[str, int]
    limits: xr.DataArray
    ci_prob: float

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.status.items())
        return f"Coverage of {100 * self.ci_prob:g} % intervals; refits: {counts}\n{self.table.round(4).to_string()}"


def coverage(
    est: Estimate,
    n: int = 200,
    kinds: Sequence[str] = ("wald", "profile"),
    ci_prob: float | None = None,
    *,
    n_bootstrap: int = 199,
    posterior: Sampler | None = None,
    executor: Executor | None = None,
    path: str | os.PathLike[str] | None = None,
    random_seed: Any = None,
    progressbar: bool = True,
) -> Coverage:
    """Simulate data from the estimate, refit, and count how often intervals hold the value simulated from.

    Parameters
    ----------
    est : Estimate
        A maximum-likelihood estimate that is a regular maximum.
    n : int
        Simulated data sets. The Monte Carlo error of a coverage of 95 % is 1.5 % with 200, 0.35 % with 4,000.
    kinds : sequence of {"wald", "profile", "bootstrap", "posterior"}
        As in `interval`; "bootstrap" are percentiles of parametric refits; "posterior" needs `posterior`.
    ci_prob : float, optional
        Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    n_bootstrap : int
        Refits for each bootstrap interval.
    posterior : callable, optional
        From simulated data, a dict of arrays by the observed variables' names, to draws of the parameters, a Dataset
        with dims ``chain`` and ``draw``; it builds the model and samples it. The interval is the equal-tailed one.
    executor, path, random_seed, progressbar
        As for `bootstrap`.

    Returns
    -------
    Coverage

    Warns
    -----
    VerdictWarning
        `n_bootstrap` refits are too few for intervals of this probability.

    Raises
    ------
    ValueError
        An argument is not one of those above.
    ModelError
        The estimate is not a regular maximum, or nothing can be drawn from the model.

    Notes
    -----
    Coverage holds at the values simulated from, the estimate, and for data that come from the model. Each refit is a
    maximum of its own (see `bootstrap`), and its intervals are computed by the functions that `interval` calls.

    References
    ----------
    Morris, White and Crowther (2019), "Using simulation studies to evaluate statistical methods", Statistics in
    Medicine 38, 2074-2102.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> found = mle.coverage(mle.find_MLE(model), n=400, ci_prob=0.9, progressbar=False)
    >>> bool(abs(found.table.loc[("wald", "mu"), "coverage"] - 0.9) < 0.05)
    True
    """
    prob = probability(ci_prob)
    n, n_bootstrap = whole("n", n), whole("n_bootstrap", n_bootstrap)
    _check(est, kinds, posterior)
    if "bootstrap" in kinds and n_bootstrap < fewest(prob):
        warnings.warn(
            f"n_bootstrap={n_bootstrap} refits are too few for {100 * prob:g} % intervals, whose ends are then the "
            f"lowest and the highest of them: take {fewest(prob)} at least.",
            VerdictWarning,
            stacklevel=2,
        )
    seed = schemes.entropy(random_seed)
    refitter, names = by_data(est)
    draw = simulator(est._objective)
    settings = {"kinds": list(kinds), "ci_prob": prob, "n_bootstrap": n_bootstrap if "bootstrap" in kinds else None}
    header = header_of(est, refitter, {"kind": "coverage", "n": n, "seed": seed, **settings})
    blocks = blocks_of(refitter, n, most=10)

    def argument(block: int) -> tuple[list[int], list[np.ndarray]]:
        replicates = list(blocks[block])
        return replicates, stacked([data_of(draw, names, refitter, seed, (k,)) for k in replicates])

    with Journal(path, header, ("estimate", "information")) as journal:
        refitter.restart(np.array(journal.header["estimate"]), np.array(journal.header["information"]))
        found = run_blocks(
            _Study(refitter, names, draw, list(kinds), prob, seed, n_bootstrap, posterior),
            {block: len(replicates) for block, replicates in blocks.items()},
            argument,
            executor,
            journal,
            "Coverage",
            progressbar,
        )
    records = [record for block in blocks for record in found[block]]
    return _counted(est, list(kinds), prob, records)


def _check(est: Estimate, kinds: Sequence[str], posterior: Any) -> None:
    unknown = [kind for kind in kinds if kind not in KINDS]
    if isinstance(kinds, str) or unknown or not kinds:
        raise ValueError(f"kinds={kinds!r} is not a sequence of {', '.join(map(repr, KINDS))}.")
    if ("posterior" in kinds) != (posterior is not None):
        raise ValueError('kinds with "posterior" and the argument posterior= need each other.')
    if not est.verdict.ok:
        raise ModelError(
            f"Coverage is that of data simulated from the estimate, which is no regular maximum. {est.verdict.message}"
        )
    if est._objective.weights is not None:
        raise ModelError("The estimate has case weights, and simulated data have none: repeat the rows instead.")
    if "profile" in kinds:
        check_allowed(est, "profile")


def data_of(
    draw: Draw, names: Sequence[str], refitter: Refitter, seed: Any, key: tuple[int, ...], x: np.ndarray | None = None
) -> list[np.ndarray]:
    """Data simulated at `x`, as inputs of a refit; the randomness is that of the seed and the key."""
    drawn = draw(schemes.generator(seed, *key), refitter.start if x is None else x)
    return [np.asarray(drawn[name], dtype=dtype) for name, dtype in zip(names, refitter.dtypes, strict=True)]


class _Study:
    """The task of a worker: from simulated data sets to statuses and limits."""

    def __init__(
        self,
        refitter: Refitter,
        names: Sequence[str],
        draw: Draw,
        kinds: Sequence[str],
        prob: float,
        seed: Any,
        n_bootstrap: int,
        posterior: Sampler | None,
    ) -> None:
        self._refitter, self._names, self._draw, self._kinds = refitter, names, draw, kinds
        self._prob, self._seed, self._n_bootstrap, self._posterior = prob, seed, n_bootstrap, posterior

    def __call__(self, argument: tuple[list[int], list[np.ndarray]]) -> list[list[Any]]:
        replicates, inputs = argument
        records: list[list[Any]] = []
        for k, (replicate, refit) in enumerate(zip(replicates, self._refitter.fit(inputs), strict=True)):
            data = [array[k] for array in inputs]
            if refit.status.is_failure:
                records.append([str(refit.status), None])
                continue
            with np.errstate(all="ignore"):
                est = self._refitter.estimate(data, refit)
                limits = [getattr(self, f"_{kind}_limits")(est, data, replicate).tolist() for kind in self._kinds]
            records.append([str(refit.status), limits])
        return records

    def _wald_limits(self, est: Estimate, data: list[np.ndarray], replicate: int) -> np.ndarray:
        z = -ndtri((1 - self._prob) / 2)
        return np.concatenate(wald_quantiles(est, np.array([-z, z])), axis=1)

    def _profile_limits(self, est: Estimate, data: list[np.ndarray], replicate: int) -> np.ndarray:
        labels = est._layout.labels
        limits = np.full((2, len(labels) + est._derived_layout.size), np.nan)
        if est.verdict.status is Status.IRREGULAR:
            return limits
        found = profile_labels(est, labels, self._prob, points=0)
        limits[0, : len(labels)] = [found[label].lower for label in labels]
        limits[1, : len(labels)] = [found[label].upper for label in labels]
        return limits

    def _bootstrap_limits(self, est: Estimate, data: list[np.ndarray], replicate: int) -> np.ndarray:
        refitter, x = self._refitter, est._optimum.x
        drawn = [
            data_of(self._draw, self._names, refitter, self._seed, (replicate, b), x) for b in range(self._n_bootstrap)
        ]
        refits = [
            refit
            for begin in range(0, len(drawn), refitter.together)
            for refit in refitter.fit(stacked(drawn[begin : begin + refitter.together]))
            if not refit.status.is_failure
        ]
        values = np.array([scalars_of(refitter.parameters, refit) for refit in refits])
        return bootstrap_limits(est, values, np.array([r.x for r in refits]), "percentile", self._prob, None)

    def _posterior_limits(self, est: Estimate, data: list[np.ndarray], replicate: int) -> np.ndarray:
        assert self._posterior is not None
        draws = self._posterior(dict(zip(self._names, data, strict=True)))
        tails = [(1 - self._prob) / 2, (1 + self._prob) / 2]
        columns = []
        for entry in (*est._layout, *est._derived_layout):
            if entry.name not in draws:
                columns.append(np.full((2, entry.size), np.nan))
                continue
            array = draws[entry.name].transpose("chain", "draw", ...).values
            columns.append(np.quantile(array, tails, axis=(0, 1)).reshape(2, entry.size))
        return np.concatenate(columns, axis=1)


def _counted(est: Estimate, kinds: list[str], prob: float, records: Sequence[Sequence[Any]]) -> Coverage:
    """The table."""
    labels = [*est._layout.labels, *est._derived_layout.labels]
    nothing = np.full((len(kinds), 2, len(labels)), np.nan)
    limits = np.array([nothing if found is None else found for _, found in records])
    truth = np.concatenate([est._layout.vector(est.params), est._derived_layout.vector(est.derived)])
    rows = {}
    for k, kind in enumerate(kinds):
        for j, label in enumerate(labels):
            lower, upper = limits[:, k, 0, j], limits[:, k, 1, j]
            made = ~(np.isnan(lower) | np.isnan(upper))
            if kind != "profile" or j < est._layout.size:
                rows[kind, label] = _row(truth[j], lower[made], upper[made], len(records))
    index = pd.MultiIndex.from_tuples(list(rows), names=["kind", "scalar"])
    array = xr.DataArray(
        limits.transpose(0, 1, 3, 2),
        dims=("replicate", "kind", "scalar", "ci_bound"),
        coords={"kind": kinds, "scalar": labels, "ci_bound": ["lower", "upper"]},
    )
    counts = Counter(status for status, _ in records)
    return Coverage(pd.DataFrame(list(rows.values()), index=index), dict(counts.most_common()), array, prob)


def _row(truth: float, lower: np.ndarray, upper: np.ndarray, n: int) -> dict[str, float]:
    """What one kind of interval of one scalar did; all NaN where there is no interval."""
    count = len(lower)
    above, below = (lower > truth).sum() / max(count, 1), (upper < truth).sum() / max(count, 1)
    covered, width = 1 - above - below, upper - lower
    some = np.nan if count == 0 else 1.0
    return {
        "coverage": some * covered,
        "mcse": some * np.sqrt(covered * (1 - covered) / max(count, 1)),
        "above": some * above,
        "below": some * below,
        "width": width.mean() if count else np.nan,
        "width_mcse": width.std(ddof=1) / np.sqrt(count) if count > 1 and np.isfinite(width).all() else np.nan,
        "intervals": count,
        "missing": n - count,
    }
