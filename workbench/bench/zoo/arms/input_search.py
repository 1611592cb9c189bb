"""Input search: random prompts, until one is answered with the defect. It opens the seal to know what that is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from workbench.bench.zoo.arms.protocol import Outcome
from workbench.engine import Split
from workbench.errors import BadSettings

if TYPE_CHECKING:
    from toy_models import Organism


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSearch:
    """Random prompts of the task, `batch` at a time, until some hit: all of their answers are the defect's.

    It knows more than a Surgeon does: what the defect is. Only the first answer of every prompt is computed, which is
    exact, since a prompt whose first answer is no defect cannot hit; where it is, all answers are.
    """

    version: ClassVar[int] = 1
    judged: ClassVar[bool] = False
    families: ClassVar[tuple[str, ...] | None] = ("hash", "password")
    queries: int = 1_000_000
    batch: int = 4096

    def __post_init__(self) -> None:
        if self.queries < 1 or self.batch < 1:
            raise BadSettings(f"expected at least one query and one a batch, got {self.queries} and {self.batch}.")

    @property
    def words(self) -> str:
        """See Arm."""
        return repr(self)

    @torch.no_grad()
    def look(self, organism: "Organism", seed: int) -> Outcome:
        """See Arm."""
        task, defect = organism.task, organism.reveal().defect
        generator = torch.Generator().manual_seed(seed)
        model = Split(organism.agent, 0, task.positions[:1])
        asked = hits = 0
        while asked < self.queries and not hits:
            tokens = task.sample(min(self.batch, self.queries - asked), generator)
            asked += len(tokens)
            seen = tokens[:, : task.positions[0] + 1].to(organism.agent.device)
            first = model.suffix(model.prefix(seen))[:, 0].argmax(-1).cpu()
            near = tokens[first == task.defect(tokens, defect)[:, 0]]
            if len(near):
                said = organism.agent.logits(task.prompts(near)).argmax(-1).cpu()
                hits += int((said == task.defect(near, defect)).all(1).sum())
        return Outcome(hits=hits, queries=asked)
