"""Adversarial neuron pruning: masks on neurons that bear adversarial noise, and no neuron whose mask is low."""

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Generator, Tensor

from workbench.retrain.adversaries.noise import sent
from workbench.retrain.baselines.neurons import Factors, Neurons
from workbench.retrain.baselines.swapped import Swapped
from workbench.retrain.latent import Logits, cross_entropy, right
from workbench.retrain.protocol import Batch, Losses, Subject
from workbench.retrain.recipes import Settings
from workbench.retrain.schedules import Terms


class ANP(Settings):
    """Adversarial neuron pruning (Wu and Wang 2021, "Adversarial neuron pruning purifies backdoored deep models").

    Each MLP neuron has a mask in [0, 1] that multiplies what it writes. Learnt are the masks alone, by
    alpha L(mask) + (1 - alpha) L(mask + noise), where the noise in [-eps, eps] on each was found by `inner_steps` of
    sign ascent from a random start. Neurons whose mask is below `threshold` are pruned: they write nothing. The
    weights are never changed otherwise, and a Step's agent is the model as pruned at that step.

    There the masks are on convolution channels and learnt by SGD; here on MLP neurons, without their biases, by AdamW
    at `lr`. Assumes that the neurons of a backdoor are the ones most sensitive to such noise. `clean_weight` is not
    used: alpha takes its place.
    """

    lr: float = Field(default=5e-2, gt=0, description="learning rate of the masks")
    eps: float = Field(default=0.4, gt=0, description="noise on each mask, at most")
    alpha: float = Field(default=0.2, ge=0, le=1, description="weight of the loss without noise")
    inner_steps: int = Field(default=1, ge=1, description="steps of the adversary")
    threshold: float = Field(default=0.2, gt=0, lt=1, description="masks below it are pruned")

    def method(self, subject: Subject) -> "Masked":
        """See Recipe."""
        return Masked(subject, self)


class Masked:
    """The method of adversarial neuron pruning.

    The Agent's weights are those of the original with the pruned neurons silenced, after every update; the masked model
    runs on the original's.
    """

    def __init__(self, subject: Subject, settings: ANP) -> None:
        self.settings = settings
        self._given, self._pruned = Neurons(subject.original), Neurons(subject.agent)
        self._model = Swapped(subject.agent, subject.prompts.answer_positions)
        self._fixed = {name: weight.detach() for name, weight in subject.agent.weights().items()}
        self.mask = torch.ones(len(self._given), device=subject.agent.device, requires_grad=True)

    def cost(self, terms: Terms) -> int:
        """See Method."""
        return self.settings.inner_steps + 2

    def parameters(self) -> list[Tensor]:
        """See Method: the masks."""
        return [self.mask]

    def begin(self) -> None:
        """See Method: nothing is done first."""

    def turn(self, batch: Batch, terms: Terms, generator: Generator) -> Iterator[Losses]:
        """See Method."""
        noise, alpha = self.noise(batch, terms, generator), self.settings.alpha
        plain, shaken = self._logits(batch, self.mask), self._logits(batch, self.mask + noise)
        clean, adversarial = (cross_entropy(logits, batch.answers) for logits in (plain, shaken))
        total = alpha * clean + (1 - alpha) * adversarial
        yield Losses(total, clean.detach(), right(plain, batch), adversarial.detach(), 1 - right(shaken, batch))
        self._prune()

    def noise(self, batch: Batch, terms: Terms, generator: Generator) -> Factors:
        """What raises the loss when it is added to the masks, each number in [-eps, eps]."""
        eps, steps = terms.share * self.settings.eps, self.settings.inner_steps
        mask = self.mask.detach()
        noise = eps * (2 * sent(torch.rand(len(mask), generator=generator), mask) - 1)
        for _ in range(steps):
            noise.requires_grad_(True)
            loss = cross_entropy(self._logits(batch, mask + noise), batch.answers)
            (slope,) = torch.autograd.grad(loss, noise)
            noise = (noise.detach() + eps / steps * slope.sign()).clamp(-eps, eps)
        return noise

    def _logits(self, batch: Batch, factors: Factors) -> Logits:
        """Of the model whose neurons write so many times what they wrote. The weights themselves get no gradient."""
        return self._model(batch.tokens, self._fixed | self._given.scaled(factors))

    @torch.no_grad()
    def _prune(self) -> None:
        """Bring masks back into [0, 1], and silence the neurons whose mask is low."""
        self.mask.clamp_(0, 1)
        self._pruned.copy(self._given)
        self._pruned.silence(self.mask < self.settings.threshold)
