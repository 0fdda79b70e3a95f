"""Relatives of the zoo's likelihoods: several limits at once, steps, plateaus, growth without bound, near misses.

The expected numbers are closed forms, or maxima of the limiting model, written beside each case.
"""

import warnings

import numpy as np
import pymc as pm
import pytest
import statsmodels.api as sm
from scipy import stats

import mle_pp as mle
from mle_pp import Status

INF, NAN = np.inf, np.nan
X10 = np.arange(1, 11.0)


def fit(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mle.VerdictWarning)
        return mle.find_MLE(model, on_failure="return", **options)


def kinds(est):
    return {finding.kind for finding in est.verdict.findings}


def named(est):
    return {label for finding in est.verdict.findings for label in finding.variables}


PARAMETERS: list = []


def case(status, loglik=None, errors=None, names=None, **params):
    """Declare a case: its verdict, log-likelihood, standard errors (by name), the labels in findings, estimates."""

    def add(build):
        PARAMETERS.append(pytest.param(build, Status(status), loglik, errors or {}, names, params, id=build.__name__))
        return build

    return add


@pytest.mark.parametrize(("build", "status", "loglik", "errors", "names", "params"), PARAMETERS)
def test_verdict_and_numbers(build, status, loglik, errors, names, params):
    with pm.Model() as model:
        build()
    est = fit(model)
    assert est.verdict.status is status, est.verdict.message
    if loglik is not None:
        np.testing.assert_allclose(est.loglik, loglik, rtol=1e-6, atol=1e-6)
    for name, value in params.items():
        np.testing.assert_allclose(est.params[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    for name, value in errors.items():
        np.testing.assert_allclose(est.stderr()[name], value, rtol=1e-3, atol=1e-8, err_msg=name)
    if names is not None:
        assert named(est) == set(names)


# -- several limits at once ---------------------------------------------------------------------------------------


@case("BOUNDARY", p=[0.25, 0, 0.75, 0], errors={"p": [np.sqrt(0.1875 / 20), NAN, np.sqrt(0.1875 / 20), NAN]},
      names=["p[1]", "p[3]"])  # fmt: skip
def two_empty_categories():
    pm.Multinomial("y", n=20, p=pm.Dirichlet("p", np.ones(4)), observed=np.array([5, 0, 15, 0]))


@case("BOUNDARY", p=[0, 0.5, 1], errors={"p": [NAN, np.sqrt(0.025), NAN]}, names=["p[0]", "p[2]"])
def none_half_all():
    pm.Binomial("y", n=10, p=pm.Beta("p", 1, 1, shape=3), observed=[0, 5, 10])


@case("AT_INFINITY", eta=[-INF, 0, INF], errors={"eta": [NAN, 1 / np.sqrt(2.5), NAN]})
def none_half_all_in_logits():
    pm.Binomial("y", n=10, logit_p=pm.Normal("eta", 0, 2, shape=3), observed=[0, 5, 10])


@case("AT_INFINITY", e=[np.log(4), -INF, -INF], errors={"e": [1 / np.sqrt(8), NAN, NAN]}, names=["e[1]", "e[2]"])
def two_groups_without_events():
    e = pm.Normal("e", 0, 3, shape=3)
    pm.Poisson("y", pm.math.exp(e[np.array([0, 0, 1, 1, 2, 2])]), observed=[3, 5, 0, 0, 0, 0])


@case("BOUNDARY", p=[0.1, 0.9], errors={"p": [NAN, NAN]}, names=["p[0]", "p[1]"])
def both_bounds():
    pm.Binomial("y", n=10, p=pm.Uniform("p", 0.1, 0.9, shape=2), observed=[0, 10])


@case("AT_INFINITY", a=-INF, b=INF, s=0.5, errors={"a": NAN, "b": NAN, "s": NAN}, names=["a", "b", "s"])
def separation_and_a_bound():
    a, b, s = pm.Normal("a", 0, 9), pm.Normal("b", 0, 9), pm.Uniform("s", 0, 0.5)
    pm.Bernoulli("y", logit_p=a + b * X10, observed=(X10 > 5).astype(int))
    pm.Normal("z", 0, s, observed=[3.0, -4])


@case("AT_INFINITY", e=[np.log(23 / 6), -INF], alpha=INF, errors={"e": [1 / np.sqrt(23), NAN], "alpha": NAN})
def poisson_limit_and_a_group_without_events():
    e, alpha = pm.Normal("e", 0, 3, shape=2), pm.HalfNormal("alpha", 5)
    mu = pm.math.exp(e[np.repeat([0, 1], [6, 4])])
    pm.NegativeBinomial("y", mu=mu, alpha=alpha, observed=[3, 4, 5, 4, 3, 4, 0, 0, 0, 0])


@case("AT_INFINITY", a=NAN, b=INF, loglik=0, names=["a", "b"])
def separation_around_zero():
    a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
    pm.Bernoulli("y", logit_p=a + b * (X10 - 5.5), observed=(X10 > 5).astype(int))


@case("AT_INFINITY", loglik=0, a=-INF, b=INF)
def separated_probit():
    a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
    pm.Bernoulli("y", p=pm.math.invprobit(a + b * X10), observed=(X10 > 5).astype(int))


@case("AT_INFINITY", loglik=0, a=-INF, b=INF)
def separated_complementary_log_log():
    a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
    pm.Bernoulli("y", p=1 - pm.math.exp(-pm.math.exp(a + b * X10)), observed=(X10 > 5).astype(int))


@case("AT_INFINITY", loglik=0, b=INF)
def separated_ordered_logit():
    b = pm.Normal("b", 0, 10)
    c = pm.Normal("c", 0, 10, shape=2, transform=pm.distributions.transforms.ordered, initval=[-1.0, 1.0])
    pm.OrderedLogistic("y", eta=b * np.arange(12.0), cutpoints=c, compute_p=False, observed=np.repeat([0, 1, 2], 4))


MULTINOMIAL = np.array([[4, 6, 10], [5, 5, 10], [4, 5, 11], [3, 7, 10]])


@case("AT_INFINITY", a=[INF] * 3,
      loglik=sum(stats.multinomial.logpmf(row, 20, MULTINOMIAL.mean(0) / 20) for row in MULTINOMIAL))  # fmt: skip
def multinomial_limit():
    pm.DirichletMultinomial("y", n=20, a=pm.HalfNormal("a", 10, shape=3), observed=MULTINOMIAL)


COUNTS = np.array([3, 4, 5, 4, 3, 4, 5, 4])


@case("AT_INFINITY", mu=4, alpha=INF, errors={"mu": np.sqrt(0.5)}, loglik=stats.poisson.logpmf(COUNTS, 4).sum())
def poisson_limit():
    pm.NegativeBinomial("y", mu=pm.HalfNormal("mu", 9), alpha=pm.HalfNormal("alpha", 9), observed=COUNTS)


# -- limits on curved ways ----------------------------------------------------------------------------------------

EXPONENTIAL_LIKE = np.array([0.1, 0.2, 0.25, 0.4, 0.7, 0.9, 1.3, 1.8, 2.9, 4.5])


@case("AT_INFINITY", mu=-INF, sigma=INF, loglik=-10 * (np.log(EXPONENTIAL_LIKE.mean()) + 1))
def truncated_normal_becomes_exponential():
    mu, sigma = pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 1)
    pm.Truncated("y", pm.Normal.dist(mu, sigma), lower=0, upper=None, observed=EXPONENTIAL_LIKE)


@case("AT_INFINITY", a=INF, k=0)
def saturating_growth_of_a_straight_line():
    x = np.arange(1, 9.0)
    y = 2 * x + np.array([0.1, -0.2, 0.1, 0.2, -0.3, 0.1, -0.4, 0.6])
    a, k, s = pm.HalfNormal("a", 10), pm.HalfNormal("k", 1), pm.HalfNormal("s", 1)
    pm.Normal("y", a * (1 - pm.math.exp(-k * x)), s, observed=y)


# -- unbounded ----------------------------------------------------------------------------------------------------


@case("UNBOUNDED")
def constant_gamma():
    pm.Gamma("y", pm.HalfNormal("a", 3), pm.HalfNormal("b", 3), observed=[2.0, 2, 2, 2])


@case("UNBOUNDED")
def constant_beta():
    pm.Beta("y", pm.HalfNormal("a", 3), pm.HalfNormal("b", 3), observed=[0.3, 0.3, 0.3])


@case("UNBOUNDED", names=["rho"])
def perfect_correlation():
    z = np.random.RandomState(0).normal(size=12)
    rho, s = pm.Uniform("rho", -1, 1), pm.HalfNormal("s", 1)
    cov = s**2 * pm.math.stack([pm.math.stack([1.0, rho]), pm.math.stack([rho, 1.0])])
    pm.MvNormal("y", np.zeros(2), cov=cov, observed=np.column_stack([z, -z]))


@case("UNBOUNDED")
def one_observation_with_a_scale_of_its_own():
    d = np.append(np.zeros(10), 1.0)
    y = np.append(np.random.RandomState(0).normal(size=10), 4.0)
    a, b = pm.Normal("a", 0, 5, shape=2), pm.Normal("b", 0, 1, shape=2)
    pm.Normal("y", a[0] + a[1] * d, pm.math.exp(b[0] + b[1] * d), observed=y)


# -- steps, plateaus, edges ---------------------------------------------------------------------------------------


@case("IRREGULAR", mu=3, b=2, errors={"mu": NAN, "b": 1}, names=["mu"])
def median_of_an_even_number():
    """Σ|y − μ| is the same between the two middle observations; b is their mean absolute deviation, its error b/√n."""
    pm.Laplace("y", pm.Normal("mu", 0, 10), pm.HalfNormal("b", 5), observed=[1.0, 2, 4, 7])


CHANGE = np.where(np.arange(40) < 17, 1.0, 4.0) + np.random.RandomState(1).normal(0, 0.5, 40)


@case("IRREGULAR", names=["tau"], a=CHANGE[:17].mean(), b=CHANGE[17:].mean(),
      errors={"tau": NAN})  # fmt: skip
def change_point():
    tau = pm.Uniform("tau", 0, 39)
    a, b, s = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10), pm.HalfNormal("s", 1)
    pm.Normal("y", pm.math.switch(np.arange(40.0) < tau, a, b), s, observed=CHANGE)


