"""Sets of whole edits: all rows of all of them, one after the other in one long row.

A row that is added at n positions stands there multiplied by sqrt(n), so that lengths and inner products of long rows
are those of everything that is added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.geometry.balls import Ellipsoid
from workbench.geometry.fixed import FixedProduct, Spheroid
from workbench.geometry.rows import INSIDE, Fixed, Flat, Member, Rows, Sizes


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A stretch of a long row: `count` rows that one set holds, each multiplied by `factor`."""

    held: Member
    count: int
    factor: float

    @property
    def width(self) -> int:
        """Of all its rows."""
        return self.count * self.held.width

    def sizes(self, piece: Rows) -> Float[Tensor, "*rows count"]:
        """The size of each of its rows."""
        return self.held.size(piece.reshape(*piece.shape[:-1], self.count, -1) / self.factor)


@dataclass(frozen=True, slots=True, eq=False)
class EachRow:
    """Every row held by a set, apart from all others; the size is the largest of theirs."""

    pieces: tuple[Piece, ...]

    @property
    def radius(self) -> float:
        """See Sized."""
        return self.pieces[0].held.radius

    @property
    def width(self) -> int:
        """See Sized."""
        return sum(piece.width for piece in self.pieces)

    def size(self, rows: Rows) -> Sizes:
        """See Sized."""
        sizes = [piece.sizes(own).amax(-1) for piece, own in zip(self.pieces, _split(self.pieces, rows), strict=True)]
        return torch.stack(sizes).amax(0)

    def reach(self) -> Float[Tensor, "width"]:
        """See Member."""
        return torch.cat([piece.held.reach().repeat(piece.count) * piece.factor for piece in self.pieces])

    def fixed(self, rows: Flat, kept: Bool[Tensor, "row width"] | None) -> Fixed:
        """See Member."""
        masks = [None] * len(self.pieces) if kept is None else _split(self.pieces, kept)
        found = []
        for piece, own, mask in zip(self.pieces, _split(self.pieces, rows), masks, strict=True):
            parts = own.reshape(-1, piece.held.width) / piece.factor
            held = piece.held.fixed(parts, None if mask is None else mask.reshape(parts.shape))
            found.append((held, piece.count, piece.held.width, piece.factor))
        return FixedProduct(tuple(found))


@dataclass(frozen=True, slots=True, eq=False)
class AllRows:
    """The Euclidean norm of everything that is written, over all rows together; the sets are Ellipsoids."""

    pieces: tuple[Piece, ...]
    radius: float

    @property
    def width(self) -> int:
        """See Sized."""
        return sum(piece.width for piece in self.pieces)

    def size(self, rows: Rows) -> Sizes:
        """See Sized."""
        pairs = zip(self.pieces, _split(self.pieces, rows), strict=True)
        return torch.cat([piece.sizes(own) * piece.factor for piece, own in pairs], -1).norm(dim=-1)

    def reach(self) -> Float[Tensor, "width"]:
        """See Member."""
        return torch.cat([piece.held.reach().repeat(piece.count) for piece in self.pieces])

    def fixed(self, rows: Flat, kept: Bool[Tensor, "row width"] | None) -> Fixed:
        """See Member."""
        masks = [None] * len(self.pieces) if kept is None else _split(self.pieces, kept)
        blocks = []
        for piece, own, mask in zip(self.pieces, _split(self.pieces, rows), masks, strict=True):
            assert isinstance(piece.held, Ellipsoid)
            parts = own.reshape(-1, piece.held.width)
            basis, stretch = piece.held.axes_of(parts, None if mask is None else mask.reshape(parts.shape))
            shape = (len(rows), piece.count)
            blocks.append((basis.reshape(*shape, *basis.shape[2:]), stretch.reshape(*shape, -1)))
        return Spheroid(tuple(blocks), self.radius * INSIDE)


def _split(pieces: Sequence[Piece], rows: Tensor) -> tuple[Tensor, ...]:
    return rows.split([piece.width for piece in pieces], -1)
