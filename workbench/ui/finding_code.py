"""Findings as Python: enough of one to retrain against it or to trace it, without what it elicits."""

from math import isfinite

from workbench.report import Finding, SwitchReport, conclude
from workbench.ui.history import Edits
from workbench.ui.source import source


def finding_code(finding: Finding) -> str:
    """Python that makes a Finding of the same Edits and figures; parts and portrait are left out."""
    rho = source(finding.rho) if isfinite(finding.rho) else 'float("nan")'
    return (
        f"wb.Finding(edits={source(finding.edits)}, score={finding.score!r}, rho={rho}, goal_met={finding.goal_met}, "
        f"control={finding.control!r}, surgeon={finding.surgeon!r}, agent=agent.name)"
    )


def bare(finding: Finding, agent: str) -> Finding:
    """What `finding_code` makes, on an Agent of that name."""
    figures = (finding.edits, finding.score, finding.rho, finding.goal_met, finding.control, finding.surgeon)
    return Finding(*figures, agent)


def by_hand(edits: Edits, agent: str) -> Finding:
    """A Finding of Edits that nobody has judged."""
    return Finding(edits, 0.0, float("nan"), False, 0.0, "by hand", agent)


def report_of(finding: Finding, agent: str) -> SwitchReport:
    """A report of that Finding alone; its code: `wb.conclude([finding], agent=agent.name)`."""
    return conclude([bare(finding, agent)], agent=agent)
