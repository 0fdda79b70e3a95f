"""Profile intervals against numbers from elsewhere, closed forms, and SciPy on hand-written likelihoods."""

import doctest
import warnings

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy import stats
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import gammaln, xlogy

import mle_pp as mle
from mle_pp.intervals import profiles

CUTOFF = stats.chi2.ppf(0.95, 1) / 2
DOSE = np.arange(11.0)
COUNTS = np.array([26, 17, 13, 12, 20, 5, 9, 8, 5, 4, 8])
RNG = np.random.default_rng(20260214)

infinite_or_at_an_edge = pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")


def limits(found, label):
    return np.array([found[label].lower, found[label].upper])


def statuses(found, label):
    return (str(found[label].lower_status), str(found[label].upper_status))


def fit(build):
    with pm.Model() as model:
        build()
    return mle.find_MLE(model)


# -- numbers from elsewhere ---------------------------------------------------------------------------------------


def ec50(lower=None):
    def build():
        ymax = pm.HalfNormal("ymax", 50)
        xhalf = pm.HalfNormal("xhalf", 10) if lower is None else pm.TruncatedNormal("xhalf", 6, 10, lower=lower)
        pm.Deterministic("log_xhalf", pm.math.log(xhalf))
        pm.Deterministic("slope", ymax / xhalf)
        pm.Poisson("y", ymax / (1 + DOSE / xhalf), observed=COUNTS)

    return build


@pytest.fixture(scope="module")
def ec50_fit():
    return fit(ec50())


def test_ec50(ec50_fit):
    """R's stats4 example; the limits recomputed at the optimum (R's own stopped short of it)."""
    found = mle.interval(ec50_fit, kind="profile", ci_prob=0.95)
    np.testing.assert_allclose(found["ymax"], [17.8815125785, 34.6186261349], rtol=1e-9)
    np.testing.assert_allclose(found["xhalf"], [1.6614241507, 6.4784481789], rtol=1e-9)


@infinite_or_at_an_edge
def test_ec50_with_the_maximum_on_a_bound():
    """R prints [17.446, 26.5081] and [NA, 6.9109]; tighter ones from the likelihood written in SciPy."""
    found = mle.profile(fit(ec50(lower=4)), ci_prob=0.95)

    def loglik(ymax, xhalf):
        rate = ymax / (1 + DOSE / xhalf)
        return np.sum(COUNTS * np.log(rate) - rate)

    def of_xhalf(xhalf):
        return loglik(COUNTS.sum() / np.sum(1 / (1 + DOSE / xhalf)), xhalf)

    def of_ymax(ymax):
        inner = minimize_scalar(
            lambda t: -loglik(ymax, 4 + np.exp(t)), bounds=(-40, 8), method="bounded", options={"xatol": 1e-12}
        )
        return max(-inner.fun, loglik(ymax, 4.0))

    top = of_xhalf(4.0)
    upper = brentq(lambda v: of_xhalf(v) - top + CUTOFF, 4, 20, xtol=1e-12)
    ends = [brentq(lambda v: of_ymax(v) - top + CUTOFF, *ends, xtol=1e-12) for ends in ((10, 22), (23, 40))]
    np.testing.assert_allclose(limits(found, "ymax"), ends, rtol=1e-7)
    np.testing.assert_allclose(limits(found, "xhalf"), [4, upper], rtol=1e-7)
    assert statuses(found, "ymax") == ("found", "found")
    assert statuses(found, "xhalf") == ("edge", "found")
    np.testing.assert_allclose([*ends, upper], [17.446, 26.5081, 6.9109], rtol=1e-4)


