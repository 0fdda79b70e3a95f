"""find_MLE and find_MAP against closed forms: the seed data in full, the textbook four, conjugate modes, options."""

import dataclasses
import warnings

import numpy as np
import pymc as pm
import pytest
from pytensor.compile.mode import Mode
from scipy import stats

import mle_pp as mle
from mle_pp import Status
from models import data, hierarchical_regression, linear_regression

INTERPRETED = Mode(linker="py", optimizer="fast_compile")


def flat(dataset) -> np.ndarray:
    return np.concatenate([np.ravel(values) for values in dataset.data_vars.values()])


# -- the seed data ------------------------------------------------------------------------------------------------


def seed_arrays():
    np.random.seed(123)
    x = np.random.rand(2, 200)
    e = np.random.normal(10, 5, 200)
    y = x.T @ np.random.uniform(1, 15, size=2) + e
    return np.column_stack([np.ones(200), x.T]), y


@pytest.fixture(scope="module")
def seed():
    """The model of the issue, its estimate, and what the model was before."""
    X, y = seed_arrays()
    with pm.Model(coords={"covariate": ["x1", "x2"]}) as model:
        intercept = pm.Normal("intercept", 0, 10)
        beta = pm.Normal("beta", 0, 10, dims="covariate")
        sigma = pm.HalfNormal("sigma", 10)
        pm.Normal("y", intercept + X[:, 1:] @ beta, sigma, observed=y)
    before = snapshot(model)
    return model, mle.find_MLE(model), before


def snapshot(model):
    point = {"intercept": 1.0, "beta": np.array([2.0, 3.0]), "sigma_log__": 0.5}
    logp = model.compile_logp(mode=INTERPRETED)(point)
    return list(model.named_vars.items()), dict(model.rvs_to_values), dict(model.rvs_to_transforms), float(logp)


def test_seed_data(seed):
    """The digits in the issue, and all digits of least squares."""
    _, est, _ = seed
    X, y = seed_arrays()
    n, k = X.shape
    beta, (rss,), *_ = np.linalg.lstsq(X, y)
    sigma = np.sqrt(rss / n)
    assert est.verdict.status is Status.CONVERGED
    assert est.verdict.findings == ()
    np.testing.assert_allclose(flat(est.params), [*beta, sigma], rtol=1e-12)
    np.testing.assert_allclose(flat(est.params), [9.0629, 4.3478, 11.0557, 4.8884], atol=5e-5)
    expected = [*np.sqrt(np.diag(np.linalg.inv(X.T @ X))) * sigma, sigma / np.sqrt(2 * n)]
    np.testing.assert_allclose(flat(est.stderr()), expected, rtol=1e-10)
    np.testing.assert_allclose(flat(est.stderr()), [0.946, 1.301, 1.174, 0.244], atol=5e-4)
    assert est.loglik == pytest.approx(stats.norm.logpdf(y, X @ beta, sigma).sum(), rel=1e-13)
    assert est.loglik == pytest.approx(-601.160, abs=5e-4)
    assert (est.n_obs, est.n_params, est.kind) == (200, k + 1, "mle")
    # The residual standard deviation of a least-squares table has another divisor
    assert sigma * np.sqrt(n / (n - k)) == pytest.approx(4.9255, abs=5e-5)


def test_seed_data_labels(seed):
    _, est, _ = seed
    assert list(est.params.data_vars) == ["intercept", "beta", "sigma"]
    assert est.params["beta"].dims == ("covariate",)
    assert list(est.params["covariate"].values) == ["x1", "x2"]
    assert list(est.cov()["parameter"].values) == ["intercept", "beta[x1]", "beta[x2]", "sigma"]
    # Over the unconstrained scale the variance of log sigma is 1/(2n)
    log_sigma = est.cov(scale="unconstrained").sel(parameter="sigma_log__", parameter_="sigma_log__")
    assert float(log_sigma) == pytest.approx(1 / 400, rel=1e-10)


