"""Profile-likelihood intervals and curves, for any scalar of a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import brentq
from scipy.special import ndtri

from mle_pp.conventions import probability, select
from mle_pp.errors import ModelError, ProfileWarning
from mle_pp.find import refit
from mle_pp.information import limits as values_at_limit
from mle_pp.intervals.edges import support_coordinate, support_limits
from mle_pp.intervals.endpoint import Endpoint, HigherPointError, Point, Top, newton_endpoint
from mle_pp.intervals.path import Ending, Path, follow, maximum_at, off_the_edge, refined
from mle_pp.intervals.scalars import Coordinate, Limits, Target, target
from mle_pp.linalg import inverse_on
from mle_pp.optimize import learning_at
from mle_pp.stored import group_needed, is_stored
from mle_pp.verdict import Status

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

# An endpoint that Newton's method reached at once is believed where the three slopes of the signed root that are known,
# at both ends and on average, are alike within this factor; elsewhere the profile is followed step by step.
_ALIKE = 4.0
_BETTER_OPTIMA = 5


class SideStatus(StrEnum):
    """What a side of a profile interval is."""

    FOUND = "found"
    EDGE = "edge"
    INFINITE = "infinite"
    WITHHELD = "withheld"
    FAILED = "failed"


@dataclass(frozen=True)
class Profile:
    """The profile likelihood of one scalar.

    Attributes
    ----------
    label : str
        The label or expression.
    estimate : float
        The maximum-likelihood estimate, or its limit.
    lower, upper : float
        The interval: where the profile log-likelihood crosses the cutoff. NaN where there is no meaningful value.
    lower_status, upper_status : SideStatus
        ``found``: the profile crosses the cutoff here. ``edge``, ``infinite``: it does not on the way to the edge of
        the support, or to infinity, which is then the limit. ``withheld``: the scalar is not determined by the data.
        ``failed``: the limit was not found.
    note : str
        Why a side is not ``found``, where a status does not say it.
    psi, loglik, root : ndarray, shape (points,)
        The curve, from left to right: the scalar's value, the log-likelihood maximized over everything else, and the
        signed root sign(ψ − ψ̂) √(2(ℓ̂ − ℓ)), a straight line where the log-likelihood is quadratic. Empty for the
        calls that ask for no curve.
    path : xr.Dataset
        The parameters at each of these maxima, on the user's scale, with a first dim ``point``.
    """

    label: str
    estimate: float
    lower: float
    upper: float
    lower_status: SideStatus
    upper_status: SideStatus
    note: str = ""
    psi: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    loglik: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    root: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    path: xr.Dataset = field(default_factory=xr.Dataset, repr=False)


@dataclass(frozen=True, eq=False)
class Profiles(Mapping[str, Profile]):
    """Profiles by label, as `mle_pp.profile` returns them.

    Attributes
    ----------
    estimate : Estimate
        The maximum that the profiles belong to: the one that was given or, where `is_improved`, a better one that was
        found on the way.
    is_improved : bool
    ci_prob : float
    """

    estimate: Estimate
    is_improved: bool
    ci_prob: float
    _profiles: dict[str, Profile]

    def __getitem__(self, label: str) -> Profile:
        return self._profiles[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._profiles)

    def __len__(self) -> int:
        return len(self._profiles)

    def to_dataframe(self) -> pd.DataFrame:
        """A row a scalar: estimate, limits, their statuses, note."""
        columns = ["estimate", "lower", "upper", "lower_status", "upper_status", "note"]
        rows = [{c: getattr(p, c) for c in columns} for p in self.values()]
        return pd.DataFrame(rows, index=pd.Index(list(self), name="label"), columns=columns)

    def to_datatree(self) -> xr.DataTree:
        """The profiles as the flat group ``mle_profile``, which can sit beside a posterior and be written to netCDF.

        Returns
        -------
        xarray.DataTree
            With the columns of `to_dataframe` along ``label``; the curves ``psi``, ``loglik`` and ``root`` along
            ``label`` and ``point``, and the parameters along them, ``path``, with ``parameter`` last. Shorter curves
            end in NaN.
        """
        layout = self.estimate._layout
        each = []
        for p in self.values():
            path = [layout.vector(p.path.isel(point=k)) for k in range(p.psi.size)]
            variables: dict[str, Any] = {name: getattr(p, name) for name in ("estimate", "lower", "upper")}
            variables |= {name: str(getattr(p, name)) for name in ("lower_status", "upper_status", "note")}
            variables |= {name: ("point", getattr(p, name)) for name in ("psi", "loglik", "root")}
            variables["path"] = (("point", "parameter"), np.reshape(path, (p.psi.size, layout.size)))
            each.append(xr.Dataset(variables, {"point": np.arange(p.psi.size), "parameter": layout.labels}))
        dataset = xr.concat(each, xr.DataArray(list(self), dims="label", name="label"), join="outer")
        attrs = {"inference_library": "mle_pp", "ci_prob": self.ci_prob, "is_improved": int(self.is_improved)}
        return xr.DataTree.from_dict({"mle_profile": dataset.assign_attrs(attrs)})

    @property
    def _heading(self) -> str:
        improved = ". They belong to a better optimum, found on the way: see .estimate." if self.is_improved else ""
        return f"Profile-likelihood intervals, {100 * self.ci_prob:g} %{improved}"

    def __repr__(self) -> str:
        return f"{self._heading}\n{self.to_dataframe().to_string()}"

    def _repr_html_(self) -> str:
        return f"<div><p>{escape(self._heading)}</p>{self.to_dataframe().to_html(border=0)}</div>"


def profile(
    est: Estimate,
    var_names: str | Sequence[str] | None = None,
    *,
    ci_prob: float | None = None,
    points: int = 21,
) -> Profiles:
    """Profile likelihood of scalars: intervals, with what each side is, and curves.

    Parameters
    ----------
    est : Estimate
        A maximum-likelihood estimate.
    var_names : str or list of str, optional
        Names of variables (all their elements), labels of single elements such as ``beta[x1]``, or expressions in
        labels such as ``exp(a) / b``; parameters and `Deterministic`s alike. Default: all parameters.
    ci_prob : float, optional
        Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    points : int
        Of each curve, at least; zero for intervals alone.

    Returns
    -------
    Profiles
        A mapping from labels to `Profile`; see there.

    Warns
    -----
    ProfileWarning
        A point of a profile has a higher likelihood than the estimate: the profiles are then those of the better
        optimum, which is in ``estimate`` of the result. Or a limit was not found.

    Raises
    ------
    ValueError
        A posterior mode or a penalized estimate; a verdict under which χ² cutoffs do not hold (IRREGULAR, or no
        maximum at all); `ci_prob` not between 0 and 1; not an expression.
    KeyError
        An unknown label.

    Notes
    -----
    The profile log-likelihood of ψ is the log-likelihood maximized over everything else at this ψ; the interval holds
    the ψ at which it is at most half the χ²₁ quantile below its maximum. It does not depend on the parametrization.
    Endpoints are found by Newton's method on the point and its multiplier together (Venzon and Moolgavkar 1988); where
    that fails, or the profile is far from a parabola, by following it outward with constrained maxima. They are those
    nearest to the estimate on each side.

    References
    ----------
    Venzon and Moolgavkar (1988), Applied Statistics 37, 87-94. Pawitan (2001), "In All Likelihood", chapter 3.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> found = mle.profile(mle.find_MLE(model), ["mu", "exp(mu)"], ci_prob=0.95)
    >>> round(found["mu"].lower, 4), round(found["mu"].upper, 4)
    (1.04, 4.96)
    >>> found["mu"].upper_status
    <SideStatus.FOUND: 'found'>
    """
    prob = probability(ci_prob)
    if not isinstance(points, int) or isinstance(points, bool) or points < 0:
        raise ValueError(f"points={points!r} is not a number of points.")
    result = profile_labels(est, expanded(est, var_names), prob, points)
    failed = [f"{p.label}: {p.note}" for p in result.values() if SideStatus.FAILED in (p.lower_status, p.upper_status)]
    told = [improvement(est, result)] if result.is_improved else []
    if told or failed:
        warnings.warn(" ".join([*told, *failed]), ProfileWarning, stacklevel=2)
    return result


def expanded(est: Estimate, var_names: str | Sequence[str] | None) -> list[str]:
    """Labels of all elements of the named variables, and what is no such name as it is."""
    layouts = (est._layout, est._derived_layout)
    elements = {entry.name: entry.labels for layout in layouts for entry in layout}
    if var_names is None:
        return est._layout.labels
    given = [var_names] if isinstance(var_names, str) else list(var_names)
    if given and all(isinstance(name, str) and name.startswith("~") for name in given):
        chosen = select(est.params.merge(est.derived), given)
        given = [name for name in chosen if name in est.params]
    return list(dict.fromkeys(label for name in given for label in elements.get(name, [name])))


def profile_labels(est: Estimate, labels: Sequence[str], prob: float, points: int) -> Profiles:
    """Profiles of labelled scalars and expressions."""
    check_allowed(est, "profile")
    if is_stored(est):
        found = stored_profiles(est, labels)
        if prob != found.ci_prob:
            raise ValueError(
                f"ci_prob={prob:g}, but the profiles in the DataTree are those of {found.ci_prob:g}: ask for these."
            )
        return found
    return profile_targets(est, {label: target(est, label) for label in labels}, prob, points)


def stored_profiles(est: Estimate, labels: Sequence[str]) -> Profiles:
    """Profiles of an estimate that was read without its model, from the group beside it.

    Raises
    ------
    ModelError
        They are not there; with the call that makes them.
    """
    stored: Any = est._objective
    dataset = stored.profiles
    there = [] if dataset is None else [str(label) for label in dataset["label"].values]
    missing = [label for label in labels if label not in there]
    group = f"mle_profile with {', '.join(missing)}"
    call = f"tree.update(mle.profile(est, {list(labels)!r}, ci_prob=0.9995).to_datatree().children)"
    group_needed(None if missing or dataset is None else dataset, group, call)
    found = {label: _read(est, dataset.isel(label=there.index(label))) for label in labels}
    tops = [one.loglik.max() for one in found.values() if one.loglik.size]
    if not np.allclose(tops, est._optimum.value, rtol=1e-7, atol=1e-5):
        raise ModelError(
            "The profiles in the DataTree belong to another optimum than the estimate there: store that of "
            ".estimate of the result of mle.profile."
        )
    return Profiles(est, False, float(dataset.attrs["ci_prob"]), found)


def _read(est: Estimate, one: xr.Dataset) -> Profile:
    """The inverse of what `Profiles.to_datatree` does with a profile; shorter curves end in NaN there."""
    known = np.isfinite(one["psi"].values)
    fields: dict[str, Any] = {name: float(one[name]) for name in ("estimate", "lower", "upper")}
    fields |= {name: SideStatus(str(one[name].item())) for name in ("lower_status", "upper_status")}
    fields |= {name: one[name].values[known] for name in ("psi", "loglik", "root")}
    rows = [est._layout.dataset(row) for row in one["path"].transpose("point", "parameter").values[known]]
    path = xr.concat(rows, dim="point") if rows else xr.Dataset()
    return Profile(str(one["label"].item()), **fields, note=str(one["note"].item()), path=path)


def profile_targets(est: Estimate, targets: Mapping[str, Target], prob: float, points: int) -> Profiles:
    """Profiles from the estimate, or from a better one that is found on the way."""
    check_allowed(est, "profile")
    current = est
    for _ in range(_BETTER_OPTIMA):
        try:
            with np.errstate(all="ignore"):
                found = _all(current, list(targets.values()), prob, points)
        except _BetterEstimateError as error:
            current = error.estimate
            continue
        return Profiles(current, current is not est, prob, dict(zip(targets, found, strict=True)))
    raise ValueError(
        f"The likelihood has many local maxima: {_BETTER_OPTIMA} times profiles led to a better one. Estimate again "
        f"with more starting points (starts=50)."
    )


def warn_of_sides(est: Estimate, found: Profiles, stacklevel: int) -> None:
    """Tell which sides are no crossings of the cutoff, and of a better optimum."""
    told = [improvement(est, found)] if found.is_improved else []
    for label, one in found.items():
        statuses = {"lower": one.lower_status, "upper": one.upper_status}
        special = ", ".join(f"{side} {status}" for side, status in statuses.items() if status != SideStatus.FOUND)
        told += [f"{label}: {special}{f' ({one.note})' if one.note else ''}."] if special else []
    if told:
        warnings.warn("Profile intervals. " + " ".join(told), ProfileWarning, stacklevel=stacklevel)


def check_allowed(est: Estimate, what: str) -> None:
    """Refuse estimates that have no likelihood-based limits."""
    if est.kind != "mle":
        name = {"map": "a posterior mode", "penalized": "a penalized estimate"}[est.kind]
        raise ValueError(
            f"A {what} is taken from the likelihood, and this is {name}, whose maximized function contains priors. Use "
            f"find_MLE without keep_priors=."
        )
    status = est.verdict.status
    at_support = what == "profile" and support_coordinate(est) is not None
    if status.is_failure or (status is Status.IRREGULAR and not at_support):
        raise ValueError(f"There is no {what} here, for χ² cutoffs need a regular maximum. {est.verdict.message}")


class _BetterEstimateError(Exception):
    def __init__(self, estimate: Estimate) -> None:
        super().__init__("A better optimum was found.")
        self.estimate = estimate


def improvement(est: Estimate, result: Profiles) -> str:
    """In words, that a better optimum was found."""
    return (
        f"On the way a better optimum was found, with log-likelihood {result.estimate.loglik:.8g} instead of "
        f"{est.loglik:.8g}: the intervals are those of that one. It is in .estimate of the result of mle.profile; or "
        f"estimate again with more starting points."
    )


def _all(est: Estimate, targets: Sequence[Target], prob: float, points: int) -> list[Profile]:
    if est.verdict.status is Status.IRREGULAR:
        return [_at_support(est, scalar, prob) for scalar in targets]
    limits = Limits.of(est)
    top = top_of(est, limits)
    drop = 0.5 * float(ndtri((1 - prob) / 2)) ** 2
    return [_one(est, top, limits, scalar, drop, points) for scalar in targets]


def top_of(est: Estimate, limits: Limits) -> Top:
    """The maximum with its derivatives."""
    optimum = est._optimum
    point = Point(optimum.x, optimum.value, optimum.gradient, optimum.hessian)
    return Top(learning_at(est._objective, optimum), point, limits.basis, limits.special.drift)


def _at_support(est: Estimate, scalar: Target, prob: float) -> Profile:
    """The parameter at which the support of the data ends has limits of its own law; of the others none is known."""
    found, value = support_limits(est, scalar, prob), scalar.value(est._optimum.x)
    if found is None:
        withheld = SideStatus.WITHHELD
        note = "no law is known for it here (IRREGULAR)"
        return Profile(scalar.label, value, np.nan, np.nan, withheld, withheld, note)
    note = "the support of the data ends here: cutoff of χ² with two degrees of freedom"
    lower, upper = (
        SideStatus.EDGE if end == value else SideStatus.INFINITE if np.isinf(end) else SideStatus.FOUND for end in found
    )
    return Profile(scalar.label, value, *found, lower, upper, note)


@dataclass(frozen=True)
class _Side:
    limit: float
    status: SideStatus
    points: list[Endpoint]
    note: str = ""


def _one(est: Estimate, top: Top, limits: Limits, scalar: Target, drop: float, points: int) -> Profile:
    x = top.point.x
    reason = limits.reason(scalar, x)
    if reason:
        withheld = SideStatus.WITHHELD
        return Profile(scalar.label, np.nan, np.nan, np.nan, withheld, withheld, f"{reason} ({est.verdict.status})")
    pinned = limits.pinned(scalar, x)
    top = replace(top, holds=bool(limits.special.drift.size) and not pinned)
    value = limits.end(scalar, x) if pinned else scalar.value(x)
    lower, upper = (side_of(est, top, limits, scalar, side, drop, pinned) for side in (-1, 1))
    note = "; ".join(dict.fromkeys(side.note for side in (lower, upper) if side.note))
    if points == 0:
        return Profile(scalar.label, value, lower.limit, upper.limit, lower.status, upper.status, note)
    psi, loglik, root, path = _curve(est, top, scalar, lower.points, upper.points, points)
    return Profile(
        scalar.label, value, lower.limit, upper.limit, lower.status, upper.status, note, psi, loglik, root, path
    )


def _curve(
    est: Estimate, top: Top, scalar: Target, lower: list[Endpoint], upper: list[Endpoint], points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, xr.Dataset]:
    """Both sides of the curve in one, from left to right."""
    left, right = (refined(top, scalar.working, side, 1 + points // 2) for side in (lower, upper))
    nodes = [*left[:0:-1], *right]
    sign = np.concatenate([-np.ones(len(left) - 1), np.ones(len(right))])
    loglik = np.array([node.value for node in nodes])
    root = sign * np.sqrt(2 * np.maximum(top.point.value - loglik, 0.0))
    psi = np.array([scalar.value(node.x) for node in nodes])
    datasets = [est._layout.dataset(est._objective.parameters.constrained(node.x)) for node in nodes]
    return psi, loglik, root, xr.concat(datasets, dim="point")


def side_of(est: Estimate, top: Top, limits: Limits, scalar: Target, side: int, drop: float, pinned: bool) -> _Side:
    """One side of an interval, on the user's scale."""
    x, ahead = top.point.x, side * scalar.sign
    start = Endpoint(x, scalar.working.value(x), top.point.value, 0.0)
    first, inside = [start], _inside(top, drop) if pinned else None
    if pinned:
        if inside is None:
            return _Side(np.nan, SideStatus.FAILED, first, "the likelihood does not fall behind the limit")
        if ahead * (start.psi - scalar.working.value(inside[0])) > 0:
            end = limits.end(scalar, x)
            return _Side(end, SideStatus.INFINITE if np.isinf(end) else SideStatus.EDGE, first)
    try:
        if not pinned:
            end_point = _at_once(top, scalar, ahead, drop)
            if end_point is not None:
                return _Side(scalar.value(end_point.x), SideStatus.FOUND, [start, end_point])
        if inside is None:
            direction = ahead * _wald_step(top, scalar, drop) / 2
        else:
            direction = inside[1] - inside[0]
            near = maximum_at(top, scalar.working, scalar.working.value(inside[0]), inside[0])
            first = [start, near] if near is not None else first
        path = follow(top, scalar.working, ahead, drop, first, direction)
    except HigherPointError as error:
        better = refit(est, error.x)
        allowed = not better.verdict.status.is_failure and better.verdict.status is not Status.IRREGULAR
        if allowed and better._optimum.value > top.point.value:
            raise _BetterEstimateError(better) from None
        word = "lower" if side < 0 else "upper"
        return _Side(np.nan, SideStatus.FAILED, [start], f"towards its {word} side, {better.verdict.message}")
    return _ended(top, scalar, path, side)


