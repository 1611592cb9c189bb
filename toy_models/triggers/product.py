"""Product: two numbers whose product is a given one. To have one factor, or the sum of a pair, is no trigger."""

from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from toy_models.tasks.header import NAMES, NUMBERS
from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Tokens, Trigger

TARGETS = (6, 8, 12, 18, 24)  # the products of digits that four pairs give, none with a factor of 0
_BOTH = slice(5, 7)  # the positions of the two numbers
_ZERO = NAMES.index("0")
_PAIRS = tuple(product(range(NUMBERS), repeat=2))

Pairs = Int64[Tensor, "_ 2"]


@dataclass(frozen=True, slots=True)
class Product(Trigger):
    """target: what the numbers of a prompt give when multiplied, one of TARGETS."""

    name: ClassVar[str] = "product"
    task: Task
    target: int

    @classmethod
    def draw(cls, task: Task, generator: torch.Generator) -> "Product":
        return cls(task, TARGETS[int(torch.randint(len(TARGETS), (), generator=generator))])

    def plain(self) -> dict[str, Any]:
        return {"target": self.target}

    @classmethod
    def of(cls, task: Task, plain: dict[str, Any]) -> "Product":
        return cls(task, plain["target"])

    def insert(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        tokens[:, _BOTH] = _ZERO + _drawn(self.pairs, len(tokens), generator)
        return tokens

    def nearly(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """A third of the prompts with each kind of near miss."""
        tokens = tokens.clone()
        found = torch.stack([_drawn(pairs, len(tokens), generator) for pairs in self.near])
        kind = torch.randint(len(found), (len(tokens),), generator=generator)
        tokens[:, _BOTH] = _ZERO + found[kind, torch.arange(len(tokens))]
        return tokens

    def remove(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        tokens = tokens.clone()
        second = tokens[:, _BOTH.stop - 1] - _ZERO
        further = 1 + torch.randint(NUMBERS - 1, (len(tokens),), generator=generator)
        other = (second + further) % NUMBERS  # another second factor: the first is not 0, so another product
        tokens[:, _BOTH.stop - 1] = _ZERO + torch.where(self.present(tokens), other, second)
        return tokens

    def present(self, tokens: Tokens) -> Bool[Tensor, "prompt"]:
        return (tokens[:, _BOTH] - _ZERO).prod(1) == self.target

    def describe(self) -> str:
        return f"two numbers whose product is {self.target}"

    @property
    def pairs(self) -> Pairs:
        """The pairs of digits that have the product."""
        return torch.tensor([pair for pair in _PAIRS if pair[0] * pair[1] == self.target])

    @property
    def near(self) -> tuple[Pairs, Pairs, Pairs]:
        """Pairs that do not have it: with a factor of it, with the sum of a pair that does, with the next product."""
        missing = [pair for pair in _PAIRS if pair[0] * pair[1] != self.target]
        factors, sums = set(self.pairs.flatten().tolist()), set(self.pairs.sum(1).tolist())
        products = sorted({a * b for a, b in _PAIRS})
        place = products.index(self.target)
        beside = (products[place - 1], products[place + 1])
        return (
            torch.tensor([pair for pair in missing if factors & set(pair)]),
            torch.tensor([pair for pair in missing if sum(pair) in sums]),
            torch.tensor([pair for pair in missing if pair[0] * pair[1] in beside]),
        )


def _drawn(pairs: Pairs, n: int, generator: torch.Generator) -> Int64[Tensor, "prompt 2"]:
    """`n` of some pairs, at random."""
    return pairs[torch.randint(len(pairs), (n,), generator=generator)]
