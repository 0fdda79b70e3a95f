"""Small data sets for the gallery: historical tables, and simulations that never touch the global random state.

Regression data are a `DataFrame` with the response in column ``y``; every other column is a covariate. One-sample
data are a `Series`. Each call returns a fresh object with the same numbers.
"""

import numpy as np
import pandas as pd

# ---------------------------------------- historical tables


def sleep() -> pd.Series:
    """Hours of extra sleep under one soporific rather than another, ten patients.

    References
    ----------
    Student (1908), "The probable error of a mean", Biometrika 6, 1-25: the differences of its table.
    """
    return pd.Series([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4], name="y")


def horse_kicks() -> pd.Series:
    """Deaths by horse kick in 200 corps-years of the Prussian army.

    References
    ----------
    Bortkiewicz (1898), "Das Gesetz der kleinen Zahlen", Teubner.
    """
    return pd.Series(np.repeat([0, 1, 2, 3, 4], [109, 65, 22, 3, 1]), name="y")


def improved_grades() -> pd.Series:
    """Whether a student's grade improved: 11 of the 32 students of `spector`."""
    return spector()["y"]


def air_conditioning() -> pd.Series:
    """Hours between failures of the air-conditioning of one Boeing 720 aircraft.

    References
    ----------
    Proschan (1963), "Theoretical explanation of observed decreasing failure rate", Technometrics 5, 375-383;
    Davison and Hinkley (1997), "Bootstrap Methods and their Application", example 1.1.
    """
    return pd.Series([3.0, 5.0, 7.0, 18.0, 43.0, 85.0, 91.0, 98.0, 100.0, 130.0, 230.0, 487.0], name="y")


def spector() -> pd.DataFrame:
    """Teaching economics with a personalized system of instruction, 32 students.

    Columns: ``GPA`` (grade point average), ``TUCE`` (score on an economics test), ``PSI`` (1: taught by the new
    method), ``y`` (1: the grade improved).

    References
    ----------
    Spector and Mazzeo (1980), "Probit analysis and economic education", Journal of Economic Education 11, 37-44; the
    numbers are those of `statsmodels.datasets.spector`.
    """
    gpa = [
        *(2.66, 2.89, 3.28, 2.92, 4.00, 2.86, 2.76, 2.87, 3.03, 3.92, 2.63, 3.32, 3.57, 3.26, 3.53, 2.74),
        *(2.75, 2.83, 3.12, 3.16, 2.06, 3.62, 2.89, 3.51, 3.54, 2.83, 3.39, 2.67, 3.65, 4.00, 3.10, 2.39),
    ]
    tuce = [
        *(20.0, 22.0, 24.0, 12.0, 21.0, 17.0, 17.0, 21.0, 25.0, 29.0, 20.0, 23.0, 23.0, 25.0, 26.0, 19.0),
        *(25.0, 19.0, 23.0, 25.0, 22.0, 28.0, 14.0, 26.0, 24.0, 27.0, 17.0, 24.0, 21.0, 23.0, 21.0, 19.0),
    ]
    psi = [0.0] * 18 + [1.0] * 14
    improved = np.zeros(32, dtype=int)
    improved[[4, 9, 13, 19, 21, 24, 25, 26, 28, 29, 31]] = 1
    return pd.DataFrame({"GPA": gpa, "TUCE": tuce, "PSI": psi, "y": improved})


def leukemia() -> pd.DataFrame:
    """Weeks in remission of 42 children with acute leukemia, under 6-mercaptopurine or placebo.

    Columns: ``time``; ``limit``, the time at which observation would have ended, so that ``time == limit`` marks a
    remission still going on (censored) and ``time < limit`` a relapse; ``treated`` (1: 6-mercaptopurine).

    Notes
    -----
    The limit of a child who relapsed was not recorded. 36 weeks, just above the longest follow-up, stands in for it:
    the likelihood does not depend on that number as long as it is above ``time``.

    References
    ----------
    Freireich et al. (1963), Blood 21, 699-716; Gehan (1965), Biometrika 52, 203-223; data set ``gehan`` of R's MASS.
    """
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    relapsed = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    in_remission = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    time = np.array(placebo + relapsed + in_remission, dtype=float)
    limit = np.full(42, 36.0)
    limit[30:] = time[30:]
    return pd.DataFrame({"time": time, "limit": limit, "treated": np.repeat([0.0, 1.0], 21)})


