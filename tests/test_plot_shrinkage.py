"""Conditional modes beside the posterior of the same latent variables."""

import doctest
import sys

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.stats import norm

import mle_pp as mle

RNG = np.random.default_rng(20260112)
GROUPS = list("abcdefgh")
Y = RNG.normal(RNG.normal(3, 2, size=(8, 1)), 1.5, size=(8, 6))


@pytest.fixture(scope="module")
def est():
    with pm.Model(coords={"group": GROUPS}) as model:
        mu, tau = pm.Normal("mu", 0, 10), pm.HalfNormal("tau", 10)
        u = pm.Normal("u", mu, tau, dims="group")
        pm.Deterministic("twice", 2 * u, dims="group")
        pm.Normal("y", u[:, None], 1.5, observed=Y)
    return mle.find_MLE(model)


@pytest.fixture(scope="module")
def idata():
    u = RNG.normal(Y.mean(axis=1), 0.6, size=(2, 400, 8))
    draws = {"mu": RNG.normal(3, 1, size=(2, 400)), "tau": RNG.gamma(4, size=(2, 400)), "u": u, "twice": 2 * u}
    # The groups in another order than the model's
    draws = {name: values[..., ::-1] if values.ndim == 3 else values for name, values in draws.items()}
    dims = {"u": ["group"], "twice": ["group"]}
    return az.from_dict({"posterior": draws, "observed_data": {"y": Y}}, dims=dims, coords={"group": GROUPS[::-1]})


def test_modes_intervals_and_posterior(est, idata):
    collection = mle.plot_shrinkage(est, idata, "u", backend="matplotlib", ci_probs=(0.5, 0.8))
    mine, theirs = "MLE, conditional mode", "posterior, ETI"
    for k in (0, 5):
        where = {"group": GROUPS[k]}
        line = collection.viz["twig"]["u"].sel(model=mine, **where).item().get_xdata()
        mode, se = (float(est.latent[name].sel(where)) for name in ("u", "u_se"))
        np.testing.assert_allclose(line, norm.ppf([0.1, 0.9], mode, se))
        # A normal model: the mode is a weighted mean
        tau, mu = float(est.params["tau"]), float(est.params["mu"])
        weight = tau**2 / (tau**2 + 1.5**2 / 6)
        assert mode == pytest.approx(weight * Y[k].mean() + (1 - weight) * mu, rel=1e-6)
        draws = idata["posterior"]["u"].sel(where).values
        line = collection.viz["twig"]["u"].sel(model=theirs, **where).item().get_xdata()
        np.testing.assert_allclose(line, np.quantile(draws, [0.1, 0.9]), atol=0.02)
        point = collection.viz["point_estimate"]["u"].sel(model=theirs, **where).item().get_offsets()
        np.testing.assert_allclose(point[0, 0], draws.mean())


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh", "none"])
def test_every_backend(est, idata, backend, tmp_path):
    collection = mle.plot_shrinkage(est, idata, backend=backend, coords={"group": ["a", "h"]})
    assert sorted(map(str, collection.viz["point_estimate"].data_vars)) == ["twice", "u"]
    if backend != "none":
        path = tmp_path / ("figure.png" if backend == "matplotlib" else "figure.html")
        collection.savefig(path)
        assert path.stat().st_size > 10_000


def test_doubts_are_written_into_the_figure(est, idata):
    with pytest.warns(UserWarning, match="single chain"):
        collection = mle.plot_shrinkage(est, idata.isel(chain=[0]), backend="matplotlib")
    assert collection.get_viz("figure").get_supxlabel() == "Caution: the posterior has a single chain."


def test_refusals(est, idata):
    posterior = idata["posterior"].to_dataset()
    without = idata.copy().assign(posterior=xr.DataTree(posterior.drop_vars("u")))
    with pytest.raises(mle.ModelError, match="u is not in the posterior"):
        mle.plot_shrinkage(est, without, "u")
    renamed = idata.copy().assign(posterior=xr.DataTree(posterior.assign_coords(group=list("ABCDEFGH"))))
    with pytest.raises(mle.ModelError, match="u has other coordinates"):
        mle.plot_shrinkage(est, renamed)
    with pytest.raises(KeyError, match="place"):
        mle.plot_shrinkage(est, idata, coords={"place": "a"})
    with pytest.raises(ValueError, match="whiskers"):
        mle.plot_shrinkage(est, idata, visuals={"whiskers": True}, backend="none")
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("m"), 1, observed=[1.0, 2.0])
    with pytest.raises(mle.ModelError, match="Nothing was integrated"):
        mle.plot_shrinkage(mle.find_MLE(model), idata)


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.plots.shrinkage"]).failed == 0
