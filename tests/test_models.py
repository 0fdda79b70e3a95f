"""The gallery: plain PyMC models that build, say what they are, and have the log-likelihood of their reference fit."""

import doctest
import importlib
import inspect
import json
import pkgutil
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
from pymc.model.transform.conditioning import remove_value_transforms
from pytensor.compile.mode import Mode

import models
from models import GALLERY, data

REFERENCE = json.loads((Path(__file__).parent / "reference/gallery.json").read_text(encoding="utf-8"))["fits"]
LATENT = {name for name, entry in GALLERY.items() if entry.latent}  # their likelihood is an integral

BETA = {"beta": ("covariate",)}
FREE = {
    "normal": {"mu": (), "sigma": ()},
    "poisson": {"mu": ()},
    "bernoulli": {"p": ()},
    "exponential": {"lam": ()},
    "linear_regression": {"intercept": (), **BETA, "sigma": ()},
    "linear_regression_no_intercept": {**BETA, "sigma": ()},
    "hierarchical_regression": {"intercept": (), **BETA, "sigma": ()},
    "hierarchical_regression_shared": {"intercept": (), "mu": (), "eta": (), **BETA, "sigma": ()},
    "hierarchical_regression_free": {"intercept": (), "mu": ("covariate",), "eta": ("covariate",), **BETA, "sigma": ()},
    "random_intercepts": {"intercept": (), **BETA, "tau": (), "effect": ("subject",), "sigma": ()},
    "random_slopes": {"beta": ("term",), "chol": (), "effect": ("subject", "term"), "sigma": ()},
    "crossed_effects": {
        **{"intercept": (), "plate_sd": (), "plate_effect": ("plate",)},
        **{"sample_sd": (), "sample_effect": ("sample",), "sigma": ()},
    },
    "binomial_random_intercepts": {"intercept": (), **BETA, "tau": (), "effect": ("herd",)},
    "eight_schools": {"mu": (), "tau": (), "offset": ("school",)},
    "growth_curves": {"asym": (), "xmid": (), "scal": (), "tau": (), "asym_group": ("tree",), "sigma": ()},
    "logistic_regression": {"intercept": (), **BETA},
    "poisson_regression": {"intercept": (), **BETA},
    "negative_binomial_regression": {"intercept": (), **BETA, "alpha": ()},
    "student_t_regression": {"intercept": (), **BETA, "sigma": (), "nu": ()},
    "censored_weibull": {"intercept": (), **BETA, "alpha": ()},
    "ordered_logit": {**BETA, "cutpoints": ("cutpoint",)},
    "zero_inflated_poisson": {"intercept": (), **BETA, "psi": ()},
    "normal_mixture": {"w": ("component",), "mu": ("component",), "sigma": ("component",)},
    "ar2": {"rho": ("term",), "sigma": ()},
    "autoregressive_counts": {"mu": (), "rho": (), "sigma": (), "state": ("time",)},
}
"""The free variables, in order, and their dims."""

COORDS = {
    "random_intercepts": {"covariate": ("days",), "subject": tuple(data.sleepstudy()["subject"].unique())},
    "random_slopes": {"term": ("intercept", "days"), "subject": tuple(data.sleepstudy()["subject"].unique())},
    "crossed_effects": {"plate": tuple("abcdefghijklmnopqrstuvwx"), "sample": tuple("ABCDEF")},
    "binomial_random_intercepts": {"covariate": ("period2", "period3", "period4"), "herd": tuple(range(1, 16))},
    "eight_schools": {"school": tuple("ABCDEFGH")},
    "growth_curves": {"tree": (1, 2, 3, 4, 5)},
    "autoregressive_counts": {"time": tuple(range(1860, 1960))},
    "logistic_regression": {"covariate": ("GPA", "TUCE", "PSI")},
    "censored_weibull": {"covariate": ("treated",)},
    "zero_inflated_poisson": {"covariate": ("x1",)},
    "ordered_logit": {"covariate": ("x1", "x2"), "cutpoint": ("0|1", "1|2", "2|3")},
    "normal_mixture": {"component": (1, 2)},
    "ar2": {"term": ("constant", "lag1", "lag2")},
}
"""The coordinates of the dims in FREE; covariates are x1 and x2 where nothing is said."""

