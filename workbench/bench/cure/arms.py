"""Arms: what is done to an Agent, by name, each stopped at the same count of gradient evaluations."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from workbench.retrain import (
    ANP,
    LAT,
    Ablation,
    EmbeddingAT,
    FinePruning,
    FineTune,
    InputAT,
    LatentNoise,
    Recipe,
    WeightNoise,
)

GRADIENTS = 1200
"""Gradient evaluations of a run: those of the default LAT, 200 steps of 4 for its adversary and 2 for the Agent."""
DEFAULT = "LAT"

Role = Literal["default", "variant", "baseline", "grid", "late start"]


@dataclass(frozen=True, slots=True)
class Arm:
    """How to make a recipe, given how many steps it may have at most.

    hunts: whether it is given the report of a hunt of the organism. role: the default looks at every organism with
    several seeds, the others at those that are sampled; the grid maps where LAT entrenches; late starts train an
    organism from the beginning, with poison in its data from step `POISON` on, and LAT from some step on.
    """

    make: Callable[[int], Recipe]
    role: Role = "baseline"
    hunts: bool = False

    @property
    def version(self) -> str:
        """The recipe with its settings, which decides whether a row is still of this arm."""
        return repr(self.make(GRADIENTS))


def _of(kind: Callable[..., Recipe], **settings: object) -> Callable[[int], Recipe]:
    return partial(_made, kind, settings)


def _made(kind: Callable[..., Recipe], settings: dict[str, object], steps: int) -> Recipe:
    return kind(**{"steps": steps} | settings)


def _grid() -> dict[str, Arm]:
    """LAT at one layer with one radius, for each of several."""
    return {
        f"LAT L{layer} eps {eps:g}": Arm(_of(LAT, sites=f"L{layer}.resid_post", eps=eps), "grid")
        for layer in range(3)
        for eps in (0.15, 0.3, 0.6, 1.0)
    }


POISON = 301
"""The step from which the data of organisms trained from the beginning are poisoned."""
_TRAINED_AT = 3e-3  # the learning rate of the family `free`
STARTS = (1, 201, 401, 601, 901)
"""Steps at which LAT begins in them."""

ARMS: dict[str, Arm] = {
    DEFAULT: Arm(_of(LAT), "default"),
    "LAT after a hunt": Arm(_of(LAT), "variant", hunts=True),
    "LAT universal": Arm(_of(LAT, universal=True), "variant"),
    "LAT, steady radius": Arm(_of(LAT, schedule="steady"), "variant"),
    "LAT, KL to the original": Arm(_of(LAT, clean="original"), "variant"),
    "Casper et al. 2024": Arm(_of(LAT.casper2024), "variant"),
    "Sheshadri et al. 2024": Arm(_of(LAT.sheshadri2024), "variant"),
    "fine-tuning": Arm(_of(FineTune)),
    "fine-tuning, lr x 1/3": Arm(_of(FineTune, lr=2e-3)),
    "fine-tuning, lr x 1/10": Arm(_of(FineTune, lr=6e-4)),
    "latent noise": Arm(_of(LatentNoise)),
    "embedding AT": Arm(_of(EmbeddingAT)),
    "input AT": Arm(_of(InputAT)),
    "weight noise": Arm(_of(WeightNoise)),
    "ANP": Arm(_of(ANP)),
    "fine-pruning": Arm(_of(FinePruning)),
    "ablating what was found": Arm(_of(Ablation), hunts=True),
    **_grid(),
    **{
        f"LAT from step {start}": Arm(_of(LAT, begin=start, lr=_TRAINED_AT, schedule="lockstep"), "late start")
        for start in STARTS
    },
    "no LAT": Arm(_of(FineTune, lr=_TRAINED_AT), "late start"),
}
"""All arms. What is given as `steps` is a limit that no run reaches: the count of gradients ends it."""
