"""Independent units of hierarchical models: scores, robust covariances, weights, resampling, the score test.

Against the marginal density of each group, written down here: a multivariate normal, or an integral by brute force.
"""

import warnings
from functools import cache

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import chi2, multivariate_normal, poisson

import mle_pp as mle
from mle_pp import ModelError
from mle_pp.resample import schemes
from mle_pp.resample.execute import Workers
from mle_pp.resample.refit import by_weights

RNG = np.random.default_rng(7)
GROUPS = 15
SIZES = RNG.integers(2, 7, GROUPS)
# Groups do not lie one after the other
GROUP = RNG.permutation(np.repeat(np.arange(GROUPS), SIZES))
N = GROUP.size
X, Z = RNG.normal(size=(2, N))
EFFECT = RNG.normal(size=GROUPS)
REAL = 1 + 0.5 * X + EFFECT[GROUP] + 0.7 * RNG.normal(size=N)
COUNTS = RNG.poisson(np.exp(0.5 + 0.3 * X + 0.7 * EFFECT[GROUP]))
# Two groups a school
SCHOOL = GROUP // 2


def linear(extra=False):
    with pm.Model() as model:
        b, tau, sigma = pm.Normal("b", 0, 5, shape=2), pm.HalfNormal("tau", 2), pm.HalfNormal("sigma", 2)
        u = pm.Normal("u", 0, tau, shape=GROUPS)
        mean = b[0] + b[1] * X + u[GROUP]
        if extra:
            mean = mean + pm.Normal("c", 0, 5) * Z
        pm.Normal("y", mean, sigma, observed=REAL)
    return model


def pooled():
    with pm.Model() as model:
        b, sigma = pm.Normal("b", 0, 5, shape=2), pm.HalfNormal("sigma", 2)
        pm.Normal("y", b[0] + b[1] * X, sigma, observed=REAL)
    return model


def counts():
    with pm.Model() as model:
        b, tau = pm.Normal("b", 0, 5, shape=2), pm.HalfNormal("tau", 2)
        u = pm.Normal("u", 0, tau, shape=GROUPS)
        pm.Poisson("y", pt.exp(b[0] + b[1] * X + u[GROUP]), observed=COUNTS)
    return model


def crossed():
    with pm.Model() as model:
        m, s, t = pm.Normal("m", 0, 5), pm.HalfNormal("s", 2), pm.HalfNormal("t", 2)
        a, c = pm.Normal("a", 0, s, shape=GROUPS), pm.Normal("c", 0, t, shape=4)
        pm.Normal("y", m + a[GROUP] + c[np.arange(N) % 4], 0.7, observed=REAL)
    return model


def linear_groups(x):
    """The log-likelihood of each group at (b, log tau, log sigma[, c])."""
    mean = x[0] + x[1] * X + (x[4] * Z if len(x) > 4 else 0.0)
    tau, sigma = np.exp(x[2:4])
    found = []
    for k in range(GROUPS):
        own = k == GROUP
        cov = tau**2 + sigma**2 * np.eye(own.sum())
        found.append(multivariate_normal(mean[own], cov).logpdf(REAL[own]))
    return np.array(found)


def count_groups(x, nodes=150):
    """The same at (b, log tau), by Gauss-Hermite quadrature that is not adaptive, of many nodes."""
    z, w = hermegauss(nodes)
    log_w = np.log(w / w.sum())
    rate = np.exp(x[0] + x[1] * X[:, None] + np.exp(x[2]) * z)
    terms = poisson(rate).logpmf(COUNTS[:, None])
    return np.array([logsumexp(terms[k == GROUP].sum(axis=0) + log_w) for k in range(GROUPS)])


def slopes(function, x, h=1e-3):
    """Derivatives by a rule of fourth order, one column an element of x."""
    e = h * np.eye(len(x))
    columns = [8 * (function(x + s) - function(x - s)) - (function(x + 2 * s) - function(x - 2 * s)) for s in e]
    return np.stack(columns, axis=-1) / (12 * h)


def of_first_rows(values):
    """From the order of the groups to that of their first rows, which is that of the units."""
    return values[list(dict.fromkeys(GROUP.tolist()))]


FITS = {"linear": (linear, 1, linear_groups), "counts": (counts, 25, count_groups)}


