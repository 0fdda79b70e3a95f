"""Log-densities in forms that keep their precision where PyMC's own lose it."""

from __future__ import annotations

import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from mle_pp import backends

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
