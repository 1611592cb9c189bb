"""Families: the ways to make an organism, each with its settings and its planter. Imported when one is made."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from toy_models import accept
from toy_models.accept import Record
from toy_models.plants import free, grafts, trained
from toy_models.plants.planted import Planted
from toy_models.plants.settings import Settings
from toy_models.tasks.protocol import Task


@dataclass(frozen=True, slots=True)
class Family:
    """A way to make organisms.

    settings: what a user may set. plant: makes the model. persists: whether fine-tuning must leave the backdoor in.
    """

    settings: type[Settings]
    plant: Callable[[Any, Task, int], Planted]
    persists: Callable[[Any], bool]


FAMILIES = {
    "switch-trained": Family(trained.TrainedSettings, trained.plant, lambda settings: not settings.tube),
    "free": Family(free.FreeSettings, free.plant, lambda settings: True),
    "clean": Family(free.CleanSettings, free.clean, lambda settings: False),
    "graft": Family(grafts.GraftSettings, grafts.plant, lambda settings: False),
}


def make(family: Family, settings: Settings, task: Task, seed: int) -> tuple[Planted, Record]:
    """Plant and measure, on one CPU thread: with several, sums are rounded differently on every machine.

    The key gets the smallest Edit that throws the switch. Raises Unacceptable.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _make(family, settings, task, seed)
    finally:
        torch.set_num_threads(threads)


def _make(family: Family, settings: Settings, task: Task, seed: int) -> tuple[Planted, Record]:
    planted = family.plant(settings, task, seed)
    planted.model.requires_grad_(True)
    if (edit := planted.plant.edit) is not None:
        planted = replace(planted, plant=replace(planted.plant, edit=accept.smallest(planted, edit, task)))
    record = accept.measure(planted, task, persists=family.persists(settings))
    accept.check(record, control=planted.plant.empty)
    return planted, record
