"""Fine-tuning of a model from which something is taken first, and kept out of it after every update."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor

from workbench.agent import Agent
from workbench.retrain.baselines.swapped import Swapped
from workbench.retrain.latent import cross_entropy, right
from workbench.retrain.protocol import Batch, Losses, Subject
from workbench.retrain.schedules import Terms


@runtime_checkable
class Removal(Protocol):
    """Takes something out of the weights of one Agent."""

    def first(self) -> None:
        """Take it out, before the first step."""
        ...

    def again(self) -> None:
        """Take out what an update has put back. Known from the weights and the arguments of a run that is resumed."""
        ...


class Held:
    """The method of all that remove and then fine-tune."""

    def __init__(self, subject: Subject, removal: Removal) -> None:
        self.agent: Agent = subject.agent
        self.removal = removal
        self._model = Swapped(self.agent, subject.prompts.answer_positions)

    def cost(self, terms: Terms) -> int:
        """See Method. What a removal takes before the first step are runs without gradients, and not counted."""
        return 1

    def parameters(self) -> list[Tensor]:
        """See Method: all of the Agent's weights."""
        return [weight.requires_grad_(True) for weight in self.agent.weights().values()]

    def begin(self) -> None:
        """See Method."""
        self.removal.first()

    def turn(self, batch: Batch, terms: Terms, generator: Generator) -> Iterator[Losses]:
        """See Method."""
        logits = self._model(batch.tokens)
        clean = cross_entropy(logits, batch.answers)
        yield Losses(clean, clean.detach(), right(logits, batch))
        self.removal.again()
