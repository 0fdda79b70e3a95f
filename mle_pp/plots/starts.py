"""The waterfall: where every start ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mle_pp.optimize import Stop
from mle_pp.plots.panels import (
    BLACK,
    COLORS,
    CROSS,
    DASHED,
    DISK,
    GREY,
    SQUARE,
    TRIANGLE,
    layout,
    options,
    put,
    set_aesthetic,
)
from mle_pp.verdict import Status

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate

VISUALS = ("starts", "line", "estimate", "xlabel", "ylabel", "legend")
FUNCTIONS = {"mle": "log-likelihood", "penalized": "penalized log-likelihood", "map": "log-density"}
# More of Okabe and Ito (2008), after the estimate's blue; their yellow is too pale for a marker on white
OTHERS = [COLORS[1], "#009E73", "#E69F00", "#56B4E9", "#CC79A7"]
MINUS = "\N{MINUS SIGN}"


def plot_starts(
    est: Estimate,
    *,
    visuals: Mapping[str, Any] | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Waterfall plot: how high every start ended, the best first, colored by the optimum it reached.

    Parameters
    ----------
    est : Estimate
    visuals : mapping of str to (mapping or False), optional
        Options of what is drawn, or False to leave it out: ``starts``, ``line`` (between them), ``estimate`` (the
        line at its height), ``xlabel``, ``ylabel``, ``legend``.
    plot_collection : PlotCollection, optional
        With one panel; its colors and markers become those of this figure, and its legend stays.
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    **pc_kwargs
        Passed to `arviz_plots.PlotCollection.wrap`: ``color``, ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotCollection

    Notes
    -----
    Heights are differences to the estimate, on a scale that is linear up to the smallest difference between two optima
    (one unit at most) and logarithmic beyond, so that optima 0.001 and 500 below are both seen. The numbers of the
    optima are those in `Estimate.starts`. The estimate is the best end that is a maximum: starts that ran away, or
    ended higher at no maximum, are shown as triangles at the upper edge, those without a finite value as crosses at
    the lower one.

    Many starts on the first step are evidence that it is the global maximum, one start on it and many steps below it
    a reason to ask for more ``starts`` (Raue et al. 2013).

    References
    ----------
    Raue et al. (2013), "Lessons learned from quantitative dynamical modeling in systems biology", PLOS ONE 8, e74335.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     _ = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> pc = mle.plot_starts(mle.find_MLE(model, starts=4), backend="none")
    >>> [str(label) for label in pc.data["optimum"].values]
    ['optimum 0, the estimate: all 4 starts']
    """
    # Half a second, which a session without figures need not wait for
    from arviz_plots import PlotCollection
    from arviz_plots import visuals as draw

    look = options(visuals, VISUALS)
    fall = waterfall(est)
    if plot_collection is None:
        kwargs = {"cols": [], **layout({**fall.aesthetics, **pc_kwargs}, backend, fall.size)}
        kwargs["aes"] = {**{key: ["optimum"] for key in fall.aesthetics}, **pc_kwargs.get("aes", {})}
        collection = PlotCollection.wrap(fall.data, **kwargs)
    else:
        collection = plot_collection
        for key, values in fall.aesthetics.items():
            set_aesthetic(collection, "optimum", key, fall.labels, values)
    if collection.backend == "plotly":
        # A click on an entry of the legend hides its starts
        set_aesthetic(collection, "optimum", "legendgroup", fall.labels, fall.labels)
    panel, module = collection.iget_target(0, 0), import_module(f"arviz_plots.backend.{collection.backend}")

    height, draw_all = xr.Dataset({"value": 0.0}), partial(put, collection)
    if fall.path.sizes["rank"] > 1:
        draw_all(look["line"], "line", draw.line_xy, fall.path, color="B3", width=1)
    if fall.path.sizes["rank"]:
        draw_all(look["estimate"], "estimate", draw.hline, height, color=COLORS[0], linestyle=DASHED, width=1)
    # Areas in points² or dots², but diameters on bokeh
    size = 8 if collection.backend == "bokeh" else 60
    draw_all(look["starts"], "starts", draw.scatter_xy, fall.points, ignore_aes=set(), mask=fall.member, size=size)

    module.xlim(fall.xlim, panel)
    module.ylim(fall.ylim, panel)
    module.xticks(fall.ranks, [str(rank) for rank in fall.ranks], panel)
    module.yticks(list(fall.ticks), list(fall.ticks.values()), panel)
    draw_all(look["xlabel"], "xlabel", draw.labelled_x, height, text="starts, best first")
    draw_all(look["ylabel"], "ylabel", draw.labelled_y, height, text=fall.what)
    if look["legend"] is not False and "legend" not in collection.viz.children:
        collection.add_legend("optimum", **{**_legend(collection.backend, fall.title), **look["legend"]})
    return collection


