"""Edits: one delta added to the activations at one Site. Values, never mutated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadEdit
from workbench.sites import Site


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """Add `delta` to the activations at `site`.

    delta: float [width], the same at every edited position, or [position, width], one row a position.
    positions: which positions are edited, counted from 0; None means every position, and then a
    two-dimensional delta must have as many rows as the prompts have tokens.
    Raises BadEdit for NaN, infinity, wrong shapes, repeated or negative positions.
    """

    site: Site
    delta: Float[Tensor, "*position width"]
    positions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", Site.parse(self.site))
        object.__setattr__(self, "delta", _finite(self.site, self.delta))
        if self.positions is not None:
            object.__setattr__(self, "positions", _whole(self.positions))
            self._check_positions(self.positions)

    def _check_positions(self, positions: tuple[int, ...]) -> None:
        if not positions or min(positions) < 0 or len(set(positions)) != len(positions):
            raise BadEdit(
                f"expected one or more different positions counted from 0, got {positions}. "
                "Leave positions=None to edit all of them."
            )
        if self.delta.ndim == 2 and len(self.delta) != len(positions):
            raise BadEdit(
                f"expected a delta with one row for each of {len(positions)} positions, got {len(self.delta)} rows."
            )

    @classmethod
    def neuron(cls, site: Site | str, index: int, dose: float, width: int) -> "Edit":
        """Add `dose` (activation units) to one neuron of a Site of that width, at every position."""
        if not 0 <= index < width:
            raise BadEdit(f"expected a neuron in 0..{width - 1} at {Site.parse(site)}, got {index}.")
        delta = torch.zeros(width)
        delta[index] = dose
        return cls(Site.parse(site), delta)

    @property
    def width(self) -> int:
        """Number of activations edited at each position."""
        return self.delta.shape[-1]

    @property
    def neurons(self) -> tuple[int, ...] | None:
        """The activations the Edit touches if they are at most a quarter of the width, else None."""
        touched = self.delta.reshape(-1, self.width).ne(0).any(0).nonzero().flatten().tolist()
        return tuple(touched) if 0 < len(touched) <= self.width // 4 else None

    def scaled(self, factor: float) -> "Edit":
        """The same Edit at another dose."""
        return Edit(self.site, self.delta * factor, self.positions)

    def at(self, length: int) -> Float[Tensor, "pos width"]:
        """The Edit written out: what is added at each of `length` positions."""
        rows = tuple(range(length)) if self.positions is None else self.positions
        if max(rows) >= length:
            raise BadEdit(f"expected positions below {length}, the prompts' length, got {max(rows)}.")
        if self.delta.ndim == 2 and len(self.delta) != len(rows):
            raise BadEdit(
                f"expected a delta with {len(rows)} rows, one a token, got {len(self.delta)}. "
                "Say which positions they are for."
            )
        full = self.delta.new_zeros(length, self.width)
        full[list(rows)] = self.delta
        return full

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Edit):
            return NotImplemented
        same_place = self.site == other.site and self.positions == other.positions
        return same_place and torch.equal(self.delta, other.delta)

    __hash__ = None  # type: ignore[assignment]


def as_edits(edits: Edit | Sequence[Edit]) -> tuple[Edit, ...]:
    """One Edit or several, as a tuple."""
    several = (edits,) if isinstance(edits, Edit) else tuple(edits)
    for edit in several:
        if not isinstance(edit, Edit):
            raise BadEdit(f"expected Edits, got {type(edit).__name__}. Make one with Edit(site, delta).")
    return several


def _whole(positions: Iterable[SupportsIndex]) -> tuple[int, ...]:
    """`positions` as whole numbers, or BadEdit."""
    try:
        return tuple(index(position) for position in positions)
    except TypeError:
        raise BadEdit(f"expected positions as whole numbers, got {positions!r}. Count them from 0.") from None


def _finite(site: Site, delta: object) -> Tensor:
    """`delta` as a float tensor of its own memory, or BadEdit."""
    try:
        tensor = torch.as_tensor(delta).detach().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadEdit(f"expected a float tensor as the delta at {site}: {error}.") from None
    if tensor.ndim not in (1, 2) or tensor.numel() == 0 or tensor.is_complex():
        raise BadEdit(f"expected a delta [width] or [position, width] at {site}, got {tuple(tensor.shape)}.")
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.float32)
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise BadEdit(f"expected finite numbers in the delta at {site}, got {bad} NaN or infinite of {tensor.numel()}.")
    return tensor
