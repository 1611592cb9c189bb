"""What there is to measure, one measurement after the other: run them in turn, stop whenever you like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from workbench.bench.speed.architectures import ARCHITECTURES, architecture
from workbench.bench.speed.hunts import hunts, retraining
from workbench.bench.speed.row import Row
from workbench.bench.speed.scaling import POINTS, scaling, whole_sweep
from workbench.bench.speed.subjects import SHAPES, Shape
from workbench.bench.speed.sweeps import sweeps
from workbench.errors import BadSettings, unknown

PARTS = ("sweeps", "architectures", "hunts", "retraining", "heatmap", "scaling")
"""What is measured, in this order."""
_TRAINED = ("tiny", "small")  # shapes that hunts and retraining are measured on


@dataclass(frozen=True, slots=True)
class Measurement:
    """A part of the benchmark, under a name to show while it runs."""

    name: str
    run: Callable[[], list[Row]]


def plan(
    shapes: Sequence[str] = (), parts: Sequence[str] = (), *, repeats: int = 5, device: str = "cpu"
) -> list[Measurement]:
    """The measurements of these shapes and parts (empty: all). Nothing is run before their `run` is called.

    Raises UnknownName for a shape or a part there is not, BadSettings for fewer than one repeat.
    """
    for kind, names, known in (("shape", shapes, tuple(SHAPES)), ("part", parts, PARTS)):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known, f"They are {', '.join(known)}.")
    if repeats < 1:
        raise BadSettings(f"expected at least one repeat, got {repeats}.")
    chosen = [SHAPES[name] for name in shapes or SHAPES]
    return [m for part in PARTS if part in (parts or PARTS) for m in _measurements(part, chosen, repeats, device)]


def _measurements(part: str, shapes: Sequence[Shape], repeats: int, device: str) -> list[Measurement]:
    """Those of one part. Architectures, the heatmap and scaling have the tiny shape, whichever shapes are chosen."""
    each = {"sweeps": sweeps, "hunts": hunts, "retraining": retraining}
    if part in each:
        own = [s for s in shapes if part == "sweeps" or s.name in _TRAINED]
        return [Measurement(f"{part}, {s.name}", partial(each[part], s, repeats, device)) for s in own]
    if part == "architectures":
        return [Measurement(name, partial(architecture, name, repeats, device)) for name in ARCHITECTURES]
    if part == "heatmap":
        return [Measurement("a whole heatmap", partial(whole_sweep, repeats, device))]
    return [Measurement(f"time over {what}", partial(scaling, what, repeats, device)) for what in POINTS]
