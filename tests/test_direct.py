"""Interpreted functions as plain NumPy calls: the same numbers to the last bit, and the same checks."""

import pickle

import mpmath
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph
from scipy import special

import mle_pp as mle
from mle_pp import backends, direct, inblocks, ufuncs
from mle_pp.direct import translate
from mle_pp.objective import ModelObjective
from models import GALLERY


def often(function, *arguments):
    """Results of the first call and of one long after."""
    results = [function(*arguments) for _ in range(3)]
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
    constant = pt.constant(np.ones(3))
    function = backends.build(
        [x], [x, x[::2], x.dimshuffle("x", 0), constant, pt.second(x + 1, x), constant / 2, constant[:2] / 2]
    )
    given = np.arange(4.0)
    _, results = often(function, given)
    assert function._translated is not None
    for result in results:
        result += 1
    np.testing.assert_array_equal(given, np.arange(4.0))
    np.testing.assert_array_equal(function(given)[3], np.ones(3))
    np.testing.assert_array_equal(function(given)[5], [0.5, 0.5, 0.5])


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


def test_graphs_within_a_graph():
    x, a, b = (pt.vector(name, dtype="float64") for name in "xab")
    inner = OpFromGraph([a], [pt.exp(a) + 1, a])
    outer = OpFromGraph([a, b], [inner(a)[0] * inner(b)[0] + inner(a + 1)[1], pt.constant(2.0)])
    first, two = outer(x, 2 * x)
    function = backends.build([x], [first, two, outer(2 * x, x)[0], inner(x)[1]])
    given = np.arange(4.0)
    for results in often(function, given):
        e, f = np.exp(given) + 1, np.exp(2 * given) + 1
        for found, expected in zip(results, (e * f + given + 1, 2.0, e * f + 2 * given + 1, given), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert function._translated is not None


def test_an_input_may_be_computed_from_others_elsewhere():
    matrix = pt.matrix("matrix", dtype="float64")
    values, vectors = pt.linalg.eigh(matrix)
    function = backends.build([matrix, values], [2 * values, abs(vectors).sum(axis=0)])
    for results in often(function, np.diag([1.0, 2.0]), np.array([10.0, 20.0])):
        np.testing.assert_array_equal(results[0], [20, 40])
        np.testing.assert_array_equal(results[1], [1, 1])
    assert function._translated is not None


def test_warnings_are_nobodys_business():
    """A warning is an error in these tests."""
    matrix = pt.matrix("matrix", dtype="float64")
    function = backends.build([matrix], [pt.linalg.solve(matrix, pt.ones(2))])
    singular = np.array([[1.0, 1.0], [1.0, np.nextafter(1.0, 2.0)]])
    first, later = often(function, singular)
    np.testing.assert_array_equal(first[0], later[0])
    assert function._translated is not None


def test_deep_graphs_are_pickled():
    x = pt.vector("x", dtype="float64")
    deep = x
    for _ in range(2000):
        deep = pt.sin(deep) + 1
    function = backends.build([x], [deep])
    again = pickle.loads(pickle.dumps(function))
    np.testing.assert_array_equal(again(np.arange(3.0))[0], function(np.arange(3.0))[0])


def test_data_may_be_given_where_nothing_is_translated():
    x, data = pt.vector("x", dtype="float64"), pytensor.shared(np.ones(4))
    total = pytensor.scan(
        lambda value, last: last + value, sequences=[x * data], outputs_info=[pt.zeros(())], return_updates=False
    )
    function = backends.build([x, data], [total])
    for (result,) in often(function, np.arange(4.0), np.full(4, 2.0)):
        np.testing.assert_array_equal(result, [0, 2, 6, 12])


def test_what_cannot_be_translated_stays():
    x = pt.vector("x", dtype="float64")
    total = pytensor.scan(
        lambda value, before: before + value, sequences=x, outputs_info=pt.zeros((), "float64"), return_updates=False
    )
    function = backends.build([x], [total])
    first, later = often(function, np.arange(4.0))
    np.testing.assert_array_equal(first[0], later[0])
    assert function._translated is None
    assert function._graph is None


# -- large arrays: operations joined, block by block ---------------------------------------------------------------

# Neither a multiple of the block nor of eight
SIZE = 50_003


def in_blocks(inputs, outputs, *arguments):
    """Its function, joined and not, on arguments; what PyTensor says; and the number of joined runs."""
    function = backends.build(inputs, outputs)
    runs = []
    together = inblocks._together

    def count(calls, *rest):
        call = together(calls, *rest)
        runs.append((len(calls), len(call.outputs)))
        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inblocks, "_together", count)
        blocked = translate(function._graph, arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inblocks, "LARGE", 10**9)
        plain = translate(function._graph, arguments)
    for one, other, own in zip(blocked(arguments), plain(arguments), function._compiled(*arguments), strict=True):
        assert one.dtype == other.dtype == own.dtype
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, own)
    function._translated = blocked
    return function, runs


