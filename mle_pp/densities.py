"""Log-densities in forms that keep their precision where PyMC's own lose it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.scalar.basic import IntDiv, Log, Log1p, Pow, Reciprocal, Sqrt, Switch, TrueDiv
from pytensor.scalar.math import Log1mexp
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from mle_pp import backends

# Operations that may have an infinite value or slope, and which of their inputs causes it.
_SINGULAR = {Log: 0, Log1p: 0, Sqrt: 0, Reciprocal: 0, TrueDiv: 1, IntDiv: 1, Pow: 0}

# From here on the series is exact in double precision: its first neglected term is below 1e-17.
_LARGE = 100.0


def precise(model: pm.Model, rv: Variable, term: Variable) -> Variable:
    """The log-density of an observed variable: `term`, as PyMC writes it, or an equal expression without cancellation.

    The Student t's is a difference of log-gamma functions, of which nothing but rounding is left at large degrees of
    freedom: at ν = 1e14 it is off by several units an observation, and an optimizer finds its maximum there.
    """
    if type(rv.owner.op).__name__ != "StudentTRV":
        return term
    nu, mu, sigma = rv.owner.op.dist_params(rv.owner)
    value = model.rvs_to_values[rv]
    if any(hasattr(v.type, "dims") for v in (nu, mu, sigma, value)):
        return term
    nu, mu, sigma, value = (pt.cast(backends.as_tensor(v), "float64") for v in (nu, mu, sigma, value))
    residual = (value - mu) / sigma
    logp = _constant(nu) - pt.log(sigma) - (nu + 1) / 2 * pt.log1p(residual**2 / nu)
    return model.replace_rvs_by_values([logp])[0]


def _constant(nu: Variable) -> Variable:
    """The constant log Γ((ν+1)/2) − log Γ(ν/2) − ½ log(πν), by a series where that is exact (DLMF 5.11.13)."""
    z = nu / 2
    large = pt.maximum(z, _LARGE)
    series = -1 / (8 * large) + 1 / (192 * large**3) - 1 / (640 * large**5)
    small = pt.minimum(z, _LARGE)
    exact = pt.gammaln(small + 0.5) - pt.gammaln(small) - 0.5 * pt.log(small)
    return pt.switch(z > _LARGE, series, exact) - 0.5 * pt.log(2 * pt.pi)


def guarded(terms: Sequence[Variable]) -> list[Variable]:
    """Equal graphs whose derivatives are finite where the values are.

    Of `switch(y, log(p), log1p(-p))` at p = 1 and y = 1 the value is zero, but the derivative of the branch not taken is
    zero times infinity, NaN: at the limits of probit and cloglog regressions every gradient would be lost. The
    arguments of singular operations are therefore replaced, where a branch is not taken, by a harmless number.
    """
    replaced: dict[Variable, Variable] = {}
    for node in toposort(terms):
        inputs = [replaced.get(variable, variable) for variable in node.inputs]
        if _is_a(node, Log1mexp):
            # It is zero in double precision from -37 on, its second derivative infinity by infinity from -355 on
            inputs = [pt.maximum(inputs[0], pt.constant(-300.0, dtype=inputs[0].dtype))]
        if _is_a(node, Switch) and not any(_is_minus_infinity(branch) for branch in inputs[1:]):
            condition, first, second = inputs
            inputs = [condition, _only_where(first, condition, True), _only_where(second, condition, False)]
        if any(new is not old for new, old in zip(inputs, node.inputs, strict=True)):
            replaced.update(zip(node.outputs, node.op.make_node(*inputs).outputs, strict=True))
    return [replaced.get(term, term) for term in terms]


def _is_a(node: Apply, *scalars: type) -> bool:
    return node is not None and isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, scalars)


def _is_minus_infinity(branch: Variable) -> bool:
    while branch.owner is not None and isinstance(branch.owner.op, DimShuffle):
        branch = branch.owner.inputs[0]
    return isinstance(branch, Constant) and bool(np.all(np.isneginf(branch.data)))


def _only_where(branch: Variable, condition: Variable, taken: bool) -> Variable:
    """The branch, with the arguments of its singular operations harmless where it is not taken."""
    node = branch.owner
    if node is None or not isinstance(node.op, Elemwise) or _is_a(node, Switch) or isinstance(branch, Constant):
        return branch
    position = next((p for kind, p in _SINGULAR.items() if isinstance(node.op.scalar_op, kind)), None)
    inputs = list(node.inputs)
    for k, variable in enumerate(inputs):
        inner = _only_where(variable, condition, taken)
        if k == position and not isinstance(inner, Constant):
            safe = pt.constant(0.5, dtype=inner.dtype) if inner.dtype.startswith("float") else inner
            inner = pt.switch(condition, inner, safe) if taken else pt.switch(condition, safe, inner)
        inputs[k] = inner
    return branch if inputs == list(node.inputs) else node.op.make_node(*inputs).outputs[0]
