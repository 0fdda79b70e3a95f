"""The comparison's formats and words, its doubts about a posterior, and conjugate models in closed form."""

import json
import warnings

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import statsmodels.api as sm
import xarray as xr
from pytensor.compile.mode import Mode
from scipy import stats

import mle_pp as mle
from mle_pp.compare import Comparison
from mle_pp.compare.reading import two_in_words
from models import GALLERY, data

# -- conjugate models: prior pull, asymmetry and posterior in closed form -----------------------------------------

SHAPE = (4, 20_000)


def exact(law, shape=(2, 1000)):
    """Draws whose mean and standard deviation are those of the law."""
    quantiles = law.ppf((np.arange(np.prod(shape)) + 0.5) / np.prod(shape))
    standardized = (quantiles - quantiles.mean()) / quantiles.std(ddof=1)
    draws = law.mean() + law.std() * standardized
    return np.random.default_rng(0).permutation(draws).reshape(shape)


def conjugate(name):
    """A model, its data, posterior law, estimate, standard error and posterior mode."""
    with pm.Model() as model:
        if name == "normal":
            y = np.array([1.0, 2.0, 3.0, 6.0])
            pm.Normal("y", pm.Normal("t", 0, 2), 2, observed=y)
            return model, y, stats.norm(2.4, np.sqrt(0.8)), 3.0, 1.0, 2.4
        if name == "beta-binomial":
            y = np.array(7)
            pm.Binomial("y", 20, pm.Beta("t", 2, 5), observed=y)
            return model, y, stats.beta(9, 18), 0.35, np.sqrt(0.35 * 0.65 / 20), 8 / 25
        y = np.array([4, 1, 0, 2, 5])
        pm.Poisson("y", pm.Gamma("t", 3, 2), observed=y)
        return model, y, stats.gamma(15, scale=1 / 7), 2.4, np.sqrt(2.4 / 5), 2.0


@pytest.mark.parametrize("name", ["normal", "beta-binomial", "gamma-Poisson"])
def test_conjugate_models_equal_closed_forms(name):
    model, y, law, estimate, error, mode = conjugate(name)
    idata = az.from_dict({"posterior": {"t": exact(law)}, "observed_data": {"y": y}})
    row = mle.compare(mle.find_MLE(model), idata, ci_prob=0.9).loc["t"]
    expected = {
        "mle": estimate,
        "se": error,
        "mean": law.mean(),
        "sd": law.std(),
        "prior_pull": (mode - estimate) / error,
        "asymmetry": (law.mean() - mode) / error,
        "shift": (law.mean() - estimate) / error,
    }
    for column, value in expected.items():
        assert row[column] == pytest.approx(value, rel=1e-6, abs=1e-6), column
    assert row[["eti90_lb", "eti90_ub"]].tolist() == pytest.approx(law.ppf([0.05, 0.95]), rel=2e-3)


def test_width_ratio_and_overlap_by_hand():
    model, y, law, *_ = conjugate("normal")
    idata = az.from_dict({"posterior": {"t": exact(law)}, "observed_data": {"y": y}})
    row = mle.compare(mle.find_MLE(model), idata, ci_prob=0.5).loc["t"]
    z = stats.norm.ppf(0.75)
    confidence, credible = (3 - z, 3 + z), (2.4 - z * np.sqrt(0.8), 2.4 + z * np.sqrt(0.8))
    both = credible[1] - confidence[0]
    either = confidence[1] - credible[0]
    assert row["overlap"] == pytest.approx(both / either, rel=5e-3)
    assert row["width_ratio"] == pytest.approx(np.sqrt(0.8), rel=5e-3)


def test_intervals_that_do_not_meet():
    model, y, *_ = conjugate("normal")
    idata = az.from_dict({"posterior": {"t": exact(stats.norm(30, 1))}, "observed_data": {"y": y}})
    assert mle.compare(mle.find_MLE(model), idata)["overlap"].tolist() == [0.0]


@pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS:UserWarning")
def test_columns_of_a_sampled_gallery_model():
    """Against statsmodels, `pm.find_MAP` and `az.summary`."""
    model = GALLERY["poisson_regression"].build()
    mode = Mode(linker="cvm", optimizer="fast_run")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend running at least 4 chains")
        idata = pm.sample(
            1000, model=model, chains=2, cores=1, random_seed=1, progressbar=False, compile_kwargs={"mode": mode}
        )
    est = mle.find_MLE(model)
    table = mle.compare(est, idata, ci_kind="hdi")
    summary = az.summary(idata, var_names=list(est.params), ci_kind="hdi", round_to="none")
    assert list(table.index) == list(summary.index)
    for column in ("mean", "sd", "mcse_mean", "hdi89_lb", "hdi89_ub"):
        np.testing.assert_allclose(table[column], summary[column], rtol=1e-6, err_msg=column)
    top = pm.find_MAP(
        model=model, progressbar=False, return_inferencedata=True, jitter=False, compile_kwargs={"mode": mode}
    )
    top = np.concatenate([np.ravel(top.posterior[name]) for name in est.params])
    np.testing.assert_allclose(table["prior_pull"], (top - table["mle"]) / table["se"], atol=1e-3)
    counts = data.counts()
    X = sm.add_constant(counts.drop(columns="y").to_numpy())
    fit = sm.GLM(counts["y"].to_numpy(), X, family=sm.families.Poisson()).fit(tol=1e-14, maxiter=100)
    np.testing.assert_allclose(table["mle"], fit.params, rtol=1e-6)
    np.testing.assert_allclose(table["se"], fit.bse, rtol=1e-6)
    np.testing.assert_allclose(table["shift"], (summary["mean"] - fit.params) / fit.bse, rtol=1e-5, atol=1e-6)


def one_way():
    """Six groups of five, and their posterior: made up, in another order."""
    rng = np.random.default_rng(4)
    y = 2 + rng.normal(0, 2, size=(1, 6)) + rng.normal(size=(5, 6))
    with pm.Model(coords={"group": list("abcdef")}) as model:
        mu, tau, s = pm.Normal("mu", 0, 5), pm.HalfNormal("tau", 5), pm.HalfNormal("s", 5)
        u = pm.Normal("u", mu, tau, dims="group")
        pm.Deterministic("share", u - mu, dims="group")
        pm.Normal("y", u, s, observed=y)
    effects = 2 + rng.normal(size=(2, 1000, 6))
    draws = {"mu": 2 + 0.1 * rng.normal(size=(2, 1000)), "u": effects[..., ::-1], "share": effects[..., ::-1] - 2}
    draws |= {name: rng.gamma(9, size=(2, 1000)) for name in ("tau", "s")}
    dims = {"u": ["group"], "share": ["group"]}
    groups = {"posterior": draws, "observed_data": {"y": y}}
    return model, y, az.from_dict(groups, coords={"group": list("fedcba")}, dims=dims), effects


def test_integrated_variables_are_compared_at_their_modes():
    model, y, idata, effects = one_way()
    est = mle.find_MLE(model)
    table = mle.compare(est, idata)
    mu, tau, s = (table.loc[name, "mle"] for name in ("mu", "tau", "s"))
    shrink = tau**2 / (tau**2 + s**2 / 5)
    modes = mu + shrink * (y.mean(axis=0) - mu)
    rows = table.loc[[f"u[{k}]" for k in "abcdef"]]
    np.testing.assert_allclose(rows["mle"], modes, rtol=1e-6)
    np.testing.assert_allclose(table.loc["share[a]", "mle"], modes[0] - mu, rtol=1e-6)
    np.testing.assert_allclose(rows["se"], est.latent["u_se"], rtol=1e-9)
    assert np.all(rows["se"] > np.sqrt(shrink) * s / np.sqrt(5))
    np.testing.assert_allclose(rows["wald89_ub"], modes + stats.norm.ppf(0.945) * rows["se"], rtol=1e-6)
    np.testing.assert_allclose(rows["mean"], effects.mean((0, 1)), rtol=1e-10)
    top = mle.find_MAP(model)
    np.testing.assert_allclose(rows["prior_pull"], (top.latent["u"] - modes) / rows["se"], atol=1e-6)
    assert list(mle.compare(est, idata, var_names="~u").index)[-1] == "share[f]"
    cube = mle.compare(est, idata, fmt="xarray")
    assert cube["u"].sel(group="c", summary="mle").item() == pytest.approx(modes[2], rel=1e-6)
    both = mle.compare({"MLE": est, "MAP": top, "posterior": idata}, var_names="u")
    np.testing.assert_allclose(both.xs("MLE", level="model")["value"], modes, rtol=1e-6)


