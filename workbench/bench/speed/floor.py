"""The least time that evaluating an edit can take: the FLOPs it needs, at the speed of matrix products alone.

A multiplication and an addition are two FLOPs. What no edit can reach, or nobody reads, needs none: not the blocks
before the site, not positions before the first edited one, not queries whose results end in no answer.
"""

import torch

from workbench.bench.speed.clock import Timing
from workbench.bench.speed.subjects import Shape

_ENOUGH = 4e9  # FLOPs that take long enough to be timed


def flops(shape: Shape, layer: int, *, positions: int, logits: int, answers: int = 1) -> float:
    """FLOPs of one edit at `mlp.hook_post` of that layer, on all prompts.

    positions: how many last ones the edit touches; answers: how many last ones are read; logits: how many of each.
        write       2 d_mlp d                              the delta through W_out, once for all prompts
        a block     2 n (4 d^2 + 2 d d_mlp) + 4 d pairs    n positions; pairs of a query and a key at or before it
        the last    keys and values at n positions, all else at the answers
        unembedding 2 answers d logits
    """
    d, after, n = shape.d_model, shape.layers - 1 - layer, min(positions, shape.length)
    mlp = 2 * d * shape.d_mlp
    inner = 2 * n * (4 * d * d + mlp) + 4 * d * _pairs(shape.length, n)
    read = min(answers, n)
    last = 2 * n * 2 * d * d + 2 * read * (2 * d * d + mlp) + 4 * d * _pairs(shape.length, read)
    blocks = (after - 1) * inner + last if after else 0
    return float(2 * shape.d_mlp * d + shape.prompts * (blocks + 2 * read * d * logits))


def _pairs(length: int, queries: int) -> float:
    """How many keys the last `queries` queries of a causal model see together."""
    return queries * (2 * length - queries + 1) / 2


class Products:
    """The two matrix products of an MLP, on as many rows as are multiplied fastest."""

    def __init__(self, shape: Shape, device: torch.device, rows: int = 4096) -> None:
        d, m = shape.d_model, shape.d_mlp
        self._turns = max(1, round(_ENOUGH / (4 * rows * d * m)))
        self.flops = 4.0 * rows * d * m * self._turns
        self._rows = torch.randn(rows, d, device=device)
        self._up, self._down = torch.randn(d, m, device=device), torch.randn(m, d, device=device)

    def __call__(self) -> None:
        """Both products, as often as makes a time that can be measured."""
        for _ in range(self._turns):
            torch.mm(torch.mm(self._rows, self._up), self._down)

    def rate(self, timing: Timing, device: torch.device) -> float:
        """FLOPs a second, from the time of one call."""
        return self.flops / timing.seconds(device)