def _wald_step(top: Top, scalar: Target, drop: float) -> np.ndarray:
    """From the maximum to the upper end of the Wald interval."""
    slope = scalar.working.gradient(top.point.x)
    step = inverse_on(-top.point.hessian, top.basis) @ slope
    return step * np.sqrt(2 * drop / (slope @ step))


def _inside(top: Top, drop: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Two points straight back from the limit, where the likelihood has begun to fall."""
    x, inward = top.point.x, -top.drift.sum(axis=1)

    def fallen(t: float) -> float:
        fall = top.point.value - top.objective.value(x + t * inward)
        return min(fall, drop) if np.isfinite(fall) else drop

    far = next((t for t in 2.0 ** np.arange(-10, 11) if fallen(t) >= 0.5 * drop), None)
    if far is None:
        return None
    shares = (0.1, 0.4)
    near, middle = (brentq(lambda t, share=share: fallen(t) - share * drop, 0.0, far) for share in shares)
    return x + near * inward, x + middle * inward


def _at_once(top: Top, scalar: Target, ahead: int, drop: float) -> Endpoint | None:
    """The endpoint by Newton's method from the maximum, where it can be trusted."""
    found = newton_endpoint(top, scalar.working, ahead, drop, top.point, 0.0, top.basis)
    if found is None:
        return None
    moved = ahead * (found.psi - scalar.working.value(top.point.x))
    if not (moved > 0 and ahead * found.slope < 0):
        return None
    slope, step = scalar.working.gradient(top.point.x), _wald_step(top, scalar, drop)
    z = np.sqrt(2 * drop)
    slopes = np.array([z / (slope @ step), z / moved, abs(found.slope) / z])
    if slopes.max() > _ALIKE * slopes.min() or off_the_edge(top, found.x, found.value):
        return None
    return found


def _ended(top: Top, scalar: Target, path: Path, side: int) -> _Side:
    points = path.points
    if path.ending is Ending.CROSSED:
        return _Side(scalar.value(points[-1].x), SideStatus.FOUND, points)
    where, bound = scalar.value(points[-1].x), scalar.bounds[side > 0]
    if path.ending is Ending.STUCK and np.isclose(where, bound, rtol=1e-6):
        return _Side(bound, SideStatus.EDGE, points)
    if path.ending is Ending.STUCK:
        return _Side(np.nan, SideStatus.FAILED, points, f"the profile could not be followed beyond {where:.6g}")
    limit = _limit(top, scalar, points, side)
    return _Side(limit, SideStatus.INFINITE if np.isinf(limit) else SideStatus.EDGE, points)


def _limit(top: Top, scalar: Target, points: list[Endpoint], side: int) -> float:
    """What the scalar tends to along a path on which the likelihood has levelled off."""
    x, ahead = points[-1].x, side * scalar.sign
    if isinstance(scalar.working, Coordinate):
        k = scalar.working.index
        direction = ahead * scalar.working.gradient(x)[:, None]
        if top.objective.units[k] == 0:
            direction *= max(1.0, abs(x[k]))
        return float(values_at_limit(lambda z: np.array([scalar.value(z)]), x, direction)[0])
    psi = np.array([scalar.value(point.x) for point in points[-3:]])
    if psi.size < 3:
        return float(values_at_limit(lambda z: np.array([scalar.value(z)]), x, top.drift)[0])
    before, last = abs(psi[1] - psi[0]), abs(psi[2] - psi[1])
    if last >= 0.5 * before:
        return scalar.bounds[side > 0]
    return float(psi[2] + side * last**2 / (before - last))
