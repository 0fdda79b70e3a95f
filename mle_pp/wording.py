"""Findings in words: the user's names, what was found, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mle_pp.information import Special, limits, pinned_at_limit, slides, travel, without_limit
from mle_pp.optimize import Optimum
from mle_pp.parameters import Parameters
from mle_pp.verdict import Finding, Status


def coordinates(parameters: Parameters) -> list[str]:
    """What each entry of the vector is, in the user's labels: ``beta[x1]``, ``log(sigma)``."""
    labels: list[str] = []
    for own, inner in zip(parameters.layout, parameters.unconstrained, strict=True):
        transform = parameters.transforms[own.name]
        if transform is None:
            labels += own.labels
        elif own.size == inner.size and getattr(transform, "ndim_supp", 0) == 0:
            scale = {"log": "log", "log_exp_m1": "log", "logodds": "logit"}.get(transform.name, "logit of ")
            labels += [f"{scale}({label})" if scale.isalpha() else f"{scale}{label}" for label in own.labels]
        else:
            labels += inner.labels
    return labels


def marked(parameters: Parameters, marks: np.ndarray) -> list[str]:
    """Labels of the constrained scalars that are marked."""
    return [label for label, mark in zip(parameters.layout.labels, marks, strict=True) if mark]


def names_of(parameters: Parameters, labels: Sequence[str]) -> list[str]:
    """The variables that labelled scalars belong to."""
    owner = dict(zip(parameters.layout.labels, parameters.layout.owners(), strict=True))
    return list(dict.fromkeys(owner[label] for label in labels))


def listing(labels: Sequence[str], most: int = 6) -> str:
    """Labels in a sentence."""
    shown = list(labels[:most])
    if len(labels) > most:
        return f"{', '.join(shown)} and {len(labels) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "nothing"


def direction_text(labels: Sequence[str], direction: np.ndarray) -> str:
    """A direction as a combination of labels: ``a − b``, ``alpha[x] + 0.5 mu``."""
    largest = np.max(np.abs(direction))
    terms: list[str] = []
    for label, weight in zip(labels, direction / largest, strict=True):
        if weight == 0:
            continue
        size = "" if abs(abs(weight) - 1) < 1e-4 else f"{abs(weight):.3g} "
        sign = ("− " if weight < 0 else "+ ") if terms else ("−" if weight < 0 else "")
        terms.append(f"{sign}{size}{label}")
    return " ".join(terms[:8]) + (" …" if len(terms) > 8 else "")


def not_identified(parameters: Parameters, x: np.ndarray, directions: np.ndarray) -> Finding:
    """Directions along which the likelihood is flat."""
    labels = coordinates(parameters)
    variables = marked(parameters, slides(parameters.jacobian(x), directions))
    count = directions.shape[1]
    weights = [
        {label: float(w) for label, w in zip(labels, d / np.abs(d).max(), strict=True) if w} for d in directions.T
    ]
    alone = all(len(direction) == 1 for direction in weights)
    if alone:
        message = (
            f"{listing(variables)} {'has' if len(variables) == 1 else 'have'} no effect on the likelihood of the data: "
            f"any value is as good as another."
        )
        remedy = (
            f"Remove {'it' if len(variables) == 1 else 'them'} from the model, or keep the prior "
            f"({_keep(parameters, variables)}). The estimates of everything else hold."
        )
    else:
        message = (
            f"The data do not determine {listing(variables)} separately: the likelihood does not change along "
            f"{_ways(parameters, labels, directions)}."
        )
        remedy = (
            f"Remove or fix {count} of them (fix=...), or let a prior decide ({_keep(parameters, variables)}). Their "
            f"estimates and standard errors are withheld; those of everything else hold."
        )
    return Finding("not_identified", tuple(variables), message, {"directions": weights}, remedy)


def _keep(parameters: Parameters, labels: Sequence[str]) -> str:
    return f"keep_priors=[{names_of(parameters, labels)[0]!r}]"


