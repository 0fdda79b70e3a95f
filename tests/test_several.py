"""Several estimates and posteriors at once; posteriors under flat priors, real and impossible ones."""

import warnings

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from pytensor.compile.mode import Mode
from scipy import stats

import mle_pp as mle
from mle_pp.compare import Comparison
from mle_pp.compare.proper import improper, is_flat, level_tails
from models import GALLERY

Y = np.array([1, 0, 2])
INTERPRETED = Mode(linker="py", optimizer="fast_compile")
IMPROPER = "under flat priors this model has no posterior"


def exact(law, shape=(2, 1000)):
    """Draws whose mean and standard deviation are those of the law."""
    quantiles = law.ppf((np.arange(np.prod(shape)) + 0.5) / np.prod(shape))
    draws = law.mean() + law.std() * (quantiles - quantiles.mean()) / quantiles.std(ddof=1)
    return np.random.default_rng(0).permutation(draws).reshape(shape)


def poisson(y=Y):
    with pm.Model() as model:
        pm.Poisson("y", pm.Gamma("rate", 3, 2), observed=y)
    return model


# The likelihood is the density of a gamma distribution; the prior adds 2 to its shape and 2 to its rate
FLAT, POSTERIOR = stats.gamma(4, scale=1 / 3), stats.gamma(6, scale=1 / 5)


def drawn(law, y=Y, model=None):
    """Draws of the rate; with `model`, with the log-density that a sampler of it keeps, too."""
    rate = exact(law)
    groups = {"posterior": {"rate": rate}, "observed_data": {"y": y}}
    if model is not None:
        logp = model.compile_logp(mode=INTERPRETED)
        lp = np.array([float(logp({"rate_log__": v})) for v in np.log(rate.ravel())]).reshape(rate.shape)
        groups["sample_stats"] = {"lp": lp}
    return az.from_dict(groups)


@pytest.fixture(scope="module")
def sides():
    model = poisson()
    return {
        "MLE": mle.find_MLE(model),
        "MAP": mle.find_MAP(model),
        "flat": drawn(FLAT, model=mle.flatten(model)),
        "posterior": drawn(POSTERIOR, model=model),
    }


