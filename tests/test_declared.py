"""However a model is declared, the estimate is that of its likelihood: each against a closed form or a peer."""

import warnings

import bambi as bmb
import numpy as np
import pandas as pd
import pymc as pm
import pymc.dims as pmd
import pytest
import xarray as xr
from pymc.distributions import transforms
from scipy import optimize, stats
from statsmodels.discrete.truncated_model import TruncatedLFPoisson

import mle_pp as mle

RNG = np.random.RandomState(5)
X = np.column_stack([np.ones(40), RNG.normal(3, 2, 40), RNG.uniform(-1, 1, 40)])
Y = X @ [1.0, -0.5, 2.0] + RNG.normal(0, 0.7, 40)
COORDS = {"row": np.arange(40), "term": ["const", "a", "b"]}


def least_squares():
    beta, (rss,), *_ = np.linalg.lstsq(X, Y)
    sigma = np.sqrt(rss / 40)
    errors = sigma * np.sqrt(np.diag(np.linalg.inv(X.T @ X)))
    return [*beta, sigma], [*errors, sigma / np.sqrt(80)]


def flat(dataset, *names) -> np.ndarray:
    return np.concatenate([np.ravel(dataset[name]) for name in names])


def fit(model, **options):
    est = mle.find_MLE(model, **options)
    assert est.verdict.ok, est.verdict
    return est


# -- one regression, declared in many ways ------------------------------------------------------------------------


def arrays():
    beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("sigma", 5)
    pm.Normal("y", X @ beta, sigma, observed=Y)


def lists():
    beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("sigma", 5)
    pm.Normal("y", pm.math.dot(X, beta), sigma, observed=list(Y))


def frames():
    frame = pd.DataFrame(X, columns=COORDS["term"])
    beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("sigma", 5)
    mu = beta[0] + beta[1] * frame["a"].to_numpy() + beta[2] * frame["b"].to_numpy()
    pm.Normal("y", mu, sigma, observed=pd.Series(Y, name="response"))


def containers():
    beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("sigma", 5)
    pm.Normal("y", pm.Data("X", X) @ beta, sigma, observed=pm.Data("y_data", Y))


def named_dims():
    x, y = pm.Data("X", X, dims=("row", "term")), pm.Data("y_data", Y, dims="row")
    beta, sigma = pm.Normal("beta", 0, 10, dims="term"), pm.HalfNormal("sigma", 5)
    pm.Normal("y", x @ beta, sigma, observed=y, dims="row")


def columns():
    beta, sigma = pm.Normal("beta", 0, 10, shape=(3, 1)), pm.HalfNormal("sigma", 5, shape=(1,))
    pm.Normal("y", X @ beta, sigma, observed=Y[:, None])


def deterministics():
    raw = pm.Normal("raw", 0, 10, shape=3)
    beta = pm.Deterministic("beta", raw[::-1] * np.array([2.0, -1.0, 0.1]))
    log_variance = pm.Normal("log_variance", 0, 3)
    variance = pm.Deterministic("variance", pm.math.exp(log_variance))
    sigma = pm.Deterministic("sigma", pm.math.sqrt(variance))
    mu = pm.Deterministic("mu", X @ beta)
    pm.Normal("y", pm.Deterministic("same", mu), sigma, observed=Y)


def precision():
    beta, tau = pm.Laplace("beta", 0, 10, shape=3), pm.Gamma("tau", 2, 2)
    pm.Deterministic("sigma", tau**-0.5)
    pm.Normal("y", X @ beta, tau=tau, observed=Y)


def blocks_of_rows():
    beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.Exponential("sigma", 1)
    for i in range(4):
        pm.Normal(f"y{i}", pm.math.dot(X[i::4], beta), sigma, observed=Y[i::4])


def flat_priors():
    beta, sigma = pm.Flat("beta", shape=3), pm.HalfFlat("sigma")
    pm.Normal("y", X @ beta, sigma, observed=Y)


def labelled_tensors():
    x, y = pmd.Data("X", X, dims=("row", "term")), pmd.Data("y_data", Y, dims="row")
    beta, sigma = pmd.Normal("beta", 0, 10, dims="term"), pmd.HalfNormal("sigma", 5)
    pmd.Normal("y", (x * beta).sum("term"), sigma, observed=y)


