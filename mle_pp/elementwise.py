"""Array forms of elementwise functions that PyTensor, interpreted, calls number by number."""

from __future__ import annotations

import numpy as np
from scipy.special import zeta


def second(shape: np.ndarray, value: np.ndarray) -> np.ndarray:
    """`value` in the broadcast shape of both."""
    return np.broadcast_arrays(shape, value)[1].copy()


def trigamma(x: np.ndarray) -> np.ndarray:
    """The second derivative of log Γ: Hurwitz's zeta function ζ(2, x)."""
    return zeta(2.0, x)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return np.logaddexp(0.0, x)


def log1mexp(x: np.ndarray) -> np.ndarray:
    """log(1 − exp(x)), x ≤ 0, by whichever of its two forms does not cancel (Mächler 2012)."""
    return np.where(x < -np.log(2.0), np.log1p(-np.exp(x)), np.log(-np.expm1(x)))


def clip(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`x`, but `low` where it is less and `high` where it is more."""
    return np.where(x < low, low, np.where(x > high, high, x))
