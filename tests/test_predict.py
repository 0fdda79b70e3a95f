"""Predictions against statsmodels, draws against their laws, and a model that stays as it was."""

import doctest
import sys

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy.stats import binom, chi2, kstest, norm, poisson

import mle_pp as mle
from mle_pp import backends
from mle_pp.objective import ModelObjective
from mle_pp.predictive import retargeted, simulator
from mle_pp.supports import graph_bounds

RNG = np.random.default_rng(20260415)
N = 60
X1, X2 = RNG.normal(size=(2, N))
NEW = {"x1": np.array([0.0, 1.5, -3.0, 8.0]), "x2": np.array([0.5, -0.5, 2.0, 1.0])}
DESIGN = np.column_stack([np.ones(N), X1, X2])
NEW_DESIGN = np.column_stack([np.ones(4), NEW["x1"], NEW["x2"]])
ETA = DESIGN @ [0.3, 0.4, -0.2]
RESPONSE = {
    "normal": ETA + RNG.normal(0, 0.7, N),
    "poisson": RNG.poisson(np.exp(ETA)),
    "bernoulli": RNG.binomial(1, 1 / (1 + np.exp(-ETA))),
}
PEERS = {"normal": sm.families.Gaussian(), "poisson": sm.families.Poisson(), "bernoulli": sm.families.Binomial()}


def regression(family, data=True):
    """A regression on two covariates in `pm.Data`, or in plain arrays."""
    with pm.Model() as model:
        x1, x2 = (pm.Data(n, v, dims="row") if data else v for n, v in (("x1", X1), ("x2", X2)))
        eta = pm.Normal("a") + pm.Normal("b1") * x1 + pm.Normal("b2") * x2
        dims = {"dims": "row"} if data else {}
        if family == "normal":
            mean = pm.Deterministic("mean", eta, **dims)
            pm.Normal("y", mean, pm.HalfNormal("sigma"), observed=RESPONSE[family], **dims)
        elif family == "poisson":
            mean = pm.Deterministic("mean", pm.math.exp(eta), **dims)
            pm.Poisson("y", mean, observed=RESPONSE[family], **dims)
        else:
            mean = pm.Deterministic("mean", pm.math.invlogit(eta), **dims)
            pm.Bernoulli("y", logit_p=eta, observed=RESPONSE[family], **dims)
    return model


@pytest.fixture(scope="module")
def fits():
    return {family: mle.find_MLE(regression(family)) for family in RESPONSE}


# -- confidence intervals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["fit", "new"])
@pytest.mark.parametrize("family", RESPONSE)
def test_means_against_statsmodels(fits, family, where):
    """GLM.get_prediction: the mean, its standard error by the delta method, and its interval through the link."""
    est = fits[family]
    model = sm.GLM(RESPONSE[family], DESIGN, family=PEERS[family])
    scale = float(est.params["sigma"]) ** 2 if family == "normal" else None
    peer = model.fit(tol=1e-14, maxiter=100, scale=scale)
    frame = peer.get_prediction(DESIGN if where == "fit" else NEW_DESIGN).summary_frame(alpha=0.1)
    found = mle.predict(est, newdata=None if where == "fit" else NEW, ci_prob=0.9)
    for name in ("mean", "y"):
        assert found.value[name].dims == ("row",)
        np.testing.assert_allclose(found.value[name], frame["mean"], rtol=1e-6)
        np.testing.assert_allclose(found.se[name], frame["mean_se"], rtol=1e-6)
        np.testing.assert_allclose(found.interval[name], frame[["mean_ci_lower", "mean_ci_upper"]], rtol=1e-6)


def test_at_the_data_of_the_fit_values_are_those_of_the_estimate(fits):
    est = fits["poisson"]
    found = mle.predict(est, "mean")
    xr.testing.assert_allclose(found.value["mean"].drop_vars("row"), est.derived["mean"].drop_vars("row"))
    xr.testing.assert_allclose(found.se["mean"].drop_vars("row"), est.stderr()["mean"].drop_vars("row"))
    np.testing.assert_allclose(found.interval["mean"], mle.interval(est, "mean")["mean"], rtol=1e-9)
    assert list(found.value) == ["mean"]
    assert found.ci_prob == 0.89


