"""`python -m workbench.lessons SOURCE TARGET [--solutions]`: make notebooks of all lessons in a folder."""

import sys
from pathlib import Path

import nbformat

from workbench.lessons.text import Lesson, notebook


def main(words: list[str]) -> None:
    """Write a notebook for each lesson."""
    solved = "--solutions" in words
    source, target = (Path(word) for word in words if word != "--solutions")
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("[0-9]*.md")):
        made = notebook(Lesson.read(path), "solution" if solved else "student")
        nbformat.write(made, target / f"{path.stem}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:])
