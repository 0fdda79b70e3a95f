"""`Estimate`: the result of a fit, frozen, with everything reported on the user's own scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from mle_pp.information import Scales, covariance, transformed
from mle_pp.layout import Layout
from mle_pp.objective import ModelObjective
from mle_pp.optimize import Optimum
from mle_pp.roles import RoleKind, Roles
from mle_pp.verdict import Status, Verdict

if TYPE_CHECKING:
    import pymc as pm
    from xarray import DataTree

COV_KINDS = ("hessian", "expected")


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
    """A maximum-likelihood estimate (or a penalized one, or a posterior mode).

    Made by `find_MLE` and `find_MAP`. Values are on the constrained scale, the user's own, unless said otherwise.

    Attributes
    ----------
    model : pm.Model
        What was estimated. Never changed by the library.
    roles : Roles
        How each free variable was treated.
    params, derived : xr.Dataset
        Estimates of the free parameters, and of the model's `Deterministic`s, with the model's dims and coords.
    loglik : float
        Log-likelihood at the estimate, without any prior: the supremum where it is approached only at infinity; NaN
        where there is no maximum.
    n_obs, n_params : int
        Rows of data (the sum of their weights, which need not be whole); freely estimated scalars (the rank, where not
        all are identified).
    verdict : Verdict
        What kind of point this is. Read it first.
    starts : pd.DataFrame
        One row a start: origin, log-likelihood there and at the end, which optimum it reached.
    kind : str
        "mle", "penalized" or "map".
    """

    model: pm.Model
    roles: Roles
    params: xr.Dataset
    derived: xr.Dataset
    loglik: float
    n_obs: float
    n_params: int
    verdict: Verdict
    starts: pd.DataFrame
    kind: str
    _objective: ModelObjective = field(metadata={"private": True})
    _optimum: Optimum = field(metadata={"private": True})
    _basis: np.ndarray = field(metadata={"private": True})
    _scales: Scales = field(metadata={"private": True})

    # -- information criteria -------------------------------------------------------------------------------------

    @property
    def _criterion_loglik(self) -> float:
        """The log-likelihood where criteria built on it have a meaning."""
        ok = self.kind == "mle" and self.verdict.status is not Status.IRREGULAR
        return self.loglik if ok else np.nan

    @property
    def aic(self) -> float:
        """Akaike's criterion, −2 loglik + 2 n_params (Akaike 1974); NaN for penalized fits and posterior modes."""
        return -2 * self._criterion_loglik + 2 * self.n_params

    @property
    def aicc(self) -> float:
        """AIC with the small-sample correction of Hurvich and Tsai (1989); NaN if n_obs ≤ n_params + 1."""
        k, n = self.n_params, self.n_obs
        return self.aic + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.nan

    @property
    def bic(self) -> float:
        """Schwarz's criterion, −2 loglik + n_params log(n_obs), with `n_obs` the rows of data."""
        return -2 * self._criterion_loglik + self.n_params * np.log(self.n_obs) if self.n_obs else np.nan

    # -- uncertainty ----------------------------------------------------------------------------------------------

    @cached_property
    def _information_covariances(self) -> dict[str, np.ndarray]:
        return {}

    def _covariance(self, kind: str) -> np.ndarray:
        """Covariance of the unconstrained vector."""
        if kind not in COV_KINDS:
            raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, COV_KINDS))}.")
        known = self._information_covariances
        if kind not in known:
            known[kind] = covariance(self._information(kind), self._basis)
        return known[kind]

    def _information(self, kind: str) -> np.ndarray:
        if self.verdict.status.is_failure or self.verdict.status is Status.IRREGULAR:
            return np.full_like(self._optimum.hessian, np.nan)
        if kind == "hessian":
            return -self._optimum.hessian
        if not self._objective.has_information:
            missing = ", ".join(self._objective.without_information) or "kept priors"
            raise ValueError(
                f'cov("expected") needs the expected information in closed form, which {missing} does not have here. '
                f'Use cov("hessian").'
            )
        return self._objective.information(self._optimum.x)

    def cov(self, kind: str = "hessian", *, scale: str = "constrained") -> xr.DataArray:
        """Covariance matrix of the estimated scalars.

        Parameters
        ----------
        kind : {"hessian", "expected"}
            The inverse of the observed information (from the exact Hessian), or of the expected (Fisher) information
            where it has a closed form.
        scale : {"constrained", "unconstrained"}
            The user's scale, through the derivative of the transforms (delta method), or that of the search.

        Returns
        -------
        xr.DataArray
            With dims ``parameter`` and ``parameter_`` and ArviZ's labels, such as ``beta[x1]``. Rows and columns of
            scalars that have no standard error (not identified, or at a limit) are NaN; `verdict` says why.
        """
        if scale not in ("constrained", "unconstrained"):
            raise ValueError(f'scale={scale!r} is not one of "constrained", "unconstrained".')
        matrix = self._covariance(kind)
        if scale == "constrained":
            matrix = transformed(matrix, self._scales.jacobian, self._scales.withheld)
            labels = self._layout.labels
        else:
            labels = self._objective.parameters.unconstrained.labels
        coords = {"parameter": labels, "parameter_": labels}
        return xr.DataArray(matrix, dims=("parameter", "parameter_"), coords=coords, name=f"cov_{kind}")

    def stderr(self, kind: str = "hessian") -> xr.Dataset:
        """Standard errors of parameters and `Deterministic`s (delta method), in their own shapes.

        Parameters
        ----------
        kind : {"hessian", "expected"}
            As for `cov`.
        """
        matrix = self._covariance(kind)
        scales = self._scales
        direct = _errors(matrix, scales.jacobian, scales.withheld)
        derived = _errors(matrix, scales.derived_jacobian, scales.withheld_derived)
        return self._layout.dataset(direct).merge(self._derived_layout.dataset(derived))

    # -- presentation ---------------------------------------------------------------------------------------------

    def summary(
        self,
        var_names: str | Sequence[str] | None = None,
        filter_vars: str | None = None,
        *,
        kind: str = "hessian",
        ci_prob: float | None = None,
        fmt: str = "wide",
        round_to: int | str | None = "auto",
    ) -> Any:
        """A table: estimate, standard error and Wald interval of every labelled scalar.

        Parameters
        ----------
        var_names : str or list of str, optional
            Default: all parameters and `Deterministic`s. A name with ``~`` in front is left out.
        filter_vars : {None, "like", "regex"}
            How `var_names` are matched, as in ArviZ.
        kind : {"hessian", "expected"}
            As for `cov`.
        ci_prob : float, optional
            Default: ArviZ's ``rcParams["stats.ci_prob"]``.
        fmt : {"wide", "long", "xarray"}
            A row a scalar; a row a statistic; a Dataset.
        round_to : int or "auto" or "none"
            Decimals; "auto" shows as many as the standard error warrants.

        Returns
        -------
        pd.DataFrame or xr.Dataset
            With columns ``mle`` (or ``map``, ``penalized``), ``se`` and, say, ``wald89_lb``, ``wald89_ub``.
        """
        from mle_pp.table import summary

        return summary(self, var_names, filter_vars, kind=kind, ci_prob=ci_prob, fmt=fmt, round_to=round_to)

    def to_datatree(self) -> DataTree:
        """The estimate as an `xarray.DataTree` that can sit beside a posterior and be written to netCDF.

        Returns
        -------
        xarray.DataTree
            With the flat groups ``mle`` (parameters and `Deterministic`s), ``unconstrained_mle``, ``mle_fit``
            (log-likelihood, criteria, covariances, verdict, roles) and ``mle_optimizer_result`` (starts, derivatives).
            ``idata.update(est.to_datatree().children)`` puts them beside a posterior; `from_datatree` reads them.
        """
        from mle_pp.datatree import to_datatree

        return to_datatree(self)

    def __repr__(self) -> str:
        from mle_pp.table import text

        return text(self)

    def _repr_html_(self) -> str:
        from mle_pp.table import html

        return html(self)

    # -- what the later layers use --------------------------------------------------------------------------------

    @property
    def _layout(self) -> Layout:
        return self._objective.parameters.layout

    @property
    def _derived_layout(self) -> Layout:
        return self._objective.parameters.derived_layout


def _errors(covariance: np.ndarray, jacobian: np.ndarray, withheld: np.ndarray) -> np.ndarray:
    """Standard errors by the delta method."""
    variances = np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian)
    # Rounding can leave a variance of a constant at -1e-17; a negative one of any size would be a defect elsewhere
    return np.where(withheld, np.nan, np.sqrt(np.maximum(variances, 0.0)))


def kind_of(roles: Roles) -> str:
    """What a fit with these roles is."""
    if not roles.names(RoleKind.PENALIZED):
        return "mle"
    return "penalized" if roles.names(RoleKind.PARAMETER) else "map"
