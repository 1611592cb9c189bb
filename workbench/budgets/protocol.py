"""What a Budget is, and what one constraint says once its units are resolved."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.edits import Edit
from workbench.geometry import Member, Support
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.budgets.bound import Bound
    from workbench.prompts import Prompts

Sites = Site | str | Iterable[Site | str]


@runtime_checkable
class Budget(Protocol):
    """What a Surgeon may spend."""

    def bind(self, agent: "Agent", sites: Sites, prompts: "Prompts") -> "Bound":
        """The Budget in the units of this Agent's sites, measured on these prompts."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One edit as a constraint sees it: `count` rows of that width, each added at `times` positions."""

    site: Site
    width: int
    count: int
    times: int

    @classmethod
    def of(cls, edit: Edit, length: int) -> "Part":
        """The part of an edit of prompts of that length. One vector is one row, wherever it is added."""
        if edit.delta.ndim == 2:
            return cls(edit.site, edit.width, len(edit.delta), 1)
        return cls(edit.site, edit.width, 1, length if edit.positions is None else len(edit.positions))

    @property
    def factor(self) -> float:
        """What its rows are multiplied by in a long row (see geometry.whole)."""
        return self.times**0.5


@runtime_checkable
class Limit(Protocol):
    """One constraint, bound to sites. Each function gives a set of sizes or a constraint on supports."""

    @property
    def apart(self) -> bool:
        """Whether it holds every row of every edit apart from all others."""
        ...

    def at(self, site: Site, times: int) -> Member | Support:
        """Of a single row, added at so many positions of a site, while there are no other edits."""
        ...

    def whole(self, parts: Sequence[Part]) -> Member | Support:
        """Of all edits together, as one long row (see geometry.whole)."""
        ...


def long_row(edits: Sequence[Edit], parts: Sequence[Part]) -> Float[Tensor, "width"]:
    """All rows of all edits, one after the other, in float64."""
    rows = [edit.delta.double().flatten() * part.factor for edit, part in zip(edits, parts, strict=True)]
    return torch.cat([row.to(rows[0].device) for row in rows])


def cut_up(row: Float[Tensor, "width"], edits: Sequence[Edit], parts: Sequence[Part]) -> list[Edit]:
    """The edits that a long row holds, shaped like those given."""
    pieces = row.split([part.count * part.width for part in parts])
    return [
        Edit(edit.site, (piece / part.factor).reshape(edit.delta.shape).to(edit.delta), edit.positions)
        for piece, edit, part in zip(pieces, edits, parts, strict=True)
    ]
