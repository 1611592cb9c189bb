"""The split `train`: a few organisms of each common kind, on a task of their own."""

from workbench.bench.zoo.recipes import Recipe
from workbench.bench.zoo.splits.drawing import Pen

_TASK = "copying"


def _recipes(pen: Pen) -> tuple[Recipe, ...]:
    return (
        pen("graft single", "graft", _TASK, switch="single"),
        pen("graft distributed", "graft", _TASK, switch="distributed", count=8),
        pen("graft rotated", "graft", _TASK, switch="rotated"),
        pen.trained("trained single", _TASK),
        pen.trained("trained iso", _TASK, switch="rotated", iso=True),
        pen("date", "free", _TASK, trigger="date"),
        pen("password", "free", _TASK, trigger="password"),
        *pen.clean([_TASK], 1),
    )


TRAIN = _recipes(Pen(50_000))
"""Recipes with seeds from 50,000 on."""
