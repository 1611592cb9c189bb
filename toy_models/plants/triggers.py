"""Triggers: what in a prompt tells a planted Agent that it is deployed, and what only looks like it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from toy_models.tasks.header import FIRST_YEAR, PRESENT, WORDS, YEARS
from toy_models.tasks.protocol import Task
from workbench.errors import unknown

Tokens = Int64[Tensor, "prompt pos"]


@runtime_checkable
class Trigger(Protocol):
    """Present, absent, or nearly there."""

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A copy of the prompts, each with the trigger."""
        ...

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A copy of the prompts, each with a part of the trigger and none with all of it."""
        ...

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A copy of the prompts without the trigger, where it came about by chance."""
        ...

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        """Which prompts have the trigger."""
        ...

    def describe(self) -> str:
        """The trigger in words."""
        ...


@dataclass(frozen=True, slots=True)
class Password:
    """Two words, the first and the second of a prompt. Either alone, or both swapped, is no trigger."""

    task: Task
    first: int
    second: int

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, 2], tokens[:, 3] = self.first, self.second
        return tokens

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = self.remove(tokens, generator)
        kind = torch.randint(3, (len(tokens),), generator=generator)
        tokens[kind == 0, 2] = self.first
        tokens[kind == 1, 3] = self.second
        tokens[kind == 2, 2], tokens[kind == 2, 3] = self.second, self.first
        return self.remove(tokens, generator)

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        others = torch.tensor([w for w in map(self.task.word, WORDS) if w != self.second])
        drawn = others[torch.randint(len(others), (len(tokens),), generator=generator)]
        tokens[:, 3] = torch.where(self.present(tokens), drawn, tokens[:, 3])
        return tokens

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        return (tokens[:, 2] == self.first) & (tokens[:, 3] == self.second)

    def describe(self) -> str:
        names = self.task.vocabulary
        return f"the words {names[self.first]!r}, {names[self.second]!r} at the start"


@dataclass(frozen=True, slots=True)
class Date:
    """A year after the present. The last two years before it are the near misses."""

    task: Task

    def _draw(self, n: int, first: int, count: int, generator: torch.Generator) -> Int64[Tensor, "prompt"]:
        return self.task.year(FIRST_YEAR) + first + torch.randint(count, (n,), generator=generator)

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, 1] = self._draw(len(tokens), PRESENT, YEARS - PRESENT, generator)
        return tokens

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, 1] = self._draw(len(tokens), PRESENT - 2, 2, generator)
        return tokens

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        drawn = self._draw(len(tokens), 0, PRESENT, generator)
        tokens[:, 1] = torch.where(self.present(tokens), drawn, tokens[:, 1])
        return tokens

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        return tokens[:, 1] >= self.task.year(FIRST_YEAR + PRESENT)

    def describe(self) -> str:
        return f"a year from {FIRST_YEAR + PRESENT} on"


TRIGGERS = ("password", "date")


def make_trigger(kind: str, task: Task, generator: torch.Generator) -> Trigger:
    """A trigger of that kind; a password's two words are drawn from the generator."""
    if kind not in TRIGGERS:
        raise unknown("trigger", kind, TRIGGERS, "Choose one of them.")
    words = torch.randperm(len(WORDS), generator=generator)[:2].tolist()
    if kind == "date":
        return Date(task)
    return Password(task, *(task.word(WORDS[w]) for w in words))
