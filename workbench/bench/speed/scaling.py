"""How the time grows with the number of edits, prompts, positions, layers and neurons; and one whole heatmap."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from workbench.bench.speed import ways
from workbench.bench.speed.clock import Timing, interleaved
from workbench.bench.speed.row import Row
from workbench.bench.speed.subjects import SHAPES, SITE, Shape, Subject, subject
from workbench.bench.speed.sweeps import NAIVE
from workbench.bench.speed.ways import Evaluate, Work
from workbench.goals import UntargetedLoss
from workbench.heatmap import sweep
from workbench.sites import Site

ENGINE = "engine"
SWEEP = "heatmap.sweep"
SLOPE = "engine, slope"
_DOSES = (-8.0, -4.0, -2.0, -1.0, 1.0, 2.0, 4.0, 8.0)
EDITS = 32
"""How many, where something else is varied."""
POINTS: Mapping[str, tuple[int, ...]] = {
    "edits": (4, 16, 64, 256),
    "prompts": (4, 8, 16, 32, 64, 128),
    "positions": (8, 16, 32, 64),
    "layers": (2, 4, 8),
    "neurons": (64, 256, 1024),
}
_FIELDS = {"prompts": "prompts", "positions": "length", "layers": "layers", "neurons": "d_mlp"}
FITTED = {"edits": 16, "prompts": 8}
"""From where on a slope of 1 is asked: below, what a call costs whatever its size counts too."""


def scaling(
    quantity: str, repeats: int, device: str, points: Sequence[int] = (), shape: Shape = SHAPES["tiny"]
) -> list[Row]:
    """The time of a call of 32 edits for several values of one quantity: after block 0, at all positions.

    Naive figures are those of one edit, times the number of edits. The last row is the slope of the engine's log time
    over log value; over the range from `FITTED` on, where that says one.
    """
    jobs, scale = {}, {}
    usual, values = subject(shape, device), points or POINTS[quantity]
    for value in values:
        other = usual if quantity == "edits" else subject(replace(shape, **{_FIELDS[quantity]: value}), device)
        edits = value if quantity == "edits" else EDITS
        jobs |= {(ENGINE, value): _job(ways.engine, other, edits), (NAIVE, value): _job(ways.naive, other, 1)}
        scale |= {(ENGINE, value): 1.0, (NAIVE, value): 1 / edits}
    for job in jobs.values():
        job()
    times = interleaved(jobs, repeats, torch.device(device))
    rows = [
        Row(part="scaling", subject=quantity, method=method, count=value, cpu=t.cpu, wall=t.wall)
        for (method, value), t in ((key, timing / scale[key]) for key, timing in times.items())
    ]
    slope = _slope([row for row in rows if row.method == ENGINE], FITTED.get(quantity, 0), device)
    return [*rows, Row(part="scaling", subject=quantity, method=SLOPE, ratio=slope, note=_range(quantity, values))]


def _job(way: Callable[[Work], Evaluate], on: Subject, edits: int) -> Callable[[], Any]:
    work = Work(on.agent, on.prompts, Site(f"blocks.0.{SITE}"), UntargetedLoss())
    return partial(way(work), on.deltas(edits))


def _slope(rows: Sequence[Row], least: int, device: str) -> float:
    """The slope of log time over log value, by least squares; nan for fewer than two values."""
    used = [row for row in rows if row.count >= least]
    seconds = [Timing(row.cpu, row.wall).seconds(torch.device(device)) for row in used]
    if len(used) < 2:
        return float("nan")
    return float(np.polyfit(np.log([row.count for row in used]), np.log(seconds), 1)[0])


def _range(quantity: str, values: Sequence[int]) -> str:
    """The values that the slope is of."""
    used = [value for value in values if value >= FITTED.get(quantity, 0)]
    return f"from {min(used)} to {max(used)}" if used else ""


def whole_sweep(repeats: int, device: str, shape: Shape = SHAPES["tiny"]) -> list[Row]:
    """A heatmap as users call it: every neuron of every layer, eight doses, at the last position."""
    on = subject(shape, device)
    sites = [f"L{layer}.mlp.post" for layer in range(shape.layers)]
    run = partial(sweep, on.agent, on.prompts, site=sites, doses=_DOSES, positions=(shape.length - 1,))
    cells = int(run().size)
    spent = interleaved({SWEEP: run}, min(repeats, 3), on.agent.device)[SWEEP]
    note = f"{cells} edits: {len(sites)} sites, {shape.d_mlp} neurons, {len(_DOSES)} doses"
    return [Row(part="heatmap", subject=shape.name, method=SWEEP, count=1, cpu=spent.cpu, wall=spent.wall, note=note)]
