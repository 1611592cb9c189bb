"""Which layers may be edited: not the last ones, where an edit writes any answer without the Agent's doing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from workbench.budgets.composed import Composable
from workbench.budgets.protocol import Limit, Part
from workbench.errors import BadBudget
from workbench.geometry import Only
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.prompts import Prompts

_BEFORE = ("hook_embed", "hook_pos_embed", "embed.", "pos_embed.", "rotary_emb")


@dataclass(frozen=True, slots=True)
class NotLastLayers(Composable):
    """No edits in the last `count` layers, nor behind them: only the zero edit is allowed there.

    The stream before a block belongs to the block before it, whose output it is.
    """

    sizes: ClassVar[bool] = False
    count: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or isinstance(self.count, bool) or self.count < 1:
            raise BadBudget(f"expected the number of layers to forbid, at least 1, got {self.count!r}.")

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable. Raises BadBudget where no layer is left."""
        if self.count >= agent.n_layers:
            raise BadBudget(
                f"expected to forbid fewer than {agent.n_layers} layers, all that {agent.name} has, got {self.count}."
            )
        free = agent.n_layers - self.count
        return (_Untouched({s: layer_of(agent, s) < free for s in sites}, {s: agent.width(s) for s in sites}),)


def layer_of(agent: "Agent", site: Site) -> int:
    """The layer that a site belongs to; 0 for embeddings, the number of layers for what follows the last block."""
    if site.layer is None:
        return 0 if site.name.startswith(_BEFORE) else agent.n_layers
    return max(0, site.layer - 1) if site.kind == "hook_resid_pre" else site.layer


@dataclass(frozen=True, slots=True)
class _Untouched:
    """A Limit that leaves some sites free and forbids others."""

    free: dict[Site, bool]
    widths: dict[Site, int]

    @property
    def apart(self) -> bool:
        """See Limit."""
        return True

    def at(self, site: Site, times: int) -> Only:
        """See Limit."""
        return Only(torch.full((self.widths[site],), self.free[site]))

    def whole(self, parts: Sequence[Part]) -> Only:
        """See Limit."""
        return Only(torch.cat([torch.full((part.count * part.width,), self.free[part.site]) for part in parts]))
