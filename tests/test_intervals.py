"""Wald intervals against their closed forms."""

import doctest

import arviz_base
import numpy as np
import pymc as pm
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

import mle_pp as mle
from mle_pp import intervals

Z = norm.ppf(0.975)
RNG = np.random.default_rng(20260110)


def limits(center, step):
    return np.stack([center - Z * step, center + Z * step], axis=-1)


def close(interval, expected):
    np.testing.assert_allclose(interval.values, expected, rtol=1e-6)


def test_normal_mean_on_its_own_scale_and_sd_on_the_log():
    y = RNG.normal(3.0, 2.0, 50)
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10)
        pm.Deterministic("cv", sigma / mu)
        pm.Normal("y", mu, sigma, observed=y)
    est = mle.find_MLE(model)
    found = mle.interval(est, ci_prob=0.95)
    assert found["mu"].dims == ("ci_bound",)
    assert list(found["ci_bound"].values) == ["lower", "upper"]
    assert list(found.data_vars) == ["mu", "sigma", "cv"]
    close(found["mu"], limits(y.mean(), y.std() / np.sqrt(50)))
    close(found["sigma"], np.exp(limits(np.log(y.std()), 1 / np.sqrt(100))))
    close(found["cv"], limits(float(est.derived["cv"]), float(est.stderr()["cv"])))


@pytest.mark.parametrize("prior", [lambda: pm.Beta("p", 1, 1), lambda: pm.Uniform("p", 0, 1)])
def test_probability_on_the_logit(prior):
    with pm.Model() as model:
        pm.Bernoulli("y", prior(), observed=np.repeat([0, 1], [21, 11]))
    close(
        mle.interval(mle.find_MLE(model), ci_prob=0.95)["p"],
        expit(limits(logit(11 / 32), 1 / np.sqrt(32 * 11 / 32 * 21 / 32))),
    )


def test_a_decreasing_transform_keeps_lower_below_upper():
    y = RNG.normal(-3.0, 1.0, 25)
    with pm.Model() as model:
        mu = pm.TruncatedNormal("mu", 0, 10, upper=0)
        pm.Normal("y", mu, 1, observed=y)
    expected = -np.exp(limits(np.log(-y.mean()), -0.2 / y.mean()))[::-1]
    close(mle.interval(mle.find_MLE(model), ci_prob=0.95)["mu"], expected)


def test_no_default_transform_makes_no_difference():
    y = RNG.exponential(2.0, 30)
    found = []
    for transform in ({}, {"default_transform": None}):
        with pm.Model() as model:
            pm.Exponential("y", pm.HalfNormal("rate", 5, **transform), observed=y)
        found.append(mle.interval(mle.find_MLE(model))["rate"].values)
    np.testing.assert_allclose(*found, rtol=1e-8)


def test_simplex_elements_on_the_logit():
    counts = np.array([5, 15, 30])
    with pm.Model(coords={"k": list("abc")}) as model:
        pm.Categorical("y", pm.Dirichlet("p", np.ones(3), dims="k"), observed=np.repeat([0, 1, 2], counts))
    p = counts / 50
    found = mle.interval(mle.find_MLE(model), ci_prob=0.95)["p"]
    assert found.dims == ("k", "ci_bound")
    close(found, expit(limits(logit(p), 1 / np.sqrt(50 * p * (1 - p)))))


def test_ordered_elements_on_their_own_scale():
    y = np.repeat([0, 1, 2], [10, 20, 20])
    with pm.Model() as model:
        cut = pm.Normal("cut", 0, 5, shape=2, transform=pm.distributions.transforms.ordered, initval=[-1, 1])
        pm.OrderedLogistic("y", eta=0.0, cutpoints=cut, observed=y)
    share = np.array([0.2, 0.6])
    close(
        mle.interval(mle.find_MLE(model), ci_prob=0.95)["cut"],
        limits(logit(share), 1 / np.sqrt(50 * share * (1 - share))),
    )


def test_cholesky_factor_and_what_follows_from_it():
    n = 60
    y = RNG.multivariate_normal([0, 1], [[1, 0.5], [0.5, 2]], size=n)
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 5, shape=2)
        chol, _, _ = pm.LKJCholeskyCov("chol", n=2, eta=2, sd_dist=pm.HalfNormal.dist(2), compute_corr=True)
        pm.MvNormal("y", mu, chol=chol, observed=y)
    est = mle.find_MLE(model)
    found = mle.interval(est, ci_prob=0.95)
    sd, r = y.std(axis=0), np.corrcoef(y.T)[0, 1]
    close(found["chol_stds"], np.exp(limits(np.log(sd), 1 / np.sqrt(2 * n))))
    close(found["chol_corr"][0, 1], np.tanh(limits(np.arctanh(r), 1 / np.sqrt(n))))
    np.testing.assert_allclose(found["chol_corr"][[0, 1], [0, 1]][0, 0], 1.0, rtol=1e-12)
    value, error = est.params["chol"].values, est.stderr()["chol"].values
    close(found["chol"][[0, 2]], value[[0, 2], None] * np.exp(limits(np.zeros(2), (error / value)[[0, 2]])))
    close(found["chol"][1], limits(value[1], error[1]))


