"""Input adversarial training: behave whatever stands at the positions that no benign answer reads."""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from workbench.engine import Split
from workbench.errors import BadSettings
from workbench.retrain.baselines.substitution import Substitution
from workbench.retrain.latent import cross_entropy, right
from workbench.retrain.protocol import Batch, Losses, Subject
from workbench.retrain.recipes import Settings
from workbench.retrain.schedules import Terms
from workbench.surgeons.unread import unread

_LOOKED_AT = 256  # prompts on which positions are found


class InputAT(Settings):
    """Adversarial training on tokens (Ebrahimi et al. 2018, "HotFlip"; Wallace et al. 2019). A control arm.

    In each prompt up to `tokens` tokens are replaced so that the loss of its benign answers rises: first-order scores
    name `candidates`, the best of which is taken, one token after the other.
    positions: where; None takes those whose tokens change no benign answer (`UnreadInputs` finds them so, too), because
    elsewhere another token makes another answer right. vocabulary: by which tokens; "all", or those that the prompts
    have at these positions ("seen"), where a trigger that is never seen cannot be found.
    Assumes that an answer stays right whatever is put there, also tokens that no prompt has there.
    Raises BadSettings where there is no such position.
    """

    tokens: int = Field(default=2, ge=1, description="replaced in each prompt, at most")
    candidates: int = Field(default=8, ge=1, description="run for each replacement")
    positions: tuple[int, ...] | None = Field(default=None, min_length=1)
    vocabulary: Literal["all", "seen"] = "all"

    def method(self, subject: Subject) -> "Substituted":
        """See Recipe."""
        places = self._places(subject)
        seen = subject.prompts.tokens[:, list(places)].unique()
        tokens = torch.arange(subject.agent.d_vocab) if self.vocabulary == "all" else seen
        adversary = Substitution(positions=places, vocabulary=tokens, tokens=self.tokens, candidates=self.candidates)
        return Substituted(subject, adversary, self.clean_weight)

    def _places(self, subject: Subject) -> tuple[int, ...]:
        length = subject.prompts.length
        if self.positions is None:
            places = unread(subject.original, subject.prompts[:_LOOKED_AT])
        elif min(self.positions) < 0 or max(self.positions) >= length:
            raise BadSettings(f"expected positions in 0..{length - 1}, the prompts' length, got {self.positions}.")
        else:
            places = tuple(sorted(set(self.positions)))
        if not places:
            raise BadSettings(
                f"expected prompts with positions whose tokens change no answer of {subject.original.name}, got none. "
                "Give positions= at which any token leaves the benign answers right."
            )
        return places


class Substituted:
    """The method of input adversarial training."""

    def __init__(self, subject: Subject, adversary: Substitution, clean_weight: float) -> None:
        self.agent, self.adversary, self.clean_weight = subject.agent, adversary, clean_weight
        self._split = Split(self.agent, 0, subject.prompts.answer_positions)

    def cost(self, terms: Terms) -> int:
        """See Method."""
        return self.adversary.cost + 2

    def parameters(self) -> list[Tensor]:
        """See Method: all of the Agent's weights."""
        return [weight.requires_grad_(True) for weight in self.agent.weights().values()]

    def begin(self) -> None:
        """See Method: nothing is done first."""

    def turn(self, batch: Batch, terms: Terms, generator: Generator) -> Iterator[Losses]:
        """See Method."""
        replaced = self.adversary.substituted(self._split, batch)
        both = self._split.suffix(self._split.prefix(torch.cat([batch.tokens, replaced])))
        plain, edited = both.split(len(replaced))
        clean, adversarial = (cross_entropy(logits, batch.answers) for logits in (plain, edited))
        total = self.clean_weight * clean + adversarial
        won = 1 - right(edited, batch)
        yield Losses(total, clean.detach(), right(plain, batch), adversarial.detach(), won)