def _ways(parameters: Parameters, labels: Sequence[str], directions: np.ndarray) -> str:
    """Level directions in words: as formulas where these are plain, else by what can be traded."""
    count = directions.shape[1]
    plain = [label for entry in parameters.layout for label in entry.labels]
    texts = []
    for direction in directions.T:
        used = [label for label, weight in zip(labels, direction, strict=True) if weight]
        sizes = np.abs(direction[direction != 0])
        simple = np.all(np.abs(sizes / sizes.max() - np.round(2 * sizes / sizes.max()) / 2) < 1e-3)
        if simple or all(label in plain for label in used):
            texts.append(direction_text(labels, direction))
        else:
            texts.append(f"a curve on which {listing(used)} are traded against each other")
    directions_text = "this direction" if count == 1 else f"these {count} directions"
    return f"{directions_text}: {'; '.join(texts[:5])}{' …' if count > 5 else ''}"


def at_limit(
    parameters: Parameters, x: np.ndarray, special: Special, basis: np.ndarray, value: float
) -> tuple[Status, list[Finding]]:
    """Suprema at infinity, maxima on the edge of the parameter space, or both."""
    drift = special.drift
    ends = limits(parameters.constrained, x, drift)
    labels = parameters.layout.labels
    lost = without_limit(parameters.constrained, x, special)
    pinned = pinned_at_limit(parameters.constrained, parameters.jacobian(x), x, drift, basis) & ~lost
    named = pinned if np.any(pinned) else travel(parameters.constrained, x, drift) > 0
    where = {label: float(ends[labels.index(label)]) for label in marked(parameters, named)}
    also = [label for label in marked(parameters, lost) if label not in where]
    infinite = {label: end for label, end in where.items() if np.isinf(end)}
    edges = {label: end for label, end in where.items() if np.isfinite(end)}
    findings = []
    if infinite:
        findings.append(_at_infinity(parameters, infinite, value, also))
    if edges or not infinite:
        findings.append(_on_boundary(parameters, edges, value, [] if infinite else also))
    return (Status.AT_INFINITY if infinite else Status.BOUNDARY), findings


def _lost_too(also: Sequence[str]) -> str:
    return f" There the data say nothing about {listing(also)} any more." if also else ""


def _number(value: float) -> str:
    return f"{value if abs(value) > 1e-8 else 0.0:.6g}"


def _others(parameters: Parameters, named: Sequence[str], text: str) -> str:
    """A sentence about the other parameters, where there are any."""
    return text if len(set(parameters.layout.labels) - set(named)) else ""


def _at_infinity(parameters: Parameters, infinite: dict[str, float], value: float, also: Sequence[str]) -> Finding:
    arrows = listing([f"{label} → {'+' if end > 0 else '−'}∞" for label, end in infinite.items()])
    message = (
        f"No finite estimate: the likelihood keeps rising as {arrows}, towards a log-likelihood of {_number(value)} "
        f"that it never reaches.{_lost_too(also)}"
    )
    rest = " Estimates and standard errors of the other parameters are those in the limit."
    remedy = (
        f"Report a one-sided interval (interval(kind='profile')), simplify the model, or keep a prior "
        f"({_keep(parameters, list(infinite))}).{_others(parameters, [*infinite, *also], rest)}"
    )
    return Finding("at_infinity", (*infinite, *also), message, {"limit": infinite, "supremum": value}, remedy)


def _on_boundary(parameters: Parameters, edges: dict[str, float], value: float, also: Sequence[str]) -> Finding:
    ends_text = listing([f"{label} = {end:.6g}" for label, end in edges.items()])
    if ties := _ties(parameters, edges):
        ends_text = listing(ties)
    origin = _bound_from_prior(parameters, edges)
    message = f"The likelihood is largest on the edge of the parameter space, at {ends_text}.{_lost_too(also)}{origin}"
    rest = f" Standard errors of the other parameters hold given {'this value' if len(edges) == 1 else 'these values'}."
    remedy = (
        "Where values are equal, their standard error is that of the common value."
        if ties
        else f"There is no standard error for {listing(list(edges))}: report a one-sided interval."
        f"{_others(parameters, [*edges, *also], rest)}"
    )
    return Finding("boundary", (*edges, *also), message, {"limit": edges, "supremum": value}, remedy)