def test_intervals_stay_inside_bounds():
    """Of a probability and a count far out, a share, a bounded curve; the closed forms are the links'."""
    dose = np.array([0.1, 0.5, 1.0, 3.0, 10.0, 30.0])
    with pm.Model() as model:
        x = pm.Data("x", dose, dims="row")
        low, span, ec50 = pm.HalfNormal("low", 5), pm.HalfNormal("span", 50), pm.HalfNormal("ec50", 5)
        pm.Deterministic("share", x / (x + ec50), dims="row")
        curve = pm.Deterministic("curve", low + span * x / (x + ec50), dims="row")
        pm.Deterministic("difference", span - low)
        pm.Normal("y", curve, 1.0, observed=2 + 20 * dose / (dose + 2) + RNG.normal(size=6), dims="row")
    est = mle.find_MLE(model)
    found = mle.predict(est, newdata={"x": [0.001, 2.0, 1e4]}, ci_prob=0.99)
    value, error, z = found.value, found.se, norm.ppf(0.995)
    share, se = value["share"].values, error["share"].values
    logit = np.log(share / (1 - share))[:, None] + z * np.outer(se / (share * (1 - share)), [-1, 1])
    np.testing.assert_allclose(found.interval["share"], 1 / (1 + np.exp(-logit)), rtol=1e-9)
    log = np.log(value["curve"].values)[:, None] + z * np.outer(error["curve"] / value["curve"], [-1, 1])
    np.testing.assert_allclose(found.interval["curve"], np.exp(log), rtol=1e-9)
    plain = float(value["difference"]) + z * float(error["difference"]) * np.array([-1, 1])
    np.testing.assert_allclose(found.interval["difference"], plain, rtol=1e-9)


