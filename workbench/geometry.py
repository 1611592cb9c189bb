"""Convex sets of rows: sizes, nearest points and furthest points, in closed form or by one monotone root search.

Each set is {row : size(row) <= radius}. All functions take stacked rows [..., width], compute in float64 and return
the dtype and device they were given.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "*rows width"]
Sizes = Float[Tensor, "*rows"]
_OnAxes = Callable[[Tensor, Tensor, float], Tensor]

_INSIDE = 1.0 - 1e-6  # nearest and furthest points lie this little inside, so that rounding cannot put them out
_RANK = 1e-6  # singular values below this share of the largest count as zero
_NEWTON_STEPS = 60


@runtime_checkable
class SetOfRows(Protocol):
    """A bounded convex set of rows around zero."""

    @property
    def radius(self) -> float:
        """The largest size of a member."""
        ...

    @property
    def width(self) -> int:
        """Number of coordinates."""
        ...

    def size(self, rows: Rows) -> Sizes:
        """The size of each row, in the unit of the radius."""
        ...

    def project(self, rows: Rows) -> Rows:
        """The nearest member to each row, by Euclidean distance."""
        ...

    def extreme(self, rows: Rows) -> Rows:
        """A member that maximises the inner product with each row; zero for a zero row."""
        ...

    def scatter(self, count: int, generator: torch.Generator) -> Float[Tensor, "row width"]:
        """Random rows without a preferred direction in the space that sizes are measured in; of any size.

        Drawn on the CPU, so that a seed means the same everywhere, and returned on the device of the set's constants.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class WeightedL1:
    """{x : sum_i w_i |x_i| <= radius}. Coordinates of weight zero must be zero, so that the set is bounded."""

    weights: Float[Tensor, "width"]
    radius: float

    @property
    def width(self) -> int:
        """See SetOfRows."""
        return len(self.weights)

    def size(self, rows: Rows) -> Sizes:
        """See SetOfRows."""
        return (rows.double().abs() * _on(self.weights, rows)).sum(-1).to(rows.dtype)

    def project(self, rows: Rows) -> Rows:
        """Soft thresholding at the level that meets the radius (Duchi et al. 2008, with weights)."""
        x, w = rows.double(), _on(self.weights, rows)
        x = x * (w > 0)
        ratio, order = (x.abs() / w.clamp_min(1e-300)).sort(-1, descending=True)
        w_sorted, x_sorted = w.expand_as(x).gather(-1, order), x.abs().gather(-1, order)
        level = ((w_sorted * x_sorted).cumsum(-1) - self.radius * _INSIDE) / w_sorted.square().cumsum(-1).clamp_min(
            1e-300
        )
        active = ((ratio > level) & (w_sorted > 0)).sum(-1, keepdim=True).clamp_min(1)
        shrink = level.gather(-1, active - 1).clamp_min(0) * w
        nearest = x.sign() * (x.abs() - shrink).clamp_min(0)
        return _untouched_if_inside(self, rows, nearest)

    def extreme(self, rows: Rows) -> Rows:
        """All of the radius on the coordinate that earns most for its weight."""
        x, w = rows.double(), _on(self.weights, rows)
        gain = torch.where(w > 0, x.abs() / w.clamp_min(1e-300), torch.zeros_like(x))
        best = gain.argmax(-1, keepdim=True)
        amount = self.radius * _INSIDE / w.expand_as(x).gather(-1, best).clamp_min(1e-300) * x.gather(-1, best).sign()
        return torch.zeros_like(x).scatter(-1, best, amount * (gain.gather(-1, best) > 0)).to(rows.dtype)

    def scatter(self, count: int, generator: torch.Generator) -> Float[Tensor, "row width"]:
        """See SetOfRows. Gaussian, divided by the weights."""
        return _gaussian_over(self.weights, count, generator)


