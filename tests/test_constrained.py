"""Every kind of constrained parameter: estimates and standard errors on the user's scale, against closed forms."""

import mpmath
import numpy as np
import pymc as pm
import pytest
from pymc.distributions import transforms
from scipy import optimize, stats

import mle_pp as mle

Y = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
N = len(Y)


def flat(dataset, *names) -> np.ndarray:
    return np.concatenate([np.ravel(dataset[name]) for name in names])


def fit(model, **options):
    est = mle.find_MLE(model, **options)
    assert est.verdict.ok, est.verdict
    return est


# -- one number ---------------------------------------------------------------------------------------------------

POSITIVE = {
    "HalfNormal": lambda: pm.HalfNormal("s", 2),
    "Gamma": lambda: pm.Gamma("s", 2, 2),
    "InverseGamma": lambda: pm.InverseGamma("s", 3, 2),
    "LogNormal": lambda: pm.LogNormal("s", 0, 1),
    "HalfFlat": lambda: pm.HalfFlat("s"),
    "Uniform": lambda: pm.Uniform("s", 0.1, 50),
    "Weibull": lambda: pm.Weibull("s", 1.5, 2),
    "bounded below": lambda: pm.TruncatedNormal("s", 1, 3, lower=0.2),
    "Pareto": lambda: pm.Pareto("s", 2, 0.3),
    "logarithm of its exponential": lambda: pm.HalfNormal("s", 2, transform=transforms.log_exp_m1),
    "without a transform": lambda: pm.HalfNormal("s", 2, default_transform=None),
}


@pytest.mark.parametrize("scale", [1, 5])
@pytest.mark.parametrize("prior", POSITIVE.values(), ids=POSITIVE)
def test_scale(prior, scale):
    with pm.Model() as model:
        pm.Normal("y", 1.0, prior(), observed=1 + scale * (Y - 1))
    est = fit(model)
    s = scale * np.sqrt(np.mean((Y - 1) ** 2))
    np.testing.assert_allclose(est.params["s"], s, rtol=1e-9)
    np.testing.assert_allclose(est.stderr()["s"], s / np.sqrt(2 * N), rtol=1e-8)


SHARE = {
    "Beta": lambda: pm.Beta("p", 2, 2),
    "Uniform": lambda: pm.Uniform("p", 0, 1),
    "a narrower interval": lambda: pm.Uniform("p", 0.05, 0.6),
    "Kumaraswamy": lambda: pm.Kumaraswamy("p", 2, 2),
    "LogitNormal": lambda: pm.LogitNormal("p", 0, 1),
    "truncated on both sides": lambda: pm.TruncatedNormal("p", 0.5, 1, lower=0, upper=1),
    "triangular": lambda: pm.Triangular("p", 0, 1, 0.5),
}


@pytest.mark.parametrize("prior", SHARE.values(), ids=SHARE)
def test_share(prior):
    with pm.Model() as model:
        pm.Binomial("y", 40, prior(), observed=9)
    est = fit(model)
    p = 9 / 40
    np.testing.assert_allclose(est.params["p"], p, rtol=1e-9)
    np.testing.assert_allclose(est.stderr()["p"], np.sqrt(p * (1 - p) / 40), rtol=1e-8)
    np.testing.assert_allclose(est.loglik, stats.binom.logpmf(9, 40, p), rtol=1e-12)


@pytest.mark.parametrize(("lower", "upper"), [(-5.0, 7.0), (None, 7.0), (-5.0, None), (1.0, 2.0), (-1e6, 1e6)])
def test_bounded_mean(lower, upper):
    with pm.Model() as model:
        mu = pm.TruncatedNormal("mu", 1.5, 2, lower=lower, upper=upper)
        pm.Normal("y", mu, 2, observed=Y)
    est = fit(model)
    np.testing.assert_allclose(est.params["mu"], Y.mean(), rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["mu"], 2 / np.sqrt(N), rtol=1e-7)


