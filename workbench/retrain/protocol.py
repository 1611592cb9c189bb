"""What a recipe is, and what it makes of a model: a method that turns batches into losses to be lowered."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Generator, Tensor

from workbench.agent import Agent
from workbench.prompts import Prompts
from workbench.report import SwitchReport
from workbench.retrain.schedules import Terms


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a recipe is used on.

    agent: the copy that is trained. original: the Agent as it was given, never changed. prompts: benign ones, to
    measure sizes and statistics on. report: a hunt of the original, if there is one.
    """

    agent: Agent
    original: Agent
    prompts: Prompts
    report: SwitchReport | None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Prompts of one step, on the Agent's device; `number`: of the step, from 1."""

    tokens: Int64[Tensor, "row pos"]
    answers: Int64[Tensor, "row answer"]
    number: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """What one update lowers, and what is told of it.

    total: with its graph. clean: on unedited prompts; adversarial: on meddled ones, None without any; nats, means over
    rows and answers. right: the share of unedited answers that are the ones wanted; won: the share of meddled ones
    that are not. All before the update. kept: `right` of the same batch when it is called, so after the update; None
    where an update is not to be taken back for what it costs.
    """

    total: Float[Tensor, ""]
    clean: Float[Tensor, ""]
    right: Float[Tensor, ""]
    adversarial: Float[Tensor, ""] | None = None
    won: Float[Tensor, ""] | None = None
    kept: Callable[[], Float[Tensor, ""]] | None = None


@runtime_checkable
class Method(Protocol):
    """A recipe at work on one model."""

    def cost(self, terms: Terms) -> int:
        """Gradient evaluations of a step: runs of a batch through the model and back, the adversary's included."""
        ...

    def parameters(self) -> list[Tensor]:
        """What is learnt; leaves that require gradients, always in the same order.

        Weights of the Agent or not: of the others a checkpoint keeps the values beside it.
        """
        ...

    def begin(self) -> None:
        """Whatever is done to the model before the first step; not called when a run is resumed."""
        ...

    def turn(self, batch: Batch, terms: Terms, generator: Generator) -> Iterator[Losses]:
        """The losses of one step: the parameters are updated after each, and the next is of the updated model."""
        ...


@runtime_checkable
class Recipe(Protocol):
    """How to retrain: how long, how fast, and by which method. A frozen value."""

    steps: int
    lr: float
    batch: int
    clip: float
    warmup: int

    def method(self, subject: Subject) -> Method:
        """The method for a model. Raises BadSettings or UnknownSite where it does not suit."""
        ...
