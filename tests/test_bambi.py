"""Bambi models: the formula's own labels and intercept, against lme4, glmmTMB, statsmodels and models by hand."""

import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import xarray as xr

import mle_pp as mle
from mle_pp.formula import formula_of

bmb = pytest.importorskip("bambi")

MIXED = Path(__file__).resolve().parents[2] / "shared/cases/mixed"
needs_cases = pytest.mark.skipif(not MIXED.exists(), reason="shared/cases/mixed is missing")


def frame(n=60):
    rng = np.random.default_rng(11)
    data = pd.DataFrame({"x": rng.normal(20, 2, n), "z": rng.normal(-1, 2, n), "c": np.resize(list("abc"), n)})
    eta = 0.3 + 0.25 * (data.x - 20) - 0.2 * data.z
    data["y"] = eta + rng.normal(0, 0.5, n)
    data["k"] = rng.poisson(np.exp(eta))
    data["b"] = rng.binomial(1, 1 / (1 + np.exp(-eta)))
    data["pos"] = rng.gamma(3, np.exp(eta) / 3)
    data["off"] = rng.uniform(0, 1, n)
    return data


DATA = frame()


def agree(est, names, values, covariance, rtol=1e-6):
    """Estimates and their covariance."""
    labels = list(est.cov().parameter.values)
    order = [labels.index(name) for name in names]
    np.testing.assert_allclose(est._layout.vector(est.params)[order], np.asarray(values), rtol=rtol)
    scale = np.sqrt(np.diag(np.asarray(covariance)))
    found = est.cov().values[np.ix_(order, order)]
    np.testing.assert_allclose(found / np.outer(scale, scale), covariance / np.outer(scale, scale), atol=rtol)


# -- against other programs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bernoulli", "poisson"])
def test_generalized_linear_model(family):
    response, theirs = {"bernoulli": ("b", smf.logit), "poisson": ("k", smf.poisson)}[family]
    est = mle.find_MLE(bmb.Model(f"{response} ~ x + z + c", DATA, family=family))
    other = theirs(f"{response} ~ x + z + c", DATA).fit(disp=0, tol=1e-14, maxiter=100)
    names = {"Intercept": "Intercept", "c[b]": "c[T.b]", "c[c]": "c[T.c]", "x": "x", "z": "z"}
    theirs = list(names.values())
    agree(est, list(names), other.params[theirs], other.cov_params().loc[theirs, theirs])
    np.testing.assert_allclose(est.loglik, other.llf, rtol=1e-11)


def test_gaussian_and_its_profile():
    est = mle.find_MLE(bmb.Model("y ~ x + c", DATA))
    other = smf.ols("y ~ x + c", DATA).fit()
    names = ["Intercept", "c[T.b]", "c[T.c]", "x"]
    covariance = other.cov_params().loc[names, names] * other.df_resid / len(DATA)
    agree(est, ["Intercept", "c[b]", "c[c]", "x"], other.params[names], covariance)
    # The profile of a coefficient is known in closed form
    found = mle.interval(est, "Intercept", kind="profile", ci_prob=0.9)["Intercept"].values
    n, cut = len(DATA), 2.705543454095404
    wide = np.sqrt(np.expm1(cut / n) * n * covariance.loc["Intercept", "Intercept"])
    np.testing.assert_allclose(found, other.params["Intercept"] + wide * np.array([-1, 1]), rtol=1e-6)


def test_offset():
    est = mle.find_MLE(bmb.Model("k ~ x + offset(off)", DATA, family="poisson"))
    other = sm.Poisson(DATA.k, sm.add_constant(DATA[["x"]]), offset=DATA.off).fit(disp=0, tol=1e-14)
    agree(est, ["Intercept", "x"], other.params, other.cov_params())


def test_spline():
    model = bmb.Model("y ~ bs(x, df=5)", DATA)
    est = mle.find_MLE(model)
    basis = model.parameters["mu"].design.common["bs(x, df=5)"]
    other = sm.OLS(DATA.y, sm.add_constant(basis)).fit()
    names = ["Intercept", *(f"bs(x, df=5)[{k}]" for k in range(5))]
    agree(est, names, other.params, np.asarray(other.cov_params()) * other.df_resid / len(DATA))


