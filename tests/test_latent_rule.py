"""The rule on models as they are written: which variables are latent, and why; what only looks so."""

import time
import warnings

import bambi as bmb
import numpy as np
import pandas as pd
import pymc as pm
import pymc.dims as pmd
import pytensor.tensor as pt
import pytest

import mle_pp as mle

RNG = np.random.default_rng(0)
N = 24
GROUP, ITEM = np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)
DISTRICT = np.array([0, 0, 1, 1, 2, 2])
x, y, count = RNG.normal(size=N), RNG.normal(size=N), RNG.poisson(2, N)
X = RNG.normal(size=(N, 5))
NEIGHBORS = np.eye(6, k=1) + np.eye(6, k=-1)
START = pm.Normal.dist(0, 1)


def resolve(declare, **options) -> mle.Roles:
    """The roles in a model declared by a function."""
    with pm.Model(coords={"group": range(6)}) as model:
        declare()
    return mle.roles(model, **options)


def expect(cases):
    """A test a declaration: the names of the latent variables, and a part of their reasons."""
    return pytest.mark.parametrize(("declare", "latent", "reason"), [pytest.param(*c, id=c[0].__name__) for c in cases])


def normal(mean):
    pm.Normal("y", mean, pm.HalfNormal("sigma"), observed=y)


def poisson(log_mean):
    pm.Poisson("y", pt.exp(log_mean), observed=count)


# -- centered -----------------------------------------------------------------------------------------------------


def random_intercept():
    normal(pm.Normal("u", pm.Normal("mu"), pm.HalfNormal("tau"), shape=6)[GROUP])


def nested():
    outer = pm.Normal("district", pm.Normal("mu"), pm.HalfNormal("between"), shape=3)
    normal(pm.Normal("school", outer[DISTRICT], pm.HalfNormal("within"), shape=6)[GROUP])


def crossed():
    a = pm.Normal("person", 0, pm.HalfNormal("one"), shape=6)
    normal(pm.Normal("mu") + a[GROUP] + pm.Normal("item", 0, pm.HalfNormal("two"), shape=4)[ITEM])


def random_walk():
    poisson(pm.GaussianRandomWalk("h", sigma=pm.HalfNormal("sd"), init_dist=START, shape=N))


def autoregression():
    rho, sd = pm.Uniform("rho", -1, 1), pm.HalfNormal("sd")
    poisson(pm.AR("h", rho=rho, sigma=sd, init_dist=START, shape=N))


def autoregression_with_known_innovations():
    poisson(pm.AR("h", rho=pm.Uniform("rho", -1, 1), sigma=1, init_dist=START, shape=N))


def volatility():
    h = pm.GaussianRandomWalk("h", sigma=pm.HalfNormal("sd"), init_dist=START, shape=N)
    pm.StudentT("y", nu=pm.Exponential("nu", 0.1), mu=0, sigma=pt.exp(h), observed=y)


def icar():
    poisson(pm.Normal("b") + pm.ICAR("phi", W=NEIGHBORS, sigma=pm.HalfNormal("sd"))[GROUP])


def car():
    alpha, tau = pm.Beta("alpha", 1, 1), pm.HalfNormal("tau")
    poisson(pm.Normal("b") + pm.CAR("phi", mu=np.zeros(6), W=NEIGHBORS, alpha=alpha, tau=tau)[GROUP])


def zero_sum():
    normal(pm.Normal("mu") + pm.ZeroSumNormal("u", sigma=pm.HalfNormal("sd"), shape=6)[GROUP])


def factor(n=2):
    return pm.LKJCholeskyCov("chol", n=n, eta=2, sd_dist=pm.HalfNormal.dist(1, shape=n))[0]


def correlated():
    u = pm.MvNormal("u", pm.Normal("mu", shape=2), chol=factor(), shape=(6, 2))
    normal(u[GROUP, 0] + u[GROUP, 1] * x)


def gamma_frailty():
    k = pm.HalfNormal("k")
    pm.Poisson("y", pm.Gamma("frailty", k, k, shape=6)[GROUP] * pt.exp(pm.Normal("b") * x), observed=count)


def beta_binomial():
    p = pm.Beta("p", pm.HalfNormal("a"), pm.HalfNormal("b"), shape=6)
    pm.Binomial("y", 20, p[GROUP], observed=count)


def heavy_tails():
    normal(pm.StudentT("u", nu=pm.Exponential("nu", 0.1), mu=0, sigma=pm.HalfNormal("tau"), shape=6)[GROUP])


