"""The store: a folder of runs, found by their settings."""

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from workbench.errors import BadCheckpoint, BadSettings, UnknownName, unknown
from workbench.store.files import digest_of, read_bytes
from workbench.store.given import as_text, check_name
from workbench.store.index import Index
from workbench.store.run import Run
from workbench.store.shelf import Shelf

VARIABLE = "LAT_WORKBENCH_STORE"
_NEW = """INSERT OR IGNORE INTO runs (key, kind, settings, name, status, reason, outcome, created, changed)
    VALUES (?, ?, ?, ?, 'new', '', '{}', ?, ?)"""
_SHORTEST = 4  # letters of a key that may stand for it


class Store:
    """Runs in a folder. See the package's docstring for what lies there, and for what holds whenever a process dies.

    folder: by default what the environment variable LAT_WORKBENCH_STORE says, else a folder among the user's data.
    It must be on a disk of this machine: SQLite's log does not work over a network. Nothing is written before the
    first run is opened. Processes and threads may share a store, and it can be sent to another process.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = (_default() if folder is None else Path(folder).expanduser()).resolve()
        self._index = Index(self.folder / "index.sqlite")

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the index; it is opened again when it is needed."""
        self._index.close()

    def run(self, kind: str, settings: dict[str, Any], name: str = "") -> Run:
        """The run of these settings: a new one, or the one there is, so that a rerun can skip what exists.

        kind: what is done, a name; settings: plain JSON, all that decides what comes out. name: a label for people,
        given or changed. Raises BadSettings where one of these is none.
        """
        check_name(kind, "a kind of run")
        plain = json.loads(as_text(settings, "settings"))
        key = _key(kind, plain)
        if name:
            check_name(name, "a name of a run")
        if not (found := self._index.rows("SELECT name FROM runs WHERE key = ?", key)) or name not in ("", found[0][0]):
            self._label(key, kind, plain, name)
        return self._opened(key, kind, plain)

    def runs(self, kind: str | None = None) -> tuple[Run, ...]:
        """All runs, or those of a kind, the oldest first."""
        rows = self._index.rows("SELECT key, kind, settings FROM runs ORDER BY created, key") if self._exists() else []
        return tuple(self._checked(*row) for row in rows if kind in (None, row[1]))

    def find(self, word: str) -> Run:
        """A run by its name, its key, or how its key begins. Raises UnknownName where none or several answer to it."""
        runs = self.runs()
        found = [run for run in runs if run.name == word]
        if not found and len(word) >= _SHORTEST:
            found = [run for run in runs if run.key.startswith(word)]
        if len(found) == 1:
            return found[0]
        if found:
            keys = ", ".join(run.key[:12] for run in found)
            raise UnknownName(f"{len(found)} runs answer to {word!r}: {keys}. Name one by how its key begins.")
        known = [run.name or run.key[:12] for run in runs]
        raise unknown("run", word, known, f"The store is {self.folder}.")

    def check(self) -> tuple[str, ...]:
        """What is damaged, each in a sentence: reads every file that the index names, and the index itself."""
        if not self._exists():
            return ()
        told = [f"{self._index.path}: {row[0]}." for row in self._index.rows("PRAGMA quick_check") if row[0] != "ok"]
        for key, file, digest in self._index.rows("SELECT run, file, sha256 FROM files ORDER BY serial"):
            try:
                read_bytes(Shelf(key, self._objects / key, self._index).path(file), digest)
            except BadCheckpoint as error:
                told.append(str(error))
        return tuple(told)

    def tidy(self, *, older_than: float = 3600.0) -> tuple[Path, ...]:
        """Remove what a process that died has left in the folders of runs, and say what that was.

        older_than: seconds since a file was written. Files that are being written are in no index yet, so that 0 is
        for a store that nobody uses.
        """
        if not self._exists():
            return ()
        limit = time.time() - older_than
        old = [path for path in self._objects.glob("*/*") if path.is_file() and path.lstat().st_mtime <= limit]
        named = {self._objects / run / file for run, file in self._index.rows("SELECT run, file FROM files")}
        litter = tuple(sorted(set(old) - named))
        for path in litter:
            path.unlink(missing_ok=True)
        return litter

    @property
    def _objects(self) -> Path:
        return self.folder / "objects"

    def _exists(self) -> bool:
        """Whether there is anything: looking at a store that is not there does not make one."""
        return self._index.path.exists() or self._objects.exists()

    def _label(self, key: str, kind: str, settings: dict[str, Any], name: str) -> None:
        now = time.time()
        row = (key, kind, as_text(settings, "settings"), name, now, now)
        with self._index.writing() as index:
            index.execute(_NEW, row)
            if name:
                index.execute("UPDATE runs SET name = ? WHERE key = ?", (name, key))

    def _opened(self, key: str, kind: str, settings: dict[str, Any]) -> Run:
        return Run(key, kind, settings, self._objects / key, self._index)

    def _checked(self, key: str, kind: str, settings: str) -> Run:
        """A run as the index has it. Raises BadCheckpoint where its settings are not those that its key was made of."""
        plain = json.loads(settings)
        if _key(kind, plain) != key:
            raise BadCheckpoint(
                f"the settings of run {key[:12]} in {self._index.path} were altered: restore the index."
            )
        return self._opened(key, kind, plain)


def _key(kind: str, settings: dict[str, Any]) -> str:
    try:
        return digest_of({"kind": kind, "settings": settings})
    except ValueError as error:
        raise BadSettings(f"expected settings without NaN or infinity: {error}.") from None


def _default() -> Path:
    from platformdirs import user_data_dir

    return Path(os.environ.get(VARIABLE) or Path(user_data_dir("lat-workbench")) / "store")
