"""`compare` on the whole gallery: every column against numpy, xarray and ArviZ, on real draws of the same models.

``python tests/benchmarks/comparison.py [--models NAME ...]`` prints, a row a model, its verdict, the processor time
of `pm.sample` (2 chains) and of `compare`, the doubts that were told, and the largest deviation of
each column: of numbers in units of the posterior's standard deviation or their own size, whichever is larger, of ratios
in units of one or their own size. ``mode`` is Newton's step from the posterior mode on PyMC's own density, in standard
errors, ``latent`` that from the conditional modes of integrated variables, ``latent_se`` the deviation of their
standard errors (see `mode_errors`). Exit status 1, and ``FAIL``, if something is off.
"""

import argparse
import logging
import os
import sys
import time
import warnings

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_threads] = "1"

import arviz as az  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pymc as pm  # noqa: E402
import xarray as xr  # noqa: E402
from pymc.blocking import DictToArrayBijection, RaveledVars  # noqa: E402
from pytensor.compile.mode import Mode  # noqa: E402
from scipy import stats  # noqa: E402

import mle_pp as mle  # noqa: E402
from models import GALLERY  # noqa: E402

CHAINS = 2
PROB = 0.89
ROUNDING = 1e-10
# Where second derivatives are differences
MODE = 1e-5
RATIOS = ("shift", "prior_pull", "asymmetry", "width_ratio", "overlap", "r_hat", "ess_bulk")
C = Mode(linker="cvm", optimizer="fast_run")


def main() -> int:
    parser = argparse.ArgumentParser(description="Every column of compare on the gallery, checked.")
    parser.add_argument("--models", nargs="*", default=list(GALLERY), choices=list(GALLERY), metavar="NAME")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pymc").setLevel(logging.ERROR)
    fine = [line(name) for name in options.models]
    return 0 if all(fine) else 1