def _legend(backend: str, title: str) -> dict[str, Any]:
    """Above the panel, as its lines are long. ArviZ shows markers in matplotlib's legends only."""
    options: dict[str, dict[str, Any]] = {
        "matplotlib": {
            "aes": ["color", "marker"],
            "visual_kwargs": {"linestyle": "none"},
            "loc": "outside upper center",
        },
        "plotly": {
            "aes": ["color", "legendgroup"],
            "legend": {"x": 0, "y": 1.02, "yanchor": "bottom", "tracegroupgap": 0},
        },
        "bokeh": {"aes": ["color"], "side": "above", "margin": 10},
    }
    return {"title": title, **options.get(backend, {})}


@dataclass(frozen=True)
class Waterfall:
    """The numbers of the figure: starts in the order in which they are drawn, in groups that share a color.

    Attributes
    ----------
    labels, colors, markers : list of str
        One a group: an optimum, the optima too many to be told apart, what ran away, what is not finite.
    group : ndarray of int, shape (starts,)
    below : ndarray, shape (starts,)
        Log-likelihood minus the estimate's; infinite or NaN at the edges.
    threshold : float
        Where the scale turns from linear to logarithmic.
    what, title : str
        What the vertical axis shows, and the legend.
    """

    labels: list[str]
    colors: list[str]
    markers: list[str]
    group: np.ndarray
    below: np.ndarray
    threshold: float
    what: str
    title: str

    @property
    def aesthetics(self) -> dict[str, list[str]]:
        """Colors and markers, in ArviZ's words."""
        return {"color": self.colors, "marker": self.markers}

    @property
    def height(self) -> np.ndarray:
        """Where each start is drawn: on the scale, above it or below it."""
        inside = np.isfinite(self.below)
        scaled = symlog(np.where(inside, self.below, 0.0), self.threshold)
        return np.where(inside, scaled, np.where(self.below > 0, 0.2, -1.2) * self.depth)

    @property
    def depth(self) -> float:
        """How far down the scale goes."""
        inside = self.below[np.isfinite(self.below)]
        return max(1.0, -symlog(np.min(inside, initial=0.0), self.threshold))

    @property
    def ticks(self) -> dict[float, str]:
        """Positions and labels on the vertical axis: powers of ten, six at most; none where all lies at the edges."""
        if not np.isfinite(self.below).any():
            return {}
        first, decades = round(np.log10(self.threshold)), int(self.depth)
        step = -(-decades // 5)
        powers = [float(f"1e{first + k}") for k in range(0, decades, step)]
        return {0.0: "0", **{float(symlog(-p, self.threshold)): f"{MINUS}{p:g}" for p in powers}}

    @property
    def ylim(self) -> tuple[float, float]:
        """The scale, and room for the edges that are used."""
        upper = 0.3 if np.any(self.below == np.inf) else 0.1
        lower = 1.3 if np.any(self.below == -np.inf) else 1.1
        return -lower * self.depth, upper * self.depth

    @property
    def xlim(self) -> tuple[float, float]:
        """Half a start of room at both sides, more where there are few."""
        room = 1.0 if len(self.group) < 5 else 0.03 * len(self.group) + 0.5
        return 1 - room, len(self.group) + room

    @property
    def ranks(self) -> list[int]:
        """Ticks on the horizontal axis, twelve at most."""
        number = len(self.group)
        step = next(k for k in (1, 2, 5, *(10**e * m for e in range(1, 9) for m in (1, 2, 5))) if number <= 12 * k)
        return [rank for rank in range(1, number + 1) if rank == 1 or rank % step == 0]

    @property
    def size(self) -> tuple[int, int]:
        """Of the figure: wider for more starts, higher for a longer legend."""
        return min(520 + 10 * len(self.group), 900), 360 + 22 * len(self.labels)

    @property
    def data(self) -> xr.Dataset:
        """Groups and ranks, for the layout."""
        return self.points.isel(plot_axis=1, drop=True).where(self.member)

    @property
    def points(self) -> xr.Dataset:
        """Rank and height of every start, once for each group."""
        return self._located.expand_dims(optimum=self.labels).to_dataset()

    @property
    def member(self) -> xr.DataArray:
        """Which group a start belongs to."""
        mine = self.group == np.arange(len(self.labels))[:, None]
        coords = {"optimum": self.labels, "rank": self._located["rank"]}
        return xr.DataArray(mine, dims=("optimum", "rank"), coords=coords)

    @property
    def path(self) -> xr.Dataset:
        """The starts on the scale."""
        return self._located.isel(rank=np.isfinite(self.below)).to_dataset()

    @property
    def _located(self) -> xr.DataArray:
        rank = np.arange(1, len(self.group) + 1)
        coords = {"plot_axis": ["x", "y"], "rank": rank}
        return xr.DataArray(np.stack([rank, self.height]), dims=("plot_axis", "rank"), coords=coords, name="value")


def symlog(x: np.ndarray | float, threshold: float) -> Any:
    """Linear up to a threshold, which becomes 1, and logarithmic beyond, with ten to one for each further unit."""
    scaled = np.abs(x) / threshold
    return np.sign(x) * np.where(scaled <= 1, scaled, 1 + np.log10(np.maximum(scaled, 1)))


def waterfall(est: Estimate) -> Waterfall:
    """Sort the starts of an estimate and group them by where they ended."""
    best, status = est._optimum.value, est.verdict.status
    value, optimum = est.starts["value"].to_numpy(dtype=float), est.starts["optimum"].to_numpy()
    chosen = _chosen(value, optimum, best)
    away = (est.starts["stop"] == str(Stop.FAR)).to_numpy() | (value > best + _tolerance(best))
    # The estimate may lie at infinity itself; where nothing bounds the likelihood, there is none
    away = np.where(optimum == chosen, status is Status.UNBOUNDED, away)
    lost = ~np.isfinite(value) & ~away
    inside = ~away & ~lost
    if status is Status.UNBOUNDED:
        best = np.max(value[inside], initial=-np.inf)
    below = np.full(len(value), -np.inf)
    below[away] = np.inf
    below[inside] = value[inside] - best

    order = np.lexsort((optimum, -np.where(away, np.inf, below), lost))
    group = np.full(len(value), -1)
    groups: list[tuple[str, str, str]] = []

    def add(members: np.ndarray, label: str, color: str, marker: str) -> None:
        if members.any():
            group[members] = len(groups)
            groups.append((f"{label}: {_count(members)}", color, marker))

    word, mark = ("end", "no maximum") if status.is_failure else ("optimum", "the estimate")
    others = [k for k in np.unique(optimum[inside]) if k != chosen]
    add(inside & (optimum == chosen), f"{word} {chosen}, {mark}", COLORS[0], DISK)
    for k, color in zip(others, OTHERS, strict=False):
        members = inside & (optimum == k)
        add(members, f"{word} {k}, {_gap(-below[members].max())}", color, SQUARE)
    rest = others[len(OTHERS) :]
    plural = {"optimum": "optima"}.get(word, f"{word}s") if len(rest) > 1 else word
    add(inside & np.isin(optimum, rest), f"{len(rest)} further {plural}", GREY, SQUARE)
    add(away, "ran away to no maximum, not to scale", BLACK, TRIANGLE)
    add(lost, "not finite", BLACK, CROSS)

    gaps = [-below[inside & (optimum == k)].max() for k in others]
    # A gap of 0.001 is one of 0.000999… after a subtraction
    threshold = 10 ** np.floor(np.log10(min([1.0, *(gap for gap in gaps if gap > 0)])) + 1e-6)
    what = FUNCTIONS[est.kind]
    if inside.any():
        what += f"\nrelative to the {'best end' if status.is_failure else 'estimate'}"
    title = f"{status}: no maximum found" if status.is_failure else "where the starts ended"
    labels, colors, markers = (list(column) for column in zip(*groups, strict=True))
    return Waterfall(labels, colors, markers, group[order], below[order], float(threshold), what, title)


def _chosen(value: np.ndarray, optimum: np.ndarray, best: float) -> int:
    """Which optimum the estimate is: the highest that does not exceed it, as the diagnosis may have climbed on."""
    reached = value <= best + _tolerance(best)
    return int(optimum[reached][np.argmax(value[reached])] if reached.any() else optimum[0])


def _tolerance(value: float) -> float:
    """Ends this close count as one optimum."""
    return 1e-7 * max(1.0, abs(value))


def _gap(gap: float) -> str:
    return f"{gap:.4g} below" if gap > 0 else "as high"


def _count(members: np.ndarray) -> str:
    number, total = int(members.sum()), len(members)
    if number < total:
        return f"{number} of {total} starts"
    return f"all {total} starts" if total > 1 else "the only start"