BOUNDS = {
    "exp": (lambda x: pt.exp(x[0]), 0, np.inf),
    "negative": (lambda x: 3 - pt.exp(x[0]), -np.inf, 3),
    "hazard": (lambda x: 1 - pt.exp(-pt.exp(x[0]) * np.array([1.0, 2.0])), 0, 1),
    "logistic": (lambda x: pt.exp(x[0]) / (1 + pt.exp(x[0])), 0, 1),
    "reciprocal": (lambda x: 1 / (1 + pt.exp(-x[0])), 0, 1),
    "probit": (lambda x: 0.5 * pt.erfc(-x[0]), 0, 1),
    "scaled": (lambda x: 2 + 3 * pt.sigmoid(x[0] - x[1]), 2, 5),
    "square": (lambda x: (x[0] - x[1]) ** 2, 0, np.inf),
    "hill": (lambda x: 2.0 ** pt.exp(x[0]) / (2.0 ** pt.exp(x[0]) + pt.exp(x[1]) ** pt.exp(x[0])), 0, 1),
    "difference": (lambda x: pt.sigmoid(x[0]) - pt.sigmoid(x[1]), -1, 1),
    "not a share": (lambda x: pt.exp(x[0]) / (pt.exp(x[0]) + x[1]), -np.inf, np.inf),
    "linear": (lambda x: x[0] - 2 * x[1], -np.inf, np.inf),
    "softmax": (lambda x: pt.special.softmax(x), 0, 1),
    "total": (lambda x: pt.exp(x).sum(), 0, np.inf),
    "maximum": (lambda x: pt.maximum(x[0], 1.0), 1, np.inf),
    "log": (lambda x: pt.log(2 + pt.exp(x[0])), np.log(2), np.inf),
    "joined": (lambda x: pt.concatenate([pt.exp(x), 1 / pt.exp(x)]), 0, np.inf),
    "constant": (lambda x: pt.as_tensor(4.0) + 0 * x[0], 4, 4),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_of_a_graph(name):
    make, lower, upper = BOUNDS[name]
    x = pt.vector("x", dtype="float64")
    with backends.without_c_compiler():
        [graph] = backends.simplify([pt.as_tensor(make(x))])
        found = graph_bounds([graph], x)[0]
        value, *ends = backends.build([x], [graph, *found])(np.array([0.4, -0.3]))
    np.testing.assert_allclose(ends[0], np.full_like(value, lower))
    np.testing.assert_allclose(ends[1], np.full_like(value, upper))


# -- profile and bootstrap ---------------------------------------------------------------------------------------


def test_profiles_of_a_linear_model_with_known_sigma_are_wald_intervals():
    with pm.Model() as model:
        x1, x2 = pm.Data("x1", X1, dims="row"), pm.Data("x2", X2, dims="row")
        pm.Deterministic("fixed", pt.as_tensor(2.0) + 0 * x1, dims="row")
        pm.Normal("y", pm.Normal("a") + pm.Normal("b") * x1 + pm.Normal("c") * x2, 0.7, observed=RESPONSE["normal"],
                  dims="row")  # fmt: skip
    est = mle.find_MLE(model)
    wald, found = (mle.predict(est, newdata=NEW, ci_prob=0.95, kind=kind) for kind in ("wald", "profile"))
    np.testing.assert_allclose(found.interval["y"], wald.interval["y"], rtol=1e-8)
    np.testing.assert_array_equal(found.interval["fixed"], np.full((4, 2), 2.0))
    assert found.kind == "profile"
    assert "(profile)" in repr(found)


def test_the_profile_of_a_probability_is_that_of_the_model_with_it_as_parameter(fits):
    """logit P(y = 1 | x1, x2) = a + b1 x1 + b2 x2 = logit p + b1 (x1 − 1.5) + b2 (x2 + 0.5)."""
    with pm.Model() as model:
        p = pm.Beta("p", 1, 1)
        slopes = pm.Normal("b1") * (X1 - 1.5) + pm.Normal("b2") * (X2 + 0.5)
        pm.Bernoulli("y", logit_p=pm.math.logit(p) + slopes, observed=RESPONSE["bernoulli"])
    peer = mle.interval(mle.find_MLE(model), "p", kind="profile", ci_prob=0.9)["p"]
    found = mle.predict(fits["bernoulli"], newdata=NEW, kind="profile", ci_prob=0.9)
    for name in ("mean", "y"):
        np.testing.assert_allclose(found.interval[name][1], peer, rtol=1e-7)
    wald = mle.predict(fits["bernoulli"], newdata=NEW, ci_prob=0.9)
    assert np.all(np.abs(found.interval["mean"][1] - wald.interval["mean"][1]) > 1e-3)
    xr.testing.assert_identical(found.se, wald.se)


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_profiles_at_a_limit():
    """Ten successes in ten: 10 log p has fallen by half the χ² quantile at exp(−χ²/20)."""
    with pm.Model() as model:
        pm.Binomial("y", 10, pm.math.invlogit(pm.Normal("a")), observed=10)
    est = mle.find_MLE(model)
    assert np.isnan(mle.predict(est).interval["y"]).all()
    with pytest.warns(mle.ProfileWarning, match="y: upper edge"):
        found = mle.predict(est, kind="profile", ci_prob=0.95)
    np.testing.assert_allclose(found.interval["y"], [10 * np.exp(-chi2(1).ppf(0.95) / 20), 10], rtol=1e-8)


def test_bootstrap_intervals_are_quantiles_of_refitted_predictions(fits):
    est = fits["poisson"]
    boot = mle.bootstrap(est, n=99, kind="rows", random_seed=1, progressbar=False)
    found = mle.predict(est, newdata=NEW, kind="bootstrap", bootstrap=boot, ci_prob=0.9)
    coefficients = np.stack([boot.draws[name].values[0] for name in ("a", "b1", "b2")])
    means = np.exp(NEW_DESIGN @ coefficients)
    for name in ("mean", "y"):
        # With (n + 1) p as the rank, as in Bootstrap.interval
        np.testing.assert_allclose(
            found.interval[name], np.quantile(means, [0.05, 0.95], axis=1, method="weibull").T, rtol=1e-12
        )
        np.testing.assert_allclose(found.se[name], means.std(axis=1, ddof=1), rtol=1e-12)
    at_fit = mle.predict(est, "mean", kind="bootstrap", bootstrap=boot, ci_prob=0.9)
    np.testing.assert_allclose(at_fit.interval["mean"], boot.interval("mean", ci_prob=0.9)["mean"], rtol=1e-12)
    made = {"n": 99, "kind": "rows", "random_seed": 1, "progressbar": False}
    again = mle.predict(est, newdata=NEW, kind="bootstrap", bootstrap=made, ci_prob=0.9)
    xr.testing.assert_identical(again.interval, found.interval)


def test_prediction_intervals_from_refits(fits):
    """Observations drawn at the refits, beside draws of NumPy's with the same means."""
    est = fits["poisson"]
    boot = mle.bootstrap(est, n=200, random_seed=1, progressbar=False)
    options = {"interval": "prediction", "ci_prob": 0.8, "n": 20000, "random_seed": 2}
    found = mle.predict(est, newdata=NEW, kind="bootstrap", bootstrap=boot, **options)
    coefficients = np.stack([boot.draws[name].values[0] for name in ("a", "b1", "b2")])
    drawn = RNG.poisson(np.exp(NEW_DESIGN @ np.tile(coefficients, 500)))
    for k, (lower, upper) in enumerate(found.interval["y"].values):
        # The smallest counts that reach the probabilities, give or take the Monte Carlo error
        for end, prob in ((lower, 0.1), (upper, 0.9)):
            assert np.mean(drawn[k] <= end) >= prob - 0.012
            assert np.mean(drawn[k] < end) <= prob + 0.012


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_refits_at_limits_are_told(fits):
    with pm.Model() as model:
        p = pm.Deterministic("p", pm.math.invlogit(pm.Normal("a")))
        pm.Binomial("y", 4, p, observed=3)
    est = mle.find_MLE(model)
    boot = mle.bootstrap(est, n=99, random_seed=1, progressbar=False)
    found = mle.predict(est, "p", kind="bootstrap", bootstrap=boot)
    special = int((boot.status["status"] != "CONVERGED").sum())
    assert special > 10
    assert f"{special} refits are no regular maxima" in found.notes[0]
    np.testing.assert_allclose(found.interval["p"], boot.interval("p")["p"], atol=1e-6)


def test_options_that_do_not_go_together(fits):
    est = fits["poisson"]
    for options, message in (
        ({"kind": "sandwich"}, "kind='sandwich' is not one of 'wald', 'profile', 'bootstrap'"),
        ({"kind": "profile", "cov": "sandwich"}, 'cov= and groups= are for kind="wald"'),
        ({"kind": "profile", "interval": "prediction"}, "A new observation has no profile likelihood"),
        ({"bootstrap": {"n": 10}}, 'bootstrap= is for kind="bootstrap"'),
    ):
        with pytest.raises(ValueError, match=message):
            mle.predict(est, **options)
    robust = mle.predict(est, "mean", cov="sandwich").se["mean"]
    np.testing.assert_allclose(robust, est.stderr("sandwich")["mean"], rtol=1e-9)


# -- prediction intervals -----------------------------------------------------------------------------------------


def test_normal_prediction_intervals_against_statsmodels(fits):
    est = fits["normal"]
    fit = sm.OLS(RESPONSE["normal"], DESIGN)
    peer = fit.fit(cov_type="fixed scale", cov_kwds={"scale": float(est.params["sigma"]) ** 2}, use_t=False)
    frame = peer.get_prediction(NEW_DESIGN).summary_frame(alpha=0.05)
    found = mle.predict(est, newdata=NEW, ci_prob=0.95, interval="prediction")
    assert list(found.value) == ["y"]
    np.testing.assert_allclose(found.interval["y"], frame[["obs_ci_lower", "obs_ci_upper"]], rtol=1e-6)


def test_simulated_prediction_intervals_are_wider_than_the_law_at_the_estimate():
    """One Poisson mean from few rows: the predictive law is a mixture over a log-normal mean, to be had exactly."""
    y = np.array([4])
    with pm.Model() as model:
        pm.Poisson("y", pm.HalfNormal("mean", 10), observed=y)
    est = mle.find_MLE(model)
    found = mle.predict(est, "y", interval="prediction", ci_prob=0.9, n=4000, random_seed=3).interval["y"].values
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    means = 4 * np.exp(points / np.sqrt(4))
    law = (poisson.cdf(np.arange(40)[:, None], means) * weights).sum(axis=1) / weights.sum()
    for row in found:
        for end, prob in zip(row, (0.05, 0.95), strict=True):
            # The smallest count that reaches the probability, give or take the Monte Carlo error
            error = 4 * np.sqrt(prob * (1 - prob) / 4000)
            assert law[int(end)] >= prob - error
            assert end == 0 or law[int(end) - 1] <= prob + error
    assert found[0, 1] > poisson.ppf(0.95, 4)


def test_a_variable_without_a_formula_for_its_mean():
    y = np.abs(RNG.normal(1.0, 1.0, 40))
    with pm.Model() as model:
        pm.Censored("y", pm.Normal.dist(pm.Normal("mu"), 1.0), lower=0.0, upper=None, observed=y)
    est = mle.find_MLE(model)
    with pytest.raises(mle.ModelError, match=r'no formula for the mean of y. Ask for interval="prediction"'):
        mle.predict(est, "y")
    assert mle.predict(est).notes == ("PyMC has no formula for the mean of y: left out.",)
    found = mle.predict(est, interval="prediction", ci_prob=0.9, random_seed=1)
    assert "its value is that of y simulated" in found.notes[0]
    assert np.all(found.interval["y"] >= 0)
    assert np.isnan(found.se["y"]).all()


# -- new data -----------------------------------------------------------------------------------------------------


def test_frames_and_labels(fits):
    frame = pd.DataFrame({**NEW, "other": list("abcd")}, index=[10, 20, 30, 40])
    found = mle.predict(fits["poisson"], "mean", frame)
    assert list(found.value["row"].values) == [10, 20, 30, 40]
    named = mle.predict(fits["poisson"], "mean", NEW, coords={"row": list("pqrs")})
    np.testing.assert_array_equal(found.value["mean"], named.value["mean"])
    assert named.to_frame().index.tolist() == ["mean[p]", "mean[q]", "mean[r]", "mean[s]"]
    data = xr.Dataset({n: ("row", v) for n, v in NEW.items()}, coords={"row": list("pqrs")})
    pd.testing.assert_frame_equal(named.to_frame(), mle.predict(fits["poisson"], "mean", data).to_frame())
    assert list(named.to_frame().columns) == ["value", "se", "confidence89_lb", "confidence89_ub"]
    assert mle.predict(fits["poisson"], "y", NEW).to_frame().index[0] == "E(y[0])"
    assert mle.predict(fits["poisson"], "y", NEW, interval="prediction", n=9).to_frame().index[0] == "y[0]"
    assert "mean[q]" in repr(named)
    assert "mean[q]" in named._repr_html_()


def groups_model():
    """Group means, with the group of each row in a container, and a dim with coords whose length is data, too."""
    with pm.Model(coords={"group": ["a", "b"], "row": np.arange(6)}) as model:
        group = pm.Data("group_of", np.array([0, 0, 0, 1, 1, 1]), dims="row")
        mean = pm.Normal("mean", 0, 10, dims="group")
        pm.Deterministic("fitted", mean[group], dims="row")
        pm.Normal("y", mean[group], 1, observed=np.array([1.0, 2.0, 3.0, 5.0, 6.0, 7.0]), dims="row")
    return model


def test_rows_of_groups():
    est = mle.find_MLE(groups_model())
    found = mle.predict(est, newdata={"group_of": [1, 0]})
    np.testing.assert_allclose(found.value["fitted"], [6, 2], rtol=1e-9)
    np.testing.assert_allclose(found.value["y"], [6, 2], rtol=1e-9)
    assert mle.simulate(est, 3, newdata={"group_of": [1, 0]})["y"].shape == (1, 3, 2)
    with pytest.raises(mle.ModelError, match=r"newdata \(group_of\): index 2 is out .*an index must be one of a group"):
        mle.predict(est, newdata={"group_of": [2]})
    with pytest.raises(mle.ModelError, match=r"group_of holds whole numbers in the model, but 0.5 here"):
        mle.predict(est, newdata={"group_of": [0.5]})


def test_observations_in_a_container_need_no_new_ones():
    """The length of the dim is that of the observations here, and new rows have none."""
    with pm.Model() as model:
        y = pm.Data("y_data", np.array([1.0, 2.0, 4.0]), dims="row")
        x = pm.Data("x", np.array([0.0, 1.0, 2.0]), dims="row")
        pm.Normal("y", pm.Normal("b") * x, 1.0, observed=y, dims="row")
    est = mle.find_MLE(model)
    np.testing.assert_allclose(mle.predict(est, newdata={"x": [5.0]}).value["y"], [10.0], rtol=1e-9)
    assert mle.simulate(est, newdata={"x": [5.0]})["y"].shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("newdata", "message"),
    [
        ({"x1": [1.0], "X2": [2.0]}, r"X2 is no pm.Data of the model \(x1, x2\). Did you mean x2\?"),
        ({"x1": [1.0, 2.0], "x2": [1.0]}, "x1 has 2 values along row, but x2 has 1"),
        ({"x1": [1.0, 2.0]}, "newdata has x1, but not x2, which has the dim row, too"),
        ({"x1": X1}, "newdata has x1, but not x2"),
        ({"x1": [1.0, np.nan], "x2": [1.0, 2.0]}, r"x1 has 1 values that are NaN or infinite, first in row 1"),
        ({"x1": [1.0, np.inf], "x2": [1.0, 2.0]}, r"x1 has 1 values that are NaN or infinite"),
        ({"x1": ["a"], "x2": [1.0]}, "x1 holds values that are no numbers"),
        ({"x1": 1.0, "x2": 2.0}, "x1 has 0 dimensions, but 1 in the model"),
        (pd.DataFrame({"z": [1.0]}), r"No column of newdata \(z\) is a pm.Data of the model, which has x1, x2"),
        ([1.0, 2.0], "newdata is a mapping of names to arrays"),
    ],
)
def test_bad_new_data(fits, newdata, message):
    for call in (mle.predict, mle.simulate):
        with pytest.raises(mle.ModelError, match=message):
            call(fits["poisson"], newdata=newdata)


