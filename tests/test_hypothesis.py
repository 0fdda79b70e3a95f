"""Tests of hypotheses: statsmodels, closed forms, and the intervals that they invert."""

import doctest

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import statsmodels.api as sm
from scipy.stats import chi2, kstest, norm, ttest_1samp
from scipy.stats import poisson as poisson_law
from scipy.stats import t as student

import mle_pp as mle
from mle_pp.hypothesis import ratio, score, wald

RNG = np.random.default_rng(20260301)
N = 120
X = np.column_stack([np.ones(N), RNG.normal(size=(N, 2))])
COUNTS = RNG.poisson(np.exp(X @ [0.5, 0.3, 0.2]))
TERMS = ["const", "x, 1", "x=2"]


def poisson_model(counts=COUNTS, terms=TERMS, name="y"):
    with pm.Model(coords={"term": terms}) as model:
        beta = pm.Normal("beta", 0, 10, dims="term")
        pm.Deterministic("total", beta.sum())
        pm.Poisson(name, pm.math.exp(pm.math.dot(X[:, : len(terms)], beta)), observed=counts)
    return model


@pytest.fixture(scope="module")
def poisson():
    return mle.find_MLE(poisson_model())


@pytest.fixture(scope="module")
def peer():
    return sm.GLM(COUNTS, X, family=sm.families.Poisson()).fit(tol=1e-14, maxiter=100)


# -- Wald ---------------------------------------------------------------------------------------------------------

RESTRICTIONS = {
    "beta[x, 1] = 0.2": ([[0, 1, 0]], [0.2]),
    "0.2 = beta[x, 1]": ([[0, 1, 0]], [0.2]),
    "beta[x, 1] = beta[x=2]": ([[0, 1, -1]], [0]),
    "2*beta[x, 1] - beta[x=2] / 4 = 1 - beta[const]": ([[1, 2, -0.25]], [1]),
    "beta[const] = 0.5, beta[x, 1] = beta[x=2]": ([[1, 0, 0], [0, 1, -1]], [0.5, 0]),
    "beta[const] = beta[x, 1] = beta[x=2]": ([[1, -1, 0], [0, 1, -1]], [0, 0]),
}


@pytest.mark.parametrize("text", RESTRICTIONS)
def test_linear_restrictions_against_statsmodels(poisson, peer, text):
    matrix, value = RESTRICTIONS[text]
    expected = peer.wald_test((np.array(matrix, float), np.array(value, float)), scalar=True, use_f=False)
    found = mle.wald_test(poisson, text)
    assert found.df == len(value)
    assert found.statistic == pytest.approx(float(expected.statistic), rel=1e-6)
    assert found.pvalue == pytest.approx(float(expected.pvalue), rel=1e-6)
    single = peer.t_test((np.array(matrix, float), np.array(value, float)))
    if found.df == 1 and not text.startswith("0.2"):
        z = found.restrictions["z"].iloc[0]
        assert z == pytest.approx(float(np.squeeze(single.tvalue)), rel=1e-6)
        assert 2 * norm.sf(abs(z)) == pytest.approx(found.pvalue, rel=1e-9)


def test_a_list_is_a_joint_test(poisson):
    joint = mle.wald_test(poisson, ["beta[const] = 0.5", "beta[x, 1] == beta[x=2]"])
    assert joint.statistic == pytest.approx(
        mle.wald_test(poisson, "beta[const] = 0.5, beta[x, 1] = beta[x=2]").statistic, rel=1e-12
    )


def test_the_order_of_the_sides_does_not_matter(poisson):
    joint = mle.wald_test(poisson, "beta[const] = 0.5, beta[x, 1] = 0.2")
    turned = mle.wald_test(poisson, "beta[const] = 0.5, 0.2 = beta[x, 1]")
    assert turned.statistic == pytest.approx(joint.statistic, rel=1e-12)
    np.testing.assert_allclose(turned.restrictions["z"], joint.restrictions["z"] * [1, -1], rtol=1e-12)


