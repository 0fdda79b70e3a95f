"""Likelihood regions against ellipses, closed forms and profile intervals."""

import doctest

import numpy as np
import pymc as pm
import pytest
from scipy import stats
from scipy.special import xlogy

import mle_pp as mle
from mle_pp.intervals import regions

DROP = stats.chi2.ppf(0.95, 2) / 2
DOSE = np.arange(11.0)
COUNTS = np.array([26, 17, 13, 12, 20, 5, 9, 8, 5, 4, 8])
RNG = np.random.default_rng(20260215)


@pytest.fixture(scope="module")
def ec50():
    with pm.Model() as model:
        ymax, xhalf = pm.HalfNormal("ymax", 50), pm.HalfNormal("xhalf", 10)
        pm.Deterministic("logs", pm.math.log(pm.math.stack([ymax, xhalf])))
        pm.Poisson("y", ymax / (1 + DOSE / xhalf), observed=COUNTS)
    return mle.find_MLE(model)


def winding(x, y, center):
    """How often a closed curve goes around a point, counter-clockwise."""
    angle = np.unwrap(np.arctan2(y - center[1], x - center[0]))
    return (angle[-1] - angle[0]) / (2 * np.pi)


def test_a_quadratic_likelihood_has_an_ellipse():
    X = np.column_stack([np.ones(12), RNG.normal(size=(12, 2))])
    with pm.Model() as model:
        beta = pm.Normal("beta", 0, 10, shape=3)
        pm.Normal("y", X @ beta, 0.7, observed=X @ [1.0, -2.0, 0.5] + RNG.normal(size=12))
    est = mle.find_MLE(model)
    weights = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
    found = mle.region(est, "beta[0]", "beta[1] - beta[2]", ci_prob=0.95)
    center = weights @ est.params["beta"].values
    np.testing.assert_allclose(found.estimate, center, rtol=1e-12)
    away = np.column_stack([found.x, found.y]) - center
    precision = np.linalg.inv(weights @ est.cov().values @ weights.T)
    np.testing.assert_allclose(np.einsum("ki,ij,kj->k", away, precision, away), 2 * DROP, rtol=1e-8)
    assert found.is_closed
    assert found.x.size >= 60
    assert winding(found.x, found.y, center) == pytest.approx(1)


def test_all_points_are_on_the_boundary(ec50):
    found = mle.region(ec50, "ymax", "xhalf", ci_prob=0.95)
    rate = found.x[:, None] / (1 + DOSE / found.y[:, None])
    loglik = np.sum(xlogy(COUNTS, rate) - rate, axis=1)
    est_rate = float(ec50.params["ymax"]) / (1 + DOSE / float(ec50.params["xhalf"]))
    top = np.sum(xlogy(COUNTS, est_rate) - est_rate)
    np.testing.assert_allclose(top - loglik, DROP, rtol=1e-8)
    assert (found.x[0], found.y[0]) == (found.x[-1], found.y[-1])
    line = f"xhalf = {float(ec50.params['xhalf']):.4g}, boundary from {found.y.min():.4g} to {found.y.max():.4g}"
    for text in (repr(found), found._repr_html_()):
        assert "Likelihood region of ymax and xhalf, 95 %, closed" in text
        assert line in text
    assert winding(np.log(found.x), np.log(found.y), np.log(found.estimate)) == pytest.approx(1)
    assert found.loglik == pytest.approx(ec50.loglik - DROP)


def test_its_extent_is_that_of_the_profile_with_the_same_cutoff(ec50):
    found = mle.region(ec50, "ymax", "xhalf", ci_prob=0.95, points=400)
    same = stats.chi2.cdf(2 * DROP, 1)
    one = mle.profile(ec50, ["ymax", "xhalf"], ci_prob=same, points=0)
    for label, values in (("ymax", found.x), ("xhalf", found.y)):
        np.testing.assert_allclose([values.min(), values.max()], [one[label].lower, one[label].upper], rtol=1e-3)