def test_covariance_is_that_of_least_squares(seed):
    _, est, _ = seed
    X, _ = seed_arrays()
    sigma = float(est.params["sigma"])
    for kind in ("hessian", "expected"):
        cov = est.cov(kind).to_numpy()
        np.testing.assert_allclose(cov[:3, :3], np.linalg.inv(X.T @ X) * sigma**2, rtol=1e-9)
        np.testing.assert_allclose(cov[3, :3], 0, atol=1e-10)


def test_model_is_unchanged(seed):
    model, _, (variables, values, transforms, logp) = seed
    after = snapshot(model)
    assert [name for name, _ in after[0]] == [name for name, _ in variables]
    assert all(new is old for (_, new), (_, old) in zip(after[0], variables, strict=True))
    assert after[1] == values
    assert after[2] == transforms
    assert after[3] == logp


def test_model_still_samples(seed):
    model, est, _ = seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = pm.sample(
            draws=150, tune=150, chains=1, cores=1, model=model, random_seed=1, progressbar=False,
            compute_convergence_checks=False, compile_kwargs={"mode": INTERPRETED},
        )  # fmt: skip
    drawn = trace.posterior["beta"].mean(("chain", "draw"))
    # Weak priors: posterior means lie within a standard error of the estimate
    np.testing.assert_allclose((drawn - est.params["beta"]) / est.stderr()["beta"], 0, atol=1)


def test_pm_find_map_on_the_flattened_model(seed):
    model, est, _ = seed
    found = pm.find_MAP(
        model=mle.flatten(model), progressbar=False, return_inferencedata=True, jitter=False,
        compile_kwargs={"mode": INTERPRETED},
    ).posterior.dataset.squeeze()  # fmt: skip
    for name in est.params.data_vars:
        np.testing.assert_allclose(est.params[name], found[name], rtol=1e-4)


MU, ETA = np.array([3.0, 8.0]), np.array([0.5, 2.0])


def ridge(X, y, precision, mean):
    """Penalized maximum: given sigma, a ridge regression; given the coefficients, sigma² = RSS/n."""
    sigma = y.std()
    for _ in range(500):
        beta = np.linalg.solve(X.T @ X / sigma**2 + precision, X.T @ y / sigma**2 + precision @ mean)
        rss = np.sum((y - X @ beta) ** 2)
        sigma = np.sqrt(rss / len(y))
    information = np.empty((4, 4))
    information[:3, :3] = X.T @ X / sigma**2 + precision
    information[3, :3] = information[:3, 3] = 2 * X.T @ (y - X @ beta) / sigma**3
    information[3, 3] = 3 * rss / sigma**4 - len(y) / sigma**2
    return beta, sigma, np.linalg.inv(information)


def test_constant_prior_is_dropped(seed):
    est = mle.find_MLE(hierarchical_regression(data.seed(), mu=MU, eta=ETA))
    assert est.kind == "mle"
    assert est.roles["beta"].kind == "parameter"
    assert "dropped" in est.roles["beta"].reason
    np.testing.assert_allclose(flat(est.params), flat(seed[1].params), rtol=1e-11)


def test_kept_prior_is_a_ridge_regression():
    est = mle.find_MLE(hierarchical_regression(data.seed(), mu=MU, eta=ETA), keep_priors=["beta"])
    X, y = seed_arrays()
    beta, sigma, cov = ridge(X, y, np.diag([0, *ETA**-2]), np.array([0, *MU]))
    assert est.verdict.ok
    assert est.kind == "penalized"
    assert est.roles["beta"].kind == "penalized"
    np.testing.assert_allclose(flat(est.params), [*beta, sigma], rtol=1e-10)
    np.testing.assert_allclose(est.cov(), cov, rtol=1e-7, atol=1e-10)
    # The penalty is no part of the log-likelihood, and criteria built on it have no meaning
    assert est.loglik == pytest.approx(stats.norm.logpdf(y, X @ beta, sigma).sum(), rel=1e-12)
    assert np.isnan([est.aic, est.aicc, est.bic]).all()


