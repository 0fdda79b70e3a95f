r"""The textbook four: one sample, one family, an estimate in closed form.

In each, the covariance of the estimate attains the Cramér-Rao bound evaluated at the estimate,
:math:`1 / (n I(\hat\theta))`, with :math:`I` the Fisher information of one observation.
"""

import pandas as pd
import pymc as pm
from numpy.typing import ArrayLike

from models._parts import as_series, response_data


def normal(y: ArrayLike | pd.Series) -> pm.Model:
    r"""Normal sample, mean and standard deviation unknown.

    .. math:: y_i \sim N(\mu, \sigma)

    The estimates are :math:`\hat\mu = \bar y` and :math:`\hat\sigma^2 = \sum (y_i - \bar y)^2 / n`, with the divisor
    :math:`n`; their standard errors are :math:`\hat\sigma / \sqrt n` and :math:`\hat\sigma / \sqrt{2n}`.

    Parameters
    ----------
    y : array_like or Series, (n,)
        Real numbers, not all equal.

    Returns
    -------
    pm.Model
        Free variables ``mu ~ N(0, 10)``, ``sigma ~ HalfNormal(10)``; data ``y_data`` (obs).

    References
    ----------
    Casella and Berger (2002), "Statistical Inference", 2nd ed., examples 7.2.5 and 7.2.11.

    Examples
    --------
    >>> from models import data, normal
    >>> normal(data.sleep()).free_RVs
    [mu, sigma]
    """
    y = as_series(y)
    with pm.Model(coords={"obs": y.index.to_numpy()}) as model:
        mu = pm.Normal("mu", 0.0, 10.0)
        sigma = pm.HalfNormal("sigma", 10.0)
        pm.Normal("y", mu, sigma, observed=response_data(y), dims="obs")
    return model


def poisson(y: ArrayLike | pd.Series) -> pm.Model:
    r"""Poisson sample.

    .. math:: y_i \sim \mathrm{Poisson}(\mu)

    The estimate is :math:`\hat\mu = \bar y`, its standard error :math:`\sqrt{\hat\mu / n}`.

    Parameters
    ----------
    y : array_like or Series, (n,)
        Counts, not all zero.

    Returns
    -------
    pm.Model
        Free variable ``mu ~ Exponential`` with mean 10; data ``y_data`` (obs).

    References
    ----------
    Casella and Berger (2002), "Statistical Inference", 2nd ed., section 7.2.2.

    Examples
    --------
    >>> from models import data, poisson
    >>> poisson(data.horse_kicks()).free_RVs
    [mu]
    """
    y = as_series(y)
    with pm.Model(coords={"obs": y.index.to_numpy()}) as model:
        mu = pm.Exponential("mu", scale=10.0)
        pm.Poisson("y", mu, observed=response_data(y), dims="obs")
    return model


def bernoulli(y: ArrayLike | pd.Series) -> pm.Model:
    r"""Successes and failures.

    .. math:: y_i \sim \mathrm{Bernoulli}(p)

    The estimate is :math:`\hat p = \bar y`, its standard error :math:`\sqrt{\hat p (1 - \hat p) / n}`.

    Parameters
    ----------
    y : array_like or Series, (n,)
        Zeros and ones, at least one of each.

    Returns
    -------
    pm.Model
        Free variable ``p ~ Beta(1, 1)``; data ``y_data`` (obs).

    References
    ----------
    Casella and Berger (2002), "Statistical Inference", 2nd ed., example 7.2.7.

    Examples
    --------
    >>> from models import bernoulli, data
    >>> bernoulli(data.improved_grades()).free_RVs
    [p]
    """
    y = as_series(y)
    with pm.Model(coords={"obs": y.index.to_numpy()}) as model:
        p = pm.Beta("p", 1.0, 1.0)
        pm.Bernoulli("y", p, observed=response_data(y), dims="obs")
    return model


def exponential(y: ArrayLike | pd.Series) -> pm.Model:
    r"""Exponential waiting times with rate :math:`\lambda`.

    .. math:: p(y_i) = \lambda e^{-\lambda y_i}

    The estimate is :math:`\hat\lambda = 1 / \bar y`, its standard error :math:`\hat\lambda / \sqrt n`.

    Parameters
    ----------
    y : array_like or Series, (n,)
        Positive numbers.

    Returns
    -------
    pm.Model
        Free variable ``lam ~ HalfNormal(1)``; data ``y_data`` (obs).

    References
    ----------
    Davison (2003), "Statistical Models", section 4.4.

    Examples
    --------
    >>> from models import data, exponential
    >>> exponential(data.air_conditioning()).free_RVs
    [lam]
    """
    y = as_series(y)
    with pm.Model(coords={"obs": y.index.to_numpy()}) as model:
        lam = pm.HalfNormal("lam", 1.0)
        pm.Exponential("y", lam, observed=response_data(y), dims="obs")
    return model