def test_other_scalars_of_the_same_model_have_the_mapped_region(ec50):
    """Points of one region are on the boundary of the other one."""
    found = mle.region(ec50, "logs[0]", "ymax / xhalf", ci_prob=0.95)
    ymax = np.exp(found.x)
    rate = ymax[:, None] / (1 + DOSE / (ymax / found.y)[:, None])
    loglik = np.sum(xlogy(COUNTS, rate) - rate, axis=1)
    np.testing.assert_allclose(np.ptp(loglik), 0, atol=1e-8)


def test_with_nuisance_parameters():
    """Normal data with unknown variance: n/2 log(1 + d²/s²) is the fall, an ellipse that is larger than Wald's."""
    X = np.column_stack([np.ones(10), np.arange(10) - 4.5])
    y = X @ [1.0, 0.3] + RNG.normal(size=10)
    with pm.Model() as model:
        a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
        pm.Normal("y", X[:, 0] * a + X[:, 1] * b, pm.HalfNormal("sigma", 5), observed=y)
    est = mle.find_MLE(model)
    found = mle.region(est, "a", "b", ci_prob=0.95)
    residuals = y[None, :] - np.outer(found.x, X[:, 0]) - np.outer(found.y, X[:, 1])
    rss, best = np.sum(residuals**2, axis=1), 10 * float(est.params["sigma"]) ** 2
    np.testing.assert_allclose(5 * np.log(rss / best), DROP, rtol=1e-8)


def test_a_region_that_reaches_to_infinity():
    """Two observations of a Student t: the degrees of freedom have no upper limit."""
    y = stats.t.ppf((np.arange(40) + 0.5) / 40, 5)
    with pm.Model() as model:
        nu, sigma = pm.HalfNormal("nu", 20, initval=8), pm.HalfNormal("sigma", 5)
        pm.StudentT("y", nu=nu, mu=0, sigma=sigma, observed=y)
    est = mle.find_MLE(model)
    found = mle.region(est, "nu", "sigma", ci_prob=0.95)
    assert not found.is_closed
    assert found.x.max() > 1e3
    loglik = [np.sum(stats.t.logpdf(y, *pair)) for pair in zip(found.x, np.zeros_like(found.x), found.y, strict=True)]
    np.testing.assert_allclose(est.loglik - np.array(loglik), DROP, rtol=1e-6)


def test_a_bent_region_is_followed():
    """A banana: b is near a², so that the region is neither convex nor star-shaped."""
    with pm.Model() as model:
        a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
        pm.Normal("y", pm.math.stack([a, 20 * (b - a**2)]), 1.0, observed=[0.0, 0.0])
    found = mle.region(mle.find_MLE(model), "a", "b", ci_prob=0.95)
    assert found.is_closed
    np.testing.assert_allclose(found.x**2 + 400 * (found.y - found.x**2) ** 2, 2 * DROP, rtol=1e-8)
    assert found.x.min() == pytest.approx(-np.sqrt(2 * DROP), rel=1e-2)
    assert found.x.max() == pytest.approx(np.sqrt(2 * DROP), rel=1e-2)


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "message"),
    [
        ("logs", "ymax", {}, ValueError, r"logs has 2 elements, and one is needed: logs\[0\], logs\[1\]"),
        ("ymax", "tau", {}, KeyError, "tau in 'tau'"),
        ("ymax", "logs[0]", {}, ValueError, "depend on each other"),
        ("ymax", "xhalf", {"ci_prob": 1.0}, ValueError, "not a probability"),
        ("ymax", "xhalf", {"points": 3}, ValueError, "points=3"),
    ],
)
def test_bad_arguments(ec50, x, y, options, error, message):
    with pytest.raises(error, match=message):
        mle.region(ec50, x, y, **options)


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_what_the_verdict_withholds_has_no_region():
    with pm.Model() as model:
        a, b, p = pm.Normal("a"), pm.Normal("b"), pm.Beta("p", 1, 1)
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0, 3.0, 4.0])
        pm.Bernoulli("z", p, observed=[0, 0, 0])
    est = mle.find_MLE(model)
    with pytest.raises(ValueError, match="a has no region: the data do not determine it"):
        mle.region(est, "a", "a + b")
    with pytest.raises(ValueError, match="p has no region: its estimate is at a limit"):
        mle.region(est, "p", "a + b")


def test_examples_in_docstrings():
    assert doctest.testmod(regions).failed == 0
