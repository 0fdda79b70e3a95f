"""The gallery: every model of this package on its default data, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import pymc as pm

from models import data
from models.counts import negative_binomial_regression, poisson_regression, zero_inflated_poisson
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
    latent : tuple of str
        Variables whose distribution belongs to the likelihood, which is an integral over them.
    """

    name: str
    description: str
    build: Callable[[], pm.Model]
    latent: tuple[str, ...] = ()


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
        latent=("beta",),
    ),
    Entry(
        "hierarchical_regression_free",
        "Gaussian-prior regression, mu_j and eta_j free: the seed data",
        lambda: hierarchical_regression_free(data.seed()),
        latent=("beta",),
    ),
    Entry(
        "random_intercepts",
        "Linear regression, an intercept for each subject: sleepstudy",
        lambda: random_intercepts(data.sleepstudy(), group="subject", scale=50.0),
        latent=("effect",),
    ),
    Entry(
        "random_slopes",
        "Correlated intercepts and slopes of subjects: sleepstudy",
        lambda: random_slopes(data.sleepstudy(), group="subject", scale=50.0),
        latent=("effect",),
    ),
    Entry(
        "crossed_effects",
        "Effects of plates and samples that cross: penicillin",
        lambda: crossed_effects(data.penicillin(), factors=["plate", "sample"]),
        latent=("plate_effect", "sample_effect"),
    ),
    Entry(
        "binomial_random_intercepts",
        "Logistic regression, an intercept for each herd: cbpp",
        lambda: binomial_random_intercepts(data.cbpp(), group="herd"),
        latent=("effect",),
    ),
    Entry(
        "eight_schools",
        "Meta-analysis, non-centered: coaching in eight schools",
        lambda: eight_schools(data.coaching()),
        latent=("offset",),
    ),
    Entry(
        "growth_curves",
        "Logistic growth, an asymptote for each tree: orange trees",
        lambda: growth_curves(data.orange_trees(), group="tree"),
        latent=("asym_group",),
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
    Entry(
        "autoregressive_counts",
        "Counts with an AR(1) log mean: discoveries",
        lambda: autoregressive_counts(data.discoveries()),
        latent=("state",),
    ),
)

GALLERY: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every entry by name, in the order of a textbook."""