def test_derived_quantities_inside_their_bounds():
    """A positive one on the log, a probability on the logit, a difference of probabilities on the atanh."""
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b")
        p, q = pm.math.invlogit(a), pm.math.invlogit(b)
        pm.Deterministic("odds", pm.math.exp(a))
        pm.Deterministic("p", p)
        pm.Deterministic("less", -pm.math.exp(a))
        pm.Deterministic("difference", p - q)
        pm.Binomial("y", np.array([20, 30]), pm.math.stack([p, q]), observed=np.array([19, 12]))
    est = mle.find_MLE(model)
    found = mle.interval(est, ci_prob=0.95)
    se = np.sqrt(20 / 19)
    close(found["odds"], np.exp(limits(np.log(19), se)))
    close(found["p"], expit(limits(np.log(19), se)))
    close(found["less"], -np.exp(limits(np.log(19), -se)))
    d, v = 0.95 - 0.4, 0.95 * 0.05 / 20 + 0.4 * 0.6 / 30
    close(found["difference"], np.tanh(limits(np.arctanh(d), np.sqrt(v) / (1 - d**2))))


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_scalars_without_a_standard_error_have_no_interval():
    with pm.Model() as model:
        a, b, p = pm.Normal("a"), pm.Normal("b"), pm.Beta("p", 1, 1)
        pm.Deterministic("total", a + b)
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0, 3.0, 4.0])
        pm.Bernoulli("z", p, observed=[0, 0, 0])
    found = mle.interval(mle.find_MLE(model), ci_prob=0.95)
    for name in ("a", "b", "p"):
        assert np.isnan(found[name]).all()
    close(found["total"], limits(2.5, 0.5))


@pytest.fixture(scope="module")
def simple():
    with pm.Model() as model:
        mu, nu = pm.Normal("mu"), pm.Normal("nu")
        pm.Normal("y", mu, 1, observed=np.zeros(4))
        pm.Normal("x", nu, 1, observed=np.zeros(4))
    return mle.find_MLE(model)


def test_probability_defaults_to_that_of_arviz(simple):
    close(mle.interval(simple)["mu"], norm.interval(0.89, scale=0.5))
    with arviz_base.rc_context({"stats.ci_prob": 0.5}):
        close(mle.interval(simple)["mu"], norm.interval(0.5, scale=0.5))


def test_choice_of_variables(simple):
    assert list(mle.interval(simple, "nu")) == ["nu"]
    assert list(mle.interval(simple, ["~nu"])) == ["mu"]


def test_single_elements_by_their_labels():
    """Of parameters and Deterministics, in every kind of interval and in the table."""
    with pm.Model(coords={"group": ["a", "b, c"], "k": [1, 2]}) as model:
        mu = pm.Normal("mu", 0, 10, dims=("k", "group"))
        pm.Deterministic("twice", 2 * mu, dims=("k", "group"))
        pm.Normal("y", mu, 1, observed=RNG.normal(size=(8, 2, 2)))
    est = mle.find_MLE(model)
    names = ["mu[2, a]", "twice[1, b, c]", "mu"]
    boot = mle.bootstrap(est, n=50, progressbar=False)
    for kind in ("wald", "profile", "bootstrap"):
        options = {"bootstrap": boot} if kind == "bootstrap" else {}
        whole = mle.interval(est, ["mu", "twice"], kind=kind, **options)
        found = mle.interval(est, names, kind=kind, **options)
        assert sorted(found) == sorted(names)
        assert found["mu[2, a]"].dims == ("ci_bound",)
        np.testing.assert_array_equal(found["mu[2, a]"], whole["mu"].sel(k=2, group="a"))
        np.testing.assert_array_equal(found["twice[1, b, c]"], whole["twice"].sel(k=1, group="b, c"))
        np.testing.assert_array_equal(found["mu"], whole["mu"])
    assert list(mle.interval(est, "mu[2, a]", kind="profile")) == ["mu[2, a]"]
    assert est.summary(["mu[2, a]", "twice[1, b, c]"]).index.tolist() == names[:2]
    assert float(est.summary("mu[2, a]")["mle"].iloc[0]) == float(est.params["mu"].sel(k=2, group="a"))
    with pytest.raises(KeyError, match=r"mu\[3, a\] not among the variables"):
        mle.interval(est, "mu[3, a]")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kind": "score"}, ValueError, r"kind='score' is not one of 'wald', 'profile'"),
        ({"ci_prob": 89}, ValueError, "ci_prob=89 is not a probability"),
        ({"var_names": "tau"}, KeyError, r"tau not among the variables \(mu, nu\)"),
    ],
)
def test_bad_arguments(simple, options, error, message):
    with pytest.raises(error, match=message):
        mle.interval(simple, **options)


def test_examples_in_docstrings():
    assert doctest.testmod(intervals).failed == 0
