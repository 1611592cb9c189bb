"""The Surgeon panel: send it in, watch the best so far, stop it, and look at what each finding elicits."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from workbench.errors import BadCheckpoint, BadSettings
from workbench.figures import Picture, static, verdict
from workbench.figures import Table as StillTable
from workbench.figures.sections import Heading, Section, Text
from workbench.report import Finding, Progress, SwitchReport, conclude
from workbench.ui.job import Job
from workbench.ui.lines import Line, Lines, still_lines
from workbench.ui.panel import Frame, Shown
from workbench.ui.session import Session, Tally
from workbench.ui.source import Call
from workbench.ui.surgeon_asked import Asked
from workbench.ui.views import Note, Table, visible

_SHOWN = 100
_DOSES = "dose, as a multiple of the edit"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Hunted:
    """What a scan has said so far, or what a file holds, whose path then is given.

    events: how many there were; call, goal: what was asked, also as code; whole: whether it came to its end.
    """

    report: SwitchReport
    whole: bool
    events: int = 0
    call: Call = field(default_factory=lambda: Call("scan", {}))
    goal: dict[str, str] = field(default_factory=dict)
    progress: Progress | None = None
    path: str = ""


class Surgeon(Shown):
    """Goal, budget, search and seed; findings as they come, ranked beside their controls. See Panel."""

    def __init__(self, session: Session) -> None:
        self.session, self.hunted, self.tally = session, None, Tally()
        self.hunted: Hunted | None
        self.frame, self.asked = Frame("Surgeon", session, self.code), Asked(session)
        self.run_button = widgets.Button(description="Run", button_style="primary", layout={"width": "80px"})
        self.stop_button = widgets.Button(description="Stop", disabled=True, layout={"width": "70px"})
        self.bar = widgets.FloatProgress(value=0.0, max=1.0, layout={"width": "160px", "display": "none"})
        self.path = widgets.Text(placeholder="mine.report", layout={"width": "150px"})
        self.save_button = widgets.Button(description="Save", layout={"width": "70px"}, tooltip="the report, as a file")
        self.open_button = widgets.Button(description="Open", layout={"width": "70px"}, tooltip="a report from a file")
        self.findings = Table(label="findings, best first")
        self.about, self.answers = Note(kind="hint"), Table(label="what the finding elicits")
        self.curve = Lines(x_name=_DOSES, label="dose curve", reach=[0.0, 1.0], wide=390)
        handler = self.frame.handler
        self.run_button.on_click(handler(lambda _: self.start()))
        self.stop_button.on_click(handler(lambda _: self.frame.stop()))
        self.save_button.on_click(handler(lambda _: self.save(self.path.value)))
        self.open_button.on_click(handler(lambda _: self.open(self.path.value)))
        self.findings.observe(handler(lambda _: self._choose()), "chosen")
        self.frame.fill(
            self.asked.box, self.findings, self.about, widgets.HBox([self.curve, self.answers]),
            head=[self.run_button, self.stop_button, self.bar, self.path, self.save_button, self.open_button],
        )  # fmt: skip

    @property
    def state(self) -> dict[str, Any]:
        """See Panel."""
        job, hunted = self.frame.job, self.hunted
        found: dict[str, Any] = {"asked": self.asked.state, "status": job.status if job else "new"}
        if hunted is not None:
            report = hunted.report
            best = report.findings[0] if report.findings else None
            found |= {"findings": len(report.findings), "verdict": report.verdict if hunted.whole else None}
            found |= {"best": None if best is None else {"site": best.site.short, "score": best.score}}
        return found

    @property
    def report(self) -> SwitchReport:
        """What was found so far, ranked; of a hunt that was stopped, its verdict is on that alone."""
        return SwitchReport(self.session.agent.name, (), {}) if self.hunted is None else self.hunted.report

    # --- hunting ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Hunt in the background."""
        call, goal = self.asked.call(), self.asked.goal_code()
        self._before()
        self.frame.start(lambda: self._steps(call), lambda job: self._told(job, call, goal))

    def run(self) -> None:
        """See Panel."""
        call, goal = self.asked.call(), self.asked.goal_code()
        self._before()
        self.frame.run(lambda: self._steps(call), lambda job: self._told(job, call, goal))

    def _before(self) -> None:
        self.frame.stop()
        self.stop_button.disabled = False
        self.findings.chosen = -1
        self.findings.rows = []
        self.hunted, self.tally = None, Tally()

    # --- files ------------------------------------------------------------------------------------------

    def save(self, path: str) -> None:
        """Save what was found as a report. Raises BadSettings for nothing found, and for a file that is no report."""
        if not self.report.findings:
            raise BadSettings("expected findings to save, got none. Run the Surgeon first.")
        if (file := _file(path)).exists() and not _is_report(file):
            raise BadSettings(f"expected a new file, or a report to replace, got {path!r}, which is something else.")
        self.report.save(file)
        self.frame.news.text = f"Saved as {visible(path)}."

    def open(self, path: str) -> None:
        """Show a saved report, whose edits can be tried on this Agent. Raises BadCheckpoint, BadEdit or BadSettings."""
        report = SwitchReport.load(_file(path))
        for finding in report.findings:
            self.session.agent.check_edits(finding.edits, self.session.prompts)
        self._before()
        self.stop_button.disabled = True
        self.hunted = Hunted(report=report, whole=True, path=path)
        self._show(report)
        self.frame.news.text = f"{_concluded(report)} On {visible(report.agent)}, opened from {visible(path)}."
        self.frame.show_code()

    def _steps(self, call: Call) -> Iterator[Progress | Finding]:
        with self.session.counted() as self.tally:
            yield from self.session.do(call)

    def _told(self, job: Job, call: Call, goal: dict[str, str]) -> None:
        """Rank what was found so far, and show it where there is more than before."""
        events = list(job.events)
        self.stop_button.disabled = not job.active
        whole = job.status == "done"
        if self.hunted is None or len(events) > self.hunted.events or whole != self.hunted.whole:
            report = conclude(events, agent=self.session.agent.name)
            progress = next((e for e in reversed(events) if isinstance(e, Progress)), None)
            self.hunted = Hunted(
                report=report, whole=whole, events=len(events), call=call, goal=goal, progress=progress
            )
            self._show(report)
        self.bar.value = _share(self.hunted.progress)
        self.bar.layout.display = "" if job.active else "none"
        self.frame.news.text = _news(job, self.hunted, self.tally.runs)

    def _show(self, report: SwitchReport) -> None:
        """The ranking; the finding that was chosen stays chosen wherever it is ranked now."""
        before = self.chosen
        if report.findings != self.session.shared.findings:
            self.session.put(findings=report.findings)
        self.findings.show(_ranked(report))
        if before is not None:
            ranks = [rank for rank, finding in enumerate(report.findings[:_SHOWN]) if finding is before]
            self.findings.chosen = ranks[0] if ranks else -1

    # --- one finding ------------------------------------------------------------------------------------

    @property
    def chosen(self) -> Finding | None:
        """The finding that is looked at."""
        known, number = self.session.shared.findings, self.findings.chosen
        return known[number] if 0 <= number < len(known) else None

    def _choose(self) -> None:
        """Show what the chosen finding elicits; make its edits the current ones and select where they are."""
        finding = self.chosen
        self.about.text = "" if finding is None else _about(finding)
        self.curve.show([] if finding is None else _curve(finding))
        self.answers.show(pd.DataFrame() if finding is None else finding.portrait.answers())
        if finding is not None and finding.edits != self.session.edits:
            self.session.edit(finding.edits)
            old = self.session.shared.selection
            neurons, sites = finding.neurons or (), tuple(dict.fromkeys(e.site for e in finding.edits))
            self.session.put(selection=replace(old, sites=sites, neurons=neurons, positions=finding.positions))

    # --- code and the static view -----------------------------------------------------------------------

    def code(self) -> str:
        """See Panel: the whole hunt, or as much of it as was made."""
        hunted = self.hunted
        if hunted is None:
            return self.session.code("# nothing was hunted yet")
        if hunted.path:
            return self.session.code(f"report = wb.SwitchReport.load({hunted.path!r})")
        if hunted.whole:
            said = Call("hunt", hunted.call.settings).code(**hunted.goal)
            return self.session.code(f"report = {said}", "print(report.verdict, report.score)")
        return self.session.code(
            "from itertools import islice",
            "",
            f"events = {hunted.call.code(**hunted.goal)}",
            f"report = wb.conclude(islice(events, {hunted.events}), agent=agent.name)  # stopped there",
        )

    def sections(self) -> list[Section]:
        """See Panel."""
        hunted = self.hunted
        if hunted is None or not hunted.report.findings:
            return [Text("Nothing was found yet.")]
        report = hunted.report
        head = verdict(report) if hunted.whole else Text("The hunt was stopped; no verdict.")
        finding = self.chosen or report.best
        picture = Picture(static(report, format="png"), "png", "scores of the findings beside their controls")
        curve = still_lines(_curve(finding), x_name=_DOSES, reach=(0.0, 1.0))
        return [
            head,
            picture,
            StillTable(_visible(_ranked(report, 20)), "Findings, best first"),
            Heading(f"What is elicited at {finding.site.short}"),
            Text(_about(finding)),
            StillTable(_visible(finding.portrait.answers()), "Answers, without and with the edit"),
            Picture(curve, "svg", "share of answers changed at each dose"),
        ]


