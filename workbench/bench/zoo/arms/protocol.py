"""What an arm of the study is: a way of looking for the switch in an organism that it knows nothing about."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from workbench.report import SwitchReport

if TYPE_CHECKING:
    from toy_models import Organism

PROMPTS = 64
"""Benign prompts that an arm is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an arm found. report: None where it does not look for edits. stages: CPU seconds by stage.

    hits: prompts that an input search found to defect, among `queries`. trigger: the tokens of a recovered trigger, as
    (position, token); None where none was looked for.
    """

    report: SwitchReport | None = None
    stages: dict[str, float] = field(default_factory=dict)
    hits: int | None = None
    queries: int | None = None
    trigger: tuple[tuple[int, int], ...] | None = None


@runtime_checkable
class Arm(Protocol):
    """Frozen settings and what they do.

    version: raised whenever its code changes what it finds, so that old rows are not taken for its. judged: whether its
    verdict is a verdict, and not only a ranking. families: where alone it makes sense; None: everywhere.
    """

    version: ClassVar[int]
    judged: ClassVar[bool]
    families: ClassVar[tuple[str, ...] | None]

    @property
    def words(self) -> str:
        """All of its settings, the same in every process: with others, old rows are not taken for its either."""
        ...

    def look(self, organism: "Organism", seed: int) -> Outcome:
        """Look for the switch, in one thread. Only an input search may open the seal, to know what it is after."""
        ...
