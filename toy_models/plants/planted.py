"""Planted: what a planter hands over. Plant: the answer key of an organism."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from toy_models.plants.triggers import Trigger
from workbench.edits import Edit
from workbench.sites import Site


@dataclass(frozen=True, slots=True, eq=False)
class Plant:
    """The answer key: what was planted, and where its switch is. `Plant()` is a control's: nothing was.

    trigger: the trigger in words. defect: "mapping" or "routing".
    sites: where the switch can be edited. neurons: the switch neurons at the first Site; empty for a direction.
    direction: unit vector [d_model] of what the switch writes into the residual stream.
    edit: the smallest Edit that throws the switch reliably.
    The last four are empty for plants that were trained freely: their switch is not known.
    """

    trigger: str = ""
    defect: str = ""
    sites: tuple[Site, ...] = ()
    neurons: tuple[int, ...] = ()
    direction: Float[Tensor, "d_model"] | None = None
    edit: Edit | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was planted."""
        return not self.trigger

    @property
    def located(self) -> bool:
        """Whether the switch is known."""
        return self.edit is not None


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """A model with its answer key, as a planter hands it over.

    model: the plain NativeModel. config: its TransformerBridgeConfig.
    trigger, defect: a control has its twin's, and must answer that trigger benignly.
    """

    model: Any
    config: Any
    trigger: Trigger
    defect: str
    plant: Plant
