"""The log-likelihood as a function of one vector: exact to the last digits, with derivatives that are its own."""

from functools import cache

import numpy as np
import pymc as pm
import pymc.dims as pmd
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from scipy import stats

import mle_pp as mle
from mle_pp import backends
from mle_pp.derivatives import COLUMNS, DIFFERENCES, VECTORIZED, Jacobian, central_differences
from mle_pp.objective import ModelObjective, log_densities
from models import GALLERY

SMOOTH = [name for name, entry in GALLERY.items() if not entry.latent]
Y = np.array([1.0, 2.5, 3.0])


def objective(model, **options) -> ModelObjective:
    return ModelObjective(model, mle.roles(model, keep_priors=options.pop("keep_priors", ())), **options)


@cache
def gallery(name):
    """An objective, and a point off its start."""
    found = objective(GALLERY[name].build())
    return found, found.parameters.initial + np.random.RandomState(3).normal(0, 0.1, found.size)


# -- derivatives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient_is_that_of_the_value(name):
    found, x = gallery(name)
    value, slope = found.value_gradient(x)
    assert value == pytest.approx(found.value(x), rel=1e-14)
    differences = central_differences(lambda z: np.array(found.value(z)), x)
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-7 * np.abs(slope).max())


@pytest.mark.parametrize("name", SMOOTH)
def test_hessian_is_that_of_the_gradient(name):
    found, x = gallery(name)
    hessian = found.hessian(x)
    differences = central_differences(lambda z: found.value_gradient(z)[1], x)
    np.testing.assert_allclose(hessian, differences, rtol=1e-6, atol=1e-7 * np.abs(hessian).max())
    np.testing.assert_array_equal(hessian, hessian.T)
    assert found.hessian_method == VECTORIZED
    vector = np.random.RandomState(4).normal(size=found.size)
    np.testing.assert_allclose(
        found.product(x, vector), hessian @ vector, rtol=1e-10, atol=1e-9 * np.abs(hessian).max()
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_terms_sum_to_the_log_likelihood(name):
    found, x = gallery(name)
    [(variable, terms)] = found.pointwise(x).items()
    assert variable == "y"
    assert terms.shape == (() if name == "ar2" else found.data["y"].shape)
    assert found.loglik(x) == pytest.approx(found.value(x), rel=1e-13) == pytest.approx(terms.sum(), rel=1e-13)


class Opaque(Op):
    """x² with a gradient that nothing can be known about, as of somebody's black box."""

    def __init__(self, derivatives: int) -> None:
        self.derivatives = derivatives

    def make_node(self, x):
        return Apply(self, [pt.as_tensor(x)], [pt.as_tensor(x).type()])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.asarray(inputs[0] ** 2 if self.derivatives >= 1 else 2 * inputs[0])

    def pullback(self, inputs, outputs, cotangents):
        if self.derivatives == 0:
            raise NotImplementedError("no derivative")
        return [cotangents[0] * Opaque(0)(inputs[0])] if self.derivatives == 1 else [cotangents[0] * 2 * inputs[0]]

    grad = None


@pytest.mark.parametrize(("derivatives", "method"), [(1, DIFFERENCES), (2, VECTORIZED)])
def test_operations_without_derivatives(derivatives, method):
    """y ~ N(theta², 1): where an operation has no second derivative, the gradient is differentiated numerically."""
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 5, shape=3, initval=[1.0, 1.2, 2.0])
        pm.Normal("y", Opaque(derivatives)(theta), 1, observed=Y)
    est = mle.find_MLE(model)
    np.testing.assert_allclose(est.params["theta"], np.sqrt(Y), rtol=1e-8)
    np.testing.assert_allclose(est.stderr()["theta"], 1 / (2 * np.sqrt(Y)), rtol=1e-6)
    assert est._objective.hessian_method in (method, COLUMNS)


def test_jacobian_in_forward_mode():
    x = pt.vector("x")
    graph = pt.concatenate([pt.exp(x[:2]), [x[0] * x[2]], pt.zeros(1), pt.cumsum(x)])
    point = np.array([0.3, -0.7, 2.0])
    expected = np.zeros((7, 3))
    expected[0, 0], expected[1, 1] = np.exp(point[:2])
    expected[2] = [point[2], 0, point[0]]
    expected[4:] = np.tri(3)
    np.testing.assert_allclose(Jacobian(graph, x)(point), expected, rtol=1e-14)


