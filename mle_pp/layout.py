"""Names, dims, coords and labels of the scalars in a flat vector; nothing here knows PyMC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import xarray as xr

# xarray imports what optional packages it finds (sparse, and Numba with it) when it first sees a coordinate: here, with
# the other imports, rather than in the first fit
xr.Dataset(coords={"i": np.arange(1)})


@dataclass(frozen=True)
class Entry:
    """One named array: its dims, and the coordinate values along each."""

    name: str
    dims: tuple[str, ...]
    coords: tuple[tuple[Any, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each dim."""
        return tuple(len(values) for values in self.coords)

    @property
    def size(self) -> int:
        """Number of scalars."""
        return prod(self.shape)

    @property
    def labels(self) -> list[str]:
        """ArviZ's labels of its scalars: ``beta[x1]``, or the bare name of a scalar."""
        if not self.dims:
            return [self.name]
        return [f"{self.name}[{', '.join(map(str, index))}]" for index in product(*self.coords)]


@dataclass(frozen=True)
class Layout:
    """How a flat vector splits into named arrays, in order."""

    entries: tuple[Entry, ...]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)

    @property
    def size(self) -> int:
        """Number of scalars in all."""
        return sum(entry.size for entry in self.entries)

    @property
    def names(self) -> list[str]:
        """The arrays' names."""
        return [entry.name for entry in self.entries]

    @property
    def labels(self) -> list[str]:
        """ArviZ's labels of all scalars."""
        return [label for entry in self.entries for label in entry.labels]

    def slices(self) -> dict[str, slice]:
        """Where each array lies in the flat vector."""
        slices, start = {}, 0
        for entry in self.entries:
            slices[entry.name] = slice(start, start + entry.size)
            start += entry.size
        return slices

    def owners(self) -> list[str]:
        """For each scalar, the name of the array it belongs to."""
        return [entry.name for entry in self.entries for _ in range(entry.size)]

    def dataset(self, vector: np.ndarray) -> xr.Dataset:
        """The flat vector as a Dataset with dims and coords."""
        if np.shape(vector) != (self.size,):
            raise ValueError(f"expected {self.size} numbers, got an array of shape {np.shape(vector)}.")
        slices = self.slices()
        variables, coords = {}, {}
        for entry in self.entries:
            variables[entry.name] = (entry.dims, np.reshape(vector[slices[entry.name]], entry.shape))
            coords.update({dim: list(values) for dim, values in zip(entry.dims, entry.coords, strict=True)})
        return xr.Dataset(variables, coords=coords)

    def vector(self, dataset: xr.Dataset) -> np.ndarray:
        """The inverse of `dataset`."""
        parts = [np.ravel(dataset[entry.name].transpose(*entry.dims)) for entry in self.entries]
        return np.concatenate([np.zeros(0), *parts])


def make_layout(
    shapes: Mapping[str, tuple[int, ...]],
    dims: Mapping[str, Sequence[str | None] | None],
    coords: Mapping[str, Sequence[Any] | None],
) -> Layout:
    """A layout with ArviZ's defaults: ``name_dim_0`` for a dim without a name, counted from 0 without coords."""
    entries = []
    for name, shape in shapes.items():
        given = dims.get(name) or (None,) * len(shape)
        names = tuple(dim or f"{name}_dim_{axis}" for axis, dim in enumerate(given))
        values = []
        for dim, length in zip(names, shape, strict=True):
            known = coords.get(dim)
            values.append(tuple(known) if known is not None and len(known) == length else tuple(range(length)))
        entries.append(Entry(name, names, tuple(values)))
    return Layout(tuple(entries))
