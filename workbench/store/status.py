"""How far a run is, as the index has it."""

import json
import sqlite3
import time
from typing import Any, Literal

Status = Literal["new", "running", "stopped", "done", "failed"]
"""stopped: cancelled, and ready to go on. A process that was killed leaves its run `running`."""

_WORKING = "UPDATE runs SET status = 'running', reason = '', changed = ? WHERE key = ? AND status != 'done'"
_MARK = "UPDATE runs SET status = ?, reason = ?, changed = ? WHERE key = ?"


def mark(index: sqlite3.Connection, run: str, status: Status, reason: str = "") -> None:
    """Set the status of a run, and why."""
    index.execute(_MARK, (status, reason, time.time(), run))


def mark_working(index: sqlite3.Connection, run: str) -> None:
    """Something was written by whoever works on a run: it is running, unless it was done already."""
    index.execute(_WORKING, (time.time(), run))


def mark_done(index: sqlite3.Connection, run: str, outcome: dict[str, Any]) -> None:
    """The run is done, with its figures."""
    mark(index, run, "done")
    index.execute("UPDATE runs SET outcome = ? WHERE key = ?", (json.dumps(outcome), run))
