"""The saved view: the static view of a panel as an output of its own, brought up to date when something has ended.

Beside a live panel it is hidden (`assets/panel.css`); a saved notebook that is read without widgets shows it instead.
"""

from collections.abc import Callable

from IPython.display import DisplayHandle, display


class Saved:
    """One static view in the notebook. html: makes it; nothing is made before it is displayed."""

    def __init__(self, title: str, html: Callable[[], str]) -> None:
        self._title, self._html = title, html
        self._handle: DisplayHandle | None = None

    def display(self) -> None:
        """Put it under what the running cell has shown so far."""
        self._handle = display(self._data(), raw=True, display_id=True)

    def refresh(self) -> None:
        """Bring it up to date, wherever it is; from any thread."""
        if self._handle is not None:
            self._handle.update(self._data(), raw=True)

    def turn(self, html: Callable[[], str]) -> None:
        """Show something else at the same place from now on."""
        self._html = html
        self.refresh()

    def end(self) -> None:
        """Leave it as it is from now on."""
        self._handle = None

    def _data(self) -> dict[str, str]:
        return {"text/plain": self._title, "text/html": self._html()}