def test_spector():
    """Logit of Spector and Mazzeo's data, profiled with statsmodels' offsets; R's confint interpolates with splines."""
    data = sm.datasets.spector.load_pandas()
    X, y = sm.add_constant(data.exog).values, data.endog.values

    def build():
        pm.Bernoulli("y", logit_p=X @ pm.Normal("beta", 0, 10, shape=4), observed=y)

    est = fit(build)
    from_r = {1: [0.639366529881, 5.757253162349], 3: [0.478609017266, 4.810260349803]}
    found = mle.profile(est, [f"beta[{k}]" for k in from_r], ci_prob=0.95, points=0)
    for k, approximate in from_r.items():

        def excess(value, k=k):
            rest = sm.GLM(y, np.delete(X, k, axis=1), family=sm.families.Binomial(), offset=value * X[:, k])
            return rest.fit(tol=1e-13, maxiter=200).llf - est.loglik + CUTOFF

        middle = float(est.params["beta"][k])
        expected = [brentq(excess, *ends, xtol=1e-12) for ends in ((middle - 3, middle), (middle, middle + 4))]
        np.testing.assert_allclose(limits(found, f"beta[{k}]"), expected, rtol=1e-8)
        np.testing.assert_allclose(expected, approximate, rtol=5e-4)


@infinite_or_at_an_edge
@pytest.mark.parametrize("successes", [0, 10])
def test_no_or_all_successes(successes):
    """(1 − p)^10 = exp(−CUTOFF): the limit for 0 of 10 is 0.174753."""

    def build():
        pm.Binomial("y", 10, pm.Uniform("p", 0, 1), observed=successes)

    bound = -np.expm1(-CUTOFF / 10)
    assert bound == pytest.approx(0.174753, abs=5e-7)
    est = fit(build)
    with pytest.warns(mle.ProfileWarning, match=r"p: (lower|upper) edge"):
        found = mle.interval(est, kind="profile", ci_prob=0.95)["p"]
    np.testing.assert_allclose(found, [0, bound] if successes == 0 else [1 - bound, 1], rtol=1e-9, atol=1e-15)


@infinite_or_at_an_edge
def test_counting_experiment_with_the_maximum_on_the_boundary():
    """pyhf's two-bin example, whose signal strength is estimated as zero; each bin's nuisance maximized in SciPy."""
    signal, background, error = np.array([12, 11]), np.array([50, 52]), np.array([3, 7])
    observed, tau = np.array([51, 48]), (background / error) ** 2

    def build():
        mu = pm.HalfNormal("mu", 5)
        gamma = pm.HalfNormal("gamma", 2, shape=2, initval=[1.0, 1.0])
        pm.Poisson("n", mu * signal + gamma * background, observed=observed)
        # tau counts that are not whole numbers
        rate = gamma * tau
        pm.CustomDist("aux", rate, logp=lambda value, rate: value * pt.log(rate) - rate, observed=tau)

    def of_mu(mu):
        total = 0.0
        for s, b, n, t in zip(signal, background, observed, tau, strict=True):
            inner = minimize_scalar(
                lambda g, s=s, b=b, n=n, t=t: mu * s + g * b - n * np.log(mu * s + g * b) + g * t - t * np.log(g * t),
                bounds=(0.3, 3),
                method="bounded",
                options={"xatol": 1e-12},
            )
            total -= inner.fun
        return total

    est = fit(build)
    assert est.verdict.status is mle.Status.BOUNDARY
    found = mle.profile(est, ["mu", "gamma[0]"], ci_prob=0.95)
    upper = brentq(lambda mu: of_mu(mu) - of_mu(0.0) + CUTOFF, 0.1, 5, xtol=1e-12)
    np.testing.assert_allclose(limits(found, "mu"), [0, upper], rtol=1e-7, atol=1e-12)
    assert statuses(found, "mu") == ("edge", "found")
    # Where the background is small, a signal is likely: the signal leaves its edge on this way
    assert statuses(found, "gamma[0]") == ("found", "found")
    assert found["gamma[0]"].path["mu"][0] > 0.01


# -- theory -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quadratic():
    X = np.column_stack([np.ones(12), RNG.normal(size=(12, 2))])
    y = X @ [1.0, -2.0, 0.5] + RNG.normal(size=12)

    def build():
        beta = pm.Normal("beta", 0, 10, shape=3)
        pm.Deterministic("difference", beta[0] - beta[1])
        pm.Normal("y", X @ beta, 0.7, observed=y)

    return fit(build)


