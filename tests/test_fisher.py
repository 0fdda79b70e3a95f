"""The expected information: each family against the integral, or sum, of its score's square."""

import numpy as np
import pymc as pm
import pytest
from mpmath import mp, mpf
from scipy import stats

import mle_pp as mle
from mle_pp.fisher import FAMILIES


def positive(density):
    """On the scale of the logarithm, where nothing is singular at zero."""
    return lambda t, *args: density(mp.exp(t), *args)


def normal(y, mu, sigma):
    return -((y - mu) ** 2) / (2 * sigma**2) - mp.log(sigma)


def student_t(y, nu, mu, sigma):
    z = (y - mu) / sigma
    constant = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2 - mp.log(sigma)
    return constant - (nu + 1) / 2 * mp.log1p(z**2 / nu)


def logistic(y, mu, s):
    z = (y - mu) / s
    return -z - mp.log(s) - 2 * mp.log1p(mp.exp(-z))


def beta(y, a, b):
    return mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b) + (a - 1) * mp.log(y) + (b - 1) * mp.log1p(-y)


def gamma(y, k, scale):
    return (k - 1) * mp.log(y) - y / scale - mp.loggamma(k) - k * mp.log(scale)


def binomial(y, n, p):
    return mp.log(mp.binomial(int(n), y)) + y * mp.log(p) + (n - y) * mp.log1p(-p)


def negative_binomial(y, n, p):
    return mp.loggamma(y + n) - mp.loggamma(n) - mp.loggamma(y + 1) + n * mp.log(p) + y * mp.log1p(-p)


def gumbel(y, mu, beta):
    return -mp.log(beta) - (y - mu) / beta - mp.exp(-(y - mu) / beta)


def weibull(y, k, scale):
    return mp.log(k / scale) + (k - 1) * mp.log(y / scale) - (y / scale) ** k


LINE, HALF = [-mp.inf, -20, -3, 0, 3, 20, mp.inf], [0, 0.05, 1, 5, 20, mp.inf]
CASES = {
    # log-density up to a constant of the data, parameters, and where: an interval, or the atoms
    "NormalRV": (lambda y, m, s: normal(y, m, s) - mp.log(2 * mp.pi) / 2, (0.3, 1.7), LINE),
    "LogNormalRV": (
        lambda y, m, s: normal(mp.log(y), m, s) - mp.log(y) - mp.log(2 * mp.pi) / 2, (0.3, 0.6), HALF,
    ),
    "LogisticRV": (logistic, (0.3, 1.3), LINE),
    "CauchyRV": (lambda y, m, s: -mp.log(mp.pi * s) - mp.log1p(((y - m) / s) ** 2), (0.3, 1.3), LINE),
    "LaplaceRV": (lambda y, m, b: -abs(y - m) / b - mp.log(2 * b), (0.3, 1.3), [-mp.inf, -5, 0.3, 5, mp.inf]),
    "StudentTRV": (student_t, (3.7, 0.3, 1.3), LINE),
    "PoissonRV": (lambda y, m: y * mp.log(m) - m - mp.loggamma(y + 1), (2.4,), range(60)),
    "BernoulliRV": (lambda y, p: mp.log(p) if y else mp.log1p(-p), (0.3,), range(2)),
    "BinomialRV": (binomial, (12, 0.3), range(13)),
    "ExponentialRV": (lambda y, scale: -y / scale - mp.log(scale), (1.7,), HALF),
    "GammaRV": (gamma, (2.3, 1.7), HALF),
    "BetaRV": (beta, (2.3, 3.1), [0, 0.25, 0.75, 1]),
    "InvGammaRV": (
        lambda y, a, b: a * mp.log(b) - mp.loggamma(a) - (a + 1) * mp.log(y) - b / y, (2.3, 1.7), HALF,
    ),
    "GumbelRV": (gumbel, (0.3, 1.3), [-8, -3, 0, 3, 20, 60]),
    "WeibullBetaRV": (weibull, (1.7, 2.3), [0, 0.05, 1, 5, 20, 60]),
    "NegBinomialRV": (negative_binomial, (1.3, 0.4), range(120)),
    "GeometricRV": (lambda y, p: mp.log(p) + (y - 1) * mp.log1p(-p), (0.3,), range(1, 120)),
}  # fmt: skip


