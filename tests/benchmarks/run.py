"""What a fit costs: mle_pp next to `pm.find_MAP` and statsmodels, and the share of the diagnosis. ``make bench``.

1. *From a declared model to an estimate with standard errors*, in fresh processes with empty compilation caches and
   without JAX (`fresh.py`): ``find_MLE(model)`` and ``.stderr()``, the median of three processes; next to it
   ``pm.find_MAP(compute_hessian=True, return_inferencedata=True, jitter=False)`` on ``flatten(model)``, once with
   empty caches (cold), then in three more processes with what the first one left (warm, median). Imports, building
   the model and flattening it are not timed. The last column is what find_MAP's log-likelihood lacks.
2. *Share of the diagnosis*: the time inside `diagnose` against the rest of `find_MLE`, in this process, median of
   five fits after one to warm up. Optimization is the time inside `run_starts`, with all its starts and with
   building the functions that it evaluates.
3. *statsmodels*, where it has the same model, with its default optimizer and standard errors: in this process, both
   warm, median of five. mle_pp builds its functions anew in every fit; statsmodels has them written by hand.

Processes run one after another, on one thread each. Nothing here is a test: times depend on the machine and on what
else it does, which is why the load is printed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_threads] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import statsmodels.api as sm  # noqa: E402
from fresh import find_mle  # noqa: E402
from statsmodels.discrete.count_model import ZeroInflatedPoisson  # noqa: E402
from statsmodels.miscmodels.ordinal_model import OrderedModel  # noqa: E402

import mle_pp as mle  # noqa: E402
from mle_pp import find  # noqa: E402
from models import GALLERY, data  # noqa: E402

REFERENCE_TEN = (
    "linear_regression",
    "student_t_regression",
    "negative_binomial_regression",
    "censored_weibull",
    "ordered_logit",
    "normal_mixture",
    "zero_inflated_poisson",
    "ar2",
    "logistic_regression",
    "poisson_regression",
)
"""The models over which the medians are to reach 1 s, 10 times cold and 4 times warm."""

type Runs = dict[str, list[dict[str, float]]]

PROCESSES = 3
FITS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="What a fit costs, next to peers.")
    parser.add_argument("--models", nargs="+", metavar="NAME", choices=GALLERY, help="default: all that have an MLE")
    parser.add_argument("--quick", action="store_true", help="one process a model, three fits, no find_MAP")
    options = parser.parse_args()
    names = options.models or [name for name, entry in GALLERY.items() if has_mle(entry.build())]
    fits = 3 if options.quick else FITS
    show(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} processors, {load()}")
    afresh = {name: fit_afresh(name, options.quick) for name in names}
    show("\n1. From a declared model to standard errors, fresh processes: seconds\n")
    show(speed_table(afresh, "seconds"))
    show("\n   The same in seconds of processor time, which other work on the machine lengthens less\n")
    show(speed_table(afresh, "cpu"))
    show("\n2. Share of the diagnosis: milliseconds, warm\n")
    show(diagnosis_table(names, fits))
    peers = [name for name in names if name in PEERS]
    if peers:
        show("\n3. statsmodels: milliseconds, warm\n")
        show(peer_table(peers, fits))
    show(f"\n{load()}")


def show(what: str | pd.DataFrame) -> None:
    print(what if isinstance(what, str) else what.to_string(float_format="{:.3g}".format, na_rep="failed"), flush=True)


def load() -> str:
    return "load (1, 5, 15 minutes) " + " ".join(f"{value:.2f}" for value in os.getloadavg())


def has_mle(model: Any) -> bool:
    return not mle.roles(model).names(mle.RoleKind.LATENT)


# ---------------------------------------- fresh processes


def fit_afresh(name: str, quick: bool) -> Runs:
    """What `fresh.py` reports of each process, by column of the table."""
    print(f"  {name} ...", file=sys.stderr, flush=True)
    if quick:
        return {"mle_pp": in_empty_caches(name, "find_MLE")}
    ours = [in_empty_caches(name, "find_MLE")[0] for _ in range(PROCESSES)]
    cold, *warm = in_empty_caches(name, "find_MAP", *["find_MAP"] * PROCESSES)
    return {"mle_pp": ours, "MAP cold": [cold], "MAP warm": warm}


def speed_table(runs: dict[str, Runs], key: str) -> pd.DataFrame:
    table = medians(runs, key)
    if "MAP cold" in table:
        for state in ("cold", "warm"):
            table[f"{state}/mle_pp"] = table[f"MAP {state}"] / table["mle_pp"]
        loglik = medians(runs, "loglik")
        table["MAP lacks"] = loglik["mle_pp"] - loglik["MAP warm"]
    bottom = {f"median of {len(table)}": table.median()}
    if set(REFERENCE_TEN) < set(runs):
        bottom["median of the reference ten"] = table.loc[list(REFERENCE_TEN)].median()
    return pd.concat([table, pd.DataFrame(bottom).T])


def medians(runs: dict[str, Runs], key: str) -> pd.DataFrame:
    """A row a model, a column a kind of fit: the median over its processes."""
    rows = {
        name: {column: median(fit[key] for fit in fits) for column, fits in columns.items()}
        for name, columns in runs.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def in_empty_caches(name: str, *tasks: str) -> list[dict[str, float]]:
    """Each task in a process of its own, one after another, on caches that are empty for the first."""
    with tempfile.TemporaryDirectory() as caches:
        places = {
            "HOME": caches,
            "PYTENSOR_FLAGS": f"base_compiledir={caches}/pytensor",
            "NUMBA_CACHE_DIR": f"{caches}/numba",
        }
        return [in_process([str(Path(__file__).with_name("fresh.py")), task, name], places) for task in tasks]


def in_process(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    run = subprocess.run([sys.executable, *command], env=os.environ | environment, stdout=subprocess.PIPE)
    if run.returncode:  # its traceback has been shown
        return dict.fromkeys(("seconds", "cpu", "loglik"), np.nan)
    return json.loads(run.stdout.splitlines()[-1])


# ---------------------------------------- this process


class Stopwatch:
    """A function that adds up the time spent in it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return self.function(*arguments, **options)
        finally:
            self.seconds += time.perf_counter() - start


