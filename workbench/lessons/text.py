"""Text: a lesson as one Markdown file, and the student's and the solved notebook that are made of it.

Fenced blocks become code cells. ```python is for both notebooks, ```python student and ```python solution for one of
them. All other text becomes Markdown cells. Hints are <details> elements, which notebooks show folded.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.errors import BadSettings

if TYPE_CHECKING:
    from nbformat import NotebookNode

Version = Literal["student", "solution"]
_BLOCK = re.compile(r"^```python(?: +(\w+))?\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a lesson. kind: "text", or "code" with the version that it is for ("" for both)."""

    kind: Literal["text", "code"]
    content: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson's parts in order."""

    name: str
    parts: tuple[Part, ...]

    @classmethod
    def read(cls, path: Path) -> "Lesson":
        """The lesson in a file. Raises BadSettings for a block of another version, or exercises without a solution."""
        lesson = cls(path.stem, tuple(_parts(path.read_text(encoding="utf-8"))))
        versions = [part.version for part in lesson.parts if part.version]
        if unknown := set(versions) - {"student", "solution"}:
            raise BadSettings(f"expected blocks for student or solution in {path.name}, got {', '.join(unknown)}.")
        if versions != ["student", "solution"] * (len(versions) // 2):
            raise BadSettings(f"expected after each student's block its solution in {path.name}, got {versions}.")
        return lesson


def notebook(lesson: Lesson, version: Version = "student") -> "NotebookNode":
    """The lesson as a notebook, without outputs; the same, to the byte, whenever it is made."""
    import nbformat

    cells = []
    for number, part in enumerate(part for part in lesson.parts if part.version in ("", version)):
        make = nbformat.v4.new_code_cell if part.kind == "code" else nbformat.v4.new_markdown_cell
        mark = hashlib.sha256(f"{lesson.name} {number}".encode()).hexdigest()[:12]
        cells.append(make(part.content, id=mark))
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": _KERNEL, "language_info": {"name": "python"}})


def _parts(text: str) -> Iterator[Part]:
    end = 0
    for block in _BLOCK.finditer(text):
        yield from _text(text[end : block.start()])
        yield Part("code", block[2], block[1] or "")
        end = block.end()
    yield from _text(text[end:])


def _text(text: str) -> Iterator[Part]:
    """Markdown between two blocks; none where there is none."""
    if stripped := text.strip():
        yield Part("text", stripped)