def at_latent_edges(
    parameters: Parameters, x: np.ndarray, drift: np.ndarray, finding: Finding, latents: Mapping[str, Sequence[str]]
) -> list[Finding]:
    """What a boundary finding means where scales and correlations of latent variables are on an edge.

    Parameters
    ----------
    parameters : Parameters
    x, drift : ndarray
        The optimum, and the way to the edge.
    finding : Finding
        That says so of all edges.
    latents : mapping of str to sequence of str
        For each variable the latent values that have no effect on the data with it on its edge, in words.
    """
    ends = dict(zip(parameters.layout.labels, limits(parameters.constrained, x, drift), strict=True))
    rest, findings = dict(finding.evidence["limit"]), []
    supremum = finding.evidence["supremum"]
    for name, values in latents.items():
        edges = {label: end for label, end in rest.items() if names_of(parameters, [label]) == [name]}
        own = [end for label, end in ends.items() if names_of(parameters, [label]) == [name]]
        named = edges
        if (transform := getattr(parameters.transforms[name], "name", None)) == "cholesky-cov-packed":
            named = _of_factor(name, np.array(own))
        elif transform == "cholesky_corr_asinh":
            named = {label: end for label, end in edges.items() if end != 0}
        if scales := {label: end for label, end in named.items() if end == 0}:
            findings.append(_no_variation(scales, list(edges), values, supremum, single=name in scales))
        if correlations := {label: end for label, end in named.items() if abs(end) == 1}:
            findings.append(_correlated(correlations, list(edges), values, supremum))
        if scales or correlations:
            rest = {label: end for label, end in rest.items() if label not in edges}
    others = [label for label in finding.variables if label not in finding.evidence["limit"]]
    return [*findings, *([_on_boundary(parameters, rest, supremum, others)] if rest else [])]


def _of_factor(name: str, packed: np.ndarray) -> dict[str, float]:
    """Scales of 0, else correlations of ±1, of a covariance matrix by its packed factor; named as PyMC does."""
    size = int(np.sqrt(2 * packed.size))
    factor = np.zeros((size, size))
    factor[np.tril_indices(size)] = packed
    lengths = np.linalg.norm(factor, axis=1)
    if not np.all(lengths > 0):
        return {f"{name}_stds[{k}]": 0.0 for k in np.flatnonzero(lengths == 0)}
    matrix = factor @ factor.T / np.outer(lengths, lengths)
    pairs = zip(*np.tril_indices(size, -1), strict=True)
    return {f"{name}_corr[{j}, {i}]": float(np.round(matrix[i, j])) for i, j in pairs if abs(matrix[i, j]) > 1 - 1e-12}


def _no_variation(
    scales: dict[str, float], edges: Sequence[str], values: Sequence[str], supremum: float, single: bool
) -> Finding:
    named = listing(list(scales))
    message = (
        f"{listing([f'{label} = 0' for label in scales])}: {listing(values)} vary no more than chance would make them, "
        f"and the estimate of their scale is exactly 0. Everything else is as in the model without this variation."
    )
    test = f"lr_test against fix={{{next(iter(scales))!r}: 0}}" if single else "lr_test"
    remedy = (
        f"That does not prove that there is none: interval(kind='profile') has the largest {named} that the data "
        f"allow. There is no standard error for {named}, and so no Wald interval or test; {test} takes the "
        f"law that holds on this edge. A posterior (pm.sample) shows how large {named} may be after all: it averages "
        f"over what data and prior leave possible. Standard errors of the other parameters hold given this value."
    )
    return Finding(
        "boundary", tuple(dict.fromkeys([*scales, *edges])), message, {"limit": scales, "supremum": supremum}, remedy
    )


def _correlated(
    correlations: dict[str, float], edges: Sequence[str], values: Sequence[str], supremum: float
) -> Finding:
    message = (
        f"{listing([f'{label} = {end:g}' for label, end in correlations.items()])}: as estimated, one effect is an "
        f"exact multiple of another, so that {listing(values)} add nothing of their own."
    )
    named = listing(list(dict.fromkeys([*correlations, *edges])))
    remedy = (
        f"With few groups the largest likelihood is often on this edge: it does not prove a perfect correlation. Where "
        f"it can be followed, interval(kind='profile') shows which others agree with the data. There is no standard "
        f"error for {named}; compare with a model without the correlation or the effect by lr_test(..., "
        f"n_bootstrap=1000). A posterior "
        f"(pm.sample) averages over the correlations that data and prior leave possible. Standard errors of the other "
        f"parameters hold given this value."
    )
    return Finding(
        "boundary",
        tuple(dict.fromkeys([*correlations, *edges])),
        message,
        {"limit": correlations, "supremum": supremum},
        remedy,
    )


