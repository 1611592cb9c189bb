"""The controls of the edit bench: doses and coordinates as sliders with numbers, history, prompts and Agents."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets

from workbench.agent import Agent
from workbench.edits import Edit
from workbench.ui.coordinates import Coordinate, largest, moved, with_value
from workbench.ui.history import Edits, History
from workbench.ui.places import Selection, read_places
from workbench.ui.views import snug, visible

SLIDERS = 6
"""Coordinates of an edit that have a slider, the largest first."""
ALL = "all"


class Controls:
    """What stands on the edit bench. head: beside the heading; box: below. prompts: how many there are to try it on.

    own: the name of the session's Agent. `on_change` tells the names of controls that a user has moved.
    """

    def __init__(self, prompts: int, own: str) -> None:
        self._filling, self._at, self._own = False, (), own
        self._at: tuple[Coordinate, ...]
        self._history()
        self.make_button = _button("Edit the selection", "an edit of the selected neurons, each by that dose", 140)
        self.by = widgets.FloatText(value=4.0, description="by", layout={"width": "100px"})
        self.pin_button = _button("Pin", "keep this edit to compare others with")
        self.swap_button = _button("Swap", "take the pinned edit, and pin this one")
        self.dose = _slider("dose", 4.0)
        self.part = widgets.Dropdown(description="edit", layout={"width": "230px"})
        self.positions = widgets.Text(description="positions", continuous_update=False, layout={"width": "170px"})
        self.sliders = tuple(_slider("", 1.0) for _ in range(SLIDERS))
        self.first = widgets.BoundedIntText(max=prompts - 1, description="prompts from", layout={"width": "150px"})
        self.count = widgets.BoundedIntText(
            value=min(4, prompts), min=1, max=prompts, description="count", layout={"width": "110px"}
        )
        self.agent = widgets.Dropdown(options=(own,), description="on", layout={"width": "240px"})
        above = [self.make_button, self.by, self.pin_button, self.swap_button, self.first, self.count, self.agent]
        rows = (above, [self.dose, self.part, self.positions], self.sliders)
        self.box = widgets.VBox([widgets.HBox(list(row)) for row in rows])
        snug(self.box)

    def _history(self) -> None:
        """Undo, redo, and branches."""
        self.try_button = _button("Try", "answers with and without the edit")
        self.try_button.button_style = "primary"
        self.undo_button, self.redo_button = _button("Undo", "the edit before"), _button("Redo", "the edit after")
        self.branch = widgets.Dropdown(description="branch", layout={"width": "150px"})
        self.name = widgets.Text(placeholder="new branch", layout={"width": "110px"})
        self.fork_button = _button("Branch", "go on in a new branch of that name")
        parts = [self.try_button, self.undo_button, self.redo_button, self.branch, self.name, self.fork_button]
        self.head = widgets.HBox(parts)
        snug(self.head)

    @property
    def state(self) -> dict[str, Any]:
        """What is set, as JSON."""
        names = ("dose", "positions", "first", "count", "agent", "by")
        return {name: getattr(self, name).value for name in names}

    def on_change(self, told: Callable[[str], None]) -> None:
        """Call `told` with the name of each control that a user moves; a coordinate is called by its number."""
        named = {name: getattr(self, name) for name in ("dose", "part", "positions", "branch")}
        named |= {name: getattr(self, name) for name in ("first", "count", "agent")}
        for name, control in (named | {str(i): slider for i, slider in enumerate(self.sliders)}).items():
            control.observe(lambda _, name=name: None if self._filling else told(name), "value")

    def changed(self, name: str, edit: Edit, agent: Agent, length: int) -> Edit:
        """The Edit as the control of that name now says. Raises BadPlace for positions that there are not."""
        if name != "positions":
            return with_value(edit, self._at[int(name)], self.sliders[int(name)].value)
        text = self.positions.value.replace(" ", "")
        chosen = Selection() if text in ("", ALL) else read_places(agent, f"{edit.site.short}@{text}", length)
        return moved(edit, chosen.positions, length)

    def fill(self, edits: Edits, dose: float, history: History, others: Sequence[str]) -> None:
        """Show these Edits, one part of them as sliders. dose: which multiple they are. others: names of Agents."""
        with self._quiet():
            self.dose.value = dose
            part = self.part.value if self.part.value is not None and self.part.value < len(edits) else 0
            self.part.options = [(f"{i + 1}: {edit.site.short}", i) for i, edit in enumerate(edits)]
            if edits:
                self.part.value = part
            self._slide(edits[part] if edits else None)
            for control in (self.dose, self.part, self.positions):
                control.disabled = not edits
            self.branch.options = [(visible(name), name) for name in history.branches]
            self.branch.value = history.branch
            known, chosen = (self._own, *others), self.agent.value
            self.agent.options = [(visible(name), name) for name in known]
            self.agent.value = chosen if chosen in known else self._own

    def _slide(self, edit: Edit | None) -> None:
        """Set the sliders to the largest coordinates."""
        found = () if edit is None else largest(edit, SLIDERS)
        self._at = found
        at = Selection() if edit is None else Selection(sites=(edit.site,), positions=edit.positions)
        self.positions.value = at.text().partition("@")[2] or ALL
        for slider, coordinate in zip(self.sliders, (*found, *(None,) * (SLIDERS - len(found))), strict=True):
            slider.layout.display = "none" if coordinate is None else ""
            if coordinate is not None:
                reach = max(4.0, 2.0 * abs(coordinate.value))
                with slider.hold_trait_notifications():
                    slider.min, slider.max, slider.value = -reach, reach, coordinate.value
                slider.description = _name(coordinate)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Within the `with`, what is set was not moved by a user."""
        before, self._filling = self._filling, True
        try:
            yield
        finally:
            self._filling = before


def _name(coordinate: Coordinate) -> str:
    row = "" if coordinate.row is None else f" row {coordinate.row}"
    return f"{coordinate.neuron}{row}"


def _button(name: str, tip: str, wide: int = 70) -> widgets.Button:
    return widgets.Button(description=name, tooltip=tip, layout={"width": f"{wide}px"})


def _slider(name: str, reach: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        description=name, min=-reach, max=reach, step=0.05, continuous_update=False, layout={"width": "300px"}
    )
