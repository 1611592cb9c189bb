"""The index of a store: one SQLite database, short transactions, errors that say what to do."""

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import BadCheckpoint, CannotStore
from workbench.store.files import make_folder
from workbench.store.schema import upgrade, version_of

_Result = TypeVar("_Result")
PATIENCE = 30.0
"""Seconds to wait while another process writes."""


class Index:
    """A connection that is made when it is first needed, one for each process. Threads of a process share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Index, (self.path,)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all that is written within the `with` is on the disk afterwards, or nothing of it.

        Raises CannotStore where it cannot be, BadCheckpoint where the index is damaged.
        """
        with self._lock, self._explained():
            connection = self._open()
            _patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query, all as of one moment."""
        with self._lock, self._explained():
            connection = self._open()
            return _patiently(lambda: connection.execute(query, values).fetchall())

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        with self._lock:
            if self._connection is not None:
                _close(self._connection, self._process)
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():  # a connection does not survive a fork
            make_folder(self.path.parent)
            made = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            self._connection, self._process = made, os.getpid()
            weakref.finalize(self, _close, made, self._process)
            try:
                _patiently(lambda: _prepare(made, self.path))
            except BaseException:
                self.close()
                raise
        return self._connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise CannotStore(f"expected to use the index {self.path}: {error}. {_cure(error)}") from None
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise BadCheckpoint(
                f"expected the index of a store in {self.path}: {error}. It was truncated or altered, or is another "
                "file: restore it from a backup, or name another folder."
            ) from None


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make sure of what the store relies on. May be done again, which it is where another process does so, too."""
    version_of(connection, path)  # refuses what is not ours before anything is changed in it
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    upgrade(connection, path)


def _patiently(work: Callable[[], _Result]) -> _Result:
    """Do it as soon as no other process is in the way, or raise SQLite's error after PATIENCE seconds.

    SQLite can wait, too, but not everywhere, and in naps that grow, so that one of two busy writers starves.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.0002, 0.002))


def _cure(error: sqlite3.OperationalError) -> str:
    if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"Another process has been writing for {PATIENCE:.0f} s: wait for it, or end it."
    if error.sqlite_errorname.startswith("SQLITE_FULL"):
        return "Nothing that was there is lost: make room, or name a folder on another disk."
    return "Mend its folder's permissions, make room on the disk, or name another folder."


def _close(connection: sqlite3.Connection, process: int) -> None:
    if process == os.getpid():
        connection.close()
