"""Covariance matrices: against statsmodels, against closed forms, and where the model is wrong, as theory says."""

import doctest
import sys

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy import stats

import mle_pp as mle
from mle_pp.covariances import KINDS
from mle_pp.simulated import ACCURACY, simulated_information

RNG = np.random.RandomState(5)
N = 400
X = np.column_stack([np.ones(N), RNG.normal(size=(N, 2))])
ETA = X @ [0.4, 0.5, -0.3]
GROUPS = np.repeat(np.arange(N // 8), 8)
# More spread than any of the models says, and groups that share some of it: a correct model would hide a slip
SHOCK = np.repeat(RNG.normal(0, 0.4, N // 8), 8)
COUNTS = RNG.negative_binomial(1.5, 1.5 / (1.5 + np.exp(ETA + SHOCK)))
SUCCESS = (RNG.uniform(size=N) < 1 / (1 + np.exp(-ETA - 2 * SHOCK))).astype(int)
HEAVY = 3 + 2 * RNG.standard_t(5, size=N)

FAMILIES = {
    "poisson": (lambda eta: pm.Poisson("y", pm.math.exp(eta), observed=COUNTS), lambda: sm.Poisson(COUNTS, X)),
    "logit": (lambda eta: pm.Bernoulli("y", logit_p=eta, observed=SUCCESS), lambda: sm.Logit(SUCCESS, X)),
    "negative binomial": (
        lambda eta: pm.NegativeBinomial("y", mu=pm.math.exp(eta), alpha=1 / pm.HalfNormal("alpha"), observed=COUNTS),
        lambda: sm.NegativeBinomial(COUNTS, X),
    ),
}


def glm(family, x=X):
    with pm.Model() as model:
        FAMILIES[family][0](x @ pm.Normal("beta", shape=x.shape[1]))
    return model


def ordered(cov):
    """Coefficients first, as statsmodels has them: the model's own order is that of declaration."""
    labels = sorted(cov.parameter.values, key=lambda label: (not label.startswith("beta"), label))
    return cov.sel(parameter=labels, parameter_=labels).values


@pytest.mark.parametrize("family", FAMILIES)
def test_statsmodels(family):
    est = mle.find_MLE(glm(family))
    kinds = {
        "hessian": {},
        "HC0": {"cov_type": "HC0"},
        "cluster": {"cov_type": "cluster", "cov_kwds": {"groups": GROUPS}},
        "CR0": {"cov_type": "cluster", "cov_kwds": {"groups": GROUPS, "use_correction": False}},
    }
    found = {}
    for kind, options in kinds.items():
        other = FAMILIES[family][1]().fit(method="newton", tol=1e-13, maxiter=200, disp=0, **options)
        np.testing.assert_allclose(est.params["beta"], other.params[:3], rtol=1e-7)
        found[kind] = ordered(est.cov(kind, GROUPS if kind in ("cluster", "CR0") else None))
        np.testing.assert_allclose(found[kind], other.cov_params(), rtol=1e-6, atol=1e-6 * np.abs(found[kind]).min())
    assert not np.allclose(found["hessian"], found["HC0"], rtol=0.05)
    assert not np.allclose(found["HC0"], found["cluster"], rtol=0.05)


def test_hc1_of_a_linear_model():
    """statsmodels' OLS does not count σ among the parameters."""
    y = HEAVY * (1 + X[:, 1] ** 2)
    with pm.Model() as model:
        pm.Normal("y", X @ pm.Normal("beta", shape=3), pm.HalfNormal("sigma", 5), observed=y)
    est = mle.find_MLE(model)
    other = sm.OLS(y, X).fit()
    np.testing.assert_allclose(est.cov("HC1")[:3, :3] * (N - 4) / N, other.cov_HC0, rtol=1e-6)
    np.testing.assert_allclose(est.cov("HC1")[:3, :3] * (N - 4) / (N - 3), other.cov_HC1, rtol=1e-6)


def normal(y=HEAVY, **options):
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10), observed=y)
    return mle.find_MLE(model, **options)


def moments(y):
    """The three covariances of (mean, sd) of a normal model, by the sample's central moments (White 1982)."""
    sd = y.std()
    z = (y - y.mean()) / sd
    skew, kurtosis = np.mean(z**3), np.mean(z**4)
    meat = np.array([[1, skew], [skew, kurtosis - 1]]) / sd**2
    bread = np.diag([sd**2, sd**2 / 2])
    n = len(y)
    return {"hessian": bread / n, "opg": np.linalg.inv(meat) / n, "sandwich": bread @ meat @ bread / n}


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (1e5, 1), (0, 1e-6), (-3e3, 1e4)])
def test_misspecified_normal_model(shift, scale):
    y = shift + scale * HEAVY
    est, theory = normal(y), moments(y)
    for kind, expected in theory.items():
        np.testing.assert_allclose(est.cov(kind), expected, rtol=1e-6, atol=1e-9 * expected.max())
    errors = {kind: float(est.stderr(kind)["sigma"]) for kind in theory}
    assert errors["opg"] < 0.8 * errors["hessian"] < 0.64 * errors["sandwich"]


