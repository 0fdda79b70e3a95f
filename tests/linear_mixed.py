"""Linear mixed models without the library and without approximations: the oracle of the linear cases.

y ~ N(Xβ, V), V = φ₀ I + Z (Σ φ_k E_k) Z'. The covariance is linear in the variance components φ, so gradient and
Hessian of the log-likelihood have closed forms (Searle, Casella and McCulloch, "Variance Components", chapter 6);
Newton's method takes them to rounding error. REML is the integral of the likelihood over β under a flat prior.
"""

from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.optimize import minimize_scalar, root
from scipy.stats import chi2

from tests.mixed import Case, Reference, design, levels, read


class Components:
    """Log-likelihood at given φ: V through the inverse of the small matrix Z'Z/φ₀ + G⁻¹."""

    def __init__(self, problem: "LinearMixed", phi: np.ndarray) -> None:
        self.problem, self.phi = problem, phi
        Z, A, E = problem.Z, problem.A, problem.E
        G = sum(value * matrix for value, matrix in zip(phi[1:], E, strict=True))
        inverse = sp.diags(1 / G.diagonal()) if problem.diagonal else sp.csr_matrix(np.linalg.inv(G.toarray()))
        factor = scipy.linalg.cho_factor((A / phi[0] + inverse).toarray(), lower=True, overwrite_a=True)
        self.C = scipy.linalg.cho_solve(factor, np.eye(len(factor[0])), overwrite_b=True)
        log_det_g = np.log(G.diagonal()).sum() if problem.diagonal else np.linalg.slogdet(G.toarray())[1]
        log_det_small = 2 * np.log(np.diag(factor[0])).sum()
        self.log_det = len(problem.y) * np.log(phi[0]) + log_det_g + log_det_small
        self.Vx = self.solve(problem.X)
        self.information = problem.X.T @ self.Vx
        self.Z = Z

    def solve(self, v: np.ndarray) -> np.ndarray:
        """V⁻¹ v."""
        Z = self.problem.Z
        return (v - Z @ (self.C @ (Z.T @ v)) / self.phi[0]) / self.phi[0]

    @cached_property
    def beta(self) -> np.ndarray:
        """Generalized least squares."""
        return np.linalg.solve(self.information, self.Vx.T @ self.problem.y)

    def loglik(self, beta: np.ndarray) -> float:
        residual = self.problem.y - self.problem.X @ beta
        value = -(len(residual) * np.log(2 * np.pi) + self.log_det + residual @ self.solve(residual)) / 2
        if not self.problem.restricted:
            return value
        return value - (np.linalg.slogdet(self.information)[1] - len(beta) * np.log(2 * np.pi)) / 2

    def modes(self, beta: np.ndarray) -> np.ndarray:
        """E[u | y]."""
        return self.C @ (self.problem.Z.T @ (self.problem.y - self.problem.X @ beta)) / self.phi[0]

    def derivatives(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and Hessian in (β, φ); in φ alone for REML, at the β of `beta`."""
        problem = self.problem
        W = self.cross(problem.A)
        v = self.solve(problem.y - problem.X @ beta)
        moved = [v, *(problem.Z @ (E @ (problem.Z.T @ v)) for E in problem.E)]  # V_k v
        solved = [self.solve(m) for m in moved]
        trace, product = self.traces(W)
        gradient = np.array([(v @ m - t) / 2 for m, t in zip(moved, trace, strict=True)])
        hessian = product / 2 - np.array([[a @ b for b in solved] for a in moved])
        mixed = np.array([-self.Vx.T @ m for m in moved])
        if problem.restricted:
            return self.restrict(gradient, hessian, mixed)
        whole = np.block([[-self.information, mixed.T], [mixed, hessian]])
        return np.concatenate([problem.X.T @ v, gradient]), whole

    def cross(self, A: sp.csr_matrix) -> np.ndarray:
        """Z' V⁻¹ Z."""
        small = A @ (A @ self.C).T
        return A.toarray() / self.phi[0] - small / self.phi[0] ** 2

    def traces(self, W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """tr(V⁻¹ V_k) and tr(V⁻¹ V_k V⁻¹ V_l), those of the identity by φ₀ V⁻¹ = I − Σ φ_k V⁻¹ V_k."""
        E, phi, n = self.problem.E, self.phi, len(self.problem.y)
        trace, product = np.empty(len(phi)), np.empty((len(phi), len(phi)))
        WE = [(matrix.T @ W).T for matrix in E]
        trace[1:] = [np.trace(m) for m in WE]
        trace[0] = (n - phi[1:] @ trace[1:]) / phi[0]
        product[1:, 1:] = [[np.sum(a * b.T) for b in WE] for a in WE]
        product[0, 1:] = product[1:, 0] = (trace[1:] - product[1:, 1:] @ phi[1:]) / phi[0]
        product[0, 0] = (trace[0] - phi[1:] @ product[1:, 0]) / phi[0]
        return trace, product

    def restrict(self, gradient: np.ndarray, hessian: np.ndarray, mixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From V⁻¹ to P = V⁻¹ − V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹; V⁻¹r = Py at the generalized least squares estimate."""
        problem = self.problem
        inverse = np.linalg.inv(self.information)
        moved = [self.Vx, *(problem.Z @ (E @ (problem.Z.T @ self.Vx)) for E in problem.E)]  # V_k V⁻¹X
        solved = [self.solve(m) for m in moved]
        S = [self.Vx.T @ m for m in moved]
        gradient = gradient + np.array([np.trace(inverse @ s) for s in S]) / 2
        pairs = [[(k, m) for m in range(len(S))] for k in range(len(S))]
        change = [
            [
                np.trace(inverse @ S[k] @ inverse @ S[m]) - 2 * np.trace(inverse @ (moved[k].T @ solved[m]))
                for k, m in row
            ]
            for row in pairs
        ]
        return gradient, hessian + np.array(change) / 2 + mixed @ inverse @ mixed.T


class LinearMixed:
    """A case of `tests.mixed` with a normal response."""

    def __init__(self, case: Case) -> None:
        data = read(case.file)
        self.case, self.restricted = case, case.restricted
        self.y, self.X = data[case.response].to_numpy(dtype=float), design(data, case.terms)
        blocks = []
        for effect in case.effects:
            groups, place = levels(data, effect)
            values = np.ones(len(data)) if effect.slope is None else data[effect.slope].to_numpy(dtype=float)
            blocks.append(sp.csr_matrix((values, (np.arange(len(data)), place)), shape=(len(data), len(groups))))
        sizes = [block.shape[1] for block in blocks]
        self.Z = sp.hstack(blocks).tocsr()
        self.A = (self.Z.T @ self.Z).tocsr()
        self.E = [sp.block_diag([sp.identity(m) * (k == own) for own, m in enumerate(sizes)]).tocsr()
                  for k in range(len(sizes))]  # fmt: skip
        self.diagonal = not case.correlated
        if case.correlated:
            self.E.append(sp.csr_matrix(np.kron([[0, 1], [1, 0]], np.eye(sizes[0]))))
        self.slices = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])

    # φ = (σ², sd₁², ..., cov) of ψ = (sd₁, ..., rho, σ)

    def phi(self, psi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The variance components of a vector of standard deviations, and their derivatives."""
        if not self.case.correlated:
            order = [len(psi) - 1, *range(len(psi) - 1)]
            return psi[order] ** 2, 2 * np.diag(psi)[order]
        a, b, rho, sigma = psi
        value = np.array([sigma**2, a**2, b**2, rho * a * b])
        return value, np.array([[0, 0, 0, 2 * sigma], [2 * a, 0, 0, 0], [0, 2 * b, 0, 0], [rho * b, rho * a, a * b, 0]])

    def psi(self, phi: np.ndarray) -> np.ndarray:
        sds = np.sqrt(phi[1 : 1 + len(self.case.effects)])
        return np.array([*sds, *([phi[3] / (sds[0] * sds[1])] if self.case.correlated else []), np.sqrt(phi[0])])

    @property
    def n_beta(self) -> int:
        return 0 if self.restricted else self.X.shape[1]

    def maximum(self, psi: np.ndarray, steps: int = 30) -> Reference:
        """Newton's method in the variance components, from standard deviations not far off."""
        phi = self.phi(psi)[0]
        for _ in range(steps):
            at = Components(self, phi)
            gradient, hessian = at.derivatives(at.beta)
            step = -np.linalg.solve(hessian, gradient)
            if gradient @ step < 1e-22 * abs(at.log_det):
                break
            # β follows φ by itself
            phi = phi + step[self.n_beta :]
        return self.reference(phi, hessian)

    def maximum_at(self, sd: float) -> float:
        """The highest log-likelihood at a given standard deviation of the only effect."""

        def value(sigma: float) -> float:
            at = Components(self, np.array([sigma**2, sd**2]))
            return -at.loglik(at.beta)

        spread = self.y.std()
        return -minimize_scalar(value, bounds=(spread / 100, 2 * spread), options={"xatol": 1e-10}).fun

    def reference(self, phi: np.ndarray, hessian: np.ndarray) -> Reference:
        at, psi = Components(self, phi), self.psi(phi)
        self.at = at
        jacobian = np.eye(self.n_beta + len(psi))
        jacobian[self.n_beta :, self.n_beta :] = np.linalg.inv(self.phi(psi)[1])
        cov = jacobian @ np.linalg.inv(-hessian) @ jacobian.T
        estimate = np.append(at.beta[: self.n_beta], psi)
        return Reference(self.case.labels, estimate, cov, at.loglik(at.beta))

    def value_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Log-likelihood and its gradient on the scale of the labels (not of REML)."""
        phi, slope = self.phi(x[self.n_beta :])
        at = Components(self, phi)
        beta = x[: self.n_beta]
        gradient, _ = at.derivatives(beta)
        return at.loglik(beta), np.append(gradient[: self.n_beta], gradient[self.n_beta :] @ slope)

    def profile_limit(self, found: Reference, label: str, upper: bool, prob: float = 0.95) -> float:
        """The solution of ℓ = max − χ²/2 and ∂ℓ = 0 in all other parameters (Venzon and Moolgavkar, 1988).

        Solved on the scale of log sds and atanh ρ, at probabilities that rise to the one wanted.
        """
        i = found.labels.index(label)
        others = np.delete(np.arange(len(found.labels)), i)
        logs = np.array([name == "sigma" or name.startswith("sd_") for name in found.labels])
        rho = np.array([name == "rho" for name in found.labels])

        def back(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """The parameters, and their derivatives."""
            x = np.where(logs, np.exp(np.where(logs, z, 0)), np.where(rho, np.tanh(z), z))
            return x, np.where(logs, x, np.where(rho, 1 - x**2, 1.0))

        safe = np.where(logs, found.estimate, 1.0), np.where(rho, found.estimate, 0.0)
        best = np.where(logs, np.log(safe[0]), np.where(rho, np.arctanh(safe[1]), found.estimate))
        slope = back(best)[1]
        cov = found.cov / np.outer(slope, slope)
        scale = np.sqrt(np.diag(cov))
        way = (2 * upper - 1) * cov[i] / scale[i] / scale
        z, last = way, 1.0
        for p in (*np.linspace(0.3, prob, 5)[:-1], prob):
            radius = np.sqrt(chi2.ppf(p, 1))

            def equations(z: np.ndarray, radius: float = radius) -> np.ndarray:
                x, slope = back(best + scale * z)
                value, gradient = self.value_gradient(x)
                deviance = 2 * (found.loglik - value)
                return np.append(np.sqrt(max(deviance, 0.0)) - radius, (gradient * slope * scale)[others])

            solution = root(equations, z * radius / last, method="hybr", options={"xtol": 1e-13, "factor": 0.1})
            z, last = solution.x, radius
        assert np.max(np.abs(solution.fun)) < 1e-8, (label, solution)
        return float(back(best + scale * z)[0][i])
