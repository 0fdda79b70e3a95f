"""The optimizers on plain functions: the trust-region problem, invariance under scaling, saddles, edges, fallbacks."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mle_pp.linalg import ScaledEigen
from mle_pp.optimize import METHODS, Stop, check_method, maximize, run_starts
from mle_pp.optimize.methods import suitable
from mle_pp.optimize.newton import newton, scoring, trust_region_step
from mle_pp.optimize.optimum import Optimum
from mle_pp.optimize.quasi import quasi_newton


class Function:
    """An objective of a formula and its derivatives, in units of one's own: x = scale · z."""

    def __init__(self, value, gradient, hessian, size, scale=1.0, information=None):
        self._value, self._gradient, self._hessian, self._information = value, gradient, hessian, information
        self.size, self.scale, self.calls = size, np.broadcast_to(scale, size), 0
        self.units = np.zeros(size)
        self.has_information = information is not None
        self.is_costly, self.default_starts = False, 3

    def value(self, x):
        self.calls += 1
        with np.errstate(all="ignore"):
            value = self._value(x / self.scale)
        return value if np.isfinite(value) else -np.inf

    def value_gradient(self, x):
        return self.value(x), self._gradient(x / self.scale) / self.scale

    def hessian(self, x):
        return self._hessian(x / self.scale) / np.outer(self.scale, self.scale)

    def derivatives(self, x):
        return *self.value_gradient(x), self.hessian(x)

    def product(self, x, vector):
        return self.hessian(x) @ vector

    def information(self, x):
        return self._information(x / self.scale) / np.outer(self.scale, self.scale)

    def residuals(self, x, family=None):
        return iter(())


def rosenbrock(scale=1.0):
    def gradient(z):
        a, b = z
        return np.array([400 * a * (b - a**2) + 2 * (1 - a), -200 * (b - a**2)])

    def hessian(z):
        a, b = z
        return -np.array([[1200 * a**2 - 400 * b + 2, -400 * a], [-400 * a, 200]])

    def information(z):
        """Of its two squares, as Gauss and Newton have it."""
        J = np.array([[-20 * z[0], 10], [-1, 0]])
        return 2 * J.T @ J

    return Function(
        lambda z: -100 * (z[1] - z[0] ** 2) ** 2 - (1 - z[0]) ** 2, gradient, hessian, 2, scale, information
    )


def chain(size):
    """A coupled convex function of many variables: Σ cosh(x_i − i/n) + Σ (x_i − x_{i−1})²."""
    target = np.arange(size) / size
    D = np.diff(np.eye(size), axis=0)
    return Function(
        lambda x: -np.sum(np.cosh(x - target)) - np.sum((D @ x) ** 2),
        lambda x: -np.sinh(x - target) - 2 * D.T @ D @ x,
        lambda x: -np.diag(np.cosh(x - target)) - 2 * D.T @ D,
        size,
    )


# -- the trust-region problem -------------------------------------------------------------------------------------


def quadratic(g, w, p):
    return g @ p + 0.5 * p @ (w * p)


def assert_is_the_minimizer(g, w, radius):
    """By its conditions, which are necessary and sufficient (Nocedal and Wright, theorem 4.1), and by brute force."""
    p = trust_region_step(g, w, radius)
    assert np.linalg.norm(p) <= radius * (1 + 1e-8)
    rng = np.random.RandomState(0)
    tries = rng.normal(size=(2000, len(g)))
    tries *= radius / np.linalg.norm(tries, axis=1, keepdims=True)
    tries = np.vstack([tries, tries * rng.uniform(size=(2000, 1)), -radius * g / max(np.linalg.norm(g), 1e-300)])
    best = min(quadratic(g, w, t) for t in tries)
    value = quadratic(g, w, p)
    size = np.abs(g) @ np.abs(p) + 0.5 * np.abs(w) @ p**2
    assert value <= best + 1e-7 * size + 1e-14
    if np.linalg.norm(p) < radius * (1 - 1e-6):
        np.testing.assert_allclose(w * p, -g, atol=1e-7 * (1 + np.abs(g).max()))
    else:
        shift = -(p @ (g + w * p)) / (p @ p)
        assert shift >= -1e-7 * (1 + np.abs(w).max())
        assert w.min() + shift >= -1e-7 * (1 + np.abs(w).max())
        np.testing.assert_allclose(g + (w + shift) * p, 0, atol=1e-6 * (np.abs(g).max() + np.abs(w).max() * radius))


numbers = st.floats(-10, 10).map(lambda v: 0.0 if abs(v) < 1e-3 else v)