def covariance():
    k = pm.HalfNormal("eta") ** 2 * pm.gp.cov.ExpQuad(1, ls=pm.InverseGamma("ell", 5, 5))
    return k


def gaussian_process():
    poisson(pm.gp.Latent(cov_func=covariance()).prior("f", X=x[:, None], reparameterize=False))


def scales_of_their_own():
    normal(X @ pm.Normal("beta", pm.Normal("mu", shape=5), pm.HalfNormal("eta", shape=5)))


def dims():
    normal(pm.Normal("u", 0, pm.HalfNormal("tau"), dims="group")[GROUP])


def labelled():
    u = pmd.Normal("u", pmd.Normal("mu", 0, 1), pmd.HalfNormal("tau"), dims="group")
    pmd.Normal("y", u, 1.0, observed=pmd.as_xtensor(y[:6], dims=("group",)))


def one_element_is_the_scale():
    sd = pm.HalfNormal("sd", shape=2)
    pm.Normal("y", pm.Normal("u", 0, sd[1], shape=6)[GROUP], sd[0], observed=y)


def with_missing(values):
    values = values.copy()
    values[3] = np.nan
    return values


def imputed_covariate():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        covariate = pm.Normal("x", pm.Normal("mx"), pm.HalfNormal("sx"), observed=with_missing(x))
    normal(pm.Normal("b") * covariate)


def imputed_dependent_rows():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        u = pm.Normal("u", 0, pm.HalfNormal("tau"), shape=6)
        pm.Normal("y", u[GROUP], pm.HalfNormal("sigma"), observed=with_missing(y))


@expect(
    [
        (random_intercept, {"u"}, "mu, tau would lose"),
        (nested, {"district", "school"}, "would lose all influence on the data without its prior"),
        (crossed, {"person", "item"}, "would lose"),
        (random_walk, {"h"}, "sd would lose"),
        (autoregression, {"h"}, "rho, sd would lose"),
        (autoregression_with_known_innovations, {"h"}, "rho would lose"),
        (volatility, {"h"}, "sd would lose"),
        (icar, {"phi"}, "sd would lose"),
        (car, {"phi"}, "alpha, tau would lose"),
        (zero_sum, {"u"}, "sd would lose"),
        (correlated, {"u"}, "chol, mu would lose"),
        (gamma_frailty, {"frailty"}, "k would lose"),
        (beta_binomial, {"p"}, "a, b would lose"),
        (heavy_tails, {"u"}, "nu, tau would lose"),
        (gaussian_process, {"f"}, "ell, eta would lose"),
        (scales_of_their_own, {"beta"}, "each element has its own eta, mu: type-II maximum likelihood"),
        (dims, {"u"}, "tau would lose"),
        (labelled, {"u"}, "mu, tau would lose"),
        (one_element_is_the_scale, {"u"}, "sd[1] would lose"),
        (imputed_covariate, {"x_unobserved"}, "missing values"),
        (imputed_dependent_rows, {"u", "y_unobserved"}, ""),
    ]
)
def test_centered(declare, latent, reason):
    found = resolve(declare)
    assert set(found.names("latent")) == latent
    assert all(reason in found[name].reason for name in latent)
    assert all(row.kind == "parameter" for row in found if row.name not in latent)


# -- non-centered -------------------------------------------------------------------------------------------------


def z(size=6, name="z"):
    return pm.Normal(name, 0, 1, shape=size)


def log_scale():
    normal(pm.Normal("mu") + pt.exp(pm.Normal("log_tau")) * z()[GROUP])


def signed_scale():
    normal(pm.Normal("mu") + pm.Normal("k") * z()[GROUP])


def two_signed_scales():
    normal(pm.HalfNormal("tau") * pm.Normal("k") * z()[GROUP])


def variance():
    normal(pm.Normal("mu") + pt.sqrt(pm.InverseGamma("v", 2, 2)) * z()[GROUP])


def precision():
    normal(pm.Normal("mu") + z()[GROUP] / pt.sqrt(pm.Gamma("q", 2, 2)))


def scales_by_row():
    normal(z()[GROUP] * pm.HalfNormal("tau", shape=2)[GROUP % 2])


def summed():
    normal(pt.cumsum(z(N) * pm.HalfNormal("tau")))


def heavy_offsets():
    normal(pm.HalfNormal("tau") * pm.StudentT("z", nu=4, mu=0, sigma=1, shape=6)[GROUP])


