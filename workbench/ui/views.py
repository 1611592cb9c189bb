"""The widgets of our own: a line of text and a table, each one local ES module that makes text nodes of its data."""

from collections.abc import Sequence
from importlib.resources import files

import anywidget
import ipywidgets as widgets
import pandas as pd
import traitlets

from workbench.figures.theme import words

LONGEST = 400
"""Characters of a cell that are shown; models can have tokens of any length."""


def snug(box: widgets.Box) -> None:
    """Let the descriptions of all controls in a box take no more room than they need."""
    for child in box.children:
        if isinstance(child, widgets.Box):
            snug(child)
        elif "description_width" in child.style.keys:
            child.style.description_width = "initial"


def asset(name: str) -> str:
    """A file of `ui/assets` as text."""
    return (files("workbench.ui") / "assets" / name).read_text(encoding="utf-8")


def visible(text: str) -> str:
    """Text from a model or a user as it can be read: blanks, breaks and what has no shape of its own are made visible.

    Control characters become their pictures, bidirectional and other invisible marks their code points in brackets,
    and what is longer than `LONGEST` is cut.
    """
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}\N{HORIZONTAL ELLIPSIS} ({len(text)} characters)"
    return "".join(_visible(c) for c in cut)


def _visible(character: str) -> str:
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    if number == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    return character if character.isprintable() else f"[U+{number:04X}]"


class Note(anywidget.AnyWidget):
    """A line of text. kind: "heading", "news", "hint" or "error"; an empty text is not shown."""

    _esm = asset("note.js")
    _css = asset("panel.css")
    text = traitlets.Unicode("").tag(sync=True)
    kind = traitlets.Unicode("news").tag(sync=True)


class Table(anywidget.AnyWidget):
    """Rows of text, one of which can be chosen by mouse or keyboard; `chosen` is its number, -1 for none."""

    _esm = asset("table.js")
    _css = asset("panel.css")
    label = traitlets.Unicode("").tag(sync=True)
    columns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    numbers = traitlets.List(traitlets.Bool()).tag(sync=True)
    rows = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)

    def show(self, frame: pd.DataFrame, *, digits: int = 2) -> None:
        """Show a table with its index as the first column; the row chosen stays chosen where there is one."""
        whole = frame.reset_index()
        number = [pd.api.types.is_numeric_dtype(t) and not pd.api.types.is_bool_dtype(t) for t in whole.dtypes]
        rows = [[visible(_said(v, digits)) for v in row] for row in whole.itertuples(index=False, name=None)]
        with self.hold_sync():
            self.columns, self.numbers = [visible(words(c)) for c in whole.columns], number
            self.rows = rows
            self.chosen = min(self.chosen, len(rows) - 1)


def _said(value: object, digits: int) -> str:
    """A cell as text; an en dash where there is nothing."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "\N{EN DASH}"
    if isinstance(value, tuple | list):
        return ", ".join(str(v) for v in value)
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def as_words(tokens: Sequence[str]) -> str:
    """Token names as one line: each visible, blanks inside a token too."""
    return " ".join(visible(token).replace(" ", "\N{MIDDLE DOT}") for token in tokens)
