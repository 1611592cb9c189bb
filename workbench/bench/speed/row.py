"""A measured figure: what was timed on what, how long a unit of it took, and beside what."""

from dataclasses import dataclass
from math import nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way of doing one thing, timed.

    part: which measurement (`PARTS`); subject: the shape, architecture or quantity varied; method: the way; layer:
    the block of the site, None for all layers in turn; count: units in each timing (edits, steps) or, in `scaling`, the
    value of the quantity varied. cpu, wall: seconds a unit, medians over repeats; nan where nothing was run. ratio: how
    many times faster than the naive loop (sweeps, architectures), how long beside a plain forward and backward (hunts)
    or a plain training step (retraining), the slope of log time over log size (scaling). over_floor: time over
    the least that the FLOPs allow. error: largest |loss - naive loss| / (1 + |naive loss|). note: what else to know.
    """

    part: str
    subject: str
    method: str
    layer: int | None = None
    count: int = 0
    cpu: float = nan
    wall: float = nan
    ratio: float = nan
    over_floor: float = nan
    error: float = nan
    note: str = ""
