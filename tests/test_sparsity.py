"""Parts of log-densities, what their elements depend on, and colors."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.sparse as ps
import pytensor.tensor as pt
import pytest
from pymc.pytensorf import rewrite_pregrad
from pytensor.compile.builders import OpFromGraph
from pytensor.graph.replace import graph_replace
from scipy import sparse

from mle_pp import backends
from mle_pp.errors import ModelError
from mle_pp.marginal import tables
from mle_pp.marginal.sparsity import Part, coloring, dependence, separate
from mle_pp.objective import evaluable

U, X = pt.vector("u"), pt.vector("x")
GROUP = np.repeat(np.arange(4), 3)
ITEM = np.tile(np.arange(3), 4)
RNG = np.random.default_rng(1)
COVARIATE = RNG.normal(size=12)
COUNTS = RNG.poisson(2, size=12)
COVARIANCE = np.exp(-0.3 * np.abs(np.subtract.outer(np.arange(4), np.arange(4)))) + np.eye(4)
INDICATORS = np.eye(4)[GROUP]
INCIDENCE = np.array([[1.0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0]])


def numerical(graphs, values):
    """Which elements have a nonzero derivative, at the values and at other points like them."""
    with backends.without_c_compiler():
        function = backends.build([U, X], graphs)
    found = [np.zeros((np.size(out), values[U].size), dtype=bool) for out in function(values[U], values[X])]
    rng = np.random.default_rng(7)
    for _ in range(4):
        u, x = values[U] + 0.3 * rng.normal(size=values[U].size), values[X] + 0.1 * rng.normal(size=values[X].size)
        for k in range(u.size):
            up, down = u.copy(), u.copy()
            up[k] += 1e-4
            down[k] -= 1e-4
            for marks, a, b in zip(found, function(up, x), function(down, x), strict=True):
                a, b = np.ravel(a).astype(float), np.ravel(b).astype(float)
                marks[:, k] |= np.abs(a - b) > 1e-9 * (1 + np.abs(a))
    return found


def patterns(graphs, values):
    with backends.without_c_compiler():
        return dependence(graphs, U, values)


def start(q, p=3):
    return {U: np.linspace(-0.7, 0.9, q), X: np.linspace(0.2, 0.6, p)}


# -- operations: name, graph of u (12 elements) and x (3), whether the pattern is exact -------------------------------

M = U.reshape((4, 3))
SQUARE = U[:9].reshape((3, 3))
LOWER = pt.tril(pt.outer(X, X)) + pt.eye(3)
INDEX = pt.constant(GROUP)
OPERATIONS = {
    "elementwise": (lambda: pt.exp(U) * X[0] + U**2, True),
    "broadcast": (lambda: M[:, :1] + M[1], True),
    "same_by_another_way": (lambda: U[INDEX] + pt.exp(U)[INDEX], True),
    "switch": (lambda: pt.switch(U > 0, M[:, :1], M[1:2].T.sum()), False),
    "switch_on_data": (lambda: pt.switch(COVARIATE > 0, U, U[::-1]), True),
    "times_zeros": (lambda: INDICATORS[:, :3] * U[:3], True),
    "comparison": (lambda: pt.gt(U, 0) * X[0], True),
    "floor": (lambda: pt.floor(U) + U[0], True),
    "second": (lambda: pt.second(U, U[0]), True),
    "zeros_like": (lambda: pt.zeros_like(U) + X[0], True),
    "slices": (lambda: U[2:9:3] - U[-3:], True),
    "negative_step": (lambda: M[::-1, ::-1], True),
    "index": (lambda: U[INDEX] ** 2, True),
    "index_of_index": (lambda: U[pt.constant([3, 1, 1, 0])][INDEX], True),
    "two_indices": (lambda: M[INDEX, ITEM] * COVARIATE, True),
    "index_and_slice": (lambda: M[[0, 2], 1:], True),
    "mask": (lambda: U[pt.constant(COVARIATE > 0)], True),
    "argmax": (lambda: U[pt.argmax(U)] * pt.ones(3), False),
    "index_shared": (lambda: U[pytensor.shared(GROUP)], True),
    "sum": (lambda: M.sum(axis=0), True),
    "sum_all": (lambda: U[:5].sum(), True),
    "sum_keepdims": (lambda: M - M.mean(axis=1, keepdims=True), True),
    "prod": (lambda: (1.5 + M).prod(axis=(0, 1)), True),
    "max": (lambda: M.max(axis=1), False),
    "logsumexp": (lambda: pt.logsumexp(M, axis=-1), True),
    "softmax": (lambda: pt.special.softmax(M, axis=0), True),
    "log_softmax": (lambda: pt.special.log_softmax(M, axis=1), True),
    "cumsum": (lambda: pt.cumsum(U), True),
    "cumsum_axis": (lambda: pt.cumsum(M, axis=0), True),
    "cumprod": (lambda: pt.cumprod(1.5 + M, axis=1), True),
    "diff": (lambda: pt.diff(U, n=2), True),
    "join": (lambda: pt.concatenate([U[:2], X, pt.exp(U[1:]) * U[0]]), True),
    "stack": (lambda: pt.stack([U[0], X[0], U[1] * U[2]]), True),
    "split": (lambda: pt.split(U, [5, 7], n_splits=2)[1] * X[0], True),
    "alloc": (lambda: pt.alloc(U[2], 2, 3), True),
    "transpose": (lambda: M.T[:, None], True),
    "repeat": (lambda: pt.repeat(U[:4], [1, 2, 0, 3]), True),
    "diagonal": (lambda: pt.diag(SQUARE) * X, True),
    "make_diagonal": (lambda: pt.diag(U[:3]) + pt.outer(X, X), True),
    "triangle": (lambda: pt.tril(SQUARE), True),
    "set": (lambda: pt.set_subtensor(M[1, 1:], M[0, :2] * M[2, 1:]), True),
    "set_zeros": (lambda: pt.zeros((4, 4))[:, 1:].set(M), True),
    "set_indices": (lambda: pt.zeros((3, 3))[np.tril_indices(3)].set(U[:6]), True),
    "increment": (lambda: M[1:].inc(M[:3] ** 2), True),
    "increment_twice": (lambda: pt.zeros(4)[INDEX].inc(U), True),
    "increment_broadcast": (lambda: pt.zeros((4, 3))[[0, 1, 1]].inc(U[:3]), True),
    "shape": (lambda: U.shape[0] * X[0], True),
    "join_dims": (lambda: pt.join_dims(M, 0, 2)[1:] * U[:-1], True),
    "split_dims": (lambda: pt.split_dims(U, axis=0, shape=(2, 6)).sum(0), True),
    "dot": (lambda: pt.dot(M, pt.outer(X, X)), True),
    "dot_both": (lambda: M.T @ M[:, :2], True),
    "dot_vectors": (lambda: pt.dot(U[:3], X), True),
    "dot_vector": (lambda: pt.dot(INDICATORS, U[:4]), True),
    "dot_rows": (lambda: pt.dot(M, INCIDENCE), True),
    "dot_columns": (lambda: pt.dot(INCIDENCE, M), True),
    "dot_batch": (lambda: pt.matmul(U.reshape((2, 2, 3)), INCIDENCE), True),
    "dot_batch_data": (lambda: pt.matmul(np.stack([INCIDENCE, -INCIDENCE]), M), True),
    "vector_batch": (lambda: pt.vecdot(M, COVARIATE.reshape(4, 3)), True),
    "sparse_dot": (lambda: ps.structured_dot(sparse.csr_matrix(INCIDENCE), U[:4, None]), True),
    "sparse_dot_columns": (lambda: ps.dot(sparse.csc_matrix(INCIDENCE), M), True),
    "sparse_dot_vector": (lambda: ps.dot(sparse.csr_matrix(INCIDENCE), U[:4]), True),
    "dense_dot_sparse": (lambda: ps.dot(M, sparse.csr_matrix(INCIDENCE)), True),
    "fill_diagonal": (lambda: pt.fill_diagonal(SQUARE, X[0]), True),
    "times_shared_zeros": (lambda: pytensor.shared(np.arange(12.0) % 2) * U, True),
    "solve": (lambda: pt.linalg.solve_triangular(LOWER, M.T, lower=True, b_ndim=2), False),
    "solve_batch": (lambda: pt.linalg.solve_triangular(LOWER, M, lower=True, b_ndim=1), False),
    "solve_matrix": (lambda: pt.linalg.solve(SQUARE + 9 * pt.eye(3), X, b_ndim=1), True),
    "cholesky": (lambda: pt.linalg.cholesky(SQUARE @ SQUARE.T + pt.eye(3)), False),
    "determinants": (lambda: pt.linalg.det(U.reshape((3, 2, 2)) + pt.eye(2)), True),
    "inner_graph": (lambda: OpFromGraph([U, X], [U[1:] * U[:-1], X])(U, X)[0] * X[0], True),
    "scan": (
        lambda: pytensor.scan(lambda now, last: 0.5 * last + now, sequences=U[:4], outputs_info=X[0])[0],
        False,
    ),
}


@pytest.mark.filterwarnings("ignore:Scan return signature will change:DeprecationWarning")
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    make, exact = OPERATIONS[name]
    values = start(12)
    graph = make()
    for form in (graph, rewrite_pregrad(graph)) if name != "scan" else (graph,):
        (claimed,), (true,) = patterns([form], values), numerical([form], values)
        assert claimed.dtype == bool
        assert not np.any(true & ~claimed.toarray())
        if exact:
            np.testing.assert_array_equal(claimed.toarray(), true)


def test_many_outputs():
    """Of outputs that are an input, a constant or the same, too."""
    claimed = patterns([U, X, pt.constant([1.0]), U[:2], U], start(4))
    for found, true in zip(claimed, [np.eye(4), np.zeros((3, 4)), [[0] * 4], np.eye(4)[:2], np.eye(4)], strict=True):
        np.testing.assert_array_equal(found.toarray(), true)


def test_too_dense(monkeypatch):
    monkeypatch.setattr(tables, "_LIMIT", 100)
    assert patterns([U * 2], start(60))[0].nnz == 60
    with pytest.raises(ModelError, match="couples too many"):
        patterns([U - U.mean()], start(60))
    with pytest.raises(ModelError, match="couples too many"):
        patterns([pt.cumsum(U)], start(60))


# -- log-densities of PyMC --------------------------------------------------------------------------------------------


def intercepts(family):
    def build():
        b = pm.Normal("b")
        u = pm.Normal("u", 0, pm.HalfNormal("s"), shape=4)
        eta = b + COVARIATE * 0.1 + u[GROUP]
        if family == "normal":
            pm.Normal("y", eta, pm.HalfNormal("e"), observed=COVARIATE)
        elif family == "poisson":
            pm.Poisson("y", pm.math.exp(eta), observed=COUNTS)
        else:
            pm.Bernoulli("y", logit_p=eta, observed=COUNTS > 1)

    return build


def crossed():
    u = pm.Normal("u", 0, pm.HalfNormal("s"), shape=4)
    v = pm.Normal("v", 0, pm.HalfNormal("t"), shape=3)
    pm.Bernoulli("y", logit_p=u[GROUP] + v[ITEM], observed=COUNTS > 1)


def nested():
    u = pm.Normal("u", 0, pm.HalfNormal("s"), shape=2)
    v = pm.Normal("v", u[np.array([0, 0, 1, 1])], pm.HalfNormal("t"), shape=4)
    pm.Normal("y", (u[np.array([0, 0, 1, 1])] + v)[GROUP], 1, observed=COVARIATE)


def slopes():
    chol, _, _ = pm.LKJCholeskyCov("c", n=2, eta=2, sd_dist=pm.HalfNormal.dist(1), compute_corr=True)
    u = pm.MvNormal("u", 0, chol=chol, shape=(4, 2))
    pm.Normal("y", u[GROUP, 0] + u[GROUP, 1] * COVARIATE, pm.HalfNormal("e"), observed=COVARIATE)


def slopes_noncentered():
    chol, _, _ = pm.LKJCholeskyCov("c", n=2, eta=2, sd_dist=pm.HalfNormal.dist(1), compute_corr=True)
    u = pm.Normal("u", shape=(4, 2)) @ chol.T
    pm.Normal("y", u[GROUP, 0] + u[GROUP, 1] * COVARIATE, 1, observed=COVARIATE)


def autoregression(lags):
    def build():
        rho = pm.Normal("rho", 0, 0.3, shape=lags)
        u = pm.AR("u", rho, sigma=pm.HalfNormal("s"), init_dist=pm.Normal.dist(0, 1, shape=lags), shape=12)
        pm.Poisson("y", pm.math.exp(u), observed=COUNTS)

    return build


def random_walk():
    u = pm.GaussianRandomWalk("u", sigma=pm.HalfNormal("s"), init_dist=pm.Normal.dist(0, 1), shape=12)
    pm.Bernoulli("y", logit_p=u, observed=COUNTS > 1)


def icar():
    u = pm.ICAR("u", W=np.eye(5, k=1) + np.eye(5, k=-1), sigma=pm.HalfNormal("s"))
    pm.Poisson("y", pm.math.exp(u), observed=COUNTS[:5])


def zero_sum():
    u = pm.ZeroSumNormal("u", pm.HalfNormal("s"), shape=4)
    pm.Normal("y", u[GROUP], 1, observed=COVARIATE)


def mixture():
    u = pm.Normal("u", 0, pm.HalfNormal("s"), shape=4)
    w = pm.Dirichlet("w", np.ones(2))
    pm.NormalMixture("y", w=w, mu=pt.stack([u[GROUP], u[GROUP] + 1], axis=-1), sigma=1, observed=COVARIATE)


def design():
    u = pm.Normal("u", 0, pm.HalfNormal("s"), shape=4)
    pm.Normal("y", pt.dot(pm.Data("z", INDICATORS), u), 1, observed=COVARIATE)


def sparse_design():
    u = pm.Normal("u", 0, pm.HalfNormal("s"), shape=4)
    eta = ps.structured_dot(ps.as_sparse(sparse.csr_matrix(INDICATORS)), u[:, None])[:, 0]
    pm.Poisson("y", pm.math.exp(eta), observed=COUNTS)


def dense():
    u = pm.MvNormal("u", np.zeros(4), cov=pm.HalfNormal("s") * COVARIANCE, shape=4)
    pm.Poisson("y", pm.math.exp(u[GROUP]), observed=COUNTS)


def precision_of_latents():
    s = pm.LogNormal("s", 0, 1)
    u = pm.Normal("u", 0, s, shape=4)
    pm.Potential("p", pt.switch(s > 0, -0.5 * pt.exp(u[0]) * pt.sum(u**2) / s, -np.inf))


# Which latents; the largest number of latents that an element of a part sees; colors; whether the pattern is exact
MODELS = {
    "normal": (intercepts("normal"), "u", 1, 1, True),
    "poisson": (intercepts("poisson"), "u", 1, 1, True),
    "bernoulli": (intercepts("bernoulli"), "u", 1, 1, True),
    "crossed": (crossed, "uv", 2, 2, True),
    "nested": (nested, "uv", 2, 2, True),
    "slopes": (slopes, "u", 2, 2, False),
    "slopes_noncentered": (slopes_noncentered, "u", 2, 2, False),
    "ar1": (autoregression(1), "u", 2, 2, True),
    "ar2": (autoregression(2), "u", 3, 3, True),
    "random_walk": (random_walk, "u", 2, 2, True),
    "icar": (icar, "u", 5, 5, True),
    "zero_sum": (zero_sum, "u", 3, 3, False),
    "mixture": (mixture, "u", 1, 1, True),
    "design": (design, "u", 1, 1, True),
    "sparse_design": (sparse_design, "u", 1, 1, True),
    "dense": (dense, "u", 4, 4, False),
    "precision_of_latents": (precision_of_latents, "u", 2, 2, True),
}


def terms_of(build, latents):
    """The log-densities as graphs of u and x, and values."""
    with pm.Model() as model:
        build()
    with backends.without_c_compiler():
        terms = model.logp(sum=False, jacobian=True)
        initial = model.initial_point()
        replacements, sizes = {}, {U: 0, X: 0}
        for rv in model.free_RVs:
            value = model.rvs_to_values[rv]
            vector = U if rv.name in latents else X
            shape = np.shape(initial[value.name])
            size = int(np.prod(shape))
            replacements[value] = vector[sizes[vector] : sizes[vector] + size].reshape(shape)
            sizes[vector] += size
        graphs = evaluable(graph_replace(terms, replacements, strict=False))
    return graphs, start(sizes[U], sizes[X])


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    build, latents, most, colors, exact = MODELS[name]
    terms, values = terms_of(build, latents)
    parts = separate(terms, values)
    graphs = [part.graph for part in parts]
    with backends.without_c_compiler():
        arrays = backends.build([U, X], [*terms, *graphs])(values[U], values[X])
    whole = sum(array.sum() for array in arrays[: len(terms)])
    total = sum(part.count * array.sum() for part, array in zip(parts, arrays[len(terms) :], strict=True))
    assert np.isfinite(whole)
    np.testing.assert_allclose(total, whole, rtol=1e-12)
    claimed = patterns(graphs, values)
    for found, true in zip(claimed, numerical(graphs, values), strict=True):
        assert not np.any(true & ~found.toarray())
        if exact:
            np.testing.assert_array_equal(found.toarray(), true)
    together = sparse.vstack(claimed, format="csr")
    assert np.diff(together.indptr).max() == most
    painted = coloring(together)
    assert_valid(together, painted)
    assert painted.max() + 1 == colors


def test_outside_of_the_support():
    """Where a check fails, the total is not finite, as the terms' is not."""
    terms = [
        pt.switch(X[0] > 0, pt.sum(U**2), -np.inf),
        X[1] * pt.switch(X[0] < 0, -np.inf, X[1] * pt.sum(U)),
        3 - (-pt.switch(X[0] > 0, pt.sum(U), -np.inf)),
    ]
    values = {U: np.ones(3), X: np.array([-1.0, 2.0])}
    parts = separate(terms, values)
    assert len(parts) == 7
    with backends.without_c_compiler():
        arrays = backends.build([U, X], [part.graph for part in parts])(values[U], values[X])
    assert sum(part.count * array.sum() for part, array in zip(parts, arrays, strict=True)) == -np.inf


