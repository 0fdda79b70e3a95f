"""The command ``python -m models``, sampling replaced by made-up draws."""

import importlib

import arviz as az
import numpy as np
import pytest

from models import GALLERY

command = importlib.import_module("models.__main__")


def draws(model):
    """A stand-in for a posterior: numbers in the right shapes."""
    rng = np.random.default_rng(0)
    values = {rv.name: rng.normal(3.0, 0.1, size=(2, 1000, *rv.shape.eval())) for rv in model.free_RVs}
    dims = {name: list(dims) for name, dims in model.named_vars_to_dims.items() if name in values}
    observed = {rv.name: model.rvs_to_values[rv].eval() for rv in model.observed_RVs}
    return az.from_dict(
        {"posterior": values, "observed_data": observed},
        coords={k: list(v) for k, v in model.coords.items()},
        dims=dims,
    )


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "sample", draws)
    return tmp_path


def test_list_shows_the_whole_gallery(capsys):
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(GALLERY)
    assert all(entry.description in line for entry, line in zip(GALLERY.values(), lines, strict=True))
    assert max(map(len, lines)) <= command.WIDTH


def test_help_says_what_it_does(capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(["--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "--list" in out
    assert command.DEFAULT in out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("regresion", "Did you mean linear_regression"),
        ("poison", "Did you mean poisson or poisson_regression?"),
        ("hierarchical", "Did you mean hierarchical_regression or hierarchical_regression_shared"),
        ("xyz", "no model 'xyz' in the gallery. python -m models --list"),
    ],
)
def test_unknown_name(capsys, name, hint):
    with pytest.raises(SystemExit) as exit_:
        command.main([name])
    assert exit_.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:idata does not hold:UserWarning")
def test_every_part_is_printed_and_drawn(quick, capsys):
    assert command.main([]) == 0
    out = capsys.readouterr().out
    parts = ["Roles", "Maximum-likelihood estimate", "CONVERGED", "-601.160", "Posterior", "ess_bulk", "prior_pull"]
    positions = [out.index(part) for part in parts]
    assert positions == sorted(positions)
    for text in ("9.063", "4.888", "0.946"):
        assert text in out
    for kind in ("forest", "dist"):
        path = f"figures/hierarchical_regression_{kind}.png"
        assert path in out
        assert (quick / path).stat().st_size > 10_000
    assert max(map(len, out.splitlines())) <= command.WIDTH


@pytest.mark.parametrize("name", ["hierarchical_regression_shared", "hierarchical_regression_free"])
def test_a_refused_estimate_is_explained_and_the_model_sampled(quick, capsys, name):
    assert command.main([name]) == 0
    out = capsys.readouterr().out
    assert "There is none:" in out
    assert "beta: latent" in out
    assert out.index("There is none") < out.index("ess_bulk")
    assert "prior_pull" not in out
    assert not (quick / "figures").exists()
    assert max(map(len, out.splitlines())) <= command.WIDTH


def test_sampling_uses_what_compiles_fastest(monkeypatch):
    seen = {}
    monkeypatch.setattr(command.pm, "sample", lambda **options: seen.update(options))
    model = GALLERY["normal"].build()
    monkeypatch.setattr(command.pytensor.config, "cxx", "")
    command.sample(model)
    assert seen["compile_kwargs"] is None
    monkeypatch.setattr(command.pytensor.config, "cxx", "g++")
    command.sample(model)
    assert seen["model"] is model
    assert seen["compile_kwargs"]["mode"].linker.__class__.__name__ == "VMLinker"
