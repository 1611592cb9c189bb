"""Several Surgeons as one, each at every site where any of them searches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from workbench.agent import Agent
from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.sites import Site
from workbench.surgeons.protocol import Surgeon, default_sites


@dataclass(frozen=True, slots=True)
class Together:
    """One Surgeon after the other at the same site, each with a generator of its own.

    This is how a gradient search is paired with a finite sweep: behind a saturated gate the loss has no slope, so that
    no gradient leads there, but a large enough push of the right neuron does. A member's proposals depend on its place
    in the list and on no other member. Runs of the Agent: the sum of the members'.
    """

    surgeons: tuple[Surgeon, ...]

    def __post_init__(self) -> None:
        members = self.surgeons if isinstance(self.surgeons, tuple) else ()
        if not members or not all(isinstance(m, Surgeon) and not isinstance(m, type) for m in members):
            raise BadSettings(
                f"expected a tuple of Surgeons such as (FrankWolfe(), NeuronSweep()), got {self.surgeons!r}."
            )

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """Wherever any member searches."""
        return tuple(dict.fromkeys(site for surgeon in self.surgeons for site in default_sites(surgeon, agent)))

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        seed = int(torch.randint(2**62, (), generator=generator))
        for place, surgeon in enumerate(self.surgeons):
            yield from surgeon.search(view, goal, budget, torch.Generator().manual_seed(seed + place))
