"""The expected (Fisher) information of a model whose observed variables are of families with a closed form of it.

For an observed variable with distribution parameters η(x), rows independent, the information about x is
Σ Jᵢᵀ diag(Iᵢⱼ) Jⱼ, with Jᵢ = ∂ηᵢ/∂x and Iᵢⱼ the information of one row about its own parameters (Lehmann and Casella,
Theory of Point Estimation, 2nd ed., section 2.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from scipy.special import polygamma

from mle_pp import backends
from mle_pp.derivatives import Jacobian
from mle_pp.parameters import Parameters

Block = dict[tuple[int, int], np.ndarray]


def _location_scale(mm: float, ss: float) -> Callable[..., Block]:
    return lambda mu, sigma: {(0, 0): mm / sigma**2, (1, 1): ss / sigma**2}


def _student_t(nu: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> Block:
    """Lange, Little and Taylor (1989), JASA 84, appendix B."""
    about_nu = 0.25 * (polygamma(1, nu / 2) - polygamma(1, (nu + 1) / 2)) - (nu + 5) / (2 * nu * (nu + 1) * (nu + 3))
    return {
        (0, 0): about_nu,
        (0, 2): -2 / (sigma * (nu + 1) * (nu + 3)),
        (1, 1): (nu + 1) / ((nu + 3) * sigma**2),
        (2, 2): 2 * nu / ((nu + 3) * sigma**2),
    }


def _gamma(shape: np.ndarray, scale: np.ndarray) -> Block:
    return {(0, 0): polygamma(1, shape), (0, 1): 1 / scale, (1, 1): shape / scale**2}


def _beta(a: np.ndarray, b: np.ndarray) -> Block:
    both = polygamma(1, a + b)
    return {(0, 0): polygamma(1, a) - both, (0, 1): -both, (1, 1): polygamma(1, b) - both}


def _inverse_gamma(shape: np.ndarray, scale: np.ndarray) -> Block:
    return {(0, 0): polygamma(1, shape), (0, 1): -1 / scale, (1, 1): shape / scale**2}


_EULER = float(np.euler_gamma)


def _gumbel(mu: np.ndarray, beta: np.ndarray) -> Block:
    return {(0, 0): 1 / beta**2, (0, 1): (_EULER - 1) / beta**2, (1, 1): (np.pi**2 / 6 + (1 - _EULER) ** 2) / beta**2}


def _weibull(shape: np.ndarray, scale: np.ndarray) -> Block:
    return {
        (0, 0): (np.pi**2 / 6 + (1 - _EULER) ** 2) / shape**2,
        (0, 1): (_EULER - 1) / scale,
        (1, 1): (shape / scale) ** 2,
    }


def _negative_binomial(n: np.ndarray, p: np.ndarray) -> Block:
    """About n, ψ′(n) − E ψ′(n + Y), in the form of an integral.

    With ψ′(z) = ∫ t exp(−zt) / (1 − exp(−t)) dt (DLMF 5.9.12) the expectation is that of exp(−tY), which is known:
    1 − E exp(−tY) = 1 − (1 + q (1 − exp(−t)) / p)⁻ⁿ. On the scale of log(nt) the trapezoidal rule converges
    geometrically (Trefethen and Weideman 2014, SIAM Review 56), and nothing cancels.
    """
    q, about_n = 1 - p, np.zeros_like(p)
    for u in np.arange(-40.0, 7.0, _STEP):
        t = np.exp(u) / n
        w = -np.expm1(-t)
        about_n += -np.expm1(-n * np.log1p(q * w / p)) * np.exp(-n * t) * t**2 / w
    return {(0, 0): _STEP * about_n, (0, 1): -1 / p, (1, 1): n / (p**2 * q)}


_STEP = 0.25

# By the name of the random operation; the arguments are its distribution parameters, in PyTensor's order.
FAMILIES: dict[str, Callable[..., Block]] = {
    "NormalRV": _location_scale(1.0, 2.0),
    "LogNormalRV": _location_scale(1.0, 2.0),
    "LogisticRV": _location_scale(1 / 3, (np.pi**2 + 3) / 9),
    "CauchyRV": _location_scale(0.5, 0.5),
    "LaplaceRV": _location_scale(1.0, 1.0),
    "StudentTRV": _student_t,
    "PoissonRV": lambda mu: {(0, 0): 1 / mu},
    "BernoulliRV": lambda p: {(0, 0): 1 / (p * (1 - p))},
    "BinomialRV": lambda n, p: {(1, 1): n / (p * (1 - p))},
    "ExponentialRV": lambda scale: {(0, 0): 1 / scale**2},
    "GammaRV": _gamma,
    "BetaRV": _beta,
    "InvGammaRV": _inverse_gamma,
    "GumbelRV": _gumbel,
    "WeibullBetaRV": _weibull,
    "NegBinomialRV": _negative_binomial,
    "GeometricRV": lambda p: {(0, 0): 1 / (p**2 * (1 - p))},
}

# Where the location stands among the parameters.
LOCATIONS = {"NormalRV": 0, "LogisticRV": 0, "CauchyRV": 0, "LaplaceRV": 0, "StudentTRV": 1}


def families_missing(model: pm.Model) -> list[str]:
    """Observed variables whose family has no closed form here."""
    return [rv.name for rv in model.observed_RVs if type(rv.owner.op).__name__ not in FAMILIES]


class FisherInformation:
    """x -> expected information, shape (size, size), on the unconstrained scale."""

    def __init__(self, model: pm.Model, parameters: Parameters) -> None:
        self._parts = {rv.name: self._part(model, rv, parameters) for rv in model.observed_RVs}

    def residuals(
        self, x: np.ndarray, family: str | None, weights: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Observation minus location, and ∂(location)/∂x, of the variables that have a location.

        Where there are weights, of the observations whose weight is not zero.
        """
        for name, (family_here, values, jacobians) in self._parts.items():
            position = LOCATIONS.get(family_here)
            if position is not None and family in (None, family_here):
                *parameters, observed = values(x)
                used = _by_element(weights.get(name), observed.size) > 0
                yield (observed - parameters[position])[used], jacobians[position](x)[used]

    @staticmethod
    def _part(model: pm.Model, rv: Any, parameters: Parameters) -> tuple[str, Any, list[Jacobian]]:
        with backends.without_c_compiler():
            graphs = parameters.replace(model.replace_rvs_by_values([*rv.owner.op.dist_params(rv.owner)]))
            value = parameters.replace([model.rvs_to_values[rv]])[0]
            flat = backends.simplify([_rows_like(graph, value) for graph in graphs])
            jacobians = [Jacobian(graph, parameters.x) for graph in flat]
            observed = pt.cast(backends.as_tensor(value), "float64").ravel()
            return type(rv.owner.op).__name__, backends.build([parameters.x], [*flat, observed]), jacobians

    def __call__(self, x: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """The information at `x`; by variable, weights of the rows."""
        total = np.zeros((x.size, x.size))
        for name, (family, values, jacobians) in self._parts.items():
            slopes = [jacobian(x) for jacobian in jacobians]
            *parameters, observed = values(x)
            with np.errstate(all="ignore"):
                blocks = FAMILIES[family](*parameters)
            each = _by_element(weights.get(name), observed.size)
            total += _assemble({place: each * block for place, block in blocks.items()}, slopes)
        return total


def _by_element(weights: np.ndarray | None, size: int) -> np.ndarray:
    """Weights of rows as weights of all elements, in their order."""
    return np.ones(size) if weights is None else np.repeat(weights, size // max(len(weights), 1))


def _rows_like(graph: Variable, value: Variable) -> Variable:
    """A distribution parameter as one float a row of the data."""
    tensor = pt.cast(backends.as_tensor(graph), "float64")
    return (tensor + pt.zeros_like(backends.as_tensor(value), dtype="float64")).ravel()


def _assemble(blocks: Block, slopes: Sequence[np.ndarray]) -> np.ndarray:
    size = slopes[0].shape[1]
    total = np.zeros((size, size))
    for (i, j), weight in blocks.items():
        part = slopes[i].T @ (weight[:, None] * slopes[j])
        total += part if i == j else part + part.T
    return total
