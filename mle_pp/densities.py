"""Log-densities in forms that keep their precision where PyMC's own lose it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.scalar.basic import EQ, Log, Log1p, Sqrt, Switch
from pytensor.scalar.math import Log1mexp
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from mle_pp import backends

# Operations whose slope is infinite at the end of their domain.
_SINGULAR = (Log, Log1p, Sqrt)

# From here on the series is exact in double precision: its first neglected term is below 1e-17.
_LARGE = 100.0


def precise(model: pm.Model, rv: Variable, term: Variable) -> Variable:
    """The log-density of an observed variable: `term`, as PyMC writes it, or an equal expression without cancellation.

    Differences of log-gamma functions are rounding errors at large arguments: the Student t's is off by several units
    an observation at ν = 1e14, and an optimizer finds its maximum there; on the way of a negative binomial to its
    Poisson limit, 1e-5 of log-likelihood are lost.
    """
    form = _FORMS.get(type(rv.owner.op).__name__)
    if form is None:
        return term
    inputs = [*rv.owner.op.dist_params(rv.owner), model.rvs_to_values[rv]]
    if any(hasattr(variable.type, "dims") for variable in inputs):
        return term
    logp = form(*(pt.cast(backends.as_tensor(variable), "float64") for variable in inputs))
    return model.replace_rvs_by_values([logp])[0]


def _student_t(nu: Variable, mu: Variable, sigma: Variable, value: Variable) -> Variable:
    residual = (value - mu) / sigma
    return _student_constant(nu) - pt.log(sigma) - (nu + 1) / 2 * pt.log1p(residual**2 / nu)


def _student_constant(nu: Variable) -> Variable:
    """The constant log Γ((ν+1)/2) − log Γ(ν/2) − ½ log(πν), by a series where that is exact (DLMF 5.11.13)."""
    z = nu / 2
    large = pt.maximum(z, _LARGE)
    series = -1 / (8 * large) + 1 / (192 * large**3) - 1 / (640 * large**5)
    small = pt.minimum(z, _LARGE)
    exact = pt.gammaln(small + 0.5) - pt.gammaln(small) - 0.5 * pt.log(small)
    return pt.switch(z > _LARGE, series, exact) - 0.5 * pt.log(2 * pt.pi)


def _stirling_rest(z: Variable) -> Variable:
    """What Stirling's formula leaves of log Γ(z)."""
    return 1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5)


def _rising(a: Variable, y: Variable) -> Variable:
    """The ratio log Γ(a + y) − log Γ(a) − y log a, by Stirling's series where that is exact (DLMF 5.11.1)."""
    large, small = pt.maximum(a, _LARGE), pt.minimum(a, _LARGE)
    series = (large + y - 0.5) * pt.log1p(y / large) - y + _stirling_rest(large + y) - _stirling_rest(large)
    return pt.switch(a > _LARGE, series, pt.gammaln(small + y) - pt.gammaln(small) - y * pt.log(small))


def _times_log(y: Variable, log: Variable) -> Variable:
    """A count times a logarithm, which is zero where the count is."""
    return pt.switch(pt.eq(y, 0), 0.0, y * log)


def _poisson(mu: Variable, value: Variable) -> Variable:
    """No more than PyMC's, in fewer operations."""
    y = pt.maximum(value, 0)
    logp = _times_log(y, pt.log(mu)) - mu - pt.gammaln(y + 1)
    return pt.switch(pt.ge(value, 0) & pt.ge(mu, 0), logp, -np.inf)


def _negative_binomial(n: Variable, p: Variable, value: Variable) -> Variable:
    odds = pt.log(1 - p) - pt.log(p)
    y = pt.maximum(value, 0)
    logp = _rising(n, y) - pt.gammaln(y + 1) + _times_log(y, pt.log(n) + odds) - (y + n) * pt.log1p(pt.exp(odds))
    valid = pt.ge(value, 0) & (n > 0) & pt.ge(p, 0) & pt.le(p, 1)
    return pt.switch(valid, logp, -np.inf)


