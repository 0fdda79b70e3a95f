"""How a smaller model lies in a larger one: which scalars it lacks, and whether it puts them on an edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mle_pp.errors import ModelError
from mle_pp.layout import make_layout
from mle_pp.objective import ModelObjective
from mle_pp.parameters import Parameters
from mle_pp.verdict import Status

if TYPE_CHECKING:
    import pymc as pm

    from mle_pp.estimate import Estimate

# On the scale of a logarithm or a logit, this is an edge for every purpose: 1e-13 and 1e13.
_EDGE = 30.0


def observed(est: Estimate) -> dict[str, np.ndarray]:
    """The observed values that a fit was made to."""
    return {rv.name: est._objective.data[rv.name] for rv in est.model.observed_RVs}


def known_values(small: Estimate) -> dict[str, float]:
    """The value of every labelled scalar of a fit, estimated or held."""
    parameters = small._objective.parameters
    values = dict(zip(small._layout.labels, small._layout.vector(small.params), strict=True))
    dims, coords = small.model.named_vars_to_dims, small.model.coords
    held = make_layout({name: np.shape(value) for name, value in parameters.fixed.items()}, dims, coords)
    for entry in held:
        values |= dict(zip(entry.labels, np.ravel(parameters.fixed[entry.name]), strict=True))
    return {label: float(value) for label, value in values.items()}


def shared_values(
    small: Estimate, model: pm.Model, names: Sequence[str], null: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Values of a larger model's parameters that make it the smaller one, and what these say: an equation a scalar.

    Raises
    ------
    ModelError
        A scalar has no value.
    """
    layout = Parameters(model, names).layout
    known, own = known_values(small), set(small._layout.labels)
    labels = layout.labels
    if unknown := [name for name in null if name not in labels and name not in layout.names]:
        raise ModelError(f"null: {', '.join(unknown)} no parameter of the larger model ({', '.join(labels[:9])}).")
    values, texts, missing = {}, [], []
    for entry in layout:
        given = np.full(entry.shape, np.nan) if entry.name not in null else np.asarray(null[entry.name], dtype=float)
        try:
            given = np.broadcast_to(given, entry.shape).ravel().copy()
        except ValueError:
            raise ModelError(
                f"null[{entry.name!r}] has shape {given.shape}, but {entry.name} has shape {entry.shape}."
            ) from None
        for place, label in enumerate(entry.labels):
            if label in null and label != entry.name:
                given[place] = float(null[label])
            if np.isnan(given[place]):
                given[place] = known.get(label, np.nan)
            if np.isnan(given[place]):
                missing.append(label)
            elif label not in own:
                texts.append(f"{label} = {given[place]:.6g}")
        values[entry.name] = given.reshape(entry.shape)
    if missing:
        raise ModelError(
            f"small has no value for {', '.join(missing)}: give those of the null hypothesis, "
            f"null={{{missing[0]!r}: 0.0}}, say."
        )
    return values, texts


