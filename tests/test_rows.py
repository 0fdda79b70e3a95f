"""Rows of the likelihood: which terms have them and share them, their scores, and weights on them."""

import numpy as np
import pandas as pd
import pymc as pm
import pymc.dims as pmd
import pytest
import xarray as xr

import mle_pp as mle
from mle_pp.derivatives import central_differences
from mle_pp.objective import ModelObjective
from mle_pp.rows import make_rows
from models import GALLERY

RNG = np.random.RandomState(11)
N = 60
X = RNG.normal(size=N)
Y = 1 + 2 * X + RNG.normal(size=N)
COUNTS = RNG.poisson(np.exp(0.3 + 0.5 * X))
WEIGHTS = RNG.randint(0, 4, N)


def objective(model, **options):
    return ModelObjective(model, mle.roles(model, **options))


def regression(x=X, y=Y):
    with pm.Model() as model:
        a, b, sigma = pm.Normal("a"), pm.Normal("b"), pm.HalfNormal("sigma")
        pm.Normal("y", a + b * x, sigma, observed=y)
    return model


def two_responses(dims="obs"):
    """A normal and a Poisson response to the same predictor, of the same rows or of their own."""
    with pm.Model(coords={"obs": [f"r{k}" for k in range(N)]}) as model:
        a, b, sigma = pm.Normal("a"), pm.Normal("b"), pm.HalfNormal("sigma")
        pm.Normal("y", a + b * X, sigma, observed=Y, dims=dims)
        pm.Poisson("counts", pm.math.exp(a + 0.2 * b * X), observed=COUNTS, dims=dims)
    return model


# -- which rows there are -----------------------------------------------------------------------------------------


def test_variables_that_share_a_dim_share_their_rows():
    together, apart = objective(two_responses()), objective(two_responses(None))
    assert [(axis.name, axis.length, axis.variables) for axis in together.axes.axes] == [("obs", N, ("y", "counts"))]
    assert [(axis.name, axis.length) for axis in apart.axes.axes] == [("y", N), ("counts", N)]
    assert (together.rows, apart.rows) == (N, 2 * N)
    x = together.parameters.initial + 0.1
    np.testing.assert_allclose(together.scores(x), apart.scores(x)[:N] + apart.scores(x)[N:], rtol=1e-12)


def test_a_dim_of_another_length_is_another_axis():
    rows = make_rows({"y": (5,), "z": (4, 2)}, {"y": ("d",), "z": ("d", "e")}, {"d": list("abcde")}, {})
    assert [(axis.name, axis.length) for axis in rows.axes] == [("d", 5), ("z", 4)]
    assert list(rows.axes[0].labels) == list("abcde")


def test_vectors_are_rows():
    y = RNG.normal(size=(9, 3))
    counts = RNG.multinomial(20, [0.2, 0.3, 0.5], size=7)
    with pm.Model() as model:
        pm.MvNormal("y", pm.Normal("mu", shape=3), np.eye(3), observed=y)
        pm.Multinomial("counts", 20, pm.Dirichlet("p", np.ones(3)), observed=counts)
    found = objective(model)
    assert [(axis.name, axis.length) for axis in found.axes.axes] == [("y", 9), ("counts", 7)]
    assert found.rows == 16


def test_elements_of_a_matrix_belong_to_their_row():
    y = RNG.normal(size=(9, 3))
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu", shape=3), 2, observed=y)
    found = objective(model)
    assert found.rows == 9
    x = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(found.scores(x), (y - x) / 4, rtol=1e-12)


def test_named_axes_keep_their_order():
    """`pymc.dims` may order a log-density's axes as it likes."""
    y = RNG.normal(size=(4, 3))
    with pm.Model(coords={"item": range(3), "obs": range(4)}) as model:
        mu = pmd.Normal("mu", 0, 1, dims="item")
        pmd.Normal("y", mu, 2, observed=xr.DataArray(y, dims=("obs", "item")), dims=("obs", "item"))
    found = objective(model)
    [axis] = found.axes.axes
    assert (axis.name, axis.length) == ("obs", 4)
    x = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(found.scores(x), (y - x) / 4, rtol=1e-12)