def labelled_tensors_between_deterministics():
    x = pmd.as_xtensor(X, dims=("row", "term"))
    raw, sigma = pmd.Normal("raw", 0, 10, dims="term"), pmd.HalfNormal("sigma", 5)
    beta = pmd.Deterministic("beta", raw * 2)
    mu = pmd.Deterministic("mu", x.dot(beta, dim="term"))
    pmd.Normal("y", mu, sigma, observed=xr.DataArray(Y, dims=("row",)))


def multivariate():
    beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("sigma", 5)
    pm.MvNormal("y", X @ beta, chol=sigma * np.eye(40), observed=Y)


def custom():
    def logp(value, mu, sigma):
        return -0.5 * ((value - mu) / sigma) ** 2 - pm.math.log(sigma) - 0.5 * np.log(2 * np.pi)

    beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("sigma", 5)
    pm.CustomDist("y", X @ beta, sigma, logp=logp, observed=Y)


DECLARATIONS = [
    arrays, lists, frames, containers, named_dims, columns, deterministics, precision, blocks_of_rows, flat_priors,
    labelled_tensors, labelled_tensors_between_deterministics, multivariate, custom,
]  # fmt: skip


@pytest.mark.parametrize("declare", DECLARATIONS, ids=lambda declare: declare.__name__)
def test_regression(declare):
    with pm.Model(coords=COORDS) as model:
        declare()
    est = fit(model)
    values, errors = least_squares()
    everything = est.params.merge(est.derived)
    np.testing.assert_allclose(flat(everything, "beta", "sigma"), values, rtol=1e-9)
    np.testing.assert_allclose(flat(est.stderr(), "beta", "sigma"), errors, rtol=1e-8)
    sigma = values[-1]
    np.testing.assert_allclose(est.loglik, -20 * (np.log(2 * np.pi * sigma**2) + 1), rtol=1e-12)
    assert est.n_obs == 40


def test_labels_of_labelled_tensors():
    with pm.Model(coords=COORDS) as model:
        labelled_tensors()
    est = fit(model)
    assert est.params["beta"].dims == ("term",)
    assert list(est.cov()["parameter"].values) == ["beta[const]", "beta[a]", "beta[b]", "sigma"]


def test_labels_without_dims():
    with pm.Model(coords=COORDS) as model:
        arrays()
    assert list(fit(model).cov()["parameter"].values) == ["beta[0]", "beta[1]", "beta[2]", "sigma"]


@pytest.mark.parametrize("root", ["", "study"])
def test_nested_models(root):
    with pm.Model(name=root, coords=COORDS) as model:
        beta = pm.Normal("beta", 0, 10, dims="term")
        with pm.Model(name="noise"):
            sigma = pm.HalfNormal("sigma", 5)
            with pm.Model(name="response") as inner:
                pm.Deterministic("variance", sigma**2)
                pm.Normal("y", X @ beta, sigma, observed=Y)
                in_context = mle.find_MLE()
    values, errors = least_squares()
    for est in (fit(model), fit(inner), in_context):
        names = [rv.name for rv in model.free_RVs]
        assert list(est.params.data_vars) == names
        assert any("noise" in name for name in names)
        np.testing.assert_allclose(flat(est.params, *names), values, rtol=1e-9)
        np.testing.assert_allclose(flat(est.stderr(), *names), errors, rtol=1e-8)
        np.testing.assert_allclose(flat(est.derived, *est.derived.data_vars), [values[-1] ** 2], rtol=1e-9)
    held = fit(model, fix={names[1]: 2.0})
    np.testing.assert_allclose(flat(held.params, names[0]), values[:3], rtol=1e-9)


# -- several observed variables -----------------------------------------------------------------------------------


def test_two_instruments():
    first, second = np.array([1.0, 1.4, 0.7]), np.array([2.0, 0.5, 1.1, 1.2, 0.9])
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("first", mu, 0.5, observed=first)
        pm.Normal("second", mu, 2.0, observed=second)
    est = fit(model)
    weights = np.repeat([0.5**-2, 2.0**-2], [3, 5])
    np.testing.assert_allclose(est.params["mu"], np.average([*first, *second], weights=weights), rtol=1e-12)
    np.testing.assert_allclose(est.stderr()["mu"], weights.sum() ** -0.5, rtol=1e-12)
    assert est.n_obs == 8


