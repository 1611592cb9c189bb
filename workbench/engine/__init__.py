"""Evaluating many edits, or their gradients, fast and exactly."""

from workbench.engine.split import Split
from workbench.engine.view import View

__all__ = ["Split", "View"]
