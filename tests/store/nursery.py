"""Processes that write a store, and that may be killed: none of them loads torch. `python -m tests.store.nursery`."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy
import pandas  # noqa: F401  it and the next here, so that every child has them already
import safetensors.numpy  # noqa: F401

from workbench.store import Run, Store


def the_run(folder: str) -> Run:
    """The run that all of them write."""
    return Store(folder).run("nursery", {"seed": 0})


def write(folder: str, who: str, count: str) -> None:
    """`count` writes."""
    run = the_run(folder)
    for number in range(int(count)):
        run.results.put([who, number], number)


def forks(folder: str) -> None:
    """Children write with the run that their parent had opened, and so does it."""
    run = the_run(folder)
    run.results.put("before", 0)
    opened, children = run._index._connection, []
    for who in range(4):
        if (child := os.fork()) == 0:
            for number in range(50):
                run.results.put([who, number], number)
            os._exit(run._index._connection is opened)
        children.append(child)
    run.results.put("beside", 0)
    shared = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps([len(run.results), Store(folder).check(), shared]))


def sweep(folder: str, notes: str) -> None:
    """The squares of 100 numbers; each one computed is a line in the file `notes`."""

    def work(number: int) -> int:
        with Path(notes).open("a") as file:
            file.write(f"{number}\n")
        time.sleep(0.001)
        return number**2

    for _ in the_run(folder).results.each(range(100), work):
        pass


def kills(folder: str, count: str, seed: str) -> None:
    """Kill writers of checkpoints at random moments, and print what was there each time."""
    dice, told = random.Random(int(seed)), []
    for trial in range(int(count)):
        young = trial % 5 == 0  # a store of its own, killed while it is made or soon after
        home = f"{folder}/{trial if young else 'old'}"
        acknowledged = _killed(home, dice.uniform(0, 0.03), at_work=not young)
        began = time.monotonic()
        told.append(_found(home) | {"acknowledged": acknowledged, "seconds": time.monotonic() - began})
    print(json.dumps({"trials": told, "torch": "torch" in sys.modules}))


def _killed(folder: str, delay: float, *, at_work: bool) -> int:
    """Let a child write checkpoints, kill it, and give the last number that it knew to be on the disk.

    at_work: the delay is counted from when the first one is there, not from when the child is.
    """
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        _write_checkpoints(folder, writing)
    os.close(writing)
    said = os.read(reading, 4) if at_work else b""
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return int.from_bytes((said + pipe.read())[-4:], "little")


def _write_checkpoints(folder: str, pipe: int) -> NoReturn:
    """For ever, from where the last one left off; numbers are said when they are on the disk."""
    run = the_run(folder)
    saved = run.latest(as_numpy=True)
    number = 0 if saved is None else saved.number
    while True:
        number += 1
        run.log(number, {"loss": number})
        run.checkpoint(number, {"a": numpy.full(50_000, number), "b": numpy.full((), number)}, {"n": str(number)})
        os.write(pipe, number.to_bytes(4, "little"))


def _found(folder: str) -> dict[str, Any]:
    """What whoever comes next finds, and whether all of it is whole."""
    store, run = Store(folder), the_run(folder)
    saved, damage = run.latest(as_numpy=True), store.check()
    if saved is None:
        return {"number": 0, "whole": True, "damage": damage, "skipped": (), "litter": 0, "files": 0}
    whole = saved.notes == {"n": str(saved.number)} and all((t == saved.number).all() for t in saved.tensors.values())
    litter = len(store.tidy(older_than=0))
    files = len(list(Path(folder).glob("objects/*/*")))
    return {
        "number": saved.number,
        "whole": whole and float(run.frame()["loss"].loc[saved.number]) == saved.number,
        "damage": damage,
        "skipped": saved.skipped,
        "litter": litter,
        "files": files,
    }


if __name__ == "__main__":
    {"write": write, "forks": forks, "sweep": sweep, "kills": kills}[sys.argv[1]](*sys.argv[2:])