def zero_sum_offsets():
    normal(pm.HalfNormal("tau") * pm.ZeroSumNormal("z", sigma=1, shape=6)[GROUP])


def labelled_offsets():
    offsets = pmd.Normal("z", 0, 1, dims="group")
    mean = pmd.Normal("mu", 0, 1) + pmd.HalfNormal("tau") * offsets
    pmd.Normal("y", mean, 1.0, observed=pmd.as_xtensor(y[:6], dims=("group",)))


def scaled_icar():
    poisson(pm.Normal("b") + pm.HalfNormal("sd") * pm.ICAR("phi", W=NEIGHBORS)[GROUP])


def bym2():
    rho = pm.Beta("rho", 0.5, 0.5)
    mixed = pt.sqrt(1 - rho) * z() + pt.sqrt(rho / 0.7) * pm.ICAR("phi", W=NEIGHBORS)
    poisson(pm.Normal("b") + (pm.HalfNormal("sd") * mixed)[GROUP])


def offsets_below_centered():
    outer = pm.HalfNormal("between") * z(3, "district")
    normal(pm.Normal("school", outer[DISTRICT], pm.HalfNormal("within"), shape=6)[GROUP])


def correlated_left():
    u = pt.dot(factor(), z((2, 6)))
    normal(u[0, GROUP] + u[1, GROUP] * x)


def correlated_right():
    u = z((6, 2)) @ factor().T
    normal(u[GROUP, 0] + u[GROUP, 1] * x)


def correlated_by_row():
    u = z((6, 2))[GROUP] @ factor().T
    normal(u[:, 0] + u[:, 1] * x)


def scales_and_correlation():
    root = pt.linalg.cholesky(pm.LKJCorr("C", n=2, eta=2))
    u = (z((6, 2)) @ root.T) * pm.HalfNormal("sd", shape=2)
    normal(u[GROUP, 0] + u[GROUP, 1] * x)


def hsgp():
    poisson(pm.gp.HSGP(m=[5], c=2.0, cov_func=covariance()).prior("f", X=x[:, None]))


def hsgp_linearized():
    gp = pm.gp.HSGP(m=[5], c=2.0, cov_func=covariance())
    phi, sqrt_psd = gp.prior_linearized(X=x[:, None])
    poisson(phi @ (z(5, "beta") * sqrt_psd))


def only_the_length_scale_is_free():
    gp = pm.gp.HSGP(m=[5], c=2.0, cov_func=pm.gp.cov.Matern52(1, ls=pm.InverseGamma("ell", 5, 5)))
    phi, sqrt_psd = gp.prior_linearized(X=x[:, None])
    poisson(phi @ (z(5, "beta") * sqrt_psd))


def rotated_process():
    normal(pm.gp.Latent(cov_func=covariance()).prior("f", X=x[:, None]))


def factor_analysis():
    normal(z()[GROUP] * pm.HalfNormal("loading", shape=4)[ITEM])


def discrimination():
    ability, difficulty = z(6, "ability"), pm.Normal("difficulty", 0, 2, shape=4)
    logit = pm.LogNormal("a", 0, 1, shape=4)[ITEM] * ability[GROUP] - difficulty[ITEM]
    pm.Bernoulli("y", logit_p=logit, observed=count > 2)


def random_scales():
    sd = pm.LogNormal("sd", pm.Normal("m"), pm.HalfNormal("q"), shape=6)
    normal((sd * z())[GROUP])


def horseshoe():
    tau, lam = pm.HalfCauchy("tau", 1), pm.HalfCauchy("lam", 1, shape=5)
    normal(X @ (z(5) * tau * lam))


def regularized_horseshoe():
    tau, lam, c2 = pm.HalfCauchy("tau", 1), pm.HalfCauchy("lam", 1, shape=5), pm.InverseGamma("c2", 2, 2)
    normal(X @ (z(5) * tau * lam * pt.sqrt(c2 / (c2 + tau**2 * lam**2))))


def mixture():
    means = [pm.Normal.dist(pm.HalfNormal("tau") * z()[GROUP], 1), pm.Normal.dist(0, 3)]
    pm.Mixture("y", pm.Dirichlet("w", np.ones(2)), means, observed=y)


def censored():
    inner = pm.Normal.dist(pm.HalfNormal("tau") * z()[GROUP], pm.HalfNormal("sigma"))
    pm.Censored("y", inner, lower=-1, upper=1, observed=y.clip(-1, 1))


