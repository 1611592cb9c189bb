"""Faults: processes that are killed, disks that are full, others that write too. What was acknowledged is there."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.store.nursery import the_run
from workbench import Store
from workbench.errors import CannotStore
from workbench.store import Run, index

ROOT = Path(__file__).resolve().parents[2]
CALLS = ("mkdir", "open", "write", "fsync", "chmod", "replace")


def started(*words: object) -> "subprocess.Popen[str]":
    """A process of the nursery."""
    command = [sys.executable, "-m", "tests.store.nursery", *map(str, words)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | threads, stdout=subprocess.PIPE, text=True)


def test_killed_while_writing_checkpoints(tmp_path: Path) -> None:
    """50 times: what is there is whole and no older than what was acknowledged, and is found at once."""
    out, _ = started("kills", tmp_path, 50, 0).communicate(timeout=120)
    told = json.loads(out)
    trials = told["trials"]
    assert not told["torch"]
    assert len(trials) == 50
    assert all(trial["whole"] and not trial["damage"] and not trial["skipped"] for trial in trials)
    assert all(trial["acknowledged"] <= trial["number"] <= trial["acknowledged"] + 1 for trial in trials)
    assert all(trial["files"] <= 2 for trial in trials)
    assert max(trial["seconds"] for trial in trials) < 5
    assert sum(trial["litter"] for trial in trials) > 5  # or none was killed in the middle of a file


def test_killed_in_the_middle_of_a_sweep(tmp_path: Path) -> None:
    """After the rerun there are 100 results, and none that had been kept was worked out again."""
    notes = tmp_path / "computed"
    process = started("sweep", tmp_path / "store", notes)
    while not notes.exists() or notes.read_text().count("\n") < 40:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    results = the_run(str(tmp_path / "store")).results
    kept, computed = dict(results), len(notes.read_text().split())
    assert computed - 1 <= len(kept) <= computed < 100
    started("sweep", tmp_path / "store", notes).communicate(timeout=60)
    assert list(results) == [(number, number**2) for number in range(100)]
    again = [int(line) for line in notes.read_text().split()[computed:]]
    assert again == [number for number in range(100) if number not in kept]


def test_two_processes_write_one_store(tmp_path: Path) -> None:
    """1,000 writes each, into a store that both of them make."""
    writers = [started("write", tmp_path / "store", who, 1000) for who in "ab"]
    for writer in writers:
        writer.communicate(timeout=120)
    with Store(tmp_path / "store") as store:
        results = store.run("nursery", {"seed": 0}).results
        assert len(store.runs()) == 1
        assert sorted(results) == sorted(([who, number], number) for who in "ab" for number in range(1000))


def test_children_of_a_process_write_its_store(tmp_path: Path) -> None:
    """A connection that was opened before a fork is not shared."""
    out, _ = started("forks", tmp_path / "store").communicate(timeout=60)
    assert json.loads(out) == [202, [], [0, 0, 0, 0]]


class FullDisk:
    """From its `at`th call to the system on, everything that takes room fails; a write fills half of what it should."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def stand_in(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """For one function of `os`."""

        def call(*args: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls < self.at:
                return real(*args, **more)
            if self.calls == self.at and name == "write" and len(args[1]) > 1:
                return real(args[0], args[1][: len(args[1]) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return call


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Store(tmp_path / "store") as store:
        yield store.run("test", {})


@pytest.mark.parametrize("first", [False, True], ids=["second", "first"])
def test_a_full_disk_at_any_call(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    """A clear error, and the checkpoint before, whichever call it is that finds no room."""
    if not first:
        run.checkpoint(1, {"a": numpy.full(100, 1.0)}, keep=1)
    at, disk = 0, FullDisk(0)
    for at in range(1, 30):
        disk = FullDisk(at)
        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, disk.stand_in(name, getattr(os, name)))
            try:
                run.checkpoint(2, {"a": numpy.full(100, 2.0)}, keep=1)
                break
            except CannotStore as error:
                told = str(error)
        assert "expected room for" in told
        assert "No space left on device. Nothing that was there is lost" in told
        found = run.latest(as_numpy=True)
        assert found is None if first else found is not None and found.number == found.tensors["a"][0] == 1
        assert not list(tmp_path.rglob(".checkpoint*"))
    assert 5 < disk.calls < at
    assert Store(tmp_path / "store").check() == ()
    found = run.latest(as_numpy=True)
    assert found is not None
    assert (found.number, found.skipped) == (2, ())


def test_an_index_that_cannot_grow(run: Run) -> None:
    """SQLite's own limit of pages stands in for the disk."""
    run.log(0, {"loss": 1.0})
    with run._index.writing() as database:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
    kept, told = 0, ""
    try:
        for kept in range(1, 10_000):
            run.log(kept, {"x" * 100: 1.0})
    except CannotStore as error:
        told = str(error)
    assert "index.sqlite: database or disk is full. Nothing that was there is lost" in told
    assert list(run.frame().index) == list(range(kept))
    run._index.close()
    run.log(kept, {"loss": 1.0})


def test_an_index_that_another_process_holds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "PATIENCE", 0.05)
    other = sqlite3.connect(run._index.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CannotStore, match=r"database is locked\. Another process has been writing for"):
        run.log(1, {"loss": 1.0})
    assert run.frame().empty
    other.execute("ROLLBACK")
    other.close()
    run.log(1, {"loss": 1.0})


def test_an_interrupt_while_a_file_is_written_leaves_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.put("x", 1)
    assert run.names() == ()
    assert not list(run.folder.parent.rglob("*.json*"))


def test_a_failure_within_a_transaction_leaves_nothing_of_it(run: Run) -> None:
    with pytest.raises(sqlite3.IntegrityError), run._index.writing() as database:
        database.executemany("INSERT INTO metrics VALUES (?, 1, 'loss', 1.0)", [(run.key,)] * 2)
    assert run.frame().empty


def test_temporary_files_lie_beside_what_they_become(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename from another disk would be a copy."""
    folders, real = [], tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", lambda **given: folders.append(given["dir"]) or real(**given))
    run.put("x", 1)
    assert folders == [run.folder]
