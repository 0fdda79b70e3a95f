"""Likelihoods that go wrong, each with the verdict that is right; the numbers are closed forms or simpler models'."""

import warnings

import numpy as np
import pymc as pm
import pytest
from scipy import stats
from scipy.special import gammaln

import mle_pp as mle
from mle_pp import Status


def fit(model, **options):
    """A fit whose verdict is looked at, whatever it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mle.VerdictWarning)
        return mle.find_MLE(model, on_failure="return", **options)


def kinds(est):
    return {finding.kind for finding in est.verdict.findings}


def variables(est):
    return {label for finding in est.verdict.findings for label in finding.variables}


def seed_data():
    rng = np.random.RandomState(123)
    x = rng.rand(2, 200)
    e = rng.normal(10, 5, 200)
    return x, x.T @ rng.uniform(1, 15, size=2) + e


# -- limits at infinity -------------------------------------------------------------------------------------------


def logistic(x, y, **priors):
    with pm.Model() as model:
        intercept = pm.Normal("intercept", 0, 10)
        slope = pm.Normal("slope", 0, 10)
        pm.Bernoulli("y", logit_p=intercept + slope * x, observed=y)
    return model


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (-5.5, 1), (0, 1e-3), (1000, 1e3)])
def test_separation(shift, scale):
    x = np.arange(1, 11)
    est = fit(logistic((x - shift) * scale, (x > 5).astype(int)))
    assert est.verdict.status is Status.AT_INFINITY
    assert {"intercept", "slope"} >= variables(est) >= {"slope"}
    assert est.loglik == pytest.approx(0, abs=1e-6)
    assert np.isnan(est.stderr()["slope"])
    assert est.params["slope"] == np.inf


def test_quasi_separation_keeps_the_other_coefficients():
    """A group without a success: its coefficient runs away, the rest is the fit without that group."""
    rng = np.random.RandomState(1)
    x, group = rng.normal(size=60), np.repeat([0, 1, 2], 20)
    y = np.where(group == 2, 0, (rng.rand(60) < 1 / (1 + np.exp(-x))).astype(int))

    def model(rows):
        with pm.Model(coords={"group": ["b", "c"]}) as model:
            a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
            effect = pm.Normal("effect", 0, 10, dims="group")
            full = np.stack([group == 1, group == 2], axis=1).astype(float)[rows]
            pm.Bernoulli("y", logit_p=a + b * x[rows] + full @ effect, observed=y[rows])
        return model

    est = fit(model(np.arange(60)))
    assert est.verdict.status is Status.AT_INFINITY
    assert variables(est) == {"effect[c]"}
    assert est.params["effect"].sel(group="c") == -np.inf
    reference = fit(model(group < 2), fix={"effect": [float(est.params["effect"].sel(group="b")), 0.0]})
    np.testing.assert_allclose(est.params["b"], reference.params["b"], rtol=1e-6)
    np.testing.assert_allclose(est.loglik, reference.loglik, rtol=1e-7)
    assert np.all(np.isfinite([est.stderr()["a"], est.stderr()["b"], est.stderr()["effect"].sel(group="b")]))
    assert np.isnan(est.stderr()["effect"].sel(group="c"))


def test_poisson_group_without_events():
    with pm.Model(coords={"group": ["a", "b"]}) as model:
        effect = pm.Normal("effect", 0, 10, dims="group")
        pm.Poisson("y", pm.math.exp(effect[np.array([0, 0, 1, 1])]), observed=[3, 5, 0, 0])
    est = fit(model)
    assert est.verdict.status is Status.AT_INFINITY
    assert variables(est) == {"effect[b]"}
    np.testing.assert_allclose(est.params["effect"].values, [np.log(4), -np.inf])
    np.testing.assert_allclose(est.stderr()["effect"].values, [1 / np.sqrt(8), np.nan], rtol=1e-6)


def test_negative_binomial_without_overdispersion_is_poisson():
    rng = np.random.RandomState(4)
    x = rng.normal(size=100)
    y = rng.binomial(20, 1 / (1 + np.exp(1 - 0.3 * x)))

    def model(family):
        with pm.Model() as model:
            beta = pm.Normal("beta", 0, 10, shape=2)
            mu = pm.math.exp(beta[0] + beta[1] * x)
            if family == "poisson":
                pm.Poisson("y", mu, observed=y)
            else:
                pm.NegativeBinomial("y", mu=mu, alpha=pm.HalfNormal("alpha", 10), observed=y)
        return model

    est, poisson = fit(model("negbin")), fit(model("poisson"))
    assert poisson.verdict.ok
    assert est.verdict.status is Status.AT_INFINITY
    assert variables(est) == {"alpha"}
    assert est.params["alpha"] == np.inf
    assert np.isnan(est.stderr()["alpha"])
    np.testing.assert_allclose(est.params["beta"], poisson.params["beta"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(est.stderr()["beta"], poisson.stderr()["beta"], rtol=1e-5)
    np.testing.assert_allclose(est.loglik, poisson.loglik, rtol=1e-7)


def test_student_t_on_light_tails_is_normal():
    y = np.array([-1.2, -0.9, -1.1, 0.8, 1.1, 0.9, 1.2, -0.8, 1.0, -1.0])
    with pm.Model() as model:
        nu = pm.Gamma("nu", 2, 0.1)
        mu, sigma = pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10)
        pm.StudentT("y", nu=nu, mu=mu, sigma=sigma, observed=y)
    est = fit(model)
    assert est.verdict.status is Status.AT_INFINITY
    assert "nu" in variables(est)
    assert "unbounded_elsewhere" in kinds(est)
    assert est.params["nu"] == np.inf
    np.testing.assert_allclose([est.params["mu"], est.params["sigma"]], [y.mean(), y.std()], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(est.stderr()["mu"], y.std() / np.sqrt(10), rtol=1e-4)
    np.testing.assert_allclose(est.stderr()["sigma"], y.std() / np.sqrt(20), rtol=1e-4)
    np.testing.assert_allclose(est.loglik, stats.norm.logpdf(y, y.mean(), y.std()).sum(), rtol=1e-6)


# -- edges of the parameter space ---------------------------------------------------------------------------------


@pytest.mark.parametrize("successes", [0, 10])
@pytest.mark.parametrize("declared", ["beta", "uniform", "logit"])
def test_all_or_none(successes, declared):
    with pm.Model() as model:
        if declared == "logit":
            logit = pm.Normal("logit", 0, 10)
            pm.Binomial("y", n=10, logit_p=logit, observed=successes)
        else:
            p = pm.Beta("p", 2, 2) if declared == "beta" else pm.Uniform("p", 0, 1)
            pm.Binomial("y", n=10, p=p, observed=successes)
    est = fit(model)
    assert est.loglik == pytest.approx(0, abs=1e-6)
    if declared == "logit":
        assert est.verdict.status is Status.AT_INFINITY
        assert est.params["logit"] == np.copysign(np.inf, successes - 5)
    else:
        assert est.verdict.status is Status.BOUNDARY
        assert est.params["p"] == successes / 10
        assert np.isnan(est.stderr()["p"])


def test_bound_of_a_prior():
    x, y = seed_data()
    with pm.Model() as model:
        beta = pm.Normal("beta", 0, 10, shape=3)
        sigma = pm.Uniform("sigma", 0, 3)
        pm.Normal("y", beta[0] + beta[1] * x[0] + beta[2] * x[1], sigma, observed=y)
    est = fit(model)
    assert est.verdict.status is Status.BOUNDARY
    assert est.params["sigma"] == 3
    assert "prior" in est.verdict.message
    design = np.column_stack([np.ones(200), x.T])
    np.testing.assert_allclose(est.params["beta"], np.linalg.lstsq(design, y)[0], rtol=1e-7)
    errors = 3 * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    np.testing.assert_allclose(est.stderr()["beta"], errors, rtol=1e-5)


def test_empty_category_of_a_simplex():
    counts = np.array([5, 0, 15])
    with pm.Model() as model:
        p = pm.Dirichlet("p", np.ones(3))
        pm.Multinomial("y", n=20, p=p, observed=counts)
    est = fit(model)
    assert est.verdict.status is Status.BOUNDARY
    np.testing.assert_allclose(est.params["p"], counts / 20, atol=1e-7)
    np.testing.assert_allclose(est.stderr()["p"][[0, 2]], np.sqrt(0.25 * 0.75 / 20), rtol=1e-4)
    assert np.isnan(est.stderr()["p"][1])


def test_undeclared_transform():
    with pm.Model() as model:
        p = pm.Uniform("p", 0, 1, default_transform=None)
        pm.Binomial("y", n=9, p=p, observed=6)
    est = fit(model)
    assert est.verdict.ok
    np.testing.assert_allclose(est.params["p"], 2 / 3)


# -- not identified -----------------------------------------------------------------------------------------------


def test_sum_of_two():
    y = np.array([1.0, 2.0, 4.0, 5.5])
    with pm.Model() as model:
        a, b = pm.Flat("a"), pm.Flat("b")
        s = pm.HalfFlat("s")
        pm.Deterministic("total", a + b)
        pm.Normal("y", a + b, s, observed=y)
    est = fit(model)
    assert est.verdict.status is Status.NOT_IDENTIFIED
    assert variables(est) == {"a", "b"}
    [direction] = est.verdict.findings[0].evidence["directions"]
    assert direction["a"] == pytest.approx(-direction["b"])
    assert set(direction) == {"a", "b"}
    assert est.n_params == 2
    assert np.isnan(est.params["a"])
    assert np.isnan(est.stderr()["b"])
    np.testing.assert_allclose(est.stderr()["s"], y.std() / np.sqrt(8))
    np.testing.assert_allclose(est.derived["total"], y.mean())
    np.testing.assert_allclose(est.stderr()["total"], y.std() / 2)


def test_dummy_trap():
    rng = np.random.RandomState(3)
    group, x = np.repeat([0, 1, 2], 10), rng.normal(size=30)
    y = rng.poisson(np.exp(0.5 + 0.2 * group + 0.3 * x))
    with pm.Model(coords={"group": ["a", "b", "c"]}) as model:
        intercept, slope = pm.Normal("intercept", 0, 5), pm.Normal("slope", 0, 5)
        effect = pm.Normal("effect", 0, 5, dims="group")
        pm.Poisson("y", pm.math.exp(intercept + effect[group] + slope * x), observed=y)
    est = fit(model)
    assert est.verdict.status is Status.NOT_IDENTIFIED
    [direction] = est.verdict.findings[0].evidence["directions"]
    weights = {label: weight / direction["intercept"] for label, weight in direction.items()}
    assert weights == pytest.approx({"intercept": 1, "effect[a]": -1, "effect[b]": -1, "effect[c]": -1})
    reference = fit(model, fix={"intercept": 0.0})
    assert reference.verdict.ok
    np.testing.assert_allclose(est.params["slope"], reference.params["slope"], rtol=1e-7)
    np.testing.assert_allclose(est.stderr()["slope"], reference.stderr()["slope"], rtol=1e-6)
    np.testing.assert_allclose(est.loglik, reference.loglik)


def test_unused_parameter():
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 1)
        pm.HalfNormal("unused", 1)
        pm.Normal("y", mu, 1, observed=[1.0, 2.0])
    est = fit(model)
    assert est.verdict.status is Status.NOT_IDENTIFIED
    assert variables(est) == {"unused"}
    np.testing.assert_allclose(est.params["mu"], 1.5)


def test_product_from_its_saddle():
    y = np.array([1.0, 2.0, 3.5])
    with pm.Model() as model:
        w, z = pm.Flat("w", initval=0.0), pm.Flat("z", initval=0.0)
        pm.Deterministic("product", w * z)
        pm.Normal("y", w * z, 1, observed=y)
    for starts in (1, "auto"):
        est = fit(model, starts=starts)
        assert est.verdict.status is Status.NOT_IDENTIFIED
        assert variables(est) == {"w", "z"}
        np.testing.assert_allclose(est.derived["product"], y.mean(), rtol=1e-6)


# -- unbounded ----------------------------------------------------------------------------------------------------


def mixture(y, ordered=False):
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        how = {"transform": pm.distributions.transforms.ordered} if ordered else {}
        mu = pm.Normal("mu", 0, 10, shape=2, initval=[-1.0, 1.0], **how)
        sigma = pm.HalfNormal("sigma", 5, shape=2)
        pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, observed=y)
    return model


@pytest.mark.parametrize("ordered", [False, True])
def test_mixture_with_free_sds(ordered):
    rng = np.random.RandomState(11)
    y = np.concatenate([rng.normal(-2, 1, 60), rng.normal(3, 0.7, 40)])
    est = fit(mixture(y, ordered), starts=12)
    assert est.verdict.ok
    assert "unbounded_elsewhere" in kinds(est)
    np.testing.assert_allclose(np.sort(est.params["mu"]), [-2, 3], atol=0.5)
    assert est.params["sigma"].min() > 0.3
    interior = est.starts[np.isclose(est.starts["value"], est.loglik)]
    assert interior["optimum"].nunique() == 1


def test_mixture_that_starts_on_a_spike():
    rng = np.random.RandomState(11)
    y = np.concatenate([rng.normal(-2, 1, 60), rng.normal(3, 0.7, 40)])
    est = fit(mixture(y), initvals={"mu": [y[0], 1.0], "sigma": [1e-6, 1.0]}, starts=4)
    assert est.verdict.ok
    assert "unbounded_elsewhere" in kinds(est)
    assert est.params["sigma"].min() > 0.3


def test_scale_to_zero():
    """Two free means of one observation each leave nothing for the scale."""
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10, shape=2)
        sigma = pm.HalfNormal("sigma", 5)
        pm.Normal("y", mu, sigma, observed=[1.0, 3.0])
    est = fit(model)
    assert est.verdict.status is Status.UNBOUNDED
    assert "sigma" in variables(est)
    assert np.isnan(est.loglik)
    with pytest.raises(mle.EstimationError, match="sigma") as caught:
        mle.find_MLE(model)
    assert caught.value.estimate.verdict.status is Status.UNBOUNDED


def test_potential_without_its_minus_sign():
    x, y = seed_data()
    with pm.Model() as model:
        beta, sigma = pm.Normal("beta", 0, 10, shape=2), pm.HalfNormal("sigma", 5)
        pm.Potential("likelihood", (0.5 * ((y - x.T @ beta) / sigma) ** 2 - pm.math.log(sigma)).sum())
    with pytest.raises(mle.ModelError, match=r"likelihood.*potentials="):
        mle.find_MLE(model)
    est = fit(model, potentials="likelihood")
    assert est.verdict.status is Status.UNBOUNDED
    assert "sign" in est.verdict.message


# -- irregular ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 1e-4, 1e6])
def test_uniform_upper_limit(scale):
    y = np.array([0.3, 1.7, 2.9, 0.8]) * scale
    with pm.Model() as model:
        theta = pm.HalfFlat("theta", initval=10.0 * scale)
        pm.Uniform("y", 0, theta, observed=y)
    est = fit(model)
    assert est.verdict.status is Status.IRREGULAR
    assert variables(est) == {"theta"}
    np.testing.assert_allclose(est.params["theta"], y.max(), rtol=1e-9)
    assert np.isnan(est.stderr()["theta"])


def test_singular_information():
    """The third power of a parameter at zero: a strict maximum, and no curvature."""
    with pm.Model() as model:
        theta = pm.Flat("theta", initval=0.5)
        pm.Normal("y", theta**3, 1, observed=[-1.0, 1.0])
    est = fit(model)
    assert est.verdict.status is Status.IRREGULAR
    np.testing.assert_allclose(est.params["theta"], 0, atol=0.05)
    assert np.isnan(est.stderr()["theta"])


def test_kink():
    y = np.array([0.0, 1.0, 5.0])
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Laplace("y", mu, 1, observed=y)
    est = fit(model)
    assert est.verdict.status is Status.IRREGULAR
    np.testing.assert_allclose(est.params["mu"], 1, atol=1e-6)


# -- and what looks alarming but is not ---------------------------------------------------------------------------


def test_no_intercept():
    x, y = seed_data()
    with pm.Model() as model:
        beta, sigma = pm.Normal("beta", 0, 10, shape=2), pm.HalfNormal("sigma", 10)
        pm.Normal("y", x.T @ beta, sigma, observed=y)
    est = fit(model)
    assert est.verdict.ok
    np.testing.assert_allclose([*est.params["beta"], est.params["sigma"]], [13.132, 18.056, 5.904], atol=5e-4)
    np.testing.assert_allclose(est.loglik, -638.92, atol=5e-3)
    [hint] = est.verdict.findings
    assert hint.kind == "no_constant"
    assert hint.evidence["gain"] == pytest.approx(638.92 - 601.16, abs=0.01)


def test_nearly_separated_is_finite():
    est = fit(logistic(np.arange(1, 13), np.array([0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1])))
    assert est.verdict.ok


def test_weak_overdispersion_is_finite():
    """The likelihood falls by 0.02 only on the way to infinite alpha: a flat profile, but a maximum."""
    y = np.array([0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 0, 7, 2, 1, 3])
    assert y.var() > y.mean()
    with pm.Model() as model:
        mu, alpha = pm.HalfFlat("mu"), pm.HalfFlat("alpha")
        pm.NegativeBinomial("y", mu=mu, alpha=alpha, observed=y)
    est = fit(model)
    assert est.verdict.ok
    a, m = float(est.params["alpha"]), y.mean()
    expected = gammaln(y + a) - gammaln(a) - gammaln(y + 1) + a * np.log(a / (a + m)) + y * np.log(m / (a + m))
    np.testing.assert_allclose(est.loglik, expected.sum())


@pytest.mark.parametrize("degree", [3, 6])
def test_polynomial_in_raw_powers(degree):
    """Ill-conditioned is not the same as not identified; beyond double precision it is said, with the remedy."""
    rng = np.random.RandomState(7)
    x = np.linspace(10, 11, 60)
    design = np.vander(x, degree + 1, increasing=True)
    y = np.sin(6 * x) + rng.normal(0, 0.1, 60)
    with pm.Model() as model:
        beta, sigma = pm.Flat("beta", shape=degree + 1), pm.HalfFlat("sigma")
        pm.Normal("y", design @ beta, sigma, observed=y)
    est = fit(model, starts=1)
    if degree == 3:
        assert est.verdict.ok
        rss = np.sum((y - np.polynomial.Polynomial.fit(x, y, degree)(x)) ** 2)
        np.testing.assert_allclose(est.params["sigma"], np.sqrt(rss / 60), rtol=1e-8)
    else:
        assert est.verdict.status is Status.NOT_CONVERGED
        assert kinds(est) == {"ill_conditioned"}


# -- integrated variables -----------------------------------------------------------------------------------------


def test_eight_schools():
    """Row 11: both declarations end where all schools are equal; the mean is then the weighted one."""
    y = np.array([28, 8, -3, 7, -1, 1, 18, 12.0])
    s = np.array([15, 10, 16, 11, 9, 11, 10, 18.0])
    with pm.Model(coords={"school": np.arange(8)}) as centered:
        mu, tau = pm.Flat("mu"), pm.HalfFlat("tau")
        theta = pm.Normal("theta", mu, tau, dims="school")
        pm.Normal("y", theta, s, observed=y)
    with pm.Model(coords={"school": np.arange(8)}) as offset:
        mu, tau = pm.Flat("mu"), pm.HalfNormal("tau", 5)
        z = pm.Normal("z", 0, 1, dims="school")
        pm.Normal("y", mu + tau * z, s, observed=y)
    for model in (centered, offset):
        with pytest.warns(mle.VerdictWarning, match="BOUNDARY"):
            est = mle.find_MLE(model)
        assert est.verdict.status is Status.BOUNDARY
        assert est.verdict.findings[0].variables == ("tau",)
        assert float(est.params["tau"]) == 0
        assert float(est.params["mu"]) == pytest.approx(np.sum(y / s**2) / np.sum(1 / s**2), rel=1e-8)
        assert float(est.params["mu"]) == pytest.approx(7.6856, abs=1e-4)
        assert float(est.stderr()["mu"]) == pytest.approx(4.072, abs=1e-3)
        assert np.isnan(est.stderr()["tau"])
        assert est.loglik == pytest.approx(stats.norm(7.685617, s).logpdf(y).sum(), abs=1e-6)


def test_one_location_and_scale_for_each_coefficient():
    """Row 13: the scales end at zero, the locations at least squares; it is said that they always do."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = x @ [1, 2, 3] + rng.normal(size=50)
    with pm.Model() as model:
        m, eta = pm.Normal("m", 0, 10, shape=3), pm.HalfNormal("eta", 1, shape=3)
        beta, sigma = pm.Normal("beta", m, eta, shape=3), pm.HalfNormal("sigma", 1)
        pm.Normal("y", x @ beta, sigma, observed=y)
    with pytest.warns(mle.VerdictWarning, match="always at a scale of 0"):
        est = mle.find_MLE(model)
    assert est.verdict.status is Status.BOUNDARY
    assert {finding.kind for finding in est.verdict.findings} == {"boundary", "one_each"}
    beta, (rss,), *_ = np.linalg.lstsq(x, y)
    np.testing.assert_array_equal(est.params["eta"], 0)
    np.testing.assert_allclose(est.params["m"], beta, rtol=1e-7)
    np.testing.assert_allclose(est.latent["beta"], beta, rtol=1e-7)
    assert float(est.params["sigma"]) == pytest.approx(np.sqrt(rss / 50), rel=1e-7)
    expected = np.sqrt(np.diag(np.linalg.inv(x.T @ x)) * rss / 50)
    np.testing.assert_allclose(est.stderr()["m"], expected, rtol=1e-5)