@hypothesis.given(st.integers(1, 4).flatmap(lambda n: st.tuples(*[hnp.arrays(float, n, elements=numbers)] * 2)),
                  st.floats(0.01, 100))  # fmt: skip
@hypothesis.settings(max_examples=60)
def test_trust_region_step(problem, radius):
    g, w = problem
    hypothesis.assume(np.any(g != 0) or w.min() < 0)
    # A direction without slope and curvature is left alone
    hypothesis.assume(np.all((g != 0) | (w != 0)))
    assert_is_the_minimizer(g, w, radius)


def test_trust_region_step_beyond_the_squares_of_floating_point():
    np.testing.assert_allclose(trust_region_step(np.array([3e200, -4e200]), np.ones(2), 1.0), [-0.6, 0.8])


@pytest.mark.parametrize(
    ("g", "w"),
    [
        ([1.0, 0.0], [2.0, -1.0]),  # the hard case: no slope along the negative curvature
        ([0.0, 0.0], [1.0, -3.0]),  # a saddle
        ([1e-9, 1.0], [-1.0, 5.0]),
        ([1.0, 1.0], [1e-6, 1e6]),
        ([3.0], [0.0]),
    ],
)
@pytest.mark.parametrize("radius", [0.1, 1.0, 50.0])
def test_hard_cases(g, w, radius):
    assert_is_the_minimizer(np.array(g), np.array(w), radius)


# -- newton and scoring -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [newton, scoring], ids=lambda f: f.__name__)
def test_rosenbrock(method):
    found = method(rosenbrock(), np.array([-1.2, 1.0]))
    np.testing.assert_allclose(found.x, 1, rtol=1e-9)
    assert found.stop is Stop.SMALL_DECREMENT
    assert found.decrement < 1e-15
    assert np.linalg.eigvalsh(found.hessian).max() < 0


@pytest.mark.parametrize("scale", [(2.0**20, 1.0), (2.0**-30, 2.0**25), (2.0**10, 2.0**10)])
@pytest.mark.parametrize("method", [newton, scoring], ids=lambda f: f.__name__)
def test_the_path_does_not_depend_on_units(method, scale):
    """Powers of two, so that not even rounding differs."""
    plain, scaled = rosenbrock(), rosenbrock(np.array(scale))
    start = np.array([-1.2, 1.0])
    one, other = method(plain, start), method(scaled, start * scale)
    assert (one.iterations, one.evaluations) == (other.iterations, other.evaluations)
    np.testing.assert_allclose(other.x / scale, one.x, rtol=1e-12)
    assert one.decrement == pytest.approx(other.decrement, rel=1e-6, abs=1e-25)


def double_well():
    """−(x² − 1)² − y²: two maxima, and a saddle at (0, 0)."""
    return Function(
        lambda z: -((z[0] ** 2 - 1) ** 2) - z[1] ** 2,
        lambda z: np.array([-4 * z[0] * (z[0] ** 2 - 1), -2 * z[1]]),
        lambda z: np.diag([-12 * z[0] ** 2 + 4, -2.0]),
        2,
    )


def test_saddle_is_left():
    found = newton(double_well(), np.zeros(2))
    np.testing.assert_allclose(np.abs(found.x), [1, 0], atol=1e-8)


def test_a_search_ends_where_it_comes_near_a_known_maximum():
    objective = double_well()
    known = newton(objective, np.array([0.8, 0.3]))
    alone, again = (newton(objective, np.array([1.3, 0.4]), ends) for ends in ((), [known]))
    np.testing.assert_allclose(alone.x, [1, 0], atol=1e-8)
    np.testing.assert_array_equal(again.x, known.x)
    assert again.iterations < alone.iterations
    other = newton(objective, np.array([-1.3, 0.4]), [known])
    np.testing.assert_allclose(other.x, [-1, 0], atol=1e-8)


def test_a_known_saddle_is_no_end():
    objective, at = double_well(), np.zeros(2)
    saddle = Optimum(at, *objective.derivatives(at), Stop.SMALL_DECREMENT, "newton", 1, 1, at)
    found = newton(objective, np.array([1e-9, 0.5]), [saddle])
    np.testing.assert_allclose(np.abs(found.x), [1, 0], atol=1e-8)


