"""The mixed-model cases: data, PyMC models, and what R and exact computations found.

Data (CSV) and R's fits (JSON) lie in ``shared/cases/mixed`` beside the repository; where they are missing, tests that
need them are skipped. The JSONs hold several fits of a case. Taken as references, on the scale of the models here, are

- ``glmmTMB.par`` and ``.vcov``: polished by Newton steps on TMB's exact gradient. ``beta`` (and ``betazi``) as they
  are; ``theta`` is the log of a standard deviation, its third element for a 2×2 covariance t with correlation
  t / √(1 + t²); ``betad`` is log σ² of a Gaussian response, log α of a negative binomial. The glmmTMB estimates named
  ``fixef``, ``VarCorr``, ``sigma`` and ``summary_coef`` are those of its own optimizer, before the polish: 1e-6 to
  1e-4 off.
- ``cbpp_truth``: exact derivatives, Newton-polished, a log-likelihood with all constants for each number of nodes. R's
  own with ``nAGQ`` > 1 lacks constants of the data.
- ``TMB_laplace`` of the orange trees: ``ls`` and ``lsig`` are logs of standard deviations.
- `RECOMPUTED` below, where the JSON has no polished fit, or no limits of a profile that are exact enough.

Modes are lme4's ``ranef``. Its ``se_fixef`` (lmer) and ``se_fixef_RX`` (glmer) hold the variances fixed and are not
used: the polished covariance contains the uncertainty of everything.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt

FOLDER = Path(__file__).resolve().parents[2] / "shared/cases/mixed"
HAS_CASES = FOLDER.is_dir()


@dataclass(frozen=True)
class Effect:
    """Normal effects of the groups in column ``by``, times the column ``slope`` where there is one."""

    name: str
    by: str
    slope: str | None = None


@dataclass(frozen=True)
class Case:
    """A model and its reference.

    The parameters are called ``beta[term]``, ``zi[term]``, ``sd_<effect>``, ``rho``, ``sigma``, ``alpha``; the latent
    variables ``u_<effect>``, over a dim called as the grouping column.
    """

    file: str
    source: str
    response: str
    terms: tuple[str, ...]
    effects: tuple[Effect, ...]
    family: str = "normal"
    correlated: bool = False
    options: dict = field(default_factory=dict)
    nodes: int = 1

    @property
    def restricted(self) -> bool:
        return "restricted" in self.options

    @property
    def labels(self) -> list[str]:
        """The scalars of ``est.params``, in the order of `build`'s declarations."""
        beta = [] if self.restricted else [f"beta[{term}]" for term in self.terms]
        zi = [f"zi[{term}]" for term in self.terms] if self.family == "zip" else []
        sds = [f"sd_{effect.name}" for effect in self.effects] + ["rho"] * self.correlated
        return beta + zi + sds + {"normal": ["sigma"], "nb2": ["alpha"]}.get(self.family, [])


SUBJECT, DAYS = Effect("Subject", "Subject"), Effect("Days", "Subject", slope="Days")
REML = {"restricted": ["beta"]}
ONE, LINE = ("(Intercept)",), ("(Intercept)", "Days")
PERIODS = ("(Intercept)", "period2", "period3", "period4")
SPECIES = ("(Intercept)", *(f"spp{name}" for name in ("PR", "DM", "EC-A", "EC-L", "DES-L", "DF")), "minedno")
TICKS = ("(Intercept)", "YEAR96", "YEAR97", "cHEIGHT")
BATCH, HERD, SITE = Effect("Batch", "Batch"), Effect("herd", "herd"), Effect("site", "site")
PLATES = (Effect("plate", "plate"), Effect("sample", "sample"))
BROODS = (Effect("BROOD", "BROOD"), Effect("INDEX", "INDEX"), Effect("LOCATION", "LOCATION"))
TEACHING = (Effect("s", "s"), Effect("d", "d"))

