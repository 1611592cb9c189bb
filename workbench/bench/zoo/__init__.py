"""The study: arms that look for switches, on organisms of a split, scored by their answer keys.

`study(planned(SPLITS["dev"]), Ledger(path, Row))` yields a Row a job. What a split is, what an arm is and what is asked
are data: `splits`, `arms` and `bars`.
"""

from workbench.bench.zoo import shipped
from workbench.bench.zoo.jobs import Job, Plan, planned, study
from workbench.bench.zoo.ledger import Ledger
from workbench.bench.zoo.recipes import Recipe
from workbench.bench.zoo.report import Report, of_shipped, of_split
from workbench.bench.zoo.rows import BUILD, Found, Row
from workbench.bench.zoo.splits import SPLITS

__all__ = [
    "BUILD",
    "SPLITS",
    "Found",
    "Job",
    "Ledger",
    "Plan",
    "Recipe",
    "Report",
    "Row",
    "of_shipped",
    "of_split",
    "planned",
    "shipped",
    "study",
]
