"""A bound Budget: sizes, the nearest allowed Edits, and the furthest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from workbench.budgets.protocol import Limit, Part, Sites, cut_up, long_row
from workbench.edits import Edit, as_edits
from workbench.errors import BadBudget, BadEdit
from workbench.geometry import Intersection, Member, SetOfRows, Support
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.budgets.protocol import Budget
    from workbench.prompts import Prompts

_Edits = TypeVar("_Edits", Edit, tuple[Edit, ...], list[Edit])


@dataclass(frozen=True, slots=True)
class Bound:
    """A Budget whose units are resolved.

    rows: for each site the allowed vectors, added at every position while there are no other edits. limits: the
    constraints they come from. length: token positions of the prompts.
    """

    budget: "Budget"
    rows: dict[Site, SetOfRows]
    limits: tuple[Limit, ...]
    length: int

    @classmethod
    def of(
        cls, budget: "Budget", agent: "Agent", sites: Sites, prompts: "Prompts", limits: Callable[..., Sequence[Limit]]
    ) -> "Bound":
        """The Budget with the limits that `limits` gives for these sites."""
        several = agent.several_sites(sites)
        found = tuple(limits(agent, several, prompts))
        return cls(budget, {site: _rows(found, site, prompts.length) for site in several}, found, prompts.length)

    @property
    def radius(self) -> float:
        """The largest size allowed: in the Budget's unit, or 1, sizes being shares of what several limits allow."""
        return next(iter(self.rows.values())).radius

    def at(self, site: Site | str, positions: Sequence[int] | None = None) -> SetOfRows:
        """The allowed vectors at one site, as functions of stacked rows [..., width], while there are no other edits.

        positions: where such a vector is added; None is everywhere. Only budgets spent jointly ask.
        """
        parsed = Site.parse(site)
        if parsed not in self.rows:
            known = ", ".join(s.short for s in self.rows)
            raise BadBudget(f"expected an edit at {known}, the sites this budget was bound to, got {parsed}.")
        if positions is None or self._apart:
            return self.rows[parsed]
        return _rows(self.limits, parsed, len(positions))

    def size(self, edits: Edit | Sequence[Edit]) -> float:
        """The size of all the edits together, in the unit of the radius. 0 for no edits.

        Where every row stands alone that is the largest size, over edits and positions. Infinite where an edit
        touches what may not be touched.
        """
        several = _disjoint(as_edits(edits))
        if self._apart:
            return max((float(self._fitting(e).size(e.delta).max()) for e in several), default=0.0)
        if not several:
            return 0.0
        parts = self._parts(several)
        return float(self._whole(parts).size(long_row(several, parts)))

    def project(self, edits: _Edits) -> _Edits:
        """The nearest allowed point: all edits together moved as little as possible (Euclidean, in activation units).

        A vector that is added at several positions is moved at each of them.
        """
        if not self._apart:
            return self._together(edits, lambda whole, row: whole.project(row))
        return _each(edits, lambda e: Edit(e.site, self._fitting(e).project(e.delta), e.positions))

    def extreme(self, direction: _Edits) -> _Edits:
        """An allowed point that maximises the inner product with `direction`."""
        if not self._apart:
            return self._together(direction, lambda whole, row: whole.extreme(row))
        return _each(direction, lambda e: Edit(e.site, self._fitting(e).extreme(e.delta), e.positions))

    @property
    def _apart(self) -> bool:
        return all(limit.apart for limit in self.limits)

    def _together(self, edits: _Edits, change: Callable) -> _Edits:
        """A change of the long row of all edits, in the container they came in."""
        several = _disjoint(as_edits(edits))
        if not several:
            return edits
        parts = self._parts(several)
        found = cut_up(change(self._whole(parts), long_row(several, parts)), several, parts)
        return found[0] if isinstance(edits, Edit) else type(edits)(found)  # pyright: ignore[reportReturnType]

    def _parts(self, edits: Sequence[Edit]) -> tuple[Part, ...]:
        for edit in edits:
            self._fitting(edit)
        return tuple(Part.of(edit, self.length) for edit in edits)

    def _whole(self, parts: Sequence[Part]) -> Intersection:
        return _together([limit.whole(parts) for limit in self.limits])

    def _fitting(self, edit: Edit) -> SetOfRows:
        """The allowed vectors at the edit's site; BadEdit for an edit of another width."""
        rows = self.at(edit.site)
        if edit.width != rows.width:
            raise BadEdit(f"expected a delta of width {rows.width} at {edit.site}, got {edit.width}.")
        return rows


def _rows(limits: Sequence[Limit], site: Site, times: int) -> SetOfRows:
    """The allowed rows at one site: a single limit's own, or the intersection of several."""
    found = [limit.at(site, times) for limit in limits]
    return found[0] if len(found) == 1 and isinstance(found[0], SetOfRows) else _together(found)


def _together(found: Sequence[Member | Support]) -> Intersection:
    """What all of these hold."""
    return Intersection.of(
        [each for each in found if isinstance(each, Member)], [each for each in found if isinstance(each, Support)]
    )


def _each(edits: _Edits, change: Callable[[Edit], Edit]) -> _Edits:
    """`change` applied to one edit or to several, in the container they came in."""
    if isinstance(edits, Edit):
        return change(edits)
    return type(edits)(change(edit) for edit in _disjoint(as_edits(edits)))


def _disjoint(edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """The edits, if no two write to the same place; otherwise their sizes could not be told apart."""
    seen: dict[Site, list[tuple[int, ...] | None]] = {}
    for edit in edits:
        for other in seen.setdefault(edit.site, []):
            if other is None or edit.positions is None or set(other) & set(edit.positions):
                raise BadBudget(f"two edits overlap at {edit.site}. Add their deltas into one Edit.")
        seen[edit.site].append(edit.positions)
    return edits
