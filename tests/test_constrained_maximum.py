"""Maxima under constraints, against closed forms and SciPy, on functions and models that are hard in different ways."""

import numpy as np
import pymc as pm
import pytest
from scipy.optimize import minimize, rosen, rosen_der, rosen_hess

import mle_pp as mle
from mle_pp.intervals.constrained import constrained_maximum
from mle_pp.quantities import quantity


class Function:
    """A function with its derivatives, as an objective or as a quantity."""

    def __init__(self, value, gradient, hessian, size):
        self.value, self.gradient, self.hessian, self.size = value, gradient, hessian, size
        self.units = np.zeros(size)

    def value_gradient(self, x):
        return self.value(x), self.gradient(x)

    def derivatives(self, x):
        return self.value(x), self.gradient(x), self.hessian(x)


def quadratic(matrix, center):
    return Function(
        lambda x: -0.5 * (x - center) @ matrix @ (x - center),
        lambda x: -matrix @ (x - center),
        lambda x: -matrix,
        len(center),
    )


def linear(weights):
    size = len(weights)
    return Function(lambda x: weights @ x, lambda x: weights, lambda x: np.zeros((size, size)), size)


def valley(size):
    return Function(lambda x: -rosen(x), lambda x: -rosen_der(x), lambda x: -rosen_hess(x), size)


def radius(size):
    return Function(lambda x: x @ x, lambda x: 2 * x, lambda x: 2 * np.eye(size), size)


def test_quadratic_and_linear_has_a_closed_form():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5, 5))
    matrix, center, weights = root @ root.T + np.eye(5), rng.normal(size=5), rng.normal(size=(2, 5))
    values = np.array([1.0, -2.0])
    found = constrained_maximum(quadratic(matrix, center), [linear(w) for w in weights], values, np.zeros(5))
    spread = np.linalg.solve(matrix, weights.T)
    expected = np.linalg.solve(weights @ spread, values - weights @ center)
    assert found.converged
    np.testing.assert_allclose(found.x, center + spread @ expected, rtol=1e-10)
    np.testing.assert_allclose(found.multipliers, -expected, rtol=1e-10)
    np.testing.assert_allclose(found.value, -0.5 * (values - weights @ center) @ expected, rtol=1e-10)


def test_as_many_quantities_as_coordinates():
    found = constrained_maximum(
        valley(2), [linear(np.array([1.0, 0.0])), linear(np.array([1.0, 2.0]))], [0.5, 3.0], np.zeros(2)
    )
    assert found.converged
    np.testing.assert_allclose(found.x, [0.5, 1.25], rtol=1e-12)


@pytest.mark.parametrize("start", [[-1.2, 1.0, -1.0], [3.0, -2.0, 1.0], [0.1, 0.1, 0.1]])
@pytest.mark.parametrize("target", [0.5, 2.0, 9.0])
def test_a_curved_valley_on_a_sphere(start, target):
    found = constrained_maximum(valley(3), [radius(3)], [target], np.array(start))
    assert found.converged
    assert found.x @ found.x == pytest.approx(target, rel=1e-12)
    # Stationary on the sphere, and at least as good as what SciPy finds from there
    gradient = -rosen_der(found.x)
    np.testing.assert_allclose(gradient, found.multipliers[0] * 2 * found.x, atol=1e-7 * (1 + np.abs(gradient).max()))
    other = minimize(
        rosen,
        found.x,
        jac=rosen_der,
        method="SLSQP",
        options={"ftol": 1e-12},
        constraints={"type": "eq", "fun": lambda x: x @ x - target, "jac": lambda x: 2 * x},
    )
    assert found.value >= -other.fun - 1e-8


def test_all_curvature_may_come_from_the_quantity():
    """A linear function on a sphere is largest in its own direction."""
    weights = np.array([1.0, -2.0, 2.0])
    found = constrained_maximum(linear(weights), [radius(3)], [4.0], np.array([1.0, 1.0, 1.0]))
    assert found.converged
    np.testing.assert_allclose(found.x, 2 * weights / 3, rtol=1e-8)
    assert found.multipliers[0] == pytest.approx(3 / 4, rel=1e-8)


def test_multipliers_are_the_slopes_of_the_maximum():
    def best(target):
        return constrained_maximum(valley(3), [radius(3)], [target], np.full(3, 0.5))

    step = 1e-4
    slope = (best(2 + step).value - best(2 - step).value) / (2 * step)
    assert best(2.0).multipliers[0] == pytest.approx(slope, rel=1e-5)


def test_units_do_not_matter():
    """A factor of 10⁸ between coordinates, and of 10⁻⁶ in the quantity."""
    scale = np.array([1.0, 1e8])
    stretched = Function(
        lambda x: -rosen(x * scale),
        lambda x: -rosen_der(x * scale) * scale,
        lambda x: -rosen_hess(x * scale) * np.outer(scale, scale),
        2,
    )
    ring = Function(
        lambda x: 1e-6 * np.sum((x * scale) ** 2),
        lambda x: 2e-6 * x * scale**2,
        lambda x: 2e-6 * np.diag(scale**2),
        2,
    )
    start = np.array([-1.2, 1.0])
    plain = constrained_maximum(valley(2), [radius(2)], [3.0], start)
    found = constrained_maximum(stretched, [ring], [3e-6], start / scale)
    assert found.converged
    np.testing.assert_allclose(found.x * scale, plain.x, rtol=1e-8)
    assert found.multipliers[0] == pytest.approx(1e6 * plain.multipliers[0], rel=1e-7)


def test_points_outside_the_support_are_stepped_back_from():
    def value(x):
        return np.log(x[0]) - x[0] - x[1] ** 2 if x[0] > 0 else -np.inf

    half = Function(
        value,
        lambda x: np.array([1 / x[0] - 1, -2 * x[1]]),
        lambda x: np.diag([-1 / x[0] ** 2, -2.0]),
        2,
    )
    found = constrained_maximum(half, [linear(np.array([1.0, 1.0]))], [-3.0], np.array([0.01, 5.0]))
    assert found.converged
    # 1/a − 1 = −2b = λ with a + b = −3
    assert found.x[0] > 0
    assert 1 / found.x[0] - 1 == pytest.approx(-2 * found.x[1], rel=1e-9)


@pytest.mark.parametrize("start", [[np.nan, 0.0], [np.inf, 1.0]])
def test_no_start_no_result(start):
    found = constrained_maximum(valley(2), [radius(2)], [1.0], np.array(start))
    assert not found.converged
    assert found.value == -np.inf


def test_a_value_that_cannot_be_reached_is_not_claimed():
    found = constrained_maximum(valley(2), [radius(2)], [-1.0], np.array([0.5, 0.5]))
    assert not found.converged


def test_of_a_model():
    """Normal data: at a given coefficient of variation the mean has a closed form."""
    y = np.array([1.0, 2.0, 3.0, 6.0, 2.5])
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10)
        pm.Normal("y", mu, sigma, observed=y)
    est = mle.find_MLE(model)
    parameters = est._objective.parameters
    c = 0.9
    found = constrained_maximum(est._objective, [quantity(parameters, "sigma / mu")], [c], est._optimum.x)
    # −n log m − Σ(y/m − 1)²/(2c²): n m² + (Σy/c²) m − Σy²/c² = 0
    mean = np.max(np.roots([y.size, y.sum() / c**2, -np.sum(y**2) / c**2]))
    assert found.converged
    np.testing.assert_allclose(parameters.constrained(found.x), [mean, c * mean], rtol=1e-10)