@dataclass(frozen=True, slots=True, eq=False)
class WeightedLInf:
    """{x : max_i w_i |x_i| <= radius}. Coordinates of weight zero must be zero, so that the set is bounded."""

    weights: Float[Tensor, "width"]
    radius: float

    def _limits(self, rows: Rows) -> Tensor:
        w = _on(self.weights, rows)
        return torch.where(w > 0, self.radius * _INSIDE / w.clamp_min(1e-300), torch.zeros_like(w))

    @property
    def width(self) -> int:
        """See SetOfRows."""
        return len(self.weights)

    def size(self, rows: Rows) -> Sizes:
        """See SetOfRows."""
        return (rows.double().abs() * _on(self.weights, rows)).amax(-1).to(rows.dtype)

    def project(self, rows: Rows) -> Rows:
        """Each coordinate clipped to its limit."""
        limits = self._limits(rows)
        return _untouched_if_inside(self, rows, rows.double().clamp(-limits, limits))

    def extreme(self, rows: Rows) -> Rows:
        """Every coordinate at its limit, with the sign of the row."""
        return (rows.double().sign() * self._limits(rows)).to(rows.dtype)

    def scatter(self, count: int, generator: torch.Generator) -> Float[Tensor, "row width"]:
        """See SetOfRows. Gaussian, divided by the weights."""
        return _gaussian_over(self.weights, count, generator)


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
        basis, stretch = _axes(matrix.double())
        return cls(matrix.double(), radius, len(stretch), basis, stretch)

    @property
    def width(self) -> int:
        """See SetOfRows."""
        return len(self.matrix)

    def size(self, rows: Rows) -> Sizes:
        """Euclidean norm of what each row writes."""
        return (rows.double() @ _on(self.matrix, rows)).norm(dim=-1).to(rows.dtype)

    def project(self, rows: Rows) -> Rows:
        """The nearest member: shrunk along the axes, by the root of one secular equation a row."""
        return self._by_axes(rows, _nearest_on_axes)

    def extreme(self, rows: Rows) -> Rows:
        """The furthest member in the direction of each row."""
        return self._by_axes(rows, _furthest_on_axes)

    def scatter(self, count: int, generator: torch.Generator) -> Float[Tensor, "row width"]:
        """See SetOfRows. What the rows write is isotropic."""
        noise = torch.randn(count, self.rank, generator=generator, dtype=torch.float64)
        return (noise.to(self.basis.device) / self.stretch @ self.basis.T).float()

    def _by_axes(self, rows: Rows, change: _OnAxes) -> Rows:
        flat = rows.double().reshape(-1, rows.shape[-1])
        out = torch.zeros_like(flat)
        few = (flat != 0).sum(-1) <= min(self.rank, flat.shape[-1] - 1)
        if not few.all():
            out[~few] = self._in_subspace(flat[~few], _on(self.basis, rows), _on(self.stretch, rows), change)
        for index in few.nonzero().flatten().tolist():
            own = flat[index].nonzero().flatten()
            basis, stretch = _axes(_on(self.matrix, rows)[own])
            out[index, own] = self._in_subspace(flat[index : index + 1, own], basis, stretch, change)[0]
        if change is _nearest_on_axes:
            return _untouched_if_inside(self, rows, out.reshape(rows.shape))
        return out.reshape(rows.shape).to(rows.dtype)

    def _in_subspace(self, rows: Tensor, basis: Tensor, stretch: Tensor, change: _OnAxes) -> Tensor:
        return change(rows @ basis, stretch, self.radius * _INSIDE) @ basis.T


def _nearest_on_axes(x: Tensor, stretch: Tensor, radius: float) -> Tensor:
    """argmin |p - x| with |stretch * p| <= radius: p = x / (1 + m stretch^2), the multiplier m by Newton's method."""
    squared = stretch.square()
    multiplier = x.new_zeros(len(x), 1)
    for _ in range(_NEWTON_STEPS):
        shrunk = 1 + multiplier * squared
        written = (squared * x.square() / shrunk.square()).sum(-1, keepdim=True)
        slope = (squared.square() * x.square() / shrunk.pow(3)).sum(-1, keepdim=True)
        step = written * (written.sqrt() / radius - 1) / slope.clamp_min(1e-300)
        multiplier = multiplier + step.clamp_min(0)
    return x / (1 + multiplier * squared)


def _furthest_on_axes(x: Tensor, stretch: Tensor, radius: float) -> Tensor:
    pulled = x / stretch.square()
    length = (pulled * x).sum(-1, keepdim=True).sqrt()
    return radius * pulled / length.clamp_min(1e-300)


def _axes(matrix: Float[Tensor, "width written"]) -> tuple[Float[Tensor, "width rank"], Float[Tensor, "rank"]]:
    """Orthonormal axes of the space of rows that write something, and how far a unit along each is written."""
    left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    kept = values > _RANK * values.amax().clamp_min(1e-300) if len(values) else values > 0
    return left[:, kept], values[kept]


def _untouched_if_inside(members: SetOfRows, rows: Rows, nearest: Rows) -> Rows:
    """`nearest`, except where the row was a member already: there the row itself, bit for bit."""
    moved = (nearest - rows).abs().amax(-1) > 2e-6 * rows.abs().amax(-1)
    outside = members.size(rows).double() > members.radius  # the radius itself need not be a number in the rows' dtype
    return torch.where((moved | outside)[..., None], nearest.to(rows.dtype), rows)


def _gaussian_over(
    weights: Float[Tensor, "width"], count: int, generator: torch.Generator
) -> Float[Tensor, "row width"]:
    noise = torch.randn(count, len(weights), generator=generator).to(weights.device)
    return torch.where(weights > 0, noise / weights.clamp_min(1e-30), torch.zeros_like(noise))


def on_device(members: SetOfRows, device: torch.device) -> SetOfRows:
    """The same set with its constants on that device, so that rows there need no copies at each call."""
    own: Any = members
    moved = {f.name: v.to(device) for f in fields(own) if isinstance(v := getattr(own, f.name), Tensor)}
    return replace(own, **moved)


def rescale(members: SetOfRows, rows: Rows, size: float) -> Rows:
    """Each row made longer or shorter until it has that size; not the nearest point of that size."""
    return rows * (size / members.size(rows).clamp_min(1e-12))[..., None]


def _on(constant: Tensor, rows: Tensor) -> Tensor:
    return constant.to(device=rows.device, dtype=torch.float64)