def test_scales_and_derived():
    """σ is searched on the log: the delta method on σ, and on whatever is made of it."""
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma", 10)
        pm.Deterministic("variance", sigma**2)
        pm.Normal("y", pm.Normal("mu", 0, 10), sigma, observed=HEAVY)
    est = mle.find_MLE(model)
    sigma = float(est.params["sigma"])
    for kind, groups in (("sandwich", None), ("opg", None), ("cluster", GROUPS)):
        inner, outer = est.cov(kind, groups, scale="unconstrained"), est.cov(kind, groups)
        ratio = outer.sel(parameter="sigma", parameter_="mu") / inner.sel(parameter="sigma_log__", parameter_="mu")
        assert float(ratio) == pytest.approx(sigma, rel=1e-9)
        errors = est.stderr(kind, groups)
        assert float(errors["sigma"]) == pytest.approx(np.sqrt(outer.values[0, 0]), rel=1e-12)
        assert float(errors["variance"]) == pytest.approx(2 * sigma * float(errors["sigma"]), rel=1e-9)


def test_summary_of_a_kind():
    est = normal()
    table = est.summary(kind="cluster", groups=GROUPS, ci_prob=0.95, round_to="none")
    se = float(est.stderr("cluster", GROUPS)["mu"])
    assert table.loc["mu", "se"] == pytest.approx(se, rel=1e-12)
    half = table.loc["mu", "wald95_ub"] - table.loc["mu", "mle"]
    assert half == pytest.approx(stats.norm.ppf(0.975) * se, rel=1e-9)


