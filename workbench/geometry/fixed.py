"""Nearest and furthest points of single sets, in closed form or by one monotone root search; all in float64."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.geometry.rows import Fixed, Flat

RANK = 1e-6
"""Singular values below this share of the largest count as zero."""
_NEWTON_STEPS, _SETTLED = 60, 1e-14

Block = tuple[Float[Tensor, "row _part _width _rank"], Float[Tensor, "row _part _rank"]]


@dataclass(frozen=True, slots=True, eq=False)
class FixedL1:
    """{x : sum_i w_i |x_i| <= radius}."""

    weights: Float[Tensor, "width"]
    radius: float

    @property
    def dimension(self) -> int:
        """See Fixed."""
        return len(self.weights)

    def within(self, rows: Flat) -> Flat:
        """See Fixed."""
        return rows

    def gauge(self, rows: Flat) -> Float[Tensor, "row"]:
        """See Fixed."""
        return (rows.abs() * self.weights).sum(-1) / self.radius

    def nearest(self, rows: Flat) -> Flat:
        """See Fixed."""
        return soft_threshold(rows, self.weights, self.radius)

    def furthest(self, rows: Flat) -> Flat:
        """See Fixed."""
        return best_corner(rows, self.weights, self.radius)


@dataclass(frozen=True, slots=True, eq=False)
class FixedBox:
    """{x : |x_i| <= limit_i}."""

    limits: Float[Tensor, "width"]

    @property
    def dimension(self) -> int:
        """See Fixed."""
        return len(self.limits)

    def within(self, rows: Flat) -> Flat:
        """See Fixed."""
        return rows

    def gauge(self, rows: Flat) -> Float[Tensor, "row"]:
        """See Fixed. A coordinate whose limit is 0 is 0 in every member, and is not looked at."""
        return torch.where(self.limits > 0, rows.abs() / self.limits.clamp_min(1e-300), torch.zeros_like(rows)).amax(-1)

    def nearest(self, rows: Flat) -> Flat:
        """See Fixed."""
        return rows.clamp(-self.limits, self.limits)

    def furthest(self, rows: Flat) -> Flat:
        """See Fixed."""
        return rows.sign() * self.limits


@dataclass(frozen=True, slots=True, eq=False)
class Spheroid:
    """{x : |stretch * coordinates of x| <= radius}, within the subspace of its axes.

    A row is made of blocks, a block of parts of equal width, each with orthonormal axes of its own; the norm is over
    all of them together. Axes that are only there to fill up are zero.
    """

    blocks: tuple[Block, ...]
    radius: float

    @property
    def dimension(self) -> int:
        """See Fixed."""
        return sum(stretch[0].numel() for _, stretch in self.blocks)

    @property
    def stretch(self) -> Float[Tensor, "row rank"]:
        """Of all axes of all parts."""
        return torch.cat([stretch.flatten(1) for _, stretch in self.blocks], -1)

    def within(self, rows: Flat) -> Flat:
        """See Fixed."""
        return self._back(self._along(rows))

    def gauge(self, rows: Flat) -> Float[Tensor, "row"]:
        """See Fixed."""
        return (self.stretch * self._along(rows)).norm(dim=-1) / self.radius

    def nearest(self, rows: Flat) -> Flat:
        """See Fixed."""
        return self._back(nearest_on_axes(self._along(rows), self.stretch, self.radius, _SETTLED))

    def furthest(self, rows: Flat) -> Flat:
        """See Fixed."""
        return self._back(furthest_on_axes(self._along(rows), self.stretch, self.radius))

    def _along(self, rows: Flat) -> Float[Tensor, "row rank"]:
        pieces = rows.split([basis.shape[1] * basis.shape[2] for basis, _ in self.blocks], -1)
        along = [
            (piece.reshape(*basis.shape[:2], 1, -1) @ basis).flatten(1)
            for piece, (basis, _) in zip(pieces, self.blocks, strict=True)
        ]
        return torch.cat(along, -1)

    def _back(self, along: Float[Tensor, "row rank"]) -> Flat:
        pieces = along.split([stretch[0].numel() for _, stretch in self.blocks], -1)
        rows = [
            (piece.reshape(*stretch.shape[:2], 1, -1) @ basis.mT).flatten(1)
            for piece, (basis, stretch) in zip(pieces, self.blocks, strict=True)
        ]
        return torch.cat(rows, -1)


@dataclass(frozen=True, slots=True, eq=False)
class FixedProduct:
    """Rows made of pieces, each of so many parts that are held by a set of their own, apart from the others."""

    pieces: tuple[tuple[Fixed, int, int, float], ...]
    """For each: the set of its parts, their number, their width, and the factor they are multiplied by in the row."""

    @property
    def dimension(self) -> int:
        """See Fixed."""
        return sum(count * held.dimension for held, count, _, _ in self.pieces)

    def within(self, rows: Flat) -> Flat:
        """See Fixed."""
        found = [held.within(part) for held, part, _ in self._parts(rows)]
        return torch.cat([each.reshape(len(rows), -1) for each in found], -1)

    def gauge(self, rows: Flat) -> Float[Tensor, "row"]:
        """See Fixed."""
        found = [held.gauge(part / by).reshape(len(rows), -1).amax(-1) for held, part, by in self._parts(rows)]
        return torch.stack(found).amax(0)

    def nearest(self, rows: Flat) -> Flat:
        """See Fixed."""
        found = [by * held.nearest(part / by) for held, part, by in self._parts(rows)]
        return torch.cat([each.reshape(len(rows), -1) for each in found], -1)

    def furthest(self, rows: Flat) -> Flat:
        """See Fixed."""
        found = [by * held.furthest(part) for held, part, by in self._parts(rows)]
        return torch.cat([each.reshape(len(rows), -1) for each in found], -1)

    def _parts(self, rows: Flat) -> list[tuple[Fixed, Float[Tensor, "_part _width"], float]]:
        pieces = rows.split([count * width for _, count, width, _ in self.pieces], -1)
        return [
            (held, piece.reshape(-1, width), by)
            for piece, (held, _, width, by) in zip(pieces, self.pieces, strict=True)
        ]


def soft_threshold(x: Tensor, w: Tensor, radius: float) -> Tensor:
    """The nearest point with sum_i w_i |x_i| <= radius, by the level that meets it (Duchi et al. 2008, with weights).

    Coordinates of weight zero become zero.
    """
    x = x * (w > 0)
    ratio, order = (x.abs() / w.clamp_min(1e-300)).sort(-1, descending=True)
    w_sorted, x_sorted = w.expand_as(x).gather(-1, order), x.abs().gather(-1, order)
    level = ((w_sorted * x_sorted).cumsum(-1) - radius) / w_sorted.square().cumsum(-1).clamp_min(1e-300)
    active = ((ratio > level) & (w_sorted > 0)).sum(-1, keepdim=True).clamp_min(1)
    shrink = level.gather(-1, active - 1).clamp_min(0) * w
    return x.sign() * (x.abs() - shrink).clamp_min(0)


def best_corner(x: Tensor, w: Tensor, radius: float) -> Tensor:
    """All of the radius on the coordinate that earns most for its weight; zero for a row that earns nothing."""
    gain = torch.where(w > 0, x.abs() / w.clamp_min(1e-300), torch.zeros_like(x))
    best = gain.argmax(-1, keepdim=True)
    amount = radius / w.expand_as(x).gather(-1, best).clamp_min(1e-300) * x.gather(-1, best).sign()
    return torch.zeros_like(x).scatter(-1, best, amount * (gain.gather(-1, best) > 0))


def nearest_on_axes(x: Tensor, stretch: Tensor, radius: float, close: float = 0.0) -> Tensor:
    """argmin |p - x| with |stretch * p| <= radius: p = x / (1 + m stretch^2), the multiplier m by Newton's method.

    It ends once no multiplier grows by more than a share `close` of itself.
    """
    squared = stretch.square()
    multiplier = x.new_zeros(len(x), 1)
    for _ in range(_NEWTON_STEPS):
        shrunk = 1 + multiplier * squared
        written = (squared * x.square() / shrunk.square()).sum(-1, keepdim=True)
        slope = (squared.square() * x.square() / shrunk.pow(3)).sum(-1, keepdim=True)
        step = written * (written.sqrt() / radius - 1) / slope.clamp_min(1e-300)
        before, multiplier = multiplier, multiplier + step.clamp_min(0)
        if bool((multiplier - before <= close * multiplier).all()):
            break
    return x / (1 + multiplier * squared)


def furthest_on_axes(x: Tensor, stretch: Tensor, radius: float) -> Tensor:
    """argmax <x, p> with |stretch * p| <= radius."""
    pulled = x / stretch.square()
    length = (pulled * x).sum(-1, keepdim=True).sqrt()
    return radius * pulled / length.clamp_min(1e-300)


def axes(matrix: Float[Tensor, "width written"]) -> tuple[Float[Tensor, "width rank"], Float[Tensor, "rank"]]:
    """Orthonormal axes of the space of rows that write something, and how far a unit along each is written."""
    left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    kept = values > RANK * values.amax().clamp_min(1e-300) if len(values) else values > 0
    return left[:, kept], values[kept]


def axes_within(
    matrix: Float[Tensor, "width written"], own: Bool[Tensor, "row width"]
) -> tuple[Float[Tensor, "row width _rank"], Float[Tensor, "row _rank"]]:
    """For each row the axes of its own coordinates, filled up with zeros to one number of axes.

    Rows with equally many coordinates are decomposed together.
    """
    counts = own.sum(-1)
    rank = min(int(counts.max()), matrix.shape[1])
    basis, stretch = matrix.new_zeros(*own.shape, rank), matrix.new_ones(len(own), rank)
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero().flatten()
        which = own[rows].nonzero()[:, 1].reshape(len(rows), count)
        left, values, _ = torch.linalg.svd(matrix[which], full_matrices=False)
        real = values > RANK * values.amax(-1, keepdim=True).clamp_min(1e-300) if count else values > 0
        left, values = left * real[:, None], torch.where(real, values, torch.ones_like(values))
        basis[rows[:, None], which, : values.shape[-1]] = left
        stretch[rows, : values.shape[-1]] = values
    return basis, stretch
