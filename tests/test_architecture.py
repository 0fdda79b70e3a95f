"""The import rules of the library: one direction, no cycles, PyMC and ArviZ at the edges only.

The rules are read off the source, so imports inside functions count. Imports under ``if TYPE_CHECKING:`` do not: they
are names for annotations, and nothing runs. A *unit* is a file of ``mle_pp`` or one of its sub-packages.
"""

import ast
import textwrap
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A unit imports only from lower layers ...
LAYERS = {
    0: {"errors", "linalg", "display", "layout", "verdict", "conventions"},
    1: {
        "rows",
        "ufuncs",
        "inblocks",
        "direct",
        "backends",
        "derivatives",
        "formula",
        "redesign",
        "parameters",
        "roles",
        "latent_rule",
        "predictors",
        "flatten",
        "fisher",
        "densities",
        "quantities",
        "stretched",
        "supports",
    },
    2: {
        "objective",
        "marginal",
        "stream",
        "checks",
        "predictive",
        "simulated",
        "newdata",
        "newgroups",
        "unconstrained",
    },
    3: {"optimize"},
    4: {"information", "covariances", "wording", "hints", "diagnose"},
    5: {"estimate", "find", "check", "stored"},
    6: {"intervals", "hypothesis", "criteria", "parts", "predict", "approximation"},
    7: {"resample", "residuals"},
    8: {"table", "datatree", "approximate", "compare", "plots", "page"},
}
# ... or from these siblings ...
SIBLINGS = {
    "linalg": {"errors"},
    "display": {"errors"},
    "direct": {"inblocks"},
    "backends": {"direct"},
    "derivatives": {"backends"},
    "redesign": {"backends", "formula"},
    "parameters": {"backends", "derivatives", "formula", "stretched", "supports"},
    "predictors": {"backends", "parameters"},
    "latent_rule": {"backends", "predictors"},
    "roles": {"backends", "formula", "latent_rule", "parameters", "predictors"},
    "flatten": {"formula", "roles"},
    "densities": {"backends"},
    "fisher": {"backends", "derivatives", "parameters"},
    "quantities": {"backends", "derivatives", "parameters"},
    "supports": {"backends"},
    "marginal": {"objective"},
    "stream": {"objective"},
    "checks": {"objective"},
    "predictive": {"marginal", "objective"},
    "newdata": {"objective"},
    "newgroups": {"marginal", "newdata", "objective", "predictive"},
    "simulated": {"objective", "predictive"},
    "unconstrained": {"objective"},
    "covariances": {"information"},
    "wording": {"information"},
    "hints": {"wording"},
    "diagnose": {"information", "wording"},
    "find": {"estimate"},
    "hypothesis": {"intervals"},
    "criteria": {"hypothesis"},
    "predict": {"intervals", "parts"},
    "compare": {"datatree", "table"},
    "plots": {"datatree", "compare"},
    "page": {"datatree", "compare", "plots"},
}
# ... or from these higher ones, inside a function: calls that only pass on to a later file.
LATE = {
    "intervals": {"resample"},
    "estimate": {"criteria", "table", "datatree"},
}

# Where these may be imported. The names are import roots: `arviz` is three packages besides itself.
ALLOWED = {
    ("pymc", "pytensor"): LAYERS[1] | LAYERS[2] | {"resample", "residuals", "parts", "predict"},
    # `conventions` passes on ArviZ's settings and its choice of variables to the layers between
    ("arviz", "arviz_base", "arviz_plots", "arviz_stats"): LAYERS[8] | {"conventions"},
}

MAX_LINES = 600

LAYER_OF = {unit: layer for layer, units in LAYERS.items() for unit in units}


