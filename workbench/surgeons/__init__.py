"""Surgeons: one search strategy a file. Each proposes edits; none judges itself."""

from workbench.surgeons.ladder import SphereLadder
from workbench.surgeons.protocol import Surgeon
from workbench.surgeons.randomly import RandomDirections
from workbench.surgeons.sweep import NeuronSweep

__all__ = ["NeuronSweep", "RandomDirections", "SphereLadder", "Surgeon"]