def test_nonlinear_restrictions_by_the_delta_method(poisson, peer):
    b, cov = np.asarray(peer.params), np.asarray(peer.cov_params())
    slope = np.array([0, np.exp(b[1]) - 1 / b[2], b[1] / b[2] ** 2])
    found = mle.wald_test(poisson, "exp(beta[x, 1]) - beta[x, 1] / beta[x=2] = 0.3")
    error = np.sqrt(slope @ cov @ slope)
    value = np.exp(b[1]) - b[1] / b[2] - 0.3
    assert found.statistic == pytest.approx((value / error) ** 2, rel=1e-6)
    np.testing.assert_allclose(found.restrictions[["value", "se"]].iloc[0], [value, error], rtol=1e-6)


@pytest.fixture(scope="module")
def scales():
    """Scalars with every kind of link."""
    rng = np.random.default_rng(5)
    with pm.Model(coords={"k": list("abc")}) as model:
        mu, sigma = pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10)
        pm.Deterministic("cv", sigma / mu)
        pm.Deterministic("double", 2 * sigma)
        pm.Normal("y", mu, sigma, observed=rng.normal(3, 2, 50))
        p = pm.Beta("p", 1, 1)
        pm.Deterministic("q", 1 - p)
        pm.Bernoulli("z", p, observed=np.repeat([0, 1], [21, 11]))
        share = pm.Dirichlet("share", np.ones(3), dims="k")
        pm.Categorical("c", share, observed=np.repeat([0, 1, 2], [5, 15, 30]))
        low = pm.TruncatedNormal("low", 0, 10, upper=0)
        pm.Deterministic("low_too", 2 * low)
        pm.Normal("u", low, 1, observed=rng.normal(-3, 1, 25))
    return mle.find_MLE(model)


@pytest.fixture(scope="module")
def matrix():
    """A Cholesky factor and what follows from it."""
    y = np.random.default_rng(5).multivariate_normal([0, 0], [[1, 0.5], [0.5, 2]], 60)
    with pm.Model() as model:
        chol, _, _ = pm.LKJCholeskyCov("chol", n=2, eta=2, sd_dist=pm.HalfNormal.dist(2), compute_corr=True)
        pm.MvNormal("w", np.zeros(2), chol=chol, observed=y)
    return mle.find_MLE(model)


SCALES = ["mu", "sigma", "cv", "double", "p", "q", "share[b]", "low", "low_too"]
MATRIX = ["chol[0]", "chol[1]", "chol_corr[0, 1]", "chol_stds[1]"]


@pytest.mark.parametrize("label", [*SCALES, *MATRIX])
def test_a_p_value_is_small_exactly_outside_the_interval(label, request):
    """At the ends of the Wald interval p is 1 − ci_prob, and z has the sign of estimate − value."""
    est = request.getfixturevalue("scales" if label in SCALES else "matrix")
    table = est.summary(ci_prob=0.9, round_to="none")
    for column, sign in (("wald90_lb", 1), ("wald90_ub", -1)):
        test = mle.wald_test(est, f"{label} = {table.loc[label, column]:.17g}")
        assert test.pvalue == pytest.approx(0.1, rel=1e-9)
        assert np.sign(test.restrictions["z"].iloc[0]) == sign


