"""The edit bench: the current edit as sliders and numbers, its history, and what it makes of answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import pandas as pd

from workbench.figures import Table as StillTable
from workbench.figures.sections import Section, Text
from workbench.ui.answers import Answers, rho, side_by_side
from workbench.ui.coordinates import cosine, scaled, selected
from workbench.ui.edit_controls import Controls
from workbench.ui.history import Edits
from workbench.ui.job import Job
from workbench.ui.panel import Frame, Shown
from workbench.ui.session import Session
from workbench.ui.source import source
from workbench.ui.views import Note, Table, visible

OWN = "this agent"
"""The name of the session's own Agent among those on which an edit can be replayed."""
_EDITS = {"unedited": "()", "edited": "edits", "pinned": "pinned"}


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """Edits tried on some prompts: what was answered each way, on which Agent. cosine: with the pinned edit."""

    edits: Edits
    pinned: Edits
    agent: str
    first: int
    count: int
    ways: dict[str, Answers]
    frame: pd.DataFrame
    rho: float
    cosine: float


class EditBench(Shown):
    """Move an edit, compare it with a pinned one, replay it on another Agent. See Panel."""

    def __init__(self, session: Session) -> None:
        self.session, self.tried = session, None
        self.tried: Tried | None
        self._base: Edits = ()
        self.frame, self.controls = Frame("Edit bench", session, self.code), Controls(len(session.prompts), OWN)
        self.about, self.beside = Note(kind="hint"), Note(kind="hint")
        self.table = Table(label="answers, without and with the edit")
        self._listen()
        controls = self.controls
        self.frame.fill(controls.box, self.about, self.beside, self.table, head=[controls.head])
        self.frame.watch(lambda _: self._edited(), "history")
        self.frame.watch(lambda _: self._again(), "pinned")
        self.frame.watch(lambda _: self._fill(), "checkpoints")
        self._edited()

    def _listen(self) -> None:
        handler, session, controls = self.frame.handler, self.session, self.controls
        controls.try_button.on_click(handler(lambda _: self.start()))
        controls.undo_button.on_click(handler(lambda _: session.undo()))
        controls.redo_button.on_click(handler(lambda _: session.redo()))
        controls.fork_button.on_click(handler(lambda _: self._fork()))
        controls.pin_button.on_click(handler(lambda _: session.put(pinned=session.edits)))
        controls.swap_button.on_click(handler(lambda _: self._swap()))
        controls.make_button.on_click(handler(lambda _: self._make()))
        controls.on_change(handler(lambda name: self._changed(name)))

    @property
    def state(self) -> dict[str, Any]:
        """See Panel."""
        tried, history = self.tried, self.session.shared.history
        shown = None if tried is None else _facts(tried)
        where = {"branch": history.branch, "step": history.line.at, "edits": len(self.session.edits)}
        return {"asked": self.controls.state, "history": where, "shown": shown}

    # --- changing the edit ------------------------------------------------------------------------------

    def dose(self, dose: float) -> None:
        """The edit as it came here, times `dose`."""
        base = self._base
        self.session.edit(scaled(base, dose))
        self._base = base
        self._fill(dose)

    def _changed(self, name: str) -> None:
        """A control was moved."""
        controls, session = self.controls, self.session
        if name == "dose":
            self.dose(controls.dose.value)
        elif name == "branch":
            session.put(history=session.shared.history.on(str(controls.branch.value)))
        elif name == "part":
            self._fill(controls.dose.value)
        elif name in ("first", "count", "agent"):
            self._again()
        elif session.edits:
            part = controls.part.value or 0
            edit = controls.changed(name, session.edits[part], session.agent, session.prompts.length)
            session.edit((*session.edits[:part], edit, *session.edits[part + 1 :]))

    def _make(self) -> None:
        """An edit of the selected neurons."""
        selection, agent = self.session.shared.selection, self.session.agent
        width = agent.width(selection.sites[0]) if selection.sites else 0
        self.session.edit(selected(selection, width, self.controls.by.value))

    def _fork(self) -> None:
        self.session.put(history=self.session.shared.history.fork(self.controls.name.value))
        self.controls.name.value = ""

    def _swap(self) -> None:
        """The pinned edit becomes the current one, and the other way round."""
        pinned, edits = self.session.shared.pinned, self.session.edits
        self.session.edit(pinned)
        self.session.put(pinned=edits)

    def _edited(self) -> None:
        """The current edit has changed: it is the one that doses multiply from now on."""
        self._base = self.session.edits
        self._fill()
        if self.session.edits or self.tried is not None:
            self.start()

    def _fill(self, dose: float = 1.0) -> None:
        shared = self.session.shared
        self.controls.fill(self.session.edits, dose, shared.history, tuple(shared.checkpoints))

    # --- trying it --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Try the current edit in the background."""
        self.frame.start(self._steps, self._told)

    def run(self) -> None:
        """See Panel: try the current edit."""
        self.frame.run(self._steps, self._told)

    def _again(self) -> None:
        """Follow a change, once something was tried."""
        if self.tried is not None:
            self.start()

    def _steps(self) -> Iterator[Tried]:
        session, controls = self.session, self.controls
        edits, pinned, name = session.edits, session.shared.pinned, str(controls.agent.value)
        agent = session.agent if name == OWN else session.shared.checkpoints[name]
        prompts = session.prompts[controls.first.value : controls.first.value + controls.count.value]
        ways = {"unedited": Answers.of(agent, prompts)}
        for way, several in (("edited", edits), ("pinned", pinned)):
            if several:
                ways[way] = Answers.of(agent, prompts, several)
        frame = side_by_side(agent, prompts, ways, controls.first.value)
        alike = cosine(edits, pinned, prompts.length) if edits and pinned else nan
        size = rho(session.agent, session.prompts, edits)
        yield Tried(edits, pinned, name, controls.first.value, len(prompts), ways, frame, size, alike)

    def _told(self, job: Job) -> None:
        if not job.events or job.active:
            return
        tried = self.tried = job.events[-1]
        self.table.show(tried.frame)
        self.about.text, self.beside.text = _about(tried), _beside(tried)
        self.frame.news.text = f"{_said(tried)} On {visible(tried.agent)}, {tried.count} prompts."

    # --- code and the static view -----------------------------------------------------------------------

    def code(self) -> str:
        """See Panel."""
        tried = self.tried
        if tried is None:
            return self.session.code("# nothing was tried yet")
        lines = [f"some = prompts[{tried.first} : {tried.first + tried.count}]"]
        if tried.agent != OWN:
            lines += [f"agent = checkpoints[{tried.agent!r}]  # of the Retrain panel, whose code makes it"]
        lines += [
            f"{name} = {source(edits)}" for name, edits in (("edits", tried.edits), ("pinned", tried.pinned)) if edits
        ]
        ways = ", ".join(f'"{way}": {_EDITS[way]}' for way in tried.ways)
        return self.session.code(
            *lines,
            f"logits = {{way: agent.logits(some, given) for way, given in {{{ways}}}.items()}}",
            "answers = {way: x.softmax(-1).max(-1) for way, x in logits.items()}  # values: chances",
            "goal, right = wb.UntargetedLoss(), some.answers.to(agent.device)",
            "losses = {way: goal.loss(x[None], x, right).item() for way, x in logits.items()}",
        )

    def sections(self) -> list[Section]:
        """See Panel."""
        if self.tried is None:
            return [Text("Nothing was tried yet.")]
        text = "\n\n".join(part for part in (_about(self.tried), _beside(self.tried)) if part)
        return [Text(text), StillTable(self.tried.frame, "Answers, without and with the edit")]


