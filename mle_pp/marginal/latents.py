"""The variables that are integrated, as one flat vector, and their prior densities on its scale.

A normal variable N(μ, σ) enters as μ + σz, a multivariate one as μ + Lz, with z standard normal, however the user has
written it; so do others with a scale of their own, and processes (`standard`). The integral is the same, and so is its
Laplace value, for the change is affine; but z stays of order one where σ vanishes, and centered and non-centered
declarations become the same computation. The rest enters on its own unconstrained scale, with the Jacobian of the
transform.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import ZeroSumTransform
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.variable import TensorVariable

from mle_pp import backends
from mle_pp.errors import ModelError
from mle_pp.marginal.standard import Standard, is_normal, standardized
from mle_pp.objective import log_densities
from mle_pp.parameters import Free, Parameters, like


class Latents:
    """The integrated variables of a model.

    Parameters
    ----------
    model : pm.Model
    parameters : Parameters
        Of the others.
    restricted : sequence of str
        Which of the integrated variables have no prior: those integrated under a flat one.

    Attributes
    ----------
    u : TensorVariable
        The symbolic vector.
    initial : ndarray, shape (size,)
        Where the search for the mode begins.
    names : list of str
        The variables, in the order of the vector.
    slices : dict of str to slice
        Where each lies in the vector.
    shapes : dict of str to tuple of int
        Of each variable, on the scale of the vector.
    normal : list of str
        The variables that are affine functions of independent standard normals.
    slots : ndarray of int, shape (size,)
        A number for each variable and each place along its last axis, if that is short: where elements of equal
        number do not meet in one observation, these are the colors of the Hessian.
    """

    def __init__(self, model: pm.Model, parameters: Parameters, restricted: Sequence[str] = ()) -> None:
        self.model, self.parameters = model, parameters
        self.u: TensorVariable = pt.vector("u", dtype="float64")
        found = parameters.integrated()
        self.names = [free.name for free, _ in found]
        ends = accumulate((start.size for _, start in found), initial=0)
        self.slices = {name: slice(*pair) for name, pair in zip(self.names, pairwise(ends), strict=True)}
        self.shapes = {free.name: start.shape for free, start in found}
        self._replaced: dict[Variable, Variable] = {}
        self._own: list[Variable] = []
        starts, affine, slots = [np.zeros(0)], [], [np.zeros(0, dtype=int)]
        for free, start in found:
            _require_smooth(free)
            piece = self.u[self.slices[free.name]].reshape(start.shape)
            if free.name in restricted:
                _require_unbounded(free)
                value, begin = piece, start
            elif (standard := self._standardized(free, piece)) is not None:
                value, begin = standard.value, np.zeros_like(start)
                affine.append(free.name)
                self._own += standard.densities
            else:
                value, begin = self._on_own_scale(free, piece), start
            self._replaced[free.value] = like(value, free.value)
            starts.append(np.ravel(begin))
            slots.append(_slots(start.shape) + 1 + slots[-1].max(initial=-1))
        self.initial, self.slots = np.concatenate(starts), np.concatenate(slots)
        self.normal = [free.name for free, _ in found if free.name in affine and is_normal(free.rv)]
        kept = [free.rv for free, _ in found if free.name not in (*affine, *restricted)]
        self._priors = [*self._own, *log_densities(model, kept, jacobian=True)]

    def without_model(self, parameters: Parameters) -> Latents:
        """The same vector without the model's variables."""
        other = copy.copy(self)
        other.parameters = parameters
        for name in ("model", "_replaced", "_own", "_priors"):
            del other.__dict__[name]
        return other

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.initial.size

    def priors(self) -> list[Variable]:
        """The log-densities of the vector, as graphs of value variables and of `u`."""
        return self._priors

    def replace(self, graphs: Sequence[Variable]) -> list[Variable]:
        """Graphs of the model's value variables as graphs of `u` and of the parameters' `x`."""
        return self.parameters.replace(graphs, also=self._replaced)

    def graphs(self, variables: Sequence[Variable]) -> list[Variable]:
        """Random variables and `Deterministic`s, on the constrained scale, as graphs of `u` and `x`."""
        return [backends.as_tensor(g) for g in self.replace(self.model.replace_rvs_by_values(variables))]

    def _standardized(self, free: Free, z: Variable) -> Standard | None:
        """The variable as an affine function of standard ones, where such a form is known."""
        is_linear = free.transform is None or isinstance(free.transform, ZeroSumTransform)
        if not is_linear or free.added is not None:
            return None
        found = standardized(free.rv, z, self.model.free_RVs)
        if found is None or self._is_chain(free, found.location):
            return None
        value, location, *densities = self.model.replace_rvs_by_values([found.value, found.location, *found.densities])
        return Standard(value, location, densities)

    def _is_chain(self, free: Free, location: Variable) -> bool:
        """Whether the location is another latent variable of no fewer elements, as each step of a process is.

        Such a chain is sparse as it is; written in its innovations, the last step depends on all of them.
        """
        size = self.slices[free.name]
        others = {self.model[name]: self.slices[name] for name in self.names if name != free.name}
        above = [others[v] for v in ancestors([location]) if v in others]
        return any(a.stop - a.start >= size.stop - size.start for a in above)

    def _on_own_scale(self, free: Free, piece: Variable) -> Variable:
        if free.added is None:
            return piece
        # Declared without a transform, but bounded: ours, with its Jacobian
        inputs = self.parameters.transform_inputs(free)
        self._own.append(free.added.log_jac_det(piece, *inputs))
        return free.added.backward(piece, *inputs)


def _require_smooth(free: Free) -> None:
    if free.rv.owner is not None and type(free.rv.owner.op).__name__ in ("LaplaceRV", "AsymmetricLaplaceRV"):
        raise ModelError(
            f"{free.name} has a Laplace prior, whose density has a kink where its mode is: neither Laplace's method "
            f"nor quadrature around the mode integrates it. A StudentT prior has as heavy tails and no kink; or leave "
            f"{free.name} out of integrate=."
        )


def _require_unbounded(free: Free) -> None:
    if free.transform is not None or free.added is not None:
        raise ModelError(
            f"restricted names {free.name}, which is bounded: only location parameters, such as the coefficients of a "
            f"linear predictor, are integrated under a flat prior."
        )


# More than this many along the last axis are taken for units, not for the effects of one unit.
_EFFECTS = 12


def _slots(shape: Sequence[int]) -> np.ndarray:
    """For each element its place along the last axis, where there are several axes and the last one is short."""
    size = int(np.prod(shape, dtype=int))
    if len(shape) < 2 or shape[-1] > _EFFECTS:
        return np.zeros(size, dtype=int)
    return np.arange(size) % shape[-1]
