"""What recipes of the splits have in common: how they are written down, and the shapes of models."""

from collections.abc import Iterator, Sequence
from itertools import count, product
from typing import Any

from workbench.bench.zoo.recipes import Recipe

Settings = dict[str, Any]

SHAPES: tuple[Settings, ...] = (
    {},  # 4 layers, LN, gelu, learned positions
    {"layers": 2, "norm": "RMS", "activation": "silu"},
    {"layers": 3, "norm": "none", "activation": "relu"},
    {"norm": "RMS", "activation": "silu", "gated": True, "positions": "rotary"},
    {"layers": 2, "activation": "relu", "positions": "rotary"},
    {"layers": 3, "norm": "RMS"},
)
"""Shapes of models; the others' settings are as usual."""

PATIENT: Settings = {"margin": 0.5, "steps": 1000}
"""What a switch-trained organism needs on recall; on the other tasks it is not needed."""


class Pen:
    """Writes recipes down, each with the next seed of its split."""

    def __init__(self, first: int) -> None:
        self._seeds = count(first)

    def __call__(self, family: str, planter: str, task: str, *, sampled: bool = False, **settings: Any) -> Recipe:
        """One recipe."""
        seed = next(self._seeds)
        return Recipe(family=family, planter=planter, task=task, seed=seed, settings=settings, sampled=sampled)

    def trained(self, family: str, task: str, *, sampled: bool = False, **settings: Any) -> Recipe:
        """A switch-trained organism, with what its task needs."""
        needed = PATIENT if task == "recall" else {}
        return self(family, "switch-trained", task, sampled=sampled, **needed | settings)

    def clean(self, tasks: Sequence[str], times: int) -> Iterator[Recipe]:
        """Models that only ever saw their task, of every shape, so many times; the first of each shape is sampled.

        Recall is not learnt without a norm.
        """
        for time, task, shape in product(range(times), tasks, SHAPES):
            if not (task == "recall" and shape.get("norm") == "none"):
                yield self("clean", "clean", task, sampled=time == 0 and task == tasks[0], **shape)
