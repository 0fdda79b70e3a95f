"""Every free variable has a role: `pm.Model` -> `Roles`, decided from the graph and confirmed numerically."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
from pymc.distributions.distribution import SymbolicRandomVariable
from pytensor.compile.builders import infer_shape
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors, toposort, walk
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.type import continuous_dtypes

from mle_pp import backends
from mle_pp.derivatives import gradient
from mle_pp.errors import ModelError
from mle_pp.formula import Formula, Shifts, formula_of
from mle_pp.parameters import Parameters, check_names


class RoleKind(StrEnum):
    """What happens to a free variable and to its prior."""

    PARAMETER = "parameter"
    LATENT = "latent"
    PENALIZED = "penalized"
    RESTRICTED = "restricted"
    FIXED = "fixed"


# Their prior is part of what is maximized
_INNER = (RoleKind.LATENT, RoleKind.PENALIZED)


@dataclass(frozen=True)
class Role:
    """The role of one free variable, and why.

    Attributes
    ----------
    name : str
    kind : RoleKind
    reason : str
    size : int
        Number of scalars.
    """

    name: str
    kind: RoleKind
    reason: str
    size: int


@dataclass(frozen=True)
class Roles:
    """The roles of a model's free variables, in the model's order.

    Attributes
    ----------
    rows : tuple of Role
    potentials : str
        What the model's `Potential`s are taken for: "error", "likelihood" or "drop".
    formula : Formula or None
        Of a Bambi model.
    """

    rows: tuple[Role, ...]
    potentials: str = "error"
    formula: Formula | None = field(default=None, compare=False)

    def __iter__(self) -> Iterator[Role]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Role:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @property
    def shifts(self) -> Shifts:
        """What is subtracted from the intercepts of a Bambi model's graph to have those of its formula."""
        return {} if self.formula is None else self.formula.shifts

    def names(self, *kinds: RoleKind | str) -> list[str]:
        """The variables with one of these roles."""
        return [row.name for row in self.rows if row.kind in kinds]

    def to_frame(self) -> pd.DataFrame:
        """The table: a row a variable, with its role, size and the reason."""
        columns = ["role", "size", "reason"]
        data = [(str(row.kind), row.size, row.reason) for row in self.rows]
        return pd.DataFrame(data, index=pd.Index([row.name for row in self.rows], name="variable"), columns=columns)

    def __repr__(self) -> str:
        name = max([len("variable"), *(len(row.name) for row in self.rows)])
        kind = max(len(k) for k in RoleKind)
        lines = [f"{'variable':<{name}}  {'role':<{kind}}  size  reason"]
        lines += [f"{r.name:<{name}}  {r.kind:<{kind}}  {r.size:>4}  {r.reason}" for r in self.rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html()


def resolve_model(model: Any = None) -> pm.Model:
    """The model given, or that of the enclosing `with`; a Bambi model's own PyMC model; the root of a sub-model."""
    if model is None:
        try:
            model = pm.modelcontext(None)
        except TypeError:
            raise ModelError("No model: pass one, or call this inside `with model:`.") from None
    formula = formula_of(model)
    model = model if formula is None else formula.model
    if not isinstance(model, pm.Model):
        raise ModelError(f"Expected a pm.Model, got {type(model).__name__}.")
    return model.root


def roles(
    model: pm.Model | None = None,
    *,
    integrate: str | Sequence[str] = "auto",
    keep_priors: Sequence[str] = (),
    fix: Mapping[str, Any] | Sequence[str] | None = None,
    potentials: str = "error",
) -> Roles:
    """How maximum likelihood treats each free variable of a model, and why.

    A free variable is *latent* if without its prior some other free variable would lose all influence on the data:
    a random effect is, the coefficients of a regression with constant priors are not. Latent variables keep their
    prior, which is part of the likelihood; those of parameters are dropped.

    Parameters
    ----------
    model : pm.Model or Bambi model, optional
        Default: the model of the enclosing ``with``.
    integrate : "auto" or sequence of str
        "auto" applies the rule; a list names exactly the latent variables.
    keep_priors : sequence of str
        Variables that keep their prior and are maximized (penalized likelihood).
    fix : mapping or sequence of str, optional
        Variables held at a value.
    potentials : {"error", "likelihood", "drop"}
        What the model's `Potential`s are.

    Returns
    -------
    Roles

    Raises
    ------
    ModelError
        An unknown name, or a variable whose role the rule cannot decide.

    Examples
    --------
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 1, observed=[1.0, 2.0])
    >>> mle.roles(model)["mu"].kind
    <RoleKind.PARAMETER: 'parameter'>
    """
    formula, model = formula_of(model), resolve_model(model)
    _check_arguments(model, integrate, keep_priors, fix, potentials)
    held, kept = set(fix or ()), set(keep_priors)
    found = dict.fromkeys(held, (RoleKind.FIXED, "held at the value given in fix"))
    found |= dict.fromkeys(kept, (RoleKind.PENALIZED, "keeps its prior, as asked by keep_priors"))
    if integrate == "auto":
        _refuse_kept_latents(_latent(model, held, set()), kept)
        for name, reason in _latent(model, held, kept).items():
            if name not in found:
                found[name] = (RoleKind.LATENT, reason)
    else:
        _refuse_kept_latents(_centered(model, held, set(), set()), kept)
        found |= dict.fromkeys(integrate, (RoleKind.LATENT, "named in integrate"))
    influence = _parents(model, [*model.observed_RVs, *model.potentials])
    through = {name: sorted(_parents(model, [model[name]])) for name, (kind, _) in found.items() if kind in _INNER}
    rows = []
    for rv in model.free_RVs:
        kind, reason = found.get(rv.name, (RoleKind.PARAMETER, ""))
        carriers = [name for name, parents in through.items() if rv.name in parents]
        reason = reason or _parameter_reason(model, rv, influence, carriers)
        rows.append(Role(rv.name, kind, reason, _size(model, rv)))
    return Roles(tuple(rows), potentials, formula)


def _refuse_kept_latents(latent: Mapping[str, str], kept: set[str]) -> None:
    joint = sorted(kept.intersection(latent))
    if joint:
        raise ModelError(
            f"keep_priors names {', '.join(joint)}, which is latent ({latent[joint[0]]}): maximizing jointly over a "
            f"variable and the scale of its own prior has no meaningful maximum. Hold the scale at a value with fix=."
        )


def _check_arguments(model: pm.Model, integrate: Any, keep_priors: Any, fix: Any, potentials: str) -> None:
    if isinstance(keep_priors, str):
        raise ModelError(f"keep_priors takes a list of names: keep_priors=[{keep_priors!r}].")
    if isinstance(integrate, str) and integrate != "auto":
        raise ModelError(f'integrate takes "auto" or a list of names: integrate=[{integrate!r}].')
    for argument, names in (("keep_priors", keep_priors), ("fix", fix or ())):
        check_names(model, names, argument)
    if integrate != "auto":
        check_names(model, integrate, "integrate")
    both = sorted(set(keep_priors) & set(fix or ()))
    if both:
        raise ModelError(f"{', '.join(both)}: named in both keep_priors and fix; choose one.")
    if potentials not in ("error", "likelihood", "drop"):
        raise ModelError(f'potentials={potentials!r} is not one of "error", "likelihood", "drop".')


# -- the rule -----------------------------------------------------------------------------------------------------


def _inputs(variable: Variable) -> list[Variable]:
    return list(variable.owner.inputs) if variable.owner is not None else []


def _parents(model: pm.Model, variables: Sequence[Variable]) -> set[str]:
    """Free variables that these depend on directly: the walk stops at each."""
    free = set(model.free_RVs)
    found: set[str] = set()

    def expand(variable: Variable) -> list[Variable]:
        if variable in free:
            found.add(variable.name)
            return []
        return _inputs(variable)

    for start in variables:
        for _ in walk(_inputs(start) if start in model.basic_RVs else [start], expand):
            pass
    return found


def _size(model: pm.Model, rv: Variable) -> int:
    shape = rv.type.shape
    if None in shape:
        with backends.without_c_compiler():
            [lengths] = infer_shape([rv], (), ())
            shape = [int(length) for length in backends.build([], backends.simplify(list(lengths)))()]
    return int(np.prod(shape, dtype=int))


def _latent(model: pm.Model, held: set[str], kept: set[str]) -> dict[str, str]:
    found = _imputed(model)
    found |= _centered(model, held, kept, set(found))
    found |= _non_centered(model, held | kept | set(found))
    return found


def _imputed(model: pm.Model) -> dict[str, str]:
    """Missing values of observed variables, which PyMC turns into free variables."""
    observed = {rv.name for rv in model.observed_RVs}
    reason = "missing values of an observed variable, which PyMC imputes"
    return {
        rv.name: reason
        for rv in model.free_RVs
        if rv.name.endswith("_unobserved") and f"{rv.name.removesuffix('_unobserved')}_observed" in observed
    }


def droppable(model: pm.Model, name: str) -> bool:
    """Whether imputed values integrate to one, so that their rows need only be dropped.

    They do where rows are independent and nothing else that is observed depends on them.
    """
    op = model[name].owner.op
    independent = isinstance(op, RandomVariable) and op.ndim_supp == 0
    return (
        name in _imputed(model)
        and independent
        and name not in _parents(model, [*model.observed_RVs, *model.potentials])
    )


def _centered(model: pm.Model, held: set[str], kept: set[str], known: set[str]) -> dict[str, str]:
    """Variables without whose prior another free variable would lose all influence on the data.

    Those whose prior has a parent that the likelihood does not reach; their prior then joins the likelihood, until
    nothing changes.
    """
    by_name = {rv.name: rv for rv in model.free_RVs}
    found: dict[str, str] = {}
    likelihood: list[Variable] = [*model.observed_RVs, *model.potentials, *(by_name[n] for n in known | kept)]
    while True:
        reached = _parents(model, likelihood)
        new = {}
        for name in sorted(reached - held - set(found) - known - kept):
            lost = sorted(_parents(model, [by_name[name]]) - reached - held)
            if lost:
                new[name] = f"{', '.join(lost)} would lose all influence on the data without its prior"
        if not new:
            return found
        found |= new
        likelihood += [by_name[name] for name in new]


def _non_centered(model: pm.Model, out: set[str]) -> dict[str, str]:
    """Offsets z ~ N(0, 1) that reach the data only multiplied by a scale.

    Under (z, σ) → (cz, σ/c) such a likelihood does not change, so Σ z ∂ℓ/∂z = Σ σ ∂ℓ/∂σ at every point, the sum over
    all offsets of one σ. The derivatives at a few random points tell which offsets belong to which scale.
    """
    reached = _parents(model, model.observed_RVs) - out
    candidates = [rv for rv in model.free_RVs if rv.name in reached]
    offsets = [rv for rv in candidates if _is_standard_offset(rv)]
    scales = [rv for rv in candidates if rv not in offsets and _is_scale(model, rv)]
    pairs = _multiplied(model, offsets, scales)
    offsets = [rv for rv in offsets if any(rv.name == z for z, _ in pairs)]
    scales = [rv for rv in scales if any(rv.name == s for _, s in pairs)]
    if not pairs:
        return {}
    dilations = _dilations(model, [rv.name for rv in [*offsets, *scales]])
    found: dict[str, str] = {}
    for scale in scales:
        group = _matching(dilations[scale.name], {rv.name: dilations[rv.name] for rv in offsets})
        scalars = [name for name in group if _size(model, model[name]) == 1]
        if scalars:
            names = ", ".join(scalars)
            raise ModelError(
                f"The data depend on {scale.name} and {names} only through their product. Whether {names} is a random "
                f"effect with the scale {scale.name} or a coefficient cannot be told from one number: say "
                f"integrate=[{', '.join(map(repr, scalars))}] to integrate it out, or integrate=[] for a coefficient."
            )
        for name in group:
            first = found.get(name)
            found[name] = (
                f"{first} and {scale.name} (type-II maximum likelihood)"
                if first
                else f"an offset: the data depend on {name} only through its product with {scale.name}"
            )
    return found


def _is_standard_offset(rv: Any) -> bool:
    """A normal variable around zero with a constant prior."""
    op = rv.owner.op
    name = type(op).__name__
    if "Normal" not in name or any(word in name for word in ("Half", "Log", "Truncated", "Skew", "Mixture")):
        return False
    if "ZeroSum" in name:
        return True
    location = op.dist_params(rv.owner)[0]
    if any(isinstance(v.owner.op, RandomVariable) for v in ancestors([location]) if v.owner is not None):
        return False
    with backends.without_c_compiler():
        return bool(np.all(backends.build([], backends.simplify([backends.as_tensor(location)]))()[0] == 0))


def _is_scale(model: pm.Model, rv: Any) -> bool:
    """Positive variables, and Cholesky factors, may be scales."""
    name = str(getattr(model.rvs_to_transforms[rv], "name", ""))
    return name in ("log", "log_exp_m1", "interval") or name.startswith("cholesky-cov")


def _multiplied(model: pm.Model, offsets: Sequence[Any], scales: Sequence[Any]) -> set[tuple[str, str]]:
    """Pairs that meet in an operation other than a sum before they reach an observed variable."""
    watched = {rv: rv.name for rv in [*offsets, *scales]}
    left, right = {rv.name for rv in offsets}, {rv.name for rv in scales}
    reach: dict[Variable, frozenset[str]] = {}
    pairs: set[tuple[str, str]] = set()
    nothing: frozenset[str] = frozenset()
    for node in toposort(model.observed_RVs):
        parts = [reach.get(i, nothing) for i in node.inputs]
        for output in node.outputs:
            reach[output] = frozenset([watched[output]]) if output in watched else nothing.union(*parts)
        is_sum = str(getattr(node.op, "scalar_op", "")).lower() in ("add", "sub")
        if is_sum or isinstance(node.op, RandomVariable | SymbolicRandomVariable):
            continue
        for a, b in permutations(parts, 2):
            pairs |= {(z, s) for z in (a - b) & left for s in (b - a) & right}
    return pairs


def _dilations(model: pm.Model, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Σ v ∂ℓ/∂v on the constrained scale for each variable v, at a few seeded random points."""
    parameters = Parameters(model, [rv.name for rv in model.free_RVs if rv.dtype in continuous_dtypes])
    with backends.without_c_compiler():
        graph = model.logp(vars=list(model.observed_RVs), jacobian=False)
        [total] = backends.simplify(parameters.replace([graph]))
        slope = backends.build([parameters.x], [gradient(total, parameters.x)])
    rng = np.random.default_rng(20240229)
    pieces = parameters.layout.slices()
    table: list[list[float]] = []
    for _ in range(2 * len(names) + 4):
        x = parameters.initial + rng.normal(0, 0.3, parameters.size)
        values, jacobian, g = parameters.constrained(x), parameters.jacobian(x), slope(x)[0]
        row = []
        for name in names:
            moved = np.zeros_like(values)
            moved[pieces[name]] = values[pieces[name]]
            row.append(float(g @ np.linalg.lstsq(jacobian, moved, rcond=None)[0]))
        if np.all(np.isfinite(row)):
            table.append(row)
    columns = np.array(table).reshape(-1, len(names)).T
    return dict(zip(names, columns, strict=True))


def _matching(scale: np.ndarray, offsets: Mapping[str, np.ndarray]) -> list[str]:
    """The offsets whose dilation derivatives add up to that of the scale at every point; none if no set does."""
    if scale.size <= len(offsets) or not np.any(scale):
        return []
    table = np.stack(list(offsets.values()), axis=1)
    weights, *_ = np.linalg.lstsq(table, scale, rcond=None)
    chosen = np.abs(weights - 1) < 1e-6
    error = np.abs(table[:, chosen].sum(axis=1) - scale).max()
    if error > 1e-8 * np.abs(scale).max() or np.any(np.abs(weights[~chosen]) > 1e-6):
        return []
    return [name for name, use in zip(offsets, chosen, strict=True) if use]


def _parameter_reason(model: pm.Model, rv: Any, reached: set[str], carriers: Sequence[str]) -> str:
    if rv.name not in reached and carriers:
        return f"acts on the data through {', '.join(carriers)} only; prior dropped"
    if rv.name not in reached:
        return "the data do not depend on it"
    parents = _parents(model, [rv])
    if parents:
        return f"its prior's parents ({', '.join(sorted(parents))}) act on the data without it too; prior dropped"
    return "constant prior, dropped"
