"""Sparse edits: a few neurons of each site, the same at all positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, ClassVar

import torch

from workbench.budgets.composed import Composable
from workbench.budgets.protocol import Limit, Part
from workbench.errors import BadBudget
from workbench.geometry import AtMost
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.prompts import Prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse(Composable):
    """At most so many neurons of each site, or at most a fraction of its activations (rounded down).

    All edits at a site, at all positions, have these neurons in common. Not convex: see geometry.intersection for which
    neurons are kept, and when they are surely the best.
    """

    sizes: ClassVar[bool] = False
    neurons: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        given = (self.neurons, self.fraction)
        if sum(each is not None for each in given) != 1:
            raise BadBudget(f"expected either a number of neurons or a fraction, got {given[0]!r} and {given[1]!r}.")
        whole = isinstance(self.neurons, int) and not isinstance(self.neurons, bool) and self.neurons >= 1
        if self.neurons is not None and not whole:
            raise BadBudget(f"expected a number of neurons of at least 1, got {self.neurons!r}.")
        if self.fraction is not None and not (isinstance(self.fraction, float | int) and 0 < self.fraction <= 1):
            raise BadBudget(f"expected a fraction in (0, 1], got {self.fraction!r}. A number is given as neurons=3.")

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable. Raises BadBudget where the fraction is less than one activation."""
        widths = {site: agent.width(site) for site in sites}
        return (_FewNeurons(widths, {site: self._most(site, width) for site, width in widths.items()}),)

    def _most(self, site: Site, width: int) -> int:
        if self.fraction is None:
            return min(self.neurons or 1, width)
        most = floor(self.fraction * width + 1e-9)  # 0.1 * 40 may come out a little below 4
        if most < 1:
            raise BadBudget(
                f"expected a fraction of at least one of the {width} activations at {site}, got {self.fraction}. "
                "Use neurons=1."
            )
        return most


@dataclass(frozen=True, slots=True)
class _FewNeurons:
    """A Limit to the number of neurons that the edits at each site touch."""

    widths: dict[Site, int]
    most: dict[Site, int]

    @property
    def apart(self) -> bool:
        """See Limit: the rows of a site share their neurons."""
        return False

    def at(self, site: Site, times: int) -> AtMost:
        """See Limit."""
        return AtMost.of_row(self.widths[site], self.most[site])

    def whole(self, parts: Sequence[Part]) -> AtMost:
        """See Limit: one pool of neurons a site, to which the rows of all edits there belong."""
        sites = list(dict.fromkeys(part.site for part in parts))
        starts = dict(zip(sites, torch.tensor([0, *(self.widths[s] for s in sites)]).cumsum(0).tolist(), strict=False))
        neuron = [(starts[part.site] + torch.arange(part.width)).repeat(part.count) for part in parts]
        pool = [torch.full((self.widths[site],), number) for number, site in enumerate(sites)]
        return AtMost(torch.cat(neuron), torch.cat(pool), tuple(self.most[site] for site in sites))