def test_counts_and_waiting_times():
    counts, times = np.array([3, 1, 4]), np.array([0.3, 0.2, 0.9, 0.4])
    with pm.Model() as model:
        rate = pm.Gamma("rate", 2, 1)
        pm.Poisson("counts", rate, observed=counts)
        pm.Exponential("times", rate, observed=times)
    est = fit(model)
    events = counts.sum() + 4
    expected = events / (3 + times.sum())
    np.testing.assert_allclose(est.params["rate"], expected, rtol=1e-10)
    np.testing.assert_allclose(est.stderr()["rate"], expected / np.sqrt(events), rtol=1e-9)
    ll = stats.poisson.logpmf(counts, expected).sum() + stats.expon.logpdf(times, scale=1 / expected).sum()
    np.testing.assert_allclose(est.loglik, ll, rtol=1e-12)
    assert est.n_obs == 7


def test_columns_of_the_same_rows():
    """Observed variables that share a named dim are columns: 40 rows, not 80."""
    with pm.Model(coords=COORDS) as model:
        mu = pm.Normal("mu", 0, 1, shape=2)
        pm.Normal("one", mu[0], 1, observed=X[:, 1], dims="row")
        pm.Normal("two", mu[1], 1, observed=Y, dims="row")
    est = fit(model)
    np.testing.assert_allclose(est.params["mu"], [X[:, 1].mean(), Y.mean()], rtol=1e-12)
    assert est.n_obs == 40


# -- censored, truncated, mixed, custom ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 1e-6, 1e6])
def test_censored_exponential(scale):
    """Events over time at risk."""
    times = scale * np.array([1.0, 2.5, 4.0, 4.0, 0.7, 4.0, 3.1])
    with pm.Model() as model:
        rate = pm.HalfNormal("rate", 5 / scale)
        pm.Censored("y", pm.Exponential.dist(rate), lower=None, upper=4.0 * scale, observed=times)
    est = fit(model)
    expected = 4 / times.sum()
    np.testing.assert_allclose(est.params["rate"], expected, rtol=1e-9)
    np.testing.assert_allclose(est.stderr()["rate"], expected / 2, rtol=1e-8)
    np.testing.assert_allclose(est.loglik, 4 * np.log(expected) - 4, rtol=1e-10)


def test_censored_normal_on_both_sides():
    """SciPy's fit of censored data."""
    y = np.array([-1.0, -1.0, 0.3, 1.2, 2.0, 2.0, 0.1, -0.4, 1.9, 2.0])
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", 0, 5), pm.HalfNormal("sigma", 5)
        pm.Censored("y", pm.Normal.dist(mu, sigma), lower=-1.0, upper=2.0, observed=y)
    est = fit(model)
    data = stats.CensoredData(uncensored=y[(y > -1) & (y < 2)], left=y[y == -1], right=y[y == 2])
    expected = stats.norm.fit(
        data, optimizer=lambda f, x, args, disp: optimize.fmin(f, x, args, xtol=1e-10, ftol=1e-14, disp=0)
    )
    np.testing.assert_allclose(flat(est.params, "mu", "sigma"), expected, rtol=1e-6)
    m, s = expected
    ll = stats.norm.logpdf(y[(y > -1) & (y < 2)], m, s).sum() + 2 * stats.norm.logcdf(-1, m, s)
    np.testing.assert_allclose(est.loglik, ll + 3 * stats.norm.logsf(2, m, s), rtol=1e-10)


def test_truncated_exponential():
    """What is cut off below is forgotten: y - 1 is exponential again."""
    y = np.array([1.2, 3.0, 1.9, 1.05, 5.5])
    with pm.Model() as model:
        rate = pm.HalfNormal("rate", 5)
        pm.Truncated("y", pm.Exponential.dist(rate), lower=1.0, observed=y)
    est = fit(model)
    expected = 1 / (y.mean() - 1)
    np.testing.assert_allclose(est.params["rate"], expected, rtol=1e-9)
    np.testing.assert_allclose(est.stderr()["rate"], expected / np.sqrt(5), rtol=1e-8)


