"""Weighted balls: L1, L-infinity, and the ellipsoid of what is written.

Each set is {row : size(row) <= radius}. All functions take stacked rows [..., width], compute in float64 and return
the dtype and device they were given.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.geometry.fixed import (
    Fixed,
    FixedBox,
    FixedL1,
    Spheroid,
    axes,
    axes_within,
    best_corner,
    furthest_on_axes,
    nearest_on_axes,
    soft_threshold,
)
from workbench.geometry.rows import INSIDE, Flat, Rows, Sizes, on, untouched_if_inside

_OnAxes = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Weighted:
    """A set whose sizes weigh each coordinate. Those of weight zero must be zero, so that the set is bounded."""

    weights: Float[Tensor, "width"]
    radius: float

    @property
    def width(self) -> int:
        """See SetOfRows."""
        return len(self.weights)

    def scatter(self, count: int, generator: torch.Generator) -> Float[Tensor, "row width"]:
        """See SetOfRows. Gaussian, divided by the weights."""
        return _gaussian_over(self.weights, count, generator)

    def reach(self) -> Float[Tensor, "width"]:
        """See Member."""
        return _limits(self.weights.double(), self.radius)


@dataclass(frozen=True, slots=True, eq=False)
class WeightedL1(_Weighted):
    """{x : sum_i w_i |x_i| <= radius}."""

    def size(self, rows: Rows) -> Sizes:
        """See SetOfRows."""
        return (rows.double().abs() * on(self.weights, rows)).sum(-1).to(rows.dtype)

    def project(self, rows: Rows) -> Rows:
        """Soft thresholding at the level that meets the radius."""
        nearest = soft_threshold(rows.double(), on(self.weights, rows), self.radius * INSIDE)
        return untouched_if_inside(self, rows, nearest)

    def extreme(self, rows: Rows) -> Rows:
        """All of the radius on the coordinate that earns most for its weight."""
        return best_corner(rows.double(), on(self.weights, rows), self.radius * INSIDE).to(rows.dtype)

    def fixed(self, rows: Flat, kept: Bool[Tensor, "row width"] | None) -> Fixed:
        """See Member. Zeros stay zero by themselves."""
        return FixedL1(on(self.weights, rows), self.radius * INSIDE)


@dataclass(frozen=True, slots=True, eq=False)
class WeightedLInf(_Weighted):
    """{x : max_i w_i |x_i| <= radius}."""

    def size(self, rows: Rows) -> Sizes:
        """See SetOfRows."""
        return (rows.double().abs() * on(self.weights, rows)).amax(-1).to(rows.dtype)

    def project(self, rows: Rows) -> Rows:
        """Each coordinate clipped to its limit."""
        limits = _limits(on(self.weights, rows), self.radius)
        return untouched_if_inside(self, rows, rows.double().clamp(-limits, limits))

    def extreme(self, rows: Rows) -> Rows:
        """Every coordinate at its limit, with the sign of the row."""
        return (rows.double().sign() * _limits(on(self.weights, rows), self.radius)).to(rows.dtype)

    def fixed(self, rows: Flat, kept: Bool[Tensor, "row width"] | None) -> Fixed:
        """See Member. Zeros stay zero by themselves; where members are kept from going, the limit need not say so."""
        return FixedBox(_limits(on(self.weights, rows), self.radius))


@dataclass(frozen=True, slots=True, eq=False)
class Ellipsoid:
    """{x : |x A| <= radius} for a matrix A [width, written], within a subspace on which it is bounded.

    That subspace is the one spanned by the row's own coordinates if they are few enough for A to tell them apart
    (a sparse row stays sparse), and the column space of A, i.e. the row space of the weight, otherwise.
    """

    matrix: Float[Tensor, "width written"]
    radius: float
    rank: int
    basis: Float[Tensor, "width rank"]
    stretch: Float[Tensor, "rank"]

    @classmethod
    def of(cls, matrix: Float[Tensor, "width written"], radius: float) -> "Ellipsoid":
        """The ellipsoid of that matrix; its axes are found once."""
        basis, stretch = axes(matrix.double())
        return cls(matrix.double(), radius, len(stretch), basis, stretch)

    @property
    def width(self) -> int:
        """See SetOfRows."""
        return len(self.matrix)

    def size(self, rows: Rows) -> Sizes:
        """Euclidean norm of what each row writes."""
        return (rows.double() @ on(self.matrix, rows)).norm(dim=-1).to(rows.dtype)

    def project(self, rows: Rows) -> Rows:
        """The nearest member: shrunk along the axes, by the root of one secular equation a row."""
        return self._by_axes(rows, nearest_on_axes)

    def extreme(self, rows: Rows) -> Rows:
        """The furthest member in the direction of each row."""
        return self._by_axes(rows, furthest_on_axes)

    def scatter(self, count: int, generator: torch.Generator) -> Float[Tensor, "row width"]:
        """See SetOfRows. What the rows write is isotropic."""
        noise = torch.randn(count, self.rank, generator=generator, dtype=torch.float64)
        return (noise.to(self.basis.device) / self.stretch @ self.basis.T).float()

    def reach(self) -> Float[Tensor, "width"]:
        """See Member."""
        return _limits(self.matrix.norm(dim=-1), self.radius)

    def fixed(self, rows: Flat, kept: Bool[Tensor, "row width"] | None) -> Fixed:
        """See Member. The subspace is the row's own; of the coordinates that are kept if these are too many for it."""
        return Spheroid((self.axes_of(rows, kept),), self.radius * INSIDE)

    def axes_of(
        self, rows: Flat, kept: Bool[Tensor, "row width"] | None
    ) -> tuple[Float[Tensor, "row 1 width _rank"], Float[Tensor, "row 1 _rank"]]:
        """The axes of the subspace that each row has."""
        few = self._few(rows)
        if kept is None and not few.any():
            shape = (len(rows), 1, -1)
            return on(self.basis, rows).expand(*shape, -1), on(self.stretch, rows).expand(shape)
        own = torch.where(few[:, None], rows != 0, torch.ones_like(rows, dtype=torch.bool) if kept is None else kept)
        basis, stretch = axes_within(on(self.matrix, rows), own)
        return basis[:, None], stretch[:, None]

    def _few(self, flat: Flat) -> Bool[Tensor, "row"]:
        return (flat != 0).sum(-1) <= min(self.rank, flat.shape[-1] - 1)

    def _by_axes(self, rows: Rows, change: _OnAxes) -> Rows:
        flat = rows.double().reshape(-1, rows.shape[-1])
        out = torch.zeros_like(flat)
        few = self._few(flat)
        if not few.all():
            out[~few] = self._in_subspace(flat[~few], on(self.basis, rows), on(self.stretch, rows), change)
        for index in few.nonzero().flatten().tolist():
            own = flat[index].nonzero().flatten()
            basis, stretch = axes(on(self.matrix, rows)[own])
            out[index, own] = self._in_subspace(flat[index : index + 1, own], basis, stretch, change)[0]
        if change is nearest_on_axes:
            return untouched_if_inside(self, rows, out.reshape(rows.shape))
        return out.reshape(rows.shape).to(rows.dtype)

    def _in_subspace(self, rows: Tensor, basis: Tensor, stretch: Tensor, change: _OnAxes) -> Tensor:
        return change(rows @ basis, stretch, self.radius * INSIDE) @ basis.T


def _limits(weights: Tensor, radius: float) -> Tensor:
    """How far each coordinate may go alone: nowhere where the weight is zero."""
    return torch.where(weights > 0, radius * INSIDE / weights.clamp_min(1e-300), torch.zeros_like(weights))


def _gaussian_over(
    weights: Float[Tensor, "width"], count: int, generator: torch.Generator
) -> Float[Tensor, "row width"]:
    noise = torch.randn(count, len(weights), generator=generator).to(weights.device)
    return torch.where(weights > 0, noise / weights.clamp_min(1e-30), torch.zeros_like(noise))
