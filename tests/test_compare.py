"""Estimate against posterior, with a posterior known in closed form."""

import doctest
import sys

import arviz as az
import numpy as np
import pymc as pm
import pytest
from scipy.stats import norm

import mle_pp as mle

GROUPS = ["a", "b"]
Y = np.array([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 4.0, 4.0]]).T
PRIOR, NOISE = 2.0, 2.0
# The conjugate posterior of each mean
WEIGHT = PRIOR**2 / (PRIOR**2 + NOISE**2 / 4)
MODE, SD = WEIGHT * Y.mean(axis=0), np.sqrt(WEIGHT) * NOISE / 2
TABLE = "mle se wald89_lb wald89_ub mean mcse_mean sd eti89_lb eti89_ub shift prior_pull asymmetry width_ratio overlap"


def build(y=Y, groups=GROUPS):
    with pm.Model(coords={"group": groups, "obs": range(len(y))}) as model:
        mu = pm.Normal("mu", 0, PRIOR, dims="group")
        pm.Deterministic("gap", mu[0] - mu[1])
        pm.Normal("y", mu, pm.Data("noise", NOISE), observed=y, dims=("obs", "group"))
    return model


def sampled(y=Y, groups=GROUPS, shape=(2, 1000), mean=MODE, noise=NOISE, **extra):
    """Draws whose mean and standard deviation are exact."""
    z = np.random.default_rng(3).normal(size=(*shape, 2))
    z = (z - z.mean((0, 1))) / z.std((0, 1), ddof=1)
    mu = mean + SD * z
    posterior = {"mu": mu, "gap": mu[..., 0] - mu[..., 1], **extra}
    return az.from_dict(
        {"posterior": posterior, "observed_data": {"y": y}, "constant_data": {"noise": np.array(noise)}},
        coords={"group": groups},
        dims={"mu": ["group"], "y": ["obs", "group"]},
    )


@pytest.fixture(scope="module")
def est():
    return mle.find_MLE(build())


def test_case_weights_are_refused_unless_all_are_one(est):
    with pytest.raises(mle.ModelError, match="has case weights, and the posterior counts every row once"):
        mle.compare(mle.find_MLE(build(), weights=np.array([1.0, 1.0, 1.0, 2.0])), sampled())
    found = mle.compare(mle.find_MLE(build(), weights=np.ones(4)), sampled())
    np.testing.assert_allclose(found["mle"], mle.compare(est, sampled())["mle"], rtol=1e-8)