CASES = {
    "sleepstudy_int_ml": Case("sleepstudy", "sleepstudy_int_ml", "Reaction", LINE, (SUBJECT,)),
    "sleepstudy_int_reml": Case("sleepstudy", "sleepstudy_int_reml", "Reaction", LINE, (SUBJECT,), options=REML),
    "sleepstudy_slope_ml": Case(
        "sleepstudy", "sleepstudy_slope_ml", "Reaction", LINE, (SUBJECT, DAYS), correlated=True
    ),
    "sleepstudy_slope_reml": Case(
        "sleepstudy", "sleepstudy_slope_reml", "Reaction", LINE, (SUBJECT, DAYS), correlated=True, options=REML
    ),
    "sleepstudy_indep_ml": Case("sleepstudy", "sleepstudy_indep_ml", "Reaction", LINE, (SUBJECT, DAYS)),
    "Penicillin_ml": Case("Penicillin", "Penicillin_ml", "diameter", ONE, PLATES),
    "Penicillin_reml": Case("Penicillin", "Penicillin_reml", "diameter", ONE, PLATES, options=REML),
    "Dyestuff_ml": Case("Dyestuff", "Dyestuff_ml", "Yield", ONE, (BATCH,)),
    "Dyestuff_reml": Case("Dyestuff", "Dyestuff_reml", "Yield", ONE, (BATCH,), options=REML),
    "InstEval_simple_ml": Case("InstEval", "InstEval_simple_ml", "y", ("(Intercept)", "service1"), TEACHING),
    "InstEval_3way_ml": Case(
        "InstEval", "InstEval_3way_ml", "y", ("(Intercept)", "service1"), (*TEACHING, Effect("dept", "dept"))
    ),
    "cbpp_laplace": Case("cbpp", "cbpp_agq1", "incidence", PERIODS, (HERD,), "binomial"),
    "cbpp_9": Case(
        "cbpp", "cbpp_agq9", "incidence", PERIODS, (HERD,), "binomial", options={"quadrature_points": 9}, nodes=9
    ),
    "cbpp_25": Case(
        "cbpp", "cbpp_agq25", "incidence", PERIODS, (HERD,), "binomial", options={"quadrature_points": 25}, nodes=25
    ),
    "grouseticks": Case("grouseticks", "grouseticks_agq1", "TICKS", TICKS, BROODS, "poisson"),
    "Salamanders_nb2": Case("Salamanders", "Salamanders_nb2", "count", SPECIES, (SITE,), "nb2"),
    "Salamanders_zip": Case("Salamanders", "Salamanders_zip", "count", ("(Intercept)", "minedno"), (SITE,), "zip"),
}
"""By name; apart from these there are `orange` and Dyestuff2, whose variance is zero."""

LINEAR = [name for name, case in CASES.items() if case.family == "normal"]
LARGE = [name for name in LINEAR if name.startswith("InstEval")]
SMALL_LINEAR = [name for name in LINEAR if name not in LARGE]


@cache
def read(file: str) -> pd.DataFrame:
    """The data, labels of groups as text."""
    data = pd.read_csv(FOLDER / f"{file}.csv")
    groups = {effect.by for case in CASES.values() if case.file == file for effect in case.effects}
    groups |= {"Batch"} if file == "Dyestuff2" else {"Tree"} if file == "Orange" else set()
    return data.astype(dict.fromkeys(groups, str))


@cache
def fits(source: str) -> dict:
    """R's fits."""
    return json.loads((FOLDER / f"{source}.json").read_text(encoding="utf-8"))


def design(data: pd.DataFrame, terms: tuple[str, ...]) -> np.ndarray:
    """Columns of ones, of covariates, and of zeros and ones for a level of a factor, as R names them."""

    def column(term: str) -> np.ndarray:
        if term == "(Intercept)":
            return np.ones(len(data))
        if term in data:
            return data[term].to_numpy(dtype=float)
        factor = max((name for name in data if term.startswith(name)), key=len)
        return (data[factor].astype(str) == term.removeprefix(factor)).to_numpy(dtype=float)

    return np.column_stack([column(term) for term in terms])


def levels(data: pd.DataFrame, effect: Effect) -> tuple[np.ndarray, np.ndarray]:
    """The groups, and the place of each row's group among them."""
    return np.unique(data[effect.by].to_numpy(dtype=str), return_inverse=True)


# ---------------------------------------- PyMC models