def test_groups_of_any_label():
    est = normal()
    expected = est.cov("cluster", GROUPS)
    assert expected.attrs == {"n_groups": N // 8}
    names = [f"g{k}" for k in GROUPS]
    for groups in (names, pd.Series(names, index=range(5, N + 5)), pd.Categorical(names), {"y": GROUPS}):
        xr.testing.assert_allclose(est.cov("cluster", groups), expected, rtol=1e-12)
    xr.testing.assert_allclose(est.cov("CR0", np.arange(N)), est.cov("sandwich"), rtol=1e-12)


def test_groups_of_several_sets_of_rows():
    """The same label is the same group, in whichever rows."""
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        for part, y in (("first", HEAVY[:200]), ("second", HEAVY[200:])):
            pm.Normal(part, mu, 3, observed=y)
    est = mle.find_MLE(model)
    cov = float(est.cov("CR0", {"first": GROUPS[:200], "second": GROUPS[:200]}).item())
    sums = [HEAVY[np.tile(GROUPS[:200], 2) == g].sum() - 16 * HEAVY.mean() for g in range(25)]
    assert cov == pytest.approx(np.sum(np.square(sums)) / N**2, rel=1e-9)


BAD = {
    "short": ({"kind": "cluster", "groups": GROUPS[1:]}, rf"groups has shape \({N - 1},\), but {N} rows belong to y"),
    "NaN": ({"kind": "cluster", "groups": np.where(np.arange(N) == 3, np.nan, GROUPS)}, "missing label in row 3"),
    "None": ({"kind": "CR0", "groups": [None, *GROUPS[1:]]}, "missing label in row 0"),
    "one": ({"kind": "cluster", "groups": np.zeros(N)}, r"one group only \(0.0\)"),
    "none": ({"kind": "cluster"}, "kind='cluster' needs groups="),
    "other": ({"kind": "sandwich", "groups": GROUPS}, "groups= belongs to kind='cluster'.*not to kind='sandwich'"),
    "kind": ({"kind": "robust"}, "kind='robust' is not one of 'hessian', 'expected', 'opg', 'sandwich', 'cluster'"),
    "scale": ({"scale": "log"}, "scale='log' is not one of"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        normal().cov(**arguments)


def test_too_few_rows():
    with pm.Model() as model:
        beta = pm.Normal("beta", shape=3)
        pm.Normal("y", X[:3] @ beta, 1, observed=HEAVY[:3])
    est = mle.find_MLE(model)
    with pytest.raises(ValueError, match=r'cov\("HC1"\).*more rows \(n = 3\) than parameters \(k = 3\)'):
        est.cov("HC1")
    with pytest.raises(ValueError, match=r"outer product of the scores of 3 rows is singular for 3 parameters"):
        est.cov("opg")


def test_verdicts_withhold_the_same_numbers_of_every_kind():
    """Along a direction that the data do not determine there is no standard error of any kind."""
    with pm.Model() as model:
        a, b, c = pm.Normal("a"), pm.Normal("b"), pm.Normal("c")
        pm.Poisson("y", pm.math.exp(a + b + c * X[:, 1]), observed=COUNTS)
    with pytest.warns(mle.VerdictWarning, match="NOT_IDENTIFIED"):
        est = mle.find_MLE(model)
    for kind in KINDS:
        groups = GROUPS if kind.startswith(("C", "c")) else None
        errors = est.stderr(kind, groups)
        assert np.isnan(errors["a"])
        assert np.isnan(errors["b"])
        assert errors["c"] > 0
    with pm.Model() as model:
        pm.Uniform("y", 0, pm.HalfNormal("top", 10, initval=50), observed=HEAVY - HEAVY.min() + 1)
    with pytest.warns(mle.VerdictWarning, match="IRREGULAR"):
        est = mle.find_MLE(model)
    for kind in ("hessian", "sandwich", "opg", "expected"):
        assert np.isnan(est.cov(kind)).all()


def test_penalized_fits():
    """The scores of a penalized fit sum to zero only with the penalty: a share of its gradient in each row."""
    tau = 0.05
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu", 0, tau), 2.0, observed=HEAVY)
    est = mle.find_MLE(model, keep_priors=["mu"])
    bread = 1 / (N / 4 + 1 / tau**2)
    assert float(est.cov("hessian").item()) == pytest.approx(bread, rel=1e-9)
    assert float(est.cov("sandwich").item()) == pytest.approx(bread**2 * N * HEAVY.var() / 16, rel=1e-9)
    for kind in ("opg", "expected"):
        with pytest.raises(ValueError, match=rf'cov\("{kind}"\) has no meaning with kept priors'):
            est.cov(kind)
    xr.testing.assert_allclose(mle.find_MAP(model).cov("sandwich"), est.cov("sandwich"))


# -- expected information -----------------------------------------------------------------------------------------


# Methylation of three sites in twelve people: the test data of R's betareg, by way of statsmodels. The expected errors
# are betareg's. Those it prints for the observed information come from differences and are off by 6e-4: these here are
# of the same model in 40 digits (mpmath), and statsmodels' BetaModel agrees.
GENDER = np.tile(list("FMMFMMFFFFFM"), 3) == "M"
AGE = np.tile([58.231, 52.632, 64.679, 55.299, 56.019, 62.021, 52.298, 39.71, 57.492, 57.624, 40.487, 53.662], 3)
METHYLATION = np.ravel([
    [0.815, 0.803, 0.803, 0.808, 0.855, 0.813, 0.816, 0.827, 0.829, 0.776, 0.786, 0.822],
    [0.891, 0.894, 0.894, 0.869, 0.914, 0.889, 0.885, 0.898, 0.896, 0.86, 0.887, 0.88],
    [0.936, 0.913, 0.9, 0.912, 0.935, 0.928, 0.915, 0.916, 0.929, 0.92, 0.916, 0.926],
])  # fmt: skip
BETAREG = {
    "expected": [0.0340120810079364, 0.0435912797271355, 0.0483424930413969, 0.0531104241011462,
                 1.79098056245575, 0.0327648100640521],
    "hessian": [0.0340453331339, 0.043586777433, 0.0490091228681, 0.0533869338292, 1.83957883478, 0.0336423397938],
}  # fmt: skip


@pytest.mark.parametrize("kind", BETAREG)
def test_beta_regression(kind):
    site = np.repeat(np.arange(3), 12)
    x = np.column_stack([np.ones(36), GENDER, site == 1, site == 2])
    with pm.Model() as model:
        mean = pm.math.invlogit(x @ pm.Normal("beta", shape=4))
        gamma = pm.Normal("gamma", shape=2, initval=[2.0, 0.0])
        precision = pm.math.exp(gamma[0] + gamma[1] * AGE)
        pm.Beta("y", mean * precision, (1 - mean) * precision, observed=METHYLATION)
    est = mle.find_MLE(model)
    assert est.loglik == pytest.approx(104.148028405343, abs=1e-9)
    errors = np.concatenate([est.stderr(kind)[name] for name in ("beta", "gamma")])
    np.testing.assert_allclose(errors, BETAREG[kind], rtol=1e-5)


def test_simulated_expected_information():
    """A Weibull model's is known; in another parametrization the library has to simulate it."""
    shape, scale = 1.7, 3.0
    y = scale * RNG.weibull(shape, size=200)
    with pm.Model() as model:
        k, lam = pm.HalfNormal("k", 5), pm.HalfNormal("lam", 10)
        pm.CustomDist(
            "y", k, lam,
            logp=lambda v, k, lam: pm.math.log(k / lam) + (k - 1) * pm.math.log(v / lam) - (v / lam) ** k,
            random=lambda k, lam, rng=None, size=None: lam * rng.weibull(k, size=size),
            observed=y,
        )  # fmt: skip
    est = mle.find_MLE(model)
    generators = pm.pytensorf.find_rng_nodes(model.basic_RVs)
    states = [str(generator.get_value().bit_generator.state) for generator in generators]
    cov = est.cov("expected")
    assert states == [str(generator.get_value().bit_generator.state) for generator in generators]
    # Every row twice, in the same simulated data
    twice = mle.find_MLE(model, weights=np.full(200, 2.0)).cov("expected")
    np.testing.assert_allclose(2 * twice, cov, rtol=1e-6)
    assert 50 <= cov.attrs["n_simulations"] <= 2000
    assert 0 < cov.attrs["mc_error"] < ACCURACY
    k, lam = float(est.params["k"]), float(est.params["lam"])
    euler = np.euler_gamma
    information = 200 * np.array([
        [((1 - euler) ** 2 + np.pi**2 / 6) / k**2, -(1 - euler) / lam],
        [-(1 - euler) / lam, (k / lam) ** 2],
    ])  # fmt: skip
    exact = np.sqrt(np.diag(np.linalg.inv(information)))
    errors = est.stderr("expected")
    np.testing.assert_allclose([errors["k"], errors["lam"]], exact, rtol=3 * cov.attrs["mc_error"])
    assert abs(float(est.stderr()["k"]) / exact[0] - 1) > 5 * ACCURACY
    simulated = simulated_information(est._objective, est._optimum.x, np.eye(2))
    assert len(simulated) == cov.attrs["n_simulations"]
    mean = np.linalg.inv(simulated.mean(axis=0))
    np.testing.assert_allclose(est.cov("expected", scale="unconstrained"), mean, rtol=1e-10)
    # The stated error is that of means: the same from halves of the simulations, but for √2
    halves = [np.sqrt(np.diag(np.linalg.inv(simulated[k::2].mean(axis=0)))) for k in (0, 1)]
    assert np.max(np.abs(halves[0] / halves[1] - 1)) < 3 * 2 * cov.attrs["mc_error"]
    xr.testing.assert_identical(mle.find_MLE(model).cov("expected"), cov)


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.estimate"]).failed == 0
