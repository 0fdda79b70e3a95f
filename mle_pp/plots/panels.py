"""What the figures share: which scalars they are about, what is drawn of each, and the legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtri

from mle_pp.conventions import choose
from mle_pp.errors import ModelError
from mle_pp.intervals.profiles import Profile, Profiles, SideStatus, check_allowed, profile_targets, stored_profiles
from mle_pp.intervals.scalars import target as scalar_target
from mle_pp.stored import is_stored

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate

# Blue and vermilion of Okabe and Ito (2008): told apart under every color blindness; in grey, by lines and markers
COLORS = ["#0072B2", "#D55E00"]
GREEN, GREY, BLACK = "#009E73", "#949494", "#000000"
NAMES = {"mle": "MLE", "penalized": "penalized MLE", "map": "MAP"}
# Room for a legend on bokeh, in dots
BESIDE = 340
# ArviZ's names, on every backend
SOLID, DASHED, DOTTED, DASHDOT = "C0", "C1", "C2", "C3"
DISK, SQUARE, TRIANGLE, CROSS = "C0", "C5", "C2", "C3"


def refuse_failure(est: Estimate) -> None:
    """Refuse to draw what is no estimate.

    Raises
    ------
    ValueError
        No maximum was found; with the verdict.
    """
    if est.verdict.status.is_failure:
        raise ValueError(f"There is no estimate to draw (plot_starts shows the search). {est.verdict.message}")


def refuse_unknown(argument: str, given: Mapping[str, Any] | None, known: Iterable[str]) -> None:
    """Refuse names of visuals that the figure does not have.

    Raises
    ------
    ValueError
        With those that it has.
    """
    unknown = [name for name in given or {} if name not in known]
    if unknown:
        raise ValueError(f"{argument}: {', '.join(map(repr, unknown))} not among {', '.join(map(repr, known))}.")


def options(visuals: Mapping[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """What was asked for about each visual: False, or its keyword arguments."""
    refuse_unknown("visuals", visuals, known)
    looks = {name: (visuals or {}).get(name, True) for name in known}
    return {name: {} if look is True else look for name, look in looks.items()}


def chosen_aes(given: Mapping[str, Any] | None, default: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Which aesthetics each visual follows."""
    refuse_unknown("aes_by_visuals", given, default)
    return {name: list(value) for name, value in {**default, **(given or {})}.items()}


def put(collection: PlotCollection, look: Any, name: str, visual: Any, data: xr.Dataset, **style: Any) -> None:
    """Draw a visual in every panel, the same everywhere unless `style` says it, if it was not left out."""
    if look is not False:
        collection.map(visual, name, data=data, **{"ignore_aes": "all", **style, **look})


def styled(default: Mapping[str, Any], follows: Iterable[str]) -> dict[str, Any]:
    """The default look of a visual, but for the aesthetics that it follows."""
    return {key: value for key, value in default.items() if key not in follows}


def ignored(collection: PlotCollection, follows: Iterable[str]) -> set[str]:
    """The aesthetics that a visual does not follow."""
    return set(collection.aes_set) - set(follows)


def backend_of(collection: PlotCollection) -> Any:
    """The module of ArviZ that draws."""
    return import_module(f"arviz_plots.backend.{collection.backend}")


def layout(kwargs: Mapping[str, Any], backend: str | None, size: tuple[float, float] | None = None) -> dict[str, Any]:
    """The arguments of a new figure, with room for the legend; `size` in dots is for those who give none."""
    backend = backend or rcParams["plot.backend"]
    figure = dict(kwargs.get("figure_kwargs", {}))
    if backend == "matplotlib":
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        # Titles and names nearer to their own panels than to others
        figure.setdefault("layout", ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.08))
    if size is not None and "figsize" not in figure:
        figure |= {"figsize": size, "figsize_units": "dots"}
    return {**kwargs, "figure_kwargs": figure, "backend": backend}


def set_aesthetic(collection: PlotCollection, dim: str, key: str, labels: Sequence[str], values: Sequence[Any]) -> None:
    """What `PlotCollection.wrap` does with ``aes``, also for a collection that exists already."""
    mapping = xr.DataArray(list(values), coords={dim: list(labels)}, dims=dim, name="mapping")
    collection.update_aes_from_dataset(key, mapping.to_dataset())