def _ties(parameters: Parameters, edges: dict[str, float]) -> list[str]:
    """Elements of an ordered vector that fall together: no bound, but their neighbor, stops them."""
    ties = []
    for entry in parameters.layout:
        if getattr(parameters.transforms[entry.name], "name", None) == "ordered":
            ties += [f"{a} = {b}" for a, b in zip(entry.labels, entry.labels[1:], strict=False) if b in edges]
    return ties if len(ties) == len(edges) else []


def _bound_from_prior(parameters: Parameters, where: dict[str, float]) -> str:
    """Say so where a bound is one the user declared, not one of the quantity's nature."""
    for name in names_of(parameters, list(where)):
        bounds = parameters.declared_bounds(name)
        values = [end for label, end in where.items() if label == name or label.startswith(f"{name}[")]
        for bound in bounds:
            if any(np.isclose(bound, value, rtol=1e-6, atol=1e-9) for value in values):
                kind = "correlation" if bounds == [-1.0, 1.0] else "probability or a share" if bound in (0, 1) else ""
                natural = f"natural for a {kind}" if kind else "not one of the data"
                return (
                    f" {bound:g} is where the support of the prior declared for {name} ends "
                    f"({parameters.priors[name]}; {natural}): if it is not meant, widen it."
                )
    return ""


def owners(parameters: Parameters, marks: np.ndarray) -> tuple[str, ...]:
    """The variables that the marked entries of the vector belong to; all of them if none is marked."""
    own = dict(zip(parameters.unconstrained.names, parameters.layout.names, strict=True))
    marked_names = np.array(parameters.unconstrained.owners())[marks]
    return tuple(dict.fromkeys(own[name] for name in marked_names)) or tuple(parameters.layout.names)


def unbounded(parameters: Parameters, x: np.ndarray, extreme: np.ndarray) -> Finding:
    """The search ran away."""
    names = owners(parameters, extreme)
    moved = np.abs(parameters.jacobian(x)) @ extreme.astype(float) > 0 if np.any(extreme) else np.ones(0, dtype=bool)
    values = dict(zip(parameters.layout.labels, parameters.constrained(x), strict=True))
    labels = marked(parameters, moved) if np.any(moved) else []
    labels = labels or [label for label in values if names_of(parameters, [label])[0] in names]
    shrunk = [label for label in labels if 0 < abs(values[label]) < 1e-6]
    ends = listing([f"{label} → {_end(parameters, label, values[label])}" for label in shrunk or labels], most=4)
    message = f"The likelihood grows without bound as {ends}: there is no largest value."
    if potentials := parameters.potentials:
        cause = (
            f"A likely cause is a wrong sign in the Potential {listing(potentials)}: it is added to the "
            f"log-likelihood, so that a squared deviation needs a minus sign."
        )
    elif shrunk:
        cause = (
            "A scale runs to zero where the model fits one or all of the observations it belongs to exactly: do these "
            "need parameters of their own? Where it does not fit them, a term of the log-likelihood has the wrong sign."
        )
    else:
        cause = "Are some variables exact functions of each other, or has a term of the likelihood the wrong sign?"
    remedy = (
        f"{cause} Otherwise hold {names[0]} at a value (fix={{{names[0]!r}: ...}}) or keep its prior "
        f"(keep_priors=[{names[0]!r}])."
    )
    return Finding("unbounded", names, message, {"reached": {label: float(values[label]) for label in labels}}, remedy)


def _end(parameters: Parameters, label: str, value: float) -> str:
    """Where a value that ran away was heading."""
    if abs(value) < 1e-6:
        return "0"
    name = names_of(parameters, [label])[0]
    near = [bound for bound in parameters.declared_bounds(name) if np.isclose(bound, value, rtol=1e-6)]
    return f"{near[0]:g}" if near else "∞" if value > 0 else "−∞"


def unbounded_elsewhere(variables: tuple[str, ...]) -> Finding:
    """Another start found an infinite likelihood."""
    message = (
        f"Elsewhere the likelihood grows without bound (along {listing(variables)}). That is no estimate: this is the "
        f"best maximum that was found where it is finite."
    )
    return Finding("unbounded_elsewhere", variables, message)


