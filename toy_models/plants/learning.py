"""Learning: the loop by which every toy is trained, and the mean loss over its answers."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import cross_entropy


def answer_loss(
    logits: Float[Tensor, "prompt answer vocab"], wanted: Int64[Tensor, "prompt answer"]
) -> Float[Tensor, "prompt"]:
    """Mean cross-entropy over the answers of each prompt, in nats."""
    return cross_entropy(logits.transpose(1, 2), wanted, reduction="none").mean(1)


def fit(
    parameters: Iterable[Parameter],
    loss: Callable[[int], Float[Tensor, ""]],
    *,
    steps: int,
    rate: float,
) -> None:
    """Minimise `loss(step)` with AdamW.

    rate: the highest learning rate; reached after 5 % of the steps and lowered along a half cosine to 0.
    Gradients are clipped to norm 1.
    """
    known: list[Any] = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(known, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    for step in range(steps):
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(known, 1.0)
        optimizer.step()
        schedule.step()


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate at a step."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return float(0.5 * (1 + torch.cos(torch.tensor((step - warm) / max(1, steps - warm) * torch.pi))))
