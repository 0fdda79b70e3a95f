"""The figures hold the numbers of the tables, on every backend."""

import doctest
import sys

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.stats import lognorm, norm

import mle_pp as mle
from mle_pp.plots.dist import _Curves, normalized
from mle_pp.plots.sides import both_sides

RNG = np.random.default_rng(20260112)
Y = RNG.normal([3.0, -1.0], 2.0, size=(40, 2))
DIMS, SHAPE = [("chain", "draw", "y_dim_0", "y_dim_1")], (2, 300, 40, 2)
MLE, PROFILE, POSTERIOR = "MLE, Wald interval", "MLE, profile likelihood", "posterior, ETI"


def build(y=Y):
    with pm.Model(coords={"group": ["a", "b"]}) as model:
        mu, sigma = pm.Normal("mu", 0, 5, dims="group"), pm.HalfNormal("sigma", 5)
        pm.Normal("y", mu, sigma, observed=y)
    return model


def sampled(est, y=Y, shape=(2, 300)):
    draws = {name: value.values + RNG.normal(0, 0.2, size=(*shape, *value.shape)) for name, value in est.params.items()}
    coords, dims = {"group": ["a", "b"]}, {"mu": ["group"]}
    return az.from_dict({"posterior": draws, "observed_data": {"y": y}}, coords=coords, dims=dims)


@pytest.fixture(scope="module")
def est():
    return mle.find_MLE(build())


@pytest.fixture(scope="module")
def idata(est):
    return sampled(est)


def ends(collection, visual, name, model, **where):
    """Where a line of a figure begins and ends."""
    line = collection.viz[visual][name].sel(model=model, **where).item()
    return line.get_xdata()[[0, -1]]


def test_forest_shows_the_intervals_of_the_table(est, idata):
    collection = mle.plot_forest(est, idata, backend="matplotlib", ci_probs=(0.4, 0.8))
    table = mle.compare(est, idata, ci_prob=0.8)
    where = {"mu[b]": ("mu", {"group": "b"}), "sigma": ("sigma", {})}
    for label, (name, chosen) in where.items():
        row = table.loc[label]
        np.testing.assert_allclose(
            ends(collection, "twig", name, MLE, **chosen), row[["wald80_lb", "wald80_ub"]].astype(float)
        )
        np.testing.assert_allclose(
            ends(collection, "twig", name, POSTERIOR, **chosen), row[["eti80_lb", "eti80_ub"]].astype(float)
        )
        for model, value in ((MLE, row["mle"]), (POSTERIOR, row["mean"])):
            point = collection.viz["point_estimate"][name].sel(model=model, **chosen).item()
            np.testing.assert_allclose(point.get_offsets()[0, 0], value)
    inner = mle.interval(est, "sigma", ci_prob=0.4)["sigma"]
    np.testing.assert_allclose(ends(collection, "trunk", "sigma", MLE), inner)


def test_forest_tells_the_two_apart(est, idata):
    collection = mle.plot_forest(est, idata, backend="matplotlib")
    lines = {model: collection.viz["twig"]["sigma"].sel(model=model).item() for model in (MLE, POSTERIOR)}
    assert lines[MLE].get_color() != lines[POSTERIOR].get_color()
    # The estimate above the posterior
    assert lines[MLE].get_ydata()[0] > lines[POSTERIOR].get_ydata()[0]
    [legend] = collection.get_viz("figure").legends
    assert [text.get_text() for text in legend.get_texts()] == [MLE, POSTERIOR]


def test_distribution_shows_the_intervals_of_the_table(est, idata):
    collection = mle.plot_dist(est, idata, backend="matplotlib", ci_prob=0.8, ci_kind="hdi", kind="wald")
    row = mle.compare(est, idata, ci_prob=0.8, ci_kind="hdi").loc["sigma"]
    for model, kind in ((MLE, "wald"), ("posterior, HDI", "hdi")):
        found = ends(collection, "credible_interval", "sigma", model)
        np.testing.assert_allclose(found, row[[f"{kind}80_lb", f"{kind}80_ub"]].astype(float))
    assert [t.get_text() for t in collection.get_viz("figure").legends[0].get_texts()] == [MLE, "posterior, HDI"]


def test_curve_of_the_estimate_belongs_to_the_wald_intervals(est, idata):
    density = _Curves(both_sides(est, idata, None, None, None, "eti"), "wald", None).density.sel(model=MLE)
    se = est.stderr()
    x, y = density["mu"].sel(group="a")
    np.testing.assert_allclose(y, norm.pdf(x, est.params["mu"][0], se["mu"][0]), rtol=1e-3, atol=1e-6)
    x, y = density["sigma"]
    sigma = float(est.params["sigma"])
    exact = lognorm.pdf(x, float(se["sigma"]) / sigma, scale=sigma)
    np.testing.assert_allclose(y, exact, rtol=1e-2, atol=1e-4)


