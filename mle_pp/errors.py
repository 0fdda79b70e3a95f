"""Exceptions and warnings: each carries what a reader needs to act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate


class ModelError(ValueError):
    """The model or the arguments do not define a likelihood that can be maximized.

    Raised before anything is compiled or optimized; the message names the variable and the remedy.
    """


class EstimationError(RuntimeError):
    """No maximum was found. What was found instead is in `estimate`.

    Attributes
    ----------
    estimate : Estimate
        The partial result: where the search ended, its verdict and its starts.
    """

    def __init__(self, message: str, estimate: Estimate) -> None:
        super().__init__(message)
        self.estimate = estimate


class VerdictWarning(UserWarning):
    """The maximum is not a regular interior one: some numbers are withheld (NaN)."""


class ProfileWarning(UserWarning):
    """A profile led to a better optimum, or one side of an interval is not a crossing of the cutoff."""
