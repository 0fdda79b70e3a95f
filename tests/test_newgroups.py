"""Predictions for groups of a hierarchical model, known and new ones, against closed forms and quadrature."""

import warnings
from functools import cache

import numpy as np
import pymc as pm
import pytest
from scipy.stats import norm, poisson

import mle_pp as mle
from mle_pp import ModelError

RNG = np.random.default_rng(20240301)
GROUPS, PER = 9, 6
GROUP = np.repeat(np.arange(GROUPS), PER)
X = RNG.normal(size=GROUPS * PER)
NAMES = list("abcdefghi")
REAL = 1 + 0.5 * X + RNG.normal(size=GROUPS)[GROUP] + 0.6 * RNG.normal(size=GROUPS)[GROUP] * X
REAL += 0.5 * RNG.normal(size=GROUPS * PER)
COUNTS = RNG.poisson(np.exp(0.4 + 0.3 * X + 0.6 * RNG.normal(size=GROUPS)[GROUP]))


def model_of(form, counts=False):
    """A random intercept, declared in two ways, or an intercept and a slope that are correlated, in two ways."""
    with pm.Model(coords={"group": NAMES, "effect": ["level", "slope"]}) as model:
        group, x = pm.Data("group_of", GROUP, dims="row"), pm.Data("x", X, dims="row")
        beta = pm.Normal("beta", 0, 5, shape=2)
        if form in ("centered", "offset"):
            tau = pm.HalfNormal("tau", 1)
            if form == "centered":
                u = pm.Normal("u", 0, tau, dims="group")
            else:
                u = pm.Deterministic("u", tau * pm.Normal("z", 0, 1, dims="group"), dims="group")
            mean = beta[0] + beta[1] * x + u[group]
        else:
            chol, *_ = pm.LKJCholeskyCov("chol", eta=1, n=2, sd_dist=pm.HalfNormal.dist(1, shape=2))
            if form == "correlated":
                u = pm.MvNormal("u", 0, chol=chol, dims=("group", "effect"))
            else:
                z = pm.Normal("z", 0, 1, dims=("group", "effect"))
                u = pm.Deterministic("u", z @ chol.T, dims=("group", "effect"))
            mean = beta[0] + u[group, 0] + (beta[1] + u[group, 1]) * x
        if counts:
            pm.Poisson("y", pm.math.exp(mean), observed=COUNTS, dims="row")
        else:
            pm.Normal("y", mean, pm.HalfNormal("sigma", 1), observed=REAL, dims="row")
    return model


@cache
def fit(form, counts=False):
    return mle.find_MLE(model_of(form, counts))


def covariance_of_effects(est):
    if "tau" in est.params:
        return np.array([[float(est.params["tau"]) ** 2]])
    a, b, c = est.params["chol"].values
    root = np.array([[a, 0], [b, c]])
    return root @ root.T


@pytest.mark.parametrize("form", ["centered", "offset", "correlated", "correlated_offset"])
def test_new_groups_of_the_normal_model(form):
    """x b, with variance x V xᵀ + z Σ zᵀ, and σ² more for an observation."""
    est = fit(form)
    x = np.array([-1.0, 0.0, 2.0])
    new = {"newdata": {"group_of": [1, 1, 0], "x": x}, "coords": {"group": ["new", "newer"]}, "new_groups": True}
    found = mle.predict(est, "y", **new, ci_prob=0.95)
    rows = np.column_stack([np.ones(3), x])
    effects = covariance_of_effects(est)
    z = rows[:, : len(effects)]
    cov = est.cov().sel(parameter=["beta[0]", "beta[1]"], parameter_=["beta[0]", "beta[1]"]).values
    variance = np.einsum("ij,jk,ik->i", rows, cov, rows) + np.einsum("ij,jk,ik->i", z, effects, z)
    np.testing.assert_allclose(found.value["y"], rows @ est.params["beta"].values, rtol=1e-8)
    np.testing.assert_allclose(found.se["y"], np.sqrt(variance), rtol=1e-6)
    wide = mle.predict(est, "y", **new, ci_prob=0.95, interval="prediction")
    half = norm.ppf(0.975) * np.sqrt(variance + float(est.params["sigma"]) ** 2)
    np.testing.assert_allclose(wide.interval["y"][:, 1] - wide.value["y"], half, rtol=1e-6)


@pytest.mark.parametrize("form", ["centered", "offset", "correlated", "correlated_offset"])
def test_known_groups_among_new_ones_keep_their_modes(form):
    est = fit(form)
    old = mle.predict(est, ["u", "y"] if "offset" in form else "y", {"group_of": [2, 8], "x": [0.5, 1.0]})
    coords = {"group": ["i", "new", "c"]}
    new = mle.predict(est, "y", {"group_of": [2, 0], "x": [0.5, 1.0]}, coords=coords, new_groups=True)
    np.testing.assert_allclose(new.value["y"], old.value["y"], rtol=1e-10)
    np.testing.assert_allclose(new.se["y"], old.se["y"], rtol=1e-8)
    if "offset" in form:
        effects = mle.predict(est, "u", coords=coords, new_groups=True)
        assert list(effects.value["group"].values) == coords["group"]
        np.testing.assert_allclose(effects.value["u"][[2, 0]], est.latent["u"][[2, 8]], rtol=1e-10)
        np.testing.assert_allclose(effects.se["u"][[2, 0]], est.latent["u_se"][[2, 8]], rtol=1e-8)
        np.testing.assert_allclose(effects.value["u"][1], 0)
        variances = np.diag(covariance_of_effects(est))
        np.testing.assert_allclose(np.ravel(effects.se["u"][1]), np.sqrt(variances), rtol=1e-10)