def build(case: Case, centered: bool = True, reverse: bool = False, lkj: bool = False) -> pm.Model:
    """The model. ``reverse`` declares its variables in the opposite order; ``lkj`` takes PyMC's Cholesky factor."""
    data = read(case.file)
    coords = {"term": list(case.terms)} | {effect.by: levels(data, effect)[0] for effect in case.effects}
    found: dict = {}
    steps = [lambda: found.update(coefficients(case)), lambda: found.update(effects(case, centered, lkj)),
             lambda: found.update(scale(case))]  # fmt: skip
    with pm.Model(coords=coords) as model:
        for step in reversed(steps) if reverse else steps:
            step()
        eta = design(data, case.terms) @ found["beta"]
        for effect in case.effects:
            of_row = found[effect.name][levels(data, effect)[1]]
            eta = eta + (of_row if effect.slope is None else of_row * data[effect.slope].to_numpy(dtype=float))
        observe(case, data, eta, found)
    return model


def coefficients(case: Case) -> dict:
    found = {"beta": pm.Normal("beta", 0.0, 100.0, dims="term")}
    if case.family == "zip":
        found["zi"] = pm.Normal("zi", 0.0, 10.0, dims="term")
    return found


def scale(case: Case) -> dict:
    if case.family == "normal":
        return {"sigma": pm.HalfNormal("sigma", 100.0)}
    return {"alpha": pm.HalfNormal("alpha", 10.0)} if case.family == "nb2" else {}


def effects(case: Case, centered: bool, lkj: bool) -> dict:
    if case.correlated:
        return correlated_effects(case, centered, lkj)
    found = {}
    for effect in case.effects:
        sd, name, dims = pm.HalfNormal(f"sd_{effect.name}", 10.0), f"u_{effect.name}", effect.by
        if centered:
            found[effect.name] = pm.Normal(name, 0.0, sd, dims=dims)
        else:
            offset = pm.Normal(f"z_{effect.name}", 0.0, 1.0, dims=dims)
            found[effect.name] = pm.Deterministic(name, sd * offset, dims=dims)
    return found


def correlated_effects(case: Case, centered: bool, lkj: bool) -> dict:
    """Two effects of the same groups; the Cholesky factor is PyMC's, or made of two scales and a correlation."""
    first, second = case.effects
    if lkj:
        chol, _, _ = pm.LKJCholeskyCov("chol", n=2, eta=1.0, sd_dist=pm.HalfNormal.dist(10.0, shape=2))
    else:
        sds = [pm.HalfNormal(f"sd_{effect.name}", 10.0) for effect in case.effects]
        rho = pm.Uniform("rho", -1.0, 1.0)
        chol = pt.stacklists([[sds[0], 0.0], [rho * sds[1], pt.sqrt(1.0 - rho**2) * sds[1]]])
    n_groups = len(pm.modelcontext(None).coords[first.by])
    if centered:
        both = pm.MvNormal("u", np.zeros(2), chol=chol, shape=(n_groups, 2))
    else:
        both = pm.Deterministic("u", pm.Normal("z", 0.0, 1.0, shape=(n_groups, 2)) @ chol.T)
    return {first.name: both[:, 0], second.name: both[:, 1]}


def observe(case: Case, data: pd.DataFrame, eta: pt.TensorVariable, found: dict) -> None:
    y = data[case.response].to_numpy()
    if case.family == "normal":
        pm.Normal("y", eta, found["sigma"], observed=y)
    elif case.family == "binomial":
        pm.Binomial("y", n=data["size"].to_numpy(), logit_p=eta, observed=y)
    elif case.family == "poisson":
        pm.Poisson("y", pt.exp(eta), observed=y)
    elif case.family == "nb2":
        pm.NegativeBinomial("y", mu=pt.exp(eta), alpha=found["alpha"], observed=y)
    else:
        inflation = design(data, case.terms) @ found["zi"]
        pm.ZeroInflatedPoisson("y", psi=pt.sigmoid(-inflation), mu=pt.exp(eta), observed=y)


def orange(centered: bool = True) -> pm.Model:
    """Logistic growth; R's ``SSlogis``. The asymptote of a tree is ``asym``, its mean ``Asym``."""
    data = read("Orange")
    trees, place = np.unique(data["Tree"], return_inverse=True)
    with pm.Model(coords={"Tree": trees}):
        mean, xmid = pm.Normal("Asym", 200.0, 100.0), pm.Normal("xmid", 700.0, 300.0)
        scal, tau = pm.HalfNormal("scal", 500.0), pm.HalfNormal("tau", 100.0)
        if centered:
            asym = pm.Normal("asym", mean, tau, dims="Tree")
        else:
            asym = pm.Deterministic("asym", mean + tau * pm.Normal("z", 0.0, 1.0, dims="Tree"), dims="Tree")
        sigma = pm.HalfNormal("sigma", 20.0)
        curve = pm.math.sigmoid((data["age"].to_numpy(dtype=float) - xmid) / scal)
        pm.Normal("y", asym[place] * curve, sigma, observed=data["circumference"].to_numpy(dtype=float))
        return pm.modelcontext(None)


