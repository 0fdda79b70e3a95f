"""What cannot be fitted is refused in the user's names, with the remedy, before anything is optimized or compiled."""

import warnings

import numpy as np
import pymc as pm
import pytensor
import pytest
from pymc.distributions import transforms

import mle_pp as mle

Y = np.array([1.0, 2.0, 4.0, 3.0])
BAD = {"inf": np.array([1.0, 2.0, np.inf, 3.0]), "nan": np.array([1.0, np.nan, 4.0, 3.0])}


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    """Neither an optimizer nor a compiler is reached."""

    def fail(*args, **kwargs):
        raise AssertionError("the optimizer was called")

    monkeypatch.setattr("mle_pp.find.run_starts", fail)
    original = pytensor.function

    def without_compiler(*args, **kwargs):
        assert pytensor.config.cxx == ""
        return original(*args, **kwargs)

    monkeypatch.setattr(pytensor, "function", without_compiler)


@pytest.fixture
def no_objective(monkeypatch):
    """Not even the log-likelihood is built."""

    def fail(*args, **kwargs):
        raise AssertionError("the log-likelihood was built")

    monkeypatch.setattr("mle_pp.find.ModelObjective", fail)


def line(y=Y, x=None) -> pm.Model:
    with pm.Model() as model:
        intercept, slope, sigma = pm.Normal("intercept"), pm.Normal("slope"), pm.HalfNormal("sigma")
        pm.Normal("y", intercept + slope * (np.arange(4.0) if x is None else x), sigma, observed=y)
    return model


def refused(model, *words, error=mle.ModelError, **options):
    for fit in (mle.find_MLE, mle.find_MAP):
        if fit is mle.find_MAP and set(options) & {"keep_priors", "potentials"}:
            continue
        with pytest.raises(error) as caught:
            fit(model, **options)
        for word in words:
            assert word in str(caught.value)


# -- models -------------------------------------------------------------------------------------------------------


def test_no_model():
    refused(None, "pass one", "with model:")
    refused("model", "pm.Model", "str")


@pytest.mark.usefixtures("no_objective")
def test_no_observed_variable():
    with pm.Model() as model:
        pm.Normal("mu")
    refused(model, "no observed variable", "observed=")


@pytest.mark.usefixtures("no_objective")
def test_no_free_variable():
    with pm.Model() as model:
        pm.Normal("y", 0, 1, observed=Y)
    refused(model, "no free variable")


def discrete() -> pm.Model:
    with pm.Model() as model:
        k = pm.Poisson("k", 3)
        pm.Normal("y", pm.Normal("mu") + k, 1, observed=Y)
    return model


@pytest.mark.usefixtures("no_objective")
def test_discrete_variable():
    refused(discrete(), "k is discrete", "pm.Mixture", "fix={'k': ...}")


@pytest.mark.usefixtures("no_objective")
def test_potential():
    with pm.Model() as model:
        mu = pm.Normal("mu")
        pm.Potential("penalty", -(mu**2))
        pm.Normal("y", mu, 1, observed=Y)
    with pytest.raises(mle.ModelError, match="Potential penalty") as caught:
        mle.find_MLE(model)
    assert 'potentials="likelihood"' in str(caught.value)
    assert 'potentials="drop"' in str(caught.value)
    with pytest.raises(mle.ModelError, match="potentials='yes'"):
        mle.find_MLE(model, potentials="yes")


# -- data ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_objective")
def test_infinite_response():
    refused(line(BAD["inf"]), "y contains an infinite value in row 2", "Remove or correct")


@pytest.mark.usefixtures("no_objective")
def test_many_bad_rows():
    refused(line(np.full(4, np.inf)), "rows 0, 1, 2, 3")
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), 1, observed=np.full(9, -np.inf))
    refused(model, "rows 0, 1, 2, 3, 4 and 4 more")


@pytest.mark.usefixtures("no_objective")
@pytest.mark.parametrize(("value", "word"), [("nan", "NaN in row 1"), ("inf", "an infinite value in row 2")])
def test_bad_covariate(value, word):
    refused(line(x=BAD[value]), "y depends on", word, "Remove or correct")


@pytest.mark.usefixtures("no_objective")
@pytest.mark.parametrize(("value", "word"), [("nan", "NaN in row 1"), ("inf", "an infinite value in row 2")])
@pytest.mark.parametrize("container", ["x", "response"])
def test_bad_data_container(container, value, word):
    with pm.Model() as model:
        x, y = pm.Data("x", np.arange(4.0)), pm.Data("response", Y)
        pm.Normal("y", pm.Normal("slope") * x, 1, observed=y)
        # In a new container PyMC itself refuses NaN
        pm.set_data({container: BAD[value]})
    refused(model, "y" if container == "response" else "x", word)


@pytest.mark.usefixtures("no_objective")
def test_no_rows():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), 1, observed=np.array([]))
    refused(model, "y has no observations", "observed=")


