"""Generalized linear mixed models without the library: the oracle of the cases whose integrals have no closed form.

Laplace's approximation in float64 for any effects, and adaptive Gauss–Hermite quadrature in high precision (mpmath) for
binomial counts with one effect a group. Derivatives are differences: nothing is shared with what is checked.
"""

from collections.abc import Callable

import mpmath as mp
import numpy as np
import scipy.sparse as sp
from scipy.special import expit, gammaln

from tests.mixed import Case, Reference, design, levels, read


def poisson(y, eta, _):
    mu = np.exp(eta)
    return y * eta - mu - gammaln(y + 1), y - mu, -mu


def binomial(y, eta, _, n=None):
    p = expit(eta)
    constant = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
    return constant + y * eta - n * np.logaddexp(0, eta), y - n * p, -n * p * (1 - p)


def nb2(y, eta, alpha):
    mu = np.exp(eta)
    value = gammaln(y + alpha) - gammaln(alpha) - gammaln(y + 1)
    value = value - alpha * np.log1p(mu / alpha) + y * (eta - np.log(mu + alpha))
    return value, alpha * (y - mu) / (alpha + mu), -alpha * mu * (alpha + y) / (alpha + mu) ** 2


def zip_(y, eta, inflation):
    """``inflation``: the logit of the probability of a structural zero, a value a row."""
    mu, zero = np.exp(eta), y == 0
    value, first, second = poisson(y, eta, None)
    occupied = np.exp(-np.logaddexp(0, inflation))  # probability of a Poisson count
    total = 1 - occupied + occupied * np.exp(-mu)
    w = occupied * np.exp(-mu) / total
    return (
        np.where(zero, np.log(total), np.log(occupied) + value),
        np.where(zero, -w * mu, first),
        np.where(zero, -w * mu + mu**2 * w * (1 - w), second),
    )


class Laplace:
    """The Laplace log-likelihood of a case, as a function of its parameters in the order of its labels."""

    def __init__(self, case: Case) -> None:
        data = read(case.file)
        self.case, self.y, self.X = case, data[case.response].to_numpy(dtype=float), design(data, case.terms)
        blocks = []
        for effect in case.effects:
            groups, place = levels(data, effect)
            shape = len(data), len(groups)
            blocks.append(sp.csr_matrix((np.ones(len(data)), (np.arange(len(data)), place)), shape=shape))
        self.sizes = [block.shape[1] for block in blocks]
        self.Z = sp.hstack(blocks).tocsr()
        self.u = np.zeros(self.Z.shape[1])
        self.density: Callable = {"poisson": poisson, "nb2": nb2, "zip": zip_, "binomial": binomial}[case.family]
        if case.family == "binomial":
            size = data["size"].to_numpy(dtype=float)
            self.density = lambda y, eta, extra: binomial(y, eta, extra, n=size)

    def __call__(self, x: np.ndarray) -> float:
        p = self.X.shape[1]
        beta, rest = x[:p], x[p:]
        extra = None
        if self.case.family == "zip":
            extra, rest = self.X @ rest[:p], rest[p:]
        elif self.case.family == "nb2":
            extra, rest = rest[-1], rest[:-1]
        precision = np.repeat(rest**-2.0, self.sizes)
        u, fixed = self.u, self.X @ beta
        for _ in range(100):
            value, first, second = self.density(self.y, fixed + self.Z @ u, extra)
            H = (self.Z.T @ sp.diags(-second) @ self.Z).toarray() + np.diag(precision)
            step = np.linalg.solve(H, self.Z.T @ first - precision * u)
            u = u + step
            if np.abs(step).max() < 1e-13:
                break
        self.u = u
        value, first, second = self.density(self.y, fixed + self.Z @ u, extra)
        H = (self.Z.T @ sp.diags(-second) @ self.Z).toarray() + np.diag(precision)
        prior = (np.log(precision).sum() - (precision * u) @ u) / 2
        return float(value.sum() + prior - np.linalg.slogdet(H)[1] / 2)