def vectors(count, size=SIZE):
    return [pt.vector(f"v{k}", dtype="float64") for k in range(count)], list(
        np.random.RandomState(0).normal(size=(count, size))
    )


def test_elementwise_operations_are_joined():
    (x, y), values = vectors(2)
    a = pt.scalar("a", dtype="float64")
    z = pt.exp(a * x - y)
    # Some of it is needed outside, too, and sums are made on the way
    outputs = [z, pt.sum(z * x), pt.switch(x > 0, z, 1), pt.sqr(y).sum(), z[::2] + 1, x + pt.sum(z)]
    _, runs = in_blocks([x, y, a], outputs, *values, np.array(0.3))
    assert sum(count for count, _ in runs) >= 9


@pytest.mark.parametrize("size", [20_000, 32_768, 65_537, 123_456])
def test_sums_are_those_of_numpy(size):
    (x,), values = vectors(1, size)
    _, [run] = in_blocks([x], [pt.sum(pt.exp(3 * x))], *values)
    assert run == (3, 1)


def test_what_waits_for_a_sum_is_a_run_of_its_own():
    (x,), values = vectors(1)
    y = pt.exp(x)
    z = y / pt.sum(y)
    _, runs = in_blocks([x], [pt.sum(z * pt.log(z)), pt.sum(pt.sqr(z - pt.sum(z * x)))], *values)
    assert len(runs) == 3


def test_other_types():
    (x,), values = vectors(1)
    k = pt.vector("k", dtype="int64")
    single = pt.vector("single", dtype="float32")
    outputs = [x > k, k + 1, pt.switch(x > 0, k, 0), single * 2, single * x, pt.sum(k + k), pt.sum(single * single)]
    outputs += [pt.cast(x > 0, "float64") + 1, pt.and_(x > 0, k > 2), pt.switch(k > 1, single, x) * 2]
    in_blocks([x, k, single], outputs, *values, np.arange(SIZE) % 5, np.arange(SIZE, dtype="float32"))


def test_groups_and_sums_by_group():
    (x,), values = vectors(1)
    index = pt.vector("index", dtype="int64")
    u = pt.vector("u", dtype="float64")
    given = np.random.RandomState(1).randint(-700, 700, SIZE)
    z = pt.exp(x + u[index])
    sums = pt.inc_subtensor(pt.zeros_like(u)[index], z * x)
    blocked, [run] = in_blocks([x, index, u], [sums, pt.sum(z)], *values, given, np.arange(700.0))
    assert run[1] == 2
    # The check of indices is NumPy's
    with pytest.raises(IndexError):
        blocked(*values, np.where(given == 3, 700, given), np.arange(700.0))


def test_as_many_groups_as_rows():
    (x, u), values = vectors(2)
    index = pt.vector("index", dtype="int64")
    sums = pt.inc_subtensor(pt.zeros_like(u)[index], pt.exp(x) * u[index])
    _, runs = in_blocks([x, u, index], [sums * x, pt.sum(sums * u)], *values, np.arange(SIZE)[::-1].copy())
    assert len(runs) == 2


