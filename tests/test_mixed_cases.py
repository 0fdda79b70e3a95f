"""Mixed models against R and exact computations: every case of ``shared/cases/mixed``.

`tests.mixed` says which numbers of R are the references, `test_mixed_oracles.py` proves that they are the maxima.
"""

from functools import cache

import numpy as np
import pytest
from scipy.stats import norm, poisson

import mle_pp as mle
import models
from mle_pp import Status
from models import data
from tests import mixed
from tests.generalized_mixed import step_to_the_maximum
from tests.linear_mixed import LinearMixed
from tests.mixed import CASES, DYESTUFF2, LARGE, build, fits, limits_of_truth, read, reference

pytestmark = [
    pytest.mark.skipif(not mixed.HAS_CASES, reason="shared/cases/mixed is not beside the repository"),
    # Laplace's approximation of some cases is coarse, and the verdict says so
    pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning"),
]

LOGLIK, ESTIMATE, STDERR, LIMIT = 1e-6, 1e-5, 1e-4, 1e-4
SMALL = [name for name in CASES if name not in LARGE]
TWICE = ["sleepstudy_int_ml", "sleepstudy_slope_ml", "Penicillin_ml", "Dyestuff_reml", "cbpp_laplace", "cbpp_9",
         "Salamanders_zip"]  # fmt: skip
"""Declared in other ways, too."""


@cache
def fit(name: str, **form: bool) -> mle.Estimate:
    case = CASES[name]
    return mle.find_MLE(build(case, **form), **case.options)


@cache
def orange(centered: bool = True) -> mle.Estimate:
    return mle.find_MLE(mixed.orange(centered))


def values(est: mle.Estimate, labels: list[str], stderr: bool = False) -> np.ndarray:
    """Estimates or standard errors by label, whatever the order of the variables."""
    dataset = est.stderr() if stderr else est.params
    known = {}
    for name, array in dataset.data_vars.items():
        for index in np.ndindex(array.shape):
            inside = ", ".join(str(array[dim].values[i]) for dim, i in zip(array.dims, index, strict=True))
            known[f"{name}[{inside}]" if index else name] = float(array.values[index])
    assert set(labels) <= set(known)
    return np.array([known[label] for label in labels])


def latent(est: mle.Estimate, name: str) -> dict[str, np.ndarray]:
    """The modes of a case, an array (levels, effects) by grouping column."""
    case = CASES[name]
    if case.correlated:
        return {case.effects[0].by: est.latent["u"].values}
    found: dict[str, list] = {}
    for effect in case.effects:
        found.setdefault(effect.by, []).append(est.latent[f"u_{effect.name}"].values)
    return {by: np.column_stack(columns) for by, columns in found.items()}


# -- against the references ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_log_likelihood(name):
    est, found = fit(name), reference(name)
    assert est.verdict.status is Status.CONVERGED
    assert est.loglik == pytest.approx(found.loglik, abs=LOGLIK)
    assert est.n_obs == len(read(CASES[name].file))


@pytest.mark.parametrize("name", CASES)
def test_estimates(name):
    est, found = fit(name), reference(name)
    assert list(est.cov()["parameter"].values) == found.labels
    np.testing.assert_allclose(values(est, found.labels), found.estimate, rtol=ESTIMATE)


@pytest.mark.parametrize("name", CASES)
def test_standard_errors(name):
    est, found = fit(name), reference(name)
    np.testing.assert_allclose(values(est, found.labels, stderr=True), found.stderr, rtol=STDERR)
    scale = np.outer(found.stderr, found.stderr)
    np.testing.assert_allclose(est.cov() / scale, found.cov / scale, atol=2 * STDERR)


WITH_MODES = [name for name in CASES if mixed.modes(name) and name != "cbpp_laplace"] if mixed.HAS_CASES else []


