"""Ordered categories."""

import numpy as np
import pandas as pd
import pymc as pm

from models._parts import covariate_data, regression_coords, response_data


def ordered_logit(data: pd.DataFrame) -> pm.Model:
    r"""Ordered logit, also called the proportional-odds model.

    .. math:: P(y_i < k) = \mathrm{logit}^{-1}(c_k - x_i^\top \beta), \qquad c_1 < \dots < c_{K-1}, \qquad
              y_i \in \{0, \dots, K - 1\}

    There is no intercept: it could not be told from a shift of all cutpoints. The sign is that of R's ``polr``: a
    positive coefficient raises the response.

    Parameters
    ----------
    data : DataFrame
        Column ``y`` of integers 0 to K - 1, each occurring; every other column is a covariate.

    Returns
    -------
    pm.Model
        Free variables ``beta ~ N(0, 10)`` (covariate), ``cutpoints`` (cutpoint, labelled "0|1", "1|2", ...),
        independent normals with standard deviation 10 restricted to their order; data ``X`` (obs, covariate) and
        ``y_data`` (obs).

    Notes
    -----
    The cutpoints' prior means, those of equally likely categories, are distinct because the order constraint leaves
    no starting point where they coincide.

    References
    ----------
    McCullagh (1980), "Regression models for ordinal data", JRSS B 42, 109-142.

    Examples
    --------
    >>> from models import data, ordered_logit
    >>> ordered_logit(data.ratings()).coords["cutpoint"]
    ('0|1', '1|2', '2|3')
    """
    covariates = data.drop(columns="y")
    n_categories = int(data["y"].max()) + 1
    share_below = np.arange(1, n_categories) / n_categories
    coords = regression_coords(covariates) | {"cutpoint": [f"{k - 1}|{k}" for k in range(1, n_categories)]}
    with pm.Model(coords=coords) as model:
        X = covariate_data(covariates)
        beta = pm.Normal("beta", 0.0, 10.0, dims="covariate")
        cutpoints = pm.Normal(
            "cutpoints",
            np.log(share_below / (1 - share_below)),
            10.0,
            transform=pm.distributions.transforms.ordered,
            dims="cutpoint",
        )
        # compute_p would add a Deterministic with one row an observation to every summary
        y_data = response_data(data["y"])
        pm.OrderedLogistic("y", eta=X @ beta, cutpoints=cutpoints, compute_p=False, observed=y_data, dims="obs")
    return model
