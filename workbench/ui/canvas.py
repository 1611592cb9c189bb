"""The heatmap's widget: a canvas that takes its cells as one float32 buffer, and what it is to show as a value."""

from dataclasses import dataclass

import anywidget
import numpy as np
import traitlets

from workbench.figures.theme import DARK, LIGHT
from workbench.ui.views import asset, visible


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """Cells and what stands beside them. values [row, column], the first row on top; nan: not run. centre: unedited."""

    values: np.ndarray
    centre: float
    row_name: str
    column_name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    square: bool = False

    @property
    def farthest(self) -> float:
        """The largest distance of a cell from the centre; 0 without cells."""
        known = self.values[np.isfinite(self.values)]
        return float(np.abs(known - self.centre).max(initial=0.0))


class Canvas(anywidget.AnyWidget):
    """Cells in colours around a centre. Sends {"kind": "click", row, column} and {"kind": "select", rows, columns}.

    marked: cells with an outline; picked: columns with a mark above them; centre_name: what stands in the middle of the
    colours, or nothing.
    """

    _esm = asset("canvas.js")
    _css = asset("panel.css")
    cells = traitlets.Bytes(b"").tag(sync=True)
    rows = traitlets.Int(0).tag(sync=True)
    columns = traitlets.Int(0).tag(sync=True)
    centre = traitlets.Float(0.0).tag(sync=True)
    half = traitlets.Float(1.0).tag(sync=True)
    square = traitlets.Bool(False).tag(sync=True)
    row_name = traitlets.Unicode("").tag(sync=True)
    column_name = traitlets.Unicode("").tag(sync=True)
    value_name = traitlets.Unicode("loss").tag(sync=True)
    row_labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    column_labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    marked = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    picked = traitlets.List(traitlets.Int()).tag(sync=True)
    centre_name = traitlets.Unicode("unedited").tag(sync=True)
    hint = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("heatmap").tag(sync=True)
    light = traitlets.List(traitlets.Unicode(), default_value=list(LIGHT.ramp)).tag(sync=True)
    dark = traitlets.List(traitlets.Unicode(), default_value=list(DARK.ramp)).tag(sync=True)
    missing = traitlets.List(traitlets.Unicode(), default_value=[LIGHT.missing, DARK.missing]).tag(sync=True)

    def show(self, sheet: Sheet, half: float) -> None:
        """Show these cells; the colours reach `half` to either side of the centre."""
        rows, columns = sheet.values.shape
        with self.hold_sync():
            self.cells = np.ascontiguousarray(sheet.values, dtype="<f4").tobytes()
            self.rows, self.columns, self.square = rows, columns, sheet.square
            self.centre, self.half = sheet.centre, half
            self.row_name, self.column_name = visible(sheet.row_name), visible(sheet.column_name)
            self.row_labels, self.column_labels = [visible(t) for t in sheet.rows], [visible(t) for t in sheet.columns]
            self.label = f"loss over {self.column_name} and {self.row_name}, {columns} by {rows} cells"