# -- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (1e6, 1e-2), (-5, 1e8), (3e-7, 1e-9)])
def test_normal(shift, scale):
    y = shift + scale * np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    n, sd = len(y), y.std()
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10)
        pm.Normal("y", mu, sigma, observed=y)
    est = mle.find_MLE(model)
    assert est.verdict.ok
    np.testing.assert_allclose(flat(est.params), [y.mean(), sd], rtol=1e-8)
    # Cramér-Rao: information 1/sigma² and 2/sigma² a row
    for kind in ("hessian", "expected"):
        np.testing.assert_allclose(flat(est.stderr(kind)), [sd / np.sqrt(n), sd / np.sqrt(2 * n)], rtol=1e-8)
    np.testing.assert_allclose(est.loglik, -n / 2 * (np.log(2 * np.pi * sd**2) + 1), rtol=1e-8)


@pytest.mark.parametrize("counts", [[0, 1, 0, 2, 1], [0] * 400 + [1], [1_000_000, 1_002_000, 999_000]])
def test_poisson(counts):
    with pm.Model() as model:
        mu = pm.HalfNormal("mu", 10)
        pm.Poisson("y", mu, observed=counts)
    est = mle.find_MLE(model)
    assert est.verdict.ok
    mean, n = np.mean(counts), len(counts)
    np.testing.assert_allclose(est.params["mu"], mean, rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["mu"], 1 / np.sqrt(n / mean), rtol=1e-8)
    np.testing.assert_allclose(est.loglik, stats.poisson.logpmf(counts, mean).sum(), rtol=1e-8)


@pytest.mark.parametrize(("successes", "n"), [(11, 32), (1, 1000), (19_999, 20_000)])
@pytest.mark.parametrize("prior", [lambda: pm.Beta("p", 1, 1), lambda: pm.Uniform("p", 0, 1)], ids=["Beta", "Uniform"])
def test_bernoulli(successes, n, prior):
    with pm.Model() as model:
        pm.Bernoulli("y", prior(), observed=np.arange(n) < successes)
    est = mle.find_MLE(model)
    assert est.verdict.ok
    p = successes / n
    np.testing.assert_allclose(est.params["p"], p, rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["p"], 1 / np.sqrt(n / (p * (1 - p))), rtol=1e-8)
    np.testing.assert_allclose(est.loglik, successes * np.log(p) + (n - successes) * np.log1p(-p), rtol=1e-8)


@pytest.mark.parametrize("scale", [1, 1e-9, 1e7])
def test_exponential(scale):
    y = scale * np.array([3.0, 5, 7, 18, 43, 85, 91, 98, 100, 130, 230, 487])
    with pm.Model() as model:
        lam = pm.HalfNormal("lam", 1)
        pm.Deterministic("mean", 1 / lam)
        pm.Exponential("y", lam, observed=y)
    est = mle.find_MLE(model)
    assert est.verdict.ok
    n, rate = len(y), 1 / y.mean()
    np.testing.assert_allclose(est.params["lam"], rate, rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["lam"], 1 / np.sqrt(n / rate**2), rtol=1e-8)
    # The maximum and the bound of a function of the parameter are those functions' (delta method)
    np.testing.assert_allclose(est.derived["mean"], y.mean(), rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["mean"], y.mean() / np.sqrt(n), rtol=1e-8)
    np.testing.assert_allclose(est.loglik, n * np.log(rate) - n, rtol=1e-8)


# -- posterior modes ----------------------------------------------------------------------------------------------


def test_map_of_a_mean():
    y = np.array([1.0, 2.0, 3.5])
    with pm.Model() as model:
        mu = pm.Normal("mu", 1, 0.5)
        pm.Normal("y", mu, 2, observed=y)
    est = mle.find_MAP(model)
    precision = 1 / 0.5**2 + 3 / 2**2
    assert est.kind == "map"
    np.testing.assert_allclose(est.params["mu"], (1 / 0.5**2 + y.sum() / 2**2) / precision, rtol=1e-12)
    np.testing.assert_allclose(est.stderr()["mu"], precision**-0.5, rtol=1e-12)
    np.testing.assert_allclose(est.loglik, stats.norm.logpdf(y, est.params["mu"], 2).sum(), rtol=1e-12)
    assert np.isnan([est.aic, est.aicc, est.bic]).all()