def test_joint_test_of_scalars_on_their_links(scales):
    """Independent scalars: the squares add up, each on the scale of its interval."""
    one, other = mle.wald_test(scales, "sigma = 2.5"), mle.wald_test(scales, "p = 0.5")
    sd, n = float(scales.params["sigma"]), 50
    assert one.statistic == pytest.approx(np.log(sd / 2.5) ** 2 * 2 * n, rel=1e-6)
    both = mle.wald_test(scales, "sigma = 2.5, p = 0.5")
    assert both.statistic == pytest.approx(one.statistic + other.statistic, rel=1e-9)
    assert both.pvalue == pytest.approx(chi2.sf(both.statistic, 2), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("beta[x1] = 0", KeyError, r"beta\[x1\].*beta\[x, 1\]"),
        ("beta[x1, b] = 0", KeyError, r"beta\[x1, b\] in 'beta\[x1, b\]' is no label"),
        ("gamma = 1", KeyError, "gamma in 'gamma' is no label"),
        ("beta[const] > 0", ValueError, "'beta.const. > 0' has the sign >: a hypothesis is an equation"),
        ("beta[const] <= 0", ValueError, "has the sign <"),
        ("beta[const] != 0", ValueError, "has the sign !="),
        ("beta[const]", ValueError, "is no equation. Write both sides"),
        ("beta[const] =", ValueError, "is no equation"),
        ("", ValueError, "is no equation"),
        ([], ValueError, "No hypothesis"),
        ([3], ValueError, "not 3"),
        ("beta[const] = 0, beta[x, 1] = 1, 3*beta[const] - beta[x, 1] = 2", ValueError, r"'3.*' follows from 'beta"),
        (
            "beta[const] = 0, beta[x=2] = 1, beta[const] = 1",
            ValueError,
            r"'beta\[const\] = 1' follows from 'beta\[const\] = 0', or",
        ),
        ("beta[const] - beta[const] = 0", ValueError, "says nothing about the parameters"),
        ("1 = 1", ValueError, "says nothing"),
        ("log(-exp(beta[const])) = 0", ValueError, "the two sides are nan and 0 at the estimate"),
    ],
)
def test_bad_hypotheses(poisson, text, error, message):
    with pytest.raises(error, match=message):
        mle.wald_test(poisson, text)


@pytest.mark.parametrize("text", ["sigma = 0", "sigma = -1", "p = 1", "share[b] = 1.5"])
def test_values_outside_or_on_the_edge_of_a_support(scales, text):
    with pytest.raises(ValueError, match=r"is outside the support of .*, or on its edge"):
        mle.wald_test(scales, text)


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_what_the_verdict_withholds():
    with pm.Model() as model:
        a, b, p = pm.Normal("a"), pm.Normal("b"), pm.Beta("p", 1, 1)
        pm.Deterministic("total", a + b)
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0, 3.0, 4.0])
        pm.Bernoulli("z", p, observed=[0, 0, 0])
    est = mle.find_MLE(model)
    for text, reason in (("a = 0", "do not determine"), ("a - b = 0", "do not determine"), ("p = 0.5", "edge")):
        with pytest.raises(mle.ModelError, match=f"cannot be tested: there is no standard error .*{reason}"):
            mle.wald_test(est, text)
    for text in ("a + b = 2", "total = 2"):
        assert mle.wald_test(est, text).statistic == pytest.approx(1.0, rel=1e-9)


def test_correlations_have_an_edge(matrix):
    with pytest.raises(ValueError, match=r"1 is outside the support of chol_corr\[0, 1\], or on its edge"):
        mle.wald_test(matrix, "chol_corr[0, 1] = 1")


# -- likelihood ratio ---------------------------------------------------------------------------------------------


def test_ratio_of_nested_regressions(poisson, peer):
    small = mle.find_MLE(poisson_model(terms=TERMS[:2]))
    nested = sm.GLM(COUNTS, X[:, :2], family=sm.families.Poisson()).fit(tol=1e-14, maxiter=100)
    found = mle.lr_test(small, poisson)
    assert found.statistic == pytest.approx(2 * (peer.llf - nested.llf), rel=1e-6)
    assert (found.df, found.law) == (1, "χ²(1)")
    assert found.pvalue == pytest.approx(chi2.sf(found.statistic, 1), rel=1e-12)
    assert found.hypothesis == "the model without beta[x=2]"


@pytest.fixture(scope="module")
def normal():
    """A mean near zero, its two fits, and the exact p-value, which is that of the t test."""
    y = np.random.default_rng(3).normal(0.6, 1.5, 12)
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu"), pm.HalfNormal("sigma")
        pm.Normal("y", mu, sigma, observed=y)
    return mle.find_MLE(model, fix={"mu": 0.0}), mle.find_MLE(model), ttest_1samp(y, 0)


def test_ratio_with_a_held_parameter(normal):
    small, large, exact = normal
    found = mle.lr_test(small, large)
    assert found.statistic == pytest.approx(12 * np.log1p(exact.statistic**2 / 11), rel=1e-6)
    assert found.hypothesis == "mu = 0"