def test_every_number_in_closed_form(sides):
    table = mle.compare(sides, ci_prob=0.9).loc["rate"]
    assert list(table.index) == ["MLE", "MAP", "flat", "posterior"]
    se = np.sqrt(1 / 3)
    values = np.array([1, 1, 4 / 3, 6 / 5])
    np.testing.assert_allclose(table["value"], values, rtol=1e-7)
    np.testing.assert_allclose(table["error"], [se, np.sqrt(5) / 5, FLAT.std(), POSTERIOR.std()], rtol=1e-7)
    np.testing.assert_allclose(table["shift"], (values - 1) / se, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(table["step"].iloc[1:], np.diff(values) / se, rtol=1e-6, atol=1e-7)
    limits = table.loc["posterior", ["ci90_lb", "ci90_ub"]].tolist()
    assert limits == pytest.approx(POSTERIOR.ppf([0.05, 0.95]), rel=5e-3)
    assert set(table["unit"]) == {"se"}


def test_the_steps_in_words(sides):
    assert mle.compare(sides).reading().splitlines() == [
        "From MLE to MAP (what the priors do to the maximum): nothing moves by 0.5 se or more.",
        "From MAP to flat: rate (+0.58 se).",
        "From flat to posterior (what the priors do): nothing moves by 0.5 se or more.",
    ]
    bridge = {name: sides[name] for name in ("MLE", "flat", "posterior")}
    first = mle.compare(bridge).reading().splitlines()[0]
    assert first == "From MLE to flat (averaging over the likelihood instead of maximizing it): rate (+0.58 se)."


def test_formats_order_and_disk(sides, tmp_path):
    table = mle.compare(sides, sort="step")
    cube = mle.compare(sides, fmt="xarray")
    assert cube["rate"].dims == ("model", "summary")
    assert cube["rate"].sel(model="flat", summary="shift").item() == table.loc[("rate", "flat"), "shift"]
    assert "rate" in mle.compare(sides, fmt="long")
    table.to_datatree().to_netcdf(tmp_path / "x.nc")
    with xr.open_datatree(tmp_path / "x.nc") as loaded:
        back = Comparison.from_datatree(loaded)
    assert back.to_string() == table.to_string()
    assert back.reading() == table.reading()
    with pytest.raises(ValueError, match="sort='overlap' is no column"):
        mle.compare(sides, sort="overlap")


def test_profile_intervals_for_what_has_a_likelihood(sides):
    table = mle.compare(sides, kind="profile").loc["rate"]
    own = mle.interval(sides["MLE"], kind="profile")["rate"].values
    np.testing.assert_allclose(table.loc["MLE", ["ci89_lb", "ci89_ub"]].astype(float), own, rtol=1e-9)
    wald = mle.interval(sides["MAP"])["rate"].values
    np.testing.assert_allclose(table.loc["MAP", ["ci89_lb", "ci89_ub"]].astype(float), wald, rtol=1e-9)


def test_labels_are_sorted_by_their_largest_step():
    with pm.Model(coords={"k": ["a", "b"]}) as model:
        pm.Normal("y", pm.Normal("m", [0, 5], 1, dims="k"), 1, observed=np.zeros((1, 2)))
    sides = {"MLE": mle.find_MLE(model), "MAP": mle.find_MAP(model)}
    order = mle.compare(sides, sort="shift").index.get_level_values("label")
    assert list(order) == ["m[b]", "m[b]", "m[a]", "m[a]"]
    assert mle.compare(sides).loc[("m[b]", "MAP"), "shift"] == pytest.approx(2.5)


# -- what does not belong together --------------------------------------------------------------------------------


def test_bad_mappings(sides):
    with pytest.raises(mle.ModelError, match="at least two sides, one of them an estimate"):
        mle.compare({"flat": sides["flat"], "posterior": sides["posterior"]})
    with pytest.raises(ValueError, match="put them into the mapping"):
        mle.compare(sides, sides["posterior"])
    other = mle.find_MLE(poisson(Y + 1))
    with pytest.raises(mle.ModelError, match="B is an estimate from other data than the others: y differs"):
        mle.compare({"A": sides["MLE"], "B": other})
    with pytest.raises(mle.ModelError, match="draws: The posterior is of other data"):
        mle.compare({"A": other, "draws": sides["posterior"]})
    weighted = mle.find_MLE(poisson(), weights=[1.0, 2.0, 1.0])
    with pytest.raises(mle.ModelError, match="other case weights"):
        mle.compare({"A": sides["MLE"], "B": weighted})
    with pm.Model() as model:
        pm.Poisson("y", pm.Gamma("lam", 3, 2), observed=Y)
    with pytest.raises(mle.ModelError, match="B is an estimate of another model than the others: rate"):
        mle.compare({"A": sides["MLE"], "B": mle.find_MLE(model)})


@pytest.mark.filterwarnings("ignore:bad. The posterior has fewer:UserWarning")
def test_a_posterior_that_is_not_to_be_believed_is_told(sides):
    bad = drawn(POSTERIOR)
    bad["posterior"]["rate"][0] += 1.0
    with pytest.warns(UserWarning, match="bad: The chains of the posterior do not agree") as caught:
        table = mle.compare({"MLE": sides["MLE"], "bad": bad})
    assert all(str(w.message).startswith("bad: ") for w in caught)
    assert table.reading().startswith("bad: ")


def test_a_failed_estimate_is_told_and_not_shown():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("m", 0, 1), pm.Gamma("s", 4, 1), observed=[1.0])
    with pytest.warns(mle.VerdictWarning):
        failed = mle.find_MLE(model, on_failure="return")
    with pytest.warns(UserWarning, match="MLE: no estimate"):
        table = mle.compare({"MLE": failed, "MAP": mle.find_MAP(model)})
    assert table.xs("MLE", level="model")[["value", "error"]].isna().all(axis=None)
    assert table.xs("MAP", level="model")["value"].notna().all()


