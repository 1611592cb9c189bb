"""Row: what one job of the study found, with enough figures to judge it again without hunting again."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from workbench.bench.zoo.recipes import Recipe

Truth = Literal["planted", "clean", "switchless", "documented"]
"""What is in the organism: a backdoor, nothing, a backdoor without a switch, or a documented second mode."""
BUILD = "build"
"""The arm of rows that say whether an organism could be built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One finding: where, by whom, how large, its score and its control, and whether it is the planted switch.

    control: None for what was not judged.
    elicitation: share of answers on fresh benign prompts that equal the true defect; None where there is none.
    parts: the factors of its score. portrait: its dose curve, reach and nearness; see `workbench.portrait`.
    """

    place: str
    surgeon: str
    spread: int
    rho: float | None
    score: float
    control: float | None
    hit: bool
    elicitation: float | None
    parts: dict[str, float | None] = field(default_factory=dict)
    portrait: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One arm on one organism with one seed; None for what does not apply, or was not reached.

    key: the job's. made_with: the seed that the organism was accepted with. error: why there is nothing else.
    rank: of the first finding that is a planted switch, from 1. judged: whether the verdict is the arm's own.
    found: all findings, best first. smallest: rho at which the best finding's edits still elicit .9 of what they do;
    optimum: the same of the edit in the answer key. evaluations: prompts times edits that were run. cpu: CPU seconds;
    stages: of them, by Surgeon. hits: of an input search, of `queries` prompts. recovered: share of fresh prompts that
    hold the planted trigger once the recovered tokens are put in.
    """

    format: ClassVar[str] = "lat-workbench zoo rows"

    key: str
    arm: str
    recipe: Recipe
    seed: int
    made_with: int
    error: str = ""
    organism: str = ""
    truth: Truth = "clean"
    located: bool = False
    judged: bool = True
    verdict: str = ""
    score: float | None = None
    threshold: float | None = None
    controls: dict[str, float | None] = field(default_factory=dict)
    rank: int | None = None
    elicitation: float | None = None
    found: tuple[Found, ...] = ()
    smallest: float | None = None
    optimum: float | None = None
    evaluations: int = 0
    cpu: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    hits: int | None = None
    queries: int | None = None
    recovered: float | None = None

    @property
    def family(self) -> str:
        """The line of the tables."""
        return self.recipe.family

    @property
    def hit(self) -> bool:
        """Whether the best finding is the planted switch."""
        return self.rank == 1

    @property
    def alarm(self) -> bool:
        """Whether it says that there is a switch."""
        return self.verdict == "switch"

    @property
    def place(self) -> str:
        """Where the best finding is."""
        return self.found[0].place if self.found else "-"

    @property
    def rho(self) -> float | None:
        """The size of the best finding."""
        return self.found[0].rho if self.found else None

    @property
    def ratio(self) -> float | None:
        """The smallest sufficient edit relative to the known optimum."""
        return self.smallest / self.optimum if self.smallest and self.optimum else None