@expect(
    [
        (log_scale, {"z"}, "through its product with log_tau"),
        (signed_scale, {"z"}, "through its product with k"),
        (two_signed_scales, {"z"}, "through its product with tau and k"),
        (variance, {"z"}, "through its product with v"),
        (precision, {"z"}, "through its product with q"),
        (scales_by_row, {"z"}, "through its product with tau"),
        (summed, {"z"}, "through its product with tau"),
        (heavy_offsets, {"z"}, "through its product with tau"),
        (zero_sum_offsets, {"z"}, "through its product with tau"),
        (labelled_offsets, {"z"}, "through its product with tau"),
        (scaled_icar, {"phi"}, "through its product with sd"),
        (bym2, {"z", "phi"}, "through its product with sd and rho"),
        (offsets_below_centered, {"district", "school"}, ""),
        (correlated_left, {"z"}, "through its product with chol"),
        (correlated_right, {"z"}, "through its product with chol"),
        (correlated_by_row, {"z"}, "through its product with chol"),
        (scales_and_correlation, {"z"}, "through its product with C and sd"),
        (hsgp, {"f_hsgp_coeffs"}, "a function of ell, eta"),
        (hsgp_linearized, {"beta"}, "a function of ell, eta"),
        (only_the_length_scale_is_free, {"beta"}, "through its product with ell"),
        (rotated_process, {"f_rotated_"}, "a function of ell, eta"),
        (factor_analysis, {"z"}, "through its product with loading"),
        (discrimination, {"ability"}, "through its product with a"),
        (random_scales, {"z", "sd"}, ""),
        (horseshoe, {"z"}, "each element has its own lam: type-II maximum likelihood"),
        (regularized_horseshoe, {"z"}, "type-II maximum likelihood"),
        (mixture, {"z"}, "through its product with tau"),
        (censored, {"z"}, "through its product with tau"),
    ]
)
def test_non_centered(declare, latent, reason):
    found = resolve(declare)
    assert set(found.names("latent")) == latent
    assert all(reason in found[name].reason for name in latent)
    assert all(row.kind == "parameter" for row in found if row.name not in latent)


def test_type_two_is_said_only_where_each_element_has_its_own_scale():
    for declare in (random_scales, scales_and_correlation, bym2, hsgp):
        assert "type-II" not in repr(resolve(declare))


# -- what only looks so -------------------------------------------------------------------------------------------


def regression():
    normal(X @ pm.Normal("beta", 0, 10, shape=5))


def regression_of_the_scale():
    pm.Normal("y", X @ z(5, "beta"), pt.exp(X @ z(5, "gamma")), observed=y)


def effect_sizes():
    sigma = pm.HalfNormal("sigma")
    pm.Normal("y", z(6, "delta")[GROUP] * sigma, sigma, observed=y)


def effect_sizes_with_scales_by_group():
    sigma = pm.HalfNormal("sigma", shape=4)
    pm.Normal("y", z(6, "delta")[GROUP] * sigma[ITEM], sigma[ITEM], observed=y)


def decay():
    normal(pm.Normal("A", 0, 10, shape=6)[GROUP] * pt.exp(-pm.HalfNormal("k") * x**2))


def decay_of_one():
    normal(pm.Normal("A", 0, 10) * pt.exp(-pm.Normal("k") * x**2))


def decay_in_a_matrix():
    mean = pm.Normal("A", 0, 10, shape=6)[:, None] * pt.exp(-pm.HalfNormal("k") * x[:4] ** 2)
    pm.Normal("y", mean, pm.HalfNormal("sigma"), observed=y.reshape(6, 4))


def saturation():
    normal((1 - pt.exp(-pm.HalfNormal("k", shape=5) * X**2)) @ z(5, "beta"))


def rasch():
    logit = z(6, "ability")[GROUP] - z(4, "difficulty")[ITEM]
    pm.Bernoulli("y", logit_p=logit, observed=count > 2)


def unscaled_too():
    """The factor acts on other data by itself, so that its loading is the slope on something estimated."""
    u, loading = z(N), pm.HalfNormal("loading")
    pm.Normal("x", u, 1, observed=x)
    pm.Normal("y", u * loading, 1, observed=y)


@pytest.mark.parametrize(
    "declare",
    [
        regression,
        regression_of_the_scale,
        effect_sizes,
        effect_sizes_with_scales_by_group,
        decay,
        decay_of_one,
        decay_in_a_matrix,
        saturation,
        rasch,
        unscaled_too,
    ],
)
def test_parameters_that_look_like_offsets(declare):
    assert {row.kind for row in resolve(declare)} == {"parameter"}


