"""The estimate as a table, as text and as html."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_base import dataset_to_dataframe
from arviz_stats.summary import SummaryDataFrame

from mle_pp.conventions import bounds, choose, formatted, one_of, probability
from mle_pp.intervals import wald_intervals
from mle_pp.verdict import Status

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

WIDTH = 100
MAX_ROWS = 30
WITHHELD = "–"
HEADINGS = {
    "mle": "Maximum-likelihood estimate",
    "penalized": "Penalized-likelihood estimate",
    "map": "Posterior mode",
}


def summary(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    *,
    kind: str = "hessian",
    groups: Any = None,
    ci_prob: float | None = None,
    fmt: str = "wide",
    round_to: int | str | None = "auto",
) -> Any:
    """See `Estimate.summary`."""
    one_of("fmt", fmt, ("wide", "long", "xarray"))
    prob = probability(ci_prob)
    values, entries = est.params.merge(est.derived), (*est._layout, *est._derived_layout)
    interval = wald_intervals(est, prob, kind, groups)
    lower, upper = bounds("wald", prob)
    columns = {
        est.kind: values,
        "se": est.stderr(kind, groups),
        lower: interval.sel(ci_bound="lower", drop=True),
        upper: interval.sel(ci_bound="upper", drop=True),
    }
    columns = {name: choose(part, entries, var_names, filter_vars) for name, part in columns.items()}
    stacked = xr.concat(list(columns.values()), dim=xr.DataArray(list(columns), dims="summary", name="summary"))
    if fmt == "xarray":
        return stacked if round_to in ("auto", "none", "None", None) else stacked.round(_decimals(round_to))
    if fmt == "long":
        frame = stacked.to_dataframe().reset_index().set_index("summary")
        return frame if round_to in ("auto", "none", "None", None) else frame.round(_decimals(round_to))
    # An empty selection has nothing that could become a frame
    wide = (
        dataset_to_dataframe(stacked, sample_dims=["summary"]).T
        if len(stacked)
        else pd.DataFrame(columns=list(columns))
    )
    return rounded(wide, round_to, dict.fromkeys(columns, "se"))


def rounded(frame: pd.DataFrame, round_to: int | str | None, errors: Mapping[str, str | float]) -> pd.DataFrame:
    """ArviZ's `round_to`: "auto" keeps the numbers and shows as many digits as their errors warrant.

    Parameters
    ----------
    frame : DataFrame
    round_to : int, "auto", "none" or None
    errors : mapping of str to str or float
        For each column, the one that holds its error, or the error of all its numbers; columns that are not named get
        three significant digits.
    """
    if round_to in ("none", "None", None):
        return frame
    if round_to != "auto":
        return frame.round(_decimals(round_to))
    texts = {}
    for column in frame.columns:
        if frame[column].dtype.kind != "f":
            texts[column] = dict(zip(frame.index, frame[column].astype(str), strict=True))
            continue
        source = errors.get(column, column)
        error = frame[source] if isinstance(source, str) else np.full(len(frame), source)
        texts[column] = {
            label: number(value, e) for label, value, e in zip(frame.index, frame[column], error, strict=True)
        }
    return formatted(frame, texts)


def _decimals(round_to: int | str | None) -> int:
    if not isinstance(round_to, int) or isinstance(round_to, bool):
        raise ValueError(f'round_to={round_to!r} is neither a number of decimals, nor "auto" or "none".')
    return round_to


def number(value: float, error: float) -> str:
    """A number with as many digits as its error warrants: three significant ones of the error."""
    if np.isnan(value):
        return WITHHELD
    if not np.isfinite(value):
        return "∞" if value > 0 else "−∞"
    error = abs(error)
    if not np.isfinite(error) or error == 0 or value == 0:
        return f"{value:.6g}"
    decimals = 2 - int(np.floor(np.log10(error)))
    if decimals > 8 or abs(value) >= 1e8:
        digits = int(np.clip(np.floor(np.log10(abs(value))) + decimals, 2, 14))
        return f"{value:.{digits}e}"
    # Rounded first, and 0.0 added, so that nothing is shown as -0.000
    return f"{round(value, max(decimals, 0)) + 0.0:.{max(decimals, 0)}f}"


# -- text and html ------------------------------------------------------------------------------------------------


def text(est: Estimate) -> str:
    """The verdict, the log-likelihood and its criteria, the table."""
    lines = [line for paragraph in est.verdict.message.splitlines() for line in _wrap(paragraph)]
    lines += ["", _heading(est), *_wrap(_fit(est)), ""]
    frame, hidden = _head(est)
    lines += aligned(frame)
    lines += [f"{'':2}{note}" for note in _notes(est, frame, hidden)]
    return "\n".join(lines)


def html(est: Estimate) -> str:
    """The same for a notebook."""
    frame, hidden = _head(est)
    notes = "".join(f"<div><small>{escape(note)}</small></div>" for note in _notes(est, frame, hidden))
    return (
        f"<div>{est.verdict._repr_html_()}"
        f"<p><strong>{escape(_heading(est))}</strong><br>{escape(_fit(est))}</p>"
        f"{frame.to_html(border=0, justify='right')}{notes}</div>"
    )


def aligned(frame: pd.DataFrame, indent: int = 2) -> list[str]:
    """Lines of a table of texts, each column aligned at the decimal points."""
    labels = [str(label) for label in frame.index]
    blocks = [[" " * max(map(len, labels), default=0), *_justify(labels, str.ljust)]]
    for column in frame.columns:
        cells = _justify(_at_points([str(cell) for cell in frame[column]]), str.rjust)
        blocks.append(_justify([str(column), *cells], str.rjust))
    return [" " * indent + "  ".join(row).rstrip() for row in zip(*blocks, strict=True)]


def _at_points(cells: list[str]) -> list[str]:
    """Pad numbers on the right so that their decimal points come to lie below each other."""
    after = [len(cell) - cell.find(".") if "." in cell else 0 for cell in cells]
    widest = max(after, default=0)
    return [cell if cell == WITHHELD else cell + " " * (widest - n) for cell, n in zip(cells, after, strict=True)]


def _justify(cells: list[str], side: Callable[[str, int], str]) -> list[str]:
    width = max(map(len, cells), default=0)
    return [side(cell, width) for cell in cells]


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_long_words=False) or [""]


def _heading(est: Estimate) -> str:
    if est.verdict.status.is_failure:
        return "No estimate. The values below are where the search ended."
    return HEADINGS[est.kind]


def _fit(est: Estimate) -> str:
    rank = " identified" if est.verdict.status is Status.NOT_IDENTIFIED else ""
    parts = [
        f"log-likelihood {_plain(est.loglik)}",
        f"{est.n_obs:.10g} observation{'s' if est.n_obs != 1 else ''}",
        f"{est.n_params}{rank} parameter{'s' if est.n_params != 1 else ''}",
        f"AIC {_plain(est.aic)}",
        f"BIC {_plain(est.bic)}",
    ]
    return ", ".join(parts)


def _plain(value: float) -> str:
    return WITHHELD if np.isnan(value) else f"{value:.3f}"


def _head(est: Estimate) -> tuple[pd.DataFrame, dict[str, int]]:
    """The table as texts, long variables cut; and how many rows of each were left out."""
    full = summary(est)
    owners = pd.Series([*est._layout.owners(), *est._derived_layout.owners()], dtype=object)
    position = owners.groupby(owners).cumcount()
    # As many rows a variable as fit, so that no variable is hidden behind a long one
    fitting = [limit for limit in range(1, MAX_ROWS) if (position < limit).sum() <= MAX_ROWS]
    keep = (position < max(fitting, default=1)) if len(full) > MAX_ROWS else position >= 0
    frame = full[keep.to_numpy()]
    texts = frame._display_df() if isinstance(frame, SummaryDataFrame) else frame
    return texts, owners[~keep].value_counts(sort=False).to_dict()


def _notes(est: Estimate, frame: pd.DataFrame, hidden: dict[str, int]) -> list[str]:
    notes = []
    if hidden:
        counts = ", ".join(f"{n} of {name}" for name, n in hidden.items())
        notes.append(f"… and {sum(hidden.values())} more rows ({counts}): see summary().")
    withheld = [str(label) for label, cell in zip(frame.index, frame["se"], strict=True) if cell == WITHHELD]
    if withheld:
        named = ", ".join(withheld[:5]) + (f" and {len(withheld) - 5} more" if len(withheld) > 5 else "")
        notes.append(f"{WITHHELD} withheld for {named}: see {est.verdict.status} above.")
    return notes
