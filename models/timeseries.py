"""Series in time."""

import numpy as np
import pandas as pd
import pymc as pm
from numpy.typing import ArrayLike

from models._parts import as_series, response_data


def autoregression(y: ArrayLike | pd.Series, order: int = 2) -> pm.Model:
    r"""Autoregression, conditional on its first values.

    .. math:: y_t \sim N(\rho_0 + \rho_1 y_{t-1} + \dots + \rho_p y_{t-p}, \sigma) \;\; (t > p), \qquad
              y_t \sim N(0, 100) \;\; (t \le p)

    The first p values have a distribution of known constants, so they add a constant to the log-likelihood and say
    nothing about :math:`\rho` and :math:`\sigma`. The estimates are therefore those of the *conditional*
    likelihood: least squares of :math:`y_t` on its lags and a constant, with :math:`\hat\sigma^2 = \mathrm{RSS} /
    (T - p)`. They are not those of the exact likelihood of a stationary process, where the first values follow the
    stationary distribution; the series need not be stationary here.

    Parameters
    ----------
    y : array_like or Series, (T,)
        Equally spaced values, T > 2p + 1.
    order : int
        The number of lags, p.

    Returns
    -------
    pm.Model
        Free variables ``rho`` (term: "constant", "lag1", ...) with priors N(0, 100) for the constant and N(0, 1)
        for the lags, ``sigma ~ HalfNormal(100)``; data ``y_data`` (time).

    Notes
    -----
    The log-likelihood contains the constant :math:`\sum_{t \le p} \log N(y_t; 0, 100)`. To compare it with another
    program's conditional log-likelihood, take that off.

    References
    ----------
    Box and Jenkins (1970), "Time Series Analysis: Forecasting and Control", chapter 7.
    Hamilton (1994), "Time Series Analysis", section 5.3.

    Examples
    --------
    >>> from models import autoregression, data
    >>> autoregression(data.sunspots()).coords["term"]
    ('constant', 'lag1', 'lag2')
    """
    y = as_series(y)
    terms = ["constant", *(f"lag{k}" for k in range(1, order + 1))]
    with pm.Model(coords={"time": y.index.to_numpy(), "term": terms}) as model:
        rho = pm.Normal("rho", 0.0, [100.0] + [1.0] * order, dims="term")
        sigma = pm.HalfNormal("sigma", 100.0)
        pm.AR(
            "y",
            rho,
            sigma=sigma,
            # an array, because PyTensor holds the float 100.0, and then its logarithm, in single precision
            init_dist=pm.Normal.dist(0.0, np.array(100.0)),
            constant=True,
            ar_order=order,
            observed=response_data(y, "time"),
            dims="time",
        )
    return model


def autoregressive_counts(y: ArrayLike | pd.Series) -> pm.Model:
    r"""Counts whose log mean follows a stationary AR(1) process: a state-space model.

    .. math:: y_t \sim \mathrm{Poisson}(e^{\mu + x_t}), \qquad x_t \sim N(\rho x_{t-1}, \sigma), \qquad
              x_1 \sim N(0, \sigma / \sqrt{1 - \rho^2})

    The states :math:`x_t` are latent: the likelihood of :math:`(\mu, \rho, \sigma)` is an integral over all of them.

    Parameters
    ----------
    y : array_like or Series, (T,)
        Counts at equally spaced times.

    Returns
    -------
    pm.Model
        Free variables ``mu ~ N(0, 2.5)``, ``rho ~ Uniform(-1, 1)``, ``sigma ~ HalfNormal(1)``, ``state`` (time), the
        process; data ``y_data`` (time).

    References
    ----------
    Zeger (1988), "A regression model for time series of counts", Biometrika 75, 621-629.
    Durbin and Koopman (2012), "Time Series Analysis by State Space Methods", 2nd ed., chapters 9 to 11.

    Examples
    --------
    >>> from models import autoregressive_counts, data
    >>> autoregressive_counts(data.discoveries()).free_RVs
    [mu, rho, sigma, state]
    """
    y = as_series(y)
    with pm.Model(coords={"time": y.index.to_numpy()}) as model:
        mu = pm.Normal("mu", 0.0, 2.5)
        rho = pm.Uniform("rho", -1.0, 1.0)
        sigma = pm.HalfNormal("sigma", 1.0)
        first = pm.Normal.dist(0.0, sigma / pm.math.sqrt(1.0 - rho**2))
        state = pm.AR("state", [rho], sigma=sigma, init_dist=first, ar_order=1, dims="time")
        pm.Poisson("y", pm.math.exp(mu + state), observed=response_data(y, "time"), dims="time")
    return model
