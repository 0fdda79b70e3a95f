"""1,000 refits of a negative-binomial regression to resampled rows: ``python tests/benchmarks/bootstrap.py``.

n = 500, five coefficients and the dispersion. mle_pp's time is that of ``mle.bootstrap``, with building its functions,
in this process; the estimate it starts from is timed apart. statsmodels refits from the same estimate with its default
optimizer; ``MASS::glm.nb`` runs in R, where that is installed. Both do fewer refits, and their time for 1,000 is
extrapolated. Each refit of the first twenty is compared with that of statsmodels.

Nothing here is a test: times depend on the machine and on what else it does, which is why the load is printed, and the
processor time beside the wall time.
"""

import os
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import statsmodels.api as sm  # noqa: E402

import mle_pp as mle  # noqa: E402
from mle_pp.resample.schemes import generator  # noqa: E402
from models import negative_binomial_regression  # noqa: E402

N, REFITS, PEER_REFITS, SEED = 500, 1000, 100, 1

R_SCRIPT = """
suppressMessages(library(MASS))
d <- read.csv("{data}")
draws <- lapply(1:{refits}, function(k) d[sample(nrow(d), replace = TRUE), ])
start <- glm.nb(y ~ ., data = d)
begin <- proc.time()
for (d in draws) fit <- glm.nb(y ~ ., data = d, init.theta = start$theta)
cat((proc.time() - begin)[["elapsed"]])
"""


def data() -> pd.DataFrame:
    rng = np.random.default_rng(20260601)
    x = rng.normal(size=(N, 4))
    mean = np.exp(1 + x @ [0.3, -0.2, 0.1, 0.4])
    return pd.DataFrame(x, columns=list("abcd")).assign(y=rng.poisson(rng.gamma(2.0, mean / 2.0)))


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def statsmodels_refits(table: pd.DataFrame, start: np.ndarray, refits: int) -> np.ndarray:
    x, y = sm.add_constant(table.drop(columns="y").to_numpy()), table["y"].to_numpy()
    found = []
    for k in range(refits):
        rows = np.repeat(np.arange(N), generator(SEED, k).multinomial(N, np.full(N, 1 / N)))
        found.append(sm.NegativeBinomial(y[rows], x[rows]).fit(start, disp=0).params)
    return np.array(found)


def r_seconds(table: pd.DataFrame) -> float | None:
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        table.to_csv(path, index=False)
        script = R_SCRIPT.format(data=path, refits=PEER_REFITS)
        done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else None


def main() -> None:
    warnings.simplefilter("ignore")
    table = data()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    est, wall, cpu = timed(lambda: mle.find_MLE(negative_binomial_regression(table)))
    print(f"{'find_MLE':<34}{wall:8.2f} s wall {cpu:8.2f} s processor")
    boot, wall, cpu = timed(lambda: mle.bootstrap(est, REFITS, "rows", random_seed=SEED, progressbar=False))
    print(f"{'mle.bootstrap, 1,000 refits':<34}{wall:8.2f} s wall {cpu:8.2f} s processor   {boot}")
    print(f"{'':<34}largest Newton decrement {boot.status['decrement'].max():.1e}")
    start = np.array([est.params["intercept"], *est.params["beta"], 1 / est.params["alpha"]])
    peer, wall, cpu = timed(lambda: statsmodels_refits(table, start, PEER_REFITS))
    scale = REFITS / PEER_REFITS
    print(f"{'statsmodels, extrapolated':<34}{scale * wall:8.2f} s wall {scale * cpu:8.2f} s processor")
    seconds = r_seconds(table)
    shown = "not installed" if seconds is None else f"{scale * seconds:8.2f} s wall"
    print(f"{'MASS::glm.nb, extrapolated':<34}{shown}")
    draws = boot.draws.isel(chain=0, draw=slice(PEER_REFITS))
    ours = np.column_stack([draws["intercept"], draws["beta"], 1 / draws["alpha"]])
    error = np.abs(ours - peer) / np.abs(peer)
    print(f"statsmodels' estimates differ by at most {error.max():.1e}, relatively: its optimizer's tolerance")


if __name__ == "__main__":
    main()
