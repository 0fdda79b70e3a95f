"""Turns a PyTensor graph into a function: interpreted (no compilation), JAX or Numba.

A maximum-likelihood fit evaluates a small graph some dozens of times; compiling it takes longer than that. The
interpreted backend therefore simplifies only the log-likelihood itself (for numerical stability), differentiates the
result, and runs derivative graphs as they are, with PyTensor's Python implementations of each operation: on the
gallery 0.02 s to build a Hessian, against 0.5 to 2 s when the derivative graphs are rewritten too.
"""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.tensor.variable import TensorVariable

BACKENDS = ("auto", "interpreted", "jax", "numba")

# `merge` joins equal sub-expressions, which reverse-mode derivatives are full of, and costs next to nothing.
_INTERPRETED = Mode(linker="py", optimizer="merge")

# What the log-likelihood itself needs: xtensor operations lowered, inner graphs opened, log(sum(exp)) and the like made
# stable, and PyMC's parameter checks turned into -inf. The two canonizers build sums and products of many terms, which
# NumPy's ufuncs cannot take in one call.
_SIMPLIFY = RewriteDatabaseQuery(
    include=[
        "lower_xtensor",
        "inline_ofg_expansion",
        "canonicalize",
        "stabilize",
        "local_check_parameter_to_ninf_switch",
    ],
    exclude=["local_add_canonizer", "local_mul_canonizer", "inplace", "fusion"],
)

_config_lock = threading.RLock()


@contextmanager
def without_c_compiler() -> Iterator[None]:
    """Run PyTensor without calling the C compiler, for constant folding and initial points too.

    The flag belongs to the whole process, hence the lock.
    """
    with _config_lock, pytensor.config.change_flags(cxx=""):
        yield


def simplify(outputs: Sequence[Variable]) -> list[Variable]:
    """Stabilized, differentiable copies of `outputs` (inputs and shared variables are kept, not copied)."""
    graph = FunctionGraph(outputs=list(outputs), clone=False, copy_inputs=False, copy_orphans=False)
    pytensor.compile.mode.optdb.query(_SIMPLIFY).rewrite(graph)
    return list(graph.outputs)


def _function(inputs: Sequence[Variable], outputs: Sequence[Variable], mode: Any) -> Callable[..., list[np.ndarray]]:
    with warnings.catch_warnings():
        # An estimate at the edge of floating point warns inside operations; the value itself is checked instead.
        warnings.simplefilter("ignore", RuntimeWarning)
        compiled = pytensor.function(list(inputs), list(outputs), mode=mode, on_unused_input="ignore")
    compiled.trust_input = True

    def call(*arguments: np.ndarray) -> list[np.ndarray]:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return [np.asarray(value) for value in compiled(*arguments)]

    return call


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
            return _function(inputs, outputs, _INTERPRETED)
    return _function(inputs, outputs, backend.upper())


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


def is_compiled(backend: str) -> bool:
    return backend != "interpreted"


def as_tensor(variable: Variable) -> TensorVariable:
    """A plain tensor, also of an xtensor variable (as `pymc.dims` makes them)."""
    return pytensor.tensor.as_tensor(variable, allow_xtensor_conversion=True)