@pytest.mark.parametrize(
    ("make", "counts"),
    [
        (lambda: U[:, None] + X, [3, 4]),
        (lambda: pt.sum(U) + X, [3, 1]),
        (lambda: pt.concatenate([U[:1], X]) - U[0], [1, 1, -4]),
        (lambda: (2 * U - X[0]) / 4, [0.5, -1]),
        (lambda: -pt.alloc(U[0], 5, 2), [-10]),
        (lambda: pt.stack([U[0], pt.sum(U)]) * np.full((7, 1), 0.5), [3.5, 3.5]),
        (lambda: pt.sum(X) * pt.sum(U), [1]),
        (lambda: pt.exp(X[0]) * (3 + pt.sum(U)) / X[1], [3, 1]),
    ],
)
def test_counts(make, counts):
    values = start(4)
    term = make()
    parts = separate([term], values)
    with backends.without_c_compiler():
        whole, *arrays = backends.build([U, X], [term, *(part.graph for part in parts)])(values[U], values[X])
    total = sum(part.count * array.sum() for part, array in zip(parts, arrays, strict=True))
    np.testing.assert_allclose(total, whole.sum(), rtol=1e-13, atol=1e-13)
    assert all(isinstance(part, Part) for part in parts)
    if counts != [3, 1]:
        assert [part.count for part in parts] == pytest.approx(counts)


