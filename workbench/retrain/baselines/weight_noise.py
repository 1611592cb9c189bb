"""Random weights in place of an adversary: every weight matrix is shaken anew at each step."""

from collections.abc import Iterator

from pydantic import Field
from torch import Generator, Tensor

from workbench.retrain.adversaries.noise import gaussian
from workbench.retrain.baselines.swapped import Swapped
from workbench.retrain.latent import cross_entropy, right
from workbench.retrain.protocol import Batch, Losses, Subject
from workbench.retrain.recipes import Settings
from workbench.retrain.schedules import Terms


class WeightNoise(Settings):
    """Training with noise on the weights (Murray and Edwards 1994; Graves, Mohamed and Hinton 2013). A control arm.

    At each step every weight matrix, embeddings included, gets Gaussian noise whose standard deviation is `rho` times
    the root mean square of that matrix. The loss there is lowered beside the unedited one: its gradient is taken at the
    noised weights, and the update made on those without noise. Vectors (biases, norms) get none. Assumes that the size
    of a matrix is a fair measure of how much noise it bears.
    """

    rho: float = Field(default=0.5, gt=0, description="noise, as a share of each matrix's root mean square")

    def method(self, subject: Subject) -> "Shaken":
        """See Recipe."""
        return Shaken(subject, self.rho, self.clean_weight)


class Shaken:
    """The method of weight noise."""

    def __init__(self, subject: Subject, rho: float, clean_weight: float) -> None:
        self.agent, self.rho, self.clean_weight = subject.agent, rho, clean_weight
        self._model = Swapped(self.agent, subject.prompts.answer_positions)

    def cost(self, terms: Terms) -> int:
        """See Method: without noise, and with it."""
        return 2

    def parameters(self) -> list[Tensor]:
        """See Method: all of the Agent's weights."""
        return [weight.requires_grad_(True) for weight in self.agent.weights().values()]

    def begin(self) -> None:
        """See Method: nothing is done first."""

    def turn(self, batch: Batch, terms: Terms, generator: Generator) -> Iterator[Losses]:
        """See Method."""
        plain = self._model(batch.tokens)
        shaken = self._model(batch.tokens, self.noised(terms, generator))
        clean, adversarial = (cross_entropy(logits, batch.answers) for logits in (plain, shaken))
        total = self.clean_weight * clean + adversarial
        won = 1 - right(shaken, batch)
        yield Losses(total, clean.detach(), right(plain, batch), adversarial.detach(), won)

    def noised(self, terms: Terms, generator: Generator) -> dict[str, Tensor]:
        """Every weight matrix with its noise, by name; a gradient there is one of the weight itself."""
        size = terms.share * self.rho
        matrices = {name: weight for name, weight in self.agent.weights().items() if weight.ndim > 1}
        return {
            name: weight + size * weight.detach().square().mean().sqrt() * gaussian(weight, generator)
            for name, weight in matrices.items()
        }