def with_prior(idata):
    draws = {"mu": RNG.normal(0, 5, size=(1, 400, 2)), "sigma": np.abs(RNG.standard_cauchy(size=(1, 400)))}
    coords, dims = {"group": ["a", "b"]}, {"mu": ["group"]}
    return idata.copy().assign(az.from_dict({"prior": draws}, coords=coords, dims=dims).children)


def test_distribution_shows_the_profile_likelihood_and_its_interval(est, idata):
    collection = mle.plot_dist(est, idata, backend="matplotlib", ci_prob=0.8)
    found = mle.profile(est, ci_prob=0.8, points=0)
    line = collection.viz["dist"]["sigma"].sel(model=PROFILE).item()
    x, y = line.get_data()
    # Normal data with unknown means: the profile likelihood of sigma has a closed form
    n, peak = Y.size, float(est.params["sigma"])
    exact = np.exp(-n * np.log(x / peak) - n / 2 * (peak**2 / x**2 - 1))
    np.testing.assert_allclose(y, exact / np.trapezoid(exact, x), rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(
        ends(collection, "credible_interval", "sigma", PROFILE), [found["sigma"].lower, found["sigma"].upper]
    )


def test_the_prior_is_shown_where_the_others_are(est, idata):
    collection = mle.plot_dist(est, with_prior(idata), backend="matplotlib")
    assert [t.get_text() for t in collection.get_viz("figure").legends[0].get_texts()] == [PROFILE, POSTERIOR, "prior"]
    lines = {model: collection.viz["dist"]["sigma"].sel(model=model).item() for model in (PROFILE, POSTERIOR, "prior")}
    x, y = lines["prior"].get_data()
    others = np.concatenate([lines[model].get_xdata() for model in (PROFILE, POSTERIOR)])
    np.testing.assert_allclose([x.min(), x.max()], [others.min(), others.max()])
    # A half-Cauchy density, from 400 draws
    np.testing.assert_allclose(np.trapezoid(np.nan_to_num(y), x), 2 / np.pi * np.ptp(np.arctan(x)), atol=0.06)
    assert collection.viz["credible_interval"]["sigma"].sel(model="prior").item() is None


def test_the_prior_ends_where_its_draws_do(est, idata):
    tree = with_prior(idata)
    draws = RNG.beta(2, 2, size=400) * 1.8
    tree["prior"]["sigma"] = tree["prior"]["sigma"].copy(data=draws[None])
    line = mle.plot_dist(est, tree, backend="matplotlib").viz["dist"]["sigma"].sel(model="prior").item()
    x, y = line.get_data()
    assert x.max() > 2.2
    np.testing.assert_array_equal(np.isnan(y), (x < draws[draws >= x.min()].min()) | (x > draws.max()))


def test_a_prior_of_some_variables_is_shown_for_these(est, idata):
    tree = with_prior(idata)
    tree["prior"] = xr.DataTree(tree["prior"].to_dataset()[["sigma"]])
    lines = mle.plot_dist(est, tree, backend="matplotlib").viz["dist"]
    assert lines["sigma"].sel(model="prior").item() is not None
    assert all(line is None for line in lines["mu"].sel(model="prior").values)


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
def test_numbers_and_figures_of_ones_own(est, idata, backend):
    collection = mle.plot_forest(est, idata, backend=backend)
    assert mle.plot_forest(est, idata, plot_collection=collection) is collection
    shifted = both_sides(est, idata, None, None, None, None).point + 1
    moved = mle.plot_forest(est, idata, backend="matplotlib", stats={"point_estimate": shifted})
    x = moved.viz["point_estimate"]["sigma"].sel(model=MLE).item().get_offsets()[0, 0]
    assert x == pytest.approx(float(est.params["sigma"]) + 1)


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
def test_densities_over_densities(est, idata, backend):
    """The heights of the intervals are those of the figure drawn last."""
    collection = mle.plot_dist(est, idata, backend=backend, kind="wald")
    before = collection.viz["credible_interval"]["sigma"].sel(model=POSTERIOR).item()
    assert mle.plot_dist(est, idata, plot_collection=collection, kind="wald") is collection
    after = collection.viz["credible_interval"]["sigma"].sel(model=POSTERIOR).item()
    assert after is not before
    if backend == "matplotlib":
        np.testing.assert_allclose(after.get_ydata(), before.get_ydata())


@pytest.mark.filterwarnings("ignore:The posterior has fewer:UserWarning")
@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist, mle.plot_pair])
def test_doubts_about_the_posterior_are_told(est, plot):
    """Chains that stay apart, as `compare` tells them; of the variables drawn only."""
    idata = sampled(est)
    idata["posterior"]["mu"][0] += 5
    with pytest.warns(UserWarning, match="do not agree") as told:
        plot(est, idata, backend="none", var_names="mu")
    with pytest.warns(UserWarning, match="do not agree") as compared:
        mle.compare(est, idata, var_names="mu")
    assert {str(w.message) for w in told} == {str(w.message) for w in compared}
    assert {w.filename for w in told} == {__file__}
    if plot is not mle.plot_pair:
        plot(est, idata, var_names="sigma", backend="none")