@pytest.mark.parametrize("shape", [(SIZE, 3), (3, SIZE), (SIZE, 30), (40, SIZE // 8), (5, 6, 2000)])
def test_matrices(shape):
    values = [np.random.RandomState(2).normal(size=shape), *(np.random.RandomState(3).normal(size=(2, max(shape))))]
    m = pt.tensor("m", dtype="float64", shape=(None,) * len(shape))
    v, w = vectors(2)[0]
    axis = int(np.argmax(shape))
    order = ["x"] * len(shape)
    order[axis] = 0
    z = pt.exp(m / 3 + (v * w).dimshuffle(*order))
    outputs = [z, *(pt.sum(z, axis=k) for k in range(len(shape))), pt.sum(z), pt.sum(m * m)]
    outputs += [pt.sqr(pt.sum(z, axis=1)), z.T + 1, pt.all(z > 0, axis=0), pt.max(z, axis=1)]
    _, runs = in_blocks([m, v, w], outputs, *values)
    assert runs


def test_one_number_may_stand_for_all():
    (x, y), values = vectors(2)
    one = pt.second(x, pt.constant(1.0))
    flag = pt.scalar("flag", dtype="bool")
    outputs = [pt.sum(one + one), one + one, pt.sum(pt.switch(flag, x + 1, 2.0)), pt.second(y * 2, x * 3)]
    outputs += [pt.inc_subtensor(pt.zeros(3)[pt.zeros_like(x, dtype="int64")], one * 3)]
    blocked, _ = in_blocks([x, y, flag], outputs, *values, np.array(True))
    assert blocked(*values, np.array(False))[2] == 2 * SIZE


def test_what_only_gives_its_shape_is_not_computed():
    (x,), values = vectors(1)
    function = backends.build([x], [pt.second(pt.exp(x) * 2, pt.constant(1.0))])
    calls, _, _ = direct._calls(function._graph, values)
    assert len(calls) == 1


def test_a_check_that_held_may_fail():
    (x,), values = vectors(1)
    y = pt.exp(x) - 0.001
    blocked, runs = in_blocks([x], [pt.switch(pt.all(y >= 0), pt.sum(y), -np.inf)], np.abs(values[0]))
    assert len(runs) == 1
    low = np.append(values[0][1:], -10.0)
    assert blocked(low) == [-np.inf]
    assert blocked(np.abs(low))[0] > 0


def test_large_results_are_nobody_elses_memory():
    (x, y), values = vectors(2)
    z = x * y
    blocked, _ = in_blocks([x, y], [z, z, z + 1, pt.second(x, y), y, z[1:]], *values)
    kept = [value.copy() for value in values]
    first = blocked(*values)
    before = [result.copy() for result in blocked(*values)]
    for result in first:
        result += 1
    for result, expected in zip(blocked(*values), before, strict=True):
        np.testing.assert_array_equal(result, expected)
    for value, expected in zip(values, kept, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_arrays_within_may_have_other_shapes_later():
    (x,), values = vectors(1)
    k = pt.scalar("k", dtype="int64")
    part = x[:k]
    blocked, _ = in_blocks(
        [x, k], [pt.sum(pt.exp(part) * 2), pt.second(part * 2, pt.constant(1.0))], *values, np.array(40_000)
    )
    total, ones = blocked(*values, np.array(30_001))
    assert total == np.sum(np.exp(values[0][:30_001]) * 2)
    assert ones.shape == (30_001,)


def test_strided_arguments():
    (x, y), values = vectors(2)
    in_blocks([x, y], [pt.exp(x) + y, pt.sum(x * y)], np.repeat(values[0], 2)[::2], np.broadcast_to(0.5, SIZE))


def test_sums_in_another_order_are_left_to_numpy(monkeypatch):
    (x,), values = vectors(1)
    monkeypatch.setattr(inblocks, "_EVEN", 5)
    _, runs = in_blocks([x], [pt.sum(pt.exp(3 * x) + 1)], *values)
    # Joined with the sum, which is not the same to the last bit; then without
    assert [count for count, _ in runs] == [4, 3]


def test_functions_are_translated_at_the_second_call():
    (x,), values = vectors(1)
    function = backends.build([x], [pt.exp(x) * 2])
    results = [function(*values)[0] for _ in range(3)]
    assert function._translated is not None
    for result in results:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("x", [1e-8, 0.3, 1.0, 9.99, 10.0, 25.5, 1e6, 1e12])
def test_trigamma(x):
    exact = float(mpmath.psi(1, mpmath.mpf(x)))
    assert float(ufuncs.trigamma(np.array([x]))[0]) == pytest.approx(exact, rel=2e-15)


def test_other_functions_of_scalars():
    np.testing.assert_allclose(ufuncs.trigamma(np.array([-0.5, 2.0])), special.polygamma(1, [-0.5, 2.0]), rtol=1e-14)
    x = np.array([-800.0, -1.0, 0.0, 40.0, 800.0])
    np.testing.assert_allclose(ufuncs.softplus(x), [0, np.log1p(np.exp(-1)), np.log(2), 40, 800], rtol=1e-15)
    np.testing.assert_array_equal(ufuncs.second(np.ones((2, 1)), np.arange(3.0)), [[0, 1, 2]] * 2)
