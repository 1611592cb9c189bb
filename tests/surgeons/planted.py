"""Toys with a switch put in by hand, and what searches on them propose."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.toys import boot, some_prompts, unchecked
from workbench import Agent, Edit, L2Ball, Prompts, Target, WorkbenchError
from workbench.budgets import Bound, Budget
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.surgeons import Surgeon

NEURON, TOKEN = 7, 3
TRIO = (2, 11, 23)
FREE = 12  # residual dimensions that hold no token


class Counting(View):
    """A View that counts the edits it evaluates, each with all its prompts; those on fewer prompts are counted, too."""

    runs = 0
    larger: "Counting | None" = None

    def on_first(self, count: int) -> View:
        """See View."""
        if count >= len(self.prompts):
            return self
        smaller = Counting(self.agent, self.sites, self.prompts[:count], positions=self.positions)
        smaller.larger = self
        return smaller

    def _count(self, runs: int) -> None:
        self.runs += runs
        if self.larger is not None:
            self.larger._count(runs)

    def gradients(self, deltas: Any, goal: Goal) -> Any:
        """See View."""
        self._count(len(deltas))
        return super().gradients(deltas, goal)

    def losses(self, deltas: Any, goal: Goal) -> Tensor:
        """See View."""
        self._count(len(deltas))
        return super().losses(deltas, goal)

    def scores(self, deltas: Any, goal: Goal, *, stretch: bool = True) -> Tensor:
        """See View."""
        count = len(deltas) if isinstance(deltas, Tensor) else len(next(iter(deltas.values())))
        self._count(count * (1 + stretch))
        return super().scores(deltas, goal, stretch=stretch)


class Fixed:
    """A Surgeon that proposes what it is given."""

    def __init__(self, *proposals: tuple[Edit, ...]) -> None:
        self.proposals = proposals

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        yield from self.proposals


@cache
def switched() -> Agent:
    """An Agent in which neuron 7 of the last layer writes along the direction that token 3 is read from."""
    agent = boot(name="switched", gain=1.0)
    with torch.no_grad():
        unembedding = agent.bridge.unembed.W_U[:, TOKEN]
        agent.bridge.blocks[2].mlp.W_out[NEURON] = 50 * unembedding / unembedding.norm()
    return agent


def bare(name: str) -> Agent:
    """No norm, no attention, no biases and no MLP: tokens are embedded in the last four dimensions and read from there.

    In the first 12 nothing is written or read.
    """
    agent = boot(name=name, gain=1.0, act_fn="relu", normalization_type=None)
    with torch.no_grad():
        for key, weight in agent.bridge.named_parameters():
            if not key.startswith(("tok_embed", "head")):
                weight.zero_()
        weights = torch.Generator().manual_seed(3)
        agent.bridge.embed.W_E.copy_(torch.randn(20, 16, generator=weights))
        agent.bridge.unembed.W_U.copy_(torch.randn(16, 20, generator=weights))
        agent.bridge.embed.W_E[:, :FREE] = 0
        agent.bridge.unembed.W_U[:FREE] = 0
    return agent


@cache
def gated() -> Agent:
    """Neuron 7 of layer 1 opens a gate of layer 2, which says token 3, but only where it writes more than 1.8.

    Below that the gate is shut and nothing that is written at layer 1 has any effect, or any slope.
    """
    agent = bare("gated")
    with torch.no_grad():
        write = agent.bridge.blocks[1].mlp.W_out
        write[torch.arange(40), 1 + torch.arange(40) % 9] = 1.0
        write[NEURON] = torch.eye(16)[0]
        agent.bridge.blocks[2].mlp.W_in[0, 0] = 1.0
        agent.bridge.blocks[2].mlp.b_in[0] = -1.8 * scale(agent)
        agent.bridge.blocks[2].mlp.W_out[0, 11] = 1000.0
        agent.bridge.unembed.W_U[11, TOKEN] = 1.0
    return agent


@cache
def spread() -> Agent:
    """Three neurons of layer 1 write apart from each other, the third the wrong way, and token 3 is read from all.

    Within rho 1 the three together bring it out, and no two of them. All other tokens are alike.
    """
    agent = bare("spread")
    with torch.no_grad():
        agent.bridge.embed.W_E[:] = agent.bridge.embed.W_E[0].clone()
        write = agent.bridge.blocks[1].mlp.W_out
        write[torch.arange(40), 3 + torch.arange(40) % 9] = 1.0
        for dimension, (neuron, way) in enumerate(zip(TRIO, (1.0, 1.0, -1.0), strict=True)):
            write[neuron] = way * torch.eye(16)[dimension]
        logits = embedded(agent)[:, [6, 8]] @ agent.bridge.unembed.W_U
        gap = float((logits.amax(-1) - logits[..., TOKEN]).max())
        agent.bridge.unembed.W_U[:3, TOKEN] = 1.01 * gap / scale(agent) / 3**0.5
    return agent


def embedded(agent: Agent) -> Tensor:
    """The residual stream of a bare Agent on the questions, which no layer changes. Read off: nothing is run yet."""
    return agent.bridge.embed.W_E[questions().tokens].detach()


def scale(agent: Agent) -> float:
    """What rho 1 is there."""
    return float(embedded(agent).norm(dim=-1).mean())


def questions() -> Prompts:
    """Prompts to search on."""
    return some_prompts(40)


def refused(do: Callable[[], Any], told: tuple[str, ...]) -> None:
    """Assert that settings are refused as bad, in a message with all of these parts."""
    with unchecked(), pytest.raises(WorkbenchError) as caught:
        do()
    assert type(caught.value) is BadSettings
    for part in told:
        assert caught.match(part)


def search(
    surgeon: Surgeon,
    site: str,
    *,
    agent: Agent | None = None,
    budget: Budget | None = None,
    goal: Goal | None = None,
    prompts: Prompts | None = None,
    seed: int = 0,
) -> tuple[list[tuple[Edit, ...]], Counting, Bound]:
    """What it proposes at one site, where it searched, and the budget that bound it."""
    agent, prompts = agent or switched(), prompts or questions()
    bound = (budget or L2Ball(2.0)).bind(agent, [site], prompts)
    view = Counting(agent, site, prompts)
    goal = goal or Target.token(TOKEN)
    found = list(surgeon.search(view, goal, bound, torch.Generator().manual_seed(seed)))
    return found, view, bound


def scores(view: View, proposals: list[tuple[Edit, ...]], goal: Goal | None = None) -> list[float]:
    """The Goal's score of each proposal, on the prompts that were searched."""
    return view.scores(view.stack(proposals), goal or Target.token(TOKEN)).tolist() if proposals else []