def test_a_peak_on_the_way_to_a_known_maximum_is_found():
    """−z²/2000, with a peak at −2 of which nothing is seen from −4."""

    def peak(z):
        return 5 * np.exp(-((z + 2) ** 2) / 0.18)

    objective = Function(
        lambda z: -(z[0] ** 2) / 2000 + peak(z[0]),
        lambda z: -z / 1000 - peak(z) * (z + 2) / 0.09,
        lambda z: np.diag(-1e-3 + peak(z) * ((z + 2) ** 2 / 0.09**2 - 1 / 0.09)),
        1,
    )
    known = newton(objective, np.array([0.3]))
    np.testing.assert_allclose(known.x, 0, atol=1e-4)
    np.testing.assert_allclose(newton(objective, np.array([-4.0]), [known]).x, -2, atol=1e-3)


def test_edges_of_the_support_are_steps_that_failed():
    """log(1 − z) + 3 log z: undefined outside (0, 1)."""
    objective = Function(
        lambda z: np.log1p(-z[0]) + 3 * np.log(z[0]),
        lambda z: np.array([-1 / (1 - z[0]) + 3 / z[0]]),
        lambda z: np.array([[-1 / (1 - z[0]) ** 2 - 3 / z[0] ** 2]]),
        1,
    )
    for start in (1e-6, 0.5, 1 - 1e-9):
        np.testing.assert_allclose(newton(objective, np.array([start])).x, 0.75, rtol=1e-8)
    assert newton(objective, np.array([2.0])).stop is Stop.NOT_FINITE


def test_iterations_are_limited():
    found = newton(rosenbrock(), np.array([-1.2, 1.0]), max_iterations=3)
    assert found.stop is Stop.ITERATIONS
    assert found.iterations == 3


def test_quasi_newton_for_many_variables():
    objective = chain(500)
    assert suitable(objective) == ["quasi-newton"]
    found = maximize(objective, np.zeros(500))
    assert found.method == "L-BFGS → trust-ncg"
    np.testing.assert_allclose(objective.value_gradient(found.x)[1], 0, atol=1e-8)
    exact = newton(chain(40), np.zeros(40))
    np.testing.assert_allclose(quasi_newton(chain(40), np.zeros(40)).x, exact.x, atol=1e-8)


# -- the table, and starts ----------------------------------------------------------------------------------------


def test_methods():
    assert set(METHODS) == {"newton", "scoring", "secant", "quasi-newton"}
    assert suitable(rosenbrock()) == ["newton", "scoring"]
    assert suitable(chain(3)) == ["newton"]
    check_method("auto")
    with pytest.raises(ValueError, match="'newton', 'scoring', 'secant', 'quasi-newton'"):
        check_method("bfgs")
    for method in METHODS:
        np.testing.assert_allclose(maximize(rosenbrock(), np.array([-1.2, 1.0]), method).x, 1, rtol=1e-5)


def test_starts_are_seeded():
    def begins(seed, starts=4):
        runs = run_starts(rosenbrock(), np.array([-1.2, 1.0]), np.array([-1.2, 1.0]), starts, seed, "auto")
        return np.array([run.start for run in runs])

    np.testing.assert_array_equal(begins(1), begins(1))
    np.testing.assert_array_equal(begins(None), begins(None))
    assert np.any(begins(1)[1:] != begins(2)[1:])
    np.testing.assert_array_equal(begins(1)[0], [-1.2, 1.0])
    # More starts add to the fewer
    np.testing.assert_array_equal(begins(1, starts=6)[:4], begins(1))


def test_three_starts_and_more_where_they_disagree():
    runs = run_starts(chain(3), np.zeros(3), np.zeros(3), "auto", None, "auto")
    assert [run.origin for run in runs] == ["initial point", "jittered", "jittered"]
    waves = Function(
        lambda z: np.cos(3 * z[0]) - z[0] ** 2 / 50,
        lambda z: np.array([-3 * np.sin(3 * z[0]) - z[0] / 25]),
        lambda z: np.array([[-9 * np.cos(3 * z[0]) - 1 / 25]]),
        1,
    )
    runs = run_starts(waves, np.array([9.0]), np.array([9.0]), "auto", None, "auto")
    assert len(runs) == 60  # of the first twelve, only one reached the highest of these waves
    assert max(run.optimum.value for run in runs) > runs[0].optimum.value


def test_scaled_eigen():
    H = np.array([[4e8, 2e4], [2e4, 9.0]])
    eigen = ScaledEigen.of(H)
    np.testing.assert_allclose(eigen.scale, [2e4, 3])
    rebuilt = (eigen.scale[:, None] * eigen.vectors) * eigen.values @ (eigen.scale[:, None] * eigen.vectors).T
    np.testing.assert_allclose(rebuilt, H)
    x = np.array([0.3, -2.0])
    np.testing.assert_allclose(eigen.unrotate(eigen.rotate(H @ x) / eigen.values), x)
