"""The table of an estimate, and its texts."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from scipy.stats import norm

import mle_pp as mle
from mle_pp.table import MAX_ROWS, WIDTH, aligned, number

Y = np.array([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 4.0, 4.0]]).T


def two_means(sd=2.0):
    with pm.Model(coords={"group": ["a", "b"]}) as model:
        mu = pm.Normal("mu", 0, 10, dims="group")
        pm.Deterministic("gap", mu[0] - mu[1])
        pm.Normal("y", mu, sd, observed=Y)
    return model


@pytest.fixture(scope="module")
def est():
    return mle.find_MLE(two_means())


def test_summary_holds_the_closed_forms(est):
    table = est.summary(ci_prob=0.9)
    assert list(table.columns) == ["mle", "se", "wald90_lb", "wald90_ub"]
    assert list(table.index) == ["mu[a]", "mu[b]", "gap"]
    np.testing.assert_allclose(table["mle"], [3, 2, 1], rtol=1e-10)
    se = np.array([1, 1, np.sqrt(2)])
    np.testing.assert_allclose(table["se"], se, rtol=1e-10)
    np.testing.assert_allclose(table["wald90_lb"], table["mle"] - norm.ppf(0.95) * se, rtol=1e-8)
    np.testing.assert_allclose(table["wald90_ub"], table["mle"] + norm.ppf(0.95) * se, rtol=1e-8)


def test_probability_and_kind_are_in_the_names(est):
    assert list(est.summary().columns[2:]) == ["wald89_lb", "wald89_ub"]
    assert list(est.summary(ci_prob=0.999).columns[2:]) == ["wald99.9_lb", "wald99.9_ub"]
    assert mle.find_MAP(two_means()).summary().columns[0] == "map"
    assert mle.find_MLE(two_means(), keep_priors=["mu"]).summary().columns[0] in ("map", "penalized")


@pytest.mark.parametrize(
    ("var_names", "filter_vars", "rows"),
    [
        ("gap", None, ["gap"]),
        (["gap", "mu"], None, ["gap", "mu[a]", "mu[b]"]),
        ("~gap", None, ["mu[a]", "mu[b]"]),
        ("m", "like", ["mu[a]", "mu[b]"]),
        (["^g"], "regex", ["gap"]),
        (["~^g"], "regex", ["mu[a]", "mu[b]"]),
        ([], None, []),
    ],
)
def test_choice_of_variables_is_that_of_arviz(est, var_names, filter_vars, rows):
    assert list(est.summary(var_names, filter_vars).index) == rows


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"var_names": "tau"}, KeyError, r"tau not among the variables \(mu, gap\)"),
        ({"filter_vars": "glob"}, ValueError, "filter_vars='glob' is not one of"),
        ({"fmt": "tall"}, ValueError, "fmt='tall' is not one of"),
        ({"round_to": "two"}, ValueError, "round_to='two'"),
        ({"kind": "bootstrap"}, ValueError, "kind='bootstrap'"),
    ],
)
def test_bad_arguments(est, options, error, message):
    with pytest.raises(error, match=message):
        est.summary(**options)


def test_formats(est):
    dataset = est.summary(fmt="xarray")
    assert isinstance(dataset, xr.Dataset)
    assert float(dataset["mu"].sel(summary="se", group="b")) == pytest.approx(1.0)
    long = est.summary(fmt="long")
    assert set(long.index) == {"mle", "se", "wald89_lb", "wald89_ub"}
    assert long[long["group"] == "b"].loc["mle", "mu"] == pytest.approx(2.0)


def test_rounding_is_of_the_display_only_unless_asked_for(est):
    auto = est.summary(ci_prob=0.5)
    assert auto.loc["gap", "wald50_lb"] == pytest.approx(1 - norm.ppf(0.75) * np.sqrt(2), rel=1e-10)
    assert "1.41" in str(auto)
    assert "1.414" not in str(auto)
    assert est.summary(round_to=1).loc["gap", "se"] == 1.4
    assert est.summary(round_to="none").loc["gap", "se"] == pytest.approx(np.sqrt(2), rel=1e-10)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (9.06290, 0.94621, "9.063"),
        (11.0557, 1.174, "11.06"),
        (123456.7, 1000.0, "123457"),
        (1e6, 0.7, "1000000.000"),
        (1.5e-9, 2e-10, "1.500e-09"),
        (0.0, 2e-10, "0"),
        (5.0, np.nan, "5"),
        (np.nan, 1.0, "–"),
        (np.inf, np.nan, "∞"),
        (1.0, 0.0, "1"),
        (-0.0002, 0.1, "0.000"),
    ],
)
def test_digits_follow_the_error(value, error, text):
    assert number(value, error) == text


def test_columns_are_aligned_at_the_points():
    frame = pd.DataFrame({"x": ["9.063", "11.06", "–"], "y": ["1", "1.5", "∞"]}, index=["a", "long", "b"])
    assert aligned(frame, indent=0) == [
        "           x    y",
        "a      9.063  1",
        "long  11.06   1.5",
        "b          –  ∞",
    ]


def test_text_begins_with_the_verdict(est):
    lines = repr(est).splitlines()
    assert lines[0].startswith("CONVERGED")
    assert lines[2:4] == [
        "Maximum-likelihood estimate",
        f"log-likelihood {est.loglik:.3f}, 4 observations, 2 parameters, AIC {est.aic:.3f}, BIC {est.bic:.3f}",
    ]
    assert [line.split()[0] for line in lines[-3:]] == ["mu[a]", "mu[b]", "gap"]


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_withheld_numbers_are_dashes_with_a_note():
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b")
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0])
    est = mle.find_MLE(model)
    text, html = repr(est), est._repr_html_()
    assert text.startswith("NOT_IDENTIFIED")
    assert "withheld for a, b: see NOT_IDENTIFIED above" in text
    assert "1 identified parameter" in text
    assert "nan" not in text.lower()
    assert html.index("NOT_IDENTIFIED") < html.index("<table")
    assert "withheld for a, b" in html
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_a_failure_is_no_estimate():
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma")
        pm.Normal("y", pm.Normal("mu"), sigma, observed=[2.0])
    est = mle.find_MLE(model, on_failure="return")
    assert est.verdict.status.is_failure
    assert "No estimate. The values below are where the search ended." in repr(est)
    assert est.summary()[["se", "wald89_lb", "wald89_ub"]].isna().all(axis=None)


def test_a_long_variable_is_cut_and_hides_no_other():
    y = np.random.default_rng(1).normal(size=(5, 100))
    with pm.Model() as model:
        theta, last = pm.Normal("theta", 0, 5, shape=100), pm.Normal("last", 0, 5)
        pm.Normal("y", theta, 1, observed=y)
        pm.Normal("z", last, 1, observed=[1.0])
    lines = repr(mle.find_MLE(model)).splitlines()
    table = lines[lines.index("") + 4 :]
    assert len(table) <= MAX_ROWS + 3
    assert any(line.split()[0] == "last" for line in table)
    assert "71 more rows (71 of theta)" in lines[-1]


def test_html_escapes_names():
    with pm.Model(coords={"k": ["<b>", "&"]}) as model:
        pm.Normal("y", pm.Normal("mu", dims="k"), 1, observed=np.zeros((3, 2)))
    html = mle.find_MLE(model)._repr_html_()
    assert "mu[&lt;b&gt;]" in html
    assert "<b>" not in html