def test_a_quadratic_likelihood_has_wald_intervals(quadratic):
    names = ["beta", "difference"]
    profile, wald = (mle.interval(quadratic, names, kind=kind, ci_prob=0.95) for kind in ("profile", "wald"))
    for name in names:
        np.testing.assert_allclose(profile[name], wald[name], rtol=1e-8)


def test_its_signed_root_is_a_straight_line(quadratic):
    curve = mle.profile(quadratic, "beta[1]", points=11)["beta[1]"]
    error = float(quadratic.stderr()["beta"][1])
    assert curve.psi.size >= 11
    np.testing.assert_allclose(curve.root, (curve.psi - curve.estimate) / error, atol=1e-7)


Y = RNG.gamma(3.0, 2.0, 25)


def gamma_by_shape_and_rate():
    shape, rate = pm.HalfNormal("shape", 10), pm.HalfNormal("rate", 10)
    pm.Deterministic("mean", shape / rate)
    pm.Deterministic("share", pm.math.sigmoid(shape - rate))
    pm.Gamma("y", alpha=shape, beta=rate, observed=Y)


def gamma_by_mean_and_cv():
    mean, cv = pm.HalfNormal("mean", 10, initval=Y.mean()), pm.Uniform("cv", 0, 5)
    pm.Deterministic("shape", cv**-2)
    pm.Deterministic("rate", cv**-2 / mean)
    pm.Gamma("y", alpha=cv**-2, beta=cv**-2 / mean, observed=Y)


def gamma_by_share():
    shape = pm.HalfNormal("shape", 10, initval=3)
    share = pm.Uniform("share", 0, 1, initval=0.8)
    pm.Gamma("y", alpha=shape, beta=shape - pm.math.logit(share), observed=Y)


@pytest.fixture(scope="module")
def gammas():
    return [fit(build) for build in (gamma_by_shape_and_rate, gamma_by_mean_and_cv, gamma_by_share)]


@pytest.mark.parametrize(("label", "other"), [("shape", 1), ("rate", 1), ("mean", 1), ("share", 2), ("shape", 2)])
def test_intervals_do_not_depend_on_the_parametrization(gammas, label, other):
    """A `Deterministic` of one model is a parameter of another one."""
    first, second = (mle.profile(est, label, ci_prob=0.95, points=0) for est in (gammas[0], gammas[other]))
    np.testing.assert_allclose(limits(first, label), limits(second, label), rtol=1e-8)


def test_monotone_functions_of_a_scalar_have_mapped_intervals(ec50_fit):
    found = mle.profile(ec50_fit, ["xhalf", "log_xhalf", "-xhalf**3", "1 / (1 + xhalf)"], ci_prob=0.95, points=0)
    xhalf = limits(found, "xhalf")
    np.testing.assert_allclose(limits(found, "log_xhalf"), np.log(xhalf), rtol=1e-8)
    np.testing.assert_allclose(limits(found, "-xhalf**3"), -(xhalf[::-1] ** 3), rtol=1e-8)
    np.testing.assert_allclose(limits(found, "1 / (1 + xhalf)"), 1 / (1 + xhalf[::-1]), rtol=1e-8)


def test_a_decreasing_transform():
    y = RNG.normal(-3.0, 1.0, 25)

    def build():
        pm.Normal("y", pm.TruncatedNormal("mu", 0, 10, upper=0), 1, observed=y)

    found = mle.profile(fit(build), ci_prob=0.95, points=0)
    np.testing.assert_allclose(limits(found, "mu"), y.mean() + np.array([-1, 1]) * np.sqrt(2 * CUTOFF / 25), rtol=1e-9)


def test_a_simplex_element_has_the_binomial_interval():
    counts = np.array([3, 15, 30])

    def build():
        pm.Multinomial("y", counts.sum(), pm.Dirichlet("p", np.ones(3)), observed=counts)

    found = mle.profile(fit(build), ci_prob=0.95, points=0)
    for k, count in enumerate(counts):

        def excess(p, count=count):
            rest = counts.sum() - count
            loglik = [xlogy(count, q) + xlogy(rest, 1 - q) for q in (p, count / counts.sum())]
            return loglik[0] - loglik[1] + CUTOFF

        share = count / counts.sum()
        expected = [brentq(excess, *ends, xtol=1e-14) for ends in ((1e-9, share), (share, 1 - 1e-9))]
        np.testing.assert_allclose(limits(found, f"p[{k}]"), expected, rtol=1e-8)


