"""`flatten`: whatever the prior, the log-density of the flat model is the log-likelihood of the original, exactly."""

from collections.abc import Callable, Collection

import numpy as np
import pymc as pm
import pymc.dims as pmd
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pymc.dims.distributions.transforms import IntervalTransform
from pymc.distributions import transforms
from pymc.distributions.transforms import _default_transform
from pymc.exceptions import ImputationWarning
from pymc.logprob.transforms import Transform
from pymc.model.transform.conditioning import remove_value_transforms
from pymc.model.transform.optimization import freeze_model
from pytensor.compile.mode import Mode
from pytensor.graph.traversal import ancestors

from mle_pp.flatten import flatten

INTERPRETED = Mode(linker="py", optimizer="fast_compile")
Y = np.array([0.3, -1.2, 0.8, 2.1])


@pytest.fixture(autouse=True)
def _without_c_compiler():
    with pytensor.config.change_flags(cxx="", mode=INTERPRETED):
        yield


class Cubic(Transform):
    """A custom transform, with a Jacobian of its own."""

    name = "cubic"

    def forward(self, value, *inputs):
        return pt.sign(value) * pt.abs(value) ** (1 / 3)

    def backward(self, value, *inputs):
        return value**3

    def log_jac_det(self, value, *inputs):
        return pt.log(3 * value**2)


def mean_minus_one(rng, size, mu, sigma):
    return mu - 1, None


def between(rng, size, mu, sigma):
    return mu - 2, mu + 3


def log_laplace(value, mu, b):
    return -pt.abs(value - mu) / b - pt.log(2 * b)


def of_data() -> pt.TensorVariable:
    return pm.Uniform("theta", pm.Data("low", [0.0, 1.0]), pm.Data("high", [3.0, 8.0]))


def around_zero() -> pt.TensorVariable:
    # One input is made of another
    width = pm.HalfNormal("width", 2)
    return pm.Uniform("theta", -width, width, shape=2)


def of_another_variable(dist: Callable, *parameters: float) -> Callable:
    def prior() -> pt.TensorVariable:
        parent = pm.HalfNormal("parent", 2)
        return dist("theta", *parameters, parent)

    return prior


def chained() -> pt.TensorVariable:
    return pm.HalfNormal("theta", shape=3, transform=transforms.ordered, initval=[0.5, 1.0, 2.0])


def with_interval(bounds: Callable) -> Callable:
    def prior() -> pt.TensorVariable:
        return pm.Normal("theta", pm.Normal("parent"), 2, transform=transforms.Interval(bounds_fn=bounds), initval=0.5)

    return prior


def sum_to_1() -> pt.TensorVariable:
    return pm.Dirichlet("theta", np.ones(3), default_transform=None, transform=transforms._sum_to_1)


def lkj_cholesky() -> pt.TensorVariable:
    return pm.LKJCholeskyCov("theta", eta=2, n=3, sd_dist=pm.Exponential.dist(1, shape=3))[0]


def mixture_of_uniforms() -> pt.TensorVariable:
    parent = pm.HalfNormal("parent", 2)
    return pm.Mixture("theta", [0.3, 0.7], [pm.Uniform.dist(0, parent), pm.Uniform.dist(0, parent)], shape=2)


def walk() -> pt.TensorVariable:
    step = pm.HalfNormal("step", 1)
    return pm.GaussianRandomWalk("theta", mu=0.1, sigma=step, init_dist=pm.Normal.dist(0, 2), steps=3)


def autoregression() -> pt.TensorVariable:
    return pm.AR("theta", rho=pm.Normal("rho", 0, 0.5, shape=2), init_dist=pm.Normal.dist(0, 3), shape=4)


def custom_from_random_draws() -> pt.TensorVariable:
    def dist(mu, sigma, size):
        return pt.exp(pm.Normal.dist(mu, sigma, size=size))

    return pm.CustomDist("theta", 0.2, 0.5, dist=dist, shape=3, transform=transforms.log)


