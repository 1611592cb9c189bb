"""A budget at one site, for edits of which every prompt has its own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine.each import Each
from workbench.geometry import SetOfRows, on_device, rescale
from workbench.sites import Site

Edits = Float[Tensor, "*many place width"]
"""An edit is a row for each place; those of different prompts have nothing to do with each other."""


@dataclass(frozen=True, slots=True)
class Room:
    """A share of the budget. row: the rows that are allowed at one position while there are no others."""

    budget: Bound
    site: Site
    places: tuple[int, ...]
    row: SetOfRows
    share: float

    @classmethod
    def of(cls, each: Each, budget: Bound, share: float = 1.0) -> "Room":
        """The room at that site, with the budget's constants on the Agent's device."""
        row = on_device(budget.at(each.site, (0,)), each.agent.device)
        return cls(budget, each.site, each.places, row, share)

    def project(self, edits: Edits) -> Edits:
        """The nearest edits that are allowed, each by itself: for any set, P_{sC}(x) = s P_C(x / s)."""
        if all(limit.apart for limit in self.budget.limits):
            return self.share * self.row.project(edits / self.share)
        each = (Edit(self.site, edit / self.share, self.places) for edit in edits.flatten(0, -3))
        return self.share * torch.stack([self.budget.project(edit).delta for edit in each]).reshape(edits.shape)

    def directions(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*shape width"]:
        """Random rows, each alone at the edge of this share."""
        rows = self.row.scatter(torch.Size(shape).numel(), generator)
        return rescale(self.row, rows, self.share * self.row.radius).reshape(*shape, -1)

    def alike(self, edits: Edits, generator: torch.Generator) -> Edits:
        """Random edits whose rows are as large as those given, position by position."""
        sizes = self.row.size(edits) / (self.share * self.row.radius)
        return self.directions(*edits.shape[:-1], generator=generator) * sizes[..., None]
