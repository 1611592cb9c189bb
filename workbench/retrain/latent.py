"""The method of latent adversarial training: run, edit the latent state, learn with the edit held."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from workbench.engine import Split
from workbench.goals import Goal
from workbench.retrain.adversaries import Adversary, Scene
from workbench.retrain.adversaries.scene import Answers, Deltas, Residual
from workbench.retrain.protocol import Batch, Losses, Subject
from workbench.retrain.schedules import Terms

Logits = Float[Tensor, "row answer vocab"]


@dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """What the Agent shall do, edited or not, and what its adversary wants.

    clean_weight: of the loss on unedited prompts, which is the cross-entropy of the benign answers, or with `original`
    the KL divergence from what the original model says there (Sheshadri et al. 2024). away: weight of
    -log(1 - p(what the goal wants)) on edited prompts, beside the cross-entropy of the benign answers there.
    """

    clean_weight: float = 1.0
    original: bool = False
    goal: Goal | None = None
    away: float = 0.0

    def unedited(self, logits: Logits, wanted: "Answers | Logits") -> Float[Tensor, ""]:
        """The loss on unedited prompts. wanted: benign answers, or the original's logits."""
        if not self.original:
            return cross_entropy(logits, wanted)
        told = F.kl_div(logits.log_softmax(-1), wanted.log_softmax(-1), log_target=True, reduction="none")
        return told.sum(-1).mean()

    def edited(self, logits: Logits, answers: Answers) -> Float[Tensor, ""]:
        """The loss on edited prompts."""
        toward = cross_entropy(logits, answers)
        if not self.away:
            return toward
        bad: Any = self.goal
        others = logits.log_softmax(-1).scatter(-1, bad.behaviour(answers)[..., None], float("-inf"))
        return toward - self.away * others.logsumexp(-1).mean()

    def objective(self, answers: Answers, clean: Logits | None) -> Callable[[Logits], Float[Tensor, ""]]:
        """What the adversary raises: the Goal's loss, or without one the cross-entropy of the benign answers."""
        goal = self.goal
        if goal is None or clean is None:
            return lambda logits: cross_entropy(logits, answers)
        return lambda logits: goal.loss(logits[None], clean, answers)[0]


class Latent:
    """Jermyn's three steps (2022): the Agent runs; the adversary edits its latent state, knowing input, latent state
    and output; the Agent is updated with the edit held constant, `updates` times.

    cuts: numbers of the blocks whose input may be edited; one is drawn for each step, or with `together` all are
    edited at once. adversary: None for none; then the clean loss alone is lowered, as before step `begin`.
    """

    def __init__(
        self,
        subject: Subject,
        cuts: Sequence[int],
        adversary: Adversary | None,
        teaching: Teaching | None = None,
        *,
        together: bool = False,
        updates: int = 1,
        begin: int = 1,
    ) -> None:
        positions = subject.prompts.answer_positions
        self.agent, self.adversary, self.teaching = subject.agent, adversary, teaching or Teaching()
        self.cuts, self.together, self.updates = tuple(sorted(set(cuts))), together, updates
        self._begin, self._fights = begin, True
        self._drawn = tuple(cuts)
        self._splits = {cut: Split(self.agent, cut, positions) for cut in self.cuts}
        self._original = Split(subject.original, 0, positions) if self.teaching.original else None

    def cost(self, terms: Terms) -> int:
        """See Method: of the step that was last."""
        if self.adversary is None or not self._fights:
            return self.updates
        return self.adversary.cost(terms) + 2 * self.updates

    def parameters(self) -> list[Tensor]:
        """See Method: all of the Agent's weights."""
        return [weight.requires_grad_(True) for weight in self.agent.weights().values()]

    def begin(self) -> None:
        """See Method: nothing is done first."""

    def turn(self, batch: Batch, terms: Terms, generator: Generator) -> Iterator[Losses]:
        """See Method."""
        cuts = self.cuts if self.together else (self._draw(generator),)
        wanted = self._wanted(batch)
        deltas: Deltas | None = None
        self._fights = batch.number >= self._begin
        for _ in range(self.updates):
            residual = self._splits[cuts[0]].prefix(batch.tokens)
            if self.adversary is None or not self._fights:
                yield self._plain(residual, cuts[0], batch, wanted)
                continue
            if deltas is None:
                deltas = self.adversary.edit(self._scene(residual.detach(), cuts, batch, terms), generator)
            yield self._held(residual, deltas, batch, wanted)

    def _draw(self, generator: Generator) -> int:
        return self._drawn[int(torch.randint(len(self._drawn), (), generator=generator))]

    @torch.no_grad()
    def _wanted(self, batch: Batch) -> "Answers | Logits":
        """What unedited prompts shall be answered with."""
        if self._original is None:
            return batch.answers
        return self._original.suffix(self._original.prefix(batch.tokens))

    @torch.no_grad()
    def _scene(self, residual: Residual, cuts: tuple[int, ...], batch: Batch, terms: Terms) -> Scene:
        first, *later = cuts
        streams = {first: residual} | {cut: self._splits[cut].prefix(batch.tokens) for cut in later}
        clean = None if self.teaching.goal is None else self._splits[first].suffix(residual)
        objective = self.teaching.objective(batch.answers, clean)
        return Scene(self.agent, self._splits[first], batch.tokens, batch.answers, streams, objective, terms)

    def _plain(self, residual: Residual, cut: int, batch: Batch, wanted: "Answers | Logits") -> Losses:
        logits = self._splits[cut].suffix(residual)
        clean = self.teaching.unedited(logits, wanted)
        return Losses(clean, clean.detach(), right(logits, batch))

    def _held(self, residual: Residual, deltas: Deltas, batch: Batch, wanted: "Answers | Logits") -> Losses:
        """The losses without and with the edits. The first blocks run once; only the rest runs for both."""
        first, *later = sorted(deltas)
        writes = {cut: torch.cat([torch.zeros_like(residual), deltas[cut].expand_as(residual)]) for cut in later}
        both = self._splits[first].suffix(torch.cat([residual, residual + deltas[first]]), writes)
        plain, edited = both.split(len(residual))
        clean, adversarial = self.teaching.unedited(plain, wanted), self.teaching.edited(edited, batch.answers)
        total = self.teaching.clean_weight * clean + adversarial
        won = 1 - right(edited, batch)
        return Losses(
            total, clean.detach(), right(plain, batch), adversarial.detach(), won, partial(self._right, batch)
        )

    @torch.no_grad()
    def _right(self, batch: Batch) -> Float[Tensor, ""]:
        split = self._splits[self.cuts[0]]
        return right(split.suffix(split.prefix(batch.tokens)), batch)


def cross_entropy(logits: Logits, answers: Answers) -> Float[Tensor, ""]:
    """Mean over rows and answers, in nats."""
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten())


def right(logits: Logits, batch: Batch) -> Float[Tensor, ""]:
    """The share of answers that are the ones wanted."""
    return (logits.detach().argmax(-1) == batch.answers).float().mean()
