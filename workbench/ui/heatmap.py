"""The heatmap panel: the loss over edits, roughly at once and then exactly; a click loads an edit, a drag selects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import xarray as xr

from workbench.figures import Picture, static
from workbench.figures import Table as StillTable
from workbench.figures.sections import Section, Text
from workbench.ui.canvas import Canvas, Sheet
from workbench.ui.heatmap_asked import Asked
from workbench.ui.job import Job
from workbench.ui.maps import Map, neurons_of
from workbench.ui.panel import Frame, Shown
from workbench.ui.session import Session
from workbench.ui.source import Call
from workbench.ui.views import Table

ROUGH = 4
"""Prompts on which the whole map is drawn before it is computed on all."""
_LISTED = 40
_HINT = "Point at a cell; click to load its edit, drag to select. Arrow keys and Enter do the same."


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A map as far as it is known. exact: how many of its neurons were run on all prompts; the rest is rough."""

    of: Map
    grid: xr.DataArray
    exact: int
    whole: bool


class Heatmap(Shown):
    """The loss over neuron and dose, layer and neuron, or the plane of two edits. See Panel."""

    def __init__(self, session: Session) -> None:
        self.session, self.drawn = session, None
        self.drawn: Drawn | None
        self.frame = Frame("Heatmap", session, self.code)
        self.asked = Asked(session)
        self.canvas, self.table = Canvas(hint=""), Table(label="the edits furthest from the unedited loss")
        self.table.layout.display = "none"
        handler = self.frame.handler
        self.canvas.on_msg(handler(lambda _, message, __: self._act(message)))
        self.table.observe(handler(lambda change: self._choose(change["new"])), "chosen")
        self.draw_button = widgets.Button(description="Draw", button_style="primary", layout={"width": "80px"})
        self.stop_button = widgets.Button(description="Stop", disabled=True, layout={"width": "70px"})
        self.table_button = widgets.ToggleButton(description="Table", layout={"width": "72px"})
        self.draw_button.on_click(handler(lambda _: self.start()))
        self.stop_button.on_click(handler(lambda _: self.frame.stop()))
        self.table_button.observe(handler(lambda _: self._show_table()), "value")
        self.asked.fit.observe(handler(lambda _: self._show()), "value")
        head = [self.draw_button, self.stop_button, self.table_button]
        self.frame.fill(self.asked.box, self.canvas, self.table, head=head)
        self.frame.watch(lambda _: self._mark(), "selection", "history")

    @property
    def state(self) -> dict[str, Any]:
        """See Panel."""
        job, drawn = self.frame.job, self.drawn
        shown = None if drawn is None else _facts(drawn)
        return {"asked": self.asked.state, "status": job.status if job else "new", "shown": shown}

    # --- drawing ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Draw in the background."""
        wanted = self.asked.wanted.of(self.session)
        self.stop_button.disabled = False
        self.frame.start(lambda: self._steps(wanted), self._told)

    def run(self) -> None:
        """See Panel."""
        wanted = self.asked.wanted.of(self.session)
        self.frame.run(lambda: self._steps(wanted), self._told)

    def _steps(self, wanted: Map) -> Iterator[Drawn]:
        """The map on a few prompts, then on all, some neurons at a time."""
        prompts = self.asked.prompts
        rough = self.session.do(wanted.call(), prompts[:ROUGH])
        yield Drawn(wanted, rough, 0, False)
        width, done = rough.sizes.get("neuron", 1), 0
        found: list[xr.DataArray] = []
        for call in wanted.parts(width):
            found.append(self.session.do(call, prompts))
            done += found[-1].sizes.get("neuron", 1)
            grid = found[0] if len(found) == 1 else xr.concat(found, "neuron", combine_attrs="override")
            yield Drawn(wanted, _filled(grid, rough, done), done, done >= width)

    def _told(self, job: Job) -> None:
        self.stop_button.disabled = not job.active
        if job.events and job.events[-1] is not self.drawn:
            self.drawn = job.events[-1]
            self._show()
        self.frame.news.text = self._news(job)

    def _news(self, job: Job) -> str:
        drawn = self.drawn
        if drawn is None:
            return f"{job.status}, {job.seconds:.1f} s"
        many, about = len(self.asked.prompts), f"unedited {drawn.grid.attrs['unedited']:.3f} nats"
        if drawn.whole:
            return f"On {many} prompts, {about}, {job.seconds:.1f} s."
        width = drawn.grid.sizes.get("neuron", 1)
        return f"Rough, on {ROUGH} prompts; {drawn.exact} of {width} on all {many}. {about}. {job.status}."

    @property
    def half(self) -> float:
        """How far the colours reach: the loss of guessing, so that maps can be compared; or as far as the cells."""
        usual = log(self.session.agent.d_vocab)
        if self.asked.fit.value and self.drawn is not None:
            return max(0.05, self.drawn.of.sheet(self.drawn.grid).farthest)
        return usual

    def _show(self) -> None:
        if self.drawn is None:
            return
        self.canvas.show(self.drawn.of.sheet(self.drawn.grid), self.half)
        self.canvas.hint = _HINT
        self._mark()
        self._show_table()

    def _mark(self) -> None:
        """Outline the cell of the current edit, and mark the selected neurons."""
        if self.drawn is None:
            return
        of, grid = self.drawn.of, self.drawn.grid
        picked = set(self.session.shared.selection.neurons)
        self.canvas.picked = [i for i, n in enumerate(neurons_of(grid)) if n in picked]
        self.canvas.marked = [list(cell) for cell in of.cells(grid, self.session.edits)]

    @property
    def furthest(self) -> tuple[int, int]:
        """Row and column of the cell furthest from the unedited loss; (0, 0) where nothing is drawn."""
        cells = [] if self.drawn is None else _furthest(self.drawn.of.sheet(self.drawn.grid), 1)
        return cells[0] if cells else (0, 0)

    # --- acting -----------------------------------------------------------------------------------------

    def _act(self, message: dict[str, Any]) -> None:
        if self.drawn is None or message.get("kind") not in ("click", "select"):
            return
        if message["kind"] == "click":
            self.load(int(message["row"]), int(message["column"]))
        else:
            self.select([int(i) for i in message["rows"]], [int(i) for i in message["columns"]])

    def load(self, row: int, column: int) -> None:
        """Make the edit of a cell the current one."""
        assert self.drawn is not None
        self.session.edit(self.drawn.of.edits(self.drawn.grid, row, column))
        self.select([row], [column])

    def select(self, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Select the neurons between two columns; in a map of layers, of the first of the rows."""
        assert self.drawn is not None
        old, site = self.session.shared.selection, self.drawn.of.place(rows[0])
        if site is None:
            return
        neurons = neurons_of(self.drawn.grid)[columns[0] : columns[-1] + 1]
        sites = (site, *(s for s in old.sites[1:] if s != site))
        self.session.put(selection=replace(old, sites=sites, neurons=tuple(neurons)))

    # --- the table, code and the static view ------------------------------------------------------------

    def _show_table(self) -> None:
        self.table.layout.display = "" if self.table_button.value else "none"
        if self.table_button.value and self.drawn is not None:
            self.table.show(self._frame(), digits=3)

    def _frame(self, most: int = _LISTED) -> pd.DataFrame:
        """The cells furthest from the unedited loss."""
        assert self.drawn is not None
        sheet = self.drawn.of.sheet(self.drawn.grid)
        rows = [
            {sheet.column_name: sheet.columns[c], sheet.row_name: sheet.rows[r], "loss": float(sheet.values[r, c])}
            for r, c in _furthest(sheet, most)
        ]
        frame = pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="rank"))
        return frame.assign(change=frame["loss"] - sheet.centre)

    def _choose(self, number: int) -> None:
        """Load the edit of a row of the table."""
        if number >= 0 and self.drawn is not None:
            sheet = self.drawn.of.sheet(self.drawn.grid)
            self.load(*_furthest(sheet, _LISTED)[number])

    def code(self) -> str:
        """See Panel."""
        if self.drawn is None:
            return self.session.code("# nothing is drawn yet")
        call, exact, some = self.drawn.of.call(), self.drawn.exact, f"prompts[:{len(self.asked.prompts)}]"
        if not self.drawn.whole:
            if exact == 0:
                some = f"prompts[:{min(ROUGH, len(self.asked.prompts))}]"
            else:
                call = Call(call.function, {**call.settings, "neurons": range(exact)})
        lines = [f"grid = {call.code(some)}"]
        if not self.drawn.whole and exact:
            lines = ["# stopped: the other neurons on screen are rough", *lines]
        return self.session.code(*lines)

    def sections(self) -> list[Section]:
        """See Panel."""
        if self.drawn is None:
            return [Text("Nothing is drawn yet.")]
        grid, centre = self.drawn.grid, float(self.drawn.grid.attrs["unedited"])
        picture = static(grid, format="png", limits=(centre - self.half, centre + self.half))
        alt = f"heatmap of the loss over {self.drawn.of.sheet(grid).column_name}"
        return [Picture(picture, "png", alt), StillTable(self._frame(12), "The furthest cells", 3)]


def _facts(drawn: Drawn) -> dict[str, Any]:
    """The map in a few numbers."""
    sheet = drawn.of.sheet(drawn.grid)
    rows, columns = sheet.values.shape
    row, column = _furthest(sheet, 1)[0]
    return {
        "rows": rows,
        "columns": columns,
        "unedited": sheet.centre,
        "furthest": {sheet.row_name: sheet.rows[row], sheet.column_name: sheet.columns[column]},
        "loss": float(sheet.values[row, column]),
        "whole": drawn.whole,
    }


def _filled(grid: xr.DataArray, rough: xr.DataArray, done: int) -> xr.DataArray:
    """The exact neurons with the rough ones after them; the attributes are those of the exact ones."""
    if "neuron" not in rough.dims or done >= rough.sizes["neuron"]:
        return grid
    return xr.concat([grid, rough.isel(neuron=slice(done, None))], "neuron", combine_attrs="override")


def _furthest(sheet: Sheet, most: int) -> list[tuple[int, int]]:
    """(row, column) of the cells furthest from the centre, the furthest first."""
    away = np.where(np.isfinite(sheet.values), np.abs(sheet.values - sheet.centre), -1.0).ravel()
    order = np.argsort(-away, kind="stable")[:most]
    columns = sheet.values.shape[1]
    return [(int(i) // columns, int(i) % columns) for i in order if away[i] >= 0]