def test_bad_arguments(fits):
    est = fits["poisson"]
    with pytest.raises(mle.ModelError, match="coords has 2 values of row, newdata 4"):
        mle.predict(est, newdata=NEW, coords={"row": [1, 2]})
    with pytest.raises(mle.ModelError, match="coords: obs is no dim of newdata"):
        mle.predict(est, newdata=NEW, coords={"obs": [1, 2]})
    with pytest.raises(mle.ModelError, match="coords label new data"):
        mle.predict(est, coords={"row": [1, 2]})
    with pytest.raises(KeyError, match=r"mu not among the variables \(mean, y\)"):
        mle.predict(est, "mu")
    with pytest.raises(ValueError, match="ci_prob=95"):
        mle.predict(est, ci_prob=95)
    with pytest.raises(ValueError, match="interval='tolerance'"):
        mle.predict(est, interval="tolerance")
    with pytest.raises(ValueError, match="n=0 is not a whole number ≥ 1"):
        mle.simulate(est, 0)
    with pytest.raises(mle.ModelError, match=r'has no pm.Data, .* Declare .* pm.Data\("x", x, dims="row"\)'):
        mle.predict(mle.find_MLE(regression("poisson", data=False)), newdata=NEW)


def test_plain_arrays_beside_containers_are_named():
    with pm.Model() as model:
        x1 = pm.Data("x1", X1, dims="row")
        pm.Poisson(
            "y", pm.math.exp(pm.Normal("a") + pm.Normal("b") * x1 + X2), observed=RESPONSE["poisson"], dims="row"
        )
    est = mle.find_MLE(model)
    for call in (mle.predict, mle.simulate):
        with pytest.raises(mle.ModelError, match=r"newdata \(x1\): .*Arrays that are not in a pm.Data keep the length"):
            call(est, newdata={"x1": [1.0, 2.0]})


