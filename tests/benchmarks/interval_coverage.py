"""Coverage of Wald and profile intervals: ``python tests/benchmarks/interval_coverage.py [replicates]`` writes
the table ``tests/reference/coverage.csv`` and prints it. 4,000 replicates (the default) take some minutes a model.

Five models of the gallery on 30 observations each, data simulated from the estimate, 95 % intervals. Where the law of
the likelihood ratio is known (`exact_coverage`), so is the coverage of profile intervals; ``tests/test_coverage.py``
compares.

The columns of the table: the share of intervals that hold the true value and its Monte Carlo standard error, the mean
width, the number of refits without an interval, the exact coverage.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
from scipy.optimize import brentq
from scipy.stats import chi2, gamma, t

import mle_pp as mle
from models import censored_weibull, exponential, linear_regression, normal, poisson_regression

TABLE = Path(__file__).parents[1] / "reference" / "coverage.csv"
N, PROB = 30, 0.95
CUTOFF = chi2.ppf(PROB, 1)


def build() -> dict[str, pm.Model]:
    """The models, each on its own seeded data."""
    rng = np.random.default_rng(20260501)
    x = pd.DataFrame(rng.normal(size=(N, 2)), columns=["x1", "x2"])
    line = 1 + x.to_numpy() @ [0.5, -0.3]
    time = rng.weibull(1.5, N) * np.exp(line)
    limit = np.full(N, np.quantile(time, 0.8))
    return {
        "normal": normal(rng.normal(3, 2, N)),
        "linear_regression": linear_regression(x.assign(y=line + rng.normal(size=N))),
        "exponential": exponential(rng.exponential(2.0, N)),
        "poisson_regression": poisson_regression(x.assign(y=rng.poisson(np.exp(line)))),
        "censored_weibull": censored_weibull(x.assign(time=np.minimum(time, limit), limit=limit)),
    }


def _mean(coefficients: int) -> float:
    """Of a coefficient: the likelihood ratio is n log(1 + t²/(n − k)), with t of n − k degrees of freedom."""
    free = N - coefficients
    return float(1 - 2 * t.sf(np.sqrt(free * np.expm1(CUTOFF / N)), free))


def _between(law, scale: float) -> float:
    """Of a v with the law given, where the likelihood ratio is scale · (v − 1 − log v)."""

    def excess(v: float) -> float:
        return scale * (v - 1 - np.log(v)) - CUTOFF

    return float(law.cdf(brentq(excess, 1, 50)) - law.cdf(brentq(excess, 1e-9, 1)))


def exact_coverage() -> dict[tuple[str, str], float]:
    """Coverage of profile intervals, by model and scalar, where it is known.

    The maximum over everything but σ leaves n (v − 1 − log v) with v = RSS/(nσ²), of which n v is χ² with n − k degrees
    of freedom; the mean of exponential times leaves 2n (v − 1 − log v) with v = λȳ, of which n v is Gamma(n).
    """
    sigma = {k: _between(chi2(N - k, scale=1 / N), N) for k in (1, 3)}
    return {
        ("normal", "mu"): _mean(1),
        ("normal", "sigma"): sigma[1],
        ("linear_regression", "intercept"): _mean(3),
        ("linear_regression", "beta[x1]"): _mean(3),
        ("linear_regression", "beta[x2]"): _mean(3),
        ("linear_regression", "sigma"): sigma[3],
        ("exponential", "lam"): _between(gamma(N, scale=1 / N), 2 * N),
    }


def study(name: str, model: pm.Model, replicates: int) -> pd.DataFrame:
    """The rows of one model."""
    found = mle.coverage(mle.find_MLE(model), replicates, ("wald", "profile"), PROB, random_seed=1)
    rows = found.table.reset_index().assign(model=name)
    rows["exact"] = [
        exact_coverage().get((name, scalar), np.nan) if kind == "profile" else np.nan
        for kind, scalar in zip(rows["kind"], rows["scalar"], strict=True)
    ]
    columns = ["model", "scalar", "kind", "coverage", "mcse", "width", "missing", "exact"]
    return rows[columns].sort_values(["scalar", "kind"], kind="stable")


def main(replicates: int) -> None:
    parts = []
    for name, model in build().items():
        parts.append(study(name, model, replicates))
        print(parts[-1].to_string(index=False), flush=True)
    table = pd.concat(parts)
    command = f"python tests/benchmarks/interval_coverage.py {replicates}"
    header = f"# {replicates} replicates, n = {N}, {100 * PROB:g} %: {command}\n"
    TABLE.write_text(header + table.to_csv(index=False, float_format="%.5f"), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
