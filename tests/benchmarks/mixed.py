"""What integrating latent variables costs, next to R's lme4, glmmTMB and TMB: ``python tests/benchmarks/mixed.py``.

1. *Side by side*: simulated data (and InstEval, where ``shared/cases`` lies beside the repository), the same in all
   programs, one thread each, one after another. Seconds are medians over the repeats; of mle_pp ``set-up`` is what
   comes before the optimization (roles, sparsity, building functions), ``fit`` the optimization, the diagnosis and the
   standard errors. glmmTMB and lme4 are timed with their standard errors, TMB with recording its tape and without
   (``sdreport`` is shown apart), and without compiling its C++, which is shown below the table. ``ratio`` is the
   fastest of R over mle_pp's fit. Log-likelihoods stand beside each other as differences from mle_pp's, or from the
   highest where mle_pp has none; R's default optimizers stop short here and there.
2. *From a declared model to an estimate with standard errors*: fresh processes with empty caches, compilation included.
3. *Linearity*: the same with more and more groups, with the memory of the process at its peak.

R, its packages and the C++ compiler are skipped where they are missing. Nothing here is a test: times depend on the
machine and on what else it does, which is why the load is printed.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_threads] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pymc as pm  # noqa: E402

import mle_pp as mle  # noqa: E402
from mle_pp import find  # noqa: E402

HERE = Path(__file__).parent
INSTEVAL = Path(__file__).resolve().parents[3] / "shared/cases/mixed/InstEval.csv"
ENGINES = ("lme4", "glmmTMB", "TMB")
LIMIT = 1800  # seconds for one engine on one problem


# ---------------------------------------- data


def grouped_counts(groups: int, size: int = 5) -> pd.DataFrame:
    """Poisson counts with a random intercept."""
    rng = np.random.default_rng(groups)
    g, x = np.repeat(np.arange(groups), size), rng.normal(size=groups * size)
    eta = 0.5 + 0.3 * x + 0.8 * rng.normal(size=groups)[g]
    return pd.DataFrame({"g": g, "x": x, "y": rng.poisson(np.exp(eta))})


def crossed_counts(first: int = 2000, second: int = 200, rows: int = 20_000) -> pd.DataFrame:
    rng = np.random.default_rng(rows)
    a, b, x = rng.integers(first, size=rows), rng.integers(second, size=rows), rng.normal(size=rows)
    # every level occurs
    a[:first], b[:second] = np.arange(first), np.arange(second)
    eta = 0.5 + 0.3 * x + 0.7 * rng.normal(size=first)[a] + 0.4 * rng.normal(size=second)[b]
    return pd.DataFrame({"a": a, "b": b, "x": x, "y": rng.poisson(np.exp(eta))})


def series_of_counts(length: int = 5000, rho: float = 0.9, sigma: float = 0.3) -> pd.DataFrame:
    rng = np.random.default_rng(length)
    state = np.empty(length)
    state[0] = rng.normal(0.0, sigma / np.sqrt(1 - rho**2))
    for t in range(1, length):
        state[t] = rho * state[t - 1] + sigma * rng.normal()
    return pd.DataFrame({"t": np.arange(length), "y": rng.poisson(np.exp(1.0 + state))})


def evaluations() -> pd.DataFrame:
    """InstEval: ratings of lectures by students (s) of lecturers (d)."""
    data = pd.read_csv(INSTEVAL)
    return pd.DataFrame(
        {"a": data["s"], "b": data["d"], "x": data["service"].astype(int), "y": data["y"].astype(float)}
    )


# ---------------------------------------- PyMC models


def intercepts(data: pd.DataFrame, *factors: str, normal: bool = False) -> pm.Model:
    """Random intercepts of each factor."""
    with pm.Model() as model:
        intercept, slope = pm.Normal("intercept", 0.0, 10.0), pm.Normal("slope", 0.0, 10.0)
        eta = intercept + slope * data["x"].to_numpy(dtype=float)
        for factor in factors:
            levels, place = np.unique(data[factor], return_inverse=True)
            sd = pm.HalfNormal(f"sd_{factor}", 10.0)
            eta = eta + pm.Normal(f"u_{factor}", 0.0, sd, shape=len(levels))[place]
        y = data["y"].to_numpy()
        if normal:
            pm.Normal("y", eta, pm.HalfNormal("sigma", 10.0), observed=y)
        else:
            pm.Poisson("y", pm.math.exp(eta), observed=y)
    return model


def process(data: pd.DataFrame) -> pm.Model:
    """Counts with a stationary AR(1) log mean."""
    with pm.Model() as model:
        mu, rho, sigma = pm.Normal("mu", 0.0, 10.0), pm.Uniform("rho", -1.0, 1.0), pm.HalfNormal("sigma", 10.0)
        first = pm.Normal.dist(0.0, sigma / pm.math.sqrt(1.0 - rho**2))
        state = pm.AR("state", [rho], sigma=sigma, init_dist=first, ar_order=1, shape=len(data))
        pm.Poisson("y", pm.math.exp(mu + state), observed=data["y"].to_numpy())
    return model


# ---------------------------------------- R

R_HEAD = """
arguments <- commandArgs(trailingOnly = TRUE)
repeats <- as.integer(arguments[2])
d <- read.csv(arguments[1])
for (name in intersect(c("g", "a", "b"), names(d))) d[[name]] <- factor(d[[name]])
report <- function(fit, constant = 0) {
  parts <- NULL
  for (k in seq_len(repeats)) {
    gc()
    begin <- proc.time()[["elapsed"]]
    found <- fit()
    parts <- rbind(parts, c(seconds = proc.time()[["elapsed"]] - begin, found$parts))
  }
  parts <- apply(parts, 2, median)
  fields <- c(sprintf('"%s": %.6g', names(parts), parts), sprintf('"loglik": %.10f', found$loglik + constant))
  cat("\\n{", paste(fields, collapse = ", "), "}\\n", sep = "")
}
"""
R_LME4 = """
suppressMessages(library(lme4))
report(function() {{
  fit <- {call}
  vcov(fit)
  list(loglik = as.numeric(logLik(fit)), parts = NULL)
}}, constant = {constant})
"""
R_GLMMTMB = """
suppressMessages(library(glmmTMB))
report(function() {{
  fit <- {call}
  vcov(fit)
  list(loglik = as.numeric(logLik(fit)), parts = NULL)
}})
"""
R_TMB = """
suppressMessages(library(TMB))
dyn.load(dynlib(file.path(arguments[3], "{template}")))
report(function() {{
  begin <- proc.time()[["elapsed"]]
  model <- with(d, {inputs})
  object <- MakeADFun(model$data, model$parameters, random = "u", DLL = "{template}", silent = TRUE)
  tape <- proc.time()[["elapsed"]]
  fit <- nlminb(object$par, object$fn, object$gr, control = list(eval.max = 1000, iter.max = 1000))
  fitted <- proc.time()[["elapsed"]]
  if ({sdreport}) sdreport(object)
  list(loglik = -fit$objective, parts = c(tape = tape - begin, fit = fitted - tape,
                                          sdreport = proc.time()[["elapsed"]] - fitted))
}})
"""
R_SATURATED = "with(d, sum(dpois(y, y, log = TRUE)))"
"""lme4 measures quadrature from the saturated model."""

TMB_INTERCEPTS = """
#include <TMB.hpp>
template<class Type> Type objective_function<Type>::operator()() {
  DATA_VECTOR(y); DATA_VECTOR(x); DATA_IMATRIX(place); DATA_IVECTOR(factor);
  PARAMETER_VECTOR(beta); PARAMETER_VECTOR(log_sd); PARAMETER_VECTOR(u);
  Type nll = 0;
  for (int j = 0; j < u.size(); j++) nll -= dnorm(u(j), Type(0), exp(log_sd(factor(j))), true);
  for (int i = 0; i < y.size(); i++) {
    Type eta = beta(0) + beta(1) * x(i);
    for (int k = 0; k < place.cols(); k++) eta += u(place(i, k));
    nll -= dpois(y(i), exp(eta), true);
  }
  return nll;
}
"""
TMB_PROCESS = """
#include <TMB.hpp>
template<class Type> Type objective_function<Type>::operator()() {
  DATA_VECTOR(y);
  PARAMETER(mu); PARAMETER(atanh_rho); PARAMETER(log_sigma); PARAMETER_VECTOR(u);
  Type rho = tanh(atanh_rho), sigma = exp(log_sigma);
  Type nll = -dnorm(u(0), Type(0), sigma / sqrt(1 - rho * rho), true);
  for (int t = 1; t < u.size(); t++) nll -= dnorm(u(t), rho * u(t - 1), sigma, true);
  for (int t = 0; t < u.size(); t++) nll -= dpois(y(t), exp(mu + u(t)), true);
  return nll;
}
"""
TEMPLATES = {"intercepts": TMB_INTERCEPTS, "process": TMB_PROCESS}

INPUTS_ONE = """list(
    data = list(y = y, x = x, place = matrix(as.integer(g) - 1L), factor = rep(0L, nlevels(g))),
    parameters = list(beta = c(0, 0), log_sd = 0, u = rep(0, nlevels(g))))"""
INPUTS_TWO = """list(
    data = list(y = y, x = x, place = cbind(as.integer(a) - 1L, nlevels(a) + as.integer(b) - 1L),
                factor = rep(0:1, c(nlevels(a), nlevels(b)))),
    parameters = list(beta = c(0, 0), log_sd = c(0, 0), u = rep(0, nlevels(a) + nlevels(b))))"""
INPUTS_PROCESS = """list(data = list(y = y),
    parameters = list(mu = 0, atanh_rho = 0.5, log_sigma = -1, u = rep(0, length(y))))"""


def lme4(call: str, constant: str = "0") -> str:
    return R_LME4.format(call=call, constant=constant)


def glmm_tmb(call: str) -> str:
    return R_GLMMTMB.format(call=call)


def tmb(template: str, inputs: str, sdreport: bool = True) -> str:
    return R_TMB.format(template=template, inputs=inputs, sdreport=str(sdreport).upper())


# ---------------------------------------- problems


@dataclass(frozen=True)
class Problem:
    """Data, model, and R code by engine."""

    data: Callable[[], pd.DataFrame]
    build: Callable[[pd.DataFrame], pm.Model]
    engines: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    repeats: int = 3
    available: bool = True


GLMER = "glmer(y ~ x + (1 | g), family = poisson, data = d)"
GLMMTMB = "glmmTMB(y ~ x + (1 | g), family = poisson, data = d)"


def one_factor(groups: int, engines: tuple[str, ...], repeats: int) -> Problem:
    code = {"lme4": lme4(GLMER), "glmmTMB": glmm_tmb(GLMMTMB), "TMB": tmb("intercepts", INPUTS_ONE)}
    return Problem(
        data=lambda: grouped_counts(groups),
        build=lambda data: intercepts(data, "g"),
        engines={engine: code[engine] for engine in engines},
        repeats=repeats,
    )


PROBLEMS = {
    "1,000 groups": one_factor(1_000, ENGINES, 5),
    "10,000 groups": one_factor(10_000, ENGINES, 3),
    # lme4 takes minutes
    "100,000 groups": one_factor(100_000, ("glmmTMB", "TMB"), 1),
    "crossed 2000 x 200": Problem(
        data=crossed_counts,
        build=lambda data: intercepts(data, "a", "b"),
        engines={
            "lme4": lme4("glmer(y ~ x + (1 | a) + (1 | b), family = poisson, data = d)"),
            "glmmTMB": glmm_tmb("glmmTMB(y ~ x + (1 | a) + (1 | b), family = poisson, data = d)"),
            "TMB": tmb("intercepts", INPUTS_TWO),
        },
    ),
    "AR(1), T = 5,000": Problem(
        data=series_of_counts, build=process, engines={"TMB": tmb("process", INPUTS_PROCESS)}, repeats=5
    ),
    "InstEval": Problem(
        data=evaluations,
        build=lambda data: intercepts(data, "a", "b", normal=True),
        engines={"lme4": lme4("lmer(y ~ x + (1 | a) + (1 | b), data = d, REML = FALSE)")},
        repeats=1,
        available=INSTEVAL.is_file(),
    ),
    "25 nodes, 1,000 groups": Problem(
        data=lambda: grouped_counts(1_000),
        build=lambda data: intercepts(data, "g"),
        engines={"lme4": lme4(GLMER.replace("data = d", "data = d, nAGQ = 25"), R_SATURATED)},
        options={"quadrature_points": 25},
    ),
}


# ---------------------------------------- side by side


def main() -> None:
    parser = argparse.ArgumentParser(description="What integrating latent variables costs, next to R.")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, metavar="NAME", help=f"of {', '.join(PROBLEMS)}")
    parser.add_argument("--only", choices=["R", "mle_pp"], help="one half of the first table")
    parser.add_argument("--parts", nargs="+", choices=["side", "cold", "linear"], default=["side", "cold", "linear"])
    parser.add_argument("--groups", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000], help="of part 3")
    parser.add_argument("--one", type=int, metavar="GROUPS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_fit(options.one)))
        return
    show(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} processors, {load()}")
    if "side" in options.parts:
        side_by_side(options.problems or [name for name, p in PROBLEMS.items() if p.available], options.only)
    if "cold" in options.parts:
        show("\n2. From a declared model to standard errors, fresh processes, empty caches\n")
        show(pd.DataFrame({f"{k:,} groups": median_of(k, 3) for k in (1_000, 100_000)}).T)
    if "linear" in options.parts:
        show("\n3. More and more groups, fresh processes, empty caches\n")
        show(linearity(options.groups))
    show(f"\n{load()}")


def show(what: str | pd.DataFrame) -> None:
    print(what if isinstance(what, str) else what.to_string(float_format="{:.4g}".format, na_rep="-"), flush=True)


def load() -> str:
    return "load (1, 5, 15 minutes) " + " ".join(f"{value:.2f}" for value in os.getloadavg())


def side_by_side(names: list[str], only: str | None) -> None:
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        compiled = {} if only == "mle_pp" else compile_templates(names, Path(folder))
        for name in names:
            print(f"  {name} ...", file=sys.stderr, flush=True)
            problem, file = PROBLEMS[name], Path(folder) / "data.csv"
            data = problem.data()
            data.to_csv(file, index=False)
            mine = {} if only == "R" else ours(problem, data)
            theirs = {} if only == "mle_pp" else in_r(problem, file, compiled)
            rows[name] = row(mine, theirs)
    times = ["mle_pp set-up", "mle_pp fit", "TMB", "TMB sdreport", "glmmTMB", "lme4", "ratio"]
    logliks = ["loglik", *(f"{engine} lacks" for engine in ENGINES)]
    table = pd.DataFrame.from_dict(rows, orient="index")
    show("\n1. Side by side: seconds\n")
    show(table.reindex(columns=times))
    show("\n   Log-likelihoods: mle_pp's, or the highest without it, and what R's lack\n")
    print(table.reindex(columns=logliks).to_string(float_format="{:.8g}".format, na_rep="-"))
    if only != "mle_pp":
        seconds = ", ".join(f"{template} {value:.1f}" for template, value in compiled.items())
        show(f"\n   Seconds to compile TMB's templates: {seconds or 'none'}")


def row(mine: dict[str, float], theirs: dict[str, dict[str, float]]) -> dict[str, float]:
    found = {f"mle_pp {part}": mine[part] for part in ("set-up", "fit") if part in mine}
    for engine, numbers in theirs.items():
        found[engine] = numbers["tape"] + numbers["fit"] if "tape" in numbers else numbers["seconds"]
        if "sdreport" in numbers:
            found["TMB sdreport"] = numbers["sdreport"]
    if theirs and mine:
        found["ratio"] = min(found[engine] for engine in theirs) / mine["fit"]
    logliks = {engine: numbers["loglik"] for engine, numbers in theirs.items()}
    found["loglik"] = mine["loglik"] if mine else max(logliks.values(), default=np.nan)
    return found | {f"{engine} lacks": found["loglik"] - value for engine, value in logliks.items()}


def ours(problem: Problem, data: pd.DataFrame) -> dict[str, float]:
    """Medians of set-up and fit; empty where there is no estimate."""
    model = problem.build(data)
    try:
        runs = [fit_in_parts(model, problem.options) for _ in range(problem.repeats + 1)][1:]
    except (mle.ModelError, mle.EstimationError) as error:
        print(f"  mle_pp: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
        return {}
    return {part: median(run[part] for run in runs) for part in runs[0]}


def fit_in_parts(model: pm.Model, options: dict[str, Any]) -> dict[str, float]:
    """Seconds of an estimate with standard errors, split where the optimization begins."""
    plain, begun = find.run_starts, []

    def timed(*arguments: Any, **keywords: Any) -> Any:
        begun.append(time.perf_counter())
        return plain(*arguments, **keywords)

    find.run_starts = timed
    try:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est = mle.find_MLE(model, **options)
            est.stderr()
        end = time.perf_counter()
    finally:
        find.run_starts = plain
    return {"set-up": begun[0] - start, "fit": end - begun[0], "loglik": est.loglik}


# ---------------------------------------- R's side


def has_package(name: str) -> bool:
    if shutil.which("Rscript") is None:
        return False
    code = f"quit(status = !requireNamespace('{name}', quietly = TRUE))"
    return subprocess.run(["Rscript", "--vanilla", "-e", code], capture_output=True).returncode == 0


def compile_templates(names: list[str], folder: Path) -> dict[str, float]:
    """Seconds to compile each of TMB's templates that is needed."""
    if shutil.which("g++") is None or not has_package("TMB"):
        return {}
    code = "".join(PROBLEMS[name].engines.get("TMB", "") for name in names)
    seconds = {}
    for template, source in TEMPLATES.items():
        if f'"{template}"' not in code:
            continue
        (folder / f"{template}.cpp").write_text(source, encoding="utf-8")
        start = time.perf_counter()
        command = f"suppressMessages(library(TMB)); invisible(compile('{template}.cpp', flags = '-O2 -w'))"
        subprocess.run(["Rscript", "--vanilla", "-e", command], cwd=folder, check=True, capture_output=True)
        seconds[template] = time.perf_counter() - start
    return seconds


