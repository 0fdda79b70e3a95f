"""The integrated likelihood in 40 digits, on every structure: densities, mode, determinant written out here.

Nothing of the library is used for the expected numbers: the joint density is a sum of textbook log-densities, its mode
is found by Newton's method on derivatives written by hand, the determinant is mpmath's. Differences of it over 1e-10
are exact to 20 digits.
"""

import mpmath as mp
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest

import mle_pp as mle
from mle_pp.marginal import objective_of

G, H = [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 1, 1, 2, 0]
X = [0.3, -1.2, 0.7, 1.1, -0.4, 0.0, 0.9, -0.8]
Y = [2, 0, 3, 4, 1, 0, 2, 1]
KERNEL = [[float(np.exp(-0.1 * (i - j) ** 2)) + 0.1 * (i == j) for j in range(8)] for i in range(8)]


def counts(eta):
    pm.Poisson("y", pt.exp(eta), observed=Y)


def block():
    """Intercepts and slopes, correlated."""
    with pm.Model() as model:
        b, s, r = pm.Normal("b"), pm.LogNormal("s", shape=2), pm.Normal("r")
        root = pt.stacklists([[s[0], 0.0], [r, s[1]]])
        u = pm.MvNormal("u", np.zeros(2), chol=root, shape=(3, 2))
        counts(b + u[G, 0] + u[G, 1] * np.array(X))
    return model


def crossed():
    with pm.Model() as model:
        b, s, t = pm.Normal("b"), pm.LogNormal("s"), pm.LogNormal("t")
        counts(b + pm.Normal("u", 0, s, shape=3)[G] + pm.Normal("v", 0, t, shape=3)[H])
    return model


def chain():
    with pm.Model() as model:
        b, rho, s = pm.Normal("b"), pm.Normal("rho"), pm.LogNormal("s")
        counts(b + pm.AR("a", rho=[rho], sigma=s, init_dist=pm.Normal.dist(0, 1), shape=8))
    return model


def dense():
    with pm.Model() as model:
        b, s = pm.Normal("b"), pm.LogNormal("s")
        counts(b + pm.MvNormal("f", np.zeros(8), s**2 * np.array(KERNEL), shape=8))
    return model


def indicator(index, columns, weights=None):
    return mp.matrix([[(weights[i] if weights else 1) * (k == j) for j in range(columns)] for i, k in enumerate(index)])


def beside(*parts):
    return mp.matrix([[value for part in parts for value in part[i, :]] for i in range(parts[0].rows)])


def block_prior(x):
    """Design of the latents (intercepts, then slopes) and their covariance at (b, log s₀, log s₁, r)."""
    s, t, r = mp.exp(x[1]), mp.exp(x[2]), x[3]
    small = [[s * s, s * r], [s * r, r * r + t * t]]
    cov = mp.matrix([[small[i // 3][j // 3] * (i % 3 == j % 3) for j in range(6)] for i in range(6)])
    return beside(indicator(G, 3), indicator(G, 3, X)), cov


def crossed_prior(x):
    return beside(indicator(G, 3), indicator(H, 3)), mp.diag([mp.exp(2 * x[1])] * 3 + [mp.exp(2 * x[2])] * 3)


def chain_prior(x):
    """a₀ ~ N(0, 1), a_k = ρ a_{k−1} + s ε_k: the covariance of what is linear in the shocks."""
    steps = mp.matrix([[x[1] ** (i - j) if i >= j else 0 for j in range(8)] for i in range(8)])
    return mp.eye(8), steps * mp.diag([mp.mpf(1)] + [mp.exp(2 * x[2])] * 7) * steps.T


def dense_prior(x):
    return mp.eye(8), mp.exp(2 * x[1]) * mp.matrix(KERNEL)


def marginal(prior, x):
    """Laplace's approximation of log ∫ Π Poisson(y; exp(b + Zu)) N(u; 0, Σ) du."""
    Z, cov = prior(x)
    precision, u = cov**-1, mp.zeros(cov.rows, 1)
    for _ in range(60):
        mean = (Z * u).apply(lambda e: mp.exp(x[0] + e))
        slope = Z.T * (mp.matrix(Y) - mean) - precision * u
        bend = Z.T * mp.diag(list(mean)) * Z + precision
        step = mp.lu_solve(bend, slope)
        u = u + step
        if mp.norm(step) < mp.mpf(10) ** -36:
            break
    eta = Z * u
    joint = sum(y * (x[0] + e) - mp.exp(x[0] + e) - mp.log(mp.factorial(y)) for y, e in zip(Y, eta, strict=True))
    joint -= ((u.T * precision * u)[0] + mp.log(mp.det(cov))) / 2
    return joint - mp.log(mp.det(bend)) / 2


STRUCTURES = {
    "block": (block, block_prior, [0.2, -0.4, -0.9, 0.15]),
    "crossed": (crossed, crossed_prior, [0.3, -0.5, -0.2]),
    "chain": (chain, chain_prior, [0.4, 0.6, -0.7]),
    "dense": (dense, dense_prior, [0.1, -0.3]),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_value_and_gradient(name):
    build, prior, x = STRUCTURES[name]
    model = build()
    found, size = objective_of(model, mle.roles(model)), len(x)
    value, gradient = found.value_gradient(np.array(x))
    with mp.workdps(40):
        at, h = [mp.mpf(v) for v in x], mp.mpf(10) ** -10

        def shifted(k, sign):
            return marginal(prior, [v + sign * h * (i == k) for i, v in enumerate(at)])

        expected = float(marginal(prior, at))
        differences = [float((shifted(k, 1) - shifted(k, -1)) / (2 * h)) for k in range(size)]
    assert value == pytest.approx(expected, abs=1e-10)
    np.testing.assert_allclose(gradient, differences, rtol=1e-8)