def many_maxima(parameters: Parameters, starts: int, maxima: int) -> Finding:
    """Every start ended elsewhere."""
    message = (
        f"The likelihood has many maxima: {starts} starts ended at {maxima} different ones, and this, the highest, was "
        f"reached only once. A higher one may have been missed."
    )
    name = parameters.layout.names[0]
    remedy = f"Use more starts (starts=200), or start near the answer (initvals={{{name!r}: ...}}); see plot_starts."
    return Finding("many_maxima", tuple(parameters.layout.names), message, {"maxima": maxima}, remedy)


def incidental(name: str, size: int, rows: int, others: Sequence[str]) -> Finding:
    """As many parameters as units."""
    message = (
        f"{name} has {size} elements, each determined by {rows} observation{'s' if rows != 1 else ''} only (incidental "
        f"parameters): in many models the estimates of {listing(others)} are then off, however many there are."
    )
    remedy = f"Integrate them out, with a distribution of their own (integrate=[{name!r}]), or sample the model."
    return Finding("incidental_parameters", (name,), message, {"observations_each": rows}, remedy)


def missing(name: str) -> Finding:
    """Missing values that PyMC imputes."""
    own = name.removesuffix("_unobserved")
    message = (
        f"{own} has missing values, which PyMC turned into the latent variable {name}. Rows are independent, so that "
        f"integrating it out leaves the likelihood of the rows that were observed: the others were dropped."
    )
    return Finding("missing_values", (own,), message)


def coarse_integral(names: Sequence[str], shift: float, points: int) -> Finding:
    """More nodes would move the estimates."""
    method = "Laplace's method is" if points == 1 else f"quadrature with {points} nodes is"
    message = (
        f"{method} not accurate here: a better integral over the latent variables would move {listing(names)} by up to "
        f"{shift:.2g} standard errors."
    )
    message = message[0].upper() + message[1:]
    remedy = f"Estimate with quadrature_points={25 if points < 25 else 2 * points}."
    return Finding("coarse_integral", tuple(names), message, {"shift": shift}, remedy)


def one_each(name: str) -> Finding:
    """Each element of a latent variable has a scale of its own."""
    message = (
        f"Each element of {name} has parameters of its own in its prior: where these include its location, one value "
        f"cannot show how much values vary, and the maximum is always at a scale of 0, with the location the estimate "
        f"of {name} itself."
    )
    remedy = "Let several elements share a location and a scale, or keep the prior of the scale."
    return Finding("one_each", (name,), message, {}, remedy)


def no_constant(name: str, mean: float, gain: float) -> Finding:
    """The mean of a normal model lacks a constant."""
    message = (
        f"The mean of {name} has no constant (intercept), and the residuals average {mean:.3g}: adding one would raise "
        f"the log-likelihood by about {gain:.3g}."
    )
    return Finding("no_constant", (name,), message, {"gain": gain}, "Leave it out only if the model demands it.")


def singular(parameters: Parameters, x: np.ndarray, directions: Sequence[np.ndarray]) -> Finding:
    """A strict maximum without curvature."""
    columns = np.stack(directions, axis=1)
    labels = coordinates(parameters)
    moved = [label for label, row in zip(labels, np.abs(columns), strict=True) if row.max() > 0]
    variables = marked(parameters, slides(parameters.jacobian(x), columns)) or moved
    message = (
        f"The likelihood falls to both sides of this point, but it has no curvature there in {listing(variables)}: the "
        f"information matrix is singular."
    )
    remedy = (
        f"Standard errors and Wald intervals do not exist for {listing(variables)}; use the likelihood itself, or "
        f"reparametrize."
    )
    return Finding("singular_information", tuple(variables), message, {}, remedy)


def ill_conditioned(parameters: Parameters, directions: Sequence[np.ndarray]) -> Finding:
    """Curvature below what double precision resolves."""
    labels = coordinates(parameters)
    rows = np.abs(np.stack(directions, axis=1)).max(axis=1)
    variables = [label for label, row in zip(labels, rows, strict=True) if row > 0]
    message = (
        f"{listing(variables)} are so strongly related that double precision cannot tell them apart: the maximum "
        f"exists, but it was reached only roughly, and its standard errors cannot be computed."
    )
    remedy = "Center and scale the covariates, or use orthogonal polynomials instead of powers."
    return Finding("ill_conditioned", tuple(variables), message, {}, remedy)