def test_bounds_that_are_parameters():
    """An interval whose end is another parameter: estimates are those of the two scales without the bound."""
    with pm.Model() as model:
        top = pm.HalfNormal("top", 5)
        low = pm.Uniform("low", 0, top)
        pm.Normal("y", 1, top, observed=1 + 3 * (Y - 1))
        pm.Normal("x", 1, low, observed=Y)
    est = fit(model)
    s = np.sqrt(np.mean((Y - 1) ** 2))
    np.testing.assert_allclose(flat(est.params, "top", "low"), [3 * s, s], rtol=1e-9)
    np.testing.assert_allclose(est.cov(), np.diag([3 * s, s]) ** 2 / (2 * N), rtol=1e-8, atol=1e-12)


def test_angle():
    """Circular transform: the resultant's direction; information n·kappa·R̄ at a known concentration."""
    angles = np.array([0.3, -0.2, 0.5, 0.9, 0.1])
    with pm.Model() as model:
        mu = pm.VonMises("mu", 0, 1)
        pm.VonMises("y", mu, 2.0, observed=angles)
    est = fit(model)
    resultant = np.exp(1j * angles).sum()
    np.testing.assert_allclose(est.params["mu"], np.angle(resultant), rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["mu"], (2 * abs(resultant)) ** -0.5, rtol=1e-7)


# -- ordered ------------------------------------------------------------------------------------------------------


def test_ordered():
    """Cutpoints without covariates reproduce the cumulative shares: logit(c_k), with a multinomial's covariance."""
    counts = np.array([7, 12, 5, 16])
    with pm.Model() as model:
        cut = pm.Normal("cut", 0, 5, shape=3, transform=transforms.ordered, initval=[-1.0, 0.0, 1.0])
        pm.OrderedLogistic("y", eta=0.0, cutpoints=cut, observed=np.repeat(range(4), counts), compute_p=False)
    est = fit(model)
    n, p = counts.sum(), counts / counts.sum()
    c = np.cumsum(p)[:3]
    np.testing.assert_allclose(est.params["cut"], np.log(c / (1 - c)), rtol=1e-9)
    of_shares = (np.minimum.outer(c, c) - np.outer(c, c)) / n
    slope = 1 / (c * (1 - c))
    np.testing.assert_allclose(est.cov(), of_shares * np.outer(slope, slope), rtol=1e-8)
    np.testing.assert_allclose(est.loglik, np.sum(counts * np.log(p)), rtol=1e-12)


def test_ordered_means():
    groups = [Y[:4], Y[4:7] + 5, Y[7:] + 20]
    index = np.repeat([0, 1, 2], [4, 3, 3])
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10, shape=3, transform=transforms.ordered, initval=[0.0, 1.0, 2.0])
        pm.Normal("y", mu[index], 2.0, observed=np.concatenate(groups))
    est = fit(model)
    np.testing.assert_allclose(est.params["mu"], [g.mean() for g in groups], rtol=1e-9)
    np.testing.assert_allclose(est.stderr()["mu"], 2 / np.sqrt([4, 3, 3]), rtol=1e-8)
    np.testing.assert_allclose(est.cov()[0, 1:], 0, atol=1e-10)


# -- simplex ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[3, 9, 28], [500, 1, 2, 700, 30], [50_000, 30, 20_000]])
def test_simplex(counts):
    """Standard errors √(p(1−p)/N), and not √(p/N); covariances −p_i p_j / N."""
    counts = np.array(counts)
    total, p = counts.sum(), counts / counts.sum()
    with pm.Model(coords={"k": [f"c{i}" for i in range(len(counts))]}) as model:
        share = pm.Dirichlet("share", np.ones(len(counts)), dims="k")
        pm.Multinomial("y", n=total, p=share, observed=counts)
    est = fit(model)
    np.testing.assert_allclose(est.params["share"], p, rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["share"], np.sqrt(p * (1 - p) / total), rtol=1e-7)
    errors = np.sqrt(p * (1 - p) / total)
    expected = (np.diag(p) - np.outer(p, p)) / total
    np.testing.assert_allclose(est.cov() / np.outer(errors, errors), expected / np.outer(errors, errors), atol=1e-7)
    assert est.n_params == len(counts) - 1