def test_one_count_and_one_vector_of_counts():
    with pm.Model() as model:
        pm.Poisson("on", pm.HalfNormal("rate", 10), observed=7)
    assert objective(model).axes.size == objective(model).rows == 1
    with pm.Model() as model:
        pm.Multinomial("counts", 10, pm.Dirichlet("p", np.ones(3)), observed=[2, 3, 5])
    assert (objective(model).axes.size, objective(model).rows) == (0, 1)


BLOCKS = {
    "ar": (lambda: pm.AR("series", pm.Normal("rho", shape=1), init_dist=pm.Normal.dist(), observed=Y), N),
    "walk": (
        lambda: pm.GaussianRandomWalk("path", sigma=pm.HalfNormal("s"), init_dist=pm.Normal.dist(), observed=Y),
        N,
    ),
    "vector": (lambda: pm.MvNormal("field", pm.Normal("mu"), np.eye(N), observed=Y), N),
    "summed": (
        lambda: pm.CustomDist(
            "total", pm.Normal("mu"), logp=lambda value, mu: -pm.math.sum((value - mu) ** 2) / 2, observed=Y
        ),
        N,
    ),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_is_refused_by_name(kind):
    build, count = BLOCKS[kind]
    with pm.Model() as model:
        name = build().name
        pm.Normal("other", pm.Normal("m"), 1, observed=Y[:5])
    found = objective(model)
    assert found.axes.blocks == {name: count}
    assert found.rows == count + 5
    for method in (found.scores, found.row_values, found.row_hessians):
        with pytest.raises(mle.ModelError, match=f"That of {name} is one block.*parametric bootstrap"):
            method(found.parameters.initial)
    with pytest.raises(mle.ModelError, match=f"That of {name} is one block"):
        found.weighted(np.ones(5))
    with pytest.raises(mle.ModelError, match=f"weights needs .* That of {name} is one block"):
        mle.find_MLE(model, weights=np.ones(5))
    with pytest.raises(mle.ModelError, match=rf'cov\("sandwich"\) needs .* That of {name} is one block'):
        mle.find_MLE(model).cov("sandwich")


def test_a_potential_has_the_rows_of_its_dim():
    with pm.Model(coords={"obs": range(N)}) as model:
        mu = pm.Normal("mu")
        pm.Normal("y", mu, 1, observed=Y, dims="obs")
        pm.Potential("extra", -((X - mu) ** 2), dims="obs")
    found = objective(model, potentials="likelihood")
    assert [axis.variables for axis in found.axes.axes] == [("y", "extra")]
    np.testing.assert_allclose(found.scores(np.array([0.3]))[:, 0], Y - 0.3 + 2 * (X - 0.3), rtol=1e-12)
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), 1, observed=Y)
        pm.Potential("constraint", -(model["mu"] ** 2))
    with pytest.raises(mle.ModelError, match="That of constraint is one block"):
        objective(model, potentials="likelihood").scores(np.zeros(1))


# -- scores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, entry in GALLERY.items() if not entry.latent and n != "ar2"])
def test_scores_are_derivatives_of_the_rows(name):
    found = objective(GALLERY[name].build())
    x = found.parameters.initial + np.random.RandomState(3).normal(0, 0.1, found.size)
    scores, hessians = found.scores(x), found.row_hessians(x)
    assert scores.shape == (found.rows, found.size)
    np.testing.assert_allclose(found.row_values(x).sum(), found.value(x), rtol=1e-12)
    scale = np.abs(scores).max(axis=0)
    np.testing.assert_allclose(
        scores.sum(axis=0), found.value_gradient(x)[1], rtol=1e-9, atol=1e-10 * scale.max() * 100
    )
    differences = central_differences(found.row_values, x)
    np.testing.assert_allclose(scores, differences, rtol=1e-6, atol=1e-7 * scale.max())
    whole = found.hessian(x)
    np.testing.assert_allclose(hessians.sum(axis=0), whole, rtol=1e-8, atol=1e-9 * np.abs(whole).max())