ORANGE = ["Asym", "xmid", "scal", "tau", "sigma"]


def dyestuff2(centered: bool = True) -> pm.Model:
    return build(DYESTUFF2, centered=centered)


DYESTUFF2 = Case("Dyestuff2", "Dyestuff2_ml", "Yield", ONE, (BATCH,))


# ---------------------------------------- references


@dataclass(frozen=True)
class Reference:
    """Estimates in the order of ``labels``, their covariance, and the log-likelihood with all its constants."""

    labels: list[str]
    estimate: np.ndarray
    cov: np.ndarray
    loglik: float

    @property
    def stderr(self) -> np.ndarray:
        return np.sqrt(np.diag(self.cov))


RECOMPUTED: dict[str, dict] = {}
"""Filled in below, at the end of the file."""


def reference(name: str) -> Reference:
    """The polished fit of a case."""
    if name == "orange":
        return orange_reference()
    if name in RECOMPUTED:
        found = RECOMPUTED[name]
        return Reference(CASES[name].labels, *map(np.array, (found["estimate"], found["cov"])), found["loglik"])
    case = CASES[name]
    if case.file == "cbpp":
        truth = fits("cbpp_truth")[f"Q{case.nodes}"]
        return mapped(case, [*["beta"] * 4, "theta"], truth["par"], truth["vcov"], truth["logLik"])
    fit = fits(case.source)["glmmTMB"]
    return mapped(case, fit["par_names"], fit["par"], fit["vcov"], fit["logLik"])


def mapped(case: Case, kinds: list[str], par: list[float], vcov: list[list[float]], loglik: float) -> Reference:
    """From glmmTMB's scale and order to that of the model, by the delta method."""
    log_sds = kinds.count("theta") - case.correlated

    def column(kind: str, position: int, value: float) -> tuple[str, float, float]:
        """Label, value and derivative of one parameter; ``position`` counts those of its kind."""
        if kind in ("beta", "betazi"):
            return f"{'zi' if kind == 'betazi' else kind}[{case.terms[position]}]", value, 1.0
        if kind == "betad" and case.family == "normal":
            return "sigma", np.exp(value / 2), np.exp(value / 2) / 2
        if kind == "betad":
            return "alpha", np.exp(value), np.exp(value)
        if position < log_sds:
            return f"sd_{case.effects[position].name}", np.exp(value), np.exp(value)
        return "rho", value / np.hypot(1, value), np.hypot(1, value) ** -3

    rows = [column(kind, kinds[:i].count(kind), value) for i, (kind, value) in enumerate(zip(kinds, par, strict=True))]
    order = [[label for label, _, _ in rows].index(label) for label in case.labels]
    estimate, slope = (np.array([row[part] for row in rows])[order] for part in (1, 2))
    cov = np.array(vcov, dtype=float)[np.ix_(order, order)] * np.outer(slope, slope)
    return Reference(case.labels, estimate, cov, loglik)


def orange_reference() -> Reference:
    fit = fits("Orange")["TMB_laplace"]
    par = np.array(list(fit["par"].values()))
    slope = np.array([1.0, 1.0, 1.0, *np.exp(par[3:])])
    return Reference(ORANGE, np.append(par[:3], np.exp(par[3:])), fit["vcov"] * np.outer(slope, slope), fit["logLik"])


def modes(name: str) -> dict[str, tuple[list[str], np.ndarray]]:
    """lme4's conditional modes: by grouping column, its levels and an array with a column for each of its effects."""
    found = fits(CASES[name].source).get("ranef", {})
    return {by: (values["levels"], np.array(values["mode"], dtype=float)) for by, values in found.items()}


type Limits = dict[str, tuple[float, float]]
R_LABELS: dict[str, Callable[[str], str]] = {
    "sd_(Intercept)|": lambda rest: f"sd_{rest}",
    "sd_Days|": lambda rest: "sd_Days",
    "cor_": lambda rest: "rho",
}


