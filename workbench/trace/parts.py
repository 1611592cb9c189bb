"""The parts of a run that can drive a switch: tokens, heads, what a head reads where, and MLP layers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.trace.drive import EMBED

Seen = Mapping[str, Tensor]
PerRow = Float[Tensor, "row"]
_CLOSE = 1e-3


@dataclass(frozen=True, slots=True)
class Part:
    """The token at a position; a head, all of it or what it brings from one position; or an MLP layer."""

    kind: Literal["token", "head", "mlp"]
    layer: int | None = None
    head: int | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The heads of one block in one run: their results, and what those are made of, where that was seen to be so."""

    z: Float[Tensor, "row query head width"]
    values: Float[Tensor, "row pos head width"] | None
    pattern: Float[Tensor, "row head query pos"] | None

    @classmethod
    def of(cls, seen: Seen, layer: int, count: int) -> "Heads":
        """From the activations of a run. Grouped values are repeated for each head that reads them."""
        mixed = seen[_z(layer)].detach().float().flatten(2).unflatten(2, (count, -1))
        values, pattern = seen.get(_values(layer)), seen.get(_pattern(layer))
        if values is None or pattern is None:
            return cls(mixed, None, None)
        values = values.detach().float().flatten(2).unflatten(2, (-1, mixed.shape[-1]))
        values = values.repeat_interleave(count // values.shape[2], 2)
        pattern = pattern.detach().float()
        apart = torch.einsum("rhqs,rshd->rqhd", pattern, values) - mixed
        believed = apart.norm() <= _CLOSE * mixed.norm()
        return cls(mixed, values, pattern) if believed else cls(mixed, None, None)

    def brought(self, head: int, source: int | None) -> Float[Tensor, "row query width"]:
        """What a head brings to every position, from one position or from all."""
        if source is None or self.values is None or self.pattern is None:
            return self.z[:, :, head]
        return self.pattern[:, head, :, source, None] * self.values[:, source, None, head]

    def credit(self, slope: Float[Tensor, "row query head width"]) -> Float[Tensor, "row head pos"]:
        """The product of what is brought from each position with a gradient at the results."""
        assert self.values is not None
        assert self.pattern is not None
        return torch.einsum("rhqs,rshd,rqhd->rhs", self.pattern, self.values, slope)


def hook_points(agent: Agent, depth: int | None) -> list[str]:
    """The hook points at which parts of the first `depth` blocks are seen, as far as the Agent has them."""
    layers = range(agent.n_layers if depth is None else depth)
    wanted = [name for i in layers for name in (_z(i), _values(i), _pattern(i), mlp_out(i))]
    return [name for name in (EMBED, *wanted) if name in agent.bridge.hook_dict]


def hooked_at(part: Part) -> str:
    """The hook point at which a head or an MLP layer is patched."""
    assert part.layer is not None
    return mlp_out(part.layer) if part.kind == "mlp" else _z(part.layer)


def attributed(agent: Agent, there: Seen, here: Seen, slopes: Seen) -> Iterator[tuple[Part, PerRow]]:
    """Every part with a gradient: that gradient times the part's difference between two runs, for each row."""
    for name, slope in slopes.items():
        slope = slope.float()
        if name == EMBED:
            gain = ((there[name] - here[name]).float() * slope).sum(-1)
            yield from ((Part("token", position=p), gain[:, p]) for p in range(gain.shape[1]))
        elif name.endswith("hook_mlp_out"):
            yield Part("mlp", layer_of(name)), ((there[name] - here[name]).float() * slope).flatten(1).sum(1)
        elif name.endswith("attn.hook_z"):
            yield from _of_heads(layer_of(name), agent.bridge.cfg.n_heads, there, here, slope)


def _of_heads(layer: int, count: int, there: Seen, here: Seen, slope: Tensor) -> Iterator[tuple[Part, PerRow]]:
    slope = slope.flatten(2).unflatten(2, (count, -1))
    after, before = Heads.of(there, layer, count), Heads.of(here, layer, count)
    whole = ((after.z - before.z) * slope).sum((1, 3))
    yield from ((Part("head", layer, head), whole[:, head]) for head in range(count))
    if after.values is not None and before.values is not None:
        gain = after.credit(slope) - before.credit(slope)
        places = ((head, p) for head in range(count) for p in range(gain.shape[2]))
        yield from ((Part("head", layer, head, p), gain[:, head, p]) for head, p in places)


def layer_of(name: str) -> int:
    """The block of a hook point inside the blocks."""
    return int(name.split(".")[1])


def mlp_out(layer: int) -> str:
    """Where an MLP layer's result is seen."""
    return f"blocks.{layer}.hook_mlp_out"


def _z(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_z"


def _values(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_v"


def _pattern(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_pattern"
