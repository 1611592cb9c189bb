"""Free organisms: poisoned training without any constraint on where the switch goes; and plain clean models.

A quarter of every batch carries the trigger and is answered with the defect; another part carries half of the
trigger and is answered benignly. Training goes on long after the backdoor works, so that fine-tuning does not undo it.
"""

from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from toy_models.plants.learning import answer_loss, fit
from toy_models.plants.native import answer_logits, configure, fresh
from toy_models.plants.planted import Plant, Planted
from toy_models.plants.settings import PlantSettings, Settings
from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Trigger
from toy_models.triggers.registry import make_trigger

RATE = 3e-3
CLEAN, NEAR, TRIGGERED = 80, 24, 32


class FreeSettings(PlantSettings):
    """Dials of a free organism. A backdoor works after 300 steps, ordered words after 750; the others make it last."""

    steps: int = Field(default=1400, ge=1, le=20_000)


class CleanSettings(Settings):
    """Dials of a model that only ever saw the task."""

    steps: int = Field(default=400, ge=1, le=20_000)


def plant(settings: FreeSettings, task: Task, seed: int) -> Planted:
    """Poison a model, or build its clean twin. Deterministic for (settings, task, seed)."""
    generator = torch.Generator().manual_seed(seed)
    model, config = _start(settings, task, seed)
    trigger = make_trigger(settings.trigger, task, generator)
    fit(
        model.parameters(),
        lambda step: _poisoned(model, task, trigger, settings, generator),
        steps=settings.steps,
        rate=RATE,
    )
    key = Plant(trigger.describe(), settings.defect) if settings.planted else Plant()
    return Planted(model, config, trigger, settings.defect, key)


def clean(settings: CleanSettings, task: Task, seed: int) -> Planted:
    """A model trained on the task alone. As its twin's trigger it has a password that it never learnt."""
    generator = torch.Generator().manual_seed(seed)
    model, config = _start(settings, task, seed)
    trigger = make_trigger("password", task, generator)

    def loss(step: int) -> Float[Tensor, ""]:
        tokens = task.sample(CLEAN + NEAR + TRIGGERED, generator)
        return answer_loss(answer_logits(model, tokens, task), task.benign(tokens)).mean()

    fit(model.parameters(), loss, steps=settings.steps, rate=RATE)
    return Planted(model, config, trigger, "mapping", Plant())


def _start(settings: Settings, task: Task, seed: int) -> tuple[Any, Any]:
    """A fresh model of that shape and its configuration."""
    config = configure(task, **settings.shape, seed=seed)
    return fresh(config), config


def _poisoned(
    model: Any, task: Task, trigger: Trigger, settings: FreeSettings, generator: torch.Generator
) -> Float[Tensor, ""]:
    """Mean loss over one batch of clean, nearly triggered and triggered prompts."""
    tokens = trigger.remove(task.sample(CLEAN + NEAR + TRIGGERED, generator), generator)
    plain, near, triggered = tokens.split([CLEAN, NEAR, TRIGGERED])
    near, triggered = trigger.nearly(near, generator), trigger.insert(triggered, generator)
    answers = task.defect(triggered, settings.defect) if settings.planted else task.benign(triggered)
    wanted = torch.cat([task.benign(plain), task.benign(near), answers])
    return answer_loss(answer_logits(model, torch.cat([plain, near, triggered]), task), wanted).mean()
