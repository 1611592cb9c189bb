"""Budgets that compose: `a & b` allows what both allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.budgets.bound import Bound
from workbench.budgets.protocol import Limit, Sites
from workbench.errors import BadBudget
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.prompts import Prompts


class Composable:
    """What every Budget here has: `&` and `bind`, from the one thing it says itself, `limits`."""

    __slots__ = ()
    sizes: ClassVar[bool] = True
    """Whether it limits sizes; what does not cannot stand alone."""

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """The constraints that this Budget is, at these sites of the Agent, measured on these prompts."""
        raise NotImplementedError

    def bind(self, agent: "Agent", sites: Sites, prompts: "Prompts") -> Bound:
        """See Budget. Raises BadBudget where a unit, a site or the Agent does not fit, and for endless sizes."""
        if not self.sizes:
            raise BadBudget(f"expected a limit to sizes, got {self!r} alone. Add one: L2Ball(2.0) & {self!r}.")
        return Bound.of(self, agent, sites, prompts, self.limits)  # pyright: ignore[reportArgumentType]

    def __and__(self, other: Any) -> "Both":
        if not isinstance(other, Composable) or isinstance(other, type):
            raise BadBudget(f"expected another Budget of this package after &, got {other!r}. Try & L2Ball(2.0).")
        return Both((*_parts(self), *_parts(other)))


@dataclass(frozen=True, slots=True)
class Both(Composable):
    """What all of these Budgets allow. Made by `&`; the order does not matter but for rounding."""

    budgets: tuple[Composable, ...]

    @property
    def sizes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether one of them limits sizes."""
        return any(budget.sizes for budget in self.budgets)

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable: those of all of them; first of those that need not run the model."""
        found = {id(b): b.limits(agent, sites, prompts) for b in sorted(self.budgets, key=lambda b: b.sizes)}
        return tuple(limit for budget in self.budgets for limit in found[id(budget)])


def _parts(budget: Composable) -> tuple[Composable, ...]:
    return budget.budgets if isinstance(budget, Both) else (budget,)
