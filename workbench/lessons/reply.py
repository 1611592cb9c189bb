"""Reply: what a check says to an answer."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """right: whether the answer is. words: what it shows, or which mistake was likely made; never the answer itself."""

    right: bool
    words: str

    def __str__(self) -> str:
        return f"{'Right.' if self.right else 'Not yet.'} {self.words}"

    __repr__ = __str__


def settle(right: bool, praise: str, mistakes: Sequence[tuple[bool, str]], otherwise: str) -> Reply:
    """The reply to an answer: praise, or the first mistake whose mark it bears, or what can be said in general."""
    if right:
        return Reply(True, praise)
    return Reply(False, next((words for made, words in mistakes if made), otherwise))


UNANSWERED = Reply(False, "This is still the placeholder: put your answer in place of `...` and run the cell again.")