def cbpp_quadrature(n_nodes: int) -> Callable[[np.ndarray], mp.mpf]:
    """The log-likelihood of cbpp by adaptive Gauss–Hermite quadrature: one node is Laplace's approximation."""
    data = read("cbpp")
    nodes, weights = np.polynomial.hermite.hermgauss(n_nodes)
    rule = [(mp.sqrt(2) * mp.mpf(t), mp.log(mp.mpf(w)) + mp.mpf(t) ** 2) for t, w in zip(nodes, weights, strict=True)]
    herds = [
        [(int(row.incidence), int(row.size_), int(row.period) - 1) for row in rows.itertuples()]
        for _, rows in data.rename(columns={"size": "size_"}).groupby("herd")
    ]

    def loglik(x: np.ndarray) -> mp.mpf:
        beta, sd = x[:4], x[4]
        total = mp.mpf(0)
        for rows in herds:
            lines = [(y, n, beta[0] + (beta[k] if k else 0)) for y, n, k in rows]

            def joint(u, lines=lines):
                value = -mp.log(sd) - mp.log(2 * mp.pi) / 2 - (u / sd) ** 2 / 2
                for y, n, eta in lines:
                    value += mp.log(mp.binomial(n, y)) + y * (eta + u) - n * mp.log(1 + mp.exp(eta + u))
                return value

            u = mp.mpf(0)
            for _ in range(60):
                p = [1 / (1 + mp.exp(-eta - u)) for _, _, eta in lines]
                slope = sum(y - n * q for (y, n, _), q in zip(lines, p, strict=True)) - u / sd**2
                curvature = sum(n * q * (1 - q) for (_, n, _), q in zip(lines, p, strict=True)) + 1 / sd**2
                u += slope / curvature
                if abs(slope) < mp.mpf(10) ** (-mp.mp.dps + 5):
                    break
            width = 1 / mp.sqrt(curvature)
            terms = [joint(u + width * t) + logw for t, logw in rule]
            top = max(terms)
            total += top + mp.log(sum(mp.exp(term - top) for term in terms)) + mp.log(width * mp.sqrt(2))
        return total

    return loglik


class Differences:
    """Derivatives by central differences with steps of ``h * scale``, to the fourth power of h; values are kept."""

    def __init__(self, f: Callable, x: np.ndarray, scale: np.ndarray, h: float, number: type = float) -> None:
        self.f, self.x, self.scale, self.h = f, np.array([number(v) for v in x]), scale, h
        self.known: dict = {}

    def value(self, *moves: tuple[int, int]):
        if moves not in self.known:
            point = self.x.copy()
            for i, k in moves:
                point[i] += k * self.h * self.scale[i]
            self.known[moves] = self.f(point)
        return self.known[moves]

    def first(self, i: int) -> float:
        near, far = (self.value((i, k)) - self.value((i, -k)) for k in (1, 2))
        return float((8 * near - far) / (12 * self.h))

    def second(self, i: int, j: int) -> float:
        if i == j:
            near, far = (self.value((i, k)) + self.value((i, -k)) - 2 * self.value() for k in (1, 2))
            return float((16 * near - far) / (12 * self.h**2))
        near, far = (
            self.value((i, k), (j, k)) + self.value((i, -k), (j, -k))
            - self.value((i, k), (j, -k)) - self.value((i, -k), (j, k))
            for k in (1, 2)
        )  # fmt: skip
        return float((16 * near - far) / (48 * self.h**2))

    def gradient(self) -> np.ndarray:
        return np.array([self.first(i) for i in range(len(self.x))]) / self.scale

    def hessian(self) -> np.ndarray:
        places = range(len(self.x))
        found = np.array([[self.second(i, j) if i <= j else 0.0 for j in places] for i in places])
        return (found + np.triu(found, 1).T) / np.outer(self.scale, self.scale)


def step_to_the_maximum(f: Callable, found: Reference, h: float, number: type = float) -> tuple[np.ndarray, np.ndarray]:
    """What a Newton step from a reference would change, in standard errors; and the standard errors there."""
    differences = Differences(f, found.estimate, found.stderr, h, number)
    cov = np.linalg.inv(-differences.hessian())
    stderr = np.sqrt(np.diag(cov))
    return cov @ differences.gradient() / stderr, stderr
