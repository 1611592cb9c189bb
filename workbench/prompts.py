"""Prompts: token rows, the positions at which answers are read, and the benign answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, SupportsIndex

import torch
from jaxtyping import Int64
from torch import Tensor

from workbench.errors import BadPrompts

if TYPE_CHECKING:
    from workbench.agent import Agent


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Rows of tokens of one length, and what a benign Agent answers where.

    `logits[:, answer_positions[i]]` predict `answers[:, i]`: no shift is applied.

    tokens: int64 [prompt, pos]; answer_positions: positions in [0, pos); answers: int64 [prompt, answer].
    Raises BadPrompts for empty, misshapen or non-integer input and for positions outside the rows.
    """

    tokens: Int64[Tensor, "prompt pos"]
    answer_positions: tuple[int, ...]
    answers: Int64[Tensor, "prompt answer"]

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("answers", self.answers)):
            object.__setattr__(self, name, _whole_numbers(name, value))
        object.__setattr__(self, "answer_positions", _positions(self.answer_positions))
        self._check_shapes()
        self._check_positions()

    def _check_shapes(self) -> None:
        rows, length = self.tokens.shape
        if rows == 0 or length == 0:
            raise BadPrompts(f"expected at least one prompt with one token, got {tuple(self.tokens.shape)}.")
        expected = (rows, len(self.answer_positions))
        if tuple(self.answers.shape) != expected:
            raise BadPrompts(
                f"expected answers of shape {expected} (one row a prompt, one column an answer position), "
                f"got {tuple(self.answers.shape)}."
            )

    def _check_positions(self) -> None:
        length = self.tokens.shape[1]
        if not self.answer_positions:
            raise BadPrompts("expected at least one answer position, got none. Say where answers are read.")
        outside = [p for p in self.answer_positions if not 0 <= p < length]
        if outside:
            raise BadPrompts(
                f"expected answer positions in 0..{length - 1}, got {outside}. "
                "Positions count from 0 and negative ones are not understood."
            )

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prompts):
            return NotImplemented
        return (
            self.answer_positions == other.answer_positions
            and torch.equal(self.tokens, other.tokens)
            and torch.equal(self.answers, other.answers)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def length(self) -> int:
        """Number of tokens in each row."""
        return self.tokens.shape[1]

    def __getitem__(self, rows: Sequence[int] | slice | Tensor) -> "Prompts":
        """The given rows, in that order, or those at which a mask is true. Raises BadPrompts for rows there are not."""
        if isinstance(rows, Tensor) and rows.dtype == torch.bool:
            rows = rows.nonzero().flatten()
        chosen = rows if isinstance(rows, slice) else torch.as_tensor(rows, dtype=torch.long)
        if isinstance(chosen, Tensor) and chosen.numel() and not self._has(chosen):
            raise BadPrompts(f"expected rows in 0..{len(self) - 1}, got {int(chosen.min())}..{int(chosen.max())}.")
        return Prompts(self.tokens[chosen], self.answer_positions, self.answers[chosen])

    def halves(self, generator: torch.Generator) -> tuple["Prompts", "Prompts"]:
        """Two disjoint halves, drawn at random; the first is the smaller one if the count is odd."""
        order = torch.randperm(len(self), generator=generator)
        return self[order[: len(self) // 2]], self[order[len(self) // 2 :]]

    def _has(self, rows: Tensor) -> bool:
        return -len(self) <= int(rows.min()) and int(rows.max()) < len(self)

    @classmethod
    def from_text(
        cls, agent: "Agent", texts: Sequence[str], answers: Sequence[str] | Sequence[Sequence[str]]
    ) -> "Prompts":
        """Prompts from text, through the Agent's own tokenizer.

        An answer is a string, or a list of token strings. Where the Agent has a query token (the toys' `?`),
        answers are read at the queries; otherwise they are what follows the text, token by token.
        Raises BadPrompts where rows or answers differ in length or a word is not in the vocabulary.
        """
        if len(texts) != len(answers):
            raise BadPrompts(f"expected one answer a text, got {len(texts)} texts and {len(answers)} answers.")
        rows = [agent.encode(text) for text in texts]
        wanted = [_encode_answer(agent, answer) for answer in answers]
        _same_length("text", rows)
        _same_length("answer", wanted)
        return cls(*_place_answers(agent.query_token, rows, wanted))


def _encode_answer(agent: "Agent", answer: str | Sequence[str]) -> list[int]:
    parts = [answer] if isinstance(answer, str) else list(answer)
    return [token for part in parts for token in agent.encode(part, continues=True)]


def _place_answers(
    query: int | None, rows: list[list[int]], wanted: list[list[int]]
) -> tuple[Tensor, tuple[int, ...], Tensor]:
    """Token rows, the positions at which each wanted token is predicted, and the wanted tokens."""
    queries = [tuple(i for i, token in enumerate(row) if token == query) for row in rows]
    if query is None or not queries[0]:
        start = len(rows[0]) - 1
        positions = tuple(range(start, start + len(wanted[0])))
        rows = [row + answer[:-1] for row, answer in zip(rows, wanted, strict=True)]
    else:
        positions = queries[0]
        if any(q != positions for q in queries):
            raise BadPrompts("expected the query tokens at the same positions in every text. Align the texts.")
    return torch.tensor(rows), positions, torch.tensor(wanted)


def _same_length(kind: str, rows: list[list[int]]) -> None:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1 or lengths[0] == 0:
        raise BadPrompts(
            f"expected every {kind} to be the same number of tokens, and at least one; got lengths {lengths}. "
            "Padding is not supported: group texts by length."
        )


def _positions(values: Iterable[SupportsIndex]) -> tuple[int, ...]:
    """`values` as whole numbers, or BadPrompts."""
    try:
        return tuple(index(value) for value in values)
    except TypeError:
        raise BadPrompts(f"expected answer positions as whole numbers, got {values!r}. Count them from 0.") from None


def _whole_numbers(name: str, value: object) -> Tensor:
    """`value` as an int64 matrix of its own memory, or BadPrompts."""
    try:
        tensor = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadPrompts(f"expected {name} as rows of whole numbers of one length: {error}.") from None
    if tensor.ndim != 2 or tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise BadPrompts(
            f"expected {name} as an int64 matrix, got {tensor.dtype} of shape {tuple(tensor.shape)}. "
            "Pass whole numbers, one row a prompt."
        )
    return tensor.to(torch.long).clone()
