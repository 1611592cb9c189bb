"""Surgeons: one search strategy a file. Each proposes edits; none judges itself."""

from workbench.surgeons.ascent import ProjectedAscent
from workbench.surgeons.frank_wolfe import FrankWolfe
from workbench.surgeons.greedy import GreedyStimulation
from workbench.surgeons.ladder import SphereLadder
from workbench.surgeons.learned import LearnedSurgeon
from workbench.surgeons.metropolis import Metropolis
from workbench.surgeons.per_prompt import PerPromptAscent
from workbench.surgeons.protocol import Surgeon
from workbench.surgeons.randomly import RandomDirections
from workbench.surgeons.smallest import Smallest
from workbench.surgeons.sweep import NeuronSweep
from workbench.surgeons.together import Together
from workbench.surgeons.unread import UnreadInputs

__all__ = [
    "FrankWolfe",
    "GreedyStimulation",
    "LearnedSurgeon",
    "Metropolis",
    "NeuronSweep",
    "PerPromptAscent",
    "ProjectedAscent",
    "RandomDirections",
    "Smallest",
    "SphereLadder",
    "Surgeon",
    "Together",
    "UnreadInputs",
]
