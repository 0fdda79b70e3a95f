r"""Regression whose coefficients have a Gaussian prior of their own, declared in three forms.

.. math:: y_i \sim N(\alpha + x_i^\top \beta, \sigma), \qquad \beta_j \sim N(\mu_j, \eta_j)

The forms differ in what is known of :math:`\mu` and :math:`\eta`, and so in what the likelihood is:

- known constants: the coefficients' distribution is a prior. Without it the model is a linear regression, with it a
  penalized one;
- one shared pair, unknown: :math:`\mu` and :math:`\eta` reach the data only through :math:`\beta`, so the likelihood is
  an integral over :math:`\beta`. The *joint* density has no maximum: it grows without bound as :math:`\eta \to 0`
  with every :math:`\beta_j = \mu`;
- a free pair for each coefficient: likewise an integral, and one coefficient says nothing about a spread: the
  integral is largest at :math:`\eta_j = 0`.
"""

import pandas as pd
import pymc as pm
from numpy.typing import ArrayLike
from pytensor.tensor.variable import TensorVariable

from models._parts import covariate_data, regression_coords, response_data


def hierarchical_regression(data: pd.DataFrame, mu: ArrayLike = 0.0, eta: ArrayLike = 10.0) -> pm.Model:
    r"""Gaussian-prior regression, :math:`(\mu_j, \eta_j)` known constants.

    .. math:: y_i \sim N(\alpha + x_i^\top \beta, \sigma), \qquad \beta_j \sim N(\mu_j, \eta_j)

    Dropping the prior gives least squares. Keeping it gives, at a given :math:`\sigma`, ridge regression toward
    :math:`\mu`: with :math:`D = \mathrm{diag}(\sigma^2 / \eta_j^2)` and centered :math:`X` and :math:`y`,
    :math:`\hat\beta = (X^\top X + D)^{-1} (X^\top y + D \mu)`.

    Parameters
    ----------
    data : DataFrame
        Column ``y``; every other column is a covariate.
    mu, eta : array_like, scalar or (covariate,)
        Prior mean and standard deviation of each coefficient.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 10)``, ``beta ~ N(mu, eta)`` (covariate), ``sigma ~ HalfNormal(10)``; data
        ``X`` (obs, covariate) and ``y_data`` (obs).

    References
    ----------
    Lindley and Smith (1972), "Bayes estimates for the linear model", JRSS B 34, 1-41.
    Hoerl and Kennard (1970), "Ridge regression", Technometrics 12, 55-67.

    Examples
    --------
    >>> from models import data, hierarchical_regression
    >>> hierarchical_regression(data.seed(), mu=[5.0, 10.0], eta=[2.0, 2.0]).free_RVs
    [intercept, beta, sigma]
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        intercept = pm.Normal("intercept", 0.0, 10.0)
        beta = pm.Normal("beta", mu, eta, dims="covariate")
        _normal_response(data, intercept, beta)
    return model


def hierarchical_regression_shared(data: pd.DataFrame) -> pm.Model:
    r"""Gaussian-prior regression, one :math:`(\mu, \eta)` estimated from all coefficients.

    .. math:: y_i \sim N(\alpha + x_i^\top \beta, \sigma), \qquad \beta_j \sim N(\mu, \eta)

    :math:`\beta` is latent: its distribution belongs to the likelihood of :math:`(\alpha, \mu, \eta, \sigma)`,

    .. math:: L(\alpha, \mu, \eta, \sigma) = \int \prod_i N(y_i; \alpha + x_i^\top \beta, \sigma)
              \prod_j N(\beta_j; \mu, \eta) \, d\beta.

    Parameters
    ----------
    data : DataFrame
        Column ``y``; every other column is a covariate, on a scale that makes their coefficients comparable.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 10)``, ``mu ~ N(0, 10)``, ``eta ~ HalfNormal(10)``, ``beta ~ N(mu, eta)``
        (covariate), ``sigma ~ HalfNormal(10)``; data ``X`` (obs, covariate) and ``y_data`` (obs).

    References
    ----------
    Lindley and Smith (1972), "Bayes estimates for the linear model", JRSS B 34, 1-41.
    Gelman et al. (2013), "Bayesian Data Analysis", 3rd ed., chapters 5 and 15.

    Examples
    --------
    >>> from models import data, hierarchical_regression_shared
    >>> hierarchical_regression_shared(data.seed()).free_RVs
    [intercept, mu, eta, beta, sigma]
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        intercept = pm.Normal("intercept", 0.0, 10.0)
        mu = pm.Normal("mu", 0.0, 10.0)
        eta = pm.HalfNormal("eta", 10.0)
        beta = pm.Normal("beta", mu, eta, dims="covariate")
        _normal_response(data, intercept, beta)
    return model


def hierarchical_regression_free(data: pd.DataFrame) -> pm.Model:
    r"""Gaussian-prior regression, a free :math:`(\mu_j, \eta_j)` for each coefficient.

    .. math:: y_i \sim N(\alpha + x_i^\top \beta, \sigma), \qquad \beta_j \sim N(\mu_j, \eta_j)

    With one :math:`\beta_j` per pair the likelihood, :math:`\beta` integrated out, is that of least squares with
    the noise inflated by :math:`\eta`: it is largest at :math:`\eta_j = 0` and :math:`\mu_j` the least-squares
    coefficient. The priors alone make the posterior proper.

    Parameters
    ----------
    data : DataFrame
        Column ``y``; every other column is a covariate.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 10)``, ``mu ~ N(0, 10)`` (covariate), ``eta ~ HalfNormal(10)``
        (covariate), ``beta ~ N(mu, eta)`` (covariate), ``sigma ~ HalfNormal(10)``; data ``X`` (obs, covariate) and
        ``y_data`` (obs).

    References
    ----------
    Gelman et al. (2013), "Bayesian Data Analysis", 3rd ed., section 5.4.

    Examples
    --------
    >>> from models import data, hierarchical_regression_free
    >>> hierarchical_regression_free(data.seed()).named_vars_to_dims["eta"]
    ('covariate',)
    """
    covariates = data.drop(columns="y")
    with pm.Model(coords=regression_coords(covariates)) as model:
        intercept = pm.Normal("intercept", 0.0, 10.0)
        mu = pm.Normal("mu", 0.0, 10.0, dims="covariate")
        eta = pm.HalfNormal("eta", 10.0, dims="covariate")
        beta = pm.Normal("beta", mu, eta, dims="covariate")
        _normal_response(data, intercept, beta)
    return model


def _normal_response(data: pd.DataFrame, intercept: TensorVariable, beta: TensorVariable) -> None:
    """Declare sigma and y, the part that the three forms share."""
    X = covariate_data(data.drop(columns="y"))
    sigma = pm.HalfNormal("sigma", 10.0)
    pm.Normal("y", intercept + X @ beta, sigma, observed=response_data(data["y"]), dims="obs")