def _beta_binomial(n: Variable, alpha: Variable, beta: Variable, value: Variable) -> Variable:
    y = pt.clip(value, 0, n)
    total = alpha + beta
    choose = pt.gammaln(n + 1) - pt.gammaln(y + 1) - pt.gammaln(n - y + 1)
    limit = _times_log(y, pt.log(alpha / total)) + _times_log(n - y, pt.log(beta / total))
    logp = choose + limit + _rising(alpha, y) + _rising(beta, n - y) - _rising(total, n)
    valid = pt.eq(y, value) & pt.ge(n, 0) & (alpha > 0) & (beta > 0)
    return pt.switch(valid, logp, -np.inf)


def _dirichlet_multinomial(n: Variable, a: Variable, value: Variable) -> Variable:
    y = pt.maximum(value, 0)
    total = a.sum(axis=-1, keepdims=True)
    cells = _times_log(y, pt.log(a / total)) + _rising(a, y) - pt.gammaln(y + 1)
    logp = pt.gammaln(n + 1) - _rising(total[..., 0], n) + cells.sum(axis=-1)
    valid = pt.all(pt.ge(value, 0), axis=-1) & pt.eq(value.sum(axis=-1), n) & pt.all(a > 0, axis=-1)
    return pt.switch(valid, logp, -np.inf)


def _gamma(shape: Variable, scale: Variable, value: Variable) -> Variable:
    """By Stirling's series at large shapes, where the terms are a million times as large as their sum."""
    large, small = pt.maximum(shape, _LARGE), pt.minimum(shape, _LARGE)
    y = pt.maximum(value, 0)
    excess = y / scale / large - 1
    series = 0.5 * pt.log(large / (2 * pt.pi)) - _stirling_rest(large) - large * (excess - pt.log1p(excess))
    exact = _times_log(small, pt.log(y / scale)) - y / scale - pt.gammaln(small)
    logp = pt.switch(shape > _LARGE, series, exact) - pt.log(y)
    return pt.switch(pt.gt(value, 0) & (shape > 0) & (scale > 0), logp, -np.inf)


# By the name of the random operation; the arguments are its distribution parameters and the value.
_FORMS: dict[str, Callable[..., Variable]] = {
    "GammaRV": _gamma,
    "PoissonRV": _poisson,
    "StudentTRV": _student_t,
    "NegBinomialRV": _negative_binomial,
    "BetaBinomialRV": _beta_binomial,
    "DirichletMultinomialRV": _dirichlet_multinomial,
}


def guarded(terms: Sequence[Variable]) -> list[Variable]:
    """Equal graphs whose derivatives are finite where the values are.

    Of `switch(y, log(p), log1p(-p))` at p = 1 and y = 1 the value is zero, but the derivative of the branch not taken
    is zero times infinity, NaN: at the limits of probit and cloglog regressions every gradient would be lost. The
    arguments of singular operations are therefore replaced, where a branch is not taken, by a harmless number.
    """
    replaced: dict[Variable, Variable] = {}
    for node in toposort(terms):
        inputs = [replaced.get(variable, variable) for variable in node.inputs]
        if _is_a(node, Log1mexp):
            # It is zero in double precision from -37 on, its second derivative infinity by infinity from -355 on
            inputs = [pt.maximum(inputs[0], pt.constant(-300.0, dtype=inputs[0].dtype))]
        if _is_a(node, EQ) and _is_a(inputs[0].owner, Log) and _is_minus_infinity(inputs[1]):
            # The derivative of a comparison is zero, but that of log(0) is zero times infinity
            inputs = [inputs[0].owner.inputs[0], pt.zeros_like(inputs[1])]
        if _is_a(node, Switch) and not any(_is_minus_infinity(branch) for branch in inputs[1:]):
            condition, first, second = inputs
            inputs = [condition, _only_where(first, condition, True), _only_where(second, condition, False)]
        if any(new is not old for new, old in zip(inputs, node.inputs, strict=True)):
            replaced.update(zip(node.outputs, node.op.make_node(*inputs).outputs, strict=True))
    return [replaced.get(term, term) for term in terms]


def _is_a(node: Apply | None, *scalars: type) -> bool:
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
    inputs = [_only_where(variable, condition, taken) for variable in node.inputs]
    if isinstance(node.op.scalar_op, _SINGULAR) and not isinstance(inputs[0], Constant):
        harmless = pt.constant(0.5, dtype=inputs[0].dtype)
        inputs = [pt.switch(condition, *((inputs[0], harmless) if taken else (harmless, inputs[0])))]
    return branch if inputs == list(node.inputs) else node.op.make_node(*inputs).outputs[0]
