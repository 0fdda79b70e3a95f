"""The rule: a free variable is latent if without its prior some other free variable would lose all influence."""

import numpy as np
import pymc as pm
import pymc.dims as pmd
import pytest
from pymc.exceptions import ImputationWarning

import mle_pp as mle
from mle_pp import RoleKind

Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
S = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
X = np.random.RandomState(0).normal(size=(8, 3))
GROUP = np.array([0, 0, 1, 1, 2, 2, 3, 3])


def kinds(model, **options) -> dict[str, str]:
    return {row.name: str(row.kind) for row in mle.roles(model, **options)}


def latent(model, **options) -> set[str]:
    found = kinds(model, **options)
    assert set(found.values()) <= {"parameter", "latent"}
    return {name for name, kind in found.items() if kind == "latent"}


# -- centered -----------------------------------------------------------------------------------------------------


def test_eight_schools():
    with pm.Model() as model:
        mu, tau = pm.Normal("mu", 0, 10), pm.HalfNormal("tau", 10)
        theta = pm.Normal("theta", mu, tau, shape=8)
        pm.Normal("y", theta, S, observed=Y)
    assert latent(model) == {"theta"}
    assert mle.roles(model)["theta"].reason == "mu, tau would lose all influence on the data without its prior"
    assert mle.roles(model)["theta"].size == 8


def test_only_the_scale_is_free():
    with pm.Model() as model:
        tau = pm.HalfNormal("tau", 10)
        pm.Normal("y", pm.Normal("theta", 0, tau, shape=8), S, observed=Y)
    assert latent(model) == {"theta"}


def test_two_levels():
    """Schools in districts: both levels are latent, their location and scales are not."""
    with pm.Model() as model:
        mu, outer, inner = pm.Normal("mu"), pm.HalfNormal("outer"), pm.HalfNormal("inner")
        district = pm.Normal("district", mu, outer, shape=4)
        school = pm.Normal("school", district[GROUP], inner, shape=8)
        pm.Normal("y", school, S, observed=Y)
    assert latent(model) == {"district", "school"}


def test_crossed_effects():
    with pm.Model() as model:
        one, two, sigma = pm.HalfNormal("one"), pm.HalfNormal("two"), pm.HalfNormal("sigma")
        a, b = pm.Normal("a", 0, one, shape=4), pm.Normal("b", 0, two, shape=2)
        pm.Normal("y", a[GROUP] + b[np.arange(8) % 2], sigma, observed=Y)
    assert latent(model) == {"a", "b"}


def test_through_deterministics():
    with pm.Model() as model:
        tau = pm.HalfNormal("tau")
        variance = pm.Deterministic("variance", tau**2)
        effect = pm.Normal("effect", 0, pm.math.sqrt(variance), shape=4)
        pm.Normal("y", pm.Deterministic("mean", effect[GROUP]), 1, observed=Y)
    assert latent(model) == {"effect"}


def test_not_only_normal_ones():
    with pm.Model() as model:
        shape = pm.HalfNormal("shape")
        rate = pm.Gamma("rate", shape, shape, shape=8)
        pm.Poisson("y", rate, observed=[1, 0, 4, 2, 9, 1, 0, 3])
    assert latent(model) == {"rate"}


def test_labelled_tensors():
    with pm.Model(coords={"school": range(8)}) as model:
        mu, tau = pmd.Normal("mu", 0, 10), pmd.HalfNormal("tau", 10)
        theta = pmd.Normal("theta", mu, tau, dims="school")
        pmd.Normal("y", theta, 1.0, observed=pmd.as_xtensor(Y, dims=("school",)))
    assert latent(model) == {"theta"}


def test_imputed_values_are_latent():
    with pytest.warns(ImputationWarning), pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), 1, observed=[1.0, np.nan, 2.0])
    assert latent(model) == {"y_unobserved"}
    assert "missing values" in mle.roles(model)["y_unobserved"].reason


# -- what stays a parameter although its prior has parents --------------------------------------------------------


def test_the_parent_acts_on_the_data_too():
    """m ~ N(0, √s), y ~ N(m, √s)."""
    with pm.Model() as model:
        s = pm.InverseGamma("s", 2, 3)
        m = pm.Normal("m", 0, pm.math.sqrt(s))
        pm.Normal("y", m, pm.math.sqrt(s), observed=Y)
    assert latent(model) == set()
    assert "(s) act on the data without it too" in mle.roles(model)["m"].reason


