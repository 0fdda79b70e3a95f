"""The estimate and the posterior as ArviZ models: what `plot_forest` and `plot_dist` draw."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_base.validate import validate_or_use_rcparam
from arviz_stats import eti, hdi

from mle_pp.compare import SAMPLE_DIMS, doubts_of, matched_posterior
from mle_pp.conventions import one_of
from mle_pp.intervals import wald_intervals
from mle_pp.intervals.profiles import check_allowed, warn_of_sides
from mle_pp.plots.panels import (
    COLORS,
    DASHDOT,
    DASHED,
    DISK,
    GREEN,
    NAMES,
    SOLID,
    SQUARE,
    TRIANGLE,
    flat,
    labels_of,
    profiles_of,
    refuse_failure,
    shaped,
)

if TYPE_CHECKING:
    from xarray import DataTree

    from mle_pp.estimate import Estimate

KINDS = ("wald", "profile")
# Color, line and marker of each interval
LOOKS = {
    "wald": (COLORS[0], SOLID, DISK),
    "profile": (GREEN, DASHDOT, TRIANGLE),
    "posterior": (COLORS[1], DASHED, SQUARE),
}


@dataclass(frozen=True)
class Sides:
    """The chosen scalars of an estimate and of a posterior.

    Attributes
    ----------
    est : Estimate
    posterior : xr.Dataset
        With dims chain and draw.
    coords : mapping
        The coordinates chosen.
    ci_kind : {"eti", "hdi"}
        The posterior's intervals.
    kinds : tuple of str
        The estimate's.
    caution : str
        Why not to believe what is drawn.
    """

    est: Estimate
    posterior: xr.Dataset
    coords: Mapping[str, Any]
    ci_kind: str
    kinds: tuple[str, ...]
    caution: str

    @property
    def labels(self) -> list[str]:
        """The names in the legend."""
        name, words = NAMES[self.est.kind], {"wald": "Wald", "profile": "profile"}
        own = [f"{name}, {words[kind]} interval" for kind in self.kinds]
        return [*own, f"posterior, {self.ci_kind.upper()}"]

    @property
    def looks(self) -> dict[str, list[str]]:
        """Color, line and marker of each, in ArviZ's words."""
        columns = zip(*(LOOKS[kind] for kind in (*self.kinds, "posterior")), strict=True)
        return {key: list(values) for key, values in zip(("color", "linestyle", "marker"), columns, strict=True)}

    @property
    def point(self) -> xr.Dataset:
        """The estimate and the posterior mean; an infinite estimate cannot be drawn."""
        estimates = self._chosen(self.est.params.merge(self.est.derived))
        return self.joined([estimates.where(np.isfinite(estimates))] * len(self.kinds), self.mean)

    @property
    def mean(self) -> xr.Dataset:
        """The posterior's."""
        return self.posterior.mean(SAMPLE_DIMS)

    def interval(self, prob: float) -> xr.Dataset:
        """The estimate's intervals and the posterior's; infinite ends at the edge of what else is drawn."""
        function = eti if self.ci_kind == "eti" else hdi
        of_posterior = function(self.posterior, prob=prob, dim=list(SAMPLE_DIMS))
        own = {"wald": self._wald, "profile": self._profile}
        both = self.joined([own[kind](prob) for kind in self.kinds], of_posterior)
        return both.map(_within_reach)

    @cached_property
    def scalars(self) -> xr.Dataset:
        """The labels of the chosen scalars, in their shapes."""
        return self._chosen(labels_of(self.est, default=list(map(str, self.posterior.data_vars))))

    @property
    def trees(self) -> dict[str, DataTree]:
        """The points as posteriors of one draw: what ArviZ is to lay out, while the numbers come precomputed."""
        return as_trees(self.point)

    def _wald(self, prob: float) -> xr.Dataset:
        return self._chosen(wald_intervals(self.est, prob))

    def _profile(self, prob: float) -> xr.Dataset:
        found = profiles_of(self.est, flat(self.scalars), prob, points=0)
        warn_of_sides(self.est, found, stacklevel=5)
        ends = {label: np.array([one.lower, one.upper]) for label, one in found.items()}
        return shaped(self.scalars, ends, ci_bound=["lower", "upper"])

    def _chosen(self, dataset: xr.Dataset) -> xr.Dataset:
        return dataset[list(self.posterior.data_vars)].sel(self.coords)

    def joined(self, mine: Sequence[xr.Dataset], theirs: xr.Dataset) -> xr.Dataset:
        """Summaries of each side along the dim ``model``, whatever numbers of draws they come from."""
        return joined([*mine, theirs], self.labels)


