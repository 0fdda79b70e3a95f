"""Which free variables are latent: decided from the graph, and confirmed numerically on the predictors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import permutations, product

import numpy as np
import pymc as pm
from pymc.dims.distributions.transforms import ZeroSumTransform as DimsZeroSum
from pymc.distributions.continuous import FlatRV
from pymc.distributions.distribution import SymbolicRandomVariable
from pymc.distributions.transforms import ZeroSumTransform
from pymc.initial_point import make_initial_point_expression
from pytensor.compile.builders import infer_shape
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.type import continuous_dtypes

from mle_pp import backends
from mle_pp.errors import ModelError
from mle_pp.predictors import ELEMENTWISE, Predictors, direct_parents


def latent_variables(model: pm.Model, held: set[str], kept: set[str]) -> dict[str, str]:
    """The latent variables of a model, and why each is.

    Parameters
    ----------
    model : pm.Model
    held : set of str
        Variables at a fixed value.
    kept : set of str
        Variables that keep their prior and are maximized.
    """
    found = imputed(model)
    offsets: dict[str, str] = {}
    scales: set[str] = set()
    while True:
        count = len(found)
        found |= centered(model, held, kept, set(found))
        found |= _lost_elements(model, held, kept, found)
        offsets |= _non_centered(model, held, kept, found, set(offsets), scales)
        found |= offsets
        if len(found) == count:
            return found


# -- the graph ----------------------------------------------------------------------------------------------------


def size_of(rv: Variable) -> int:
    """Number of scalars of a variable."""
    shape = rv.type.shape
    if None in shape:
        with backends.without_c_compiler():
            [lengths] = infer_shape([rv], (), ())
            shape = [int(length) for length in backends.build([], backends.simplify(list(lengths)))()]
    return int(np.prod(shape, dtype=int))


def _likelihood(model: pm.Model, names: Sequence[str]) -> list[Variable]:
    """What is known to be part of the likelihood: the data, potentials, and the priors of `names`."""
    return [*model.observed_RVs, *model.potentials, *(model[name] for name in names)]


def imputed(model: pm.Model) -> dict[str, str]:
    """Missing values of observed variables, which PyMC turns into free variables."""
    observed = {rv.name for rv in model.observed_RVs}
    reason = "missing values of an observed variable, which PyMC imputes"
    return {
        rv.name: reason
        for rv in model.free_RVs
        if rv.name.endswith("_unobserved") and f"{rv.name.removesuffix('_unobserved')}_observed" in observed
    }


def centered(model: pm.Model, held: set[str], kept: set[str], known: set[str]) -> dict[str, str]:
    """Variables without whose prior another free variable would lose all influence on the data.

    Those whose prior has a parent that the likelihood does not reach; their prior then joins the likelihood, until
    nothing changes.
    """
    found: dict[str, str] = {}
    while True:
        reached = direct_parents(model, _likelihood(model, [*known, *kept, *found]))
        new = {}
        for name in sorted(reached - held - set(found) - known - kept):
            lost = sorted(direct_parents(model, [model[name]]) - reached - held)
            if lost:
                new[name] = _without_prior(model, name, lost)
        if not new:
            return found
        found |= new


def _without_prior(model: pm.Model, name: str, lost: Sequence[str]) -> str:
    return f"{', '.join(lost)} would lose all influence on the data without its prior{_second_type(model, name, lost)}"


def _second_type(model: pm.Model, name: str, parameters: Sequence[str]) -> str:
    """Say so where each element has parameters of its own, as those of a horseshoe."""
    size = size_of(model[name])
    own = [p for p in parameters if p in model.named_vars and size > 1 and size_of(model[p]) == size]
    return f" (each element has its own {', '.join(own)}: type-II maximum likelihood)" if own else ""


def _lost_elements(model: pm.Model, held: set[str], kept: set[str], known: Mapping[str, str]) -> dict[str, str]:
    """The same for single elements: u ~ N(0, sd[1]), y ~ N(u, sd[0])."""
    terms = _likelihood(model, [*known, *kept])
    found: dict[str, str] = {}
    for name in sorted(direct_parents(model, terms) - held - set(known) - kept):
        parents = direct_parents(model, [model[name]]) - held
        several = [p for p in sorted(parents) if model[p].dtype in continuous_dtypes and model[p].ndim > 0]
        if not several:
            continue
        data, prior = Predictors(model, terms), Predictors(model, [model[name]])
        lost = []
        for parent in several:
            size = data.size(parent)
            if 1 < size <= ELEMENTWISE:
                lost += [
                    f"{parent}[{', '.join(map(str, np.unravel_index(k, data.shape(parent))))}]"
                    for k in range(size)
                    if prior.moves(parent, k) and not data.moves(parent, k)
                ]
        if lost:
            found[name] = _without_prior(model, name, lost)
    return found


# -- non-centered -------------------------------------------------------------------------------------------------


def _non_centered(
    model: pm.Model, held: set[str], kept: set[str], known: Mapping[str, str], before: set[str], scales: set[str]
) -> dict[str, str]:
    """Offsets z ~ N(0, 1) that reach the data only multiplied by functions of parameters.

    Under (z, σ) → (cz, σ/c) such predictors do not change, so Σ z ∂η/∂z = Σ σ ∂η/∂σ at every point, the sum over all
    offsets of one σ. That tells which offsets belong to which scale. Offsets found `before` are no scales, and their
    `scales`, to which those of new ones are added, no offsets.
    """
    terms = _likelihood(model, [*known, *kept])
    # A scale that keeps its own prior is as much one of offsets
    reached = direct_parents(model, terms) - held
    offsets = [rv.name for rv in model.free_RVs if rv.name in reached - set(known) - scales - kept]
    others = [rv.name for rv in model.free_RVs if rv.name in reached - before and rv.dtype in continuous_dtypes]
    pairs = _multiplied(model, terms, offsets, others)
    offsets = [z for z in offsets if any(z == a for a, _ in pairs) and _is_standard_offset(model, z, held)]
    others = [s for s in others if any(s == b and a in offsets for a, b in pairs)]
    if not offsets:
        return {}
    predictors = Predictors(model, terms)
    vectors = [z for z in offsets if predictors.size(z) > 1]
    absorbed = predictors.absorb(vectors)
    table = {z: predictors.along(z) for z in offsets}
    groups: dict[str, list[str]] = {}
    for scale in others:
        columns = {z: column for z, column in table.items() if z != scale}
        target = table[scale] if scale in table else predictors.along(scale)
        group = _matching(target, columns)
        if scale in vectors:
            both = [z for z in group if z in vectors]
            if both:
                raise _two_sides(scale, both, known)
            continue
        if group:
            groups[scale] = group
    whole = {scale: group for scale, group in groups.items() if set(group) & set(vectors)}
    for scale, group in groups.items():
        # A number that itself multiplies a vector of offsets is a scale
        numbers = [z for z in group if z not in vectors and z not in whole]
        if numbers:
            raise _numbers(scale, numbers, group, known)
    vectors = [z for z in vectors if z not in _located(predictors, whole, vectors)]
    through: dict[str, list[frozenset[str]]] = {}
    for scale, group in whole.items():
        for z in set(group) & set(vectors):
            through.setdefault(z, []).append(frozenset([scale]))
    for name, sets in absorbed.items():
        if name in groups or (name in offsets and name in vectors):
            continue
        for z in _matching(predictors.along_factors(name), {z: table[z] for z in vectors}):
            through.setdefault(z, [])
            through[z] = [old for old in through[z] if not any(old < new for new in sets)]
            through[z] += [new for new in dict.fromkeys(sets) if new not in through[z]]
    _refuse_partial(
        predictors, [z for z in vectors if z not in through], [s for s in others if s not in vectors], known
    )
    scales.update(name for factors in through.values() for factor in factors for name in factor)
    return {z: _offset_reason(model, z, through[z], known) for z in offsets if z in through}


def _located(predictors: Predictors, groups: Mapping[str, Sequence[str]], vectors: Sequence[str]) -> set[str]:
    """Offsets with an element for each of the scale's, beside others: in a[j] (theta[i] - b[j]) b are locations.

    Without their prior no scale loses its influence, for the others hold it.
    """
    found = set()
    for scale, group in groups.items():
        paired = {z for z in group if z in vectors and predictors.size(z) == predictors.size(scale) > 1}
        if any(z in vectors and z not in paired for z in group):
            found |= paired
    return found


def _offset_reason(model: pm.Model, name: str, factors: Sequence[frozenset[str]], known: Mapping[str, str]) -> str:
    parts = [", ".join(sorted(f)) if len(f) == 1 else f"a function of {', '.join(sorted(f))}" for f in factors]
    scales = sorted(frozenset[str]().union(*factors) - set(known))
    return (
        f"an offset: the data depend on {name} only through its product with {' and '.join(parts)}"
        f"{_second_type(model, name, scales)}"
    )


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(repr, names))}]"


def _numbers(scale: str, numbers: Sequence[str], group: Sequence[str], known: Mapping[str, str]) -> ModelError:
    names = ", ".join(numbers)
    rest = [z for z in group if z not in numbers]
    return ModelError(
        f"The data depend on {scale} and {', '.join(group)} only through their product. Whether {names} is a random "
        f"effect with the scale {scale} or a coefficient cannot be told from one number: say "
        f"integrate={_list([*known, *group])} to integrate it out, or integrate={_list([*known, *rest])} for a "
        f"coefficient."
    )


def _two_sides(one: str, two: Sequence[str], known: Mapping[str, str]) -> ModelError:
    names = ", ".join(two)
    return ModelError(
        f"The data depend on {one} and {names} only through their product, and the priors of both are centered at "
        f"zero: either can be the latent variable with the other as its coefficients. Say "
        f"integrate={_list([*known, one])} or integrate={_list([*known, *two])}, or integrate={_list([*known])} to "
        f"maximize over both."
    )


def _refuse_partial(
    predictors: Predictors, offsets: Sequence[str], scales: Sequence[str], known: Mapping[str, str]
) -> None:
    """Ask where a part of a variable is an offset, or a part of another the scale of one."""
    for z, scale in product(offsets, scales):
        parts = {str(k): part for k, part in enumerate(predictors.by_element(scale))}
        if _is_part(predictors.along(z), parts):
            raise _partial(z, f"some elements of {scale}", f"the others of {scale} act differently", z, known)
        parts = {str(k): part for k, part in enumerate(predictors.by_element(z))}
        if _is_part(predictors.along(scale), parts):
            raise _partial(f"some elements of {z}", scale, "the others act without it", z, known)


def _is_part(whole: np.ndarray, parts: Mapping[str, np.ndarray]) -> bool:
    """Whether some of the parts match, and others that act on the data do not."""
    mine = _matching(whole, parts)
    return bool(mine) and any(np.any(part) for name, part in parts.items() if name not in mine)


def _partial(one: str, two: str, but: str, name: str, known: Mapping[str, str]) -> ModelError:
    return ModelError(
        f"The data depend on {one} and {two} only through their product, and {but}: whether {name} is a random effect "
        f"with that scale or a coefficient cannot be told. Say integrate={_list([*known, name])} to integrate it out, "
        f"or integrate={_list([*known])} for a coefficient; or declare the parts as variables of their own."
    )


def _is_standard_offset(model: pm.Model, name: str, held: set[str]) -> bool:
    """A continuous variable on the whole line with a proper constant prior around zero."""
    rv = model[name]
    transform, op = model.rvs_to_transforms[rv], rv.owner.op
    if rv.dtype not in continuous_dtypes or isinstance(getattr(op, "core_op", op), FlatRV):
        return False
    if transform is not None and not isinstance(transform, ZeroSumTransform | DimsZeroSum):
        return False
    if direct_parents(model, [rv]) - held:
        return False
    with backends.without_c_compiler(), warnings.catch_warnings():
        # Where PyMC knows no center it says so, and draws: hardly zeros
        warnings.simplefilter("ignore", UserWarning)
        centers = make_initial_point_expression(free_rvs=[rv], rvs_to_transforms={}, initval_strategies={})
        [center] = backends.build([], backends.simplify([backends.as_tensor(c) for c in centers]))()
    return bool(np.all(np.abs(center) < 1e-10))


def _multiplied(
    model: pm.Model, terms: Sequence[Variable], offsets: Sequence[str], others: Sequence[str]
) -> set[tuple[str, str]]:
    """Pairs that meet in an operation other than a sum before they reach the data."""
    watched = {rv: rv.name for rv in model.free_RVs}
    left, right = set(offsets), set(others)
    if not left:
        return set()
    reach: dict[Variable, frozenset[str]] = {}
    pairs: set[tuple[str, str]] = set()
    nothing: frozenset[str] = frozenset()
    for node in toposort(list(terms)):
        parts = [reach.get(i, nothing) for i in node.inputs]
        for output in node.outputs:
            reach[output] = frozenset([watched[output]]) if output in watched else nothing.union(*parts)
        is_sum = str(getattr(node.op, "scalar_op", "")).lower() in ("add", "sub")
        if is_sum or isinstance(node.op, RandomVariable | SymbolicRandomVariable):
            continue
        for a, b in permutations(parts, 2):
            pairs |= {(z, s) for z in (a - b) & left for s in (b - a) & right}
    return pairs


def _matching(target: np.ndarray, columns: Mapping[str, np.ndarray]) -> list[str]:
    """The columns that, each times a number other than zero, add up to the target; none if no set does."""
    columns = {name: column for name, column in columns.items() if np.any(column)}
    if not columns or not np.any(target):
        return []
    table = np.stack(list(columns.values()), axis=1)
    rows = np.any(table != 0, axis=1)
    if np.any(target[~rows]):
        return []
    weights, *_ = np.linalg.lstsq(table[rows], target[rows], rcond=None)
    chosen = np.abs(weights) > 1e-6
    error = np.abs(table[:, chosen] @ weights[chosen] - target).max()
    if error > 1e-8 * np.abs(target).max():
        return []
    return [name for name, use in zip(columns, chosen, strict=True) if use]