DATA = {
    "censored_weibull": {"X", "limit"},
    "random_intercepts": {"X", "index"},
    "random_slopes": {"Z", "index"},
    "crossed_effects": {"plate_index", "sample_index"},
    "binomial_random_intercepts": {"X", "index", "n"},
    "eight_schools": {"stderr"},
    "growth_curves": {"age", "index"},
}
"""The data besides y_data; "X" where there is a "beta" and nothing is said."""

DERIVED = {"random_slopes": {"chol_corr", "chol_stds"}, "eight_schools": {"theta"}}
ROWS = {"ar2": "time", "autoregressive_counts": "time", "eight_schools": "school"}
"""The dim of the rows, "obs" where nothing is said."""

DATA_SETS = [name for name, member in vars(data).items() if inspect.isfunction(member) and not name.startswith("_")]
MODULES = [
    importlib.import_module(f"models.{info.name}")
    for info in pkgutil.iter_modules(models.__path__)
    if info.name != "__main__"
]
FUNCTIONS = {
    name: member
    for module in MODULES
    for name, member in vars(module).items()
    if inspect.isfunction(member) and member.__module__ == module.__name__ and not name.startswith("_")
}
BUILDERS = {name: member for name, member in FUNCTIONS.items() if member.__annotations__["return"] is pm.Model}


@pytest.fixture(autouse=True)
def _without_c_compiler():
    with pytensor.config.change_flags(cxx="", mode=Mode(linker="py", optimizer="fast_compile")):
        yield


@pytest.fixture(params=GALLERY)
def name(request):
    return request.param


def loglik(model: pm.Model, point: dict | None = None) -> float:
    """The log-density of the observed variables, at the initial point by default."""
    logp = model.compile_logp(vars=model.observed_RVs, jacobian=False)
    return float(logp(model.initial_point() if point is None else point))


def labels(model: pm.Model) -> list[tuple[str, tuple[int, ...], str]]:
    """(variable, index, ArviZ label) of every scalar among the free variables."""
    found = []
    for rv in model.free_RVs:
        coords = [model.coords[dim] for dim in model.named_vars_to_dims.get(rv.name, ())]
        for index in np.ndindex(*(len(values) for values in coords)):
            inside = ", ".join(str(values[i]) for values, i in zip(coords, index, strict=True))
            found.append((rv.name, index, f"{rv.name}[{inside}]" if coords else rv.name))
    return found


# ---------------------------------------- the models


def test_every_entry_has_what_it_promises(name):
    entry = GALLERY[name]
    assert entry.name == name
    assert entry.description
    assert "\n" not in entry.description
    model = entry.build()
    assert model is not entry.build()
    dims = {rv.name: model.named_vars_to_dims.get(rv.name, ()) for rv in model.free_RVs}
    assert list(dims.items()) == list(FREE[name].items())
    for dim in {dim for dims in FREE[name].values() for dim in dims}:
        assert tuple(model.coords[dim]) == COORDS.get(name, {"covariate": ("x1", "x2")})[dim]


def test_the_response_is_observed_and_all_data_are_in_pm_data(name):
    model = GALLERY[name].build()
    row = ROWS.get(name, "obs")
    assert [rv.name for rv in model.observed_RVs] == ["y"]
    assert model.named_vars_to_dims["y"] == model.named_vars_to_dims["y_data"] == (row,)
    expected = DATA.get(name, {"X"} if "beta" in FREE[name] else set())
    assert {variable.name for variable in model.data_vars} == {"y_data", *expected}
    assert not model.potentials
    assert {variable.name for variable in model.deterministics} == DERIVED.get(name, set())


def test_gallery_covers_every_model():
    assert list(GALLERY) == list(FREE)
    assert set(models.__all__) == {"GALLERY", "Entry", "data", *BUILDERS}
    assert set(BUILDERS) - {"autoregression"} == set(GALLERY) - {"linear_regression_no_intercept", "ar2"}


def test_log_likelihood_at_the_initial_point_is_finite(name):
    assert np.isfinite(loglik(GALLERY[name].build()))


@pytest.mark.parametrize("name", [name for name in GALLERY if name not in {"eight_schools", "autoregressive_counts"}])
def test_data_can_be_replaced(name):
    """As for a prediction: other rows, another number of them. (Not where each row has a latent variable.)"""
    model = GALLERY[name].build()
    y = model.observed_RVs[0]
    (row,) = model.named_vars_to_dims["y"]
    few = {variable.name: variable.get_value()[3:10] for variable in model.data_vars}
    logp = model.compile_logp(vars=[y], jacobian=False, sum=False)
    before = logp(model.initial_point())[0]
    assert np.isfinite(before).all()
    with model:
        pm.set_data(few, coords={row: np.arange(7)})
    after = logp(model.initial_point())[0]
    if name == "ar2":  # one term for the whole series
        assert after.shape == before.shape == ()
        assert after > before
    else:
        np.testing.assert_array_equal(after, before[3:10])


