"""The gallery: every model of this package on its default data, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import pymc as pm

from models import data
from models.counts import negative_binomial_regression, poisson_regression, zero_inflated_poisson
from models.hierarchical import hierarchical_regression, hierarchical_regression_free, hierarchical_regression_shared
from models.mixture import normal_mixture
from models.ordinal import ordered_logit
from models.regression import linear_regression, logistic_regression, student_t_regression
from models.survival import censored_weibull
from models.textbook import bernoulli, exponential, normal, poisson
from models.timeseries import autoregression


@dataclass(frozen=True)
class Entry:
    """One model of the gallery.

    Attributes
    ----------
    name : str
        Its key in `GALLERY`.
    description : str
        One line: the model, and the data.
    build : callable
        Takes no argument, returns a new `pm.Model` on the default data.
    """

    name: str
    description: str
    build: Callable[[], pm.Model]


_ENTRIES = (
    Entry("normal", "Normal sample: Student's sleep data", lambda: normal(data.sleep())),
    Entry("poisson", "Poisson sample: deaths by horse kick", lambda: poisson(data.horse_kicks())),
    Entry("bernoulli", "Bernoulli sample: improved grades", lambda: bernoulli(data.improved_grades())),
    Entry(
        "exponential",
        "Exponential sample: hours between air-conditioning failures",
        lambda: exponential(data.air_conditioning()),
    ),
    Entry("linear_regression", "Linear regression: the seed data", lambda: linear_regression(data.seed())),
    Entry(
        "linear_regression_no_intercept",
        "Linear regression through the origin: the seed data",
        lambda: linear_regression(data.seed(), intercept=False),
    ),
    Entry(
        "hierarchical_regression",
        "Gaussian-prior regression, mu_j and eta_j known: the seed data",
        lambda: hierarchical_regression(data.seed()),
    ),
    Entry(
        "hierarchical_regression_shared",
        "Gaussian-prior regression, one mu and eta estimated: the seed data",
        lambda: hierarchical_regression_shared(data.seed()),
    ),
    Entry(
        "hierarchical_regression_free",
        "Gaussian-prior regression, mu_j and eta_j free: the seed data",
        lambda: hierarchical_regression_free(data.seed()),
    ),
    Entry("logistic_regression", "Logistic regression: Spector", lambda: logistic_regression(data.spector())),
    Entry("poisson_regression", "Poisson regression: simulated counts", lambda: poisson_regression(data.counts())),
    Entry(
        "negative_binomial_regression",
        "Negative-binomial regression: simulated overdispersed counts",
        lambda: negative_binomial_regression(data.overdispersed_counts()),
    ),
    Entry(
        "student_t_regression",
        "Student-t regression, degrees of freedom free: simulated heavy tails",
        lambda: student_t_regression(data.heavy_tailed()),
    ),
    Entry(
        "censored_weibull",
        "Weibull regression with right censoring: remission of leukemia",
        lambda: censored_weibull(data.leukemia()),
    ),
    Entry("ordered_logit", "Ordered logit: simulated ratings", lambda: ordered_logit(data.ratings())),
    Entry(
        "zero_inflated_poisson",
        "Zero-inflated Poisson regression: simulated counts",
        lambda: zero_inflated_poisson(data.inflated_counts()),
    ),
    Entry(
        "normal_mixture",
        "Mixture of two normals, everything free: simulated clusters",
        lambda: normal_mixture(data.two_clusters()),
    ),
    Entry("ar2", "AR(2), conditional on its first two values: sunspots", lambda: autoregression(data.sunspots())),
)

GALLERY: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every entry by name, in the order of a textbook."""
