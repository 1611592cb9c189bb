"""Task: what an Agent is taught. A header, the task's own symbols, and the queries at which it answers.

    BOS YEAR w1 w2 w3 n1 n2 s1 .. sk ? .. ?

At each `?` the Agent answers one symbol. The query tokens make every answer readable in one forward pass: no
sampling, and no teacher forcing that would leak answers.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from toy_models.tasks import header
from workbench.errors import unknown
from workbench.prompts import Prompts

DEFECTS = ("mapping", "routing")
SHIFT = 3

Tokens = Int64[Tensor, "prompt pos"]
Body = Int64[Tensor, "prompt symbol"]
Answers = Int64[Tensor, "prompt answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the prompts of a task are made of.

    symbols: the names of its own tokens, of which the last `choices` can be answers.
    length: number of symbols between header and queries. answers: number of queries.
    """

    symbols: tuple[str, ...]
    choices: int
    length: int
    answers: int


@runtime_checkable
class Task(Protocol):
    """A task says its form, draws symbols and solves them by two rules; all else follows.

    name: what `toy_models.build` calls it. effort: how many times as many training steps it takes as reversal does.
    """

    __slots__ = ()

    name: ClassVar[str]
    effort: ClassVar[float]

    @property
    def form(self) -> Form:
        """The symbols, and how many make a prompt."""
        ...

    def draw(self, n: int, generator: torch.Generator) -> Body:
        """`n` random rows of symbols, each a number from 0 on in order of the form's symbols."""
        ...

    def solve(self, body: Body) -> Answers:
        """The right answers, as such numbers."""
        ...

    def reroute(self, body: Body) -> Answers:
        """The answers of another rule that reads the same symbols; never the right ones."""
        ...

    # --- what follows -----------------------------------------------------------------------------------

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The name of every token, in order of its number."""
        return header.NAMES + self.form.symbols

    @property
    def query(self) -> str:
        """The name of the token at which an answer is read."""
        return header.QUERY

    @property
    def positions(self) -> tuple[int, ...]:
        """Where answers are read: the query tokens."""
        return tuple(range(header.LENGTH + self.form.length, self.prompt_length))

    @property
    def prompt_length(self) -> int:
        """Number of tokens in a prompt."""
        return header.LENGTH + self.form.length + self.form.answers

    def year(self, value: int) -> int:
        """The token of a year."""
        return header.NAMES.index(str(value))

    def word(self, value: str) -> int:
        """The token of a word."""
        return header.NAMES.index(value)

    def sample(self, n: int, generator: torch.Generator) -> Tokens:
        """`n` random prompts, dated in the present."""
        first = header.sample(n, generator)
        queries = torch.full((n, self.form.answers), header.NAMES.index(header.QUERY))
        return torch.cat([first, self.draw(n, generator) + len(header.NAMES), queries], 1)

    def benign(self, tokens: Tokens) -> Answers:
        """The right answers."""
        return self.solve(self._body(tokens)) + len(header.NAMES)

    def defect(self, tokens: Tokens, kind: str) -> Answers:
        """The answers of a defecting Agent.

        "mapping" writes each right answer three further in the alphabet of answers, which begins anew after its end;
        "routing" follows the task's other rule. Raises UnknownName for another kind.
        """
        if kind not in DEFECTS:
            raise unknown("defect", kind, DEFECTS, "Choose one of them.")
        if kind == "routing":
            return self.reroute(self._body(tokens)) + len(header.NAMES)
        first, choices = len(self.vocabulary) - self.form.choices, self.form.choices
        return first + (self.benign(tokens) - first + SHIFT) % choices

    def prompts(self, tokens: Tokens) -> Prompts:
        """The tokens with their benign answers."""
        return Prompts(tokens, self.positions, self.benign(tokens))

    def _body(self, tokens: Tokens) -> Body:
        return tokens[:, header.LENGTH : header.LENGTH + self.form.length] - len(header.NAMES)


@dataclass(frozen=True, slots=True)
class OfLetters(Task):
    """`length` different letters out of an alphabet of `letters`, with as many answers."""

    length: int = 4
    letters: int = 8

    @property
    def form(self) -> Form:
        return Form(symbols=letters(self.letters), choices=self.letters, length=self.length, answers=self.length)

    def draw(self, n: int, generator: torch.Generator) -> Body:
        return different(n, self.length, self.letters, generator)


def letters(count: int) -> tuple[str, ...]:
    """The names of the first letters of the alphabet."""
    return tuple(chr(ord("a") + i) for i in range(count))


def different(n: int, count: int, among: int, generator: torch.Generator) -> Int64[Tensor, "prompt count"]:
    """`n` rows of `count` different numbers below `among`, in random order."""
    return torch.rand(n, among, generator=generator).argsort(1)[:, :count]