def derived() -> pt.TensorVariable:
    # A variable that no single operation draws, as an extension of PyMC may register it
    parts = pt.stack([pm.Normal.dist(pm.Normal("parent")), pm.Gamma.dist(2, 1)])
    return pm.modelcontext(None).register_rv(
        parts, name="theta", transform=transforms.log, default_transform=None, initval=[0.5, 1.5]
    )


# One prior for each kind of transform and of distribution
PRIORS: dict[str, Callable[[], pt.TensorVariable]] = {
    "none": lambda: pm.Normal("theta", 1, 2, shape=2),
    "log": lambda: pm.HalfCauchy("theta", 2),
    "logodds": lambda: pm.Beta("theta", 2, 3, shape=2),
    "interval": lambda: pm.Uniform("theta", -3, 5),
    "interval of data": of_data,
    "interval of another variable": of_another_variable(pm.Uniform, 0),
    "interval, both bounds of another variable": around_zero,
    "interval bounded below, of another variable": with_interval(mean_minus_one),
    "interval bounded on both sides, of another variable": with_interval(between),
    "interval bounded above": lambda: pm.Normal("theta", transform=transforms.Interval(upper=4)),
    "interval, Pareto": of_another_variable(pm.Pareto, 3),
    "interval, Triangular": lambda: pm.Triangular("theta", 0, 1, 0.3),
    "ordered": lambda: pm.Normal("theta", shape=3, transform=transforms.ordered, initval=[-1.0, 0.0, 2.0]),
    "simplex": lambda: pm.Dirichlet("theta", [1.0, 2.0, 3.0], shape=(2, 3)),
    "simplex, one number less": lambda: pm.StickBreakingWeights("theta", 1.5, 3),
    "sum to one": sum_to_1,
    "zero sum": lambda: pm.ZeroSumNormal("theta", sigma=2, shape=(2, 3)),
    "zero sum of two axes": lambda: pm.ZeroSumNormal("theta", shape=(2, 3, 4), n_zerosum_axes=2),
    "Cholesky, packed": lkj_cholesky,
    "Cholesky, correlation": lambda: pm.LKJCorr("theta", n=3, eta=2),
    "Cholesky, covariance": lambda: pm.Wishart("theta", nu=5, scale_chol=np.eye(3)),
    "circular": lambda: pm.VonMises("theta", 0.1, 2),
    "switched off": lambda: pm.HalfNormal("theta", 2, default_transform=None),
    "chained": chained,
    "custom": lambda: pm.Normal("theta", transform=Cubic(), initval=1.5),
    "multivariate": lambda: pm.MvNormal("theta", np.ones(3), np.eye(3), shape=(2, 3)),
    "matrix": lambda: pm.MatrixNormal("theta", np.zeros((2, 3)), rowcov=np.eye(2), colcov=np.eye(3)),
    "no density in the first place": lambda: pm.Flat("theta", shape=2),
    "half flat": lambda: pm.HalfFlat("theta"),
    "discrete": lambda: pm.Poisson("theta", 3),
    "categorical": lambda: pm.Categorical("theta", [0.2, 0.8], shape=2),
    "truncated": lambda: pm.Truncated("theta", pm.Normal.dist(1, 2), lower=0, upper=7, shape=2),
    "censored": lambda: pm.Censored("theta", pm.Normal.dist(1, 2), lower=0, upper=7, shape=2),
    "mixture": mixture_of_uniforms,
    "zero inflated": lambda: pm.ZeroInflatedPoisson("theta", 0.3, 4, shape=2),
    "random walk": walk,
    "autoregression": autoregression,
    "improper, of neighbours": lambda: pm.ICAR("theta", W=np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])),
    "CustomDist": lambda: pm.CustomDist("theta", 1, 2, logp=log_laplace, shape=3),
    "CustomDist, multivariate": lambda: pm.CustomDist(
        "theta", np.ones(3), logp=lambda v, mu: -((v - mu) ** 2).sum(-1), signature="(n)->(n)", shape=(2, 3)
    ),
    "CustomDist, inferred": custom_from_random_draws,
    "derived": derived,
    "not random": lambda: pm.DiracDelta("theta", 1.5, shape=2),
    "of its own expression": lambda: pm.Normal("theta", pm.HalfNormal("parent") * pm.Normal("other") + 1, 2),
    "the same input twice": lambda: (lambda x: pm.Gamma("theta", x, x))(pm.HalfNormal("parent", 2)),
}


