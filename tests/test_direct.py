"""Interpreted functions as plain NumPy calls: the same numbers to the last bit, and the same checks."""

import mpmath
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import special

import mle_pp as mle
from mle_pp import backends, ufuncs
from mle_pp.direct import translate
from mle_pp.objective import ModelObjective
from models import GALLERY


def often(function, *arguments):
    """Results of the first call and of one long after."""
    results = [function(*arguments) for _ in range(backends._OFTEN + 2)]
    return results[0], results[-1]


@pytest.mark.parametrize("name", [name for name, entry in GALLERY.items() if not entry.latent])
def test_a_gallery_model_has_the_same_derivatives_in_all_calls(name):
    model = GALLERY[name].build()
    found = ModelObjective(model, mle.roles(model))
    x = found.parameters.initial + np.random.RandomState(3).normal(0, 0.1, found.size)
    for first, later in zip(*often(found.derivatives, x), strict=True):
        np.testing.assert_array_equal(first, later)
    if not found.axes.blocks:
        weighted = found.weighted(np.random.RandomState(4).randint(0, 3, found.axes.size))
        for first, later in zip(*often(weighted.value_gradient, x), strict=True):
            np.testing.assert_array_equal(first, later)
        other = found.weighted(np.ones(found.axes.size))
        assert other.value(x) == pytest.approx(found.value(x), rel=1e-12)


def test_it_is_really_translated():
    model = GALLERY["negative_binomial_regression"].build()
    found = ModelObjective(model, mle.roles(model))
    often(found.value_gradient, found.parameters.initial)
    assert found._functions.plain._value_gradient._translated is not None


def test_results_are_nobody_elses_memory():
    x = pt.vector("x", dtype="float64")
    function = backends.build([x], [x, x[::2], x.dimshuffle("x", 0), pt.constant(np.ones(3)), pt.second(x + 1, x)])
    given = np.arange(4.0)
    _, results = often(function, given)
    assert function._translated is not None
    for result in results:
        result += 1
    np.testing.assert_array_equal(given, np.arange(4.0))
    np.testing.assert_array_equal(function(given)[3], np.ones(3))


def test_other_shapes_are_checked_by_pytensor():
    x, y = pt.vector("x", dtype="float64"), pt.vector("y", dtype="float64")
    function = backends.build([x, y], [x * y])
    often(function, np.ones(3), np.ones(3))
    assert function._translated is not None
    np.testing.assert_array_equal(function(np.ones(2), np.ones(2))[0], np.ones(2))
    with pytest.raises(ValueError, match="broadcast"):
        function(np.ones(3), np.ones(1))


def test_data_may_be_changed():
    data = pytensor.shared(np.arange(3.0))
    x = pt.vector("x", dtype="float64")
    function = backends.build([x], [x + data])
    often(function, np.zeros(3))
    data.set_value(np.array([5.0, 6.0, 7.0]))
    np.testing.assert_array_equal(function(np.zeros(3))[0], [5, 6, 7])
    data.set_value(np.array([5.0, 6.0]))
    np.testing.assert_array_equal(function(np.zeros(2))[0], [5, 6])


def test_what_cannot_be_translated_stays():
    x = pt.vector("x", dtype="float64")
    total = pytensor.scan(
        lambda value, before: before + value, sequences=x, outputs_info=pt.zeros((), "float64"), return_updates=False
    )
    function = backends.build([x], [total])
    first, later = often(function, np.arange(4.0))
    np.testing.assert_array_equal(first[0], later[0])
    assert function._translated is None
    assert translate(function._compiled, [np.arange(4.0)]) is None


@pytest.mark.parametrize("x", [1e-8, 0.3, 1.0, 9.99, 10.0, 25.5, 1e6, 1e12])
def test_trigamma(x):
    exact = float(mpmath.psi(1, mpmath.mpf(x)))
    assert float(ufuncs.trigamma(np.array([x]))[0]) == pytest.approx(exact, rel=2e-15)


def test_other_functions_of_scalars():
    np.testing.assert_allclose(ufuncs.trigamma(np.array([-0.5, 2.0])), special.polygamma(1, [-0.5, 2.0]), rtol=1e-14)
    x = np.array([-800.0, -1.0, 0.0, 40.0, 800.0])
    np.testing.assert_allclose(ufuncs.softplus(x), [0, np.log1p(np.exp(-1)), np.log(2), 40, 800], rtol=1e-15)
    np.testing.assert_array_equal(ufuncs.second(np.ones((2, 1)), np.arange(3.0)), [[0, 1, 2]] * 2)
