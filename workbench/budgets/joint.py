"""Modification budgets: one sum that all edits, at all sites and all positions, draw on together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from workbench.budgets.composed import Composable
from workbench.budgets.layers import layer_of
from workbench.budgets.protocol import Limit, Part
from workbench.budgets.units import Measure, Unit, check_radius, measure, positive
from workbench.errors import BadBudget
from workbench.geometry import AllRows, Ellipsoid, Member, Piece, WeightedL1
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.prompts import Prompts


@dataclass(frozen=True, slots=True)
class _Joint(Composable):
    """A radius, a unit, and what an edit at each layer counts.

    layer_weights: a number g lets layer l count g**l times, so that with g > 1 later layers use up more; a tuple gives
    each layer its own number. Embeddings count as layer 0, what follows the last block as the last layer.

    A vector that is added at n positions is spent n times: an Edit with one vector has the size of the same Edit
    written out, one row a position. In rho each row is relative to the mean residual norm at its site.
    """

    radius: float
    unit: Unit = "rho"
    layer_weights: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", check_radius(self.radius, self.unit))
        given = self.layer_weights
        if not isinstance(given, list | tuple):
            object.__setattr__(self, "layer_weights", positive("layer weight", given))
        elif not given:
            raise BadBudget("expected one layer weight for each layer, got none. Leave them out to count all alike.")
        else:
            object.__setattr__(self, "layer_weights", tuple(positive("layer weight", each) for each in given))

    def _measures(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> dict[Site, Measure]:
        weights = self._weights(agent)
        last = len(weights) - 1
        return {
            site: measure(self.unit, agent, site, prompts).times(weights[min(layer_of(agent, site), last)])
            for site in sites
        }

    def _weights(self, agent: "Agent") -> tuple[float, ...]:
        """One for each layer of the Agent."""
        given = self.layer_weights
        if not isinstance(given, tuple):
            return tuple(given**layer for layer in range(agent.n_layers))
        if len(given) != agent.n_layers:
            raise BadBudget(
                f"expected {agent.n_layers} layer weights, one for each layer of {agent.name}, got {len(given)}. "
                "A single number g lets layer l count g**l times, whatever the number of layers."
            )
        return given


@dataclass(frozen=True, slots=True)
class JointL2Ball(_Joint):
    """Euclidean norm of all that all edits write, or of all their deltas, over sites and positions."""

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable. Raises BadBudget for rho at a site without a linear write, or another number of layers."""
        measures = self._measures(agent, sites, prompts)
        return (_SumOfSquares({s: Ellipsoid.of(m.matrix, self.radius) for s, m in measures.items()}, self.radius),)


@dataclass(frozen=True, slots=True)
class JointL1Ball(_Joint):
    """Sum over all activations, sites and positions of the norm of what each writes, or of its absolute delta."""

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable. Raises BadBudget for rho at a site without a linear write, or another number of layers."""
        return (_Sum(self._measures(agent, sites, prompts), self.radius),)


@dataclass(frozen=True, slots=True)
class _SumOfSquares:
    """A Limit to the norm of all rows together."""

    sets: dict[Site, Ellipsoid]
    radius: float

    @property
    def apart(self) -> bool:
        """See Limit."""
        return False

    def at(self, site: Site, times: int) -> Member:
        """See Limit."""
        return Ellipsoid.of(self.sets[site].matrix * times**0.5, self.radius)

    def whole(self, parts: Sequence[Part]) -> Member:
        """See Limit."""
        return AllRows(tuple(Piece(self.sets[part.site], part.count, part.factor) for part in parts), self.radius)


@dataclass(frozen=True, slots=True)
class _Sum:
    """A Limit to the sum over all rows. A row added n times counts n times, and is sqrt(n) as long in a long row."""

    measures: dict[Site, Measure]
    radius: float

    @property
    def apart(self) -> bool:
        """See Limit."""
        return False

    def at(self, site: Site, times: int) -> Member:
        """See Limit."""
        return WeightedL1(self.measures[site].weights * times, self.radius)

    def whole(self, parts: Sequence[Part]) -> Member:
        """See Limit."""
        each = [self.measures[part.site].weights.double().repeat(part.count) * part.factor for part in parts]
        return WeightedL1(torch.cat(each), self.radius)