def test_every_family_has_a_case():
    assert set(CASES) == set(FAMILIES)


@pytest.mark.parametrize("family", CASES)
def test_information_of_one_row(family):
    logp, args, where = CASES[family]
    args = [mpf(str(a)) for a in args]
    step = mpf(10) ** -5

    def score(y, k):
        moved = [[a + sign * step * (i == k) for i, a in enumerate(args)] for sign in (1, -1)]
        return (logp(y, *moved[0]) - logp(y, *moved[1])) / (2 * step)

    def mean(function):
        if isinstance(where, range):
            return mp.fsum(mp.exp(logp(y, *args)) * function(y) for y in where)
        return mp.quad(lambda y: mp.exp(logp(y, *args)) * function(y), where, maxdegree=5)

    free = [k for k in range(len(args)) if (family, k) != ("BinomialRV", 0)]
    blocks = FAMILIES[family](*[np.array([float(a)]) for a in args])
    with mp.workdps(20):
        assert float(mean(lambda y: 1)) == pytest.approx(1, abs=1e-6)
        for i in free:
            for j in free[: free.index(i) + 1]:
                expected = float(mean(lambda y, i=i, j=j: score(y, i) * score(y, j)))
                given = blocks.get((j, i), blocks.get((i, j), 0.0))
                np.testing.assert_allclose(given, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("n", "p"), [(1e-3, 0.5), (0.5, 1e-4), (2, 0.999999), (50, 0.2), (1e6, 0.99), (1e3, 1e-2)])
def test_negative_binomial_at_its_extremes(n, p):
    """ψ′(n) − E ψ′(n + Y) = Σ P(Y > j) / (n + j)², for ψ′(n) − ψ′(n + y) = Σ 1/(n + j)² over j < y."""
    j = np.arange(min(int(20 * n * (1 - p) / p + 60 / p + 100), 5_000_000))
    exact = np.sum(stats.nbinom.sf(j, n, p) / (n + j) ** 2)
    [found] = FAMILIES["NegBinomialRV"](np.array([n]), np.array([p]))[0, 0]
    assert found == pytest.approx(exact, rel=1e-8)


def test_not_every_model_has_one():
    with pm.Model() as model:
        pm.TruncatedNormal("y", pm.Normal("mu", 0, 10), 2, lower=0, observed=[1.0, 2.0, 2.5])
    est = mle.find_MLE(model)
    assert est._objective.without_information == ["y"]
    assert est.cov("expected").attrs["n_simulations"] > 0


def test_at_a_maximum_of_an_exponential_family_both_agree():
    """Of its natural parameters, the observed information does not depend on the data."""
    x = np.array([0.3, -1.2, 0.8, 2.0, -0.4, 1.1])
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b")
        pm.Poisson("counts", pm.math.exp(a + b * x), observed=[2, 0, 3, 9, 1, 4])
        pm.Bernoulli("success", logit_p=a - b * x, observed=[1, 1, 0, 1, 0, 1])
    est = mle.find_MLE(model)
    np.testing.assert_allclose(est.cov("expected"), est.cov("hessian"), rtol=1e-9)


def test_of_both_parameters_they_differ():
    """A negative variance is no covariance: of a curved model they differ, and the expected one is J'J/σ²."""
    x, y = np.array([1.0, 2.0, 3.0, 4.0, 6.0]), np.array([2.9, 4.0, 5.5, 5.1, 7.5])
    with pm.Model() as model:
        rate = pm.HalfNormal("rate", 1, initval=0.5)
        pm.Normal("y", 8 * (1 - pm.math.exp(-rate * x)), 0.5, observed=y)
    est = mle.find_MLE(model)
    slope = 8 * x * np.exp(-float(est.params["rate"]) * x)
    np.testing.assert_allclose(est.stderr("expected")["rate"], 0.5 / np.linalg.norm(slope), rtol=1e-9)
    assert abs(float(est.stderr("hessian")["rate"] / est.stderr("expected")["rate"]) - 1) > 1e-3
