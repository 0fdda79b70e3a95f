"""The model without its priors: a `pm.Model` on which `pm.find_MAP` and `pm.sample` see the likelihood alone.

A free variable without prior keeps its node's inputs: transforms read bounds and dimensions from them, so replacing
the variable by `pm.Flat` would silently move the support. What is replaced is the operation, by `FlattenedRV`, which
holds the original one and asks it for everything but the density.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pymc as pm
import pytensor.tensor as pt
from pymc.initial_point import initial_point_rewrites_db
from pymc.logprob.abstract import MeasurableOp, _logprob
from pymc.logprob.basic import conditional_logp
from pymc.model.core import BaseModel
from pymc.model.fgraph import deepcopy_shared_variable
from pymc.pytensorf import collect_default_updates, collect_default_updates_inner_fgraph, find_rng_nodes
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.basic import in2out, node_rewriter
from pytensor.graph.traversal import ancestors, toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.random.op import RNGConsumerOp

from mle_pp.formula import formula_of


def flatten(model: Any = None, *, keep: Collection[str] = ()) -> pm.Model:
    """Drop the priors of a model: a new model whose log-density is that of the data.

    Each free variable that `keep` does not name has log-density zero in the new model, in the shape of its prior's.
    Everything else stays: its support and transform (with their bounds), dims and coords, initial values, the order of
    all variables, observed variables, `Deterministic`s, `Potential`s, and `pm.Data`. So ``pm.find_MAP(model=flat)``
    maximizes the likelihood, and ``pm.sample(model=flat)`` samples the posterior under priors that are flat on the
    constrained scale (which need not be proper).

    Parameters
    ----------
    model : pm.Model or Bambi model, optional
        Left as it is. The model of the ``with`` block by default. Of a sub-model, the whole model it belongs to is
        flattened; of a Bambi model, its PyMC model, with the intercept of centered predictors that its graph has.
    keep : collection of str, optional
        Free variables that keep their prior, by their full names.

    Returns
    -------
    pm.Model
        Like that of `pm.do` and `copy.copy`, it has copies of the `pm.Data` (set them anew with
        ``pm.set_data(..., model=flat)``), dimension lengths and random generators. Its variables are found by name,
        ``flat["beta"]``.

    Raises
    ------
    ValueError
        If `keep` names no free variable of the model.

    Notes
    -----
    - All variables but `keep` are flattened, latent ones too, whose "prior" is part of the likelihood: name these in
      `keep`, or let `find_MLE` decide.
    - The support is kept by the transform. Without one (``default_transform=None``, discrete variables), the zero
      extends over the whole space.
    - A variable without prior cannot be drawn: `pm.sample_prior_predictive` raises `NotImplementedError`, as with
      `pm.Flat`; so do `pm.model_to_graphviz` and ``flat.table()``, which draw to see a shape (show them `model`).
      Predictions from a posterior work.
    - Missing values are free variables, too (``y_unobserved``). Those of a *multivariate* observed variable have no
      density of their own: PyMC counts it with that of the observed values, where it stays.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import mle_pp as mle
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 0.1)
    ...     y = pm.Normal("y", mu, 1, observed=np.array([1.0, 2.0, 3.0]))
    >>> flat = mle.flatten(model)
    >>> estimate = pm.find_MAP(model=flat, progressbar=False, return_inferencedata=True, jitter=False)
    >>> print(round(estimate.posterior["mu"].item(), 4))
    2.0
    """
    formula = formula_of(model)
    root = pm.modelcontext(model).root if formula is None else formula.model
    keep = {keep} if isinstance(keep, str) else set(keep)
    free = [rv.name for rv in root.free_RVs]
    if unknown := sorted(keep.difference(free)):
        raise ValueError(
            f"keep names {', '.join(map(repr, unknown))}, but the free variables of this model are "
            f"{', '.join(map(repr, free)) or 'none'}."
        )
    flattened = {rv for rv in root.free_RVs if rv.name not in keep}
    return _rebuild(root, _copy_graph(root, flattened))


class FlattenedRV(MeasurableOp, RNGConsumerOp, OpFromGraph):
    """Random variables of one node, some of them without density.

    Parameters
    ----------
    inputs : list of Variable
        Dummies for the inputs of the node; what follows is built on them.
    outputs : list of Variable
        The random variables of the original model that the node makes.
    is_flat : sequence of bool
        Which of `outputs` have log-density zero.
    """

    _print_name = ("Flat", "\\operatorname{Flat}")

    def __init__(self, inputs: list[Variable], outputs: list[Variable], is_flat: Sequence[bool]) -> None:
        # Not a FrozenFunctionGraph: it shares equal nodes with all others, and operations count as equal that differ in
        # their densities (PartialObservedRV of univariate and of multivariate variables)
        self._original = inputs, outputs
        self.is_flat = tuple(is_flat)
        drawn = [_undrawable(out) if flat else out for out, flat in zip(outputs, is_flat, strict=True)]
        # PyMC asks a random operation for the next state of each of its generators
        generators = collect_default_updates(inputs=inputs, outputs=outputs, must_be_shared=False)
        # Inline: shapes, which samplers ask for, are inferred from the original operations
        super().__init__(inputs, [*drawn, *generators.values()], inline=True, on_unused_input="ignore")

    def originals(self, inputs: Sequence[Variable]) -> list[Variable]:
        """Random variables with their densities, of the given inputs."""
        dummies, outputs = self._original
        return graph_replace(outputs, dict(zip(dummies, inputs, strict=True)), strict=False)

    def update(self, node: Apply) -> dict[Variable, Variable]:
        """Next states of the random generators, as PyMC collects them when it compiles draws."""
        return collect_default_updates_inner_fgraph(node)

    def dist_params(self, node: Apply) -> tuple[Variable, ...]:
        """Nothing: the variable prints as ``Flat()``."""
        return ()


def _undrawable(variable: Variable) -> Variable:
    """`variable`, but an error when its value is asked for; its shape can be had."""
    error = CheckAndRaise(
        NotImplementedError,
        "Cannot draw from a variable whose prior was dropped by flatten(). Sample from the original model, or name the "
        "variable in keep=.",
    )
    tensor = pt.as_tensor(variable, allow_xtensor_conversion=True)
    return variable.type.filter_variable(error(tensor, pt.constant(False)))


@_logprob.register(FlattenedRV)
def _flattened_logprob(op: FlattenedRV, values: Sequence[Variable], *inputs: Variable, **kwargs: Any) -> list[Variable]:
    logps = conditional_logp(dict(zip(op.originals(inputs), values, strict=True)), warn_rvs=False).values()
    return [_zeros_of(logp) if flat else logp for flat, logp in zip(op.is_flat, logps, strict=True)]


def _zeros_of(logp: Variable) -> Variable:
    # Of the shape alone, as far as possible the static one: the density of the prior is neither computed nor derived
    tensor = pt.as_tensor(logp, allow_xtensor_conversion=True)
    shape = [tensor.shape[axis] if length is None else length for axis, length in enumerate(tensor.type.shape)]
    return logp.type.filter_variable(pt.zeros(shape, dtype=tensor.dtype))


@node_rewriter([FlattenedRV])
def _restore_original(fgraph: Any, node: Apply) -> dict[Variable, Variable]:
    return dict(zip(node.outputs, node.op.originals(node.inputs), strict=False))


# Initial points are those of the original variables, draws included (`initval="prior"`). First of all rewrites, because
# xtensor operations, which the original may be, are lowered next.
initial_point_rewrites_db.register("mle_pp_flattened", in2out(_restore_original), "basic", position=0)


def _copy_graph(model: BaseModel, flattened: set[Variable]) -> dict[Variable, Variable]:
    """From each variable of the model's graph to its copy, in which the `flattened` ones have no prior."""
    named = list(model.named_vars.values())
    initial_values = [value for value in model.rvs_to_initial_values.values() if isinstance(value, Variable)]
    lengths = list(model.dim_lengths.values())
    outputs = [*named, *model.rvs_to_values, *model.rvs_to_values.values(), *lengths, *initial_values]

    copies: dict[Variable, Variable] = {}
    own = {*find_rng_nodes(outputs), *named, *lengths}
    for variable in ancestors(outputs):
        if isinstance(variable, SharedVariable):
            # Shared variables the model does not know as its own stay in the hands of whoever made them
            copies[variable] = deepcopy_shared_variable(variable) if variable in own else variable
        elif variable.owner is None:
            copies[variable] = variable if isinstance(variable, Constant) else variable.clone()

    rvs = set(model.basic_RVs)
    for node in toposort(outputs):
        copy = node.clone_with_new_inputs([copies[variable] for variable in node.inputs])
        copies.update(zip(node.outputs, copy.outputs, strict=True))
        if not flattened.isdisjoint(node.outputs):
            copies.update(_flatten_node(node, rvs, flattened, copies))
    return copies


