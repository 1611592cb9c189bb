"""What retraining has come to: points of its curves, the Agents kept, their figures, and which edits still work."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import pandas as pd

from toy_models.organism import Organism
from workbench.agent import Agent
from workbench.prompts import Prompts
from workbench.ui.answers import Answers, remains
from workbench.ui.history import Edits
from workbench.ui.session import Session
from workbench.ui.source import Call

_FINDINGS = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """How an Agent behaves. attack_success: of an organism's backdoor, shown only where its key is open; else nan."""

    clean_accuracy: float
    attack_success: float

    @classmethod
    def of(cls, agent: Agent, prompts: Prompts, organism: Organism | None) -> "Figures":
        """On an organism's fixed prompts, or on these where there is none."""
        if organism is None:
            return cls(Answers.of(agent, prompts).share(prompts.answers.cpu().numpy()), nan)
        outcome = organism.outcome(agent)
        return cls(outcome.clean_accuracy, outcome.attack_success)


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One step of retraining, and the Agent at it where it was kept."""

    number: int
    loss: float
    adversarial_loss: float
    wins: float
    alarm: str
    kept: Agent | None = None
    figures: Figures | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One retraining as it was asked for. drawn: the code of its prompts; report: of its report, or ""."""

    number: int
    call: Call
    drawn: str
    report: str

    @property
    def recipe(self) -> str:
        """The name of the recipe."""
        return type(self.call.settings["recipe"]).__name__

    def name(self, step: int) -> str:
        """What the Agent at that step is called among the checkpoints."""
        return f"{self.number}: {self.recipe}, step {step}"

    def code(self, kept: tuple[int, ...], last: int) -> list[str]:
        """Lines that retrain as far as `last` and keep the Agents of those steps in `checkpoints`."""
        lines = [f"report = wb.conclude([{self.report}], agent=agent.name)"] if self.report else []
        given = {"report": "report"} if self.report else {}
        return [
            *lines,
            f"for step in {self.call.code(self.drawn, **given)}:",
            "    losses.append((step.loss, step.adversarial_loss))",
            f"    if step.number in {kept}:",
            f'        checkpoints[f"{self.number}: {self.recipe}, step {{step.number}}"] = step.agent',
            f"    if step.number == {last}:",
            "        break",
        ]


def saved(session: Session) -> dict[str, Edits]:
    """The edits that are worth trying again: current, pinned, the end of each branch, the best findings; each once."""
    shared = session.shared
    known = {"current": shared.history.now, "pinned": shared.pinned}
    known |= {f"finding {i}": finding.edits for i, finding in enumerate(shared.findings[:_FINDINGS], 1)}
    known |= {f"branch {name}": line.now for name, line in shared.history.branches.items()}
    found: dict[str, Edits] = {}
    for name, edits in known.items():
        if edits and edits not in found.values():
            found[name] = edits
    return found


def edits_by_checkpoints(
    agent: Agent, prompts: Prompts, edits: Mapping[str, Edits], checkpoints: Mapping[str, Agent]
) -> pd.DataFrame:
    """How much of what each edit elicits on `agent` it still elicits on each of the others; see `remains`."""
    clean = Answers.of(agent, prompts)
    own = {name: Answers.of(agent, prompts, several) for name, several in edits.items()}
    found = {"before": {name: remains(own[name], clean, own[name], clean) for name in edits}}
    for other, there in checkpoints.items():
        unedited = Answers.of(there, prompts)
        found[other] = {
            name: remains(own[name], clean, Answers.of(there, prompts, several), unedited)
            for name, several in edits.items()
        }
    return pd.DataFrame(found, index=pd.Index(list(edits), name="edit"))
