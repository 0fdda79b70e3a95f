"""Scalars of a model by label or expression; references are NumPy's functions and central differences."""

import numpy as np
import pymc as pm
import pytest

from mle_pp.derivatives import central_differences
from mle_pp.parameters import Parameters
from mle_pp.quantities import quantity


@pytest.fixture(scope="module")
def parameters():
    with pm.Model(coords={"city": ["New York", "a, b", "x-1"]}) as model:
        pm.Normal("beta", 0, 1, dims="city", initval=[0.5, -0.2, 1.5])
        a = pm.HalfNormal("a", 1, initval=1.2)
        s = pm.HalfNormal("s", 1, initval=0.7)
        pm.Deterministic("ratio", a / s)
        pm.Normal("y", a, s, observed=[1.0, 2.0])
    return Parameters(model, ["beta", "a", "s"])


CASES = {
    "a": lambda b, a, s: a,
    "ratio": lambda b, a, s: a / s,
    "beta[New York]": lambda b, a, s: b[0],
    "beta[a, b] - 2*beta[x-1]": lambda b, a, s: b[1] - 2 * b[2],
    "exp(a) / (1 + exp(a))": lambda b, a, s: np.exp(a) / (1 + np.exp(a)),
    "-log(s)**2 + sqrt(ratio)": lambda b, a, s: -(np.log(s) ** 2) + np.sqrt(a / s),
    "logit(expit(beta[x-1])) + 1e-3": lambda b, a, s: b[2] + 1e-3,
}


@pytest.mark.parametrize("text", CASES)
def test_value_and_derivatives(parameters, text):
    scalar = quantity(parameters, text)
    x = parameters.initial
    values = parameters.constrained(x)
    assert scalar.value(x) == pytest.approx(CASES[text](values[:3], values[3], values[4]), rel=1e-12)
    np.testing.assert_allclose(
        scalar.gradient(x), central_differences(lambda z: np.array([scalar.value(z)]), x)[0], atol=1e-8
    )
    np.testing.assert_allclose(scalar.hessian(x), central_differences(scalar.gradient, x), atol=1e-8)


def test_unknown_labels_are_named(parameters):
    with pytest.raises(KeyError, match=r"beta\[NewYork\].*New York"):
        quantity(parameters, "beta[NewYork] - a")
    with pytest.raises(KeyError, match="b2"):
        quantity(parameters, "b2 + a")


@pytest.mark.parametrize("text", ["a +", "a = s", "sin(a)", "a if s else 1", "__import__('os')", "a.real", ""])
def test_what_is_no_expression(parameters, text):
    with pytest.raises((ValueError, KeyError)):
        quantity(parameters, text)