def test_simplexes_in_rows():
    counts = np.array([[3, 9, 28], [10, 5, 5]])
    with pm.Model() as model:
        share = pm.Dirichlet("share", np.ones((2, 3)))
        pm.Multinomial("y", n=counts.sum(1), p=share, observed=counts)
    est = fit(model)
    p = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(est.params["share"], p, rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["share"], np.sqrt(p * (1 - p) / counts.sum(1, keepdims=True)), rtol=1e-7)


def test_categories():
    with pm.Model() as model:
        pm.Categorical("y", pm.Dirichlet("share", np.ones(3)), observed=[0, 1, 1, 2, 2, 2, 2, 1])
    p = np.array([1, 3, 4]) / 8
    est = fit(model)
    np.testing.assert_allclose(est.params["share"], p, rtol=1e-9)
    np.testing.assert_allclose(est.stderr()["share"], np.sqrt(p * (1 - p) / 8), rtol=1e-8)


def test_stick_breaking():
    with pm.Model() as model:
        pm.Categorical("y", pm.StickBreakingWeights("share", 1.0, K=2), observed=[0, 1, 1, 2, 2, 2, 2, 1])
    est = fit(model)
    p = np.array([1, 3, 4]) / 8
    np.testing.assert_allclose(est.params["share"], p, rtol=1e-9)
    np.testing.assert_allclose(est.stderr()["share"], np.sqrt(p * (1 - p) / 8), rtol=1e-8)


def test_sum_to_zero():
    """Group effects around their mean: deviations of the group means."""
    index = np.repeat([0, 1, 2], [4, 3, 3])
    with pm.Model() as model:
        mean, effect = pm.Normal("mean", 0, 10), pm.ZeroSumNormal("effect", 5, shape=3)
        pm.Normal("y", mean + effect[index], 2.0, observed=Y)
    est = fit(model)
    means = np.array([Y[index == k].mean() for k in range(3)])
    np.testing.assert_allclose(est.params["effect"], means - means.mean(), rtol=1e-8)
    projection = np.eye(3) - 1 / 3
    expected = projection @ np.diag(4 / np.array([4, 3, 3])) @ projection
    np.testing.assert_allclose(est.cov()[1:, 1:], expected, rtol=1e-8)
    assert est.n_params == 3


# -- covariance matrices ------------------------------------------------------------------------------------------

RNG = np.random.RandomState(8)
TRUTH = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]])
SAMPLE = RNG.multivariate_normal([1.0, -2.0, 0.5], TRUTH, size=60)


def wishart_covariance(S, n):
    """Of the elements of a maximum-likelihood covariance matrix: (S_ik S_jl + S_il S_jk) / n."""
    return (np.einsum("ik,jl->ijkl", S, S) + np.einsum("il,jk->ijkl", S, S)) / n


