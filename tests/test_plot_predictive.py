"""Residuals and predictive checks hold the numbers of the model, for any likelihood and on every backend."""

import doctest
import sys

import arviz as az
import numpy as np
import pymc as pm
import pytest
from scipy import stats

import mle_pp as mle
from mle_pp.residuals import quantile_residuals

RNG = np.random.default_rng(20260112)
X = RNG.normal(size=60)
COUNT = RNG.poisson(np.exp(1 + 0.5 * X))
WEIGHT = 1 + 0.5 * X + RNG.normal(size=60)
ZIP = RNG.poisson(np.exp(1 + 0.5 * X)) * (RNG.uniform(size=60) < 0.7)


@pytest.fixture(scope="module")
def est():
    with pm.Model(coords={"row": [f"r{k}" for k in range(60)]}) as model:
        x = pm.Data("x", X, dims="row")
        a, b, sigma = pm.Normal("a"), pm.Normal("b"), pm.HalfNormal("sigma")
        rate = pm.math.exp(a + b * x)
        pm.Poisson("count", rate, observed=COUNT, dims="row")
        pm.Normal("weight", a + b * x, sigma, observed=WEIGHT, dims="row")
        pm.ZeroInflatedPoisson("zip", 0.7, rate, observed=ZIP, dims="row")
    return mle.find_MLE(model)


@pytest.fixture(scope="module")
def idata(est):
    new = {
        name: est._objective.data[name][None, None] + RNG.integers(-1, 2, size=(2, 40, 60))
        for name in ("count", "weight")
    }
    draws = {name: float(value) + RNG.normal(0, 0.1, size=(2, 400)) for name, value in est.params.items()}
    observed = {"count": COUNT, "weight": WEIGHT, "zip": ZIP}
    dims = {name: ["row"] for name in (*observed, "x")}
    coords = {"row": [f"r{k}" for k in range(60)]}
    groups = {"posterior": draws, "posterior_predictive": new, "observed_data": observed, "constant_data": {"x": X}}
    return az.from_dict(groups, dims=dims, coords=coords)


# -- residuals ----------------------------------------------------------------------------------------------------


def test_residuals_of_a_normal_are_the_standardized_ones(est):
    found = quantile_residuals(est, "weight")
    a, b, sigma = (float(est.params[name]) for name in ("a", "b", "sigma"))
    np.testing.assert_allclose(found.value["weight"], (WEIGHT - a - b * X) / sigma, rtol=1e-9)
    np.testing.assert_allclose(found.fitted["weight"], a + b * X, rtol=1e-12)
    assert found.methods == {"weight": "cdf"}
    assert list(found.value["row"].values[:2]) == ["r0", "r1"]


def test_residuals_of_counts_lie_between_both_sides_of_the_step(est):
    rate = np.exp(float(est.params["a"]) + float(est.params["b"]) * X)
    first, second = (quantile_residuals(est, "count", random_seed=seed).value["count"].values for seed in (1, 2))
    assert not np.allclose(first, second)
    for values in (first, second):
        u = stats.norm.cdf(values)
        assert np.all(u >= stats.poisson.cdf(COUNT - 1, rate) - 1e-12)
        assert np.all(u <= stats.poisson.cdf(COUNT, rate) + 1e-12)
    np.testing.assert_array_equal(first, quantile_residuals(est, "count", random_seed=1).value["count"].values)


def test_simulation_agrees_with_the_distribution_function(est):
    exact = quantile_residuals(est, ["count", "weight"], random_seed=3)
    drawn = quantile_residuals(est, ["count", "weight"], method="simulation", n=3000, random_seed=3)
    assert drawn.methods == {"count": "simulation", "weight": "simulation"}
    for name in ("count", "weight"):
        # Binomial errors of the shares, on the scale of the probabilities
        gap = stats.norm.cdf(exact.value[name]) - stats.norm.cdf(drawn.value[name])
        assert np.abs(gap).max() < 4 * 0.5 / np.sqrt(3000)


def test_a_mixture_is_simulated(est):
    found = quantile_residuals(est, "zip", n=500, random_seed=4)
    assert found.methods == {"zip": "simulation"}
    assert stats.kstest(found.value["zip"].values, "norm").pvalue > 0.01
    with pytest.raises(ValueError, match="zip has no known distribution function"):
        quantile_residuals(est, method="cdf")


def test_groups_are_integrated_by_simulation():
    with pm.Model() as model:
        mu, tau = pm.Normal("mu"), pm.HalfNormal("tau")
        u = pm.Normal("u", 0, tau, shape=8)
        pm.Normal("y", mu + u[np.repeat(np.arange(8), 5)], 1, observed=RNG.normal(np.repeat(RNG.normal(0, 2, 8), 5)))
        pm.Normal("z", mu, 1, observed=RNG.normal(size=3))
    est = mle.find_MLE(model)
    found = quantile_residuals(est, n=2000, random_seed=5)
    assert found.methods == {"y": "simulation", "z": "cdf"}
    sd = np.hypot(float(est.params["tau"]), 1)
    exact = (est._objective.data["y"] - float(est.params["mu"])) / sd
    np.testing.assert_allclose(stats.norm.cdf(found.value["y"]), stats.norm.cdf(exact), atol=0.05)


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh", "none"])
def test_residual_plots_on_every_backend(est, backend, tmp_path):
    collection = mle.plot_residuals(est, n=50, random_seed=1, backend=backend)
    assert collection.backend == backend
    if backend != "none":
        path = tmp_path / ("figure.png" if backend == "matplotlib" else "figure.html")
        collection.savefig(path)
        assert path.stat().st_size > 10_000


