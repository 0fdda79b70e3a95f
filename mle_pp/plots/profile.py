"""Profiles as signed roots: a straight line where the likelihood is normal, bent where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from mle_pp.conventions import probability
from mle_pp.intervals.profiles import Profile, Profiles, SideStatus, check_allowed, warn_of_sides
from mle_pp.plots.panels import (
    BLACK,
    COLORS,
    CROSS,
    DASHED,
    DISK,
    DOTTED,
    GREY,
    SOLID,
    SQUARE,
    TRIANGLE,
    add_legend,
    add_title,
    backend_of,
    chosen_aes,
    few_ticks,
    flat,
    grid_size,
    ignored,
    increasing,
    labels_of,
    layout,
    options,
    profiles_of,
    put,
    root_at,
    shaped,
    text_below,
)
from mle_pp.quantities import quantity
from mle_pp.stored import is_stored

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from mle_pp.estimate import Estimate

VISUALS = ("curve", "cutoff", "interval", "limits", "estimate", "title", "xlabel", "ylabel", "legend")
CURVES = ["profile likelihood", "Wald: a straight line"]
LOOKS = {"color": [COLORS[0], COLORS[1]], "linestyle": [SOLID, DASHED]}
# What a side of an interval is, as a marker where it ends
MARKERS = {SideStatus.FOUND: DISK, SideStatus.EDGE: SQUARE, SideStatus.INFINITE: TRIANGLE, SideStatus.FAILED: CROSS}
# Curves that go on to infinity are shown as far as this many times the rest
_REACH = 4.0
GRID = 101


def plot_profile(
    est: Estimate | Profiles,
    var_names: str | Sequence[str] | None = None,
    *,
    filter_vars: str | None = None,
    coords: Mapping[str, Any] | None = None,
    ci_prob: float | None = None,
    points: int = 21,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    labeller: Any = None,
    aes_by_visuals: Mapping[str, Sequence[str]] | None = None,
    visuals: Mapping[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """The signed root of each profile likelihood, a panel a scalar, beside the straight line of the Wald interval.

    Parameters
    ----------
    est : Estimate or Profiles
        A result of `mle_pp.profile` with curves is drawn as it is.
    var_names, filter_vars
        Variables, labels of single elements or expressions, as for `mle_pp.profile`. Default: all parameters, or all
        profiles that are given.
    coords : mapping, optional
        A choice of coordinates.
    ci_prob : float, optional
        Of the interval. Default: ArviZ's ``rcParams["stats.ci_prob"]``, or that of the profiles given.
    points : int
        Of each curve, at least.
    plot_collection : PlotCollection, optional
        With panels for the same scalars.
    backend : {"matplotlib", "bokeh", "plotly"}, optional
    labeller : labeller, optional
    aes_by_visuals : mapping, optional
        For ``curve``. Default: its color and linestyle tell the profile and the Wald line apart.
    visuals : mapping of str to (mapping or False), optional
        Options of what is drawn, or False to leave it out: ``curve``, ``cutoff``, ``interval``, ``limits``,
        ``estimate``, ``title``, ``xlabel``, ``ylabel``, ``legend``.
    **pc_kwargs
        Passed to `arviz_plots.PlotCollection.wrap`: ``col_wrap``, ``figure_kwargs``, ...

    Returns
    -------
    arviz_plots.PlotCollection

    Warns
    -----
    ProfileWarning
        As `mle_pp.interval` does for profiles.

    Raises
    ------
    ValueError
        As `mle_pp.profile`; an unknown visual.

    Notes
    -----
    The signed root r(ψ) = sign(ψ − ψ̂) √(2(ℓ̂ − ℓ(ψ))) crosses the dotted cutoffs ±z at the ends of the profile interval,
    the thick line at r = 0. Under the Wald approximation it would be (ψ − ψ̂)/se. Limits are disks where the profile
    crosses a cutoff, squares where it ends at an edge of the support, triangles where it goes on to infinity. Where the
    support of the data ends at a parameter, limits follow a law of their own, and there is no curve.

    References
    ----------
    Pawitan (2001), "In All Likelihood", section 9.4. Bates and Watts (1988), "Nonlinear Regression Analysis",
    chapter 6.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     sigma = pm.HalfNormal("sigma", 10)
    ...     y = pm.Normal("y", mu, sigma, observed=[1.0, 2.0, 3.0, 6.0])
    >>> pc = mle.plot_profile(mle.find_MLE(model), ["sigma", "mu / sigma"], backend="none")
    >>> list(pc.viz["curve"].data_vars)
    ['sigma', 'mu ∕ sigma']
    """
    # Half a second, which a session without figures need not wait for
    from arviz_plots import PlotCollection
    from arviz_plots import visuals as draw

    look, follows = options(visuals, VISUALS), chosen_aes(aes_by_visuals, {"curve": list(LOOKS)})
    found, labels = _profiles(est, var_names, filter_vars, coords, ci_prob, points)
    picture = _Picture(found, labels)
    if plot_collection is None:
        dots = grid_size(len(flat(labels)), pc_kwargs.get("col_wrap", 4))
        pc_kwargs = layout({**LOOKS, **pc_kwargs}, backend, dots)
        pc_kwargs["aes"] = {**{key: ["curve"] for key in LOOKS}, **pc_kwargs.get("aes", {})}
        pc_kwargs.setdefault("cols", ["__variable__", *labels.dims])
        collection = PlotCollection.wrap(picture.curves, **pc_kwargs)
    else:
        collection = plot_collection

    z, draw_all = picture.z, partial(put, collection)
    for name, height in (("lower_cutoff", -z), ("upper_cutoff", z)):
        draw_all(look["cutoff"], name, draw.hline, picture.constant(height), color=GREY, linestyle=DOTTED)
    draw_all(look["interval"], "interval", draw.line_x, picture.interval, color=COLORS[0], width=4, alpha=0.4)
    ignore = ignored(collection, follows["curve"])
    draw_all(look["curve"], "curve", draw.line_xy, picture.curves, ignore_aes=ignore)
    for status, marker in MARKERS.items():
        style = {"color": COLORS[0], "marker": marker, "size": 8 if collection.backend == "bokeh" else 45}
        draw_all(look["limits"], f"limits_{status}", draw.scatter_xy, picture.ends(status), **style)
    style = {"color": BLACK, "marker": "|", "size": 12 if collection.backend == "bokeh" else 90}
    draw_all(look["estimate"], "estimate", draw.scatter_x, picture.estimate, **style)
    add_title(collection, labels, labeller, look["title"])
    draw_all(look["xlabel"], "xlabel", text_below, picture.texts)
    draw_all(look["ylabel"], "ylabel", draw.labelled_y, labels, text="signed root")
    few_ticks(collection)
    module = backend_of(collection)
    collection.map(
        lambda da, target, **_: module.ylim((-1.25 * z, 1.25 * z), target),
        data=labels,
        store_artist=False,
        ignore_aes="all",
    )
    if look["legend"] is not False:
        title = f"limits of the {100 * found.ci_prob:g} % interval where r = ±{z:.3g}"
        add_legend(collection, "curve", title, **look["legend"])
    return collection


def _profiles(
    est: Estimate | Profiles,
    var_names: str | Sequence[str] | None,
    filter_vars: str | None,
    coords: Mapping[str, Any] | None,
    ci_prob: float | None,
    points: int,
) -> tuple[Profiles, xr.Dataset]:
    """The profiles of the scalars chosen, and their labels."""
    if not isinstance(est, Profiles):
        check_allowed(est, "profile")
        labels = labels_of(est, var_names, filter_vars, coords)
        found = profiles_of(est, flat(labels), probability(ci_prob), points)
        warn_of_sides(est, found, stacklevel=4)
        return found, labels
    if ci_prob is not None and probability(ci_prob) != est.ci_prob:
        raise ValueError(f"ci_prob={ci_prob:g}, but the profiles are those of {est.ci_prob:g}: ask mle.profile for it.")
    labels = labels_of(est.estimate, list(est) if var_names is None else var_names, filter_vars, coords)
    missing = [label for label in flat(labels) if label not in est]
    if missing:
        raise KeyError(f"{', '.join(missing)} not among the profiles ({', '.join(est)}).")
    return est, labels


class _Picture:
    """The numbers of the figure, in the shapes of the variables."""

    def __init__(self, found: Profiles, labels: xr.Dataset) -> None:
        self._found, self._labels = found, labels
        self.z = float(-ndtri((1 - found.ci_prob) / 2))
        errors = _errors(found.estimate, labels, list(found))
        self._parts = {label: _Part(one, errors[label], self.z) for label, one in found.items()}

    @property
    def curves(self) -> xr.Dataset:
        """The profile and the Wald line."""
        both = {}
        for label, part in self._parts.items():
            wald = np.linspace(part.wald[:, 0], part.wald[:, 1], GRID, axis=1)
            both[label] = np.stack([[part.psi, part.root], wald])
        return self._shaped(both, curve=CURVES, plot_axis=["x", "y"], point=range(GRID))

    @property
    def interval(self) -> xr.Dataset:
        """Both ends, as far as they are shown."""
        return self._shaped({k: part.ends[:, 0] for k, part in self._parts.items()}, ci_bound=["lower", "upper"])

    @property
    def estimate(self) -> xr.Dataset:
        """The maximum."""
        return self._shaped({k: part.estimate for k, part in self._parts.items()})

    @property
    def texts(self) -> xr.Dataset:
        """The interval in words."""
        words = {label: part.text(self._found.ci_prob) for label, part in self._parts.items()}
        return self._labels.map(lambda array: xr.apply_ufunc(lambda x: words.get(x, ""), array, vectorize=True))

    def ends(self, status: SideStatus) -> xr.Dataset:
        """Where the sides of this status end, on the curve."""
        found = {}
        for label, part in self._parts.items():
            shown = np.array([side is status for side in part.statuses])
            found[label] = np.where(shown[:, None], part.ends, np.nan).T
        return self._shaped(found, plot_axis=["x", "y"], ci_bound=["lower", "upper"])

    def constant(self, value: float) -> xr.Dataset:
        """The same number in every panel."""
        return self._shaped(dict.fromkeys(self._parts, value))

    def _shaped(self, found: Mapping[str, Any], **extra: Sequence[Any]) -> xr.Dataset:
        return shaped(self._labels, found, **extra)


class _Part:
    """One profile, as far as it is shown."""

    def __init__(self, one: Profile, error: float, z: float) -> None:
        self._one, self.statuses = one, (one.lower_status, one.upper_status)
        psi, root = increasing(one)
        self.estimate = one.estimate if np.isfinite(one.estimate) else np.nan
        if psi.size > 2:
            psi = np.linspace(*self._window(psi, root, error, z), GRID)
            root = root_at(one, psi)
        else:
            psi = root = np.full(GRID, np.nan)
        self.psi, self.root = psi, root
        # A little further than the profile goes
        reach = 1.15 * z * np.array([-1.0, 1.0])
        self.wald = np.stack([self.estimate + error * reach, reach])
        # Limits that belong to no curve are shown all the same
        limits = np.array([one.lower, one.upper])
        limits = (
            np.clip(limits, psi[0], psi[-1]) if np.isfinite(psi[0]) else np.where(np.isfinite(limits), limits, np.nan)
        )
        self.ends = np.stack([limits, np.interp(limits, psi, root) if np.isfinite(psi[0]) else 0 * limits], axis=1)

    def _window(self, psi: np.ndarray, root: np.ndarray, error: float, z: float) -> tuple[float, float]:
        """From where to where the curve is shown: all of it, but for what goes on to infinity."""
        one, (lower, upper) = self._one, self.statuses
        low, high = psi[0], psi[-1]
        if not np.isfinite(one.estimate):
            # Towards an estimate at infinity, until little is left to gain
            near = psi[np.abs(root) <= 0.2 * z]
            return (near[-1], high) if one.estimate < 0 else (low, near[0])
        spans = [abs(limit - one.estimate) for limit in (one.lower, one.upper)] + [z * error]
        span = _REACH * max([s for s in spans if np.isfinite(s) and s > 0], default=np.ptp(psi) / _REACH)
        low = low if lower is not SideStatus.INFINITE else max(low, one.estimate - span)
        high = high if upper is not SideStatus.INFINITE else min(high, one.estimate + span)
        return low, high

    def text(self, prob: float) -> str:
        """The interval, with what is special about its sides."""
        if SideStatus.WITHHELD in self.statuses:
            return f"{100 * prob:g} %: withheld"
        words = []
        for limit, status in zip((self._one.lower, self._one.upper), self.statuses, strict=True):
            number = "not found" if status is SideStatus.FAILED else f"{limit:.4g}".replace("inf", "∞")
            words.append(f"{number} (edge)" if status is SideStatus.EDGE else number.replace("-", "\N{MINUS SIGN}"))
        return f"{100 * prob:g} %: {words[0]} to {words[1]}"


def _errors(est: Estimate, labels: xr.Dataset, needed: Sequence[str]) -> dict[str, float]:
    """Standard errors by label, of expressions too."""
    errors = est.stderr()
    layouts = (est._layout, est._derived_layout)
    known = {k: float(v) for part in layouts for k, v in zip(part.labels, part.vector(errors), strict=True)}
    covariance = est.cov(scale="unconstrained").values
    for label in needed:
        if label not in known and is_stored(est):
            # Its slope was not stored
            known[label] = np.nan
        elif label not in known:
            slope = quantity(est._objective.parameters, label).gradient(est._optimum.x)
            known[label] = float(np.sqrt(slope @ covariance @ slope))
    return known
