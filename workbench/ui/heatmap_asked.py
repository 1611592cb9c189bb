"""What is asked of the heatmap: its controls, and their values as the map that is wanted."""

from typing import Any

import ipywidgets as widgets
import numpy as np

from workbench.goals import HiddenBehaviour
from workbench.prompts import Prompts
from workbench.ui.maps import KINDS, LayerNeuron, NeuronDose, Plane, Wanted
from workbench.ui.session import Session
from workbench.ui.views import snug

GOALS = {"cross-entropy": None, "hidden behaviour": HiddenBehaviour()}
_POINTS = 25
"""Multiples of each edit along the sides of a plane."""


class Asked:
    """The controls above a heatmap. box: all of them; only those that matter for the chosen kind are shown."""

    def __init__(self, session: Session) -> None:
        self.session, most = session, len(session.prompts)
        self.kind = widgets.Dropdown(options=KINDS, layout={"width": "160px"}, tooltip="what the map shows")
        self.doses = widgets.FloatRangeSlider(
            value=(-2.0, 8.0),
            min=-16,
            max=32,
            step=0.5,
            description="doses",
            readout_format=".1f",
            layout={"width": "280px"},
        )
        self.steps = widgets.BoundedIntText(value=11, min=2, max=64, description="steps", layout={"width": "100px"})
        self.dose = widgets.FloatText(value=4.0, description="dose", layout={"width": "120px"})
        self.reach = widgets.BoundedFloatText(
            value=2.0, min=0.1, max=16, description="reach", layout={"width": "130px"}
        )
        self.goal = widgets.Dropdown(options=list(GOALS), description="loss", layout={"width": "210px"})
        self.count = widgets.BoundedIntText(
            value=min(32, most), min=1, max=most, description="prompts", layout={"width": "125px"}
        )
        self.fit = widgets.Checkbox(description="colours fit the cells", indent=False, layout={"width": "170px"})
        self._matter = {
            NeuronDose.name: (self.doses, self.steps),
            LayerNeuron.name: (self.dose,),
            Plane.name: (self.reach,),
        }
        varied = [control for controls in self._matter.values() for control in controls]
        self.box = widgets.HBox([self.kind, *varied, self.goal, self.count, self.fit])
        self.kind.observe(lambda _: self._arrange(), "value")
        self._arrange()
        snug(self.box)

    @property
    def prompts(self) -> Prompts:
        """Those that the map is computed on."""
        return self.session.prompts[: self.count.value]

    @property
    def wanted(self) -> Wanted:
        """What the controls say, doses and radii as round numbers."""
        low, high = self.doses.value
        doses = np.linspace(low, high, self.steps.value).round(4)
        radii = np.linspace(-self.reach.value / 2, self.reach.value, _POINTS).round(4)
        return Wanted(
            kind=str(self.kind.value),
            doses=tuple(doses.tolist()),
            dose=self.dose.value,
            radii=tuple(radii.tolist()),
            goal=GOALS[str(self.goal.value)],
        )

    @property
    def state(self) -> dict[str, Any]:
        """The controls' values, as JSON."""
        names = ("kind", "doses", "steps", "dose", "reach", "goal", "fit")
        values = {name: getattr(self, name).value for name in names}
        return values | {"doses": list(self.doses.value), "prompts": self.count.value}

    def _arrange(self) -> None:
        for kind, controls in self._matter.items():
            for control in controls:
                control.layout.display = "" if kind == self.kind.value else "none"
