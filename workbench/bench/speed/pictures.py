"""The figures as one page: bars of what each way gains or costs, lines of how time grows, and every table."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.bench.speed.asked import Check, shortfalls
from workbench.bench.speed.report import tables
from workbench.bench.speed.row import Row
from workbench.figures.costs import cost_bars, growth
from workbench.figures.page import write_page
from workbench.figures.sections import Banner, Heading, Plot, Section, Table

_BARS = {
    "sweeps": ("Single-neuron edits, every layer in turn", "times as fast as the run_with_hooks loop", True),
    "architectures": ("Hugging Face architectures", "times as fast as the run_with_hooks loop", False),
    "hunts": ("A restart-step of the sphere ladder", "share of a plain forward and backward", False),
    "retraining": ("A step of latent adversarial training", "multiple of a plain training step", False),
}
"""For each part its title, its axis, and whether that is logarithmic."""
_REACHED = Banner("clear", "All that is asked was reached")


def write_plots(path: Path, machine: Mapping[str, Any], rows: Sequence[Row], found: Sequence[Check]) -> Path:
    """Write the page to a file, whole or not at all."""
    about = f"{machine['cpu']}, {machine['threads']} thread(s), GPU {machine['gpu']}, {machine['date']}"
    return write_page(path, "What edits cost", list(_sections(machine, rows, found)), subtitle=about)


def _sections(machine: Mapping[str, Any], rows: Sequence[Row], found: Sequence[Check]) -> Iterator[Section]:
    short = shortfalls(found)
    yield Banner("unsure", f"{len(short)} of {len(found)} figures fall short", "; ".join(short)) if short else _REACHED
    for part, (title, axis, log) in _BARS.items():
        table = _figures([row for row in rows if row.part == part], found)
        if not table.empty:
            yield Plot(cost_bars(table, title=title, axis=axis, log=log), f"Bars: {title}, {axis}.")
    sizes = _sizes(rows, machine["device"])
    if not sizes.empty:
        title = "Time of a call of 32 edits over each quantity, at the tiny shape"
        yield Plot(growth(sizes, title=title), f"Lines: {title}.")
    yield Heading("All figures")
    for title, lines in tables(rows, found, machine["device"]).items():
        yield Table(pd.DataFrame(lines).set_index("on"), caption=title)


def _figures(rows: Sequence[Row], found: Sequence[Check]) -> pd.DataFrame:
    """What is drawn of one part: single layers only where they are what differs."""
    lines = []
    for row in rows:
        if isnan(row.ratio) or (row.layer is not None and row.part == "sweeps"):
            continue
        way = row.method if row.layer is None else f"{row.method}, block {row.layer}"
        on, way = ("CPU", row.subject) if row.part == "architectures" else (row.subject, way)
        if row.part != "architectures" or row.ratio != 1:
            lines.append({"way": way, "on": on, "figure": row.ratio, "asked": _asked(row, found)})
    return pd.DataFrame(lines)


def _asked(row: Row, found: Sequence[Check]) -> float:
    """The bar on a row's ratio, nan where there is none."""
    for bar in (check.bar for check in found if check.bar.applies(row) and check.bar.figure == "ratio"):
        return bar.most if bar.least == -inf else bar.least
    return nan


def _sizes(rows: Sequence[Row], device: str) -> pd.DataFrame:
    """Seconds over size, from the part `scaling`."""
    return pd.DataFrame(
        [
            {
                "quantity": row.subject,
                "way": row.method,
                "value": row.count,
                "seconds": row.wall if device == "cuda" else row.cpu,
            }
            for row in rows
            if row.part == "scaling" and row.count
        ]
    )