@pytest.mark.parametrize(
    ("build", "n_free"),
    [
        (lambda: models.hierarchical_regression(data.seed(), mu=[5.0, 10.0], eta=[2.0, 3.0]), 4),
        (lambda: models.normal_mixture(data.two_clusters(), n_components=3), 9),
        (lambda: models.autoregression(data.sunspots(), order=1), 3),
        (lambda: models.autoregression(data.sunspots(), order=4), 6),
        (lambda: models.normal([1.0, 2.0, 4.0]), 2),
    ],
    ids=["known constants per coefficient", "three components", "AR(1)", "AR(4)", "a plain list"],
)
def test_variants(build, n_free):
    model = build()
    assert len(labels(model)) == n_free
    assert np.isfinite(loglik(model))


# ---------------------------------------- the reference


def test_every_likelihood_without_integral_has_a_reference():
    assert set(REFERENCE) == set(GALLERY) - LATENT


@pytest.mark.parametrize("name", REFERENCE)
def test_log_likelihood_at_the_reference_estimate(name):
    """PyMC's density against one written by hand, constants included, and with it labels, parametrization and data."""
    model, reference = GALLERY[name].build(), REFERENCE[name]
    scalars = labels(model)
    assert [label for _, _, label in scalars] == list(reference["params"])
    assert reference["n_obs"] == len(model["y_data"].get_value())
    assert reference["n_params"] == len(scalars) - (name == "normal_mixture")  # its weights sum to one
    cov = np.array(reference["cov"])
    stderr = [values["stderr"] for values in reference["params"].values()]
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), stderr, rtol=1e-14)

    constrained = remove_value_transforms(model)
    point = constrained.initial_point()
    for variable, index, label in scalars:
        point[variable][index] = reference["params"][label]["estimate"]
    assert loglik(constrained, point) == pytest.approx(reference["loglik"], rel=1e-12)


def test_seed_reference_shows_the_digits_of_the_issue():
    fit = REFERENCE["linear_regression"]
    estimates = [round(values["estimate"], 4) for values in fit["params"].values()]
    stderrs = [round(values["stderr"], 3) for values in fit["params"].values()]
    assert estimates == [9.0629, 4.3478, 11.0557, 4.8884]
    assert stderrs == [0.946, 1.301, 1.174, 0.244]
    assert round(fit["loglik"], 3) == -601.160


# ---------------------------------------- the data


def test_seed_data_are_those_of_the_recipe():
    state = np.random.get_state()
    try:
        np.random.seed(123)
        x = np.random.rand(2, 200)
        e = np.random.normal(10, 5, 200)
        y = x.T @ np.random.uniform(1, 15, size=2) + e
    finally:
        np.random.set_state(state)
    np.testing.assert_array_equal(data.seed()[["x1", "x2"]].to_numpy(), x.T)
    np.testing.assert_array_equal(data.seed()["y"].to_numpy(), y)


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_are_fixed_and_leave_the_global_random_state_alone(name):
    before = np.random.get_state()
    first, second = FUNCTIONS[name](), FUNCTIONS[name]()
    assert all(np.array_equal(a, b) for a, b in zip(before, np.random.get_state(), strict=True))
    assert isinstance(first, pd.DataFrame | pd.Series)
    assert first.equals(second)
    assert first is not second
    numbers = pd.DataFrame(first).select_dtypes("number")
    assert not numbers.empty
    assert np.isfinite(numbers.to_numpy()).all()


# ---------------------------------------- the documentation


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings(name):
    function = FUNCTIONS[name]
    text = inspect.getdoc(function)
    assert text
    underlines = [line for line in text.splitlines() if "---" in line]
    assert all(set(line) == {"-"} for line in underlines), "a section's title and text ran into one line"
    if name in BUILDERS:
        assert ".. math::" in text
        for section in ("Parameters", "Returns", "References", "Examples"):
            assert f"\n{section}\n{'-' * len(section)}\n" in text
        assert all(parameter in text for parameter in inspect.signature(function).parameters)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0
