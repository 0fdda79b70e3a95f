"""The references of the mixed models, checked without the library: each is the maximum that it claims to be."""

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from tests import mixed
from tests.generalized_mixed import Differences, Laplace, cbpp_quadrature, step_to_the_maximum
from tests.linear_mixed import Components, LinearMixed
from tests.mixed import CASES, DYESTUFF2, LARGE, SMALL_LINEAR, fits, limits_of_r, read, reference

pytestmark = pytest.mark.skipif(not mixed.HAS_CASES, reason="shared/cases/mixed is not beside the repository")

POLISHED = ["Salamanders_nb2", "Salamanders_zip", "grouseticks", "cbpp_laplace"]


def covariance(problem: LinearMixed, phi: np.ndarray) -> np.ndarray:
    """V, written out."""
    G = sum(value * E for value, E in zip(phi[1:], problem.E, strict=True)).toarray()
    Z = problem.Z.toarray()
    return phi[0] * np.eye(len(Z)) + Z @ G @ Z.T


@pytest.mark.parametrize("name", SMALL_LINEAR)
def test_the_oracle_has_the_normal_density(name):
    problem, found = LinearMixed(CASES[name]), reference(name)
    phi = problem.phi(found.estimate[problem.n_beta :])[0]
    at = Components(problem, phi)
    V, X = covariance(problem, phi), problem.X
    expected = multivariate_normal.logpdf(problem.y, X @ at.beta, V)
    if problem.restricted:
        expected -= np.linalg.slogdet(X.T @ np.linalg.solve(V, X) / (2 * np.pi))[1] / 2
    assert at.loglik(at.beta) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", SMALL_LINEAR)
def test_the_oracle_has_its_derivatives(name):
    problem, found = LinearMixed(CASES[name]), reference(name)
    n, psi = problem.n_beta, found.estimate[problem.n_beta :] * 1.1
    phi = problem.phi(psi)[0]
    beta = Components(problem, phi).beta * (1.0 if problem.restricted else 1.01)

    def loglik(x):
        at = Components(problem, x[n:])
        return at.loglik(at.beta if problem.restricted else x[:n])

    x = np.append(beta[:n], phi)
    differences = Differences(loglik, x, np.abs(x), 1e-3)
    gradient, hessian = differences.gradient(), differences.hessian()
    ours = Components(problem, phi).derivatives(beta)
    scale = np.abs(x)
    np.testing.assert_allclose(ours[0] * scale, gradient * scale, rtol=1e-6, atol=1e-6)
    unit = np.outer(scale, scale)
    np.testing.assert_allclose(ours[1] * unit, hessian * unit, rtol=1e-5, atol=1e-5 * np.abs(hessian * unit).max())


def test_the_restricted_likelihood_is_an_integral():
    """Over the mean of Dyestuff, under a flat prior."""
    problem, found = LinearMixed(CASES["Dyestuff_reml"]), reference("Dyestuff_reml")
    at = Components(problem, problem.phi(found.estimate)[0])
    full = Components(LinearMixed(CASES["Dyestuff_ml"]), at.phi)
    top = full.loglik(full.beta)
    area = quad(lambda b: np.exp(full.loglik(np.array([b])) - top), 1300, 1750, points=[1527.5], epsabs=1e-10)[0]
    assert top + np.log(area) == pytest.approx(found.loglik, abs=1e-9)


@pytest.mark.parametrize("name", SMALL_LINEAR)
def test_linear_references(name):
    problem, found = LinearMixed(CASES[name]), reference(name)
    best = problem.maximum(found.estimate[problem.n_beta :] * 1.02)
    np.testing.assert_allclose(best.loglik, found.loglik, atol=1e-11 * abs(found.loglik))
    np.testing.assert_allclose(best.estimate, found.estimate, rtol=1e-10)
    np.testing.assert_allclose(best.stderr, found.stderr, rtol=1e-8)
    # and lme4, with its own optimizer
    r = fits(CASES[name].source)
    assert r["logLik"] == pytest.approx(found.loglik, abs=1e-9)
    sds = [row["sdcor"] for row in r["VarCorr"]]
    np.testing.assert_allclose(best.estimate[problem.n_beta :], sds, rtol=2e-6)
    np.testing.assert_allclose(problem.at.beta, list(r["fixef"].values()), rtol=1e-10)


@pytest.mark.parametrize("name", LARGE)
def test_large_linear_references(name):
    """A Newton step from them, ten seconds."""
    problem, found = LinearMixed(CASES[name]), reference(name)
    phi, slope = problem.phi(found.estimate[problem.n_beta :])
    at = Components(problem, phi)
    beta = found.estimate[: problem.n_beta]
    assert at.loglik(beta) == pytest.approx(found.loglik, abs=1e-8)
    assert fits(CASES[name].source)["logLik"] == pytest.approx(found.loglik, abs=1e-8)
    gradient, hessian = at.derivatives(beta)
    jacobian = np.eye(len(gradient))
    jacobian[problem.n_beta :, problem.n_beta :] = slope
    cov = np.linalg.inv(-jacobian.T @ hessian @ jacobian)
    np.testing.assert_allclose(cov @ jacobian.T @ gradient / found.stderr, 0, atol=1e-7)
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), found.stderr, rtol=1e-7)


