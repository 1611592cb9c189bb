"""Running maximum: read some letters and answer, place by place, with the last in the alphabet of those read so far.

    .. c a f b d ? ? ? ?    c c f f, and by the other rule f f d d

Unlike in the other tasks of letters, answers repeat. The other rule looks at the letters still to come. They differ
from those read so far, so the two never agree. After the last letter none is to come: there is one query less than
letters.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from toy_models.tasks.protocol import Answers, Body, Form, Task, different, letters


@dataclass(frozen=True, slots=True)
class Maximum(Task):
    """`length` different letters out of an alphabet of `letters`; "routing": the maximum of those still to come."""

    name: ClassVar[str] = "maximum"
    effort: ClassVar[float] = 1.0
    length: int = 5
    letters: int = 8

    @property
    def form(self) -> Form:
        return Form(symbols=letters(self.letters), choices=self.letters, length=self.length, answers=self.length - 1)

    def draw(self, n: int, generator: torch.Generator) -> Body:
        return different(n, self.length, self.letters, generator)

    def solve(self, body: Body) -> Answers:
        return body[:, :-1].cummax(1).values

    def reroute(self, body: Body) -> Answers:
        return body[:, 1:].flip(1).cummax(1).values.flip(1)