# -- against SciPy ------------------------------------------------------------------------------------------------


def crossings(loglik, at, start, top, ends):
    """Where the profile crosses the cutoff: `at(c, rest)` is the point with the scalar at c and the others at rest."""

    def excess(c):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            best = minimize(lambda rest: -loglik(at(c, rest)), start, method="Nelder-Mead", options=TIGHT)
        return -best.fun - top + CUTOFF

    return [brentq(excess, *pair, rtol=1e-9) for pair in ends]


TIGHT = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000, "maxfev": 5000}


def test_dispersion_of_a_negative_binomial():
    x = RNG.normal(size=60)
    y = RNG.negative_binomial(2.0, 2.0 / (2.0 + np.exp(1 + 0.5 * x)))

    def build():
        beta = pm.Normal("beta", 0, 5, shape=2)
        alpha = pm.HalfNormal("alpha", 5)
        pm.NegativeBinomial("y", mu=pm.math.exp(beta[0] + beta[1] * x), alpha=alpha, observed=y)

    def loglik(theta):
        alpha = np.exp(theta[2])
        return np.sum(stats.nbinom.logpmf(y, alpha, alpha / (alpha + np.exp(theta[0] + theta[1] * x))))

    est = fit(build)
    b0, b1, log_alpha = *est.params["beta"].values, np.log(float(est.params["alpha"]))
    cases = {
        "alpha": (lambda c, r: [r[0], r[1], np.log(c)], [b0, b1], np.exp(log_alpha)),
        "beta[1]": (lambda c, r: [r[0], c, r[1]], [b0, log_alpha], b1),
        "exp(beta[0]) / alpha": (lambda c, r: [np.log(c) + r[1], r[0], r[1]], [b1, log_alpha], np.exp(b0 - log_alpha)),
    }
    found = mle.profile(est, list(cases), ci_prob=0.95, points=0)
    for label, (at, start, middle) in cases.items():
        ends = ((middle / 4, middle), (middle, middle * 4))
        np.testing.assert_allclose(
            limits(found, label), crossings(loglik, at, start, est.loglik, ends), rtol=1e-7, err_msg=label
        )


def test_student_t():
    y = stats.t.rvs(3, size=80, random_state=5) * 2 + 1

    def build():
        nu, sigma = pm.HalfNormal("nu", 10, initval=4), pm.HalfNormal("sigma", 5)
        pm.StudentT("y", nu=nu, mu=pm.Normal("mu", 0, 10), sigma=sigma, observed=y)

    def loglik(theta):
        return np.sum(stats.t.logpdf(y, np.exp(theta[0]), theta[1], np.exp(theta[2])))

    est = fit(build)
    nu, mu, sigma = (float(est.params[name]) for name in ("nu", "mu", "sigma"))
    cases = {
        "nu": (lambda c, r: [np.log(c), *r], [mu, np.log(sigma)], ((nu / 4, nu), (nu, nu * 8))),
        "mu": (lambda c, r: [r[0], c, r[1]], [np.log(nu), np.log(sigma)], ((mu - 2, mu), (mu, mu + 2))),
        "sigma": (lambda c, r: [*r, np.log(c)], [np.log(nu), mu], ((sigma / 3, sigma), (sigma, sigma * 3))),
    }
    found = mle.profile(est, ci_prob=0.95)
    for label, (at, start, ends) in cases.items():
        np.testing.assert_allclose(
            limits(found, label), crossings(loglik, at, start, est.loglik, ends), rtol=1e-7, err_msg=label
        )


# -- sides without a crossing -------------------------------------------------------------------------------------