@case("IRREGULAR", a=1, w=6, mu=7 / 3, errors={"a": NAN, "w": NAN, "mu": np.sqrt(14) / 3 / np.sqrt(3)},
      names=["a", "w"])  # fmt: skip
def uniform_with_two_ends_beside_a_regular_part():
    a, w = pm.Normal("a", 0, 10, initval=-50.0), pm.HalfNormal("w", 50, initval=100.0)
    mu, s = pm.Normal("mu", 0, 1), pm.HalfNormal("s", 1)
    pm.Uniform("y", a, a + w, observed=[1.0, 2, 3.5, 7])
    pm.Normal("z", mu, s, observed=[1.0, 2, 4])


@case("IRREGULAR", theta=2.9e-6)
def uniform_in_small_units():
    pm.Uniform("y", 0, pm.HalfNormal("theta", 1), observed=np.array([0.3, 1.7, 2.9, 0.8]) * 1e-6)


# -- not identified, and what only looks so -------------------------------------------------------------------------


@case("NOT_IDENTIFIED", s1=NAN, s2=NAN, mu=3.125, names=["s1", "s2"])
def two_scales_and_a_mean():
    s1, s2 = pm.HalfNormal("s1", 1), pm.HalfNormal("s2", 1)
    pm.Normal("y", pm.Normal("mu", 0, 9), pm.math.sqrt(s1**2 + s2**2), observed=[1.0, 2, 4, 5.5])


