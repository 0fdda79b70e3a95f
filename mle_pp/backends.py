"""Turns a PyTensor graph into a function: interpreted (no compilation), JAX or Numba.

A maximum-likelihood fit evaluates a small graph some dozens of times; compiling it takes longer than that. The
interpreted backend therefore simplifies only the log-likelihood itself (for numerical stability), differentiates the
result, and runs derivative graphs as they are, with PyTensor's Python implementations of each operation: on the
gallery 0.02 s to build a Hessian, against 0.5 to 2 s when the derivative graphs are rewritten too.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.rewriting import inline_ofg_node
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import HasInnerGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.graph.traversal import toposort
from pytensor.scalar.basic import Cast
from pytensor.tensor.basic import MakeVector
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, Elemwise
from pytensor.tensor.rewriting.math import local_pow_specialize
from pytensor.tensor.type import TensorType
from pytensor.tensor.variable import TensorVariable

from mle_pp.direct import Direct
from mle_pp.direct import without_c_compiler as without_c_compiler

BACKENDS = ("auto", "interpreted", "jax", "numba")

# What the log-likelihood itself needs: first xtensor operations lowered and inner graphs opened, then log(sum(exp)) and
# the like made stable, and PyMC's parameter checks turned into -inf. The two canonizers build sums and products of many
# terms, which NumPy's ufuncs cannot take in one call.
_OPEN = RewriteDatabaseQuery(include=["lower_xtensor", "inline_ofg_expansion"])
_SIMPLIFY = RewriteDatabaseQuery(
    include=["canonicalize", "stabilize", "local_check_parameter_to_ninf_switch"],
    exclude=["local_add_canonizer", "local_mul_canonizer", "inplace", "fusion"],
)


@node_rewriter([OpFromGraph])
def _open(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    # Not the derivatives of matrix operations: these vectorize better as they are
    is_matrix = any(isinstance(inner.op, Blockwise) for inner in node.op.fgraph.apply_nodes)
    return None if is_matrix else inline_ofg_node(node)


_open_inner_graphs = dfs_rewriter(_open)

# The third derivative of x**2 at zero would be zero times infinity
_squares = dfs_rewriter(local_pow_specialize)


def simplify(outputs: Sequence[Variable]) -> list[Variable]:
    """Stabilized, differentiable copies of `outputs` in double precision (inputs and shared variables are kept)."""
    simple = _rewrite(in_double(opened(outputs)), _SIMPLIFY)
    graph = FunctionGraph(outputs=simple, clone=False, copy_inputs=False, copy_orphans=False)
    _squares.rewrite(graph)
    return list(graph.outputs)


def _rewrite(outputs: Sequence[Variable], query: RewriteDatabaseQuery) -> list[Variable]:
    graph = FunctionGraph(outputs=list(outputs), clone=False, copy_inputs=False, copy_orphans=False)
    pytensor.compile.mode.optdb.query(query).rewrite(graph)
    return list(graph.outputs)


def opened(outputs: Sequence[Variable]) -> list[Variable]:
    """`outputs` with xtensor operations lowered and inner graphs opened, but otherwise as they are, draws included."""
    return _rewrite(outputs, _OPEN)


def in_double(outputs: Sequence[Variable]) -> list[Variable]:
    """Graphs that compute the same in double precision throughout.

    PyTensor makes Python's 10.0 a constant of single precision, and 3 an integer of eight bits: both are exact, but
    log(10.0) and log(3) are then computed in single precision, a relative error of 1e-8 in the log-likelihood.
    """
    known: dict[Variable, Variable] = {}
    for node in toposort(outputs):
        inputs = [known.get(variable, variable) for variable in node.inputs]
        if not isinstance(node.op, HasInnerGraph) and not _is_cast(node):
            floats = isinstance(node.op, Elemwise) and any(output.dtype.startswith("float") for output in node.outputs)
            inputs = [_double(variable, integers=floats) for variable in inputs]
        if any(new is not old for new, old in zip(inputs, node.inputs, strict=True)):
            known.update(zip(node.outputs, _again(node, inputs), strict=True))
    return [known.get(output, output) for output in outputs]


_SINGLE = ("float16", "float32")


def _is_cast(node: Apply) -> bool:
    return isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Cast)


def _double(variable: Variable, integers: bool) -> Variable:
    """The same number in double precision: of a constant or an intermediate result in single precision."""
    dtype = getattr(variable, "dtype", "")
    constant = isinstance(variable, Constant)
    if not isinstance(variable.type, TensorType) or not (
        dtype in _SINGLE or (integers and constant and dtype.startswith(("int", "uint")))
    ):
        return variable
    if constant:
        return pytensor.tensor.constant(np.asarray(variable.data, dtype="float64"))
    return pytensor.tensor.cast(variable, "float64")


def _again(node: Apply, inputs: Sequence[Variable]) -> list[Variable]:
    """The outputs of `node` with other inputs; where its operation insists on single precision, they are given so."""
    op = node.op
    if isinstance(op, CAReduce) and getattr(op, "dtype", "") in _SINGLE:
        op = type(op)(axis=op.axis)
    elif isinstance(op, MakeVector) and op.dtype in _SINGLE:
        op = MakeVector("float64")
    try:
        return op.make_node(*inputs).outputs
    except (TypeError, ValueError, AssertionError, NotImplementedError):
        back = [
            new if new.type == old.type else old.type.filter_variable(pytensor.tensor.cast(new, old.dtype))
            for new, old in zip(inputs, node.inputs, strict=True)
        ]
        return node.op.make_node(*back).outputs


def inline(outputs: Sequence[Variable]) -> list[Variable]:
    """`outputs` with inner graphs opened, which would be evaluated in a loop once vectorized."""
    graph = FunctionGraph(outputs=list(outputs), clone=False, copy_inputs=False, copy_orphans=False)
    _open_inner_graphs.rewrite(graph)
    return list(graph.outputs)


def frontier(outputs: Sequence[Variable], inputs: Sequence[Variable]) -> list[Variable]:
    """What `outputs` are computed from that does not depend on `inputs`: the last such results, no constants."""
    free = set(inputs)
    nodes = list(toposort(outputs))
    for node in nodes:
        if any(variable in free for variable in node.inputs):
            free.update(node.outputs)
    edge = {v: None for node in nodes if node.outputs[0] in free for v in node.inputs if v not in free}
    edge |= {v: None for v in outputs if v not in free}
    return [v for v in edge if not isinstance(v, Constant) and isinstance(v.type, TensorType)]


def build(
    inputs: Sequence[Variable], outputs: Sequence[Variable], backend: str = "interpreted"
) -> Callable[..., list[np.ndarray]]:
    """A function from arrays to a list of arrays.

    Parameters
    ----------
    inputs, outputs : sequence of Variable
        The graph.
    backend : {"interpreted", "jax", "numba"}
    """
    if backend == "interpreted":
        with without_c_compiler():
            return Direct(inputs, outputs)
    with warnings.catch_warnings():
        # An estimate at the edge of floating point warns inside operations; the value itself is checked instead.
        warnings.simplefilter("ignore", RuntimeWarning)
        compiled = pytensor.function(list(inputs), list(outputs), mode=backend.upper(), on_unused_input="ignore")
    compiled.trust_input = True
    return partial(_quietly, compiled)


def _quietly(compiled: Any, *arguments: np.ndarray) -> list[np.ndarray]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return [np.asarray(value) for value in compiled(*arguments)]


def resolve(backend: str, work: float) -> str:
    """The backend for a fit: the one asked for, or for "auto" the one that is ready first.

    Parameters
    ----------
    backend : {"auto", "interpreted", "jax", "numba"}
    work : float
        Elements touched by one evaluation of the log-likelihood and its gradient, roughly.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} is not one of {', '.join(map(repr, BACKENDS))}.")
    has_jax = importlib.util.find_spec("jax") is not None
    if backend == "jax" and not has_jax:
        raise ModuleNotFoundError("backend='jax' needs JAX, which is not installed: pip install 'mle_pp[jax]'.")
    if backend != "auto":
        return backend
    # Measured on two cores: at a million elements interpreted takes about 0.1 s an evaluation of value and gradient,
    # and a compiled function ten times less; a fit takes some 50 of them, compilation 6 to 10 s.
    if work < 5e6:
        return "interpreted"
    return "jax" if has_jax else "numba"


def as_tensor(variable: Variable) -> TensorVariable:
    """A plain tensor, also of an xtensor variable (as `pymc.dims` makes them)."""
    return pytensor.tensor.as_tensor(variable, allow_xtensor_conversion=True)
