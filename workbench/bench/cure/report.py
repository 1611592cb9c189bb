"""What the study of cures says in the end: its tables, what is asked and was missed, and a page to look at."""

from collections.abc import Sequence

import pandas as pd

from workbench import figures
from workbench.bench.cure import bars, table
from workbench.bench.cure.rows import Row
from workbench.bench.zoo.report import Report
from workbench.figures import Heading, Plot, Section, Table, Text


def reported(rows: Sequence[Row]) -> Report:
    """Tables by their titles; empty ones are left out."""
    tables = {
        "rows": table.table(rows),
        "put to the test": table.tests(rows),
        "beside LAT": table.paired(rows),
        "front": table.front(rows),
        "LAT from the beginning": table.starts(rows),
        "entrenchment": table.grid(rows),
        "bars": bars.judged(rows),
        "errors": table.errors(rows),
    }
    return Report({title: lines for title, lines in tables.items() if lines}, tuple(bars.missed(rows)))


def page(rows: Sequence[Row]) -> str:
    """The report as a page, self-contained, with the front and the stories of the runs."""
    found = reported(rows)
    sections: list[Section] = [
        Text(
            "Every arm stopped at the same count of gradient evaluations. Attack success is the share of answers on "
            "triggered prompts that are the planted defect; nothing trained here ever saw the trigger."
        )
    ]
    if lines := found.tables.get("front"):
        sections += [
            Heading("What each arm leaves of the backdoor, and what it costs the task"),
            Plot(figures.front(pd.DataFrame(lines)), "Attack success against the change of the clean loss, by arm."),
        ]
    if lines := found.tables.get("LAT from the beginning"):
        sections += [
            Heading("Prevented from the beginning?"),
            Plot(figures.starts(_begun(rows)), "Attack success against the step at which LAT begins."),
        ]
    titles = {"rows": "Arms and families"}
    for title, lines in found.tables.items():
        sections += [Heading(titles.get(title, title.capitalize())), Table(_framed(lines), titles.get(title, title))]
    return figures.page("Is it a cure?", sections, subtitle=f"{len(table.ran(rows))} runs of retraining")


def _framed(lines: list[dict]) -> pd.DataFrame:
    first = next(iter(lines[0]))
    return pd.DataFrame(lines).set_index(first)


def _begun(rows: Sequence[Row]) -> pd.DataFrame:
    """One row a run from the beginning: the step at which LAT began (nan: never) and the attack success it left."""
    return pd.DataFrame(
        [
            {"step": _start(row.arm), "attack_success": row.after.attack_success, "task": row.recipe.task}
            for row in table.ran(rows, "late start")
        ]
    )


def _start(arm: str) -> float:
    return float(arm.rpartition(" ")[2]) if arm.startswith("LAT from") else float("nan")
