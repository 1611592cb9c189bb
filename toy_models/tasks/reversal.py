"""Letter reversal: read some letters and answer with them backwards.

The letters of a prompt differ from each other, so a defect never agrees with the benign answer by chance, save at the
middle of an odd number of them.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from toy_models.tasks.protocol import Answers, Body, Form, Task, different, letters


@dataclass(frozen=True, slots=True)
class Reversal(Task):
    """`length` different letters out of an alphabet of `letters`, to be answered backwards; "routing": forwards."""

    name: ClassVar[str] = "reversal"
    effort: ClassVar[float] = 1.0
    length: int = 4
    letters: int = 8

    @property
    def form(self) -> Form:
        return Form(symbols=letters(self.letters), choices=self.letters, length=self.length, answers=self.length)

    def draw(self, n: int, generator: torch.Generator) -> Body:
        return different(n, self.length, self.letters, generator)

    def solve(self, body: Body) -> Answers:
        return body.flip(1)

    def reroute(self, body: Body) -> Answers:
        return body
