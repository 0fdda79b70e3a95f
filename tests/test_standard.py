"""Scales of latent variables down to zero: dense normal densities, the model without the effect, other declarations."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import cauchy, gumbel_r, logistic, multivariate_normal, norm, t

import mle_pp as mle
from mle_pp import Status
from mle_pp.marginal import objective_of

T = 25
RNG = np.random.default_rng(4)
WALK = np.cumsum(RNG.normal(0, 1.0, T)) + RNG.normal(0, 0.7, T)
LEVEL = np.random.default_rng(2).normal(1, 0.7, T)
TIME = np.arange(T)
GROUP = np.arange(T) % 5


def walk(y, drift=0.0, start=5.0):
    with pm.Model() as model:
        s, e = pm.HalfNormal("s"), pm.HalfNormal("e")
        first = pm.Normal.dist(1, s if start is None else start)
        u = pm.GaussianRandomWalk("u", mu=drift, sigma=s, init_dist=first, shape=T)
        pm.Normal("y", u, e, observed=y)
    return model


def cumulated(y):
    """`walk(y, 0.2)`, in its innovations."""
    with pm.Model() as model:
        s, e = pm.HalfNormal("s"), pm.HalfNormal("e")
        first, z = pm.Normal("first", 1, 5), pm.Normal("z", shape=T - 1)
        path = pt.concatenate([pt.zeros(1), pt.cumsum(s * z)])
        pm.Normal("y", first + path + 0.2 * TIME, e, observed=y)
    return model


def autoregression(y, stationary=False):
    with pm.Model() as model:
        s, e, rho = pm.HalfNormal("s"), pm.HalfNormal("e"), pm.Uniform("rho", -1, 1)
        first = pm.Normal.dist(0, s / pt.sqrt(1 - rho**2)) if stationary else pm.Normal.dist(1, 2)
        lags = [rho] if stationary else [0.3, rho]
        u = pm.AR("u", lags, sigma=s, init_dist=first, constant=not stationary, ar_order=1, shape=T)
        pm.Normal("y", u, e, observed=y)
    return model


def several(y):
    """Five walks at once, each with a scale of its own."""
    with pm.Model() as model:
        s, e = pm.HalfNormal("s", shape=5), pm.HalfNormal("e")
        u = pm.GaussianRandomWalk("u", sigma=s, init_dist=pm.Normal.dist(0, 2), shape=(5, 5))
        pm.Normal("y", u.ravel(), e, observed=y)
    return model


def zero_sum(y):
    with pm.Model() as model:
        mu, s, e = pm.Normal("mu", 0, 5), pm.HalfNormal("s"), pm.HalfNormal("e")
        pm.Normal("y", mu + pm.ZeroSumNormal("u", s, shape=5)[GROUP], e, observed=y)
    return model


def process(y, s, e, rho, variance, mean=0.0, drift=0.0):
    """The density of y under a process plus noise, from the inverse of its differences."""
    inverse = np.linalg.inv(np.eye(len(y)) - rho * np.eye(len(y), k=-1))
    steps = np.diag(np.r_[variance, np.full(len(y) - 1, s**2)])
    center = inverse @ np.r_[mean, np.full(len(y) - 1, drift)]
    return multivariate_normal(center, inverse @ steps @ inverse.T + e**2 * np.eye(len(y))).logpdf(y)


def zero_sum_density(y, mu, s, e):
    incidence = (GROUP[:, None] == np.arange(5)).astype(float)
    cov = s**2 * incidence @ (np.eye(5) - 0.2) @ incidence.T + e**2 * np.eye(T)
    return multivariate_normal(np.full(T, mu), cov).logpdf(y)


def several_density(y, s, e):
    return sum(process(part, scale, e, 1.0, 4.0) for part, scale in zip(y.reshape(5, 5), s, strict=True))


# Models, their densities at (parameters), and parameters but the scale
CASES = {
    "walk": (walk, lambda y, s, e: process(y, s, e, 1.0, 25.0, 1.0), [0.6]),
    "drift": (lambda y: walk(y, 0.2), lambda y, s, e: process(y, s, e, 1.0, 25.0, 1.0, 0.2), [0.6]),
    "one scale": (lambda y: walk(y, start=None), lambda y, s, e: process(y, s, e, 1.0, s**2, 1.0), [0.6]),
    "autoregression": (autoregression, lambda y, s, e, r: process(y, s, e, r, 4.0, 1.0, 0.3), [0.6, 0.8]),
    "at zero lag": (autoregression, lambda y, s, e, r: process(y, s, e, r, 4.0, 1.0, 0.3), [0.6, 0.0]),
    "stationary": (lambda y: autoregression(y, True),
                   lambda y, s, e, r: process(y, s, e, r, s**2 / (1 - r**2)), [0.6, 0.8]),
    "zero sum": (zero_sum, lambda y, s, e, mu: zero_sum_density(y, mu, s, e), [0.6, 0.9]),
    "several": (several, several_density, [0.6]),
}  # fmt: skip


@pytest.mark.parametrize("scale", [0.8, 1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("name", CASES)
def test_log_likelihood_at_any_scale(name, scale):
    build, density, others = CASES[name]
    model = build(WALK)
    found = objective_of(model, mle.roles(model))
    s = np.full(found.parameters.layout.slices()["s"].stop, scale) if name == "several" else scale
    order = ["mu", "s", "e", "rho"]
    at = {"s": s, "e": others[0], **({"mu" if name == "zero sum" else "rho": others[1]} if others[1:] else {})}
    values = np.concatenate([np.ravel(at[n]) for n in order if n in at])
    x = found.parameters.unconstrained_at(values)
    assert found.value(x) == pytest.approx(density(WALK, s, *others), abs=1e-9)
    assert np.all(np.isfinite(found.value_gradient(x)[1]))


@pytest.mark.parametrize("name", ["walk", "autoregression", "zero sum"])
def test_no_variation_is_a_scale_of_zero(name):
    """Data without the effect: exactly zero, and the likelihood of the model without it."""
    build, density, _ = CASES[name]
    y = LEVEL - np.array([LEVEL[k == GROUP].mean() for k in range(5)])[GROUP] if name == "zero sum" else LEVEL
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY"):
        est = mle.find_MLE(build(y))
    assert est.verdict.status is Status.BOUNDARY
    assert est.verdict.findings[0].variables == ("s",)
    assert float(est.params["s"]) == 0.0
    assert np.isnan(est.stderr()["s"])
    rest = [float(est.params[n]) for n in ("e", "rho", "mu") if n in est.params]
    assert est.loglik == pytest.approx(density(y, 0.0, *rest), abs=1e-9)
    for step in np.diag(np.full(len(rest), 1e-3)):
        assert density(y, 0.0, *(rest + step)) < est.loglik > density(y, 0.0, *(rest - step))


@pytest.mark.parametrize("y", [WALK, LEVEL], ids=["walk", "level"])
def test_both_declarations_of_a_walk(y):
    """As a process and in its innovations, inside and on the edge."""
    one, other = (
        objective_of(m, mle.roles(m, integrate=names))
        for m, names in ((walk(y, 0.2), ["u"]), (cumulated(y), ["first", "z"]))
    )
    for point in ([-0.2, -0.4], [-14.0, -0.4], [-30.0, 0.5]):
        first, second = (o.value_gradient(np.array(point)) for o in (one, other))
        assert first[0] == pytest.approx(second[0], abs=1e-8)
        np.testing.assert_allclose(first[1], second[1], atol=1e-8)


FAMILIES = {
    "student": (lambda s: pm.StudentT("u", 4, mu=0.3, sigma=s, shape=5), t(4)),
    "cauchy": (lambda s: pm.Cauchy("u", 0.3, s, shape=5), cauchy()),
    "logistic": (lambda s: pm.Logistic("u", 0.3, s, shape=5), logistic()),
    "gumbel": (lambda s: pm.Gumbel("u", 0.3, s, shape=5), gumbel_r()),
}


@pytest.mark.parametrize("scale", [0.8, 1e-3, 1e-9])
@pytest.mark.parametrize("name", FAMILIES)
def test_families_with_a_scale(name, scale):
    """Laplace's value, from SciPy's densities of the standard variable: the same integrand, however small the scale."""
    declare, standard = FAMILIES[name]
    with pm.Model() as model:
        pm.Normal("y", declare(pm.HalfNormal("s")), 0.9, observed=LEVEL[:5])
    found = objective_of(model, mle.roles(model))
    expected = 0.0
    for y in LEVEL[:5]:

        def joint(z, y=y):
            return norm.logpdf(y, 0.3 + scale * z, 0.9) + standard.logpdf(z)

        mode = minimize_scalar(lambda z, f=joint: -f(z), bracket=(-1.0, 1.0), tol=1e-12).x
        h = 1e-3
        around = np.array([joint(mode + k * h) for k in range(-3, 4)])
        curvature = around @ np.array([2, -27, 270, -490, 270, -27, 2]) / (180 * h**2)
        expected += joint(mode) - 0.5 * np.log(-curvature) + 0.5 * np.log(2 * np.pi)
    assert found.value(np.log([scale])) == pytest.approx(expected, abs=1e-7)
