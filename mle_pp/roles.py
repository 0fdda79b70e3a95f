"""Every free variable has a role: `pm.Model` -> `Roles`, decided from the graph and confirmed numerically."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import Any

import pandas as pd
import pymc as pm
from pymc.distributions.transforms import _default_transform
from pymc.model_graph import ModelGraph
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.type import continuous_dtypes

from mle_pp.errors import ModelError
from mle_pp.formula import Formula, formula_of
from mle_pp.latent_rule import centered, imputed, latent_variables, size_of
from mle_pp.parameters import check_names
from mle_pp.predictors import direct_parents


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


def parents(model: pm.Model) -> dict[str, set[str]]:
    """Which named variables and data each named variable is made of directly."""
    found = ModelGraph(model).make_compute_graph()
    return {str(name): set(map(str, found[name])) for name in found}


def in_context() -> bool:
    """Whether there is an enclosing `with model:`."""
    return pm.Model.get_context(error_if_none=False) is not None


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
    restricted: Sequence[str] = (),
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
    restricted : sequence of str
        Variables whose prior is dropped and that are integrated under a flat prior (restricted likelihood, REML).
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
    _check_arguments(model, integrate, keep_priors, restricted, fix, potentials)
    held, kept, flat = set(fix or ()), set(keep_priors), set(restricted)
    found = dict.fromkeys(held, (RoleKind.FIXED, "held at the value given in fix"))
    found |= dict.fromkeys(kept, (RoleKind.PENALIZED, "keeps its prior, as asked by keep_priors"))
    found |= dict.fromkeys(flat, (RoleKind.RESTRICTED, "integrated under a flat prior, as asked by restricted (REML)"))
    if integrate == "auto":
        if kept:
            _refuse_kept_latents(latent_variables(model, held, set()), kept)
        # What is held at a value is as much a scale of latent variables as one that is estimated
        for name, reason in latent_variables(model, set(), kept).items():
            if name in held:
                continue
            if name in flat:
                raise ModelError(
                    f"restricted names {name}, which is latent ({reason}): its prior is part of the likelihood, and a "
                    f"flat one would replace it. Leave {name} out of restricted; it is integrated anyway."
                )
            if name not in found:
                found[name] = (RoleKind.LATENT, reason)
    else:
        _refuse_kept_latents(centered(model, held, set(), set()), kept)
        found |= dict.fromkeys(integrate, (RoleKind.LATENT, "named in integrate"))
    influence = direct_parents(model, [*model.observed_RVs, *model.potentials])
    through = {
        name: sorted(direct_parents(model, [model[name]])) for name, (kind, _) in found.items() if kind in _INNER
    }
    rows = []
    for rv in model.free_RVs:
        kind, reason = found.get(rv.name, (RoleKind.PARAMETER, ""))
        carriers = [name for name, parents in through.items() if rv.name in parents]
        if kind is RoleKind.RESTRICTED and rv.name not in influence and not carriers:
            raise ModelError(
                f"restricted names {rv.name}, on which the data do not depend: its integral under a flat prior is "
                f"infinite. Leave {rv.name} out of restricted."
            )
        reason = reason or _parameter_reason(model, rv, influence, carriers)
        rows.append(Role(rv.name, kind, reason, size_of(rv)))
    return Roles(tuple(rows), potentials, formula)


def _refuse_kept_latents(latent: Mapping[str, str], kept: set[str]) -> None:
    joint = sorted(kept.intersection(latent))
    if joint:
        raise ModelError(
            f"keep_priors names {', '.join(joint)}, which is latent ({latent[joint[0]]}): maximizing jointly over a "
            f"variable and the scale of its own prior has no meaningful maximum. Hold the scale at a value with fix=."
        )


def _check_arguments(
    model: pm.Model, integrate: Any, keep_priors: Any, restricted: Any, fix: Any, potentials: str
) -> None:
    for argument, given in (("keep_priors", keep_priors), ("restricted", restricted)):
        if isinstance(given, str):
            raise ModelError(f"{argument} takes a list of names: {argument}=[{given!r}].")
    if isinstance(integrate, str) and integrate != "auto":
        raise ModelError(f'integrate takes "auto" or a list of names: integrate=[{integrate!r}].')
    listed = () if isinstance(integrate, str) else integrate
    named = {"integrate": listed, "keep_priors": keep_priors, "restricted": restricted, "fix": fix or ()}
    for argument, names in named.items():
        check_names(model, names, argument)
    for one, two in combinations(named, 2):
        both = sorted(set(named[one]) & set(named[two]))
        if both:
            raise ModelError(f"{', '.join(both)}: named in both {one} and {two}; choose one.")
    for name in restricted:
        _check_flat(model, name)
    if potentials not in ("error", "likelihood", "drop"):
        raise ModelError(f'potentials={potentials!r} is not one of "error", "likelihood", "drop".')


def _check_flat(model: pm.Model, name: str) -> None:
    """Refuse a flat prior for what does not range over the whole line."""
    rv: Any = model[name]
    if rv.dtype not in continuous_dtypes:
        why = "it is discrete"
    elif model.rvs_to_transforms[rv] is not None or _default_transform(rv.owner.op, rv) is not None:
        why = "it is a scale, or bounded or constrained otherwise, and no scale is the natural one for a flat prior"
    else:
        return
    raise ModelError(
        f"restricted names {name}, which cannot be integrated under a flat prior: {why}. restricted is for "
        f"coefficients, which range over the whole line; leave {name} out of it."
    )


# -- one variable -----------------------------------------------------------------------------------------------------


def droppable(model: pm.Model, name: str) -> bool:
    """Whether imputed values integrate to one, so that their rows need only be dropped.

    They do where rows are independent and nothing else that is observed depends on them.
    """
    op = model[name].owner.op
    independent = isinstance(op, RandomVariable) and op.ndim_supp == 0
    return (
        name in imputed(model)
        and independent
        and name not in direct_parents(model, [*model.observed_RVs, *model.potentials])
    )


def _parameter_reason(model: pm.Model, rv: Any, reached: set[str], carriers: Sequence[str]) -> str:
    if rv.name not in reached and carriers:
        return f"acts on the data through {', '.join(carriers)} only; prior dropped"
    if rv.name not in reached:
        return "the data do not depend on it"
    parents = direct_parents(model, [rv])
    if parents:
        return f"its prior's parents ({', '.join(sorted(parents))}) act on the data without it too; prior dropped"
    return "constant prior, dropped"
