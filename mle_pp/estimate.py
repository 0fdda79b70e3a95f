"""`Estimate`: the result of a fit, frozen, with everything reported on the user's own scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from mle_pp.covariances import Covariance, covariance_of
from mle_pp.information import Scales, transformed
from mle_pp.layout import Layout
from mle_pp.objective import ModelObjective
from mle_pp.optimize import Optimum
from mle_pp.roles import RoleKind, Roles
from mle_pp.verdict import Status, Verdict

if TYPE_CHECKING:
    import pymc as pm
    from xarray import DataTree


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

    @property
    def _has_curvature(self) -> bool:
        """Whether there is a maximum at all; where it is not smooth in some directions, it is in the others."""
        return not self.verdict.status.is_failure

    @cached_property
    def _covariances(self) -> dict[str, Covariance]:
        return {}

    def _covariance(self, kind: str, groups: Any = None) -> Covariance:
        """Covariance of the unconstrained vector; those without groups are kept."""
        if groups is not None:
            return covariance_of(self, kind, groups)
        if kind not in self._covariances:
            self._covariances[kind] = covariance_of(self, kind, None)
        return self._covariances[kind]

    def cov(self, kind: str = "hessian", groups: Any = None, *, scale: str = "constrained") -> xr.DataArray:
        """Covariance matrix of the estimated scalars.

        Parameters
        ----------
        kind : str
            With H the observed information (from the exact Hessian), s the scores (gradient of the log-likelihood) of
            rows, n rows, k parameters and G groups, on the unconstrained scale:

            =============================  ==========================================================================
            ``"hessian"``                  H⁻¹
            ``"expected"``                 inverse of the expected (Fisher) information: exact where it has a closed
                                           form, else the mean of H over data sets drawn from the model
            ``"opg"``                      (Σ s sᵀ)⁻¹
            ``"sandwich"``, ``"HC0"``      H⁻¹ (Σ s sᵀ) H⁻¹
            ``"HC1"``                      that times n/(n−k)
            ``"cluster"``, ``"CR1S"``      H⁻¹ (Σ t tᵀ) H⁻¹ · G/(G−1) · (n−1)/(n−k), t the sums of s in groups
            ``"CR1"``, ``"CR0"``           the same with the factor G/(G−1); with none
            =============================  ==========================================================================

            Where variables were integrated, what counts as a row is a set of rows that share latent variables, with
            the score of its marginal likelihood by differences; there has to be more than one such set.
        groups : array_like, optional
            For the cluster kinds: a label a row, in the order of the data (a DataArray with labels along the row dim:
            by label; a mapping where there are several sets of rows, as for the weights of `find_MLE`).
        scale : {"constrained", "unconstrained"}
            The user's scale, through the derivative of the transforms (delta method), or that of the search.

        Returns
        -------
        xr.DataArray
            With dims ``parameter`` and ``parameter_`` and ArviZ's labels, such as ``beta[x1]``. Rows and columns of
            scalars that have no standard error (not identified, or at a limit) are NaN; `verdict` says why. A simulated
            one has the attributes ``n_simulations`` and ``mc_error`` (the largest Monte Carlo error of a standard
            error, relative to it), a clustered one ``n_groups``.

        Raises
        ------
        ValueError
            An unknown kind or scale; groups missing, or given for a kind without; "expected" or "opg" with kept priors.
        ModelError
            Scores are needed, and a term of the likelihood has no rows; groups that are not one a row, have a missing
            label, or are all the same; data cannot be simulated.

        Notes
        -----
        "hessian", "expected" and "opg" hold if the model is true; "sandwich" holds for independent rows and "cluster"
        for independent groups, also if it is not. Case weights count as repeated rows: Σ runs over w s sᵀ and n is the
        sum of w. With kept priors, H includes their curvature and each row's score an equal share of their gradient:
        the covariance of the penalized estimator around its own limit, without its bias.

        "CR1S" is Stata's factor and statsmodels' default (``use_correction=True``); statsmodels' ``HC1`` of a discrete
        model is our "HC0". R's ``sandwich::vcovCL`` has "CR1" for ``type="HC0"`` and "CR1S" for ``type="HC1"``.

        References
        ----------
        White (1982), Econometrica 50. Liang and Zeger (1986), Biometrika 73. Zeileis, Köll and Graham (2020), J. Stat.
        Softw. 95(1). Berndt, Hall, Hall and Hausman (1974) for "opg".

        Examples
        --------
        >>> import pymc as pm
        >>> import mle_pp as mle
        >>> with pm.Model() as model:
        ...     mu = pm.Normal("mu", 0, 10)
        ...     y = pm.Normal("y", mu, 2, observed=[1.0, 2.0, 3.0, 6.0])
        >>> est = mle.find_MLE(model)
        >>> [round(float(est.stderr(kind)["mu"]), 4) for kind in ("hessian", "sandwich")]
        [1.0, 0.9354]
        >>> round(float(est.stderr("cluster", groups=["a", "a", "b", "b"])["mu"]), 4)
        1.5
        """
        if scale not in ("constrained", "unconstrained"):
            raise ValueError(f'scale={scale!r} is not one of "constrained", "unconstrained".')
        found = self._covariance(kind, groups)
        matrix = found.matrix
        if scale == "constrained":
            matrix = transformed(matrix, self._scales.jacobian, self._scales.withheld)
            labels = self._layout.labels
        else:
            labels = self._objective.parameters.unconstrained.labels
        coords = {"parameter": labels, "parameter_": labels}
        dims = ("parameter", "parameter_")
        return xr.DataArray(matrix, dims=dims, coords=coords, name=f"cov_{kind}", attrs=dict(found.attrs))

    def stderr(self, kind: str = "hessian", groups: Any = None) -> xr.Dataset:
        """Standard errors of parameters and `Deterministic`s (delta method), in their own shapes.

        Parameters
        ----------
        kind, groups
            As for `cov`.
        """
        found = self._covariance(kind, groups)
        scales = self._scales
        values = self._layout.vector(self.params), self._derived_layout.vector(self.derived)
        direct = _errors(values[0], found.matrix, scales.jacobian, scales.withheld)
        derived = _errors(values[1], found.matrix, scales.derived_jacobian, scales.withheld_derived)
        errors = self._layout.dataset(direct).merge(self._derived_layout.dataset(derived))
        return errors.assign_attrs(found.attrs)

    @cached_property
    def latent(self) -> xr.Dataset:
        """Conditional modes of the variables that were integrated, with their standard errors.

        Returns
        -------
        xr.Dataset
            The variables, and the `Deterministic`s that depend on them, by their names, dims and coords, on the
            user's scale: the mode of their joint density given the data and the estimates. Their standard errors are
            under the names with ``_se`` (``u_se``), and include the uncertainty of the estimates, but of those at a
            limit, which are held there (the attribute ``note`` says so). Empty where nothing was integrated.

        References
        ----------
        Kass and Steffey (1989), J. Am. Stat. Assoc. 84.
        """
        if not self.verdict.status.is_failure and self._objective.is_marginal:
            objective: Any = self._objective
            found = objective.latent(self._limit, self._covariance("hessian").matrix)
            return found.assign_attrs({"note": self._held} if self._held else {})
        return xr.Dataset()

    @property
    def _limit(self) -> np.ndarray:
        """The vector of the estimate: at the limit itself, where one is approached."""
        return self._optimum.x + 300 * self._scales.special.drift.sum(axis=1)

    @property
    def _held(self) -> str:
        """What errors of integrated variables are conditional on, at such a limit."""
        if not self._scales.special.drift.size:
            return ""
        names = ", ".join(np.array(self._layout.labels)[self._scales.withheld])
        return f"Errors of integrated variables hold given {names}, which lies at a limit and is held there."

    # -- presentation ---------------------------------------------------------------------------------------------

    def summary(
        self,
        var_names: str | Sequence[str] | None = None,
        filter_vars: str | None = None,
        *,
        kind: str = "hessian",
        groups: Any = None,
        ci_prob: float | None = None,
        fmt: str = "wide",
        round_to: int | str | None = "auto",
    ) -> Any:
        """A table: estimate, standard error and Wald interval of every labelled scalar.

        Parameters
        ----------
        var_names : str or list of str, optional
            Names of variables, or labels of single elements (``"beta[x1]"``). Default: all parameters and
            `Deterministic`s. A name with ``~`` in front is left out.
        filter_vars : {None, "like", "regex"}
            How `var_names` are matched, as in ArviZ.
        kind, groups
            The covariance behind the standard errors and intervals, as for `cov`.
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

        return summary(
            self, var_names, filter_vars, kind=kind, groups=groups, ci_prob=ci_prob, fmt=fmt, round_to=round_to
        )

    def to_datatree(self) -> DataTree:
        """The estimate as an `xarray.DataTree` that can sit beside a posterior and be written to netCDF.

        Returns
        -------
        xarray.DataTree
            With the flat groups ``mle`` (parameters and `Deterministic`s), ``unconstrained_mle``, ``mle_fit``
            (log-likelihood, criteria, covariances, verdict, roles), ``mle_optimizer_result`` (starts, derivatives) and,
            where something was integrated, ``mle_latent``.
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


def _errors(values: np.ndarray, covariance: np.ndarray, jacobian: np.ndarray, withheld: np.ndarray) -> np.ndarray:
    """Standard errors by the delta method; zero for constants, such as the diagonal of a correlation matrix."""
    variances = np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian)
    # Rounding can leave a variance of a constant at -1e-17; a negative one of any size would be a defect elsewhere
    errors = np.sqrt(np.maximum(variances, 0.0))
    errors[errors < 1e-14 * np.abs(values)] = 0.0
    return np.where(withheld, np.nan, errors)


def kind_of(roles: Roles) -> str:
    """What a fit with these roles is."""
    if not roles.names(RoleKind.PENALIZED):
        return "mle"
    return "penalized" if roles.names(RoleKind.PARAMETER) else "map"