def add_legend(collection: PlotCollection, dim: str, title: str, columns: int = 2, **given: Any) -> None:
    """Say above the panels which line is which, once; ArviZ shows markers in matplotlib's legends only."""
    if "legend" in collection.viz.children:
        return
    keys = ["color", "linestyle"] + (["marker"] if collection.backend == "matplotlib" else [])
    look: dict[str, Any] = {"aes": [key for key in keys if key in collection.aes_set]}
    if collection.backend == "matplotlib":
        look |= {"loc": "outside upper center", "ncols": columns}
    if collection.backend == "plotly":
        # In the margin above, which is made high enough
        above = {"x": 0, "y": 0.98, "yref": "container", "yanchor": "top", "orientation": "h"}
        look |= {"legend": above, "margin": {"t": 105}}
    if collection.backend == "bokeh":
        # At the right of the last panel of the first row, which is made as much wider
        panel = collection.iget_target(0, -1)
        panel.width = max(panel.width or 0, 360) + BESIDE
        look["margin"] = 10
    collection.add_legend(dim, title=title, **{**look, **given})


def add_caution(collection: PlotCollection, text: str, look: Any) -> None:
    """Write below the panels (on bokeh, above) why not to believe them; a figure drawn over says it already."""
    if not text or look is False or "caution" in collection.viz:
        return
    figure, given = collection.get_viz("figure"), {} if look is True else look
    # Text that is still legible, but not louder than the data
    style = {"color": "#595959", "size": 9 if collection.backend == "matplotlib" else 11, **given}
    if collection.backend == "matplotlib":
        artist = figure.supxlabel(text, fontsize=style.pop("size"), wrap=True, **style)
    elif collection.backend == "plotly":
        font = {"color": style.pop("color"), "size": style.pop("size")}
        below = {"x": 0.5, "y": 0, "xref": "paper", "yref": "paper", "yanchor": "top", "yshift": -50}
        figure.add_annotation(text=text, font=font, showarrow=False, **below, **style)
        artist = figure.layout.annotations[-1]
    else:
        figure, artist = backend_of(collection).set_figure_title(figure, text, **style)
        collection.viz["figure"] = xr.DataArray(figure)
    collection.viz["caution"] = xr.DataArray(artist)


def few_ticks(collection: PlotCollection) -> None:
    """Ticks of the values whose labels keep apart in a small panel; other backends turn or drop labels."""
    if collection.backend == "matplotlib":
        for panel in collection.get_viz("figure").axes:
            panel.locator_params(axis="x", nbins=6)