def module_name(path: Path, root: Path) -> str:
    """``mle_pp/optimize/newton.py`` -> ``mle_pp.optimize.newton``."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path, package: str) -> dict[str, Path]:
    """Every module of a package, by name."""
    return {module_name(path, root): path for path in sorted((root / package).rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    """Whether the node is an ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports(path: Path, root: Path, known: dict[str, Path]) -> set[tuple[str, int, bool]]:
    """The imports of a file: (module, line, whether it is inside a function)."""
    name = module_name(path, root)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()

    def visit(node: ast.AST, late: bool) -> None:
        if isinstance(node, ast.Import):
            found.update((alias.name, node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import name` imports a module where there is one of that name
            for alias in node.names:
                member = f"{source}.{alias.name}"
                found.add((member if member in known else source, node.lineno, late))
        elif is_type_checking(node):
            for child in node.orelse:
                visit(child, late)
        else:
            inside = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                visit(child, inside)

    visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)), late=False)
    return found


def direction_problem(unit: str, target: str, late: bool) -> str | None:
    """Why ``unit`` must not import ``target``, both of mle_pp; None where it may."""
    if target == unit or target in SIBLINGS.get(unit, ()):
        return None
    if target in LATE.get(unit, ()):
        return None if late else f"{unit} may import {target} only inside a function"
    if LAYER_OF[target] < LAYER_OF[unit]:
        return None
    return f"{unit} (layer {LAYER_OF[unit]}) must not import {target} (layer {LAYER_OF[target]})"


def import_problem(unit: str, imported: str, late: bool) -> str | None:
    """Why ``unit`` of mle_pp must not have this import; None where it may."""
    top, _, rest = imported.partition(".")
    if top in {"models", "tests"}:
        return f"the library must not import {top}"
    if top != "mle_pp":
        for packages, units in ALLOWED.items():
            if top in packages and unit not in units:
                return f"{unit} must not import {top}"
        return None
    if not rest:
        return "import from the file that defines a name, not from mle_pp itself, which imports every file"
    target = rest.partition(".")[0]
    if target not in LAYER_OF:
        return f"{target} has no layer; give it one in {Path(__file__).name}"
    return direction_problem(unit, target, late)


def library_problems(root: Path) -> list[str]:
    """Whatever breaks the rules in mle_pp; its ``__init__`` may import all of it."""
    known = modules(root, "mle_pp")
    problems = []
    for name, path in known.items():
        where = path.relative_to(root)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            problems.append(f"{where}: {lines} lines, more than {MAX_LINES}")
        if name == "mle_pp":
            continue
        unit = name.split(".")[1]
        if unit not in LAYER_OF:
            problems.append(f"{where}: {unit} has no layer; give it one in {Path(__file__).name}")
            continue
        for imported, line, late in imports(path, root, known):
            if problem := import_problem(unit, imported, late):
                problems.append(f"{where}:{line}: {problem}")
    return problems


def gallery_problems(root: Path) -> list[str]:
    """Imports of the library in models, which are plain PyMC; ``python -m models`` is what shows the two together."""
    known = modules(root, "models")
    return [
        f"{path.relative_to(root)}:{line}: a model must not import mle_pp"
        for name, path in known.items()
        if name != "models.__main__"
        for imported, line, _ in imports(path, root, known)
        if imported.partition(".")[0] == "mle_pp"
    ]


def cycle(root: Path) -> list[str]:
    """A circle of imports among the files of mle_pp, at the time of import; empty where there is none."""
    known = modules(root, "mle_pp")
    graph = {
        name: {imported for imported, _, late in imports(path, root, known) if imported in known and not late}
        for name, path in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_library_keeps_the_import_rules():
    problems = library_problems(ROOT)
    assert not problems, "\n".join(problems)


def test_models_do_not_import_the_library():
    problems = gallery_problems(ROOT)
    assert not problems, "\n".join(problems)


def test_no_import_cycle():
    circle = cycle(ROOT)
    assert not circle, " imports ".join(reversed(circle))


def test_sibling_and_late_tables_name_known_units():
    named = SIBLINGS | LATE
    assert set(named) | set().union(*named.values()) <= set(LAYER_OF)


@pytest.mark.parametrize("path", ["mle_pp/linalg.py", "mle_pp/linalg/deep.py"])
@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import numpy, scipy.linalg", None),
        ("from mle_pp.errors import EstimationError", None),
        ("import mle_pp.roles", "must not import roles"),
        ("from mle_pp import roles", "must not import roles"),
        ("def f():\n    from mle_pp.roles import Roles", "must not import roles"),
        ("if TYPE_CHECKING:\n    from mle_pp.roles import Roles", None),
        ("from mle_pp import find_MLE", "from the file that defines"),
        ("from mle_pp.nowhere import x", "has no layer"),
        ("import pymc as pm", "must not import pymc"),
        ("from pytensor.graph import Op", "must not import pytensor"),
        ("import arviz_plots", "must not import arviz_plots"),
        ("import models.data", "must not import models"),
        ("\n" * 600 + "x = 1", "more than 600"),
    ],
)
def test_a_broken_rule_is_found(tmp_path, path, source, problem):
    """The rules above, on a library written for it: they would hold vacuously if nothing were ever found."""
    for name in ("__init__", "errors", "roles"):
        write(tmp_path, f"mle_pp/{name}.py", "")
    write(tmp_path, path, source)
    problems = library_problems(tmp_path)
    assert len(problems) == (problem is not None)
    assert all(problem in found for found in problems)


def test_late_imports_are_only_late(tmp_path):
    write(tmp_path, "mle_pp/datatree.py", "")
    write(tmp_path, "mle_pp/estimate.py", "def f():\n    from mle_pp.datatree import to_datatree")
    assert not library_problems(tmp_path)
    write(tmp_path, "mle_pp/estimate.py", "from mle_pp.datatree import to_datatree")
    assert "only inside a function" in library_problems(tmp_path)[0]


def test_relative_imports_are_resolved_and_cycles_found(tmp_path):
    write(tmp_path, "mle_pp/__init__.py", "from .find import find_MLE")
    write(tmp_path, "mle_pp/find.py", "from .optimize import maximize")
    write(tmp_path, "mle_pp/optimize/__init__.py", "from .newton import maximize")
    write(tmp_path, "mle_pp/optimize/newton.py", "from ..errors import EstimationError\nfrom . import steps")
    write(tmp_path, "mle_pp/optimize/steps.py", "")
    write(tmp_path, "mle_pp/errors.py", "")
    assert not library_problems(tmp_path)
    assert not cycle(tmp_path)
    write(tmp_path, "mle_pp/optimize/steps.py", "from .newton import maximize")
    assert {"mle_pp.optimize.newton", "mle_pp.optimize.steps"} == set(cycle(tmp_path))


def test_a_model_that_imports_the_library_is_found(tmp_path):
    source = "import pymc\nfrom mle_pp.find import find_MLE"
    write(tmp_path, "models/__main__.py", source)
    assert not gallery_problems(tmp_path)
    write(tmp_path, "models/linear.py", source)
    assert gallery_problems(tmp_path) == ["models/linear.py:2: a model must not import mle_pp"]


def write(root: Path, path: str, source: str) -> None:
    """Write a file of a library made up for a test."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(textwrap.dedent(source), encoding="utf-8")
