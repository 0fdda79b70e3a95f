"""The table of a comparison: numbers by labelled scalar, what they mean in words, and its way to disk and back."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.summary import SummaryDataFrame

from mle_pp.compare.reading import several_in_words, two_in_words
from mle_pp.errors import ModelError
from mle_pp.table import rounded

GROUP = "mle_comparison"


class Comparison(SummaryDataFrame):
    """Estimate and posterior side by side, as `compare` returns them: a `pandas.DataFrame` that can say what it means.

    ``attrs["notes"]`` is a list of what could not be computed or checked, and why; ``attrs["facts"]`` holds what the
    reading is about besides the numbers: the verdict, chains, draws, divergences.
    """

    @property
    def _constructor(self) -> type[Comparison]:
        return Comparison

    def reading(self) -> str:
        """What the numbers mean, in words that follow from them by fixed rules.

        Returns
        -------
        str
            A line a statement. In standard errors of the estimate (posterior standard deviations where these are
            withheld):

            - no maximum, or a verdict other than CONVERGED: said first;
            - r-hat above 1.01, fewer than 100 effective draws a chain, divergences, a single chain: the posterior is
              doubted;
            - an infinite estimate: the prior alone keeps the posterior finite;
            - |prior_pull| ≥ 0.5: the prior moved the maximum;
            - |asymmetry| ≥ 0.5, and above three Monte Carlo errors: the posterior is skewed;
            - |shift| ≥ 0.5, where there is no posterior mode: moved, for a reason that is not known;
            - the scalar is not identified by the verdict, or (where ``idata.prior`` holds draws) the posterior's
              standard deviation is above 0.9 of the prior's and its mean within 0.25 prior standard deviations of the
              prior's: the posterior is the prior;
            - width_ratio below 0.8 or above 1.25, of none of the above: an interval narrower or wider;
            - with profile or bootstrap intervals: overlap with the posterior's interval at least 0.85, but that of the
              Wald interval below: Wald misleads;
            - none of these: the two agree.

            A comparison of several says, from one column of the mapping to the next, which scalars moved by 0.5 or
            more.

        Examples
        --------
        See `compare`.
        """
        rules = several_in_words if self.index.nlevels > 1 else two_in_words
        return "\n".join(rules(pd.DataFrame(self), self.attrs["facts"], self.attrs["notes"]))

    def to_datatree(self) -> xr.DataTree:
        """The comparison as the flat group ``mle_comparison``, which can sit beside a posterior and be written.

        Returns
        -------
        xarray.DataTree
            ``Comparison.from_datatree`` reads it, without the model.
        """
        plain = pd.DataFrame(self).reset_index(names=_index_names(self))
        variables: dict[Hashable, Any] = {
            str(name): ("row", np.array(column, dtype=np.str_) if column.dtype.kind == "O" else column.to_numpy())
            for name, column in plain.astype(dict.fromkeys(_texts(plain), object)).items()
        }
        variables["facts"], variables["notes"] = json.dumps(self.attrs["facts"]), json.dumps(self.attrs["notes"])
        # In zarr, variables come back in another order
        attrs = {"inference_library": "mle_pp", "index": json.dumps(_index_names(self))}
        attrs["columns"] = json.dumps(list(plain.columns))
        return xr.DataTree.from_dict({GROUP: xr.Dataset(variables, attrs=attrs)})

    @classmethod
    def from_datatree(cls, dt: xr.DataTree) -> Comparison:
        """The comparison that a DataTree holds; the model is not needed.

        Parameters
        ----------
        dt : DataTree
            Made by `to_datatree`; other groups may be there too.

        Raises
        ------
        ModelError
            There is none in it.
        """
        if GROUP not in dt.children:
            raise ModelError(f"The DataTree has no group {GROUP}: store a comparison with compare(...).to_datatree().")
        dataset = dt[GROUP].to_dataset()
        index = json.loads(dataset.attrs["index"])
        columns = {name: dataset[name].values for name in json.loads(dataset.attrs["columns"])}
        frame = pd.DataFrame({n: v.astype(object) if v.dtype.kind in "UO" else v for n, v in columns.items()})
        frame = frame.set_index(index)
        if len(index) == 1:
            frame.index.name = None
        facts, notes = (json.loads(str(dataset[name].item())) for name in ("facts", "notes"))
        return table(frame, facts, notes, "auto")


def _index_names(frame: pd.DataFrame) -> list[str]:
    return list(frame.index.names) if frame.index.nlevels > 1 else ["label"]


def _texts(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if frame[name].dtype.kind not in "fib"]


def table(frame: pd.DataFrame, facts: dict[str, Any], notes: list[str], round_to: int | str | None) -> Comparison:
    """The numbers as a `Comparison`, shown with as many digits as their errors warrant."""
    shown = rounded(frame, round_to, _errors(frame))
    found = Comparison(pd.DataFrame(shown), fmt_map=getattr(shown, "_fmt_map", None))
    found.attrs.update(facts=facts, notes=notes)
    return found


def _errors(frame: pd.DataFrame) -> dict[str, str | float]:
    """The column whose size, or the size itself, that says how many digits are worth showing."""
    contrasts = ("shift", "step", "prior_pull", "asymmetry", "width_ratio", "overlap", "r_hat")
    found: dict[str, str | float] = dict.fromkeys(contrasts, 0.1)
    found |= {"mean": "mcse_mean", "ess_bulk": 100.0, "value": "error", "prior_mean": "prior_sd"}
    for column in frame.columns:
        if column in ("mle", "map", "penalized") or column.startswith(("wald", "profile", "bootstrap")):
            found[column] = "se"
        elif column.startswith(("eti", "hdi")):
            found[column] = "sd"
        elif column.startswith("ci"):
            found[column] = "error"
    return found