def _group_without_failures():
    rng = np.random.RandomState(0)
    x, g = rng.normal(size=40), np.repeat([0, 1], 20)
    return x, g, np.where(g == 1, 1, rng.rand(40) < 0.5).astype(int)


def _slope_of_the_other_group():
    """The group without failures is fitted perfectly in the limit, and says nothing about the slope."""
    x, g, y = _group_without_failures()
    return sm.Logit(y[g == 0], sm.add_constant(x[g == 0])).fit(disp=0).params[1]


@case("NOT_IDENTIFIED", b=_slope_of_the_other_group(), names=["a", "e[0]", "e[1]"])
def trap_and_separation():
    x, g, y = _group_without_failures()
    a, e, b = pm.Normal("a", 0, 10), pm.Normal("e", 0, 10, shape=2), pm.Normal("b", 0, 10)
    pm.Bernoulli("y", logit_p=a + e[g] + b * x, observed=y)


@case("NOT_IDENTIFIED", a=NAN, b=NAN)
def in_different_units():
    a, b = pm.Normal("a", 0, 1), pm.Normal("b", 0, 1)
    pm.Normal("y", 1000 * a + 0.001 * b, 1, observed=[1.0, 2, 4, 5.5])


@case("CONVERGED", b=2, errors={"b": np.sqrt(0.5)})
def just_inside_a_bound():
    pm.Normal("y", pm.Uniform("b", 0, 2.0001), 1, observed=[1.0, 3])


