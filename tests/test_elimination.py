"""Factorizations of sparse matrices against dense ones."""

from collections.abc import Iterator

import mpmath
import numpy as np
import pytest

from mle_pp.marginal import blocks as small
from mle_pp.marginal import dense as limits
from mle_pp.marginal import levels
from mle_pp.marginal.elimination import Elimination

Pattern = tuple[np.ndarray, np.ndarray, int]


def pattern(pairs: np.ndarray, size: int) -> Pattern:
    """The lower triangle with these pairs of neighbours and the diagonal, in no order."""
    pairs = np.asarray(pairs).reshape(-1, 2)
    high, low = pairs.max(axis=1, initial=0), pairs.min(axis=1, initial=size)
    keys = np.unique(np.concatenate([(high * size + low)[high != low], np.arange(size) * (size + 1)]))
    keys = np.random.default_rng(size).permutation(keys)
    return keys // size, keys % size, size


def values_of(rows: np.ndarray, cols: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Values of a definite matrix: the diagonal dominates, by little."""
    values = np.random.default_rng(seed).normal(size=rows.size)
    off = rows != cols
    sums = np.zeros(size)
    np.add.at(sums, rows[off], np.abs(values[off]))
    np.add.at(sums, cols[off], np.abs(values[off]))
    values[~off] = sums[rows[~off]] + 0.01 + np.abs(values[~off])
    return values


def dense(rows: np.ndarray, cols: np.ndarray, size: int, values: np.ndarray) -> np.ndarray:
    matrix = np.zeros((size, size))
    matrix[rows, cols] = matrix[cols, rows] = values
    return matrix


def chain(size: int) -> np.ndarray:
    return np.stack([np.arange(size - 1), np.arange(1, size)], axis=1)


def blocks(width: int, count: int) -> np.ndarray:
    inside = np.array([(i, j) for i in range(width) for j in range(i)]).reshape(-1, 2)
    return (np.arange(count)[:, None, None] * width + inside).reshape(-1, 2)


def every(size: int) -> np.ndarray:
    return np.stack(np.tril_indices(size, -1), axis=1)


def crossed(one: int, other: int, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(one, size=count), one + rng.integers(other, size=count)], axis=1)


def nested(leaves: int, middle: int, top: int, seed: int = 0) -> np.ndarray:
    """A tree of three levels, in which the leaves meet the top, too."""
    rng = np.random.default_rng(seed)
    parent, root = rng.integers(middle, size=leaves), rng.integers(top, size=middle)
    own, above = np.arange(leaves), leaves + middle
    pairs = [(own, leaves + parent), (own, above + root[parent]), (leaves + np.arange(middle), above + root)]
    return np.concatenate([np.stack(pair, axis=1) for pair in pairs])


def arrow(pairs: np.ndarray, size: int, heads: int) -> np.ndarray:
    """Some rows that meet all others and each other, after a pattern of their own."""
    ends = np.array([(size + k, j) for k in range(heads) for j in range(size + k)])
    return np.concatenate([pairs.reshape(-1, 2), ends])


def random(size: int, edges: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(size, size=(edges, 2))


def grid(width: int) -> np.ndarray:
    at = np.arange(width**2).reshape(width, width)
    sides = ((at[:, 1:], at[:, :-1]), (at[1:], at[:-1]))
    return np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in sides])


def mixed() -> np.ndarray:
    """Components of every kind beside each other."""
    kinds = [(chain(150), 150), (every(30), 30), (blocks(3, 60), 180), (every(0), 40), (nested(90, 9, 2), 101)]
    found, start = [], 0
    for pairs, size in kinds:
        found.append(np.asarray(pairs).reshape(-1, 2) + start)
        start += size
    return np.concatenate(found)


NONE = np.empty((0, 2), dtype=int)
STRUCTURES = {
    "one": (NONE, 1),
    "two": (every(2), 2),
    "diagonal": (NONE, 200),
    **{f"blocks of {b}": (blocks(b, 60), b * 60) for b in (2, 3, 5, 8, 11)},
    "few blocks": (blocks(3, 5), 15),
    "short chain": (chain(10), 10),
    "chain": (chain(700), 700),
    "ring": (np.concatenate([chain(301), [(300, 0)]]), 301),
    "dense": (every(150), 150),
    "crossed": (crossed(200, 70, 900), 270),
    "crossed, many": (crossed(300, 60, 9000), 360),
    "nested": (nested(500, 40, 4), 544),
    "star": (np.stack([np.zeros(299, dtype=int), np.arange(1, 300)], axis=1), 300),
    "stars": (np.concatenate([np.stack([np.full(8, k), 70 + 8 * k + np.arange(8)], 1) for k in range(70)]), 630),
    "arrow": (arrow(NONE, 200, 3), 203),
    "arrow of blocks": (arrow(blocks(2, 100), 200, 2), 202),
    "arrow of a chain": (arrow(chain(300), 300, 4), 304),
    "grid": (grid(20), 400),
    "random": (random(600, 1800), 600),
    "mixed": (mixed(), 501),
}


def agree(rows: np.ndarray, cols: np.ndarray, size: int, seed: int = 0) -> Elimination:
    """Compare everything with dense algebra."""
    solver = Elimination(rows, cols, size)
    values = values_of(rows, cols, size, seed)
    matrix = dense(rows, cols, size, values)
    found = solver.factor(values)
    assert found.positive.all()
    assert found.logdet.shape == found.positive.shape == (solver.n_components,)
    for k in np.unique(solver.components)[:20]:
        own = solver.components == k
        expected = np.linalg.slogdet(matrix[np.ix_(own, own)])[1]
        np.testing.assert_allclose(found.logdet[k], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.logdet.sum(), np.linalg.slogdet(matrix)[1], rtol=1e-10, atol=1e-10)
    rng = np.random.default_rng(seed)
    for shape in ((size,), (size, 1), (size, 3)):
        b = rng.normal(size=shape)
        before = b.copy()
        x = np.linalg.solve(matrix, b)
        np.testing.assert_allclose(found.solve(b), x, rtol=1e-10, atol=1e-10 * np.abs(x).max())
        np.testing.assert_array_equal(b, before)
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(found.inverse(), inverse[rows, cols], rtol=1e-10, atol=1e-11 * np.abs(inverse).max())
    return solver


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures(name: str) -> None:
    agree(*pattern(*STRUCTURES[name]))


@pytest.mark.parametrize("name", ["chain", "crossed, many", "nested", "arrow of blocks", "mixed", "random"])
def test_numbering_does_not_matter(name: str) -> None:
    rows, cols, size = pattern(*STRUCTURES[name])
    values = values_of(rows, cols, size, 1)
    new = np.random.default_rng(2).permutation(size)
    one = Elimination(rows, cols, size)
    other = Elimination(np.maximum(new[rows], new[cols]), np.minimum(new[rows], new[cols]), size)
    b = np.random.default_rng(3).normal(size=size)
    first, second = one.factor(values), other.factor(values)
    np.testing.assert_allclose(first.solve(b[new]), second.solve(b)[new], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(first.inverse(), second.inverse(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(first.logdet[one.components], second.logdet[other.components[new]], rtol=1e-10)


@pytest.mark.parametrize("seed", range(60))
def test_random_patterns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 250))
    pairs = random(size, int(size * rng.choice([0.3, 0.7, 1.5, 4.0])), seed)
    if seed % 3 == 0:
        pairs = arrow(pairs, size, 2)
        size += 2
    agree(*pattern(pairs, size), seed=seed)


def test_components() -> None:
    solver = agree(*pattern(np.array([(0, 4), (4, 2), (1, 3)]), 6))
    assert solver.n_components == 3
    assert len({int(solver.components[k]) for k in (0, 2, 4)}) == 1
    assert solver.components[1] == solver.components[3]
    assert len(set(solver.components.tolist())) == 3


def failures() -> Iterator[object]:
    """Patterns of several components, of which some end in levels, blocks or together in the tail."""
    yield pytest.param(NONE, 100, id="diagonal")
    yield pytest.param(blocks(4, 50), 200, id="blocks")
    yield pytest.param(blocks(4, 5), 20, id="only tail")
    yield pytest.param(np.concatenate([chain(200) + 200 * k for k in range(4)]), 800, id="chains")
    yield pytest.param(np.concatenate([every(40) + 40 * k for k in range(3)]), 120, id="dense tail")
    yield pytest.param(
        np.concatenate([crossed(300, 60, 9000), crossed(300, 60, 9000) + 360]), 720, id="dense level of two"
    )
    yield pytest.param(
        np.concatenate([arrow(blocks(2, 100), 200, 2), arrow(chain(200), 200, 2) + 202]), 404, id="two arrows"
    )
    yield pytest.param(mixed(), 501, id="mixed")


@pytest.mark.parametrize("how", ["negative", "barely", "off", "nan", "inf", "all"])
@pytest.mark.parametrize(("pairs", "size"), list(failures()))
def test_failing_component_leaves_the_others(pairs: np.ndarray, size: int, how: str) -> None:
    rows, cols, size = pattern(pairs, size)
    solver = Elimination(rows, cols, size)
    good = values_of(rows, cols, size, 0)
    rng = np.random.default_rng(5)
    for node in rng.integers(size, size=3):
        values = good.copy()
        k = solver.components[node]
        own = solver.components[rows] == k
        at = int(np.flatnonzero((rows == node) & (cols == node))[0])
        if how == "barely":
            # Just below what the other rows leave of the pivot
            inverse = solver.factor(good).inverse()
            values[at] -= 1.0001 / inverse[at]
        elif how == "off":
            meets = np.flatnonzero(own & (rows != cols) & ((rows == node) | (cols == node)))
            if not meets.size:
                continue
            values[meets[0]] = 1e6
        elif how == "all":
            values[own] *= -1
        else:
            values[at] = {"negative": -1.0, "nan": np.nan, "inf": np.inf}[how]
        found, right = solver.factor(values), solver.factor(good)
        np.testing.assert_array_equal(found.positive, np.arange(solver.n_components) != k)
        assert np.all(np.isfinite(found.logdet))
        np.testing.assert_allclose(found.logdet[found.positive], right.logdet[found.positive], rtol=1e-12)
        b = rng.normal(size=size)
        others = solver.components != k
        np.testing.assert_allclose(found.solve(b)[others], right.solve(b)[others], rtol=1e-10)
        np.testing.assert_allclose(found.inverse()[~own], right.inverse()[~own], rtol=1e-10)


def test_factors_do_not_share_memory() -> None:
    rows, cols, size = pattern(mixed(), 501)
    solver = Elimination(rows, cols, size)
    one = values_of(rows, cols, size, 0)
    kept = one.copy()
    first = solver.factor(one)
    before = first.inverse()
    solver.factor(values_of(rows, cols, size, 1)).inverse()
    np.testing.assert_array_equal(first.inverse(), before)
    np.testing.assert_array_equal(one, kept)


@pytest.mark.parametrize("name", ["diagonal", "blocks of 3", "dense", "random", "arrow of blocks"])
def test_memory_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMORY_LIMIT", 1000)
    with pytest.raises(MemoryError, match="GiB"):
        Elimination(*pattern(*STRUCTURES[name]))


def test_dense_tail_where_pairs_need_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, cols, size = pattern(crossed(500, 100, 3000), 600)
    assert not Elimination(rows, cols, size).parts[-1].levels[0].dense
    monkeypatch.setattr(limits, "MEMORY_LIMIT", 480_000)
    assert Elimination(rows, cols, size).parts[-1].levels[0].dense
    agree(rows, cols, size)


@pytest.mark.parametrize(
    ("name", "border", "parts"),
    [
        ("diagonal", 0, ["Blocks"]),
        ("blocks of 11", 0, ["Blocks"]),
        ("dense", 0, ["Levels"]),
        ("crossed, many", 0, ["Levels"]),
        ("arrow of blocks", 2, ["Blocks"]),
        ("chain", 0, ["Paths"]),
        ("ring", 0, ["Levels"]),
        ("arrow of a chain", 4, ["Paths"]),
        ("mixed", 0, ["Blocks", "Blocks", "Paths", "Levels"]),
    ],
)
def test_structure_is_recognized(name: str, border: int, parts: list[str]) -> None:
    solver = Elimination(*pattern(*STRUCTURES[name]))
    assert solver.border.nodes.size == border
    assert [type(part).__name__ for part in solver.parts] == parts


def test_ring_is_halved() -> None:
    solver = Elimination(*pattern(np.concatenate([chain(5000), [(4999, 0)]]), 5000))
    sizes = [level.nodes.stop - level.nodes.start for level in solver.parts[0].levels]
    assert sizes[:3] == [2500, 1250, 625]


def test_known_independent_set_goes_first() -> None:
    rows, cols, size = pattern(crossed(200, 70, 900), 270)
    colors = (np.arange(size) >= 200).astype(int)
    solver = Elimination(rows, cols, size, colors)
    part = solver.parts[-1]
    first = part.nodes[part.levels[0].nodes]
    np.testing.assert_array_equal(np.sort(first), np.sort(part.nodes[part.nodes < 200]))
    values = values_of(rows, cols, size, 0)
    plain = Elimination(rows, cols, size).factor(values)
    np.testing.assert_allclose(solver.factor(values).inverse(), plain.inverse(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("stiff", [1.0, 1e3, 1e6])
def test_stiff_walk(stiff: float) -> None:
    """A random walk of small steps, whose own precision is so much larger than that of the data."""
    size = 40
    rows, cols, _ = pattern(chain(size), size)
    walk = np.where(rows == cols, stiff * np.where((rows == 0) | (rows == size - 1), 1, 2), -stiff)
    exact = mpmath.matrix(size)
    with mpmath.workdps(40):
        for row, col, value in zip(rows.tolist(), cols.tolist(), walk.tolist(), strict=True):
            exact[row, col] = exact[col, row] = mpmath.mpf(value) + (row == col)
        inverse = exact**-1
        expected = [float(inverse[row, col]) for row, col in zip(rows.tolist(), cols.tolist(), strict=True)]
    found = Elimination(rows, cols, size).factor(walk + (rows == cols)).inverse()
    # Rounding a pivot changes the precision of the data by as much
    np.testing.assert_allclose(found, expected, rtol=1e-15 * stiff * size + 1e-13)


def test_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "CACHE", 0)
    monkeypatch.setattr(levels, "CACHE", 0)
    agree(*pattern(blocks(2, 300), 600))
    solver = agree(*pattern(crossed(300, 60, 9000), 360))
    assert solver.parts[-1].levels[-1].dense


def test_missing_diagonal() -> None:
    with pytest.raises(ValueError, match="diagonal"):
        Elimination(np.array([0, 1]), np.array([0, 0]), 2)
