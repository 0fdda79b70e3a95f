"""The bootstrap and the jackknife."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mle_pp.conventions import choose, one_of, probability, whole
from mle_pp.errors import ModelError, VerdictWarning
from mle_pp.estimate import Estimate
from mle_pp.parameters import Parameters
from mle_pp.predictive import simulator
from mle_pp.resample import schemes
from mle_pp.resample.execute import Journal, digest, header_of, run_blocks
from mle_pp.resample.limits import INTERVALS, acceleration, bootstrap_limits, fewest
from mle_pp.resample.refit import Refit, Refitter, by_data, by_weights
from mle_pp.verdict import Status

KINDS = ("parametric", "rows", "clusters", "bayesian")


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap:
    """Replicates of an estimate, made by `bootstrap`.

    Attributes
    ----------
    estimate : Estimate
        What was resampled.
    kind : str
        "parametric", "rows", "clusters" or "bayesian".
    draws : xr.Dataset
        Parameters and `Deterministic`s of every refit on the user's scale, with dims ``chain``, ``draw`` and their
        own. NaN for refits without a maximum, infinite where one lies at infinity.
    status : pd.DataFrame
        A row a refit: ``status`` (as in `Verdict`), ``loglik`` (with kept priors, where there are any), ``decrement``
        (the Newton decrement: the log-likelihood still to be gained).
    seed : int or list of int
        What the replicates were drawn from.
    """

    estimate: Estimate
    kind: str
    draws: xr.Dataset
    status: pd.DataFrame
    seed: int | list[int]
    _x: np.ndarray = field(metadata={"private": True})
    _groups: Any = field(metadata={"private": True})
    _executor: Executor | None = field(metadata={"private": True})

    @property
    def n_failed(self) -> int:
        """Refits that found no maximum."""
        return int(sum(Status(status).is_failure for status in self.status["status"]))

    def stderr(self) -> xr.Dataset:
        """Standard deviations of the draws, without those of refits that found no maximum."""
        return self._finite("standard error").std(("chain", "draw"), ddof=1)

    def bias(self) -> xr.Dataset:
        """Means of the draws less the estimate."""
        center = self.estimate.params.merge(self.estimate.derived)
        return self._finite("bias").mean(("chain", "draw")) - center

    def interval(
        self, var_names: str | Sequence[str] | None = None, kind: str = "percentile", ci_prob: float | None = None
    ) -> xr.Dataset:
        """Bootstrap intervals.

        Parameters
        ----------
        var_names : str or list of str, optional
            Names of variables, or labels of single elements. Default: all parameters and `Deterministic`s.
        kind : {"percentile", "basic", "bca"}
            Quantiles of the draws; of the draws reflected at the estimate, on the scale of the Wald interval's link;
            or corrected for bias and acceleration (Efron 1987), which needs a likelihood with rows, and a refit
            without each of them (the jackknife).
        ci_prob : float, optional
            Default: ArviZ's ``rcParams["stats.ci_prob"]``.

        Returns
        -------
        xr.Dataset
            On the user's scale, with a last dim ``ci_bound`` = "lower", "upper". NaN for scalars without a standard
            error (`Estimate.verdict` says why).

        Raises
        ------
        ValueError
            An unknown `kind`, or `ci_prob` not between 0 and 1.
        KeyError
            An unknown name in `var_names`.
        ModelError
            "bca" where the likelihood has no rows.

        Notes
        -----
        Refits that found no maximum are left out; a warning tells how many, and `status` which.

        References
        ----------
        Davison and Hinkley (1997), "Bootstrap Methods and their Application", chapter 5.
        """
        one_of("kind", kind, INTERVALS)
        prob = probability(ci_prob)
        est = self.estimate
        entries = (*est._layout, *est._derived_layout)
        choose(est.params.merge(est.derived), entries, var_names)
        values, usable = self._values(), self._usable(prob)
        speed = None
        if kind == "bca":
            with warnings.catch_warnings():
                # What it would say the bootstrap has said
                warnings.simplefilter("ignore", VerdictWarning)
                speed = acceleration(jackknife(est, groups=self._groups, executor=self._executor, progressbar=False))
        limits = bootstrap_limits(est, values[usable], self._x[usable], kind, prob, speed)
        found = _as_dataset(est, limits, {"ci_bound": ["lower", "upper"]})
        return choose(found.transpose(..., "ci_bound"), entries, var_names)

    def to_datatree(self, group: str = "posterior") -> xr.DataTree:
        """The draws as ArviZ takes them: ``az.summary(boot.to_datatree())``.

        Parameters
        ----------
        group : str
            The group's name. ArviZ's functions read "posterior" unless told otherwise; the draws are of the sampling
            distribution of the estimate, which the group's attributes say.

        Notes
        -----
        Refits that found no maximum have no draws to show and are left out; how many is in the attribute ``n_failed``.
        """
        attrs = {
            "inference_library": "mle_pp",
            "bootstrap": self.kind,
            "n_refits": len(self.status),
            "n_failed": self.n_failed,
        }
        kept = self.draws.isel(draw=np.flatnonzero(~self._failed))
        kept = kept.assign_coords(draw=np.arange(kept.sizes["draw"]))
        return xr.DataTree.from_dict({group: kept.assign_attrs(attrs)})

    def vectors(self, ci_prob: float) -> tuple[np.ndarray, list[str]]:
        """The refits as unconstrained vectors, those without a maximum left out, and what is to be known about them."""
        usable = self._usable(ci_prob)
        if usable.sum() < 2:
            raise ModelError(f"Of {len(usable)} refits {usable.sum()} found a maximum: there is no interval.")
        special = int((self.status["status"][usable] != Status.CONVERGED).sum())
        note = f"{special} refits are no regular maxima (.status of the bootstrap): taken where their search ended."
        return self._x[usable], [note] if special else []

    def _usable(self, ci_prob: float) -> np.ndarray:
        """Which refits an interval is made of; what it lacks is told."""
        usable = ~np.isnan(self.status["loglik"].to_numpy()) & ~self._failed
        if self.n_failed:
            warnings.warn(
                f"{self.n_failed} of {len(self.status)} refits found no maximum and are left out of the interval; "
                f"see .status.",
                VerdictWarning,
                stacklevel=3,
            )
        needed = fewest(ci_prob)
        if usable.sum() < needed:
            warnings.warn(
                f"{usable.sum()} refits are too few for a {100 * ci_prob:g} % interval, whose ends are then the lowest "
                f"and the highest of them: take n={needed} at least.",
                VerdictWarning,
                stacklevel=3,
            )
        return usable

    @property
    def _failed(self) -> np.ndarray:
        return np.array([Status(status).is_failure for status in self.status["status"]], dtype=bool)

    def _finite(self, what: str) -> xr.Dataset:
        """The draws, those of a scalar NaN where some are infinite; which is said."""
        present = self._present(self.draws)
        infinite = present.map(np.isinf)
        refits = ("chain", "draw")
        counts = {
            name: int(infinite[name].any([dim for dim in infinite[name].dims if dim not in refits]).sum())
            for name in present.data_vars
        }
        told = [f"{name} in {count}" for name, count in counts.items() if count]
        if told:
            warnings.warn(
                f"Of {present.sizes['draw'] * present.sizes['chain']} refits some are infinite ({', '.join(told)}): "
                f"there is no {what}; quantiles exist, see interval().",
                VerdictWarning,
                stacklevel=3,
            )
        return present.where(~infinite.any(refits))

    def _present(self, draws: xr.Dataset) -> xr.Dataset:
        return draws.isel(draw=np.flatnonzero(~self._failed))

    def _values(self) -> np.ndarray:
        """All scalars of all draws, shape (n, scalars)."""
        layouts = (self.estimate._layout, self.estimate._derived_layout)
        parts = [
            self.draws[entry.name].values.reshape(len(self.status), entry.size)
            for layout in layouts
            for entry in layout
        ]
        return np.concatenate([np.zeros((len(self.status), 0)), *parts], axis=1)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.status["status"].value_counts().items())
        return f"Bootstrap({self.kind}, {len(self.status)} refits: {counts})"

    def _repr_html_(self) -> str:
        return f"<div>{escape(repr(self))}{self.draws._repr_html_()}</div>"


@dataclass(frozen=True, eq=False, repr=False)
class Jackknife:
    """An estimate without each of its rows (or clusters) in turn, made by `jackknife`.

    Attributes
    ----------
    estimate : Estimate
    draws : xr.Dataset
        As in `Bootstrap`: a draw for each row left out.
    status : pd.DataFrame
        As in `Bootstrap`.
    bias, stderr : xr.Dataset
        Of parameters and `Deterministic`s (Quenouille 1956, Tukey 1958).
    """

    estimate: Estimate
    draws: xr.Dataset
    status: pd.DataFrame
    bias: xr.Dataset
    stderr: xr.Dataset
    influence: np.ndarray = field(metadata={"private": True})

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.status["status"].value_counts().items())
        return f"Jackknife({len(self.status)} refits: {counts})"


def bootstrap(
    est: Estimate,
    n: int = 1000,
    kind: str = "parametric",
    groups: Any = None,
    *,
    executor: Executor | None = None,
    path: str | os.PathLike[str] | None = None,
    random_seed: Any = None,
    progressbar: bool = True,
) -> Bootstrap:
    """Refit an estimate to resampled data: its distribution over samples, without formulas.

    Parameters
    ----------
    est : Estimate
        From `find_MLE` or `find_MAP`.
    n : int
        Number of refits.
    kind : {"parametric", "rows", "clusters", "bayesian"}
        Data simulated from the model at the estimate; rows drawn with replacement; clusters of rows drawn with
        replacement; Dirichlet weights on rows (on clusters, if `groups` is given). Sets of rows that do not belong
        together (observed variables that share no dim) are resampled each by itself. Where variables were integrated,
        rows that share latent variables are drawn together, as one.
    groups : array_like, DataArray or mapping, optional
        The cluster of each row, in the order of the data or labelled.
    executor : concurrent.futures.Executor, optional
        Where refits run: a process pool, Dask's ``client.get_executor()``, an ``MPIPoolExecutor``. Default: in this
        process, with worker processes on the other cores where the work is worth starting them.
    path : path-like, optional
        A file to which refits are written as they are done. A run that is killed goes on from there when it is called
        again, and gives the same numbers as if it had not been.
    random_seed : int, sequence of int, Generator or None
        None: a fixed seed, so that results repeat.
    progressbar : bool

    Returns
    -------
    Bootstrap
        With `draws`, `status`, and `interval`.

    Raises
    ------
    ValueError
        An argument is not one of those above.
    ModelError
        The estimate has no bootstrap distribution (IRREGULAR, or no maximum); the likelihood has no rows (then use
        "parametric"), or nothing can be drawn from it; `groups` do not fit; `path` holds another run.

    Notes
    -----
    Each refit is a maximum of its own likelihood, from the estimate, by Newton's method on the exact Hessian, to a
    Newton decrement below 1e-12; refits that this does not take to a regular maximum get the diagnosis that any fit
    gets, and stay in the result with their status. Replicate k depends on the seed and on k only.

    Where the estimate lies on the edge of its space or at infinity, no bootstrap is consistent (Andrews 2000): a
    warning says so.

    References
    ----------
    Efron and Tibshirani (1993), "An Introduction to the Bootstrap".
    Rubin (1981), "The Bayesian bootstrap", Annals of Statistics 9, 130-134.
    Andrews (2000), "Inconsistency of the bootstrap when a parameter is on the boundary of the parameter space",
    Econometrica 68, 399-405.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> boot = mle.bootstrap(mle.find_MLE(model), n=2000, kind="rows", random_seed=1, progressbar=False)
    >>> round(float(boot.stderr()["mu"]), 1)  # √(14/4 / 4) = 0.94, whatever the model says
    0.9
    """
    one_of("kind", kind, KINDS)
    n = whole("n", n)
    if groups is not None and kind not in ("clusters", "bayesian"):
        raise ValueError(f'groups are for kind="clusters" or "bayesian", not kind={kind!r}.')
    _refuse(est)
    seed = schemes.entropy(random_seed)
    refitter, draw = _scheme(est, kind, groups)
    _warn_at_limit(est)
    header = header_of(est, refitter, {"kind": kind, "n": n, "seed": seed, "groups": digest(groups)})
    label = f"Bootstrap ({kind})"

    def inputs(replicates: range, x: np.ndarray) -> list[np.ndarray]:
        return stacked([draw(schemes.generator(seed, k), x) for k in replicates])

    refits = _refits(refitter, n, inputs, executor, path, header, label, progressbar)
    if est.verdict.ok:
        _tell(refits)
    return Bootstrap(est, kind, *_tables(est, refits), seed, np.array([r.x for r in refits]), groups, executor)


def jackknife(
    est: Estimate,
    groups: Any = None,
    *,
    executor: Executor | None = None,
    path: str | os.PathLike[str] | None = None,
    progressbar: bool = True,
) -> Jackknife:
    """Refit without each row, or each cluster, in turn: bias and standard errors, and how far each row pulls.

    Parameters
    ----------
    est : Estimate
    groups : array_like, DataArray or mapping, optional
        The cluster of each row, to leave out whole clusters.
    executor, path, progressbar
        As for `bootstrap`.

    Returns
    -------
    Jackknife
        With `draws`, `bias` and `stderr`.

    Raises
    ------
    ModelError
        As for `bootstrap`; also where the case weights are no counts.

    References
    ----------
    Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 11.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> jack = mle.jackknife(mle.find_MLE(model), progressbar=False)
    >>> round(float(jack.stderr["mu"]), 4)  # √(14/3 / 4)
    1.0801
    """
    _refuse(est)
    rows = est._objective.axes
    rows.require("The jackknife")
    base = _base(est)
    index = None if groups is None else schemes.cluster_index(rows, groups)
    units, strata, times = schemes.left_out(rows, base, index)
    if not units:
        raise ModelError("The jackknife leaves out one row at a time, and there is only one.")
    _warn_at_limit(est)
    refitter = by_weights(est)
    header = header_of(est, refitter, {"kind": "jackknife", "n": len(units), "groups": digest(groups)})

    def inputs(replicates: range, x: np.ndarray) -> list[np.ndarray]:
        return stacked([[base - units[k]] for k in replicates])

    refits = _refits(refitter, len(units), inputs, executor, path, header, "Jackknife", progressbar)
    draws, status = _tables(est, refits)
    values = np.array([scalars_of(est._objective.parameters, refit) for refit in refits])
    center = np.concatenate([est._layout.vector(est.params), est._derived_layout.vector(est.derived)])
    bias, variance = np.zeros_like(center), np.zeros_like(center)
    influence = np.zeros_like(values)
    # Of what is infinite in some refit there is neither bias nor variance: NaN
    with np.errstate(invalid="ignore"):
        for stratum in np.unique(strata):
            own = strata == stratum
            count = times[own].sum()
            mean = times[own] @ values[own] / count
            bias += (count - 1) * (mean - center)
            variance += (count - 1) / count * (times[own] @ (values[own] - mean) ** 2)
            influence[own] = (count - 1) / count * (mean - values[own])
        moments = np.stack([times @ influence**2, times @ influence**3])
    return Jackknife(est, draws, status, _named(est, bias), _named(est, np.sqrt(variance)), moments)


# -- what both need -----------------------------------------------------------------------------------------------

_Draw = Callable[[np.random.Generator, np.ndarray], Sequence[np.ndarray]]


def _scheme(est: Estimate, kind: str, groups: Any) -> tuple[Refitter, _Draw]:
    """What is refitted, and what is drawn for each refit: from a generator and the estimate to the refit's inputs."""
    if kind == "parametric":
        if est._objective.weights is not None:
            raise ModelError(
                "The estimate has case weights, and simulated data have none: repeat the rows instead, or resample "
                'them (kind="rows").'
            )
        refitter, names = by_data(est)
        simulate = simulator(est._objective)

        def draw_data(rng: np.random.Generator, x: np.ndarray) -> list[np.ndarray]:
            drawn = simulate(rng, x)
            return [np.asarray(drawn[name], dtype=dtype) for name, dtype in zip(names, refitter.dtypes, strict=True)]

        return refitter, draw_data
    rows, base = est._objective.axes, _base(est)
    rows.require(f"bootstrap(kind={kind!r})")
    index = schemes.cluster_index(rows, groups) if groups is not None or kind == "clusters" else None
    if kind == "rows":
        draw = schemes.resampled_rows(rows, base)
    elif kind == "clusters":
        assert index is not None
        draw = schemes.resampled_clusters(index, base)
    else:
        draw = schemes.bayesian(rows, base, index)
    return by_weights(est), lambda rng, x: [draw(rng)]


