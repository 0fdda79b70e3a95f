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


def sleepstudy() -> pd.DataFrame:
    """Reaction times of 18 subjects on ten days, on all but the first three with three hours of sleep.

    Columns: ``y`` (average reaction time, ms), ``days`` (0 to 9), ``subject``.

    References
    ----------
    Belenky et al. (2003), "Patterns of performance degradation and restoration during sleep restriction and
    subsequent recovery", Journal of Sleep Research 12, 1-12; the numbers are those of R's `lme4::sleepstudy`.
    """
    reaction = {
        308: [249.56, 258.7047, 250.8006, 321.4398, 356.8519, 414.6901, 382.2038, 290.1486, 430.5853, 466.3535],
        309: [222.7339, 205.2658, 202.9778, 204.707, 207.7161, 215.9618, 213.6303, 217.7272, 224.2957, 237.3142],
        310: [199.0539, 194.3322, 234.32, 232.8416, 229.3074, 220.4579, 235.4208, 255.7511, 261.0125, 247.5153],
        330: [321.5426, 300.4002, 283.8565, 285.133, 285.7973, 297.5855, 280.2396, 318.2613, 305.3495, 354.0487],
        331: [287.6079, 285.0, 301.8206, 320.1153, 316.2773, 293.3187, 290.075, 334.8177, 293.7469, 371.5811],
        332: [234.8606, 242.8118, 272.9613, 309.7688, 317.4629, 309.9976, 454.1619, 346.8311, 330.3003, 253.8644],
        333: [283.8424, 289.555, 276.7693, 299.8097, 297.171, 338.1665, 332.0265, 348.8399, 333.36, 362.0428],
        334: [265.4731, 276.2012, 243.3647, 254.6723, 279.0244, 284.1912, 305.5248, 331.5229, 335.7469, 377.299],
        335: [241.6083, 273.9472, 254.4907, 270.8021, 251.4519, 254.6362, 245.4523, 235.311, 235.7541, 237.2466],
        337: [312.3666, 313.8058, 291.6112, 346.1222, 365.7324, 391.8385, 404.2601, 416.6923, 455.8643, 458.9167],
        349: [236.1032, 230.3167, 238.9256, 254.922, 250.7103, 269.7744, 281.5648, 308.102, 336.2806, 351.6451],
        350: [256.2968, 243.4543, 256.2046, 255.5271, 268.9165, 329.7247, 379.4445, 362.9184, 394.4872, 389.0527],
        351: [250.5265, 300.0576, 269.8939, 280.5891, 271.8274, 304.6336, 287.7466, 266.5955, 321.5418, 347.5655],
        352: [221.6771, 298.1939, 326.8785, 346.8555, 348.7402, 352.8287, 354.4266, 360.4326, 375.6406, 388.5417],
        369: [271.9235, 268.4369, 257.2424, 277.6566, 314.8222, 317.2135, 298.1353, 348.1229, 340.28, 366.5131],
        370: [225.264, 234.5235, 238.9008, 240.473, 267.5373, 344.1937, 281.1481, 347.5855, 365.163, 372.2288],
        371: [269.8804, 272.4428, 277.8989, 281.7895, 279.1705, 284.512, 259.2658, 304.6306, 350.7807, 369.4692],
        372: [269.4117, 273.474, 297.5968, 310.6316, 287.1726, 329.6076, 334.4818, 343.2199, 369.1417, 364.1236],
    }
    return pd.DataFrame(
        {
            "days": np.tile(np.arange(10), len(reaction)),
            "subject": np.repeat(list(reaction), 10),
            "y": np.concatenate(list(reaction.values())),
        }
    )


def penicillin() -> pd.DataFrame:
    """Diameters of the zones that six samples of penicillin clear on each of 24 plates.

    Columns: ``y`` (diameter, mm), ``plate`` ("a" to "x"), ``sample`` ("A" to "F").

    References
    ----------
    Davies and Goldsmith (1972), "Statistical Methods in Research and Production", 4th ed., section 6.6; the
    numbers are those of R's `lme4::Penicillin`.
    """
    diameters = np.array(
        [
            [27, 23, 26, 23, 23, 21],
            [27, 23, 26, 23, 23, 21],
            [25, 21, 25, 24, 24, 20],
            [26, 23, 25, 23, 23, 20],
            [25, 22, 26, 22, 23, 20],
            [24, 22, 25, 23, 22, 19],
            [24, 20, 23, 21, 22, 19],
            [26, 22, 26, 24, 24, 21],
            [24, 21, 24, 22, 22, 20],
            [24, 21, 24, 23, 22, 19],
            [26, 23, 26, 24, 24, 21],
            [25, 22, 26, 24, 24, 20],
            [26, 24, 26, 24, 25, 22],
            [26, 23, 26, 23, 23, 20],
            [26, 23, 25, 24, 24, 22],
            [25, 22, 25, 23, 23, 20],
            [25, 21, 24, 23, 23, 20],
            [25, 22, 24, 23, 23, 19],
            [24, 21, 23, 21, 21, 19],
            [26, 23, 26, 24, 24, 21],
            [25, 21, 24, 22, 22, 18],
            [25, 22, 25, 22, 22, 20],
            [24, 21, 24, 22, 24, 19],
            [24, 21, 24, 22, 21, 18],
        ]
    )
    return pd.DataFrame(
        {
            "plate": np.repeat(list("abcdefghijklmnopqrstuvwx"), 6),
            "sample": np.tile(list("ABCDEF"), 24),
            "y": diameters.ravel(),
        }
    )


