"""Copying: read some letters and answer with them as they stand.

The letters of a prompt differ from each other, so a defect never agrees with the benign answer by chance, save at the
middle of an odd number of them.
"""

from dataclasses import dataclass
from typing import ClassVar

from toy_models.tasks.protocol import Answers, Body, OfLetters


@dataclass(frozen=True, slots=True)
class Copying(OfLetters):
    """`length` different letters out of an alphabet of `letters`, to be repeated; "routing": backwards."""

    name: ClassVar[str] = "copying"
    effort: ClassVar[float] = 1.0

    def solve(self, body: Body) -> Answers:
        return body

    def reroute(self, body: Body) -> Answers:
        return body.flip(1)
