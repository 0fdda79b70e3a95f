"""Bootstrap and jackknife against closed forms, statsmodels' refits of the same samples, and themselves."""

import concurrent.futures
import contextlib
import doctest
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import arviz as az
import numpy as np
import pymc as pm
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy.stats import norm

import mle_pp as mle
from mle_pp import Status
from mle_pp.resample import execute, refit, replicates, schemes

RNG = np.random.default_rng(20260401)
Y = RNG.gamma(2.0, 1.5, 40)


def normal(y, **options):
    with pm.Model(coords={"obs": np.arange(len(y))}) as model:
        mu, sigma = pm.Normal("mu", 0, 10), pm.HalfNormal("sigma", 10)
        pm.Deterministic("variance", sigma**2)
        pm.Normal("y", mu, sigma, observed=y, dims="obs")
    return mle.find_MLE(model, **options)


def counts(n=120, seed=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    mean = np.exp(0.8 + x @ [0.4, -0.3])
    return x, rng.poisson(rng.gamma(2.0, mean / 2.0))


def negative_binomial(x, y):
    with pm.Model(coords={"obs": np.arange(len(y))}) as model:
        a, b, alpha = pm.Normal("a"), pm.Normal("b", shape=2), pm.HalfNormal("alpha", 5)
        pm.NegativeBinomial("y", mu=pm.math.exp(a + pm.math.dot(x, b)), alpha=alpha, observed=y, dims="obs")
    return model


def run(est, n, kind, **options):
    return mle.bootstrap(est, n, kind, progressbar=False, **options)


def multinomial(seed, k, n):
    """The weights of a replicate, as documented: from the seed and its number."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k,))).multinomial(n, np.full(n, 1 / n))


@pytest.fixture(scope="module")
def sample():
    return normal(Y)


# -- each refit ---------------------------------------------------------------------------------------------------


def test_rows_are_refits_of_repeated_rows(sample):
    boot = run(sample, 60, "rows", random_seed=5)
    for k in range(60):
        y = np.repeat(Y, multinomial(5, k, 40))
        here = boot.draws.isel(chain=0, draw=k)
        np.testing.assert_allclose(here["mu"], y.mean(), rtol=1e-10)
        np.testing.assert_allclose(here["sigma"], y.std(), rtol=1e-10)
        np.testing.assert_allclose(here["variance"], y.var(), rtol=1e-10)
        assert boot.status["loglik"][k] == pytest.approx(norm.logpdf(y, y.mean(), y.std()).sum(), rel=1e-10)
    assert (boot.status["status"] == "CONVERGED").all()
    assert (boot.status["decrement"] < 1e-12).all()
    assert boot._repr_html_().startswith("<div>Bootstrap(rows, 60 refits: 60 CONVERGED)<div>")


def test_refits_agree_with_find_mle_on_the_repeated_rows():
    x, y = counts()
    est = mle.find_MLE(negative_binomial(x, y))
    boot = run(est, 4, "rows", random_seed=1)
    for k in range(4):
        w = multinomial(1, k, len(y))
        other = mle.find_MLE(negative_binomial(np.repeat(x, w, axis=0), np.repeat(y, w)))
        for name in ("a", "b", "alpha"):
            np.testing.assert_allclose(boot.draws[name][0, k], other.params[name], rtol=1e-8)


def test_statsmodels_refits_of_the_same_rows():
    x, y = counts()
    boot = run(mle.find_MLE(negative_binomial(x, y)), 20, "rows", random_seed=2)
    for k in range(20):
        w = multinomial(2, k, len(y))
        peer = sm.NegativeBinomial(np.repeat(y, w), sm.add_constant(np.repeat(x, w, axis=0)))
        near = peer.fit(disp=0, maxiter=500).params
        peer = peer.fit(near, disp=0, method="newton", maxiter=100)
        here = boot.draws.isel(chain=0, draw=k)
        np.testing.assert_allclose([here["a"], *here["b"], 1 / here["alpha"]], peer.params, rtol=1e-6)
        assert boot.status["loglik"][k] == pytest.approx(peer.llf, rel=1e-10)


def test_parametric_refits_are_those_of_the_simulated_data():
    x, y = counts(60)
    est = mle.find_MLE(negative_binomial(x, y))
    refitter, [name] = refit.by_data(est)
    drawn = np.stack([np.random.default_rng(k).negative_binomial(2, 0.4, 60) for k in range(3)])
    for k, found in enumerate(refitter.fit([drawn.astype(refitter.smooth.inputs[0].type.dtype)])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mle.VerdictWarning)
            other = mle.find_MLE(negative_binomial(x, drawn[k]))
        assert name == "y"
        assert found.status is other.verdict.status
        assert found.value == pytest.approx(other.loglik, rel=1e-8)


def test_parametric_draws_have_the_sampling_distribution(sample):
    boot = run(sample, 2000, "parametric", random_seed=9)
    mu, sigma = float(sample.params["mu"]), float(sample.params["sigma"])
    z = (boot.draws["mu"].values.ravel() - mu) / (sigma / np.sqrt(40))
    chi2 = 40 * boot.draws["variance"].values.ravel() / sigma**2
    assert abs(z.mean()) < 4 / np.sqrt(2000)
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(4000))
    assert chi2.mean() == pytest.approx(39, abs=4 * np.sqrt(2 * 39 / 2000))
    assert chi2.std() == pytest.approx(np.sqrt(78), rel=0.1)


def test_variance_of_the_mean(sample):
    """√(Σ(y − ȳ)²/n²): with multinomial weights exactly, whatever the model says."""
    boot = run(sample, 4000, "rows")
    assert float(boot.stderr()["mu"]) == pytest.approx(Y.std() / np.sqrt(40), rel=4 / np.sqrt(8000))
    assert float(boot.bias()["mu"]) == pytest.approx(0, abs=4 * Y.std() / np.sqrt(40) / np.sqrt(4000))


def test_bayesian_weights_are_dirichlet(sample):
    boot = run(sample, 200, "bayesian", random_seed=4)
    for k in range(200):
        w = np.random.default_rng(np.random.SeedSequence(4, spawn_key=(k,))).standard_gamma(np.ones(40))
        np.testing.assert_allclose(boot.draws["mu"][0, k], w @ Y / w.sum(), rtol=1e-10)
    draw = schemes.bayesian(sample._objective.axes, np.ones(40), None)
    weights = np.stack([draw(np.random.default_rng(k)) for k in range(4000)])
    np.testing.assert_allclose(weights.sum(axis=1), 40, rtol=1e-12)
    assert weights.var(axis=0).mean() == pytest.approx(39 / 41, rel=0.05)


def test_clusters_are_drawn_whole(sample):
    groups = np.repeat(list("abcdefgh"), 5)
    boot = run(sample, 50, "clusters", groups=groups, random_seed=6)
    for k in range(50):
        y = np.repeat(Y, np.repeat(multinomial(6, k, 8), 5))
        np.testing.assert_allclose(boot.draws["mu"][0, k], y.mean(), rtol=1e-10)
    labelled = xr.DataArray(groups[::-1], coords={"obs": np.arange(40)[::-1]}, dims="obs")
    other = run(sample, 50, "clusters", groups=labelled, random_seed=6)
    xr.testing.assert_identical(boot.draws, other.draws)
    dirichlet = run(sample, 3, "bayesian", groups=groups, random_seed=6)
    w = np.random.default_rng(np.random.SeedSequence(6, spawn_key=(0,))).dirichlet(np.ones(8))
    np.testing.assert_allclose(dirichlet.draws["mu"][0, 0], np.repeat(w, 5) @ Y / 5, rtol=1e-10)


def test_sets_of_rows_are_resampled_each_by_itself():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0])
    with pm.Model() as model:
        mu, nu = pm.Normal("mu"), pm.Normal("nu")
        pm.Normal("a", mu, 1, observed=a)
        pm.Normal("b", nu, 1, observed=b)
    boot = run(mle.find_MLE(model), 200, "rows")
    means = {np.mean(np.array(rows)) for rows in np.array(np.meshgrid(b, b)).reshape(2, -1).T}
    assert {round(float(v), 6) for v in boot.draws["nu"].values.ravel()} == means
    assert boot.draws["mu"].values.min() >= 1


def test_case_weights_count_identical_rows(sample):
    w = np.arange(40) % 3
    weighted = normal(Y, weights=w)
    boot = run(weighted, 20, "rows", random_seed=8)
    for k in range(20):
        rng = np.random.default_rng(np.random.SeedSequence(8, spawn_key=(k,)))
        times = rng.multinomial(w.sum(), w / w.sum())
        np.testing.assert_allclose(boot.draws["sigma"][0, k], np.repeat(Y, times).std(), rtol=1e-10)
    long = mle.jackknife(normal(np.repeat(Y, w)), progressbar=False)
    short = mle.jackknife(weighted, progressbar=False)
    np.testing.assert_allclose(short.stderr["sigma"], long.stderr["sigma"], rtol=1e-9)
    np.testing.assert_allclose(short.bias["variance"], long.bias["variance"], rtol=1e-7)
    with pytest.raises(mle.ModelError, match="case weights"):
        run(weighted, 5, "parametric")
    with pytest.raises(mle.ModelError, match="whole numbers"):
        mle.jackknife(normal(Y, weights=w + 0.5), progressbar=False)


# -- jackknife ----------------------------------------------------------------------------------------------------


def test_jackknife_of_mean_and_variance(sample):
    jack = mle.jackknife(sample, progressbar=False)
    assert float(jack.stderr["mu"]) == pytest.approx(Y.std(ddof=1) / np.sqrt(40), rel=1e-9)
    assert float(jack.bias["mu"]) == pytest.approx(0, abs=1e-10)
    # That of σ̂² = RSS / n is its bias exactly, with σ² estimated without bias
    assert float(jack.bias["variance"]) == pytest.approx(-Y.var(ddof=1) / 40, rel=1e-8)
    np.testing.assert_allclose(jack.draws["mu"][0], (Y.sum() - Y) / 39, rtol=1e-10)


def test_jackknife_of_clusters(sample):
    groups = np.repeat(np.arange(4), 10)
    jack = mle.jackknife(sample, groups=groups, progressbar=False)
    means = np.array([Y[groups != g].mean() for g in range(4)])
    assert float(jack.stderr["mu"]) == pytest.approx(np.sqrt(3 / 4 * ((means - means.mean()) ** 2).sum()), rel=1e-9)


# -- intervals ----------------------------------------------------------------------------------------------------


def test_percentile_and_basic_intervals(sample):
    boot = run(sample, 399, "rows")
    sigma = boot.draws["sigma"].values.ravel()
    low, high = np.quantile(sigma, [0.05, 0.95], method="weibull")
    found = boot.interval(ci_prob=0.9)
    assert found["sigma"].dims == ("ci_bound",)
    np.testing.assert_allclose(found["sigma"], [low, high], rtol=1e-12)
    # Reflected on the log, so that it stays positive
    center = float(sample.params["sigma"])
    np.testing.assert_allclose(
        boot.interval("sigma", "basic", 0.9)["sigma"], [center**2 / high, center**2 / low], rtol=1e-9
    )
    low, high = np.quantile(boot.draws["mu"].values.ravel(), [0.05, 0.95], method="weibull")
    center = float(sample.params["mu"])
    np.testing.assert_allclose(
        boot.interval("mu", "basic", 0.9)["mu"], [2 * center - high, 2 * center - low], rtol=1e-9
    )
    via = mle.interval(sample, "sigma", kind="bootstrap", ci_prob=0.9, bootstrap=boot)
    xr.testing.assert_identical(via, found[["sigma"]])
    again = mle.interval(
        sample, ci_prob=0.9, kind="bootstrap", bootstrap={"n": 399, "kind": "rows", "progressbar": False}
    )
    xr.testing.assert_identical(again, found)


def test_bca_interval_of_a_mean(sample):
    boot = run(sample, 999, "rows")
    mu, y = boot.draws["mu"].values.ravel(), Y - Y.mean()
    shift = norm.ppf(np.mean(mu < Y.mean()))
    speed = np.sum(y**3) / (6 * np.sum(y**2) ** 1.5)
    moved = shift + norm.ppf([0.05, 0.95])
    expected = np.quantile(mu, norm.cdf(shift + moved / (1 - speed * moved)), method="weibull")
    np.testing.assert_allclose(boot.interval("mu", "bca", 0.9)["mu"], expected, rtol=1e-9)
    assert expected[0] > boot.interval("mu", ci_prob=0.9)["mu"][0]


def test_basic_interval_of_a_decreasing_transform():
    with pm.Model() as model:
        mu = pm.TruncatedNormal("mu", 0, 10, upper=0)
        pm.Normal("y", mu, 1, observed=-Y)
    boot = run(mle.find_MLE(model), 199, "rows")
    low, high = boot.interval("mu", "basic", 0.9)["mu"].values
    draws = np.quantile(boot.draws["mu"].values.ravel(), [0.05, 0.95], method="weibull")
    np.testing.assert_allclose([low, high], Y.mean() ** 2 / draws[::-1] * -1 * -1, rtol=1e-9)
    assert low < high < 0


def test_nearly_poisson_counts():
    """A resample without overdispersion has an infinite alpha: variance ≤ mean, replicate by replicate."""
    y = np.array([0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7, 1, 3, 9])
    with pm.Model() as model:
        pm.NegativeBinomial("y", mu=pm.HalfNormal("mu", 10), alpha=pm.HalfNormal("alpha", 10), observed=y)
    with pytest.warns(mle.VerdictWarning, match="AT_INFINITY"):
        boot = run(mle.find_MLE(model), 60, "rows", random_seed=4)
    samples = [np.repeat(y, multinomial(4, k, 16)) for k in range(60)]
    level = np.array([s.var() <= s.mean() for s in samples])
    assert 5 < level.sum() < 55
    np.testing.assert_array_equal(boot.draws["alpha"].values.ravel() == np.inf, level)
    np.testing.assert_allclose(boot.draws["mu"].values.ravel(), [s.mean() for s in samples], rtol=1e-6)


# -- refits that fail ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nearly_separated():
    x = np.arange(12.0)
    y = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1])
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b")
        pm.Bernoulli("y", logit_p=a + b * (x - 5), observed=y)
    return x, y, mle.find_MLE(model)


def test_refits_without_a_maximum_stay_in_the_result(nearly_separated):
    x, y, est = nearly_separated
    with pytest.warns(mle.VerdictWarning, match="AT_INFINITY"):
        boot = run(est, 100, "rows", random_seed=3)
    assert boot.draws.sizes["draw"] == len(boot.status) == 100
    separated = []
    for k in range(100):
        used = multinomial(3, k, 12) > 0
        zeros, ones = x[used & (y == 0)], x[used & (y == 1)]
        separated.append(not zeros.size or not ones.size or zeros.max() <= ones.min())
    assert 10 < sum(separated) < 90
    np.testing.assert_array_equal(boot.status["status"] != "CONVERGED", separated)
    slopes = boot.draws["b"].values.ravel()
    assert np.isfinite(slopes[~np.array(separated)]).all()
    # All of one kind: only the intercept goes anywhere
    assert np.isin(slopes[separated], [np.inf]).sum() + np.isnan(slopes[separated]).sum() == sum(separated)
    assert boot.interval("b", ci_prob=0.9)["b"][1] == np.inf


def test_no_maximum_means_nan(sample):
    """Refits of two rows with equal values: the standard deviation shrinks to zero."""
    with pytest.warns(mle.VerdictWarning, match=r"of 40 refits .* UNBOUNDED"):
        boot = run(normal(np.array([1.0, 2.0, 4.0])), 40, "rows", random_seed=2)
    bad = np.array([len(np.unique(np.flatnonzero(multinomial(2, k, 3)))) == 1 for k in range(40)])
    assert 0 < bad.sum() == boot.n_failed
    np.testing.assert_array_equal(np.isnan(boot.draws["mu"].values.ravel()), bad)
    np.testing.assert_array_equal(boot.status["status"] == "UNBOUNDED", bad)
    with pytest.warns(mle.VerdictWarning, match="left out of the interval"):
        found = boot.interval("mu", ci_prob=0.5)["mu"]
    np.testing.assert_allclose(
        found, np.quantile(boot.draws["mu"].values.ravel()[~bad], [0.25, 0.75], method="weibull"), rtol=1e-12
    )
    tree = boot.to_datatree()
    assert tree["posterior"].sizes["draw"] == 40 - boot.n_failed
    assert tree["posterior"].attrs["n_failed"] == boot.n_failed


# -- who computes them, and where -----------------------------------------------------------------------------------


def custom():
    with pm.Model() as model:
        rate = pm.HalfNormal("rate", 5)
        pm.CustomDist(
            "y",
            rate,
            logp=lambda value, rate: pm.math.log(rate) - rate * value,
            random=lambda rate, rng=None, size=None: rng.exponential(1 / rate, size=size),
            observed=Y,
        )
    return mle.find_MLE(model)


def test_a_custom_distribution_in_other_processes():
    est = custom()
    here = run(est, 120, "rows", random_seed=1)
    np.testing.assert_allclose(
        here.draws["rate"].values.ravel(),
        [1 / np.repeat(Y, multinomial(1, k, 40)).mean() for k in range(120)],
        rtol=1e-10,
    )
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        there = run(est, 120, "rows", random_seed=1, executor=pool)
        parametric = run(est, 120, "parametric", random_seed=1, executor=pool)
    xr.testing.assert_identical(here.draws, there.draws)
    xr.testing.assert_identical(run(est, 120, "parametric", random_seed=1).draws, parametric.draws)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        xr.testing.assert_identical(here.draws, run(est, 120, "rows", random_seed=1, executor=pool).draws)


def test_own_workers_give_the_same(sample, monkeypatch):
    monkeypatch.setattr(execute, "_WORTH_WORKERS", 0.0)
    monkeypatch.setattr(execute, "_cores", lambda: 2)
    started = []
    start = execute.Workers._start
    monkeypatch.setattr(execute.Workers, "_start", lambda self: started.append(1) or start(self))
    there = run(sample, 400, "rows")
    assert started
    monkeypatch.undo()
    xr.testing.assert_identical(run(sample, 400, "rows").draws, there.draws)


def test_errors_in_workers_are_raised_here(sample):
    with execute.Workers(1) as workers, pytest.raises(RuntimeError, match="In a worker process: UnpicklingError"):
        workers.submit(execute.work, b"nonsense", None).result()


def test_batches_and_single_refits_agree(sample):
    refitter = refit.by_weights(sample)
    weights = np.stack([multinomial(0, k, 40) for k in range(8)]).astype(float)
    together = refitter.fit([weights])
    for row, many in zip(weights, together, strict=True):
        one = refitter.fit_one([row])
        np.testing.assert_allclose(many.x, one.x, rtol=1e-10)
        assert many.value == pytest.approx(one.value, rel=1e-12)
    assert refitter._batched is not None
    values, slopes, matrices = refitter.derivatives(np.tile(refitter.start, (8, 1)), [weights])
    for k in range(8):
        value, slope, matrix = refitter.smooth.derivatives(refitter.start, weights[k])
        np.testing.assert_allclose(values[k], value, rtol=1e-12)
        np.testing.assert_allclose(slopes[k], slope, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(matrices[k], matrix, rtol=1e-9, atol=1e-9)


def test_a_batch_that_is_wrong_is_not_used(sample):
    refitter = refit.by_weights(sample)
    right = refitter._batched
    refitter._batched = lambda x, inputs: tuple(1.001 * part for part in right(x, inputs))
    found = refitter.fit([np.ones((3, 40))])
    assert refitter._batched is None
    np.testing.assert_allclose([r.x for r in found], np.tile(sample._optimum.x, (3, 1)), rtol=1e-9)


def test_seeds(sample):
    first = run(sample, 30, "rows")
    xr.testing.assert_identical(first.draws, run(sample, 30, "rows").draws)
    more = run(sample, 70, "rows")
    np.testing.assert_allclose(more.draws["mu"][0, :30], first.draws["mu"][0], rtol=1e-12)
    same = [np.random.default_rng(3), np.random.default_rng(3)]
    one, other = (run(sample, 10, "rows", random_seed=seed) for seed in same)
    xr.testing.assert_identical(one.draws, other.draws)
    again = run(sample, 10, "rows", random_seed=same[0])
    assert not np.isin(again.draws["mu"], one.draws["mu"]).all()
    assert run(sample, 2, "rows", random_seed=[1, 2]).seed == [1, 2]
    assert not run(sample, 10, "rows", random_seed=1).draws.identical(first.draws)


def test_arviz_takes_the_draws(sample):
    table = az.summary(run(sample, 200, "rows").to_datatree(), kind="stats", round_to="none")
    draws = run(sample, 200, "rows").draws
    assert list(table.index) == ["mu", "sigma", "variance"]
    np.testing.assert_allclose(table.loc["mu", "mean"].astype(float), float(draws["mu"].mean()), rtol=1e-9)


def test_progress_bar(sample, monkeypatch):
    shown = []

    class Bar(contextlib.nullcontext):
        def add_task(self, label, completed, total):
            shown.append([label, completed, total])

        def advance(self, task, advance):
            shown[-1][1] += advance

    monkeypatch.setattr(execute, "create_simple_progress", lambda wanted: Bar() if wanted else None)
    mle.bootstrap(sample, 120, "rows")
    mle.jackknife(sample)
    assert shown == [["Bootstrap (rows)", 120, 120], ["Jackknife", 40, 40]]


# -- on disk ------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
import numpy as np
import mle_pp as mle
from mle_pp.resample.execute import Journal
sys.path.insert(0, {folder!r})
from test_bootstrap import Y, normal

append = Journal.append
def slowly(self, block, result):
    append(self, block, result)
    time.sleep(float(sys.argv[3]))
Journal.append = slowly
boot = mle.bootstrap(normal(Y), 1000, "rows", path=sys.argv[1], random_seed=11, progressbar=False)
np.savez(sys.argv[2], **{{name: array.values for name, array in boot.draws.items()}}, loglik=boot.status["loglik"])
"""


def test_a_killed_run_goes_on(tmp_path):
    """SIGKILL three times, once within a record; the end is that of a run nobody disturbed, to the last bit."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)))
    path = tmp_path / "boot.jsonl"
    call = [sys.executable, str(script), str(path), str(tmp_path / "resumed.npz")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])}
    seen = []
    for blocks in (4, 9, 14):
        process = subprocess.Popen([*call, "0.1"], env=env)
        while not (path.exists() and path.read_bytes().count(b"\n") > blocks):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append([json.loads(line)[0] for line in path.read_bytes().split(b"\n")[1:-1]])
    with path.open("ab") as file:
        file.write(b'[15, [["CONVERGED", -7')
    subprocess.run([*call, "0"], env=env, check=True)
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[1:-1]]
    assert [block for block, _ in lines] == list(range(20))
    assert seen == [list(range(len(part))) for part in seen]
    assert 4 <= len(seen[0]) < len(seen[1]) < len(seen[2]) < 20
    subprocess.run(
        [sys.executable, str(script), str(tmp_path / "whole.jsonl"), str(tmp_path / "whole.npz"), "0"],
        env=env,
        check=True,
    )
    with np.load(tmp_path / "resumed.npz") as resumed, np.load(tmp_path / "whole.npz") as whole:
        for name in whole.files:
            assert resumed[name].tobytes() == whole[name].tobytes()


def test_results_on_disk(sample, tmp_path, monkeypatch):
    path = tmp_path / "boot.jsonl"
    first = run(sample, 120, "rows", path=path)
    size = path.stat().st_size

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(replicates._Fit, "__call__", never)
    xr.testing.assert_identical(run(sample, 120, "rows", path=path).draws, first.draws)
    assert path.stat().st_size == size
    for options, name in (
        ({"n": 121}, "n is 120 there, 121 here"),
        ({"random_seed": 1}, "seed"),
        ({"kind": "bayesian"}, "kind"),
    ):
        arguments = {"n": 120, "kind": "rows", "path": path, **options}
        with pytest.raises(mle.ModelError, match=f"holds another run: {name}"):
            mle.bootstrap(sample, progressbar=False, **arguments)
    with pytest.raises(mle.ModelError, match="holds another run: data"):
        run(normal(Y + 1), 120, "rows", path=path)
    assert path.stat().st_size == size
    foreign = tmp_path / "notes.txt"
    foreign.write_text("something else")
    with pytest.raises(mle.ModelError, match="was not written by"):
        run(sample, 10, "rows", path=foreign)
    assert foreign.read_text() == "something else"


# -- refusals -----------------------------------------------------------------------------------------------------


def autoregression():
    y = np.cumsum(RNG.normal(size=30)) * 0.3
    with pm.Model() as model:
        rho, sigma = pm.Normal("rho"), pm.HalfNormal("sigma", 2)
        pm.AR("y", rho, sigma=sigma, init_dist=pm.Normal.dist(0, 10), observed=y)
    return mle.find_MLE(model)


def test_a_likelihood_without_rows():
    est = autoregression()
    for kind in ("rows", "bayesian"):
        with pytest.raises(mle.ModelError, match=rf"bootstrap\(kind='{kind}'\) needs .* of y is one block"):
            run(est, 5, kind)
    with pytest.raises(mle.ModelError, match="of y is one block"):
        mle.jackknife(est, progressbar=False)
    boot = run(est, 20, "parametric")
    assert (boot.status["status"] == "CONVERGED").all()
    with pytest.raises(mle.ModelError, match="of y is one block"):
        boot.interval(kind="bca")


def test_irregular_estimates_are_refused():
    with pm.Model() as model:
        top = pm.Uniform("top", 0, 100)
        pm.Uniform("y", 0, top, observed=Y)
    with pytest.warns(mle.VerdictWarning):
        est = mle.find_MLE(model)
    assert est.verdict.status is Status.IRREGULAR
    with pytest.raises(mle.ModelError, match="IRREGULAR: the bootstrap is not consistent"):
        run(est, 5, "rows")


def test_limits_are_withheld():
    with pm.Model() as model:
        mu, p = pm.Normal("mu"), pm.Beta("p", 1, 1)
        pm.Normal("y", mu, 1, observed=Y)
        pm.Bernoulli("z", p, observed=np.zeros(5, dtype=int))
    with pytest.warns(mle.VerdictWarning):
        est = mle.find_MLE(model)
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY: the bootstrap does not find"):
        boot = run(est, 20, "rows", random_seed=1)
    assert (boot.status["status"] == "BOUNDARY").all()
    assert (boot.draws["p"] == 0).all()
    found = boot.interval()
    assert np.isnan(found["p"]).all()
    np.testing.assert_allclose(
        boot.draws["mu"].values.ravel()[0],
        np.repeat(
            Y, np.random.default_rng(np.random.SeedSequence(1, spawn_key=(0,))).multinomial(40, [1 / 40] * 40)
        ).mean(),
        rtol=1e-8,
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n=0 is not a whole number ≥ 1"),
        ({"n": 2.5}, ValueError, "n=2.5 is not a whole number"),
        ({"kind": "block"}, ValueError, "kind='block' is not one of 'parametric', 'rows'"),
        ({"kind": "clusters"}, mle.ModelError, 'kind="clusters" needs groups='),
        ({"kind": "clusters", "groups": np.zeros(40)}, mle.ModelError, r"one cluster only \(0.0\)"),
        ({"kind": "clusters", "groups": np.arange(39)}, mle.ModelError, r"groups has shape \(39,\)"),
        ({"kind": "clusters", "groups": [np.nan, *range(39)]}, mle.ModelError, "no label in row 0"),
        ({"kind": "rows", "groups": np.arange(40)}, ValueError, "groups are for"),
        ({"random_seed": -1}, ValueError, "random_seed=-1 is no seed"),
        ({"random_seed": "x"}, ValueError, "random_seed='x' is no seed"),
    ],
)
def test_bad_arguments(sample, options, error, message):
    with pytest.raises(error, match=message):
        mle.bootstrap(sample, **{"n": 5, "kind": "rows", "progressbar": False, **options})


def test_a_float_that_is_a_whole_number_counts(sample):
    xr.testing.assert_identical(run(sample, 5.0, "rows").draws, run(sample, 5, "rows").draws)


def test_too_few_refits_for_an_interval_are_told(sample):
    """The 2.5 % quantile of 38 has the rank (38 + 1) 0.025 < 1."""
    with pytest.warns(mle.VerdictWarning, match="38 refits are too few for a 95 % interval, .* n=39 at least"):
        run(sample, 38, "rows").interval(ci_prob=0.95)
    run(sample, 39, "rows").interval(ci_prob=0.95)


def test_refusals_come_before_warnings():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), 1, observed=Y)
        pm.MvNormal("z", pm.Normal("m", shape=2), np.eye(2), observed=np.zeros(2))
        pm.Bernoulli("w", pm.Beta("p", 1, 1), observed=np.zeros(5, dtype=int))
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY"):
        est = mle.find_MLE(model)
    with pytest.raises(mle.ModelError, match=r"kind='rows'.* needs .* That of z is one block"):
        run(est, 5, "rows")
    with pytest.raises(mle.ModelError, match=r"The jackknife needs .* That of z is one block"):
        mle.jackknife(est, progressbar=False)
    with pytest.warns(mle.VerdictWarning, match="BOUNDARY: the bootstrap does not find"):
        boot = run(est, 40, "parametric")
    with pytest.raises(mle.ModelError, match=r"The jackknife needs .* That of z is one block"):
        boot.interval(kind="bca")


def test_a_jackknife_with_infinite_refits_has_no_error_and_says_nothing():
    """Without the only success the logit is −∞; NumPy's warnings would be errors here."""
    with pm.Model() as model:
        pm.Bernoulli("y", logit_p=pm.Normal("a"), observed=np.array([1, 0, 0, 0, 0]))
        pm.Normal("z", pm.Normal("mu"), 1, observed=Y)
    jack = mle.jackknife(mle.find_MLE(model), progressbar=False)
    assert (jack.draws["a"] == -np.inf).sum() == 1
    assert np.isnan(jack.stderr["a"])
    assert np.isfinite(jack.stderr["mu"])


def test_bad_intervals(sample):
    boot = run(sample, 5, "rows")
    with pytest.raises(ValueError, match=r"ci_prob=1\.5 is not a probability"):
        boot.interval(ci_prob=1.5)
    with pytest.raises(ValueError, match="kind='normal' is not one of 'percentile'"):
        boot.interval(kind="normal")
    with pytest.raises(KeyError, match="tau not among the variables"):
        boot.interval("tau")
    with pytest.raises(ValueError, match="another estimate"):
        mle.interval(normal(Y), kind="bootstrap", bootstrap=boot)
    with pytest.raises(ValueError, match='bootstrap= is for kind="bootstrap"'):
        mle.interval(sample, bootstrap=boot)


def test_examples_in_docstrings():
    assert doctest.testmod(replicates).failed == 0
