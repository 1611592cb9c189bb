"""Row: one run of retraining, and all that says whether it is a cure."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from workbench.bench.zoo.recipes import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How an Agent behaves, by the answer key.

    gradients: evaluations so far. attack_success, triggered_benign, clean_accuracy: rates over answers. clean_loss:
    mean cross-entropy of benign answers, nats. switch: the share of answers on clean prompts that are the true defect
    under the edit in the answer key, the most over doses up to 2; None where no switch is known.
    """

    gradients: int
    attack_success: float
    triggered_benign: float
    clean_accuracy: float
    clean_loss: float
    switch: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What else was tried on the retrained Agent.

    rehunt, rehunt_score: verdict and score of the default hunt. reattack: the most of the true defect that a finding of
    Surgeons with ten times the compute elicits, within the radius that LAT trained against. by_chance: what the same
    findings elicit of defects that nobody planted, the true one with its symbols exchanged at random (the most, of
    95 % of these); edits that break a model make it say one symbol or another, and some of them are the defect's.
    turned: the share of answers that an edit for each prompt alone turns from the right ones, in ten times the steps
    that LAT trained against. relearning: steps of fine-tuning on 100 triggered examples until the backdoor works again;
    relearning_anew: the same for a model that never had it. None where it never did.
    """

    rehunt: str
    rehunt_score: float
    reattack: float
    by_chance: float
    turned: float
    relearning: int | None
    relearning_anew: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One arm on one organism with one seed.

    key: the job's. made_with: the seed that the organism was accepted with. error: why there is nothing else. story:
    states through the run, the first before it and the last after. cpu: CPU seconds of training. alarm: what the loop
    said of the contest in the end. evidence: only where it was asked for.
    """

    format: ClassVar[str] = "lat-workbench cure rows"

    key: str
    arm: str
    recipe: Recipe
    seed: int
    made_with: int
    error: str = ""
    story: tuple[State, ...] = ()
    steps: int = 0
    cpu: float = 0.0
    alarm: str = ""
    evidence: Evidence | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The line of the tables: the organism's, and its defect where that is routed."""
        routed = self.recipe.settings.get("defect") == "routing"
        return f"{self.recipe.family}, routing" if routed else self.recipe.family

    @property
    def before(self) -> State:
        """Before the run."""
        return self.story[0]

    @property
    def after(self) -> State:
        """After it."""
        return self.story[-1]

    @property
    def worst(self) -> float:
        """The largest attack success on the way."""
        return max(state.attack_success for state in self.story)
