"""The main job, end to end: one model, its maximum-likelihood estimate, its posterior, and the two side by side.

``python -m models [NAME]``; ``python -m models --list`` shows the names.
"""

from __future__ import annotations

import argparse
import difflib
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import arviz as az
import matplotlib
import pymc as pm
import pytensor
from pytensor.compile.mode import Mode

import mle_pp as mle
from models import GALLERY, Entry

DEFAULT = "hierarchical_regression"
FIGURES = Path("figures")
WIDTH = 100
SEED = 20260101
MAX_SCALARS = 30


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="Maximum-likelihood estimate and posterior of one model of the gallery, side by side.",
    )
    parser.add_argument("name", nargs="?", default=DEFAULT, help=f"a model of the gallery (default: {DEFAULT})")
    parser.add_argument("--list", action="store_true", help="show the gallery and stop")
    options = parser.parse_args(arguments)
    if options.list:
        show_gallery()
        return 0
    if options.name not in GALLERY:
        parser.error(unknown(options.name))
    run(GALLERY[options.name])
    return 0


def show_gallery() -> None:
    """Names and descriptions."""
    width = max(map(len, GALLERY))
    for entry in GALLERY.values():
        print(f"{entry.name:<{width}}  {entry.description}")


def unknown(name: str) -> str:
    """What to do about a name that the gallery does not have."""
    close = [known for known in GALLERY if name in known] or difflib.get_close_matches(name, GALLERY, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"there is no model {name!r} in the gallery. {hint}python -m models --list shows all of them."


def run(entry: Entry) -> None:
    """Estimate, sample, compare, draw."""
    print(f"{entry.name}: {entry.description}")
    model = entry.build()
    heading("Roles: what maximum likelihood does with each free variable")
    show(repr(mle.roles(model)))
    est = estimate(model)
    idata = sample(model)
    show_posterior(model, idata)
    if est is not None:
        show_comparison(est, idata)
        draw(entry.name, est, idata)


def heading(text: str) -> None:
    """A line that divides the output."""
    print(f"\n── {text} {'─' * max(WIDTH - len(text) - 4, 0)}\n", flush=True)


def show(text: str) -> None:
    """Lines no longer than the page."""
    for line in text.splitlines():
        print("\n".join(textwrap.wrap(line, WIDTH, subsequent_indent="    ") or [""]))


def estimate(model: pm.Model) -> mle.Estimate | None:
    """The estimate, printed; None where there is none, with the reason printed."""
    heading("Maximum-likelihood estimate")
    start = time.perf_counter()
    with warnings.catch_warnings():
        # The verdict, printed just below, says the same
        warnings.simplefilter("ignore", mle.VerdictWarning)
        try:
            est = mle.find_MLE(model)
        except (mle.ModelError, mle.EstimationError) as error:
            print("There is none:\n")
            show(str(error))
            return None
    seconds = time.perf_counter() - start
    print(est)
    print(f"\n({seconds:.1f} s, from the declared model to estimates and standard errors)")
    return est


def sample(model: pm.Model) -> Any:
    """The posterior, with a progress bar."""
    heading("Sampling the same model")
    start = time.perf_counter()
    # Where there is a C compiler, C is ready in a fifth of the time that Numba takes to compile a small model
    mode = Mode(linker="cvm", optimizer="fast_run") if pytensor.config.cxx else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        idata = pm.sample(model=model, chains=4, random_seed=SEED, compile_kwargs={"mode": mode} if mode else None)
    print(f"({time.perf_counter() - start:.1f} s, compilation included)")
    return idata


def show_posterior(model: pm.Model, idata: Any) -> None:
    """ArviZ's summary."""
    heading("Posterior")
    names = [rv.name for rv in model.free_RVs] + [d.name for d in model.deterministics]
    short = [name for name in names if idata.posterior[name].isel(chain=0, draw=0).size <= MAX_SCALARS]
    print(az.summary(idata, var_names=short).to_string())


def show_comparison(est: mle.Estimate, idata: Any) -> None:
    """The table of `compare`, in two parts that fit on a page."""
    heading("The two side by side")
    table = mle.compare(est, idata)
    split = table.columns.get_loc("shift")
    print(table.iloc[:, :split].to_string())
    contrasts = table.iloc[:, split:]
    if (contrasts["unit"] == "se").all():
        contrasts = contrasts.drop(columns="unit")
    print(f"\n{contrasts.to_string()}\n")
    show("shift: posterior mean − MLE in standard errors, the sum of")
    show("  prior_pull: posterior mode − MLE, and asymmetry: posterior mean − mode.")
    show("width_ratio: the posterior's interval over the Wald interval; overlap: their common share.")
    print()
    show(table.reading())


def draw(name: str, est: mle.Estimate, idata: Any) -> None:
    """The two figures, as files."""
    heading("Figures")
    matplotlib.use("agg")
    FIGURES.mkdir(exist_ok=True)
    for kind, plot in (("forest", mle.plot_forest), ("dist", mle.plot_dist)):
        path = FIGURES / f"{name}_{kind}.png"
        plot(est, idata).savefig(path)
        print(path)


if __name__ == "__main__":
    raise SystemExit(main())