def in_r(problem: Problem, data: Path, compiled: dict[str, float]) -> dict[str, dict[str, float]]:
    """What each engine reports, those that are installed."""
    found = {}
    for engine, code in problem.engines.items():
        if not (compiled if engine == "TMB" else has_package(engine)):
            continue
        script = data.with_suffix(".R")
        script.write_text(R_HEAD + code, encoding="utf-8")
        command = ["Rscript", "--vanilla", str(script), str(data), str(problem.repeats), str(data.parent)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            print(f"  {engine}: not done after {LIMIT} s", file=sys.stderr, flush=True)
            continue
        if run.returncode:
            print(f"  {engine}: {run.stderr.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
            continue
        found[engine] = json.loads(run.stdout.strip().splitlines()[-1])
        print(f"    {engine} {found[engine]}", file=sys.stderr, flush=True)
    return found


# ---------------------------------------- fresh processes


def one_fit(groups: int) -> dict[str, float]:
    """In the process that this is called in: seconds from the declared model, and memory at the peak."""
    model = intercepts(grouped_counts(groups), "g")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, start = sum(os.times()[:4]), time.perf_counter()
    est = mle.find_MLE(model)
    est.stderr()
    seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "cpu": cpu, "peak MiB": peak / 1024, "before MiB": before / 1024, "loglik": est.loglik}


def afresh(groups: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as caches:
        places = {
            "HOME": caches,
            "PYTENSOR_FLAGS": f"base_compiledir={caches}/pytensor",
            "NUMBA_CACHE_DIR": f"{caches}/numba",
            "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, str(Path(__file__).resolve()), "--one", str(groups)]
        run = subprocess.run(command, env=os.environ | places, capture_output=True, text=True)
    if run.returncode:
        print(f"  {groups} groups: {run.stderr.strip().splitlines()[-1][:200]}", file=sys.stderr, flush=True)
        return dict.fromkeys(("seconds", "cpu", "peak MiB", "before MiB", "loglik"), np.nan)
    return json.loads(run.stdout.splitlines()[-1])


def median_of(groups: int, processes: int) -> dict[str, float]:
    runs = [afresh(groups) for _ in range(processes)]
    return {key: median(run[key] for run in runs) for key in runs[0]}


def linearity(groups: list[int]) -> pd.DataFrame:
    """Per thousand groups: what both columns approach, where cost is linear."""
    table = pd.DataFrame({k: afresh(k) for k in groups}).T
    table.index.name = "groups"
    thousands = table.index.to_numpy() / 1000
    table["ms a thousand"] = 1000 * table["seconds"] / thousands
    table["KiB a thousand"] = 1024 * (table["peak MiB"] - table["before MiB"]) / thousands
    return table


if __name__ == "__main__":
    main()
