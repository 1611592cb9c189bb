"""Balls: at every site and every position separately, the vectors whose size is at most the radius."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.budgets.composed import Composable
from workbench.budgets.protocol import Limit, Part
from workbench.budgets.units import Measure, Unit, check_radius, measure
from workbench.geometry import EachRow, Ellipsoid, Member, Piece, WeightedL1, WeightedLInf
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.prompts import Prompts


@dataclass(frozen=True, slots=True)
class _Ball(Composable):
    """A norm, a radius and a unit. rho: relative to the mean residual norm; activation: as at the site."""

    radius: float
    unit: Unit = "rho"

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", check_radius(self.radius, self.unit))

    def _limits(
        self, make: Callable[[Measure], Member], agent: "Agent", sites: Sequence[Site], prompts: "Prompts"
    ) -> tuple[Limit, ...]:
        return (Rowwise({site: make(measure(self.unit, agent, site, prompts)) for site in sites}),)


@dataclass(frozen=True, slots=True)
class L2Ball(_Ball):
    """Euclidean norm of the residual write (rho) or of the delta (activation), at each position.

    At a site whose width exceeds d_model, many deltas write the same. There a rho ball is taken within the row space
    of W_out for an edit of more than d_model neurons, and within the edit's own neurons for a sparser one; without
    that restriction it would be unbounded.
    """

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable. Raises BadBudget for rho at a site without a linear write."""
        return self._limits(lambda m: Ellipsoid.of(m.matrix, self.radius), agent, sites, prompts)


@dataclass(frozen=True, slots=True)
class L1Ball(_Ball):
    """Sum over activations of the norm of what each writes (rho) or of its absolute delta (activation)."""

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable. Raises BadBudget for rho at a site without a linear write."""
        return self._limits(lambda m: WeightedL1(m.weights, self.radius), agent, sites, prompts)


@dataclass(frozen=True, slots=True)
class LInfBall(_Ball):
    """Largest norm of what any one activation writes (rho), or its largest absolute delta (activation).

    That is the largest change per activation: the same number for all in activation units; in rho more for an
    activation that writes little.
    """

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable. Raises BadBudget for rho at a site without a linear write."""
        return self._limits(lambda m: WeightedLInf(m.weights, self.radius), agent, sites, prompts)


@dataclass(frozen=True, slots=True)
class Rowwise:
    """A Limit that holds every row by itself, with one set for each site."""

    sets: dict[Site, Member]

    @property
    def apart(self) -> bool:
        """See Limit."""
        return True

    def at(self, site: Site, times: int) -> Member:
        """See Limit."""
        return self.sets[site]

    def whole(self, parts: Sequence[Part]) -> Member:
        """See Limit."""
        return EachRow(tuple(Piece(self.sets[part.site], part.count, part.factor) for part in parts))
