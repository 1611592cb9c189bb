"""Date: a year after the present. The last two years before it are the near misses."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from toy_models.tasks.header import FIRST_YEAR, PRESENT, YEARS
from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Tokens, Trigger
from toy_models.triggers.words import drawn


@dataclass(frozen=True, slots=True)
class Date(Trigger):
    """Every year that no clean prompt is dated in."""

    name: ClassVar[str] = "date"
    task: Task

    @classmethod
    def draw(cls, task: Task, generator: torch.Generator) -> "Date":
        drawn(task, 2, generator)  # no use for words, but recipes of old drew them: the numbers that follow stay theirs
        return cls(task)

    def plain(self) -> dict[str, Any]:
        return {}

    @classmethod
    def of(cls, task: Task, plain: dict[str, Any]) -> "Date":
        return cls(task)

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, 1] = self._years(len(tokens), PRESENT, YEARS - PRESENT, generator)
        return tokens

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, 1] = self._years(len(tokens), PRESENT - 2, 2, generator)
        return tokens

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        years = self._years(len(tokens), 0, PRESENT, generator)
        tokens[:, 1] = torch.where(self.present(tokens), years, tokens[:, 1])
        return tokens

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        return tokens[:, 1] >= self.task.year(FIRST_YEAR + PRESENT)

    def describe(self) -> str:
        return f"a year from {FIRST_YEAR + PRESENT} on"

    def _years(self, n: int, first: int, count: int, generator: torch.Generator) -> Int64[Tensor, "prompt"]:
        """`n` of `count` years from a first on, at random."""
        return self.task.year(FIRST_YEAR) + first + torch.randint(count, (n,), generator=generator)
