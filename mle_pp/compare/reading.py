"""A comparison in words. Every sentence follows from numbers of the table by the rule that its function states."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mle_pp.compare.posterior import doubts, some
from mle_pp.conventions import bounds

# In standard errors: what is worth a sentence
NOTABLE = 0.5
# In Monte Carlo errors: what is not noise
CERTAIN = 3.0
# Width ratios that are about one
NARROW, WIDE = 0.8, 1.25
# Overlap from which on two intervals agree
AGREE = 0.85
# A posterior is the prior if it is as wide as this share of it, and its mean within so many of its standard deviations
AS_WIDE, AS_FAR = 0.9, 0.25

_NAMES = {"mle": "maximum-likelihood estimate", "map": "posterior mode", "penalized": "penalized estimate"}


def two_in_words(frame: pd.DataFrame, facts: dict[str, Any], notes: list[str]) -> list[str]:
    """Sentences about an estimate and a posterior."""
    found = verdict(facts)
    found += posterior_doubts(frame, facts)
    if facts["failed"]:
        return [*found, *notes]
    said: set[str] = set()
    told = []
    for rule in (infinite, is_prior, pulled, skewed, moved, misled, resized):
        sentences, labels = rule(frame.drop(index=list(said)) if rule is resized else frame, facts)
        told += sentences
        said |= set(labels)
    if not told and len(frame):
        most = frame["shift"].abs().max()
        size = "" if np.isnan(most) else f": no shift is larger than {most:.2f} standard errors"
        told = [f"Estimate and posterior agree{size}."]
    return [*found, *told, *notes]


def verdict(facts: dict[str, Any]) -> list[str]:
    """The estimate is no maximum, or not a regular one."""
    if facts["failed"]:
        return [f"There is no {_NAMES[facts['estimate']]} to compare with. {facts['verdict']}"]
    return [] if facts["status"] == "CONVERGED" else [facts["verdict"]]


def posterior_doubts(frame: pd.DataFrame, facts: dict[str, Any]) -> list[str]:
    """A single chain, r-hat, divergences, effective sample size."""
    ones = np.ones(len(frame))
    r_hat = frame["r_hat"].to_numpy() if "r_hat" in frame else ones
    ess = frame["ess_bulk"].to_numpy() if "ess_bulk" in frame else np.inf * ones
    return list(doubts([str(label) for label in frame.index], r_hat, ess, facts).values())


def infinite(frame: pd.DataFrame, facts: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The likelihood has its supremum at infinity."""
    labels = [str(x) for x in frame.index[np.isinf(frame[facts["estimate"]])]]
    if not labels:
        return [], []
    told = f"The likelihood rises without end towards infinite {some(labels)}: only the prior keeps it finite."
    return [told], labels