@case("CONVERGED", mu=1e12 + 0.5, errors={"mu": np.sqrt(0.25 / 40)})
def large_offset():
    y = 1e12 + np.tile([0.0, 1.0], 20)
    pm.Normal("y", pm.Normal("mu", 0, 10), pm.HalfNormal("s", 1), observed=y)


# -- findings beside the verdict --------------------------------------------------------------------------------------


def test_many_maxima_are_told():
    t = np.arange(100.0)
    y = np.sin(0.9 * t + 0.4) + 0.5 * np.random.default_rng(0).normal(size=100)
    with pm.Model() as model:
        w, a = pm.Uniform("w", 0, np.pi), pm.Normal("a", 0, 1, shape=2)
        pm.Normal("y", a[0] * pm.math.sin(w * t) + a[1] * pm.math.cos(w * t), 0.5, observed=y)
    few = fit(model, starts=6)
    assert few.verdict.ok
    assert "many_maxima" in kinds(few)
    # With as many starts as the disagreement asks for, the highest is found
    np.testing.assert_allclose(fit(model).params["w"], 0.9, atol=0.01)


def test_incidental_parameters():
    """Neyman and Scott (1948): s² tends to half the variance when each mean has two observations."""
    y = np.random.RandomState(0).normal(size=(40, 2)) + np.random.RandomState(1).normal(0, 3, size=(40, 1))
    with pm.Model() as model:
        mu, s = pm.Normal("mu", 0, 10, shape=40), pm.HalfNormal("s", 3)
        pm.Normal("y", mu[:, None], s, observed=y)
    est = fit(model)
    assert est.verdict.ok
    [finding] = est.verdict.findings
    assert finding.kind == "incidental_parameters"
    assert finding.variables == ("mu",)
    assert "integrate=['mu']" in finding.remedy


@pytest.mark.parametrize(
    ("family", "values"),
    [(lambda: pm.Poisson("y", pm.Exponential("m", 1), observed=[1, -1, 2, -2]), "rows 1, 3"),
     (lambda: pm.Gamma("y", pm.Exponential("a", 1), pm.Exponential("b", 1), observed=[1.0, 0.0]), "row 1"),
     (lambda: pm.Binomial("y", 5, pm.Beta("p", 1, 1), observed=[1, 7]), r"\(7\) in row 1")],
    ids=["poisson", "gamma", "binomial"],
)  # fmt: skip
def test_impossible_data_are_refused_with_their_rows(family, values):
    with pm.Model() as model:
        family()
    with pytest.raises(mle.ModelError, match=rf"y has a value.*{values}"):
        mle.find_MLE(model)


def test_an_initial_point_outside_the_support_is_no_impossible_data():
    with pm.Model() as model:
        theta = pm.HalfFlat("theta", initval=0.5)
        pm.Uniform("y", 0, theta, observed=[0.3, 1.7, 2.9])
    assert fit(model).verdict.status in (Status.IRREGULAR, Status.NOT_CONVERGED)


def test_counts_are_never_unbounded():
    with pm.Model() as model:
        pm.NegativeBinomial("y", mu=pm.HalfNormal("mu", 10), alpha=pm.HalfNormal("alpha", 10), observed=[0] * 6)
    assert "unbounded_elsewhere" not in kinds(fit(model))


def test_standard_errors_that_depend_on_an_undetermined_weight_are_withheld():
    y = [2, 3, 1, 4, 2, 3, 5, 2, 1, 3, 2, 3]
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        lam = pm.Exponential("lam", 0.1, shape=2, initval=[1.0, 5.0])
        pm.Mixture("y", w=w, comp_dists=pm.Poisson.dist(lam, shape=(2,)), observed=y)
    est = fit(model)
    assert est.verdict.status is Status.NOT_IDENTIFIED
    np.testing.assert_allclose(est.params["lam"], np.mean(y), rtol=1e-4)
    assert np.all(np.isnan(est.stderr()["lam"]))


