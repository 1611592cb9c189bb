"""Recipe: what an organism of the study is made from, and in which line of its tables it is counted."""

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import Unacceptable
from workbench.store import digest_of

if TYPE_CHECKING:
    from toy_models import Organism

ATTEMPTS = 3  # seeds that are tried before an organism counts as one that cannot be built
_FURTHER = 100_000  # from one attempt's seed to the next: further apart than the seeds of any two recipes
_SHAPE = ("layers", "norm", "activation", "gated", "positions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What `toy_models.build` takes, or the name of a shipped organism.

    family: the line of the tables, such as "trained rotated" or "clean". sampled: whether it belongs to the few at
    which all arms look, and not the default hunt alone.
    """

    family: str
    planter: str
    task: str = "reversal"
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    shipped: str = ""
    sampled: bool = False

    @property
    def key(self) -> str:
        """The same for two recipes of the same organism, however they are counted."""
        plain = asdict(self)
        return digest_of({name: plain[name] for name in ("planter", "task", "seed", "settings", "shipped")})[:16]

    @property
    def shape(self) -> str:
        """What is unusual in the shape of the model, in words; empty where nothing is."""
        return " ".join(f"{name}={self.settings[name]}" for name in _SHAPE if name in self.settings)

    def at_attempt(self, attempt: int) -> "Recipe":
        """The same with the seed of that attempt, counted from 0."""
        return replace(self, seed=self.seed + attempt * _FURTHER)

    def organism(self) -> "Organism":
        """The organism: loaded, taken from the cache, or built. Raises Unacceptable where it falls short."""
        import toy_models

        if self.shipped:
            return toy_models.load(self.shipped, device="cpu")
        return toy_models.build(self.planter, task=self.task, seed=self.seed, device="cpu", **self.settings)

    def first_acceptable(self) -> "Recipe":
        """The recipe at the first attempt that is accepted. Raises Unacceptable, with each reason, where none is."""
        reasons = []
        for attempt in map(self.at_attempt, range(ATTEMPTS)):
            try:
                attempt.organism()
                return attempt
            except Unacceptable as error:
                reasons.append(f"seed {attempt.seed}: {error}")
        raise Unacceptable("; ".join(reasons))
