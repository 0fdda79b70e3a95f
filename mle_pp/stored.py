"""What an estimate stands on that was read without its model: stored numbers, and clear words where they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import expit, logit

from mle_pp.errors import ModelError

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate


class Stored:
    """Attributes that were stored; any other one needs the model, and says so."""

    def __init__(self, **known: Any) -> None:
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Any:
        # Copying and inspection ask for names like __deepcopy__
        if name.startswith("__"):
            raise AttributeError(name)
        raise ModelError(
            "This needs the model, and the estimate was read without it: mle.from_datatree(tree, model) reads it with."
        )


class StoredParameters(Stored):
    """The parameters at a stored estimate, and along each one that is transformed element by element."""

    def constrained(self, x: np.ndarray) -> np.ndarray:
        """Values on the user's scale, where the transform is a log or logit between the ends; NaN for the others."""
        found = np.full(self.values.shape, np.nan)
        here, there = self.layout.slices(), self.unconstrained.slices()
        for own, inner in zip(self.layout, self.unconstrained, strict=True):
            transform = self.transforms[own.name]
            if transform is None or transform.ndim_supp:
                continue
            piece, coordinates = here[own.name], there[inner.name]
            low, high = self.ends[:, piece]
            if np.isnan(low).any():
                raise ModelError(f"{own.name} has the transform {transform.name}, for which the model is needed.")
            slope = np.diag(self.jacobian[piece, coordinates])
            moved = x[coordinates] - self.x[coordinates]
            found[piece] = between(self.values[piece], low, high, slope * moved)
        return found


def between(value: np.ndarray, low: np.ndarray, high: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Values after a step, in units of their own, on the log or logit scale that keeps them between two ends."""
    with np.errstate(all="ignore"):
        share, rest = (value - low) / (high - low), (high - value) / (high - low)
        both = low + (high - low) * expit(logit(share) + step / ((high - low) * share * rest))
        above = low + (value - low) * np.exp(step / (value - low))
        below = high - (high - value) * np.exp(-step / (high - value))
    bounded = np.isfinite(low), np.isfinite(high)
    return np.select([bounded[0] & bounded[1], *bounded], [both, above, below], value + step)


def is_stored(est: Estimate) -> bool:
    """Whether an estimate was read without its model."""
    return isinstance(est._objective, Stored)


def group_needed(found: Any, group: str, call: str) -> Any:
    """A group of the tree that an estimate was read from.

    Raises
    ------
    ModelError
        There is none; with the call that makes it.
    """
    if found is None:
        raise ModelError(f"The DataTree of this estimate has no group {group}, which is made from the model: {call}.")
    return found


def observed_values(est: Estimate, name: str) -> np.ndarray:
    """The data of an observed variable."""
    values = est._objective.data[name]
    if isinstance(values, dict):
        raise ModelError(
            f"The DataTree of this estimate does not hold the data of {name}: read it from one with the group "
            f"observed_data, idata.update(est.to_datatree().children)."
        )
    return np.asarray(values)


def stored_draws(est: Estimate, n: int | None = None) -> xr.Dataset:
    """Data sets that `mle_pp.simulate` drew before the estimate was stored: the first `n`, or all."""
    stored: Any = est._objective
    found = stored.simulated
    number = 0 if found is None else found.sizes["draw"]
    call = f"tree['mle_simulated'] = xr.DataTree(mle.simulate(est, {n or 500}))"
    enough = found if number >= (n or 1) else None
    group_needed(enough, f"mle_simulated with {n} draws" if number else "mle_simulated", call)
    return found.isel(draw=slice(n))
