"""The instant posterior: its density against PyMC's, its draws against closed forms and NUTS, its refusals."""

import doctest
import sys
import time
import warnings

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from pytensor.compile.mode import Mode
from scipy import stats

import mle_pp as mle
from mle_pp.unconstrained import UnconstrainedDensity
from models import GALLERY

Y = np.random.default_rng(0).normal(1.0, 2.0, size=(12, 2))
SCHOOLS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
DRAWS = ("chain", "draw")


# -- the density --------------------------------------------------------------------------------------------------


def positive():
    pm.Normal("y", pm.Uniform("m", -3, 5), pm.HalfNormal("s", 2), observed=Y)


def bounds_by_parameters():
    low = pm.Normal("low", -8, 1)
    pm.Normal("w", low, 1, observed=[-7.0])
    pm.Normal("y", pm.Uniform("m", low, low + 20), 2, observed=Y)


def simplex():
    pm.Multinomial("y", 10, pm.Dirichlet("p", np.array([2.0, 3.0, 4.0])), observed=np.array([[2, 3, 5], [1, 4, 5]]))


def ordered():
    cut = pm.Normal("cut", 0, 2, shape=3, transform=pm.distributions.transforms.ordered, initval=[-1.0, 0.0, 1.0])
    pm.OrderedLogistic("y", eta=pm.Normal("eta", 0, 1), cutpoints=cut, observed=[0, 1, 2, 3, 2, 1])


def cholesky():
    chol, *_ = pm.LKJCholeskyCov("chol", n=2, eta=2, sd_dist=pm.HalfNormal.dist(2), compute_corr=True)
    pm.MvNormal("y", np.ones(2), chol=chol, observed=Y)


