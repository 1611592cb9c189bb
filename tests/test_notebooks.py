"""Lessons run from top to bottom with their solutions, which are right; `tests/ui/test_tour.py` runs the tour."""

from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient

from workbench.lessons import Lesson, notebook

ROOT = Path(__file__).parents[1] / "notebooks"
TEXTS = sorted((ROOT / "lessons").glob("[0-9]*.md"))

pytestmark = [
    pytest.mark.story,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the kernel is another process; what its client warns of is not ours
]


def outputs(made: Any) -> list[str]:
    """What the cells print and show, as text, once they were run."""
    NotebookClient(made, timeout=800, store_widget_state=False).execute(cwd=str(ROOT))
    shown = [output for cell in made.cells for output in cell.get("outputs", [])]
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in shown]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_a_lesson_with_its_solutions_is_right_throughout(path: Path) -> None:
    lesson = Lesson.read(path)
    exercises = sum(part.version == "solution" for part in lesson.parts)
    replies = [text for text in outputs(notebook(lesson, "solution")) if text.startswith(("Right.", "Not yet."))]
    assert [reply for reply in replies if reply.startswith("Not yet.")] == []
    assert len(replies) == exercises
