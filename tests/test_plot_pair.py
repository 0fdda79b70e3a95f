"""The matrix of pairs holds the regions, ellipses and profiles of its scalars, on every backend."""

import doctest
import sys
import warnings

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.stats import chi2

import mle_pp as mle

RNG = np.random.default_rng(20260112)
Y = RNG.normal([3.0, -1.0], 2.0, size=(10, 2))


@pytest.fixture(scope="module")
def est():
    with pm.Model(coords={"group": ["a", "b"]}) as model:
        mu, sigma = pm.Normal("mu", 0, 5, dims="group"), pm.HalfNormal("sigma", 5)
        pm.Normal("y", mu, sigma, observed=Y)
    return mle.find_MLE(model)


@pytest.fixture(scope="module")
def idata(est):
    draws = {
        name: value.values + RNG.normal(0, 0.2, size=(2, 1500, *value.shape)) for name, value in est.params.items()
    }
    return az.from_dict(
        {"posterior": draws, "observed_data": {"y": Y}}, coords={"group": ["a", "b"]}, dims={"mu": ["group"]}
    )


@pytest.fixture(scope="module")
def drawn(est, idata):
    return mle.plot_pair(est, idata, coords={"group": ["b"]}, backend="matplotlib", ci_probs=(0.6, 0.9))


def panel(matrix, visual):
    """What is drawn of mu[b] against sigma."""
    return matrix.viz[visual].isel(row_index=1, col_index=0).item()


def test_regions_and_ellipses_are_those_of_the_numbers(est, drawn):
    x, y = panel(drawn, "region_0.9").get_data()
    n, ss = Y.size, ((Y - Y.mean(axis=0)) ** 2).sum()
    mu, sigma = float(est.params["mu"][1]), float(est.params["sigma"])

    def loglik(m, s):
        return -n * np.log(s) - (ss + len(Y) * (m - mu) ** 2) / (2 * s**2)

    np.testing.assert_allclose(2 * (loglik(mu, sigma) - loglik(x, y)), chi2(2).ppf(0.9), rtol=1e-4)
    x, y = panel(drawn, "ellipse_0.6").get_data()
    se = est.stderr()
    distance = ((x - mu) / float(se["mu"][1])) ** 2 + ((y - sigma) / float(se["sigma"])) ** 2
    np.testing.assert_allclose(distance, chi2(2).ppf(0.6), rtol=1e-6)
    np.testing.assert_allclose(panel(drawn, "estimate").get_offsets()[0], [mu, sigma])


def test_draws_densities_and_names(est, idata, drawn):
    points = panel(drawn, "scatter").get_offsets()
    assert len(points) == 1500  # every second of 3000
    assert drawn.viz["scatter"].isel(row_index=0, col_index=1).item() is None
    x, y = drawn.viz["profile"].isel(row_index=1, col_index=1).item().get_data()
    assert np.trapezoid(y, x) == pytest.approx(1)
    assert x[np.argmax(y)] == pytest.approx(float(est.params["sigma"]), abs=0.02)
    assert [text.get_text() for text in drawn.get_viz("figure").legends[0].get_texts()] == [
        "posterior", "likelihood", "MLE, Wald",
    ]  # fmt: skip
    names = [drawn.viz["plot"].isel(row_index=k, col_index=0).item().get_ylabel() for k in (0, 1)]
    assert names == ["density", "sigma"]


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh", "none"])
def test_every_backend(est, idata, backend, tmp_path):
    matrix = mle.plot_pair(est, idata, coords={"group": ["a"]}, backend=backend, ci_probs=(0.5,))
    assert matrix.backend == backend
    if backend != "none":
        path = tmp_path / ("figure.png" if backend == "matplotlib" else "figure.html")
        matrix.savefig(path)
        assert path.stat().st_size > 10_000


