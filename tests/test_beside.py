"""The posterior beside the estimate, for two hierarchical models of lme4's documentation: one model object, two fits.

The estimates are R's (`tests.mixed`), the posterior's columns are recomputed from the draws of a real `pm.sample`.
"""

import warnings
from functools import cache

import arviz as az
import numpy as np
import pymc as pm
import pytest
from pytensor.compile.mode import Mode

import mle_pp as mle
from tests import mixed
from tests.mixed import CASES, build, reference

pytestmark = [
    pytest.mark.skipif(not mixed.HAS_CASES, reason="shared/cases/mixed is not beside the repository"),
    pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS:UserWarning"),
    # A short run on two chains; what is doubted of it is told, and tested elsewhere
    pytest.mark.filterwarnings("ignore:The (chains of the )?posterior (do not|has):UserWarning"),
]

NAMES = ["cbpp_laplace", "sleepstudy_slope_ml"]
LATENT = {"cbpp_laplace": "u_herd", "sleepstudy_slope_ml": "u"}
DRAWS = ["chain", "draw"]


@cache
def both(name):
    """Estimate and draws of one model object."""
    model = build(CASES[name], centered=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend running at least 4 chains")
        idata = pm.sample(
            1000,
            model=model,
            chains=2,
            cores=1,
            random_seed=3,
            target_accept=0.95,
            progressbar=False,
            compile_kwargs={"mode": Mode(linker="cvm", optimizer="fast_run")},
        )
        pm.sample_posterior_predictive(
            idata,
            model=model,
            extend_inferencedata=True,
            random_seed=3,
            progressbar=False,
            compile_kwargs={"mode": Mode(linker="py", optimizer="fast_compile")},
        )
    return mle.find_MLE(model), idata


@cache
def table(name):
    est, idata = both(name)
    return mle.compare(est, idata, var_names=list(est.params))


@pytest.mark.parametrize("name", NAMES)
def test_columns(name):
    est, idata = both(name)
    found, known = table(name), reference(name)
    labels = list(found.index)
    assert sorted(labels) == sorted(known.labels)
    order = [known.labels.index(label) for label in labels]
    np.testing.assert_allclose(found["mle"], known.estimate[order], rtol=1e-5)
    np.testing.assert_allclose(found["se"], known.stderr[order], rtol=1e-4)
    summary = az.summary(idata, var_names=list(est.params), ci_kind="eti", round_to="none").loc[labels]
    for column in ("mean", "sd", "mcse_mean", "eti89_lb", "eti89_ub"):
        np.testing.assert_allclose(found[column], summary[column], rtol=1e-6, err_msg=column)
    np.testing.assert_allclose(found["shift"], (summary["mean"] - found["mle"]) / found["se"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["prior_pull"] + found["asymmetry"], found["shift"], atol=1e-9)
    ends = ["wald89_lb", "wald89_ub", "eti89_lb", "eti89_ub"]
    low, high, lower, upper = (found[end] for end in ends)
    np.testing.assert_allclose(found["width_ratio"], (upper - lower) / (high - low), rtol=1e-9)
    common = np.minimum(high, upper) - np.maximum(low, lower)
    np.testing.assert_allclose(found["overlap"], common / (np.maximum(high, upper) - np.minimum(low, lower)), rtol=1e-9)


def test_the_scale_of_few_groups_is_skewed():
    """Under wide priors the coefficients hardly differ; the scale of fifteen herds has a long right tail."""
    found = table("cbpp_laplace")
    assert found["asymmetry"].idxmax() == "sd_herd"
    assert found.loc["sd_herd", "mean"] > found.loc["sd_herd", "mle"]
    assert found["shift"].drop("sd_herd").abs().max() < 0.3
    assert "asymmetric, its mean away from its mode, in sd_herd" in found.reading()


def test_a_narrow_prior_moves_a_scale():
    """A half-normal prior of scale 10 on a standard deviation of 24 milliseconds."""
    found = table("sleepstudy_slope_ml")
    assert found["prior_pull"].idxmin() == "sd_Subject"
    assert found.loc["sd_Subject", "mean"] < found.loc["sd_Subject", "mle"]
    assert "The prior moved sd_Subject" in found.reading()


@pytest.mark.parametrize("name", NAMES)
def test_modes_lie_among_the_draws(name):
    est, idata = both(name)
    found = mle.compare(est, idata, var_names=[LATENT[name]])
    draws = idata.posterior[LATENT[name]]
    assert len(found) == draws.isel(chain=0, draw=0).size
    np.testing.assert_allclose(found["mean"], draws.mean(DRAWS).values.ravel(), rtol=1e-6)
    np.testing.assert_allclose(found["mle"], est.latent[LATENT[name]].values.ravel(), rtol=1e-9)
    assert found["shift"].abs().max() < 1


@pytest.mark.parametrize("name", NAMES)
def test_figures_and_page(name, tmp_path):
    est, idata = both(name)
    some = list(est.params)[-2:]
    made = [
        mle.plot_forest(est, idata, var_names=list(est.params)),
        mle.plot_dist(est, idata, var_names=some),
        mle.plot_pair(est, idata, var_names=some, ci_probs=[0.5]),
        mle.plot_profile(est, some),
        mle.plot_shrinkage(est, idata),
        mle.plot_ppc(est, idata, n=100, random_seed=1),
        mle.plot_residuals(est, n=100, random_seed=1),
    ]
    for k, collection in enumerate(made):
        figure = collection.get_viz("figure")
        figure.savefig(tmp_path / f"{k}.png")
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert min(box.x0, box.y0) >= 0
            assert box.x1 <= figure.bbox.width
            assert box.y1 <= figure.bbox.height
    page = tmp_path / "page.html"
    mle.report(est, idata, page)
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in est.params)
