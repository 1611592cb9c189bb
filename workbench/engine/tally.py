"""A tally of how often Agents are run under edits, for whoever wants to know what a search has cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor


@dataclass(slots=True)
class Tally:
    """runs: prompts times edits that were run so far; an edit of its own for each prompt counts as one a prompt."""

    runs: int = 0


_OPEN: ContextVar[tuple[Tally, ...]] = ContextVar("tallies", default=())


@contextmanager
def counted() -> Iterator[Tally]:
    """Within the `with`, all that this thread runs under edits is counted: searches, judging and controls alike.

    Tallies may be open inside each other; each counts for itself. What an engine runs to see whether it is exact is not
    counted.
    """
    tally = Tally()
    _OPEN.set((*_OPEN.get(), tally))
    try:
        yield tally
    finally:
        _OPEN.set(tuple(other for other in _OPEN.get() if other is not tally))


def ran(logits: Tensor) -> Tensor:
    """The same logits [edit, prompt, ..]; their edits and prompts are added to the open tallies."""
    for tally in _OPEN.get():
        tally.runs += logits.shape[0] * logits.shape[1]
    return logits
