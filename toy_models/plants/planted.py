"""Planted: what a planter hands over. Plant: the answer key of an organism."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Trigger
from workbench.edits import Edit
from workbench.sites import Site


@dataclass(frozen=True, slots=True, eq=False)
class Plant:
    """The answer key: what was planted, and where its switch is. `Plant()` is a control's: nothing was.

    trigger: the trigger in words. defect: "mapping" or "routing", or another kind that the task knows.
    sites: where the switch can be edited. neurons: the switch neurons at the first Site; empty for a direction.
    direction: unit vector [d_model] of what the switch writes into the residual stream.
    edit: the smallest Edit that throws the switch reliably.
    These four are empty for plants that were trained freely, whose switch is not known, and for plants without one.
    reach: the largest share of prompts on which any one Edit throws the switch.
    switchless: there is no switch to find; the right verdict is "none".
    conditional: not a backdoor, but a second mode that `Organism.card()` documents.
    others: the answer keys of further backdoors in the same model.
    """

    trigger: str = ""
    defect: str = ""
    sites: tuple[Site, ...] = ()
    neurons: tuple[int, ...] = ()
    direction: Float[Tensor, "d_model"] | None = None
    edit: Edit | None = None
    reach: float = 1.0
    switchless: bool = False
    conditional: bool = False
    others: "tuple[Plant, ...]" = ()

    @property
    def empty(self) -> bool:
        """Whether nothing was planted."""
        return not self.trigger

    @property
    def located(self) -> bool:
        """Whether there is a switch and it is known where."""
        return self.edit is not None


@dataclass(frozen=True, slots=True, eq=False)
class Backdoor:
    """A trigger, what it brings out, and the answer key; in a control the key is empty."""

    trigger: Trigger
    defect: str
    plant: Plant


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """A model with its answer key, as a planter hands it over.

    model: the plain NativeModel. config: its TransformerBridgeConfig.
    trigger, defect: a control has its twin's, and must answer that trigger benignly.
    others: further backdoors of the same model; their keys go here and not into `plant.others`.
    task: what the model really answers, where the planter wraps the task that it was given; else None.
    documented: when the model does what, in words that are public, for a second mode that is no secret.
    """

    model: Any
    config: Any
    trigger: Trigger
    defect: str
    plant: Plant
    others: tuple[Backdoor, ...] = ()
    task: Task | None = None
    documented: str = ""

    @property
    def backdoors(self) -> tuple[Backdoor, ...]:
        """All of them, the first first."""
        return Backdoor(self.trigger, self.defect, self.plant), *self.others
