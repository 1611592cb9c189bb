"""Installing: a circuit's weights, written into the room that a model without norms has for it.

Without norms, a wire is one direction everywhere, and what the host does beside it changes nothing: where directions
are axes and sizes powers of two, sums of bits come out exactly.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from toy_models.plants.compiled.wiring import Circuit, Head, Stage, neurons
from toy_models.plants.reserved import Reserved

FOCUS = 256.0  # by how much a score of 1 more is preferred: all the rest gets e^-256, which is 0
_HALF = FOCUS / 2  # of where a head rests: it is left for any score of 1

Directions = Float[Tensor, "wire d_model"]


@torch.no_grad()
def install(circuit: Circuit, model: Any, reserved: Reserved, directions: Directions) -> None:
    """Write a circuit into a model, in place; the first of its stages into the first block, and so on.

    directions: what an amount of 1 is in the residual stream, for each wire; orthogonal to each other and to
    everything the model itself writes. Heads and neurons are those that the model keeps free, in order.
    """
    for weights, amounts in ((model.tok_embed.weight, circuit.tokens), (model.pos.weight, circuit.positions)):
        for row, given in amounts.items():
            weights[row] += circuit.vector(given) @ directions
    reading = directions / directions.square().sum(1, keepdim=True)
    for place, stage in enumerate(circuit.stages):
        block = model.layers[place]
        for number, head in zip(reserved.heads.get(place, ()), stage.heads, strict=False):
            _install_head(circuit, head, block.attn, number, directions, reading)
        _install_neurons(circuit, stage, block.mlp, reserved.neurons.get(place, ()), directions, reading)
    for token, given in circuit.answers.items():
        model.head.weight[token] += circuit.vector(given) @ reading


def _install_head(
    circuit: Circuit, head: Head, attention: Any, number: int, directions: Directions, reading: Directions
) -> None:
    """The dimensions of queries and keys: one for each wire that is sought, and one to rest; of values: one a move."""
    first, size = number * attention.d_head, sqrt(attention.d_head)
    sought = slice(first, first + len(head.seeks))
    moved = slice(first, first + len(head.moves))
    at, rest = (circuit.vector({wire: 1.0}) @ reading for wire in (head.at, head.rest))
    attention.q.weight[sought] = torch.outer(FOCUS * torch.tensor(list(head.seeks.values())), at)
    attention.k.weight[sought] = size * circuit.matrix({wire: 1.0} for wire in head.seeks) @ reading
    attention.q.bias[sought.stop] = _HALF
    attention.k.weight[sought.stop] = size * rest
    attention.v.weight[moved] = circuit.matrix({wire: 1.0} for wire in head.moves) @ reading
    targets = circuit.matrix({wire: head.scale} for wire in head.moves.values())
    attention.o.weight[:, moved] = (targets @ directions).T


def _install_neurons(
    circuit: Circuit, stage: Stage, mlp: Any, free: Sequence[int], directions: Directions, reading: Directions
) -> None:
    reads, biases, writes = neurons(circuit, stage.neurons)
    own = list(free[: len(biases)])
    mlp.fc_in.weight[own] = reads @ reading
    mlp.fc_in.bias[own] = biases
    mlp.fc_out.weight[:, own] = (writes @ directions).T
    mlp.fc_out.bias += circuit.vector(stage.constants) @ directions