def _facts(tried: Tried) -> dict[str, Any]:
    """What was tried, in a few numbers."""
    losses = {way: answers.loss for way, answers in tried.ways.items()}
    size, alike = (value if isfinite(value) else None for value in (tried.rho, tried.cosine))
    return {"on": tried.agent, "losses": losses, "rho": size, "cosine": alike, "prompts": tried.count}


def _changes(tried: Tried, way: str) -> float:
    """The share of answers that differ from the unedited ones."""
    return 1.0 - tried.ways[way].share(tried.ways["unedited"].tokens)


def _said(tried: Tried) -> str:
    unedited = f"Unedited loss {tried.ways['unedited'].loss:.3f} nats"
    if "edited" not in tried.ways:
        return f"{unedited}; there is no edit."
    edited = tried.ways["edited"]
    return f"{unedited}, edited {edited.loss:.3f}; {_changes(tried, 'edited'):.0%} of the answers change."


def _about(tried: Tried) -> str:
    """What the edit is, in words."""
    if not tried.edits:
        return "No edit: load one from the Surgeon or the Heatmap, or make one of the selection."
    size = f", rho {tried.rho:.2f}" if isfinite(tried.rho) else ""
    parts = [f"{e.site.short} ({'all positions' if e.positions is None else e.positions})" for e in tried.edits]
    return f"Edit at {' and '.join(parts)}{size}."


def _beside(tried: Tried) -> str:
    """The edit beside the pinned one."""
    if "pinned" not in tried.ways or "edited" not in tried.ways:
        return ""
    pinned, edited = tried.ways["pinned"], tried.ways["edited"]
    return (
        f"Pinned: loss {pinned.loss:.3f}, {_changes(tried, 'pinned'):.0%} of the answers change; "
        f"{edited.share(pinned.tokens):.0%} are the same as edited; the cosine of both is {tried.cosine:.2f}."
    )
