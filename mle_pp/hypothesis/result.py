"""What a test found."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class TestResult:
    """What a test found.

    Attributes
    ----------
    name : str
        Which test.
    hypothesis : str
        The null hypothesis.
    statistic : float
        On the scale of χ²: with one degree of freedom, the square of z.
    df : int
        The number of independent restrictions that the null hypothesis imposes.
    pvalue : float
        The probability, under the null hypothesis, of a statistic at least as large.
    law : str
        The distribution that the p-value was taken from.
    restrictions : pd.DataFrame or None
        Of a Wald test, a row a restriction: ``value`` (left side minus right side), ``se``, and ``z`` on the scale on
        which the restriction is tested.
    simulated : ndarray or None
        Of a test calibrated by simulation: the statistics of the simulated data.
    notes : tuple of str
        What to know about it.
    """

    name: str
    hypothesis: str
    statistic: float
    df: int
    pvalue: float
    law: str
    restrictions: pd.DataFrame | None = None
    simulated: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def _numbers(self) -> str:
        p = "p < 1e-300" if self.pvalue < 1e-300 else f"p = {self.pvalue:.4g}"
        return f"statistic = {self.statistic:.6g}, df = {self.df}, {p} ({self.law})"

    def __repr__(self) -> str:
        lines = [self.name, f"  null hypothesis: {self.hypothesis}", f"  {self._numbers}"]
        if self.restrictions is not None and self.df > 1:
            lines += [f"  {line}" for line in self.restrictions.to_string(float_format="{:.4g}".format).splitlines()]
        return "\n".join([*lines, *(f"  - {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        table = ""
        if self.restrictions is not None and self.df > 1:
            table = self.restrictions.to_html(border=0, justify="right", float_format="{:.4g}".format)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return (
            f"<div><p><strong>{escape(self.name)}</strong><br>null hypothesis: {escape(self.hypothesis)}<br>"
            f"{escape(self._numbers)}</p>{table}{f'<ul>{notes}</ul>' if notes else ''}</div>"
        )
