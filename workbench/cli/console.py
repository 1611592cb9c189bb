"""What every command shares: its shape, its result, progress on stderr, and how values become text or JSON."""

import json
import math
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

from tqdm import tqdm
from tyro.conf import arg

from workbench.errors import BadSettings

Json = Annotated[bool, arg(help="Print one JSON object on stdout and nothing else there.", help_behavior_hint="")]


def shown_as(metavar: str, *, name: str | None = None) -> Any:
    """An option's placeholder in `--help`, without a default behind its text: what there is to say, the text says."""
    return arg(name=name, metavar=metavar, help_behavior_hint="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command has to say. data: for machines; text: for people; status: the exit status, 0 or 1."""

    data: Mapping[str, Any]
    text: str
    status: int = 0


@runtime_checkable
class Command(Protocol):
    """Frozen settings, as typed, and what they do."""

    @property
    def json(self) -> bool:
        """Whether the result is printed as JSON."""
        ...

    def run(self) -> Result:
        """Do it; anything printed on the way goes to stderr. Raises WorkbenchError for a user's mistake."""
        ...


def as_json(data: Mapping[str, Any]) -> str:
    """One JSON object; nan and infinity, which JSON lacks, become null."""
    return json.dumps(_plain(data), allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | bool | int) or value is None:
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)


def columns(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as aligned columns under their names: numbers to the right, the rest to the left."""
    if not rows:
        return "(none)"
    names = list(rows[0])
    cells = [[cell(row[name]) for name in names] for row in rows]
    right = [all(isinstance(row[name], int | float) or row[name] is None for row in rows) for name in names]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]

    def line(words: Sequence[str]) -> str:
        parts = zip(words, widths, right, strict=True)
        return "  ".join(w.rjust(n) if r else w.ljust(n) for w, n, r in parts).rstrip()

    return "\n".join([line([name.replace("_", " ") for name in names]), *map(line, cells)])


def facts(pairs: Mapping[str, Any]) -> str:
    """Names and values, one a line."""
    width = max(map(len, pairs), default=0)
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {cell(value)}" for name, value in pairs.items())


def cell(value: Any) -> str:
    """A value as it is shown to people: rates and losses to three digits, yes and no, - for what does not apply.

    A number too small for three digits is shown by its order of magnitude, not as nothing.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.0e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"
    if isinstance(value, list | tuple):
        return " ".join(map(cell, value)) or "-"
    return str(value)


def progress(what: str, total: int | None = None) -> "tqdm[Any]":
    """A bar on stderr, where that is a terminal; use it in a `with`."""
    return tqdm(desc=what, total=total, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """The time that goes by, on stderr, for work that cannot say how far it is."""
    done = threading.Event()
    with tqdm(desc=what, bar_format="{desc}: {elapsed}", file=sys.stderr, disable=None, leave=False) as bar:
        clock = threading.Thread(target=_tick, args=(bar, done), daemon=True)
        clock.start()
        try:
            yield
        finally:
            done.set()
            clock.join()


def _tick(bar: "tqdm[Any]", done: threading.Event) -> None:
    while not done.wait(0.5):
        bar.refresh()


def read_settings(groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    """`key=value` words as a dict; a value is read as JSON where it is some, else as text. Raises BadSettings."""
    found: dict[str, Any] = {}
    for word in (word for group in groups for word in group):
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise BadSettings(f"expected --set key=value, got {word!r}. For example: --set steps=100.")
        if name in found:
            raise BadSettings(f"expected each setting once, got {name!r} twice. Leave one out.")
        found[name] = _read_value(value)
    return found


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def check_target(path: Path | None, *, folder: bool = False) -> None:
    """Raise BadSettings where a file (or a folder) cannot be written to that path, before any compute."""
    if path is None:
        return
    if path.exists() and path.is_dir() != folder:
        raise BadSettings(f"expected a {'folder' if folder else 'file'} to write, but {path} is none. Name another.")
    above = next(p for p in path.absolute().parents if p.exists())
    if not above.is_dir():
        raise BadSettings(f"expected a folder at {above}, to write {path} into; it is a file. Name another path.")
