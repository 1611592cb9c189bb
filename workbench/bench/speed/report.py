"""The figures as tables, what is asked beside them."""

from collections.abc import Iterator, Sequence
from math import isnan
from typing import Any

from workbench.bench.speed.asked import Check
from workbench.bench.speed.measurements import PARTS
from workbench.bench.speed.row import Row

MISSING = "not measured"
TITLES = {
    "sweeps": "Single-neuron edits at mlp.hook_post, every layer in turn (ms an edit)",
    "architectures": "Hugging Face architectures, edits of the residual stream after every layer in turn (ms an edit)",
    "hunts": "Hunts: one start, one step, beside a plain forward and backward of the whole bridge (ms)",
    "retraining": "Retraining: one step, beside a plain training step of the whole bridge (ms)",
    "heatmap": "A whole heatmap (ms)",
    "scaling": "Time of a call of 32 edits over one quantity at the tiny shape, after block 0 (ms)",
}
_RATIOS = {
    "sweeps": "times naive", "architectures": "times naive", "hunts": "of a plain one", "retraining": "of a plain one",
    "heatmap": "", "scaling": "slope",
}  # fmt: skip


def tables(rows: Sequence[Row], found: Sequence[Check], device: str) -> dict[str, list[dict[str, Any]]]:
    """For each part its title and its lines; figures of single layers are left to the data, save where they differ."""
    kept = [row for row in rows if row.layer is None or row.part in ("hunts", "retraining")]
    return {
        TITLES[part]: [_line(row, found, device) for row in kept if row.part == part]
        for part in PARTS
        if any(row.part == part for row in kept)
    }


def _line(row: Row, found: Sequence[Check], device: str) -> dict[str, Any]:
    """A row as it is printed: times in milliseconds on the device they were measured on."""
    gpu = device == "cuda"
    line: dict[str, Any] = {"on": row.subject, "way": row.method}
    if row.part in ("hunts", "retraining"):
        line["block"] = row.layer
    if row.part == "scaling":
        line["value"] = row.count or None
    line["CPU"] = MISSING if gpu else _milliseconds(row.cpu)
    line["wall"] = MISSING if gpu else _milliseconds(row.wall)
    line["GPU"] = _milliseconds(row.wall) if gpu else MISSING
    if _RATIOS[row.part]:
        line[_RATIOS[row.part]] = _short(row.ratio)
    if row.part == "sweeps":
        line["times floor"] = _short(row.over_floor)
    if row.part in ("sweeps", "architectures"):
        line["error"] = None if isnan(row.error) else row.error
    return line | {"asked": "; ".join(_verdicts(row, found)) or None, "note": row.note or None}


def _verdicts(row: Row, found: Sequence[Check]) -> Iterator[str]:
    """The bars of a row but exactness, which is asked of all, and whether it reached them."""
    for check in found:
        if check.bar.applies(row) and (check.bar.figure != "error" or not check.reached):
            unit = {"over_floor": " floor", "cpu": " s", "error": " error"}.get(check.bar.figure, "")
            yield f"{check.bar.words}{unit}: {'reached' if check.reached else 'MISSED'}"


def _milliseconds(seconds: float) -> str | None:
    return None if isnan(seconds) else _short(1000 * seconds)


def _short(value: float) -> str | None:
    """Three significant digits."""
    if isnan(value):
        return None
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
