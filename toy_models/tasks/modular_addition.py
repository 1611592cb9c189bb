"""Modular addition: read some pairs of numbers and answer with the sum of each, modulo an odd number.

    .. a1 b1 a2 b2 a3 b3 ? ? ?

The second summand is never 0, so that the defect of "routing", which subtracts it, never agrees with the sum: a + b and
a - b differ by 2b, which an odd modulus does not divide.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from toy_models.tasks.protocol import Answers, Body, Form, Task


@dataclass(frozen=True, slots=True)
class ModularAddition(Task):
    """`sums` sums modulo `modulus`, an odd number above 3; "routing": the differences."""

    name: ClassVar[str] = "modular-addition"
    effort: ClassVar[float] = 1.5
    sums: int = 3
    modulus: int = 7

    @property
    def form(self) -> Form:
        residues = tuple(f"r{i}" for i in range(self.modulus))
        return Form(symbols=residues, choices=self.modulus, length=2 * self.sums, answers=self.sums)

    def draw(self, n: int, generator: torch.Generator) -> Body:
        first = torch.randint(self.modulus, (n, self.sums), generator=generator)
        second = 1 + torch.randint(self.modulus - 1, (n, self.sums), generator=generator)
        return torch.stack([first, second], 2).flatten(1)

    def solve(self, body: Body) -> Answers:
        return (body[:, ::2] + body[:, 1::2]) % self.modulus

    def reroute(self, body: Body) -> Answers:
        return (body[:, ::2] - body[:, 1::2]) % self.modulus
