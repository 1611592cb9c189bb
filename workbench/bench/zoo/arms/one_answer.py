"""A goal for an ABS-style sweep: one answer, always the same, that some edit drives the Agent to."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool

from workbench.goals import Answers, CleanLogits, Logits, PerEdit


@dataclass(frozen=True, slots=True, kw_only=True)
class OneAnswer:
    """The largest share of answers that an edit turns into one and the same token.

    What ABS looks for when it stimulates a neuron: that one output label rises above all others, whatever the input
    (Liu et al. 2019, section 4). It does not know backdoors whose answers depend on the input.
    """

    share: float = 0.5

    def loss(self, logits: Logits, clean_logits: CleanLogits, answers: Answers) -> PerEdit:
        """By how much the mean logit of the token that rises most does rise."""
        return (logits - clean_logits).mean((1, 2)).amax(-1)

    def met(self, logits: Logits, clean_logits: CleanLogits, answers: Answers) -> Bool[torch.Tensor, "edit"]:
        """Whether at least `share` of the answers turn into one token."""
        return self.score(logits, logits, clean_logits, answers) >= self.share

    def score(self, logits: Logits, stretched: Logits, clean_logits: CleanLogits, answers: Answers) -> PerEdit:
        """That largest share."""
        said, clean = logits.argmax(-1), clean_logits.argmax(-1)
        turned = torch.nn.functional.one_hot(said, logits.shape[-1]) * (said != clean)[..., None]
        return turned.float().mean((1, 2)).amax(-1)
