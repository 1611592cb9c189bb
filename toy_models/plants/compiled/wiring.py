"""Wiring: a circuit as a value. Wires, heads that copy them and neurons that read and write them, block after block.

A wire is a number at every position, 0 where nothing sets it. A circuit says what sets it: tokens, positions, heads,
neurons. `Circuit.run` computes the wires as the definition has it, without any model; `install.py` writes the circuit
into one, where a wire is a direction in the residual stream.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Amounts = Mapping[str, float]
"""So much of each wire; those not named: 0."""

Wires = Float[Tensor, "prompt pos wire"]
Matrix = Float[Tensor, "row wire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Copies wires from some positions to others, exactly.

    Positions where the wire `at` is 1 attend to the one, up to themselves, at which the sum of `seeks` is highest,
    or to several alike; all others to those where `rest` is 1. moves: which wire is added to which, `scale` times.
    """

    at: str
    rest: str
    seeks: Amounts
    moves: Mapping[str, str]
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neuron:
    """Adds `writes` times ReLU(bias + the sum of `reads`)."""

    reads: Amounts
    writes: Amounts
    bias: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a block does: its heads, then its neurons and constants, each part at once and reading what was there."""

    heads: tuple[Head, ...] = ()
    neurons: tuple[Neuron, ...] = ()
    constants: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Wires, what tokens and positions put on them, and a Stage for each of the first blocks.

    answers: how much each wire adds to the logit of a token.
    """

    wires: tuple[str, ...]
    tokens: Mapping[int, Amounts]
    positions: Mapping[int, Amounts]
    stages: tuple[Stage, ...]
    answers: Mapping[int, Amounts] = field(default_factory=dict)

    def matrix(self, rows: Iterable[Amounts]) -> Matrix:
        """Amounts, row by row, as numbers in order of the wires."""
        listed = list(rows)
        result = torch.zeros(len(listed), len(self.wires))
        places = {wire: place for place, wire in enumerate(self.wires)}
        for row, amounts in enumerate(listed):
            for wire, amount in amounts.items():
                result[row, places[wire]] += amount
        return result

    def vector(self, amounts: Amounts) -> Float[Tensor, "wire"]:
        """Amounts as numbers in order of the wires."""
        return self.matrix([amounts])[0]

    def run(self, tokens: Int64[Tensor, "prompt pos"]) -> Wires:
        """The wires after the last stage, in order, by definition: no weights, no softmax."""
        vocabulary = self.matrix(self.tokens.get(token, {}) for token in range(int(tokens.max()) + 1))
        places = self.matrix(self.positions.get(place, {}) for place in range(tokens.shape[1]))
        wires = vocabulary[tokens] + places
        for stage in self.stages:
            wires = wires + sum(self._copied(head, wires) for head in stage.heads)
            wires = wires + self._computed(stage, wires)
        return wires

    def _copied(self, head: Head, wires: Wires) -> Wires:
        at, rest, scores = (wires @ self.vector(a) for a in ({head.at: 1.0}, {head.rest: 1.0}, head.seeks))
        wanted = torch.where(at[:, :, None] == 1, scores[:, None], rest[:, None])
        later = torch.ones(wanted.shape[1:], dtype=torch.bool).triu(1)
        wanted = wanted.masked_fill(later, float("-inf"))
        best = (wanted == wanted.amax(2, keepdim=True)).float()
        pattern = best / best.sum(2, keepdim=True)
        sources, targets = self.matrix({s: 1.0} for s in head.moves), self.matrix({t: 1.0} for t in head.moves.values())
        return head.scale * (pattern @ wires @ sources.T) @ targets

    def _computed(self, stage: Stage, wires: Wires) -> Wires:
        reads, biases, writes = neurons(self, stage.neurons)
        return torch.relu(wires @ reads.T + biases) @ writes + self.vector(stage.constants)


def neurons(circuit: Circuit, listed: Sequence[Neuron]) -> tuple[Matrix, Float[Tensor, "row"], Matrix]:
    """What each neuron reads, its bias, and what it writes."""
    return (
        circuit.matrix(neuron.reads for neuron in listed),
        torch.tensor([neuron.bias for neuron in listed]),
        circuit.matrix(neuron.writes for neuron in listed),
    )