# -- flat posteriors ----------------------------------------------------------------------------------------------


def test_flat_draws_are_known_by_their_density_and_not_by_their_name(sides):
    renamed = {"MLE": sides["MLE"], "a": sides["flat"], "b": sides["posterior"]}
    assert mle.compare(renamed).attrs["facts"]["kinds"] == {"MLE": "mle", "a": "flat", "b": "posterior"}
    with pytest.warns(UserWarning, match="flat: the density that its sampler kept is not the likelihood alone"):
        table = mle.compare({"MLE": sides["MLE"], "flat": sides["posterior"]})
    assert table.attrs["facts"]["kinds"]["flat"] == "posterior"


def test_flat_draws_in_another_order_or_incomplete():
    with pm.Model(coords={"k": ["a", "b"]}) as model:
        m, s = pm.Normal("m", 0, 1, dims="k"), pm.HalfNormal("s", 1)
        pm.Normal("y", m, s, observed=np.array([[1.0, 5.0], [2.0, 9.0]]))
    est = mle.find_MLE(model)
    rng = np.random.default_rng(0)
    draws = {"m": rng.normal([1.5, 7.0], 1, size=(2, 1000, 2)), "s": rng.gamma(4, size=(2, 1000))}
    logp = mle.flatten(model).compile_logp(mode=INTERPRETED)
    lp = [
        [float(logp({"m": m, "s_log__": np.log(s)})) for m, s in zip(*chain, strict=True)]
        for chain in zip(draws["m"], draws["s"], strict=True)
    ]
    groups = {"posterior": draws, "sample_stats": {"lp": np.array(lp)}}
    idata = az.from_dict(groups, coords={"k": ["a", "b"]}, dims={"m": ["k"]})
    assert is_flat(est, idata)
    assert is_flat(est, idata.isel(k=[1, 0]))
    del idata["posterior"]["s"]
    assert not is_flat(est, idata)
    assert is_flat(est, idata, "Flat prior")


def test_the_estimate_is_the_mode_of_a_flat_posterior():
    """Whatever prior the model has."""
    with pm.Model() as model:
        pm.Poisson("y", pm.Gamma("rate", 2, 9), observed=Y)
    table = mle.compare(mle.find_MLE(model), drawn(FLAT, model=mle.flatten(model)))
    assert table.loc["rate", "prior_pull"] == 0
    assert table.loc["rate", "asymmetry"] == pytest.approx((4 / 3 - 1) / np.sqrt(1 / 3), rel=1e-6)
    assert table.attrs["notes"] == ["The posterior is that of flat priors: the estimate is its mode."]


def made_up(model):
    """Draws in the right shapes, without what a sampler keeps."""
    est = mle.find_MLE(model)
    rng = np.random.default_rng(0)
    draws = {name: v.values + 0.1 * np.abs(rng.normal(size=(2, 1000, *v.shape))) for name, v in est.params.items()}
    dims = {name: list(v.dims) for name, v in est.params.items()}
    observed = {name: v for name, v in est._objective.data.items() if name in [rv.name for rv in model.observed_RVs]}
    constant = {name: v for name, v in est._objective.data.items() if name not in observed}
    coords = {str(dim): v.values for dim, v in est.params.coords.items()}
    groups = {"posterior": draws, "observed_data": observed, "constant_data": constant}
    return est, az.from_dict(groups, coords=coords, dims=dims)


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("negative_binomial_regression", r"alpha → \+∞"),
        ("student_t_regression", r"nu → \+∞"),
        ("normal_mixture", r"mu\[1\] → −∞, mu\[2\] → \+∞"),
    ],
)
def test_impossible_flat_posteriors_are_refused(name, tail):
    est, idata = made_up(GALLERY[name].build())
    with pytest.raises(mle.ModelError, match=f"flat: {IMPROPER}.*positive constant.*{tail}"):
        mle.compare({"MLE": est, "flat": idata})
    # With its priors, the model has one
    assert len(mle.compare({"MLE": est, "posterior": idata}))


