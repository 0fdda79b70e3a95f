"""The rows of a likelihood: which of its terms are sums over independent rows, and which share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mle_pp.errors import ModelError


@dataclass(frozen=True)
class RowAxis:
    """One set of rows, which several terms of the likelihood may share.

    Attributes
    ----------
    name : str
        Of the dim, or of the variable where its first dim has no name.
    labels : sequence
        The coordinate along the dim, or 0, 1, 2, ...
    variables : tuple of str
        The terms whose axis 0 this is.
    """

    name: str
    labels: Sequence[Any]
    variables: tuple[str, ...]

    @property
    def length(self) -> int:
        """Number of rows."""
        return len(self.labels)


@dataclass(frozen=True)
class Rows:
    """The rows of a likelihood, those of all axes one after the other.

    Attributes
    ----------
    axes : tuple of RowAxis
        In the order of the observed variables.
    blocks : mapping of str to int
        The terms that have no rows (one number for all the data of an AR process, or of one multivariate vector), and
        how many observations each counts for.
    """

    axes: tuple[RowAxis, ...]
    blocks: Mapping[str, int]

    @property
    def size(self) -> int:
        """Number of rows, without those of the blocks."""
        return sum(axis.length for axis in self.axes)

    def slices(self) -> list[slice]:
        """Where the rows of each axis lie among all rows."""
        ends = np.cumsum([0, *(axis.length for axis in self.axes)]).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    def axis_of(self, variable: str) -> int | None:
        """Which axis a term's rows lie along; None for a block."""
        return next((k for k, axis in enumerate(self.axes) if variable in axis.variables), None)

    def require(self, what: str) -> None:
        """Refuse a method that works on rows where the likelihood has a term without any.

        Raises
        ------
        ModelError
            Names the term, and what can be used instead.
        """
        if self.blocks:
            raise ModelError(
                f"{what} needs a log-likelihood that is a sum over independent rows. That of {', '.join(self.blocks)} "
                f"is one block: its rows are not independent of each other, or not separable. A parametric bootstrap "
                f"(data simulated from the model) needs no rows."
            )

    def align(self, values: Any, what: str) -> np.ndarray:
        """One value a row, of all axes, from what a user gave.

        Parameters
        ----------
        values : array_like, DataArray or mapping
            A value a row, in the order of the data; a DataArray with labels along the row dim is put into the model's
            order. A mapping gives each axis its own, by the name of the dim or of an observed variable.
        what : str
            The argument's name, for messages.

        Raises
        ------
        ModelError
            Not a value for each row.
        """
        self.require(what)
        return self.of_units(self._aligned(values, what), what)

    def of_units(self, values: np.ndarray, what: str) -> np.ndarray:
        """One value for each that is independent of the others, from one for each row of the data: the same."""
        return values

    def _aligned(self, values: Any, what: str) -> np.ndarray:
        if isinstance(values, Mapping):
            given = self._by_axis(values, what)
        elif len(self.axes) == 1:
            given = [values]
        else:
            raise ModelError(
                f"{what} is one array, but the data have {len(self.axes)} sets of rows ({self._described()}). Give a "
                f"mapping, {what}={{{self.axes[0].name!r}: ...}}; observed variables that share a named first dim "
                f"share their rows."
            )
        return np.concatenate([_along(axis, one, what) for axis, one in zip(self.axes, given, strict=True)])

    def _by_axis(self, values: Mapping[str, Any], what: str) -> list[Any]:
        found: dict[int, Any] = {}
        for name, one in values.items():
            named = [k for k, axis in enumerate(self.axes) if name == axis.name or name in axis.variables]
            if not named:
                raise ModelError(
                    f"{what}: {name!r} is neither a row dim nor an observed variable ({self._described()})."
                )
            if named[0] in found:
                raise ModelError(f"{what} has two entries for the rows of {self.axes[named[0]].name}: give one.")
            found[named[0]] = one
        missing = [axis.name for k, axis in enumerate(self.axes) if k not in found]
        if missing:
            raise ModelError(f"{what} has no entry for the rows of {', '.join(missing)}.")
        return [found[k] for k in range(len(self.axes))]

    def _described(self) -> str:
        return "; ".join(f"{axis.name}: {axis.length} rows of {', '.join(axis.variables)}" for axis in self.axes)


