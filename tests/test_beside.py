"""Maximum likelihood and a real posterior of one hierarchical model, declared once: table, figures and page.

cbpp, with the exact Laplace fit of `../shared/cases/mixed` as the judge of the estimate and plain NumPy as that of the
draws.
"""

import warnings

import numpy as np
import pymc as pm
import pytest
from pytensor.compile.mode import Mode

import mle_pp as mle
from models import GALLERY
from tests import mixed
from tests.mixed import reference

pytestmark = [
    pytest.mark.skipif(not mixed.FOLDER.exists(), reason="the reference fits are not here"),
    # A short run on two chains; what is doubted of it is told, and tested elsewhere
    pytest.mark.filterwarnings("ignore:The (chains of the )?posterior (do not|has):UserWarning"),
]
NAMES = ["intercept", "beta", "tau"]


@pytest.fixture(scope="module")
def both():
    model = GALLERY["binomial_random_intercepts"].build()
    with model, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend running at least 4 chains")
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        quick = {"random_seed": 1, "progressbar": False}
        mode = Mode(linker="cvm", optimizer="fast_run")
        idata = pm.sample(1000, chains=2, cores=1, compile_kwargs={"mode": mode}, **quick)
        mode = Mode(linker="py", optimizer="fast_compile")
        pm.sample_posterior_predictive(idata, extend_inferencedata=True, compile_kwargs={"mode": mode}, **quick)
    return mle.find_MLE(model), idata


def test_columns(both):
    est, idata = both
    table, known = mle.compare(est, idata, ci_prob=0.9), reference("cbpp_laplace")
    rows = table.iloc[:5]
    np.testing.assert_allclose(rows["mle"], known.estimate, rtol=1e-5)
    np.testing.assert_allclose(rows["se"], known.stderr, rtol=1e-4)
    draws = np.concatenate([idata["posterior"][name].values.reshape(2000, -1) for name in NAMES], axis=1)
    np.testing.assert_allclose(rows["mean"], draws.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(rows["sd"], draws.std(axis=0, ddof=1), rtol=1e-10)
    np.testing.assert_allclose(rows["shift"], (draws.mean(axis=0) - known.estimate) / known.stderr, atol=2e-3)
    ends = np.quantile(draws, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(rows[["eti90_lb", "eti90_ub"]].to_numpy().T, ends, atol=2e-3)
    effects = idata["posterior"]["effect"].values.reshape(2000, -1)
    np.testing.assert_allclose(table["mean"].iloc[5:], effects.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(table["mle"].iloc[5:], est.latent["effect"], rtol=1e-10)
    assert "asymmetric, its mean away from its mode, in tau" in table.reading()


@pytest.mark.parametrize(
    "draw",
    [
        lambda est, idata: mle.plot_forest(est, idata, var_names=NAMES, backend="matplotlib"),
        lambda est, idata: mle.plot_dist(est, idata, var_names="tau", kind="wald", backend="matplotlib"),
        lambda est, idata: mle.plot_profile(est, "tau", backend="matplotlib"),
        lambda est, idata: mle.plot_pair(
            est, idata, var_names=["intercept", "tau"], visuals={"region": False}, backend="matplotlib"
        ),
        lambda est, idata: mle.plot_shrinkage(est, idata, backend="matplotlib"),
        lambda est, idata: mle.plot_ppc(est, idata, random_seed=1, backend="matplotlib"),
        lambda est, idata: mle.plot_residuals(est, random_seed=1, backend="matplotlib"),
    ],
    ids=["forest", "dist", "profile", "pair", "shrinkage", "ppc", "residuals"],
)
def test_figures(both, draw, tmp_path):
    """Nothing written lies outside the figure."""
    figure = draw(*both).get_viz("figure")
    figure.savefig(tmp_path / "figure.png")
    width, height = figure.bbox.size
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