def test_truncated_poisson():
    """statsmodels' zero-truncated Poisson; the mean of the truncated variable is the sample's."""
    y = np.array([1, 1, 2, 1, 3, 1, 2, 5, 1, 2])
    with pm.Model() as model:
        mu = pm.HalfNormal("mu", 5)
        pm.Truncated("y", pm.Poisson.dist(mu), lower=1, observed=y)
    est = fit(model)
    m = float(est.params["mu"])
    assert m / -np.expm1(-m) == pytest.approx(y.mean(), rel=1e-10)
    other = TruncatedLFPoisson(y, np.ones(10)).fit(disp=0, method="newton", tol=1e-14)
    np.testing.assert_allclose(m, np.exp(other.params[0]), rtol=1e-7)
    np.testing.assert_allclose(est.stderr()["mu"], other.bse[0] * m, rtol=1e-5)
    np.testing.assert_allclose(est.loglik, other.llf, rtol=1e-10)


def test_mixture_of_known_components():
    y = np.array([-2.1, -1.0, 0.2, 0.9, 2.5, 3.0, 2.2, -1.7, 2.9])
    with pm.Model() as model:
        w = pm.Beta("w", 2, 2)
        parts = [pm.Normal.dist(-1, 1), pm.StudentT.dist(nu=4, mu=2, sigma=1)]
        pm.Mixture("y", w=pm.math.stack([w, 1 - w]), comp_dists=parts, observed=y)
    est = fit(model)
    f, g = stats.norm.pdf(y, -1, 1), stats.t.pdf(y, 4, 2, 1)
    expected = optimize.brentq(lambda w: np.sum((f - g) / (w * f + (1 - w) * g)), 0.01, 0.99, xtol=1e-14)
    density = expected * f + (1 - expected) * g
    np.testing.assert_allclose(est.params["w"], expected, rtol=1e-9)
    np.testing.assert_allclose(est.stderr()["w"], np.sum(((f - g) / density) ** 2) ** -0.5, rtol=1e-8)
    np.testing.assert_allclose(est.loglik, np.log(density).sum(), rtol=1e-11)


@pytest.mark.parametrize("kind", ["ready-made", "pm.Mixture"])
def test_zero_inflated_counts(kind):
    """The mean of the positive counts gives mu, the share of zeros then gives psi."""
    y = np.array([0] * 12 + [1, 2, 2, 3, 5, 1, 4, 2])
    with pm.Model() as model:
        psi, mu = pm.Beta("psi", 1, 1), pm.Gamma("mu", 2, 1)
        if kind == "ready-made":
            pm.ZeroInflatedPoisson("y", psi, mu, observed=y)
        else:
            parts = [pm.DiracDelta.dist(0), pm.Poisson.dist(mu)]
            pm.Mixture("y", w=pm.math.stack([1 - psi, psi]), comp_dists=parts, observed=y)
    est = fit(model)
    mean = y[y > 0].mean()
    m = optimize.brentq(lambda m: m / -np.expm1(-m) - mean, 0.1, 10, xtol=1e-14)
    np.testing.assert_allclose(flat(est.params, "psi", "mu"), [8 / 20 / -np.expm1(-m), m], rtol=1e-9)


def test_custom_density():
    """Rayleigh, which PyMC does not have: sigma² = mean(y²)/2, with standard error sigma / (2 sqrt(n))."""
    y = np.array([0.4, 1.9, 1.1, 0.7, 2.4])
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma", 2)
        pm.CustomDist(
            "y",
            sigma,
            logp=lambda value, s: pm.math.log(value) - 2 * pm.math.log(s) - value**2 / (2 * s**2),
            observed=y,
        )
    est = fit(model)
    expected = np.sqrt(np.mean(y**2) / 2)
    np.testing.assert_allclose(est.params["sigma"], expected, rtol=1e-10)
    np.testing.assert_allclose(est.stderr()["sigma"], expected / (2 * np.sqrt(5)), rtol=1e-9)
    np.testing.assert_allclose(est.loglik, stats.rayleigh.logpdf(y, scale=expected).sum(), rtol=1e-11)