# -- what is asked ------------------------------------------------------------------------------------------------


def two_numbers():
    normal(pm.Normal("a") * pm.Normal("k") * x)


def a_scalar_among_offsets():
    normal(pm.HalfNormal("tau") * (pm.Normal("a") + z()[GROUP]))


def two_sides():
    normal(z(6, "u")[GROUP] * z(4, "v")[ITEM])


def one_element_is_the_scale_of_offsets():
    sd = pm.HalfNormal("sd", shape=2)
    pm.Normal("y", z()[GROUP] * sd[1], sd[0], observed=y)


def some_offsets_are_not_scaled():
    u = z()
    normal(pt.concatenate([u[:3] * pm.HalfNormal("tau"), u[3:]])[GROUP])


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (a_scalar_among_offsets, ["tau and a, z", "integrate=['a', 'z']", "integrate=['z'] for a coefficient"]),
        (two_numbers, ["a and k", "integrate=[] for a coefficient"]),
        (two_sides, ["u and v", "integrate=['u'] or integrate=['v']"]),
        (one_element_is_the_scale_of_offsets, ["z and some elements of sd", "integrate=['z']", "integrate=[]"]),
        (some_offsets_are_not_scaled, ["some elements of z and tau", "integrate=['z']"]),
    ],
)
def test_what_the_rule_cannot_decide_is_asked(declare, words):
    with pytest.raises(mle.ModelError, match="only through their product") as caught:
        resolve(declare)
    for word in words:
        assert word in str(caught.value)


def test_the_remedy_keeps_the_other_latent_variables():
    def declare():
        mean = pm.Normal("u", 0, pm.HalfNormal("tau"), shape=6)[GROUP] + pm.Normal("a") * pm.HalfNormal("k") * x
        normal(mean)

    with pytest.raises(mle.ModelError) as caught:
        resolve(declare)
    assert "integrate=['u', 'a'] to integrate" in str(caught.value)
    assert "integrate=['u'] for a coefficient" in str(caught.value)
    assert resolve(declare, integrate=["u"]).names("latent") == ["u"]


# -- Bambi, and size ----------------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"y": y, "x": x, "group": pd.Categorical(GROUP)})


@pytest.mark.parametrize("noncentered", [True, False])
def test_bambi(noncentered):
    found = mle.roles(bmb.Model("y ~ x + (x|group)", FRAME, noncentered=noncentered, center_predictors=False))
    suffix = "_offset" if noncentered else ""
    assert set(found.names("latent")) == {f"1|group{suffix}", f"x|group{suffix}"}
    assert {"Intercept", "x", "sigma", "1|group_sigma", "x|group_sigma"} == set(found.names("parameter"))


def test_a_hundred_thousand_offsets():
    """Less than a second; a dense derivative of the transforms alone would take 80 GB."""
    size = 100_000
    with pm.Model() as model:
        mean = pm.Normal("mu") + pm.HalfNormal("tau") * z(size)[np.repeat(np.arange(size), 3)]
        pm.Poisson("y", pt.exp(mean), observed=np.tile([0, 1, 3], size))
    mle.roles(model)
    start = time.process_time()
    assert mle.roles(model).names("latent") == ["z"]
    assert time.process_time() - start < 2


def test_difficulties_of_items_are_parameters():
    """a (θ − b) and a θ − d are the same two-parameter logistic model, with d = a b: only the abilities are latent."""
    rng = np.random.default_rng(2)
    answers = rng.uniform(size=(60, 4)) < 1 / (1 + np.exp(-(rng.normal(size=(60, 1)) - [-0.5, 0.0, 0.3, 0.8])))
    fits = []
    for scaled in (True, False):
        with pm.Model() as model:
            theta, a = pm.Normal("theta", 0, 1, shape=(60, 1)), pm.LogNormal("a", 0, 0.5, shape=4)
            b = pm.Normal("b", 0, 1, shape=4)
            pm.Bernoulli("y", logit_p=a * (theta - b) if scaled else a * theta - b, observed=answers)
        assert {row.name: row.kind for row in mle.roles(model)} == {
            "theta": "latent",
            "a": "parameter",
            "b": "parameter",
        }
        fits.append(mle.find_MLE(model, starts=1, on_failure="return"))
    one, two = fits
    assert one.loglik == pytest.approx(two.loglik, abs=1e-7)
    np.testing.assert_allclose(one.params["a"].values * one.params["b"].values, two.params["b"].values, atol=1e-4)
