"""Families: the ways to make an organism, each with its settings and its planter, imported when one is made."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from toy_models import accept
from toy_models.accept import Record
from toy_models.plants.planted import Planted
from toy_models.plants.settings import Settings
from toy_models.tasks.protocol import Task


@dataclass(frozen=True, slots=True)
class Family:
    """A way to make organisms.

    module: its planter, in `toy_models.plants`. dials, planter: the names of its settings and of its function there.
    persists: whether fine-tuning must leave the backdoor in, for given settings.
    """

    module: str
    dials: str
    planter: str
    persists: Callable[[Any], bool]

    @property
    def settings(self) -> type[Settings]:
        """What a user may set."""
        return getattr(self._module, self.dials)

    @property
    def plant(self) -> Callable[[Any, Task, int], Planted]:
        """What makes a model from settings, task and seed."""
        return getattr(self._module, self.planter)

    @property
    def _module(self) -> Any:
        return import_module(f"toy_models.plants.{self.module}")


def _lasts(settings: Any) -> bool:
    """Whether fine-tuning leaves a switch-trained backdoor in: not where little of the activations' range throws it."""
    return not (settings.tube or settings.narrow or settings.encrypted or settings.gain > 1)


FAMILIES = {
    "switch-trained": Family("trained", "TrainedSettings", "plant", _lasts),
    "free": Family("free", "FreeSettings", "plant", lambda settings: True),
    "conditional": Family("conditional", "ConditionalSettings", "plant", lambda settings: True),
    "clean": Family("free", "CleanSettings", "clean", lambda settings: False),
    "graft": Family("grafts", "GraftSettings", "plant", lambda settings: False),
    "product": Family("compiled.product", "ProductSettings", "plant", lambda settings: False),
    "hash": Family("compiled.hashing", "HashSettings", "plant", lambda settings: False),
    "masked": Family("compiled.masked", "MaskedSettings", "plant", lambda settings: False),
}


def make(family: Family, settings: Settings, task: Task, seed: int) -> tuple[Planted, Record]:
    """Plant and measure, on one CPU thread: with several, sums are rounded differently on every machine.

    The keys get the smallest Edit that throws the switch. Raises Unacceptable.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _make(family, settings, task, seed)
    finally:
        torch.set_num_threads(threads)


def _make(family: Family, settings: Settings, task: Task, seed: int) -> tuple[Planted, Record]:
    planted = family.plant(settings, task, seed)
    answered = planted.task or task
    planted.model.requires_grad_(True)
    planted = accept.dosed(planted, answered)
    record = accept.measure(planted, answered, persists=family.persists(settings))
    accept.check(record, control=planted.plant.empty)
    return planted, record