@pytest.mark.usefixtures("no_objective")
def test_constant_response():
    refused(line(np.full(4, 2.5)), "All 4 values of y are 2.5", "(sigma)", "fix=")


@pytest.mark.parametrize("case", ["no intercept", "scale held", "scale shared"])
def test_constant_response_that_has_a_maximum(case):
    """No refusal: the optimizer is reached."""
    y = np.full(4, 2.5)
    with pm.Model() as model:
        sigma, slope = pm.HalfNormal("sigma"), pm.Normal("slope")
        pm.Normal("y", slope * np.arange(4.0) if case == "no intercept" else slope, sigma, observed=y)
        if case == "scale shared":
            pm.Normal("other", 0, sigma, observed=Y)
    with pytest.raises(AssertionError, match="optimizer"):
        mle.find_MLE(model, fix={"sigma": 1.0} if case == "scale held" else None)


def test_shapes_that_disagree():
    with pm.Model() as model:
        x, y = pm.Data("x", np.arange(4.0)), pm.Data("response", Y)
        pm.Normal("y", pm.Normal("slope") * x, 1, observed=y)
        pm.set_data({"x": np.arange(3.0)})
    refused(model, "y", "response (4,)", "x (3,)", "agree")


def test_infinite_limits_are_no_bad_data():
    """Censored at infinity: an argument like any other. Here the optimizer may be reached."""
    with pm.Model() as model:
        pm.Censored("y", pm.Normal.dist(pm.Normal("mu"), 1), lower=None, upper=np.array([3.0, np.inf, np.inf, np.inf]),
                    observed=[3.0, 1.0, 2.0, 0.5])  # fmt: skip
    with pytest.raises(AssertionError, match="optimizer"):
        mle.find_MLE(model)


# -- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"keep_priors": ["slop"]}, {"fix": {"slop": 1.0}}, {"initvals": {"slop": 1.0}}],
    ids=lambda options: next(iter(options)),
)
def test_unknown_names(options):
    refused(line(), f"{next(iter(options))}: slop", "(intercept, slope, sigma)", "Did you mean slope?", **options)


@pytest.mark.usefixtures("no_objective")
def test_observed_variables_are_not_free():
    refused(line(), "keep_priors: y not among", keep_priors=["y"])
    refused(line(), "fix: y not among", fix={"y": 1.0})


@pytest.mark.usefixtures("no_objective")
def test_a_name_instead_of_a_list():
    refused(line(), "keep_priors=['slope']", keep_priors="slope")


@pytest.mark.usefixtures("no_objective")
def test_kept_and_fixed():
    refused(line(), "slope", "both keep_priors and fix", keep_priors=["slope"], fix={"slope": 1.0})


# -- values -------------------------------------------------------------------------------------------------------


def everything() -> pm.Model:
    with pm.Model() as model:
        positive = pm.HalfNormal("positive")
        between = pm.Uniform("between", -1, 2)
        share = pm.Dirichlet("share", np.ones(3))
        ordered = pm.Normal("ordered", shape=2, transform=transforms.ordered, initval=[0.0, 1.0])
        free = pm.Normal("free")
        pm.Normal("y", free + between + ordered.sum() + share[0], positive, observed=Y)
    return model


OUTSIDE = {
    "positive": -1.0,
    "between": 2.5,
    "share": [0.5, 0.6, 0.2],
    "ordered": [2.0, 1.0],
    "free": np.nan,
}


@pytest.mark.parametrize("argument", ["initvals", "fix"])
@pytest.mark.parametrize(("name", "value"), OUTSIDE.items(), ids=OUTSIDE)
def test_outside_the_support(name, value, argument):
    with np.errstate(all="ignore"):
        refused(everything(), f"{argument}['{name}']", "outside the support", "inside", **{argument: {name: value}})


def test_declared_initval_outside_the_support():
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma", initval=-1.0)
        pm.Normal("y", 0, sigma, observed=Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        refused(model, "initial value of sigma", "outside the support", "HalfNormal")


@pytest.mark.parametrize("argument", ["initvals", "fix"])
def test_values_of_a_wrong_shape(argument):
    refused(everything(), f"{argument}['share']", "(2,)", "(3,)", **{argument: {"share": [0.5, 0.5]}})
    refused(everything(), f"{argument}['free']", "no number", **{argument: {"free": "one"}})


@pytest.mark.parametrize("argument", ["initvals", "fix"])
def test_names_without_values(argument):
    refused(line(), argument, "mapping", **{argument: ["slope"]})


# -- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("method", "bfgs", "newton"),
        ("starts", 0, "positive"),
        ("starts", "many", "auto"),
        ("starts", 2.5, "positive"),
        ("on_failure", "ignore", "return"),
        ("backend", "cuda", "interpreted"),
    ],
)
def test_options_that_do_not_exist(option, value, word):
    refused(line(), f"{option}={value!r}", word, error=ValueError, **{option: value})


def test_misspelt_options():
    with pytest.raises(TypeError, match="kep_priors"):
        mle.find_MLE(line(), kep_priors=["slope"])