@pytest.mark.parametrize("name", WITH_MODES)
def test_conditional_modes(name):
    """lme4's, at its own estimate: 1e-6 of their size off where it stopped short."""
    ours, theirs = latent(fit(name), name), mixed.modes(name)
    assert set(ours) == set(theirs)
    for by, (levels, expected) in theirs.items():
        order = np.argsort(np.array(levels))
        scale = np.abs(expected).max(axis=0)
        np.testing.assert_allclose(ours[by] / scale, expected[order] / scale, atol=1e-5, err_msg=by)


def test_conditional_modes_of_cbpp_solve_their_equations():
    """The score of herd h is Σ (y − n p) − u/τ²; the modes in the reference, all 1.1768 times as large, are off."""
    est, df = fit("cbpp_laplace"), read("cbpp")
    beta, tau = values(est, CASES["cbpp_laplace"].labels[:-1]), values(est, CASES["cbpp_laplace"].labels[-1:])[0]
    herds = df["herd"].astype(str).to_numpy()
    period = (df["period"].astype(str).to_numpy()[:, None] == np.array(["2", "3", "4"])).astype(float)
    levels, theirs = mixed.modes("cbpp_laplace")["herd"]

    def scores(modes):
        u = dict(zip(levels, np.ravel(modes), strict=True))
        effect = np.array([u[herd] for herd in herds])
        p = 1 / (1 + np.exp(-(beta[0] + period @ beta[1:] + effect)))
        residual = df["incidence"].to_numpy() - df["size"].to_numpy() * p
        return np.array([residual[herds == level].sum() - u[level] / tau**2 for level in levels])

    ours = latent(est, "cbpp_laplace")["herd"][np.argsort(np.argsort(np.array(levels)))]
    assert np.abs(scores(ours)).max() < 1e-8
    assert np.abs(scores(theirs)).max() > 0.3


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].restricted])
def test_restricted_coefficients_are_latent(name):
    """Integrated out, they have a mode: generalized least squares."""
    est = fit(name)
    assert "beta" not in est.params
    expected = list(fits(CASES[name].source)["fixef"].values())
    np.testing.assert_allclose(est.latent["beta"], expected, rtol=1e-8)


# -- profile intervals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sleepstudy_int_ml", "sleepstudy_slope_ml", "sleepstudy_indep_ml", "Dyestuff_ml"])
def test_profile_intervals_of_linear_models(name):
    """Against exact ones: lme4's are interpolated, one of Dyestuff by 1.7e-4."""
    problem, found = LinearMixed(CASES[name]), reference(name)
    exact = [[problem.profile_limit(found, label, upper) for upper in (False, True)] for label in found.labels]
    np.testing.assert_allclose(profile(fit(name), found.labels), exact, rtol=LIMIT)


@pytest.mark.parametrize("name", ["cbpp_laplace", "cbpp_25"])
def test_profile_intervals_of_cbpp(name):
    exact = limits_of_truth(name)
    np.testing.assert_allclose(profile(fit(name), list(exact)), list(exact.values()), rtol=LIMIT)


def profile(est: mle.Estimate, labels: list[str]) -> np.ndarray:
    found = mle.interval(est, kind="profile", ci_prob=0.95)
    return np.array([limits_of(found, label) for label in labels])


def limits_of(found, label: str) -> np.ndarray:
    name, _, inside = label.partition("[")
    array = found[name].sel(term=inside.removesuffix("]")) if inside else found[name]
    return array.sel(ci_bound=["lower", "upper"]).values


# -- closed forms --------------------------------------------------------------------------------------------------


