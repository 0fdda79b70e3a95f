"""NumPy functions for scalar operations that PyTensor, interpreted, calls once for each element."""

from __future__ import annotations

import numpy as np
from scipy.special import polygamma

# Bernoulli numbers B₂, B₄, ... of the asymptotic series, which is exact in double precision after so many steps up.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
_ASYMPTOTIC = 10


def trigamma(x: np.ndarray) -> np.ndarray:
    """The second derivative of log Γ: upward recurrence and asymptotic series (DLMF 5.15.5 and 5.15.8)."""
    z = np.asarray(x, dtype=float)
    if np.any(z <= 0):
        return polygamma(1, z)
    total = np.zeros_like(z)
    for _ in range(_ASYMPTOTIC):
        total += 1 / (z * z)
        z = z + 1
    w = 1 / (z * z)
    series = np.zeros_like(z)
    for number in reversed(_BERNOULLI):
        series = w * (number + series)
    return total + (1 + series) / z + w / 2


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return np.logaddexp(0.0, x)


def second(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`y`, in the shape of both."""
    if x.shape == y.shape:
        return y
    return np.broadcast_to(y, np.broadcast_shapes(x.shape, y.shape))


def log1mexp(x: np.ndarray) -> np.ndarray:
    """log(1 − exp(x)), x ≤ 0, by whichever of its two forms does not cancel (Mächler 2012)."""
    return np.where(x < -np.log(2.0), np.log1p(-np.exp(x)), np.log(-np.expm1(x)))


def clip(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`x`, but `low` where it is less and `high` where it is more."""
    return np.where(x < low, low, np.where(x > high, high, x))