def with_likelihood(prior: Callable[[], pt.TensorVariable]) -> pm.Model:
    with pm.Model() as model:
        theta = prior()
        weights = np.linspace(0.5, 1.5, 4)
        pm.Normal("y", weights * theta.sum() + theta.ravel()[0] ** 2, pm.HalfNormal("sigma"), observed=Y)
    return model


def compiled(model: pm.Model, graphs: list) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    graphs = [pt.as_tensor(graph, allow_xtensor_conversion=True) for graph in graphs]
    function = pytensor.function(model.value_vars, graphs, on_unused_input="ignore")
    return lambda point: function(*(point[value.name] for value in model.value_vars))


def evaluate(model: pm.Model, graphs: list, point: dict[str, np.ndarray]) -> list[np.ndarray]:
    return compiled(model, graphs)(point)


def random_point(model: pm.Model, rng: np.random.Generator) -> dict[str, np.ndarray]:
    start = model.initial_point()
    return {
        name: value + 0.1 * rng.standard_normal(value.shape) if value.dtype.kind == "f" else value
        for name, value in start.items()
    }


def assert_likelihood_alone(model: pm.Model, flat: pm.Model, keep: Collection[str] = ()) -> None:
    """The log-density of `flat` is that of the data, of `keep` and of the potentials; the Jacobian is unchanged."""
    names = [variable.name for variable in [*model.free_RVs, *model.observed_RVs, *model.potentials]]
    n = len(names)
    dropped = {rv.name for rv in model.free_RVs}.difference(keep)
    graphs = [[*one.logp(sum=False, jacobian=False), *one.logp(sum=False, jacobian=True)] for one in (model, flat)]
    old_terms, new_terms = compiled(model, graphs[0]), compiled(flat, [*graphs[1], flat.logp(jacobian=False)])
    rng = np.random.default_rng(20240611)
    for _ in range(3):
        point = random_point(model, rng)
        old, (*new, total) = old_terms(point), new_terms(point)
        for name, before, before_jacobian, after, after_jacobian in zip(
            names, old[:n], old[n:], new[:n], new[n:], strict=True
        ):
            if name in dropped:
                assert after.shape == before.shape
                assert not after.any()
                np.testing.assert_allclose(before + after_jacobian, before_jacobian, rtol=1e-9, atol=1e-9)
            else:
                np.testing.assert_allclose(after, before, rtol=1e-13)
                np.testing.assert_allclose(after_jacobian, before_jacobian, rtol=1e-13)
        likelihood = sum(term.sum() for name, term in zip(names, old[:n], strict=True) if name not in dropped)
        assert np.isfinite(likelihood)
        np.testing.assert_allclose(total, likelihood, rtol=1e-12)


def assert_same_structure(model: pm.Model, flat: pm.Model) -> None:
    assert flat is not model
    assert flat.isroot
    assert list(flat.named_vars) == list(model.named_vars)
    for kind in ("free_RVs", "observed_RVs", "deterministics", "potentials", "data_vars", "value_vars"):
        assert [v.name for v in getattr(flat, kind)] == [v.name for v in getattr(model, kind)]
        assert [v.type for v in getattr(flat, kind)] == [v.type for v in getattr(model, kind)]
        assert not {v for v in getattr(flat, kind) if v.owner} & set(getattr(model, kind))
    assert [rv.name for rv in flat.rvs_to_values] == [rv.name for rv in model.rvs_to_values]
    assert list(flat.rvs_to_transforms.values()) == list(model.rvs_to_transforms.values())
    assert flat.named_vars_to_dims == model.named_vars_to_dims
    assert flat.coords == model.coords
    assert list(flat.coords) == list(model.coords)
    assert {d: int(n.eval()) for d, n in flat.dim_lengths.items()} == {
        d: int(n.eval()) for d, n in model.dim_lengths.items()
    }
    start, flat_start = model.initial_point(random_seed=1), flat.initial_point(random_seed=1)
    assert list(flat_start) == list(start)
    for name in start:
        np.testing.assert_array_equal(flat_start[name], start[name])
    assert flat.eval_rv_shapes() == model.eval_rv_shapes()