def _base(est: Estimate) -> np.ndarray:
    """The case weights; ones where there are none."""
    weights = est._objective.weights
    return np.ones(est._objective.axes.size) if weights is None else weights


def stacked(replicates: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """One array for each input, with an axis of replicates in front."""
    return [np.stack(arrays) for arrays in zip(*replicates, strict=True)]


def _refuse(est: Estimate) -> None:
    """Estimates whose sampling distribution no resampling finds."""
    status = est.verdict.status
    if status.is_failure:
        raise ModelError(f"{status}: there is no maximum to resample.")
    if status is Status.IRREGULAR:
        raise ModelError(
            "IRREGULAR: the bootstrap is not consistent where the likelihood is not smooth at its maximum (Bickel and "
            "Freedman 1981), so none is made."
        )


def _warn_at_limit(est: Estimate) -> None:
    """Estimates some of whose scalars have a distribution that no resampling finds."""
    if not est.verdict.ok:
        warnings.warn(
            f"{est.verdict.status}: the bootstrap does not find the distribution of scalars that are at a limit or not "
            f"identified, nor that of scalars that depend on them (Andrews 2000).",
            VerdictWarning,
            stacklevel=3,
        )


def _tell(refits: Sequence[Refit]) -> None:
    """Warn of refits that are no regular maxima, though the estimate is one."""
    special = Counter(str(refit.status) for refit in refits if refit.status is not Status.CONVERGED)
    if special:
        warnings.warn(
            f"{special.total()} of {len(refits)} refits are no regular maxima: "
            f"{', '.join(f'{count} {status}' for status, count in special.most_common())}. See .status.",
            VerdictWarning,
            stacklevel=3,
        )


def _refits(
    refitter: Refitter,
    n: int,
    inputs: Callable[[range, np.ndarray], list[np.ndarray]],
    executor: Executor | None,
    path: str | os.PathLike[str] | None,
    header: Mapping[str, Any],
    label: str,
    progressbar: bool,
) -> list[Refit]:
    """All refits, in order, through the journal."""
    blocks = blocks_of(refitter, n)
    with Journal(path, header, ("estimate", "information")) as journal:
        # A resumed run goes on from the very numbers it began with
        refitter.restart(np.array(journal.header["estimate"]), np.array(journal.header["information"]))
        found = run_blocks(
            _Fit(refitter),
            {block: len(replicates) for block, replicates in blocks.items()},
            lambda block: inputs(blocks[block], refitter.start),
            executor,
            journal,
            label,
            progressbar,
        )
    return [Refit.from_record(record) for block in blocks for record in found[block]]


def blocks_of(refitter: Refitter, n: int, most: int | None = None) -> dict[int, range]:
    """The replicates of each block: those that are refitted together, and kept together."""
    size = min(refitter.together, most or n)
    return {block: range(block * size, min(n, (block + 1) * size)) for block in range(-(-n // size))}


class _Fit:
    """The task of a worker: from the inputs of some replicates to records of their refits."""

    def __init__(self, refitter: Refitter) -> None:
        self._refitter = refitter

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[list[Any]]:
        return [refit.record() for refit in self._refitter.fit(inputs)]


# -- tables -------------------------------------------------------------------------------------------------------


def scalars_of(parameters: Parameters, refit: Refit) -> np.ndarray:
    """Constrained parameters and `Deterministic`s of a refit, flat."""
    if refit.values is not None:
        return refit.values
    return np.concatenate([parameters.constrained(refit.x), parameters.derived(refit.x)])


def _tables(est: Estimate, refits: Sequence[Refit]) -> tuple[xr.Dataset, pd.DataFrame]:
    """Draws and statuses."""
    values = np.array([scalars_of(est._objective.parameters, refit) for refit in refits])
    draws = _as_dataset(est, values[None], {"chain": [0], "draw": np.arange(len(refits))})
    columns = {
        "status": [str(refit.status) for refit in refits],
        "loglik": [refit.value if np.isfinite(refit.value) else np.nan for refit in refits],
        "decrement": [refit.decrement for refit in refits],
    }
    return draws, pd.DataFrame(columns, index=pd.RangeIndex(len(refits), name="draw"))


def _as_dataset(est: Estimate, values: np.ndarray, leading: Mapping[str, Any]) -> xr.Dataset:
    """All scalars along the last axis, as named variables with the other axes in front."""
    variables, coords, start = {}, dict(leading), 0
    for entry in (*est._layout, *est._derived_layout):
        piece = values[..., start : start + entry.size].reshape((*values.shape[:-1], *entry.shape))
        variables[entry.name] = ((*leading, *entry.dims), piece)
        coords.update({dim: list(labels) for dim, labels in zip(entry.dims, entry.coords, strict=True)})
        start += entry.size
    return xr.Dataset(variables, coords=coords)


def _named(est: Estimate, vector: np.ndarray) -> xr.Dataset:
    """A flat vector of all scalars as named variables."""
    return _as_dataset(est, vector, {})