def test_simulated_law_is_the_exact_one(normal):
    small, large, exact = normal
    found = mle.lr_test(small, large, n_bootstrap=300, random_seed=1)
    assert abs(found.pvalue - exact.pvalue) < 4 * np.sqrt(0.25 / 300)
    # The exact law of the ratio, at each of the simulated statistics: uniform
    t = np.sqrt(11 * np.expm1(found.simulated / 12))
    assert kstest(2 * student.sf(t, 11), "uniform").pvalue > 0.01
    assert found.law == "300 simulations"
    again = mle.lr_test(small, large, n_bootstrap=20, random_seed=1)
    np.testing.assert_array_equal(again.simulated, found.simulated[:20])


SIGNAL, BACKGROUND, ERROR = np.array([12.0, 11.0]), np.array([50.0, 52.0]), np.array([3.0, 7.0])


@pytest.fixture(scope="module")
def counting():
    """The counting experiment of pyhf's docstrings (infer/mle.py, infer/test_statistics.py): two bins, μ ≥ 0."""
    tau = (BACKGROUND / ERROR) ** 2
    with pm.Model() as model:
        mu, gamma = pm.HalfNormal("mu", 1), pm.HalfNormal("gamma", 1, shape=2, initval=np.ones(2))
        pm.Poisson("n", mu * SIGNAL + gamma * BACKGROUND, observed=[51, 48])
        pm.CustomDist("aux", gamma * tau, logp=lambda v, m: v * pt.log(m) - m - pt.gammaln(v + 1), observed=tau)
    return model


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_counting_experiment_on_the_boundary(counting):
    """Numbers recomputed in high precision for the model that pyhf prints as 24.98393521 and 3.93824492."""
    large, small = mle.find_MLE(counting), mle.find_MLE(counting, fix={"mu": 1.0})
    assert large.verdict.status == "BOUNDARY"
    assert large.params["mu"] == 0
    np.testing.assert_allclose(large.params["gamma"], [1.00305086, 0.96268089], atol=6e-9)
    assert -2 * large.loglik == pytest.approx(24.9839352003, abs=6e-11)
    np.testing.assert_allclose(small.params["gamma"], [0.97224656, 0.87553586], atol=6e-9)
    found = mle.lr_test(small, large)
    assert found.statistic == pytest.approx(3.9382449334, abs=6e-11)
    assert found.law == "χ²(1)"
    at_zero = mle.lr_test(mle.find_MLE(counting, fix={"mu": 0.0}), large)
    assert (at_zero.statistic, at_zero.pvalue, at_zero.law) == (0.0, 1.0, "½ χ²(0) + ½ χ²(1)")


def edge_model(y, x):
    """A mean that cannot be negative, a slope, and another positive term."""
    with pm.Model() as model:
        mu, beta, more = pm.HalfNormal("mu", 10), pm.Normal("beta"), pm.HalfNormal("more", 10)
        pm.Normal("y", mu + beta * x + more * x**2, 1, observed=y)
    return model


@pytest.fixture(scope="module")
def edge():
    rng = np.random.default_rng(2)
    x = rng.normal(size=40)
    return edge_model(0.3 + 0.2 * x + 0.3 * x**2 + rng.normal(size=40), x)


def test_mixture_of_laws_with_one_scalar_on_the_edge(edge):
    large = mle.find_MLE(edge, fix={"more": 0.0})
    one = mle.lr_test(mle.find_MLE(edge, fix={"more": 0.0, "mu": 0.0}), large)
    assert one.law == "½ χ²(0) + ½ χ²(1)"
    assert one.pvalue == pytest.approx(0.5 * chi2.sf(one.statistic, 1), rel=1e-12)
    two = mle.lr_test(mle.find_MLE(edge, fix={"more": 0.0, "mu": 0.0, "beta": 0.0}), large)
    assert two.law == "½ χ²(1) + ½ χ²(2)"
    assert two.pvalue == pytest.approx(0.5 * (chi2.sf(two.statistic, 1) + chi2.sf(two.statistic, 2)), rel=1e-12)
    inside = mle.lr_test(mle.find_MLE(edge, fix={"more": 0.0, "mu": 0.1}), large)
    assert inside.law == "χ²(1)"
    stated = mle.lr_test(mle.find_MLE(edge, fix={"more": 0.0, "mu": 0.1}), large, boundary=1)
    assert stated.pvalue == pytest.approx(0.5 * inside.pvalue, rel=1e-12)


