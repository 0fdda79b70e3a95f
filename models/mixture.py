"""Samples from several populations, their membership unknown."""

import numpy as np
import pandas as pd
import pymc as pm
from numpy.typing import ArrayLike

from models._parts import as_series, response_data


def normal_mixture(y: ArrayLike | pd.Series, n_components: int = 2) -> pm.Model:
    r"""Mixture of normals with ordered means, free standard deviations and free weights.

    .. math:: p(y_i) = \sum_{k=1}^K w_k N(y_i; \mu_k, \sigma_k), \qquad \mu_1 < \dots < \mu_K, \qquad \sum_k w_k = 1

    The order removes the K! relabelings of each solution.

    Parameters
    ----------
    y : array_like or Series, (n,)
        Real numbers.
    n_components : int
        The number of populations, K.

    Returns
    -------
    pm.Model
        Free variables ``w ~ Dirichlet(1, ..., 1)`` (component), ``mu`` (component), independent normals restricted
        to their order, ``sigma`` (component), half-normal; data ``y_data`` (obs). As Richardson and Green propose,
        the prior scales are set by the range of the sample; the prior means are its quantiles.

    Notes
    -----
    The likelihood is unbounded: one component centered on one observation, its standard deviation going to 0. The
    maximum meant is the best interior one, which is consistent.

    References
    ----------
    Day (1969), "Estimating the components of a mixture of normal distributions", Biometrika 56, 463-474.
    Richardson and Green (1997), "On Bayesian analysis of mixtures with an unknown number of components", JRSS B 59,
    731-792.
    Redner and Walker (1984), "Mixture densities, maximum likelihood and the EM algorithm", SIAM Review 26, 195-239.

    Examples
    --------
    >>> from models import data, normal_mixture
    >>> normal_mixture(data.two_clusters()).free_RVs
    [w, mu, sigma]
    """
    y = as_series(y)
    scale = float(y.max() - y.min())
    quantiles = np.quantile(y, (np.arange(n_components) + 0.5) / n_components)
    coords = {"obs": y.index.to_numpy(), "component": np.arange(1, n_components + 1)}
    with pm.Model(coords=coords) as model:
        w = pm.Dirichlet("w", np.ones(n_components), dims="component")
        mu = pm.Normal("mu", quantiles, scale, transform=pm.distributions.transforms.ordered, dims="component")
        sigma = pm.HalfNormal("sigma", scale, dims="component")
        pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, observed=response_data(y), dims="obs")
    return model