@infinite_or_at_an_edge
def test_separation():
    x = np.arange(1.0, 11.0)

    def build():
        a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
        pm.Deterministic("p3", pm.math.sigmoid(a + 3 * b))
        pm.Bernoulli("y", logit_p=a + b * x, observed=(x > 5).astype(int))

    def loglik(a, b):
        return -np.sum(np.logaddexp(0, np.where(x > 5, -1, 1) * (a + b * x)))

    def of_b(b):
        return -minimize_scalar(lambda a: -loglik(a, b), bracket=(-6 * b, -5 * b), tol=1e-14).fun

    found = mle.profile(fit(build), ["a", "b", "p3"], ci_prob=0.95)
    assert statuses(found, "b") == ("found", "infinite")
    assert found["b"].upper == np.inf
    assert found["b"].lower == pytest.approx(brentq(lambda b: of_b(b) + CUTOFF, 0.1, 5, xtol=1e-12), rel=1e-7)
    assert statuses(found, "a") == ("infinite", "found")
    assert found["a"].lower == -np.inf
    assert statuses(found, "p3") == ("edge", "found")
    assert found["p3"].lower == 0
    assert 0 < found["p3"].upper < 0.5


@infinite_or_at_an_edge
def test_an_empty_category():
    counts = np.array([0, 4, 6])

    def build():
        pm.Multinomial("y", 10, pm.Dirichlet("p", np.ones(3)), observed=counts)

    found = mle.profile(fit(build), ci_prob=0.95)
    np.testing.assert_allclose(limits(found, "p[0]"), [0, -np.expm1(-CUTOFF / 10)], rtol=1e-8, atol=1e-15)
    assert statuses(found, "p[0]") == ("edge", "found")
    assert statuses(found, "p[1]") == ("found", "found")
    ends = [
        brentq(lambda p: stats.binom.logpmf(4, 10, p) - stats.binom.logpmf(4, 10, 0.4) + CUTOFF, *ends, xtol=1e-13)
        for ends in ((0.01, 0.4), (0.4, 0.99))
    ]
    np.testing.assert_allclose(limits(found, "p[1]"), ends, rtol=1e-7)


def test_a_ratio_whose_denominator_may_vanish():
    """Fieller (1954): the region of a ratio is unbounded where its denominator is not significant."""
    numerator, denominator = 2.0, 1.5

    def build():
        a, b = pm.Normal("a", 0, 10, initval=1), pm.Normal("b", 0, 10, initval=1)
        pm.Normal("y", pm.math.stack([a, b]), 1, observed=[numerator, denominator])

    found = mle.profile(fit(build), ["a / b"], ci_prob=0.95)
    # (2 − 1.5 r)² = 2 CUTOFF (1 + r²)
    roots = np.roots([denominator**2 - 2 * CUTOFF, -2 * numerator * denominator, numerator**2 - 2 * CUTOFF])
    assert statuses(found, "a / b") == ("found", "infinite")
    assert found["a / b"].lower == pytest.approx(roots[np.abs(roots).argmin()], rel=1e-8)
    assert found["a / b"].upper == np.inf


def test_degrees_of_freedom_may_be_infinite():
    y = stats.t.ppf((np.arange(40) + 0.5) / 40, 5)

    def build():
        pm.StudentT("y", nu=pm.HalfNormal("nu", 20, initval=8), mu=0, sigma=pm.HalfNormal("sigma", 5), observed=y)

    def of_nu(nu):
        inner = minimize_scalar(
            lambda s: -np.sum(stats.t.logpdf(y, nu, 0, np.exp(s))),
            bounds=(-3, 3),
            method="bounded",
            options={"xatol": 1e-12},
        )
        return -inner.fun

    est = fit(build)
    assert est.verdict.ok
    found = mle.profile(est, "nu", ci_prob=0.95)
    assert statuses(found, "nu") == ("found", "infinite")
    assert found["nu"].upper == np.inf
    assert found["nu"].lower == pytest.approx(brentq(lambda v: of_nu(v) - est.loglik + CUTOFF, 0.5, 10), rel=1e-6)


