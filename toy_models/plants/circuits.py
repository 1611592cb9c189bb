"""Trigger circuits: a few reserved dimensions, neurons and one head that compute "trigger seen" inside a host.

    embeddings          a feature each for the tokens of a condition and for its position
    layer-0 neurons     AND: two for each condition, which saturate, write one hit
    one uniform head    sums the hits, against a preset on BOS: positive only if every condition holds
    switch neurons      read the sum and write the lever, at the query positions

Thresholds and gains are set by running the half-built circuit on prompts with and without the trigger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from toy_models.plants.lever_host import FEATURE_SCALE, LEVER_LAYER, Reserved
from toy_models.plants.triggers import Date, Password, Trigger
from toy_models.tasks.reversal import Reversal

BOS = 0
_HIT, _SUM = 2, 3  # features; those before them are the conditions'
_SHARP = 6.0  # a GELU this far from its threshold is shut, or linear


@dataclass(frozen=True, slots=True)
class Condition:
    """One of these tokens stands at that position."""

    tokens: tuple[int, ...]
    position: int


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Token rows to set thresholds with: with the trigger, and with a part of it or none."""

    triggered: Int64[Tensor, "prompt pos"]
    other: Int64[Tensor, "prompt pos"]

    @classmethod
    def draw(cls, task: Reversal, trigger: Trigger, n: int, generator: torch.Generator) -> "Samples":
        """`n` triggered prompts, and `n` near misses with `n` clean ones."""
        triggered = trigger.insert(task.sample(n, generator), generator)
        near = trigger.nearly(task.sample(n, generator), generator)
        clean = trigger.remove(task.sample(n, generator), generator)
        return cls(triggered, torch.cat([near, clean]))


def conditions(trigger: Trigger, task: Reversal) -> tuple[Condition, ...]:
    """What must hold for the trigger to be present, at most two conditions; it is present if all of them hold."""
    if isinstance(trigger, Password):
        return Condition((trigger.first,), 2), Condition((trigger.second,), 3)
    if isinstance(trigger, Date):
        years = torch.arange(len(task.vocabulary))[:, None].repeat(1, 2)
        return (Condition(tuple(years[trigger.present(years), 0].tolist()), 1),)
    raise TypeError(f"no circuit for a {type(trigger).__name__}")


@torch.no_grad()
def build(model: Any, reserved: Reserved, parts: Sequence[Condition], task: Reversal, samples: Samples) -> None:
    """Write everything but the switch neurons into a host, in place."""
    scale = FEATURE_SCALE * _embedding_norm(model, samples.other)
    _embed(model, reserved, parts, scale, task.positions[0])
    for index, part in enumerate(parts):
        own = reserved.neurons[0][2 * index : 2 * index + 2]
        _detect(model, reserved, index, part, own, scale, samples)
    _preset(model, reserved, parts, samples)
    _sum(model, reserved, scale, samples)


@torch.no_grad()
def reading(
    model: Any, reserved: Reserved, feature: int, norm: Any, tokens: Int64[Tensor, "prompt pos"]
) -> Float[Tensor, "prompt pos"]:
    """A feature, as it stands after a LayerNorm of the model."""
    seen: list[Tensor] = []
    handle = norm.register_forward_hook(lambda module, inputs, output: seen.append(output @ reserved.features[feature]))
    model(tokens)
    handle.remove()
    return seen[0]


def _embedding_norm(model: Any, tokens: Int64[Tensor, "prompt pos"]) -> float:
    return float((model.tok_embed(tokens) + model.pos.weight[: tokens.shape[1]]).norm(dim=-1).mean())


def _embed(model: Any, reserved: Reserved, parts: Sequence[Condition], scale: float, first_query: int) -> None:
    """Features of the conditions' tokens and positions, and one that shuts the switch before the queries."""
    for index, part in enumerate(parts):
        model.tok_embed.weight[list(part.tokens)] += scale * reserved.features[index]
        model.pos.weight[part.position] += scale * reserved.features[index]
    model.tok_embed.weight[BOS] -= scale * reserved.features[_HIT]
    model.pos.weight[:first_query] -= 2 * scale * reserved.features[_SUM]