def diagnosis_table(names: list[str], fits: int) -> pd.DataFrame:
    rows = {}
    for name in names:
        model = GALLERY[name].build()
        times = pd.DataFrame([fit_in_parts(model) for _ in range(fits + 1)][1:]).median()
        rows[name] = (1e3 * times).to_dict() | {
            "diagnosis/rest": times["diagnosis"] / (times["fit"] - times["diagnosis"])
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return pd.concat([table, pd.DataFrame({"median": table.median()}).T])


def fit_in_parts(model: Any) -> dict[str, float]:
    """Seconds of one `find_MLE` and of its parts."""
    plain = find.run_starts, find.diagnose
    optimization, diagnosis = Stopwatch(plain[0]), Stopwatch(plain[1])
    find.run_starts, find.diagnose = optimization, diagnosis
    try:
        start = time.perf_counter()
        mle.find_MLE(model)
        seconds = time.perf_counter() - start
    finally:
        find.run_starts, find.diagnose = plain
    return {"fit": seconds, "optimization": optimization.seconds, "diagnosis": diagnosis.seconds}


def design(frame: pd.DataFrame) -> pd.DataFrame:
    return sm.add_constant(frame.drop(columns="y"))


def ordered(frame: pd.DataFrame) -> Any:
    return OrderedModel(frame["y"], frame.drop(columns="y"), distr="logit")


def zero_inflated(frame: pd.DataFrame) -> Any:
    return ZeroInflatedPoisson(frame["y"], design(frame))


PEERS: dict[str, tuple[Callable[[pd.DataFrame], Any], Callable[[], pd.DataFrame]]] = {
    "logistic_regression": (lambda d: sm.Logit(d["y"], design(d)), data.spector),
    "poisson_regression": (lambda d: sm.Poisson(d["y"], design(d)), data.counts),
    "negative_binomial_regression": (lambda d: sm.NegativeBinomial(d["y"], design(d)), data.overdispersed_counts),
    "ordered_logit": (ordered, data.ratings),
    "zero_inflated_poisson": (zero_inflated, data.inflated_counts),
}
"""The same model in statsmodels, and its data."""


def peer_table(names: list[str], fits: int) -> pd.DataFrame:
    rows = {}
    for name in names:
        (build, frame), model = (PEERS[name][0], PEERS[name][1]()), GALLERY[name].build()
        peer = build(frame)
        loglik, seconds = timed(lambda model=model: find_mle(model), fits)
        peer_loglik, peer_seconds = timed(lambda peer=peer: peer_estimated(peer), fits)
        rows[name] = {
            "mle_pp": 1e3 * seconds,
            "statsmodels": 1e3 * peer_seconds,
            "statsmodels lacks": loglik - peer_loglik,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def peer_estimated(peer: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where it did not converge, the log-likelihood shows it
        result = peer.fit(disp=0)
        np.asarray(result.bse)
    return result.llf


def timed(fit: Callable[[], float], times: int) -> tuple[float, float]:
    """What `fit` returns, and the median of its seconds after one call to warm up."""
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        loglik = fit()
        seconds.append(time.perf_counter() - start)
    return loglik, median(seconds[1:])


if __name__ == "__main__":
    main()
