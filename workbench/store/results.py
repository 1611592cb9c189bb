"""The results of a sweep: many small values, each under what it is the result of, so that none is computed twice."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from workbench.store.files import sha256
from workbench.store.given import as_text
from workbench.store.index import Index
from workbench.store.status import mark_working


@dataclass(frozen=True, slots=True)
class Results:
    """Values of one run by their items. Both are plain JSON; an item is found again by its content."""

    run: str
    _index: Index = field(repr=False, compare=False)

    def put(self, item: Any, value: Any) -> None:
        """Keep the value of an item; on return it is on the disk. Where there is one already, that one stays."""
        row = (self.run, _key(item), as_text(item, "an item"), as_text(value, "a result"))
        with self._index.writing() as index:
            index.execute("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?)", row)
            mark_working(index, self.run)

    def get(self, item: Any, default: Any = None) -> Any:
        """The value of an item, or `default` where there is none."""
        found = self._index.rows("SELECT value FROM results WHERE run = ? AND key = ?", self.run, _key(item))
        return json.loads(found[0][0]) if found else default

    def each(self, items: Iterable[Any], work: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        """Every item with its value: those kept are read, the others worked out and kept, one after the other."""
        for item in items:
            if item not in self:
                self.put(item, work(item))
            yield item, self.get(item)

    def __contains__(self, item: object) -> bool:
        return bool(self._index.rows("SELECT 1 FROM results WHERE run = ? AND key = ?", self.run, _key(item)))

    def __len__(self) -> int:
        return self._index.rows("SELECT count(*) FROM results WHERE run = ?", self.run)[0][0]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Items and values, in the order in which they came."""
        found = self._index.rows("SELECT item, value FROM results WHERE run = ? ORDER BY rowid", self.run)
        return ((json.loads(item), json.loads(value)) for item, value in found)


def _key(item: Any) -> str:
    return sha256(as_text(item, "an item", sort=True).encode())
