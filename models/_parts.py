"""What the models share: the rows, the covariates, the linear predictor."""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
import pymc as pm
from numpy.typing import ArrayLike
from pytensor.tensor.variable import TensorVariable

type Coords = dict[str, Sequence[Hashable] | np.ndarray]


def as_series(y: ArrayLike | pd.Series) -> pd.Series:
    """A sample as a `Series`; whatever has no labels of its own is numbered from 0."""
    return y if isinstance(y, pd.Series) else pd.Series(np.asarray(y))


def regression_coords(covariates: pd.DataFrame) -> Coords:
    """Coordinates ``obs`` (the frame's index) and ``covariate`` (its columns)."""
    return {"obs": covariates.index.to_numpy(), "covariate": list(covariates.columns)}


def covariate_data(covariates: pd.DataFrame) -> TensorVariable:
    """Register the covariates as ``X``, so that `pm.set_data` can replace them for a prediction."""
    return pm.Data("X", covariates.to_numpy(dtype=float), dims=("obs", "covariate"))


def response_data(y: pd.Series, dim: str = "obs") -> TensorVariable:
    """Register the response as ``y_data``: in `pm.Data`, it can be replaced together with ``X``."""
    return pm.Data("y_data", y.to_numpy(), dims=dim)


def linear_predictor(
    covariates: pd.DataFrame, scale: float, *, intercept: bool = True, location: float = 0.0
) -> TensorVariable:
    """Register ``intercept ~ N(location, scale)`` and ``beta ~ N(0, scale)``, and return intercept + X beta."""
    X = covariate_data(covariates)
    constant = pm.Normal("intercept", location, scale) if intercept else 0.0
    beta = pm.Normal("beta", 0.0, scale, dims="covariate")
    return constant + X @ beta


def group_coords(labels: pd.Series) -> Coords:
    """The groups, in sorted order, as a dim that is called as the column."""
    return {str(labels.name): np.unique(labels)}


def group_data(labels: pd.Series, name: str) -> TensorVariable:
    """Register each row's place among `group_coords`, so that `pm.set_data` can replace it with the rows."""
    return pm.Data(name, np.unique(labels, return_inverse=True)[1], dims="obs")