# -- double precision ---------------------------------------------------------------------------------------------


def _normal(mu):
    pm.Normal("y", mu, 10.0, observed=Y)
    return stats.norm.logpdf(Y, 0.3, 10)


def _student(mu):
    pm.StudentT("y", nu=3, mu=mu, sigma=10, observed=Y)
    return stats.t.logpdf(Y, 3, 0.3, 10)


def _negative_binomial(mu):
    pm.NegativeBinomial("y", mu=pt.exp(mu), alpha=3, observed=[1, 2, 3])
    return stats.nbinom.logpmf([1, 2, 3], 3, 3 / (3 + np.exp(0.3)))


def _gamma(mu):
    pm.Gamma("y", alpha=3.5, beta=pt.exp(mu) * pt.log(pt.as_tensor(7.0)), observed=Y)
    return stats.gamma.logpdf(Y, 3.5, scale=1 / (np.exp(0.3) * np.log(7)))


def _rate(mu):
    pm.Gamma("y", alpha=pt.exp(mu), beta=1.5, observed=Y)
    return stats.gamma.logpdf(Y, np.exp(0.3), scale=1 / 1.5)


def _mixture(mu):
    pm.NormalMixture("y", w=[0.25, 0.75], mu=[mu, mu + 1], sigma=[1.0, 10.0], observed=Y)
    return np.log(0.25 * stats.norm.pdf(Y, 0.3, 1) + 0.75 * stats.norm.pdf(Y, 1.3, 10))


def _censored(mu):
    pm.Censored("y", pm.Normal.dist(mu, 10.0), lower=None, upper=3.0, observed=Y)
    return np.append(stats.norm.logpdf(Y[:2], 0.3, 10), stats.norm.logsf(3, 0.3, 10))


def _truncated(mu):
    pm.Truncated("y", pm.Normal.dist(mu, 10.0), lower=0.5, observed=Y)
    return stats.norm.logpdf(Y, 0.3, 10) - stats.norm.logsf(0.5, 0.3, 10)


def _single_precision_data(mu):
    x = np.array([0.1, 0.2, 0.7], dtype="float32")
    pm.Normal("y", mu + pt.exp(x) + pm.Data("x", x), 10.0, observed=Y)
    x = x.astype(float)
    return stats.norm.logpdf(Y, 0.3 + np.exp(x) + x, 10)


def _labelled(mu):
    pmd.Normal("y", pmd.as_xtensor(mu), 10.0, observed=xr.DataArray(Y, dims=("row",)))
    return stats.norm.logpdf(Y, 0.3, 10)


def _multivariate(mu):
    pm.MvNormal("y", mu * np.ones(3), cov=10.0 * np.eye(3, dtype="float32"), observed=Y)
    return stats.norm.logpdf(Y, 0.3, np.sqrt(10))


def _autoregression(mu):
    pm.AR("y", rho=[mu, 0.5], sigma=10.0, constant=True, init_dist=pm.Normal.dist(0, 10.0, shape=1), observed=Y)
    return stats.norm.logpdf(Y, [0, 0.8, 1.55], 10)


def _potential(mu):
    pm.Potential("y", pt.log(pt.as_tensor(10.0)) - mu**2 / 3)
    return np.log(10) - 0.3**2 / 3


@pytest.mark.parametrize(
    "declare",
    [_normal, _student, _negative_binomial, _gamma, _rate, _mixture, _censored, _truncated, _single_precision_data,
     _labelled, _multivariate, _autoregression, _potential],
    ids=lambda declare: declare.__name__[1:],
)  # fmt: skip
def test_double_precision(declare):
    """Python's 10.0 is a constant of single precision to PyTensor, and PyMC folds log(10.0) in it: 1e-8 off."""
    with pm.Model(coords={"row": range(3)}) as model:
        expected = np.sum(declare(pm.Flat("mu")))
    found = ModelObjective(model, mle.roles(model, potentials="likelihood"))
    assert found.loglik(np.array([0.3])) == pytest.approx(expected, rel=1e-14)


