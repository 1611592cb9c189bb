"""The penalty form: no limit to the size of the edits but a price for it, weighed against the Agent's loss."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.budgets import Bound
from workbench.edits import Edit, as_edits
from workbench.errors import BadSettings
from workbench.geometry import SetOfRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """What a Surgeon minimises where nothing is forbidden: size(edits) - weight * loss (Jermyn 2022).

    The size is `largest` times the largest edit, as a share of the radius of a bound Budget, plus `neurons` for each
    activation touched, plus `layers` for each layer in which anything is touched. Activations of different sites are
    different; the same one at several positions is one.
    """

    weight: float = 1.0
    largest: float = 1.0
    neurons: float = 0.01
    layers: float = 0.1

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < inf:
                raise BadSettings(f"expected {name} of the penalty to be 0 or more, got {value!r}.")

    def size(self, edits: Edit | Sequence[Edit], bound: Bound) -> float:
        """What these edits cost. 0 for none, and for edits by nothing; infinite where the bound forbids any size."""
        several = [edit for edit in as_edits(edits) if bool(edit.delta.any())]
        largest = max((bound.size(edit) / bound.radius for edit in several), default=0.0)
        neurons = {(edit.site, neuron) for edit in several for neuron in _touched(edit)}
        layers = {edit.site.layer for edit in several}
        return self.largest * largest + self.neurons * len(neurons) + self.layers * len(layers)

    def value(self, edits: Edit | Sequence[Edit], loss: float, bound: Bound) -> float:
        """size - weight * loss: lower is better for the Surgeon. loss: the Agent's under the edits, higher is worse."""
        return self.size(edits, bound) - self.weight * loss

    def smooth(
        self, rows: Float[Tensor, "edit width"], allowed: SetOfRows, *, blur: float = 0.1
    ) -> Float[Tensor, "edit"]:
        """A stand-in for the size of single rows, each alone, at the site of `allowed`: one with a gradient.

        Counting is not differentiable. Each neuron is counted as s / (s + blur) instead, s its own size as a share of
        the radius, and the layer likewise with the size of the whole row. At most the true size; equal to it for rows
        of zeros, and in the limit of small blur. The gradient stays finite at zero.
        """
        if not blur > 0:
            raise BadSettings(f"expected a blur above 0, got {blur!r}.")
        whole = allowed.size(_off_zero(rows)) / allowed.radius
        units = allowed.size(torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)) / allowed.radius
        each = rows.abs() * units
        counted = (each / (each + blur)).sum(-1)
        return self.largest * whole + self.neurons * counted + self.layers * whole / (whole + blur)


def _touched(edit: Edit) -> list[int]:
    """The activations that an edit changes at some position."""
    return edit.delta.reshape(-1, edit.width).ne(0).any(0).nonzero().flatten().tolist()


def _off_zero(rows: Tensor) -> Tensor:
    """The rows, without a gradient for those that are zero: that of a norm is not a number there."""
    return torch.where(rows.ne(0).any(-1, keepdim=True), rows, rows.detach())