def test_custom_generator():
    """A density that PyMC derives: the exponential of a normal variable."""
    y = np.array([0.4, 1.9, 1.1, 0.7, 2.4])

    def lognormal(mu, sigma, size):
        return pm.math.exp(pm.Normal.dist(mu, sigma, size=size))

    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", 0, 2), pm.HalfNormal("sigma", 2)
        pm.CustomDist("y", mu, sigma, dist=lognormal, observed=y)
    est = fit(model)
    logs = np.log(y)
    np.testing.assert_allclose(flat(est.params, "mu", "sigma"), [logs.mean(), logs.std()], rtol=1e-10)
    errors = logs.std() / np.sqrt([5, 10])
    np.testing.assert_allclose(flat(est.stderr(), "mu", "sigma"), errors, rtol=1e-9)


def test_transforms_of_ones_own():
    """The estimate does not depend on the scale that is searched."""
    y = np.array([3, 1, 4, 1, 5])
    estimates = []
    for options in (
        {},
        {"transform": transforms.log},
        {"default_transform": None},
        {"transform": transforms.log_exp_m1},
    ):
        with pm.Model() as model:
            pm.Poisson("y", pm.Gamma("mu", 2, 1, **options), observed=y)
        est = fit(model)
        estimates.append([float(est.params["mu"]), float(est.stderr()["mu"])])
    np.testing.assert_allclose(estimates, np.tile([2.8, np.sqrt(2.8 / 5)], (4, 1)), rtol=1e-9)


# -- Bambi --------------------------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"y": Y, "a": X[:, 1], "b": X[:, 2], "g": np.repeat(["u", "v"], 20)})


@pytest.mark.parametrize("built", [False, True])
def test_bambi_regression(built):
    model = bmb.Model("y ~ a + b", FRAME, center_predictors=False)
    if built:
        model.build()
    est = fit(model)
    values, errors = least_squares()
    names = ["Intercept", "a", "b", "sigma"]
    np.testing.assert_allclose(flat(est.params, *names), values, rtol=1e-9)
    np.testing.assert_allclose(flat(est.stderr(), *names), errors, rtol=1e-8)
    assert est.roles["sigma"].kind == "parameter"


def test_bambi_with_centered_predictors():
    """Its graph's intercept is not the formula's, which is reported."""
    est, plain = fit(bmb.Model("y ~ a + b", FRAME)), fit(bmb.Model("y ~ a + b", FRAME, center_predictors=False))
    np.testing.assert_allclose(est.params["Intercept"], plain.params["Intercept"], rtol=1e-7)
    np.testing.assert_allclose(est.stderr()["Intercept"], plain.stderr()["Intercept"], rtol=1e-6)


def test_bambi_without_intercept():
    est = fit(bmb.Model("y ~ 0 + a + b", FRAME))
    beta, (rss,), *_ = np.linalg.lstsq(X[:, 1:], Y)
    np.testing.assert_allclose(flat(est.params, "a", "b", "sigma"), [*beta, np.sqrt(rss / 40)], rtol=1e-9)


def test_bambi_logistic_regression():
    import statsmodels.formula.api as smf

    frame = FRAME.assign(z=(np.median(Y) < Y).astype(int) ^ (np.arange(40) % 7 == 0))
    est = fit(bmb.Model("z ~ a + g", frame, family="bernoulli", center_predictors=False))
    other = smf.logit("z ~ a + g", frame).fit(disp=0, tol=1e-14)
    ours, theirs = ["Intercept", "a", "g"], ["Intercept", "a", "g[T.v]"]
    np.testing.assert_allclose(flat(est.params, *ours), other.params[theirs], rtol=1e-8)
    np.testing.assert_allclose(flat(est.stderr(), *ours), other.bse[theirs], rtol=1e-7)
    np.testing.assert_allclose(est.loglik, other.llf, rtol=1e-11)


def test_bambi_group_effects_are_latent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = bmb.Model("y ~ a + (1|g)", FRAME, center_predictors=False)
        with warnings.catch_warnings():
            # Two groups
            warnings.simplefilter("ignore", mle.VerdictWarning)
            est = mle.find_MLE(model)
    assert est.roles.names("latent") == ["1|g_offset"]
    assert "1|g" in est.latent