@pytest.mark.parametrize("declare", [positive, bounds_by_parameters, simplex, ordered, cholesky])
def test_the_density_is_the_one_that_pymc_samples(declare):
    with pm.Model() as model:
        declare()
    est = mle.find_MAP(model)
    density = UnconstrainedDensity(est._objective)
    logp = model.compile_logp(mode=Mode(linker="py", optimizer="fast_compile"))
    slices = density.parameters.unconstrained.slices()
    rng = np.random.default_rng(1)
    points = est._optimum.x + 0.5 * rng.normal(size=(5, density.size))
    theirs = [
        float(logp({name: x[slices[name]].reshape(density.parameters.unconstrained[name].shape) for name in slices}))
        for x in points
    ]
    mine = [density.value(x) for x in points]
    np.testing.assert_allclose(mine, theirs, rtol=1e-9)
    many, constrained, derived = density.many(points)
    np.testing.assert_allclose(many, theirs, rtol=1e-9)
    np.testing.assert_allclose(constrained, [density.parameters.constrained(x) for x in points], rtol=1e-12)
    np.testing.assert_allclose(derived, [density.parameters.derived(x) for x in points], rtol=1e-12)
    value, gradient, hessian = density.derivatives(points[0])
    steps = 1e-5 * np.eye(density.size)
    np.testing.assert_allclose(value, theirs[0], rtol=1e-9)
    numeric = [(density.value(points[0] + h) - density.value(points[0] - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)
    slopes = [
        (density.value_gradient(points[0] + h)[1] - density.value_gradient(points[0] - h)[1]) / 2e-5 for h in steps
    ]
    np.testing.assert_allclose(hessian, slopes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(density.product(points[0], points[1]), hessian @ points[1], rtol=1e-8, atol=1e-9)


def test_a_variable_declared_without_transform_has_the_same_density():
    models = []
    for options in ({}, {"default_transform": None}):
        with pm.Model() as model:
            pm.Normal("y", 0, pm.Gamma("s", 2, 1, **options), observed=Y[:, 0])
        models.append(UnconstrainedDensity(mle.find_MAP(model)._objective))
    for x in (np.array([-0.3]), np.array([1.1])):
        assert models[0].value(x) == pytest.approx(models[1].value(x), rel=1e-12)


# -- the draws ----------------------------------------------------------------------------------------------------


def gamma_poisson():
    pm.Poisson("y", pm.Gamma("t", 2, 1), observed=[1, 0, 3])
    return stats.gamma(6, scale=1 / 4)


def beta_binomial():
    pm.Binomial("y", 20, pm.Beta("t", 2, 5), observed=7)
    return stats.beta(9, 18)


def normal_mean():
    pm.Normal("y", pm.Normal("t", 0, 2), 2, observed=[1.0, 2.0, 3.0, 6.0])
    return stats.norm(2.4, np.sqrt(0.8))


@pytest.mark.parametrize("declare", [gamma_poisson, beta_binomial, normal_mean])
def test_conjugate_posteriors(declare):
    with pm.Model() as model:
        law = declare()
    posterior = mle.approximate_posterior(mle.find_MAP(model), 10_000, random_seed=3)["posterior"]
    draws = posterior["t"].values.ravel()
    assert draws.mean() == pytest.approx(law.mean(), abs=0.02 * law.std())
    assert draws.std() == pytest.approx(law.std(), rel=0.02)
    probabilities = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    # Four Monte Carlo errors
    errors = 4 * np.sqrt(probabilities * (1 - probabilities) / 30_000)
    assert np.all(np.abs(law.cdf(np.quantile(draws, probabilities)) - probabilities) < errors)
    assert posterior.attrs["pareto_k"] < 0.3
    assert 25_000 < posterior.attrs["ess"] <= 40_000


@pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS:UserWarning")
@pytest.mark.parametrize("name", ["logistic_regression", "censored_weibull", "linear_regression"])
def test_gallery_against_nuts(name):
    model = GALLERY[name].build()
    est = mle.find_MAP(model)
    start = time.perf_counter()
    mle.approximate_posterior(est, random_seed=1)
    seconds = time.perf_counter() - start
    approximate = mle.approximate_posterior(est, 5000, random_seed=1)["posterior"]
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend running at least 4 chains")
        sampled = pm.sample(
            5000,
            model=model,
            chains=2,
            cores=1,
            random_seed=1,
            progressbar=False,
            compile_kwargs={"mode": Mode(linker="cvm", optimizer="fast_run")},
        ).posterior
    nuts = time.perf_counter() - start
    for variable in est.params:
        mean, sd = sampled[variable].mean(DRAWS), sampled[variable].std(DRAWS)
        assert float((np.abs(approximate[variable].mean(DRAWS) - mean) / sd).max()) < 0.05, variable
        assert float(np.abs(approximate[variable].std(DRAWS) / sd - 1).max()) < 0.05, variable
    assert approximate.attrs["pareto_k"] < 0.7
    assert "can be trusted" in approximate.attrs["advice"]
    assert nuts > 50 * seconds


def separated(prior, **kwargs):
    x = np.arange(6.0) - 2.5
    with pm.Model() as model:
        slope = prior("slope", 0, **kwargs)
        pm.Bernoulli("z", logit_p=slope * x, observed=x > 0)
    return model


def test_a_strongly_skewed_posterior_is_told():
    """Separated data under a Cauchy prior: to the right the likelihood is level, and the prior's tail all there is."""
    model = separated(pm.Cauchy, beta=2.5)
    with pytest.warns(UserWarning, match=r"Pareto k is [12]\.\d\d, not below 0.70: .* Sample instead"):
        tree = mle.approximate_posterior(mle.find_MAP(model), random_seed=1)
    assert tree["posterior"].attrs["pareto_k"] > 0.7
    est = mle.find_MAP(model)
    with pytest.warns(UserWarning, match="Sample instead"):
        table = mle.compare(est, tree)
    assert table.reading().startswith("Pareto k is")


def test_a_posterior_without_a_variance_is_told():
    """Inverse gamma of shape 1.5: on the log scale a bell with thin tails, but its variance is infinite."""
    with pm.Model() as model:
        pm.Normal("y", 0, pm.math.sqrt(pm.InverseGamma("v", 1, 1)), observed=1.0)
    with pytest.warns(UserWarning, match="Sample instead"):
        mle.approximate_posterior(mle.find_MAP(model), random_seed=1)


def test_k_of_an_exact_proposal_is_small():
    """The posterior is normal, so that the weights are bounded."""
    with pm.Model() as model:
        normal_mean()
    attrs = mle.approximate_posterior(mle.find_MAP(model), random_seed=1)["posterior"].attrs
    assert attrs["pareto_k"] < 0
    assert attrs["pareto_k_max"] == 0.7


def test_few_draws_need_a_smaller_k():
    with pm.Model() as model:
        normal_mean()
    attrs = mle.approximate_posterior(mle.find_MAP(model), 25, random_seed=1)["posterior"].attrs
    assert attrs["pareto_k_max"] == pytest.approx(0.5)


# -- refusals -----------------------------------------------------------------------------------------------------


def eight_schools(centered):
    with pm.Model() as model:
        mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
        theta = pm.Normal("theta", mu, tau, shape=8) if centered else mu + tau * pm.Normal("offset", shape=8)
        pm.Normal("y", theta, ERRORS, observed=SCHOOLS)
    return model


@pytest.mark.parametrize("centered", [True, False])
def test_eight_schools_are_refused(centered):
    with pytest.warns(mle.VerdictWarning):
        est = mle.find_MAP(eight_schools(centered))
    assert est.kind == "map"
    assert float(est.params["tau"]) == 0
    with pytest.raises(mle.ModelError, match=r"no regular interior mode.*sample the model instead(.|\n)*tau = 0"):
        mle.approximate_posterior(est)


def test_latent_variables_are_refused():
    rng = np.random.default_rng(0)
    effects = rng.normal(0, 3, size=8)
    with pm.Model() as model:
        u = pm.Normal("u", pm.Normal("mu", 0, 5), pm.HalfNormal("tau", 5), shape=8)
        pm.Normal("y", u[np.repeat(np.arange(8), 5)], 1, observed=np.repeat(effects, 5) + rng.normal(size=40))
    est = mle.find_MAP(model)
    assert est.verdict.ok
    with pytest.raises(mle.ModelError, match="u: latent, integrated out by find_MAP"):
        mle.approximate_posterior(est)


def test_other_estimates_are_refused():
    with pm.Model() as model:
        normal_mean()
        pm.Normal("w", pm.Normal("b", 0, 1), 1, observed=[1.0, 2.0])
    with pytest.raises(mle.ModelError, match="this is a maximum-likelihood estimate"):
        mle.approximate_posterior(mle.find_MLE(model))
    with pytest.raises(mle.ModelError, match="this is a penalized estimate"):
        mle.approximate_posterior(mle.find_MLE(model, keep_priors=["t"]))
    with pytest.raises(ValueError, match="draws=5"):
        mle.approximate_posterior(mle.find_MAP(model), 5)


# -- as a posterior -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled():
    with pm.Model(coords={"coef": ["const", "x"], "row": range(12)}) as model:
        x = pm.Data("x", np.arange(12.0), dims="row")
        beta = pm.Normal("beta", 0, 10, dims="coef")
        pm.Deterministic("gap", beta[1] - beta[0])
        pm.Normal("y", beta[0] + beta[1] * x, pm.HalfNormal("sigma", 5), observed=Y[:, 0], dims="row")
    est = mle.find_MAP(model)
    return model, est, mle.approximate_posterior(est, random_seed=2)


def test_arviz_takes_it_for_a_posterior(labelled):
    _, _, tree = labelled
    summary = az.summary(tree)
    assert list(summary.index) == ["beta[const]", "beta[x]", "sigma", "gap"]
    assert (summary["r_hat"].astype(float) < 1.01).all()
    np.testing.assert_allclose(tree["posterior"]["gap"], tree["posterior"]["beta"].diff("coef").isel(coef=0))
    assert tree["sample_stats"]["lp"].dims == ("chain", "draw")
    assert tree["observed_data"]["y"].dims == ("row",)
    assert tree["constant_data"]["x"].values.tolist() == list(range(12))


def test_it_is_compared_without_a_warning(labelled):
    model, est, tree = labelled
    table = mle.compare(mle.find_MLE(model), tree, map_estimate=est)
    assert list(table.index) == ["beta[const]", "beta[x]", "sigma", "gap"]
    assert table.attrs["notes"] == []


def test_pymc_and_arviz_go_on_with_it(labelled):
    model, _, tree = labelled
    tree = tree.copy()
    compile_kwargs = {"mode": Mode(linker="py", optimizer="fast_compile")}
    with model:
        pm.stats.compute_log_likelihood(tree, progressbar=False)
        pm.stats.compute_log_prior(tree, progressbar=False)
        drawn = pm.sample_posterior_predictive(tree, progressbar=False, random_seed=1, compile_kwargs=compile_kwargs)
    assert drawn["posterior_predictive"]["y"].shape == (4, 1000, 12)
    sensitivity = az.psense_summary(tree)
    assert sensitivity.loc["beta[x]", "prior"] < sensitivity.loc["beta[x]", "likelihood"]
    assert np.isfinite(az.loo(tree).elpd)


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("write", ["to_netcdf", "to_zarr"])
def test_to_disk_and_back(labelled, tmp_path, write):
    if write == "to_zarr":
        pytest.importorskip("zarr")
    tree = labelled[2]
    getattr(tree, write)(tmp_path / "x")
    with xr.open_datatree(tmp_path / "x", engine="zarr" if write == "to_zarr" else None) as back:
        xr.testing.assert_identical(back.load(), tree)


def test_draws_repeat_with_the_seed(labelled):
    _, est, tree = labelled
    again = mle.approximate_posterior(est, random_seed=np.random.default_rng(2))
    xr.testing.assert_equal(again["posterior"].to_dataset(), tree["posterior"].to_dataset())
    other = mle.approximate_posterior(est, random_seed=3)
    assert not np.allclose(other["posterior"]["sigma"], tree["posterior"]["sigma"])


def test_a_fixed_variable_stays_fixed():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("m", 0, 2), pm.HalfNormal("s", 1), observed=[1.0, 2.0, 3.0, 6.0])
    posterior = mle.approximate_posterior(mle.find_MAP(model, fix={"s": 2.0}), 5000, random_seed=1)["posterior"]
    assert list(posterior.data_vars) == ["m"]
    assert posterior["m"].mean().item() == pytest.approx(2.4, abs=0.03)
    assert posterior["m"].std().item() == pytest.approx(np.sqrt(0.8), rel=0.03)


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.approximate"]).failed == 0
