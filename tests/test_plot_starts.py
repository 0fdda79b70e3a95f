"""The waterfall holds the numbers of `Estimate.starts`, whatever became of them, on every backend."""

import doctest
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from arviz_plots import PlotCollection

import mle_pp as mle
from mle_pp.optimize import Stop
from mle_pp.plots.starts import symlog, waterfall

Y = [-12.0, -4.0, -3.8, 0.2, 7.0, 7.3, 15.0]


@pytest.fixture(scope="module")
def est():
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("y", mu, 2, observed=Y)
    return mle.find_MLE(model)


def with_starts(est, ends, status=None):
    """The estimate as if its starts had ended so: (optimum, height over the estimate, stop)."""
    best = est._optimum.value
    rows = [{"optimum": k, "value": best + gain, "stop": str(stop)} for k, gain, stop in ends]
    verdict = est.verdict if status is None else mle.Verdict(status)
    return replace(est, starts=pd.DataFrame(rows, index=pd.RangeIndex(len(rows), name="start")), verdict=verdict)


DONE = Stop.SMALL_DECREMENT
MIXED = [
    (4, -500.0, DONE),
    (1, 0.0, DONE),
    (0, 1e4, DONE),
    (5, -np.inf, Stop.NOT_FINITE),
    (3, -20.0, Stop.FAR),
    (2, -0.001, DONE),
    (1, -1e-9, DONE),
    (6, np.nan, DONE),
]


def drawn(collection, label):
    """Rank and height of the markers of a group, on matplotlib."""
    return np.asarray(collection.viz["starts"]["value"].sel(optimum=label).item().get_offsets())


def test_every_start_is_where_it_belongs(est):
    fall = waterfall(with_starts(est, MIXED))
    assert fall.labels == [
        "optimum 1, the estimate: 2 of 8 starts",
        "optimum 2, 0.001 below: 1 of 8 starts",
        "optimum 4, 500 below: 1 of 8 starts",
        "ran away to no maximum, not to scale: 2 of 8 starts",
        "not finite: 2 of 8 starts",
    ]
    # The best first, what ran away before it, what has no value last
    assert fall.group.tolist() == [3, 3, 0, 0, 1, 2, 4, 4]
    np.testing.assert_allclose(fall.below[2:6], [0, -1e-9, -0.001, -500], atol=1e-10)
    # A marker is some hundredths of the axis high: both optima are seen, and apart
    lower, upper = fall.ylim
    assert np.ptp(fall.height[[2, 4]]) > 0.08 * (upper - lower)
    assert np.ptp(fall.height[[4, 5]]) > 0.08 * (upper - lower)
    assert np.all((fall.height > lower) & (fall.height < upper))
    assert np.all(fall.height[:2] > 0)
    assert np.all(fall.height[6:] < fall.height[5])


def test_scale():
    x = -np.array([0, 0.005, 0.01, 0.1, 1000])
    np.testing.assert_allclose(symlog(x, 0.01), [0, -0.5, -1, -2, -6])


@pytest.mark.parametrize("gap", [1e-7, 0.3, 7.0, 1e6])
def test_ticks(est, gap):
    fall = waterfall(with_starts(est, [(0, 0.0, DONE), (1, -gap, DONE), (2, -1e6, DONE)]))
    positions, labels = list(fall.ticks), [float(label.replace("−", "-")) for label in fall.ticks.values()]
    assert 3 <= len(labels) <= 7
    np.testing.assert_allclose(symlog(np.array(labels), fall.threshold), positions)
    assert positions[-1] >= -fall.depth


def test_figure_holds_the_numbers(est):
    collection = mle.plot_starts(with_starts(est, MIXED), backend="matplotlib")
    fall = waterfall(with_starts(est, MIXED))
    for k, label in enumerate(fall.labels):
        np.testing.assert_allclose(drawn(collection, label)[:, 0], np.flatnonzero(fall.group == k) + 1)
        np.testing.assert_allclose(drawn(collection, label)[:, 1], fall.height[fall.group == k])
    axes = collection.iget_target(0, 0)
    assert axes.get_xlabel() == "starts, best first"
    assert axes.get_ylabel() == "log-likelihood\nrelative to the estimate"
    [legend] = collection.get_viz("figure").legends
    assert [text.get_text() for text in legend.get_texts()] == fall.labels
    assert len({handle.get_marker() for handle in legend.legend_handles}) == 4


@pytest.mark.parametrize("number", [1, 3])
def test_few_starts(est, number):
    fall = waterfall(with_starts(est, [(0, 0.0, DONE)] * number))
    assert fall.labels == [f"optimum 0, the estimate: {'the only start' if number == 1 else 'all 3 starts'}"]
    assert list(fall.ticks.values()) == ["0", "−1"]
    assert fall.ranks == list(range(1, number + 1))


