"""The verdict on a fit: a status, and findings that name variables and say what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from typing import Any


class Status(StrEnum):
    """What an estimate is; the first that applies, in this order."""

    NOT_CONVERGED = "NOT_CONVERGED"
    SADDLE = "SADDLE"
    UNBOUNDED = "UNBOUNDED"
    IRREGULAR = "IRREGULAR"
    NOT_IDENTIFIED = "NOT_IDENTIFIED"
    AT_INFINITY = "AT_INFINITY"
    BOUNDARY = "BOUNDARY"
    CONVERGED = "CONVERGED"

    @property
    def is_failure(self) -> bool:
        """No maximum was found at all."""
        return self in (Status.NOT_CONVERGED, Status.SADDLE, Status.UNBOUNDED)


MEANING = {
    Status.NOT_CONVERGED: "the search ended before it reached a maximum",
    Status.SADDLE: "the search ended at a saddle, not at a maximum",
    Status.UNBOUNDED: "the likelihood grows without bound: there is no maximum-likelihood estimate",
    Status.IRREGULAR: "a maximum without the smoothness that standard errors need",
    Status.NOT_IDENTIFIED: "the data do not determine all parameters",
    Status.AT_INFINITY: "the likelihood keeps rising towards infinite parameter values and has no maximum",
    Status.BOUNDARY: "the maximum lies on the edge of the parameter space",
    Status.CONVERGED: "a regular interior maximum",
}

_COLORS = {"ok": "#1a7f37", "warning": "#9a6700", "failure": "#cf222e"}


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about a fit.

    Attributes
    ----------
    kind : str
        ``not_identified``, ``at_infinity``, ``boundary``, ``unbounded_elsewhere``, ``incidental_parameters``, ...
    variables : tuple of str
        Labels of the scalars, or names of the variables, it is about.
    message : str
        What was found, in a sentence or two.
    evidence : dict
        Numbers behind it.
    remedy : str
        What to do.
    """

    kind: str
    variables: tuple[str, ...]
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


@dataclass(frozen=True)
class Verdict:
    """Status and findings of a fit.

    Attributes
    ----------
    status : Status
    findings : tuple of Finding
    """

    status: Status
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """A regular interior maximum: every number of the estimate has its usual meaning."""
        return self.status is Status.CONVERGED

    @property
    def message(self) -> str:
        """The status, what it means, and the findings, as text."""
        return "\n".join([f"{self.status}: {MEANING[self.status]}.", *(f"- {finding}" for finding in self.findings)])

    def __repr__(self) -> str:
        return self.message

    def _repr_html_(self) -> str:
        severity = "ok" if self.ok else "failure" if self.status.is_failure else "warning"
        items = "".join(f"<li>{escape(str(finding))}</li>" for finding in self.findings)
        return (
            f'<div style="border-left: 4px solid {_COLORS[severity]}; padding: 0.2em 0.8em">'
            f'<strong style="color: {_COLORS[severity]}">{self.status}</strong>: {escape(MEANING[self.status])}.'
            + (f"<ul>{items}</ul>" if items else "")
            + "</div>"
        )