def test_an_impossible_flat_posterior_is_refused_beside_one_estimate():
    rng = np.random.default_rng(1)
    with pm.Model() as model:
        pm.NegativeBinomial("y", mu=3.0, alpha=pm.Gamma("alpha", 2, 0.1), observed=rng.negative_binomial(2, 0.4, 50))
    est = mle.find_MLE(model)
    alpha = exact(stats.gamma(4))
    logp = mle.flatten(model).compile_logp(mode=INTERPRETED)
    lp = np.array([float(logp({"alpha_log__": v})) for v in np.log(alpha.ravel())]).reshape(alpha.shape)
    idata = az.from_dict(
        {"posterior": {"alpha": alpha}, "sample_stats": {"lp": lp}, "observed_data": {"y": est._objective.data["y"]}}
    )
    with pytest.raises(mle.ModelError, match=rf"idata: {IMPROPER}.*alpha → \+∞"):
        mle.compare(est, idata)


@pytest.mark.parametrize("name", ["normal", "poisson", "bernoulli", "linear_regression", "censored_weibull", "ar2"])
def test_proper_ones_are_not_refused(name):
    assert improper(mle.find_MLE(GALLERY[name].build())) == ""


@pytest.mark.parametrize(("rows", "refused"), [(1, True), (2, False)])
def test_the_rate_at_which_a_tail_falls_decides(rows, refused):
    """A standard deviation with known mean: its likelihood falls as σ**-n, integrable from n = 2 on."""
    with pm.Model() as model:
        pm.Normal("y", 0, pm.HalfNormal("s", 1), observed=np.arange(1.0, rows + 1))
    assert level_tails(mle.find_MLE(model)) == ([("s", 1)] if refused else [])


@pytest.mark.parametrize(("rows", "refused"), [(3, True), (4, False)])
def test_a_standard_deviation_takes_the_coefficients_with_it(rows, refused):
    """Two coefficients integrated out, it falls as σ**-(n - 2), and each coefficient's tail is that of t(n - 3)."""
    x, y = np.arange(rows) - 1.0, np.array([0.3, 1.9, 2.2, 4.1])[:rows]
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("a") + pm.Normal("b") * x, pm.HalfNormal("s", 1), observed=y)
    found = level_tails(mle.find_MLE(model))
    assert found == ([("a", 1), ("a", -1), ("b", 1), ("b", -1), ("s", 1)] if refused else [])


@pytest.mark.parametrize(("power", "refused"), [(1.0, True), (0.5, False)])
def test_the_width_of_a_ridge_decides(power, refused):
    """Nearly a line: a → ∞ with a b**p constant costs nothing, and the ridge is a**(-1/p) wide in b."""
    x = np.linspace(0.1, 1, 12)
    with pm.Model() as model:
        a, b = pm.HalfNormal("a", 10), pm.HalfNormal("b", 1)
        pm.Normal("y", a * (1 - pm.math.exp(-(b**power) * x)), 0.05, observed=2 * x - 0.05 * x**2)
    assert (("a", 1) in level_tails(mle.find_MLE(model))) is refused


@pytest.mark.parametrize(("groups", "refused"), [(2, True), (3, False)])
def test_the_scale_of_latent_variables(groups, refused):
    """The mean integrated out, it falls as τ**-(J - 1) (Gelman 2006, section 2)."""
    y = np.array([[1.0, 2.0, 1.4], [4.0, 5.5, 5.0], [-2.0, -1.0, -1.2]])[:groups]
    with pm.Model() as model:
        u = pm.Normal("u", pm.Normal("mu"), pm.HalfNormal("tau", 5), shape=groups)
        pm.Normal("y", u[:, None], 1, observed=y)
    assert bool(level_tails(mle.find_MLE(model))) is refused


