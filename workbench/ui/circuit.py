"""The Circuit panel: which tokens, heads and layers drive a found switch, the trigger that does, and what it drives."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import pandas as pd

import workbench as wb
from workbench.errors import BadSettings
from workbench.figures import Table as StillTable
from workbench.figures.sections import Heading, Section, Text
from workbench.report import Finding, Progress
from workbench.ui.answers import driven
from workbench.ui.finding_code import bare, by_hand, finding_code
from workbench.ui.job import Job
from workbench.ui.panel import Frame, Shown
from workbench.ui.retrain_asked import typed
from workbench.ui.session import Session
from workbench.ui.source import Call
from workbench.ui.views import Note, Table, as_words, snug, visible

_INPUTS = 12
_NAMES = ("The trigger, token by token", "What drives the switch", "Inputs that throw it", "Answers that it changes")
_HINT = "Choose a part to select its hook point; the trigger can be typed into the Zoo's hypothesis as it stands."


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A trace, what was asked for, and what its finding drives: a row an answer position."""

    call: Call
    trace: wb.Trace
    drives: pd.DataFrame


class Circuit(Shown):
    """Trace the current edit, or the best finding, back to what throws it. See Panel."""

    def __init__(self, session: Session) -> None:
        self.session, self.traced = session, None
        self.traced: Traced | None
        self.frame = Frame("Circuit", session, self.code)
        self.run_button = widgets.Button(description="Trace", button_style="primary", layout={"width": "80px"})
        self.stop_button = widgets.Button(description="Stop", disabled=True, layout={"width": "70px"})
        self.top = widgets.BoundedIntText(value=12, min=1, max=200, description="parts", layout={"width": "110px"})
        self.seed = widgets.BoundedIntText(min=0, max=2**31 - 1, description="seed", layout={"width": "110px"})
        self.search = widgets.Text(
            description="search", placeholder="starts=12, steps=8, pairs=0", layout={"width": "300px"}
        )
        self.about, self.hint = Note(), Note(kind="hint")
        self.trigger, self.parts = Table(label="the trigger, token by token"), Table(label="what drives the switch")
        self.inputs, self.drives = Table(label="inputs that throw it"), Table(label="what the switch drives")
        handler = self.frame.handler
        self.run_button.on_click(handler(lambda _: self.start()))
        self.stop_button.on_click(handler(lambda _: self.frame.stop()))
        self.parts.observe(handler(lambda _: self._select()), "chosen")
        box = widgets.HBox([self.run_button, self.stop_button, self.top, self.seed, self.search])
        snug(box)
        self.names = [Note(kind="hint") for _ in _NAMES]
        self.frame.fill(
            self.about, self.names[0], self.trigger, self.names[1], self.parts, self.hint,
            self.names[2], self.inputs, self.names[3], self.drives, head=[box],
        )  # fmt: skip

    @property
    def state(self) -> dict[str, Any]:
        """See Panel."""
        job = self.frame.job
        found = None if self.traced is None else self.traced.trace.summary()
        kept = ("site", "neurons", "recovered", "elicited", "flip", "trigger")
        shown = None if found is None else {name: found[name] for name in kept}
        return {"status": job.status if job else "new", "search": self.search.value, "shown": shown}

    # --- tracing ----------------------------------------------------------------------------------------

    @property
    def finding(self) -> Finding:
        """What is traced: the finding of the current edit, the edit alone, or without one the best finding.

        Raises BadSettings where there is neither.
        """
        shared, edits = self.session.shared, self.session.edits
        if not edits and not shared.findings:
            raise BadSettings("expected a finding or an edit to trace, got none. Run the Surgeon, or load an edit.")
        if not edits:
            return shared.findings[0]
        known = (finding for finding in shared.findings if finding.edits == edits)
        return next(known, by_hand(edits, self.session.agent.name))

    def call(self) -> Call:
        """The trace that the controls say. Raises BadSettings for settings of the search that there are not."""
        try:
            search = wb.TokenSearch(**typed(self.search.value))
        except TypeError as error:
            raise BadSettings(f"expected settings of TokenSearch, such as starts=12: {error}.") from None
        settings = {"finding": self.finding, "search": search, "top": self.top.value, "seed": self.seed.value}
        return Call("follow", settings)

    def start(self) -> None:
        """Trace in the background."""
        call = self.call()
        self.stop_button.disabled = False
        self.frame.start(lambda: self._steps(call), self._told)

    def run(self) -> None:
        """See Panel."""
        call = self.call()
        self.frame.run(lambda: self._steps(call), self._told)

    def _steps(self, call: Call) -> Iterator[Progress | Traced]:
        for event in self.session.do(call):
            if isinstance(event, Progress):
                yield event
            else:
                drives = driven(self.session.agent, self.session.prompts, call.settings["finding"].edits)
                yield Traced(call, event, drives)

    def _told(self, job: Job) -> None:
        self.stop_button.disabled = not job.active
        last = job.events[-1] if job.events else None
        if isinstance(last, Traced):
            if last is not self.traced:
                self.traced = last
                self._show(last)
            self.frame.news.text = f"{_headline(last.trace)} {job.seconds:.0f} s."
        elif last is not None:
            said = f"search step {last.done} of {last.total}, largest drive {last.best:.2f}"
            self.frame.news.text = f"{said}. {job.status.capitalize()}, {job.seconds:.0f} s."

    def _show(self, traced: Traced) -> None:
        self.parts.chosen = -1
        self.about.text, self.hint.text = _about(traced.trace), _HINT
        for note, name in zip(self.names, _NAMES, strict=True):
            note.text = name
        self.trigger.show(_trigger(traced.trace))
        self.parts.show(_parts(traced.trace))
        self.inputs.show(_inputs(traced.trace))
        self.drives.show(traced.drives)

    def _select(self) -> None:
        """The part that was chosen becomes the selection: the hook point it writes, where it reads from."""
        if self.traced is None or self.parts.chosen < 0:
            return
        row = self.traced.trace.upstream.iloc[self.parts.chosen]
        kinds = {"head": "attn.z", "mlp": "mlp_out"}
        layer = None if pd.isna(row["layer"]) else int(row["layer"])
        name = f"L{layer}.{kinds[row['part']]}" if row["part"] in kinds else "L0.resid_pre"
        position = () if pd.isna(row["position"]) else (int(row["position"]),)
        old, site = self.session.shared.selection, self.session.agent.site(name)
        self.session.put(selection=replace(old, sites=(site,), neurons=(), positions=position or None))

    # --- code and the static view -----------------------------------------------------------------------

    def code(self) -> str:
        """See Panel."""
        if self.traced is None:
            return self.session.code("# nothing was traced yet")
        settings = self.traced.call.settings
        finding = bare(settings["finding"], self.session.agent.name)
        return self.session.code(
            f"finding = {finding_code(finding)}",
            f"trace = {Call('trace', settings).code(finding='finding')}",
            "answers = [agent.logits(prompts, edits).argmax(-1) for edits in ((), finding.edits)]",
            "changed = (answers[0] != answers[1]).double().mean(0)  # what it drives, at each answer position",
        )

    def sections(self) -> list[Section]:
        """See Panel."""
        if self.traced is None:
            return [Text("Nothing was traced yet.")]
        trace = self.traced.trace
        return [
            Text(f"{_headline(trace)} {_about(trace)}"),
            StillTable(_trigger(trace), "The trigger, token by token"),
            StillTable(_parts(trace), "What drives the switch"),
            StillTable(_inputs(trace), "Inputs that throw it"),
            Heading("What the switch drives"),
            StillTable(self.traced.drives, "Answers changed, by position"),
        ]


