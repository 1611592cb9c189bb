"""What a set of rows is, and what can be done with any of them."""

from dataclasses import fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Rows = Float[Tensor, "*rows width"]
Sizes = Float[Tensor, "*rows"]
Flat = Float[Tensor, "row width"]

INSIDE = 1.0 - 1e-6
"""Nearest and furthest points lie this little inside, so that rounding cannot put them out."""


@runtime_checkable
class Fixed(Protocol):
    """A bounded convex set for certain rows: float64 [row, width], no rounding, no shortcuts.

    What `Member.fixed` gives. Where a set is one of several subspaces, a row's own has been chosen.
    """

    @property
    def dimension(self) -> int:
        """Of the smallest subspace that holds the set; at most the width."""
        ...

    def within(self, rows: Flat) -> Flat:
        """The part of each row that lies in that subspace."""
        ...

    def gauge(self, rows: Flat) -> Float[Tensor, "row"]:
        """The size of rows of that subspace, as a share of the largest one allowed."""
        ...

    def nearest(self, rows: Flat) -> Flat:
        """The nearest member to each row."""
        ...

    def furthest(self, rows: Flat) -> Flat:
        """A member that maximises the inner product with each row."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A set of rows that is told by their sizes."""

    @property
    def radius(self) -> float:
        """The largest size of a member."""
        ...

    @property
    def width(self) -> int:
        """Number of coordinates."""
        ...

    def size(self, rows: Rows) -> Sizes:
        """The size of each row, in the unit of the radius; infinite where no multiple of the row is a member."""
        ...


@runtime_checkable
class SetOfRows(Sized, Protocol):
    """A bounded set of rows around zero; convex, unless it is one of sparse rows."""

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


@runtime_checkable
class Member(Sized, Protocol):
    """A convex set that can be intersected with others."""

    def reach(self) -> Float[Tensor, "width"]:
        """How far each coordinate may go alone; 0 where it may not."""
        ...

    def fixed(self, rows: Flat, kept: Bool[Tensor, "row width"] | None) -> Fixed:
        """The set for these rows, where only coordinates that are `kept` (None: all) may be other than zero.

        The rows themselves are zero elsewhere.
        """
        ...


def untouched_if_inside(members: Sized, rows: Rows, nearest: Rows) -> Rows:
    """`nearest`, except where the row was a member already: there the row itself, bit for bit."""
    moved = (nearest - rows).abs().amax(-1) > 2e-6 * rows.abs().amax(-1)
    outside = members.size(rows).double() > members.radius  # the radius itself need not be a number in the rows' dtype
    return torch.where((moved | outside)[..., None], nearest.to(rows.dtype), rows)


def on_device(members: SetOfRows, device: torch.device) -> SetOfRows:
    """The same set with its constants on that device, so that rows there need no copies at each call."""
    return _moved(members, device)


def _moved(value: Any, device: torch.device) -> Any:
    """Any value with all tensors in it moved: a tensor, a set of rows, a tuple of these, or what has no tensors."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(each, device) for each in value)
    if not hasattr(value, "__dataclass_fields__"):
        return value
    return replace(value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value)})


def rescale(members: SetOfRows, rows: Rows, size: float) -> Rows:
    """Each row made longer or shorter until it has that size; not the nearest point of that size.

    Where no multiple of the row is a member (it touches what may not be touched), its nearest member is rescaled.
    """
    sizes = members.size(rows)
    if getattr(members, "supports", ()):  # nothing else has infinite sizes, and asking a GPU for them takes time
        lost = sizes.isinf()
        rows = torch.where(lost[..., None], members.project(rows), rows)
        sizes = torch.where(lost, members.size(rows), sizes)
    return rows * (size / sizes.clamp_min(1e-12))[..., None]


def on(constant: Tensor, rows: Tensor) -> Tensor:
    """A set's constant in float64, where the rows are."""
    return constant.to(device=rows.device, dtype=torch.float64)