def limits_of_r(name: str) -> Limits:
    """lme4's 95 % profile intervals: interpolated between points of the profile, good to about 1e-4."""
    case, found = CASES[name], {}
    for label, limits in fits(case.source)["profile_ci_95"].items():
        known = next(
            (make(label.removeprefix(start)) for start, make in R_LABELS.items() if label.startswith(start)), ""
        )
        found[known or (label if label == "sigma" else f"beta[{label}]")] = (limits["lo"], limits["hi"])
    return found


def limits_of_truth(name: str) -> Limits:
    """Exact 95 % profile intervals of cbpp; Laplace, and 61 nodes for the integral itself."""
    found = fits("cbpp_truth")["Q1" if CASES[name].nodes == 1 else "Q61"]["profile_ci_95"]
    limits = {f"beta[{term}]": tuple(found[term]) for term in PERIODS}
    return limits | {"sd_herd": tuple(np.exp(found["log_sigma"]))}


RECOMPUTED |= {
    # lme4 alone has these. The maximum of `tests.linear_mixed`, started at lme4's, gradient zero to rounding error; of
    # sleepstudy_indep, glmmTMB 1.1.5 with Newton steps on its gradient agrees to 12 digits. lme4's own estimates of
    # InstEval are up to 5e-7 off (relative), its standard errors of β, with the variances held fixed, up to 5e-4.
    "sleepstudy_indep_ml": {
        "loglik": -876.001627569941,
        "estimate": [251.4051048485, 10.4672859596, 24.17126529485, 5.799408513227, 25.55613470146],
        "cov": [
            [44.99288689, -1.979139457, -2.728385361e-13, 2.387900371e-15, 4.43896358e-14],
            [-1.979139457, 2.308316496, 3.245584888e-14, -1.143928097e-13, -3.68935051e-15],
            [-2.728385361e-13, 3.245584888e-14, 29.11230205, -0.3517584329, -0.5485195734],
            [2.387900371e-15, -1.143928097e-13, -0.3517584329, 1.326672756, -0.06207881417],
            [4.43896358e-14, -3.68935051e-15, -0.5485195734, -0.06207881417, 2.236500653],
        ],
    },
    "InstEval_simple_ml": {
        "loglik": -118865.307679638296,
        "estimate": [3.283279661398, -0.09113603023612, 0.3250205965568, 0.5207849152906, 1.177539001797],
        "cov": [
            [0.0003538278558, -5.637331011e-05, 1.533532283e-06, 2.91019027e-06, -2.280488478e-07],
            [-5.637331011e-05, 0.0001761689625, 1.240418558e-06, 2.153776099e-06, -1.783572304e-07],
            [1.533532283e-06, 1.240418558e-06, 4.724057117e-05, 6.519331357e-07, -1.604689449e-06],
            [2.91019027e-06, 2.153776099e-06, 6.519331357e-07, 0.0001649073351, -7.499805544e-07],
            [-2.280488478e-07, -1.783572304e-07, -1.604689449e-06, -7.499805544e-07, 9.97555263e-06],
        ],
    },
    "InstEval_3way_ml": {
        "loglik": -118860.884387247876,
        "estimate": [
            3.282581179759,
            -0.09258861151348,
            0.3255343905356,
            0.5149800259052,
            0.07853551949761,
            1.177492504779,
        ],
        "cov": [
            [0.0008072957868, -5.941343541e-05, 1.630701554e-06, 1.822213178e-06, 5.727582842e-07, -2.046633554e-07],
            [-5.941343541e-05, 0.000179292266, 1.207412165e-06, 3.07953451e-06, -7.626306794e-06, -1.904168617e-07],
            [1.630701554e-06, 1.207412165e-06, 4.740498685e-05, 2.228446579e-07, 3.54548205e-06, -1.606042477e-06],
            [1.822213178e-06, 3.07953451e-06, 2.228446579e-07, 0.000164141769, -1.392153312e-05, -7.168126648e-07],
            [5.727582842e-07, -7.626306794e-06, 3.54548205e-06, -1.392153312e-05, 0.0006017993076, -2.842135757e-07],
            [-2.046633554e-07, -1.904168617e-07, -1.606042477e-06, -7.168126648e-07, -2.842135757e-07, 9.97436245e-06],
        ],
    },
}
