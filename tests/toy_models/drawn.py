"""Tasks and seeds to draw from in laws."""

from dataclasses import replace

import torch
from hypothesis import strategies as st

from toy_models.tasks.copying import Copying
from toy_models.tasks.maximum import Maximum
from toy_models.tasks.modular_addition import ModularAddition
from toy_models.tasks.nonce import Nonce
from toy_models.tasks.protocol import Task
from toy_models.tasks.recall import Recall
from toy_models.tasks.registry import TASKS
from toy_models.tasks.reversal import Reversal
from toy_models.tasks.rotation import Rotation
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
    Rotation(length=3, letters=5),
    Rotation(length=5, letters=7),
    Maximum(length=3, letters=6),
    Maximum(length=6, letters=11),
    Copying(length=2, letters=5),
    Nonce(base="modular-addition", digits=5),
)
"""Tasks of other sizes than those that are built."""

tasks = st.sampled_from((*(task() for task in TASKS.values()), *OTHERS))
seeds = st.integers(0, 2**31)
bases = st.sampled_from(["reversal", "modular-addition", "recall"])
"""Tasks, by name, to be given nonces."""


def gen(seed: int) -> torch.Generator:
    """A generator with that seed."""
    return torch.Generator().manual_seed(seed)


def tagged(base: str, seed: int) -> Nonce:
    """A task with three tags, with a hash and a mask by that seed."""
    task = Nonce(base=base, tags=3, salt=seed)
    return replace(task, mask=seed % 2 ** (3 * task.bits))