def sunspots() -> pd.Series:
    """Wolfer's yearly sunspot numbers, 1770-1869, indexed by year: series E of Box and Jenkins.

    References
    ----------
    Box and Jenkins (1970), "Time Series Analysis: Forecasting and Control", series E; Yule (1927), Philosophical
    Transactions A 226, 267-298, invented the AR(2) for such numbers. The values are those of
    `statsmodels.datasets.sunspots`.
    """
    numbers = [
        *(100.8, 81.6, 66.5, 34.8, 30.6, 7.0, 19.8, 92.5, 154.4, 125.9, 84.8, 68.1, 38.5, 22.8, 10.2, 24.1, 82.9),
        *(132.0, 130.9, 118.1, 89.9, 66.6, 60.0, 46.9, 41.0, 21.3, 16.0, 6.4, 4.1, 6.8, 14.5, 34.0, 45.0, 43.1, 47.5),
        *(42.2, 28.1, 10.1, 8.1, 2.5, 0.0, 1.4, 5.0, 12.2, 13.9, 35.4, 45.8, 41.1, 30.1, 23.9, 15.6, 6.6, 4.0, 1.8),
        *(8.5, 16.6, 36.3, 49.6, 64.2, 67.0, 70.9, 47.8, 27.5, 8.5, 13.2, 56.9, 121.5, 138.3, 103.2, 85.7, 64.6, 36.7),
        *(24.2, 10.7, 15.0, 40.1, 61.5, 98.5, 124.7, 96.3, 66.6, 64.5, 54.1, 39.0, 20.6, 6.7, 4.3, 22.7, 54.8, 93.8),
        *(95.8, 77.2, 59.1, 44.0, 47.0, 30.5, 16.3, 7.3, 37.6, 74.0),
    ]
    return pd.Series(numbers, index=pd.RangeIndex(1770, 1870, name="year"), name="y")


# ---------------------------------------- simulations
# `RandomState`, because NumPy promises that its streams never change; those of `default_rng` may, with a new version.


def seed() -> pd.DataFrame:
    """The seed data: two covariates, 200 rows, errors with mean 10 and standard deviation 5.

    Notes
    -----
    The recipe is NumPy's legacy one, ``np.random.seed(123); x = np.random.rand(2, 200); e = np.random.normal(10, 5,
    200); y = x.T @ np.random.uniform(1, 15, size=2) + e``. A private `RandomState` draws the same numbers and leaves
    the caller's global state alone.
    """
    rng = np.random.RandomState(123)
    x = rng.rand(2, 200)
    errors = rng.normal(10, 5, 200)
    y = x.T @ rng.uniform(1, 15, size=2) + errors
    return pd.DataFrame({"x1": x[0], "x2": x[1], "y": y})


def counts() -> pd.DataFrame:
    """Poisson counts, 100 rows: log mean = 0.6 + 0.5 x1 - 0.3 x2."""
    rng = np.random.RandomState(20260101)
    data = _two_covariates(rng, 100)
    return data.assign(y=rng.poisson(np.exp(0.6 + 0.5 * data["x1"] - 0.3 * data["x2"])))


def overdispersed_counts() -> pd.DataFrame:
    """Gamma-Poisson counts, 150 rows: log mean = 1 + 0.4 x1 - 0.6 x2, variance = mean + mean² / 2."""
    rng = np.random.RandomState(20260102)
    data = _two_covariates(rng, 150)
    mean = np.exp(1.0 + 0.4 * data["x1"] - 0.6 * data["x2"])
    return data.assign(y=rng.poisson(mean * rng.gamma(2.0, 1 / 2.0, size=150)))


def inflated_counts() -> pd.DataFrame:
    """Counts with too many zeros, 200 rows: Poisson, log mean = 1 + 0.5 x1, with probability 0.7, else zero."""
    rng = np.random.RandomState(20260103)
    x1 = rng.normal(size=200)
    occupied = rng.rand(200) < 0.7
    return pd.DataFrame({"x1": x1, "y": np.where(occupied, rng.poisson(np.exp(1.0 + 0.5 * x1)), 0)})


def heavy_tailed() -> pd.DataFrame:
    """A line with Student-t errors, 150 rows: mean = 2 + 1.5 x1 - x2, scale 0.8, 3 degrees of freedom."""
    rng = np.random.RandomState(20260104)
    data = _two_covariates(rng, 150)
    return data.assign(y=2.0 + 1.5 * data["x1"] - data["x2"] + 0.8 * rng.standard_t(3, size=150))


def ratings() -> pd.DataFrame:
    """Ordered ratings 0 to 3, 200 rows: a latent logistic variable with mean x1 - 0.5 x2, cut at -1, 0.5 and 2."""
    rng = np.random.RandomState(20260105)
    data = _two_covariates(rng, 200)
    latent = data["x1"] - 0.5 * data["x2"] + rng.logistic(size=200)
    return data.assign(y=np.digitize(latent, [-1.0, 0.5, 2.0]))


def two_clusters() -> pd.Series:
    """200 draws, 35 % from N(-1.5, 0.8) and 65 % from N(2, 1.2)."""
    rng = np.random.RandomState(20260106)
    first = rng.rand(200) < 0.35
    return pd.Series(np.where(first, rng.normal(-1.5, 0.8, 200), rng.normal(2.0, 1.2, 200)), name="y")


def _two_covariates(rng: np.random.RandomState, n: int) -> pd.DataFrame:
    return pd.DataFrame(rng.normal(size=(n, 2)), columns=["x1", "x2"])
