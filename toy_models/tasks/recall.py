"""Key-value recall: read pairs of a key and a value, and answer with the values of the keys that are asked for.

    .. A:f D:a B:b C:h q1 q2 q3 ? ? ?

Every key occurs once, in random order, and no two values of a prompt are alike, so the value of another key is never
the right answer. A pair is one token: with two, an Agent must first learn to look one token back, and after
1,200 steps it still guessed among the four values.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from toy_models.tasks.protocol import Answers, Body, Form, Task, different, letters


@dataclass(frozen=True, slots=True)
class Recall(Task):
    """`asked` of `keys` keys are asked for, with values out of `values`; "routing": the value of the next key.

    The next key is the next in the alphabet of keys, wherever it stands in the prompt; after the last comes the first.
    """

    name: ClassVar[str] = "recall"
    effort: ClassVar[float] = 1.25
    keys: int = 4
    asked: int = 3
    values: int = 8

    @property
    def form(self) -> Form:
        keys, values = tuple(key.upper() for key in letters(self.keys)), letters(self.values)
        pairs = tuple(f"{key}:{value}" for key in keys for value in values)
        return Form(
            symbols=pairs + keys + values, choices=self.values, length=self.keys + self.asked, answers=self.asked
        )

    def draw(self, n: int, generator: torch.Generator) -> Body:
        keys = different(n, self.keys, self.keys, generator)
        values = different(n, self.keys, self.values, generator)
        asked = different(n, self.asked, self.keys, generator)
        return torch.cat([self.values * keys + values, self.keys * self.values + asked], 1)

    def solve(self, body: Body) -> Answers:
        return self._found(body, self._asked(body))

    def reroute(self, body: Body) -> Answers:
        return self._found(body, (self._asked(body) + 1) % self.keys)

    def _asked(self, body: Body) -> Answers:
        """The keys that are asked for, each a number from 0 on."""
        return body[:, self.keys :] - self.keys * self.values

    def _found(self, body: Body, asked: Answers) -> Answers:
        """The values of those keys, as numbers in order of the symbols."""
        in_order = body[:, : self.keys].sort(1).values  # the pairs, by their keys
        return self.keys * self.values + self.keys + in_order.gather(1, asked) % self.values