def test_a_probability_whose_limit_is_one():
    """Zero-inflated counts without a zero too few: the profile of the mixing share is level up to 1."""
    y = np.repeat([0, 1, 2, 3, 4], [12, 16, 14, 7, 4])

    def build():
        pm.ZeroInflatedPoisson("y", psi=pm.Uniform("psi", 0, 1), mu=pm.HalfNormal("mu", 5), observed=y)

    est = fit(build)
    assert est.verdict.ok
    assert 0.9 < float(est.params["psi"]) < 1
    found = mle.profile(est, "psi", ci_prob=0.95)
    assert statuses(found, "psi") == ("found", "edge")
    assert found["psi"].upper == 1


@infinite_or_at_an_edge
def test_what_the_data_do_not_determine_is_withheld():
    def build():
        a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0, 3.0, 4.0])

    found = mle.profile(fit(build), ["a", "a + b"], ci_prob=0.95)
    assert statuses(found, "a") == ("withheld", "withheld")
    assert np.isnan(limits(found, "a")).all()
    assert "do not determine it (NOT_IDENTIFIED)" in found["a"].note
    np.testing.assert_allclose(limits(found, "a + b"), 2.5 + np.array([-1, 1]) * np.sqrt(2 * CUTOFF / 4), rtol=1e-9)


# -- better optima ------------------------------------------------------------------------------------------------


def two_modes(start):
    """A likelihood with a wide low mode at 0 and a higher one at 3; maximization from `start` finds only one."""

    def logp(value, mu, shift):
        return pt.log(0.3 * pt.exp(-0.5 * mu**2) + pt.exp(-2.0 * (mu - 2.2) ** 2)) - 0.5 * (shift - mu) ** 2 + 0 * value

    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10, initval=start)
        shift = pm.Normal("shift", 0, 10, initval=start)
        pm.CustomDist("y", mu, shift, logp=logp, observed=[0.0])
    return mle.find_MLE(model, starts=1)


def test_a_better_optimum_on_the_way():
    low, high = two_modes(-0.5), two_modes(2.2)
    assert low.loglik < high.loglik - 0.5
    expected = mle.profile(high, ci_prob=0.95)
    with pytest.warns(mle.ProfileWarning, match="better optimum"):
        found = mle.profile(low, ci_prob=0.95)
    assert found.is_improved
    assert not expected.is_improved
    assert found.estimate.loglik == pytest.approx(high.loglik, abs=1e-9)
    assert found.estimate.verdict.ok
    assert len(found.estimate.starts) == 2
    for label in ("mu", "shift"):
        np.testing.assert_allclose(limits(found, label), limits(expected, label), rtol=1e-7)
    with pytest.warns(mle.ProfileWarning, match="better optimum"):
        interval = mle.interval(low, kind="profile", ci_prob=0.95)
    np.testing.assert_allclose(interval["mu"], limits(expected, "mu"), rtol=1e-7)


# -- the curve ----------------------------------------------------------------------------------------------------


def test_the_curve_is_the_maximum_over_everything_else(ec50_fit):
    curve = mle.profile(ec50_fit, "xhalf", ci_prob=0.95, points=15)["xhalf"]
    assert curve.psi.size == curve.loglik.size == curve.root.size == curve.path.sizes["point"] >= 15
    assert np.all(np.diff(curve.psi) > 0)
    assert np.all(np.diff(curve.root) > 0)
    np.testing.assert_allclose([curve.psi[0], curve.psi[-1]], [curve.lower, curve.upper], rtol=1e-12)
    np.testing.assert_allclose(curve.root[[0, -1]], np.sqrt(2 * CUTOFF) * np.array([-1, 1]), rtol=1e-9)
    ymax = COUNTS.sum() / np.sum(1 / (1 + DOSE[None, :] / curve.psi[:, None]), axis=1)
    rate = ymax[:, None] / (1 + DOSE / curve.psi[:, None])
    np.testing.assert_allclose(curve.path["ymax"], ymax, rtol=1e-6)
    np.testing.assert_allclose(curve.path["xhalf"], curve.psi, rtol=1e-12)
    np.testing.assert_allclose(
        curve.loglik, np.sum(xlogy(COUNTS, rate) - rate - gammaln(COUNTS + 1), axis=1), rtol=1e-12
    )
    # Points are dense where the curve is steep, too
    assert np.abs(np.diff(curve.root)).max() < 0.35


