"""A bounded learned Surgeon: a small network that sees prompt, latent state and output, and emits an edit for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.engine.each import Each, Own
from workbench.errors import BadSettings
from workbench.geometry import on_device, rescale
from workbench.goals import Goal
from workbench.sites import Site
from workbench.surgeons.ground import check_counts, check_shares
from workbench.surgeons.room import Room

_USUAL_SHARE, _USUAL_MOST = 0.01, 2000

Seen = Float[Tensor, "prompt place feature"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSurgeon:
    """A network learns, from half of the prompts, which edit to give each; one row for each position.

    At each position it reads the token as the Agent embeds it, the latent state at the site, and the Agent's own answer
    there (its probabilities, embedded by the Agent's embedding; zero where no answer is read). Gates open on what it
    reads, and each open gate adds its vector to one that is always added. So a universal edit is what it begins as, and
    the gates are for what differs between prompts and between positions.

    parameters: how many the network may have; None: 1 % of the Agent's or 2,000, whichever is less, but room for one
    gate. More than `most` of the Agent's are refused, when it is first used: a Surgeon that is itself a large model
    can write the behaviour it claims to find. shares: the parts of the budget that are tried, each with `starts`
    networks and `steps` steps. In a step the ascent of each edit is projected onto the budget, and the network learns
    to emit what came out. step_size: the length of a move as a share of the length of a row at the edge.

    For `attack` the best network by score is kept, on the prompts it learned from. For `scan` what a network's edits
    have in common is proposed, their mean over prompts and positions: as it is or at the edge of the share, whichever
    network and size scores best; one for each share.
    Runs of the Agent on the prompts it learns from: shares x starts x (steps + 2) for `attack`, shares x starts x
    (steps + 4) for `scan`, of which `steps` also back.
    """

    parameters: int | None = None
    most: float = 0.05
    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    starts: int = 8
    steps: int = 40
    step_size: float = 0.2

    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_shares("shares", self.shares)
        check_counts(starts=self.starts, steps=self.steps)
        if not 0 < self.step_size <= 1:
            raise BadSettings(f"expected a step size in (0, 1], a share of the set's reach, got {self.step_size}.")
        if not 0 < self.most <= 0.5:
            raise BadSettings(f"expected a cap `most` in (0, .5], a share of the Agent's parameters, got {self.most}.")

    def size(self, agent: Agent, site: Site | str) -> int:
        """The parameters of its network there. Raises BadSettings where these are above the cap."""
        return _parameters(self._gates(agent, site), *_widths(agent, site))

    def edits(
        self, attacked: Each, seen: Each, goal: Goal, budget: Bound, generator: torch.Generator
    ) -> Float[Tensor, "prompt place width"]:
        """See Attacker."""
        learned = [self._learned(seen, goal, budget, share, generator) for share in self.shares]
        scores = torch.stack([seen.scores(room.project(net(features(seen))), goal) for net, room in learned])
        share, start = divmod(int(scores.argmax()), self.starts)
        net, room = learned[share]
        return room.project(net(features(attacked))[start])

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        seen = Each(view)
        allowed = on_device(budget.at(view.site, view.positions), view.agent.device)
        for share in self.shares:
            net, room = self._learned(seen, goal, budget, share, generator)
            common = room.project(net(features(seen))).mean((1, 2))
            rows = torch.cat([common, rescale(allowed, common, share * allowed.radius)])
            best = int(view.scores(rows, goal).argmax())
            yield (Edit(view.site, rows[best].cpu(), view.positions),)

    def _learned(
        self, seen: Each, goal: Goal, budget: Bound, share: float, generator: torch.Generator
    ) -> tuple["Network", Room]:
        """All starts' networks after `steps` steps of Adam (betas .9, .999), and the room they learned in."""
        room = Room.of(seen, budget, share)
        always = room.directions(self.starts, generator=generator)
        net = Network.begin(always, _widths(seen.agent, seen.site)[0], self._gates(seen.agent, seen.site), generator)
        pace = self.step_size / always.shape[-1] ** 0.5
        adam = torch.optim.Adam(net.weights, lr=pace)
        read = features(seen)
        for _ in range(self.steps):
            with torch.enable_grad():
                emitted = net.emit(read)
            adam.zero_grad()
            emitted.backward(emitted.detach() - self._better(seen, goal, room, net.reach, emitted.detach()))
            adam.step()
        return net, room

    def _better(self, seen: Each, goal: Goal, room: Room, reach: float, emitted: Own) -> Own:
        """Where one step of projected ascent leads, in units of the reach."""
        edits = room.project(reach * emitted)
        _, slope = seen.gradients(edits, goal)
        usual = slope.square().sum(-1, keepdim=True).mean((1, 2), keepdim=True).sqrt().clamp_min(1e-30)
        return room.project(edits + self.step_size * reach * slope / usual) / reach

    def _gates(self, agent: Agent, site: Site | str) -> int:
        """How many gates there is room for. Raises BadSettings for none, and for more parameters than the cap."""
        total = sum(weight.numel() for weight in agent.weights().values())
        read, width = _widths(agent, site)
        least = _parameters(1, read, width)
        wanted = max(least, min(int(_USUAL_SHARE * total), _USUAL_MOST)) if self.parameters is None else self.parameters
        if wanted < least:
            raise BadSettings(f"expected at least {least} parameters, for one gate at this site, got {wanted}.")
        if wanted > self.most * total:
            raise BadSettings(
                f"expected a Surgeon of at most {int(self.most * total)} parameters, {self.most:.0%} of those of "
                f"{agent.name}, got {wanted}. Give it fewer `parameters`, or raise the cap `most`."
            )
        return (wanted - width) // (least - width)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """As many networks as starts: `always + sum over gates of tanh(features @ read + bias) * push`, times `reach`."""

    read: Float[Tensor, "start feature gate"]
    bias: Float[Tensor, "start gate"]
    push: Float[Tensor, "start gate width"]
    always: Float[Tensor, "start width"]
    reach: float

    @classmethod
    def begin(
        cls, always: Float[Tensor, "start width"], features: int, gates: int, generator: torch.Generator
    ) -> "Network":
        """Networks that begin as these vectors, nearly so: what gates push is a tenth as long."""
        starts, width = always.shape
        reach = float(always.norm(dim=-1).mean())

        def random(*shape: int, size: float) -> Tensor:
            return (size * torch.randn(*shape, generator=generator)).to(always).requires_grad_(True)

        read = random(starts, features, gates, size=features**-0.5)
        push = random(starts, gates, width, size=0.1 * width**-0.5)
        return cls(read, random(starts, gates, size=0.1), push, (always / reach).requires_grad_(True), reach)

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All that is learned."""
        return self.read, self.bias, self.push, self.always

    def emit(self, seen: Seen) -> Own:
        """Edits in units of the reach; differentiable in the weights."""
        open_ = (torch.einsum("ptf,sfg->sptg", seen, self.read) + self.bias[:, None, None]).tanh()
        return torch.einsum("sptg,sgw->sptw", open_, self.push) + self.always[:, None, None]

    @torch.no_grad()
    def __call__(self, seen: Seen) -> Own:
        """The edits of each start."""
        return self.reach * self.emit(seen)


@torch.no_grad()
def features(each: Each) -> Seen:
    """What a network sees at each place: token, latent state and answer, each at root mean square 1 (or zero)."""
    agent, prompts, places = each.agent, each.prompts, list(each.places)
    table = agent.bridge.W_E.detach().to(each.view.clean_logits)
    answer = table.new_zeros(len(prompts), prompts.length, table.shape[1])
    answer[:, list(prompts.answer_positions)] = each.view.clean_logits.softmax(-1) @ table
    parts = (table[prompts.tokens.to(table.device)], agent.activations(prompts, each.site), answer)
    sized = [part / part.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12) for part in parts]
    return torch.cat(sized, -1)[:, places]


def _widths(agent: Agent, site: Site | str) -> tuple[int, int]:
    """Features read, and the width of the site."""
    return 2 * agent.bridge.W_E.shape[1] + agent.width(site), agent.width(site)


def _parameters(gates: int, read: int, width: int) -> int:
    return gates * (read + 1 + width) + width
