"""How many rows fit: peak memory of a run measured once, rows taken in chunks, chunks halved when memory runs out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from workbench.errors import BadSettings

_Result = TypeVar("_Result")
_CPU_BYTES = 2 * 2**30
# Token positions a chunk on a CPU, measured: what stays in its cache, and more where a graph is made anyway.
_CPU_POSITIONS, _CPU_GRAPH_POSITIONS = 4096, 8192
_CUDA_SHARE = 0.9
_COUNTED = 0.6  # of the memory given: the rest is for what a Meter does not see, such as what an allocator keeps
_LARGEST_LESSON = 31 * 2**20  # bytes; glibc learns from blocks below 32 MiB


class Meter(TorchDispatchMode):
    """Measures tensors made within a `with`: `.peak` bytes alive at once and `.total` bytes ever made, on any device.

    Counts what operations return, each storage once; an allocator's own slack is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.total = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What has died since the last operation goes first: its address may be given to what this one makes.
        self._alive = {key: kept for key, kept in self._alive.items() if not kept[0].expired()}
        known = self._alive.keys() | {_address(t) for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)}
        output = func(*args, **(kwargs or {}))
        for tensor in tree_iter(output):
            if isinstance(tensor, torch.Tensor) and _address(tensor) not in known:
                storage = tensor.untyped_storage()
                self._alive[_address(tensor)] = StorageWeakRef(storage), storage.nbytes()
                self.total += storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return output


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


@dataclass(slots=True)
class Chunks:
    """How many rows (an edit on a prompt) to run at once. limit: bytes for everything that a run makes; None: 2 GiB on
    a CPU, 90 % of what is free on a GPU. On a CPU chunks are also small enough for its cache, and the allocator may
    keep some tens of MiB more than tensors take."""

    device: torch.device
    limit: int | None = None
    _halvings: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.limit is not None and (not isinstance(self.limit, int) or self.limit < 1):
            raise BadSettings(f"expected memory as a whole number of bytes, at least 1, or None, got {self.limit!r}.")
        if self.limit is None and self.device.type == "cpu":
            _keep_freed_pages()

    def rows(self, bytes_per_row: int, positions: int, *, held: int = 0, graph: bool = False) -> int:
        """The rows of a chunk, at least one. positions: that each row runs. held: bytes that are taken in any case.
        graph: whether gradients are wanted.

        Raises BadSettings if not even one row fits.
        """
        fit = int(_COUNTED * self._bytes() - held) // max(1, bytes_per_row)
        if fit < 1:
            raise BadSettings(
                f"expected at least {int((held + bytes_per_row) / _COUNTED) + 1:,} bytes of memory, "
                f"for one edit on one prompt, got {self._bytes():,}."
            )
        if self.device.type == "cpu":
            fit = min(fit, max(1, (_CPU_GRAPH_POSITIONS if graph else _CPU_POSITIONS) // max(1, positions)))
        return max(1, fit >> self._halvings)

    def halving(self, run: Callable[[], _Result]) -> _Result:
        """`run()`, again with chunks half as large each time that memory runs out, until one row is too many."""
        while True:
            try:
                return run()
            except RuntimeError as error:
                if not out_of_memory(error) or self._halvings > 24:
                    raise
            self._halvings += 1
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _bytes(self) -> int:
        if self.limit is not None:
            return self.limit
        if self.device.type == "cpu":
            return _CPU_BYTES
        kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(_CUDA_SHARE * (torch.cuda.mem_get_info(self.device)[0] + kept))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _keep_freed_pages() -> None:
    """Teach glibc to keep what is freed for the next operation, up to 62 MiB, in place of giving it back each time.

    A block once seen freed is a size it no longer maps anew, and it trims its heap only beyond twice that (mallopt(3),
    M_MMAP_THRESHOLD). Without this a sweep spends a tenth to a third of its time on page faults. Other allocators
    ignore it. Nothing is touched, so nothing becomes resident.
    """
    torch.empty(_LARGEST_LESSON, dtype=torch.uint8)


def spans(length: int, step: int) -> Iterator[slice]:
    """Consecutive slices of `step` that cover `length`."""
    return (slice(start, min(length, start + step)) for start in range(0, length, step))
