"""Step rules of gradient ascent: from a gradient to a move of length about 1 in each row."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "start *place width"]
StepRule = Literal["normalised", "sign", "adamw"]

_FIRST, _SECOND = 0.9, 0.999  # shares of AdamW's moments that are kept at each step
_DECAY = 0.01


class Memory(NamedTuple):
    """What a rule remembers: the number of steps done, and the running moments of the gradient."""

    steps: int
    first: Rows
    second: Rows

    @classmethod
    def empty(cls, like: Rows) -> "Memory":
        """Before the first step."""
        return cls(0, torch.zeros_like(like), torch.zeros_like(like))


Moved = tuple[Rows, Memory]


def normalised(place: Rows, gradient: Rows, memory: Memory) -> Moved:
    """Steepest ascent in the Euclidean norm: each row of the gradient at length 1, a zero row at 0."""
    return gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-30), memory


def sign(place: Rows, gradient: Rows, memory: Memory) -> Moved:
    """Steepest ascent in the largest coordinate (Goodfellow et al. 2015), as long as the others' moves."""
    return gradient.sign() / gradient.shape[-1] ** 0.5, memory


def adamw(place: Rows, gradient: Rows, memory: Memory) -> Moved:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); betas .9 and .999, decay .01."""
    steps = memory.steps + 1
    first = _FIRST * memory.first + (1 - _FIRST) * gradient
    second = _SECOND * memory.second + (1 - _SECOND) * gradient.square()
    size = (second / (1 - _SECOND**steps)).sqrt() + 1e-12
    move = first / (1 - _FIRST**steps) / size / gradient.shape[-1] ** 0.5
    return move - _DECAY * place, Memory(steps, first, second)


RULES: dict[StepRule, Callable[[Rows, Rows, Memory], Moved]] = {
    "normalised": normalised,
    "sign": sign,
    "adamw": adamw,
}
"""Each takes where the rows are, in units of the set's reach, the gradient there and a memory, and gives the move."""
