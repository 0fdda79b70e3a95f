"""Generated regressions of several families, each verdict and number checked independently.

Whether a maximum exists is decided by the rank of the design and by linear programming (Albert and Anderson 1984 for
the logit; the same cone for Poisson counts); the numbers by Newton's method in 40-digit arithmetic (mpmath) on
hand-written derivatives. The suite runs a few dozen problems; ``python tests/test_sweep.py 2000`` as many as asked
for.
"""

import sys
import warnings
from collections import Counter
from dataclasses import dataclass

import hypothesis
import mpmath as mp
import numpy as np
import pymc as pm
import pytest
from hypothesis import strategies as st
from scipy.optimize import linprog

import mle_pp as mle
from mle_pp import Status

FAMILIES = ("normal", "bernoulli", "poisson", "exponential")


@dataclass
class Problem:
    """A generalized linear model with its data, and what is known of its maximum."""

    family: str
    X: np.ndarray
    y: np.ndarray
    collinear: bool

    def model(self):
        with pm.Model() as model:
            beta = pm.Normal("beta", 0, 10, shape=self.X.shape[1])
            eta = self.X @ beta
            if self.family == "normal":
                pm.Normal("y", eta, pm.HalfNormal("sigma", 10), observed=self.y)
            elif self.family == "bernoulli":
                pm.Bernoulli("y", logit_p=eta, observed=self.y)
            elif self.family == "poisson":
                pm.Poisson("y", pm.math.exp(eta), observed=self.y)
            else:
                pm.Exponential("y", pm.math.exp(-eta), observed=self.y)
        return model

    def expected(self):
        """The right statuses."""
        runs_off = self.family in ("bernoulli", "poisson") and recedes(self.X, self.y, self.family)
        if self.collinear:
            return {Status.NOT_IDENTIFIED, Status.AT_INFINITY} if runs_off else {Status.NOT_IDENTIFIED}
        return {Status.AT_INFINITY} if runs_off else {Status.CONVERGED}


def generate(seed):
    """A problem from a seed: designs from orthogonal to exactly collinear, separated or not, with outliers or not."""
    rng = np.random.RandomState(seed)
    family = FAMILIES[rng.randint(4)]
    n, p = rng.randint(10, 60), rng.randint(1, 5)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))]) if rng.rand() < 0.8 else rng.normal(size=(n, p))
    if p > 1 and rng.rand() < 0.3:
        X[:, -1] = (rng.rand(n) < rng.choice([0.1, 0.5])).astype(float)
    collinear = False
    if p > 2:
        closeness = rng.choice([1.0, 1e-2, 1e-4, 0.0])
        if closeness < 1:
            X[:, -2] = X[:, :-2] @ rng.randint(1, 4, size=p - 2) + closeness * X[:, -2]
            collinear = closeness == 0
    X[:, 1:] *= 10.0 ** rng.randint(-3, 4, size=p - 1)
    # Effects of order one on the linear predictor, whatever the units
    eta = X @ (rng.normal(size=p) * rng.choice([0.3, 1, 3]) / np.maximum(np.abs(X).max(axis=0), 1e-12))
    if family == "normal":
        y = eta + rng.normal(size=n) * 10.0 ** rng.randint(-2, 3)
        if rng.rand() < 0.3:
            y[rng.randint(n)] += 50 * y.std()
    elif family == "bernoulli":
        y = (rng.rand(n) < 1 / (1 + np.exp(-eta))).astype(int)
    elif family == "poisson":
        y = rng.poisson(np.exp(np.clip(eta, -5, 3)))
        if rng.rand() < 0.3:
            y[rng.randint(n)] += 60
    else:
        y = rng.exponential(np.exp(np.clip(eta, -5, 5)))
    return Problem(family, X, y, collinear or np.linalg.matrix_rank(X / np.abs(X).max(axis=0).clip(1e-300)) < p)


def recedes(X, y, family):
    """Whether the likelihood rises for ever along some direction: a linear program finds one or shows there is none."""
    if family == "bernoulli":
        free, tied = X * (2 * y - 1)[:, None], np.zeros((0, X.shape[1]))
    else:
        free, tied = -X[y == 0], X[y > 0]
    if len(free) == 0:
        return False
    scale = np.where(np.any(X, axis=0), np.abs(X).max(axis=0), 1.0)
    free, tied = free / scale, tied / scale
    found = linprog(
        -free.sum(axis=0),
        A_ub=-free,
        b_ub=np.zeros(len(free)),
        A_eq=tied if len(tied) else None,
        b_eq=np.zeros(len(tied)) if len(tied) else None,
        bounds=[(-1, 1)] * X.shape[1],
    )
    return found.status == 0 and -found.fun > 1e-7