def test_integrated_variables_have_no_profile():
    model, _, idata, _ = one_way()
    est = mle.find_MLE(model)
    assert mle.compare(est, idata, kind="profile", var_names="u")["profile89_ub"].isna().all()
    table = mle.compare(est, idata, kind="profile", var_names=["tau", "u"])
    assert table["profile89_ub"].notna().tolist() == [True] + 6 * [False]
    assert table["wald89_ub"].notna().all()


# -- kinds, formats, order ----------------------------------------------------------------------------------------

COUNTS = np.array([1, 0, 3])


@pytest.fixture(scope="module")
def counts():
    """A Poisson mean, and functions of it with more and less skewness."""
    with pm.Model(coords={"k": ["a", "b"]}) as model:
        lam = pm.Gamma("lam", 2, 1)
        pm.Deterministic("powers", pm.math.stack([lam**2, pm.math.log(lam)]), dims="k")
        pm.Poisson("y", lam, observed=COUNTS)
    lam = exact(stats.gamma(6, scale=1 / 4))
    draws = {"lam": lam, "powers": np.stack([lam**2, np.log(lam)], axis=-1)}
    idata = az.from_dict(
        {"posterior": draws, "observed_data": {"y": COUNTS}}, coords={"k": ["a", "b"]}, dims={"powers": ["k"]}
    )
    return mle.find_MLE(model), idata


# A sample of zeros alone has its maximum on the edge
@pytest.mark.filterwarnings("ignore:1 of 50 refits:mle_pp.VerdictWarning")
@pytest.mark.parametrize("kind", ["profile", "bootstrap"])
def test_other_confidence_intervals_stand_beside_wald(counts, kind):
    est, idata = counts
    given = mle.bootstrap(est, n=50, random_seed=1) if kind == "bootstrap" else None
    table = mle.compare(est, idata, kind=kind, bootstrap=given)
    wald = mle.compare(est, idata)
    same = ["wald89_lb", "wald89_ub", "shift"]
    np.testing.assert_array_equal(table[same], wald[same])
    names = ["lam", "powers"]
    own = given.interval(names) if given else mle.interval(est, names, kind=kind)
    limits = table[[f"{kind}89_lb", f"{kind}89_ub"]]
    np.testing.assert_allclose(limits.loc["lam"], own["lam"], rtol=1e-9)
    np.testing.assert_allclose(limits.loc[["powers[a]", "powers[b]"]], own["powers"], rtol=1e-9)
    credible = (table["eti89_ub"] - table["eti89_lb"]).to_numpy()
    np.testing.assert_allclose(table["width_ratio"], credible / (limits.iloc[:, 1] - limits.iloc[:, 0]), rtol=1e-9)


def test_profile_equals_the_chi_square_cutoff(counts):
    est, idata = counts
    limits = mle.compare(est, idata, kind="profile").loc["lam", ["profile89_lb", "profile89_ub"]].to_numpy(float)
    drop = 2 * (stats.poisson.logpmf(COUNTS, 4 / 3).sum() - stats.poisson.logpmf(COUNTS[:, None], limits).sum(axis=0))
    np.testing.assert_allclose(drop, stats.chi2.ppf(0.89, 1), rtol=1e-6)