def test_choice_of_scalars(ec50_fit):
    labels = {"~ymax": ["xhalf"], None: ["ymax", "xhalf"], "slope": ["slope"]}
    for chosen, expected in labels.items():
        assert list(mle.profile(ec50_fit, chosen, points=0)) == expected


def test_table_and_text(ec50_fit):
    found = mle.profile(ec50_fit, ["xhalf", "exp(-xhalf)"], points=0)
    table = found.to_dataframe()
    assert list(table.index) == ["xhalf", "exp(-xhalf)"]
    assert table.loc["xhalf", "lower"] == found["xhalf"].lower
    assert "89 %" in repr(found)
    assert "89 %</p><table" in found._repr_html_()
    assert "exp(-xhalf)" in found._repr_html_()
    assert found["xhalf"].psi.size == 0


def test_profiles_through_a_file_and_beside_an_estimate(ec50_fit, tmp_path):
    found = mle.profile(ec50_fit, ["ymax", "xhalf", "exp(-xhalf)"])
    tree = ec50_fit.to_datatree()
    tree.update(found.to_datatree().children)
    tree.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as opened:
        group = opened["mle_profile"].load().to_dataset()
    xr.testing.assert_equal(group, found.to_datatree()["mle_profile"].to_dataset())
    assert group.attrs["ci_prob"] == found.ci_prob
    for label, profile in found.items():
        one = group.sel(label=label)
        assert (float(one["lower"]), str(one["upper_status"].item())) == (profile.lower, "found")
        curve = one.isel(point=range(profile.psi.size))
        assert np.isnan(one["psi"][profile.psi.size :]).all()
        for name in ("psi", "loglik", "root"):
            np.testing.assert_array_equal(curve[name], getattr(profile, name))
        np.testing.assert_array_equal(curve["path"].sel(parameter="ymax"), profile.path["ymax"])
    alone = mle.profile(ec50_fit, "xhalf", points=0)
    assert alone.to_datatree()["mle_profile"]["psi"].shape == (1, 0)


# -- intervals as a Dataset ---------------------------------------------------------------------------------------


def test_intervals_have_the_shape_of_wald_intervals():
    counts = np.array([5, 15, 30])
    with pm.Model(coords={"k": list("abc")}) as model:
        p = pm.Dirichlet("p", np.ones(3), dims="k")
        pm.Deterministic("odds", p / (1 - p), dims="k")
        pm.Multinomial("y", 50, p, observed=counts)
    est = mle.find_MLE(model)
    wald, found = (mle.interval(est, ["p", "odds"], kind=kind) for kind in ("wald", "profile"))
    assert list(found.data_vars) == list(wald.data_vars) == ["p", "odds"]
    assert found["p"].dims == ("k", "ci_bound")
    assert found["p"].coords.equals(wald["p"].coords)
    np.testing.assert_allclose(found["odds"], found["p"] / (1 - found["p"]), rtol=1e-8)
    assert list(mle.interval(est, kind="profile")) == ["p"]


def test_wald_on_the_natural_scale(ec50_fit):
    found = mle.interval(ec50_fit, scale="natural", ci_prob=0.95)
    z = stats.norm.ppf(0.975)
    for name, values in (("xhalf", ec50_fit.params), ("slope", ec50_fit.derived)):
        error = float(ec50_fit.stderr()[name])
        np.testing.assert_allclose(found[name], float(values[name]) + z * error * np.array([-1, 1]), rtol=1e-12)
    assert found["xhalf"].dims == ("ci_bound",)


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"var_names": "tau"}, KeyError, "tau in 'tau' is no label"),
        ({"var_names": ["xhalf", "ymax + tau"]}, KeyError, "tau in 'ymax \\+ tau'"),
        ({"var_names": "xhalf ="}, ValueError, "is not an expression"),
        ({"var_names": "1 + 1"}, ValueError, "does not depend on"),
        ({"var_names": [3]}, ValueError, "3 is not a label"),
        ({"ci_prob": 95}, ValueError, "ci_prob=95 is not a probability"),
        ({"ci_prob": 0.0}, ValueError, "not a probability"),
        ({"points": -1}, ValueError, "points=-1"),
    ],
)
def test_bad_arguments(ec50_fit, options, error, message):
    with pytest.raises(error, match=message):
        mle.profile(ec50_fit, **options)


