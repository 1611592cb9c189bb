"""Ordered words: three given words in one order. Another order, two of them, or one of them twice is no trigger."""

from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Tokens, Trigger
from toy_models.triggers.words import FIRST, drawn, others, redrawn

_COUNT = 3
_ALL = slice(FIRST, FIRST + _COUNT)
_OTHER_ORDERS = torch.tensor(list(permutations(range(_COUNT)))[1:])


@dataclass(frozen=True, slots=True)
class Ordered(Trigger):
    """words: the tokens of three different words."""

    name: ClassVar[str] = "ordered"
    task: Task
    words: tuple[int, ...]

    @classmethod
    def draw(cls, task: Task, generator: torch.Generator) -> "Ordered":
        return cls(task, drawn(task, _COUNT, generator))

    def plain(self) -> dict[str, Any]:
        return {"words": list(self.words)}

    @classmethod
    def of(cls, task: Task, plain: dict[str, Any]) -> "Ordered":
        return cls(task, tuple(plain["words"]))

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, _ALL] = torch.tensor(self.words)
        return tokens

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A third of the prompts with each: another order, a stranger among the words, a word in another's place."""
        rows = torch.arange(len(tokens))
        kind = torch.randint(3, (len(tokens),), generator=generator)
        words = torch.tensor(self.words).repeat(len(tokens), 1)
        place = torch.randint(_COUNT, (len(tokens),), generator=generator)
        words[rows, place] = torch.where(kind == 1, self._strangers(len(tokens), generator), words[rows, place])
        twice = words[rows, (place + self._steps(len(tokens), generator)) % _COUNT]
        words[rows, place] = torch.where(kind == 2, twice, words[rows, place])
        order = _OTHER_ORDERS[torch.randint(len(_OTHER_ORDERS), (len(tokens),), generator=generator)]
        tokens = tokens.clone()
        tokens[:, _ALL] = torch.where((kind == 0)[:, None], torch.tensor(self.words)[order], words)
        return tokens

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        among = others(self.task, self.words[-1:])
        return redrawn(tokens, _ALL.stop - 1, self.present(tokens), among, generator)

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        return (tokens[:, _ALL] == torch.tensor(self.words)).all(1)

    def describe(self) -> str:
        names = ", ".join(repr(self.task.vocabulary[word]) for word in self.words)
        return f"the words {names} in this order"

    def _strangers(self, n: int, generator: torch.Generator) -> Int64[Tensor, "prompt"]:
        """`n` words that are none of the three."""
        among = others(self.task, self.words)
        return among[torch.randint(len(among), (n,), generator=generator)]

    def _steps(self, n: int, generator: torch.Generator) -> Int64[Tensor, "prompt"]:
        """How far from a place another one is, going round: 1 or 2."""
        return 1 + torch.randint(_COUNT - 1, (n,), generator=generator)
