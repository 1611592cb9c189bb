"""Workers: jobs in processes of their own, so that one that dies is a result like any other and the rest go on."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")
_CONTEXT = get_context("spawn")  # a fork of a process in which torch has run can hang


@dataclass(frozen=True, slots=True)
class Died:
    """What became of a job whose process ended before it answered; code: the exit status, minus the signal's number."""

    code: int | None


@dataclass(slots=True)
class _Worker(Generic[J]):
    """One process, the pipe to it, and the job that it has."""

    process: BaseProcess
    pipe: Connection
    job: J

    @classmethod
    def start(cls, do: Callable[[J], Any], job: J) -> "_Worker[J]":
        """A new process, at work on a job."""
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_serve, args=(do, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        ours.send(job)
        return cls(process, ours, job)

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def each(do: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[tuple[J, R | Died]]:
    """`do` of every job, with its job, as they end: in this process for one worker, else in so many others.

    do: a function of a module, which should not raise. Processes are used for one job after the other, each with one
    thread, and are ended when the iteration is.
    """
    if workers == 1:
        yield from ((job, do(job)) for job in jobs)
        return
    waiting = deque(jobs)
    running: list[_Worker[J]] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_Worker.start(do, waiting.popleft()))
            ready = wait([worker.pipe for worker in running])
            for worker in [worker for worker in running if worker.pipe in ready]:
                job, answer = worker.job, _answer(worker)
                if isinstance(answer, Died) or not waiting:
                    running.remove(worker)
                    worker.stop()
                else:
                    worker.job = waiting.popleft()
                    worker.pipe.send(worker.job)
                yield job, answer
    finally:
        for worker in running:
            worker.stop()


def _answer(worker: _Worker[Any]) -> Any:
    try:
        return worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        return Died(worker.process.exitcode)


def _serve(do: Callable[[Any], Any], pipe: Connection) -> None:
    """In the other process: answer jobs until the pipe is closed."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(do(job))