def test_formats_hold_the_same_numbers(counts):
    wide = mle.compare(*counts)
    cube = mle.compare(*counts, fmt="xarray")
    long = mle.compare(*counts, fmt="long")
    assert cube["powers"].dims == ("summary", "k")
    assert list(cube["summary"].values) == [c for c in wide.columns if c != "unit"]
    assert cube["powers"].sel(summary="shift", k="b").item() == wide.loc["powers[b]", "shift"]
    assert long.loc["mean"].query("k == 'b'")["powers"].item() == wide.loc["powers[b]", "mean"]


@pytest.mark.parametrize("sort", ["shift", "prior_pull", "asymmetry", "width_ratio", "overlap"])
def test_what_differs_most_comes_first(counts, sort):
    table = mle.compare(*counts, sort=sort)
    assert set(table.index) == {"lam", "powers[a]", "powers[b]"}
    size = {"width_ratio": lambda x: np.abs(np.log(x)), "overlap": lambda x: -x}.get(sort, np.abs)(table[sort])
    assert np.all(np.diff(size) <= 0)


@pytest.mark.parametrize("bad", [{"kind": "hpd"}, {"fmt": "tall"}, {"sort": "mean"}])
def test_options_that_do_not_exist(counts, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        mle.compare(*counts, **bad)


def test_to_disk_and_back_without_the_model(counts, tmp_path):
    est, idata = counts
    table = mle.compare(est, idata, kind="profile", sort="shift")
    tree = xr.DataTree.from_dict({**{n: g.to_dataset() for n, g in idata.children.items()}, **table.to_datatree()})
    tree.to_netcdf(tmp_path / "x.nc")
    with xr.open_datatree(tmp_path / "x.nc") as loaded:
        back = Comparison.from_datatree(loaded)
    pd.testing.assert_frame_equal(pd.DataFrame(back), pd.DataFrame(table), check_dtype=False)
    assert back.reading() == table.reading()
    assert back.to_string() == table.to_string()
    with pytest.raises(mle.ModelError, match="no group mle_comparison"):
        Comparison.from_datatree(idata)


def test_columns_in_their_order_from_a_format_that_sorts_them(counts):
    table = mle.compare(*counts)
    tree = table.to_datatree()
    dataset = tree["mle_comparison"].to_dataset()
    shuffled = xr.DataTree.from_dict({"mle_comparison": dataset[sorted(dataset.data_vars)]})
    assert Comparison.from_datatree(shuffled).to_string() == table.to_string()


def test_a_part_of_the_table_can_be_read(counts):
    table = mle.compare(*counts)
    # E λ² − (5/4)², in standard errors 2 λ̂ √(λ̂/3) with λ̂ = 4/3
    assert "asymmetric, its mean away from its mode, in powers[a] (+0.60 se)." in table.loc[["powers[a]"]].reading()
    assert "powers[a]" not in table.loc[["lam"]].reading()


# -- rules, one by one, on tables written by hand -----------------------------------------------------------------

FACTS = {
    "estimate": "mle", "status": "CONVERGED", "verdict": "CONVERGED: fine.", "failed": False, "not_identified": [],
    "chains": 4, "draws": 1000, "divergences": 0, "advice": "", "kind": "wald", "ci_kind": "eti", "ci_prob": 0.89,
}  # fmt: skip
PLAIN = {
    "mle": 1.0, "se": 1.0, "wald89_lb": -0.6, "wald89_ub": 2.6, "mean": 1.1, "mcse_mean": 0.01, "sd": 1.0,
    "eti89_lb": -0.5, "eti89_ub": 2.7, "shift": 0.1, "prior_pull": 0.1, "asymmetry": 0.0, "width_ratio": 1.0,
    "overlap": 0.94, "unit": "se",
}  # fmt: skip


def words(facts=None, **row):
    frame = pd.DataFrame({"a": PLAIN, "b": PLAIN | row}).T.infer_objects()
    return two_in_words(frame, FACTS | (facts or {}), [])


def test_nothing_to_say():
    assert words() == ["Estimate and posterior agree: no shift is larger than 0.10 standard errors."]


@pytest.mark.parametrize(
    ("below", "above", "sentence"),
    [
        ({"prior_pull": -0.49}, {"prior_pull": -0.5}, "The prior moved b (-0.50 se)."),
        ({"asymmetry": 0.49}, {"asymmetry": 0.5}, "its mean away from its mode, in b (+0.50 se)."),
        ({"asymmetry": 0.5, "mcse_mean": 0.17}, {"asymmetry": 0.5, "mcse_mean": 0.16}, "asymmetric"),
        ({"asymmetry": 0.5, "mcse_mean": 0.17}, {"asymmetry": 0.5, "mcse_mean": 0.17, "unit": "sd", "sd": 2}, "sd)"),
        ({"shift": 0.6}, {"shift": 0.6, "prior_pull": np.nan, "asymmetry": np.nan}, "differ, by prior or by asymm"),
        ({"width_ratio": 0.8}, {"width_ratio": 0.79}, "narrower than the wald interval of b (0.79 times)."),
        ({"width_ratio": 1.25}, {"width_ratio": 1.26}, "wider than the wald interval of b (1.26 times)."),
        ({}, {"mle": np.inf}, "towards infinite b: only the prior"),
    ],
    ids=["pull", "skew", "noise", "unit", "unsplit", "narrow", "wide", "infinite"],
)
def test_thresholds(below, above, sentence):
    assert sentence not in " ".join(words(**below))
    assert sentence in " ".join(words(**above))


def test_a_width_is_not_told_where_the_prior_is():
    assert len(words(prior_pull=1.0, width_ratio=0.5)) == 1


@pytest.mark.parametrize(
    ("sd", "mean", "is_prior"), [(0.95, 0.1, True), (0.89, 0.1, False), (0.95, 0.26, False)], ids=str
)
def test_the_posterior_is_the_prior(sd, mean, is_prior):
    frame = pd.DataFrame({"b": PLAIN | {"sd": sd, "mean": mean, "prior_mean": 0.0, "prior_sd": 1.0}}).T.infer_objects()
    told = two_in_words(frame, FACTS, [])
    assert ("The posterior is the prior for b (0.95)" in " ".join(told)) is is_prior


def test_wald_misleads_only_where_the_other_interval_agrees():
    other = {"kind": "profile"}
    limits = {"profile89_lb": -0.5, "profile89_ub": 2.7, "wald89_lb": 0.5, "wald89_ub": 2.6}
    frame = pd.DataFrame({"b": PLAIN | limits | {"overlap": 1.0}}).T.infer_objects()
    assert two_in_words(frame, FACTS | other, []) == [
        "The Wald interval misleads for b: profile and posterior agree on another one."
    ]
    assert "misleads" not in " ".join(two_in_words(frame.assign(overlap=0.84), FACTS | other, []))
    assert "misleads" not in " ".join(two_in_words(frame.assign(wald89_lb=-0.5), FACTS | other, []))


def test_verdict_and_doubts_come_first():
    told = words({"status": "BOUNDARY", "verdict": "BOUNDARY: edge."}, prior_pull=1.0)
    assert told[0] == "BOUNDARY: edge."
    assert "diverged" in words({"divergences": 3})[0]
    assert "3 of 4000 transitions" in words({"divergences": 3})[0]
    assert "single chain" in words({"chains": 1})[0]


# -- posteriors and estimates that are not to be believed ---------------------------------------------------------


def normal(draws, **groups):
    model, y, *_ = conjugate("normal")
    idata = az.from_dict({"posterior": {"t": draws}, "observed_data": {"y": y}, **groups})
    return mle.find_MLE(model), idata


def test_a_single_chain_is_told():
    with pytest.warns(UserWarning, match="single chain, so whether it converged cannot be checked"):
        table = mle.compare(*normal(exact(stats.norm(2.4, 0.9), (1, 2000))))
    assert "single chain" in table.reading()
    assert table["mean"].item() == pytest.approx(2.4)


@pytest.mark.filterwarnings("ignore:The posterior has fewer:UserWarning")
def test_chains_that_disagree_are_told():
    draws = exact(stats.norm(2.4, 0.9)) + np.array([[0.0], [1.0]])
    with pytest.warns(UserWarning, match=r"do not agree \(r-hat above 1.01\) on t, worst on t with 1\."):
        table = mle.compare(*normal(draws))
    assert table["r_hat"].item() == pytest.approx(float(az.rhat(draws)), rel=1e-12)
    assert "do not agree" in table.reading()


@pytest.mark.filterwarnings("ignore:The chains of the posterior:UserWarning")
def test_few_effective_draws_are_told():
    steps = np.random.default_rng(1).normal(size=(2, 1000))
    draws = np.zeros((2, 1000))
    for k in range(1, 1000):
        draws[:, k] = 0.98 * draws[:, k - 1] + steps[:, k]
    with pytest.warns(UserWarning, match="fewer than 100 effective draws a chain on t: sample longer"):
        table = mle.compare(*normal(2.4 + draws))
    assert table["ess_bulk"].item() == pytest.approx(float(az.ess(2.4 + draws)), rel=1e-12)


def test_divergences_are_told():
    diverging = np.zeros((2, 1000), dtype=bool)
    diverging[0, :7] = True
    with pytest.warns(UserWarning, match="7 of 2000 transitions of the sampler diverged"):
        table = mle.compare(*normal(exact(stats.norm(2.4, 0.9)), sample_stats={"diverging": diverging}))
    assert "7 of 2000" in table.reading()


def test_a_failed_estimate_is_told_and_not_shown():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("m", 0, 1), pm.HalfNormal("s", 1), observed=[1.0])
    with pytest.warns(mle.VerdictWarning):
        est = mle.find_MLE(model, on_failure="return")
    assert est.verdict.status.is_failure
    draws = {"m": exact(stats.norm(0, 1)), "s": exact(stats.gamma(4))}
    idata = az.from_dict({"posterior": draws, "observed_data": {"y": np.array([1.0])}})
    with pytest.warns(mle.VerdictWarning, match="no estimate to compare"):
        table = mle.compare(est, idata)
    assert table[["mle", "se", "wald89_lb", "shift", "prior_pull", "width_ratio"]].isna().all(axis=None)
    assert table["mean"].tolist() == pytest.approx([0, 4])
    assert table.reading().startswith("There is no maximum-likelihood estimate to compare with. UNBOUNDED")


def test_what_the_data_do_not_identify_is_read_from_the_verdict():
    with pm.Model() as model:
        a, b = pm.Normal("a", 0, 1), pm.Normal("b", 0, 1)
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0])
    with pytest.warns(mle.VerdictWarning):
        est = mle.find_MLE(model)
    draws = {name: exact(stats.norm(0.6, 0.8)) for name in "ab"}
    prior = {name: exact(stats.norm(0, 1), (1, 500)) for name in "ab"}
    idata = az.from_dict({"posterior": draws, "prior": prior, "observed_data": {"y": np.array([1.0, 2.0])}})
    table = mle.compare(est, idata)
    assert table["prior_sd"].tolist() == pytest.approx([1, 1])
    reading = table.reading()
    assert "The data do not identify a, b" in reading
    assert "NOT_IDENTIFIED" in reading
    assert "is the prior" not in reading


def test_facts_can_be_stored():
    table = mle.compare(*normal(exact(stats.norm(2.4, 0.9))))
    assert json.loads(json.dumps(table.attrs["facts"])) == table.attrs["facts"]