# -- colors -----------------------------------------------------------------------------------------------------------


def assert_valid(pattern, colors):
    assert colors.shape == (pattern.shape[1],)
    for row in sparse.csr_matrix(pattern):
        assert len(set(colors[row.indices])) == row.nnz


def chain(q, width=2):
    return sparse.diags_array(np.ones((width, q)), offsets=range(width), shape=(q, q)).tocsr()


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_chain(width):
    np.testing.assert_array_equal(coloring(chain(50, width), None), np.arange(50) % width)


def test_random_patterns():
    for density in (0.02, 0.1, 0.4, 1.0):
        pattern = sparse.random_array((40, 30), density=density, rng=1, format="csr")
        assert_valid(pattern, coloring(pattern, None))


def test_hint():
    pattern = chain(6)
    np.testing.assert_array_equal(coloring(pattern, np.array([7, 2, 7, 2, 7, 5])), [2, 0, 2, 0, 2, 1])
    # Not valid, and of another length
    np.testing.assert_array_equal(coloring(pattern, np.array([0, 1, 0, 1, 1, 0])), [0, 1] * 3)
    np.testing.assert_array_equal(coloring(pattern, np.array([0, 1])), [0, 1] * 3)


def test_no_constraints():
    """Zeros that are stored are none, and entries that are stored twice are one."""
    pattern = sparse.csr_matrix((np.array([1, 0, 1, 1]), np.array([0, 1, 1, 1]), np.array([0, 2, 4])), shape=(2, 3))
    np.testing.assert_array_equal(coloring(pattern, None), [0, 0, 0])
    assert coloring(sparse.csr_matrix((0, 0), dtype=bool), None).shape == (0,)
