"""A stored estimate, read in another process without its model: tables, comparisons and figures as they were."""

import io
import subprocess
import sys
import textwrap

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr

import mle_pp as mle
from mle_pp.conventions import bounds
from mle_pp.intervals import wald_intervals

RNG = np.random.default_rng(7)
X = RNG.normal(size=30)
GROUP = np.repeat(np.arange(6), 5)
Y = 1 + 0.5 * X + RNG.normal(size=6)[GROUP] + 0.7 * RNG.normal(size=30)

# What a reader's process does first: no model can be made in it
READER = """
import json, sys, warnings
import matplotlib
matplotlib.use("agg")
import numpy as np
import pymc as pm
import xarray as xr
def refuse(*args, **kwargs):
    raise AssertionError("a model was made")
pm.Model.__init__ = refuse
import mle_pp as mle
with xr.open_datatree(sys.argv[1], engine=sys.argv[2]) as opened:
    tree = opened.load()
est = mle.from_datatree(tree)
"""


def model():
    with pm.Model(coords={"row": range(30), "group": list("abcdef")}) as made:
        x = pm.Data("x", X, dims="row")
        a, b = pm.Normal("a", 0, 5), pm.Uniform("b", -2, 3)
        tau, sigma = pm.HalfNormal("tau", 2), pm.HalfNormal("sigma", 2)
        pm.Deterministic("ratio", tau / sigma)
        u = pm.Normal("u", 0, tau, dims="group")
        pm.Normal("y", a + b * x + u[GROUP], sigma, observed=Y, dims="row")
    return made


@pytest.fixture(scope="module")
def est():
    return mle.find_MLE(model())


@pytest.fixture(scope="module")
def idata(est):
    draws = {}
    for name in ("a", "b", "tau", "sigma"):
        center, spread = float(est.params[name]), float(est.stderr()[name])
        draws[name] = np.abs(RNG.normal(center, spread, size=(4, 300)))
    draws["ratio"] = draws["tau"] / draws["sigma"]
    draws["u"] = RNG.normal(est.latent["u"], est.latent["u_se"], size=(4, 300, 6))
    new = RNG.normal(Y, 1.0, size=(4, 300, 30))
    groups = {"posterior": draws, "posterior_predictive": {"y": new}}
    groups |= {"observed_data": {"y": Y}, "constant_data": {"x": X}}
    return az.from_dict(
        groups,
        dims={"u": ["group"], "y": ["row"], "x": ["row"]},
        coords={"group": list("abcdef"), "row": np.arange(30)},
    )


@pytest.fixture(scope="module")
def everything(est, idata):
    """Estimate, posterior, profiles and draws in one tree."""
    tree = idata.copy()
    tree.update(est.to_datatree().children)
    tree.update(mle.profile(est, ["a", "b", "tau", "sigma", "ratio"], ci_prob=0.9995).to_datatree().children)
    tree["mle_simulated"] = xr.DataTree(mle.simulate(est, 400, random_seed=1))
    return tree


def read(tree, path, script, write="to_netcdf"):
    engine = "h5netcdf" if write == "to_netcdf" else "zarr"
    getattr(tree, write)(path, **({"engine": engine} if engine == "h5netcdf" else {}))
    command = [sys.executable, "-c", READER + textwrap.dedent(script), str(path), engine]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("write", ["to_netcdf", "to_zarr"])
def test_tables_are_the_same_without_the_model(est, everything, idata, tmp_path, write):
    if write == "to_zarr":
        pytest.importorskip("zarr")
    script = """
    print(repr(est))
    print("====")
    table = mle.compare(est, tree, kind="profile", ci_prob=0.9995)
    print(table.drop(columns=["prior_pull", "asymmetry"]).to_json(double_precision=15))
    print("====")
    print(table.reading())
    """
    told, table, reading = read(everything, tmp_path / "x", script, write).split("====\n")
    assert told.strip() == repr(est).strip()
    live = mle.compare(est, idata, kind="profile", ci_prob=0.9995)
    there = pd.read_json(io.StringIO(table))
    assert list(there.index) == list(live.index)
    numbers = [name for name in there if name != "unit"]
    np.testing.assert_allclose(there[numbers], np.array(live[numbers], dtype=float), rtol=1e-9, atol=1e-12)
    assert "No posterior mode, so no prior_pull and asymmetry. This needs the model" in reading
    assert there.loc["u[a]", "mle"] == pytest.approx(float(est.latent["u"][0]), rel=1e-12)


def test_every_figure_is_drawn_without_the_model(everything, tmp_path):
    script = """
    warnings.simplefilter("ignore", mle.ProfileWarning)
    for name, call in {
        "forest": lambda: mle.plot_forest(est, tree, kind=["wald", "profile"]),
        "dist": lambda: mle.plot_dist(est, tree, var_names=["a", "tau", "ratio"]),
        "wald": lambda: mle.plot_dist(est, tree, kind="wald"),
        "profile": lambda: mle.plot_profile(est),
        "pair": lambda: mle.plot_pair(est, tree, var_names=["a", "b", "sigma"]),
        "starts": lambda: mle.plot_starts(est),
        "shrinkage": lambda: mle.plot_shrinkage(est, tree),
        "ppc": lambda: mle.plot_ppc(est, tree, random_seed=1),
        "residuals": lambda: mle.plot_residuals(est, random_seed=1),
    }.items():
        call().savefig(f"{sys.argv[1]}.{name}.png")
        print(name)
    """
    assert len(read(everything, tmp_path / "x.nc", script).split()) == 9