def test_residual_plot_shows_the_residuals(est):
    collection = mle.plot_residuals(est, "weight", backend="matplotlib")
    found = quantile_residuals(est, "weight")
    left, right = (collection.viz["points"]["weight"].sel(panel=panel).item() for panel in ("fitted", "normal"))
    np.testing.assert_allclose(left.get_offsets(), np.stack([found.fitted["weight"], found.value["weight"]], axis=1))
    np.testing.assert_allclose(right.get_offsets()[:, 1], np.sort(found.value["weight"]))
    np.testing.assert_allclose(right.get_offsets()[:, 0], stats.norm.ppf((np.arange(60) + 0.5) / 60))
    few = mle.plot_residuals(est, "weight", coords={"row": ["r1", "r2"]}, backend="matplotlib")
    assert len(few.viz["points"]["weight"].sel(panel="fitted").item().get_offsets()) == 2
    with pytest.raises(ValueError, match="'line' not among"):
        mle.plot_residuals(est, visuals={"line": False})
    with pytest.raises(KeyError, match=r"coords: place not among the dims \(row\)"):
        mle.plot_residuals(est, "weight", coords={"place": 1})


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
def test_points_of_residuals_follow_aesthetics(est, backend):
    given = {"color": ["#000000", "#ff0000"], "aes": {"color": ["panel"]}, "backend": backend}
    look = mle.plot_residuals(est, "weight", aes_by_visuals={"points": ["color"]}, **given)
    if backend == "matplotlib":
        colors = [look.viz["points"]["weight"].sel(panel=p).item().get_facecolor()[0, :3] for p in ("fitted", "normal")]
        np.testing.assert_allclose(colors, [[0, 0, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match="aes_by_visuals: 'rug' not among 'points'"):
        mle.plot_residuals(est, "weight", aes_by_visuals={"rug": ["color"]})


# -- predictive checks --------------------------------------------------------------------------------------------


def test_bands_hold_the_shares_of_the_draws(est, idata):
    collection = mle.plot_ppc(est, idata, var_names="count", n=80, ci_prob=0.8, backend="matplotlib", random_seed=1)
    new = idata["posterior_predictive"]["count"].values.reshape(80, 60)
    for edge, q in (("y_bottom", 0.1), ("y_top", 0.9)):
        line = collection.viz[f"edges_{edge}"]["count"].sel(model="posterior predictive").item()
        x, y = line.get_data()
        exact = np.quantile([(row <= 4).mean() for row in new], q)
        assert y[np.flatnonzero(x == 4)[-1]] == pytest.approx(exact)
        simulated = mle.simulate(est, 80, random_seed=1)["count"].values[0]
        line = collection.viz[f"edges_{edge}"]["count"].sel(model="plug-in predictive (MLE)").item()
        exact = np.quantile([(row < 4).mean() for row in simulated], q)
        assert line.get_ydata()[np.flatnonzero(x == 4)[0]] == pytest.approx(exact)
    x, y = collection.viz["observed"]["count"].item().get_data()
    np.testing.assert_allclose(y[1::2], [np.mean(at >= COUNT) for at in x[1::2]])
    texts = [text.get_text() for text in collection.get_viz("figure").legends[0].get_texts()]
    assert texts == ["plug-in predictive (MLE)", "posterior predictive", "observed"]


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh", "none"])
def test_predictive_checks_on_every_backend(est, idata, backend, tmp_path):
    # Numbers of draws that differ
    collection = mle.plot_ppc(
        est, idata, var_names=["count", "weight"], n=33, backend=backend, coords={"row": ["r0", "r5"]}
    )
    assert collection.backend == backend
    for edge in ("y_bottom", "y_top"):
        assert all(line is not None for line in collection.viz[f"edges_{edge}"]["weight"].values.ravel())
    if backend != "none":
        path = tmp_path / ("figure.png" if backend == "matplotlib" else "figure.html")
        collection.savefig(path)
        assert path.stat().st_size > 10_000


def test_predictive_checks_refuse_what_does_not_fit(est, idata):
    with pytest.raises(mle.ModelError, match="zip is not in the group posterior_predictive"):
        mle.plot_ppc(est, idata)
    with pytest.raises(mle.ModelError, match="sample_posterior_predictive"):
        mle.plot_ppc(est, idata.drop_nodes("posterior_predictive"))
    short = idata.copy().assign(posterior_predictive=idata["posterior_predictive"].isel(row=slice(5)))
    with pytest.raises(mle.ModelError, match=r"count has the shape \(5,\)"):
        mle.plot_ppc(est, short, var_names="count")
    with pytest.raises(ValueError, match="'rug' not among"):
        mle.plot_ppc(est, idata, visuals={"rug": True})
    with pytest.raises(KeyError, match="place"):
        mle.plot_ppc(est, idata, var_names="count", n=5, coords={"place": 1})


@pytest.mark.parametrize("name", ["ppc", "residuals"])
def test_examples_in_docstrings(name):
    assert doctest.testmod(sys.modules[f"mle_pp.plots.{name}"]).failed == 0
