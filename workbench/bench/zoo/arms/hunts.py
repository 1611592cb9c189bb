"""Arms that are hunts: some Surgeons, a Budget and a Goal; by default those of `workbench.hunt`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.bench.zoo.arms.protocol import PROMPTS, Outcome
from workbench.budgets import Budget
from workbench.goals import Goal, HiddenBehaviour
from workbench.hunt import default_budget, default_surgeons, scan
from workbench.report import Finding, Progress, conclude
from workbench.surgeons import Surgeon

if TYPE_CHECKING:
    from toy_models import Organism


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """A hunt at the Surgeons' own sites; None: the default of each."""

    version: ClassVar[int] = 1
    judged: ClassVar[bool] = True
    families: ClassVar[tuple[str, ...] | None] = None
    surgeons: tuple[Surgeon, ...] | None = None
    budget: Budget | None = None
    goal: Goal | None = None

    @property
    def words(self) -> str:
        """See Arm: what is the default today belongs to it."""
        return repr(self._settings)

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "surgeons": self.surgeons or default_surgeons(),
            "budget": self.budget or default_budget(),
            "goal": self.goal or HiddenBehaviour(),
        }

    def look(self, organism: "Organism", seed: int) -> Outcome:
        """See Arm."""
        stages: dict[str, float] = {}
        prompts = organism.prompts(PROMPTS, seed=seed)
        events = scan(organism.agent, prompts, sites=None, seed=seed, **self._settings)
        return Outcome(report=conclude(_timed(events, stages), agent=organism.agent.name), stages=stages)


def _timed(events: Iterator[Progress | Finding], stages: dict[str, float]) -> Iterator[Finding]:
    """The findings; what each search took, with its judging, is added to its Surgeon's CPU seconds."""
    began, surgeon = time.process_time(), ""
    for event in events:
        if isinstance(event, Finding):
            yield event
            continue
        now = time.process_time()
        if surgeon:
            stages[surgeon] = stages.get(surgeon, 0.0) + now - began
        began, surgeon = now, event.surgeon
