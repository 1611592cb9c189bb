"""The study of cures: recipes at an equal count of gradients on organisms, and whether a cure is a cure.

`study(planned(SPLITS["dev"]), Ledger(path, Row))` yields a Row a run. What an arm is and what is asked are data: `arms`
and `bars`.
"""

from workbench.bench.cure.arms import ARMS, DEFAULT, GRADIENTS
from workbench.bench.cure.jobs import Plan, planned, study
from workbench.bench.cure.report import page, reported
from workbench.bench.cure.rows import Row
from workbench.bench.zoo.ledger import Ledger
from workbench.bench.zoo.report import Report
from workbench.bench.zoo.splits import SPLITS

__all__ = [
    "ARMS",
    "DEFAULT",
    "GRADIENTS",
    "SPLITS",
    "Ledger",
    "Plan",
    "Report",
    "Row",
    "page",
    "planned",
    "reported",
    "study",
]
