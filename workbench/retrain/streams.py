"""Where the prompts of a step come from: rows of a fixed set, or whatever somebody makes at every step."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator

from workbench.prompts import Prompts
from workbench.store import sha256


@runtime_checkable
class Stream(Protocol):
    """Makes the prompts of every step, so that the data may change while a model is trained, as when poison comes in.

    `identity` says in words what it makes: two runs are the same if theirs are.
    """

    @property
    def identity(self) -> str:
        """What is made, in words."""
        ...

    def draw(self, step: int, rows: int, generator: Generator) -> Prompts:
        """So many prompts for that step, counted from 1. All randomness comes from the generator."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of some prompts, drawn with replacement."""

    prompts: Prompts

    @property
    def identity(self) -> str:
        """See Stream."""
        tokens, answers = (t.cpu().numpy().tobytes() for t in (self.prompts.tokens, self.prompts.answers))
        return f"prompts {sha256(tokens + answers)[:8]}"

    def draw(self, step: int, rows: int, generator: Generator) -> Prompts:
        """See Stream."""
        chosen = torch.randint(len(self.prompts), (rows,), generator=generator)
        return self.prompts[chosen]
