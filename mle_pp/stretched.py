"""The factor of a correlation matrix on a scale on which correlations of ±1 are approached exponentially.

On PyMC's scale y they are approached as 1/y², too slowly for an edge to be told from anything else.
"""

from __future__ import annotations

from typing import Any

import pytensor.tensor as pt
from pymc.distributions.transforms import Transform
from pytensor.graph.basic import Variable


class Stretched(Transform):
    """PyMC's transform y of such a factor, as 2 asinh(y)."""

    name = "cholesky_corr_asinh"
    ndim_supp = 1

    def __init__(self, own: Transform) -> None:
        self._own = own

    def forward(self, value: Variable, *inputs: Variable) -> Variable:
        """From the factor to the vector."""
        return 2 * pt.arcsinh(self._own.forward(value, *inputs))

    def backward(self, value: Variable, *inputs: Variable) -> Variable:
        """From the vector to the factor."""
        return self._own.backward(on_own_scale(self, value), *inputs)

    def log_jac_det(self, value: Variable, *inputs: Variable) -> Variable:
        """Of `backward`."""
        slope = pt.log(pt.cosh(value / 2) / 2).sum(axis=-1)
        return self._own.log_jac_det(on_own_scale(self, value), *inputs) + slope


def on_own_scale(transform: Any, piece: Variable) -> Variable:
    """A piece of the vector on the scale of PyMC's own transform."""
    return pt.sinh(piece / 2) if isinstance(transform, Stretched) else piece
