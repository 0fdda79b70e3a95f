"""The notebooks: what is committed, and what comes out when they run here."""

import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))

# Per notebook and cell: what its output must say.
EXPECTED = {
    "01_one_graph_two_answers.ipynb": {
        "ols": ["9.0629", "4.3478", "11.0557", "4.8884", "-601.16"],
        "hand": ["16.66", "18.78", "7.66"],
        "failed": ["False", "nan", "[4.5 3.8 8.2]"],
        "why": ["sd   7.66", "sd  -0.78   value nan"],
        "bounded": ["True", "13.132", "18.056", "5.904", "-638.92"],
        "verdict": ["CONVERGED", "no constant", "37.8", "13.13", "18.06", "5.904", "-638.918"],
        "hint": ["no_constant", "37.76"],
        "roles": ["beta", "sigma", "parameter"],
        "mle": ["CONVERGED", "-601.160", "9.063", "4.35", "11.06", "4.888", "0.946", "1.30", "1.17", "0.244"],
        "equal": ["9.06287473          9.06287473", "-601.16008468       -601.16008468"],
        "gain": ["37.76"],
        "sigma": ["sqrt(RSS / n)        4.8884", "sqrt(RSS / (n - k))  4.9255", "maximum likelihood   4.8884"],
        "errors": ["0.9462", "0.9533", "1.0076"],
        # Prior pulls: from the closed form of the posterior mode
        "contrasts": ["0.034", "0.001", "-0.076", "-0.012"],
    },
    "02_estimate_and_posterior.ipynb": {
        # The logistic regression of Bliss's beetles: R's glm (log-likelihood, coefficients) and confint
        "model": ["CONVERGED", "-18.715", "34.27", "2.91", "1.77172"],
        "intercept": ["-60.72"],
        "limits": ["28.85 40.3"],
        "reading": ["The prior moved slope"],
        "improper": ["no posterior", "ld50 → +∞"],
        "several": ["From MLE to MAP", "slope (-1.1"],
    },
    "03_hierarchical_models.ipynb": {
        "schools": ["latent", "parameter", "its product with tau"],
        # Weighted mean and its error; the limit where the profile falls to the cutoff
        "mle": ["BOUNDARY", "7.69", "4.07", "-29.674", "13.0175"],
        "sleep": ["CONVERGED", "-901.006", "46.38", "30.83"],
        "same": ["-901.00555690 -901.00555690"],
        "reml": ["46.380   REML  47.777", "30.831   REML  30.927"],
        "reading": ["The posterior is asymmetric", "tau"],
    },
}
FIGURES = {
    "01_one_graph_two_answers.ipynb": ["forest", "dist"],
    "02_estimate_and_posterior.ipynb": ["dist", "pair", "forest", "profile", "starts", "residuals", "ppc"],
    "03_hierarchical_models.ipynb": ["joint", "schools-shrinkage", "scales", "shrinkage"],
}
MACHINE = re.compile(r"/(work|root|tmp|home|Users|usr|opt|var|mnt)\b|[A-Z]:\\|site-packages|ipykernel_\d|\bline \d+\b")


def code(notebook):
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def text(cell):
    """What a reader sees of the outputs of a cell, figures aside."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


def without_figures(notebook):
    """The notebook as JSON; the letters of an encoded figure may spell anything."""
    notebook = nbformat.from_dict(notebook)
    for cell in code(notebook).values():
        for output in cell.outputs:
            output.get("data", {}).pop("image/png", None)
    return nbformat.writes(notebook)


def check(name, notebook):
    """No complaints, the key numbers, the figures."""
    cells = code(notebook)
    kinds = {(output.output_type, output.get("name", "")) for cell in cells.values() for output in cell.outputs}
    assert kinds <= {("stream", "stdout"), ("execute_result", ""), ("display_data", "")}
    assert [cell.execution_count for cell in cells.values()] == list(range(1, len(cells) + 1))
    for cell, words in EXPECTED[name].items():
        missing = [word for word in words if word not in text(cells[cell])]
        assert not missing, f"{cell}: {missing} not in\n{text(cells[cell])}"
    drawn = [key for key, cell in cells.items() if any("image/png" in o.get("data", {}) for o in cell.outputs)]
    assert drawn == FIGURES[name]
    if "sigma-parts" in cells:
        # The exact posterior mean: beta integrated in closed form, sigma on a grid
        mean = float(re.search(r"posterior mean +([\d.]+)", text(cells["sigma-parts"])).group(1))
        assert mean == pytest.approx(4.9534, abs=0.02)


def test_there_are_notebooks():
    assert sorted(EXPECTED) == sorted(FIGURES) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed(name):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    check(name, notebook)
    assert not MACHINE.findall(without_figures(notebook))
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shutil.copy(FOLDER / name, tmp_path)
    notebook = nbformat.read(tmp_path / name, as_version=4)
    for cell in code(notebook).values():
        cell.update(outputs=[], execution_count=None)
    # Figures as a reader gets them, inline
    env = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=env)
    check(name, notebook)
