"""Calls of NumPy that go row by row, joined: through all of them with some rows, then with the next.

On large data most of the time goes into memory: each operation reads arrays that have left the cache since they were
written, and writes one more. Joined, only what others need is ever written as a whole. Sums over all rows and sums by
index are added up on the way, in the order in which NumPy does it.

The rows of an array are along its longest axis; its other axes, which may be before or after, are short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from pytensor.graph.basic import Variable

# Arrays of so many elements are worked on in blocks of at most so many: a dozen of these fit the cache.
LARGE = 20_000
_BLOCK = 16_384
# Blocks begin at multiples of it, as many as processors take at a time, so that ends of arrays are where they were.
_EVEN = 8
# The most elements in a row, and the most of those rows that are joined with single numbers.
_WIDE = 64
_NARROW = 8

Function = Callable[..., Any]
# Of each variable, when seen for the first time.
Shapes = dict[Variable, tuple[int, ...]]


@dataclass
class Rows:
    """How a call does its work on some of the rows.

    Attributes
    ----------
    function : callable
        From the inputs to the output; with `begin`, from what has been added up and the inputs to what that is then.
    axes : sequence of int or None
        Along which the inputs are cut; None where one is needed as a whole.
    begin, end : callable
        Where something is added up: from the inputs needed as a whole to what this starts from; and from what it is
        after all rows, and the largest number of rows in a block, to the output.
    sized : bool
        Whether `function` takes the number of rows, too: it may get one row that stands for many equal ones.
    pays : bool
        Whether it is worth joining if none of the inputs is computed by rows.
    holds : bool
        Whether it is a check that held, and stops the run where it does not.
    """

    function: Function
    axes: Sequence[int | None]
    begin: Function | None = None
    end: Function | None = None
    sized: bool = False
    pays: bool = False
    holds: bool = False


@dataclass
class Call:
    """A function from the arrays of some variables to that of another one, or to a sequence of those of several."""

    function: Function
    inputs: Sequence[Variable]
    outputs: Sequence[Variable]
    rows: Rows | None = None


class OtherCaseError(Exception):
    """A shape or a check is not what it was when the function was translated."""


class _Key(NamedTuple):
    """Calls with the same one can be joined; in the order in which they can be run."""

    phase: int
    joined: bool = False
    rows: int = 0
    wide: bool = False


def row_axis(shape: Sequence[int]) -> int:
    """The axis of an array along which its rows are."""
    return int(np.argmax(shape))


def joined(calls: Sequence[Call], shapes: Shapes, results: Sequence[Variable], sums: bool) -> list[Call]:
    """The same with those calls joined that can be; with or without those that add numbers up.

    What waits for the end of such a run is in a later phase than it.
    """
    made: dict[Variable, _Key] = {}
    ends: set[Variable] = set()
    keys: list[_Key] = []
    for call in calls:
        key = _kind(call, shapes, made) if sums or not (call.rows and call.rows.begin) else _Key(0)
        axes = call.rows.axes if call.rows and key.joined else [None] * len(call.inputs)
        for v, axis in zip(call.inputs, axes, strict=True):
            if v in made:
                joins = axis is not None and made[v][1:] == key[1:] and v not in ends
                phase = made[v].phase + (made[v].joined and not joins)
                key = key._replace(phase=max(key.phase, phase))
        made |= dict.fromkeys(call.outputs, key)
        ends.update(call.outputs if call.rows and call.rows.begin else ())
        keys.append(key)
    _postpone(calls, keys, results)
    members: dict[_Key, list[Call]] = {}
    for call, key in zip(calls, keys, strict=True):
        members.setdefault(key, []).append(call)
    found = []
    for key in sorted(members):
        if key.joined and len(members[key]) > 1:
            outside = (call.inputs for other, some in members.items() if other != key for call in some)
            found.append(_together(members[key], key.rows, shapes, set(results).union(*outside)))
        else:
            found += members[key]
    return found


def _kind(call: Call, shapes: Shapes, made: dict[Variable, _Key]) -> _Key:
    """With which calls one can be joined, whatever the phase."""
    cut = _cut(call)
    rows = max((shapes[v][axis] for v, axis in cut), default=0)
    size = max((prod(shapes[v]) for v, _ in (*cut, *_written(call, shapes))), default=0)
    if call.rows is None or size < LARGE or size > _WIDE * rows:
        return _Key(0)
    if not call.rows.pays and not any(v in made and made[v].rows == rows for v, _ in cut):
        return _Key(0)
    return _Key(0, True, rows, size > _NARROW * rows)


def _cut(call: Call) -> list[tuple[Variable, int]]:
    """The inputs of which a call sees some rows at a time, and the axes along which they are cut."""
    axes = call.rows.axes if call.rows else [None] * len(call.inputs)
    return [(v, axis) for v, axis in zip(call.inputs, axes, strict=True) if axis is not None]


def _written(call: Call, shapes: Shapes) -> list[tuple[Variable, int]]:
    """The outputs that it writes some rows of at a time."""
    return [] if call.rows is None or call.rows.begin else [(v, row_axis(shapes[v])) for v in call.outputs]


def _postpone(calls: Sequence[Call], keys: list[_Key], results: Sequence[Variable]) -> None:
    """Leave to a later run what only that one reads, unless it takes more whole arrays from earlier runs then."""
    made = {v: k for k, call in enumerate(calls) for v in call.outputs}
    # Key None for whoever reads it as a whole
    readers: dict[Variable, list[int | None]] = {v: [None] for v in results}
    for k, call in enumerate(calls):
        cut = dict(_cut(call)) if keys[k].joined else {}
        for v in call.inputs:
            readers.setdefault(v, []).append(k if v in cut else None)

    def where(v: Variable) -> set[_Key | None]:
        return {None if k is None else keys[k] for k in readers.get(v, [])}

    for k in reversed(range(len(calls))):
        rows = calls[k].rows
        there = where(calls[k].outputs[0])
        later = there.pop() if len(there) == 1 else None
        if rows and not rows.begin and later and later[1:] == keys[k][1:] and later.phase > keys[k].phase:
            added = [v for v, _ in _cut(calls[k]) if v in made and where(v) == {keys[made[v]]}]
            if len(added) <= 1:
                keys[k] = later


def _together(calls: Sequence[Call], rows: int, shapes: Shapes, read: set[Variable]) -> Call:
    """All of the calls, block by block."""
    made = dict.fromkeys(v for call in calls for v in call.outputs)
    inputs = list(dict.fromkeys(v for call in calls for v in call.inputs if v not in made))
    outputs = [v for v in made if v in read]
    # Some rows of an array are something else than all of it. The first place is for their number
    places: dict[tuple[Variable | None, int | None], int] = {(None, None): 0}
    begins: list[tuple[int, Function, list[int]]] = []
    ends: dict[Variable, tuple[int, Function]] = {}
    written: dict[Variable, tuple[int, int]] = {}
    steps: list[tuple[Function, list[int], int]] = []
    for call in calls:
        how = call.rows
        assert how is not None
        sources = [places.setdefault(key, len(places)) for key in zip(call.inputs, how.axes, strict=True)]
        [output] = call.outputs
        axis = None if how.begin else row_axis(shapes[output])
        place = places.setdefault((output, axis), len(places))
        if how.begin and how.end:
            begins.append((place, how.begin, [k for k, a in zip(sources, how.axes, strict=True) if a is None]))
            ends[output] = place, how.end
            sources = [place, *(k for k, a in zip(sources, how.axes, strict=True) if a is not None)]
        elif axis is not None:
            written[output] = place, axis
        steps.append((how.function, [*sources, 0] if how.sized else sources, place))
    last = {place: k for k, (_, _, place) in enumerate(steps)}
    last |= {place: k for k, (_, sources, _) in enumerate(steps) for place in sources}
    passing = {place for v, (place, _) in written.items() if v not in read}
    program = [(*step, [p for p in {*step[1], step[2]} & passing if last[p] == k]) for k, step in enumerate(steps)]
    given = [(k, place, axis) for (v, axis), place in places.items() for k, u in enumerate(inputs) if u is v]
    expected = [shapes[v] for v in inputs]
    kept = [(v, *written[v], v.type.dtype) for v in outputs if v in written]
    most = _BLOCK // max(prod(shapes[v]) // rows for call in calls for v, _ in (*_cut(call), *_written(call, shapes)))
    blocks = list(_halves(0, rows, most))

    def run(*values: np.ndarray) -> Any:
        if [np.shape(value) for value in values] != expected:
            raise OtherCaseError
        store: list[Any] = [None] * len(places)
        cut = []
        for k, place, axis in given:
            store[place] = values[k]
            if axis is not None:
                before = (slice(None),) * axis
                if values[k].strides[axis] == 0:
                    # One row stands for all
                    store[place] = values[k][*before, :1]
                else:
                    cut.append((place, before, values[k]))
        for place, begin, sources in begins:
            store[place] = begin(*[store[k] for k in sources])
        found = {v: np.empty(shapes[v], dtype) for v, _, _, dtype in kept}
        whole = [(place, (slice(None),) * axis, found[v]) for v, place, axis, _ in kept]
        for start, stop in blocks:
            store[0] = stop - start
            here = slice(start, stop)
            for place, before, value in cut:
                store[place] = value[*before, here]
            for function, sources, place, unused in program:
                store[place] = function(*[store[k] for k in sources])
                for k in unused:
                    store[k] = None
            for place, before, value in whole:
                value[*before, here] = store[place]
        found |= {v: end(store[place], most) for v, (place, end) in ends.items()}
        return found[outputs[0]] if len(outputs) == 1 else [found[v] for v in outputs]

    return Call(run, inputs, outputs)


def _halves(start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    """Blocks as NumPy cuts a long sum: in halves, multiples of eight, and these again."""
    if stop - start <= most:
        yield start, stop
    else:
        middle = start + (stop - start) // 2 // _EVEN * _EVEN
        yield from _halves(start, middle, most)
        yield from _halves(middle, stop, most)


# -- what to do with some rows ------------------------------------------------------------------------------------


def elementwise(function: Function, arrays: Sequence[Any], result: np.ndarray) -> Rows | None:
    """An operation on each element, with broadcasting."""
    if result.ndim == 0:
        return None
    axis = row_axis(result.shape)
    axes = [axis if np.shape(array)[axis] == result.shape[axis] else None for array in arrays]
    return Rows(function, axes, pays=True)


def select(dtype: Any, condition: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """NumPy's `where`; most blocks lie on one side altogether, and need no new array."""
    if not condition.any():
        only = second
    elif condition.all():
        only = first
    else:
        return np.where(condition, first, second)
    return only if only.dtype == dtype else only.astype(dtype)


