"""The Picker: the model as layers and hook points, what is active there, and the selection that all panels share."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import traitlets

from workbench.figures import Table as StillTable
from workbench.figures.sections import Section
from workbench.sites import Site
from workbench.ui.canvas import Canvas, Sheet
from workbench.ui.job import Job
from workbench.ui.maps import site_of
from workbench.ui.panel import Frame, Shown
from workbench.ui.places import read_places
from workbench.ui.session import Activity, Session
from workbench.ui.views import asset, visible

LOOKED_AT = 16
"""Prompts on which activations are measured."""
_MAIN = {
    "stream": ("hook_embed", "hook_pos_embed", "hook_resid_pre", "hook_resid_mid", "hook_resid_post"),
    "attention": ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z", "hook_attn_out"),
    "MLP": ("mlp.hook_pre", "mlp.hook_post", "hook_mlp_out"),
}
_HINT = (
    "Point at a hook point for its figures; click to select it, with Ctrl to add it. Arrow keys and Enter do the same."
)
_PLACE = "L1.mlp.42  or  L0.resid_post@2,4"


class Model(anywidget.AnyWidget):
    """Layers of hook points as buttons. Sends {"kind": "pick", site, add}; chosen: short names of those selected."""

    _esm = asset("model.js")
    _css = asset("panel.css")
    layers = traitlets.List().tag(sync=True)
    chosen = traitlets.List(traitlets.Unicode()).tag(sync=True)
    every = traitlets.Bool(False).tag(sync=True)
    hint = traitlets.Unicode(_HINT).tag(sync=True)


class Picker(Shown):
    """Choose sites, neurons and positions by mouse, keyboard or name. See Panel."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.activity: dict[Site, Activity] = {}
        self.grid: np.ndarray | None = None
        self.frame = Frame("Picker", session, self.code)
        self.typed = widgets.Text(placeholder=_PLACE, continuous_update=False, layout={"width": "330px"})
        self.every = widgets.ToggleButton(description="All hook points", layout={"width": "130px"})
        self.look_button = widgets.Button(description="Measure again", layout={"width": "120px"})
        self.model, self.canvas = Model(), Canvas(value_name="mean activation", centre_name="")
        handler = self.frame.handler
        self.typed.observe(handler(lambda change: self.session.select(change["new"])), "value")
        self.every.observe(handler(lambda change: self.model.set_trait("every", change["new"])), "value")
        self.look_button.on_click(handler(lambda _: self.frame.start(self._steps, self._told)))
        self.model.on_msg(handler(lambda _, message, __: self._pick(message)))
        self.canvas.on_msg(handler(lambda _, message, __: self._mark_out(message)))
        self.frame.fill(self.model, self.canvas, head=[self.typed, self.every, self.look_button])
        self.frame.watch(lambda _: self._selected(), "selection")
        self.run()

    @property
    def state(self) -> dict[str, Any]:
        """See Panel."""
        about = {site.short: activity.norm for site, activity in self.activity.items()}
        return {"selection": self.session.shared.selection.text(), "site": self.site.short, "norms": about}

    @property
    def site(self) -> Site:
        """The site whose activations are shown."""
        return site_of(self.session)

    # --- measuring --------------------------------------------------------------------------------------

    def run(self) -> None:
        """See Panel: measure every hook point, and the activations at the selected one."""
        self.frame.run(self._steps, self._told)

    def _steps(self) -> Iterator[tuple[dict[Site, Activity] | None, Site, np.ndarray]]:
        site, known = self.site, self.activity or None
        some = self.session.prompts[:LOOKED_AT]
        activity = None if known else self.session.activity(some)
        yield activity, site, self.session.mean_activations(some, site)

    def _told(self, job: Job) -> None:
        if not job.events:
            return
        activity, site, grid = job.events[-1]
        self.grid = grid
        if activity is not None:
            self.activity = activity
            self.model.layers = _layers(activity)
        self._show(site, grid)
        self.frame.news.text = self._news()

    def _news(self) -> str:
        agent, text = self.session.agent, self.session.shared.selection.text()
        selected = f"Selected: {text}" if text else f"Nothing is selected; shown is {self.site.short}"
        return f"{agent.name}: {agent.n_layers} layers, d_model {agent.d_model}, {agent.d_vocab} tokens. {selected}."

    def _show(self, site: Site, grid: np.ndarray) -> None:
        """Mean activations at a site: positions down, neurons across."""
        answers = set(self.session.prompts.answer_positions)
        rows = tuple(f"{p}{' answer' if p in answers else ''}" for p in range(len(grid)))
        columns = tuple(str(n) for n in range(grid.shape[1]))
        sheet = Sheet(
            values=grid, centre=0.0, row_name="position", column_name=f"{site.short} neuron", rows=rows, columns=columns
        )
        self.canvas.show(sheet, max(sheet.farthest, 1e-6))
        self.canvas.hint = "Click a cell to select its neuron; drag to select neurons and positions."
        self._mark()

    # --- selecting --------------------------------------------------------------------------------------

    def _pick(self, message: dict[str, Any]) -> None:
        """A hook point was clicked: it alone, or added to or taken from those selected."""
        if message.get("kind") != "pick":
            return
        site, old = self.session.agent.site(str(message.get("site"))), self.session.shared.selection
        if not message.get("add"):
            self.session.put(selection=replace(old, sites=(site,), neurons=()))
            return
        sites = tuple(s for s in old.sites if s != site) if site in old.sites else (*old.sites, site)
        neurons = old.neurons if sites[:1] == old.sites[:1] else ()
        self.session.put(selection=replace(old, sites=sites, neurons=neurons))

    def _mark_out(self, message: dict[str, Any]) -> None:
        """A cell was clicked, or some dragged over: neurons across, positions down."""
        if message.get("kind") not in ("click", "select"):
            return
        old, site = self.session.shared.selection, self.site
        if message["kind"] == "click":
            neurons, positions = (int(message["column"]),), old.positions
        else:
            (top, bottom), (left, right) = message["rows"], message["columns"]
            neurons = tuple(range(int(left), int(right) + 1))
            positions = tuple(range(int(top), int(bottom) + 1)) if bottom > top else old.positions
        sites = (site, *(s for s in old.sites if s != site))
        self.session.put(selection=replace(old, sites=sites, neurons=neurons, positions=positions))

    def _selected(self) -> None:
        """Follow the selection, whoever made it."""
        text = self.session.shared.selection.text()
        if (
            read_places(self.session.agent, self.typed.value, self.session.prompts.length)
            != self.session.shared.selection
        ):
            self.typed.value = text
        self._mark()
        self.frame.start(self._steps, self._told)

    def _mark(self) -> None:
        selection = self.session.shared.selection
        self.model.chosen = [site.short for site in selection.sites]
        self.canvas.picked = list(selection.neurons)
        positions = selection.positions or ()
        self.canvas.marked = [[p, n] for p in positions for n in selection.neurons][:64]

    # --- code and the static view -----------------------------------------------------------------------

    def code(self) -> str:
        """See Panel."""
        return self.session.code(
            f'activations = agent.activations(prompts[:{LOOKED_AT}], "{self.site.short}")  # prompt, pos, width',
            "grid = activations.mean(0)  # position, neuron",
            "norm = activations.norm(dim=-1).mean()",
        )

    def sections(self) -> list[Section]:
        """See Panel."""
        norms: dict[str, dict[str, float]] = {}
        for site, activity in self.activity.items():
            if _main(site) and site.layer is not None:
                norms.setdefault(f"L{site.layer}", {})[site.short.partition(".")[2]] = activity.norm
        return [StillTable(pd.DataFrame(norms).T, "Mean norms of the activations on benign prompts, by layer")]


