"""Integrated likelihoods: values and derivatives on every structure, and what is built on them."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pymc.exceptions import ImputationWarning
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, nbinom, norm

import mle_pp as mle
from mle_pp import ModelError
from mle_pp.marginal import objective_of
from mle_pp.marginal.curvature import Built, Colored, Dense
from mle_pp.optimize.secant import located
from mle_pp.resample.refit import by_data

RNG = np.random.default_rng(20240229)
GROUPS, PER = 12, 5
GROUP = np.repeat(np.arange(GROUPS), PER)
X = RNG.normal(size=GROUPS * PER)
COUNTS = RNG.poisson(np.exp(0.4 + 0.3 * X + 0.6 * RNG.normal(size=GROUPS)[GROUP]))
REAL = 1 + 0.5 * X + RNG.normal(size=GROUPS)[GROUP] + 0.8 * RNG.normal(size=GROUPS)[GROUP] * X
REAL += 0.5 * RNG.normal(size=GROUPS * PER)
OTHER = RNG.integers(0, 7, GROUPS * PER)


def intercepts(centered=True):
    with pm.Model(coords={"group": list("abcdefghijkl")}) as model:
        beta, tau = pm.Normal("beta", 0, 5, shape=2), pm.HalfNormal("tau", 1)
        if centered:
            u = pm.Normal("u", 0, tau, dims="group")
        else:
            u = pm.Deterministic("u", tau * pm.Normal("z", 0, 1, dims="group"), dims="group")
        pm.Poisson("y", pt.exp(beta[0] + beta[1] * X + u[GROUP]), observed=COUNTS)
    return model


def slopes():
    with pm.Model() as model:
        beta, sigma = pm.Normal("beta", 0, 5, shape=2), pm.HalfNormal("sigma", 1)
        chol, *_ = pm.LKJCholeskyCov("chol", eta=1, n=2, sd_dist=pm.HalfNormal.dist(1, shape=2))
        u = pm.MvNormal("u", 0, chol=chol, shape=(GROUPS, 2))
        pm.Normal("y", beta[0] + u[GROUP, 0] + (beta[1] + u[GROUP, 1]) * X, sigma, observed=REAL)
    return model


def crossed():
    with pm.Model() as model:
        mu, s, t = pm.Normal("mu", 0, 5), pm.HalfNormal("s", 1), pm.HalfNormal("t", 1)
        a, b = pm.Normal("a", 0, s, shape=GROUPS), pm.Normal("b", 0, t, shape=7)
        pm.Poisson("y", pt.exp(mu + a[GROUP] + b[OTHER]), observed=COUNTS)
    return model


def nested():
    with pm.Model() as model:
        mu, s, t = pm.Normal("mu", 0, 5), pm.HalfNormal("s", 1), pm.HalfNormal("t", 1)
        a = pm.Normal("a", mu, s, shape=4)
        b = pm.Normal("b", a[np.arange(GROUPS) % 4], t, shape=GROUPS)
        pm.Poisson("y", pt.exp(b[GROUP]), observed=COUNTS)
    return model


def chain():
    with pm.Model() as model:
        rho, s, mu = pm.Uniform("rho", -1, 1), pm.HalfNormal("s", 1), pm.Normal("mu", 0, 5)
        a = pm.AR("a", rho=[rho], sigma=s, init_dist=pm.Normal.dist(0, 1), shape=len(COUNTS))
        pm.Poisson("y", pt.exp(mu + a), observed=COUNTS)
    return model


def process():
    distance = np.subtract.outer(np.arange(15.0), np.arange(15.0))
    kernel = np.exp(-0.5 * (distance / 3) ** 2) + 1e-6 * np.eye(15)
    with pm.Model() as model:
        eta = pm.HalfNormal("eta", 1)
        f = pm.MvNormal("f", 0, eta**2 * kernel, shape=15)
        pm.Poisson("y", pt.exp(f), observed=COUNTS[:15])
    return model


def frailty():
    """Without groups: the integral is the negative binomial distribution."""
    with pm.Model() as model:
        mu, alpha = pm.HalfNormal("mu", 5), pm.HalfNormal("alpha", 5)
        w = pm.Gamma("w", alpha, alpha, shape=len(COUNTS))
        pm.Poisson("y", mu * w, observed=COUNTS)
    return model


STRUCTURES = {
    "intercepts": (intercepts, 1, Colored),
    "non-centered": (lambda: intercepts(centered=False), 1, Colored),
    "quadrature": (intercepts, 7, Colored),
    "blocks": (slopes, 1, Colored),
    "quadrature in blocks": (slopes, 3, Colored),
    "crossed": (crossed, 1, Colored),
    "nested": (nested, 1, Colored),
    "chain": (chain, 1, Colored),
    "dense": (process, 1, Dense),
    "transformed": (frailty, 1, Colored),
    "transformed, quadrature": (frailty, 5, Colored),
}


@cache
def objective(name):
    build, points, _ = STRUCTURES[name]
    model = build()
    return objective_of(model, mle.roles(model), quadrature_points=points)


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure(name):
    assert isinstance(objective(name).curvature, STRUCTURES[name][2])


@pytest.mark.parametrize("name", STRUCTURES)
def test_gradient_is_that_of_the_value(name):
    """By differences of sixth order, whose own error is far below."""
    found = objective(name)
    x = found.parameters.initial + 0.1 * np.random.default_rng(3).normal(size=found.size)
    h = 2e-3
    weights = {1: 45, 2: -9, 3: 1}
    expected = [
        sum(w * (found.value(x + k * h * e) - found.value(x - k * h * e)) for k, w in weights.items()) / (60 * h)
        for e in np.eye(found.size)
    ]
    value, gradient = found.value_gradient(x)
    assert value == pytest.approx(found.value(x), rel=1e-14)
    np.testing.assert_allclose(gradient, expected, rtol=2e-7, atol=2e-7)


@pytest.mark.parametrize("name", ["blocks", "crossed", "chain", "dense"])
def test_hessian_is_that_of_the_gradient(name):
    found = objective(name)
    x = found.parameters.initial + 0.1
    h = 1e-3
    expected = np.stack(
        [
            (8 * (found.value_gradient(x + h * e)[1] - found.value_gradient(x - h * e)[1])
             - (found.value_gradient(x + 2 * h * e)[1] - found.value_gradient(x - 2 * h * e)[1])) / (12 * h)
            for e in np.eye(found.size)
        ]
    )  # fmt: skip
    np.testing.assert_allclose(found.hessian(x), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_gaussian_models_are_exact():
    """The multivariate normal density of the data, maximized on its own."""
    est = mle.find_MLE(slopes())
    design = np.column_stack([np.ones_like(X), X])
    same = GROUP[:, None] == GROUP

    def loglik(beta, root, sigma):
        cov = np.where(same, design @ root @ root.T @ design.T, 0.0) + sigma**2 * np.eye(len(X))
        return multivariate_normal(design @ beta, cov).logpdf(REAL)

    chol, beta = est.params["chol"].values, est.params["beta"].values
    root, sigma = np.array([[chol[0], 0], [chol[1], chol[2]]]), float(est.params["sigma"])
    assert est.loglik == pytest.approx(loglik(beta, root, sigma), abs=1e-9)

    def negative(v):
        return -loglik(v[:2], np.array([[v[2], 0], [v[3], v[4]]]), v[5])

    best = minimize(negative, [*beta + 0.1, *chol * 1.1, sigma * 1.1], method="BFGS")
    assert est.loglik >= -best.fun - 1e-8


def test_gamma_frailty_is_the_negative_binomial():
    found = objective_of(frailty(), mle.roles(frailty()), quadrature_points=60)
    x = np.log([1.7, 2.3])
    expected = nbinom(2.3, 2.3 / (2.3 + 1.7)).logpmf(COUNTS).sum()
    assert found.value(x) == pytest.approx(expected, abs=1e-6)
    assert objective("transformed").value(x) == pytest.approx(expected, abs=len(COUNTS) * 0.1)


def test_one_node_is_laplace():
    x = objective("intercepts").parameters.initial
    model = intercepts()
    value = objective_of(model, mle.roles(model), quadrature_points=1).value(x)
    assert value == pytest.approx(objective("intercepts").value(x), abs=1e-9)
    assert value == pytest.approx(objective("quadrature").value(x), abs=0.3)


def test_large_blocks_refuse_quadrature():
    with pytest.raises(ModelError, match="a, b must be integrated together in blocks of 19"):
        mle.find_MLE(crossed(), quadrature_points=5)


def test_the_order_and_form_of_declarations_do_not_matter():
    one, other = mle.find_MLE(intercepts()), mle.find_MLE(intercepts(centered=False))
    assert one.loglik == pytest.approx(other.loglik, abs=1e-9)
    np.testing.assert_allclose(one.latent["u"], other.latent["u"], atol=1e-6)
    np.testing.assert_allclose(one.latent["u_se"], other.latent["u_se"], rtol=1e-5)
    assert list(one.latent["u"]["group"].values) == list("abcdefghijkl")


def test_errors_of_modes_include_those_of_the_estimate():
    """For a normal model, the prediction variances of the mixed-model equations, plus those of the scales."""
    est = mle.find_MLE(slopes(), fix={"sigma": 0.7})
    conditional = mle.find_MLE(
        slopes(), fix={name: est.params[name].values for name in ("beta", "chol")} | {"sigma": 0.7}
    )
    assert np.all(est.latent["u_se"].values > conditional.latent["u_se"].values)
    np.testing.assert_allclose(est.latent["u"], conditional.latent["u"], atol=1e-6)
    chol = est.params["chol"].values
    root = np.array([[chol[0], 0], [chol[1], chol[2]]])
    design = np.column_stack([np.ones_like(X), X])[GROUP == 0]
    precision = np.linalg.inv(root @ root.T) + design.T @ design / 0.7**2
    np.testing.assert_allclose(
        conditional.latent["u_se"].values[0], np.sqrt(np.diag(np.linalg.inv(precision))), rtol=1e-7
    )


def test_a_scale_that_is_held_keeps_its_latents_latent():
    assert mle.roles(intercepts(), fix=["tau"])["u"].kind == "latent"
    est = mle.find_MLE(intercepts())
    at = mle.find_MLE(intercepts(), fix={"tau": float(est.params["tau"])})
    assert at.loglik == pytest.approx(est.loglik, abs=1e-8)
    test = mle.lr_test(mle.find_MLE(intercepts(), fix={"tau": 1.0}), est)
    assert test.df == 1


def test_a_scale_that_keeps_its_prior_keeps_its_latents_latent():
    centered, offsets = (mle.find_MLE(intercepts(form), keep_priors=["tau"]) for form in (True, False))
    assert offsets.roles["z"].kind == "latent"
    assert offsets.loglik == pytest.approx(centered.loglik, abs=1e-8)
    assert float(offsets.params["tau"]) == pytest.approx(float(centered.params["tau"]), rel=1e-6)


def test_two_effects_of_the_same_groups_share_their_variance():
    """Only the sum of their variances is determined: a curve on which either scale can be zero, and neither has to."""
    rng, group = np.random.default_rng(1), np.repeat(np.arange(8), 4)
    y = rng.normal(size=8)[group] + 0.5 * rng.normal(size=32)
    with pm.Model() as model:
        mu, s, t, e = pm.Normal("mu"), pm.HalfNormal("s", 1), pm.HalfNormal("t", 1), pm.HalfNormal("e", 1)
        a, b = pm.Normal("a", 0, s, shape=8), pm.Normal("b", 0, t, shape=8)
        pm.Normal("y", mu + (a + b)[group], e, observed=y)
    with pytest.warns(mle.VerdictWarning, match="s and t separately"):
        est = mle.find_MLE(model, starts=1)
    assert est.verdict.status == "NOT_IDENTIFIED"
    assert [finding.variables for finding in est.verdict.findings] == [("s", "t")]


def test_profile_falls_to_the_cutoff():
    est = mle.find_MLE(intercepts())
    limits = mle.interval(est, "tau", kind="profile", ci_prob=0.95)["tau"].values
    for limit in limits:
        drop = est.loglik - mle.find_MLE(intercepts(), fix={"tau": limit}).loglik
        assert drop == pytest.approx(3.841458820694124 / 2, abs=1e-5)


def test_parametric_bootstrap_refits_the_marginal_likelihood():
    est = mle.find_MLE(intercepts())
    with warnings.catch_warnings():
        # A variance that some simulated data do not have
        warnings.simplefilter("ignore", mle.VerdictWarning)
        boot = mle.bootstrap(est, n=3, random_seed=1, progressbar=False)
    drawn = mle.simulate(est, 1, random_seed=5)["y"].values.ravel()
    assert drawn.shape == COUNTS.shape
    assert set(boot.status["status"].astype(str)) <= {"CONVERGED", "BOUNDARY"}
    # What a refit maximizes is the marginal likelihood of its own data: that of this fit, for the data of this fit
    refitter, names = by_data(est)
    [refit] = refitter.fit([COUNTS[None]])
    assert names == ["y"]
    assert refit.value == pytest.approx(est.loglik, abs=1e-9)
    np.testing.assert_allclose(refit.x, est._optimum.x, atol=1e-6)


def test_predictions_are_at_the_modes():
    est = mle.find_MLE(intercepts())
    beta, u = est.params["beta"].values, est.latent["u"].values
    found = mle.predict(est, "y")
    np.testing.assert_allclose(found.value["y"], np.exp(beta[0] + beta[1] * X + u[GROUP]), rtol=1e-10)
    assert np.all(found.se["y"].values > 0)
    with pytest.raises(ModelError, match="wald"):
        mle.predict(est, "y", kind="profile")


def test_restricted_fits_are_not_ranked_with_others():
    full, restricted = mle.find_MLE(slopes()), mle.find_MLE(slopes(), restricted=["beta"])
    assert "beta" in restricted.latent
    with pytest.raises(ValueError, match="restricted"):
        mle.rank({"ML": full, "REML": restricted})


def test_stored_and_read():
    est = mle.find_MLE(intercepts(), quadrature_points=5)
    again = mle.from_datatree(est.to_datatree(), intercepts())
    assert again.loglik == est.loglik
    pd.testing.assert_frame_equal(again.summary(), est.summary())
    np.testing.assert_allclose(again.latent["u"], est.latent["u"], rtol=1e-8)


def test_what_is_held_may_meet_the_rest_in_a_loop():
    u, x = pt.vector("u", dtype="float64"), pt.vector("x", dtype="float64")
    total = pytensor.scan(
        lambda value, last: last + value, sequences=[x * u], outputs_info=[pt.zeros(())], return_updates=False
    )
    function = Built([u, x], [total], held=x)
    for held in (2.0, 2.0, 3.0):
        [result] = function(np.arange(3.0), np.full(3, held))
        np.testing.assert_array_equal(result, held * np.array([0.0, 1.0, 3.0]))


def test_missing_values_in_dependent_rows_are_integrated():
    """A bivariate normal of which one element is missing: the rest has its own margin."""
    cov = np.array([[1.0, 0.6], [0.6, 2.0]])
    with warnings.catch_warnings(), pm.Model() as model:
        warnings.simplefilter("ignore", ImputationWarning)
        mu = pm.Normal("mu", 0, 1, shape=2)
        pm.MvNormal("y", mu, cov, observed=np.array([[1.0, np.nan], [2.0, 3.0], [0.0, 1.0]]))
    est = mle.find_MLE(model)
    at = est.params["mu"].values
    rows = multivariate_normal(at, cov).logpdf([[2.0, 3.0], [0.0, 1.0]]).sum()
    assert est.loglik == pytest.approx(rows + norm(at[0], 1).logpdf(1.0), abs=1e-9)
    assert at[0] == pytest.approx(1.0, abs=1e-7)


def test_more_nodes_are_asked_for_where_laplace_is_coarse():
    est = mle.find_MLE(frailty())
    [finding] = est.verdict.findings
    assert finding.kind == "coarse_integral"
    assert finding.variables == ("alpha",)
    assert "quadrature_points=25" in finding.remedy
    better = mle.find_MLE(frailty(), quadrature_points=25)
    moved = (np.log(better.params["alpha"]) - np.log(est.params["alpha"])) / (
        est.stderr()["alpha"] / est.params["alpha"]
    )
    assert abs(float(moved)) == pytest.approx(finding.evidence["shift"], rel=0.3)
    assert not better.verdict.findings
    assert not mle.find_MLE(slopes()).verdict.findings


def test_more_nodes_are_asked_for_beside_a_scale_that_vanishes():
    """A slope without variance changes nothing about an intercept with one."""
    rng = np.random.default_rng(0)
    group, x, u = np.repeat(np.arange(40), 3), rng.normal(size=120), 2 * rng.normal(size=40)
    y = (u[group] + rng.logistic(size=120) > 0).astype(int)

    def fit(slopes):
        with pm.Model() as model:
            eta = pm.Normal("a") + pm.Normal("u", 0, pm.HalfNormal("s"), shape=40)[group]
            if slopes:
                eta += pm.Normal("v", 0, pm.HalfNormal("r"), shape=40)[group] * x
            pm.Bernoulli("y", logit_p=eta, observed=y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mle.VerdictWarning)
            return mle.find_MLE(model)

    both, one = fit(True), fit(False)
    assert both.verdict.status is mle.Status.BOUNDARY
    found, alone = ({f.kind: f for f in est.verdict.findings}["coarse_integral"] for est in (both, one))
    assert found.variables == alone.variables == ("s",)
    assert found.evidence["shift"] == pytest.approx(alone.evidence["shift"], rel=1e-3)


def test_check_by_quadrature():
    """The shift that is told is that of the estimate with many nodes, to first order."""
    est = mle.find_MLE(intercepts())
    check, better = mle.check_marginal(est), mle.find_MLE(intercepts(), quadrature_points=41)
    assert check.method == "quadrature"
    moved = (better.params["tau"] - est.params["tau"]) / est.stderr()["tau"]
    assert check.shift["tau"] == pytest.approx(float(moved), rel=0.15)
    assert check.loglik_change == pytest.approx(better.loglik - est.loglik, abs=2e-3)
    assert check.ok
    assert "accurate enough" in repr(check)
    coarse = mle.check_marginal(mle.find_MLE(frailty()))
    assert not coarse.ok
    assert "not accurate" in coarse._repr_html_()


def test_check_of_exact_integrals():
    check = mle.check_marginal(mle.find_MLE(slopes()))
    np.testing.assert_allclose(check.shift, 0, atol=1e-6)
    assert check.loglik_change == pytest.approx(0, abs=1e-8)


def test_check_by_simulated_scores():
    """Of a crossed normal model: exact, so that scores average zero within their Monte Carlo errors."""
    with pm.Model() as model:
        mu, s, t, sigma = pm.Normal("mu", 0, 5), pm.HalfNormal("s", 1), pm.HalfNormal("t", 1), pm.HalfNormal("sigma", 1)
        a, b = pm.Normal("a", 0, s, shape=GROUPS), pm.Normal("b", 0, t, shape=7)
        effect = np.random.default_rng(3).normal(size=7)[OTHER]
        pm.Normal("y", mu + a[GROUP] + b[OTHER], sigma, observed=REAL + effect)
    check = mle.check_marginal(mle.find_MLE(model), n_simulations=60, random_seed=1)
    assert check.method == "simulated scores"
    assert np.all(check.shift.abs() < 4 * check.mc_error)
    assert np.all(check.mc_error < 0.3)
    # A tenth of a standard error is less than what 60 data sets show
    assert not check.ok
    assert "undecided" in repr(check)


def test_check_needs_an_integral():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), 1, observed=[1.0, 2.0])
    with pytest.raises(ModelError, match="has none"):
        mle.check_marginal(mle.find_MLE(model))


@pytest.mark.parametrize("points", [0, -1, 2.5, "9", True])
def test_quadrature_points_are_checked(points):
    with pytest.raises(ValueError, match="quadrature_points"):
        mle.find_MLE(intercepts(), quadrature_points=points)


def test_a_density_without_maximum_is_told():
    """Two of three elements that neither data nor a prior determine."""
    with pm.Model() as model:
        a, s = pm.Flat("a", shape=3), pm.HalfNormal("s")
        pm.Normal("y", a[0], s, observed=REAL)
    with pytest.raises(ModelError, match="the density of a has no maximum"):
        mle.find_MLE(model, integrate=["a"])


def test_what_does_not_fit_in_memory_is_told_before():
    with pm.Model() as model:
        s = pm.HalfNormal("s")
        z = pm.ZeroSumNormal("z", sigma=s, shape=50_000)
        pm.Normal("y", z, 1, observed=np.zeros(50_000) + np.arange(50_000) % 7)
    with pytest.raises(ModelError, match=r"z: .*too many latent variables"):
        mle.find_MLE(model)


def test_a_process_is_a_chain():
    """A Gaussian random walk, whose likelihood is that of a multivariate normal distribution."""
    rng = np.random.default_rng(2)
    y = np.cumsum(rng.normal(0, 1.0, 40)) + rng.normal(0, 0.7, 40)
    with pm.Model() as model:
        s, e = pm.HalfNormal("s"), pm.HalfNormal("e")
        w = pm.GaussianRandomWalk("w", sigma=s, init_dist=pm.Normal.dist(0, 5), shape=40)
        pm.Normal("y", w, e, observed=y)
    est = mle.find_MLE(model)
    low = np.minimum.outer(np.arange(40), np.arange(40))

    def loglik(s, e):
        return multivariate_normal(np.zeros(40), 25.0 + s**2 * low + e**2 * np.eye(40)).logpdf(y)

    s, e = float(est.params["s"]), float(est.params["e"])
    assert est.loglik == pytest.approx(loglik(s, e), abs=1e-8)
    for other in ((1.01 * s, e), (0.99 * s, e), (s, 1.01 * e), (s, 0.99 * e)):
        assert loglik(*other) < est.loglik


def test_an_unused_latent_variable_is_told():
    model = intercepts()
    with model:
        pm.Normal("v", 0, pm.HalfNormal("s2"), shape=3)
    with pytest.warns(mle.VerdictWarning, match=r"s2.* no effect"):
        est = mle.find_MLE(model)
    assert est.loglik == pytest.approx(mle.find_MLE(intercepts()).loglik, abs=1e-9)


def test_nothing_integrated_is_not_taken_for_an_estimate():
    """The joint maximum: its scale is not determined, and each effect is an incidental parameter."""
    with pytest.warns(mle.VerdictWarning, match="NOT_IDENTIFIED"):
        est = mle.find_MLE(intercepts(), integrate=[])
    assert "incidental_parameters" in {finding.kind for finding in est.verdict.findings}


def test_the_log_likelihood_at_a_posterior_mode_is_without_priors():
    mode = mle.find_MAP(intercepts())
    value = objective_of(intercepts(), mle.roles(intercepts())).value(mode._optimum.x)
    assert mode.loglik == pytest.approx(value, abs=1e-8)


def test_effects_with_a_kink_at_their_mode_are_refused():
    with pm.Model() as model:
        scale = pm.HalfNormal("scale", 1.0)
        effect = pm.Laplace("effect", 0.0, scale, shape=4)
        pm.Normal("y", effect[np.repeat(np.arange(4), 3)], 1.0, observed=np.arange(12.0))
    with pytest.raises(ModelError, match="effect has a Laplace prior, whose density has a kink"):
        mle.find_MLE(model)


def test_coefficients_of_normal_data_begin_at_generalized_least_squares():
    rng, group = np.random.default_rng(4), np.repeat(np.arange(10), 5)
    design = np.column_stack([np.ones(50), rng.normal(size=50)])
    y = design @ [3.0, -2.0] + rng.normal(size=10)[group] + 0.3 * rng.normal(size=50)
    with pm.Model() as model:
        beta, tau, sigma = pm.Normal("beta", shape=2), pm.HalfNormal("tau", 2), pm.HalfNormal("sigma", 3)
        pm.Normal("y", design @ beta + pm.Normal("u", 0, tau, shape=10)[group], sigma, observed=y)
    objective = mle.find_MLE(model)._objective
    begun = located(objective, objective.parameters.default)
    found = objective.parameters.layout.dataset(objective.parameters.constrained(begun))
    inverse = np.linalg.inv(
        float(found["sigma"]) ** 2 * np.eye(50) + float(found["tau"]) ** 2 * (group[:, None] == group)
    )
    expected = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)
    np.testing.assert_allclose(found["beta"], expected, rtol=1e-5)
    np.testing.assert_array_equal(begun[2:], objective.parameters.default[2:])
    # Of counts the density is not quadratic: they begin where they are
    counts = mle.find_MLE(intercepts())._objective
    assert located(counts, counts.parameters.default) is counts.parameters.default