def written(collection):
    """The line below (or above) the panels, read from the figure itself."""
    figure = collection.get_viz("figure")
    if collection.backend == "matplotlib":
        return figure.get_supxlabel()
    if collection.backend == "plotly":
        # Titles of panels are annotations, too
        return "".join(one.text for one in figure.layout.annotations if "Caution" in one.text)
    return next((child.text for child in figure.children if type(child).__name__ == "Div"), "")


@pytest.mark.filterwarnings("ignore:The chains of the posterior:UserWarning", "ignore:.* of 600 trans:UserWarning")
@pytest.mark.filterwarnings("ignore:The posterior has fewer:UserWarning", "ignore:idata does not hold:UserWarning")
@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist, mle.plot_pair, mle.plot_ppc])
def test_doubts_about_the_posterior_are_written_into_the_figure(est, plot, backend, tmp_path):
    idata = sampled(est)
    idata["posterior_predictive"] = xr.DataTree.from_dict({"/": xr.Dataset({"y": (*DIMS, RNG.normal(size=SHAPE))})})
    options = {"backend": backend, **({"n": 20} if plot is mle.plot_ppc else {"coords": {"group": ["b"]}})}
    assert written(plot(est, idata, **options)) == ""
    idata["posterior"]["sigma"][0] += 5
    idata["sample_stats"] = xr.DataTree(
        xr.Dataset({"diverging": (("chain", "draw"), np.arange(600).reshape(2, -1) < 3)})
    )
    worst = float(az.rhat(idata["posterior"].to_dataset(), var_names="sigma")["sigma"])
    collection = plot(est, idata, **options)
    assert written(collection) == (
        f"Caution: the posterior has an r-hat of {worst:.3g}, 3 divergences and few effective draws."
    )
    collection.savefig(tmp_path / f"figure.{'png' if backend == 'matplotlib' else 'html'}")
    assert written(plot(est, idata, visuals={"caution": False}, **options)) == ""
    again = {"plot_matrix" if plot is mle.plot_pair else "plot_collection": collection}
    assert written(plot(est, idata, **again, **options)).count("Caution") == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_else_is_written(est):
    """A single chain, data that are not there to be checked, and a verdict that is not regular."""
    alone = sampled(est, shape=(1, 600)).drop_nodes("observed_data")
    told = written(mle.plot_forest(est, alone, backend="matplotlib", visuals={"caution": {"color": "red"}}))
    assert told == "Caution: the posterior has a single chain; not all data could be checked."
    with pm.Model() as model:
        pm.Binomial("y", 20, pm.Beta("p", 1, 1), observed=20)
    edge = mle.find_MLE(model)
    draws = {"posterior": {"p": RNG.beta(21, 1, size=(2, 400))}, "observed_data": {"y": np.array(20)}}
    told = written(mle.plot_dist(edge, az.from_dict(draws), backend="matplotlib"))
    assert told == f"Caution: the MLE is {edge.verdict.status}."


def test_a_side_that_never_falls_ends_where_the_posterior_does():
    with pm.Model() as model:
        pm.Binomial("y", 20, pm.Beta("p", 1, 1), observed=20)
    with pytest.warns(mle.VerdictWarning):
        est = mle.find_MLE(model)
    one = mle.profile(est, "p", ci_prob=0.99)["p"]
    x, y = normalized(one, 0.7, 1.0)
    assert x[-1] == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(y / y[-1], x**20, rtol=1e-3)


def test_forest_with_two_kinds_of_intervals(est, idata):
    collection = mle.plot_forest(est, idata, backend="matplotlib", kind=["wald", "profile"], ci_probs=(0.4, 0.8))
    profile = mle.interval(est, "sigma", kind="profile", ci_prob=0.8)["sigma"]
    np.testing.assert_allclose(ends(collection, "twig", "sigma", "MLE, profile interval"), profile)
    assert len(collection.get_viz("figure").legends[0].get_texts()) == 3
    with pytest.raises(ValueError, match="kind='exact' is not one of"):
        mle.plot_forest(est, idata, kind="exact")


@pytest.mark.filterwarnings("ignore:The posterior has:UserWarning")
@pytest.mark.parametrize("shape", [(1, 57), (4, 300), (2, 3)])
@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist])
def test_no_number_of_draws_loses_an_interval(est, plot, shape):
    collection = plot(est, with_prior(sampled(est, shape=shape)), backend="matplotlib")
    visual = "twig" if plot is mle.plot_forest else "credible_interval"
    for array in collection.viz[visual].data_vars.values():
        for model in set(array["model"].values) - {"prior"}:
            assert all(line is not None for line in array.sel(model=model).values.ravel())