def cbpp() -> pd.DataFrame:
    """Contagious bovine pleuropneumonia: new cases in 15 herds of zebu cattle, in up to four quarters each.

    Columns: ``y`` (new cases), ``n`` (animals at risk), ``period2`` to ``period4`` (1: the row is of that quarter),
    ``herd``.

    References
    ----------
    Lesnoff et al. (2004), "Within-herd spread of contagious bovine pleuropneumonia in Ethiopian highlands",
    Preventive Veterinary Medicine 64, 27-40; the numbers are those of R's `lme4::cbpp`.
    """
    # herd: animals at risk, new cases
    table = {
        1: ([14, 12, 9, 5], [2, 3, 4, 0]),
        2: ([22, 18, 21], [3, 1, 1]),
        3: ([22, 16, 16, 20], [8, 2, 0, 2]),
        4: ([10, 10, 9, 6], [2, 0, 2, 0]),
        5: ([18, 25, 24, 4], [5, 0, 0, 1]),
        6: ([17, 17, 18, 20], [3, 0, 0, 1]),
        7: ([16, 10, 9, 5], [8, 1, 3, 0]),
        8: ([34], [12]),
        9: ([9, 6, 8, 6], [2, 0, 0, 0]),
        10: ([22, 22, 18, 22], [1, 1, 0, 2]),
        11: ([25, 27, 22, 22], [0, 5, 3, 1]),
        12: ([10, 8, 6, 5], [2, 1, 0, 0]),
        13: ([21, 24, 19, 23], [1, 2, 0, 0]),
        14: ([19, 2, 3, 2], [11, 0, 0, 0]),
        15: ([19, 15, 15, 15], [1, 1, 1, 0]),
    }
    period = np.concatenate([np.arange(1, len(n) + 1) for n, _ in table.values()])
    return pd.DataFrame(
        {
            "herd": np.repeat(list(table), [len(n) for n, _ in table.values()]),
            "n": np.concatenate([n for n, _ in table.values()]),
            **{f"period{k}": (period == k).astype(int) for k in (2, 3, 4)},
            "y": np.concatenate([y for _, y in table.values()]),
        }
    )


def coaching() -> pd.DataFrame:
    """Effects of coaching on a test of eight schools, estimated in a separate experiment each.

    Columns: ``y`` (estimated effect, points), ``stderr`` (its standard error), ``school`` ("A" to "H").

    References
    ----------
    Rubin (1981), "Estimation in parallel randomized experiments", Journal of Educational Statistics 6, 377-401.
    """
    y = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
    stderr = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]
    return pd.DataFrame({"school": list("ABCDEFGH"), "stderr": stderr, "y": y})


def discoveries() -> pd.Series:
    """Great inventions and scientific discoveries a year, 1860 to 1959.

    References
    ----------
    McNeil (1977), "Interactive Data Analysis", Wiley, from the World Almanac of 1975; the numbers are those of R's
    `datasets::discoveries`.
    """
    y = [
        *(5, 3, 0, 2, 0, 3, 2, 3, 6, 1, 2, 1, 2, 1, 3, 3, 3, 5, 2, 4, 4, 0, 2, 3, 7, 12, 3, 10, 9, 2, 3, 7, 7, 2),
        *(3, 3, 6, 2, 4, 3, 5, 2, 2, 4, 0, 4, 2, 5, 2, 3, 3, 6, 5, 8, 3, 6, 6, 0, 5, 2, 2, 2, 6, 3, 4, 4, 2, 2),
        *(4, 7, 5, 3, 3, 0, 2, 2, 2, 1, 3, 4, 2, 2, 1, 1, 1, 2, 1, 4, 4, 3, 2, 1, 4, 1, 1, 1, 0, 0, 2, 0),
    ]
    return pd.Series(y, index=pd.RangeIndex(1860, 1960, name="year"), name="y")


def orange_trees() -> pd.DataFrame:
    """Growth of five orange trees.

    Columns: ``y`` (circumference of the trunk, mm), ``age`` (days since the end of 1968), ``tree``.

    References
    ----------
    Draper and Smith (1998), "Applied Regression Analysis", 3rd ed., Wiley, exercise 24.N; the numbers are those of
    R's `datasets::Orange`.
    """
    age = [118, 484, 664, 1004, 1231, 1372, 1582]
    circumference = {
        1: [30, 58, 87, 115, 120, 142, 145],
        2: [33, 69, 111, 156, 172, 203, 203],
        3: [30, 51, 75, 108, 115, 139, 140],
        4: [32, 62, 112, 167, 179, 209, 214],
        5: [30, 49, 81, 125, 142, 174, 177],
    }
    return pd.DataFrame(
        {
            "age": np.tile(age, len(circumference)),
            "tree": np.repeat(list(circumference), len(age)),
            "y": np.concatenate(list(circumference.values())),
        }
    )


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