@pytest.mark.parametrize(("scale", "eta"), [(1, 4), (30, 1)])
def test_cholesky_covariance(scale, eta):
    """The sample covariance with the divisor n, and the standard errors of its elements, sds and correlations."""
    data = scale * SAMPLE
    with pm.Model(coords={"d": ["a", "b", "c"], "e": ["a", "b", "c"]}) as model:
        mu = pm.Normal("mu", 0, 5, dims="d")
        chol, *_ = pm.LKJCholeskyCov("chol", n=3, eta=eta, sd_dist=pm.HalfNormal.dist(2.0, shape=3))
        pm.Deterministic("cov", chol @ chol.T, dims=("d", "e"))
        pm.MvNormal("y", mu, chol=chol, observed=data)
    est = fit(model, starts=1)
    n, S = len(data), np.cov(data.T, ddof=0)
    sd = np.sqrt(np.diag(S))
    correlation = S / np.outer(sd, sd)
    stderr = est.stderr()
    np.testing.assert_allclose(est.params["mu"], data.mean(0), rtol=1e-8)
    np.testing.assert_allclose(stderr["mu"], sd / np.sqrt(n), rtol=1e-7)
    np.testing.assert_allclose(est.derived["cov"], S, rtol=1e-7)
    np.testing.assert_allclose(est.derived["chol_stds"], sd, rtol=1e-7)
    np.testing.assert_allclose(est.derived["chol_corr"], correlation, rtol=1e-7)
    np.testing.assert_allclose(stderr["cov"], np.sqrt(np.einsum("ijij->ij", wishart_covariance(S, n))), rtol=1e-6)
    np.testing.assert_allclose(stderr["chol_stds"], sd / np.sqrt(2 * n), rtol=1e-6)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(stderr["chol_corr"].to_numpy()[off], (1 - correlation[off] ** 2) / np.sqrt(n), rtol=1e-6)
    # The packed factor itself
    L = np.linalg.cholesky(S)
    np.testing.assert_allclose(est.params["chol"], L[np.tril_indices(3)], rtol=1e-7)
    np.testing.assert_allclose(est.loglik, stats.multivariate_normal.logpdf(data, data.mean(0), S).sum(), rtol=1e-11)
    assert est.n_obs == n
    assert est.n_params == 9


def test_correlation_matrix():
    """Unit variances known: one correlation, from the score's cubic equation (Kendall and Stuart 1973, 18.3)."""
    x = SAMPLE[:, :2] / np.sqrt(np.diag(TRUTH)[:2]) - [0.7, -2.0]
    with pm.Model() as model:
        factor = pm.LKJCorr("factor", n=2, eta=2)
        pm.Deterministic("r", (factor @ factor.T)[0, 1])
        pm.MvNormal("y", np.zeros(2), chol=factor, observed=x)
    est = fit(model, starts=1)
    n, s, p = len(x), np.mean(x**2, axis=0).sum(), np.mean(x[:, 0] * x[:, 1])

    def loglik(r):
        return -n * mpmath.log(4 * mpmath.pi**2 * (1 - r**2)) / 2 - n * (s - 2 * r * p) / (2 * (1 - r**2))

    r = optimize.brentq(lambda r: r * (1 - r**2) - r * s + p * (1 + r**2), -0.999, 0.999, xtol=1e-14)
    np.testing.assert_allclose(est.derived["r"], r, rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["r"], float(-mpmath.diff(loglik, r, 2)) ** -0.5, rtol=1e-7)
    np.testing.assert_allclose(est.params["factor"], [[1, 0], [r, np.sqrt(1 - r**2)]], rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["factor"][0], 0, atol=1e-12)
    np.testing.assert_allclose(est.loglik, float(loglik(r)), rtol=1e-10)


def test_covariance_from_its_parts():
    """Sds and a correlation of one's own, put together into a matrix."""
    data = SAMPLE[:, :2]
    with pm.Model() as model:
        sd = pm.HalfNormal("sd", 2, shape=2)
        rho = pm.Uniform("rho", -1, 1)
        cov = pm.math.stack([[sd[0] ** 2, rho * sd[0] * sd[1]], [rho * sd[0] * sd[1], sd[1] ** 2]])
        pm.MvNormal("y", data.mean(0), cov=cov, observed=data)
    est = fit(model, starts=1)
    n, S = len(data), np.cov(data.T, ddof=0)
    s = np.sqrt(np.diag(S))
    r = S[0, 1] / s.prod()
    np.testing.assert_allclose(flat(est.params, "sd", "rho"), [*s, r], rtol=1e-8)
    expected = [*s / np.sqrt(2 * n), (1 - r**2) / np.sqrt(n)]
    np.testing.assert_allclose(flat(est.stderr(), "sd", "rho"), expected, rtol=1e-7)