@pytest.mark.filterwarnings("ignore:Support point not defined:UserWarning")
@pytest.mark.filterwarnings("ignore:pytensor.tensor.linalg.trace is deprecated:FutureWarning")
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())
def test_log_likelihood_alone(prior):
    model = with_likelihood(prior)
    flat = flatten(model)
    assert_same_structure(model, flat)
    assert_likelihood_alone(model, flat)


def test_original_is_unchanged():
    model = with_likelihood(PRIORS["interval of another variable"])
    variables = dict(model.named_vars)
    point = random_point(model, np.random.default_rng(1))
    before = evaluate(model, [model.logp(), model.logp(jacobian=False)], point)
    flatten(model)
    assert dict(model.named_vars) == variables
    assert evaluate(model, [model.logp(), model.logp(jacobian=False)], point) == before
    assert np.isfinite(pm.draw(model["theta"], random_seed=1))


def full_model() -> pm.Model:
    """A bit of everything that a model can hold."""
    rng = np.random.default_rng(2)
    with pm.Model(coords={"group": ["a", "b", "c"], "row": range(6)}) as model:
        model.add_coord("unused", length=2)
        x = pm.Data("x", rng.normal(size=6), dims="row")
        counts = pm.Data("counts", np.array([1, 0, 4, 2, 2, 7]), dims="row")
        sigma = pm.HalfNormal("sigma", 1, initval=0.7)
        effect = pm.Normal("effect", 0, sigma, dims="group", initval=[0.1, 0.2, 0.3])
        twice = pm.Deterministic("twice", 2 * effect, dims="group")
        pm.Deterministic("same", sigma)
        pm.Potential("penalty", -(effect**2), dims="group")
        slope = pm.Normal("slope", 0, 1, initval="prior")
        start = pm.Gamma("start", 2, 1, initval=pt.constant(0.3) * 2)
        mean = pm.Deterministic("mean", twice[np.arange(6) % 3] + slope * x, dims="row")
        pm.Normal("y", mean, sigma + start, observed=rng.normal(size=6), dims="row")
        pm.Poisson("n", pt.exp(mean), observed=counts, dims="row")
    return model


