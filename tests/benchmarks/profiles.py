"""95 % profile intervals of all coefficients of a regression, next to R's `confint(glm)`. ``make bench``.

The same simulated data, in the same run, one thread each, one after the other; R is skipped where there is none. Timed
are the intervals alone (in R `confint`, from a fitted `glm`); the fits are shown beside them. The last column is the
largest difference of a limit, in standard errors: R interpolates the profile between some points, mle_pp solves for
its crossing. Evaluations are those of all intervals together.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_threads] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pymc as pm  # noqa: E402

import mle_pp as mle  # noqa: E402

R_CODE = """
arguments <- commandArgs(trailingOnly = TRUE)
data <- read.csv(arguments[1])
fitting <- system.time(fit <- glm(y ~ ., family = arguments[2], data = data))[["elapsed"]]
timing <- system.time(found <- suppressMessages(confint(fit)))[["elapsed"]]
write.csv(data.frame(found, fitting, timing), arguments[3], row.names = FALSE)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Profile intervals next to R's confint(glm).")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--coefficients", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    X = rng.normal(size=(options.rows, options.coefficients - 1))
    beta = 0.2 * rng.normal(size=options.coefficients)
    eta = beta[0] + X @ beta[1:]
    responses = {"binomial": rng.binomial(1, 1 / (1 + np.exp(-eta))), "poisson": rng.poisson(np.exp(eta))}
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, n = {options.rows}, p = {options.coefficients}; {load()}", flush=True)
    rows = {}
    for family, y in responses.items():
        # In turns, so that what else the machine does strikes both
        runs = [(ours(X, y, family), theirs(X, y, family)) for _ in range(options.repeats)]
        rows[family] = compared([mine for mine, _ in runs], [r for _, r in runs if r is not None])
    print(pd.DataFrame(rows).T.to_string(float_format="{:.3g}".format, na_rep="no R"))
    print(load())


def load() -> str:
    return "load (1, 5, 15 minutes) " + " ".join(f"{value:.2f}" for value in os.getloadavg())


def ours(X: np.ndarray, y: np.ndarray, family: str) -> dict:
    design = np.column_stack([np.ones(len(X)), X])
    with pm.Model() as model:
        beta = pm.Normal("beta", 0, 10, shape=design.shape[1])
        if family == "binomial":
            pm.Bernoulli("y", logit_p=design @ beta, observed=y)
        else:
            pm.Poisson("y", pm.math.exp(design @ beta), observed=y)
    start = time.perf_counter()
    est = mle.find_MLE(model)
    fitted = time.perf_counter()
    counts = count_evaluations(est)
    found = mle.interval(est, kind="profile", ci_prob=0.95)["beta"].values
    seconds = time.perf_counter() - fitted
    return {"limits": found, "se": est.stderr()["beta"].values, "fit": fitted - start, "seconds": seconds} | counts


def count_evaluations(est: mle.Estimate) -> dict:
    """Counts that go up with each evaluation of this estimate's likelihood from now on."""
    counts = {"value_gradient": 0, "hessian": 0, "derivatives": 0}

    def counted(name):
        function = getattr(est._objective, name)

        def call(x):
            counts[name] += 1
            return function(x)

        return call

    for name in counts:
        setattr(est._objective, name, counted(name))
    return counts


def theirs(X: np.ndarray, y: np.ndarray, family: str) -> dict | None:
    rscript = shutil.which("Rscript")
    if rscript is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        code, data, result = (Path(folder) / name for name in ("code.R", "data.csv", "result.csv"))
        code.write_text(R_CODE)
        pd.DataFrame(X).assign(y=y).to_csv(data, index=False)
        done = subprocess.run([rscript, code, data, family, result], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"R failed: {done.stderr}")
        frame = pd.read_csv(result)
    return {"limits": frame.iloc[:, :2].values, "fit": frame["fitting"][0], "seconds": frame["timing"][0]}


def compared(mine: list[dict], r: list[dict]) -> dict:
    def best(runs: list[dict], name: str) -> float:
        return min((run[name] for run in runs), default=np.nan)

    apart = np.abs(mine[0]["limits"] - r[0]["limits"]) / mine[0]["se"][:, None] if r else np.array([np.nan])
    return {
        "mle_pp s": best(mine, "seconds"),
        "R s": best(r, "seconds"),
        "times": best(r, "seconds") / best(mine, "seconds"),
        "gradients": mine[0]["value_gradient"] + mine[0]["derivatives"],
        "Hessians": mine[0]["hessian"] + mine[0]["derivatives"],
        "fit mle_pp s": best(mine, "fit"),
        "fit R s": best(r, "fit"),
        "apart / se": apart.max(),
    }


if __name__ == "__main__":
    main()
