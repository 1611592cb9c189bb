"""The drive of a switch: how far an input throws it, the gradient of that, and the run in which it stays at rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from workbench.agent import Agent
from workbench.edits import Edit
from workbench.errors import BadEdit, UnknownSite
from workbench.prompts import Prompts
from workbench.sites import Site

Tokens = Int64[Tensor, "row pos"]
Readings = Float[Tensor, "row pos"]
Hook = tuple[str, Callable[..., Tensor | None]]
EMBED = "hook_embed"
_POSITIONS_AT_ONCE = 2**15


@dataclass(frozen=True, slots=True, eq=False)
class Gauge:
    """What is read at one Site: the product of the activations with `along` [pos, width], position by position.

    own: which part of a difference of activations is the switch's: a mask over few neurons, or unit rows [pos, width].
    dose: the reading of the Edits themselves, at each position.
    """

    site: Site
    along: Float[Tensor, "pos width"]
    own: Bool[Tensor, "width"] | Float[Tensor, "pos width"]
    dose: Float[Tensor, "pos"]

    @classmethod
    def of(cls, agent: Agent, site: Site, delta: Float[Tensor, "pos width"]) -> "Gauge":
        """For a delta on one neuron, its activation; else the projection of what is written on what the delta writes.

        For few neurons only what these write counts. Without a linear write it is the projection on the delta itself.
        Positions at which less is edited weigh less.
        """
        touched, write = delta.ne(0).any(0), agent.write(site)
        along, size = delta, delta.norm(dim=-1).max()
        if int(touched.sum()) > 1 and write is not None:
            written = delta @ write.float()
            along, size = (written @ write.float().T) * touched, written.norm(dim=-1).max()
        if size == 0:
            raise BadEdit(f"expected an Edit at {site} of {agent.name} that writes something. Trace another Finding.")
        few = 4 * int(touched.sum()) <= len(touched)  # as Edit.neurons has it
        along = along / size
        return cls(site, along, touched if few else normalize(along, dim=-1), (delta * along).sum(-1))

    def read(self, activations: Tensor) -> Readings:
        """The reading of each row [pos, width] at each position."""
        return (activations.flatten(2).float() * self.along).sum(-1)

    def part(self, difference: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
        """The switch's own part of a difference of activations."""
        if self.own.dtype == torch.bool:
            return difference * self.own
        return (difference * self.own).sum(-1, keepdim=True) * self.own


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """How far inputs throw the switch of a Finding.

    gauges: one for each Site of its Edits; their readings are added up. An input's drive is its largest reading at a
    position that the Edits touch. It is in activation units for one neuron, in those of the residual stream for several
    or a direction; for a direction it counts from `rest`, the mean over clean prompts at the same position.
    """

    agent: Agent
    gauges: tuple[Gauge, ...]
    rest: Float[Tensor, "pos"]

    @classmethod
    def of(cls, agent: Agent, edits: Sequence[Edit], prompts: Prompts) -> "Drive":
        """The Drive of some Edits, whose rest is on these clean prompts. Raises BadPrompts, BadEdit, UnknownSite."""
        agent.check(prompts)
        agent.check_edits(edits, prompts)
        deltas: dict[Site, Tensor] = {}
        for edit in edits:
            site, delta = agent.site(edit.site), edit.at(prompts.length).to(agent.device, torch.float32)
            deltas[site] = deltas[site] + delta if site in deltas else delta
        gauges = tuple(Gauge.of(agent, site, delta) for site, delta in deltas.items())
        found = cls(agent, gauges, torch.zeros(prompts.length, device=agent.device))
        return found if found.few else replace(found, rest=found.readings(prompts.tokens).mean(0))

    @property
    def few(self) -> bool:
        """Whether it is of few neurons, whose activations have a zero of their own."""
        return all(gauge.own.dtype == torch.bool for gauge in self.gauges)

    @property
    def dose(self) -> float:
        """How far the Finding's own Edits throw the switch."""
        return float(torch.stack([gauge.dose for gauge in self.gauges]).sum(0).max())

    @property
    def positions(self) -> list[int]:
        """The positions that the Edits touch."""
        touched = torch.stack([gauge.along.ne(0).any(-1) for gauge in self.gauges]).any(0)
        return touched.nonzero().flatten().tolist()

    @property
    def sites(self) -> list[str]:
        """The hook points that are read."""
        return [gauge.site.name for gauge in self.gauges]

    @property
    def depth(self) -> int | None:
        """How many blocks have to run to read it; None: all."""
        layers = [gauge.site.layer for gauge in self.gauges]
        return None if None in layers else 1 + max(layer for layer in layers if layer is not None)

    def before_the_gate(self) -> "Drive":
        """The same neurons as they are before their nonlinearity, to be climbed where that is shut.

        This Drive itself where it is not one of few neurons in plain MLPs.
        """
        layers = [gauge.site.layer for gauge in self.gauges if gauge.site.kind == "mlp.hook_post"]
        gated = any(f"blocks.{layer}.mlp.hook_pre_linear" in self.agent.bridge.hook_dict for layer in layers)
        if not self.few or gated or len(layers) < len(self.gauges):
            return self
        try:
            sites = [self.agent.site(f"blocks.{layer}.mlp.hook_pre") for layer in layers]
        except UnknownSite:
            return self
        return replace(self, gauges=tuple(replace(g, site=s) for g, s in zip(self.gauges, sites, strict=True)))

    @torch.no_grad()
    def readings(self, tokens: Tokens, hooks: Sequence[Hook] = ()) -> Readings:
        """The reading of each input at each position, under hooks if need be: these see all the rows at once."""
        step = len(tokens) if hooks else max(1, _POSITIONS_AT_ONCE // tokens.shape[1])
        runs = (watch(self.agent, part, self.sites, hooks, self.depth) for part in tokens.split(step))
        return torch.cat([self.read(seen) for seen in runs])

    def read(self, seen: dict[str, Tensor]) -> Readings:
        """The readings, from the activations at this Drive's Sites."""
        return torch.stack([gauge.read(seen[gauge.site.name]) for gauge in self.gauges]).sum(0) - self.rest

    def level(self, readings: Readings) -> Float[Tensor, "row"]:
        """The drive of each input."""
        return readings[:, self.positions].amax(1)

    def peak(self, readings: Readings) -> Int64[Tensor, "row"]:
        """The position at which that is."""
        where = torch.tensor(self.positions, device=readings.device)
        return where[readings[:, where].argmax(1)]

    def slope(self, tokens: Tokens) -> Float[Tensor, "row pos d_model"]:
        """The gradient of each input's drive in its token embeddings."""
        with torch.enable_grad():
            seen = watch(self.agent, tokens, [EMBED, *self.sites], [(EMBED, leaf)], self.depth)
            return torch.autograd.grad(self.level(self.read(seen)).sum(), seen[EMBED])[0]

    @torch.no_grad()
    def resting(self, clean: Tokens) -> list[Hook]:
        """Hooks that hold the switch where it is on these clean inputs, row by row, and leave all else as it comes."""
        seen = watch(self.agent, clean, self.sites, (), self.depth)

        def holding(gauge: Gauge) -> Callable[..., Tensor]:
            def hook(activations: Tensor, hook: Any) -> Tensor:
                apart = (seen[gauge.site.name] - activations).flatten(2)
                return activations + gauge.part(apart).to(activations.dtype).reshape(activations.shape)

            return hook

        return [(gauge.site.name, holding(gauge)) for gauge in self.gauges]


def watch(
    agent: Agent, tokens: Tokens, names: Sequence[str], hooks: Sequence[Hook] = (), depth: int | None = None
) -> dict[str, Tensor]:
    """The activations at some hook points, as they are after `hooks`; only the first `depth` blocks run."""
    seen: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[..., Tensor]:
        def hook(activations: Tensor, hook: Any) -> Tensor:
            seen[name] = activations
            return activations

        return hook

    watching: list[Any] = [*hooks, *((name, keeping(name)) for name in dict.fromkeys(names))]
    agent.bridge.run_with_hooks(tokens.to(agent.device), fwd_hooks=watching, stop_at_layer=depth)
    return seen


def leaf(activations: Tensor, hook: Any) -> Tensor:
    """A hook that makes activations the start of a graph."""
    return activations.detach().requires_grad_(True)