def one_way(restricted: bool) -> dict:
    """The balanced one-way layout of Dyestuff: Searle, Casella and McCulloch, "Variance Components", chapter 4.

    σ̂² is the mean square within batches; λ = σ² + n τ² the one between them, with a or a − 1 degrees of freedom. The
    two are independent, with variances 2 σ⁴ / (a (n − 1)) and 2 λ² / df.
    """
    groups = np.stack([rows["Yield"].to_numpy() for _, rows in read("Dyestuff").groupby("Batch")])
    a, n = groups.shape
    df = a - 1 if restricted else a
    within = ((groups - groups.mean(axis=1, keepdims=True)) ** 2).sum() / (a * (n - 1))
    between = n * ((groups.mean(axis=1) - groups.mean()) ** 2).sum() / df
    tau2 = (between - within) / n
    logs = a * (n - 1) * np.log(within) + df * np.log(between) + a * n - (a - df)
    constant = (a * n - (a - df)) * np.log(2 * np.pi) + (a - df) * np.log(a * n)
    var_within, var_between = 2 * within**2 / (a * (n - 1)), 2 * between**2 / df
    stderr = [np.sqrt(var_between + var_within) / n / (2 * np.sqrt(tau2)), np.sqrt(var_within / (4 * within))]
    found = {"estimate": [np.sqrt(tau2), np.sqrt(within)], "stderr": stderr, "loglik": -(logs + constant) / 2}
    if not restricted:
        found["estimate"].insert(0, groups.mean())
        found["stderr"].insert(0, np.sqrt(between / (a * n)))
    return found


@pytest.mark.parametrize("name", ["Dyestuff_ml", "Dyestuff_reml"])
def test_the_closed_form_is_the_reference(name):
    closed, found = one_way(CASES[name].restricted), reference(name)
    np.testing.assert_allclose(found.estimate, closed["estimate"], rtol=1e-11)
    np.testing.assert_allclose(found.stderr, closed["stderr"], rtol=1e-10)
    assert found.loglik == pytest.approx(closed["loglik"], rel=1e-13)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("name", ["Dyestuff_ml", "Dyestuff_reml"])
def test_balanced_one_way_layout(name, centered):
    est, closed = fit(name, centered=centered), one_way(CASES[name].restricted)
    assert est.loglik == pytest.approx(closed["loglik"], rel=1e-10)
    np.testing.assert_allclose(values(est, CASES[name].labels), closed["estimate"], rtol=1e-10)
    # of second derivatives, and so not to as many digits
    np.testing.assert_allclose(values(est, CASES[name].labels, stderr=True), closed["stderr"], rtol=1e-6)


@pytest.mark.parametrize("centered", [True, False])
def test_a_variance_of_zero(centered):
    """Dyestuff2: exactly zero, and the other estimates are those of the model without batches."""
    y = read("Dyestuff2")["Yield"].to_numpy()
    n, sigma = len(y), y.std()
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY"):
        est = mle.find_MLE(mixed.dyestuff2(centered))
    assert est.verdict.status is Status.BOUNDARY
    assert "sd_Batch" in {label for finding in est.verdict.findings for label in finding.variables}
    labels = DYESTUFF2.labels
    assert values(est, ["sd_Batch"]) == 0.0
    np.testing.assert_allclose(values(est, labels), [y.mean(), 0.0, sigma], rtol=1e-8)
    assert est.loglik == pytest.approx(-n / 2 * (np.log(2 * np.pi * sigma**2) + 1), abs=1e-9)
    stderr = values(est, labels, stderr=True)
    np.testing.assert_allclose(stderr, [sigma / np.sqrt(n), np.nan, sigma / np.sqrt(2 * n)], rtol=1e-6)
    if centered:
        np.testing.assert_array_equal(est.latent["u_Batch"], 0.0)


# -- other declarations of the same model --------------------------------------------------------------------------


@pytest.mark.parametrize("form", [{"centered": False}, {"reverse": True}, {"centered": False, "reverse": True}],
                         ids=["non-centered", "reversed", "both"])  # fmt: skip
