"""What the figures share: the estimate and the posterior as two ArviZ models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_base.validate import validate_or_use_rcparam
from arviz_stats import eti, hdi, kde

from mle_pp.compare import SAMPLE_DIMS, matched_posterior
from mle_pp.intervals import as_dataset, wald_intervals
from mle_pp.intervals.wald import wald_quantiles

if TYPE_CHECKING:
    from xarray import DataTree

    from mle_pp.estimate import Estimate

# Blue and vermilion of Okabe and Ito (2008): told apart under every color blindness, and in grey
COLORS = ["#0072B2", "#D55E00"]
NAMES = {"mle": "MLE", "penalized": "penalized MLE", "map": "MAP"}
GRID = 200


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
    """

    est: Estimate
    posterior: xr.Dataset
    coords: Mapping[str, Any]
    ci_kind: str

    @property
    def labels(self) -> list[str]:
        """The two names in the legend."""
        return [f"{NAMES[self.est.kind]}, Wald interval", f"posterior, {self.ci_kind.upper()}"]

    @property
    def point(self) -> xr.Dataset:
        """The estimate and the posterior mean; an infinite estimate cannot be drawn."""
        estimates = self._chosen(self.est.params.merge(self.est.derived))
        return self._both(estimates.where(np.isfinite(estimates)), self.posterior.mean(SAMPLE_DIMS))

    def interval(self, prob: float) -> xr.Dataset:
        """The Wald interval and the posterior's."""
        function = eti if self.ci_kind == "eti" else hdi
        of_posterior = function(self.posterior, prob=prob, dim=list(SAMPLE_DIMS))
        return self._both(self._chosen(wald_intervals(self.est, prob)), of_posterior)

    @property
    def density(self) -> xr.Dataset:
        """The density whose quantiles are the limits of the Wald intervals, and the posterior's."""
        z = np.linspace(-3.5, 3.5, GRID)
        quantiles = self._chosen(as_dataset(self.est, *wald_quantiles(self.est, z), "kde_dim", range(GRID)))
        quantiles = quantiles.drop_vars("kde_dim")
        heights = xr.DataArray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), dims="kde_dim")
        # A constant has no density
        slope = quantiles.map(lambda x: xr.apply_ufunc(np.gradient, x, z, kwargs={"axis": -1}))
        curve = (heights / slope).where(slope > 0)
        mine = xr.concat([quantiles, curve], dim=xr.DataArray(["x", "y"], dims="plot_axis", name="plot_axis"))
        theirs = kde(self.posterior, dim=list(SAMPLE_DIMS), grid_len=GRID)
        both = self._both(mine, theirs[list(mine.data_vars)].reset_coords(drop=True))
        for variable in both.values():
            variable.attrs["kind"] = "kde"
        return both

    @property
    def trees(self) -> dict[str, DataTree]:
        """The points as posteriors of one draw: what ArviZ is to lay out, while the numbers come precomputed."""
        draws = self.point.expand_dims(chain=1, draw=1)
        return {label: xr.DataTree.from_dict({"posterior": draws.sel(model=label, drop=True)}) for label in self.labels}

    def _chosen(self, dataset: xr.Dataset) -> xr.Dataset:
        return dataset[list(self.posterior.data_vars)].sel(self.coords)

    def _both(self, mine: xr.Dataset, theirs: xr.Dataset) -> xr.Dataset:
        dim = xr.DataArray(self.labels, dims="model", name="model")
        return xr.concat([mine, theirs], dim=dim, join="override", coords="minimal", compat="override")


def both_sides(
    est: Estimate,
    idata: Any,
    var_names: str | Sequence[str] | None,
    filter_vars: str | None,
    coords: Mapping[str, Any] | None,
    ci_kind: str | None,
) -> Sides:
    """The estimate and a posterior, checked to be of the same model and data."""
    posterior, unchecked = matched_posterior(est, idata, var_names, filter_vars)
    if unchecked:
        warnings.warn(unchecked, UserWarning, stacklevel=3)
    known = set(posterior.dims) - set(SAMPLE_DIMS)
    unknown = [dim for dim in coords or {} if dim not in known]
    if unknown:
        raise KeyError(f"coords: {', '.join(unknown)} not among the dims ({', '.join(map(str, known))}).")
    return Sides(est, posterior.sel(coords or {}), coords or {}, validate_or_use_rcparam(ci_kind, "stats.ci_kind"))


def layout(kwargs: dict[str, Any], plot_collection: Any, backend: str | None) -> dict[str, Any]:
    """Where to draw, the two colors, and room for the legend; a figure that exists already has its own."""
    if plot_collection is not None:
        return {**kwargs, "plot_collection": plot_collection}
    backend = backend or rcParams["plot.backend"]
    figure = dict(kwargs.get("figure_kwargs", {}))
    if backend == "matplotlib":
        figure.setdefault("layout", "constrained")
    return {"color": COLORS, **kwargs, "figure_kwargs": figure, "backend": backend}


def add_legend(collection: Any, title: str) -> None:
    """Say which color is which."""
    options = {"loc": "outside upper center", "ncols": 2} if collection.backend == "matplotlib" else {}
    collection.add_legend("model", aes="color", title=title, **options)