def test_gamma_with_inverse_link_begins_where_it_has_a_meaning():
    est = mle.find_MLE(bmb.Model("pos ~ z", DATA, family="gamma"), starts=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 1/η may be negative
        family = sm.families.Gamma(sm.families.links.InversePower())
        other = smf.glm("pos ~ z", DATA, family=family).fit(tol=1e-14)
    found = [float(est.params[name]) for name in ("Intercept", "z")]
    np.testing.assert_allclose(found, other.params[["Intercept", "z"]], rtol=1e-6)


@needs_cases
@pytest.mark.parametrize(("case", "effects"), [("int", "(1|Subject)"), ("indep", "(Days|Subject)")])
def test_sleepstudy(case, effects):
    reference = json.loads((MIXED / f"sleepstudy_{case}_ml.json").read_text())
    est = mle.find_MLE(bmb.Model(f"Reaction ~ Days + {effects}", pd.read_csv(MIXED / "sleepstudy.csv")))
    names = ["Intercept", "Days"]
    np.testing.assert_allclose(est.loglik, reference["logLik"], atol=1e-6)
    # The covariance of the fixed effects is free of that of the variances in a linear model
    agree(est, names, list(reference["fixef"].values()), np.array(reference["vcov_fixef"]), 1e-5)
    sds = [row["sdcor"] for row in reference["VarCorr"]]
    labels = ["1|Subject_sigma", *(["Days|Subject_sigma"] if case == "indep" else []), "sigma"]
    np.testing.assert_allclose([float(est.params[name]) for name in labels], sds, rtol=1e-5)
    modes = np.array(reference["ranef"]["Subject"]["mode"])
    np.testing.assert_allclose(est.latent["1|Subject"], modes[:, 0], atol=1e-3)
    if case == "int":
        # Of log σ² and of the log of the other
        logs = np.sqrt(np.diag(reference["glmmTMB"]["vcov"]))[2:] * [0.5, 1]
        errors = [float(est.stderr()[name] / est.params[name]) for name in ("sigma", "1|Subject_sigma")]
        np.testing.assert_allclose(errors, logs, rtol=1e-4)


@needs_cases
def test_binomial_with_random_intercept():
    fit = json.loads((MIXED / "cbpp_agq1.json").read_text())["glmmTMB"]
    data = pd.read_csv(MIXED / "cbpp.csv").astype({"period": str, "herd": str})
    est = mle.find_MLE(bmb.Model("p(incidence, size) ~ period + (1|herd)", data, family="binomial"))
    np.testing.assert_allclose(est.loglik, -92.026281865, atol=1e-6)
    names = ["Intercept", "period[2]", "period[3]", "period[4]"]
    agree(est, names, fit["par"][:4], np.array(fit["vcov"])[:4, :4], 1e-4)
    np.testing.assert_allclose(float(est.params["1|herd_sigma"]), np.exp(fit["par"][4]), rtol=1e-5)


@needs_cases
def test_restricted_likelihood():
    reference = json.loads((MIXED / "sleepstudy_int_reml.json").read_text())
    model = bmb.Model("Reaction ~ Days + (1|Subject)", pd.read_csv(MIXED / "sleepstudy.csv"))
    est = mle.find_MLE(model, restricted=["Intercept", "Days"])
    np.testing.assert_allclose(est.loglik, reference["logLik"], atol=1e-6)
    # Integrated in the graph's scale, reported in the formula's
    for name, value in zip(["Intercept", "Days"], reference["fixef"].values(), strict=True):
        np.testing.assert_allclose(float(est.latent[name]), value, rtol=1e-6)
    errors = [float(est.latent[f"{name}_se"]) for name in ("Intercept", "Days")]
    np.testing.assert_allclose(errors, list(reference["se_fixef"].values()), rtol=1e-3)


# -- against models by hand ---------------------------------------------------------------------------------------


def same(est, other, names):
    """`names`: from the labels of the one to those of the other."""
    labels = list(other.cov().parameter.values)
    order = [labels.index(name) for name in names.values()]
    agree(est, list(names), other._layout.vector(other.params)[order], other.cov().values[np.ix_(order, order)], 1e-5)
    np.testing.assert_allclose(est.loglik, other.loglik, rtol=1e-9)


def test_censored():
    cut = 2.0
    data = DATA.assign(t=np.minimum(DATA.pos, cut), status=np.where(cut <= DATA.pos, "right", "none"))
    est = mle.find_MLE(bmb.Model("censored(t, status) ~ x", data, family="gaussian"))
    with pm.Model() as model:
        sigma, a, b = pm.HalfNormal("sigma"), pm.Normal("a"), pm.Normal("b")
        upper = np.where(data.status == "right", data.t, np.inf)
        law = pm.Normal.dist(a + b * (data.x.to_numpy() - 20), sigma)
        pm.Censored("y", law, lower=None, upper=upper, observed=data.t.to_numpy())
    other = mle.find_MLE(model)
    np.testing.assert_allclose(est.loglik, other.loglik, rtol=1e-9)
    slope = float(other.params["b"])
    np.testing.assert_allclose(float(est.params["x"]), slope, rtol=1e-6)
    np.testing.assert_allclose(float(est.params["Intercept"]), float(other.params["a"]) - 20 * slope, rtol=1e-6)


def test_distributional_model_has_two_intercepts():
    est = mle.find_MLE(bmb.Model(bmb.Formula("y ~ x", "sigma ~ z"), DATA))
    with pm.Model() as model:
        a, b, c, d = (pm.Normal(name, 0, 10) for name in "abcd")
        x, z = DATA.x.to_numpy(), DATA.z.to_numpy()
        pm.Normal("y", a + b * x, pm.math.exp(c + d * z), observed=DATA.y.to_numpy())
    names = {"Intercept": "a", "x": "b", "sigma_Intercept": "c", "sigma_z": "d"}
    same(est, mle.find_MLE(model), names)


def test_intercepts_of_categories():
    data = DATA.assign(w=np.resize(["u", "v", "w", "u", "w", "v", "v"], len(DATA)))
    models = [bmb.Model("w ~ x + c", data, family="categorical", center_predictors=on) for on in (True, False)]
    centered, plain = map(mle.find_MLE, models)
    labels = list(plain.cov().parameter.values)
    assert "Intercept[v]" in labels
    same(centered, plain, dict(zip(labels, labels, strict=True)))


def test_alias_and_interaction():
    models = [bmb.Model("y ~ x * c", DATA, center_predictors=on) for on in (True, False)]
    models[0].set_alias({"Intercept": "alpha", "x": "slope", "sigma": "noise"})
    centered, plain = map(mle.find_MLE, models)
    names = {"alpha": "Intercept", "slope": "x", "noise": "sigma", "x:c[b]": "x:c[b]", "c[c]": "c[c]"}
    same(centered, plain, names)


def test_deterministic_coefficients():
    """A horseshoe's coefficient is no free variable, but the intercept shifts with it."""
    prior = {"x": bmb.Prior("Horseshoe")}
    models = [bmb.Model("y ~ x", DATA, priors=prior, center_predictors=on) for on in (True, False)]
    hold = {"x_tau": 1.0, "x_lam": 1.0}
    centered, plain = (mle.find_MLE(model, integrate=[], fix=hold) for model in models)
    same(centered, plain, {name: name for name in ("Intercept", "x_raw", "sigma")})


# -- the scale of the formula everywhere --------------------------------------------------------------------------


def test_held_and_starting_values_are_the_formulas():
    model = bmb.Model("y ~ x", DATA)
    est = mle.find_MLE(model)
    intercept = float(est.params["Intercept"])
    held = mle.find_MLE(model, fix={"Intercept": intercept})
    np.testing.assert_allclose(held.loglik, est.loglik, rtol=1e-10)
    np.testing.assert_allclose(float(held.params["x"]), float(est.params["x"]), rtol=1e-6)
    sloped = mle.find_MLE(model, fix={"x": 0.0})
    np.testing.assert_allclose(float(sloped.params["Intercept"]), DATA.y.mean(), rtol=1e-8)
    begun = mle.find_MLE(model, initvals={"Intercept": -3.0, "x": 0.5})
    assert begun.starts["began"][0][list(begun.params).index("Intercept")] == -3.0
    np.testing.assert_allclose(begun.loglik, est.loglik, rtol=1e-10)


def test_mode_keeps_the_priors_of_the_graph():
    prior = {"Intercept": bmb.Prior("Normal", mu=5, sigma=0.1), "x": bmb.Prior("Normal", mu=0, sigma=0.05)}
    model = bmb.Model("y ~ x", DATA, priors=prior)
    mode = mle.find_MAP(model)
    bare = mle.find_MAP(model.backend.model)
    x, a = float(mode.params["x"]), float(mode.params["Intercept"])
    np.testing.assert_allclose(x, float(bare.params["x"]), rtol=1e-6)
    np.testing.assert_allclose(a + DATA.x.mean() * x, float(bare.params["Intercept"]), rtol=1e-6)


def test_a_model_taken_out_is_an_ordinary_one():
    model = bmb.Model("y ~ x", DATA)
    whole = mle.find_MLE(model)
    assert whole.model is model.backend.model
    bare = mle.find_MLE(model.backend.model)
    np.testing.assert_allclose(float(bare.params["Intercept"]), DATA.y.mean(), rtol=1e-8)
    np.testing.assert_allclose(bare.loglik, whole.loglik, rtol=1e-10)


def test_tests_and_derived_quantities():
    model = bmb.Model("k ~ x + z", DATA, family="poisson")
    large, small = mle.find_MLE(model), mle.find_MLE(model, fix={"z": 0.0})
    other = smf.poisson("k ~ x", DATA).fit(disp=0, tol=1e-14)
    score = mle.score_test(small)
    full = smf.poisson("k ~ x + z", DATA).fit(disp=0, tol=1e-14)
    np.testing.assert_allclose(mle.lr_test(small, large).statistic, 2 * (full.llf - other.llf), rtol=1e-6)
    design = np.column_stack([np.ones(len(DATA)), DATA.x, DATA.z])
    mean = other.predict()
    slope = design.T @ (DATA.k - mean)
    expected = slope @ np.linalg.solve(design.T @ (mean[:, None] * design), slope)
    np.testing.assert_allclose(score.statistic, expected, rtol=1e-6)
    wald = mle.wald_test(large, "Intercept + 20 * x = 0")
    contrast = np.array([1, 20, 0.0])
    statistic = (contrast @ full.params) ** 2 / (contrast @ full.cov_params() @ contrast)
    np.testing.assert_allclose(wald.statistic, statistic, rtol=1e-6)


def test_bootstrap_sandwich_and_gradient():
    model = bmb.Model("k ~ x", DATA, family="poisson")
    est = mle.find_MLE(model)
    other = smf.glm("k ~ x", DATA, family=sm.families.Poisson()).fit(cov_type="HC0", tol=1e-14)
    np.testing.assert_allclose(est.cov("sandwich").values, other.cov_params(), rtol=1e-5)
    draws = mle.bootstrap(est, n=20, random_seed=1)
    assert abs(float(draws.draws["Intercept"].mean()) - float(est.params["Intercept"])) < 1.5
    assert mle.check_gradient(model)["ok"].all()
    # Roles travel with refits to other processes
    assert pickle.loads(pickle.dumps(formula_of(model))).shifts["Intercept"]["x"] == pytest.approx(DATA.x.mean())


def test_datatree_and_back(tmp_path):
    model = bmb.Model("y ~ x + c", DATA)
    est = mle.find_MLE(model)
    est.to_datatree().to_netcdf(tmp_path / "est.nc")
    tree = xr.open_datatree(tmp_path / "est.nc").load()
    again = mle.from_datatree(tree, model)
    np.testing.assert_allclose(again.cov().values, est.cov().values, rtol=1e-8)
    with pytest.raises(mle.ModelError, match="Bambi"):
        mle.from_datatree(tree, model.backend.model)


def test_roles_and_flatten():
    model = bmb.Model("y ~ x + (1|c)", DATA)
    table = mle.roles(model)
    assert table["1|c_offset"].kind == "latent"
    assert table["Intercept"].kind == "parameter"
    flat = mle.flatten(bmb.Model("y ~ x", DATA))
    assert [rv.name for rv in flat.free_RVs] == ["sigma", "Intercept", "x"]


def test_compare_with_the_models_own_fit():
    data = DATA.head(30)
    model = bmb.Model("y ~ x", data)
    est = mle.find_MLE(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        idata = model.fit(draws=200, tune=300, chains=2, cores=1, random_seed=3, progressbar=False)
    table = mle.compare(est, idata, round_to="none")
    row = table.loc["Intercept"]
    # A mean of 20 a unit of x: the centered intercept is many standard errors away
    assert abs(row["mean"] - row["mle"]) < 5 * row["mcse_mean"] + 0.3 * row["se"]
    assert 0.7 < row["width_ratio"] < 1.5
    assert abs(row["prior_pull"]) < 0.3
    idata["posterior"] = idata["posterior"].to_dataset().assign_attrs(modeling_interface="")
    with pytest.warns(UserWarning, match="centered"):
        mle.compare(est, idata)


# -- other data ---------------------------------------------------------------------------------------------------

NEW = pd.DataFrame(
    {"x": [18.0, 23.0, 21.0], "z": [0.0, 1.0, -2.0], "c": ["b", "a", "b"], "off": 0.5}, index=list("pqr")
)


def test_prediction_at_new_data():
    est = mle.find_MLE(bmb.Model("k ~ x + c + offset(off)", DATA, family="poisson"))
    found = mle.predict(est, newdata=NEW)
    other = smf.poisson("k ~ x + c", DATA, offset=DATA.off).fit(disp=0, tol=1e-14)
    frame = other.get_prediction(NEW, offset=NEW.off).summary_frame()
    for name in ("mu", "k"):
        np.testing.assert_allclose(found.value[name], frame["predicted"], rtol=1e-6)
        np.testing.assert_allclose(found.se[name], frame["se"], rtol=1e-5)
    assert found.value["mu"].coords["__obs__"].values.tolist() == list("pqr")
    # The model is as it was
    np.testing.assert_allclose(mle.predict(est, "mu").value["mu"], other.predict(DATA, offset=DATA.off), rtol=1e-6)
    # And draws are of as many rows
    assert mle.simulate(est, 5, newdata=NEW, random_seed=1)["k"].shape == (1, 5, 3)


def test_prediction_of_splines_and_of_two_predictors():
    """Knots and means stay those of the fit."""
    model = bmb.Model(bmb.Formula("y ~ bs(x, df=5)", "sigma ~ z + c"), DATA)
    est = mle.find_MLE(model)
    rows = [3, 7, 8, 30]
    found = mle.predict(est, newdata=DATA.iloc[rows])
    for name in ("mu", "sigma"):
        np.testing.assert_allclose(found.value[name], est.derived[name].values[rows], rtol=1e-10)


@pytest.mark.parametrize("family", ["categorical", "binomial"])
def test_prediction_of_other_families(family):
    data = DATA.assign(w=np.resize(["u", "v", "w", "u", "w", "v", "v"], len(DATA)), n=np.resize([5, 8, 3], len(DATA)))
    data["s"] = np.minimum(data.k, data.n)
    response = {"categorical": "w", "binomial": "p(s, n)"}[family]
    est = mle.find_MLE(bmb.Model(f"{response} ~ x + c", data, family=family))
    rows = [3, 7, 8, 30]
    # What is predicted need not be given
    found = mle.predict(est, newdata=data.iloc[rows].drop(columns=["w", "s"]))
    np.testing.assert_allclose(found.value["p"], est.derived["p"].values[rows], rtol=1e-10)
    if family == "binomial":
        np.testing.assert_allclose(found.value[response], found.value["p"] * data.n.iloc[rows].to_numpy(), rtol=1e-10)


@needs_cases
def test_prediction_for_known_groups():
    data = pd.read_csv(MIXED / "sleepstudy.csv")
    est = mle.find_MLE(bmb.Model("Reaction ~ Days + (Days|Subject)", data))
    new = pd.DataFrame({"Days": [12.0, 0.5], "Subject": [310, 308]})
    found = mle.predict(est, newdata=new)
    modes = [est.latent[name].sel(Subject__factor_dim=["310", "308"]).values for name in ("1|Subject", "Days|Subject")]
    slope = float(est.params["Days"]) + modes[1]
    expected = float(est.params["Intercept"]) + modes[0] + slope * new.Days.to_numpy()
    np.testing.assert_allclose(found.value["Reaction"], expected, rtol=1e-8)
    old = mle.predict(est, newdata=data.iloc[[4, 99]])
    np.testing.assert_allclose(old.value["Reaction"], est.latent["mu"].values[[4, 99]], rtol=1e-8)
    np.testing.assert_allclose(old.se["Reaction"], est.latent["mu_se"].values[[4, 99]], rtol=1e-6)
    with pytest.raises(mle.ModelError, match="999"):
        mle.predict(est, newdata=new.assign(Subject=999))


@needs_cases
def test_prediction_for_new_groups():
    """x b, with variance x V xᵀ + τ₀² + (τ₁ x)²; groups of the fit beside them stay as they are."""
    data = pd.read_csv(MIXED / "sleepstudy.csv")
    est = mle.find_MLE(bmb.Model("Reaction ~ Days + (Days|Subject)", data))
    new = pd.DataFrame({"Days": [12.0, 0.5, 2.0], "Subject": [310, 999, 1000]})
    found = mle.predict(est, "Reaction", newdata=new, new_groups=True)
    old = mle.predict(est, "Reaction", newdata=new.iloc[:1])
    np.testing.assert_allclose(found.value["Reaction"][0], old.value["Reaction"][0], rtol=1e-10)
    np.testing.assert_allclose(found.se["Reaction"][0], old.se["Reaction"][0], rtol=1e-8)
    rows, names = np.column_stack([np.ones(2), new.Days[1:]]), ["Intercept", "Days"]
    cov = est.cov().sel(parameter=names, parameter_=names).values
    taus = np.array([est.params["1|Subject_sigma"], est.params["Days|Subject_sigma"]], dtype=float)
    variance = np.einsum("ij,jk,ik->i", rows, cov, rows) + (rows * taus) ** 2 @ np.ones(2)
    np.testing.assert_allclose(found.value["Reaction"][1:], rows @ [float(est.params[n]) for n in names], rtol=1e-8)
    np.testing.assert_allclose(found.se["Reaction"][1:], np.sqrt(variance), rtol=1e-6)


def test_draws_of_censored_observations_at_new_data():
    """An operation with a graph of its own, of as many rows as the fit had."""
    data = DATA.assign(status="none")
    est = mle.find_MLE(bmb.Model("censored(pos, status) ~ x", data, family="weibull"))
    assert mle.simulate(est, 4, newdata=NEW, random_seed=1).sizes["__obs__"] == 3


def test_new_data_that_are_not():
    est = mle.find_MLE(bmb.Model("y ~ x + c", DATA))
    for new, match in (
        (NEW.drop(columns="x"), "no column x"),
        (NEW.assign(c="d"), "not present in the original data"),
        (NEW.assign(x=np.nan), "NaN"),
        (NEW.iloc[:0], "no rows"),
        ([1.0], "DataFrame"),
    ):
        with pytest.raises(mle.ModelError, match=match):
            mle.predict(est, newdata=new)


# -- what is refused ----------------------------------------------------------------------------------------------


def test_bounded_intercept_of_centered_predictors():
    prior = {"Intercept": bmb.Prior("HalfNormal", sigma=1)}
    with pytest.raises(mle.ModelError, match="center_predictors=False"):
        mle.find_MLE(bmb.Model("y ~ x", DATA, priors=prior))
    est = mle.find_MLE(bmb.Model("pos ~ z", DATA, priors=prior, center_predictors=False))
    assert est.verdict.ok


def test_something_else():
    with pytest.raises(mle.ModelError, match="got str"):
        mle.find_MLE("y ~ x")
