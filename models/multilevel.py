r"""Effects of groups: subjects, plates and samples, herds, schools, trees.

Each group has an effect of its own, and the effects have a distribution whose spread is estimated with everything
else. They are latent: their distribution belongs to the likelihood, which is an integral over them,

.. math:: L(\theta) = \int p(y \mid b, \theta) \, p(b \mid \theta) \, db.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pymc as pm

from models._parts import covariate_data, group_coords, group_data, regression_coords, response_data


def random_intercepts(data: pd.DataFrame, group: str, scale: float = 10.0) -> pm.Model:
    r"""Linear regression with an intercept for each group.

    .. math:: y_i \sim N(\alpha + x_i^\top \beta + b_{g(i)}, \sigma), \qquad b_g \sim N(0, \tau)

    In R: ``lmer(y ~ x1 + ... + (1 | group), REML = FALSE)``.

    Parameters
    ----------
    data : DataFrame
        Column ``y`` and the groups' column; every other column is a covariate.
    group : str
        The column that says to which group a row belongs.
    scale : float
        How large effects and errors may be, in units of ``y``: the scale of the priors.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 10 scale)``, ``beta ~ N(0, scale)`` (covariate), ``tau ~ HalfNormal(scale)``,
        ``effect ~ N(0, tau)`` (the groups), ``sigma ~ HalfNormal(scale)``; data ``X`` (obs, covariate), ``index`` and
        ``y_data`` (obs).

    References
    ----------
    Laird and Ware (1982), "Random-effects models for longitudinal data", Biometrics 38, 963-974.
    Bates, Mächler, Bolker and Walker (2015), "Fitting linear mixed-effects models using lme4", Journal of Statistical
    Software 67(1).

    Examples
    --------
    >>> from models import data, random_intercepts
    >>> random_intercepts(data.sleepstudy(), group="subject", scale=50.0).free_RVs
    [intercept, beta, tau, effect, sigma]
    """
    covariates = data.drop(columns=["y", group])
    with pm.Model(coords=regression_coords(covariates) | group_coords(data[group])) as model:
        X, g = covariate_data(covariates), group_data(data[group], "index")
        intercept = pm.Normal("intercept", 0.0, 10.0 * scale)
        beta = pm.Normal("beta", 0.0, scale, dims="covariate")
        tau = pm.HalfNormal("tau", scale)
        effect = pm.Normal("effect", 0.0, tau, dims=group)
        sigma = pm.HalfNormal("sigma", scale)
        pm.Normal("y", intercept + X @ beta + effect[g], sigma, observed=response_data(data["y"]), dims="obs")
    return model


def random_slopes(data: pd.DataFrame, group: str, scale: float = 10.0) -> pm.Model:
    r"""Linear regression whose intercept and slopes vary between groups, and are correlated.

    .. math:: y_i \sim N(z_i^\top (\beta + b_{g(i)}), \sigma), \qquad b_g \sim N(0, \Sigma), \qquad z_i = (1, x_i)

    In R: ``lmer(y ~ x1 + ... + (x1 + ... | group), REML = FALSE)``.

    Parameters
    ----------
    data : DataFrame
        Column ``y`` and the groups' column; every other column is a covariate.
    group : str
        The column that says to which group a row belongs.
    scale : float
        How large slopes and errors may be, in units of ``y``: the scale of the priors.

    Returns
    -------
    pm.Model
        Free variables ``beta`` (term: "intercept" and the covariates) with priors N(0, 10 scale) for the intercept and
        N(0, scale) for the slopes, ``chol ~ LKJCholeskyCov(eta=2)`` with standard deviations HalfNormal(scale),
        ``effect ~ N(0, chol chol')`` (the groups, term), ``sigma ~ HalfNormal(scale)``; derived ``chol_corr`` and
        ``chol_stds``; data ``Z`` (obs, term), ``index`` and ``y_data`` (obs).

    Notes
    -----
    The maximum may lie at a correlation of ±1 or at a standard deviation of zero.

    References
    ----------
    Laird and Ware (1982), "Random-effects models for longitudinal data", Biometrics 38, 963-974.
    Lewandowski, Kurowicka and Joe (2009), "Generating random correlation matrices based on vines and extended onion
    method", Journal of Multivariate Analysis 100, 1989-2001.

    Examples
    --------
    >>> from models import data, random_slopes
    >>> random_slopes(data.sleepstudy(), group="subject", scale=50.0).coords["term"]
    ('intercept', 'days')
    """
    covariates = data.drop(columns=["y", group])
    design = np.column_stack([np.ones(len(data)), covariates.to_numpy(dtype=float)])
    terms = ["intercept", *covariates.columns]
    coords = {"obs": data.index.to_numpy(), "term": terms} | group_coords(data[group])
    with pm.Model(coords=coords) as model:
        Z, g = pm.Data("Z", design, dims=("obs", "term")), group_data(data[group], "index")
        beta = pm.Normal("beta", 0.0, scale * np.array([10.0] + [1.0] * (len(terms) - 1)), dims="term")
        spread = pm.HalfNormal.dist(scale, shape=len(terms))
        chol, _, _ = pm.LKJCholeskyCov("chol", n=len(terms), eta=2.0, sd_dist=spread)
        effect = pm.MvNormal("effect", np.zeros(len(terms)), chol=chol, dims=(group, "term"))
        sigma = pm.HalfNormal("sigma", scale)
        pm.Normal("y", (Z * (beta + effect[g])).sum(axis=1), sigma, observed=response_data(data["y"]), dims="obs")
    return model


def crossed_effects(data: pd.DataFrame, factors: Sequence[str], scale: float = 10.0) -> pm.Model:
    r"""A mean, and effects of two or more factors that cross each other.

    .. math:: y_i \sim N\Big(\alpha + \sum_f b^{(f)}_{f(i)}, \sigma\Big), \qquad b^{(f)}_l \sim N(0, \tau_f)

    In R: ``lmer(y ~ 1 + (1 | factor1) + (1 | factor2), REML = FALSE)``.

    Parameters
    ----------
    data : DataFrame
        Column ``y`` and a column for each factor.
    factors : sequence of str
        The factors' columns.
    scale : float
        How large effects and errors may be, in units of ``y``: the scale of the priors.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 10 scale)``; for each factor ``<factor>_sd ~ HalfNormal(scale)`` and
        ``<factor>_effect ~ N(0, <factor>_sd)`` (factor); ``sigma ~ HalfNormal(scale)``; data ``<factor>_index`` and
        ``y_data`` (obs).

    References
    ----------
    Davies and Goldsmith (1972), "Statistical Methods in Research and Production", 4th ed., section 6.6.
    Baayen, Davidson and Bates (2008), "Mixed-effects modeling with crossed random effects for subjects and items",
    Journal of Memory and Language 59, 390-412.

    Examples
    --------
    >>> from models import crossed_effects, data
    >>> crossed_effects(data.penicillin(), factors=["plate", "sample"]).free_RVs
    [intercept, plate_sd, plate_effect, sample_sd, sample_effect, sigma]
    """
    coords = {"obs": data.index.to_numpy()}
    for factor in factors:
        coords |= group_coords(data[factor])
    with pm.Model(coords=coords) as model:
        mean = pm.Normal("intercept", 0.0, 10.0 * scale)
        for factor in factors:
            spread = pm.HalfNormal(f"{factor}_sd", scale)
            effect = pm.Normal(f"{factor}_effect", 0.0, spread, dims=factor)
            mean = mean + effect[group_data(data[factor], f"{factor}_index")]
        sigma = pm.HalfNormal("sigma", scale)
        pm.Normal("y", mean, sigma, observed=response_data(data["y"]), dims="obs")
    return model


def binomial_random_intercepts(data: pd.DataFrame, group: str) -> pm.Model:
    r"""Logistic regression of counts out of n, with an intercept for each group.

    .. math:: y_i \sim \mathrm{Binomial}(n_i, p_i), \qquad \mathrm{logit}\, p_i = \alpha + x_i^\top \beta + b_{g(i)},
              \qquad b_g \sim N(0, \tau)

    In R: ``glmer(cbind(y, n - y) ~ x1 + ... + (1 | group), family = binomial)``.

    Parameters
    ----------
    data : DataFrame
        Columns ``y`` and ``n``, and the groups' column; every other column is a covariate.
    group : str
        The column that says to which group a row belongs.

    Returns
    -------
    pm.Model
        Free variables ``intercept ~ N(0, 2.5)``, ``beta ~ N(0, 2.5)`` (covariate), ``tau ~ HalfNormal(2.5)``,
        ``effect ~ N(0, tau)`` (the groups); data ``X`` (obs, covariate), ``index``, ``n`` and ``y_data`` (obs).

    Notes
    -----
    The integral has no closed form: Laplace's approximation is close, adaptive quadrature is closer.

    References
    ----------
    Breslow and Clayton (1993), "Approximate inference in generalized linear mixed models", JASA 88, 9-25.
    Pinheiro and Chao (2006), "Efficient Laplacian and adaptive Gaussian quadrature algorithms for multilevel
    generalized linear mixed models", Journal of Computational and Graphical Statistics 15, 58-81.

    Examples
    --------
    >>> from models import binomial_random_intercepts, data
    >>> binomial_random_intercepts(data.cbpp(), group="herd").free_RVs
    [intercept, beta, tau, effect]
    """
    covariates = data.drop(columns=["y", "n", group])
    with pm.Model(coords=regression_coords(covariates) | group_coords(data[group])) as model:
        X, g = covariate_data(covariates), group_data(data[group], "index")
        n = pm.Data("n", data["n"].to_numpy(), dims="obs")
        intercept = pm.Normal("intercept", 0.0, 2.5)
        beta = pm.Normal("beta", 0.0, 2.5, dims="covariate")
        tau = pm.HalfNormal("tau", 2.5)
        effect = pm.Normal("effect", 0.0, tau, dims=group)
        logit = intercept + X @ beta + effect[g]
        pm.Binomial("y", n=n, logit_p=logit, observed=response_data(data["y"]), dims="obs")
    return model


def eight_schools(data: pd.DataFrame) -> pm.Model:
    r"""Effects measured with known errors, drawn from one distribution: a meta-analysis.

    .. math:: y_j \sim N(\theta_j, s_j), \qquad \theta_j = \mu + \tau z_j, \qquad z_j \sim N(0, 1)

    The offsets :math:`z_j` are latent although their prior is a constant: without it, only the products
    :math:`\tau z_j` would mean anything.

    Parameters
    ----------
    data : DataFrame
        Columns ``y`` (the effects measured), ``stderr`` (their known standard errors) and ``school``.

    Returns
    -------
    pm.Model
        Free variables ``mu ~ N(0, 20)``, ``tau ~ HalfNormal(20)``, ``offset ~ N(0, 1)`` (school); derived ``theta``
        (school); data ``stderr`` and ``y_data`` (school).

    Notes
    -----
    The likelihood of Rubin's eight schools falls from :math:`\tau = 0` on: the maximum lies on the boundary, with
    complete pooling, while the posterior of :math:`\tau` has its mass well away from zero.

    References
    ----------
    Rubin (1981), "Estimation in parallel randomized experiments", Journal of Educational Statistics 6, 377-401.
    Gelman et al. (2013), "Bayesian Data Analysis", 3rd ed., section 5.5.

    Examples
    --------
    >>> from models import data, eight_schools
    >>> eight_schools(data.coaching()).free_RVs
    [mu, tau, offset]
    """
    with pm.Model(coords={"school": data["school"].to_numpy()}) as model:
        stderr = pm.Data("stderr", data["stderr"].to_numpy(), dims="school")
        mu = pm.Normal("mu", 0.0, 20.0)
        tau = pm.HalfNormal("tau", 20.0)
        offset = pm.Normal("offset", 0.0, 1.0, dims="school")
        theta = pm.Deterministic("theta", mu + tau * offset, dims="school")
        pm.Normal("y", theta, stderr, observed=response_data(data["y"], "school"), dims="school")
    return model


def growth_curves(data: pd.DataFrame, group: str) -> pm.Model:
    r"""Logistic growth toward an asymptote that varies between groups.

    .. math:: y_i \sim N\left(\frac{a_{g(i)}}{1 + e^{-(t_i - m) / s}}, \sigma\right), \qquad a_g \sim N(\alpha, \tau)

    In R: ``nlme(y ~ SSlogis(age, Asym, xmid, scal), random = Asym ~ 1)``. The asymptote enters linearly, so the
    integral is Gaussian and has a closed form.

    Parameters
    ----------
    data : DataFrame
        Columns ``y``, ``age`` and the groups' column.
    group : str
        The column that says to which group a row belongs.

    Returns
    -------
    pm.Model
        Free variables ``asym ~ N(200, 100)``, ``xmid ~ N(700, 300)``, ``scal ~ HalfNormal(500)``, ``tau ~
        HalfNormal(100)``, ``asym_group ~ N(asym, tau)`` (the groups), ``sigma ~ HalfNormal(20)``: priors for trees
        measured in millimeters and days; data ``age``, ``index`` and ``y_data`` (obs).

    References
    ----------
    Lindstrom and Bates (1990), "Nonlinear mixed effects models for repeated measures data", Biometrics 46, 673-687.
    Pinheiro and Bates (2000), "Mixed-Effects Models in S and S-PLUS", chapter 8.

    Examples
    --------
    >>> from models import data, growth_curves
    >>> growth_curves(data.orange_trees(), group="tree").free_RVs
    [asym, xmid, scal, tau, asym_group, sigma]
    """
    with pm.Model(coords={"obs": data.index.to_numpy()} | group_coords(data[group])) as model:
        age = pm.Data("age", data["age"].to_numpy(dtype=float), dims="obs")
        g = group_data(data[group], "index")
        asym = pm.Normal("asym", 200.0, 100.0)
        xmid = pm.Normal("xmid", 700.0, 300.0)
        scal = pm.HalfNormal("scal", 500.0)
        tau = pm.HalfNormal("tau", 100.0)
        asym_group = pm.Normal("asym_group", asym, tau, dims=group)
        sigma = pm.HalfNormal("sigma", 20.0)
        mean = asym_group[g] * pm.math.sigmoid((age - xmid) / scal)
        pm.Normal("y", mean, sigma, observed=response_data(data["y"]), dims="obs")
    return model