def test_conjugate_prior():
    """β ~ N(0, kσ)."""
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma", 5)
        beta = pm.Normal("beta", 0, 3 * sigma, shape=3)
        pm.Normal("y", X @ beta, sigma, observed=Y)
    assert latent(model) == set()


def test_conjugate_prior_with_a_free_factor():
    """With k free, β is a random effect again."""
    with pm.Model() as model:
        sigma, k = pm.HalfNormal("sigma", 5), pm.HalfNormal("k")
        beta = pm.Normal("beta", 0, k * sigma, shape=3)
        pm.Normal("y", X @ beta, sigma, observed=Y)
    assert latent(model) == {"beta"}
    assert mle.roles(model)["beta"].reason.startswith("k would lose")


def test_constant_priors():
    with pm.Model() as model:
        beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("sigma", 5)
        pm.Normal("y", X @ beta, sigma, observed=Y)
    assert latent(model) == set()
    assert {row.reason for row in mle.roles(model)} == {"constant prior, dropped"}


def test_unused_variable():
    with pm.Model() as model:
        mu = pm.Normal("mu")
        pm.Normal("unused", mu)
        pm.Normal("y", mu, 1, observed=Y)
    assert latent(model) == set()
    assert "do not depend" in mle.roles(model)["unused"].reason


# -- non-centered -------------------------------------------------------------------------------------------------


def offset(make, **names):
    with pm.Model() as model:
        mu, tau = pm.Normal("mu", 0, 10), pm.HalfNormal("tau", 10)
        z = pm.Normal("z", 0, 1, shape=8)
        make(mu, tau, z)
    return model


@pytest.mark.parametrize(
    "mean",
    [
        lambda mu, tau, z: mu + tau * z,
        lambda mu, tau, z: mu + z * tau / 3 - 2 * X[:, 0],
        lambda mu, tau, z: pm.Deterministic("theta", mu + tau * pm.Deterministic("scaled", z * 1.0)),
        lambda mu, tau, z: mu + pm.math.sqrt(tau**2) * z,
    ],
    ids=["product", "scaled", "deterministic", "through a root"],
)
def test_offsets(mean):
    model = offset(lambda mu, tau, z: pm.Normal("y", mean(mu, tau, z), S, observed=Y))
    assert latent(model) == {"z"}
    assert "only through its product with tau" in mle.roles(model)["z"].reason


def test_offsets_outside_the_normal_family():
    model = offset(lambda mu, tau, z: pm.Poisson("y", pm.math.exp(mu + tau * z), observed=[1, 0, 4, 2, 9, 1, 0, 3]))
    assert latent(model) == {"z"}


def test_two_sets_of_offsets():
    with pm.Model() as model:
        one, two = pm.HalfNormal("one"), pm.HalfNormal("two")
        a, b = pm.Normal("a", shape=4), pm.Normal("b", shape=8)
        pm.Normal("y", one * a[GROUP] + two * b, S, observed=Y)
    assert latent(model) == {"a", "b"}


def test_one_scale_for_two_sets_of_offsets():
    """Only both sets together compensate the scale."""
    with pm.Model() as model:
        tau = pm.HalfNormal("tau")
        a, b = pm.Normal("a", shape=4), pm.Normal("b", shape=2)
        pm.Normal("y", tau * a[GROUP] + tau * b[np.arange(8) % 2], S, observed=Y)
    assert latent(model) == {"a", "b"}


def test_horseshoe():
    with pm.Model() as model:
        tau, lam = pm.HalfCauchy("tau", 1), pm.HalfCauchy("lam", 1, shape=3)
        z = pm.Normal("z", shape=3)
        pm.Normal("y", X @ (z * tau * lam), S, observed=Y)
    assert latent(model) == {"z"}
    assert "type-II maximum likelihood" in mle.roles(model)["z"].reason


def test_cholesky_factor():
    """Correlated intercepts and slopes."""
    with pm.Model() as model:
        chol, *_ = pm.LKJCholeskyCov("chol", n=2, eta=2, sd_dist=pm.HalfNormal.dist(1, shape=2))
        z = pm.Normal("z", shape=(2, 4))
        effect = (chol @ z).T
        pm.Normal("y", effect[GROUP, 0] + effect[GROUP, 1] * X[:, 0], S, observed=Y)
    assert latent(model) == {"z"}


def test_effect_size():
    """δ·σ with σ the noise: σ acts on the data by itself."""
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma", 5)
        delta = pm.Normal("delta", 0, 1, shape=4)
        pm.Normal("y", delta[GROUP] * sigma, sigma, observed=Y)
    assert latent(model) == set()


