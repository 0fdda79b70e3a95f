"""How good `approximate_posterior` is on the gallery: its draws against a million proposals of the same kind.

``python tests/benchmarks/approximate.py`` prints the table: seconds, Pareto k (mean and largest of the runs), and the
median and the largest error of 12 runs of 4,000 draws, of the worst parameter: means in standard deviations, standard
deviations relative to them. Models that are refused (latent variables, no interior mode) are left out.

The first models, on a busy machine, so without times:

    model                                 k    max   mean    max     sd    max
    normal                            0.196  0.336  0.034  0.051  0.025  0.070
    poisson                          -1.302 -1.004  0.023  0.047  0.009  0.026
    bernoulli                        -1.358 -1.041  0.019  0.049  0.010  0.022
    exponential                      -1.578 -1.425  0.018  0.041  0.011  0.027
    linear_regression                -0.181 -0.060  0.029  0.042  0.017  0.030
    linear_regression_no_intercept   -0.362 -0.268  0.020  0.032  0.016  0.038
    hierarchical_regression          -0.181 -0.060  0.029  0.042  0.017  0.030
"""

import time
import warnings

import numpy as np

import mle_pp as mle
from models import GALLERY

RUNS = 12
DIMS = ("chain", "draw")


def main() -> None:
    """Print a line a model."""
    warnings.simplefilter("ignore")
    print(f"{'model':32} {'s':>5} {'k':>6} {'max':>6} {'mean':>6} {'max':>6} {'sd':>6} {'max':>6}")
    for name, entry in GALLERY.items():
        try:
            est = mle.find_MAP(entry.build())
            exact = mle.approximate_posterior(est, 250_000, random_seed=99)["posterior"].to_dataset()
        except mle.ModelError:
            continue
        start = time.perf_counter()
        runs = [mle.approximate_posterior(est, random_seed=seed)["posterior"].to_dataset() for seed in range(RUNS)]
        seconds = (time.perf_counter() - start) / RUNS
        k = [run.attrs["pareto_k"] for run in runs]
        errors = np.array([worst(run, exact, list(est.params)) for run in runs])
        numbers = [np.mean(k), max(k), *np.ravel([np.median(errors, axis=0), errors.max(axis=0)], order="F")]
        print(f"{name:32} {seconds:5.2f} " + " ".join(f"{number:6.3f}" for number in numbers), flush=True)


def worst(run, exact, names) -> tuple[float, float]:
    """The largest errors of a mean and of a standard deviation."""
    one, other = ((p[names].mean(DIMS), p[names].std(DIMS)) for p in (run, exact))
    means, sds = np.abs(one[0] - other[0]) / other[1], np.abs(one[1] / other[1] - 1)
    return tuple(max(float(array.max()) for array in part.values()) for part in (means, sds))


if __name__ == "__main__":
    main()