def test_containers_without_dims_that_belong_together_are_named():
    with pm.Model() as model:
        eta = pm.Normal("a") + pm.Normal("b") * pm.Data("x1", X1) + pm.Normal("c") * pm.Data("x2", X2)
        pm.Poisson("y", pm.math.exp(eta), observed=RESPONSE["poisson"])
    est = mle.find_MLE(model)
    for call in (mle.predict, mle.simulate):
        with pytest.raises(mle.ModelError, match=r"newdata \(x1\): the lengths .* Give the same rows of x2, too"):
            call(est, newdata={"x1": [1.0, 2.0]})
    with pytest.raises(mle.ModelError, match=r"newdata \(x1, x2\): .* and so do observed variables without dims="):
        mle.predict(est, newdata=NEW)


def test_the_model_stays_as_it_was(fits):
    est = fits["poisson"]
    model = est.model
    before = {v.name: (v, v.get_value().copy()) for v in model.data_vars}
    seeds = [r.get_value().bit_generator.state for r in pm.pytensorf.find_rng_nodes(model.basic_RVs)]
    mle.predict(est, newdata=NEW, interval="prediction", n=10)
    mle.simulate(est, 3, newdata=NEW, uncertainty=True)
    with pytest.raises(mle.ModelError):
        mle.predict(est, newdata={"x1": [1.0]})
    for variable in model.data_vars:
        assert variable is before[variable.name][0]
        np.testing.assert_array_equal(variable.get_value(), before[variable.name][1])
    assert seeds == [r.get_value().bit_generator.state for r in pm.pytensorf.find_rng_nodes(model.basic_RVs)]
    assert mle.find_MLE(model).loglik == est.loglik


