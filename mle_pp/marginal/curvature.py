"""The joint log density as a function of the latent vector: value, gradient, sparse Hessian, and sums over it.

Two forms with the same methods. `Colored`: the density is a sum of parts, whose elements depend on few latents each.
Latents that no element sees together share a color, so that second derivatives along pairs of colors give every entry
of the Hessian: one pair for a random intercept, however many groups (Curtis, Powell and Reid 1974; Gebremedhin, Manne
and Pothen 2005). `Dense`: where everything depends on everything, or nearly so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pytensor.tensor as pt
import scipy.sparse as sp
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import vectorize_graph
from pytensor.scalar.basic import Switch
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from mle_pp import backends
from mle_pp.derivatives import Smooth, gradient, tangent
from mle_pp.errors import ModelError
from mle_pp.marginal.elimination import Elimination
from mle_pp.marginal.sparsity import Part, coloring, dependence, separate

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Local:
    """The joint log density g at one point.

    Attributes
    ----------
    value : float
    gradient : ndarray, shape (q,)
        In the latents.
    entries : ndarray
        Of the negative Hessian in the latents, in the order of `Elimination`.
    """

    value: float
    gradient: np.ndarray
    entries: np.ndarray

    @property
    def is_finite(self) -> bool:
        """Whether all of it is."""
        return bool(
            np.isfinite(self.value) and np.all(np.isfinite(self.gradient)) and np.all(np.isfinite(self.entries))
        )


class Curvature(Protocol):
    """What the inner problem and the outer gradient ask of the joint log density g(u, x), with H = −∂²g/∂u²."""

    elimination: Elimination

    def local(self, u: np.ndarray, x: np.ndarray) -> Local:
        """Value, gradient and Hessian."""

    def values(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The value of each component; what belongs to none is with the first."""

    def slopes(self, u: np.ndarray, x: np.ndarray, bar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """∂/∂x (g − ⟨B, H⟩) and ∂/∂u (−⟨B, H⟩), for a symmetric B that has the pattern of H."""

    def along(self, u: np.ndarray, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """∂/∂x (∂g/∂u · v)."""

    def mixed(self, u: np.ndarray, x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The derivative of ∂g/∂u along a direction in x."""


class Built:
    """An interpreted function, with all that does not depend on its inputs computed beforehand.

    Parameters
    ----------
    inputs, outputs : sequence of Variable
    held : Variable, optional
        An input that stays as it is for many calls: what depends on it alone is computed when it changes.
    """

    def __init__(self, inputs: Sequence[Variable], outputs: Sequence[Variable], held: Variable | None = None) -> None:
        self._held = None if held is None else list(inputs).index(held)
        with backends.without_c_compiler():
            known = backends.frontier(outputs, [variable for variable in inputs if variable is not held])
            # What is held is given as it is
            known = [variable for variable in known if variable is not held]
            self._beforehand = backends.build([], known) if held is None else Built([held], known)
            self._function = backends.build([*inputs, *known], outputs)
        self.refresh()

    def refresh(self) -> None:
        """Compute once more what the shared variables have made of it."""
        self._key: bytes | None = None
        if isinstance(self._beforehand, Built):
            self._beforehand.refresh()
        else:
            self._values = self._beforehand()

    def __call__(self, *arguments: np.ndarray) -> Arrays:
        """The outputs."""
        if self._held is not None:
            held = arguments[self._held]
            if self._key != held.tobytes():
                self._key, self._values = held.tobytes(), self._beforehand(held)
        return self._function(*arguments, *self._values)


class Refreshing:
    """Something that keeps its functions as cached properties."""

    def refresh(self) -> None:
        """Take in what the shared variables have become."""
        for value in self.__dict__.values():
            if isinstance(value, Built):
                value.refresh()

    def __getstate__(self) -> dict[str, Any]:
        """Without the functions, which are built again where they are needed."""
        return {name: value for name, value in self.__dict__.items() if not isinstance(value, Built)}


build = Built


class Colored(Refreshing):
    """By colors; see the module."""

    def __init__(
        self, parts: Sequence[Part], patterns: Sequence[sp.csr_matrix], colors: np.ndarray, free: Sequence[Variable],
        u: TensorVariable, x: TensorVariable,
    ) -> None:  # fmt: skip
        self._u, self._x = u, x
        self._free = list(free)
        self._parts = [_Piece(part, pattern, colors) for part, pattern in zip(parts, patterns, strict=True)]
        self.colors = int(colors.max(initial=-1)) + 1
        size = len(colors)
        pairs = [
            _key(piece.where[a].index, piece.where[b].index, size) for piece in self._parts for a, b in piece.pairs
        ]
        keys = np.unique(np.concatenate([np.arange(size) * (size + 1), *(key[key >= 0] for key in pairs)]))
        self.elimination = Elimination(keys // size, keys % size, size, colors)
        # Elements that do not see both colors count for a place beyond the last
        self._places = [Scatter(np.where(key >= 0, np.searchsorted(keys, key), len(keys)), len(keys)) for key in pairs]
        self._diagonal = keys // size == keys % size
        self._tangents, self._second = self._derive()

    def _derive(self) -> tuple[list[Variable], list[Variable]]:
        """First and second derivatives of the parts along their colors."""
        first, second = [], []
        with backends.without_c_compiler():
            for piece in self._parts:
                along = {c: tangent(piece.graph, self._u, pt.constant(piece.seed(c))) for c in piece.where}
                first += list(along.values())
                second += [tangent(along[a], self._u, pt.constant(piece.seed(b))) for a, b in piece.pairs]
        return first, second

    @cached_property
    def _total(self) -> Variable:
        return _summed(self._free)

    @cached_property
    def _local(self) -> Callable[..., Arrays]:
        return build([self._u, self._x], [self._total, *self._tangents, *self._second], self._x)

    def local(self, u: np.ndarray, x: np.ndarray) -> Local:
        """Value, gradient and Hessian."""
        value, *derivatives = self._local(u, x)
        first = iter(derivatives[: len(self._tangents)])
        second = iter(derivatives[len(self._tangents) :])
        slope, entries = np.zeros(u.size), np.zeros(len(self._diagonal))
        places = iter(self._places)
        for piece in self._parts:
            for where in piece.where.values():
                where.add(next(first), piece.count, slope)
            for _ in piece.pairs:
                next(places).add(next(second), -piece.count, entries)
        return Local(float(value), slope, entries)

    @cached_property
    def _values(self) -> Callable[..., Arrays]:
        return build([self._u, self._x], [self._total, *(piece.graph for piece in self._parts)], self._x)

    def values(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The value of each component."""
        total, *parts = self._values(u, x)
        found = np.zeros(self.elimination.n_components)
        for piece, owner, value in zip(self._parts, self._owners, parts, strict=True):
            owner.add(value, piece.count, found)
        found[0] += total - found.sum()
        return found

    @cached_property
    def _weighted(self) -> Callable[..., Arrays]:
        weights, total = weighed([piece.graph for piece in self._parts])
        with backends.without_c_compiler():
            outputs = [gradient(total, self._x), gradient(total, self._u)]
        return build([self._u, self._x, *weights], outputs, self._x)

    def weighted(self, u: np.ndarray, x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives in x and u of the sum of all components' densities, each times its weight."""
        pairs = zip(self._parts, self._owners, strict=True)
        in_x, in_u = self._weighted(u, x, *(owner.spread(weights, piece.count) for piece, owner in pairs))
        return in_x, in_u

    @cached_property
    def _owners(self) -> list[Scatter]:
        """The component of each element of each part."""
        count = self.elimination.n_components
        components = np.append(self.elimination.components, count)
        return [Scatter(components[piece.first], count) for piece in self._parts]

    @cached_property
    def _slopes(self) -> Callable[..., Arrays]:
        weights, extra = weighed(self._second)
        with backends.without_c_compiler():
            outputs = [gradient(self._total + extra, self._x), gradient(extra, self._u)]
        return build([self._u, self._x, *weights], outputs)

    def slopes(self, u: np.ndarray, x: np.ndarray, bar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """∂/∂x (g − ⟨B, H⟩) and ∂/∂u (−⟨B, H⟩)."""
        both = np.where(self._diagonal, bar, 2 * bar)
        counts = [piece.count for piece in self._parts for _ in piece.pairs]
        weights = [place.spread(both, count) for count, place in zip(counts, self._places, strict=True)]
        in_x, in_u = self._slopes(u, x, *weights)
        return in_x, in_u

    @cached_property
    def _along(self) -> Callable[..., Arrays]:
        weights, total = weighed(self._tangents)
        with backends.without_c_compiler():
            outputs = [gradient(total, self._x)]
        return build([self._u, self._x, *weights], outputs)

    def along(self, u: np.ndarray, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """∂/∂x (∂g/∂u · v)."""
        weights = [where.spread(v, piece.count) for piece in self._parts for where in piece.where.values()]
        return self._along(u, x, *weights)[0]

    @cached_property
    def _mixed(self) -> Callable[..., Arrays]:
        direction = pt.vector("direction", dtype="float64")
        with backends.without_c_compiler():
            outputs = [tangent(graph, self._x, direction) for graph in self._tangents]
        return build([self._u, self._x, direction], outputs)

    def mixed(self, u: np.ndarray, x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The derivative of ∂g/∂u along a direction in x."""
        found, slopes = np.zeros(u.size), iter(self._mixed(u, x, direction))
        for piece in self._parts:
            for where in piece.where.values():
                where.add(next(slopes), piece.count, found)
        return found


def weighed(graphs: Sequence[Variable]) -> tuple[list[Variable], Variable]:
    """A vector of weights for each graph, one for each of its elements, and the sum of all with these weights."""
    with backends.without_c_compiler():
        weights = [pt.vector(f"w{k}", dtype="float64") for k in range(len(graphs))]
        total = pt.constant(0.0)
        for weight, graph in zip(weights, graphs, strict=True):
            total = total + pt.sum(weight * graph.ravel())
    return weights, total


def _summed(graphs: Sequence[Variable]) -> Variable:
    total = pt.constant(0.0)
    for graph in graphs:
        total = total + graph.sum()
    return total


class _Piece:
    """A part with its sparsity: for each color it sees, the latent of that color that each element depends on."""

    def __init__(self, part: Part, pattern: sp.csr_matrix, colors: np.ndarray) -> None:
        self.graph, self.count = _without_bounds(part.graph), part.count
        self._colors = colors
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        own = colors[pattern.indices]
        self.where: dict[int, Scatter] = {}
        for color in np.unique(own):
            where = np.full(pattern.shape[0], len(colors))
            where[rows[own == color]] = pattern.indices[own == color]
            self.where[int(color)] = Scatter(where, len(colors))
        self.first = np.minimum.reduce([where.index for where in self.where.values()])
        seen = list(self.where)
        self.pairs = [(a, b) for k, a in enumerate(seen) for b in seen[k:] if self._together(a, b)]

    def _together(self, a: int, b: int) -> bool:
        size = len(self._colors)
        return bool(np.any((self.where[a].index < size) & (self.where[b].index < size)))

    def seed(self, color: int) -> np.ndarray:
        """The direction in which all latents of a color move."""
        return (self._colors == color).astype(float)


def _key(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    """A number for each pair of latents in the lower triangle; −1 where there is none."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.where(high < size, high.astype(np.int64) * size + low, -1)


class Scatter:
    """Sums by place, and the way back.

    Parameters
    ----------
    index : ndarray of int
        The place of each element; `size` for those that count for none.
    size : int
        Number of places.
    """

    def __init__(self, index: np.ndarray, size: int) -> None:
        self.index, self.size = index, size
        self._is_identity = index.size == size and bool(np.all(index == np.arange(size)))
        self._all = bool(np.all(index < size))
        steps = np.diff(index)
        # Rows in the order of their groups, none missing: sums of runs
        self._runs: np.ndarray | None = None
        in_order = self._all and index.size and index[0] == 0 and index[-1] == size - 1
        if not self._is_identity and in_order and np.all((steps == 0) | (steps == 1)):
            self._runs = np.concatenate([[0], np.flatnonzero(steps) + 1])

    def add(self, value: np.ndarray, factor: float, out: np.ndarray) -> None:
        """Add factor × the sums of `value` to `out`; one number stands for the same one at all elements."""
        value = value.ravel()
        if value.size != self.index.size:
            value = np.broadcast_to(value, self.index.shape)
        if not self._is_identity:
            if self._runs is not None:
                value = np.add.reduceat(value, self._runs)
            else:
                value = np.bincount(self.index, value, self.size + 1)[:-1]
        out += value if factor == 1 else factor * value

    def spread(self, value: np.ndarray, factor: float) -> np.ndarray:
        """Factor × the value of its place for each element; zero for those without."""
        value = value if factor == 1 else factor * value
        if self._is_identity:
            return value
        return (value if self._all else np.append(value, 0.0)).take(self.index)


def _without_bounds(graph: Variable) -> Variable:
    """Where a density is zero its derivatives are of no interest: `switch(valid, f, −inf)` is differentiated as f."""
    node = graph.owner
    if node is None or not isinstance(node.op, Elemwise) or not isinstance(node.op.scalar_op, Switch):
        return graph
    _, inside, outside = node.inputs
    if not _is_minus_infinity(outside) or inside.type.broadcastable != graph.type.broadcastable:
        return graph
    return _without_bounds(inside)


def _is_minus_infinity(branch: Variable) -> bool:
    return isinstance(branch, Constant) and bool(np.all(np.isneginf(branch.data)))


class Dense(Refreshing):
    """Every pair of latents; by Hessian-vector products."""

    def __init__(self, free: Sequence[Variable], u: TensorVariable, x: TensorVariable, size: int, rows: int) -> None:
        self._u, self._x = u, x
        self._total = _summed(free)
        self._count = rows
        self._rows, self._cols = np.tril_indices(size)
        self.elimination = Elimination(self._rows, self._cols, size)

    @cached_property
    def _smooth(self) -> Smooth:
        return Smooth(self._total, self._u, "interpreted", self._count, [self._x])

    def __getstate__(self) -> dict[str, Any]:
        """Without the functions."""
        return {name: value for name, value in super().__getstate__().items() if name != "_smooth"}

    def local(self, u: np.ndarray, x: np.ndarray) -> Local:
        """Value, gradient and Hessian."""
        value, slope, matrix = self._smooth.derivatives(u, x)
        return Local(value, slope, -matrix[self._rows, self._cols])

    def values(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The value of each component: there is one."""
        return np.array([self._smooth.value(u, x)])

    @cached_property
    def _slopes(self) -> Callable[..., Arrays]:
        left, right = pt.vector("left", dtype="float64"), pt.vector("right", dtype="float64")
        lefts, rights = pt.matrix("lefts", dtype="float64"), pt.matrix("rights", dtype="float64")
        with backends.without_c_compiler():
            second = tangent(tangent(self._total, self._u, left), self._u, right)
            [second] = backends.inline([second])
            extra = vectorize_graph(second, {left: lefts, right: rights}).sum()
            outputs = [gradient(self._total + extra, self._x), gradient(extra, self._u)]
        return build([self._u, self._x, lefts, rights], outputs)

    def slopes(self, u: np.ndarray, x: np.ndarray, bar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """∂/∂x (g − ⟨B, H⟩) and ∂/∂u (−⟨B, H⟩)."""
        matrix = np.zeros((u.size, u.size))
        matrix[self._rows, self._cols] = bar
        matrix[self._cols, self._rows] = bar
        in_x, in_u = self._slopes(u, x, np.eye(u.size), matrix)
        return in_x, in_u

    @cached_property
    def _along(self) -> Callable[..., Arrays]:
        v = pt.vector("v", dtype="float64")
        with backends.without_c_compiler():
            outputs = [gradient(tangent(self._total, self._u, v), self._x)]
        return build([self._u, self._x, v], outputs)

    def along(self, u: np.ndarray, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """∂/∂x (∂g/∂u · v)."""
        return self._along(u, x, v)[0]

    @cached_property
    def _mixed(self) -> Callable[..., Arrays]:
        direction = pt.vector("direction", dtype="float64")
        with backends.without_c_compiler():
            outputs = [tangent(gradient(self._total, self._u), self._x, direction)]
        return build([self._u, self._x, direction], outputs)

    def mixed(self, u: np.ndarray, x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The derivative of ∂g/∂u along a direction in x."""
        return self._mixed(u, x, direction)[0]


# Passes over the data for one Hessian, beyond which Hessian-vector products of all latents are no slower.
_PASSES = 100
_DENSE_BYTES = 4 * 2**30


def curvature(
    terms: Sequence[Variable], u: TensorVariable, x: TensorVariable, u0: np.ndarray, x0: np.ndarray,
    slots: np.ndarray, names: Sequence[str], observed: Mapping[Variable, np.ndarray],
) -> Colored | Dense:  # fmt: skip
    """The form that suits the density Σ terms.

    Parameters
    ----------
    terms : sequence of Variable
    u, x : TensorVariable
    u0, x0 : ndarray
        A point at which the terms can be evaluated.
    slots : ndarray of int
        Candidate colors.
    names : sequence of str
        Of the latent variables, for messages.
    observed : mapping of Variable to ndarray
        What holds observations: the pattern is that of any others, too.

    Raises
    ------
    ModelError
        The Hessian is dense and does not fit in memory.
    """
    with backends.without_c_compiler():
        values = {u: u0, x: x0, **observed}
        try:
            separated = separate(terms, values)
            patterns = dependence([part.graph for part in separated], u, values)
        except ModelError as error:
            raise ModelError(f"{', '.join(names)}: {error}") from error
    pairs = [(part, pattern) for part, pattern in zip(separated, patterns, strict=True) if pattern.nnz]
    size = u0.size
    widest = max((int(np.diff(pattern.indptr).max()) for _, pattern in pairs), default=0)
    if widest * (widest + 1) // 2 <= max(_PASSES, 4 * size if size < 20 else 0):
        colors = coloring(sp.vstack([pattern for _, pattern in pairs], format="csr"), slots)
        count = int(colors.max()) + 1
        if count * (count + 1) // 2 <= _PASSES or count < size // 4:
            try:
                found = Colored([p for p, _ in pairs], [q for _, q in pairs], colors, terms, u, x)
            except MemoryError:
                found = None
            if found is not None and _agrees(found, u0, x0):
                return found
    _require_memory(size, names)
    rows = max(pattern.shape[0] for _, pattern in pairs)
    return Dense(terms, u, x, size, rows)


def _agrees(colored: Colored, u0: np.ndarray, x0: np.ndarray) -> bool:
    """Whether slope and curvature along a random direction are those of the density itself, found by differences.

    The pattern of an operation that nobody has thought of must not lead to a wrong Hessian.
    """
    rng = np.random.default_rng(20240229)
    u, v = u0 + 0.1 * rng.normal(size=u0.size), rng.normal(size=u0.size)
    h = 1e-5
    here, ahead, back = (colored.local(u + s * h * v, x0) for s in (0, 1, -1))
    if not (here.is_finite and ahead.is_finite and back.is_finite):
        return True
    slope = (ahead.value - back.value) / (2 * h)
    curvature = (ahead.gradient - back.gradient) / (2 * h)
    product = colored.elimination.matrix(here.entries) @ v
    size = np.abs(here.gradient) @ np.abs(v) + abs(here.value) * 1e-6
    return bool(
        abs(slope - here.gradient @ v) <= 1e-5 * size
        and np.all(np.abs(curvature + product) <= 1e-4 * (np.abs(product) + np.abs(product).max()))
    )


def _require_memory(size: int, names: Sequence[str]) -> None:
    needed = 8.0 * size**2 * 4
    if needed > _DENSE_BYTES:
        raise ModelError(
            f"The {size} elements of {', '.join(names)} depend on each other without a structure that can be used: "
            f"their joint Hessian needs {needed / 2**30:.0f} GiB. Declare them so that each observation depends on few "
            f"of them (an index, not a matrix product), or integrate fewer."
        )