def _main(site: Site) -> bool:
    return any(site.kind in kinds for kinds in _MAIN.values())


def _group(site: Site) -> str:
    """Which box of its layer a hook point is drawn in."""
    for group, kinds in _MAIN.items():
        if site.kind in kinds:
            return group
    starts = {"attn": "attention", "mlp": "MLP", "ln": "norms"}
    return next((group for start, group in starts.items() if site.kind.startswith(start)), "stream")


def _layers(activity: dict[Site, Activity]) -> list[dict[str, Any]]:
    """Each layer with its hook points, from the first; those outside the blocks come before or after."""
    most = max((a.norm for a in activity.values() if np.isfinite(a.norm)), default=1.0) or 1.0
    names: dict[str, list[dict[str, Any]]] = {}
    inner = {s.layer for s in activity if s.layer is not None}
    outside = [s for s in activity if s.layer is None]
    first = [s for s in outside if "embed" in s.name and "un" not in s.name]
    order = [*first, *sorted(s for s in activity if s.layer is not None), *(s for s in outside if s not in first)]
    for site in order:
        layer = f"L{site.layer}" if site.layer in inner else ("input" if site in first else "output")
        share = min(1.0, activity[site].norm / most) if np.isfinite(activity[site].norm) else 0.0
        label = site.short.partition(".")[2] if site.layer is not None else site.name.removeprefix("hook_")
        entry = {"name": site.short, "label": visible(label), "group": _group(site), "share": round(share, 3)}
        entry |= {"main": _main(site), "about": f"{site.short}: {activity[site].said()}"}
        names.setdefault(layer, []).append(entry)
    return [{"name": name, "sites": sites} for name, sites in names.items()]