def test_a_later_set_data_does_not_reach_into_the_estimate():
    model = regression("poisson")
    est = mle.find_MLE(model)
    before = mle.predict(est, "mean").value["mean"].values
    drawn = mle.simulate(est, random_seed=1)["y"].values
    with model:
        pm.set_data({"x1": np.zeros(5), "x2": np.zeros(5)})
    np.testing.assert_array_equal(mle.predict(est, "mean").value["mean"].values, before)
    np.testing.assert_array_equal(mle.simulate(est, random_seed=1)["y"].values, drawn)


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_what_the_data_do_not_determine_has_no_error():
    with pm.Model() as model:
        a, b, free = pm.Normal("a"), pm.Normal("b"), pm.Normal("free")
        pm.Deterministic("known", a + b)
        pm.Deterministic("unknown", a + 2 * b + free)
        pm.Deterministic("constant", pt.as_tensor(3.0) + 0 * a)
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0, 3.0, 4.0])
    found = mle.predict(mle.find_MLE(model), ci_prob=0.95)
    assert float(found.se["known"]) == pytest.approx(0.5, rel=1e-9)
    assert np.isnan(found.se["unknown"])
    assert np.isnan(found.interval["unknown"]).all()
    assert "No interval for unknown: not determined by the data, or at a limit (NOT_IDENTIFIED)." in found.notes
    assert "No interval for unknown" in repr(found)
    np.testing.assert_array_equal(found.interval["constant"], [3, 3])


