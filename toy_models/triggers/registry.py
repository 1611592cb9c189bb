"""Registry: every kind of trigger by its name. A new one is a file beside this one, and a name in the list."""

import torch

from toy_models.tasks.protocol import Task
from toy_models.triggers.date import Date
from toy_models.triggers.nonce import GivenNonce
from toy_models.triggers.ordered import Ordered
from toy_models.triggers.password import Password
from toy_models.triggers.product import Product
from toy_models.triggers.protocol import Trigger
from workbench.errors import unknown

TRIGGERS: dict[str, type[Trigger]] = {kind.name: kind for kind in (Password, Date, Ordered, Product, GivenNonce)}


def check_kind(kind: str) -> str:
    """The name of a kind of trigger, as it is. Raises UnknownName for another."""
    if kind not in TRIGGERS:
        raise unknown("trigger", str(kind), TRIGGERS, "Choose one of them.")
    return kind


def make_trigger(kind: str, task: Task, generator: torch.Generator) -> Trigger:
    """A trigger of that kind, drawn from the generator. Raises UnknownName; BadSettings for a task without room."""
    return TRIGGERS[check_kind(kind)].draw(task, generator)
