"""Lines over numbers: a small SVG widget for live curves, and the same curves as a static SVG file."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from typing import Any

import anywidget
import traitlets

from workbench.figures.theme import LIGHT
from workbench.ui.views import asset, visible

_DASHES = ("", "6 4", "2 3", "8 3 2 3", "12 4")


@dataclass(frozen=True, slots=True)
class Line:
    """A named line; points whose y is nan or infinite are left out."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON: only finite points."""
        points = [(a, b) for a, b in zip(self.x, self.y, strict=True) if isfinite(a) and isfinite(b)]
        return {"name": visible(self.name), "x": [a for a, _ in points], "y": [b for _, b in points]}


class Lines(anywidget.AnyWidget):
    """Lines with a common x axis. reach: [lowest, highest] y; empty: as far as the lines go."""

    _esm = asset("lines.js")
    _css = asset("panel.css")
    series = traitlets.List().tag(sync=True)
    x_name = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("lines").tag(sync=True)
    reach = traitlets.List(traitlets.Float()).tag(sync=True)
    wide = traitlets.Int(460).tag(sync=True)
    high = traitlets.Int(220).tag(sync=True)

    def show(self, lines: Sequence[Line]) -> None:
        """Draw these lines instead of the last ones."""
        self.series = [line.plain() for line in lines]


def still_lines(
    lines: Sequence[Line], *, x_name: str, reach: tuple[float, float] | None = None, size: tuple[int, int] = (460, 220)
) -> bytes:
    """The lines as an SVG file, in light colours on a ground of its own; all names escaped."""
    (wide, high), plain = size, [line.plain() for line in lines]
    across = _reach([v for line in plain for v in line["x"]], None)
    up = _reach([v for line in plain for v in line["y"]], reach)

    def place(x: float, y: float) -> str:
        left = 52 + (x - across[0]) / (across[1] - across[0]) * (wide - 66)
        return f"{left:.1f},{high - 38 - (y - up[0]) / (up[1] - up[0]) * (high - 64):.1f}"

    parts = [_frame(wide, high, across, up, x_name)]
    for i, line in enumerate(plain):
        colour = LIGHT.series[i % len(LIGHT.series)]
        style = f"fill='none' stroke='{colour}' stroke-width='2' stroke-dasharray='{_DASHES[i % len(_DASHES)]}'"
        points = " ".join(place(x, y) for x, y in zip(line["x"], line["y"], strict=True))
        parts.append(f"<polyline {style} points='{points}'/>")
        parts.append(f"<text x='{52 + 150 * i}' y='16' fill='{colour}'>{escape(line['name'][:24])}</text>")
    return "".join([*parts, "</svg>"]).encode()


def _frame(wide: int, high: int, across: tuple[float, float], up: tuple[float, float], x_name: str) -> str:
    """The ground, the ends of both axes and the name of x."""
    low, top = high - 38, 26
    said = [(46, low + 4, "end", f"{up[0]:.3g}"), (46, top + 4, "end", f"{up[1]:.3g}")]
    said += [(52, low + 16, "start", f"{across[0]:.3g}"), (wide - 14, low + 16, "end", f"{across[1]:.3g}")]
    said += [(wide // 2, high - 8, "middle", x_name)]
    texts = "".join(f"<text x='{x}' y='{y}' text-anchor='{a}'>{escape(t)}</text>" for x, y, a, t in said)
    lines = "".join(f"<path d='M52 {y}H{wide - 14}' stroke='{LIGHT.grid}'/>" for y in (low, top))
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{wide}' height='{high}' viewBox='0 0 {wide} {high}' "
        f"font-family='sans-serif' font-size='11' fill='{LIGHT.muted}'>"
        f"<rect width='{wide}' height='{high}' fill='{LIGHT.card}'/>{lines}{texts}"
    )


def _reach(values: list[float], fixed: tuple[float, float] | None) -> tuple[float, float]:
    """The lowest and the highest, never the same."""
    low, high = fixed or (min(values, default=0.0), max(values, default=1.0))
    return (low, high) if low < high else (low - 0.5, high + 0.5)