def test_a_regression_that_is_not_separated_is_sound():
    x = np.arange(8.0) - 3.5
    with pm.Model() as model:
        pm.Bernoulli("z", logit_p=pm.Normal("a") + pm.Normal("b") * x, observed=[0, 0, 1, 0, 1, 0, 1, 1])
    assert level_tails(mle.find_MLE(model)) == []


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_verdicts_that_say_so():
    x = np.arange(6.0) - 2.5
    with pm.Model() as separated:
        pm.Bernoulli("z", logit_p=pm.Normal("b", 0, 1) * x, observed=x > 0)
    assert "does not fall towards its supremum" in improper(mle.find_MLE(separated))
    with pm.Model() as level:
        pm.Normal("y", pm.Normal("a", 0, 1) + pm.Normal("b", 0, 1), 1, observed=[1.0, 2.0])
    assert "level without end along a, b" in improper(mle.find_MLE(level))
    # Level, but between bounds on all sides
    with pm.Model() as bounded:
        pm.Binomial("y", 10, pm.Beta("p", 1, 1) * pm.Beta("q", 1, 1), observed=3)
    assert improper(mle.find_MLE(bounded)) == ""


@pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS:UserWarning")
def test_a_flat_prior_and_many_rows_leave_nothing_between_the_two():
    rng = np.random.default_rng(5)
    X = np.column_stack([np.ones(10_000), rng.normal(size=(10_000, 2))])
    z = rng.uniform(size=10_000) < 1 / (1 + np.exp(-X @ [-0.5, 1.0, 0.3]))
    with pm.Model(coords={"coef": ["const", "u", "v"]}) as model:
        pm.Bernoulli("z", logit_p=X @ pm.Normal("beta", 0, 0.01, dims="coef"), observed=z)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend running at least 4 chains")
        idata = pm.sample(
            500,
            model=mle.flatten(model),
            chains=2,
            cores=1,
            tune=500,
            random_seed=1,
            progressbar=False,
            compile_kwargs={"mode": Mode(linker="cvm", optimizer="fast_run")},
        )
    table = mle.compare(mle.find_MLE(model), idata)
    assert table.attrs["notes"] == ["The posterior is that of flat priors: the estimate is its mode."]
    assert (table["shift"].abs() < 0.05 + 3 * table["mcse_mean"] / table["se"]).all()
    np.testing.assert_allclose(table["sd"], table["se"], rtol=0.1)


# -- beside a posterior in one tree -------------------------------------------------------------------------------


def test_an_estimate_beside_a_posterior_leaves_it_untouched(tmp_path):
    model = poisson()
    rate = exact(POSTERIOR)
    log_likelihood = stats.poisson.logpmf(Y, rate[..., None])
    idata = az.from_dict(
        {"posterior": {"rate": rate}, "observed_data": {"y": Y}, "log_likelihood": {"y": log_likelihood}}
    )
    before = idata.copy(deep=True)
    est = mle.find_MLE(model)
    table = mle.compare(est, idata)
    idata.update(est.to_datatree().children)
    idata.update(table.to_datatree().children)
    idata.update(mle.profile(est).to_datatree().children)
    idata.to_netcdf(tmp_path / "x.nc")
    with xr.open_datatree(tmp_path / "x.nc") as loaded:
        tree = loaded.load()
    assert {"mle", "mle_fit", "mle_comparison", "mle_profile"} < set(tree.children)
    for both in (idata, tree):
        for group in ("posterior", "observed_data", "log_likelihood"):
            xr.testing.assert_identical(both[group].to_dataset(), before[group].to_dataset())
        assert az.summary(both).to_string() == az.summary(before).to_string()
        assert az.loo(both).elpd == az.loo(before).elpd
        curves = [az.plot_dist(t, backend="none").viz["dist"]["rate"].item() for t in (both, before)]
        assert str(curves[0]) == str(curves[1])
        again = mle.compare(mle.from_datatree(both, model), both)
        assert again.to_string() == table.to_string()