@dataclass(frozen=True)
class Units(Rows):
    """Independent units of several rows each, which take the place of rows.

    Attributes
    ----------
    rows : Rows
        Those of the data.
    of_row : ndarray of int
        The unit of each of them.
    """

    rows: Rows
    of_row: np.ndarray

    @classmethod
    def of(cls, rows: Rows, of_row: np.ndarray) -> Units:
        """The units that these rows belong to, numbered from 0."""
        variables = tuple(name for axis in rows.axes for name in axis.variables)
        return cls((RowAxis("unit", range(int(of_row.max()) + 1), variables),), {}, rows, of_row)

    def _aligned(self, values: Any, what: str) -> np.ndarray:
        return self.rows.align(values, what)

    def of_units(self, values: np.ndarray, what: str) -> np.ndarray:
        """One value a unit, from a value a row of the data.

        Raises
        ------
        ModelError
            Rows of one unit have different values.
        """
        first = np.unique(self.of_row, return_index=True)[1]
        found = values[first]
        other = (values != found[self.of_row]) & ~(pd.isna(values) & pd.isna(found[self.of_row]))
        if np.any(other):
            row = int(np.argmax(other))
            raise ModelError(
                f"{what} is {found[self.of_row[row]]} in row {first[self.of_row[row]]} and {values[row]} in row {row} "
                f"(counted from 0), but the two depend on each other: they share latent variables. Give all rows that "
                f"do the same value."
            )
        return found


def _along(axis: RowAxis, values: Any, what: str) -> np.ndarray:
    """One value for each row of an axis."""
    if isinstance(values, xr.DataArray) and axis.name in values.coords:
        unknown = set(values[axis.name].values.tolist()) ^ set(axis.labels)
        if unknown or values.sizes.get(axis.name) != axis.length:
            raise ModelError(
                f"{what} is labelled along {axis.name} with {values.sizes.get(axis.name)} labels that are not the "
                f"model's {axis.length}" + (f": {next(iter(unknown))!r} is in one only." if unknown else ".")
            )
        values = values.sel({axis.name: list(axis.labels)})
    array = np.asarray(values)
    if array.shape != (axis.length,):
        raise ModelError(
            f"{what} has shape {array.shape}, but {axis.length} rows belong to {', '.join(axis.variables)}: give "
            "one value a row."
        )
    return array


def check_weights(weights: np.ndarray, what: str = "weights") -> np.ndarray:
    """Weights as floats; refused where they are none.

    Raises
    ------
    ModelError
        Negative, NaN or infinite, not numbers, or all zero.
    """
    try:
        found = np.asarray(weights, dtype=float)
    except (TypeError, ValueError):
        raise ModelError(f"{what} are not numbers.") from None
    for name, bad in (("NaN", np.isnan(found)), ("infinite", np.isinf(found)), ("negative", found < 0)):
        if np.any(bad):
            raise ModelError(f"{what} are {name} in row {int(np.argmax(bad))} (counted from 0): give numbers ≥ 0.")
    if not np.any(found > 0):
        raise ModelError(f"{what} are all zero: no row is left.")
    return found


def make_rows(
    shapes: Mapping[str, tuple[int, ...]],
    dims: Mapping[str, Sequence[str | None] | None],
    coords: Mapping[str, Sequence[Any] | None],
    blocks: Mapping[str, int],
) -> Rows:
    """The rows of terms with these shapes.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Of the log-likelihood terms that have rows: axis 0 is the row axis.
    dims, coords : mapping
        The model's; terms that share a named first dim share their rows.
    blocks : mapping of str to int
        As in `Rows`.
    """
    lengths: dict[str, int] = {}
    members: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        first = (dims.get(name) or (None,))[0]
        # A dim of another length is not the same rows, whatever its name
        own = name if first is None or lengths.get(first, shape[0]) != shape[0] else first
        lengths[own] = shape[0]
        members.setdefault(own, []).append(name)
    axes = []
    for own, variables in members.items():
        known = coords.get(own)
        labelled = known is not None and len(known) == lengths[own]
        axes.append(RowAxis(own, tuple(known) if labelled and known else range(lengths[own]), tuple(variables)))
    return Rows(tuple(axes), dict(blocks))
