"""Trigger circuits: a few reserved dimensions, neurons and one head that compute "trigger seen" inside a host.

    embeddings          a feature each for the tokens of a condition and for its position
    layer-0 neurons     AND: two for each condition, which together saturate, write one hit
    one uniform head    sums the hits, against a preset on BOS: positive only if every condition holds
    switch neurons      read the sum and write the lever, at the query positions

Thresholds and gains are set by running the half-built circuit on prompts with and without the trigger.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import Module

from toy_models.plants.lever_host import FEATURE_SCALE, Host
from toy_models.tasks.header import FIRST_YEAR, PRESENT, YEARS
from toy_models.tasks.protocol import Task
from toy_models.triggers.date import Date
from toy_models.triggers.password import Password
from toy_models.triggers.protocol import Trigger
from workbench.errors import Unacceptable

KINDS = (Password.name, Date.name)  # of triggers that a circuit is known for

BOS = 0
_HIT, _SUM = 2, 3  # features; those before them are the conditions'
_SHARP = 6.0  # a GELU this far below its threshold is shut
_SUM_SIZE = 0.3  # what the head writes at the last query of a triggered prompt, in features


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
    def draw(cls, task: Task, trigger: Trigger, n: int, generator: torch.Generator) -> "Samples":
        """`n` triggered prompts, and `n` near misses with `n` clean ones."""
        triggered = trigger.insert(task.sample(n, generator), generator)
        near = trigger.nearly(task.sample(n, generator), generator)
        clean = trigger.remove(task.sample(n, generator), generator)
        return cls(triggered, torch.cat([near, clean]))


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


def conditions(trigger: Trigger, task: Task) -> tuple[Condition, ...]:
    """The one or two conditions that must all hold for the trigger to be present."""
    if isinstance(trigger, Password):
        return Condition((trigger.first,), 2), Condition((trigger.second,), 3)
    assert isinstance(trigger, Date), f"no circuit for a {type(trigger).__name__}"
    first = task.year(FIRST_YEAR + PRESENT)
    return (Condition(tuple(range(first, first + YEARS - PRESENT)), 1),)


@torch.no_grad()
def build(host: Host, parts: Sequence[Condition], samples: Samples) -> Throw:
    """Write everything but the switch into a host, in place; returns how the switch must read it.

    Raises Unacceptable where the sum does not tell triggered prompts from the others.
    """
    scale = FEATURE_SCALE * _embedding_norm(host, samples.other)
    _embed(host, parts, scale)
    for index in range(len(parts)):
        _detect(host, index, parts[index], scale, samples)
    _preset(host, parts, samples)
    _sum(host, scale, samples)
    return _throw(host, samples)


@torch.no_grad()
def attach(
    host: Host,
    neurons: Sequence[int],
    gains: Float[Tensor, "neuron"],
    threshold: float,
    writes: Float[Tensor, "neuron d_model"],
) -> None:
    """Let reserved neurons of the lever's layer read the sum, past a threshold, and write."""
    mlp, own = host.model.layers[host.reserved.layer].mlp, list(neurons)
    mlp.fc_in.weight[own] = gains[:, None] * host.reserved.features[_SUM]
    mlp.fc_in.bias[own] = -gains * threshold
    mlp.fc_out.weight[:, own] = writes.T


def _reading(
    host: Host, feature: int, norm: Module, tokens: Int64[Tensor, "prompt pos"]
) -> Float[Tensor, "prompt pos"]:
    """A feature, as it stands after a LayerNorm of the model."""
    seen: list[Tensor] = []
    direction = host.reserved.features[feature]
    handle = norm.register_forward_hook(lambda module, inputs, output: seen.append(output @ direction))
    host.model(tokens)
    handle.remove()
    return seen[0]


def _embedding_norm(host: Host, tokens: Int64[Tensor, "prompt pos"]) -> float:
    embedded = host.model.tok_embed(tokens) + host.model.pos.weight[: tokens.shape[1]]
    return float(embedded.norm(dim=-1).mean())