def is_prior(frame: pd.DataFrame, facts: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Not identified by the verdict; or as wide as the prior, and where the prior is."""
    unknown = [str(x) for x in frame.index if x in facts["not_identified"]]
    told = []
    if unknown:
        told.append(f"The data do not identify {some(unknown)}: what the posterior says of it comes from the prior.")
    if "prior_sd" not in frame:
        return told, unknown
    distance = (frame["mean"] - frame["prior_mean"]).abs() / frame["prior_sd"]
    same = (frame["sd"] > AS_WIDE * frame["prior_sd"]) & (distance < AS_FAR)
    labels = [str(x) for x in frame.index[same]]
    if labels:
        shares = [f"{x} ({frame.loc[x, 'sd'] / frame.loc[x, 'prior_sd']:.2f})" for x in labels]
        told.append(f"The posterior is the prior for {some(shares)}: its share of the prior's standard deviation.")
    return told, [*unknown, *labels]


def pulled(frame: pd.DataFrame, facts: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The prior moves the maximum by half a standard error or more."""
    return _by("The prior moved", frame, _large(frame, "prior_pull"), "prior_pull")


def skewed(frame: pd.DataFrame, facts: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The posterior mean is half a standard error or more, and three Monte Carlo errors, from the mode."""
    unit = frame["se"].where(frame["unit"] == "se", frame["sd"])
    certain = frame["asymmetry"].abs() * unit > CERTAIN * frame["mcse_mean"]
    chosen = _large(frame, "asymmetry") & certain
    return _by("The posterior is asymmetric, its mean away from its mode, in", frame, chosen, "asymmetry")


def moved(frame: pd.DataFrame, facts: dict[str, Any]) -> tuple[list[str], list[str]]:
    """A shift of half a standard error or more that cannot be split."""
    chosen = _large(frame, "shift") & frame["prior_pull"].isna()
    return _by("Estimate and posterior mean differ, by prior or by asymmetry, in", frame, chosen, "shift")


def misled(frame: pd.DataFrame, facts: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The Wald interval is another one than the posterior's, and the other confidence interval is the same."""
    kind = facts["kind"]
    if kind == "wald":
        return [], []
    wald, posterior = (bounds(k, facts["ci_prob"]) for k in ("wald", facts["ci_kind"]))
    chosen = (frame["overlap"] >= AGREE) & (overlap(frame, wald, posterior) < AGREE)
    labels = [str(x) for x in frame.index[chosen]]
    if not labels:
        return [], []
    return [f"The Wald interval misleads for {some(labels)}: {kind} and posterior agree on another one."], labels


def resized(frame: pd.DataFrame, facts: dict[str, Any]) -> tuple[list[str], list[str]]:
    """An interval of another width, where nothing else is to be said."""
    told, labels = [], []
    for chosen, word in ((frame["width_ratio"] < NARROW, "narrower"), (frame["width_ratio"] > WIDE, "wider")):
        which = [str(x) for x in frame.index[chosen & np.isfinite(frame["width_ratio"])]]
        if which:
            parts = [f"{x} ({frame.loc[x, 'width_ratio']:.2f} times)" for x in which]
            told.append(f"The posterior's interval is {word} than the {facts['kind']} interval of {some(parts)}.")
            labels += which
    return told, labels


def overlap(frame: pd.DataFrame, first: tuple[str, str], second: tuple[str, str]) -> pd.Series:
    """Length of what is in both intervals over the length of what is in either; NaN where there is no length.

    Parameters
    ----------
    frame : DataFrame
    first, second : tuple of str
        The columns with the lower and the upper limits of each.
    """
    (a, b), (c, d) = ([frame[column] for column in columns] for columns in (first, second))
    with np.errstate(all="ignore"):
        both = (np.minimum(b, d) - np.maximum(a, c)).clip(lower=0)
        return both / ((b - a) + (d - c) - both).where((b > a) & (d > c))


def _large(frame: pd.DataFrame, column: str) -> pd.Series:
    return (frame[column].abs() >= NOTABLE) & np.isfinite(frame[column])


def _by(start: str, frame: pd.DataFrame, chosen: pd.Series, column: str) -> tuple[list[str], list[str]]:
    labels = [str(x) for x in frame.index[chosen]]
    parts = [f"{x} ({frame.loc[x, column]:+.2f} {frame.loc[x, 'unit']})" for x in labels]
    return ([f"{start} {some(parts)}."] if labels else []), labels


# What a step from one kind of side to another is
_STEPS = {
    ("mle", "map"): "what the priors do to the maximum",
    ("mle", "flat"): "averaging over the likelihood instead of maximizing it",
    ("map", "posterior"): "averaging over the posterior instead of maximizing it",
    ("flat", "posterior"): "what the priors do",
    ("mle", "posterior"): "priors and averaging together",
}


def several_in_words(frame: pd.DataFrame, facts: dict[str, Any], notes: list[str]) -> list[str]:
    """Sentences about several estimates and posteriors: which scalars moved from each to the next."""
    found = list(facts["doubts"])
    labels = frame.index.get_level_values("label")
    order = list(dict.fromkeys(labels))
    for before, after in pairwise(facts["names"]):
        rows = frame.xs(after, level="model").reindex(order)
        chosen = (rows["step"].abs() >= NOTABLE) & np.isfinite(rows["step"])
        parts = [f"{x} ({rows.loc[x, 'step']:+.2f} {rows.loc[x, 'unit']})" for x in rows.index[chosen]]
        what = _STEPS.get((facts["kinds"][before], facts["kinds"][after]))
        found.append(
            f"From {before} to {after}{f' ({what})' if what else ''}: "
            + (f"{some(parts)}." if parts else f"nothing moves by {NOTABLE} {rows['unit'].iloc[0]} or more.")
        )
    return [*found, *notes]