def joined(parts: Sequence[xr.Dataset], labels: Sequence[str]) -> xr.Dataset:
    """Summaries below each other, along the dim ``model``."""
    dim = xr.DataArray(list(labels), dims="model", name="model")
    return xr.concat(parts, dim=dim, join="override", coords="minimal", compat="override")


def as_trees(point: xr.Dataset) -> dict[str, DataTree]:
    """A DataTree of one draw for each model."""
    draws, labels = point.expand_dims(chain=1, draw=1), point["model"].values
    return {str(k): xr.DataTree.from_dict({"posterior": draws.sel(model=k, drop=True)}) for k in labels}


def _within_reach(ends: xr.DataArray) -> xr.DataArray:
    """Infinite ends where the finite ones of the same variable end."""
    finite = ends.where(np.isfinite(ends))
    low, high = float(finite.min()), float(finite.max())
    room = 0.05 * (high - low)
    return ends.where(ends != np.inf, high + room).where(ends != -np.inf, low - room)


def tell(est: Estimate, idata: Any, posterior: xr.Dataset, unchecked: str, stacklevel: int = 3) -> str:
    """Warn the caller of a plot of what `compare` would: data not checked, and a posterior not to be believed.

    Returns
    -------
    str
        The same in a line, and an estimate that is no regular maximum, for `add_caution`; empty where all is well.
    """
    doubts = doubts_of(est, idata, posterior)
    for text in filter(None, [unchecked, *doubts.values()]):
        warnings.warn(text, UserWarning, stacklevel=stacklevel)
    *most, last = doubts or [""]
    words = [f"the posterior has {' and '.join(filter(None, [', '.join(most), last]))}"] if doubts else []
    if unchecked:
        words.append("not all data could be checked")
    if not est.verdict.ok:
        words.append(f"the {NAMES[est.kind]} is {est.verdict.status}")
    return f"Caution: {'; '.join(words)}." if words else ""


def both_sides(
    est: Estimate,
    idata: Any,
    var_names: str | Sequence[str] | None,
    filter_vars: str | None,
    coords: Mapping[str, Any] | None,
    ci_kind: str | None,
    kind: str | Sequence[str] = "wald",
) -> Sides:
    """The estimate and a posterior, checked to be of the same model and data."""
    refuse_failure(est)
    kinds = (kind,) if isinstance(kind, str) else tuple(dict.fromkeys(kind))
    for one in kinds or ("none",):
        one_of("kind", one, KINDS)
    if "profile" in kinds:
        check_allowed(est, "profile")
    posterior, unchecked = matched_posterior(est, idata, var_names, filter_vars)
    caution = tell(est, idata, posterior, unchecked, stacklevel=4)
    known = set(posterior.dims) - set(SAMPLE_DIMS)
    unknown = [dim for dim in coords or {} if dim not in known]
    if unknown:
        raise KeyError(f"coords: {', '.join(unknown)} not among the dims ({', '.join(map(str, known))}).")
    ci_kind = validate_or_use_rcparam(ci_kind, "stats.ci_kind")
    return Sides(est, posterior.sel(coords or {}), coords or {}, ci_kind, kinds, caution)
