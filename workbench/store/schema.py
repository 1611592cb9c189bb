"""The tables of a store's index, as the steps that lead from one version to the next."""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from workbench.errors import BadCheckpoint

OURS = 0x4C415457  # PRAGMA application_id: "LATW"

# The first n steps make version n. A step that was released is never changed: another is added.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            key TEXT PRIMARY KEY, kind TEXT NOT NULL, settings TEXT NOT NULL, name TEXT NOT NULL,
            status TEXT NOT NULL, reason TEXT NOT NULL, outcome TEXT NOT NULL,
            created REAL NOT NULL, changed REAL NOT NULL)""",
        """CREATE TABLE metrics (
            run TEXT NOT NULL REFERENCES runs (key), step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
            PRIMARY KEY (run, step, name)) WITHOUT ROWID""",
        """CREATE TABLE results (
            run TEXT NOT NULL REFERENCES runs (key), key TEXT NOT NULL, item TEXT NOT NULL, value TEXT NOT NULL,
            PRIMARY KEY (run, key))""",
        """CREATE TABLE files (
            serial INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES runs (key),
            kind TEXT NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL,
            UNIQUE (run, kind, name))""",
    ),
)


def upgrade(index: sqlite3.Connection, path: Path) -> None:
    """Bring the index to the newest version, a new one from nothing; one that exists is copied beforehand.

    Raises BadCheckpoint for a database that is not a store's, and for a store of a later version than this one knows.
    """
    if version_of(index, path) == len(STEPS):
        return
    index.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(index, path)  # another process may have been faster
        if 0 < version < len(STEPS):
            _back_up(path, version)
        for statement in (statement for step in STEPS[version:] for statement in step):
            index.execute(statement)
        index.execute(f"PRAGMA application_id = {OURS}")
        index.execute(f"PRAGMA user_version = {len(STEPS)}")
        index.execute("COMMIT")
    except BaseException:
        if index.in_transaction:
            index.execute("ROLLBACK")
        raise


def version_of(index: sqlite3.Connection, path: Path) -> int:
    """The version found, 0 for an empty database. Changes nothing.

    Raises BadCheckpoint for one that is not a store's or is too new, and where files of runs lie beside an empty one:
    they would be taken for litter.
    """
    objects = path.parent / "objects"
    files = objects.is_dir() and any(objects.iterdir())  # asked first: whoever makes a store makes its tables first
    version, owner = (index.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    if not index.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        if files:
            raise BadCheckpoint(
                f"expected the index of the runs in {objects}, got an empty {path}. Restore {path.name} from a "
                "backup, or move the folder away and begin anew."
            )
        return 0
    if owner != OURS:
        raise BadCheckpoint(f"expected the index of a store in {path}, got another database. Name another folder.")
    if version > len(STEPS):
        raise BadCheckpoint(
            f"expected a store of version {len(STEPS)} or earlier in {path.parent}, got version {version}. It was "
            "written by a later release: `pip install --upgrade lat-workbench`, or name another folder."
        )
    return version


def _back_up(path: Path, version: int) -> None:
    """A whole copy of the index beside it, as it was at that version."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".backup.")
    os.close(handle)
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(temporary)) as copy:
            source.backup(copy)
        Path(temporary).replace(path.with_name(f"{path.stem}-version-{version}{path.suffix}"))
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