def test_many_optima_share_one_color(est):
    ends = [(k, -float(k), DONE) for k in range(40)]
    fall = waterfall(with_starts(est, ends))
    assert len(set(fall.colors)) == len(fall.labels) == 7
    assert fall.labels[-1] == "34 further optima: 34 of 40 starts"
    assert len(fall.ranks) <= 12


def test_without_a_maximum(est):
    status = mle.Status.UNBOUNDED
    ends = [(0, 0.0, DONE), (0, 0.0, Stop.FAR), (1, -3.0, DONE), (2, -5.0, DONE)]
    fall = waterfall(with_starts(est, ends, status))
    assert fall.title == "UNBOUNDED: no maximum found"
    assert fall.labels[-1] == "ran away to no maximum, not to scale: 2 of 4 starts"
    np.testing.assert_array_equal(fall.below, [np.inf, np.inf, 0, -2])
    fall = waterfall(with_starts(est, ends[:2], status))
    assert (fall.what, fall.ticks) == ("log-likelihood", {})
    fall = waterfall(with_starts(est, [(0, 0.0, DONE), (1, -3.0, DONE)], mle.Status.SADDLE))
    assert fall.labels == ["end 0, no maximum: 1 of 2 starts", "end 1, 3 below: 1 of 2 starts"]


def test_estimate_at_infinity_did_not_run_away(est):
    fall = waterfall(with_starts(est, [(0, -1e-9, Stop.FAR), (0, 0.0, DONE)], mle.Status.AT_INFINITY))
    assert fall.labels == ["optimum 0, the estimate: all 2 starts"]


def test_penalized_and_stored_fits():
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", 0, 1), pm.HalfNormal("sigma", 20)
        pm.Normal("y", mu, sigma, observed=Y)
    for est, what in (
        (mle.find_MAP(model), "log-density"),
        (mle.find_MLE(model, keep_priors=["mu"]), "penalized log-likelihood"),
        (mle.from_datatree(mle.find_MLE(model).to_datatree(), model), "log-likelihood"),
    ):
        fall = waterfall(est)
        assert fall.labels == ["optimum 0, the estimate: all 3 starts"]
        assert fall.what == f"{what}\nrelative to the estimate"
        np.testing.assert_allclose(fall.below, 0, atol=1e-8)


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh", "none"])
@pytest.mark.parametrize("ends", [MIXED, MIXED[1:2], MIXED[2:5]])
def test_every_backend(est, backend, ends, tmp_path):
    collection = mle.plot_starts(with_starts(est, ends), backend=backend)
    assert collection.backend == backend
    if backend != "none":
        path = tmp_path / ("figure.png" if backend == "matplotlib" else "figure.html")
        collection.savefig(path)
        assert path.stat().st_size > 5_000


def test_options(est):
    options = {"starts": {"size": 12}, "line": False, "legend": False, "ylabel": {"text": "height"}}
    collection = mle.plot_starts(
        with_starts(est, MIXED),
        backend="matplotlib",
        visuals=options,
        figure_kwargs={"figsize": (700, 500), "figsize_units": "dots"},
    )
    figure = collection.get_viz("figure")
    assert figure.get_size_inches() * figure.dpi == pytest.approx([700, 500])
    assert not figure.legends
    assert "line" not in collection.viz
    assert collection.iget_target(0, 0).get_ylabel() == "height"
    assert collection.viz["starts"]["value"].values[0].get_sizes() == [12]
    with pytest.raises(ValueError, match="visuals: 'points' not among 'starts', 'line'"):
        mle.plot_starts(est, visuals={"points": False})


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
def test_on_a_figure_that_exists(est, backend):
    mine = PlotCollection.wrap(est.params, backend=backend)
    collection = mle.plot_starts(with_starts(est, MIXED), plot_collection=mine)
    assert collection is mine
    assert collection.viz["starts"].sizes["optimum"] == 5
    assert collection.aes["color"]["mapping"].values[0] == "#0072B2"


def test_legend_of_plotly_hides_starts(est):
    collection = mle.plot_starts(with_starts(est, MIXED), backend="plotly")
    label = "optimum 2, 0.001 below: 1 of 8 starts"
    traces = [trace for trace in collection.get_viz("figure").data if trace.legendgroup == label]
    assert [trace.mode for trace in traces] == ["markers", "lines"]
    assert [trace.showlegend for trace in traces] == [False, True]


def test_example_in_the_docstring():
    assert doctest.testmod(sys.modules["mle_pp.plots.starts"]).failed == 0


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
@pytest.mark.parametrize("plot", [mle.plot_starts, mle.plot_profile, mle.plot_residuals])
def test_figures_are_drawn_over(est, plot, backend):
    collection = plot(est, backend=backend)
    assert plot(est, plot_collection=collection) is collection