def test_map_of_a_share():
    """The mode of Beta(a + s, b + n - s) on the scale of p, without the Jacobian of the search's scale."""
    a, b, s, n = 3.0, 2.5, 7, 20
    with pm.Model() as model:
        p = pm.Beta("p", a, b)
        pm.Binomial("y", n, p, observed=s)
    est = mle.find_MAP(model)
    mode = (a + s - 1) / (a + b + n - 2)
    np.testing.assert_allclose(est.params["p"], mode, rtol=1e-10)
    np.testing.assert_allclose(est.stderr()["p"], np.sqrt(mode * (1 - mode) / (a + b + n - 2)), rtol=1e-9)


def test_map_of_a_rate():
    y = np.array([2, 0, 3, 1])
    with pm.Model() as model:
        mu = pm.Gamma("mu", 2.5, 1.5)
        pm.Poisson("y", mu, observed=y)
    est = mle.find_MAP(model)
    shape, rate = 2.5 + y.sum(), 1.5 + len(y)
    np.testing.assert_allclose(est.params["mu"], (shape - 1) / rate, rtol=1e-10)
    np.testing.assert_allclose(est.stderr()["mu"], np.sqrt(shape - 1) / rate, rtol=1e-9)


def test_map_of_shares():
    alpha, counts = np.array([2.0, 1.5, 4.0]), np.array([5, 2, 9])
    with pm.Model() as model:
        p = pm.Dirichlet("p", alpha)
        pm.Multinomial("y", n=16, p=p, observed=counts)
    est = mle.find_MAP(model)
    weight = alpha + counts - 1
    np.testing.assert_allclose(est.params["p"], weight / weight.sum(), rtol=1e-9)


def test_map_of_a_variance():
    y = np.array([0.5, -1.0, 2.0, 0.3])
    with pm.Model() as model:
        v = pm.InverseGamma("v", 3.0, 2.0)
        pm.Normal("y", 0, pm.math.sqrt(v), observed=y)
    est = mle.find_MAP(model)
    np.testing.assert_allclose(est.params["v"], (2 + np.sum(y**2) / 2) / (3 + len(y) / 2 + 1), rtol=1e-10)


def test_map_is_the_ridge_regression_of_all_priors():
    model = linear_regression(data.seed())
    est = mle.find_MAP(model, fix={"sigma": 5.0})
    X, y = seed_arrays()
    priors = {name: model[name].owner.inputs[2:] for name in ("intercept", "beta")}
    (m0, s0), (m1, s1) = ([np.unique(v.eval(mode=INTERPRETED)).item() for v in pair] for pair in priors.values())
    precision, mean = np.diag([s0**-2, s1**-2, s1**-2]), np.array([m0, m1, m1])
    expected = np.linalg.solve(X.T @ X / 25 + precision, X.T @ y / 25 + precision @ mean)
    np.testing.assert_allclose(flat(est.params), expected, rtol=1e-10)


def test_map_counts_potentials():
    with pm.Model() as model:
        mu = pm.Flat("mu")
        pm.Potential("prior", -0.5 * (mu / 2) ** 2)
        pm.Normal("y", mu, 1, observed=[1.0, 2.0])
    np.testing.assert_allclose(mle.find_MAP(model).params["mu"], 3 / (2 + 0.25), rtol=1e-12)
    np.testing.assert_allclose(mle.find_MLE(model, potentials="drop").params["mu"], 1.5, rtol=1e-12)
    est = mle.find_MLE(model, potentials="likelihood")
    np.testing.assert_allclose(est.params["mu"], 3 / (2 + 0.25), rtol=1e-12)


# -- information criteria -----------------------------------------------------------------------------------------


def test_information_criteria(seed):
    _, est, _ = seed
    k, n, ll = 4, 200, est.loglik
    np.testing.assert_allclose(est.aic, 2 * k - 2 * ll)
    np.testing.assert_allclose(est.aicc, 2 * k - 2 * ll + 2 * k * (k + 1) / (n - k - 1))
    np.testing.assert_allclose(est.bic, k * np.log(n) - 2 * ll)


