"""Make gallery.json: an independent maximum-likelihood fit of each gallery model on its default data.

Run from the repository's root, with statsmodels and mpmath installed (a minute or two):

    python tests/reference/make_gallery.py

Every log-likelihood below is written by hand, from the formula in the model's docstring, on the *constrained* scale
and in 50-digit arithmetic (mpmath). Newton's method with central differences at steps of 1e-12 (error about 1e-24)
finds the maximum; the standard errors come from the negative inverse Hessian there. On the constrained scale no
transform enters, so no delta method either, except that the last simplex element is one minus the others. Neither
PyMC's densities nor mle_pp take part: of `models`, only the numbers in `models.data` are read.

Each fit is then checked against another tool: closed forms, statsmodels, an EM algorithm, or numbers quoted from
another program. The hierarchical models with unknown hyperparameters have no entry: their likelihood is an integral.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import mpmath as mp
import numpy as np
import pandas as pd
import scipy
import scipy.optimize
import statsmodels
import statsmodels.api as sm
from mpmath import mpf
from statsmodels.discrete.count_model import ZeroInflatedPoisson
from statsmodels.miscmodels.ordinal_model import OrderedModel
from statsmodels.miscmodels.tmodel import TLinearModel
from statsmodels.tools.numdiff import approx_hess3, approx_hess_cs
from statsmodels.tsa.ar_model import AutoReg

sys.path.insert(0, str(Path(__file__).parents[2]))
from models import data

mp.mp.dps = 50
STEP = mpf(10) ** -12
METHOD = (
    "log-likelihood written by hand and maximized by Newton's method in 50-digit arithmetic "
    f"(mpmath {mp.__version__}); covariance: inverse observed information"
)

type Loglik = Callable[[Sequence[mpf]], mpf]


@dataclass(frozen=True)
class Fit:
    """A maximum on the constrained scale.

    `names` labels `estimate` (a list) and `cov` (a matrix); `n_params` is smaller than their length where a simplex
    is among them. `loglik` is the maximum, `n_obs` the number of rows.
    """

    names: list[str]
    estimate: list[mpf]
    cov: mp.matrix
    loglik: mpf
    n_obs: int
    n_params: int

    def stderr(self) -> list[mpf]:
        return [mp.sqrt(self.cov[i, i]) for i in range(len(self.names))]


# ------------------------------------------------------------------------------------------------------ the maximizer


def gradient(loglik: Loglik, theta: Sequence[mpf]) -> mp.matrix:
    def slope(i: int) -> mpf:
        return (loglik(shifted(theta, {i: 1})) - loglik(shifted(theta, {i: -1}))) / (2 * STEP)

    return mp.matrix([slope(i) for i in range(len(theta))])


def hessian(loglik: Loglik, theta: Sequence[mpf]) -> mp.matrix:
    n, center = len(theta), loglik(theta)
    H = mp.matrix(n, n)
    for i in range(n):
        H[i, i] = (loglik(shifted(theta, {i: 1})) - 2 * center + loglik(shifted(theta, {i: -1}))) / STEP**2
        for j in range(i):
            corners = [a * b * loglik(shifted(theta, {i: a, j: b})) for a in (1, -1) for b in (1, -1)]
            H[i, j] = H[j, i] = mp.fsum(corners) / (4 * STEP**2)
    return H


def shifted(theta: Sequence[mpf], steps: dict[int, int]) -> list[mpf]:
    return [value + steps.get(k, 0) * STEP for k, value in enumerate(theta)]


def newton(loglik: Loglik, start: Sequence[float]) -> list[mpf]:
    theta = [mpf(float(value)) for value in start]
    for _ in range(20):
        step = mp.lu_solve(hessian(loglik, theta), -gradient(loglik, theta))
        theta = [value + change for value, change in zip(theta, step, strict=True)]
        if mp.norm(step) < mpf(10) ** -18 * (1 + mp.norm(mp.matrix(theta))):
            return theta
    raise RuntimeError(f"Newton's method did not converge from {start}: last step {mp.norm(step)}")


def rough_maximum(loglik: Loglik, start: Sequence[float]) -> np.ndarray:
    """Where Nelder-Mead ends: it needs nothing but values, and stays inside the support."""

    def loss(theta: np.ndarray) -> float:
        value = loglik([mpf(float(t)) for t in theta])
        return -float(value) if mp.isfinite(value) else np.inf

    options = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-5, "fatol": 1e-7, "adaptive": True}
    with mp.workdps(20):
        return scipy.optimize.minimize(loss, start, method="Nelder-Mead", options=options).x


def maximize(names: list[str], loglik: Loglik, starts: Sequence[Sequence[float]], n_obs: int, simplex: int = 0) -> Fit:
    """The maximum that all starts agree on, as a `Fit`.

    The first `simplex` parameters are all but the last element of a simplex; its last element is added to the result
    (`names` holds it already).
    """
    ends = [rough_maximum(loglik, start) for start in starts]
    assert all(np.allclose(end, ends[0], rtol=1e-2, atol=1e-2) for end in ends), f"{names}: {ends}"
    theta = newton(loglik, ends[0])
    information = -hessian(loglik, theta)
    mp.cholesky(information)  # raises unless positive definite: a strict maximum
    loglik_max = loglik(theta)
    assert mp.norm(gradient(loglik, theta)) < mpf(10) ** -15
    cov = information**-1
    if simplex:
        theta = [*theta[:simplex], 1 - mp.fsum(theta[:simplex]), *theta[simplex:]]
        A = mp.zeros(len(theta), len(theta) - 1)  # derivative of all elements by the free ones
        for j in range(len(theta) - 1):
            A[j + (j >= simplex), j] = 1
            if j < simplex:
                A[simplex, j] = -1
        cov = A * cov * A.T
    assert len(theta) == len(names)
    return Fit(names, theta, cov, loglik_max, n_obs, len(theta) - bool(simplex))


# ------------------------------------------------------------------------------------------------------------- pieces


def exact(values: Sequence[float] | pd.Series | np.ndarray) -> list[mpf]:
    return [mpf(float(v)) for v in values]


def rows(covariates: pd.DataFrame) -> list[list[mpf]]:
    return [exact(row) for row in covariates.to_numpy(dtype=float)]


def dot(x: Sequence[mpf], b: Sequence[mpf]) -> mpf:
    return mp.fsum(u * v for u, v in zip(x, b, strict=True))


def positive(*values: mpf) -> bool:
    return all(v > 0 for v in values)


def log_normal_density(residual: mpf, sigma: mpf) -> mpf:
    return -((residual / sigma) ** 2) / 2 - mp.log(sigma) - mp.log(2 * mp.pi) / 2


def log_expit(t: mpf) -> mpf:
    return -mp.log1p(mp.exp(-t))


def labels(name: str, covariates: pd.DataFrame) -> list[str]:
    return [f"{name}[{column}]" for column in covariates]


def check(fit: Fit, estimate: Sequence, stderr: Sequence, loglik: float, rtol: float) -> None:
    """Assert that another tool says the same, to the precision that it has."""
    np.testing.assert_allclose([float(v) for v in fit.estimate], [float(v) for v in estimate], rtol=rtol, atol=rtol)
    np.testing.assert_allclose([float(v) for v in fit.stderr()], [float(v) for v in stderr], rtol=rtol)
    np.testing.assert_allclose(float(fit.loglik), float(loglik), rtol=rtol)


# -------------------------------------------------------------------------------------------------- the textbook four


def normal() -> tuple[Fit, str]:
    y = exact(data.sleep())
    n = len(y)

    def loglik(theta):
        mu, sigma = theta
        return mp.fsum(log_normal_density(v - mu, sigma) for v in y) if positive(sigma) else -mp.inf

    fit = maximize(["mu", "sigma"], loglik, [[0, 1], [3, 4]], n)
    mean = mp.fsum(y) / n
    sd = mp.sqrt(mp.fsum((v - mean) ** 2 for v in y) / n)
    check(fit, [mean, sd], [sd / mp.sqrt(n), sd / mp.sqrt(2 * n)], -n * (mp.log(2 * mp.pi * sd**2) + 1) / 2, 1e-15)
    return fit, "closed form: mean, sd with divisor n, sd/sqrt(n), sd/sqrt(2n)"


def poisson() -> tuple[Fit, str]:
    y = [int(v) for v in data.horse_kicks()]
    n, total = len(y), sum(y)

    def loglik(theta):
        (mu,) = theta
        return total * mp.log(mu) - n * mu - mp.fsum(mp.loggamma(v + 1) for v in y) if positive(mu) else -mp.inf

    fit = maximize(["mu"], loglik, [[1], [5]], n)
    mean = mpf(total) / n
    glm = sm.GLM(np.array(y), np.ones(n), family=sm.families.Poisson()).fit()
    check(fit, [mean], [mp.sqrt(mean / n)], glm.llf, 1e-12)
    return fit, "closed form: mean, sqrt(mean/n); log-likelihood: statsmodels GLM"


def bernoulli() -> tuple[Fit, str]:
    y = [int(v) for v in data.improved_grades()]
    n, successes = len(y), sum(y)

    def loglik(theta):
        (p,) = theta
        inside = positive(p, 1 - p)
        return successes * mp.log(p) + (n - successes) * mp.log1p(-p) if inside else -mp.inf

    fit = maximize(["p"], loglik, [[0.5], [0.9]], n)
    p = mpf(successes) / n
    null = sm.Logit(np.array(y), np.ones(n)).fit(disp=0)
    check(fit, [p], [mp.sqrt(p * (1 - p) / n)], null.llf, 1e-12)
    return fit, "closed form: share p, sqrt(p(1-p)/n); log-likelihood: statsmodels Logit, intercept only"


def exponential() -> tuple[Fit, str]:
    y = exact(data.air_conditioning())
    n, total = len(y), mp.fsum(y)

    def loglik(theta):
        (lam,) = theta
        return n * mp.log(lam) - lam * total if positive(lam) else -mp.inf

    fit = maximize(["lam"], loglik, [[0.01], [0.1]], n)
    rate = n / total
    check(fit, [rate], [rate / mp.sqrt(n)], n * mp.log(rate) - n, 1e-15)
    return fit, "closed form: 1/mean, 1/(mean sqrt(n))"


# ---------------------------------------------------------------------------------------------------------- regression


@cache
def linear_regression(intercept: bool = True) -> tuple[Fit, str]:
    frame = data.seed()
    covariates, y = frame.drop(columns="y"), exact(frame["y"])
    X = [[mpf(1), *x] if intercept else x for x in rows(covariates)]
    n, k = len(y), len(X[0])

    def loglik(theta):
        *beta, sigma = theta
        if not positive(sigma):
            return -mp.inf
        return mp.fsum(log_normal_density(v - dot(x, beta), sigma) for v, x in zip(y, X, strict=True))

    names = ["intercept"] * intercept + labels("beta", covariates) + ["sigma"]
    fit = maximize(names, loglik, [[1.0] * k + [5], [8.0] * k + [10]], n)
    ols = sm.OLS(frame["y"].to_numpy(), sm.add_constant(covariates) if intercept else covariates).fit()
    sd = np.sqrt(ols.ssr / n)
    stderr = [*ols.bse * np.sqrt((n - k) / n), sd / np.sqrt(2 * n)]
    check(fit, [*ols.params, sd], stderr, ols.llf, 1e-10)
    return fit, "statsmodels OLS, divisor n: estimates, standard errors, log-likelihood"


def hierarchical_regression() -> tuple[Fit, str]:
    fit, tool = linear_regression()
    return fit, "prior dropped, so the linear regression of the same data: " + tool


def student_t_regression() -> tuple[Fit, str]:
    frame = data.heavy_tailed()
    covariates, y = frame.drop(columns="y"), exact(frame["y"])
    X = [[mpf(1), *x] for x in rows(covariates)]
    n = len(y)

    def loglik(theta):
        *beta, sigma, nu = theta
        if not positive(sigma, nu):
            return -mp.inf
        constant = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2 - mp.log(sigma)
        squares = (((v - dot(x, beta)) / sigma) ** 2 for v, x in zip(y, X, strict=True))
        return n * constant - (nu + 1) / 2 * mp.fsum(mp.log1p(s / nu) for s in squares)

    names = ["intercept", *labels("beta", covariates), "sigma", "nu"]
    fit = maximize(names, loglik, [[0, 0, 0, 1, 5], [2, 1, -1, 2, 20]], n)

    design = sm.add_constant(covariates.to_numpy())
    model = TLinearModel(frame["y"].to_numpy(), design)  # its order: coefficients, df, scale
    start = np.r_[sm.OLS(frame["y"].to_numpy(), design).fit().params, 5.0, 1.0]
    other = model.fit(start_params=start, method="bfgs", maxiter=2000, gtol=1e-6, disp=0)
    order = [0, 1, 2, 4, 3]
    check(fit, other.params[order], other.bse[order], other.llf, 1e-4)
    return fit, "statsmodels TLinearModel to 1e-4"


def logistic_regression() -> tuple[Fit, str]:
    frame = data.spector()
    loaded = sm.datasets.spector.load_pandas().data.rename(columns={"GRADE": "y"})
    pd.testing.assert_frame_equal(frame, loaded.astype({"y": int}))
    covariates, y = frame.drop(columns="y"), [int(v) for v in frame["y"]]
    X = [[mpf(1), *x] for x in rows(covariates)]

    def loglik(theta):
        return mp.fsum(log_expit(dot(x, theta) if v else -dot(x, theta)) for v, x in zip(y, X, strict=True))

    # Raw scales (TUCE is about 22) make Nelder-Mead creep; it starts where statsmodels ends
    other = sm.Logit(frame["y"], sm.add_constant(covariates)).fit(disp=0, tol=1e-14)
    fit = maximize(["intercept", *labels("beta", covariates)], loglik, [other.params], len(y))
    check(fit, other.params, other.bse, other.llf, 1e-10)
    # R's glm, in ../shared/cases/general/cases.json: GPA, TUCE, PSI, constant
    quoted = [-13.0213468581157, 2.8261125948893, 0.0951576613179, 2.3786876550934]
    quoted_se = [4.93132421299, 1.262941075528, 0.141554205665, 1.06456425441]
    check(fit, quoted, quoted_se, -12.8896342221, 1e-7)
    return fit, "statsmodels Logit; R 4.2 glm to 1e-7"


# -------------------------------------------------------------------------------------------------------------- counts


def poisson_regression() -> tuple[Fit, str]:
    frame = data.counts()
    covariates, y = frame.drop(columns="y"), [int(v) for v in frame["y"]]
    X = [[mpf(1), *x] for x in rows(covariates)]

    def loglik(theta):
        log_means = [dot(x, theta) for x in X]
        terms = (v * t - mp.exp(t) - mp.loggamma(v + 1) for v, t in zip(y, log_means, strict=True))
        return mp.fsum(terms)

    fit = maximize(["intercept", *labels("beta", covariates)], loglik, [[0, 0, 0], [1, 1, 1]], len(y))
    other = sm.Poisson(frame["y"], sm.add_constant(covariates)).fit(disp=0, tol=1e-14)
    check(fit, other.params, other.bse, other.llf, 1e-10)
    return fit, "statsmodels Poisson"


def negative_binomial_regression() -> tuple[Fit, str]:
    frame = data.overdispersed_counts()
    covariates, y = frame.drop(columns="y"), [int(v) for v in frame["y"]]
    X = [[mpf(1), *x] for x in rows(covariates)]

    def loglik(theta):
        *beta, alpha = theta
        if not positive(alpha):
            return -mp.inf
        rising = [mpf(0)]  # log Gamma(y + alpha) - log Gamma(alpha) = sum of log(alpha + k), k < y
        for k in range(max(y)):
            rising.append(rising[-1] + mp.log(alpha + k))
        total = mpf(0)
        for v, x in zip(y, X, strict=True):
            mu = mp.exp(dot(x, beta))
            total += rising[v] - mp.loggamma(v + 1) - alpha * mp.log1p(mu / alpha) - v * mp.log1p(alpha / mu)
        return total

    names = ["intercept", *labels("beta", covariates), "alpha"]
    fit = maximize(names, loglik, [[0, 0, 0, 1], [1, 1, -1, 5]], len(y))
    model = sm.NegativeBinomial(frame["y"], sm.add_constant(covariates), loglike_method="nb2")
    other = model.fit(disp=0, method="bfgs", maxiter=1000, gtol=1e-9)
    params, bse = other.params.to_numpy(), other.bse.to_numpy()
    # its dispersion is 1 / alpha
    estimate = [*params[:-1], 1 / params[-1]]
    check(fit, estimate, [*bse[:-1], bse[-1] / params[-1] ** 2], other.llf, 1e-5)
    return fit, "statsmodels NegativeBinomial (NB2, its alpha inverted) to 1e-5"


def zero_inflated_poisson() -> tuple[Fit, str]:
    frame = data.inflated_counts()
    covariates, y = frame.drop(columns="y"), [int(v) for v in frame["y"]]
    X = [[mpf(1), *x] for x in rows(covariates)]

    def loglik(theta):
        *beta, psi = theta
        if not positive(psi, 1 - psi):
            return -mp.inf
        total = mpf(0)
        for v, x in zip(y, X, strict=True):
            log_mean = dot(x, beta)
            mu = mp.exp(log_mean)
            if v == 0:
                total += mp.log(1 - psi + psi * mp.exp(-mu))
            else:
                total += mp.log(psi) - mu + v * log_mean - mp.loggamma(v + 1)
        return total

    fit = maximize(["intercept", *labels("beta", covariates), "psi"], loglik, [[0, 0, 0.5], [2, 1, 0.9]], len(y))
    model = ZeroInflatedPoisson(frame["y"], sm.add_constant(covariates), exog_infl=np.ones((len(y), 1)))
    other = model.fit(disp=0, method="bfgs", maxiter=1000, gtol=1e-8)
    inflation, *beta = other.params  # the logit of 1 - psi
    # Its own standard errors, 3 % off, leave the cross derivatives of inflation and mean out of the Hessian
    inflation_se, *beta_se = np.sqrt(np.diag(np.linalg.inv(-approx_hess3(other.params, model.loglike))))
    psi = 1 / (1 + np.exp(inflation))
    check(fit, [*beta, psi], [*beta_se, inflation_se * psi * (1 - psi)], other.llf, 1e-5)
    return fit, (
        "statsmodels ZeroInflatedPoisson (its inflation logit mapped to psi by the delta method, differences of its "
        "log-likelihood for the Hessian) to 1e-5"
    )


# -------------------------------------------------------------------------------------------------------- the others


def censored_weibull() -> tuple[Fit, str]:
    frame = data.leukemia()
    covariates = frame.drop(columns=["time", "limit"])
    times, events = exact(frame["time"]), list(frame["time"] < frame["limit"])
    X = [[mpf(1), *x] for x in rows(covariates)]

    def loglik(theta):
        *beta, alpha = theta
        if not positive(alpha):
            return -mp.inf
        total = mpf(0)
        for t, event, x in zip(times, events, X, strict=True):
            log_ratio = mp.log(t) - dot(x, beta)
            total -= mp.exp(alpha * log_ratio)
            if event:
                total += mp.log(alpha) + alpha * log_ratio - mp.log(t)
        return total

    names = ["intercept", *labels("beta", covariates), "alpha"]
    fit = maximize(names, loglik, [[2, 0, 1], [3, 2, 2]], len(times))
    # Given alpha, a Poisson regression of the events with offset alpha log(time) and coefficients -alpha beta; alpha
    # makes the sum of (event - mean) log(time) equal to minus the number of events over alpha (Aitkin and Clayton 1980)
    log_time, died = np.log(frame["time"]), np.array(events, dtype=float)

    def given(alpha: float):
        family = sm.families.Poisson()
        return sm.GLM(died, sm.add_constant(covariates), family=family, offset=alpha * log_time).fit(tol=1e-13)

    def slope(alpha: float) -> float:
        return died.sum() / alpha + ((died - given(alpha).mu) * log_time).sum()

    alpha = scipy.optimize.brentq(slope, 0.5, 3.0, xtol=1e-13)
    other = given(alpha)
    other_loglik = other.llf + died.sum() * np.log(alpha) - (died * log_time).sum()
    check(fit, [*(-other.params / alpha), alpha], fit.stderr(), other_loglik, 1e-10)
    # lifelines 0.30.3, WeibullAFTFitter(penalizer=0) on the same 42 rows (its load_leukemia holds them, too): lambda_
    # Intercept, lambda_ treated, log rho_. It stops some 2e-6 short of the maximum
    log_alpha, log_alpha_se = 0.31170855470850706, 0.14729175783305795
    estimate = [2.248347650583028, 1.2673315703647077, np.exp(log_alpha)]
    stderr = [0.16597176808833455, 0.31063845288615555, np.exp(log_alpha) * log_alpha_se]
    check(fit, estimate, stderr, -106.57949158250962, 1e-5)
    return (
        fit,
        "statsmodels GLM (Poisson, offset) with a root in alpha; lifelines 0.30.3 WeibullAFTFitter to 1e-5",
    )


def ordered_logit() -> tuple[Fit, str]:
    frame = data.ratings()
    covariates, y = frame.drop(columns="y"), [int(v) for v in frame["y"]]
    X = rows(covariates)
    k = len(X[0])

    def loglik(theta):
        beta, cuts = theta[:k], theta[k:]
        if any(b <= a for a, b in pairwise(cuts)):
            return -mp.inf
        total = mpf(0)
        for v, x in zip(y, X, strict=True):
            eta = dot(x, beta)
            above = mp.exp(log_expit(cuts[v] - eta)) if v < len(cuts) else mpf(1)
            below = mp.exp(log_expit(cuts[v - 1] - eta)) if v > 0 else mpf(0)
            total += mp.log(above - below)
        return total

    n_cuts = max(y)
    names = labels("beta", covariates) + [f"cutpoints[{j}|{j + 1}]" for j in range(n_cuts)]
    fit = maximize(names, loglik, [[0, 0, -1, 0, 1], [1, -1, 0, 1, 2]], len(y))
    model = OrderedModel(frame["y"], covariates, distr="logit")
    other = model.fit(disp=0, method="bfgs", maxiter=1000, gtol=1e-8)
    # it estimates the first cutpoint and the logarithms of the gaps
    params, cov = other.params.to_numpy(), other.cov_params().to_numpy()
    gaps = np.exp(params[k + 1 :])
    cuts = params[k] + np.r_[0.0, np.cumsum(gaps)]
    J = np.eye(len(params))
    J[k:, k:] = np.tril(np.ones((n_cuts, n_cuts))) * np.r_[1.0, gaps]
    check(fit, [*params[:k], *cuts], np.sqrt(np.diag(J @ cov @ J.T)), other.llf, 1e-5)
    return fit, "statsmodels OrderedModel (cutpoints by the delta method) to 1e-5"


def normal_mixture() -> tuple[Fit, str]:
    sample = data.two_clusters().to_numpy()
    y = exact(sample)

    def loglik(theta):
        w, mu1, mu2, sigma1, sigma2 = theta
        if not positive(w, 1 - w, sigma1, sigma2, mu2 - mu1):
            return -mp.inf
        total = mpf(0)
        for v in y:
            first = w * mp.exp(-(((v - mu1) / sigma1) ** 2) / 2) / sigma1
            second = (1 - w) * mp.exp(-(((v - mu2) / sigma2) ** 2) / 2) / sigma2
            total += mp.log(first + second)
        return total - len(y) * mp.log(2 * mp.pi) / 2

    names = ["w[1]", "w[2]", "mu[1]", "mu[2]", "sigma[1]", "sigma[2]"]
    fit = maximize(names, loglik, [[0.5, -1, 1, 1, 1], [0.3, 0, 3, 2, 2]], len(y), simplex=1)

    w, mu, sigma = np.array([0.5, 0.5]), np.array([-1.0, 1.0]), np.array([1.0, 1.0])
    for _ in range(20_000):  # EM
        joint = w * scipy.stats.norm.pdf(sample[:, None], mu, sigma)
        share = joint / joint.sum(axis=1, keepdims=True)
        w = share.mean(axis=0)
        mu = share.T @ sample / share.sum(axis=0)
        sigma = np.sqrt((share * (sample[:, None] - mu) ** 2).sum(axis=0) / share.sum(axis=0))
    check(fit, [*w, *mu, *sigma], fit.stderr(), np.log(joint.sum(axis=1)).sum(), 1e-9)

    def complex_loglik(theta: np.ndarray) -> complex:  # for derivatives by complex steps, in double precision
        w1, m1, m2, s1, s2 = theta
        first = w1 / s1 * np.exp(-(((sample - m1) / s1) ** 2) / 2)
        second = (1 - w1) / s2 * np.exp(-(((sample - m2) / s2) ** 2) / 2)
        return np.log(first + second).sum()

    inverse = np.linalg.inv(-approx_hess_cs(np.r_[w[0], mu, sigma], complex_loglik))
    stderr = np.sqrt(np.diag(inverse))[[0, 0, 1, 2, 3, 4]]
    check(fit, [*w, *mu, *sigma], stderr, fit.loglik, 1e-5)
    tool = "an EM algorithm to 1e-9; standard errors: complex-step derivatives (statsmodels) to 1e-5"
    return fit, f"{tool}. The maximum is the best interior one of an unbounded likelihood"


def ar2() -> tuple[Fit, str]:
    series = data.sunspots()
    y = exact(series)

    def loglik(theta):
        *rho, sigma = theta
        if not positive(sigma):
            return -mp.inf
        residuals = (y[t] - dot([mpf(1), y[t - 1], y[t - 2]], rho) for t in range(2, len(y)))
        first_two = mp.fsum(log_normal_density(v, mpf(100)) for v in y[:2])
        return mp.fsum(log_normal_density(r, sigma) for r in residuals) + first_two

    names = ["rho[constant]", "rho[lag1]", "rho[lag2]", "sigma"]
    other = AutoReg(series.to_numpy(), 2).fit()
    n = len(y) - 2
    sd = np.sqrt(np.sum(other.resid**2) / n)
    fit = maximize(names, loglik, [[10, 1, 0, 20], [*other.params, sd]], len(y))
    ols = sm.OLS(series.to_numpy()[2:], np.column_stack([np.ones(n), series.to_numpy()[1:-1], series.to_numpy()[:-2]]))
    stderr = [*ols.fit().bse * np.sqrt((n - 3) / n), sd / np.sqrt(2 * n)]
    constant = scipy.stats.norm.logpdf(series.to_numpy()[:2], 0, 100).sum()
    check(fit, [*other.params, sd], stderr, other.llf + constant, 1e-9)
    return fit, "statsmodels AutoReg and OLS on the lags, divisor T - 2; the constant of the first two values added"


FITS: dict[str, Callable[[], tuple[Fit, str]]] = {
    "normal": normal,
    "poisson": poisson,
    "bernoulli": bernoulli,
    "exponential": exponential,
    "linear_regression": linear_regression,
    "linear_regression_no_intercept": lambda: linear_regression(intercept=False),
    "hierarchical_regression": hierarchical_regression,
    "logistic_regression": logistic_regression,
    "poisson_regression": poisson_regression,
    "negative_binomial_regression": negative_binomial_regression,
    "student_t_regression": student_t_regression,
    "censored_weibull": censored_weibull,
    "ordered_logit": ordered_logit,
    "zero_inflated_poisson": zero_inflated_poisson,
    "normal_mixture": normal_mixture,
    "ar2": ar2,
}


def as_json(fit: Fit, checked_against: str) -> dict:
    stderr = fit.stderr()
    return {
        "params": {
            name: {"estimate": float(fit.estimate[i]), "stderr": float(stderr[i])} for i, name in enumerate(fit.names)
        },
        "cov": [[float(fit.cov[i, j]) for j in range(len(fit.names))] for i in range(len(fit.names))],
        "loglik": float(fit.loglik),
        "n_obs": fit.n_obs,
        "n_params": fit.n_params,
        "provenance": f"{METHOD}. Checked against: {checked_against}.",
    }


def main() -> None:
    versions = f"statsmodels {statsmodels.__version__}, SciPy {scipy.__version__}, NumPy {np.__version__}"
    fits = {}
    for name, make in FITS.items():
        fits[name] = as_json(*make())
        print(name, {k: round(v["estimate"], 4) for k, v in fits[name]["params"].items()}, fits[name]["loglik"])
    result = {"made_by": f"tests/reference/make_gallery.py with {versions}", "fits": fits}
    target = Path(__file__).with_name("gallery.json")
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