@pytest.mark.parametrize("name", TWICE)
def test_the_declaration_does_not_matter(name, form):
    est, other = fit(name), fit(name, **form)
    assert other.loglik == pytest.approx(est.loglik, abs=1e-8)
    labels = CASES[name].labels
    np.testing.assert_allclose(values(other, labels), values(est, labels), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(values(other, labels, stderr=True), values(est, labels, stderr=True), rtol=1e-5)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("name", ["sleepstudy_slope_ml", "sleepstudy_slope_reml"])
def test_correlated_slopes_by_a_cholesky_factor(name, centered):
    """`LKJCholeskyCov` has scales and correlation as derived quantities, with standard errors."""
    est, found = fit(name, lkj=True, centered=centered), reference(name)
    assert est.loglik == pytest.approx(found.loglik, abs=LOGLIK)
    expected = dict(zip(found.labels, zip(found.estimate, found.stderr, strict=True), strict=True))
    sds = np.array([expected["sd_Subject"], expected["sd_Days"]])
    for dataset, column, rtol in ((est.derived, 0, ESTIMATE), (est.stderr(), 1, STDERR)):
        np.testing.assert_allclose(dataset["chol_stds"], sds[:, column], rtol=rtol)
        np.testing.assert_allclose(dataset["chol_corr"].values[0, 1], expected["rho"][column], rtol=rtol)
        sigma = est.params["sigma"] if column == 0 else dataset["sigma"]
        np.testing.assert_allclose(sigma, expected["sigma"][column], rtol=rtol)
    # (sd₁, ρ sd₂, √(1 − ρ²) sd₂), the elements of the factor
    rho = expected["rho"][0]
    packed = [sds[0, 0], rho * sds[1, 0], np.sqrt(1 - rho**2) * sds[1, 0]]
    np.testing.assert_allclose(est.params["chol"], packed, rtol=ESTIMATE)


# -- growth curves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centered", [True, False])
def test_orange(centered):
    est, found = orange(centered), reference("orange")
    assert est.verdict.status is Status.CONVERGED
    assert est.loglik == pytest.approx(found.loglik, abs=LOGLIK)
    assert list(est.cov()["parameter"].values) == found.labels
    np.testing.assert_allclose(values(est, found.labels), found.estimate, rtol=ESTIMATE)
    np.testing.assert_allclose(values(est, found.labels, stderr=True), found.stderr, rtol=STDERR)
    scale = np.outer(found.stderr, found.stderr)
    np.testing.assert_allclose(est.cov() / scale, found.cov / scale, atol=2 * STDERR)


def test_asymptotes_of_the_trees():
    """TMB's modes are deviations from the mean; trees 1 to 5."""
    expected = reference("orange").estimate[0] + np.array(fits("Orange")["TMB_laplace"]["ranef"])
    np.testing.assert_allclose(orange().latent["asym"], expected, rtol=1e-6)


# -- the gallery's models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build_model", "name", "names"),
    [
        (lambda: models.random_intercepts(data.sleepstudy(), "subject", 50.0), "sleepstudy_int_ml",
         ["intercept", "beta", "tau", "sigma"]),
        (lambda: models.crossed_effects(data.penicillin(), ["plate", "sample"]), "Penicillin_ml",
         ["intercept", "plate_sd", "sample_sd", "sigma"]),
        (lambda: models.binomial_random_intercepts(data.cbpp(), "herd"), "cbpp_laplace", ["intercept", "beta", "tau"]),
        (lambda: models.growth_curves(data.orange_trees(), "tree"), "orange",
         ["asym", "xmid", "scal", "tau", "sigma"]),
    ],
    ids=["random_intercepts", "crossed_effects", "binomial_random_intercepts", "growth_curves"],
)  # fmt: skip
def test_gallery_models_are_these_cases(build_model, name, names):
    est, found = mle.find_MLE(build_model()), reference(name)
    assert est.loglik == pytest.approx(found.loglik, abs=LOGLIK)
    for dataset, expected, rtol in ((est.params, found.estimate, ESTIMATE), (est.stderr(), found.stderr, STDERR)):
        np.testing.assert_allclose(np.concatenate([np.ravel(dataset[n]) for n in names]), expected, rtol=rtol)


def test_random_slopes_of_the_gallery():
    est, found = (
        mle.find_MLE(models.random_slopes(data.sleepstudy(), "subject", 50.0)),
        reference("sleepstudy_slope_ml"),
    )
    assert est.loglik == pytest.approx(found.loglik, abs=LOGLIK)
    ours = [*est.params["beta"].values, *est.derived["chol_stds"].values, est.derived["chol_corr"].values[0, 1],
            float(est.params["sigma"])]  # fmt: skip
    np.testing.assert_allclose(ours, found.estimate, rtol=ESTIMATE)


