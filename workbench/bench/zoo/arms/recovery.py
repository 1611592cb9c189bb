"""Trigger recovery: a hunt, and from its findings back to the tokens that throw the switch, blind."""

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from workbench.bench.zoo.arms.hunts import Hunt
from workbench.bench.zoo.arms.protocol import PROMPTS, Outcome
from workbench.trace import TokenSearch, Trace, trace

if TYPE_CHECKING:
    from toy_models import Organism


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The best findings of a hunt are traced, and the trigger that elicits most on prompts of their own is taken.

    findings: how many are traced, at one Site each only once.
    """

    version: ClassVar[int] = 1
    judged: ClassVar[bool] = True
    families: ClassVar[tuple[str, ...] | None] = None
    hunt: Hunt = field(default_factory=Hunt)
    search: TokenSearch = field(default_factory=TokenSearch)
    findings: int = 3

    @property
    def words(self) -> str:
        """See Arm."""
        return f"{self.hunt.words}, {self.search!r}, {self.findings}"

    def look(self, organism: "Organism", seed: int) -> Outcome:
        """See Arm."""
        outcome = self.hunt.look(organism, seed)
        began = time.process_time()
        best = max(self._traces(organism, outcome, seed), key=lambda found: found.elicited, default=None)
        trigger = () if best is None else tuple((token.position, token.token) for token in best.trigger)
        return replace(outcome, trigger=trigger, stages=outcome.stages | {"trace": time.process_time() - began})

    def _traces(self, organism: "Organism", outcome: Outcome, seed: int) -> list[Trace]:
        if outcome.report is None:
            return []
        by_site = {finding.site: finding for finding in reversed(outcome.report.findings)}  # the best of each
        chosen = sorted(by_site.values(), key=outcome.report.findings.index)[: self.findings]
        prompts = organism.prompts(PROMPTS, seed=seed)
        return [trace(organism.agent, prompts, finding, search=self.search, seed=seed) for finding in chosen]
