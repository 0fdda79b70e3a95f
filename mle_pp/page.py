"""One html page about a fit, with everything in it, that can be mailed."""

from __future__ import annotations

import platform
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mle_pp import plots
from mle_pp.compare import compare
from mle_pp.datatree import fingerprint
from mle_pp.errors import EstimationError, ModelError
from mle_pp.roles import parents

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate

PACKAGES = ("mle_pp", "pymc", "pytensor", "arviz-base", "arviz-stats", "arviz-plots", "xarray", "scipy", "numpy")
# A matrix of more scalars than these cannot be read on a page
MOST_PAIRS = 5
# Of the boxes of the model's graph, in dots: between two, the first row, and from one row to the next
_GAP, _TOP, _ROW = 22, 25, 80

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2328; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { border-bottom: 1px solid #d0d7de; margin-top: 2.5rem; }
table { border: 0; border-collapse: collapse; margin: 1rem 0; font-size: .8rem; display: block; overflow-x: auto; }
th, td { padding: .2rem .5rem; text-align: right; border: 0; border-bottom: 1px solid #eaeef2; }
th:first-child, table.words td, table.words th { text-align: left; }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto; } figure { margin: 1.5rem 0; } img { max-width: 100%; }
.graph svg { max-width: 100%; height: auto; font: 14px ui-monospace, monospace; text-anchor: middle; }
.graph path, .graph rect { stroke: #57606a; } .graph path { fill: #57606a; } .graph .way { fill: none; }
figcaption, small, .about { color: #57606a; font-size: .875rem; } .about { margin-top: 0; }
""".strip()


def report(
    est: Estimate,
    idata: Any,
    path: str | Path,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: str | None = None,
    ci_prob: float | None = None,
    title: str = "Maximum likelihood and posterior",
    random_seed: int | None = None,
) -> Path:
    """Write one self-contained html page about a fit: verdict, roles, model, tables, figures, versions and seed.

    The page asks nothing from the network: figures are in it, and it holds no scripts.

    Parameters
    ----------
    est : Estimate
    idata : DataTree or None
        With a group ``posterior`` of the same model and data; ``prior`` and ``posterior_predictive`` are shown, too.
        For None, the page is about the estimate alone.
    path : str or Path
        The file to write; one that exists is replaced.
    var_names, filter_vars
        Parameters and `Deterministic`s in the comparison and in the figures, as for `compare`. Default: all.
    ci_prob : float, optional
        Of all intervals. Default: ArviZ's ``rcParams["stats.ci_prob"]``.
    title : str
    random_seed : int, optional
        Of the simulations behind residuals and predictive checks. Default: one is drawn, and written on the page.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ModelError
        The posterior is of another model or of other data.

    Notes
    -----
    Figures that cannot be drawn, and warnings on the way, are told on the page instead. Each scalar is profiled: choose
    `var_names` where there are many.

    Examples
    --------
    >>> import tempfile
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = mle.report(mle.find_MLE(model), None, f"{folder}/fit.html", title="Four numbers", random_seed=1)
    ...     text = page.read_text(encoding="utf-8")
    >>> "<h1>Four numbers</h1>" in text, text.count("<img ")
    (True, 3)
    """
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if random_seed is None else random_seed
    names: dict[str, Any] = {"var_names": var_names, "filter_vars": filter_vars}
    told: list[str] = []
    with _collected(told):
        # First of all, whether they belong together
        table = None if idata is None else compare(est, idata, ci_prob=ci_prob, **names)
        sections = [
            ("Verdict and estimates", _estimates(est, ci_prob)),
            ("Roles of the variables", _in_words(est.roles.to_frame().rename_axis(None).to_html())),
            ("Model", _model(est)),
            ("Data", _data(est)),
        ]
        if table is not None:
            sections += [("The posterior", _posterior(idata)), ("Estimate and posterior", _comparison(table))]
        sections.append(("Figures", _figures(est, idata, names, ci_prob, seed)))
    if told:
        sections.append(("Warnings", _items(told)))
    sections.append(("Versions and seed", _versions(est, seed)))
    written = Path(path)
    written.write_text(_page(title, sections), encoding="utf-8")
    return written


@contextmanager
def _collected(told: list[str]) -> Iterator[None]:
    """Warnings go into a list, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    ours = (UserWarning, RuntimeWarning)
    texts = [f"{w.category.__name__}: {w.message}" for w in caught if issubclass(w.category, ours)]
    told.extend(dict.fromkeys(texts))


def _page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    body = "\n".join(f"<section><h2>{escape(name)}</h2>\n{content}</section>" for name, content in sections)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # No browser will ask anybody for anything
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="about">Made by mle_pp, {made}</p>\n{body}\n</body>\n</html>\n'
    )


# -- sections -----------------------------------------------------------------------------------------------------


def _estimates(est: Estimate, ci_prob: float | None) -> str:
    numbers = {
        "log-likelihood": est.loglik,
        "observations": est.n_obs,
        "parameters": est.n_params,
        "AIC": est.aic,
        "AICc": est.aicc,
        "BIC": est.bic,
    }
    criteria = _listed({name: "–" if np.isnan(value) else f"{value:.6g}" for name, value in numbers.items()})
    return f"{est.verdict._repr_html_()}\n{_frame(est.summary(ci_prob=ci_prob))}\n{criteria}"


def _model(est: Estimate) -> str:
    return f"<pre>{escape(est.model.str_repr())}</pre>{_graph(est)}"


def _graph(est: Estimate) -> str:
    """The graph of the model: what depends on what, in rows from the top down."""
    above = parents(est.model)
    rows: list[list[str]] = []
    while rest := [name for name in above if not any(name in row for row in rows)]:
        rows.append([name for name in rest if not above[name] & set(rest)])
    # What nothing depends on stands last, out of the way of other arrows
    last = [name for name in above if not any(name in names for names in above.values())]
    rows = [row for row in ([name for name in row if name not in last] for row in rows) if row] + [last]
    widths = {name: 9 * len(name) + 26 for name in above}
    total = max(sum(widths[name] + _GAP for name in row) for row in rows)
    places, pieces = {}, []
    for depth, row in enumerate(rows):
        x = (total - sum(widths[name] + _GAP for name in row)) / 2
        for name in row:
            places[name] = (x + (widths[name] + _GAP) / 2, _TOP + _ROW * depth)
            x += widths[name] + _GAP
    boxes = [[(places[name][0], widths[name] / 2) for name in row] for row in rows]
    for name, names in above.items():
        for parent in sorted(names):
            *way, (a, b), (x, y) = _way(places[parent], places[name], boxes)
            line = " L".join(f"{u:.0f} {v:.0f}" for u, v in (*way, (a, b), (x, y)))
            head = f"translate({x:.0f} {y:.0f}) rotate({np.degrees(np.arctan2(y - b, x - a)):.0f})"
            pieces.append(f'<path class="way" d="M{line}"/><path d="M0 0 L-8 -3 L-8 3 z" transform="{head}"/>')
    observed = {rv.name for rv in est.model.observed_RVs}
    random = observed | {rv.name for rv in est.model.free_RVs}
    for name, (x, y) in places.items():
        round_, fill = 16 if name in random else 2, "#d0d7de" if name in observed else "#fff"
        box = f'x="{x - widths[name] / 2:.0f}" y="{y - 16}" width="{widths[name]}" height="32" rx="{round_}"'
        pieces.append(f'<rect {box} fill="{fill}"/><text x="{x:.0f}" y="{y + 5}">{escape(name)}</text>')
    height = _ROW * len(rows) - 30
    return (
        f'<figure class="graph"><svg role="img" aria-label="graph of the model" viewBox="0 0 {total:.0f} {height}" '
        f'width="{total:.0f}">{"".join(pieces)}</svg>'
        f"<figcaption>What depends on what: random variables are round, those observed grey, data and deterministic "
        f"variables square.</figcaption></figure>"
    )


def _way(
    start: tuple[float, float], end: tuple[float, float], boxes: Sequence[Sequence[tuple[float, float]]]
) -> list[tuple[float, float]]:
    """The corners of an arrow from the foot of one box to the head of another, around those in the rows between."""
    (a, b), (x, y) = start, end
    corners = [(a, b + 16)]
    for depth in range(round((b - _TOP) / _ROW) + 1, round((y - _TOP) / _ROW)):
        level = _TOP + _ROW * depth
        at = a + (x - a) * (level - b) / (y - b)
        for center, half in boxes[depth]:
            if abs(at - center) < half + _GAP / 3:
                at = center + (half + _GAP / 2) * (1 if at >= center else -1)
                corners += [(at, level - 16), (at, level + 16)]
                break
    return [*corners, (x, y - 17)]


def _data(est: Estimate) -> str:
    rows = []
    for name, values in est._objective.data.items():
        mark = fingerprint(values)
        shape = " × ".join(map(str, mark["shape"])) or "scalar"
        rows.append({"variable": name, "shape": shape, "SHA-256": mark["sha256"][:16] + "…"})
    return _in_words(pd.DataFrame(rows).to_html(border=0, index=False)) if rows else "<p>None.</p>"


def _posterior(idata: Any) -> str:
    """How it was sampled."""
    posterior = idata["posterior"]
    rows: dict[str, Any] = {"chains": posterior.sizes["chain"], "draws in each": posterior.sizes["draw"]}
    stats = idata.get("sample_stats") if hasattr(idata, "get") else None
    if stats is not None and "diverging" in stats:
        rows["divergences"] = int(stats["diverging"].sum())
    attrs = posterior.attrs
    for name in ("inference_library", "inference_library_version", "tuning_steps"):
        if name in attrs:
            rows[name.replace("_", " ")] = attrs[name]
    if "sampling_time" in attrs:
        rows["sampling time"] = f"{attrs['sampling_time']:.3g} s"
    return _listed(rows)


def _comparison(table: pd.DataFrame) -> str:
    reading = getattr(table, "reading", None)
    words = "".join(f"<p>{escape(line)}</p>" for line in str(reading()).splitlines() if line) if reading else ""
    return f"{words}{_frame(table)}{_items(table.attrs.get('notes', []))}"


def _versions(est: Estimate, seed: int) -> str:
    rows = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            rows[name] = version(name)
        except PackageNotFoundError:
            rows[name] = "not installed"
    return _listed(rows | {"random seed of this page": str(seed), "backend of the fit": est._objective.backend})


# -- figures ------------------------------------------------------------------------------------------------------


def _figures(est: Estimate, idata: Any, names: Mapping[str, Any], ci_prob: float | None, seed: int) -> str:
    """Those that this estimate and these groups allow, with why the others are missing."""
    parts = []
    for caption, draw in _drawings(est, idata, names, ci_prob, seed).items():
        try:
            parts.append(_figure(draw, caption))
        except (ModelError, EstimationError, ValueError, KeyError) as error:
            text = error.args[0] if error.args else error
            parts.append(f"<p><small>Not drawn: {escape(caption)} {escape(str(text))}</small></p>")
    return "\n".join(parts)


def _drawings(
    est: Estimate, idata: Any, names: Mapping[str, Any], ci_prob: float | None, seed: int
) -> dict[str, Callable[[], Any]]:
    """Captions, and what draws them."""
    common: dict[str, Any] = {"backend": "matplotlib"}
    outer: dict[str, Any] = {} if ci_prob is None else {"ci_probs": (0.5 if ci_prob > 0.5 else ci_prob / 2, ci_prob)}
    one: dict[str, Any] = {} if ci_prob is None else {"ci_prob": ci_prob}
    kinds = ["wald", "profile"] if est.kind == "mle" and est.verdict.ok else ["wald"]
    found: dict[str, Callable[[], Any]] = {}
    if idata is not None:
        found["Intervals of estimate and posterior, below each other."] = lambda: plots.plot_forest(
            est, idata, kind=kinds, **names, **outer, **common
        )
        found["Densities: the posterior, the normalized profile likelihood, and the prior where it was sampled."] = (
            lambda: plots.plot_dist(est, idata, **names, **one, **common, col_wrap=3)
        )
    if est.kind == "mle":
        found["Signed roots of the profile likelihoods: bent where the likelihood is not normal."] = lambda: (
            plots.plot_profile(est, **names, **one, **common, col_wrap=3)
        )
    if idata is not None:
        if 2 <= est._layout.size <= MOST_PAIRS:
            found["Pairs of parameters: posterior draws, likelihood regions and Wald ellipses."] = lambda: (
                plots.plot_pair(est, idata, var_names=est._layout.names, **common)
            )
        if len(est.latent):
            found["Latent variables: conditional modes and posterior, below each other."] = lambda: (
                plots.plot_shrinkage(est, idata, **outer, **common)
            )
    found["Randomized quantile residuals: standard normal, if the model is true."] = lambda: plots.plot_residuals(
        est, random_seed=seed, **one, **common
    )
    if idata is not None and "posterior_predictive" in idata:
        found["The observations, within bands of the plug-in and of the posterior predictive."] = lambda: (
            plots.plot_ppc(est, idata, random_seed=seed, **one, **common)
        )
    found["Where each start of the search ended."] = lambda: plots.plot_starts(est, **common)
    return found


def _figure(draw: Callable[[], Any], caption: str) -> str:
    from matplotlib import pyplot

    with pyplot.rc_context({"figure.max_open_warning": 0}):
        figure = draw().get_viz("figure")
    try:
        content = BytesIO()
        figure.savefig(content, format="png", dpi=110)
    finally:
        pyplot.close(figure)
    image = _image("image/png", content.getvalue(), caption)
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(kind: str, content: bytes, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:{kind};base64,{b64encode(content).decode()}">'


# -- pieces of html -----------------------------------------------------------------------------------------------


def _frame(frame: pd.DataFrame) -> str:
    """A table with the digits that ArviZ shows, however long."""
    with pd.option_context("display.max_rows", None, "display.max_columns", None):
        return frame._repr_html_()


def _listed(rows: Mapping[str, Any]) -> str:
    """One fact a row."""
    frame = pd.DataFrame({"": list(map(str, rows.values()))}, index=list(rows))
    return _in_words(frame.to_html(border=0, header=False))


def _in_words(table: str) -> str:
    return table.replace('class="dataframe"', 'class="words"')


def _items(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(str(text))}</li>' for text in texts)}</ul>" if texts else ""