def test_everything_a_model_holds():
    model = full_model()
    flat = flatten(model)
    assert_same_structure(model, flat)
    assert_likelihood_alone(model, flat)
    assert flat.rvs_to_initial_values[flat["slope"]] == "prior"
    assert float(flat.rvs_to_initial_values[flat["sigma"]]) == 0.7
    values = random_point(model, np.random.default_rng(3))
    old = evaluate(model, model.replace_rvs_by_values(model.deterministics), values)
    new = evaluate(flat, flat.replace_rvs_by_values(flat.deterministics), values)
    for before, after in zip(old, new, strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("keep", [("effect",), ("slope", "sigma"), ["start"], {"sigma", "effect", "slope", "start"}])
def test_keep(keep):
    model = full_model()
    flat = flatten(model, keep=keep)
    assert_same_structure(model, flat)
    assert_likelihood_alone(model, flat, tuple(keep))


def test_keep_one_name():
    model = full_model()
    assert_likelihood_alone(model, flatten(model, keep="effect"), ("effect",))


def test_keep_unknown_names():
    with pytest.raises(ValueError, match=r"'slop', 'y'.*'sigma', 'effect', 'slope', 'start'"):
        flatten(full_model(), keep=["slop", "sigma", "y"])


def test_context():
    with full_model() as model:
        assert list(flatten().named_vars) == list(model.named_vars)
    with pytest.raises(TypeError, match="No model on context stack"):
        flatten()


@pytest.mark.parametrize("root_name", ["", "root"])
def test_sub_models(root_name):
    with pm.Model(name=root_name, coords={"k": [1, 2]}) as model:
        pm.Normal("a", dims="k")
        with pm.Model(name="first"):
            b = pm.HalfNormal("b")
            with pm.Model(name="second") as inner:
                pm.Uniform("c", 0, b)
                pm.Normal("y", inner["c"], b, observed=Y)
                flat = flatten()
    assert_same_structure(model, flat)
    assert_likelihood_alone(model, flat)
    assert flat.name == root_name
    assert flat["first::second::c"].name.endswith("first::second::c")
    assert list(flatten(inner).named_vars) == list(model.named_vars)
    name = inner["c"].name
    assert_likelihood_alone(model, flatten(inner, keep=[name]), (name,))


def test_check_bounds_is_kept():
    with pm.Model(check_bounds=False) as model:
        pm.Normal("y", pm.Normal("mu"), observed=Y)
    assert not flatten(model).check_bounds


MISSING = np.array([1.0, np.nan, 2.0, 0.5])


def normal(mu):
    pm.Normal("y", mu, 1, observed=MISSING)


def gamma(mu):
    pm.Gamma("y", pt.exp(mu), 1, observed=MISSING)


def not_separable(mu):
    # Observed and missing values are made by one operation; PyTensor takes those of `w` and `y` to be the same
    pm.Mixture("w", [0.4, 0.6], [pm.Normal.dist(mu, 1), pm.Normal.dist(mu, 3)], observed=MISSING)
    pm.MvNormal("y", mu + np.zeros(4), np.eye(4), observed=MISSING)


@pytest.mark.parametrize("likelihood", [normal, gamma, not_separable])
def test_missing_values(likelihood):
    with pytest.warns(ImputationWarning), pm.Model() as model:
        likelihood(pm.Normal("mu"))
    # The density of missing values can also be kept; it is part of what the data say
    for keep in [(), ("y_unobserved",)]:
        flat = flatten(model, keep=keep)
        assert_same_structure(model, flat)
        assert_likelihood_alone(model, flat, keep)


def dims_model() -> pm.Model:
    rng = np.random.default_rng(6)
    with pm.Model(coords={"k": ["a", "b", "c"], "row": range(4), "k2": ["a", "b", "c"]}) as model:
        x = pmd.Data("x", rng.normal(size=(4, 3)), dims=("row", "k"))
        scale = pmd.HalfNormal("scale", 2)
        beta = pmd.Normal("beta", 0, scale, dims="k")
        both = pmd.Normal("both", beta, 1, dims=("row", "k"))
        p = pmd.Beta("p", 2, 2, dims="row")
        share = pmd.Dirichlet("share", pmd.as_xtensor(np.ones(3), dims=("k",)), core_dims="k", dims=("row", "k"))
        crossed = pmd.Dirichlet("crossed", pmd.as_xtensor(np.ones(3), dims=("k",)), core_dims="k", dims=("k", "row"))
        zero = pmd.ZeroSumNormal("zero", core_dims="k")
        cov = pmd.as_xtensor(np.eye(3), dims=("k", "k2"))
        many = pmd.MvNormal("many", pmd.as_xtensor(np.zeros(3), dims=("k",)), cov, core_dims=("k", "k2"))
        cut = pmd.Censored("cut", pmd.Normal.dist(0, 2), lower=-9.0, upper=9.0, dims="k")
        within = pmd.Normal("within", transform=IntervalTransform(-1.0, 4.0))
        mean = pmd.Deterministic(
            "mean", (x * (beta + zero + many + cut + within) + both + share * crossed).sum("k") * p
        )
        pmd.Normal("y", mean, scale, observed=xr.DataArray(Y, dims=("row",)))
    return model


@pytest.mark.filterwarnings("ignore:Support point not defined:UserWarning")
def test_labelled_tensors():
    model = dims_model()
    keep = ("share", "scale")
    flat = flatten(model, keep=keep)
    assert_same_structure(model, flat)
    assert_likelihood_alone(model, flat, keep)


LIKELIHOODS = {
    "censored": lambda m, s: pm.Censored("y", pm.Normal.dist(m, s), lower=-1, upper=2, observed=np.clip(Y, -1, 2)),
    "truncated": lambda m, s: pm.Truncated("y", pm.Normal.dist(m, s), lower=-2, observed=Y),
    "mixture": lambda m, s: pm.NormalMixture("y", [0.5, 0.5], [m, -m], s, observed=Y),
    "autoregression": lambda m, s: pm.AR("y", rho=m, sigma=s, init_dist=pm.Normal.dist(), observed=Y),
    "CustomDist": lambda m, s: pm.CustomDist("y", m, s, logp=log_laplace, observed=Y),
    "multivariate": lambda m, s: pm.MvNormal("y", m + np.zeros(4), s * np.eye(4), observed=Y),
    "minibatch": lambda m, s: pm.Normal("y", m, s, observed=Y, total_size=40),
}


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=LIKELIHOODS.keys())
def test_likelihoods(likelihood):
    with pm.Model() as model:
        likelihood(pm.Uniform("m", -2, pm.HalfNormal("top", 3)), pm.HalfNormal("s"))
    flat = flatten(model)
    assert_same_structure(model, flat)
    assert_likelihood_alone(model, flat)


