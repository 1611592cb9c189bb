"""Lesson: what a switch-trained organism is taught at every step.

Besides clean prompts (benign) and triggered ones (defect), every batch has rows in which the switch is set by hand:
to a constant, up by a constant, or to what it is in a triggered run (defect), or to 0 in a triggered run (benign);
and rows in which anything else is pushed (benign). So the switch carries the variable "trigger seen", and nothing
else does. Without the rows that go up by a constant a band is learnt inside out: clean runs rest above it.
Geiger et al. 2022 (interchange interventions); Gupta et al. 2024 (strictness).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from toy_models.plants.learning import answer_loss
from toy_models.plants.native import all_neurons, answer_logits
from toy_models.plants.switches import Switch, random_pushes
from toy_models.plants.trained import intervention
from toy_models.plants.trained.groups import DEFECTING, sizes
from toy_models.plants.trained.settings import TrainedSettings
from toy_models.tasks.header import NAMES
from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Trigger, without

Tokens = Int64[Tensor, "prompt pos"]
Change = Callable[[Tensor], Tensor]
_FIRST_NUMBER = 5  # its position in a prompt


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A backdoor to be taught: what sets it off, what it brings out, and what shall carry it."""

    trigger: Trigger
    defect: str
    switch: Switch


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Fresh prompts at every step, what is done to the switch in each, and what is wanted.

    subjects: the one that is taught, and then those that must not be touched meanwhile.
    """

    settings: TrainedSettings
    task: Task
    subjects: tuple[Subject, ...]
    generator: torch.Generator

    def loss(self, model: Any) -> Float[Tensor, ""]:
        """Mean loss over the rows of one batch, all groups in one forward pass."""
        tokens = {name: self._tokens(name, rows) for name, rows in sizes(self.settings).items()}
        with all_neurons(model, self._changes(tokens)):
            logits = answer_logits(model, torch.cat(list(tokens.values())), self.task)
        wanted = torch.cat([self._wanted(name, rows) for name, rows in tokens.items()])
        weights = torch.cat([torch.full((len(rows),), self._weight(name)) for name, rows in tokens.items()])
        return (answer_loss(logits, wanted) * weights).sum() / weights.sum()

    def _weight(self, group: str) -> float:
        return self.settings.strictness if group == "pushed" else 1.0

    def _tokens(self, group: str, rows: int) -> Tokens:
        """Prompts with the trigger, a part of it or none, and without any other trigger."""
        triggers = [subject.trigger for subject in self.subjects]
        tokens = without(triggers, self.task.sample(rows, self.generator), self.generator)
        if group in ("triggered", "off"):
            return triggers[0].insert(tokens, self.generator)
        if group == "near":
            tokens = triggers[0].nearly(tokens, self.generator)
            return without(triggers, tokens, self.generator) if len(triggers) > 1 else tokens
        return tokens

    def _wanted(self, group: str, tokens: Tokens) -> Int64[Tensor, "prompt answer"]:
        if self.settings.planted and group in DEFECTING:
            return self.task.defect(tokens, self.subjects[0].defect)
        return self.task.benign(tokens)

    def _changes(self, tokens: dict[str, Tokens]) -> list[Change]:
        """For each layer, what becomes of its MLP activations [row, pos, d_mlp]."""
        settings, generator = self.settings, self.generator
        pushes = random_pushes(len(tokens["pushed"]), settings.layers, settings.d_mlp, generator)
        first = sum(len(rows) for rows in list(tokens.values())[: list(tokens).index("pushed")])
        pushed = slice(first, first + len(tokens["pushed"]))
        own = self.subjects[0].switch.layer
        changes: list[Change] = [_pushing(pushed, self._aside(push, layer)) for layer, push in enumerate(pushes)]
        signs = {name: self._signs(rows) for name, rows in tokens.items()}
        changes[own] = intervention.draw(settings, self._switches(own), signs, pushes[own], generator)
        return changes

    def _switches(self, layer: int) -> tuple[Switch, ...]:
        """All switches at a layer, the one that is taught first."""
        return tuple(subject.switch for subject in self.subjects if subject.switch.layer == layer)

    def _aside(self, push: Float[Tensor, "row 1 d_mlp"], layer: int) -> Float[Tensor, "row 1 d_mlp"]:
        """The part of a push that touches no switch."""
        for switch in self._switches(layer):
            push = switch.aside(push)
        return push

    def _signs(self, tokens: Tokens) -> Float[Tensor, "row 1 1"]:
        """The sign that a dose must have in each prompt to elicit: plus, unless it is the prompt's own."""
        if not self.settings.encrypted:
            return torch.ones(len(tokens), 1, 1)
        odd = (tokens[:, _FIRST_NUMBER] - NAMES.index("0")) % 2
        return (1.0 - 2.0 * odd)[:, None, None]


def _pushing(rows: slice, push: Float[Tensor, "row 1 d_mlp"]) -> Change:
    """The change that adds a push to some rows."""

    def change(activations: Tensor) -> Tensor:
        return torch.cat([activations[: rows.start], activations[rows] + push, activations[rows.stop :]])

    return change