def line(name: str) -> bool:
    """Print what came of a model; whether all is well."""
    model = GALLERY[name].build()
    try:
        est = mle.find_MLE(model)
    except (mle.ModelError, mle.EstimationError) as error:
        print(f"{name:32} no estimate: {error}", flush=True)
        return True
    idata, sampling = sampled(model, draws=1000, chains=CHAINS)
    idata["prior"] = pm.sample_prior_predictive(200, model=model, random_seed=2, compile_kwargs={"mode": C})["prior"]
    top, notes = posterior_mode(model)
    start = time.perf_counter()
    tables = {}
    for ci_kind in ("eti", "hdi"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tables[ci_kind] = mle.compare(est, idata, ci_kind=ci_kind, ci_prob=PROB, round_to="none")
        told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    seconds = (time.perf_counter() - start) / len(tables)
    found, problems = {}, []
    for ci_kind, table in tables.items():
        right, doubts = expected(est, top, idata, ci_kind)
        problems += different_shape(table, right)
        if doubts != len(told):
            problems.append(f"{len(told)} doubts told and {doubts} right: {told}")
        for column in right.columns.intersection(table.columns).drop("unit"):
            found[column] = max(found.get(column, 0.0), deviation(table, right, column))
    problems += [f"{column} is off by {value:.1e}" for column, value in found.items() if not value <= ROUNDING]
    off = mode_errors(model, est) | {f"map {what}": value for what, value in mode_errors(model, top).items()}
    problems += [f"{what} is off by {value:.1e}" for what, value in off.items() if not value <= MODE]
    numbers = ", ".join(f"{column} {value:.0e}" for column, value in {**found, **off}.items())
    print(
        f"{'FAIL' if problems else 'ok':4} {name:32} {est.verdict.status:12} {len(table):3} rows {sampling:5.1f} s "
        f"{seconds:5.2f} s  doubts {len(told)}\n     {numbers}",
        *[f"     {text}" for text in [*problems, *notes]],
        sep="\n",
        flush=True,
    )
    return not problems


def sampled(model: pm.Model, draws: int, chains: int) -> tuple[xr.DataTree, float]:
    """Draws of a model, chain after chain, and the processor time that they take, compilation included."""
    start = cpu()
    idata = pm.sample(
        draws, model=model, chains=chains, cores=1, random_seed=1, progressbar=False, compile_kwargs={"mode": C}
    )
    return idata, cpu() - start


def cpu() -> float:
    """Processor time so far, of compilers too: what else the machine does is not in it."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def posterior_mode(model: pm.Model) -> tuple[mle.Estimate | None, list[str]]:
    """`find_MAP`, or why there is none."""
    try:
        return mle.find_MAP(model), []
    except (mle.ModelError, mle.EstimationError) as error:
        return None, [f"no posterior mode: {error}"]


# -- what is right ------------------------------------------------------------------------------------------------


def expected(est, top, idata, ci_kind: str) -> tuple[pd.DataFrame, int]:
    """The table and the number of doubts, from the summary of the estimate and the draws."""
    summary = est.summary(ci_prob=PROB, round_to="none")
    modes = {} if top is None else values(top.params) | values(top.derived) | values(top.latent)
    draws, prior = ({k: v for n in group for k, v in scalars(group[n])} for group in (idata.posterior, idata.prior))
    rows = {}
    for label, (estimate, error, lower, upper) in estimates(est, summary).items():
        if label in draws:
            own = dict(zip(("mle", "se", "wald89_lb", "wald89_ub"), (estimate, error, lower, upper), strict=True))
            rows[label] = own | of_draws(draws[label], ci_kind)
            rows[label] |= contrast(rows[label], modes.get(label, np.nan), ci_kind)
            rows[label] |= checks(draws[label])
            rows[label] |= {"prior_mean": prior[label].mean(), "prior_sd": prior[label].std(ddof=1)}
    table = pd.DataFrame(rows).T
    disagree, few = (table["r_hat"] > 1.01).any(), (table["ess_bulk"] < 100 * CHAINS).any()
    if not disagree and not few:
        table = table.drop(columns=["r_hat", "ess_bulk"])
    return table, int(disagree) + int(few) + bool(idata.sample_stats["diverging"].any())


def scalars(array: xr.DataArray) -> list[tuple[str, np.ndarray]]:
    """Labels as ArviZ makes them, and what is at each along the other dims."""
    dims = [dim for dim in array.dims if dim not in ("chain", "draw")]
    found = []
    for index in np.ndindex(*(array.sizes[dim] for dim in dims)):
        part = array.isel(dict(zip(dims, index, strict=True)))
        inside = ", ".join(str(part[dim].item()) for dim in dims)
        found.append((f"{array.name}[{inside}]" if dims else str(array.name), part.values))
    return found


def values(dataset: xr.Dataset) -> dict[str, float]:
    """A number a label."""
    return {label: float(value) for name in dataset for label, value in scalars(dataset[name])}


def estimates(est, summary) -> dict[str, tuple[float, ...]]:
    """Estimate, standard error and Wald limits: the summary's, and those of integrated variables at their modes."""
    found = {label: tuple(map(float, row)) for label, row in zip(summary.index, summary.to_numpy(), strict=True)}
    names = [str(name) for name in est.latent if f"{name}_se" in est.latent]
    z = stats.norm.ppf((1 + PROB) / 2)
    for name in names:
        for (label, mode), (_, se) in zip(scalars(est.latent[name]), scalars(est.latent[f"{name}_se"]), strict=True):
            found[label] = (float(mode), float(se), float(mode - z * se), float(mode + z * se))
    return found


def of_draws(draws: np.ndarray, ci_kind: str) -> dict[str, float]:
    """Moments and limits of the draws of a scalar."""
    flat = np.sort(draws.ravel())
    if ci_kind == "eti":
        lower, upper = np.quantile(flat, [(1 - PROB) / 2, (1 + PROB) / 2])
    else:
        inside = int(np.floor(PROB * flat.size))
        first = np.argmin(flat[inside:] - flat[: flat.size - inside])
        lower, upper = flat[first], flat[first + inside]
    error = float(az.mcse(draws, method="mean"))
    return {"mean": draws.mean(), "mcse_mean": error, "sd": draws.std(ddof=1), f"{ci_kind}89_lb": lower,
            f"{ci_kind}89_ub": upper}  # fmt: skip


def contrast(row: dict[str, float], mode: float, ci_kind: str) -> dict[str, float | str]:
    """The differences of an estimate, a mode and a mean, the widths and the overlap of two intervals."""
    a, b, c, d = row["wald89_lb"], row["wald89_ub"], row[f"{ci_kind}89_lb"], row[f"{ci_kind}89_ub"]
    unit = row["sd"] if np.isnan(row["se"]) else row["se"]
    # A constant differs in nothing
    unit = np.nan if unit <= 1e-12 * abs(row["mle"]) else unit
    meet = max(0.0, min(b, d) - max(a, c))
    with np.errstate(all="ignore"):
        return {
            "shift": (row["mean"] - row["mle"]) / unit,
            "prior_pull": (mode - row["mle"]) / unit,
            "asymmetry": (row["mean"] - mode) / unit,
            "width_ratio": np.float64(d - c) / (b - a),
            "overlap": meet / (max(b, d) - min(a, c) if meet else (b - a) + (d - c)) if b > a and d > c else np.nan,
            "unit": "sd" if np.isnan(row["se"]) else "se",
        }


def checks(draws: np.ndarray) -> dict[str, float]:
    """Of the chains."""
    with np.errstate(all="ignore"):
        return {"r_hat": float(az.rhat(draws)), "ess_bulk": float(az.ess(draws, method="bulk"))}


# -- what differs -------------------------------------------------------------------------------------------------


def different_shape(table: pd.DataFrame, right: pd.DataFrame) -> list[str]:
    """Rows and columns that only one of them has, and wrong words."""
    problems = []
    if list(table.index) != list(right.index):
        problems.append(f"rows {list(table.index)} for {list(right.index)}")
    elif list(table["unit"]) != list(right["unit"]):
        problems.append(f"units {list(table['unit'])} for {list(right['unit'])}")
    if set(table) != set(right):
        problems.append(f"columns that only one has: {sorted(set(table) ^ set(right))}")
    return problems


def deviation(table: pd.DataFrame, right: pd.DataFrame, column: str) -> float:
    """The largest of a column; infinite where only one of both is a number."""
    if list(table.index) != list(right.index):
        return np.inf
    mine, theirs = (frame[column].to_numpy(float) for frame in (table, right))
    same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    size = np.fmax(np.abs(theirs), 1.0 if column in RATIOS else right["sd"].to_numpy(float))
    with np.errstate(all="ignore"):
        off = np.where(same, 0.0, np.abs(mine - theirs) / size)
    return float(np.nan_to_num(off, nan=np.inf).max())


# -- estimates and modes against PyMC's own density ---------------------------------------------------------------


def mode_errors(model: pm.Model, est: mle.Estimate | None) -> dict[str, float]:
    """How far Newton's steps on PyMC's density lead from modes, in standard errors; and errors of integrated variables.

    ``mode``: of a posterior mode with all variables in it. ``latent``: of conditional modes, given the estimates.
    ``latent_se``: the relative difference of standard errors from (H⁻¹ + D C D')½ on the diagonal, H being minus the
    second derivative in the integrated variables u, C the covariance of the estimates θ, and D = du/dθ. Nothing where
    the estimate is not regular.
    """
    if est is None or not est.verdict.ok:
        return {}
    point = {name: array.values for name, array in est.to_datatree()["unconstrained_mle"].data_vars.items()}
    latent = [value.name for value in model.value_vars if value.name not in point]
    if not latent and est.kind == "mle":
        return {}
    gradient, hessian = derivatives(model, point | {name: est.latent[name].values for name in latent})
    size = sum(values.size for values in point.values())
    if not latent:
        return {"mode": newton(gradient, hessian)}
    errors = np.concatenate([np.ravel(est.latent[f"{name}_se"]) for name in latent])
    given = np.linalg.inv(-hessian[size:, size:])
    slopes = given @ hessian[size:, :size]
    right = np.sqrt(np.diag(given + slopes @ est.cov(scale="unconstrained").values @ slopes.T))
    return {
        "latent": newton(gradient[size:], hessian[size:, size:]),
        "latent_se": float(np.max(np.abs(errors / right - 1))),
    }


def derivatives(model: pm.Model, point: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """PyMC's gradient at a point, in the order of its keys, and central differences of it."""
    variables = {model.rvs_to_values[rv].name: rv for rv in model.free_RVs}
    # Modes on the user's scale: without the Jacobians of the transforms
    slope = model.compile_dlogp(vars=[variables[name] for name in point], jacobian=False, mode=C)
    x = DictToArrayBijection.map(point)

    def gradient(vector: np.ndarray) -> np.ndarray:
        return slope(DictToArrayBijection.rmap(RaveledVars(vector, x.point_map_info)))

    steps = 1e-5 * np.diag(np.maximum(np.abs(x.data), 1.0))
    hessian = np.array([(gradient(x.data + h) - gradient(x.data - h)) / (2 * h.sum()) for h in steps])
    return gradient(x.data), (hessian + hessian.T) / 2


def newton(gradient: np.ndarray, hessian: np.ndarray) -> float:
    """The largest element of Newton's step, in standard errors; infinite where this is no maximum."""
    if np.linalg.eigvalsh(hessian)[-1] >= 0:
        return np.inf
    cov = np.linalg.inv(-hessian)
    return float(np.max(np.abs(cov @ gradient) / np.sqrt(np.diag(cov))))


if __name__ == "__main__":
    sys.exit(main())