@pytest.mark.parametrize("name", [name for name in SMALL_LINEAR if not CASES[name].restricted])
def test_profile_limits_of_r(name):
    """lme4 interpolates its profiles: of Dyestuff, the lower limit of the batches' sd is 1.7e-4 off."""
    problem, found = LinearMixed(CASES[name]), reference(name)
    rtol = 2e-4 if name == "Dyestuff_ml" else 6e-5
    for label, limits in limits_of_r(name).items():
        exact = [problem.profile_limit(found, label, upper) for upper in (False, True)]
        np.testing.assert_allclose(limits, exact, rtol=rtol, err_msg=label)


@pytest.mark.parametrize("name", POLISHED)
def test_references_by_laplace(name):
    found, loglik = reference(name), Laplace(CASES[name])
    assert loglik(found.estimate) == pytest.approx(found.loglik, abs=1e-9)
    step, stderr = step_to_the_maximum(loglik, found, 0.03)
    np.testing.assert_allclose(step, 0, atol=1e-6)
    np.testing.assert_allclose(stderr, found.stderr, rtol=1e-6)


@pytest.mark.parametrize("name", ["cbpp_laplace", "cbpp_9", "cbpp_25"])
def test_references_by_quadrature(name):
    """In 30 digits, so that the differences are exact."""
    with mp.workdps(30):
        found, loglik = reference(name), cbpp_quadrature(CASES[name].nodes)
        differences = Differences(loglik, found.estimate, found.stderr, 1e-4, mp.mpf)
        assert float(differences.value()) == pytest.approx(found.loglik, abs=1e-12)
        np.testing.assert_allclose(found.cov @ differences.gradient() / found.stderr, 0, atol=1e-13)
        if CASES[name].nodes < 25:  # a minute
            np.testing.assert_allclose(differences.hessian() @ found.cov, -np.eye(5), atol=1e-10)


def test_quadrature_of_r_lacks_constants():
    """The difference does not depend on the number of nodes."""
    lacking = [reference(name).loglik - fits(CASES[name].source)["logLik"] for name in ("cbpp_9", "cbpp_25")]
    assert lacking[0] == pytest.approx(lacking[1], abs=1e-6)
    assert abs(lacking[0]) > 40


def orange_loglik(x: np.ndarray) -> float:
    """The asymptote enters linearly: the integral over the trees' is normal."""
    data = read("Orange")
    mean, xmid, scal, tau, sigma = x
    curve = 1 / (1 + np.exp(-(data["age"].to_numpy() - xmid) / scal))
    same = data["Tree"].to_numpy()[:, None] == data["Tree"].to_numpy()
    V = sigma**2 * np.eye(len(data)) + tau**2 * np.outer(curve, curve) * same
    return float(multivariate_normal.logpdf(data["circumference"], mean * curve, V))


def test_orange():
    found = reference("orange")
    assert orange_loglik(found.estimate) == pytest.approx(found.loglik, abs=1e-11)
    step, stderr = step_to_the_maximum(orange_loglik, found, 0.03)
    np.testing.assert_allclose(step, 0, atol=1e-6)
    np.testing.assert_allclose(stderr, found.stderr, rtol=1e-6)


@pytest.mark.parametrize(
    ("program", "lacks", "off", "misreported"),
    [("nlme", 1.3e-2, 0.16, 1e-7), ("nlmer_agq0", 1.3e-2, 0.16, 2e-5), ("nlmer_agq1", 2e-9, 6e-5, 1e-5)],
)
def test_other_programs_on_orange(program, lacks, off, misreported):
    """nlme and ``nAGQ=0`` approximate more coarsely: up to 0.16 standard errors from the maximum.

    The log-likelihood that ``nlmer`` reports is not that of its estimate; with ``nAGQ=1`` it exceeds the maximum.
    """
    found, fit = reference("orange"), fits("Orange")[program]
    sds = fit.get("sd") or [row["sdcor"] for row in fit["VarCorr"]]
    estimate = np.array([*fit["fixef"].values(), sds[0], fit["sigma"]])
    value = orange_loglik(estimate)
    assert 0 < found.loglik - value < lacks
    assert abs(value - fit["logLik"]) < misreported
    assert np.abs((estimate - found.estimate) / found.stderr).max() < off
    # standard errors that hold the variances fixed
    ratio = np.array(list(fit["se"].values())) / found.stderr[:3]
    assert (ratio > 0.95).all()
    assert (ratio < 1).all()


def test_dyestuff2_falls_from_zero_on():
    """The derivative in the variance of the batches is negative at zero, and nothing higher lies beyond."""
    y = read("Dyestuff2")["Yield"].to_numpy()
    sigma = y.std()
    r = fits(DYESTUFF2.source)
    assert r["sigma"] == pytest.approx(sigma, rel=1e-12)
    assert r["logLik"] == pytest.approx(-len(y) / 2 * (np.log(2 * np.pi * sigma**2) + 1), abs=1e-11)
    problem = LinearMixed(DYESTUFF2)
    grid = [problem.maximum_at(sd) for sd in np.geomspace(1e-3, 1e2, 40)]
    assert (np.diff([r["logLik"], *grid]) < 0).all()