def test_every_column(est):
    table = mle.compare(est, sampled())
    assert " ".join(table.columns) == f"{TABLE} unit"
    assert list(table.index) == ["mu[a]", "mu[b]", "gap"]
    rows = table.loc[["mu[a]", "mu[b]"]]
    np.testing.assert_allclose(rows["mle"], Y.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(rows["se"], 1, rtol=1e-10)
    np.testing.assert_allclose(rows["wald89_ub"], Y.mean(axis=0) + norm.ppf(0.945), rtol=1e-8)
    np.testing.assert_allclose(rows["mean"], MODE, rtol=1e-10)
    np.testing.assert_allclose(rows["sd"], SD, rtol=1e-10)
    np.testing.assert_allclose(rows["mcse_mean"], SD / np.sqrt(2000), rtol=0.2)
    np.testing.assert_allclose(rows["prior_pull"], MODE - Y.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(rows["asymmetry"], 0, atol=1e-6)
    np.testing.assert_allclose(rows["width_ratio"], SD, rtol=0.1)
    assert table["shift"].to_numpy() == pytest.approx((table["prior_pull"] + table["asymmetry"]).to_numpy())
    assert table.loc["gap", "shift"] == pytest.approx((np.diff(Y.mean(axis=0)) - np.diff(MODE))[0] / np.sqrt(2))
    assert set(table["unit"]) == {"se"}
    assert table.attrs["notes"] == []


def test_asymmetry_is_measured_from_the_mode(est):
    table = mle.compare(est, sampled(mean=MODE + np.array([0.5, -0.25])), var_names="mu")
    np.testing.assert_allclose(table["asymmetry"], [0.5, -0.25], atol=1e-6)
    np.testing.assert_allclose(table["prior_pull"], MODE - Y.mean(axis=0), rtol=1e-6)


def test_a_given_mode_is_used(est):
    table = mle.compare(est, sampled(), map_estimate=est)
    np.testing.assert_allclose(table["prior_pull"], 0, atol=1e-12)
    np.testing.assert_allclose(table["asymmetry"], table["shift"])
    other = build_other()
    with pytest.raises(mle.ModelError, match="map_estimate has no mu"):
        mle.compare(est, sampled(), var_names="mu", map_estimate=mle.find_MAP(other))


def build_other():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("theta"), 1, observed=[1.0, 2.0])
    return model


def test_interval_of_another_kind_and_probability(est):
    table = mle.compare(est, sampled(), ci_prob=0.5, ci_kind="hdi")
    assert [c for c in table.columns if "50" in c] == ["wald50_lb", "wald50_ub", "hdi50_lb", "hdi50_ub"]
    with pytest.raises(ValueError, match="ci_kind='wald' is not one of"):
        mle.compare(est, sampled(), ci_kind="wald")


def test_choice_of_variables(est):
    assert list(mle.compare(est, sampled(), var_names="~mu").index) == ["gap"]
    assert list(mle.compare(est, sampled(), var_names="^m", filter_vars="regex").index) == ["mu[a]", "mu[b]"]
    with pytest.raises(KeyError, match="tau not among the variables"):
        mle.compare(est, sampled(), var_names="tau")


def test_a_deterministic_that_was_not_stored_is_left_out(est):
    idata = sampled()
    del idata["posterior"]["gap"]
    assert list(mle.compare(est, idata).index) == ["mu[a]", "mu[b]"]


def test_coordinates_are_matched_by_label(est):
    turned = sampled(y=Y[:, ::-1], groups=GROUPS[::-1], mean=MODE[::-1])
    table = mle.compare(est, turned, var_names="mu")
    assert list(table.index) == ["mu[a]", "mu[b]"]
    np.testing.assert_allclose(table["mean"], MODE, rtol=1e-10)


def test_dims_in_another_order():
    with pm.Model(coords={"r": [0, 1], "c": [0, 1, 2]}) as model:
        pm.Normal("y", pm.Normal("m", 0, 1, dims=("r", "c")), 1, observed=np.zeros((4, 2, 3)))
    draws = np.arange(6.0).reshape(2, 3) + np.random.default_rng(0).normal(0, 1e-6, size=(2, 2000, 2, 3))
    idata = az.from_dict(
        {"posterior": {"m": draws.transpose(0, 1, 3, 2)}, "observed_data": {"y": np.zeros((4, 2, 3))}},
        dims={"m": ["c", "r"]},
    )
    table = mle.compare(mle.find_MLE(model), idata)
    np.testing.assert_allclose(table["mean"], np.arange(6), atol=1e-5)


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_posterior_sd_serves_where_the_standard_error_is_withheld():
    with pm.Model() as model:
        p, mu = pm.Beta("p", 1, 1), pm.Normal("mu", 0, 1)
        pm.Bernoulli("z", p, observed=[0, 0, 0])
        pm.Normal("y", mu, 1, observed=[1.0])
    rng = np.random.default_rng(1)
    draws = {"p": rng.beta(1, 4, size=(2, 500)), "mu": rng.normal(0.5, np.sqrt(0.5), size=(2, 500))}
    idata = az.from_dict({"posterior": draws, "observed_data": {"z": np.zeros(3), "y": np.ones(1)}})
    table = mle.compare(mle.find_MLE(model), idata)
    assert list(table["unit"]) == ["sd", "se"]
    assert np.isnan(table.loc["p", "width_ratio"])
    assert table.loc["p", "shift"] == pytest.approx(draws["p"].mean() / draws["p"].std(ddof=1))
    assert any("No standard error for p" in note for note in table.attrs["notes"])


def test_no_mode_leaves_the_split_open(est, monkeypatch):
    def refuse(*args, **kwargs):
        raise mle.ModelError("mu is latent.")

    monkeypatch.setattr(sys.modules["mle_pp.compare.contrasts"], "find_MAP", refuse)
    table = mle.compare(est, sampled())
    assert table[["prior_pull", "asymmetry"]].isna().all(axis=None)
    assert table["shift"].notna().all()
    assert any("mu is latent" in note for note in table.attrs["notes"])


def test_a_fixed_variable_stays_fixed_in_the_mode():
    y = np.array([1.0, 2.0, 3.0])
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu", 0, 1), pm.HalfNormal("sigma", 1), observed=y)
    est = mle.find_MLE(model, fix={"sigma": 1.0})
    draws = np.random.default_rng(0).normal(1.5, 0.5, size=(2, 1000))
    table = mle.compare(est, az.from_dict({"posterior": {"mu": draws}, "observed_data": {"y": y}}))
    assert table.loc["mu", "prior_pull"] == pytest.approx((1.5 - 2.0) * np.sqrt(3))


@pytest.mark.parametrize(
    ("idata", "message"),
    [
        (lambda: az.from_dict({"prior": {"mu": np.zeros((1, 2))}}), "no group posterior"),
        (lambda: sampled(y=Y + np.array([0, 1e-9])), r"y differs in 4 of 8 values, first in row 0"),
        (lambda: sampled(y=Y[:3]), r"y has shape \(4, 2\) in one and \(3, 2\) in the other"),
        (lambda: sampled(noise=3.0), "noise differs in 1 of 1 values"),
        (lambda: sampled(groups=["a", "c"]), r"mu has the coordinates \(a, c\) along group in the posterior"),
        (lambda: _without(sampled(), "posterior", "mu"), "mu is not in the posterior"),
        (lambda: _renamed(sampled()), r"mu has dims .*g.* in the posterior"),
        (lambda: _without(sampled(), "observed_data", "y"), "y is observed in only one"),
        (lambda: _with(sampled(), "observed_data", "w"), "w is observed in only one"),
    ],
    ids=["no posterior", "value", "rows", "constant", "coords", "missing", "dims", "unobserved", "more observed"],
)
def test_another_posterior_is_refused(est, idata, message):
    with pytest.raises(mle.ModelError, match=message):
        mle.compare(est, idata())


def _without(idata, group, name):
    del idata[group][name]
    return idata


def _with(idata, group, name):
    idata[group][name] = ((), 1.0)
    return idata


def _renamed(idata):
    idata["posterior"] = idata["posterior"].to_dataset().rename(group="g")
    return idata


def test_data_that_are_not_there_are_said_to_be_unchecked(est):
    idata = sampled()
    del idata["observed_data"], idata["constant_data"]
    with pytest.warns(UserWarning, match=r"not checked whether the posterior is of the data .*\(y, noise\)"):
        table = mle.compare(est, idata)
    assert len(table.attrs["notes"]) == 1
    idata = sampled()
    del idata["constant_data"]
    with pytest.warns(UserWarning, match="does not hold noise"):
        mle.compare(est, idata)


def test_data_set_after_the_fit_leave_the_mode_open():
    with build() as model:
        est = mle.find_MLE(model)
        pm.set_data({"noise": 3.0})
    table = mle.compare(est, sampled())
    assert table["prior_pull"].isna().all()
    assert any("changed since the fit (noise differs" in note for note in table.attrs["notes"])
    with pytest.raises(mle.ModelError, match="noise differs"):
        mle.compare(mle.find_MLE(model), sampled())


def test_a_constant_has_no_contrast():
    y = np.random.default_rng(2).normal(size=(40, 2))
    with pm.Model() as model:
        chol, *_ = pm.LKJCholeskyCov("chol", n=2, eta=2, sd_dist=pm.HalfNormal.dist(2), compute_corr=True)
        pm.MvNormal("y", np.zeros(2), chol=chol, observed=y)
    est = mle.find_MLE(model)
    draws = {name: np.broadcast_to(v.values, (2, 1000, *v.shape)) for name, v in est.params.merge(est.derived).items()}
    noise = np.random.default_rng(0).normal(0, 1e-3, (2, 1000, 1, 1))
    draws["chol_corr"] = draws["chol_corr"] + noise * [[0, 1], [1, 0]]
    idata = az.from_dict({"posterior": draws, "observed_data": {"y": y}})
    table = mle.compare(est, idata, var_names="chol_corr", map_estimate=est)
    assert np.isnan(table.loc["chol_corr[0, 0]", "shift"])
    assert np.isfinite(table.loc["chol_corr[0, 1]", "shift"])


def test_digits_shown_follow_the_errors(est):
    shown = mle.compare(est, sampled()).to_string().splitlines()[1].split()
    assert shown[:3] == ["mu[a]", "3.00", "1.00"]


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.compare"]).failed == 0
