"""What is asked of the figures: the bars, and which of them were reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from workbench.bench.speed.architectures import ARCHITECTURES, STRIPPED
from workbench.bench.speed.hunts import RESTART, lat
from workbench.bench.speed.row import Row
from workbench.bench.speed.scaling import SLOPE, SWEEP
from workbench.bench.speed.sweeps import DIFFERENCE, EVERYWHERE, LAST

EXACT = 1e-5
"""The largest |loss - naive loss| / (1 + |naive loss|) of a way that counts as exact, in fp32."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure of one row: within [least, most]."""

    part: str
    subject: str
    method: str
    layer: int | None
    figure: str
    least: float = float("-inf")
    most: float = float("inf")

    def applies(self, row: Row) -> bool:
        """Whether the row is the one meant, and was measured."""
        same = (row.part, row.subject, row.method, row.layer) == (self.part, self.subject, self.method, self.layer)
        return same and not isnan(getattr(row, self.figure))

    @property
    def words(self) -> str:
        """The bar as it is printed."""
        if self.least == float("-inf"):
            return f"at most {self.most:g}"
        return f"at least {self.least:g}" if self.most == float("inf") else f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True, slots=True)
class Check:
    """A bar beside the figure that was measured."""

    bar: Bar
    value: float

    @property
    def reached(self) -> bool:
        """Whether the figure is within the bar."""
        return self.bar.least <= self.value <= self.bar.most

    def __str__(self) -> str:
        where = "" if self.bar.layer is None else f", block {self.bar.layer}"
        name = f"{self.bar.part}, {self.bar.subject}, {self.bar.method}{where}"
        return f"{name}: {_FIGURES[self.bar.figure]} {self.value:.3g}, asked {self.bar.words}"


_FIGURES = {"ratio": "ratio", "over_floor": "times the floor", "error": "error", "cpu": "CPU seconds"}
BARS = (
    Bar("sweeps", "tiny", EVERYWHERE, None, "ratio", least=9.0),
    Bar("sweeps", "small", EVERYWHERE, None, "ratio", least=5.0),
    Bar("sweeps", "small", EVERYWHERE, None, "over_floor", most=2.2),
    Bar("sweeps", "tiny", LAST, None, "ratio", least=65.0),
    Bar("sweeps", "small", LAST, None, "ratio", least=65.0),
    Bar("sweeps", "gpt2-small", LAST, None, "ratio", least=90.0),
    Bar("sweeps", "gpt2-small", DIFFERENCE, None, "ratio", least=150.0),
    *(Bar("architectures", name, STRIPPED, None, "ratio", least=2.5) for name in ARCHITECTURES),
    *(
        Bar(part, shape, method, layer, "ratio", most=most)
        for shape in ("tiny", "small")
        for part, method, layer, most in (
            ("hunts", RESTART, 0, 0.30),
            ("hunts", RESTART, 2, 0.05),
            ("retraining", lat(4), 0, 2.1),
            ("retraining", lat(4), 2, 1.2),
        )
    ),
    Bar("heatmap", "tiny", SWEEP, None, "cpu", most=2.0),
    *(Bar("scaling", quantity, SLOPE, None, "ratio", least=0.9, most=1.1) for quantity in ("edits", "prompts")),
)
"""Those of speed are asked of a CPU. That every way is exact is asked everywhere, row by row."""


def checks(rows: Sequence[Row], *, speed: bool = True) -> list[Check]:
    """Every bar that a row was measured for. speed=False: only that ways are exact, as on a GPU."""
    found = [Check(bar, getattr(row, bar.figure)) for bar in BARS if speed for row in rows if bar.applies(row)]
    exact = [Bar(row.part, row.subject, row.method, None, "error", most=EXACT) for row in rows if _compared(row)]
    return found + [Check(bar, row.error) for bar in exact for row in rows if bar.applies(row)]


def _compared(row: Row) -> bool:
    return row.layer is None and not isnan(row.error)


def shortfalls(found: Sequence[Check]) -> list[str]:
    """What is asked and was not reached, in words; empty when all is well."""
    return [str(check) for check in found if not check.reached]