def grid_size(panels: int, columns: int, legend: int = 80) -> tuple[float, float]:
    """Of a figure with this many panels, in dots: ArviZ's own has no room for a legend above them."""
    wide, rows = min(panels, columns), -(-panels // columns)
    return max(360 * wide, 640), legend + 280 * rows


# -- scalars ------------------------------------------------------------------------------------------------------


def labels_of(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
    default: Sequence[str] | None = None,
) -> xr.Dataset:
    """The labels of scalars, in the shapes of their variables; elements and expressions are scalars of their own.

    Parameters
    ----------
    est : Estimate
    var_names, filter_vars
        As for `mle_pp.profile` and ArviZ.
    coords : mapping, optional
        A choice of coordinates.
    default : sequence of str, optional
        The variables meant by None. Default: the parameters.
    """
    layouts = (est._layout, est._derived_layout)
    known = [entry for layout in layouts for entry in layout]
    every = xr.merge([layout.dataset(np.array(layout.labels, dtype=object)) for layout in layouts])
    usual = list(map(str, est.params)) if default is None else list(default)
    if var_names is None:
        found = every[usual]
    elif filter_vars is not None:
        found = choose(every, known, var_names, filter_vars)
    else:
        given = [var_names] if isinstance(var_names, str) else list(var_names)
        names = {*map(str, every.data_vars), *(label for entry in known for label in entry.labels)}
        expressions = [name for name in given if name.removeprefix("~") not in names]
        rest = [name for name in given if name not in expressions]
        found = choose(every, known, rest) if rest else xr.Dataset()
        if rest and all(name.startswith("~") for name in rest):
            found = found[[name for name in found if name in usual]]
        # A slash in the name of a variable would be a path to ArviZ
        scalars = {name.replace("/", "\N{DIVISION SLASH}"): xr.DataArray(name).astype(object) for name in expressions}
        both: dict[str, Any] = dict(zip(map(str, found.data_vars), found.data_vars.values(), strict=True))
        both.update(scalars)
        order = [name.replace("/", "\N{DIVISION SLASH}") for name in given]
        found = xr.Dataset({name: both[name] for name in dict.fromkeys([*order, *both]) if name in both})
    unknown = [dim for dim in coords or {} if dim not in found.dims]
    if unknown:
        raise KeyError(f"coords: {', '.join(unknown)} not among the dims ({', '.join(map(str, found.dims))}).")
    return found.sel({dim: np.atleast_1d(where) for dim, where in (coords or {}).items()})


def flat(labels: xr.Dataset) -> list[str]:
    """All labels, in order."""
    return [str(label) for array in labels.values() for label in np.ravel(array.values)]


def shaped(labels: xr.Dataset, found: Mapping[str, Any], **extra: Sequence[Any]) -> xr.Dataset:
    """Numbers or arrays, one a label, in the shapes of the variables with the dims `extra` last; NaN for others."""
    lengths = tuple(len(values) for values in extra.values())
    variables = {}
    for name, array in labels.items():
        parts = [found.get(str(label), np.full(lengths, np.nan)) for label in np.ravel(array.values)]
        values = np.reshape(parts, (*array.shape, *lengths))
        made = xr.DataArray(values, dims=(*array.dims, *extra), coords=array.coords)
        variables[name] = made.assign_coords({dim: list(values) for dim, values in extra.items()})
    return xr.Dataset(variables)


def profiles_of(est: Estimate, labels: Sequence[str], ci_prob: float, points: int) -> Profiles:
    """Profiles of the scalars that depend on the parameters; constants have none."""
    if is_stored(est):
        return _from_stored(est, labels, ci_prob)
    targets = {}
    for label in labels:
        try:
            targets[label] = scalar_target(est, label)
        except ValueError as error:
            if "does not depend" not in str(error):
                raise
    return profile_targets(est, targets, ci_prob, points)


def _from_stored(est: Estimate, labels: Sequence[str], ci_prob: float) -> Profiles:
    """Profiles that were stored, with limits at this probability, as far as their curves reach."""
    check_allowed(est, "profile")
    slopes = np.concatenate([est._scales.jacobian, est._scales.derived_jacobian])
    constant = dict(zip([*est._layout.labels, *est._derived_layout.labels], ~slopes.any(axis=1), strict=True))
    found = stored_profiles(est, [label for label in labels if not constant.get(label, False)])
    if ci_prob == found.ci_prob:
        return found
    if ci_prob > found.ci_prob:
        raise ModelError(
            f"The profiles in the DataTree go as far as ci_prob={found.ci_prob:g}, and {ci_prob:g} is needed here: "
            f"store mle.profile(est, ci_prob={ci_prob:g})."
        )
    return replace(found, ci_prob=ci_prob, _profiles={label: _nearer(one, ci_prob) for label, one in found.items()})


def _nearer(one: Profile, ci_prob: float) -> Profile:
    """The limits at a smaller probability, between the points of the curve."""
    psi, root = increasing(one)
    if SideStatus.WITHHELD in (one.lower_status, one.upper_status):
        return one
    if psi.size < 3:
        raise ModelError(f"The profile of {one.label} in the DataTree has no curve: store one with points=41.")
    z = float(ndtri((1 + ci_prob) / 2))
    root, first = np.unique(root, return_index=True)
    at = PchipInterpolator(root, psi[first])
    found: dict[str, Any] = {}
    for side, sign, end in (("lower", -1, root[0]), ("upper", 1, root[-1])):
        if sign * end > z:
            found |= {side: float(at(sign * z)), f"{side}_status": SideStatus.FOUND}
    return replace(one, **found)


def increasing(one: Profile) -> tuple[np.ndarray, np.ndarray]:
    """The points of a profile whose scalar and signed root both rise, as a function needs them."""
    use = np.isfinite(one.psi) & np.isfinite(one.root)
    psi, root = one.psi[use], one.root[use]
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(psi)) > 0]) if psi.size else use[:0]
    return psi[keep], root[keep]


def root_at(one: Profile, x: np.ndarray) -> np.ndarray:
    """The signed root between the points of a profile, which are three at least."""
    psi, root = increasing(one)
    if psi[0] < one.estimate < psi[-1]:
        return PchipInterpolator(psi, root)(x)
    # Nearly straight is the root, but for a maximum at an edge, where the log-likelihood is
    fall = np.maximum(PchipInterpolator(psi, root**2)(x), 0.0)
    return np.sign(x - one.estimate) * np.sqrt(fall)


# -- what ArviZ has no function for -------------------------------------------------------------------------------


def text_below(da: xr.DataArray, target: Any, **look: Any) -> Any:
    """A text, one a panel, as the label of the horizontal axis."""
    from arviz_plots.plot_collection import backend_from_object

    return backend_from_object(target).xlabel(str(da.item()), target, **look)


def add_title(collection: PlotCollection, labels: xr.Dataset, labeller: Any, look: Any) -> None:
    """The scalars' names above their panels, as ArviZ writes them."""
    from arviz_base.labels import BaseLabeller
    from arviz_plots.visuals import labelled_title

    put(collection, look, "title", labelled_title, labels, subset_info=True, labeller=labeller or BaseLabeller())