def _flatten_node(
    node: Apply, rvs: set[Variable], flattened: set[Variable], copies: dict[Variable, Variable]
) -> dict[Variable, Variable]:
    """Copies of the random variables that `node` makes, without prior where they are in `flattened`."""
    outputs = [out for out in node.outputs if out in rvs]
    dummies = [variable.type() for variable in node.inputs]
    inner = graph_replace(outputs, dict(zip(node.inputs, dummies, strict=True)), strict=False)
    op = FlattenedRV(dummies, inner, [out in flattened for out in outputs])
    new = dict(zip(outputs, op.make_node(*(copies[variable] for variable in node.inputs)).outputs, strict=False))
    for out in outputs:
        new[out].name = out.name
    return new


def _rebuild(model: BaseModel, copies: dict[Variable, Variable]) -> pm.Model:
    """A model that registers the copies just as `model` registers the originals, in the same order."""
    new = pm.Model(name=model.name, check_bounds=model.check_bounds, model=None)
    for dim, length in model.dim_lengths.items():
        new.add_coord(dim, model.coords[dim], length=copies[length])
    for rv, value in model.rvs_to_values.items():
        transform = model.rvs_to_transforms[rv]
        new.create_value_var(copies[rv], transform=transform, default_transform=None, value_var=copies[value])
    for rv, initval in model.rvs_to_initial_values.items():
        new.set_initval(copies[rv], copies[initval] if isinstance(initval, Variable) else initval)
    for kind in ("free_RVs", "observed_RVs", "deterministics", "potentials", "data_vars"):
        getattr(new, kind).extend([copies[variable] for variable in getattr(model, kind)])
    for name, variable in model.named_vars.items():
        new.add_named_variable(copies[variable], dims=model.named_vars_to_dims.get(name))
    return new
