"""The files of a run: each under a name that is drawn at random, and in the index once it is whole."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from workbench.errors import BadCheckpoint
from workbench.store.files import read_arrays_and_notes, read_json, read_tensors_and_notes, write_bytes, write_tensors
from workbench.store.given import as_text
from workbench.store.index import Index
from workbench.store.status import mark_working

TENSORS, PLAIN = ".safetensors", ".json"
_FORMAT = "lat-workbench item"
_ENTRIES = "SELECT serial, name, file, sha256 FROM files WHERE run = ? AND kind = ? ORDER BY serial DESC"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as the index has it. name: what it was put as; file: what it is called in the folder."""

    serial: int
    name: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a run has in its folder. No file is ever written over, so that what the index names stays whole."""

    run: str
    folder: Path
    index: Index

    def entries(self, kind: str) -> list[Entry]:
        """All of a kind, the newest first."""
        return [Entry(*row) for row in self.index.rows(_ENTRIES, self.run, kind)]

    def add_tensors(self, kind: str, name: str, tensors: Any, notes: Any = None, *, keep: int | None = None) -> None:
        """Put tensors or arrays there in place of what has that name; only the newest `keep` of the kind stay."""
        self._add(kind, name, TENSORS, lambda path: write_tensors(path, tensors, notes), keep)

    def add_plain(self, kind: str, name: str, value: Any) -> None:
        """Put plain JSON there, in place of what has that name. Raises BadSettings for a value that is not plain."""
        text = as_text({"format": _FORMAT, "version": 1, "content": value}, "content")
        self._add(kind, name, PLAIN, lambda path: write_bytes(path, text.encode()), None)

    def read(self, entry: Entry, *, as_numpy: bool) -> tuple[Any, dict[str, str]]:
        """The content and its notes. Raises BadCheckpoint unless the file is what was put there."""
        path = self.path(entry.file)
        if entry.file.endswith(PLAIN):
            return read_json(path, entry.sha256, format=_FORMAT)["content"], {}
        return (read_arrays_and_notes if as_numpy else read_tensors_and_notes)(path, entry.sha256)

    def path(self, file: str) -> Path:
        """Where a file lies. Raises BadCheckpoint where that is outside the store."""
        if self.folder.resolve() != self.folder or Path(file).name != file:
            raise BadCheckpoint(f"expected {file!r} within {self.folder}, got a link or a path that leads elsewhere.")
        return self.folder / file

    def _add(self, kind: str, name: str, ending: str, write: Callable[[Path], str], keep: int | None) -> None:
        """The file first, then its row, then those that it takes the place of: whenever this stops, all rows hold."""
        file = f"{kind}-{secrets.token_hex(8)}{ending}"
        path = self.path(file)
        digest = write(path)
        try:
            with self.index.writing() as index:
                gone = self._out_of_the_way(index, kind, name, keep)
                row = (self.run, kind, name, file, digest)
                index.execute("INSERT INTO files (run, kind, name, file, sha256) VALUES (?, ?, ?, ?, ?)", row)
                mark_working(index, self.run)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        for replaced in gone:
            with suppress(OSError):  # then it is litter
                self.path(replaced).unlink()

    def _out_of_the_way(self, index: Connection, kind: str, name: str, keep: int | None) -> list[str]:
        """Take the rows out that a new one takes the place of; gives their files."""
        entries = [Entry(*row) for row in index.execute(_ENTRIES, (self.run, kind))]
        others = [entry for entry in entries if entry.name != name]
        staying = others if keep is None else others[: keep - 1]
        gone = [entry for entry in entries if entry not in staying]
        index.executemany("DELETE FROM files WHERE serial = ?", [(entry.serial,) for entry in gone])
        return [entry.file for entry in gone]
