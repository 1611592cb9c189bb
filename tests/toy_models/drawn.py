"""Tasks and seeds to draw from in laws."""

import torch
from hypothesis import strategies as st

from toy_models.tasks.modular_addition import ModularAddition
from toy_models.tasks.protocol import Task
from toy_models.tasks.recall import Recall
from toy_models.tasks.registry import TASKS
from toy_models.tasks.reversal import Reversal
from toy_models.tasks.sorting import Sorting

ROWS = 200
OTHERS: tuple[Task, ...] = (
    Reversal(length=2, letters=6),
    Reversal(length=6, letters=11),
    Sorting(length=6, letters=7),
    ModularAddition(sums=1, modulus=5),
    ModularAddition(sums=4, modulus=11),
    Recall(keys=2, asked=2, values=4),
    Recall(keys=6, asked=2, values=7),
)
"""Tasks of other sizes than those that are built."""

tasks = st.sampled_from((*(task() for task in TASKS.values()), *OTHERS))
seeds = st.integers(0, 2**31)


def gen(seed: int) -> torch.Generator:
    """A generator with that seed."""
    return torch.Generator().manual_seed(seed)