def _share(progress: Progress | None) -> float:
    return 0.0 if progress is None else progress.done / max(1, progress.total)


def _news(job: Job, hunted: Hunted, runs: int) -> str:
    """Best so far, how many were judged, what it cost, and how long it will take; at the end the verdict."""
    found, report = hunted.progress, hunted.report
    count = len(report.findings)
    proposals = f"{count} proposal{'' if count == 1 else 's'} judged, each beside 32 random edits"
    judged = f"{proposals}, {runs:,} evaluations, {job.seconds:.0f} s"
    if hunted.whole:
        return f"{_concluded(report)} {judged}."
    best = f"best so far {report.score:.2f} at {report.best.site.short}" if report.findings else "nothing yet"
    if not job.active:
        return f"{job.status.capitalize()}: {best}, no verdict. {judged}."
    searches = (
        f"search {found.done + 1} of {found.total} ({found.surgeon} at {found.site.short})" if found else "begins"
    )
    left = ""
    if found is not None and found.done:
        left = f", about {job.seconds * (found.total - found.done) / found.done:.0f} s left"
    return f"{searches}: {best}. {judged}{left}."


def _concluded(report: SwitchReport) -> str:
    return f"{verdict(report).headline}: score {report.score:.2f}, threshold {report.threshold:.2f}."


