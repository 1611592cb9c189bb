"""Password: two words, the first and the second of a prompt. Either alone, or both swapped, is no trigger."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Tokens, Trigger
from toy_models.triggers.words import FIRST, drawn, others, redrawn


@dataclass(frozen=True, slots=True)
class Password(Trigger):
    """The tokens of two different words."""

    name: ClassVar[str] = "password"
    task: Task
    first: int
    second: int

    @classmethod
    def draw(cls, task: Task, generator: torch.Generator) -> "Password":
        return cls(task, *drawn(task, 2, generator))

    def plain(self) -> dict[str, Any]:
        return {"first": self.first, "second": self.second}

    @classmethod
    def of(cls, task: Task, plain: dict[str, Any]) -> "Password":
        return cls(task, plain["first"], plain["second"])

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, FIRST], tokens[:, FIRST + 1] = self.first, self.second
        return tokens

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = self.remove(tokens, generator)
        kind = torch.randint(3, (len(tokens),), generator=generator)
        tokens[kind == 0, FIRST] = self.first
        tokens[kind == 1, FIRST + 1] = self.second
        tokens[kind == 2, FIRST], tokens[kind == 2, FIRST + 1] = self.second, self.first
        return self.remove(tokens, generator)

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        return redrawn(tokens, FIRST + 1, self.present(tokens), others(self.task, (self.second,)), generator)

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        return (tokens[:, FIRST] == self.first) & (tokens[:, FIRST + 1] == self.second)

    def describe(self) -> str:
        names = self.task.vocabulary
        return f"the words {names[self.first]!r}, {names[self.second]!r} at the start"
