"""The gallery: PyMC models as functions ``(data) -> pm.Model``, with named coords and dims.

- textbook: normal, poisson, bernoulli, exponential
- regression: linear_regression, student_t_regression, logistic_regression
- hierarchical: hierarchical_regression, hierarchical_regression_shared, hierarchical_regression_free
- multilevel: random_intercepts, random_slopes, crossed_effects, binomial_random_intercepts, eight_schools,
  growth_curves
- counts: poisson_regression, negative_binomial_regression, zero_inflated_poisson
- survival: censored_weibull
- ordinal: ordered_logit
- mixture: normal_mixture
- timeseries: autoregression, autoregressive_counts
- data: the data sets
- gallery: GALLERY: each model on its default data, by name; ``python -m models --list`` prints it
"""

from models import data
from models.counts import negative_binomial_regression, poisson_regression, zero_inflated_poisson
from models.gallery import GALLERY, Entry
from models.hierarchical import hierarchical_regression, hierarchical_regression_free, hierarchical_regression_shared
from models.mixture import normal_mixture
from models.multilevel import (
    binomial_random_intercepts,
    crossed_effects,
    eight_schools,
    growth_curves,
    random_intercepts,
    random_slopes,
)
from models.ordinal import ordered_logit
from models.regression import linear_regression, logistic_regression, student_t_regression
from models.survival import censored_weibull
from models.textbook import bernoulli, exponential, normal, poisson
from models.timeseries import autoregression, autoregressive_counts

__all__ = [
    "GALLERY",
    "Entry",
    "autoregression",
    "autoregressive_counts",
    "bernoulli",
    "binomial_random_intercepts",
    "censored_weibull",
    "crossed_effects",
    "data",
    "eight_schools",
    "exponential",
    "growth_curves",
    "hierarchical_regression",
    "hierarchical_regression_free",
    "hierarchical_regression_shared",
    "linear_regression",
    "logistic_regression",
    "negative_binomial_regression",
    "normal",
    "normal_mixture",
    "ordered_logit",
    "poisson",
    "poisson_regression",
    "random_intercepts",
    "random_slopes",
    "student_t_regression",
    "zero_inflated_poisson",
]