def test_gradient_is_that_of_the_likelihood():
    # The derivative of this prior is NaN where it is evaluated, and no rewrite tidies up
    with pm.Model() as model:
        theta = pm.CustomDist("theta", 0.5, logp=lambda value, mu: -pt.sqrt(pt.abs(value - mu)), shape=4)
        pm.Normal("y", theta, 1, observed=Y)
    flat = flatten(model)
    with pytensor.config.change_flags(mode=Mode(linker="py", optimizer=None)):
        for one, expected in [(flat, Y - 0.5), (model, np.full(4, np.nan))]:
            [value] = evaluate(one, [one.dlogp()], {"theta": np.full(4, 0.5)})
            np.testing.assert_allclose(value, expected)
    operations = {variable.owner.op for variable in ancestors([flat.logp()]) if variable.owner is not None}
    assert pt.abs not in operations


def test_data_are_a_copy():
    model = full_model()
    flat = flatten(model)
    before = model["x"].get_value()
    pm.set_data({"x": np.zeros(6)}, model=flat)
    np.testing.assert_array_equal(model["x"].get_value(), before)
    assert not flat["x"].get_value().any()
    pm.set_data({"x": np.zeros(6)}, model=model)
    assert_likelihood_alone(model, flat)


def test_data_of_another_length():
    def build() -> pm.Model:
        with pm.Model() as model:
            x = pm.Data("x", np.arange(4.0), dims="row")
            y = pm.Data("y", Y, dims="row")
            noise = pm.Normal("noise", dims="row")
            pm.Normal("likelihood", pm.Normal("slope") * x + noise, observed=y, dims="row")
        return model

    model, flat = build(), flatten(build())
    for one in (model, flat):
        pm.set_data({"x": np.arange(6.0), "y": np.ones(6)}, model=one)
    assert_same_structure(model, flat)
    assert_likelihood_alone(model, flat)


def test_shared_variables_of_the_user_stay_theirs():
    data = pytensor.shared(Y)
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), observed=data)
    flat = flatten(model)
    data.set_value(Y + 1)
    assert_likelihood_alone(model, flat)