def listed(texts: Sequence[str]) -> str:
    """The first few of them."""
    return ", ".join(texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")


def scalars_at_edge(small: Estimate, large: Estimate) -> int:
    """How many scalars the null hypothesis puts on the edge of their support, if the law is known then.

    Raises
    ------
    ModelError
        It cannot be seen, or the law is not known.
    """
    if small.verdict.status in (Status.BOUNDARY, Status.AT_INFINITY):
        raise ModelError(
            "Parameters of the smaller model are at a limit themselves, where the law of the likelihood ratio is not "
            "known: simulate it, n_bootstrap=1000, say; or state boundary= if you know it."
        )
    if small.verdict.status is Status.NOT_IDENTIFIED and large.verdict.status is not Status.NOT_IDENTIFIED:
        raise ModelError(f"{_NO_MEANING.format('Some parameters')} {small.verdict}")
    held = small._objective.parameters.fixed
    extra = [label for label in large._layout.labels if label not in small._layout.labels]
    owner = dict(zip(large._layout.labels, large._layout.owners(), strict=True))
    names = list(dict.fromkeys(owner[label] for label in extra))
    if not all(name in held for name in names):
        return _approached(small, large, extra)
    counts = {name: _held_at_edge(large, name, held[name]) for name in names}
    others = [label for label in extra if not counts[owner[label]]]
    if any(counts.values()) and others and _idle(small, large, others):
        raise ModelError(_NO_MEANING.format(", ".join(others)))
    return sum(counts.values())


_NO_MEANING = (
    "{} have no meaning under the null hypothesis, where the law of the likelihood ratio is not known (Davies 1987): "
    "simulate it, n_bootstrap=1000, say."
)


def _idle(small: Estimate, large: Estimate, labels: Sequence[str]) -> bool:
    """Whether these scalars have no effect under the null hypothesis, where others are on the edge."""
    x = _image(small, large)
    if x is None:
        return True
    x = np.clip(x, -_EDGE, _EDGE)
    moved = x.copy()
    moved[_coordinates(large, labels)] += 0.5
    with np.errstate(all="ignore"):
        here, there = large._objective.loglik(x), large._objective.loglik(moved)
    return bool(abs(here - there) <= 1e-9 * max(1.0, abs(here)))


def _held_at_edge(large: Estimate, name: str, value: Any) -> int:
    """How many elements of a variable lie on the edge of the larger model's support."""
    parameters = large._objective.parameters
    shape = next(entry.shape for entry in large._layout if entry.name == name)
    with np.errstate(all="ignore"):
        forward = parameters.forward(name, np.broadcast_to(value, shape), large._optimum.x)
    if np.any(np.isnan(forward)):
        raise ModelError(f"The value {value} at which small holds {name} is outside its support in large: not nested.")
    count = int(np.sum(np.isinf(forward)))
    if count and getattr(parameters.transforms[name], "ndim_supp", 0) > 0:
        raise ModelError(f"small holds {name} on the edge of its support: simulate the law, n_bootstrap=1000, say.")
    return count


def _approached(small: Estimate, large: Estimate, extra: Sequence[str]) -> int:
    """The same for a model without the extra scalars: whether `large` becomes `small` as one goes to its edge."""
    parameters = large._objective.parameters
    coordinates = _coordinates(large, extra)
    bounded = [k for k in coordinates if parameters.transformed[k]]
    if not bounded:
        return 0
    others = [k for k in coordinates if k not in bounded]
    x = _image(small, large)
    if len(bounded) == 1 and x is not None and np.all(np.isfinite(x)) and len(coordinates) == len(extra):
        at_null, at_estimate = x.copy(), x.copy()
        at_null[others] = 0.0
        at_estimate[coordinates] = large._optimum.x[coordinates]
        if any(_becomes(small, large._objective, at_null, bounded[0], edge) for edge in (-_EDGE, _EDGE)):
            unidentified = others and any(
                _becomes(small, large._objective, at_estimate, bounded[0], edge) for edge in (-_EDGE, _EDGE)
            )
            if unidentified:
                raise ModelError(_NO_MEANING.format(f"Of {', '.join(extra)}, some"))
            return 1
        if not others:
            return 0
    labels = ", ".join(extra)
    raise ModelError(
        f"Whether the smaller model puts {labels} on the edge of their support cannot be seen from the two fits. State "
        f"how many scalars it does with boundary= (0: none), simulate the law with n_bootstrap=, or fit the smaller "
        f"model as the larger one with fix=."
    )


def _coordinates(large: Estimate, extra: Sequence[str]) -> list[int]:
    """Entries of the vector that belong to these scalars; all of a variable's where it is transformed as a whole."""
    parameters = large._objective.parameters
    inner = list(parameters.unconstrained.slices().values())
    found: list[int] = []
    for entry, place in zip(parameters.layout, inner, strict=True):
        marks = [label in extra for label in entry.labels]
        coordinates = list(range(place.start, place.stop))
        if len(coordinates) == len(marks):
            found += [k for k, mark in zip(coordinates, marks, strict=True) if mark]
        elif any(marks):
            found += coordinates
    return found


def _image(small: Estimate, large: Estimate) -> np.ndarray | None:
    """`small` in the larger model, as far as the names agree; None where they do not."""
    known = known_values(small)
    labels = large._layout.labels
    if any(label not in labels for label in small._layout.labels):
        return None
    vector = large._layout.vector(large.params)
    vector = np.array([known.get(label, value) for label, value in zip(labels, vector, strict=True)])
    x = large._optimum.x.copy()
    parameters = large._objective.parameters
    with np.errstate(all="ignore"):
        for entry, own, inner in zip(
            parameters.layout,
            parameters.layout.slices().values(),
            parameters.unconstrained.slices().values(),
            strict=True,
        ):
            # What small lacks may be at a limit, where it has no place on the vector's scale
            if any(label in known for label in entry.labels):
                x[inner] = np.ravel(parameters.forward(entry.name, vector[own].reshape(entry.shape), x))
    return None if np.any(np.isnan(x)) else x


def _becomes(small: Estimate, objective: ModelObjective, x: np.ndarray, coordinate: int, edge: float) -> bool:
    """Whether the likelihood is that of `small` with this coordinate at an edge."""
    there = x.copy()
    there[coordinate] = edge
    with np.errstate(all="ignore"):
        return bool(abs(objective.loglik(there) - small.loglik) <= 1e-6 * max(1.0, abs(small.loglik)))