# -- what a second round of attacks found --------------------------------------------------------------------------

ENDS = np.array([0.3, -2.2, 1.1, 0.7, -1.4])


@pytest.mark.parametrize(
    "declared",
    [
        lambda: (pm.Normal("lo", -5, 5), pm.Normal("hi", 5, 5)),
        lambda: (lambda c, h: (c - h, c + h))(pm.Normal("c", 0, 5), pm.HalfNormal("h", 5)),
        lambda: pm.Normal("ab", 0, 10, shape=2, transform=pm.distributions.transforms.ordered, initval=[-10.0, 10.0]),
    ],
    ids=["ends", "center and width", "ordered"],
)
def test_both_ends_of_a_uniform_are_found(declared):
    with pm.Model() as model:
        ends = declared()
        pm.Uniform("y", ends[0], ends[1], observed=ENDS)
    est = fit(model)
    assert est.verdict.status is Status.IRREGULAR
    np.testing.assert_allclose(est.loglik, -5 * np.log(np.ptp(ENDS)), atol=2e-5)


def test_a_threshold_between_two_doses_is_not_determined():
    x = np.arange(8.0)
    for scale in (lambda: pm.HalfNormal("b", 1), lambda: 1 / pm.HalfNormal("s", 1)):
        with pm.Model() as model:
            pm.Bernoulli("y", logit_p=scale() * (x - pm.Normal("a", 0, 5)), observed=(x > 3).astype(int))
        est = fit(model)
        assert est.verdict.status in (Status.AT_INFINITY, Status.BOUNDARY)
        assert np.isnan(est.params["a"])
        assert np.isnan(est.stderr()["a"])


def test_separation_says_nothing_of_a_regular_part_at_zero():
    x, z = np.linspace(-2, 2, 30), np.random.default_rng(0).normal(size=30)
    with pm.Model() as model:
        a, b = pm.Normal("a", 0, 1, shape=2), pm.Normal("b", 0, 1, shape=2)
        pm.Normal("y", a[0] + b[0] * x, 1, observed=z - z.mean())
        pm.Bernoulli("t", logit_p=a[1] + b[1] * x, observed=(x > 0.4).astype(int))
    est = fit(model)
    assert est.verdict.status is Status.AT_INFINITY
    np.testing.assert_allclose(est.params["a"][0], 0, atol=1e-12)
    np.testing.assert_allclose(est.stderr()["a"][0], 1 / np.sqrt(30))


def test_a_ratio_with_a_sign_is_a_ridge():
    with pm.Model() as model:
        a, b, s = pm.Normal("a", 1, 1), pm.HalfNormal("b", 1), pm.HalfNormal("s", 1)
        pm.Normal("y", a / b * np.array([1.0, 2, 3, 4]), s, observed=[1, 2, 4, 4.5])
    est = fit(model)
    assert est.verdict.status is Status.NOT_IDENTIFIED
    assert named(est) == {"a", "b"}


def test_no_rate_and_no_events_are_regular():
    with pm.Model() as model:
        pm.Poisson("y", pm.HalfNormal("l", 1) * np.array([0.0, 1, 2, 3]), observed=[0, 1, 3, 2])
    est = fit(model)
    assert est.verdict.ok
    np.testing.assert_allclose([est.params["l"], est.stderr()["l"]], [1, 1 / np.sqrt(6)])


@pytest.mark.parametrize("shift", [20.0, 100.0])
def test_a_mixture_far_from_its_priors(shift):
    """Three clear groups: their means and shares, whatever the initial point; the sd is that within groups."""
    rng = np.random.default_rng(1)
    groups = [rng.normal(-4, 0.6, 50), rng.normal(0, 1, 50), rng.normal(5, 0.8, 50)]
    with pm.Model() as model:
        w, mu, s = pm.Dirichlet("w", np.ones(3)), pm.Normal("mu", 0, 5, shape=3), pm.HalfNormal("s", 2)
        pm.NormalMixture("y", w=w, mu=mu, sigma=s, observed=shift + np.concatenate(groups))
    est = fit(model)
    assert est.verdict.ok
    np.testing.assert_allclose(np.sort(est.params["mu"]), [shift + g.mean() for g in groups], atol=0.15)
    np.testing.assert_allclose(est.params["w"], 1 / 3, atol=0.03)