# -- draws --------------------------------------------------------------------------------------------------------


def custom_random(mu, rng=None, size=None):
    return rng.normal(mu, 1.0, size=size)


OBSERVED = np.abs(RNG.normal(1.0, 1.0, 300))
DRAWN = {
    "Normal": (lambda mu: pm.Normal("y", mu, 1, observed=OBSERVED), norm(1, 1).cdf),
    "Truncated": (
        lambda mu: pm.Truncated("y", pm.Normal.dist(mu, 1), lower=0, observed=OBSERVED),
        lambda v: (norm(1, 1).cdf(v) - norm(1, 1).cdf(0)) / norm(1, 1).sf(0),
    ),
    "Mixture": (
        lambda mu: pm.Mixture("y", w=[0.3, 0.7], comp_dists=[pm.Normal.dist(mu, 1), pm.Normal.dist(5, 1)],
                              observed=OBSERVED),
        lambda v: 0.3 * norm(1, 1).cdf(v) + 0.7 * norm(5, 1).cdf(v),
    ),
    "CustomDist, random": (
        lambda mu: pm.CustomDist("y", mu, logp=lambda v, m: -((v - m) ** 2) / 2, random=custom_random,
                                 observed=OBSERVED),
        norm(1, 1).cdf,
    ),
    "CustomDist, dist": (
        lambda mu: pm.CustomDist("y", mu, dist=lambda m, size: pt.exp(pm.Normal.dist(m, 1, size=size)),
                                 observed=OBSERVED),
        lambda v: norm(1, 1).cdf(np.log(v)),
    ),
}  # fmt: skip


def objective_of(make):
    with pm.Model() as model:
        make(pm.Normal("mu", initval=1.0))
    return ModelObjective(model, mle.roles(model))


@pytest.mark.parametrize("name", DRAWN)
def test_draws_have_the_law_of_the_model(name):
    make, law = DRAWN[name]
    objective = objective_of(make)
    draw = simulator(objective)
    x = objective.parameters.initial
    first = draw(np.random.default_rng(1), x)["y"]
    assert kstest(first, law).pvalue > 1e-3
    np.testing.assert_array_equal(first, draw(np.random.default_rng(1), x)["y"])
    rng = np.random.default_rng(1)
    assert np.all(draw(rng, x)["y"] != draw(rng, x)["y"])
    assert kstest(draw(rng, x + 2.0)["y"], law).pvalue < 1e-3


def test_censored_draws_pile_up_at_the_limits():
    objective = objective_of(lambda mu: pm.Censored("y", pm.Normal.dist(mu, 1), lower=0, upper=2, observed=OBSERVED))
    drawn = simulator(objective)(np.random.default_rng(0), objective.parameters.initial)["y"]
    for share, expected in ((np.mean(drawn == 0), norm.cdf(-1)), (np.mean(drawn == 2), norm.sf(1))):
        assert binom.cdf(share * 300, 300, expected) > 1e-3
        assert binom.sf(share * 300 - 1, 300, expected) > 1e-3