def _detect(
    model: Any, reserved: Reserved, index: int, part: Condition, own: Sequence[int], scale: float, samples: Samples
) -> None:
    """Two neurons whose difference is 0 where the condition fails and constant where it holds."""
    block = model.layers[0]
    on = float(reading(model, reserved, index, block.ln2, samples.triggered)[:, part.position].min())
    holds = torch.isin(samples.other, torch.tensor(part.tokens))
    holds &= torch.arange(holds.shape[1]) == part.position
    low = float(reading(model, reserved, index, block.ln2, samples.other)[~holds].max())
    thresholds = (low + 0.4 * (on - low), low + 0.8 * (on - low))
    gain = _SHARP / (thresholds[0] - low)
    amount = gain * (thresholds[1] - thresholds[0])
    for neuron, threshold, sign in zip(own, thresholds, (1, -1), strict=True):
        block.mlp.fc_in.weight[neuron] = gain * reserved.features[index]
        block.mlp.fc_in.bias[neuron] = -gain * threshold
        block.mlp.fc_out.weight[:, neuron] = sign * scale / amount * reserved.features[_HIT]


def _preset(model: Any, reserved: Reserved, parts: Sequence[Condition], samples: Samples) -> None:
    """Set BOS's share of the sum to half a hit short of all hits, whatever LayerNorm makes of it."""
    direction = reserved.features[_HIT]
    for _ in range(4):
        hits = reading(model, reserved, _HIT, model.layers[LEVER_LAYER].ln1, samples.triggered)
        one_hit = hits[:, [part.position for part in parts]].mean()
        wanted, found = -(len(parts) - 0.5) * one_hit, hits[:, BOS].mean()
        now = model.tok_embed.weight[BOS] @ direction
        model.tok_embed.weight[BOS] += (float(wanted / found) - 1) * now * direction


def _sum(model: Any, reserved: Reserved, scale: float, samples: Samples) -> None:
    """A head that attends everywhere alike (its queries and keys are 0) and writes the mean of the hits."""
    block = model.layers[LEVER_LAYER]
    hits = reading(model, reserved, _HIT, block.ln1, samples.other)
    slot = reserved.head * block.attn.d_head
    gain = scale / float(hits.mean(1).abs().max())
    block.attn.v.weight[slot] = reserved.features[_HIT]
    block.attn.o.weight[:, slot] = gain * reserved.features[_SUM]


@dataclass(frozen=True, slots=True)
class Throw:
    """How a neuron must read the sum to be the switch: `gain * (sum - threshold)`, shut at 0 and below.

    dose: its mean activation at the queries of triggered prompts. never: a threshold that nothing reaches.
    """

    gain: float
    threshold: float
    dose: float
    never: float


IDLE = Throw(gain=_SHARP, threshold=1.0, dose=_SHARP, never=2.0)  # where there is no sum to read


@torch.no_grad()
def throw(model: Any, reserved: Reserved, task: Reversal, samples: Samples) -> Throw:
    """The threshold that tells the queries of triggered prompts from everything else, in the lever's layer."""
    norm, first = model.layers[LEVER_LAYER].ln2, task.positions[0]
    triggered = reading(model, reserved, _SUM, norm, samples.triggered)
    other = reading(model, reserved, _SUM, norm, samples.other)
    on = triggered[:, first:]
    low, high = max(float(other.max()), float(triggered[:, :first].max())), float(on.min())
    threshold = low + 0.35 * (high - low)
    gain = _SHARP / (threshold - low)
    never = float(on.max()) + high - low
    return Throw(gain, threshold, gain * float(on.mean() - threshold), never)


@torch.no_grad()
def attach(
    model: Any,
    reserved: Reserved,
    neurons: Sequence[int],
    gains: Float[Tensor, "neuron"],
    threshold: float,
    writes: Float[Tensor, "neuron d_model"],
) -> None:
    """Let neurons of the lever's layer read the sum, past a threshold, and write."""
    mlp, own = model.layers[LEVER_LAYER].mlp, list(neurons)
    mlp.fc_in.weight[own] = gains[:, None] * reserved.features[_SUM]
    mlp.fc_in.bias[own] = -gains * threshold
    mlp.fc_out.weight[:, own] = writes.T