def test_two_scalars_on_the_edge_are_simulated(edge):
    small, large = mle.find_MLE(edge, fix={"mu": 0.0, "more": 0.0}), mle.find_MLE(edge)
    with pytest.raises(mle.ModelError, match=r"puts 2 scalars on the edge .* n_bootstrap=1000"):
        mle.lr_test(small, large)
    with pytest.raises(mle.ModelError, match="puts 2 scalars"):
        mle.lr_test(small, large, boundary=2)
    assert mle.lr_test(small, large, n_bootstrap=20, random_seed=0).law == "20 simulations"


def test_simulation_at_an_edge_agrees_with_the_mixture():
    """The law is exact here: a normal mean, known variance, half of the ratios zero."""
    with pm.Model() as model:
        pm.Normal("y", pm.HalfNormal("mu", 10), 1, observed=np.array([0.9, -0.6, 0.4, 1.1]))
    small, large = mle.find_MLE(model, fix={"mu": 0.0}), mle.find_MLE(model)
    found, exact = mle.lr_test(small, large, n_bootstrap=200, random_seed=2), mle.lr_test(small, large)
    assert exact.statistic == pytest.approx(4 * 0.45**2, rel=1e-6)
    assert abs(found.pvalue - exact.pvalue) < 4 * np.sqrt(exact.pvalue / 200)
    assert abs(np.mean(found.simulated <= 1e-6) - 0.5) < 4 * np.sqrt(0.25 / 200)


def count_model(counts, x=None, family="negative binomial"):
    with pm.Model() as model:
        log_mean = pm.Normal("a") + (0 if x is None else pm.Normal("b") * x)
        mean = pm.Deterministic("mean", pm.math.exp(log_mean))
        if family == "poisson":
            pm.Poisson("y", mean, observed=counts)
        else:
            pm.NegativeBinomial("y", mean, alpha=pm.HalfNormal("alpha"), observed=counts)
    return model


