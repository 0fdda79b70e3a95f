"""Times to an event, some of them censored."""

import numpy as np
import pandas as pd
import pymc as pm

from models._parts import linear_predictor, regression_coords, response_data


def censored_weibull(data: pd.DataFrame) -> pm.Model:
    r"""Weibull accelerated-failure-time regression with right censoring.

    .. math:: T_i \sim \mathrm{Weibull}(a, e^{\eta_i}), \qquad P(T_i > t) = \exp(-(t e^{-\eta_i})^a), \qquad
              \eta_i = \beta_0 + x_i^\top \beta, \qquad t_i = \min(T_i, c_i)

    A time below its limit :math:`c_i` contributes its density, a time at its limit the probability to survive it. The
    shape :math:`a` is called ``alpha``, as PyMC does; R's ``survreg`` reports ``scale`` = :math:`1/a` and the same
    coefficients.

    Parameters
    ----------
    data : DataFrame
        Columns ``time``, positive, and ``limit``, the time at which observation ends, finite: ``time == limit``
        means censored. Where the limit of an observed event is not known, any number above ``time`` gives the same
        likelihood. Every other column is a covariate.

    Returns
    -------
    pm.Model
        Free variables ``intercept``, normal around the logarithm of the mean time with standard deviation 5,
        ``beta ~ N(0, 5)`` (covariate), ``alpha ~ HalfNormal(2)``; data ``X`` (obs, covariate), ``limit`` (obs) and
        ``y_data`` (obs).

    References
    ----------
    Kalbfleisch and Prentice (2002), "The Statistical Analysis of Failure Time Data", 2nd ed., chapters 2 and 3.

    Examples
    --------
    >>> from models import censored_weibull, data
    >>> censored_weibull(data.leukemia()).free_RVs
    [intercept, beta, alpha]
    """
    covariates = data.drop(columns=["time", "limit"])
    with pm.Model(coords=regression_coords(covariates)) as model:
        limit = pm.Data("limit", data["limit"].to_numpy(dtype=float), dims="obs")
        # Centered on the data: at scale 1 and times in the hundreds, the probability to survive them underflows
        log_scale = linear_predictor(covariates, scale=5.0, location=float(np.log(data["time"].mean())))
        alpha = pm.HalfNormal("alpha", 2.0)
        uncensored = pm.Weibull.dist(alpha, pm.math.exp(log_scale))
        pm.Censored("y", uncensored, upper=limit, observed=response_data(data["time"]), dims="obs")
    return model
