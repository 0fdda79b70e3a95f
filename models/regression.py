"""Regression with a real or binary response."""

import pandas as pd
import pymc as pm

from models._parts import linear_predictor, regression_coords, response_data


def linear_regression(data: pd.DataFrame, *, intercept: bool = True) -> pm.Model:
    r"""Linear regression.

    .. math:: y_i \sim N(\beta_0 + x_i^\top \beta, \sigma)

    The estimates of :math:`\beta_0` (called ``intercept``) and :math:`\beta` are those of least squares;
    :math:`\hat\sigma^2 = \mathrm{RSS} / n`, with the divisor :math:`n` and not :math:`n - k`.

    Parameters
    ----------
    data : DataFrame
        Column ``y``; every other column is a covariate.
    intercept : bool
        False forces the line through the origin.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 10)``, ``beta ~ N(0, 10)`` (covariate), ``sigma ~ HalfNormal(10)``; data
        ``X`` (obs, covariate) and ``y_data`` (obs).

    References
    ----------
    Seber and Lee (2003), "Linear Regression Analysis", 2nd ed., chapter 3.

    Examples
    --------
    >>> from models import data, linear_regression
    >>> linear_regression(data.seed()).free_RVs
    [intercept, beta, sigma]
    >>> linear_regression(data.seed(), intercept=False).free_RVs
    [beta, sigma]
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        mean = linear_predictor(covariates, scale=10.0, intercept=intercept)
        sigma = pm.HalfNormal("sigma", 10.0)
        pm.Normal("y", mean, sigma, observed=response_data(data["y"]), dims="obs")
    return model


def student_t_regression(data: pd.DataFrame) -> pm.Model:
    r"""Linear regression that outliers do not pull: Student-t errors with unknown degrees of freedom.

    .. math:: y_i \sim t_\nu(\beta_0 + x_i^\top \beta, \sigma)

    :math:`\sigma` is the scale, not the standard deviation, which is :math:`\sigma \sqrt{\nu / (\nu - 2)}`.

    Parameters
    ----------
    data : DataFrame
        Column ``y``; every other column is a covariate.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 10)``, ``beta ~ N(0, 10)`` (covariate), ``sigma ~ HalfNormal(10)``,
        ``nu ~ Gamma(2, 0.1)`` (Juárez and Steel 2010); data ``X`` (obs, covariate) and ``y_data`` (obs).

    Notes
    -----
    The likelihood has no finite maximum in :math:`\nu` where the residuals' tails are no heavier than the normal's,
    and it is unbounded as :math:`\sigma \to 0` at a small enough :math:`\nu`, with the line through as many points as
    it has coefficients. The maximum meant is the interior one.

    References
    ----------
    Lange, Little and Taylor (1989), "Robust statistical modeling using the t distribution", JASA 84, 881-896.
    Fernández and Steel (1999), "Multivariate Student-t regression models: pitfalls and inference", Biometrika 86,
    153-167.

    Examples
    --------
    >>> from models import data, student_t_regression
    >>> student_t_regression(data.heavy_tailed()).free_RVs
    [intercept, beta, sigma, nu]
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        location = linear_predictor(covariates, scale=10.0)
        sigma = pm.HalfNormal("sigma", 10.0)
        nu = pm.Gamma("nu", alpha=2.0, beta=0.1)
        pm.StudentT("y", nu=nu, mu=location, sigma=sigma, observed=response_data(data["y"]), dims="obs")
    return model


def logistic_regression(data: pd.DataFrame) -> pm.Model:
    r"""Logistic regression.

    .. math:: y_i \sim \mathrm{Bernoulli}(p_i), \qquad \log \frac{p_i}{1 - p_i} = \beta_0 + x_i^\top \beta

    Parameters
    ----------
    data : DataFrame
        Column ``y`` of zeros and ones; every other column is a covariate.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 10)`` and ``beta ~ N(0, 10)`` (covariate); data ``X`` (obs, covariate) and
        ``y_data`` (obs).

    Notes
    -----
    Where a combination of covariates separates the ones from the zeros, the maximum lies at infinity.

    References
    ----------
    McCullagh and Nelder (1989), "Generalized Linear Models", 2nd ed., chapter 4.
    Albert and Anderson (1984), "On the existence of maximum likelihood estimates in logistic regression models",
    Biometrika 71, 1-10.

    Examples
    --------
    >>> from models import data, logistic_regression
    >>> model = logistic_regression(data.spector())
    >>> model.coords["covariate"]
    ('GPA', 'TUCE', 'PSI')
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        log_odds = linear_predictor(covariates, scale=10.0)
        pm.Bernoulli("y", logit_p=log_odds, observed=response_data(data["y"]), dims="obs")
    return model
