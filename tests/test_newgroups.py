"""Predictions for groups of a hierarchical model, those of the fit and new ones, against closed forms and quadrature."""

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
    by_refits = mle.predict(est, "y", **new, kind="bootstrap", bootstrap=boot(form))
    np.testing.assert_allclose(by_refits.se["y"], found.se["y"], rtol=0.2)


@cache
def boot(form):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mle.VerdictWarning)
        return mle.bootstrap(fit(form), n=400, random_seed=1, progressbar=False)


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
