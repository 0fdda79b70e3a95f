"""An estimate to a DataTree and back, through netCDF and beside a posterior."""

import doctest
import json

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr

import mle_pp as mle
from mle_pp import datatree as module
from mle_pp.datatree import GROUPS
from models import GALLERY

RNG = np.random.default_rng(20260111)
X = RNG.normal(size=(30, 2))
Y = X @ [1.0, -2.0] + RNG.normal(size=30)


def regression(y=Y, x=X, covariates=("a", "b"), plain=False, noise="sigma", scale=1.0):
    with pm.Model(coords={"covariate": list(covariates)}) as model:
        design = x if plain else pm.Data("X", x, dims=("obs", "covariate"))
        beta, sigma = pm.Normal("beta", 0, 5, dims="covariate"), pm.HalfNormal(noise, 5)
        pm.Deterministic("precision", 1 / sigma**2)
        pm.Normal("y", scale * (design @ beta), sigma, observed=y)
    return model


def through_file(tree, path):
    tree.to_netcdf(path, engine="h5netcdf")
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        return opened.load()


def assert_same(one, other):
    for name in ("params", "derived"):
        xr.testing.assert_identical(getattr(one, name), getattr(other, name))
    for scale in ("constrained", "unconstrained"):
        xr.testing.assert_identical(one.cov(scale=scale), other.cov(scale=scale))
    xr.testing.assert_identical(one.stderr(), other.stderr())
    xr.testing.assert_identical(mle.interval(one), mle.interval(other))
    pd.testing.assert_frame_equal(one.starts, other.starts)
    assert one.verdict == other.verdict
    assert one.roles == other.roles
    for name in ("n_obs", "n_params", "kind"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("loglik", "aic", "aicc", "bic"):
        np.testing.assert_equal(getattr(one, name), getattr(other, name))
    assert repr(one) == repr(other)


def not_identified():
    with pm.Model() as model:
        a, b, p = pm.Normal("a"), pm.Normal("b"), pm.Beta("p", 1, 1)
        pm.Deterministic("total", a + b)
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0])
        pm.Bernoulli("z", p, observed=[0, 0])
    return model


def unbounded():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), pm.HalfNormal("sigma"), observed=[2.0])
    return model


CASES = {
    "regression": (regression, {}),
    "fixed": (regression, {"fix": {"sigma": 2.0}}),
    "penalized": (regression, {"keep_priors": ["beta"]}),
    "withheld": (not_identified, {}),
    "no estimate": (unbounded, {"on_failure": "return"}),
    "simplex, ordered": (GALLERY["normal_mixture"].build, {}),
}


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
@pytest.mark.parametrize("case", CASES)
def test_round_trip(case, tmp_path):
    build, options = CASES[case]
    est = mle.find_MLE(build(), **options)
    tree = through_file(est.to_datatree(), tmp_path / "estimate.nc")
    assert_same(est, mle.from_datatree(tree, build()))


@pytest.fixture(scope="module")
def est():
    return mle.find_MLE(regression())


@pytest.fixture(scope="module")
def tree(est):
    return est.to_datatree()


def test_groups_hold_what_they_say(est, tree):
    assert tuple(tree.children) == GROUPS
    xr.testing.assert_equal(tree["mle"].to_dataset(), est.params.merge(est.derived))
    inner = tree["unconstrained_mle"]
    assert float(inner["sigma_log__"]) == pytest.approx(np.log(float(est.params["sigma"])), rel=1e-12)
    fit = tree["mle_fit"]
    assert fit.attrs["status"] == "CONVERGED"
    assert fit.attrs["kind"] == "mle"
    assert "pymc" in json.loads(fit.attrs["versions"])
    assert float(fit["aic"]) == est.aic
    np.testing.assert_allclose(np.sqrt(np.diag(fit["covariance"])), fit["se"], rtol=1e-12)
    assert list(fit["parameter"].values) == ["beta[a]", "beta[b]", "sigma"]
    result = tree["mle_optimizer_result"]
    assert result.sizes["start"] == len(est.starts)
    np.testing.assert_allclose(result["gradient"], 0, atol=1e-6)


def test_beside_a_posterior(est, tree, tmp_path):
    idata = az.from_dict({"posterior": {"mu": RNG.normal(size=(2, 100))}})
    before = az.summary(idata)
    idata.update(tree.children)
    pd.testing.assert_frame_equal(pd.DataFrame(az.summary(idata)), pd.DataFrame(before))
    assert_same(est, mle.from_datatree(through_file(idata, tmp_path / "both.nc"), regression()))


def test_long_findings_fit_into_a_file(est, tmp_path):
    finding = mle.Finding("test", ("beta[a]",), "x" * 100_000, {"array": np.arange(2.0), "number": np.float64(1)})
    long = module.to_datatree(_with_finding(est, finding))
    [found] = mle.from_datatree(through_file(long, tmp_path / "long.nc"), regression()).verdict.findings
    assert found.message == finding.message
    assert found.evidence == {"array": [0.0, 1.0], "number": 1.0}


def _with_finding(est, finding):
    from dataclasses import replace

    return replace(est, verdict=mle.Verdict(mle.Status.CONVERGED, (finding,)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: regression(y=Y + 1e-12), "y is not what it was"),
        (lambda: regression(x=X[::-1]), "X is not what it was"),
        (lambda: regression(y=Y[:20], x=X[:20]), r"shape \(20,\), then \(30,\)"),
        (lambda: regression(plain=True), "X is not among the data of the model"),
        (lambda: regression(noise="tau"), "sigma is not a free variable of the model"),
        (lambda: regression(covariates=("a", "c")), r"beta has the coordinates \(a, b\) along covariate"),
        (lambda: regression(scale=2.0), "log-likelihood at the estimate is"),
    ],
    ids=["value", "rows", "length", "container", "variable", "coordinate", "formula"],
)
def test_another_model_is_refused(tree, model, message):
    with pytest.raises(mle.ModelError, match=message):
        mle.from_datatree(tree, model())


def test_another_plain_array_is_refused():
    tree = mle.find_MLE(regression(plain=True)).to_datatree()
    with pytest.raises(mle.ModelError, match=r"array that is not in a pm\.Data"):
        mle.from_datatree(tree, regression(x=X[::-1], plain=True))


def test_a_tree_without_an_estimate_is_refused():
    with pytest.raises(mle.ModelError, match="no group mle, unconstrained_mle"):
        mle.from_datatree(xr.DataTree(), regression())


def test_model_of_the_context(est, tree):
    with regression():
        assert_same(est, mle.from_datatree(tree))


def test_examples_in_docstrings():
    assert doctest.testmod(module).failed == 0