def _file(path: str) -> Path:
    """The file of that name. Raises BadSettings for none."""
    if not path.strip():
        raise BadSettings("expected the name of a file, got none. Type one beside Save and Open.")
    return Path(path)


def _is_report(file: Path) -> bool:
    try:
        SwitchReport.load(file)
    except BadCheckpoint:
        return False
    return True


def _ranked(report: SwitchReport, most: int = _SHOWN) -> pd.DataFrame:
    """The findings, best first, with the score of random edits beside each."""
    rows = [
        {
            "site": " + ".join(edit.site.short for edit in f.edits),
            "neurons": _few(f.neurons),
            "positions": _few(f.positions),
            "score": f.score,
            "random edits": f.control,
            "rho": f.rho,
            "search": f.surgeon,
        }
        for f in report.findings[:most]
    ]
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="rank"))


def _few(numbers: tuple[int, ...] | None) -> str:
    """Some numbers in a cell."""
    if not numbers:
        return "\N{EN DASH}"
    return ", ".join(map(str, numbers[:6])) + (" \N{HORIZONTAL ELLIPSIS}" if len(numbers) > 6 else "")


def _about(finding: Finding) -> str:
    """One finding in words."""
    until = finding.portrait.works_until
    said = f"{finding.surgeon}: score {finding.score:.2f}, random edits of its size {finding.control:.2f}."
    return said + (f" What it writes still works when it is written at {until}." if until else "")


def _curve(finding: Finding) -> list[Line]:
    portrait = finding.portrait
    return [
        Line("answers changed", portrait.doses, portrait.flipped),
        Line("changed as at dose 1", portrait.doses, portrait.same),
    ]


def _visible(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with every text made readable."""
    return frame.map(lambda value: visible(value) if isinstance(value, str) else value)
