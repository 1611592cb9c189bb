"""Which coordinates of a row may be other than zero: these, or any few of them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from workbench.geometry.rows import Flat


@runtime_checkable
class Support(Protocol):
    """A constraint on where a row may be other than zero; it says nothing of sizes."""

    @property
    def chooses(self) -> bool:
        """Whether more than one largest support is allowed, so that the set is not convex."""
        ...

    def best(self, gains: Flat) -> Bool[Tensor, "row width"]:
        """For each row an allowed support with the largest sum of these gains, none of them negative."""
        ...

    def holds(self, rows: Flat) -> Bool[Tensor, "row"]:
        """Whether each row is zero where it has to be."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Only:
    """These coordinates and no other."""

    allowed: Bool[Tensor, "width"]

    @property
    def chooses(self) -> bool:
        """See Support."""
        return False

    def best(self, gains: Flat) -> Bool[Tensor, "row width"]:
        """See Support."""
        return self.allowed.to(gains.device).expand(gains.shape)

    def holds(self, rows: Flat) -> Bool[Tensor, "row"]:
        """See Support."""
        return ~((rows != 0) & ~self.allowed.to(rows.device)).any(-1)


@dataclass(frozen=True, slots=True, eq=False)
class AtMost:
    """So many neurons of each pool; all coordinates of one neuron are allowed together.

    neuron: the neuron each coordinate belongs to. pool: the pool of each neuron. most: how many of each pool.
    """

    neuron: Int64[Tensor, "width"]
    pool: Int64[Tensor, "neuron"]
    most: tuple[int, ...]

    @classmethod
    def of_row(cls, width: int, most: int) -> "AtMost":
        """At most so many coordinates of a single row."""
        return cls(torch.arange(width), torch.zeros(width, dtype=torch.int64), (most,))

    @property
    def chooses(self) -> bool:
        """See Support."""
        return True

    def best(self, gains: Flat) -> Bool[Tensor, "row width"]:
        """See Support: the neurons that gain most, and none that gains nothing."""
        each = self._over_neurons(gains)
        chosen = torch.zeros_like(each, dtype=torch.bool)
        for number, most in enumerate(self.most):
            own = (self.pool == number).nonzero().flatten().to(gains.device)
            top = own[each[:, own].topk(min(most, len(own)), dim=-1).indices]
            chosen.scatter_(1, top, torch.ones_like(top, dtype=torch.bool))
        return (chosen & (each > 0))[:, self.neuron.to(gains.device)]

    def holds(self, rows: Flat) -> Bool[Tensor, "row"]:
        """See Support."""
        touched = (self._over_neurons((rows != 0).double()) > 0).double()
        pools = touched.new_zeros(len(rows), len(self.most))
        pools.index_add_(1, self.pool.to(rows.device), touched)
        return (pools <= pools.new_tensor(self.most)).all(-1)

    def swaps(self, kept: Bool[Tensor, "width"]) -> Bool[Tensor, "swap width"]:
        """All supports with one neuron in another's place, or one more where there is room."""
        inside = self._over_neurons(kept[None].double())[0] > 0
        found = []
        for number, most in enumerate(self.most):
            own = self.pool.to(kept.device) == number
            into = (own & ~inside).nonzero().flatten()
            room = int((own & inside).sum()) < most
            for out in [None] if room else (own & inside).nonzero().flatten():
                changed = inside.repeat(len(into), 1)
                changed[torch.arange(len(into)), into] = True
                if out is not None:
                    changed[:, out] = False
                found.append(changed)
        return torch.cat(found)[:, self.neuron.to(kept.device)]

    def _over_neurons(self, values: Flat) -> Float[Tensor, "row neuron"]:
        total = values.new_zeros(len(values), len(self.pool))
        return total.index_add_(1, self.neuron.to(values.device), values)
