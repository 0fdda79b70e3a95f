"""Regression of counts, with a log link.

The coefficients' priors are N(0, 2.5), not wider: on the log scale N(0, 10) would put much of its mass on counts that
overflow an integer.
"""

import pandas as pd
import pymc as pm

from models._parts import linear_predictor, regression_coords, response_data


def poisson_regression(data: pd.DataFrame) -> pm.Model:
    r"""Poisson regression.

    .. math:: y_i \sim \mathrm{Poisson}(\mu_i), \qquad \log \mu_i = \beta_0 + x_i^\top \beta

    Parameters
    ----------
    data : DataFrame
        Column ``y`` of counts; every other column is a covariate.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 2.5)`` and ``beta ~ N(0, 2.5)`` (covariate); data ``X`` (obs, covariate) and
        ``y_data`` (obs).

    References
    ----------
    McCullagh and Nelder (1989), "Generalized Linear Models", 2nd ed., chapter 6.

    Examples
    --------
    >>> from models import data, poisson_regression
    >>> poisson_regression(data.counts()).free_RVs
    [intercept, beta]
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        mu = pm.math.exp(linear_predictor(covariates, scale=2.5))
        pm.Poisson("y", mu, observed=response_data(data["y"]), dims="obs")
    return model


def negative_binomial_regression(data: pd.DataFrame) -> pm.Model:
    r"""Negative-binomial regression: Poisson with gamma-distributed means.

    .. math:: y_i \sim \mathrm{NegBin}(\mu_i, a), \qquad \log \mu_i = \beta_0 + x_i^\top \beta, \qquad
              \mathrm{Var}(y_i) = \mu_i + \mu_i^2 / a

    The dispersion :math:`a` is called ``alpha``, as PyMC does: large means nearly Poisson. It is R's ``theta``, and
    one over the ``alpha`` of statsmodels.

    Parameters
    ----------
    data : DataFrame
        Column ``y`` of counts; every other column is a covariate.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 2.5)``, ``beta ~ N(0, 2.5)`` (covariate), ``alpha ~ HalfNormal(10)``; data
        ``X`` (obs, covariate) and ``y_data`` (obs).

    Notes
    -----
    Without overdispersion the maximum lies at ``alpha`` = infinity.

    References
    ----------
    Lawless (1987), "Negative binomial and mixed Poisson regression", Canadian Journal of Statistics 15, 209-225.
    Cameron and Trivedi (2013), "Regression Analysis of Count Data", 2nd ed., section 3.3 (its NB2).

    Examples
    --------
    >>> from models import data, negative_binomial_regression
    >>> negative_binomial_regression(data.overdispersed_counts()).free_RVs
    [intercept, beta, alpha]
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        mu = pm.math.exp(linear_predictor(covariates, scale=2.5))
        alpha = pm.HalfNormal("alpha", 10.0)
        pm.NegativeBinomial("y", mu=mu, alpha=alpha, observed=response_data(data["y"]), dims="obs")
    return model


def zero_inflated_poisson(data: pd.DataFrame) -> pm.Model:
    r"""Zero-inflated Poisson regression: with probability :math:`1 - \psi` the count is zero whatever its mean.

    .. math:: P(y_i = 0) = (1 - \psi) + \psi e^{-\mu_i}, \qquad
              P(y_i = k) = \psi \frac{e^{-\mu_i} \mu_i^k}{k!} \;\; (k > 0), \qquad \log \mu_i = \beta_0 + x_i^\top
              \beta

    Parameters
    ----------
    data : DataFrame
        Column ``y`` of counts; every other column is a covariate.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 2.5)``, ``beta ~ N(0, 2.5)`` (covariate), ``psi ~ Beta(1, 1)``; data ``X``
        (obs, covariate) and ``y_data`` (obs).

    Notes
    -----
    Without excess zeros the maximum lies on the edge, at ``psi`` = 1.

    References
    ----------
    Lambert (1992), "Zero-inflated Poisson regression, with an application to defects in manufacturing", Technometrics
    34, 1-14.

    Examples
    --------
    >>> from models import data, zero_inflated_poisson
    >>> zero_inflated_poisson(data.inflated_counts()).free_RVs
    [intercept, beta, psi]
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        mu = pm.math.exp(linear_predictor(covariates, scale=2.5))
        psi = pm.Beta("psi", 1.0, 1.0)
        pm.ZeroInflatedPoisson("y", psi=psi, mu=mu, observed=response_data(data["y"]), dims="obs")
    return model