def test_the_estimate_alone_is_enough_beside_another_posterior(est, idata, tmp_path):
    idata.to_netcdf(tmp_path / "posterior.nc", engine="h5netcdf")
    script = f"""
    with xr.open_datatree({str(tmp_path / "posterior.nc")!r}, engine="h5netcdf") as opened:
        idata = opened.load()
    mle.compare(est, idata)
    mle.plot_forest(est, idata, backend="none")
    mle.plot_shrinkage(est, idata, backend="none")
    idata["observed_data"]["y"].values[3] += 1e-9
    try:
        mle.compare(est, idata)
    except mle.ModelError as error:
        print(error)
    """
    assert "other data than the estimate: y is not what it was" in read(est.to_datatree(), tmp_path / "x.nc", script)


@pytest.fixture(scope="module")
def bare(est):
    return mle.from_datatree(est.to_datatree())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda est, idata: mle.plot_profile(est, ["a"]), r"no group mle_profile with a.*mle\.profile\(est, \['a'\]"),
        (lambda est, idata: mle.plot_dist(est, idata), "no group mle_profile with a, b"),
        (lambda est, idata: mle.interval(est, "a", kind="profile"), "no group mle_profile"),
        (lambda est, idata: mle.plot_ppc(est, idata), r"no group mle_simulated.*mle\.simulate\(est, "),
        (lambda est, idata: mle.plot_residuals(est), "does not hold the data of y.*observed_data"),
        (lambda est, idata: mle.bootstrap(est, 2), r"needs the model.*mle\.from_datatree\(tree, model\)"),
        (lambda est, idata: est.cov("sandwich"), "needs the model"),
        (lambda est, idata: mle.predict(est), "needs the model"),
        (
            lambda est, idata: mle.region(est, "a", "b"),
            r"regions are made from the model.*mle\.from_datatree",
        ),
    ],
)
def test_what_is_missing_is_named(bare, idata, call, message):
    with pytest.raises(mle.ModelError, match=message):
        call(bare, idata)


def test_a_pair_without_the_model_has_profiles_and_ellipses(everything):
    stored = mle.from_datatree(everything)
    with pytest.warns(mle.ProfileWarning, match="^Likelihood regions are made from the model[^:]*: mle.from_datatree"):
        matrix = mle.plot_pair(stored, everything, var_names=["a", "b"], backend="matplotlib")
    assert matrix.viz["region_0.95"].isel(row_index=1, col_index=0).item() is None
    for visual, row, column in (("ellipse_0.95", 1, 0), ("profile", 0, 0)):
        assert matrix.viz[visual].isel(row_index=row, col_index=column).item() is not None


def test_wald_limits_follow_every_transform():
    """Closed forms: log, logit between any ends, a reflected log, and none."""
    data = RNG.normal(size=20)
    with pm.Model() as made:
        m = pm.Normal("m")
        s = pm.HalfNormal("s", 2)
        p = pm.Beta("p", 2, 2)
        w = pm.Uniform("w", -3, 5)
        low = pm.Uniform("low", m - 10, m + 10)
        t = pm.TruncatedNormal("t", 0, 3, upper=4)
        weights = pm.Dirichlet("weights", np.ones(3))
        pm.Normal("y", m, s, observed=data)
        pm.Binomial("k", 20, p, observed=7)
        pm.Normal("z", [w, t, low], 1, observed=[1.0, 2.0, 3.0])
        pm.Multinomial("n", 10, weights, observed=[2, 3, 5])
    live = mle.find_MLE(made)
    stored = mle.from_datatree(live.to_datatree())
    for prob in (0.5, 0.95, 0.9999):
        xr.testing.assert_allclose(wald_intervals(stored, prob), wald_intervals(live, prob), rtol=1e-9)
    assert stored.n_obs == live.n_obs
    assert list(stored.summary().columns) == ["mle", "se", *bounds("wald", 0.89)]


def test_limits_between_the_points_of_a_stored_curve(est, everything):
    """At probabilities that were not stored, figures interpolate."""
    from mle_pp.plots.panels import profiles_of

    stored = mle.from_datatree(everything)
    for prob in (0.5, 0.89, 0.99):
        there = profiles_of(stored, ["a", "sigma", "ratio"], prob, 0)
        for label, one in mle.profile(est, list(there), ci_prob=prob, points=0).items():
            width = one.upper - one.lower
            assert there[label].lower == pytest.approx(one.lower, abs=2e-3 * width)
            assert there[label].upper == pytest.approx(one.upper, abs=2e-3 * width)
    with pytest.raises(mle.ModelError, match=r"go as far as ci_prob=0\.9995, and 0\.9999 is needed"):
        profiles_of(stored, ["a"], 0.9999, 0)
    with pytest.raises(ValueError, match=r"the profiles in the DataTree are those of 0\.9995"):
        mle.profile(stored, "a", ci_prob=0.9)


def test_profiles_of_another_optimum_are_refused(est, everything):
    tree = everything.copy()
    tree["mle_profile"] = xr.DataTree(tree["mle_profile"].to_dataset().assign(loglik=tree["mle_profile"]["loglik"] + 1))
    with pytest.raises(mle.ModelError, match="belong to another optimum"):
        mle.profile(mle.from_datatree(tree), "a", ci_prob=0.9995)
