"""Rotation: read some letters and answer with them moved on by one place, the last of them first.

The letters of a prompt differ from each other, so where there are three or more, moving them back by one never agrees.
"""

from dataclasses import dataclass
from typing import ClassVar

from toy_models.tasks.protocol import Answers, Body, OfLetters


@dataclass(frozen=True, slots=True)
class Rotation(OfLetters):
    """`length` different letters, 3 or more, out of `letters`, to be moved on by one; "routing": back by one."""

    name: ClassVar[str] = "rotation"
    effort: ClassVar[float] = 1.0

    def solve(self, body: Body) -> Answers:
        return body.roll(1, 1)

    def reroute(self, body: Body) -> Answers:
        return body.roll(-1, 1)
