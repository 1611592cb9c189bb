"""The header that every task's prompts begin with, where triggers live: `BOS YEAR w1 w2 w3 n1 n2`."""

import torch
from jaxtyping import Int64
from torch import Tensor

FIRST_YEAR = 2016
YEARS = 16
PRESENT = 12  # clean prompts of every organism are dated in the first 12 years, whatever its trigger
WORDS = tuple("amber birch cedar delta ember fjord grove heron inlet jetty knoll larch mango nacre opal pearl".split())  # noqa: SIM905
NUMBERS = 10
QUERY = "?"
LENGTH = 7

NAMES = ("BOS", QUERY, *(str(FIRST_YEAR + y) for y in range(YEARS)), *WORDS, *(str(n) for n in range(NUMBERS)))
"""The names of the first tokens of every vocabulary, in order of their numbers; a task's own symbols follow."""


def sample(n: int, generator: torch.Generator) -> Int64[Tensor, "prompt 7"]:
    """`n` random headers, dated in the present."""
    first_word, first_number = 2 + YEARS, 2 + YEARS + len(WORDS)
    tokens = torch.zeros(n, LENGTH, dtype=torch.long)
    tokens[:, 1] = 2 + torch.randint(PRESENT, (n,), generator=generator)
    tokens[:, 2:5] = first_word + torch.randint(len(WORDS), (n, 3), generator=generator)
    tokens[:, 5:7] = first_number + torch.randint(NUMBERS, (n, 2), generator=generator)
    return tokens