@cache
def fitted(name):
    build, points, _ = FITS[name]
    return mle.find_MLE(build(), quadrature_points=points)


@pytest.mark.parametrize("name", FITS)
def test_groups_add_up(name):
    groups = FITS[name][2]
    objective, x = fitted(name)._objective, fitted(name)._optimum.x + 0.1
    np.testing.assert_allclose(objective.row_values(x), of_first_rows(groups(x)), atol=1e-8)
    np.testing.assert_allclose(objective.scores(x), of_first_rows(slopes(groups, x)), atol=1e-7)
    weights = RNG.uniform(0.5, 3, GROUPS)
    weights[2] = 0
    other = objective.weighted(weights)
    assert other.value(x) == pytest.approx(weights @ of_first_rows(groups(x)), abs=1e-7)
    expected = weights @ of_first_rows(slopes(groups, x))
    np.testing.assert_allclose(other.value_gradient(x)[1], expected, atol=1e-6)


@pytest.mark.parametrize("name", FITS)
def test_robust_covariances_are_those_of_the_groups(name):
    groups, est = FITS[name][2], fitted(name)
    x = est._optimum.x
    scores = slopes(groups, x)
    bread = np.linalg.inv(-slopes(lambda at: slopes(lambda p: groups(p).sum(), at), x))

    def found(kind, **options):
        return est.cov(kind, scale="unconstrained", **options).values

    def close(one, other):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * np.abs(other).max())

    sandwich = bread @ scores.T @ scores @ bread
    close(found("sandwich"), sandwich)
    close(found("opg"), np.linalg.inv(scores.T @ scores))
    # As clubSandwich and merDeriv count: clusters that are the groups themselves
    close(found("CR0", groups=GROUP), sandwich)
    close(found("CR1", groups=GROUP), sandwich * GROUPS / (GROUPS - 1))
    schools = np.stack([scores[np.arange(GROUPS) // 2 == k].sum(axis=0) for k in range(GROUPS // 2 + 1)])
    close(found("CR0", groups=SCHOOL), bread @ schools.T @ schools @ bread)
    penalty = np.trace(bread @ scores.T @ scores)
    assert mle.tic(est) == pytest.approx(-2 * groups(x).sum() + 2 * penalty, rel=1e-6)


def test_information_matrix_test_is_refused():
    with pytest.raises(ModelError, match="not made for models with integrated variables"):
        mle.information_matrix_test(fitted("linear"))


def test_clusters_across_groups_are_refused():
    with pytest.raises(ModelError, match=r"groups is .* in row .* share latent variables"):
        fitted("linear").cov("cluster", groups=np.arange(N) % 5)


def test_weights_count_groups():
    """A group that is there twice."""
    times = RNG.integers(1, 3, GROUPS)
    est = mle.find_MLE(linear(), weights=times[GROUP])
    exact = minimize(lambda x: -times @ linear_groups(x), est._optimum.x + 0.05, tol=1e-10)
    assert est.loglik == pytest.approx(-exact.fun, abs=1e-7)
    np.testing.assert_allclose(est._optimum.x, exact.x, atol=1e-4)
    assert est.n_obs == times[GROUP].sum()
    plain = mle.find_MLE(pooled(), weights=times[GROUP])
    assert mle.rank({"mixed": est, "pooled": plain}).shape[0] == 2
    assert mle.lr_test(plain, est, boundary=1).statistic == pytest.approx(2 * (est.loglik - plain.loglik), abs=1e-8)
    with pytest.raises(ValueError, match="different case weights"):
        mle.rank({"mixed": est, "pooled": mle.find_MLE(pooled(), weights=times[GROUP][::-1])})
    with pytest.raises(ModelError, match=r"weights is .* share latent variables"):
        mle.find_MLE(linear(), weights=np.arange(N))


def test_rows_without_latents_are_units_of_their_own():
    """Rows of one variable that no latent touches, in the middle of others."""
    alone = np.arange(N) % 3 == 0
    with pm.Model() as model:
        b, tau, sigma = pm.Normal("b", 0, 5), pm.HalfNormal("tau", 2), pm.HalfNormal("sigma", 2)
        u = pm.Normal("u", 0, tau, shape=GROUPS)
        pm.Normal("y", b + u[GROUP[~alone]], sigma, observed=REAL[~alone])
        pm.Normal("w", b, sigma, observed=REAL[alone])
    objective = mle.find_MLE(model)._objective
    x = np.array([0.8, -0.2, 0.1])

    def units(x):
        tau, sigma = np.exp(x[1:])
        first = list(dict.fromkeys(GROUP[~alone].tolist()))
        rows = [REAL[~alone & (k == GROUP)] for k in first] + [np.array([value]) for value in REAL[alone]]
        own = [tau**2] * len(first) + [0.0] * alone.sum()
        return np.array(
            [
                multivariate_normal(np.full(y.size, x[0]), t + sigma**2 * np.eye(y.size)).logpdf(y)
                for y, t in zip(rows, own, strict=True)
            ]
        )

    np.testing.assert_allclose(objective.row_values(x), units(x), atol=1e-9)
    np.testing.assert_allclose(objective.scores(x), slopes(units, x), atol=1e-7)


def test_one_unit_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mle.VerdictWarning)
        est = mle.find_MLE(crossed())
    for call in (
        lambda: est.cov("opg"),
        lambda: mle.bootstrap(est, n=3, kind="rows"),
        lambda: mle.jackknife(est),
        lambda: mle.find_MLE(crossed(), weights=np.ones(N)),
    ):
        with pytest.raises(ModelError, match="y is one block: its rows are not independent"):
            call()


def test_a_refit_maximizes_the_weighted_groups():
    est = fitted("linear")
    weights = schemes.generator(1, 0).multinomial(GROUPS, np.full(GROUPS, 1 / GROUPS)) * 1.0
    [refit] = by_weights(est).fit([weights[None]])
    exact = minimize(lambda x: -weights @ of_first_rows(linear_groups(x)), refit.x + 0.05, tol=1e-10)
    assert refit.value == pytest.approx(-exact.fun, abs=1e-7)
    boot = mle.bootstrap(est, n=1, kind="rows", random_seed=1, progressbar=False)
    assert float(boot.draws["b"][0, 0, 1]) == pytest.approx(exact.x[1], abs=1e-4)


def test_jackknife_leaves_out_groups():
    est = fitted("linear")
    jack = mle.jackknife(est, progressbar=False)
    assert len(jack.status) == GROUPS
    for place in (0, 7):
        kept = np.arange(GROUPS) != list(dict.fromkeys(GROUP.tolist()))[place]
        exact = minimize(lambda x, kept=kept: -linear_groups(x)[kept].sum(), est._optimum.x, tol=1e-10)
        np.testing.assert_allclose(jack.draws["b"][0, place], exact.x[:2], atol=1e-4)


@pytest.mark.parametrize("kind", ["parametric", "rows"])
def test_other_processes_give_the_same_numbers(kind, tmp_path):
    """To the last bit, whoever computes which refit, and also in a run that goes on from a file."""
    options = {"kind": kind, "random_seed": 3, "progressbar": False}
    here = mle.bootstrap(fitted("linear"), n=3, **options)
    with Workers(1) as pool:
        there = mle.bootstrap(fitted("linear"), n=3, executor=pool, **options)
    xr.testing.assert_identical(here.draws, there.draws)
    path = tmp_path / "run"
    mle.bootstrap(fitted("linear"), n=3, path=path, **options)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    xr.testing.assert_identical(here.draws, mle.bootstrap(fitted("linear"), n=3, path=path, **options).draws)


def test_score_test_of_a_fixed_effect():
    small = fitted("linear")
    found = mle.score_test(small, linear(extra=True), null={"c": 0.0})
    x = np.append(small._optimum.x, 0.0)

    def total(x):
        return linear_groups(x).sum()

    score, information = slopes(total, x), -slopes(lambda at: slopes(total, at), x)
    expected = score @ np.linalg.solve(information, score)
    assert found.statistic == pytest.approx(expected, rel=1e-5)
    assert found.df == 1
    assert found.pvalue == pytest.approx(chi2.sf(expected, 1), rel=1e-4)


def test_score_test_refuses_a_variance_of_zero():
    with pytest.raises(ModelError, match="On the edge of a support the score has one side only: use lr_test"):
        mle.score_test(mle.find_MLE(pooled()), linear(), null={"tau": 0.0})
