"""Splits: what is in `train`, `dev` and `test`, as data. No task is in two of them, and no seed.

train: for whatever learns from organisms. dev: thresholds are set on it. test: looked at to report, never to choose.
"""

from workbench.bench.zoo.splits.dev import DEV
from workbench.bench.zoo.splits.held_out import TEST
from workbench.bench.zoo.splits.train import TRAIN

SPLITS = {"train": TRAIN, "dev": DEV, "test": TEST}

__all__ = ["SPLITS"]