def test_aicc_needs_rows():
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu"), pm.HalfNormal("sigma")
        pm.Normal("y", mu, sigma, observed=[1.0, 2.0, 4.0])
    est = mle.find_MLE(model)
    assert np.isnan(est.aicc)
    assert np.isfinite([est.aic, est.bic]).all()


# -- options ------------------------------------------------------------------------------------------------------


def sample(y=(1.0, 2.0, 4.0, 5.5), **names):
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10)
        pm.Deterministic("ratio", mu / sigma)
        pm.Normal("y", mu, sigma, observed=np.array(y))
    return model


def test_in_a_context():
    with sample() as model:
        est = mle.find_MLE()
        mode = mle.find_MAP()
    assert est.model is mode.model is model


def test_fix():
    y = np.array([1.0, 2.0, 4.0, 5.5])
    est = mle.find_MLE(sample(), fix={"sigma": 3.0})
    assert est.roles["sigma"].kind == "fixed"
    assert list(est.params.data_vars) == ["mu"]
    assert est.n_params == 1
    np.testing.assert_allclose(est.params["mu"], y.mean(), rtol=1e-12)
    np.testing.assert_allclose(est.stderr()["mu"], 3 / 2, rtol=1e-12)
    np.testing.assert_allclose(est.derived["ratio"], y.mean() / 3, rtol=1e-12)
    np.testing.assert_allclose(est.stderr()["ratio"], 1 / 2, rtol=1e-12)
    other = mle.find_MLE(sample(), fix={"mu": 0.0})
    np.testing.assert_allclose(other.params["sigma"], np.sqrt(np.mean(y**2)), rtol=1e-12)


def test_everything_fixed():
    est = mle.find_MLE(sample(), fix={"sigma": 3.0, "mu": 1.0})
    assert est.n_params == 0
    assert est.loglik == pytest.approx(stats.norm.logpdf([1.0, 2.0, 4.0, 5.5], 1, 3).sum(), rel=1e-12)
    np.testing.assert_allclose(est.derived["ratio"], 1 / 3)


def test_discrete_variable_that_is_fixed():
    with pm.Model() as model:
        k, mu = pm.Poisson("k", 3), pm.Normal("mu")
        pm.Normal("y", mu + k, 1, observed=[3.0, 4.0])
    np.testing.assert_allclose(mle.find_MLE(model, fix={"k": 2}).params["mu"], 1.5)


def test_initvals():
    est = mle.find_MLE(sample(), initvals={"sigma": 0.25}, starts=2)
    began = est.starts["began"]
    assert began[0][1] == pytest.approx(0.25)
    assert began[0][0] == 0
    assert est.starts["origin"].iloc[0] == "initial point"
    np.testing.assert_allclose(flat(est.params), flat(mle.find_MLE(sample()).params), rtol=1e-12)


@pytest.mark.parametrize("starts", [1, 5])
def test_starts(starts):
    est = mle.find_MLE(sample(), starts=starts)
    assert len(est.starts) == starts
    assert est.starts["optimum"].tolist() == [0] * starts
    for begin, end in zip(est.starts["began"], est.starts["ended"], strict=True):
        assert np.all(begin != end)
        np.testing.assert_allclose(end, flat(est.params), rtol=1e-7)
    assert np.all(est.starts["value_start"] < est.starts["value"])


@pytest.mark.parametrize("method", ["newton", "scoring", "quasi-newton"])
def test_method(method):
    est = mle.find_MLE(sample(), method=method)
    y = np.array([1.0, 2.0, 4.0, 5.5])
    assert est.verdict.ok
    np.testing.assert_allclose(flat(est.params), [y.mean(), y.std()], rtol=1e-6 if method == "quasi-newton" else 1e-12)
    word = {"quasi-newton": "L-BFGS"}.get(method, method)
    assert est.starts["method"].str.startswith(word).all()


@pytest.mark.parametrize(
    "random_seed", [0, 17, [1, 2], np.random.default_rng(3), np.random.RandomState(4)], ids=lambda s: type(s).__name__
)
def test_random_seed(random_seed):
    """Whatever pm.sample takes."""
    assert mle.find_MLE(sample(), random_seed=random_seed).verdict.ok


