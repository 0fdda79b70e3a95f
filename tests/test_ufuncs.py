"""NumPy functions for scalar operations: the digits of mpmath, and that the interpreted backend uses them."""

import mpmath
import numpy as np
import pytensor.tensor as pt
import pytest
from pytensor.graph.traversal import ancestors
from pytensor.tensor.elemwise import Elemwise

from mle_pp import backends, ufuncs

SIZES = np.geomspace(1e-8, 600, 40)


@pytest.mark.parametrize(
    ("function", "exact", "x"),
    [
        (ufuncs.trigamma, lambda x: mpmath.psi(1, x), SIZES),
        (ufuncs.softplus, lambda x: mpmath.log1p(mpmath.exp(x)), np.concatenate([-SIZES, SIZES])),
        (ufuncs.log1mexp, lambda x: mpmath.log(-mpmath.expm1(x)), -SIZES),
    ],
)
def test_digits(function, exact, x):
    with mpmath.workdps(320):
        expected = np.array([float(exact(mpmath.mpf(float(value)))) for value in x])
    np.testing.assert_allclose(function(x), expected, rtol=1e-14)


def test_clip_and_second_broadcast():
    np.testing.assert_array_equal(ufuncs.clip(np.arange(4.0), np.array(1.0), np.array(2.0)), [1, 1, 2, 2])
    filled = ufuncs.second(np.zeros((2, 3)), np.arange(3.0))
    np.testing.assert_array_equal(filled, [[0, 1, 2], [0, 1, 2]])


def test_interpreted_functions_use_them_and_agree_with_pytensor():
    x = pt.vector("x", dtype="float64")
    outputs = [pt.tri_gamma(x), pt.softplus(x), pt.log1mexp(-x), pt.clip(x, 1.0, 2.0), pt.second(pt.zeros((2, 3)), x)]
    values = np.array([0.5, 1.5, 40.0])
    found = backends.build([x], outputs)(values)
    for got, graph in zip(found, outputs, strict=True):
        assert isinstance(graph.owner.op, Elemwise)
        inputs = [v.eval({x: values} if x in ancestors([v]) else {}, mode="FAST_COMPILE") for v in graph.owner.inputs]
        np.testing.assert_allclose(got, np.vectorize(graph.owner.op.scalar_op.impl)(*inputs), rtol=1e-14)