def test_composes_with_other_transformations():
    # All of these clone the graph; a prior that came back would go unnoticed
    with pm.Model() as model:
        slope = pm.Normal("slope", 0, 1)
        width = pm.HalfNormal("width", slope**2 + 1)
        pm.Normal("y", slope, width, observed=Y)
    flat = flatten(model)
    point = random_point(model, np.random.default_rng(8))
    expected = evaluate(flat, [flat.logp()], point)
    for other in (flatten(flat), flat.copy(), freeze_model(flat), flatten(freeze_model(model))):
        np.testing.assert_allclose(evaluate(other, [other.logp()], point), expected, rtol=1e-13)
    bare = remove_value_transforms(flat)
    untransformed = {"slope": point["slope"], "width": np.exp(point["width_log__"])}
    np.testing.assert_allclose(
        evaluate(bare, [bare.logp()], untransformed), evaluate(flat, [flat.logp(jacobian=False)], point), rtol=1e-13
    )
    fixed = pm.do(flat, {"slope": 0.4})
    point = {"width_log__": np.array(-0.2)}
    data = model.logp(model.observed_RVs, jacobian=False)
    [value] = evaluate(model, [data], point | {"slope": np.array(0.4)})
    np.testing.assert_allclose(evaluate(fixed, [fixed.logp(jacobian=False)], point), value, rtol=1e-13)


def test_draws():
    model = with_likelihood(PRIORS["interval of another variable"])
    flat = flatten(model, keep=["sigma"])
    with pytest.raises(NotImplementedError, match="prior was dropped by flatten"):
        pm.draw(flat["theta"])
    with pytest.raises(NotImplementedError, match="prior was dropped by flatten"):
        pm.sample_prior_predictive(2, model=flat)
    assert pm.draw(flat["sigma"]) > 0
    given = {"parent": 1.0, "theta": 0.5, "sigma": 1.0}
    trace = xr.Dataset({name: (("chain", "draw"), np.full((1, 3), value)) for name, value in given.items()})
    drawn = pm.sample_posterior_predictive(trace, model=flat, progressbar=False, random_seed=1)
    assert drawn.posterior_predictive["y"].shape == (1, 3, 4)


def test_prints():
    text = flatten(full_model(), keep=["effect"]).str_repr()
    assert "slope ~ Flat()" in text
    assert "effect ~ Normal(0, sigma)" in text


def test_default_transforms_know_the_support():
    # Asked anew, as when a model is built from its variables, the distribution is not recognized: nothing is guessed
    flat = flatten(with_likelihood(PRIORS["log"]))
    assert _default_transform(flat["theta"].owner.op, flat["theta"]) is None


def seed_regression() -> tuple[pm.Model, np.ndarray, np.ndarray]:
    np.random.seed(123)
    x = np.random.rand(2, 200)
    e = np.random.normal(10, 5, 200)
    y = x.T @ np.random.uniform(1, 15, size=2) + e
    with pm.Model(coords={"coef": ["const", "x1", "x2"]}) as model:
        beta = pm.Normal("beta", 0, 10, dims="coef")
        sigma = pm.HalfNormal("sigma", 10)
        design = np.column_stack([np.ones(200), x.T])
        pm.Normal("y", design @ beta, sigma, observed=y)
    return model, design, y


def test_find_map_is_least_squares():
    model, design, y = seed_regression()
    found = pm.find_MAP(
        model=flatten(model),
        progressbar=False,
        return_inferencedata=True,
        jitter=False,
        compile_kwargs={"mode": INTERPRETED},
    ).posterior.dataset.squeeze()
    beta, (rss,), *_ = np.linalg.lstsq(design, y)
    np.testing.assert_allclose(beta, [9.0629, 4.3478, 11.0557], atol=5e-5)
    np.testing.assert_allclose(found["beta"], beta, rtol=1e-4)
    np.testing.assert_allclose(found["sigma"], np.sqrt(rss / 200), rtol=1e-4)


def test_sample():
    model, design, y = seed_regression()
    trace = pm.sample(
        draws=100,
        tune=200,
        chains=1,
        cores=1,
        model=flatten(model),
        random_seed=1,
        progressbar=False,
        compute_convergence_checks=False,
        compile_kwargs={"mode": INTERPRETED},
    )
    assert list(trace.posterior["coef"].values) == ["const", "x1", "x2"]
    # Under flat priors the posterior means are the least squares
    np.testing.assert_allclose(trace.posterior["beta"].mean(("chain", "draw")), np.linalg.lstsq(design, y)[0], atol=0.7)
