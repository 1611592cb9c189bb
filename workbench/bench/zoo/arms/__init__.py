"""Arms: everything that the study compares, by name. A new one is a line here, or a file beside the others."""

from workbench.bench.zoo.arms.hunts import Hunt
from workbench.bench.zoo.arms.input_search import InputSearch
from workbench.bench.zoo.arms.one_answer import OneAnswer
from workbench.bench.zoo.arms.protocol import PROMPTS, Arm, Outcome
from workbench.bench.zoo.arms.recovery import Recovery
from workbench.bench.zoo.arms.statistics import Statistic, dormant, heavy, singular
from workbench.budgets import JointL2Ball, L1Ball, L2Ball, LInfBall, NotLastLayers, Sparse, WeightCap
from workbench.goals import UntargetedLoss
from workbench.surgeons import (
    FrankWolfe,
    GreedyStimulation,
    LearnedSurgeon,
    Metropolis,
    NeuronSweep,
    ProjectedAscent,
    RandomDirections,
    SphereLadder,
    Together,
    UnreadInputs,
)

DEFAULT = "default"
"""The only arm that looks at every organism; the others at those that are sampled."""

ARMS: dict[str, Arm] = {
    DEFAULT: Hunt(),
    # Surgeons, each alone, in the default budget
    "neuron sweep": Hunt(surgeons=(NeuronSweep(),)),
    "sphere ladder": Hunt(surgeons=(SphereLadder(),)),
    "projected ascent": Hunt(surgeons=(ProjectedAscent(),)),
    "frank-wolfe": Hunt(surgeons=(FrankWolfe(),)),
    "metropolis": Hunt(surgeons=(Metropolis(),)),
    "greedy": Hunt(surgeons=(GreedyStimulation(),)),
    "unread inputs": Hunt(surgeons=(UnreadInputs(),)),
    "learned": Hunt(surgeons=(LearnedSurgeon(),)),
    "ascent and sweep": Hunt(surgeons=(Together((ProjectedAscent(), NeuronSweep())),)),
    "random directions": Hunt(surgeons=(RandomDirections(),)),
    # constraints, each with the default Surgeons unless they make no use of it
    "L1 ball": Hunt(budget=L1Ball(4.0)),
    "L-inf ball": Hunt(budget=LInfBall(0.3)),
    "sparse": Hunt(budget=L2Ball(2.0) & Sparse(fraction=0.1)),
    "not the last layers": Hunt(budget=L2Ball(2.0) & NotLastLayers(1)),
    "weight cap": Hunt(budget=L2Ball(2.0) & WeightCap()),
    "joint L2 ball": Hunt(surgeons=(ProjectedAscent(positional=True),), budget=JointL2Ball(4.0)),
    # from the findings back to the trigger
    "trigger recovery": Recovery(),
    # baselines
    "ABS-style sweep": Hunt(surgeons=(NeuronSweep(),), goal=OneAnswer()),
    "untargeted loss": Hunt(goal=UntargetedLoss()),
    "dormant neurons": Statistic(dormant),
    "heavy neurons": Statistic(heavy),
    "singular directions": Statistic(singular),
    "input search": InputSearch(),
}

__all__ = ["ARMS", "DEFAULT", "PROMPTS", "Arm", "Hunt", "InputSearch", "OneAnswer", "Outcome", "Recovery", "Statistic"]
