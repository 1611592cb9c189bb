"""Budgets: the convex sets that Edits must stay in, and the nearest and the furthest points of them.

A Budget is bound to an Agent, sites and prompts, which resolves its unit; the bound Budget allows, at every site
and every position separately, the vectors whose size is at most the radius. Sizes in rho are of what an edit writes
into the residual stream, relative to the mean residual norm there; sizes in activation units are of the edit itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.edits import Edit, as_edits
from workbench.errors import BadBudget, BadEdit
from workbench.geometry import Ellipsoid, SetOfRows, WeightedL1, WeightedLInf
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.prompts import Prompts

Unit = Literal["rho", "activation"]
Norm = Literal["l1", "l2", "linf"]
Sites = Site | str | Iterable[Site | str]
_Edits = TypeVar("_Edits", Edit, tuple[Edit, ...], list[Edit])


@runtime_checkable
class Budget(Protocol):
    """What a Surgeon may spend."""

    def bind(self, agent: "Agent", sites: Sites, prompts: "Prompts") -> "Bound":
        """The Budget in the units of this Agent's sites, measured on these prompts."""
        ...


@dataclass(frozen=True, slots=True)
class _Ball:
    """A norm, a radius and a unit. rho: relative to the mean residual norm; activation: as at the site."""

    radius: float
    unit: Unit = "rho"

    def __post_init__(self) -> None:
        number = isinstance(self.radius, Real) and not isinstance(self.radius, bool)
        if not (number and isfinite(self.radius) and self.radius > 0):
            raise BadBudget(f"expected a positive radius, got {self.radius!r}.")
        object.__setattr__(self, "radius", float(self.radius))
        if self.unit not in ("rho", "activation"):
            raise BadBudget(f"expected the unit 'rho' or 'activation', got {self.unit!r}.")


@dataclass(frozen=True, slots=True)
class L2Ball(_Ball):
    """Euclidean norm of the residual write (rho) or of the delta (activation), at each position.

    At a site whose width exceeds d_model, many deltas write the same. There a rho ball is taken within the row space
    of W_out for an edit of more than d_model neurons, and within the edit's own neurons for a sparser one; without
    that restriction it would be unbounded.
    """

    def bind(self, agent: "Agent", sites: Sites, prompts: "Prompts") -> "Bound":
        """See Budget. Raises BadBudget for rho at a site without a linear write."""
        return _bind(self, "l2", agent, sites, prompts)


@dataclass(frozen=True, slots=True)
class L1Ball(_Ball):
    """Sum over activations of the norm of what each writes (rho) or of its absolute delta (activation)."""

    def bind(self, agent: "Agent", sites: Sites, prompts: "Prompts") -> "Bound":
        """See Budget. Raises BadBudget for rho at a site without a linear write."""
        return _bind(self, "l1", agent, sites, prompts)


@dataclass(frozen=True, slots=True)
class LInfBall(_Ball):
    """Largest norm of what any one activation writes (rho), or its largest absolute delta (activation)."""

    def bind(self, agent: "Agent", sites: Sites, prompts: "Prompts") -> "Bound":
        """See Budget. Raises BadBudget for rho at a site without a linear write."""
        return _bind(self, "linf", agent, sites, prompts)


@dataclass(frozen=True, slots=True)
class Bound:
    """A Budget whose unit is resolved: one set of allowed rows for each site."""

    budget: _Ball
    rows: dict[Site, SetOfRows]

    @property
    def radius(self) -> float:
        """The largest size allowed, in the Budget's unit."""
        return self.budget.radius

    def at(self, site: Site | str) -> SetOfRows:
        """The allowed vectors at one site, as functions of stacked rows [..., width]."""
        parsed = Site.parse(site)
        if parsed not in self.rows:
            known = ", ".join(s.short for s in self.rows)
            raise BadBudget(f"expected an edit at {known}, the sites this budget was bound to, got {parsed}.")
        return self.rows[parsed]

    def size(self, edits: Edit | Sequence[Edit]) -> float:
        """The largest size, over edits and positions, in the Budget's unit. 0 for no edits."""
        several = _apart(as_edits(edits))
        return max((float(self._fitting(e).size(e.delta).max()) for e in several), default=0.0)

    def project(self, edits: _Edits) -> _Edits:
        """The nearest allowed point: each edit moved as little as possible (Euclidean, in activation units)."""
        return _each(edits, lambda e: Edit(e.site, self._fitting(e).project(e.delta), e.positions))

    def extreme(self, direction: _Edits) -> _Edits:
        """An allowed point that maximises the inner product with `direction`."""
        return _each(direction, lambda e: Edit(e.site, self._fitting(e).extreme(e.delta), e.positions))

    def _fitting(self, edit: Edit) -> SetOfRows:
        """The allowed vectors at the edit's site; BadEdit for an edit of another width."""
        rows = self.at(edit.site)
        if edit.width != rows.width:
            raise BadEdit(f"expected a delta of width {rows.width} at {edit.site}, got {edit.width}.")
        return rows


def _each(edits: _Edits, change: Callable[[Edit], Edit]) -> _Edits:
    """`change` applied to one edit or to several, in the container they came in."""
    if isinstance(edits, Edit):
        return change(edits)
    return type(edits)(change(edit) for edit in _apart(as_edits(edits)))


def _apart(edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """The edits, if no two write to the same place; otherwise their sizes could not be told apart."""
    seen: dict[Site, list[tuple[int, ...] | None]] = {}
    for edit in edits:
        for other in seen.setdefault(edit.site, []):
            if other is None or edit.positions is None or set(other) & set(edit.positions):
                raise BadBudget(f"two edits overlap at {edit.site}. Add their deltas into one Edit.")
        seen[edit.site].append(edit.positions)
    return edits


def _bind(ball: _Ball, norm: Norm, agent: "Agent", sites: Sites, prompts: "Prompts") -> Bound:
    return Bound(ball, {site: _rows(ball, norm, agent, site, prompts) for site in agent.several_sites(sites)})


def _rows(ball: _Ball, norm: Norm, agent: "Agent", site: Site, prompts: "Prompts") -> SetOfRows:
    """The set of allowed rows at one site."""
    if ball.unit == "activation":
        write, scale = None, 1.0
        weights = torch.ones(agent.width(site))
    else:
        write = agent.write(site)
        if write is None:
            raise BadBudget(
                f"rho is undefined at {site}, which has no linear write to the residual stream. Use unit='activation'."
            )
        scale, write = mean_residual_norm(agent, site, prompts), write.cpu()
        weights = write.norm(dim=1)
    if norm == "l1":
        return WeightedL1(weights / scale, ball.radius)
    if norm == "linf":
        return WeightedLInf(weights / scale, ball.radius)
    return Ellipsoid.of(torch.diag(weights) if write is None else write / scale, ball.radius)


def mean_residual_norm(agent: "Agent", site: Site | str, prompts: "Prompts") -> float:
    """Mean over prompts and positions of the residual stream's L2 norm where an edit at `site` has been written."""
    stream: Float[Tensor, "prompt pos d_model"] = agent.activations(prompts, agent.residual_site(site))
    return float(stream.norm(dim=-1).mean())


def rho_of(agent: "Agent", edits: Sequence[Edit], prompts: "Prompts") -> float:
    """The size of some edits in rho: the largest over edits and positions; nan where no linear write exists."""
    sizes = []
    for edit in edits:
        write = agent.write(edit.site)
        if write is None:
            return float("nan")
        written = edit.delta.to(write) @ write
        sizes.append(float(written.norm(dim=-1).max()) / mean_residual_norm(agent, edit.site, prompts))
    return max(sizes, default=0.0)
