"""The signed roots hold the numbers of the profiles, whatever their sides are, on every backend."""

import doctest
import sys
import warnings

import numpy as np
import pymc as pm
import pytest

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
def at_limits():
    """A limit at an edge, two that the data do not determine, one at infinity."""
    with pm.Model() as model:
        p, a, b, rate = pm.Beta("p", 1, 1), pm.Normal("a"), pm.Normal("b"), pm.HalfNormal("rate")
        pm.Binomial("y", 20, p, observed=20)
        pm.Normal("z", a + b, 1, observed=[1.0, 2.0])
        pm.Bernoulli("w", rate / (1 + rate), observed=[1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mle.VerdictWarning)
        return mle.find_MLE(model)


def test_curves_limits_and_wald_lines(est):
    collection = mle.plot_profile(est, ["mu", "sigma", "exp(sigma)"], backend="matplotlib", ci_prob=0.8)
    found = mle.profile(est, ["mu[b]", "sigma", "exp(sigma)"], ci_prob=0.8)
    z = 1.2815515655446004
    for label, name, where in (("mu[b]", "mu", {"group": "b"}), ("sigma",) * 2 + ({},), ("exp(sigma)",) * 2 + ({},)):
        one = found[label]
        x, root = collection.viz["curve"][name].sel(curve="profile likelihood", **where).item().get_data()
        np.testing.assert_allclose(np.interp(one.psi, x, root), one.root, atol=2e-3)
        points = collection.viz["limits_found"][name].sel(where).item().get_offsets()
        np.testing.assert_allclose(points, [[one.lower, -z], [one.upper, z]], rtol=1e-6)
    x, root = collection.viz["curve"]["sigma"].sel(curve="Wald: a straight line").item().get_data()
    np.testing.assert_allclose(root, (x - float(est.params["sigma"])) / float(est.stderr()["sigma"]), atol=1e-9)
    # The delta method
    x, root = collection.viz["curve"]["exp(sigma)"].sel(curve="Wald: a straight line").item().get_data()
    sigma = float(est.params["sigma"])
    assert np.ptp(root) / np.ptp(x) == pytest.approx(1 / (np.exp(sigma) * float(est.stderr()["sigma"])))
    text = collection.viz["xlabel"]["sigma"].item().get_text()
    assert text == f"80 %: {found['sigma'].lower:.4g} to {found['sigma'].upper:.4g}"
    assert [t.get_text() for t in collection.get_viz("figure").legends[0].get_texts()] == [
        "profile likelihood", "Wald: a straight line",
    ]  # fmt: skip


def test_sides_that_are_no_crossings_are_shown_as_such(at_limits):
    with pytest.warns(mle.ProfileWarning, match="p: upper edge"):
        collection = mle.plot_profile(at_limits, backend="matplotlib")
    texts = {str(name): text.item().get_text() for name, text in collection.viz["xlabel"].data_vars.items()}
    assert texts["p"].endswith("to 1 (edge)")
    assert texts["rate"].endswith("to ∞")
    assert texts["a"] == texts["b"] == "89 %: withheld"
    edge = collection.viz["limits_edge"]["p"].item().get_offsets()
    np.testing.assert_allclose(edge.compressed(), [1.0, 0.0], atol=1e-5)
    x, root = collection.viz["curve"]["rate"].sel(curve="profile likelihood").item().get_data()
    # Likelihood (rate / (1 + rate))²: shown as far as it rises
    np.testing.assert_allclose(root, -np.sqrt(-4 * np.log(x / (1 + x))), atol=0.02)
    assert x[-1] < 100
    assert collection.viz["limits_infinite"]["rate"].item() is not None
    assert collection.viz["curve"]["a"].sel(curve="profile likelihood").item() is None


@pytest.mark.filterwarnings("ignore::mle_pp.ProfileWarning")
@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh", "none"])
def test_every_backend(at_limits, backend, tmp_path):
    collection = mle.plot_profile(at_limits, backend=backend)
    assert collection.backend == backend
    if backend != "none":
        path = tmp_path / ("figure.png" if backend == "matplotlib" else "figure.html")
        collection.savefig(path)
        assert path.stat().st_size > 10_000


def test_profiles_are_drawn_as_they_are(est):
    found = mle.profile(est, ci_prob=0.7)
    collection = mle.plot_profile(found, backend="none")
    assert list(collection.viz["curve"].data_vars) == ["mu[a]", "mu[b]", "sigma"]
    assert list(mle.plot_profile(found, "mu", coords={"group": "b"}, backend="none").viz["curve"]["group"]) == ["b"]
    with pytest.raises(ValueError, match=r"the profiles are those of 0\.7"):
        mle.plot_profile(found, ci_prob=0.8)
    with pytest.raises(KeyError, match="exp"):
        mle.plot_profile(found, "exp(sigma)")


def test_choice_of_scalars(est):
    for given, expected in (("~mu", ["sigma"]), (["sigma", "mu[a]"], ["sigma", "mu[a]"])):
        assert list(mle.plot_profile(est, given, backend="none").viz["curve"].data_vars) == expected
    like = mle.plot_profile(est, "sig", filter_vars="like", backend="none")
    assert list(like.viz["curve"].data_vars) == ["sigma"]


def test_options(est):
    look = {"cutoff": False, "curve": {"width": 3}}
    collection = mle.plot_profile(est, "sigma", backend="matplotlib", visuals=look, figure_kwargs={"figsize": (7, 5)})
    assert "lower_cutoff" not in collection.viz
    assert collection.viz["curve"]["sigma"].isel(curve=0).item().get_linewidth() == 3
    assert collection.get_viz("figure").get_size_inches() == pytest.approx([7, 5])
    again = mle.plot_profile(est, "sigma", plot_collection=collection, visuals={"legend": False})
    assert again is collection
    with pytest.raises(ValueError, match="'whiskers' not among"):
        mle.plot_profile(est, visuals={"whiskers": False})
    with pytest.raises(ValueError, match="'title' not among 'curve'"):
        mle.plot_profile(est, aes_by_visuals={"title": ["color"]})
    with pytest.raises(KeyError, match=r"coords: place not among the dims"):
        mle.plot_profile(est, coords={"place": "b"})


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning", "ignore::mle_pp.ProfileWarning")
def test_limits_without_a_curve_are_shown():
    with pm.Model() as model:
        pm.Uniform("y", 0, pm.HalfNormal("theta", 10), observed=[1.0, 2.0, 3.0, 4.5])
    collection = mle.plot_profile(mle.find_MLE(model), ci_prob=0.8, backend="matplotlib")
    limits = collection.viz["interval"]["theta"].item().get_xdata()
    # The largest observation, and where (4.5 / theta)⁴ = 0.2
    np.testing.assert_allclose(limits, [4.5, 4.5 * 0.2**-0.25], rtol=1e-6)
    assert collection.viz["curve"]["theta"].sel(curve="profile likelihood").item() is None


def test_posterior_modes_have_no_profile(est):
    with pytest.raises(ValueError, match="posterior mode"):
        mle.plot_profile(mle.find_MAP(est.model), backend="none")


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.plots.profile"]).failed == 0