def test_an_unknown_scale_is_refused(ec50_fit):
    with pytest.raises(ValueError, match="scale='log' is not one of"):
        mle.interval(ec50_fit, scale="log")


@infinite_or_at_an_edge
def test_no_profile_without_a_regular_maximum():
    def build():
        pm.Laplace("y", pm.Normal("mu", 0, 10), 1, observed=[0.0, 1.0, 5.0])

    with pytest.raises(ValueError, match=r"no profile here.*IRREGULAR"):
        mle.profile(fit(build))


@pytest.mark.parametrize("kind", ["map", "penalized"])
def test_no_profile_of_what_contains_priors(kind):
    with pm.Model() as model:
        mu, nu = pm.Normal("mu", 0, 1), pm.Normal("nu", 0, 1)
        pm.Normal("y", mu + nu, 1, observed=[1.0, 2.0])
    est = mle.find_MAP(model) if kind == "map" else mle.find_MLE(model, keep_priors=["nu"])
    with pytest.raises(ValueError, match=f"a {kind if kind == 'penalized' else 'posterior mode'}"):
        mle.profile(est)
    with pytest.raises(ValueError, match="contains priors"):
        mle.interval(est, kind="profile")


def test_profiles_of_a_stored_estimate_are_the_same(tmp_path):
    with pm.Model() as model:
        pm.Binomial("y", 10, pm.Uniform("p", 0, 1), observed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mle.VerdictWarning)
        est = mle.find_MLE(model)
    est.to_datatree().to_netcdf(tmp_path / "fit.nc")
    import xarray as xr

    with xr.open_datatree(tmp_path / "fit.nc") as tree:
        again = mle.from_datatree(tree.load(), model)
    assert limits(mle.profile(again), "p")[1] == limits(mle.profile(est), "p")[1]


def test_examples_in_docstrings():
    assert doctest.testmod(profiles).failed == 0


@infinite_or_at_an_edge
@pytest.mark.parametrize("scale", [1, 1e-4, 1e6])
def test_where_the_support_ends_another_law_holds(scale):
    """2 n log(θ/θ̂) is χ² with two degrees of freedom: [max y, max y · 0.05^(−1/n)] is exact for the uniform."""
    y = np.array([0.3, 1.7, 2.9, 0.8]) * scale

    def build():
        pm.Uniform("y", 0, pm.HalfFlat("theta", initval=10.0 * scale), observed=y)

    est = fit(build)
    with pytest.warns(mle.ProfileWarning, match="two degrees of freedom"):
        found = mle.interval(est, kind="profile", ci_prob=0.95)["theta"]
    np.testing.assert_allclose(found, [y.max(), y.max() * 0.05 ** (-1 / 4)], rtol=1e-8)
    assert statuses(mle.profile(est, ci_prob=0.95), "theta") == ("edge", "found")


@infinite_or_at_an_edge
def test_where_the_support_ends_beside_a_scale():
    """A shifted exponential: with the scale maximized, ℓ(c) = −n log(ȳ − c) − n."""
    y = np.array([3.2, 3.9, 4.4, 5.1, 7.3, 8.0])

    def build():
        c, s = pm.Normal("c", 0, 10), pm.HalfNormal("s", 3)
        pm.CustomDist("y", c, s, logp=lambda v, c, s: pm.logp(pm.Exponential.dist(scale=s), v - c), observed=y)

    found = mle.profile(fit(build), ci_prob=0.9)
    c = y.mean() - (y.mean() - y.min()) * 0.1 ** (-1 / 6)
    np.testing.assert_allclose([found["c"].lower, found["c"].upper], [c, y.min()], rtol=1e-7)
    assert statuses(found, "s") == ("withheld", "withheld")
