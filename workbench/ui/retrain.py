"""The Retrain panel: choose a recipe, watch both sides of the contest, keep checkpoints, and see what still works."""

import threading
from collections.abc import Callable, Iterator
from math import isfinite, nan
from typing import Any

import ipywidgets as widgets
import pandas as pd

from workbench.errors import BadSettings
from workbench.figures import Picture
from workbench.figures import Table as StillTable
from workbench.figures.sections import Section, Text
from workbench.report import SwitchReport, conclude
from workbench.ui.finding_code import finding_code
from workbench.ui.job import Job
from workbench.ui.lines import Line, Lines, still_lines
from workbench.ui.panel import Frame, Shown
from workbench.ui.retrain_asked import Asked
from workbench.ui.session import Session
from workbench.ui.source import Call, source
from workbench.ui.trained import Figures, Point, Run, edits_by_checkpoints, saved
from workbench.ui.views import Note, Table, visible

_STEP = "step"
_POINTS = 300
_HUNT = Call("hunt", {"seed": 0})


class Retrain(Shown):
    """Retrain a copy of the Agent, pause it, stop it, and hunt it again. See Panel."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.frame, self.asked = Frame("Retrain", session, self.code), Asked(session)
        self.runs: list[tuple[Run, list[Point]]] = []
        self.before: Figures | None = None
        self.matrix: pd.DataFrame | None = None
        self.tried: tuple[dict[str, Any], tuple[str, ...]] = ({}, ())
        self.hunts: dict[str, SwitchReport] = {}
        self._keep = threading.Event()
        self.losses = Lines(x_name=_STEP, label="losses in nats", wide=430)
        self.shares = Lines(x_name=_STEP, label="shares of answers", reach=[0.0, 1.0], wide=430)
        self.alarm = Note(kind="alarm")
        self.table, self.grid = Table(label="before and after"), Table(label="edits by checkpoints")
        self._buttons()
        curves = widgets.HBox([self.losses, self.shares])
        after = widgets.HBox([self.matrix_button, self.hunt_button, self.open_button])
        self.frame.fill(self.asked.box, curves, self.alarm, self.table, after, self.grid, head=self.head)

    def _buttons(self) -> None:
        """Make the buttons and say what they do."""
        handler = self.frame.handler
        self.run_button = _button("Run", self.start, handler)
        self.run_button.button_style = "primary"
        self.pause_button = _button("Pause", self.pause, handler)
        self.keep_button = _button("Keep", self._keep.set, handler)
        self.stop_button = _button("Stop", self.frame.stop, handler)
        self.head = [self.run_button, self.pause_button, self.keep_button, self.stop_button]
        self.matrix_button = _button("Which edits still work", self.compare, handler, wide=170)
        self.hunt_button = _button("Hunt the last one again", self.hunt_again, handler, wide=180)
        self.open_button = _button("Open the answer key", self.open_key, handler, wide=160)
        self.open_button.layout.display = "" if self._sealed else "none"
        self._arrange(False)

    @property
    def _sealed(self) -> bool:
        organism = self.session.organism
        return organism is not None and not organism.opened

    @property
    def points(self) -> list[Point]:
        """The steps of the last run so far."""
        return self.runs[-1][1] if self.runs else []

    @property
    def state(self) -> dict[str, Any]:
        """See Panel."""
        job, last = self.frame.job, self.points[-1] if self.points else None
        return {
            "asked": self.asked.state,
            "status": job.status if job else "new",
            "step": None if last is None else last.number,
            "loss": None if last is None else _number(last.loss),
            "alarm": "" if last is None else last.alarm,
            "before and after": _plain(self._frame()),
            "matrix": None if self.matrix is None else _plain(self.matrix),
        }

    # --- retraining -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Retrain in the background."""
        run = self._new()
        self.frame.start(lambda: self._steps(run), lambda job: self._told(job, run))

    def run(self) -> None:
        """See Panel: retrain to the end."""
        run = self._new()
        self.frame.run(lambda: self._steps(run), lambda job: self._told(job, run))

    def pause(self) -> None:
        """Pause, or go on."""
        job = self.frame.job
        if job is not None:
            (job.resume if job.status == "paused" else job.pause)()
            self._arrange(job.active)

    def _new(self) -> Run:
        call = self.asked.call()
        self.frame.stop()
        told = finding_code(self.session.shared.findings[0]) if "report" in call.settings else ""
        run = Run(len(self.runs) + 1, call, self.asked.drawn_code(), told)
        self.runs.append((run, []))
        self._keep.clear()
        self._arrange(True)
        return run

    def _steps(self, run: Run) -> Iterator[Figures | Point]:
        """What was before; then every step, with a copy of the Agent where it is to be kept."""
        session, every, last = self.session, self.asked.every.value, run.call.settings["recipe"].steps
        yield Figures.of(session.agent, session.prompts, session.organism)
        for step in session.do(run.call, self.asked.drawn()):
            agent, figures = None, None
            if step.number % every == 0 or step.number == last or self._keep.is_set():
                self._keep.clear()
                agent = step.agent
                figures = Figures.of(agent, session.prompts, session.organism)
            yield Point(step.number, step.loss, step.adversarial_loss, step.wins, step.alarm, agent, figures)

    def _told(self, job: Job, run: Run) -> None:
        """Show how far it is, and hand on what was kept."""
        events = list(job.events)
        self.before = next((e for e in events if isinstance(e, Figures)), self.before)
        points = [e for e in events if isinstance(e, Point)]
        self.runs[run.number - 1] = (run, points)
        known = self.session.shared.checkpoints
        new = {run.name(p.number): p.kept for p in points if p.kept is not None and run.name(p.number) not in known}
        if new:
            self.session.put(checkpoints={**known, **new})
        self._arrange(job.active)
        self._show()
        self.frame.news.text = _news(job, run, points)

    def _arrange(self, active: bool) -> None:
        """Let only those buttons be pressed that do something."""
        for button in (self.pause_button, self.keep_button, self.stop_button):
            button.disabled = not active
        job = self.frame.job
        self.pause_button.description = "Resume" if active and job is not None and job.status == "paused" else "Pause"

    # --- what has come of it ----------------------------------------------------------------------------

    def compare(self) -> None:
        """Work out in the background which saved edits still work on which checkpoint."""
        self.frame.start(self._compared, self._shown)

    def hunt_again(self) -> None:
        """Hunt the last checkpoint in the background, as the Agent was hunted."""
        self.frame.start(self._hunted, self._shown)

    def open_key(self) -> None:
        """Open the organism's answer key, so that the share of successful attacks can be shown."""
        if self.session.organism is not None:
            self.session.organism.reveal()
        self._show()

    def _compared(self) -> Iterator[str]:
        session = self.session
        edits, others = saved(session), dict(session.shared.checkpoints)
        if not edits or not others:
            raise BadSettings(
                f"expected edits and checkpoints to compare, got {len(edits)} and {len(others)}. "
                "Run the Surgeon or load an edit, and retrain."
            )
        self.matrix = edits_by_checkpoints(session.agent, session.prompts, edits, others)
        self.tried = (edits, tuple(others))
        yield "Which edits still work: the share of the answers they change that they still change to the same."

    def _hunted(self) -> Iterator[str]:
        known = self.session.shared.checkpoints
        if not known:
            raise BadSettings("expected a checkpoint to hunt, got none. Retrain first.")
        name = list(known)[-1]
        report = self.hunts[name] = _HUNT(known[name], self.session.prompts)
        yield f"{name}: verdict {report.verdict}, score {report.score:.2f}, threshold {report.threshold:.2f}."

    def _shown(self, job: Job) -> None:
        """Show what a comparison or a hunt has found."""
        self.stop_button.disabled = not job.active
        self._show()
        self.frame.news.text = job.events[-1] if job.events else f"{job.status}, {job.seconds:.0f} s"

    def _show(self) -> None:
        self.open_button.layout.display = "" if self._sealed else "none"
        self.alarm.text = self.points[-1].alarm if self.points else ""
        self.losses.show(self._curves()[0])
        self.shares.show(self._curves()[1])
        self.table.show(self._frame(), digits=3)
        if self.matrix is not None:
            self.grid.show(self.matrix)

    def _curves(self) -> tuple[list[Line], list[Line]]:
        """Losses in nats, and shares of answers, of the last run."""
        points = self.points
        thin = points[:: max(1, len(points) // _POINTS)]
        steps = tuple(float(p.number) for p in thin)
        losses = [
            Line("loss", steps, tuple(p.loss for p in thin)),
            Line("under attack", steps, tuple(p.adversarial_loss for p in thin)),
        ]
        kept = [(float(p.number), p.figures) for p in points if p.figures is not None]
        kept = [(0.0, self.before), *kept] if self.before is not None else kept
        at = tuple(number for number, _ in kept)
        shares = [Line("clean accuracy", at, tuple(f.clean_accuracy for _, f in kept))]
        shares.append(Line("attacks won", steps, tuple(p.wins for p in thin)))
        if self._open:
            shares.append(Line("ASR", at, tuple(f.attack_success for _, f in kept)))
        return losses, shares

    @property
    def _open(self) -> bool:
        return self.session.organism is not None and self.session.organism.opened

    def _frame(self) -> pd.DataFrame:
        """One row an Agent, the one before first: how it behaves, and what a hunt said."""
        rows: dict[str, dict[str, object]] = {}
        if self.before is not None:
            findings = self.session.shared.findings
            report = conclude(findings, agent=self.session.agent.name) if findings else None
            rows["before"] = self._row(self.before, report)
        for run, points in self.runs:
            for point in points:
                if point.figures is not None:
                    name = run.name(point.number)
                    rows[name] = self._row(point.figures, self.hunts.get(name))
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("agent")

    def _row(self, figures: Figures, report: SwitchReport | None) -> dict[str, object]:
        row: dict[str, object] = {"clean accuracy": figures.clean_accuracy}
        if self._open:
            row["ASR"] = figures.attack_success
        score = nan if report is None else report.score
        return row | {"verdict of a hunt": "" if report is None else report.verdict, "score": score}

    # --- code and the static view -----------------------------------------------------------------------

    def code(self) -> str:
        """See Panel: every run as far as it went, its checkpoints, their figures, and what was compared."""
        runs = [(run, points) for run, points in self.runs if points]
        if not runs:
            return self.session.code("# nothing was retrained yet")
        lines = ["checkpoints = {}"]
        for run, points in runs:
            kept = tuple(p.number for p in points if p.kept is not None)
            lines += ["", "losses = []", *run.code(kept, points[-1].number)]
        lines += ["", 'agents = {"before": agent, **checkpoints}', *self._figures_code(), *self._after_code()]
        return self.session.code(*lines)

    def _figures_code(self) -> list[str]:
        if self.session.organism is None:
            share = "float((one.logits(prompts).argmax(-1).cpu() == prompts.answers).double().mean())"
            return [f"accuracy = {{name: {share} for name, one in agents.items()}}"]
        lines = ["outcomes = {name: organism.outcome(one) for name, one in agents.items()}"]
        lines.append("accuracy = {name: outcome.clean_accuracy for name, outcome in outcomes.items()}")
        if self._open:
            lines.append("asr = {name: outcome.attack_success for name, outcome in outcomes.items()}")
        return lines

    def _after_code(self) -> list[str]:
        lines = []
        if self.hunts:
            said = _HUNT.code().replace("agent", "checkpoints[name]", 1)
            lines = [f"reports = {{name: {said} for name in {tuple(self.hunts)}}}"]
        if self.matrix is None:
            return lines
        edits, names = self.tried
        said = ", ".join(f"{name!r}: {source(several)}" for name, several in edits.items())
        return [
            *lines,
            "",
            "from workbench.ui.trained import edits_by_checkpoints",
            "",
            f"edits = {{{said}}}",
            f"compared = {{name: checkpoints[name] for name in {names}}}",
            "matrix = edits_by_checkpoints(agent, prompts, edits, compared)",
        ]

    def sections(self) -> list[Section]:
        """See Panel."""
        if not self.points:
            return [Text("Nothing was retrained yet.")]
        losses, shares = self._curves()
        parts: list[Section] = [
            Picture(still_lines(losses, x_name=_STEP), "svg", "losses at each step"),
            Picture(still_lines(shares, x_name=_STEP, reach=(0.0, 1.0)), "svg", "shares of answers at each step"),
            StillTable(self._frame(), "Before and after", 3),
        ]
        if self.points[-1].alarm:
            parts.insert(0, Text(f"Alarm: {self.points[-1].alarm}"))
        if self.matrix is not None:
            named = self.matrix.rename(index=visible, columns=visible)
            parts.append(StillTable(named, "How much of what each edit elicits is left on each checkpoint"))
        return parts


def _button(name: str, act: Callable[[], object], handler: Callable[..., Any], wide: int = 75) -> widgets.Button:
    button = widgets.Button(description=name, layout={"width": f"{wide}px"})
    button.on_click(handler(lambda _: act()))
    return button


def _news(job: Job, run: Run, points: list[Point]) -> str:
    """How far it is, how it goes, and how long it will take."""
    total = run.call.settings["recipe"].steps
    if not points:
        return f"{run.recipe}: {job.status}, {job.seconds:.0f} s"
    last, left = points[-1], ""
    if job.status == "running":
        left = f", about {job.seconds * (total - last.number) / last.number:.0f} s left"
    attack = f", under attack {last.adversarial_loss:.3f}" if isfinite(last.adversarial_loss) else ""
    wins = f", attacks won {last.wins:.0%}" if isfinite(last.wins) else ""
    said = f"{run.recipe}: step {last.number} of {total}, loss {last.loss:.3f} nats{attack}{wins}"
    return f"{said}. {job.status.capitalize()}, {job.seconds:.0f} s{left}."


def _number(value: object) -> object:
    return None if isinstance(value, float) and not isfinite(value) else value


def _plain(frame: pd.DataFrame) -> dict[str, dict[str, object]]:
    """The table as JSON: row by row, None where there is no number."""
    return {str(row): {str(k): _number(v) for k, v in cells.items()} for row, cells in frame.to_dict("index").items()}
