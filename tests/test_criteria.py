"""Ranking, TIC and the information-matrix test, against formulas written out here and against other programs."""

import doctest
import sys

import numpy as np
import pymc as pm
import pytest
import statsmodels.api as sm

import mle_pp as mle

RNG = np.random.RandomState(7)
N = 300
X = RNG.normal(size=(N, 2))
COUNTS = RNG.poisson(np.exp(0.4 + X @ [0.5, -0.3]))
HEAVY = RNG.standard_t(5, size=N)


def poisson(columns, counts=COUNTS):
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b", shape=columns)
        pm.Poisson("y", pm.math.exp(a + X[: len(counts), :columns] @ b), observed=counts)
    return model


def normal(y):
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10), observed=y)
    return model


def test_rank_against_statsmodels():
    fits = {"one": mle.find_MLE(poisson(1)), "two": mle.find_MLE(poisson(2))}
    table = mle.rank(fits)
    others = {k: sm.Poisson(COUNTS, sm.add_constant(X[:, :c])).fit(disp=0) for k, c in (("one", 1), ("two", 2))}
    assert list(table.index) == ["two", "one"]
    for name, other in others.items():
        assert table.loc[name, "aic"] == pytest.approx(other.aic, rel=1e-9)
        assert table.loc[name, "bic"] == pytest.approx(other.bic, rel=1e-9)
        assert table.loc[name, "loglik"] == pytest.approx(other.llf, rel=1e-9)
    delta = others["one"].aic - others["two"].aic
    assert table.loc["one", "delta"] == pytest.approx(delta, rel=1e-6)
    assert table.loc["two", "weight"] == pytest.approx(1 / (1 + np.exp(-delta / 2)), rel=1e-9)
    assert table["weight"].sum() == pytest.approx(1)
    assert table["n_obs"].dtype.kind == table["n_params"].dtype.kind == "i"
    shown = repr(table).splitlines()
    assert max(map(len, shown)) <= 90
    assert f"{delta:.2f}" in shown[2]
    by_bic = mle.rank([fits["one"], fits["two"]], criterion="bic")
    assert list(by_bic.index) == ["model_1", "model_0"]
    assert by_bic.loc["model_0", "delta"] == pytest.approx(others["one"].bic - others["two"].bic, rel=1e-6)


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_rank_refuses():
    good = mle.find_MLE(poisson(1))
    with pytest.raises(ValueError, match=r"model_1.*y differs"):
        mle.rank([good, mle.find_MLE(poisson(1, COUNTS[::-1].copy()))])
    with pytest.raises(ValueError, match="different data: y differs"):
        mle.rank({"all": good, "some": mle.find_MLE(poisson(1, COUNTS[:50]))})
    with pytest.raises(ValueError, match=r"kept is a penalized fit"):
        mle.rank({"mle": good, "kept": mle.find_MLE(poisson(1), keep_priors=["b"])})
    with pytest.raises(ValueError, match="mode is a posterior mode"):
        mle.rank({"mle": good, "mode": mle.find_MAP(poisson(1))})
    with pytest.raises(ValueError, match="different case weights"):
        mle.rank([mle.find_MLE(poisson(1), weights=w) for w in (np.arange(N) % 2, 1 - np.arange(N) % 2)])
    with pytest.raises(ValueError, match="300 rows and model_1 has 600"):
        mle.rank([good, mle.find_MLE(poisson(1), weights=np.full(N, 2))])
    with pytest.raises(ValueError, match="criterion='AIC' is not one of"):
        mle.rank([good, good], criterion="AIC")
    with pytest.raises(ValueError, match="at least two"):
        mle.rank([good])
    with pm.Model() as edge:
        pm.Uniform("y", 0, pm.HalfNormal("top", 10, initval=20), observed=HEAVY - HEAVY.min() + 1)
    est = mle.find_MLE(edge, on_failure="return")
    assert not est.verdict.ok
    with pytest.raises(ValueError, match=f"model_1 is {est.verdict.status}"):
        mle.rank([good, est])


def test_tic_of_a_normal_model():
    """tr(H⁻¹ Σ s sᵀ) is 1 for the mean and (κ − 1)/2 for the scale, with κ the kurtosis."""
    est = mle.find_MLE(normal(HEAVY))
    z = (HEAVY - HEAVY.mean()) / HEAVY.std()
    kurtosis = np.mean(z**4)
    assert abs(kurtosis - 3) > 0.5
    assert mle.tic(est) == pytest.approx(-2 * est.loglik + 2 * (1 + (kurtosis - 1) / 2), rel=1e-9)


def reference_statistic(y, weights=None):
    """n R² of White's test for a normal sample, with derivatives written out in (μ, σ)."""
    weights = np.ones(len(y)) if weights is None else weights
    mean = np.average(y, weights=weights)
    sd = np.sqrt(np.average((y - mean) ** 2, weights=weights))
    z = (y - mean) / sd
    s = np.column_stack([z, z**2 - 1])
    # s sᵀ + ∇²ℓ, times σ²; the first element is a multiple of a score
    d = np.column_stack([(z**2 - 1) ** 2 + 1 - 3 * z**2, z * (z**2 - 1) - 2 * z])
    w = np.repeat(np.hstack([s, d]), weights.astype(int), axis=0)
    ones = np.ones(len(w))
    fitted = w @ np.linalg.lstsq(w, ones, rcond=None)[0]
    return fitted @ fitted


def test_information_matrix_test_of_a_normal_model():
    result = mle.information_matrix_test(mle.find_MLE(normal(HEAVY)))
    assert result.df == 2
    assert result.statistic == pytest.approx(reference_statistic(HEAVY), rel=1e-6)
    assert result.pvalue == pytest.approx(np.exp(-result.statistic / 2), rel=1e-6)
    assert "Information-matrix test\n  null hypothesis: the model is true\n  statistic = " in repr(result)
    moved = mle.information_matrix_test(mle.find_MLE(normal(1e6 + 1e-3 * HEAVY)))
    assert moved.statistic == pytest.approx(result.statistic, rel=1e-4)


def test_information_matrix_test_with_weights_is_that_of_repeated_rows():
    weights = RNG.randint(0, 3, N)
    result = mle.information_matrix_test(mle.find_MLE(normal(HEAVY), weights=weights))
    assert result.statistic == pytest.approx(reference_statistic(HEAVY, weights), rel=1e-6)


def test_information_matrix_test_sees_what_it_should():
    """Of true models it is about its degrees of freedom; of overdispersed counts, far from it."""
    assert mle.information_matrix_test(mle.find_MLE(poisson(2))).pvalue > 0.01
    overdispersed = RNG.negative_binomial(1, 1 / (1 + np.exp(0.4 + X @ [0.5, -0.3])))
    assert mle.information_matrix_test(mle.find_MLE(poisson(2, overdispersed))).pvalue < 1e-3


def test_nothing_to_test():
    with pm.Model() as model:
        pm.Bernoulli("y", pm.Beta("p", 1, 1), observed=[0, 1, 1, 0, 1])
    with pytest.raises(ValueError, match="nothing to test"):
        mle.information_matrix_test(mle.find_MLE(model))


def test_rows_are_needed():
    with pm.Model() as model:
        pm.AR("y", pm.Normal("rho", shape=1), pm.HalfNormal("sigma"), init_dist=pm.Normal.dist(), observed=HEAVY[:40])
    est = mle.find_MLE(model)
    for function in (mle.tic, mle.information_matrix_test):
        with pytest.raises(mle.ModelError, match=r"That of y is one block.*parametric bootstrap"):
            function(est)


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.criteria"]).failed == 0
