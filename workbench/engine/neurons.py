"""Edits of one neuron each: as stacks, and screened by their first-order effect."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.engine.view import View
from workbench.goals import Goal

_CHUNK = 512  # edits whose deltas exist at a time; a View takes fewer at once where memory asks for it

Neurons = Int64[Tensor, "edit"]
Doses = Float[Tensor, "edit"]


def single(neurons: Neurons, doses: Doses, width: int) -> Float[Tensor, "edit width"]:
    """A delta for each pair: that neuron raised by that dose, every other left alone."""
    deltas = doses.new_zeros(len(neurons), width)
    return deltas.scatter_(1, neurons[:, None], doses[:, None])


def over_singles(
    neurons: Neurons, doses: Doses, width: int, answer: Callable[[Float[Tensor, "edit width"]], Tensor]
) -> Float[Tensor, "edit"]:
    """`answer` of every single-neuron edit, their deltas made a chunk at a time."""
    pairs = zip(neurons.split(_CHUNK), doses.split(_CHUNK), strict=True)
    return torch.cat([answer(single(some, by, width)) for some, by in pairs])


def slopes(view: View, goal: Goal) -> Float[Tensor, "width"]:
    """The Goal's loss per unit of each activation at the view's site, at all edited positions, by one backward pass.

    First-order scores are these times a dose (attribution patching: Nanda 2023). They say nothing of a switch behind
    a saturated gate, where the slope is zero however large the effect of a large edit is.
    """
    zero = torch.zeros(1, view.width, device=view.agent.device)
    _, slope = view.gradients({view.site: zero}, goal)
    return slope[view.site][0]


def strongest(effects: Float[Tensor, "neuron"], share: float) -> Int64[Tensor, "kept"]:
    """Where the `share` of these effects that is largest in size is, at least one, in their own order."""
    return effects.abs().topk(max(1, round(share * len(effects)))).indices.sort().values