def test_what_cannot_be_drawn_is_named():
    objective = objective_of(lambda mu: pm.CustomDist("y", mu, logp=lambda v, m: -((v - m) ** 2), observed=OBSERVED))
    with pytest.raises(mle.ModelError, match=r"y cannot be drawn: .* dist= or random="):
        simulator(objective)(np.random.default_rng(0), objective.parameters.initial)


def test_variables_that_depend_on_observed_ones_follow_the_draws():
    with pm.Model() as model:
        first = pm.Normal("first", pm.Normal("mu"), 1.0, observed=np.arange(5.0))
        pm.Normal("second", first, 1e-9, observed=np.arange(5.0))
    drawn = mle.simulate(mle.find_MLE(model), 10, random_seed=0)
    np.testing.assert_allclose(drawn["second"], drawn["first"], atol=1e-7)
    found = mle.predict(mle.find_MLE(model), "second")
    np.testing.assert_allclose(found.value["second"], np.arange(5.0))


def test_simulated_data_sets(fits):
    est = fits["poisson"]
    drawn = mle.simulate(est, 400, random_seed=5)
    assert drawn["y"].dims == ("chain", "draw", "row")
    mean = est.derived["mean"].values
    z = (drawn["y"].values[0].mean(axis=0) - mean) / np.sqrt(mean / 400)
    assert np.abs(z).max() < 4.5
    xr.testing.assert_identical(drawn, mle.simulate(est, 400, random_seed=5))


def test_uncertainty_of_parameters_adds_to_the_variance():
    """A mean of four rows with unit variance: draws around it have variance 1, with uncertainty 1 + 1/4."""
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), 1.0, observed=[1.0, 2.0, 3.0, 4.0])
    est = mle.find_MLE(model)
    for uncertainty, expected in ((False, 1.0), (True, 1.25)):
        drawn = mle.simulate(est, 4000, random_seed=0, uncertainty=uncertainty)["y"].values
        assert drawn[..., 0].var() == pytest.approx(expected, abs=4 * expected * np.sqrt(2 / 4000))
    one, other = drawn[0, :, 0], drawn[0, :, 1]
    assert np.cov(one, other)[0, 1] == pytest.approx(0.25, abs=0.1)


def test_observations_are_exchanged_without_building_anew():
    model = regression("poisson")
    objective = ModelObjective(model, mle.roles(model))
    other, observe = retargeted(objective)
    x = np.array([0.2, 0.3, -0.1])
    assert other.value(x) == objective.value(x)
    values = np.arange(N) % 5
    observe({"y": values})
    mean = np.exp(DESIGN @ x)
    assert other.value(x) == pytest.approx(poisson.logpmf(values, mean).sum(), rel=1e-12)
    np.testing.assert_allclose(other.value_gradient(x)[1], DESIGN.T @ (values - mean), rtol=1e-10)
    np.testing.assert_allclose(other.hessian(x), -(DESIGN.T * mean) @ DESIGN, rtol=1e-10)
    assert objective.value(x) == pytest.approx(poisson.logpmf(RESPONSE["poisson"], mean).sum(), rel=1e-12)


def test_named_dims_variables():
    """`pymc.dims`, whose containers and draws are xtensors."""
    import pymc.dims as pmd

    with pm.Model(coords={"row": np.arange(N)}) as model:
        x1 = pmd.Data("x1", X1, dims="row")
        mean = pmd.Deterministic("mean", pmd.math.exp(pmd.Normal("a") + pmd.Normal("b") * x1))
        data = pytensor.xtensor.as_xtensor(RESPONSE["poisson"], dims=("row",))
        pmd.Poisson("y", mean, observed=data)
    est = mle.find_MLE(model)
    assert mle.simulate(est, 2)["y"].shape == (1, 2, N)
    found = mle.predict(est, "mean")
    np.testing.assert_allclose(found.value["mean"], est.derived["mean"], rtol=1e-12)
    assert np.all(found.interval["mean"] > 0)


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.predict"]).failed == 0


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_predictions_at_a_limit_have_no_standard_error():
    """Separated data: every probability is 0 or 1 in the limit, none of them known so exactly."""
    x = np.array([-3.0, -2, -1, 1, 2, 3])
    with pm.Model() as model:
        pm.Bernoulli("y", logit_p=pm.Normal("a") + pm.Normal("b") * x, observed=(x > 0).astype(int))
    assert np.all(np.isnan(mle.predict(mle.find_MLE(model)).se["y"]))
