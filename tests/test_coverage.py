"""Coverage studies: the exact coverage of likelihood-ratio intervals, the kept table, and the counting itself."""

import doctest
import importlib
import importlib.util
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from scipy.stats import chi2, norm, t

import mle_pp as mle
from mle_pp.resample import coverage as function
from mle_pp.resample.replicates import Bootstrap

module = importlib.import_module(function.__module__)
HERE = Path(__file__).parent
Y = np.random.default_rng(7).normal(3, 2, 30)


def benchmark():
    spec = importlib.util.spec_from_file_location("coverage_benchmark", HERE / "benchmarks" / "interval_coverage.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def normal(y=Y, sigma=None):
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("y", mu, pm.HalfNormal("sigma", 10) if sigma is None else sigma, observed=y)
    return mle.find_MLE(model)


def test_exact_coverage_is_that_of_the_known_laws():
    """By simulation of t and χ² themselves, and to the three digits that are known from elsewhere."""
    exact = benchmark().exact_coverage()
    assert round(exact["normal", "mu"], 3) == 0.944
    assert round(exact["linear_regression", "intercept"], 3) == 0.935
    assert round(exact["linear_regression", "sigma"], 3) == 0.916
    rng, cutoff = np.random.default_rng(1), chi2.ppf(0.95, 1)
    ratio = 30 * np.log1p(t.rvs(27, size=400_000, random_state=rng) ** 2 / 27)
    assert np.mean(ratio <= cutoff) == pytest.approx(exact["linear_regression", "beta[x1]"], abs=0.0012)
    v = chi2.rvs(27, size=400_000, random_state=rng) / 30
    assert np.mean(30 * (v - 1 - np.log(v)) <= cutoff) == pytest.approx(exact["linear_regression", "sigma"], abs=0.0014)
    times = rng.exponential(size=(100_000, 30)).mean(axis=1)
    assert np.mean(60 * (times - 1 - np.log(times)) <= cutoff) == pytest.approx(exact["exponential", "lam"], abs=0.0025)


def test_each_interval_holds_what_its_likelihood_ratio_says():
    """Not by counting: replicate by replicate, from the simulated data."""
    est = normal()
    mu, sigma = float(est.params["mu"]), float(est.params["sigma"])
    seen = []
    found = mle.coverage(
        est, 60, ("wald", "profile", "posterior"), 0.9, posterior=lambda data: kept(seen, data), progressbar=False
    )
    assert found.limits.dims == ("replicate", "kind", "scalar", "ci_bound")
    z, cutoff = norm.ppf(0.95), chi2.ppf(0.9, 1)
    y = np.array(seen)
    center, width = y.mean(axis=1), y.std(axis=1)
    wald = found.limits.sel(kind="wald", scalar="mu").values
    np.testing.assert_allclose(wald, center[:, None] + np.outer(width, [-z, z]) / np.sqrt(30), rtol=1e-8)
    tested = 30 * np.log1p((center - mu) ** 2 / width**2) <= cutoff
    lower, upper = found.limits.sel(kind="profile", scalar="mu").values.T
    np.testing.assert_array_equal((lower <= mu) & (mu <= upper), tested)
    v = (width / sigma) ** 2 + (0 * center)
    best = 30 * (v - 1 - np.log(v)) <= cutoff
    lower, upper = found.limits.sel(kind="profile", scalar="sigma").values.T
    np.testing.assert_array_equal((lower <= sigma) & (sigma <= upper), best)
    row = found.table.loc["profile", "sigma"]
    assert row["coverage"] == pytest.approx(best.mean())
    assert row["mcse"] == pytest.approx(np.sqrt(best.mean() * (1 - best.mean()) / 60))
    assert row["above"] == pytest.approx(np.mean(lower > sigma))
    assert row["below"] == pytest.approx(np.mean(upper < sigma))
    assert row["width"] == pytest.approx(np.mean(upper - lower))
    assert row["width_mcse"] == pytest.approx(np.std(upper - lower, ddof=1) / np.sqrt(60))
    assert (row["intervals"], row["missing"]) == (60, 0)
    posterior = found.limits.sel(kind="posterior", scalar="mu").values
    np.testing.assert_allclose(posterior, center[:, None] + [-0.9, 0.9], rtol=1e-9)
    assert found.status == {"CONVERGED": 60}


def kept(seen, data):
    """Draws of a posterior that is known: uniform around the mean."""
    seen.append(data["y"])
    draws = data["y"].mean() + np.linspace(-1, 1, 101)
    return xr.Dataset({"mu": (("chain", "draw"), draws[None]), "sigma": (("chain", "draw"), 0 * draws[None] + 1)})


def test_bootstrap_intervals_are_those_of_refits():
    est = normal(sigma=2.0)
    found = mle.coverage(est, 40, ("wald", "bootstrap"), 0.9, n_bootstrap=99, progressbar=False)
    wald = found.limits.sel(kind="wald", scalar="mu").values
    bootstrap = found.limits.sel(kind="bootstrap", scalar="mu").values
    # The parametric bootstrap of a normal mean is N(ȳ, σ²/n): quantiles of 99 draws are off by a fifth of its sd or so
    assert np.abs(bootstrap - wald).max() < 2 * 2.0 / np.sqrt(30)
    assert np.abs((bootstrap - wald).mean(axis=0)).max() < 0.15 * 2.0 / np.sqrt(30)
    assert 0.7 < found.table.loc[("bootstrap", "mu"), "coverage"] <= 1


def test_too_few_refits_for_bootstrap_intervals_are_told():
    est = normal(sigma=2.0)
    with pytest.warns(mle.VerdictWarning, match=r"n_bootstrap=18 refits are too few for 90 % .*take 19 at least"):
        mle.coverage(est, 1, ("bootstrap",), 0.9, n_bootstrap=18, progressbar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mle.coverage(est, 1, ("bootstrap",), 0.9, n_bootstrap=19, progressbar=False)


def test_coverage_within_monte_carlo_error():
    """A small version of the kept table, on its models with exact coverage."""
    bench = benchmark()
    for name in ("normal", "exponential"):
        found = mle.coverage(
            mle.find_MLE(bench.build()[name]), 400, ci_prob=bench.PROB, random_seed=5, progressbar=False
        )
        for (model, scalar), exact in bench.exact_coverage().items():
            if model == name:
                error = np.sqrt(exact * (1 - exact) / 400)
                assert found.table.loc[("profile", scalar), "coverage"] == pytest.approx(exact, abs=4 * error)


def test_the_kept_table():
    """At least 4,000 replicates a model: exact where that is known, nowhere below both Wald's and 95 %.

    Below Wald's alone it is once, within 95 %'s Monte Carlo error: at the intercept of the Poisson regression, where
    Wald intervals hold the value a little too often.
    """
    bench = benchmark()
    header = bench.TABLE.read_text(encoding="utf-8").splitlines()[0]
    assert int(header.split()[1]) >= 4000
    table = pd.read_csv(bench.TABLE, comment="#").set_index(["model", "scalar", "kind"])
    assert set(table.index.get_level_values("model")) == set(bench.build())
    for (model, scalar), exact in bench.exact_coverage().items():
        row = table.loc[model, scalar, "profile"]
        assert row["exact"] == pytest.approx(exact, abs=1e-5)
        assert row["coverage"] == pytest.approx(exact, abs=3.5 * row["mcse"]), (model, scalar)
    coverage = table["coverage"].unstack("kind")
    mcse = table["mcse"].unstack("kind")
    goal = coverage["wald"].clip(upper=bench.PROB)
    assert (coverage["profile"] >= goal - 2 * mcse["profile"]).all()
    assert coverage["profile"].mean() > coverage["wald"].mean()
    assert (table["missing"] <= 40).all()


def test_failed_refits_are_counted_and_shown():
    x = np.linspace(-2, 2, 12)
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b")
        pm.Bernoulli("y", logit_p=a + b * x, observed=[0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1])
    found = mle.coverage(mle.find_MLE(model), 40, ("wald",), 0.9, progressbar=False)
    separated = found.status["AT_INFINITY"]
    assert sum(found.status.values()) == 40
    assert 0 < separated < 40
    row = found.table.loc[("wald", "b")]
    assert row["intervals"] + row["missing"] == 40
    assert row["missing"] == separated
    assert "AT_INFINITY" in repr(found)


def test_the_same_wherever_it_runs(tmp_path):
    est = normal()
    options = {"n": 24, "ci_prob": 0.9, "random_seed": 3, "progressbar": False}
    here = mle.coverage(est, path=tmp_path / "a.jsonl", **options)
    with ThreadPoolExecutor(2) as pool:
        there = mle.coverage(est, executor=pool, **options)
    xr.testing.assert_identical(here.limits, there.limits)
    xr.testing.assert_identical(mle.coverage(est, path=tmp_path / "a.jsonl", **options).limits, here.limits)
    with pytest.raises(mle.ModelError, match="holds another run: ci_prob"):
        mle.coverage(est, path=tmp_path / "a.jsonl", **{**options, "ci_prob": 0.8})
    with pytest.raises(mle.ModelError, match="holds another run: kind"):
        mle.bootstrap(est, 24, path=tmp_path / "a.jsonl", random_seed=3, progressbar=False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n=0 is not a whole number ≥ 1"),
        ({"n_bootstrap": -1}, ValueError, "n_bootstrap=-1 is not a whole number"),
        ({"kinds": "wald"}, ValueError, "kinds='wald' is not a sequence of 'wald', 'profile'"),
        ({"kinds": ["eti"]}, ValueError, "is not a sequence of"),
        ({"kinds": ["posterior"]}, ValueError, "need each other"),
        ({"ci_prob": 95}, ValueError, "ci_prob=95 is not a probability"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        mle.coverage(normal(), **{"n": 5, "progressbar": False, **options})


def test_estimates_without_coverage():
    with pm.Model() as model:
        pm.Bernoulli("y", pm.Beta("p", 1, 1), observed=np.zeros(5, dtype=int))
    with pytest.warns(mle.VerdictWarning):
        est = mle.find_MLE(model)
    with pytest.raises(mle.ModelError, match="no regular maximum"):
        mle.coverage(est, 5)


def test_examples_in_docstrings():
    assert Bootstrap.__module__ != module.__name__
    assert doctest.testmod(module).failed == 0