@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist])
def test_unknown_visuals_are_refused(est, idata, plot):
    with pytest.raises(ValueError, match="whiskers"):
        plot(est, idata, visuals={"whiskers": False}, backend="none")


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh", "none"])
@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist])
def test_every_backend(est, idata, plot, backend, tmp_path):
    collection = plot(est, idata, backend=backend)
    assert collection.backend == backend
    if backend != "none":
        path = tmp_path / ("figure.png" if backend == "matplotlib" else "figure.html")
        collection.savefig(path)
        assert path.stat().st_size > 10_000


@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist])
def test_choice_of_variables_and_coordinates(est, idata, plot):
    collection = plot(est, idata, backend="none", var_names="mu", coords={"group": ["b"]})
    shown = collection.viz["point_estimate"]
    assert list(shown.data_vars) == ["mu"]
    assert list(shown["group"].values) == ["b"]
    with pytest.raises(KeyError, match=r"coords: place not among the dims \(group\)"):
        plot(est, idata, coords={"place": ["b"]})


@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist])
def test_options_reach_arviz(est, idata, plot):
    collection = plot(est, idata, backend="matplotlib", color=["C3", "C4"], figure_kwargs={"figsize": (7, 5)})
    figure = collection.get_viz("figure")
    assert figure.get_size_inches() == pytest.approx([7, 5])


@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist])
def test_a_posterior_of_other_data_is_refused(est, plot):
    with pytest.raises(mle.ModelError, match="y differs in 80 of 80 values"):
        plot(est, sampled(est, y=Y + 1))


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning", "ignore::mle_pp.ProfileWarning")
@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
@pytest.mark.parametrize("plot", [mle.plot_forest, mle.plot_dist])
def test_withheld_and_infinite_scalars_are_left_out(plot, backend, tmp_path):
    with pm.Model() as model:
        a, b, rate = pm.Normal("a"), pm.Normal("b"), pm.HalfNormal("rate")
        p = pm.Deterministic("p", a + b)
        pm.Normal("y", p, 1, observed=[1.0, 2.0])
        pm.Bernoulli("z", rate / (1 + rate), observed=[1, 1])
    est = mle.find_MLE(model)
    draws = {name: RNG.gamma(2, size=(2, 400)) for name in ("a", "b", "rate", "p")}
    idata = az.from_dict({"posterior": draws, "observed_data": {"y": np.array([1.0, 2.0]), "z": np.ones(2)}})
    collection = plot(est, idata, backend=backend)
    collection.savefig(tmp_path / f"figure.{'png' if backend == 'matplotlib' else 'html'}")
    visual = "twig" if plot is mle.plot_forest else "credible_interval"
    mine = MLE if plot is mle.plot_forest else PROFILE
    # A profile interval exists at a limit, too
    for name, has_interval in {"a": False, "rate": plot is mle.plot_dist, "p": True}.items():
        lines = collection.viz[visual][name]
        assert (lines.sel(model=mine).item() is not None) == has_interval
        assert lines.sel(model=POSTERIOR).item() is not None


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_what_is_no_estimate_is_not_drawn(tmp_path):
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", shape=2), pm.HalfNormal("sigma", shape=2)
        pm.NormalMixture("y", w=[0.5, 0.5], mu=mu, sigma=sigma, observed=[0.0, 1.0])
    est = mle.find_MLE(model, on_failure="return")
    assert est.verdict.status is mle.Status.UNBOUNDED
    draws = {name: RNG.gamma(2, size=(2, 50, 2)) for name in ("mu", "sigma")}
    idata = az.from_dict({"posterior": draws, "observed_data": {"y": np.array([0.0, 1.0])}})
    for plot in (mle.plot_forest, mle.plot_dist, mle.plot_pair, mle.plot_ppc, mle.plot_shrinkage):
        with pytest.raises(ValueError, match=r"no estimate to draw.*UNBOUNDED"):
            plot(est, idata, backend="none")
    with pytest.raises(ValueError, match=r"no estimate to draw.*UNBOUNDED"):
        mle.plot_residuals(est, backend="none")
    with pytest.raises(ValueError, match="UNBOUNDED"):
        mle.plot_profile(est, backend="none")
    page = mle.report(est, idata, tmp_path / "fit.html").read_text(encoding="utf-8")
    assert page.count("Not drawn") == 5
    assert page.count("data:image/png") == 1


@pytest.mark.parametrize("name", ["forest", "dist"])
def test_examples_in_docstrings(name):
    assert doctest.testmod(sys.modules[f"mle_pp.plots.{name}"]).failed == 0
