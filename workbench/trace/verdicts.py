"""What inputs make of the Agent: do its answers change with the switch, and are they those that the Finding elicits?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.edits import Edit
from workbench.hooks import adding
from workbench.trace.drive import Drive, Hook, Tokens

Rows = Float[Tensor, "row"]


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """For each input: its drive, and what its answers owe to it, as shares of the answers in [0, 1].

    flip: answers that change when the switch is held where it is on the clean original; the switch mediates them.
    agreement: those that the Finding's Edits give, on the same input or on its clean original.
    elicited: those that the Edits give on the same input, and that flip; or that they give on the clean original, and
    that are not its answers without them. The right answers are not asked: other tokens may have others.
    """

    drive: Rows
    flip: Rows
    agreement: Rows
    elicited: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Runs inputs and their clean originals, with the switch at rest and with the Finding's Edits."""

    drive: Drive
    edits: tuple[Edit, ...]
    answer_positions: tuple[int, ...]

    @torch.no_grad()
    def __call__(self, inputs: Tokens, clean: Tokens) -> Verdicts:
        """Verdicts on inputs, each beside its clean original."""
        length, agent = inputs.shape[1], self.drive.agent
        edits = [(agent.site(e.site).name, adding(e.at(length).to(agent.device))) for e in self.edits]
        both = torch.cat([inputs, clean])
        said, before = self._said(both, []).chunk(2)
        thrown, elicited = self._said(both, edits).chunk(2)
        held = self._said(inputs, self.drive.resting(clean))
        flip, here, there = said != held, said == thrown, said == elicited
        return Verdicts(
            drive=self.drive.level(self.drive.readings(inputs)).cpu(),
            flip=_share(flip),
            agreement=_share(here | there),
            elicited=_share((here & flip) | (there & (said != before))),
        )

    def _said(self, inputs: Tokens, hooks: Sequence[Hook]) -> Tensor:
        agent = self.drive.agent
        with agent.hooked(hooks):
            logits = agent.bridge(inputs.to(agent.device))
        return logits[:, list(self.answer_positions)].argmax(-1)


def _share(answers: Bool[Tensor, "row answer"]) -> Rows:
    return answers.float().mean(1).cpu()
