"""The history of an edit: undo, redo and branches, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from workbench.edits import Edit
from workbench.errors import BadSettings, unknown

Edits = tuple[Edit, ...]
MAIN = "main"


@dataclass(frozen=True, slots=True)
class Line:
    """Steps in the order in which they were made, and the one that is looked at."""

    steps: tuple[Edits, ...] = ((),)
    at: int = 0

    @property
    def now(self) -> Edits:
        """The Edits looked at."""
        return self.steps[self.at]

    def then(self, edits: Edits) -> "Line":
        """The line with a further step; what was undone is dropped. Itself where nothing changes."""
        return self if edits == self.now else Line((*self.steps[: self.at + 1], edits), self.at + 1)

    def moved(self, by: int) -> "Line":
        """Looking at an earlier or later step; the first or last where there are no more."""
        return replace(self, at=min(max(self.at + by, 0), len(self.steps) - 1))


@dataclass(frozen=True, slots=True)
class History:
    """Every branch by its name, and which of them is worked on. It begins without an edit, on the branch `main`."""

    branches: Mapping[str, Line] = field(default_factory=lambda: {MAIN: Line()})
    branch: str = MAIN

    @property
    def line(self) -> Line:
        """The branch that is worked on."""
        return self.branches[self.branch]

    @property
    def now(self) -> Edits:
        """The current Edits, none at first; several apply jointly."""
        return self.line.now

    def then(self, edits: Edits) -> "History":
        """With these Edits as the current ones."""
        return self._with(self.line.then(edits))

    def undo(self) -> "History":
        """One step back; itself at the first."""
        return self._with(self.line.moved(-1))

    def redo(self) -> "History":
        """One step forth; itself at the last."""
        return self._with(self.line.moved(1))

    def fork(self, name: str) -> "History":
        """A new branch that begins with the current line; work goes on there. Raises BadSettings for a name in use."""
        if not name.strip() or name in self.branches:
            raise BadSettings(
                f"expected a new name for the branch, got {name!r}; there are {', '.join(self.branches)}."
            )
        return History({**self.branches, name: self.line}, name)

    def on(self, name: str) -> "History":
        """Work goes on at that branch. Raises UnknownName for one there is not."""
        if name not in self.branches:
            raise unknown("branch", name, self.branches, "Fork it first.")
        return replace(self, branch=name)

    def _with(self, line: Line) -> "History":
        return self if line is self.line else replace(self, branches={**self.branches, self.branch: line})
