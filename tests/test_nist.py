"""NIST's nonlinear regressions: certified estimates and standard errors, from both official starts, one each.

`reference/nist.json` holds data, starts and certified values (11 digits) and says where they come from.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import mle_pp as mle
from mle_pp import Status

PROBLEMS = json.loads((Path(__file__).parent / "reference/nist.json").read_text(encoding="utf-8"))["problems"]


def exp(values):
    return np.exp(values) if isinstance(values, np.ndarray) else pt.exp(values)


def exponentials(b, x):
    return b[0] * exp(-b[1] * x) + b[2] * exp(-b[3] * x) + b[4] * exp(-b[5] * x)


def peaks(b, x):
    first, second = exp(-((x - b[3]) ** 2) / b[4] ** 2), exp(-((x - b[6]) ** 2) / b[7] ** 2)
    return b[0] * exp(-b[1] * x) + b[2] * first + b[5] * second


def cubics(b, x):
    return (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


MEANS = {
    "BoxBOD": lambda b, x: b[0] * (1 - exp(-b[1] * x)),
    "Chwirut2": lambda b, x: exp(-b[0] * x) / (b[1] + b[2] * x),
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "Gauss1": peaks,
    "Gauss3": peaks,
    "Hahn1": cubics,
    "Kirby2": lambda b, x: (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2),
    "Lanczos3": exponentials,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH17": lambda b, x: b[0] + b[1] * exp(-x * b[3]) + b[2] * exp(-x * b[4]),
    "Misra1a": lambda b, x: b[0] * (1 - exp(-b[1] * x)),
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** (-2)),
    "Nelson": lambda b, time, temperature: b[0] - b[1] * time * exp(-b[2] * temperature),
    "Rat42": lambda b, x: b[0] / (1 + exp(b[1] - b[2] * x)),
    "Thurber": cubics,
}


def response(name):
    y = np.array(PROBLEMS[name]["y"])
    return np.log(y) if name == "Nelson" else y


@cache
def fit(name, start):
    """Sigma starts at the standard deviation of the residuals there."""
    problem, y = PROBLEMS[name], response(name)
    begin, x = np.array(problem["starts"][start]), [np.array(column) for column in problem["x"]]
    residuals = y - MEANS[name](begin, *x)
    with pm.Model() as model:
        b = pm.Flat("b", shape=len(begin), initval=begin)
        sigma = pm.HalfFlat("sigma", initval=residuals.std())
        pm.Normal("y", MEANS[name](b, *x), sigma, observed=y)
    return mle.find_MLE(model, starts=1)


def digits(found, certified) -> float:
    """Digits that agree: the log relative error of McCullough (1998), The American Statistician 52, 358-366."""
    found, certified = np.asarray(found), np.asarray(certified)
    return float(-np.log10(np.max(np.abs(found / certified - 1)) + 1e-300))


def test_all_problems_are_here():
    assert list(PROBLEMS) == list(MEANS)
    for name, problem in PROBLEMS.items():
        n, rss = len(problem["y"]), problem["rss"]
        assert problem["sigma"] == pytest.approx(np.sqrt(rss / n), rel=1e-12)
        assert problem["loglik"] == pytest.approx(-n / 2 * (np.log(2 * np.pi * rss / n) + 1), rel=1e-12), name


@pytest.mark.parametrize("start", [0, 1], ids=["start1", "start2"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_certified_values(name, start):
    est, problem = fit(name, start), PROBLEMS[name]
    assert est.verdict.status is Status.CONVERGED
    assert len(est.starts) == 1
    assert digits(est.params["b"], problem["estimate"]) >= 6
    assert digits(est.params["sigma"], problem["sigma"]) >= 6
    # Lanczos' residuals are rounding errors of the data in the 13th digit
    assert est.loglik == pytest.approx(problem["loglik"], rel=1e-8)
    # The certified errors are those of the expected information, with the divisor n - p
    n, p = len(problem["y"]), len(problem["estimate"])
    errors = np.sqrt(np.diag(est.cov("expected"))[:p] * n / (n - p))
    assert digits(errors, problem["stderr"]) >= 5


@pytest.mark.parametrize("name", ["Misra1a", "MGH09", "Thurber"])
def test_observed_information(name):
    """Its standard errors differ, by the curvature of the mean: H = (J'J - Σ residual × curvature) / σ²."""
    est, problem = fit(name, 1), PROBLEMS[name]
    x, y, p = [np.array(column) for column in problem["x"]], response(name), len(problem["estimate"])
    b, sigma = est.params["b"].to_numpy(), float(est.params["sigma"])
    beta = pt.vector("beta")
    rss = ((y - MEANS[name](beta, *x)) ** 2).sum()
    with pytensor.config.change_flags(cxx=""):
        derivatives = pytensor.function([beta], [pt.grad(rss, beta), pt.hessian(rss, beta)], mode=Mode("py", None))
        gradient, hessian = derivatives(b)
    np.testing.assert_allclose(gradient / np.sqrt(np.diag(hessian)) / sigma, 0, atol=1e-5)
    np.testing.assert_allclose(
        np.sqrt(np.diag(est.cov()))[:p], sigma * np.sqrt(np.diag(np.linalg.inv(hessian / 2))), rtol=1e-6
    )
