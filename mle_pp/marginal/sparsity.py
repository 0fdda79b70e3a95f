"""Which elements of a log-density depend on which latents, and colors of latents that never meet.

A joint log-density is first separated into parts whose elements are summed. What each element depends on is found by
walking through the graph once. Latents that no element sees together share a color: their second derivatives can be
had from one product with the Hessian.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import Add, Mul, Neg, Sub, Switch, TrueDiv
from pytensor.tensor.basic import Alloc, Join, MakeVector
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Sum
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, SpecifyShape
from scipy import sparse

from mle_pp.marginal.tables import numbered, rows_of
from mle_pp.marginal.walk import Walk, is_a, varying_variables

# Those whose elements, all of them, are those of their first input
_SAME_ELEMENTS = DimShuffle | Reshape | JoinDims | SplitDims | SpecifyShape


@dataclass(frozen=True)
class Part:
    """A piece of a log-density.

    Attributes
    ----------
    graph : Variable
        The sum of all its elements, times `count`, is part of the total.
    count : float
        How often each element counts, with its sign and constant factors.
    """

    graph: Variable
    count: float


# -- parts ------------------------------------------------------------------------------------------------------------


def separate(terms: Sequence[Variable], values: Mapping[Variable, np.ndarray]) -> list[Part]:
    """The sum of all elements of `terms` as a sum of parts, each of them elementwise as far as possible.

    Sums, differences, constant factors and movements of elements are taken apart, and factors without axes are
    multiplied into the sums they stand before. Of `switch(valid, sum(a), -inf)`, as parameter checks are written, `a`
    and `switch(valid, 0, -inf)` are two parts: where it is not valid, the total is -inf or NaN.

    Parameters
    ----------
    terms : sequence of Variable
        Log-densities.
    values : mapping of Variable to array
        Values of the graph's inputs, of which only the shapes matter.

    Returns
    -------
    list of Part
    """
    shapes = Walk(terms, values, {}, set(values)).shapes
    varying = varying_variables(list(toposort(terms)), set(values))
    sums = _with_sums(terms)
    parts: list[Part] = []
    stack: list[tuple[Variable, float, Variable | None]] = [(term, 1.0, None) for term in reversed(terms)]
    while stack:
        variable, count, factor = stack.pop()
        size = math.prod(shapes[variable])
        if size == 0 or _number(variable) == 0:
            continue
        inner = _opened(variable, count, factor, shapes, varying, sums)
        if inner is None:
            parts.append(Part(variable if factor is None else factor * variable, count))
            continue
        joined = isinstance(variable.owner.op, Join | MakeVector)
        stack += reversed([(v, n if joined else n * _repeats(size, v, shapes), f) for v, n, f in inner])
    return parts


def _repeats(size: int, variable: Variable, shapes: dict[Variable, tuple[int, ...]]) -> float:
    """How often an element is repeated where it is broadcast."""
    own = math.prod(shapes[variable])
    return size / own if own and size > own else 1.0


def _opened(
    variable: Variable,
    count: float,
    factor: Variable | None,
    shapes: dict[Variable, tuple[int, ...]],
    varying: set[Variable],
    sums: set[Variable],
) -> list[tuple[Variable, float, Variable | None]] | None:
    """What a variable is the sum of, with counts (but for repetitions) and factors; None where it is not one."""
    node = variable.owner
    if node is None:
        return None
    op, inputs = node.op, node.inputs
    if isinstance(op, Sum | Alloc | _SAME_ELEMENTS):
        # Whatever is summed over is not repeated: the number of elements of a sum is the smaller one
        return [(inputs[0], count, factor)]
    if isinstance(op, Join | MakeVector):
        return [(v, count, factor) for v in inputs]
    if isinstance(op, CheckAndRaise):
        return None if varying.intersection(inputs[1:]) else [(inputs[0], count, factor)]
    if is_a(node, Add):
        return [(v, count, factor) for v in inputs]
    if is_a(node, Sub):
        return [(inputs[0], count, factor), (inputs[1], -count, factor)]
    if is_a(node, Neg):
        return [(inputs[0], -count, factor)]
    if is_a(node, Mul, TrueDiv):
        return _without_factors(node, count, factor, shapes, sums)
    checked = _checked(node)
    if checked is not None and inputs[checked] in sums:
        branches = [pt.constant(-np.inf)] * 2
        branches[checked - 1] = pt.constant(0.0)
        check = pt.switch(inputs[0], *branches)
        shapes[check] = shapes[inputs[0]]
        return [(inputs[checked], count, factor), (check, count, factor)]
    return None


def _without_factors(
    node: Apply,
    count: float,
    factor: Variable | None,
    shapes: dict[Variable, tuple[int, ...]],
    sums: set[Variable],
) -> list[tuple[Variable, float, Variable | None]] | None:
    """Of a product or quotient: the one input that is no constant, or that has sums in it."""
    divided = is_a(node, TrueDiv)
    rest = []
    for place, variable in enumerate(node.inputs):
        number = _number(variable)
        if number is None or not np.isfinite(number) or (number == 0 and divided) or (divided and place == 0):
            rest.append((place, variable))
        else:
            count = count / number if divided else count * number
    if len(rest) == 1:
        return [(rest[0][1], count, factor)]
    within = [(place, v) for place, v in rest if v in sums]
    others = [v for place, v in rest if v not in sums]
    scalar = all(all(length == 1 for length in v.type.shape) for v in others)
    if len(within) != 1 or not others or not scalar or (divided and within[0][0] != 0):
        return None
    product = reduce(lambda a, b: a * b, [v.dimshuffle() for v in others])
    if divided:
        product = 1.0 / product
    return [(within[0][1], count, product if factor is None else factor * product)]


def _with_sums(terms: Sequence[Variable]) -> set[Variable]:
    """The variables that are opened up to a sum."""
    found: set[Variable] = set()
    for node in toposort(terms):
        through = node.inputs
        if not (isinstance(node.op, Join | MakeVector) or is_a(node, Add, Sub, Neg, Mul, TrueDiv)):
            place = _checked(node) or 0
            opens = place or isinstance(node.op, Alloc | CheckAndRaise | _SAME_ELEMENTS)
            through = [node.inputs[place]] if opens else []
        if isinstance(node.op, Sum) or found.intersection(through):
            found.update(node.outputs)
    return found


def _checked(node: Apply) -> int | None:
    """The place of the input that `switch` lets pass where another one is -inf."""
    if not is_a(node, Switch):
        return None
    bad = [number is not None and np.isneginf(number) for number in map(_number, node.inputs[1:])]
    return None if bad[0] == bad[1] else 2 if bad[0] else 1


def _number(variable: Variable) -> float | None:
    """The number that all elements of a constant are."""
    while variable.owner is not None and isinstance(variable.owner.op, DimShuffle):
        variable = variable.owner.inputs[0]
    if not isinstance(variable, Constant) or not isinstance(variable.data, np.ndarray | np.generic):
        return None
    data = np.asarray(variable.data)
    if data.size == 0 or data.dtype.kind not in "biuf" or np.any(data != data.flat[0]) or np.isnan(data.flat[0]):
        return None
    return float(data.flat[0])


# -- dependence -------------------------------------------------------------------------------------------------------


def dependence(
    outputs: Sequence[Variable], wrt: Variable, values: Mapping[Variable, np.ndarray]
) -> list[sparse.csr_matrix]:
    """Which elements of the outputs may depend on which elements of a vector: never too few.

    "Depend" means by a derivative: comparisons and whole numbers do not. Zeros in the data count as structural ones
    where they multiply; the result is valid for these data only.

    Parameters
    ----------
    outputs : sequence of Variable
    wrt : Variable
        A vector.
    values : mapping of Variable to array
        Values of the graph's inputs (`wrt` is one of them); shared variables have their own. What is found does not
        depend on these values, but on the shapes that they lead to.

    Returns
    -------
    list of csr_matrix of bool
        One per output, of shape (output.size, wrt.size); elements in C order.
    """
    size = np.size(values[wrt])
    each = sparse.identity(size, dtype=bool, format="csr")
    walk = Walk(outputs, values, {wrt: numbered(each, np.shape(values[wrt]))}, set(values))
    found = []
    for output in outputs:
        pattern = walk.patterns.get(output)
        rows = math.prod(walk.shapes[output])
        found.append(sparse.csr_matrix((rows, size), dtype=bool) if pattern is None else rows_of(pattern))
    return found


# -- colors -----------------------------------------------------------------------------------------------------------


def coloring(pattern: sparse.csr_matrix, hint: np.ndarray | None = None) -> np.ndarray:
    """Colors of the columns such that no row has two columns of one color.

    Parameters
    ----------
    pattern : csr_matrix
        Its nonzero entries are what matters.
    hint : ndarray or None
        Colors that are taken, renumbered, if they are valid; else each column in turn gets the first color that none
        of its rows has yet.

    Returns
    -------
    ndarray of int
        One color per column, counted from 0.
    """
    pattern = sparse.csr_matrix(pattern, dtype=bool, copy=True)
    pattern.sum_duplicates()
    pattern.eliminate_zeros()
    # A row with one column is no constraint
    pattern = pattern[np.diff(pattern.indptr) > 1]
    if hint is not None:
        colors = np.unique(hint, return_inverse=True)[1].reshape(-1)
        if colors.size == pattern.shape[1] and _is_valid(pattern, colors):
            return colors
    if pattern.nnz == 0:
        return np.zeros(pattern.shape[1], dtype=int)
    return _greedy(pattern)


def _is_valid(pattern: sparse.csr_matrix, colors: np.ndarray) -> bool:
    shape = (pattern.shape[0], int(colors.max(initial=-1)) + 1)
    # A copy, for joining duplicates would change the pattern, too
    found = sparse.csr_matrix((pattern.data, colors[pattern.indices], pattern.indptr), shape=shape, copy=True)
    found.sum_duplicates()
    return found.nnz == pattern.nnz


def _greedy(pattern: sparse.csr_matrix) -> np.ndarray:
    """The first color that is free, column by column."""
    columns = pattern.tocsc()
    starts, rows = columns.indptr.tolist(), columns.indices.tolist()
    # The colors of each row, as the bits of a number: this is fast for short rows, and possible for full ones
    taken = [0] * pattern.shape[0]
    colors = [0] * pattern.shape[1]
    for k in range(pattern.shape[1]):
        here = rows[starts[k] : starts[k + 1]]
        used = 0
        for row in here:
            used |= taken[row]
        bit = ~used & (used + 1)
        for row in here:
            taken[row] |= bit
        colors[k] = bit.bit_length() - 1
    return np.array(colors)