def test_derived_quantities_in_double_precision():
    with pm.Model() as model:
        mu = pm.Normal("mu")
        pm.Deterministic("d", mu * pt.log(pt.as_tensor(3.0)) + pt.sqrt(pt.as_tensor(2)))
        pm.Normal("y", mu, 1, observed=Y)
    est = mle.find_MLE(model)
    np.testing.assert_allclose(est.derived["d"], Y.mean() * np.log(3) + np.sqrt(2), rtol=1e-15)


def test_in_double_keeps_what_is_double_already():
    x = pt.vector("x")
    graph = pt.sum(pt.exp(x) * np.pi)
    assert backends.in_double([graph]) == [graph]
    [index] = backends.in_double([x[1:3]])
    assert index.owner.inputs[0] is x
    assert backends.in_double([pt.exp(pt.vector("s", dtype="float32"))])[0].dtype == "float64"


# -- the same density as PyMC's -----------------------------------------------------------------------------------


def test_log_densities_are_those_of_pymc():
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma", 1.3)
        mu = pm.Normal("mu", 0, sigma)
        p = pm.Potential("p", -(mu**2))
        y = pm.Normal("y", mu, sigma, observed=Y)
        z = pm.Poisson("z", sigma, observed=[1, 2])
    order = [z, p, mu, y, sigma]
    point = {"sigma_log__": np.array(0.2), "mu": np.array(-0.4)}
    with pytensor.config.change_flags(cxx=""):
        ours, theirs = (
            pytensor.function(model.value_vars, terms, mode=Mode("py", None), on_unused_input="ignore")(**point)
            for terms in (log_densities(model, order), model.logp(order, sum=False, jacobian=False))
        )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)


def test_kept_priors_join_the_value_only():
    with pm.Model() as model:
        mu = pm.Normal("mu", 1, 2)
        pm.Normal("y", mu, 1, observed=Y)
    found = objective(model, keep_priors=["mu"])
    x = np.array([0.3])
    assert found.value(x) - found.loglik(x) == pytest.approx(stats.norm.logpdf(0.3, 1, 2), rel=1e-12)
    assert not found.has_information


# -- at the edge --------------------------------------------------------------------------------------------------


def test_outside_the_support_is_minus_infinity():
    with pm.Model() as model:
        theta = pm.HalfFlat("theta", initval=10.0)
        pm.Uniform("y", 0, theta, observed=Y)
    found = objective(model)
    assert found.value(np.log([2.9])) == -np.inf
    assert found.value(np.log([3.1])) == pytest.approx(-3 * np.log(3.1))
    for x in ([800.0], [-800.0], [np.inf], [np.nan]):
        assert not found.value(np.array(x)) > -100


def test_units_are_known_where_there_is_a_transform():
    with pm.Model() as model:
        mu, sigma = pm.Normal("mu", shape=2), pm.HalfNormal("sigma")
        pm.Normal("y", mu.sum(), sigma, observed=Y)
    np.testing.assert_array_equal(objective(model).units > 0, [False, False, True])


def test_data_are_copied():
    with pm.Model() as model:
        y = pm.Data("y_data", Y)
        pm.Normal("y", pm.Normal("mu"), 1, observed=y)
    found = objective(model)
    before = found.value(np.array([0.3]))
    with model:
        pm.set_data({"y_data": Y + 1})
    assert found.value(np.array([0.3])) == before
    np.testing.assert_array_equal(found.data["y_data"], Y)


@pytest.mark.parametrize("backend", ["jax"])
def test_compiled_backends(backend):
    pytest.importorskip(backend)
    model = GALLERY["negative_binomial_regression"].build()
    one, other = objective(model), objective(model, backend=backend)
    assert (one.backend, other.backend) == ("interpreted", backend)
    x = one.parameters.initial + 0.1
    assert other.value(x) == pytest.approx(one.value(x), rel=1e-12)
    np.testing.assert_allclose(other.value_gradient(x)[1], one.value_gradient(x)[1], rtol=1e-10)
    np.testing.assert_allclose(other.hessian(x), one.hessian(x), rtol=1e-9, atol=1e-9)