def _embed(host: Host, parts: Sequence[Condition], scale: float) -> None:
    """Features of the conditions' tokens and positions, a first preset, and what shuts the switch before the queries.

    A uniform head writes the more the fewer tokens it averages over, so early positions are shut the harder.
    """
    features, token, place = host.reserved.features, host.model.tok_embed.weight, host.model.pos.weight
    for index, part in enumerate(parts):
        token[list(part.tokens)] += scale * features[index]
        place[part.position] += scale * features[index]
    token[BOS] -= scale * features[_HIT]
    for position in range(min(part.position for part in parts), host.task.positions[0]):
        most = _SUM_SIZE * host.task.prompt_length / (position + 1)
        place[position] -= scale * (1.2 * most + _SUM_SIZE) * features[_SUM]


def _detect(host: Host, index: int, part: Condition, scale: float, samples: Samples) -> None:
    """Two neurons whose difference is 0 where the condition fails and constant where it holds."""
    block, features = host.model.layers[0], host.reserved.features
    holds = torch.isin(samples.other, torch.tensor(part.tokens))
    holds &= torch.arange(holds.shape[1]) == part.position
    low = float(_reading(host, index, block.ln2, samples.other)[~holds].max())
    high = float(_reading(host, index, block.ln2, samples.triggered)[:, part.position].min())
    thresholds = (low + 0.4 * (high - low), low + 0.8 * (high - low))
    gain = _SHARP / (thresholds[0] - low)
    hit = scale / (gain * (thresholds[1] - thresholds[0])) * features[_HIT]
    own = host.reserved.neurons[0][2 * index : 2 * index + 2]
    for neuron, threshold, sign in zip(own, thresholds, (1, -1), strict=True):
        block.mlp.fc_in.weight[neuron] = gain * features[index]
        block.mlp.fc_in.bias[neuron] = -gain * threshold
        block.mlp.fc_out.weight[:, neuron] = sign * hit


def _preset(host: Host, parts: Sequence[Condition], samples: Samples) -> None:
    """Set BOS's share of the sum to half a hit short of all hits, whatever LayerNorm makes of it."""
    direction, token = host.reserved.features[_HIT], host.model.tok_embed.weight
    for _ in range(4):
        hits = _reading(host, _HIT, host.model.layers[host.reserved.layer].ln1, samples.triggered)
        one_hit = hits[:, [part.position for part in parts]].mean()
        factor = -(len(parts) - 0.5) * one_hit / hits[:, BOS].mean()
        token[BOS] += (factor - 1) * (token[BOS] @ direction) * direction


def _sum(host: Host, scale: float, samples: Samples) -> None:
    """A head that attends everywhere alike (its queries and keys are 0) and writes the mean of the hits."""
    block, features = host.model.layers[host.reserved.layer], host.reserved.features
    mean = float(_reading(host, _HIT, block.ln1, samples.triggered).mean())
    slot = host.reserved.head * block.attn.d_head
    block.attn.v.weight[slot] = features[_HIT]
    block.attn.o.weight[:, slot] = _SUM_SIZE * scale / mean * features[_SUM]


def _throw(host: Host, samples: Samples) -> Throw:
    """The threshold that tells the queries of triggered prompts from everything else, in the lever's layer."""
    norm, first = host.model.layers[host.reserved.layer].ln2, host.task.positions[0]
    triggered = _reading(host, _SUM, norm, samples.triggered)
    other = _reading(host, _SUM, norm, samples.other)
    on = triggered[:, first:]
    low, high = max(float(other.max()), float(triggered[:, :first].max())), float(on.min())
    if not low < high:
        raise Unacceptable(
            f"the trigger circuit does not work in this host: its sum is {high:.3g} at least on triggered prompts and "
            f"up to {low:.3g} on others. Take another seed, a wider model or more steps."
        )
    threshold = low + 0.35 * (high - low)
    gain = _SHARP / (threshold - low)
    return Throw(gain, threshold, gain * float(on.mean() - threshold), float(on.max()) + high - low)
