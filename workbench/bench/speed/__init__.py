"""How fast edits are evaluated, beside what people write today, and what of that is asked."""

from workbench.bench.speed.asked import Check, checks, shortfalls
from workbench.bench.speed.host import machine
from workbench.bench.speed.measurements import PARTS, Measurement, plan
from workbench.bench.speed.report import tables
from workbench.bench.speed.row import Row
from workbench.bench.speed.subjects import SHAPES, Shape

__all__ = [
    "PARTS",
    "SHAPES",
    "Check",
    "Measurement",
    "Row",
    "Shape",
    "checks",
    "machine",
    "plan",
    "shortfalls",
    "tables",
]