@pytest.mark.parametrize("dispersion", ["over", "under"])
@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_poisson_is_the_edge_of_the_negative_binomial(dispersion):
    """Recognized without being told: the likelihood becomes that of the Poisson model as alpha goes to infinity."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=100)
    counts = rng.negative_binomial(8, 0.5, 100) if dispersion == "over" else rng.binomial(20, 0.4, 100)
    poisson = mle.find_MLE(count_model(counts, family="poisson"))
    found = mle.lr_test(poisson, mle.find_MLE(count_model(counts)))
    both = mle.lr_test(poisson, mle.find_MLE(count_model(counts, x)))
    assert (found.law, both.law) == ("½ χ²(0) + ½ χ²(1)", "½ χ²(1) + ½ χ²(2)")
    if dispersion == "under":
        assert (found.statistic, found.pvalue) == (0.0, 1.0)
        return
    peer = sm.NegativeBinomial(counts, np.ones((100, 1))).fit(disp=0, maxiter=200, gtol=1e-9)
    assert found.statistic == pytest.approx(2 * (peer.llf - poisson_law.logpmf(counts, counts.mean()).sum()), rel=1e-6)
    assert mle.lr_test(mle.find_MLE(count_model(counts)), mle.find_MLE(count_model(counts, x))).law == "χ²(1)"


def test_an_edge_that_cannot_be_seen_is_asked_for():
    rng = np.random.default_rng(0)
    y = rng.standard_t(4, size=80)
    with pm.Model() as small:
        pm.Normal("y", pm.Normal("m"), 1, observed=y)
    with pm.Model() as large:
        pm.StudentT("y", nu=pm.Exponential("nu", 0.1), mu=pm.Normal("m"), sigma=pm.HalfNormal("s"), observed=y)
    fits = mle.find_MLE(small), mle.find_MLE(large)
    with pytest.raises(mle.ModelError, match=r"puts nu, s on the edge of their support cannot be seen .* boundary="):
        mle.lr_test(*fits)
    assert mle.lr_test(*fits, boundary=1).law == "½ χ²(1) + ½ χ²(2)"


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_parameters_without_meaning_under_the_null_hypothesis():
    """A second component of weight zero has no location (Davies 1987)."""
    rng = np.random.default_rng(4)
    y = np.concatenate([rng.normal(size=40), rng.normal(4, 1, size=20)])
    with pm.Model() as model:
        w, shift = pm.Uniform("w", 0, 1), pm.Normal("shift", 0, 10, initval=3)
        lower = [pm.Normal.dist(0, 1), pm.Normal.dist(shift, 1)]
        pm.Mixture("y", w=pm.math.stack([1 - w, w]), comp_dists=lower, observed=y)
    large = mle.find_MLE(model)
    for held in ({"w": 0.0, "shift": 1.0}, {"w": 0.0}):
        with pytest.raises(mle.ModelError, match=r"no meaning under the null hypothesis, .* n_bootstrap=1000"):
            mle.lr_test(mle.find_MLE(model, fix=held), large)


def test_fits_that_cannot_be_compared(poisson, normal):
    small, large, _ = normal
    other = COUNTS.copy()
    other[7] += 1
    for bad, message in (
        ((large, small), "small has 2 parameters, large 1: the first model must be the smaller"),
        ((large, large), "small and large estimate the same parameters. Fit the null hypothesis with fix="),
        ((small, poisson), r"not to the same data: y has shape \(12,\) in one and \(120,\)"),
        ((mle.find_MLE(poisson_model(terms=TERMS[:1])), mle.find_MLE(poisson_model(other))), "y differs in 1 of 120"),
        ((mle.find_MLE(poisson_model(terms=TERMS[:1], name="z")), poisson), "observed are z, and y"),
        ((small, mle.find_MLE(small.model, keep_priors=["mu"])), "large is a penalized fit"),
        ((mle.find_MAP(small.model), large), "small is a posterior mode"),
    ):
        with pytest.raises(mle.ModelError, match=message):
            mle.lr_test(*bad)
    with pytest.raises(ValueError, match="boundary=2 is not a number of scalars from 0 to 1"):
        mle.lr_test(small, large, boundary=2)


def test_a_negative_statistic_is_refused(poisson):
    """One parameter without, two with: but of another family, which fits worse."""
    with pm.Model() as model:
        pm.NegativeBinomial(
            "y",
            pm.math.exp(pm.Normal("a") + pm.Normal("b") * X[:, 1] + pm.Normal("c") * X[:, 2]),
            alpha=0.5,
            observed=COUNTS,
        )
    small = mle.find_MLE(poisson_model(terms=TERMS[:2]))
    with pytest.raises(mle.ModelError, match="larger model has the lower log-likelihood"):
        mle.lr_test(small, mle.find_MLE(model))


def test_potentials_in_one_of_the_fits():
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b")
        pm.Normal("y", a, 1, observed=[1.0, 2.0])
        pm.Potential("tie", -((a - b) ** 2) - b**2)
    small = mle.find_MLE(model, potentials="likelihood", fix={"b": 0.0})
    large = mle.find_MLE(model, potentials="drop", fix={"b": 0.0})
    with pytest.raises(mle.ModelError, match="Potentials are part of the likelihood in only one"):
        mle.lr_test(small, large)
    with pytest.raises(mle.ModelError, match="Potential tie, a term without a random variable"):
        mle.lr_test(small, mle.find_MLE(model, potentials="likelihood"), n_bootstrap=10)


# -- score --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["expected", "hessian"])
def test_score_against_statsmodels(kind):
    """A canonical link, where both informations are the same: with the other terms held at zero, and freed."""
    model = poisson_model()
    reduced = sm.GLM(COUNTS, X[:, :1], family=sm.families.Poisson()).fit(tol=1e-14, maxiter=100)
    expected = reduced.model.score_test(reduced.params, exog_extra=X[:, 1:])
    small = mle.find_MLE(poisson_model(terms=TERMS[:1]))
    found = mle.score_test(small, model, null={"beta[x, 1]": 0, "beta[x=2]": 0.0}, kind=kind)
    assert found.statistic == pytest.approx(float(np.squeeze(expected[0])), rel=1e-6)
    assert found.pvalue == pytest.approx(float(np.squeeze(expected[1])), rel=1e-6)
    assert found.df == 2
    assert found.hypothesis == "beta[x, 1] = 0, beta[x=2] = 0"


def test_score_equations_are_restrictions_or_told_apart():
    """What small estimates is no restriction, though null= repeats it; under another name it cannot be seen."""
    small = mle.find_MLE(poisson_model(terms=TERMS[:1]))
    label, at = small._layout.labels[0], float(small.params["beta"][0])
    null = {"beta[x, 1]": 0, "beta[x=2]": 0.0}
    found = mle.score_test(small, poisson_model(), null={label: at, **null})
    assert found.hypothesis == "beta[x, 1] = 0, beta[x=2] = 0"
    with pm.Model() as model:
        pm.Poisson("y", pm.math.exp(pm.Normal("level")), observed=COUNTS)
    other = mle.find_MLE(model)
    found = mle.score_test(other, poisson_model(), null={label: float(other.params["level"]), **null})
    assert found.df == 2
    assert "Of these 3 equations 2 are restrictions" in repr(found)


def separate_terms(**fix):
    with pm.Model() as model:
        a, b, c = pm.Normal("a"), pm.Normal("b"), pm.Normal("c")
        pm.Poisson("y", pm.math.exp(a + b * X[:, 1] + c * X[:, 2]), observed=COUNTS)
    return mle.find_MLE(model, fix=fix)


def test_score_of_what_was_held():
    base = sm.GLM(COUNTS, X[:, :2], family=sm.families.Poisson(), offset=0.1 * X[:, 2]).fit(tol=1e-14, maxiter=100)
    expected = base.model.score_test(base.params, exog_extra=X[:, 2:])
    found = mle.score_test(separate_terms(c=0.1))
    assert found.statistic == pytest.approx(float(np.squeeze(expected[0])), rel=1e-6)
    assert found.hypothesis == "c = 0.1"
    both = separate_terms(b=0.3, c=0.1)
    assert mle.score_test(both).df == 2
    assert mle.score_test(both, keep_fixed=["b"]).hypothesis == "c = 0.1"
    assert mle.score_test(both, keep_fixed=["b"]).df == 1


def test_score_does_not_depend_on_the_scale_with_the_expected_information():
    y = np.random.default_rng(1).exponential(2.0, 30)
    statistics = []
    for make in (lambda: 1 / pm.Exponential("q", 1), lambda: pm.Exponential("q", 1), lambda: 1 / pm.Uniform("q", 0, 9)):
        with pm.Model() as model:
            pm.Exponential("y", scale=make(), observed=y)
        statistics.append(mle.score_test(mle.find_MLE(model, fix={"q": 1.0})).statistic)
    # (Σ (y − 1))² / n, as I = n / θ²
    np.testing.assert_allclose(statistics, np.sum(y - 1) ** 2 / 30, rtol=1e-9)


def test_case_weights_count_as_repeated_rows():
    """Weights of 2 double every likelihood ratio and every score statistic."""
    found = []
    for weights in (None, np.full(N, 2.0)):
        with pm.Model() as model:
            a, b = pm.Normal("a"), pm.Normal("b")
            pm.Poisson("y", pm.math.exp(a + b * X[:, 1]), observed=COUNTS)
        fits = [mle.find_MLE(model, fix=fix, weights=weights) for fix in ({"b": 0.2}, None)]
        found.append((*fits, mle.lr_test(*fits).statistic, mle.score_test(fits[0]).statistic))
    np.testing.assert_allclose(found[1][2:], 2 * np.array(found[0][2:]), rtol=1e-8)
    with pytest.raises(mle.ModelError, match="different case weights"):
        mle.lr_test(found[0][0], found[1][1])
    with pytest.raises(mle.ModelError, match="case weights, and simulated data have none"):
        mle.lr_test(found[1][0], found[1][1], n_bootstrap=10)


@pytest.mark.parametrize("kind", ["expected", "opg", "HC0", "HC1"])
def test_wald_with_other_covariances(poisson, kind):
    """The quadratic form in the covariance asked for."""
    gradient = np.array([[0, 1, -1], [1, 0, 0]])
    cov = gradient @ poisson.cov(kind).values @ gradient.T
    off = gradient @ poisson.params["beta"].values - [0, 0.5]
    found = mle.wald_test(poisson, "beta[x, 1] = beta[x=2], beta[const] = 0.5", kind)
    assert found.statistic == pytest.approx(off @ np.linalg.solve(cov, off), rel=1e-9)


def test_wald_with_clusters_against_statsmodels(poisson):
    groups = np.repeat(np.arange(12), 10)
    peer = sm.GLM(COUNTS, X, family=sm.families.Poisson()).fit(
        tol=1e-14, maxiter=100, cov_type="cluster", cov_kwds={"groups": groups}
    )
    expected = peer.wald_test(([[0, 1, -1]], [0]), scalar=True, use_f=False)
    found = mle.wald_test(poisson, "beta[x, 1] = beta[x=2]", "cluster", groups=groups)
    assert found.statistic == pytest.approx(float(expected.statistic), rel=1e-6)
    with pytest.raises(mle.ModelError, match="groups"):
        mle.wald_test(poisson, "beta[x, 1] = 0", "cluster", groups=groups[:-1])


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_score_tests_that_have_no_meaning(poisson, counting, normal):
    small, large, _ = normal
    with pytest.raises(mle.ModelError, match=r"larger model\. mu = 0.0 is outside .*one side only: use lr_test"):
        mle.score_test(mle.find_MLE(counting, fix={"mu": 0.0}), kind="hessian")
    with pytest.raises(mle.ModelError, match=r"small has no value for beta\[x, 1\], beta\[x=2\]"):
        mle.score_test(mle.find_MLE(poisson_model(terms=TERMS[:1])), poisson.model)
    with pytest.raises(mle.ModelError, match=r"beta has shape \(3,\)"):
        mle.score_test(mle.find_MLE(poisson_model(terms=TERMS[:1])), poisson.model, null={"beta": [0, 0]})
    with pytest.raises(mle.ModelError, match="null: gamma no parameter of the larger model"):
        mle.score_test(small, null={"gamma": 0})
    with pytest.raises(mle.ModelError, match=r"keep_fixed: sigma is not held by small \(mu is\)"):
        mle.score_test(small, keep_fixed=["sigma"])
    with pytest.raises(mle.ModelError, match="has 2 parameters, no more than small"):
        mle.score_test(large)
    with pytest.raises(ValueError, match="kind='opg' is not one of"):
        mle.score_test(small, kind="opg")
    with pytest.raises(ValueError, match="no closed form for aux"):
        mle.score_test(mle.find_MLE(counting, fix={"mu": 1.0}), kind="expected")
    with pytest.raises(mle.ModelError, match="can be improved by"):
        mle.score_test(mle.find_MLE(poisson_model(terms=TERMS[:1])), poisson.model, null={"beta": [np.nan, 1.0, 0.0]})
    with pytest.raises(mle.ModelError, match="not of the data that small was fitted to: y differs in"):
        mle.score_test(separate_terms(c=0.1), poisson_model(COUNTS + 1), null={"beta": 0.0})
    with pytest.raises(mle.ModelError, match="needs a maximum-likelihood fit"):
        mle.score_test(mle.find_MAP(small.model, fix={"mu": 0.0}))


def test_equations_that_cannot_be_read_are_told_why(poisson):
    with pytest.raises(ValueError, match=r"beta has 3 elements, and one is needed: beta\["):
        mle.wald_test(poisson, "beta = 0")
    with pytest.raises(ValueError, match=r"for a power write \*\*"):
        mle.wald_test(poisson, "beta[x, 1]^2 = 1")


def test_results_are_readable(poisson, normal):
    joint = mle.wald_test(poisson, "beta[const] = 0.5, beta[x, 1] = beta[x=2]")
    assert repr(joint).splitlines()[:2] == [
        "Wald test",
        "  null hypothesis: beta[const] = 0.5, beta[x, 1] = beta[x=2]",
    ]
    assert "df = 2" in repr(joint)
    assert "χ²(2)" in joint._repr_html_()
    assert "beta[x, 1] = beta[x=2]" in joint._repr_html_()
    with pytest.raises(AttributeError):
        joint.pvalue = 0.0


@pytest.mark.parametrize("module", [ratio, score, wald])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0