def support_edge(parameters: Parameters, x: np.ndarray, directions: np.ndarray) -> Finding:
    """The support of the data depends on a parameter."""
    variables = marked(parameters, slides(parameters.jacobian(x), directions))
    values = dict(zip(parameters.layout.labels, parameters.constrained(x), strict=True))
    ends = listing([f"{label} = {values[label]:.8g}" for label in variables])
    message = (
        f"The maximum is where the range of possible data ends: beyond {ends} some observation becomes impossible, and "
        f"up to there the likelihood rises."
    )
    remedy = (
        f"The estimate is the maximum; standard errors and the usual χ² limits do not apply to {listing(variables)}. "
        f"Where it is one parameter, interval(kind='profile') uses the law that does."
    )
    return Finding("support", tuple(variables), message, {}, remedy)


def kink(parameters: Parameters, x: np.ndarray, directions: np.ndarray) -> Finding:
    """The likelihood is not smooth at its maximum."""
    variables = marked(parameters, slides(parameters.jacobian(x), directions))
    message = f"The likelihood has a kink or a jump at the best point found, in {listing(variables)}."
    remedy = "Its curvature there says nothing about the uncertainty: their standard errors are withheld."
    return Finding("kink", tuple(variables), message, {}, remedy)


def plateau(parameters: Parameters, x: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Finding:
    """The likelihood is exactly level over a range."""
    jacobian = parameters.jacobian(x)
    variables = marked(parameters, slides(jacobian, (upper - lower)[:, None]))
    ends = [dict(zip(parameters.layout.labels, parameters.constrained(z), strict=True)) for z in (lower, upper)]
    ranges = {label: tuple(sorted(float(end[label]) for end in ends)) for label in variables}
    text = listing([f"{label} between {low:.6g} and {high:.6g}" for label, (low, high) in ranges.items()])
    message = (
        f"The likelihood is the same for every value of {text}, and lower outside: the data say no more about "
        f"{listing(variables)} than this range. Its middle is reported."
    )
    remedy = "There is no standard error for it; those of the other parameters hold given this value."
    return Finding("plateau", tuple(variables), message, {"range": ranges}, remedy)


def saddle(parameters: Parameters, optimum: Optimum) -> Finding:
    """Stationary, but not a maximum."""
    labels = coordinates(parameters)
    text = direction_text(labels, optimum.eigen.direction(0))
    message = (
        f"The search ended at a point that is stationary but no maximum: the likelihood curves upwards along {text}."
    )
    return Finding(
        "saddle", tuple(parameters.layout.names), message, {}, "Start elsewhere: initvals=, or more starts=."
    )


def not_converged(parameters: Parameters, optimum: Optimum) -> Finding:
    """The search ended on a slope."""
    steep = np.argsort(-np.abs(optimum.eigen.rotate(optimum.gradient)))[:3]
    labels = coordinates(parameters)
    weights = np.abs(optimum.eigen.vectors[:, steep[0]])
    variables = [labels[k] for k in np.flatnonzero(weights > 0.3 * weights.max())]
    left = optimum.decrement
    amount = f"about {left:.2g} of log-likelihood may be left" if 1e-6 < left < 1e4 else "the likelihood is level here"
    amount = amount if left < 1e4 else "it was still rising steeply"
    message = f"The search ended before a maximum ({optimum.stop}): {amount}, mostly along {listing(variables)}."
    remedy = "Start nearer to the answer (initvals=), use more starts (starts=20), or rescale the data."
    return Finding("not_converged", tuple(variables), message, {"decrement": left}, remedy)


def rounding(parameters: Parameters, optimum: Optimum) -> Finding:
    """A maximum of rounding errors."""
    names = tuple(parameters.layout.names)
    message = (
        "The highest point that was found lies where the log-likelihood consists of rounding errors: whether there is "
        "a maximum cannot be told."
    )
    remedy = (
        f"Center and scale the data, start nearer to the answer (initvals=), or keep a prior "
        f"(keep_priors=[{names[0]!r}])."
    )
    return Finding("rounding", names, message, {"value": optimum.value}, remedy)


def not_finite(parameters: Parameters, optimum: Optimum) -> Finding:
    """No finite value at the start."""
    names = parameters.layout.names
    message = "The log-likelihood or its derivatives are not finite at the starting point."
    remedy = f"Give starting values at which the data are possible: initvals={{{names[0]!r}: ...}}." if names else ""
    return Finding("not_finite", tuple(names), message, {}, remedy)
