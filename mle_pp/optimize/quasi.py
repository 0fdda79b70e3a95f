"""For thousands of parameters: SciPy's L-BFGS, polished by a trust-region Newton method on Hessian-vector products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from mle_pp.objective import Objective
from mle_pp.optimize.optimum import Optimum, Stop


def quasi_newton(objective: Objective, start: np.ndarray, known: Sequence[Optimum] = ()) -> Optimum:
    """Maximize without a full Hessian, except the one at the end that the judgment of the result needs."""

    def negative(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective.value_gradient(x)
        # SciPy's line search takes a large value for a bad step, but not an infinite one.
        return (-value, -gradient) if np.isfinite(value) else (1e300, np.zeros_like(x))

    first = minimize(negative, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 20000})
    second = minimize(
        negative,
        first.x,
        jac=True,
        hessp=lambda x, v: np.nan_to_num(-objective.product(x, v)),
        method="trust-ncg",
        options={"gtol": 1e-10 * max(1.0, abs(first.fun)), "maxiter": 200},
    )
    best = min((first, second), key=lambda result: result.fun)
    value, gradient = objective.value_gradient(best.x)
    hessian = objective.hessian(best.x)
    stop = Stop.SMALL_DECREMENT if first.success or second.success else Stop.ITERATIONS
    return Optimum(
        best.x, value, gradient, hessian, stop, "L-BFGS → trust-ncg", int(first.nit + second.nit),
        int(first.nfev + second.nfev), best.x - first.x,
    )  # fmt: skip