def truth(problem, start):
    """Estimates and standard errors of the coefficients in 40 digits, from a start near the maximum."""
    with mp.workdps(40):
        X, beta = mp.matrix(problem.X.tolist()), mp.matrix([float(b) for b in start])
        y = [mp.mpf(float(v)) for v in problem.y]
        n, p = X.rows, X.cols
        for _ in range(60):
            eta = X * beta
            if problem.family == "normal":
                first, second = [y[i] - eta[i] for i in range(n)], [mp.mpf(1)] * n
            elif problem.family == "bernoulli":
                mu = [1 / (1 + mp.exp(-e)) for e in eta]
                first, second = [y[i] - mu[i] for i in range(n)], [m * (1 - m) for m in mu]
            elif problem.family == "poisson":
                mu = [mp.exp(e) for e in eta]
                first, second = [y[i] - mu[i] for i in range(n)], mu
            else:
                ratio = [y[i] * mp.exp(-eta[i]) for i in range(n)]
                first, second = [r - 1 for r in ratio], ratio
            gradient = mp.matrix([mp.fsum(X[i, j] * first[i] for i in range(n)) for j in range(p)])
            H = mp.matrix(p, p)
            for j in range(p):
                for k in range(p):
                    H[j, k] = mp.fsum(X[i, j] * X[i, k] * second[i] for i in range(n))
            step = mp.lu_solve(H, gradient)
            beta += step
            if mp.norm(step, mp.inf) < mp.mpf(10) ** -30 * (1 + mp.norm(beta, mp.inf)):
                break
        else:
            return None
        inverse = H**-1
        if problem.family == "normal":
            eta = X * beta
            inverse *= mp.fsum((y[i] - eta[i]) ** 2 for i in range(n)) / n
        return np.array([float(b) for b in beta]), np.array([float(mp.sqrt(inverse[j, j])) for j in range(p)])


def judge(seed):
    """What is wrong with the fit of a problem; "ok" if nothing is."""
    problem = generate(seed)
    expected = problem.expected()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = mle.find_MLE(problem.model(), on_failure="return")
    status = est.verdict.status
    if status not in expected:
        wrong = "WRONG" if status is Status.CONVERGED else "false alarm" if Status.CONVERGED in expected else "confused"
        return f"{wrong}: {problem.family} {problem.X.shape} {status} for {sorted(expected)}"
    if status is Status.CONVERGED:
        reference = truth(problem, est.params["beta"].values)
        if reference is None:
            return "WRONG: Newton's method in 40 digits finds no maximum nearby"
        beta, error = reference
        off = np.max(np.abs(est.params["beta"].values - beta) / error)
        off_error = np.max(np.abs(est.stderr()["beta"].values / error - 1))
        if off > 1e-6 or off_error > 1e-5:
            return f"WRONG: estimates off by {off:.1e} standard errors, these by {off_error:.1e}"
    return "ok"


@hypothesis.settings(max_examples=25)
@hypothesis.given(st.integers(0, 2**31 - 1))
def test_sweep(seed):
    assert judge(seed) == "ok"


@pytest.mark.parametrize("seed", [1001, 1280])
def test_responses_that_are_all_the_same(seed):
    """Every direction is level out there, and the design has full rank: at infinity, not unidentified."""
    assert judge(seed) == "ok"


@pytest.mark.parametrize("seed", [2, 3, 12])
def test_the_check_itself_can_fail(seed):
    problem = generate(seed)
    assert problem.expected()
    found = truth(problem, np.zeros(problem.X.shape[1]))
    if found is not None and problem.family == "normal":
        np.testing.assert_allclose(found[0], np.linalg.lstsq(problem.X, problem.y)[0], rtol=1e-6)


if __name__ == "__main__":
    tally = Counter()
    for number in range(int(sys.argv[1])):
        result = judge(number)
        tally[result.split(":")[0]] += 1
        if result != "ok":
            print(number, result, flush=True)
    print(dict(tally))
