"""Bambi models: the formula's own labels and intercept, against glmmTMB and statsmodels."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mle_pp as mle
from tests import mixed

bmb = pytest.importorskip("bambi")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
with_cases = pytest.mark.skipif(not mixed.HAS_CASES, reason="shared/cases/mixed is not beside the repository")
RNG = np.random.default_rng(5)
FRAME = pd.DataFrame({"x": RNG.normal(3, 2, 60), "z": RNG.normal(size=60), "g": np.tile(list("abc"), 20)})
FRAME["count"] = RNG.poisson(np.exp(0.2 + 0.2 * FRAME["x"] - 0.3 * FRAME["z"]))


@with_cases
@pytest.mark.parametrize(
    ("formula", "case", "labels"),
    [
        ("Reaction ~ Days + (1|Subject)", "sleepstudy_int_ml", ["1|Subject_sigma"]),
        ("Reaction ~ Days + (Days|Subject)", "sleepstudy_indep_ml", ["1|Subject_sigma", "Days|Subject_sigma"]),
    ],
)
def test_sleepstudy(formula, case, labels):
    """Bambi's effects of one group are independent of each other; the intercept is the formula's."""
    data = mixed.read("sleepstudy").astype({"Subject": str})
    est, found = mle.find_MLE(bmb.Model(formula, data)), mixed.reference(case)
    assert est.loglik == pytest.approx(found.loglik, abs=1e-6)
    ours = ["Intercept", "Days", *labels, "sigma"]
    np.testing.assert_allclose([float(est.params[name]) for name in ours], found.estimate, rtol=1e-5)
    np.testing.assert_allclose([float(est.stderr()[name]) for name in ours], found.stderr, rtol=1e-4)
    assert set(est.latent["1|Subject"].dims) == {"Subject__factor_dim"}


@with_cases
def test_cbpp():
    data = mixed.read("cbpp").astype({"period": str, "herd": str})
    est = mle.find_MLE(bmb.Model("p(incidence, size) ~ period + (1|herd)", data, family="binomial"))
    found = mixed.reference("cbpp_laplace")
    assert est.loglik == pytest.approx(found.loglik, abs=1e-6)
    ours = [float(est.params["Intercept"]), *est.params["period"].values, float(est.params["1|herd_sigma"])]
    np.testing.assert_allclose(ours, found.estimate, rtol=1e-5)


def test_generalized_linear_model():
    """The intercept of the formula, with its covariance, whatever the graph's own is."""
    import statsmodels.formula.api as smf

    est = mle.find_MLE(bmb.Model("count ~ x + z + g", FRAME, family="poisson"))
    other = smf.poisson("count ~ x + z + g", FRAME).fit(disp=0, tol=1e-14)
    order = ["Intercept", "x", "z", "g[T.b]", "g[T.c]"]
    labels = ["Intercept", "x", "z", "g[b]", "g[c]"]
    assert est.loglik == pytest.approx(other.llf, abs=1e-9)
    ours = est.cov().sel(parameter=labels, parameter_=labels)
    theirs = other.cov_params().loc[order, order]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    table = est.summary(round_to="none")
    np.testing.assert_allclose(table.loc[labels, "mle"], other.params[order], rtol=1e-7)
    limits = mle.interval(est, "Intercept", kind="profile", ci_prob=0.95)["Intercept"].values
    for limit in limits:
        drop = est.loglik - mle.find_MLE(bmb.Model("count ~ x + z + g", FRAME, family="poisson"),
                                         fix={"Intercept": limit}).loglik  # fmt: skip
        assert drop == pytest.approx(3.841458820694124 / 2, abs=1e-6)


def test_a_model_with_one_group_effect_is_not_changed():
    model = bmb.Model("count ~ x + (1|g)", FRAME, family="poisson")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mle.VerdictWarning)
        est = mle.find_MLE(model)
    assert est.roles.names("latent") == ["1|g_offset"]
    assert {rv.name for rv in model.backend.model.free_RVs} == {"Intercept", "x", "1|g_sigma", "1|g_offset"}


@with_cases
def test_a_restricted_intercept_is_the_formulas():
    data = mixed.read("sleepstudy").astype({"Subject": str})
    est = mle.find_MLE(bmb.Model("Reaction ~ Days + (1|Subject)", data), restricted=["Intercept", "Days"])
    expected = mixed.fits("sleepstudy_int_reml")["fixef"]["(Intercept)"]
    assert float(est.latent["Intercept"]) == pytest.approx(expected, rel=1e-7)
