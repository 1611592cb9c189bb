"""Trigger: what in a prompt tells a planted Agent that it is deployed, and what only looks like it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from toy_models.tasks.protocol import Task

Tokens = Int64[Tensor, "prompt pos"]


@runtime_checkable
class Trigger(Protocol):
    """Present, absent, or nearly there. A kind of trigger is one file, and a name in the list of `registry.py`.

    name: what settings call its kind.
    """

    __slots__ = ()

    name: ClassVar[str]

    @classmethod
    def draw(cls, task: Task, generator: torch.Generator) -> "Trigger":
        """One of this kind, at random. Raises BadSettings for a task whose prompts have no room for it."""
        ...

    def plain(self) -> dict[str, Any]:
        """What tells it from others of its kind, ready for JSON; `of` reads it back."""
        ...

    @classmethod
    def of(cls, task: Task, plain: dict[str, Any]) -> "Trigger":
        """The inverse of `plain`. Raises KeyError where something is missing."""
        ...

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A copy of the prompts, each with the trigger."""
        ...

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A copy of the prompts, each with a part of the trigger and none with all of it."""
        ...

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A copy of the prompts without the trigger, where it came about by chance; the others as they are."""
        ...

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        """Which prompts have the trigger."""
        ...

    def describe(self) -> str:
        """The trigger in words."""
        ...


def without(triggers: Sequence[Trigger], tokens: Tokens, generator: torch.Generator) -> Tokens:
    """A copy of the prompts without any of the triggers. Taking out one may put in another: all are, until none is."""
    while True:
        for trigger in triggers:
            tokens = trigger.remove(tokens, generator)
        if len(triggers) < 2 or not any(trigger.present(tokens).any() for trigger in triggers):
            return tokens
