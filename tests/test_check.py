"""A wrong derivative is found, a right one is not blamed."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pytensor.graph.op import Op

import mle_pp as mle


class Square(Op):
    """The square, with a derivative that is right or wrong."""

    __props__ = ("factor",)
    itypes = (pt.dscalar,)
    otypes = (pt.dscalar,)

    def __init__(self, factor):
        self.factor = factor

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.asarray(inputs[0] ** 2)

    def pullback(self, inputs, outputs, cotangents):
        return [self.factor * inputs[0] * cotangents[0]]


@pytest.mark.parametrize(("factor", "right"), [(2.0, True), (2.1, False)])
def test_own_operation(factor, right):
    with pm.Model() as model:
        a = pm.Normal("a", 0, 1, initval=0.7)
        b = pm.HalfNormal("b", 1)
        pm.Normal("y", Square(factor)(a), b, observed=np.array([0.4, 1.2, 0.1]))
    table = mle.check_gradient(model)
    assert table["ok"].xs("a", level="parameter").all() == right
    assert list(table.index.names) == ["point", "parameter"]
    assert set(table.index.get_level_values("parameter")) == {"a", "b_log__"}


def test_wrong_name():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("a", 0, 1), 1, observed=[1.0])
    with pytest.raises(mle.ModelError, match="c"):
        mle.check_gradient(model, initvals={"c": 1})
