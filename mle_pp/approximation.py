"""Is the integral over latent variables accurate enough? More nodes, or scores of simulated data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mle_pp.conventions import whole
from mle_pp.errors import ModelError
from mle_pp.estimate import Estimate
from mle_pp.predictive import retargeted, simulator

# Standard errors that do not matter
TOLERANCE = 0.1
# Nodes in each dimension that settle all but pathological integrals
_NODES = {1: 41, 2: 15, 3: 9}


@dataclass(frozen=True, eq=False, repr=False)
class MarginalCheck:
    """How far the approximation of an integral moves the estimates.

    Attributes
    ----------
    method : str
        "quadrature" or "simulated scores".
    shift : pd.Series
        By how many standard errors a better integral would move each estimated scalar, to first order (quadrature); the
        bias of the estimates in standard errors (simulated scores).
    mc_error : pd.Series
        The Monte Carlo error of these; zero for quadrature.
    loglik_change : float
        What a better integral would add to the log-likelihood; NaN where only scores were simulated.
    """

    method: str
    shift: pd.Series
    mc_error: pd.Series
    loglik_change: float

    @property
    def ok(self) -> bool:
        """Whether all shifts are within a tenth of a standard error, two Monte Carlo errors included."""
        return bool(np.all(self.shift.abs() + 2 * self.mc_error <= TOLERANCE))

    @property
    def _verdict(self) -> str:
        if self.ok:
            return "accurate enough"
        if np.any(self.shift.abs() - 2 * self.mc_error > TOLERANCE):
            return "not accurate: use quadrature_points=, or sample the model"
        return "undecided, for the Monte Carlo errors are too large: more n_simulations"

    def to_frame(self) -> pd.DataFrame:
        """The shifts and their Monte Carlo errors, a row a scalar."""
        return pd.DataFrame({"shift": self.shift, "mc_error": self.mc_error})

    def __repr__(self) -> str:
        change = "" if np.isnan(self.loglik_change) else f", log-likelihood {self.loglik_change:+.3g}"
        return f"The integral by {self.method}: {self._verdict}{change}\n{self.to_frame().round(4).to_string()}"

    def _repr_html_(self) -> str:
        heading, *_ = repr(self).splitlines()
        return f"<div><p>{heading}</p>{self.to_frame().round(4).to_html(border=0)}</div>"


def check_marginal(est: Estimate, n_simulations: int = 100, random_seed: Any = None) -> MarginalCheck:
    """Whether the integral over a model's latent variables is accurate enough for its estimates.

    Where latents fall apart into blocks of at most three, the likelihood is computed with many nodes of quadrature at
    the estimate: one Newton step tells how far its maximum is. Elsewhere data are simulated from the fitted model; the
    scores of the approximate likelihood average zero if it is that of the model.

    Parameters
    ----------
    est : Estimate
        Of a model with integrated variables.
    n_simulations : int
        Simulated data sets, where there is no quadrature.
    random_seed : int, Generator or None
        Of these.

    Returns
    -------
    MarginalCheck

    Raises
    ------
    ModelError
        Nothing was integrated, or there is no regular maximum.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> group = np.repeat(np.arange(6), 4)
    >>> y = np.array([1, 0, 2, 1, 5, 4, 7, 5, 0, 1, 0, 0, 2, 3, 2, 1, 9, 6, 8, 7, 1, 2, 2, 3])
    >>> with pm.Model() as model:
    ...     tau = pm.HalfNormal("tau", 1)
    ...     u = pm.Normal("u", pm.Normal("mu", 0, 5), tau, shape=6)
    ...     _ = pm.Poisson("y", pm.math.exp(u[group]), observed=y)
    >>> mle.check_marginal(mle.find_MLE(model)).ok
    True
    """
    objective: Any = est._objective
    if not objective.is_marginal:
        raise ModelError("check_marginal is about integrals over latent variables, and this model has none.")
    if not est.verdict.ok:
        raise ModelError(f"check_marginal needs a regular maximum; the verdict is {est.verdict.status}.")
    x, scales = est._optimum.x, est._scales
    cov = est._covariance("hessian").matrix
    errors = np.sqrt(np.einsum("ij,jk,ik->i", scales.jacobian, cov, scales.jacobian))
    labels = est._layout.labels
    try:
        better = objective.with_nodes(_NODES.get(objective.dimensions, 2))
    except ModelError:
        scores = _simulated_scores(est, whole("n_simulations", n_simulations), random_seed)
        shifts = scores @ cov @ scales.jacobian.T / errors
        mean, spread = shifts.mean(axis=0), shifts.std(axis=0, ddof=1) / np.sqrt(len(shifts))
        return MarginalCheck("simulated scores", pd.Series(mean, labels), pd.Series(spread, labels), np.nan)
    value, gradient = better.value_gradient(x)
    shift = scales.jacobian @ cov @ gradient / errors
    change = value - objective.value(x)
    return MarginalCheck("quadrature", pd.Series(shift, labels), pd.Series(0.0, labels), float(change))


def _simulated_scores(est: Estimate, n: int, random_seed: Any) -> np.ndarray:
    """Gradients at the estimate for data drawn from it, a row a data set."""
    if est._objective.weights is not None:
        raise ModelError("The estimate has case weights, and simulated data have none: repeat the rows instead.")
    draw, rng = simulator(est._objective), np.random.default_rng(random_seed)
    other, observe = retargeted(est._objective)
    found = []
    with np.errstate(all="ignore"):
        for _ in range(n):
            observe(draw(rng, est._optimum.x))
            found.append(other.value_gradient(est._optimum.x)[1])
    scores = np.array(found)
    return scores[np.all(np.isfinite(scores), axis=1)]