def taken() -> Rows:
    """Elements by index: of a vector that is needed as a whole."""
    return Rows(np.take, [None, 0], pays=True)


def moved(function: Function, order: Sequence[Any], shape: tuple[int, ...], result: np.ndarray) -> Rows | None:
    """Axes of an array permuted, new ones put in, and those dropped that have one element."""
    axis = row_axis(shape) if shape else None
    return Rows(function, [axis]) if axis in order and order.index(axis) == row_axis(result.shape) else None


def summed(function: Function, axes: tuple[int, ...], shape: tuple[int, ...]) -> Rows | None:
    """A sum: within rows, or over all rows where NumPy adds them up in halves."""
    axis = row_axis(shape) if shape else 0
    if not shape or len(set(axes)) < len(axes):
        return None
    if axis not in axes:
        rest = [n for k, n in enumerate(shape) if k not in axes]
        same = row_axis(rest) == axis - sum(k < axis for k in axes)
        return Rows(lambda value, size: function(_full(value, shape, axis, size)), [axis], sized=True) if same else None
    if axis != len(shape) - 1 or (len(axes) > 1 and prod(shape) > shape[axis]):
        return None

    def add(parts: list[Any], value: np.ndarray, size: int) -> list[Any]:
        parts.append(function(_full(value, shape, axis, size)))
        return parts

    def end(parts: list[Any], most: int) -> np.ndarray:
        rest = iter(parts)

        def total(size: int) -> Any:
            if size <= most:
                return next(rest)
            half = size // 2 // _EVEN * _EVEN
            return total(half) + total(size - half)

        return np.asarray(total(shape[axis]))

    return Rows(add, [axis], list, end, sized=True)


def _full(value: np.ndarray, shape: tuple[int, ...], axis: int, size: int) -> np.ndarray:
    """So many rows, also where fewer elements stand for them."""
    expected = (*shape[:axis], size, *shape[axis + 1 :])
    return value if value.shape == expected else np.array(np.broadcast_to(value, expected), order="C")


def all_true(shape: tuple[int, ...]) -> Rows:
    """A check that all elements are true."""

    def check(state: bool, value: np.ndarray) -> bool:
        if not value.all():
            raise OtherCaseError
        return state

    return Rows(check, [row_axis(shape)], lambda: True, lambda state, most: np.asarray(state), holds=True)


def added_by_index() -> Rows:
    """Increments of a vector, needed as a whole, by index."""

    def add(target: np.ndarray, value: np.ndarray, index: np.ndarray, size: int) -> np.ndarray:
        np.add.at(target, _full(index, index.shape, 0, size), value)
        return target

    return Rows(add, [None, 0, 0], np.array, lambda target, most: target, sized=True)