def test_standard_normal_coefficients():
    """A prior N(0, 1) alone does not make an offset."""
    with pm.Model() as model:
        beta, sigma = pm.Normal("beta", 0, 1, shape=3), pm.HalfNormal("sigma")
        pm.Normal("y", X @ beta, sigma, observed=Y)
    assert latent(model) == set()


def test_scalar_product_is_asked():
    with pm.Model() as model:
        a, k = pm.Normal("a"), pm.HalfNormal("k")
        pm.Normal("y", a * k, 1, observed=Y)
    with pytest.raises(mle.ModelError, match="only through their product") as caught:
        mle.roles(model)
    for word in ("k and a", "integrate=['a']"):
        assert word in str(caught.value)
    assert latent(model, integrate=[]) == set()
    assert latent(model, integrate=["a"]) == {"a"}


# -- what one asks for --------------------------------------------------------------------------------------------


def schools():
    with pm.Model() as model:
        mu, tau = pm.Normal("mu", 0, 10), pm.HalfNormal("tau", 10)
        pm.Normal("y", pm.Normal("theta", mu, tau, shape=8), S, observed=Y)
    return model


def test_integrate_list_names_exactly_the_latent_variables():
    assert latent(schools(), integrate=[]) == set()
    assert latent(schools(), integrate=["mu"]) == {"mu"}
    assert latent(schools(), integrate=["mu", "theta"]) == {"mu", "theta"}
    assert mle.roles(schools(), integrate=["mu"])["mu"].reason == "named in integrate"


def test_held_parents_leave_a_prior():
    """With mu and tau known, theta is a parameter with a prior of constants."""
    found = kinds(schools(), fix={"mu": 0.0, "tau": 1.0})
    assert found == {"mu": "fixed", "tau": "fixed", "theta": "parameter"}
    assert kinds(schools(), fix=["tau"])["theta"] == "latent"


def test_kept_priors():
    with pm.Model() as model:
        beta, sigma = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("sigma", 5)
        pm.Normal("y", X @ beta, sigma, observed=Y)
    found = mle.roles(model, keep_priors=["beta"])
    assert found.names("penalized") == ["beta"]
    assert found.names(RoleKind.PARAMETER) == ["sigma"]
    assert "keep_priors" in found["beta"].reason


def test_names_are_checked():
    with pytest.raises(mle.ModelError, match=r"integrate: thet not among.*Did you mean theta\?"):
        mle.roles(schools(), integrate=["thet"])
    with pytest.raises(mle.ModelError, match=r"integrate=\['theta'\]"):
        mle.roles(schools(), integrate="theta")


# -- the table ----------------------------------------------------------------------------------------------------


def test_table():
    found = mle.roles(schools())
    frame = found.to_frame()
    assert list(frame.index) == ["mu", "tau", "theta"]
    assert list(frame.columns) == ["role", "size", "reason"]
    assert frame.loc["theta", "role"] == "latent"
    assert frame["size"].tolist() == [1, 1, 8]
    lines = repr(found).splitlines()
    assert lines[0].split() == ["variable", "role", "size", "reason"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["mu", "parameter", "1"], ["tau", "parameter", "1"], ["theta", "latent", "8"]
    ]  # fmt: skip
    assert "<table" in found._repr_html_()
    with pytest.raises(KeyError):
        found["y"]


def test_in_a_context_and_in_a_sub_model():
    with pm.Model(name="all") as model:
        with pm.Model(name="part") as part:
            mu = pm.Normal("mu")
            assert [row.name for row in mle.roles()] == ["all::part::mu"]
        pm.Normal("y", mu, 1, observed=Y)
    assert kinds(part) == kinds(model) == {"all::part::mu": "parameter"}


def test_order_of_declaration_does_not_matter():
    with pm.Model() as model:
        two, one = pm.HalfNormal("two"), pm.HalfNormal("one")
        b, a = pm.Normal("b", shape=8), pm.Normal("a", 0, one, shape=4)
        pm.Normal("y", a[GROUP] + two * b, S, observed=Y)
    assert kinds(model) == {"two": "parameter", "one": "parameter", "b": "latent", "a": "latent"}


# -- restricted ---------------------------------------------------------------------------------------------------


