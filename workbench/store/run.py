"""A run: what was worked out under one kind and one set of settings, kept as it comes."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BadCheckpoint, BadSettings, unknown
from workbench.store.given import as_text, check_name
from workbench.store.index import Index
from workbench.store.results import Results
from workbench.store.shelf import Shelf
from workbench.store.status import Status, mark, mark_done, mark_working

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint as it was read. skipped: newer ones that are damaged, each in a sentence."""

    number: int
    tensors: dict[str, Any]
    notes: dict[str, str]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a store. What it holds is read from the disk when it is asked for, so that others may write it, too.

    key: the SHA-256 of kind and settings. Every method raises CannotStore where the disk is full or the index is held
    by another process for long, and BadCheckpoint where a file is not what was written.
    """

    key: str
    kind: str
    settings: dict[str, Any] = field(compare=False)
    folder: Path = field(repr=False)
    _index: Index = field(repr=False, compare=False)

    # --- how far it is ----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its label; empty if it was given none."""
        return self._told("name")

    @property
    def status(self) -> Status:
        """new, running, stopped (cancelled, ready to go on), done or failed."""
        return self._told("status")

    @property
    def done(self) -> bool:
        """Whether it was finished, so that a rerun can skip it."""
        return self.status == "done"

    @property
    def reason(self) -> str:
        """Why it failed or stopped."""
        return self._told("reason")

    @property
    def outcome(self) -> dict[str, Any]:
        """What `finish` was given."""
        return json.loads(self._told("outcome"))

    @property
    def changed(self) -> float:
        """When something was last written, in seconds since 1970."""
        return self._told("changed")

    def finish(self, outcome: Mapping[str, Any] | None = None) -> None:
        """It is done, with these figures."""
        figures = json.loads(as_text(dict(outcome or {}), "an outcome"))
        with self._index.writing() as index:
            mark_done(index, self.key, figures)

    def stop(self, reason: str) -> None:
        """It was cancelled, and can go on."""
        with self._index.writing() as index:
            mark(index, self.key, "stopped", reason)

    def fail(self, reason: str) -> None:
        """It cannot go on as it is, and why."""
        with self._index.writing() as index:
            mark(index, self.key, "failed", reason)

    def _told(self, column: str) -> Any:
        return self._index.rows(f"SELECT {column} FROM runs WHERE key = ?", self.key)[0][0]

    # --- figures ----------------------------------------------------------------------------------------

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of a step, in place of earlier ones of that step. NaN and infinity come back as they are."""
        rows = [(self.key, step, name, _number(name, value)) for name, value in figures.items()]
        with self._index.writing() as index:
            index.execute("DELETE FROM metrics WHERE run = ? AND step = ?", (self.key, step))
            index.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", rows)
            mark_working(index, self.key)

    def frame(self) -> "pandas.DataFrame":
        """The figures: a row a step, a column a name."""
        import pandas

        rows = self._index.rows("SELECT step, name, value FROM metrics WHERE run = ? ORDER BY step, name", self.key)
        steps: dict[int, dict[str, float]] = {}
        for step, name, value in rows:
            steps.setdefault(step, {})[name] = math.nan if value is None else value
        return pandas.DataFrame(list(steps.values()), index=pandas.Index(list(steps), name="step"), dtype=float)

    @property
    def step(self) -> int | None:
        """The last step that was logged."""
        return self._index.rows("SELECT max(step) FROM metrics WHERE run = ?", self.key)[0][0]

    @property
    def results(self) -> Results:
        """The results of a sweep."""
        return Results(self.key, self._index)

    # --- files ------------------------------------------------------------------------------------------

    def checkpoint(
        self, number: int, tensors: Mapping[str, Any], notes: Mapping[str, str] | None = None, *, keep: int = 2
    ) -> None:
        """Keep a checkpoint, and of the earlier ones as many as make up `keep` with it.

        tensors: of torch, or numpy arrays, for which torch is not imported. On return it is on the disk; until then
        the earlier ones stay as they are.
        """
        if keep < 1:
            raise BadSettings(f"expected to keep at least one checkpoint, got keep={keep}. Leave it out for two.")
        self._shelf.add_tensors("checkpoint", str(number), tensors, notes, keep=keep)

    def latest(self, *, as_numpy: bool = False) -> Saved | None:
        """The newest checkpoint that is whole; None if none was written, BadCheckpoint if none of them is whole.

        as_numpy: arrays rather than tensors, without importing torch.
        """
        entries, skipped = self._shelf.entries("checkpoint"), []
        for entry in entries:
            try:
                return Saved(int(entry.name), *self._shelf.read(entry, as_numpy=as_numpy), tuple(skipped))
            except BadCheckpoint as error:
                skipped.append(str(error))
        if entries != self._shelf.entries("checkpoint"):  # another process wrote, and removed what was being read
            return self.latest(as_numpy=as_numpy)
        if skipped:
            raise BadCheckpoint(f"no checkpoint of run {self.key[:12]} is whole. {' '.join(skipped)}")
        return None

    def checkpoints(self) -> tuple[int, ...]:
        """The numbers of those that are kept, the newest first."""
        return tuple(int(entry.name) for entry in self._shelf.entries("checkpoint"))

    def put(self, name: str, content: Any) -> None:
        """Keep tensors or arrays (a mapping), or anything that is plain JSON, under a name, in place of what was there.

        On return it is on the disk; until then what was there stays as it is. Raises BadSettings for other content,
        or where the name is none.
        """
        check_name(name, "a name in a run")
        if isinstance(content, Mapping) and content and all(hasattr(value, "dtype") for value in content.values()):
            self._shelf.add_tensors("item", name, content)
        else:
            self._shelf.add_plain("item", name, content)

    def get(self, name: str, *, as_numpy: bool = False) -> Any:
        """What was put under that name. Raises UnknownName where nothing was."""
        entries = {entry.name: entry for entry in self._shelf.entries("item")}
        if name not in entries:
            raise unknown("item of a run", name, entries, "Run.names() lists them.")
        try:
            return self._shelf.read(entries[name], as_numpy=as_numpy)[0]
        except BadCheckpoint:
            if entries[name] in self._shelf.entries("item"):
                raise
        return self.get(name, as_numpy=as_numpy)  # another process put something else there

    def names(self) -> tuple[str, ...]:
        """All names under which something was put."""
        return tuple(sorted(entry.name for entry in self._shelf.entries("item")))

    @property
    def _shelf(self) -> Shelf:
        return Shelf(self.key, self.folder, self._index)


def _number(name: str, value: Any) -> float:
    """A figure as a float. Raises BadSettings for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadSettings(f"expected a number to log as {name!r}, got {value!r}.") from None
