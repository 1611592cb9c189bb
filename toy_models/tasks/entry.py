"""Entry: a task as a manifest or a card tells of it, by its name and its settings, and the task read back from that."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from toy_models.tasks.protocol import Task
from toy_models.tasks.registry import TASKS


def task_settings(task: Task) -> dict[str, Any]:
    """The fields of a task that are not as usual, ready for JSON."""
    known: Any = task  # every task is a dataclass
    usual = {field.name: field.default for field in fields(known)}
    return {name: getattr(task, name) for name, value in usual.items() if getattr(task, name) != value}


def task_of(name: str, settings: Mapping[str, Any]) -> Task:
    """The task of that name with these settings, which may come from JSON. Raises KeyError or TypeError for others."""
    return TASKS[name](**{field: _frozen(value) for field, value in settings.items()})


def _frozen(value: Any) -> Any:
    """JSON knows lists only; a task has tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