# -- determinism --------------------------------------------------------------------------------------------------


def identical(one, other):
    np.testing.assert_array_equal(flat(one.params), flat(other.params))
    np.testing.assert_array_equal(one.cov(), other.cov())
    assert one.loglik == other.loglik
    for column in ("began", "ended"):
        np.testing.assert_array_equal(np.stack(one.starts[column]), np.stack(other.starts[column]))


@pytest.mark.parametrize("random_seed", [None, 42])
def test_same_seed_same_result(random_seed):
    one, other = (mle.find_MLE(linear_regression(data.seed()), random_seed=random_seed) for _ in range(2))
    identical(one, other)


def test_another_seed_starts_elsewhere():
    one, other = (mle.find_MLE(sample(), random_seed=seed) for seed in (1, 2))
    assert np.all(one.starts["began"][1] != other.starts["began"][1])
    np.testing.assert_allclose(flat(one.params), flat(other.params), rtol=1e-12)


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    mle.find_MLE(sample())
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def student(order, dim="covariate"):
    frame = data.heavy_tailed()
    makers = {
        "sigma": lambda: pm.HalfNormal("sigma", 5),
        "nu": lambda: pm.Gamma("nu", 2, 0.1),
        "beta": lambda: pm.Normal("beta", 0, 5, dims=dim),
        "intercept": lambda: pm.Normal("intercept", 0, 5),
    }
    with pm.Model(coords={dim: ["x1", "x2"]}) as model:
        v = {name: makers[name]() for name in order}
        mu = v["intercept"] + frame[["x1", "x2"]].to_numpy() @ v["beta"]
        pm.StudentT("y", nu=v["nu"], mu=mu, sigma=v["sigma"], observed=frame["y"].to_numpy())
    return model


def test_order_of_declaration_and_names_of_dims():
    names = ["intercept", "beta", "sigma", "nu"]
    first = mle.find_MLE(student(names))
    for other in (mle.find_MLE(student(names[::-1])), mle.find_MLE(student([*names[2:], *names[:2]], dim="x"))):
        for name in names:
            np.testing.assert_allclose(other.params[name], first.params[name], rtol=1e-9)
            np.testing.assert_allclose(other.stderr()[name], first.stderr()[name], rtol=1e-8)
        assert other.loglik == pytest.approx(first.loglik, rel=1e-13)
        assert other.verdict.status is first.verdict.status
    renamed = mle.find_MLE(student(names, dim="another"))
    identical(renamed, first)


# -- the estimate is frozen ---------------------------------------------------------------------------------------


def test_frozen(seed):
    _, est, _ = seed
    with pytest.raises(dataclasses.FrozenInstanceError):
        est.loglik = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        del est.params


def test_later_data_do_not_reach_the_estimate():
    with pm.Model(coords={"row": range(4)}) as model:
        x = pm.Data("x", np.arange(4.0), dims="row")
        y = pm.Data("y_data", np.array([1.0, 2.0, 4.0, 5.5]), dims="row")
        slope, sigma = pm.Normal("slope"), pm.HalfNormal("sigma")
        pm.Deterministic("fitted", slope * x, dims="row")
        pm.Normal("y", slope * x, sigma, observed=y, dims="row")
    est, twin = mle.find_MLE(model), mle.find_MLE(model)
    before = [twin.loglik, twin.cov().to_numpy(), twin.cov("expected").to_numpy(), flat(twin.stderr())]
    with model:
        pm.set_data({"x": np.arange(6.0), "y_data": np.ones(6)}, coords={"row": range(6)})
    after = [est.loglik, est.cov().to_numpy(), est.cov("expected").to_numpy(), flat(est.stderr())]
    for one, other in zip(after, before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert est.derived["fitted"].shape == (4,)
    # A new fit sees the new data
    new = mle.find_MLE(model)
    np.testing.assert_allclose(new.params["slope"], 15 / 55, rtol=1e-12)
    assert new.n_obs == 6
