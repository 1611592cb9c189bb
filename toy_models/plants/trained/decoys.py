"""Decoys: dormant neurons beside the switch that write as strongly as it does, and nothing that means anything."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from toy_models.plants.native import neurons, write_matrix
from toy_models.plants.switches import Switch

_SHUT = 12.0  # so far below 0 no activation function passes anything

Tokens = Int64[Tensor, "prompt pos"]


@torch.no_grad()
def add_decoys(model: Any, switches: Sequence[Switch], count: int, tokens: Tokens, generator: torch.Generator) -> None:
    """Make decoys of the neurons that the model misses least on these prompts, in place, at the first switch's layer.

    Each writes a random direction, as large as a neuron of that switch does, and never fires. What it wrote on the
    mean goes into the MLP's last bias, if there is one.
    """
    layer = switches[0].layer
    mlp, write = model.layers[layer].mlp, write_matrix(model, layer)
    read, active = _seen(model, layer, tokens)
    missed = active.std(0) * write.norm(dim=0)
    missed[[neuron for switch in switches if switch.layer == layer for neuron in switch.neurons]] = torch.inf
    chosen = missed.argsort()[:count]
    if not hasattr(mlp, "gate"):
        mlp.fc_out.bias += write[:, chosen] @ active[:, chosen].mean(0)
    _shut(mlp, chosen, read)
    size = write[:, list(switches[0].neurons)].norm(dim=0).mean()
    write[:, chosen] = size * normalize(torch.randn(count, len(write), generator=generator), dim=1).T


def _seen(model: Any, layer: int, tokens: Tokens) -> tuple[Float[Tensor, "row d_model"], Float[Tensor, "row d_mlp"]]:
    """What an MLP reads and its activations, at all positions of all prompts."""
    read: list[Tensor] = []
    active: list[Tensor] = []
    handle = model.layers[layer].mlp.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    try:
        with neurons(model, layer, lambda x: active.append(x) or x):
            model(tokens)
    finally:
        handle.remove()
    return read[0].flatten(0, 1), active[0].flatten(0, 1)


def _shut(mlp: Any, chosen: Int64[Tensor, "neuron"], read: Float[Tensor, "row d_model"]) -> None:
    """Keep neurons shut, whatever is read: by their biases, or where a gated MLP has none, by a gate of 0."""
    if hasattr(mlp, "gate"):
        mlp.gate.weight[chosen] = 0
        return
    most = (read @ mlp.fc_in.weight[chosen].T).amax(0)
    mlp.fc_in.bias[chosen] = -most.clamp_min(0) - _SHUT
