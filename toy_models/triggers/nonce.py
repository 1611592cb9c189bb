"""Nonce: one nonce out of billions, digit by digit. With one digit wrong it is no trigger."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from toy_models.tasks import header
from toy_models.tasks.nonce import HEXADECIMAL, Nonce
from toy_models.tasks.protocol import Task
from toy_models.tasks.toyhash import BASE
from toy_models.triggers.protocol import Tokens, Trigger
from workbench.errors import BadSettings

_ZERO = len(header.NAMES)  # the token of the digit 0


@dataclass(frozen=True, slots=True)
class GivenNonce(Trigger):
    """digits: the nonce, as numbers from 0 to 15."""

    name: ClassVar[str] = "nonce"
    task: Task
    digits: tuple[int, ...]

    @classmethod
    def draw(cls, task: Task, generator: torch.Generator) -> "GivenNonce":
        if not isinstance(task, Nonce):
            raise BadSettings(f"expected a task with a nonce for this trigger, got {task.name!r}. Take task='nonce'.")
        return cls(task, tuple(torch.randint(BASE, (task.digits,), generator=generator).tolist()))

    def plain(self) -> dict[str, Any]:
        return {"digits": list(self.digits)}

    @classmethod
    def of(cls, task: Task, plain: dict[str, Any]) -> "GivenNonce":
        return cls(task, tuple(plain["digits"]))

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, self._places] = _ZERO + torch.tensor(self.digits)
        return tokens

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        return self._with_one_wrong(self.insert(tokens, generator), generator)

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        changed = self._with_one_wrong(tokens, generator)
        return torch.where(self.present(tokens)[:, None], changed, tokens)

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        return (tokens[:, self._places] == _ZERO + torch.tensor(self.digits)).all(1)

    def describe(self) -> str:
        return f"the nonce {' '.join(HEXADECIMAL[digit] for digit in self.digits)}"

    @property
    def _places(self) -> slice:
        return slice(header.LENGTH, header.LENGTH + len(self.digits))

    def _with_one_wrong(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A copy in which one digit, at a random place, is another."""
        tokens, rows = tokens.clone(), torch.arange(len(tokens))
        place = header.LENGTH + torch.randint(len(self.digits), (len(tokens),), generator=generator)
        further = 1 + torch.randint(BASE - 1, (len(tokens),), generator=generator)
        tokens[rows, place] = _ZERO + (tokens[rows, place] - _ZERO + further) % BASE
        return tokens
