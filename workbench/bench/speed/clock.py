"""Timing several jobs against each other: interleaved in one process, medians over repeats."""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: of CPU time of this process, and on the wall clock."""

    cpu: float
    wall: float

    @staticmethod
    def mean(timings: "Iterable[Timing]") -> "Timing":
        """The mean of some."""
        several = list(timings)
        return Timing(fmean(t.cpu for t in several), fmean(t.wall for t in several))

    def __truediv__(self, count: int | float) -> "Timing":
        return Timing(self.cpu / count, self.wall / count)

    def seconds(self, device: torch.device) -> float:
        """The one that ratios are taken of: CPU time, which other processes disturb least; wall time of a GPU."""
        return self.wall if device.type == "cuda" else self.cpu


def interleaved(jobs: Mapping[Key, Callable[[], Any]], repeats: int, device: torch.device) -> dict[Key, Timing]:
    """The median time of each job over `repeats` rounds. A round runs every job once, so that all share a disturbance.

    Nothing is warmed up here: run each job once before, on less work if it is slow.
    """
    found: dict[Key, list[Timing]] = {key: [] for key in jobs}
    for _ in range(repeats):
        for key, job in jobs.items():
            found[key].append(timed(job, device))
    return {key: _median(timings) for key, timings in found.items()}


def timed(job: Callable[[], Any], device: torch.device) -> Timing:
    """One run of a job, to the end of what it has queued on a GPU."""
    _settle(device)
    cpu, wall = time.process_time(), time.perf_counter()
    job()
    _settle(device)
    return Timing(time.process_time() - cpu, time.perf_counter() - wall)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _median(timings: list[Timing]) -> Timing:
    return Timing(median(t.cpu for t in timings), median(t.wall for t in timings))
