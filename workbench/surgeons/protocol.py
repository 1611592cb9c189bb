"""What every Surgeon is: a search that yields proposals at one site."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch

from workbench.agent import Agent
from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.goals import Goal
from workbench.sites import Site


@runtime_checkable
class Surgeon(Protocol):
    """An adversary: a frozen value whose fields are its settings. It may also have `sites`, as `ChoosesSites` does."""

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """Proposals at the view's site, each of one or several Edits that apply jointly.

        The view holds the Surgeon's half of the prompts; all randomness comes from the generator.
        """
        ...


@runtime_checkable
class ChoosesSites(Protocol):
    """A Surgeon that knows where it searches best."""

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """Where it searches when it is not told where."""
        ...


def default_sites(surgeon: Surgeon, agent: Agent) -> tuple[Site, ...]:
    """Where a Surgeon searches when nobody says: its own choice, else the residual stream after early layers."""
    return surgeon.sites(agent) if isinstance(surgeon, ChoosesSites) else early_residuals(agent)


def early_residuals(agent: Agent) -> tuple[Site, ...]:
    """The residual stream after every layer that leaves at least two blocks to act on; at least the first."""
    return tuple(agent.site(f"blocks.{layer}.hook_resid_post") for layer in range(max(1, agent.n_layers - 2)))