# -- missing values, which PyMC imputes ---------------------------------------------------------------------------


def with_missing(family, y):
    with warnings.catch_warnings(), pm.Model() as model:
        warnings.simplefilter("ignore")  # PyMC tells that it imputes, and casts NaN to an integer
        if family == "normal":
            b, s = pm.Normal("b", 0, 1, shape=2), pm.HalfNormal("s", 1)
            pm.Normal("y", b[0] + b[1] * np.arange(len(y)), s, observed=y)
        else:
            pm.Poisson("y", pm.HalfNormal("mu"), observed=y)
    return model


@pytest.mark.parametrize("masked", [False, True])
def test_missing_values_of_independent_rows_are_dropped_and_told(masked):
    y = np.array([1.0, 2.5, np.nan, 4.0, 3.0, np.nan, 6.0])
    est = fit(with_missing("normal", np.ma.masked_invalid(y) if masked else y))
    assert est.verdict.ok
    [finding] = est.verdict.findings
    assert finding.kind == "missing_values"
    assert finding.variables == ("y",)
    seen = np.isfinite(y)
    slope, intercept = np.polyfit(np.arange(7)[seen], y[seen], 1)
    np.testing.assert_allclose(est.params["b"], [intercept, slope])
    assert est.n_obs == 5
    assert "y" not in est.derived
    assert mle.roles(est.model)["y_unobserved"].kind == "latent"


def test_missing_counts_are_dropped():
    est = fit(with_missing("poisson", np.array([1.0, 2.0, np.nan, 6.0])))
    np.testing.assert_allclose([est.params["mu"], est.stderr()["mu"]], [3, 1])
    assert kinds(est) == {"missing_values"}
