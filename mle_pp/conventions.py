"""ArviZ's conventions: which variables a call is about, which probability an interval has, how columns are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_base import rcParams
from arviz_base.utils import _var_names
from arviz_stats.summary import SummaryDataFrame

if TYPE_CHECKING:
    from mle_pp.layout import Entry


def select(dataset: xr.Dataset, var_names: str | Sequence[str] | None, filter_vars: str | None = None) -> list[str]:
    """The variables of `dataset` that `var_names` and `filter_vars` mean to ArviZ; all of them for None.

    Raises
    ------
    KeyError
        No variable has such a name; the message lists those there are.
    ValueError
        `filter_vars` is none of None, "like", "regex".
    """
    known = [str(name) for name in dataset.data_vars]
    one_of("filter_vars", filter_vars, (None, "like", "regex"))
    try:
        chosen: Any = _var_names(var_names, dataset, filter_vars)  # type: ignore[arg-type]
    except KeyError as error:
        given = [var_names] if isinstance(var_names, str) else list(var_names or ())
        unknown = given if filter_vars else [name for name in given if name.removeprefix("~") not in known]
        raise KeyError(
            f"var_names: {', '.join(map(str, unknown)) or given} not among the variables ({', '.join(known)})."
        ) from error
    return known if chosen is None else [str(name) for name in chosen]


def choose(
    dataset: xr.Dataset,
    entries: Iterable[Entry],
    var_names: str | Sequence[str] | None,
    filter_vars: str | None = None,
) -> xr.Dataset:
    """The variables that `select` means, and single elements, by their labels (``beta[x1]``), as variables.

    Parameters
    ----------
    dataset : xr.Dataset
    entries : iterable of Entry
        The dims and labels of its variables, which may have more dims.
    var_names, filter_vars
        As for `select`.
    """
    places = {label: (entry, k) for entry in entries if entry.dims for k, label in enumerate(entry.labels)}
    given = [var_names] if isinstance(var_names, str) else list(var_names or ())
    labels = [name for name in given if name in places]
    if not labels:
        return dataset[select(dataset, var_names, filter_vars)]
    rest = [name for name in given if name not in places]
    found = dict(dataset[select(dataset, rest, filter_vars) if rest else []].data_vars)
    for label in labels:
        entry, k = places[label]
        index = dict(zip(entry.dims, map(int, np.unravel_index(k, entry.shape)), strict=True))
        found[label] = dataset[entry.name].isel(index, drop=True)
    return xr.Dataset(found)


def probability(ci_prob: float | None) -> float:
    """The probability of an interval; ArviZ's ``rcParams["stats.ci_prob"]`` for None."""
    found = float(rcParams["stats.ci_prob"] if ci_prob is None else ci_prob)
    if not 0 < found < 1:
        raise ValueError(f"ci_prob={ci_prob!r} is not a probability between 0 and 1.")
    return found


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number, which may be a float such as 1e3."""
    number = float(value) if isinstance(value, int | float | np.integer) and not isinstance(value, bool) else nan
    if not (number.is_integer() and number >= least):
        raise ValueError(f"{name}={value!r} is not a whole number ≥ {least}.")
    return int(number)


def formatted(frame: pd.DataFrame, texts: Mapping[str, Mapping[Any, str]]) -> pd.DataFrame:
    """The same numbers, shown as these texts by column and row: ArviZ's table."""
    return SummaryDataFrame(frame, fmt_map=texts)


def bounds(kind: str, ci_prob: float) -> tuple[str, str]:
    """Column names of an interval, as ArviZ forms them: ``eti89_lb``, ``eti89_ub``."""
    stem = f"{kind}{100 * ci_prob:.6g}"
    return f"{stem}_lb", f"{stem}_ub"


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse an option that does not exist."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}.")