def test_refits_add_the_conditional_variance():
    """With known variances and σ, all is normal: the prediction variance of the mixed-model equations."""
    tau, sigma = 0.8, 0.5
    est = mle.find_MLE(model_of("centered"), fix={"tau": tau, "sigma": sigma})
    boot = mle.bootstrap(est, n=600, random_seed=1, progressbar=False)
    new = {"newdata": {"group_of": [4, 9], "x": [0.5, 1.0]}, "coords": {"group": [*NAMES, "new"]}, "new_groups": True}
    found = mle.predict(est, "y", **new, kind="bootstrap", bootstrap=boot, ci_prob=0.9, random_seed=2)
    fixed = np.column_stack([np.ones_like(X), X])
    design = np.column_stack([fixed, GROUP[:, None] == np.arange(GROUPS), np.zeros(len(X))])
    precision = design.T @ design / sigma**2 + np.diag([0, 0, *np.full(GROUPS + 1, tau**-2)])
    rows = np.zeros((2, GROUPS + 3))
    rows[:, :2], rows[0, 2 + 4], rows[1, 2 + GROUPS] = [[1, 0.5], [1, 1.0]], 1, 1
    se = np.sqrt(np.einsum("ij,jk,ik->i", rows, np.linalg.inv(precision), rows))
    # 600 draws determine a standard deviation to 3 %
    np.testing.assert_allclose(found.se["y"], se, rtol=0.08)
    # The share of the law of y's mean given the data that the interval holds
    center = rows @ np.linalg.solve(precision, design.T @ REAL / sigma**2)
    lower, upper = found.interval["y"].values.T
    np.testing.assert_allclose(norm.cdf(upper, center, se) - norm.cdf(lower, center, se), 0.9, atol=0.03)


def below_counts(means, log_weights):
    """The probabilities of counts below 0, 1, ..., with means that have these weights."""
    weights = np.exp(log_weights - log_weights.max())
    law = poisson.pmf(np.arange(400)[:, None], means) @ (weights / weights.sum())
    return np.concatenate([[0.0], law.cumsum()])


def test_prediction_intervals_of_counts_given_groups_against_quadrature():
    """The law of a count at known parameters: over the effect given its group's data, if it has some."""
    beta, tau = np.array([0.4, 0.3]), 0.7
    est = mle.find_MLE(model_of("centered", counts=True), fix={"beta": beta, "tau": tau})
    coords, at = {"group": [*NAMES, "new"]}, {"group_of": [6, 5, 9], "x": [8.0, 8.0, 0.5]}
    new = {"newdata": at, "coords": coords, "new_groups": True}
    found = mle.predict(est, "y", **new, interval="prediction", n=6000, random_seed=1, ci_prob=0.9)
    grid = np.linspace(-5, 5, 4001)
    for k, (group, x) in enumerate(zip(*at.values(), strict=True)):
        rows = group == GROUP
        exact = norm.logpdf(grid, 0, tau)
        exact += poisson.logpmf(COUNTS[rows], np.exp(beta[0] + beta[1] * X[rows] + grid[:, None])).sum(axis=1)
        mode = grid[exact.argmax()]
        precision = tau**-2 + np.exp(beta[0] + beta[1] * X[rows] + mode).sum()
        means = np.exp(beta[0] + beta[1] * x + grid)
        below, true = (below_counts(means, log) for log in (norm.logpdf(grid, mode, precision**-0.5), exact))
        # The smallest counts that reach the tails of the law given N(û, H⁻¹); 6000 draws determine these to 0.003
        for count, level in zip(found.interval["y"][k].values.astype(int), (0.05, 0.95), strict=True):
            assert below[count] <= level + 0.009
            assert below[count + 1] >= level - 0.009
        # What Laplace's method errs by, 0.026 at most; without draws of the effect it would be 0.1
        assert np.abs(below - true).max() < 0.03
    # The mean of a new group lies where its effect does, in the same quantiles: exp is monotonic
    mean = mle.predict(est, "y", **new, ci_prob=0.9)
    np.testing.assert_allclose(mean.interval["y"][2], np.exp(0.55 + tau * norm.ppf([0.05, 0.95])), rtol=1e-8)
    assert mle.simulate(est, 3, newdata=at, coords=coords)["y"].shape == (1, 3, 3)


