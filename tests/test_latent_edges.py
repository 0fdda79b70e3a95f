"""Scales of latent variables at zero and their correlations at ±1: what is estimated there, and what is said."""

from functools import cache

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pymc.distributions.transforms import CholeskyCorrTransform
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm

import mle_pp as mle
from mle_pp.intervals.scalars import target
from mle_pp.stretched import Stretched
from mle_pp.verdict import Status

# -- scales --------------------------------------------------------------------------------------------------------

EFFECT = np.array([28, 8, -3, 7, -1, 1, 18, 12.0])
ERROR = np.array([15, 10, 16, 11, 9, 11, 10, 18.0])


def schools(centered: bool = True) -> pm.Model:
    """Rubin's eight schools, whose effects vary less than their errors let expect."""
    with pm.Model(coords={"school": list("ABCDEFGH")}) as model:
        mu, tau = pm.Normal("mu", 0, 20), pm.HalfNormal("tau", 10)
        theta = (
            pm.Normal("theta", mu, tau, dims="school")
            if centered
            else mu + tau * pm.Normal("theta", dims="school")
        )  # fmt: skip
        pm.Normal("y", theta, ERROR, observed=EFFECT)
    return model


@pytest.mark.parametrize("centered", [True, False])
def test_a_scale_of_zero_in_plain_words(centered):
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY"):
        est = mle.find_MLE(schools(centered))
    [finding] = est.verdict.findings
    assert finding.kind == "boundary"
    assert finding.variables == ("tau",)
    assert finding.evidence["limit"] == {"tau": 0.0}
    assert "the 8 values of theta (school) vary no more than chance" in finding.message
    assert "support" not in str(finding)
    # what is said of the rest, of tests and of intervals is so
    mean = np.sum(EFFECT / ERROR**2) / np.sum(ERROR**-2.0)
    assert est.loglik == pytest.approx(norm.logpdf(EFFECT, mean, ERROR).sum(), abs=1e-9)
    null = mle.find_MLE(schools(centered), fix={"tau": 0})
    test = mle.lr_test(null, est)
    assert (test.statistic, test.pvalue, test.law) == (0, 1, "½ χ²(0) + ½ χ²(1)")
    with pytest.raises(mle.ModelError, match="vary no more than chance"):
        mle.wald_test(est, "tau = 5")
    with pytest.warns(mle.ProfileWarning, match="tau: lower edge"):
        limits = mle.interval(est, "tau", kind="profile")["tau"]
    assert limits.sel(ci_bound="lower") == 0
    assert 5 < limits.sel(ci_bound="upper") < 20


def test_two_scales_of_which_one_is_zero():
    """The other variable is not spoken of; of a vector of scales, the element."""
    rng = np.random.default_rng(3)
    a, b = np.repeat(np.arange(6), 8), np.tile(np.arange(8), 6)
    y = rng.normal(size=6)[a] + rng.normal(size=48)
    y -= np.array([y[b == k].mean() for k in range(8)])[b]
    with pm.Model(coords={"a": range(6), "b": range(8)}) as model:
        sd, sigma = pm.HalfNormal("sd", shape=2), pm.HalfNormal("sigma")
        u, v = pm.Normal("u", 0, sd[0], dims="a"), pm.Normal("v", 0, sd[1], dims="b")
        pm.Normal("y", u[a] + v[b], sigma, observed=y)
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY"):
        est = mle.find_MLE(model)
    [finding] = est.verdict.findings
    assert finding.variables == ("sd[1]",)
    assert "the 8 values of v (b) vary no more" in finding.message
    assert est.params["sd"][0] > 0.3


def test_an_edge_that_is_no_latent_scale():
    """A bound of the user's own beside latent variables is told as ever."""
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(8), 5)
    with pm.Model() as model:
        mu, tau = pm.Uniform("mu", 3, 4), pm.HalfNormal("tau")
        u = pm.Normal("u", 0, tau, shape=8)
        pm.Normal("y", mu + u[g], 1, observed=rng.normal(size=8)[g] + rng.normal(size=40))
    with pytest.warns(mle.VerdictWarning, match="support of the prior declared for mu"):
        est = mle.find_MLE(model)
    assert est.verdict.findings[0].variables == ("mu",)


# -- correlations --------------------------------------------------------------------------------------------------

GROUPS, TIMES = 12, np.arange(5.0)
GROUP, TIME = np.repeat(np.arange(GROUPS), TIMES.size), np.tile(TIMES, GROUPS)
DESIGN = np.column_stack([np.ones(TIMES.size), TIMES])


def growth() -> np.ndarray:
    """Intercepts and slopes, few and noisy: their covariance matrix is estimated with rank one."""
    rng = np.random.default_rng(2)
    u = rng.multivariate_normal([0, 0], [[1, 0.135], [0.135, 0.0225]], GROUPS)
    return 2 + 0.5 * TIME + u[GROUP, 0] + u[GROUP, 1] * TIME + rng.normal(size=GROUP.size)


