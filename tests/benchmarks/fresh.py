"""One timed fit in the process that this file is run in: ``python fresh.py find_MLE|find_MAP MODEL``.

Timed is the call alone; importing and building the model come before. Prints JSON: seconds of wall time, seconds of
processor time (that of compilers it started included), the log-likelihood reached.
"""

import json
import os
import sys
import time
import warnings

sys.modules["jax"] = None  # `import jax` fails from here on: both are measured without JAX

import pymc as pm  # noqa: E402

import mle_pp as mle  # noqa: E402
from models import GALLERY  # noqa: E402


def find_mle(model: pm.Model) -> float:
    est = mle.find_MLE(model)
    est.stderr()
    return est.loglik


def find_map(flat: pm.Model) -> float:
    tree = pm.find_MAP(model=flat, compute_hessian=True, return_inferencedata=True, jitter=False, progressbar=False)
    return -float(tree["optimizer_result"]["fun"])


def main(task: str, name: str) -> None:
    warnings.simplefilter("ignore")
    model = GALLERY[name].build()
    if task == "find_MAP":
        fit, model = find_map, mle.flatten(model)
    else:
        fit = find_mle
    cpu, start = sum(os.times()[:4]), time.perf_counter()
    loglik = fit(model)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "cpu": sum(os.times()[:4]) - cpu, "loglik": loglik}))


if __name__ == "__main__":
    main(*sys.argv[1:])