def test_crossed_effects():
    """Known in one factor, new in the other: the prediction variances of the two add up."""
    other = RNG.integers(0, 4, GROUPS * PER)
    with pm.Model(coords={"group": NAMES, "day": list("wxyz")}) as model:
        group, day = pm.Data("group_of", GROUP, dims="row"), pm.Data("day_of", other, dims="row")
        u, v = pm.Normal("u", 0, pm.HalfNormal("s"), dims="group"), pm.Normal("v", 0, pm.HalfNormal("t"), dims="day")
        pm.Normal("y", 1 + u[group] + v[day], pm.HalfNormal("sigma"), observed=REAL + 0.7 * other, dims="row")
    est = mle.find_MLE(model)
    new = {"newdata": {"group_of": [3], "day_of": [0]}, "coords": {"day": ["new"]}, "new_groups": True}
    found = mle.predict(est, "y", **new)
    u = est.latent.sel(group="d")
    np.testing.assert_allclose(found.value["y"], 1 + u["u"], rtol=1e-8)
    np.testing.assert_allclose(found.se["y"], np.hypot(u["u_se"], est.params["t"]), rtol=1e-8)


def test_names_that_the_fit_had_not():
    est = fit("centered")
    at = {"group_of": [0], "x": [0.0]}
    with pytest.raises(ModelError, match=r"group has bb, which the fit had not; it had a, b.*new_groups=True"):
        mle.predict(est, newdata=at, coords={"group": ["bb"]})
    with pytest.raises(ModelError, match="a is more than once"):
        mle.predict(est, newdata=at, coords={"group": ["a", "a"]})
    with pytest.raises(ModelError, match="group_of is still that of the fit"):
        mle.predict(est, coords={"group": NAMES[::-1]})
    with pytest.raises(ModelError, match="index 1 is out"):
        mle.predict(est, newdata={"group_of": [1], "x": [0.0]}, coords={"group": ["a"]})
    with pytest.raises(ModelError, match="an integral over all values of these"):
        mle.predict(est, kind="profile")
    with pm.Model(coords={"group": ["a", "b"]}) as model:
        pm.Normal("y", pm.Normal("alpha", dims="group"), 1.0, observed=[0.0, 1.0], dims="group")
    plain = mle.find_MLE(model)
    np.testing.assert_allclose(mle.predict(plain, coords={"group": ["b", "a"]}).value["y"], [1, 0], atol=1e-8)
    with pytest.raises(ModelError, match=r"alpha was estimated for each group .* none for c"):
        mle.predict(plain, coords={"group": ["a", "c"]}, new_groups=True)
    with pm.Model(coords={"group": NAMES}) as model:
        frailty = pm.Gamma("frailty", pm.HalfNormal("k", 5), 1.0, dims="group")
        pm.Poisson("y", frailty[pm.Data("group_of", GROUP, dims="row")], observed=COUNTS, dims="row")
    with pytest.raises(ModelError, match="frailty cannot be predicted for other groups"):
        mle.predict(mle.find_MLE(model), newdata={"group_of": [0]}, coords={"group": ["new"]}, new_groups=True)


def test_a_variance_at_zero_is_held_there():
    """Errors are then those of the regression without effects, and the note says what they are given."""
    flat = REAL - np.array([REAL[k == GROUP].mean() for k in range(GROUPS)])[GROUP]
    with warnings.catch_warnings(), pm.Model(coords={"group": NAMES}) as model:
        warnings.simplefilter("ignore", mle.VerdictWarning)
        a, u = pm.Normal("a"), pm.Normal("u", 0, pm.HalfNormal("tau"), dims="group")
        group = pm.Data("group_of", GROUP, dims="row")
        pm.Deterministic("mean", a + u[group], dims="row")
        pm.Normal("y", a + u[group], pm.HalfNormal("sigma"), observed=flat, dims="row")
        est = mle.find_MLE(model)
    assert est.verdict.status == "BOUNDARY"
    assert "given tau" in est.latent.attrs["note"]
    new = {"newdata": {"group_of": [0, 9]}, "coords": {"group": [*NAMES, "new"]}, "new_groups": True}
    for found in (mle.predict(est, **new), mle.predict(est, newdata={"group_of": [0, 8]})):
        for name in ("mean", "y"):
            np.testing.assert_allclose(found.se[name], flat.std() / np.sqrt(len(flat)), rtol=1e-5)
        assert any("given tau" in note for note in found.notes)
    np.testing.assert_allclose(est.latent["mean_se"], flat.std() / np.sqrt(len(flat)), rtol=1e-5)


def test_a_factor_that_is_integrated_has_no_sign():
    """Its value at the mode is no constant: the interval of exp(b) z crosses zero, like that of z."""
    with pm.Model(coords={"group": NAMES}) as model:
        b, z = pm.Normal("b"), pm.Normal("z", 0, 1, dims="group")
        effect = pm.Deterministic("effect", pm.math.exp(b) * z, dims="group")
        pm.Normal("y", effect[GROUP], 1.0, observed=REAL - 1)
    est = mle.find_MLE(model)
    found = mle.predict(est, "effect", ci_prob=0.999)
    ends = found.value["effect"].values[:, None] + norm.ppf([0.0005, 0.9995]) * found.se["effect"].values[:, None]
    np.testing.assert_allclose(found.interval["effect"], ends, rtol=1e-8)
    assert np.any(np.prod(found.interval["effect"].values, axis=1) < 0)