def test_many_rows_go_a_few_columns_at_a_time(monkeypatch):
    found = objective(regression())
    x = found.parameters.initial + 0.1
    at_once = found.scores(x)
    monkeypatch.setattr("mle_pp.derivatives._VECTORIZED_ELEMENTS", N)
    np.testing.assert_array_equal(objective(regression()).scores(x), at_once)


# -- weights ------------------------------------------------------------------------------------------------------


def test_every_method_of_a_weighted_objective_is_that_of_repeated_rows():
    repeated = np.repeat(np.arange(N), WEIGHTS)
    weighted = objective(regression()).weighted(WEIGHTS)
    longer = objective(regression(X[repeated], Y[repeated]))
    x = np.array([0.7, 1.6, 0.2])
    vector = np.array([1.0, -2.0, 0.5])
    assert weighted.rows == longer.rows == WEIGHTS.sum()
    assert weighted.value(x) == pytest.approx(longer.value(x), rel=1e-12)
    assert weighted.loglik(x) == pytest.approx(longer.loglik(x), rel=1e-12)
    for method, arguments in {
        "hessian": (x,), "product": (x, vector), "information": (x,),
    }.items():  # fmt: skip
        result = getattr(weighted, method)(*arguments)
        np.testing.assert_allclose(result, getattr(longer, method)(*arguments), rtol=1e-10, atol=1e-10)
    for method in ("value_gradient", "derivatives"):
        for one, other in zip(getattr(weighted, method)(x), getattr(longer, method)(x), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    [(residuals, slopes)] = weighted.residuals(x)
    np.testing.assert_allclose(residuals, (Y - 0.7 - 1.6 * X)[WEIGHTS > 0], rtol=1e-12)
    assert len(slopes) == len(residuals)
    np.testing.assert_array_equal(weighted.units, longer.units)
    assert weighted.hessian_method == longer.hessian_method


def test_weightings_share_their_functions():
    found = objective(regression())
    one, other = found.weighted(np.ones(N)), found.weighted(2 * np.ones(N))
    x = found.parameters.initial
    assert one._functions is other._functions is found._functions
    assert one.value(x) == pytest.approx(found.value(x), rel=1e-14)
    assert other.value(x) == pytest.approx(2 * found.value(x), rel=1e-14)
    assert one.weighted(3 * np.ones(N)).value(x) == pytest.approx(3 * found.value(x), rel=1e-14)
    assert found.weights is None


def test_a_row_of_weight_zero_may_have_density_zero():
    y = np.array([-1.0, 0.5, 1.0, 2.0])
    with pm.Model() as model:
        pm.Exponential("y", pm.HalfNormal("rate"), observed=y)
    found = objective(model).weighted((y > 0).astype(float))
    x = np.array([0.2])
    assert np.isfinite(found.value(x))
    assert found.loglik(x) == pytest.approx(found.value(x), rel=1e-14)
    est = mle.find_MLE(model, weights=y > 0)
    assert float(est.params["rate"]) == pytest.approx(3 / 3.5, rel=1e-9)


def test_kept_priors_are_not_weighted():
    model = regression()
    found = objective(model, keep_priors=["b"])
    x = np.array([0.7, 1.6, 0.2])
    difference = found.weighted(2 * np.ones(N)).value(x) - found.value(x)
    assert difference == pytest.approx(found.loglik(x), rel=1e-12)


def test_case_weights_are_repeated_rows():
    repeated = np.repeat(np.arange(N), WEIGHTS)
    est = mle.find_MLE(regression(), weights=WEIGHTS)
    longer = mle.find_MLE(regression(X[repeated], Y[repeated]))
    xr.testing.assert_allclose(est.params, longer.params, rtol=1e-8)
    assert est.n_obs == longer.n_obs == WEIGHTS.sum()
    assert isinstance(est.n_obs, int)
    for name in ("loglik", "aic", "aicc", "bic"):
        assert getattr(est, name) == pytest.approx(getattr(longer, name), rel=1e-10)
    groups = np.arange(N) % 7
    for kind in ("hessian", "expected", "opg", "HC0", "HC1"):
        xr.testing.assert_allclose(est.cov(kind), longer.cov(kind), rtol=1e-7)
    for kind in ("cluster", "CR0", "CR1"):
        xr.testing.assert_allclose(est.cov(kind, groups), longer.cov(kind, groups[repeated]), rtol=1e-7)
    assert mle.tic(est) == pytest.approx(mle.tic(longer), rel=1e-9)


def test_fractional_weights():
    weights = RNG.uniform(0.5, 2, N)
    est = mle.find_MLE(regression(), weights=weights)
    slope, intercept = np.polyfit(X, Y, 1, w=np.sqrt(weights))
    assert float(est.params["a"]) == pytest.approx(intercept, rel=1e-8)
    assert float(est.params["b"]) == pytest.approx(slope, rel=1e-8)
    assert est.n_obs == pytest.approx(weights.sum(), rel=1e-14)
    assert f"{weights.sum():.10g} observations" in repr(est)


def test_weights_by_label_and_by_name():
    model = two_responses()
    labels = [f"r{k}" for k in range(N)]
    given = np.arange(1.0, N + 1)
    shuffled = xr.DataArray(given, dims="obs", coords={"obs": labels})[::-1]
    fits = [
        mle.find_MLE(model, weights=w)
        for w in (given, shuffled, {"obs": given}, {"counts": given}, pd.Series(given), list(given))
    ]
    for est in fits[1:]:
        xr.testing.assert_equal(est.params, fits[0].params)
    apart = two_responses(None)
    both = mle.find_MLE(apart, weights={"counts": given, "y": given})
    xr.testing.assert_allclose(both.params, fits[0].params, rtol=1e-7)
    assert both.n_obs == 2 * fits[0].n_obs


BAD = {
    "short": (np.ones(N - 1), rf"weights has shape \({N - 1},\), but {N} rows belong to y"),
    "matrix": (np.ones((N, 2)), r"weights has shape"),
    "negative": (np.where(np.arange(N) == 4, -1, 1), r"weights are negative in row 4"),
    "NaN": (np.where(np.arange(N) == 5, np.nan, 1), r"weights are NaN in row 5"),
    "infinite": (np.full(N, np.inf), r"weights are infinite in row 0"),
    "zero": (np.zeros(N), r"weights are all zero"),
    "text": (["a"] * N, r"weights are not numbers"),
    "unknown": ({"z": np.ones(N)}, r"weights: 'z' is neither a row dim nor an observed variable \(y: 60 rows of y\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_weights(case):
    weights, message = BAD[case]
    with pytest.raises(mle.ModelError, match=message):
        mle.find_MLE(regression(), weights=weights)


def test_bad_weights_of_several_rows():
    model, ones = two_responses(None), np.ones(N)
    with pytest.raises(mle.ModelError, match=r"2 sets of rows .*weights=\{'y': \.\.\.\}"):
        mle.find_MLE(model, weights=ones)
    with pytest.raises(mle.ModelError, match="weights has no entry for the rows of counts"):
        mle.find_MLE(model, weights={"y": ones})
    with pytest.raises(mle.ModelError, match="two entries for the rows of obs"):
        mle.find_MLE(two_responses(), weights={"y": ones, "counts": ones})
    labelled = xr.DataArray(ones, dims="obs", coords={"obs": range(N)})
    with pytest.raises(mle.ModelError, match="weights is labelled along obs"):
        mle.find_MLE(two_responses(), weights=labelled)


def test_weights_come_back_from_a_datatree(tmp_path):
    model = regression()
    est = mle.find_MLE(model, weights=WEIGHTS)
    est.to_datatree().to_netcdf(tmp_path / "fit.nc")
    with xr.open_datatree(tmp_path / "fit.nc") as tree:
        again = mle.from_datatree(tree.load(), model)
    assert again.n_obs == est.n_obs
    xr.testing.assert_allclose(again.cov("sandwich"), est.cov("sandwich"), rtol=1e-9)
