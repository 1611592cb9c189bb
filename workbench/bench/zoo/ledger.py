"""Ledger: the rows of a study in a file of JSON lines, each safe on the disk before the next job's."""

import json
import math
import os
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from workbench.errors import BadCheckpoint

R = TypeVar("R")


class Ledger(Generic[R]):
    """Rows of one kind in a file, one a line, in the order in which they came. One process writes.

    kind: the class of the rows, a dataclass with a `format`, words that stand in the file for it. path: None keeps them
    in memory only. A last line without an end, left by an interrupted run, is dropped. Raises BadCheckpoint for a file
    that is not a ledger.
    """

    def __init__(self, path: Path | None, kind: type[R]) -> None:
        self.path = path
        self._kind: Any = kind
        self._head = {"format": self._kind.format, "version": 1}
        self.rows: list[R] = []
        if path is not None:
            self._open(path)

    def append(self, row: Any) -> None:
        """Keep a row; on return it is on the disk."""
        self.rows.append(row)
        if self.path is not None:
            _append(self.path, plain(row))

    def _open(self, path: Path) -> None:
        if not path.exists() or path.stat().st_size == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            _append(path, self._head)
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if not lines or _read(lines[0], 1, path) != self._head:
            raise BadCheckpoint(
                f"expected {self._kind.format!r} version 1 in {path}. It is another file: name a new one."
            )
        self.rows = [_row(self._kind, line, number, path) for number, line in enumerate(lines[1:], 2)]
        if len(whole) < len(content):
            os.truncate(path, len(whole))


def plain(row: Any) -> dict[str, Any]:
    """A row as numbers, strings, lists and dicts, for JSON: what is not a finite number becomes None."""
    return _finite(asdict(row))


def row_of(kind: type[R], values: Any) -> R:
    """A row of that kind from what `plain` gave, also after a trip through JSON; fields of later versions are left out.

    Raises pydantic's ValidationError for anything else.
    """
    return _adapter(kind).validate_python(values)


@cache
def _adapter(kind: Any) -> Any:
    """The TypeAdapter of a kind; made once, since making it takes longer than reading a row."""
    return TypeAdapter(kind)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _append(path: Path, content: dict[str, Any]) -> None:
    with path.open("ab") as file:
        file.write(json.dumps(content, allow_nan=False, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _row(kind: Any, line: bytes, number: int, path: Path) -> Any:
    try:
        return row_of(kind, _read(line, number, path))
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BadCheckpoint(f"expected a row in line {number} of {path}, got {said}. Remove that line.") from None


def _read(line: bytes, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadCheckpoint(f"expected JSON in line {number} of {path}: {error}. Remove that line.") from None
