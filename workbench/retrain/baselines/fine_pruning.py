"""Fine-Pruning: neurons that clean prompts do not use are pruned, and the rest is fine-tuned."""

import torch
from pydantic import Field

from workbench.retrain.baselines.held import Held
from workbench.retrain.baselines.neurons import Chosen, Neurons
from workbench.retrain.baselines.swapped import Swapped
from workbench.retrain.protocol import Subject
from workbench.retrain.recipes import Settings

_ROUNDS = 20  # in which neurons are pruned, the same number in each
_LOOKED_AT = 512  # prompts on which activity and accuracy are measured


class FinePruning(Settings):
    """Fine-Pruning (Liu, Dolan-Gavitt and Garg 2018, "Defending against backdooring attacks on deep neural networks").

    The MLP neurons that write least on clean prompts are pruned, up to a `share` of all, as long as clean accuracy does
    not fall by more than `drop`; then comes fine-tuning, in which they stay pruned. There the channels of the last
    convolution are ranked by their mean activation; here neurons of all layers, so that an activation is weighed by the
    norm of what it writes. Assumes that a backdoor has neurons that clean prompts leave dormant.
    """

    share: float = Field(default=0.5, gt=0, lt=1, description="of all neurons, pruned at most")
    drop: float = Field(default=0.01, ge=0, lt=1, description="of clean accuracy, at most")

    def method(self, subject: Subject) -> Held:
        """See Recipe."""
        return Held(subject, Dormant(subject, self))


class Dormant:
    """Removes the neurons that are dormant on clean prompts."""

    def __init__(self, subject: Subject, settings: FinePruning) -> None:
        self.settings, self.prompts = settings, subject.prompts[:_LOOKED_AT]
        self._neurons = Neurons(subject.agent)
        self._model = Swapped(subject.agent, subject.prompts.answer_positions)
        self._silent = self._neurons.silent  # all that there will be, if the run is resumed

    def first(self) -> None:
        """See Removal."""
        self._silent = self._silent | self.dormant()
        self.again()

    def again(self) -> None:
        """See Removal."""
        self._neurons.silence(self._silent)

    def dormant(self) -> Chosen:
        """The neurons to prune: the least active ones, as many as accuracy allows."""
        order = self._neurons.activity(self.prompts).argsort()
        most = int(self.settings.share * len(order))
        none = torch.zeros_like(order, dtype=torch.bool)
        least, pruned = self._accuracy(none) - self.settings.drop, none
        for number in range(1, _ROUNDS + 1):
            more = none.scatter(0, order[: most * number // _ROUNDS], True)
            if self._accuracy(more) < least:
                break
            pruned = more
        return pruned

    @torch.no_grad()
    def _accuracy(self, pruned: Chosen) -> float:
        """The share of right answers without these neurons."""
        tokens, answers = self.prompts.tokens.to(pruned.device), self.prompts.answers.to(pruned.device)
        said = self._model(tokens, self._neurons.scaled((~pruned).float())).argmax(-1)
        return float((said == answers).double().mean())
