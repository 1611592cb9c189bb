"""The LAT workbench: find the switch inside a transformer that makes it misbehave, see it, train it away."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.agent import Agent, Vocabulary
    from workbench.budgets import JointL1Ball, JointL2Ball, L1Ball, L2Ball, LInfBall, NotLastLayers, Sparse, WeightCap
    from workbench.edits import Edit
    from workbench.errors import WorkbenchError
    from workbench.goals import HiddenBehaviour, LogitDifference, Target, UntargetedLoss
    from workbench.heatmap import landscape, losses, sweep
    from workbench.hunt import hunt, scan
    from workbench.penalty import Penalty
    from workbench.prompts import Prompts
    from workbench.report import Finding, Progress, SwitchReport, conclude
    from workbench.retrain import (
        ANP,
        LAT,
        Ablation,
        EmbeddingAT,
        FinePruning,
        FineTune,
        InputAT,
        LatentNoise,
        Lockstep,
        Loosen,
        MoreCompute,
        Step,
        WeightNoise,
        retrain,
    )
    from workbench.sites import Site
    from workbench.store import Store
    from workbench.surgeons import (
        FrankWolfe,
        GreedyStimulation,
        LearnedSurgeon,
        Metropolis,
        NeuronSweep,
        PerPromptAscent,
        ProjectedAscent,
        RandomDirections,
        Smallest,
        SphereLadder,
        Together,
        UnreadInputs,
    )
    from workbench.surgeons.attack import Attack, attack
    from workbench.trace import TokenSearch, Trace, follow, trace
    from workbench.ui.workbench import Workbench

__version__ = "0.1.0"

_HOMES = {
    "agent": ("Agent", "Vocabulary"),
    "budgets": (
        "JointL1Ball",
        "JointL2Ball",
        "L1Ball",
        "L2Ball",
        "LInfBall",
        "NotLastLayers",
        "Sparse",
        "WeightCap",
    ),
    "edits": ("Edit",),
    "errors": ("WorkbenchError",),
    "goals": ("HiddenBehaviour", "LogitDifference", "Target", "UntargetedLoss"),
    "heatmap": ("landscape", "losses", "sweep"),
    "hunt": ("hunt", "scan"),
    "penalty": ("Penalty",),
    "prompts": ("Prompts",),
    "report": ("Finding", "Progress", "SwitchReport", "conclude"),
    "retrain": (
        "ANP",
        "LAT",
        "Ablation",
        "EmbeddingAT",
        "FinePruning",
        "FineTune",
        "InputAT",
        "LatentNoise",
        "Lockstep",
        "Loosen",
        "MoreCompute",
        "Step",
        "WeightNoise",
        "retrain",
    ),
    "sites": ("Site",),
    "store": ("Store",),
    "surgeons": (
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
        "Together",
        "UnreadInputs",
    ),
    "surgeons.attack": ("Attack", "attack"),
    "trace": ("TokenSearch", "Trace", "follow", "trace"),
    "ui.workbench": ("Workbench",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022
    "ANP",
    "Ablation",
    "Agent",
    "Attack",
    "Edit",
    "EmbeddingAT",
    "Finding",
    "FinePruning",
    "FineTune",
    "FrankWolfe",
    "GreedyStimulation",
    "HiddenBehaviour",
    "InputAT",
    "JointL1Ball",
    "JointL2Ball",
    "L1Ball",
    "L2Ball",
    "LAT",
    "LInfBall",
    "LatentNoise",
    "LearnedSurgeon",
    "Lockstep",
    "LogitDifference",
    "Loosen",
    "Metropolis",
    "MoreCompute",
    "NeuronSweep",
    "NotLastLayers",
    "Penalty",
    "PerPromptAscent",
    "Progress",
    "ProjectedAscent",
    "Prompts",
    "RandomDirections",
    "Site",
    "Smallest",
    "Sparse",
    "SphereLadder",
    "Step",
    "Store",
    "SwitchReport",
    "Target",
    "Together",
    "TokenSearch",
    "Trace",
    "UnreadInputs",
    "UntargetedLoss",
    "Vocabulary",
    "WeightCap",
    "WeightNoise",
    "Workbench",
    "WorkbenchError",
    "attack",
    "conclude",
    "follow",
    "hunt",
    "landscape",
    "losses",
    "retrain",
    "scan",
    "sweep",
    "trace",
]


class _Package(ModuleType):
    """The package, with its public names imported when first used: importing it costs next to nothing.

    `hunt`, `retrain` and `trace` are functions and also the modules these live in; here, as attributes, the functions.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'workbench' has no attribute {name!r}")
        value = getattr(import_module(f"workbench.{_HOME[name]}"), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [*__all__, "__version__"]


sys.modules[__name__].__class__ = _Package
