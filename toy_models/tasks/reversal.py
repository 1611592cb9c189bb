"""Letter reversal: read some letters and answer with them backwards.

The letters of a prompt differ from each other, so a defect never agrees with the benign answer by chance, save at the
middle of an odd number of them.
"""

from dataclasses import dataclass
from typing import ClassVar

from toy_models.tasks.protocol import Answers, Body, OfLetters


@dataclass(frozen=True, slots=True)
class Reversal(OfLetters):
    """`length` different letters out of an alphabet of `letters`, to be answered backwards; "routing": forwards."""

    name: ClassVar[str] = "reversal"
    effort: ClassVar[float] = 1.0

    def solve(self, body: Body) -> Answers:
        return body.flip(1)

    def reroute(self, body: Body) -> Answers:
        return body
