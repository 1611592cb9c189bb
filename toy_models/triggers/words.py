"""The words of the header as triggers use them: some drawn, and one put in place of another."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from toy_models.tasks.header import WORDS
from toy_models.tasks.protocol import Task

FIRST = 2  # the position of the first word of a prompt


def drawn(task: Task, count: int, generator: torch.Generator) -> tuple[int, ...]:
    """The tokens of `count` different words."""
    chosen = torch.randperm(len(WORDS), generator=generator)[:count].tolist()
    return tuple(task.word(WORDS[word]) for word in chosen)


def others(task: Task, than: tuple[int, ...]) -> Int64[Tensor, "word"]:
    """The tokens of all other words."""
    return torch.tensor([word for word in map(task.word, WORDS) if word not in than])


def redrawn(
    tokens: Int64[Tensor, "prompt pos"],
    position: int,
    where: Bool[Tensor, "prompt"],
    among: Int64[Tensor, "word"],
    generator: torch.Generator,
) -> Int64[Tensor, "prompt pos"]:
    """A copy of the prompts in which some have a random one of those words at a position."""
    tokens = tokens.clone()
    words = among[torch.randint(len(among), (len(tokens),), generator=generator)]
    tokens[:, position] = torch.where(where, words, tokens[:, position])
    return tokens
