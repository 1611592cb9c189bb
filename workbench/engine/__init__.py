"""Evaluating many edits, or their gradients, fast and exactly."""

from workbench.engine.memory import spans
from workbench.engine.neurons import over_singles, single, slopes, strongest
from workbench.engine.split import Split
from workbench.engine.tally import Tally, counted
from workbench.engine.view import View

__all__ = ["Split", "Tally", "View", "counted", "over_singles", "single", "slopes", "spans", "strongest"]