def test_eight_schools():
    """Rubin's: complete pooling, the mean weighted by the precisions."""
    table = data.coaching()
    weights = table["stderr"] ** -2.0
    mean = (weights * table["y"]).sum() / weights.sum()
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY"):
        est = mle.find_MLE(models.eight_schools(table))
    assert est.verdict.status is Status.BOUNDARY
    assert float(est.params["tau"]) == 0.0
    assert float(est.params["mu"]) == pytest.approx(mean, rel=1e-8)
    assert float(est.stderr()["mu"]) == pytest.approx(weights.sum() ** -0.5, rel=1e-6)
    assert est.loglik == pytest.approx(norm.logpdf(table["y"], mean, table["stderr"]).sum(), abs=1e-9)


def discoveries_loglik(x: np.ndarray) -> float:
    """Laplace's approximation of the counts with an AR(1) log mean, dense."""
    (mu, rho, sigma), y = x, data.discoveries().to_numpy()
    Q = np.diag(np.r_[1.0, np.full(len(y) - 2, 1 + rho**2), 1.0])
    Q += np.diag(np.full(len(y) - 1, -rho), 1) + np.diag(np.full(len(y) - 1, -rho), -1)
    Q, state = Q / sigma**2, np.zeros(len(y))
    for _ in range(50):
        mean = np.exp(mu + state)
        H = Q + np.diag(mean)
        state = state + np.linalg.solve(H, y - mean - Q @ state)
    joint = poisson.logpmf(y, np.exp(mu + state)).sum() - state @ Q @ state / 2
    return float(joint + (np.linalg.slogdet(Q)[1] - np.linalg.slogdet(H)[1]) / 2)


def test_a_chain_of_states():
    est = mle.find_MLE(models.autoregressive_counts(data.discoveries()))
    x = np.array([float(est.params[name]) for name in ("mu", "rho", "sigma")])
    stderr = np.array([float(est.stderr()[name]) for name in ("mu", "rho", "sigma")])
    # SciPy's BFGS on the function above, from two starts
    np.testing.assert_allclose(x, [1.0031075, 0.8649833, 0.2166773], rtol=1e-5)
    assert est.loglik == pytest.approx(discoveries_loglik(x), abs=1e-8)
    found = mixed.Reference(["mu", "rho", "sigma"], x, np.diag(stderr**2), est.loglik)
    step, expected = step_to_the_maximum(discoveries_loglik, found, 0.02)
    np.testing.assert_allclose(step, 0, atol=1e-5)
    np.testing.assert_allclose(stderr, expected, rtol=STDERR)


# -- the approximation ---------------------------------------------------------------------------------------------


def test_more_nodes_come_closer():
    """The numbers of the issue: Laplace, nine and 25 nodes; 61 are exact to 1e-12."""
    logliks = [fit(name).loglik for name in ("cbpp_laplace", "cbpp_9", "cbpp_25")]
    np.testing.assert_allclose(logliks, [-92.026281865, -91.983371796, -91.983369037], atol=1e-8)
    exact = fits("cbpp_truth")["Q61"]["logLik"]
    assert (np.diff(np.abs(np.array(logliks) - exact)) < 0).all()


def test_normal_responses_need_no_nodes():
    """Laplace is exact there."""
    est = mle.find_MLE(build(CASES["sleepstudy_int_ml"]), quadrature_points=15)
    assert est.loglik == pytest.approx(fit("sleepstudy_int_ml").loglik, abs=1e-9)


@pytest.mark.parametrize("name", SMALL)
def test_the_models_are_what_they_say(name):
    """Latent variables and parameters, from the graph."""
    roles, case = mle.roles(build(CASES[name])), CASES[name]
    expected = {"u"} if case.correlated else {f"u_{effect.name}" for effect in case.effects}
    assert set(roles.names(mle.RoleKind.LATENT)) == expected
