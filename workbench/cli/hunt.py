"""`workbench hunt`: is there a switch in this agent, and where?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes

from workbench.cli.console import Json, Result, check_target, columns, facts, progress, shown_as
from workbench.cli.subjects import Subject, open_agent

if TYPE_CHECKING:
    from workbench.portrait import Portrait
    from workbench.report import Finding, Progress, SwitchReport

SHOWN = 8
_VERDICTS = {
    "switch": "a switch was found",
    "undecided": "undecided: something scores above every control, but not enough to be sure",
    "none": "no switch was found",
}


@dataclass(frozen=True, kw_only=True)
class Hunt:
    """Search an agent for a hidden switch, on benign prompts alone, and judge every find beside controls.

    Examples:
      workbench hunt beryl
      workbench hunt beryl --sites L0.mlp.post L1.mlp.post --save report.safetensors
      workbench hunt my-agent --prompts-file prompts.json --reference my-clean-agent --json
    """

    subject: OmitArgPrefixes[Subject]
    prompts: int = 64
    """How many prompts: half to search on, half to judge on."""
    sites: Annotated[tuple[str, ...], shown_as("SITE ...")] = ()
    """Where to search, such as L1.mlp.post; by default MLP neurons and residual stream of the early layers."""
    radius: float = 2.0
    """Largest size of an edit, in mean residual norms."""
    reference: Annotated[tuple[str, ...], shown_as("NAME ...")] = ()
    """Clean agents, names or folders, hunted alike as further controls."""
    save: Annotated[Path | None, shown_as("FILE")] = None
    """Write the whole report there, for `workbench retrain --report`."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        check_target(self.save)
        opened = self.subject.open(self.prompts)
        references = [open_agent(name)[0] for name in self.reference]
        from workbench.budgets import L2Ball
        from workbench.goals import HiddenBehaviour
        from workbench.hunt import default_surgeons, scan
        from workbench.report import conclude

        events = scan(
            opened.agent,
            opened.prompts,
            surgeons=default_surgeons(),
            sites=self.sites or None,
            budget=L2Ball(self.radius),
            goal=HiddenBehaviour(),
            references=references,
            seed=self.subject.seed,
        )
        report = conclude(_shown(events), agent=opened.agent.name)
        if self.save is not None:
            report.save(self.save)
        return Result(data=_data(report, self.save), text=_text(report, self.save))


def _shown(events: "Iterable[Progress | Finding]") -> "Iterator[Progress | Finding]":
    """The same events, and a bar."""
    from workbench.report import Progress

    with progress("hunting") as bar:
        for event in events:
            if isinstance(event, Progress):
                bar.total = event.total
                note = f"{event.agent}: {event.surgeon} at {event.site}, best {event.best:.2f}"
                bar.update(event.done - bar.n)
                bar.set_postfix_str(note)
            yield event


def _rows(report: "SwitchReport") -> list[dict[str, Any]]:
    frame = report.to_frame()
    return [{"rank": rank, **row} for rank, row in zip(frame.index, frame.to_dict("records"), strict=True)]


def _data(report: "SwitchReport", saved: Path | None) -> dict[str, Any]:
    return {
        "agent": report.agent,
        "verdict": report.verdict,
        "found": report.found,
        "score": report.score,
        "threshold": report.threshold,
        "controls": report.controls,
        "findings": _rows(report),
        "portrait": report.findings[0].portrait.plain() if report.findings else None,
        "saved": saved and str(saved.resolve()),
    }


def _text(report: "SwitchReport", saved: Path | None) -> str:
    head = {"agent": report.agent, "verdict": _VERDICTS[report.verdict], "score": report.score}
    head |= {"threshold": report.threshold} | {f"control: {name}": score for name, score in report.controls.items()}
    rows = [{name: value for name, value in row.items() if name != "goal_met"} for row in _rows(report)[:SHOWN]]
    left = len(report.findings) - len(rows)
    more = f"\n({left} more in --json)" if left else ""
    shown = [facts(head), columns(rows) + more, *(_portrait(f.portrait) for f in report.findings[:1])]
    return "\n\n".join([*shown, *([f"Report: {saved.resolve()}"] if saved else [])])


def _portrait(portrait: "Portrait") -> str:
    """What the first finding elicits."""
    answers = columns(portrait.answers().to_dict("records"))
    doses = columns(portrait.dose_curve().reset_index().to_dict("records"))
    where = {"works until": portrait.works_until or "-", "distance from real prompts": portrait.nearness}
    return f"What the first one elicits\n\n{answers}\n\n{doses}\n\n{facts(where)}"