def slopes():
    with pm.Model() as model:
        beta, tau = pm.Normal("beta", 0, 10, shape=3), pm.HalfNormal("tau")
        u = pm.Normal("u", 0, tau, shape=4)
        rate = pm.Uniform("rate", 0, 1)
        pm.Normal("unused")
        pm.Normal("y", X @ beta + u[GROUP] + rate, pm.HalfNormal("sigma"), observed=Y)
    return model


def test_restricted():
    found = mle.roles(slopes(), restricted=["beta"])
    assert found.names(RoleKind.RESTRICTED) == found.names("restricted") == ["beta"]
    assert found["beta"].reason == "integrated under a flat prior, as asked by restricted (REML)"
    assert found.names("latent") == ["u"]
    assert found.names("parameter") == ["tau", "rate", "unused", "sigma"]
    assert "restricted" in repr(found)


def test_restricted_location_of_latent_variables():
    """It reaches the data only through them."""
    found = mle.roles(schools(), restricted=["mu"])
    assert [str(row.kind) for row in found] == ["restricted", "parameter", "latent"]
    assert "tau would lose" in found["theta"].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"restricted": ["bet"]}, r"restricted: bet not among.*Did you mean beta\?"),
        ({"restricted": "beta"}, r"restricted=\['beta'\]"),
        ({"restricted": ["beta"], "keep_priors": ["beta"]}, "beta: named in both keep_priors and restricted"),
        ({"restricted": ["beta"], "fix": ["beta"]}, "beta: named in both restricted and fix"),
        ({"restricted": ["beta"], "integrate": ["u", "beta"]}, "beta: named in both integrate and restricted"),
        ({"keep_priors": ["beta"], "fix": ["beta"]}, "beta: named in both keep_priors and fix"),
        ({"integrate": ["u"], "fix": ["u"]}, "u: named in both integrate and fix"),
        ({"restricted": ["u"]}, r"restricted names u, which is latent \(tau would lose.*Leave u out"),
        ({"restricted": ["beta", "sigma"]}, "restricted names sigma.*it is a scale, or bounded"),
        ({"restricted": ["rate"]}, "restricted names rate.*it is a scale, or bounded"),
        ({"restricted": ["unused"]}, "restricted names unused, on which the data do not depend"),
    ],
)
def test_restricted_is_checked(options, message):
    with pytest.raises(mle.ModelError, match=message):
        mle.roles(slopes(), **options)


def test_restricted_without_a_transform_or_a_line():
    with pm.Model() as model:
        pm.Normal("y", pm.HalfNormal("a", default_transform=None) + pm.Poisson("k", 2), 1, observed=Y)
    with pytest.raises(mle.ModelError, match=r"restricted names a.*bounded"):
        mle.roles(model, restricted=["a"])
    with pytest.raises(mle.ModelError, match=r"restricted names k.*it is discrete"):
        mle.roles(model, restricted=["k"])


# -- incidental parameters ----------------------------------------------------------------------------------------


def test_rasch_abilities_are_parameters_with_a_finding():
    rng = np.random.default_rng(3)
    persons, items = np.repeat(np.arange(40), 6), np.tile(np.arange(6), 40)
    logit = rng.normal(size=40)[persons] - np.linspace(-1, 1, 6)[items]
    with pm.Model() as model:
        ability, difficulty = pm.Normal("ability", 0, 1, shape=40), pm.Normal("difficulty", 0, 1, shape=6)
        logit_p = ability[persons] - difficulty[items]
        pm.Bernoulli("correct", logit_p=logit_p, observed=rng.random(240) < 1 / (1 + np.exp(-logit)))
    assert latent(model) == set()
    with pytest.warns(mle.VerdictWarning):
        est = mle.find_MLE(model)
    [finding] = [f for f in est.verdict.findings if f.kind == "incidental_parameters"]
    assert finding.variables == ("ability",)
    assert "40 elements, each determined by 6 observations only" in finding.message
    assert "difficulty" in finding.message
    assert "integrate=['ability']" in finding.remedy
    assert latent(model, integrate=["ability"]) == {"ability"}


def test_ordinary_coefficients_are_not_incidental():
    rng = np.random.default_rng(3)
    X, group = rng.normal(size=(200, 12)), np.repeat(np.arange(10), 20)
    with pm.Model() as model:
        beta, effect = pm.Normal("beta", shape=12), pm.Normal("effect", shape=10)
        pm.Normal("y", X @ beta + effect[group], pm.HalfNormal("sigma"), observed=rng.normal(size=200))
    assert "incidental_parameters" not in {f.kind for f in mle.find_MLE(model).verdict.findings}