def test_pairs_without_a_region_are_told():
    with pm.Model() as model:
        p, a, b = pm.Beta("p", 1, 1), pm.Normal("a"), pm.Normal("b")
        total = pm.Deterministic("total", a + b)
        pm.Binomial("y", 20, p, observed=20)
        pm.Normal("z", total, 1, observed=[1.0, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mle.VerdictWarning)
        est = mle.find_MLE(model)
    draws = {name: RNG.beta(20, 1, size=(2, 400)) for name in ("p", "a", "b", "total")}
    idata = az.from_dict({"posterior": draws, "observed_data": {"y": np.array(20), "z": np.array([1.0, 2.0])}})
    with pytest.warns(mle.ProfileWarning, match=r"p has no region: its estimate is at a limit"):
        matrix = mle.plot_pair(est, idata, var_names=["p", "total"], backend="matplotlib")
    assert panel(matrix, "region_0.95") is None
    assert panel(matrix, "ellipse_0.95") is None
    assert matrix.viz["profile"].isel(row_index=0, col_index=0).item() is not None


def test_posterior_modes_have_ellipses_only(est, idata):
    mode = mle.find_MAP(est.model)
    matrix = mle.plot_pair(mode, idata, coords={"group": ["a"]}, backend="matplotlib")
    texts = [text.get_text() for text in matrix.get_viz("figure").legends[0].get_texts()]
    assert texts == ["posterior", "MAP, Wald"]
    assert "profile" not in matrix.viz


def test_options(est, idata):
    look = {"region": False, "profile": False, "ellipse": {"width": 3}}
    matrix = mle.plot_pair(est, idata, coords={"group": ["a"]}, backend="matplotlib", visuals=look)
    assert "region_0.5" not in matrix.viz
    assert panel(matrix, "ellipse_0.5").get_linewidth() == 3
    with pytest.raises(ValueError, match="'contour' not among"):
        mle.plot_pair(est, idata, visuals={"contour": True})
    with pytest.raises(ValueError, match="A pair needs two scalars, and sigma is chosen"):
        mle.plot_pair(est, idata, var_names="sigma")


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
def test_draws_follow_aesthetics(est, idata, backend, tmp_path):
    """The chains in colors of their own, as in ArviZ's figure, and the legend of the sides all the same."""
    given = {"aes": {"color": ["chain"]}, "color": ["#000000", "#ff0000"], "backend": backend}
    given |= {"coords": {"group": ["a"]}, "visuals": {"region": False, "profile": False}}
    both = mle.plot_pair(est, idata, **given)
    both.savefig(tmp_path / f"figure.{'png' if backend == 'matplotlib' else 'html'}")
    assert both.viz["scatter"].sizes["chain"] == both.viz["dist"].sizes["chain"] == 2
    only = mle.plot_pair(est, idata, aes_by_visuals={"scatter": ["color"], "dist": []}, **given)
    assert only.viz["scatter"].sizes["chain"] == 2
    assert "chain" not in only.viz["dist"].sizes
    if backend == "matplotlib":
        # ArviZ keeps the last artist of each panel only
        drawn = both.viz["plot"].isel(row_index=1, col_index=0).item().collections
        for chain, color in enumerate(([0, 0, 0], [1, 0, 0])):
            dots = drawn[chain]
            np.testing.assert_allclose(dots.get_facecolor()[0, :3], color)
            mine = idata["posterior"]["sigma"].isel(chain=chain, draw=slice(None, None, 2))
            np.testing.assert_allclose(dots.get_offsets()[:, 1], mine)
        texts = [text.get_text() for text in both.get_viz("figure").legends[0].get_texts()]
        assert texts == ["posterior", "likelihood", "MLE, Wald"]
    with pytest.raises(ValueError, match="aes_by_visuals: 'rug' not among 'scatter', 'dist'"):
        mle.plot_pair(est, idata, aes_by_visuals={"rug": ["color"]})


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
def test_densities_of_ones_own(est, idata, backend):
    given = {"coords": {"group": ["a"]}, "backend": backend, "visuals": {"region": False}}
    x = np.linspace(0, 5, 11)
    axis = {"plot_axis": ["x", "y"]}
    own = xr.Dataset(
        {
            "mu": (("group", "plot_axis", "kde_dim"), np.stack([x, x**2])[None]),
            "sigma": (("plot_axis", "kde_dim"), np.stack([x, x + 1])),
        },
        {**axis, "group": ["a"]},
    )
    matrix = mle.plot_pair(est, idata, stats={"dist": own, "profile": own}, **given)
    rough = mle.plot_pair(est, idata, stats={"dist": {"grid_len": 120}}, **given)
    if backend == "matplotlib":
        for visual in ("dist", "profile"):
            line = matrix.viz[visual].isel(row_index=1, col_index=1).item()
            np.testing.assert_allclose(line.get_data(), [x, x + 1])
        assert len(rough.viz["dist"].isel(row_index=1, col_index=1).item().get_xdata()) == 120
    with pytest.raises(ValueError, match="stats: 'kde' not among 'dist', 'profile'"):
        mle.plot_pair(est, idata, stats={"kde": {}})


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.plots.pair"]).failed == 0