def dense(y: np.ndarray, rank: int) -> tuple[float, np.ndarray]:
    """The maximum of the mixed model's likelihood over covariances LLᵀ of this rank: log-likelihood, (σ, L)."""
    rows = y.reshape(GROUPS, -1)

    def loss(p: np.ndarray) -> float:
        L = np.array([[p[1], 0.0], [p[2], p[3] if rank == 2 else 0.0]])
        V = DESIGN @ L @ L.T @ DESIGN.T + p[0] ** 2 * np.eye(TIMES.size)
        beta = np.linalg.solve(DESIGN.T @ np.linalg.solve(V, DESIGN), DESIGN.T @ np.linalg.solve(V, rows.mean(axis=0)))
        return -multivariate_normal.logpdf(rows - DESIGN @ beta, cov=V).sum()

    starts = [[1, 1, 0.1, 0.1], [1, 1, -0.1, 0.1], [1, 0.3, 0.1, 0.3]]
    best = min((minimize(loss, start, method="BFGS", options={"gtol": 1e-7}) for start in starts), key=lambda r: r.fun)
    return -best.fun, best.x


def slopes(y: np.ndarray, sign: int, form: str) -> pm.Model:
    """Correlated random intercepts and slopes; time runs backwards for the sign -1, which turns the correlation."""
    with pm.Model(coords={"group": range(GROUPS), "effect": ["intercept", "slope"]}) as model:
        beta, sigma = pm.Normal("beta", 0, 10, dims="effect"), pm.HalfNormal("sigma", 5)
        if form in ("rho", "factor"):
            sd = pm.HalfNormal("sd", 5, dims="effect")
            if form == "rho":
                rho = pm.Uniform("rho", -1, 1)
                root = pt.stack([pt.stack([1.0, 0.0]), pt.stack([rho, pt.sqrt(1 - rho**2)])])
            else:
                root = pm.LKJCorr("factor", n=2, eta=1)
            chol = sd[:, None] * root
        else:
            chol, *_ = pm.LKJCholeskyCov("chol", n=2, eta=1, sd_dist=pm.HalfNormal.dist(5, shape=2))
        if form == "centered":
            u = pm.MvNormal("u", 0, chol=chol, dims=("group", "effect"))
        else:
            u = pm.Normal("z", dims=("group", "effect")) @ chol.T
        pm.Normal("y", beta[0] + u[GROUP, 0] + sign * TIME * (beta[1] + u[GROUP, 1]), sigma, observed=y)
    return model


@cache
def fitted(form: str, sign: int) -> mle.Estimate:
    """Fitted once; from one start, for all of them lead to the same edge."""
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY"):
        return mle.find_MLE(slopes(growth(), sign, form), starts=1)


# By form: of what the finding speaks, with its variables
NAMED = {
    "centered": ("chol_corr[0, 1]", "chol[2]"),
    "offsets": ("chol_corr[0, 1]", "chol[2]"),
    "rho": ("rho",),
    "factor": ("factor[1, 0]", "factor[1, 1]"),
}


@pytest.mark.parametrize(
    ("form", "sign"), [("centered", 1), ("centered", -1), ("offsets", -1), ("rho", 1), ("factor", -1)]
)
def test_correlation_on_its_edge(form, sign):
    y = growth()
    loglik, (sigma, first, second, _) = dense(y, rank=1)
    assert dense(y, rank=2)[0] == pytest.approx(loglik, abs=1e-8)
    est = fitted(form, sign)
    assert est.verdict.status is Status.BOUNDARY
    [finding] = est.verdict.findings
    assert finding.variables == NAMED[form]
    label = finding.variables[0]
    assert finding.message.startswith(f"{label} = {sign}: as estimated, one effect is an exact multiple of another")
    assert est.loglik == pytest.approx(loglik, abs=1e-8)
    assert float(est.params["sigma"]) == pytest.approx(abs(sigma), rel=1e-5)
    sd = est.params["sd"] if form in ("rho", "factor") else est.derived["chol_stds"]
    np.testing.assert_allclose(sd, np.abs([first, second]), rtol=1e-4)
    row = est.summary(round_to="none").loc[label]
    assert row["mle"] == pytest.approx(sign, abs=1e-12)
    assert row.drop("mle").isna().all()


def test_constants_have_no_error():
    """The diagonal of a correlation matrix, which rounding leaves a little off."""
    est = fitted("centered", 1)
    diagonal = ["chol_corr[0, 0]", "chol_corr[1, 1]"]
    table = est.summary(round_to="none").loc[diagonal]
    np.testing.assert_array_equal(table["se"], 0.0)
    np.testing.assert_allclose(table.drop(columns="se"), 1.0, rtol=1e-15)
    shown = [line.split() for line in repr(est).splitlines() if "chol_corr[1, 1]" in line]
    assert shown == [["chol_corr[1,", "1]", "1", "0", "1", "1"]]
    # where a profile that does not fall to the cutoff ends
    assert target(est, "chol_corr[0, 1]").bounds == (-1, 1)
    assert target(est, "chol_stds[1]").bounds == (0, np.inf)


def test_the_scale_of_a_factor():
    """There and back, and the determinant by differences."""
    own = CholeskyCorrTransform(3)
    x = np.array([0.4, -2.0, 1.1])
    stretched = Stretched(own)
    np.testing.assert_allclose(stretched.forward(stretched.backward(x)).eval(), x, rtol=1e-12)
    np.testing.assert_allclose(stretched.backward(x).eval(), own.backward(np.sinh(x / 2)).eval(), rtol=1e-14)
    slope = (np.sinh((x + 1e-6) / 2) - np.sinh((x - 1e-6) / 2)) / 2e-6
    expected = own.log_jac_det(np.sinh(x / 2)).eval() + np.log(slope).sum()
    assert float(stretched.log_jac_det(pt.constant(x)).eval()) == pytest.approx(expected, abs=1e-9)
