"""What a posterior says of each scalar, and whether its draws can be believed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats import ess, eti, hdi, mcse, rhat

from mle_pp.compare.matching import SAMPLE_DIMS, group_of

CI_KINDS: dict[str, Any] = {"eti": eti, "hdi": hdi}

# Vehtari et al. (2021): r-hat at most 1.01, and an effective sample size of at least 100 a chain
MAX_RHAT = 1.01
MIN_ESS = 100


def moments(posterior: xr.Dataset) -> dict[str, xr.Dataset]:
    """Mean, its Monte Carlo error, and standard deviation."""
    with warnings.catch_warnings():
        # That there is a single chain is told by `doubts`
        warnings.filterwarnings("ignore", message="Your data appears to have a single")
        return {
            "mean": posterior.mean(SAMPLE_DIMS),
            "mcse_mean": mcse(posterior, sample_dims=list(SAMPLE_DIMS), method="mean"),
            "sd": posterior.std(SAMPLE_DIMS, ddof=1),
        }


def limits(posterior: xr.Dataset, kind: str, prob: float) -> list[xr.Dataset]:
    """Lower and upper limits of the posterior's interval."""
    found = CI_KINDS[kind](posterior, prob=prob, dim=list(SAMPLE_DIMS))
    return [found.sel(ci_bound=side, drop=True) for side in ("lower", "upper")]


def diagnostics(posterior: xr.Dataset) -> dict[str, xr.Dataset]:
    """r-hat (NaN for a single chain) and the effective sample size of the bulk."""
    # A constant has no r-hat
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.filterwarnings("ignore", message="Your data appears to have a single")
        several = posterior.sizes["chain"] > 1
        return {
            "r_hat": rhat(posterior) if several else xr.full_like(posterior.isel(chain=0, draw=0, drop=True), np.nan),
            "ess_bulk": ess(posterior, method="bulk"),
        }


def divergences(idata: Any) -> int:
    """How many transitions of the sampler diverged."""
    stats = group_of(idata, "sample_stats")
    return 0 if stats is None or "diverging" not in stats else int(stats["diverging"].sum())


def advice(posterior: xr.Dataset) -> str:
    """What `approximate_posterior` said of draws that are not good enough; nothing of others."""
    attrs = posterior.attrs
    return attrs["advice"] if "pareto_k" in attrs and not attrs["pareto_k"] < attrs["pareto_k_max"] else ""


def doubts(labels: list[str], r_hat: np.ndarray, ess_bulk: np.ndarray, facts: dict[str, Any]) -> dict[str, str]:
    """What speaks against believing the posterior, in a few words and in a sentence each.

    Parameters
    ----------
    labels : list of str
    r_hat, ess_bulk : ndarray
        By label.
    facts : dict
        With ``chains``, ``draws`` (of each chain), ``divergences``, and the ``advice`` of `approximate_posterior`
        where its draws are not good enough.
    """
    found = {"a Pareto k that is too high": facts["advice"]} if facts["advice"] else {}
    chains, draws, diverging = (int(facts[name]) for name in ("chains", "draws", "divergences"))
    if chains == 1:
        found["a single chain"] = (
            "The posterior has a single chain, so whether it converged cannot be checked: sample several."
        )
    bad = np.flatnonzero(r_hat > MAX_RHAT)
    if bad.size:
        worst = bad[np.argmax(r_hat[bad])]
        found[f"an r-hat of {r_hat[worst]:.3g}"] = (
            f"The chains of the posterior do not agree (r-hat above {MAX_RHAT}) on {some([labels[k] for k in bad])}, "
            f"worst on {labels[worst]} with {r_hat[worst]:.3g}: its numbers are not those of the posterior yet."
        )
    if diverging:
        found[f"{diverging} divergence{'s' * (diverging > 1)}"] = (
            f"{diverging} of {chains * draws} transitions of the sampler diverged: parts of the posterior may be "
            f"missing."
        )
    few = np.flatnonzero(ess_bulk < MIN_ESS * chains)
    if few.size:
        found["few effective draws"] = (
            f"The posterior has fewer than {MIN_ESS} effective draws a chain on {some([labels[k] for k in few])}: "
            f"sample longer."
        )
    return found


def some(labels: list[str], most: int = 6) -> str:
    """Labels in a sentence, the first few of many."""
    rest = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {rest} more" if rest > 0 else "")