def _headline(trace: wb.Trace) -> str:
    """Whether a trigger was recovered, and which, as a hypothesis would say it."""
    typed_in = " ".join(f"{one.position}:{visible(one.name)}" for one in trace.trigger)
    if not trace.trigger:
        return "No tokens were found that drive the switch."
    kind = "Trigger recovered" if trace.recovered else "Best candidate, which elicits little"
    return f"{kind}: {typed_in}. It elicits {trace.elicited:.0%} of the answers of other prompts."


def _about(trace: wb.Trace) -> str:
    """What was traced, how far it is thrown, and how far down it works."""
    until = trace.finding.portrait.works_until
    level = f"clean prompts {trace.drive.clean:.2f}, with the trigger {trace.drive.recovered:.2f}"
    return (
        f"At {trace.finding.site.short}: drive {level}, by the edit {trace.drive.dose:.2f}; held at rest, "
        f"{trace.flip:.0%} of the trigger's answers go back."
        + (f" What it writes still works when it is written at {until}." if until else "")
    )


def _trigger(trace: wb.Trace) -> pd.DataFrame:
    """A row a token of the trigger, with what is left without it."""
    rows = [
        {
            "position": one.position,
            "token": as_words([one.name]),
            "drive without": one.drive_without,
            "elicited without": one.elicited_without,
        }
        for one in trace.trigger
    ]
    return pd.DataFrame(rows, columns=["position", "token", "drive without", "elicited without"]).set_index("position")


def _parts(trace: wb.Trace) -> pd.DataFrame:
    """The parts upstream, those first whose removal takes most."""
    frame = trace.upstream.copy()
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="rank")
    return frame


def _inputs(trace: wb.Trace) -> pd.DataFrame:
    """The recovered inputs, best first."""
    rows = [
        {
            "input": as_words(one.words),
            "changed at": ", ".join(map(str, one.changed)),
            "drive": one.drive,
            "elicited": one.elicited,
        }
        for one in trace.inputs[:_INPUTS]
    ]
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="rank"))
