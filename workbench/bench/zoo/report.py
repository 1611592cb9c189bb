"""What a study says in the end: its tables, what is asked and was missed, and what could not be done at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.bench.zoo import bars, shipped
from workbench.bench.zoo.rows import Row
from workbench.bench.zoo.table import errors, failure_curve, table

Lines = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Report:
    """Tables by their titles, each a list of lines, and what falls short, in words."""

    tables: dict[str, Lines]
    missed: tuple[str, ...]


def of_shipped(rows: Sequence[Row]) -> Report:
    """The report on the shipped organisms."""
    return Report({"rows": shipped.table(rows)}, tuple(shipped.missed(rows)))


def of_split(rows: Sequence[Row]) -> Report:
    """The report on a split: by arm and family, the bars, the failure curve, and errors; empty tables are left out."""
    tables = {
        "rows": table(rows),
        "adaptive planters": failure_curve(rows),
        "bars": bars.judged(rows),
        "errors": errors(rows),
    }
    return Report({title: lines for title, lines in tables.items() if lines}, tuple(bars.missed(rows)))
