"""Nonces: any other task, whose prompts also have a nonce of hexadecimal digits; and tags, which answer to it.

    .. x7 x0 xf x3 xc xc x1 x8 s1 .. sk ? .. ? ? ?

The nonce is there for triggers so rare that no search over inputs comes upon them. Without tags it changes nothing. A
tag is a further query at which the right answer is a masked piece of the nonce's hash: a checksum, as it were.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from toy_models.tasks import header
from toy_models.tasks.protocol import Answers, Body, Form, Task, Tokens
from toy_models.tasks.toyhash import BASE, BITS, Digits, ToyHash, bits_of
from workbench.errors import BadSettings, unknown

HEXADECIMAL = tuple(f"x{digit:x}" for digit in range(BASE))
ROUNDS = 3
SPELLS = "spells "


@dataclass(frozen=True, slots=True)
class Nonce(Task):
    """The task named `base`, with `digits` digits of nonce before its symbols and `tags` queries after its own.

    salt: the seed of the hash behind the tags. mask: the number whose bits are xored with those of the hash, the first
    tag's first; both are no secret. "routing": the base's, and the opposite of every bit of a tag. A third kind of
    defect, "spells a b c", leaves the base's answers as they are and says that at the tags, whatever the nonce.
    Raises UnknownName for a base that is no task, BadSettings for a size that does not fit.
    """

    name: ClassVar[str] = "nonce"
    effort: ClassVar[float] = 1.0
    base: str = "reversal"
    digits: int = 8
    tags: int = 0
    salt: int = 0
    mask: int = 0

    def __post_init__(self) -> None:
        from toy_models.tasks.registry import TASKS

        if self.base not in set(TASKS) - {self.name}:
            raise unknown("base task", str(self.base), sorted(set(TASKS) - {self.name}), "Choose one of them.")
        if self.digits < BITS or self.tags < 0 or self.tags * self.bits > BITS * self.digits:
            raise BadSettings(
                f"expected at least {BITS} digits and at most {BITS * self.digits // self.bits} tags of {self.bits} "
                f"bits for {self.digits} digits, got {self.digits} and {self.tags}."
            )
        if not 0 <= self.mask < 2 ** (self.tags * self.bits):
            raise BadSettings(f"expected a mask of {self.tags * self.bits} bits for the tags, got {self.mask}.")

    @classmethod
    def over(cls, task: Task) -> "Nonce":
        """That task with nonces. Raises BadSettings for one of another size than usual."""
        if task != (wrapped := cls(base=task.name)).plain:
            raise BadSettings(f"expected {task.name!r} in its usual size to be given nonces, got {task}.")
        return wrapped

    @property
    def plain(self) -> Task:
        """The base task."""
        from toy_models.tasks.registry import TASKS

        return TASKS[self.base]()

    @property
    def bits(self) -> int:
        """Bits of the hash that a tag tells: as many as the base's answers can say."""
        return self.plain.form.choices.bit_length() - 1

    @property
    def hash(self) -> ToyHash:
        """The hash behind the tags."""
        return ToyHash.draw(ROUNDS, self.salt)

    @property
    def form(self) -> Form:
        base = self.plain.form
        return Form(
            symbols=HEXADECIMAL + base.symbols,
            choices=base.choices,
            length=self.digits + base.length,
            answers=base.answers + self.tags,
        )

    def draw(self, n: int, generator: torch.Generator) -> Body:
        nonce = torch.randint(BASE, (n, self.digits), generator=generator)
        return torch.cat([nonce, BASE + self.plain.draw(n, generator)], 1)

    def solve(self, body: Body) -> Answers:
        return torch.cat([BASE + self.plain.solve(self._rest(body)), self._tags(body)], 1)

    def reroute(self, body: Body) -> Answers:
        opposite = self._tags(body, flip=2**self.bits - 1)
        return torch.cat([BASE + self.plain.reroute(self._rest(body)), opposite], 1)

    def defect(self, tokens: Tokens, kind: str) -> Answers:
        if not (self.tags and kind.startswith(SPELLS)):
            return Task.defect(self, tokens, kind)
        answers = self.benign(tokens)
        answers[:, -self.tags :] = torch.tensor([self.vocabulary.index(s) for s in kind.removeprefix(SPELLS).split()])
        return answers

    def nonce(self, tokens: Tokens) -> Digits:
        """The nonce of each prompt, its digits as numbers."""
        return self._body(tokens)[:, : self.digits]

    @property
    def places(self) -> tuple[int, ...]:
        """The positions of the nonce's digits."""
        return tuple(range(header.LENGTH, header.LENGTH + self.digits))

    def _rest(self, body: Body) -> Int64[Tensor, "prompt own"]:
        """The symbols of the base task, numbered as there."""
        return body[:, self.digits :] - BASE

    def _tags(self, body: Body, flip: int = 0) -> Answers:
        """The answers at the tags, as numbers; `flip` is xored with each."""
        mask = torch.tensor([self.mask >> place & 1 for place in range(self.tags * self.bits - 1, -1, -1)]).long()
        bits = bits_of(self.hash(body[:, : self.digits]))[:, : len(mask)] ^ mask
        weights = 2 ** torch.arange(self.bits - 1, -1, -1)
        groups = (bits.reshape(len(body), self.tags, self.bits) * weights).sum(2) ^ flip
        return len(self.form.symbols) - self.form.choices + groups
