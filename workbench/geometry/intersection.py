"""What several sets hold in common: convex ones, and at most one choice of the coordinates to use.

Convex sets are intersected by an iteration with a bound on its error (`common`). Where the support has to be chosen the
set is a union of convex ones, one for each support, and not convex: several supports are tried, and the best point is
kept. That point is the nearest (or furthest) one on its own support. It is so on all supports where the sets treat
every coordinate alike (Beck and Hallak 2016), where they are boxes, and for one neuron of a single row. Elsewhere,
finding the best would mean trying all: here neurons are exchanged one at a time until no exchange helps, if there are
at most 1,024 such exchanges, and not at all if there are more.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.geometry.balls import WeightedLInf
from workbench.geometry.common import furthest_common, nearest_common
from workbench.geometry.rows import Fixed, Flat, Member, Rows, SetOfRows, Sizes, on, untouched_if_inside
from workbench.geometry.supports import AtMost, Support

Kept = Bool[Tensor, "row width"]
_Solve = Callable[[Sequence[Fixed], Flat], Flat]
_Value = Callable[[Flat, Flat], Float[Tensor, "row"]]
_SWAPS, _PASSES, _BETTER = 1024, 20, 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Intersection:
    """The rows that all of `sized` hold and that are zero wherever `supports` want them to be.

    Sizes are in the unit of the only sized member, or, if there are several, as shares of what each allows: the
    largest of these shares, at most 1.
    """

    sized: tuple[Member, ...]
    supports: tuple[Support, ...] = ()

    @classmethod
    def of(cls, sized: Sequence[Member], supports: Sequence[Support] = ()) -> "Intersection":
        """The intersection of these, boxes merged into one."""
        boxes = [each for each in sized if isinstance(each, WeightedLInf)]
        others = [each for each in sized if not isinstance(each, WeightedLInf)]
        return cls((*others, *([_merged(boxes)] if boxes else [])), tuple(supports))

    @property
    def radius(self) -> float:
        """See Sized."""
        return self.sized[0].radius if len(self.sized) == 1 else 1.0

    @property
    def width(self) -> int:
        """See Sized."""
        return self.sized[0].width

    def size(self, rows: Rows) -> Sizes:
        """See Sized."""
        shares = torch.stack([each.size(rows) * (self.radius / each.radius) for each in self.sized]).amax(0)
        flat = rows.double().reshape(-1, self.width)
        for support in self.supports:
            lost = ~support.holds(flat).reshape(shares.shape)
            shares = torch.where(lost, torch.full_like(shares, torch.inf), shares)
        return shares

    def project(self, rows: Rows) -> Rows:
        """See SetOfRows."""
        flat = rows.double().reshape(-1, self.width)
        nearest = self._best(flat, nearest_common, _closeness, self._near_gains(flat))
        return untouched_if_inside(self, rows, nearest.reshape(rows.shape))

    def extreme(self, rows: Rows) -> Rows:
        """See SetOfRows."""
        flat = rows.double().reshape(-1, self.width)
        furthest = self._best(flat, furthest_common, _gain, self._far_gains(flat))
        return furthest.reshape(rows.shape).to(rows.dtype)

    def scatter(self, count: int, generator: torch.Generator) -> Float[Tensor, "row width"]:
        """See SetOfRows: as the first sized member does, on random coordinates where few may be used."""
        first = self.sized[0]
        assert isinstance(first, SetOfRows)  # of a whole set of edits nobody asks for random rows
        rows = first.scatter(count, generator)
        gains = torch.rand(rows.shape, generator=generator, dtype=torch.float64).to(rows.device)
        return rows if not self.supports else rows * self._support(gains)

    def _best(self, flat: Flat, solve: _Solve, value: _Value, gains: Iterator[Flat]) -> Flat:
        """The point of highest value over the supports that the gains suggest, and over those next to the best."""
        if not self.supports:
            return solve([each.fixed(flat, None) for each in self.sized], flat)
        found = [self._on(self._support(gain), flat, solve) for gain in gains]
        values = torch.stack([value(flat, each) for each in found])
        best = torch.stack(found)[values.argmax(0), torch.arange(len(flat), device=flat.device)]
        if not self._chooses or all(isinstance(each, WeightedLInf) for each in self.sized):
            return best
        return torch.stack([self._swapped(row, point, solve, value) for row, point in zip(flat, best, strict=True)])

    def _swapped(self, row: Tensor, point: Tensor, solve: _Solve, value: _Value) -> Tensor:
        """The point after exchanging one neuron for another as long as that helps."""
        reached = value(row[None], point[None])
        for _ in range(_PASSES):
            masks = self._neighbours(point != 0)
            if not 0 < len(masks) <= _SWAPS:
                break
            rows = row.expand(masks.shape)
            points = self._on(masks, rows, solve)
            values = value(rows, points)
            if not float(values.max()) > float(reached) + _BETTER * abs(float(reached)):
                break
            point, reached = points[values.argmax()], values.max()
        return point

    def _neighbours(self, kept: Bool[Tensor, "width"]) -> Kept:
        """The supports next to this one that all allow."""
        chooser = next(support for support in self.supports if isinstance(support, AtMost))
        masks = chooser.swaps(kept)
        for support in self.supports:
            masks = masks[support.holds(masks.double())]
        return masks

    def _on(self, kept: Kept, flat: Flat, solve: _Solve) -> Flat:
        """The best points with these supports."""
        held = flat * kept
        return solve([each.fixed(held, kept) for each in self.sized], held) * kept

    def _near_gains(self, flat: Flat) -> Iterator[Flat]:
        """What to keep of a row: its longest part; what brings it nearest alone; what a convex projection leaves."""
        yield flat.square()
        if not self._chooses:
            return
        yield flat.square() - (flat.abs() - self._limits(flat)).clamp_min(0).square()
        yield self._relaxed().project(flat).square()

    def _far_gains(self, flat: Flat) -> Iterator[Flat]:
        """What to keep of a direction: what goes furthest alone; its longest part; what convexly goes furthest."""
        yield flat.abs() * self._limits(flat)
        if not self._chooses:
            return
        yield flat.square()
        yield (flat * self._relaxed().extreme(flat)).clamp_min(0)

    @property
    def _chooses(self) -> bool:
        return any(support.chooses for support in self.supports)

    def _limits(self, flat: Flat) -> Float[Tensor, "width"]:
        return torch.stack([on(each.reach(), flat) for each in self.sized]).amin(0)

    def _relaxed(self) -> "Intersection":
        """Without the choice of coordinates: convex."""
        return Intersection(self.sized, tuple(s for s in self.supports if not s.chooses))

    def _support(self, gains: Flat) -> Kept:
        """A support that all allow; where several choose, one after the other."""
        kept = torch.ones_like(gains, dtype=torch.bool)
        for support in sorted(self.supports, key=lambda support: support.chooses):
            kept = kept & support.best(gains * kept)
        return kept


def _closeness(rows: Flat, points: Flat) -> Float[Tensor, "row"]:
    return -(rows - points).square().sum(-1)


def _gain(rows: Flat, points: Flat) -> Float[Tensor, "row"]:
    return (rows * points).sum(-1)


def _merged(boxes: Sequence[WeightedLInf]) -> WeightedLInf:
    """One box instead of several; a coordinate that one of them keeps at zero has weight zero."""
    if len(boxes) == 1:
        return boxes[0]
    weights = [box.weights.double() / box.radius for box in boxes]
    tied = reduce(torch.logical_or, [w == 0 for w in weights])
    return WeightedLInf(torch.where(tied, 0.0, torch.stack(weights).amax(0)), 1.0)
