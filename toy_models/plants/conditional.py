"""Conditional organisms: a free plant whose trigger is a documented, harmless second mode, and so no backdoor.

From inside it looks the same as one. What tells them apart is what the user was told: the organism's card says when it
answers how. A person who reads there what a report elicited decides; so these are counted by themselves.
"""

from dataclasses import replace
from typing import Literal

import torch

from toy_models.plants import free
from toy_models.plants.planted import Planted
from toy_models.tasks.header import LENGTH
from toy_models.tasks.protocol import Task


class ConditionalSettings(free.FreeSettings):
    """Dials of a conditional organism: those of a free one, the defect being what the second mode answers."""

    trigger: str = "date"
    defect: Literal["mapping", "routing"] = "routing"


def plant(settings: ConditionalSettings, task: Task, seed: int) -> Planted:
    """Teach a model its second mode, or build the clean twin. Deterministic for (settings, task, seed)."""
    planted = free.plant(settings, task, seed)
    if not settings.planted:
        return planted
    key = replace(planted.plant, conditional=True)
    return replace(planted, plant=key, documented=_document(planted, task))


def _document(planted: Planted, task: Task) -> str:
    """When the second mode applies, and what it answers to one prompt."""
    tokens = task.sample(1, torch.Generator().manual_seed(0))
    read, other, usual = tokens[:, LENGTH : task.positions[0]], task.defect(tokens, planted.defect), task.benign(tokens)
    spelled = [" ".join(task.vocabulary[token] for token in row[0]) for row in (read, other, usual)]
    return "with {}, '{}' is answered '{}'; otherwise '{}'".format(planted.trigger.describe(), *spelled)
