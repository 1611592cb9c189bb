"""Jobs: which arm looks at which organism with which seed, done in any order and once only, each into a row."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from workbench.bench.zoo.ledger import Ledger
from workbench.bench.zoo.recipes import Recipe
from workbench.bench.zoo.rows import BUILD, Row
from workbench.bench.zoo.workers import Died, each
from workbench.errors import BadSettings, Unacceptable, unknown
from workbench.store import digest_of

Do = Callable[["Job"], Row]
AnyPlan = TypeVar("AnyPlan", bound=Any)  # one of this study's, or of another with `recipes`


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One arm on one organism with one seed; or the building of it.

    version: the arm's, with its settings. made_with: the seed with which the organism was accepted.
    """

    recipe: Recipe
    arm: str
    version: str
    seed: int
    made_with: int

    @property
    def key(self) -> str:
        """The same for the same work, whenever it is done."""
        return digest_of({"recipe": self.recipe.key, "arm": self.arm, "version": self.version, "seed": self.seed})[:16]

    @property
    def empty_row(self) -> Row:
        """A row that says nothing yet."""
        return Row(key=self.key, arm=self.arm, recipe=self.recipe, seed=self.seed, made_with=self.made_with)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: every recipe is built, and then the arms look at it, each with these seeds.

    arms: by name. The default looks at every recipe, an arm with families of its own at these, any other at those that
    are sampled.
    """

    recipes: tuple[Recipe, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)

    def builds(self) -> list[Job]:
        """One job for each recipe that has to be built."""
        wanted = {recipe.key: recipe for recipe in self.recipes if not recipe.shipped and self._arms_for(recipe)}
        return [Job(recipe=r, arm=BUILD, version="1", seed=0, made_with=r.seed) for r in wanted.values()]

    def looks(self, made_with: dict[str, int]) -> list[Job]:
        """The jobs on what could be built, arm after arm. made_with: the accepted seed by a recipe's key."""
        from workbench.bench.zoo.arms import ARMS

        versions = {arm: f"{ARMS[arm].version} {ARMS[arm].words}" for arm in self.arms}
        return [
            Job(recipe=r, arm=arm, version=versions[arm], seed=seed, made_with=made_with.get(r.key, r.seed))
            for arm in self.arms
            for r in self.recipes
            if (r.shipped or r.key in made_with) and arm in self._arms_for(r)
            for seed in self.seeds
        ]

    def most(self) -> int:
        """How many jobs there are if everything can be built."""
        return len(self.builds()) + len(self.looks({recipe.key: recipe.seed for recipe in self.recipes}))

    def _arms_for(self, recipe: Recipe) -> list[str]:
        from workbench.bench.zoo.arms import ARMS, DEFAULT

        def takes(arm: str) -> bool:
            families = ARMS[arm].families
            return arm == DEFAULT or (recipe.sampled if families is None else recipe.family in families)

        return [arm for arm in self.arms if takes(arm)]


def planned(
    recipes: Sequence[Recipe],
    *,
    arms: Sequence[str] = (),
    families: Sequence[str] = (),
    seeds: int = 1,
    limit: int | None = None,
) -> Plan:
    """The plan for these recipes. arms: none for all. families: none for all. limit: the first so many of each.

    Raises UnknownName for an arm or a family that there is not, BadSettings for fewer than one seed.
    """
    from workbench.bench.zoo.arms import ARMS

    chosen = select(recipes, arms or ARMS, ARMS, families, seeds, limit)
    return Plan(chosen, tuple(arms or ARMS), tuple(range(seeds)))


def select(
    recipes: Sequence[Recipe],
    arms: Iterable[str],
    there: Iterable[str],
    families: Sequence[str],
    seeds: int,
    limit: int | None,
) -> tuple[Recipe, ...]:
    """The recipes of these families, or of all; arms must be among those that are there. Raises as `planned` does."""
    known = dict.fromkeys(recipe.family for recipe in recipes)
    for kind, given, names in (("arm", arms, there), ("family", families, known)):
        for name in given:
            if name not in names:
                raise unknown(kind, name, names, "Choose one of them.")
    if seeds < 1 or (limit is not None and limit < 1):
        raise BadSettings(f"expected at least one seed, and a limit of at least 1, got {seeds} and {limit}.")
    return tuple(r for family in families or known for r in [r for r in recipes if r.family == family][:limit])


def study(plan: Plan, ledger: Ledger[Row], workers: int = 1, do: Do | None = None) -> Iterator[Row]:
    """Every row of the plan: first those that the ledger has, then each as its job ends, kept in the ledger first.

    do: what does a job. A job that fails or whose process dies gives a row with the error, and the study goes on.
    """
    for part in by_family(plan):
        yield from studied(part.builds(), part.looks, ledger, workers, done if do is None else do)


def by_family(plan: AnyPlan) -> Iterator[AnyPlan]:
    """The plan in parts, one family after the other, so that a study broken off has whole lines of its tables."""
    families = dict.fromkeys(recipe.family for recipe in plan.recipes)
    parts = [tuple(r for r in plan.recipes if r.family == family) for family in families]
    yield from (replace(plan, recipes=part) for part in parts or [()])


def studied(
    builds: Sequence[Any],
    rest: Callable[[dict[str, int]], Sequence[Any]],
    ledger: Ledger[Any],
    workers: int,
    do: Callable[[Any], Any],
) -> Iterator[Any]:
    """Rows of any study: builds, and then `rest` of what could be built, given the accepted seed by a recipe's key."""
    if workers < 1:
        raise BadSettings(f"expected at least one worker, got {workers}.")
    made_with = {}
    for row in worked(builds, ledger, workers, do):
        if not row.error:
            made_with[row.recipe.key] = row.made_with
        yield row
    yield from worked(rest(made_with), ledger, workers, do)


def worked(jobs: Sequence[Any], ledger: Ledger[Any], workers: int, do: Callable[[Any], Any]) -> Iterator[Any]:
    """The rows of jobs of any kind: first those that the ledger has, then each as its job ends, kept first.

    A job has a `key`, a `recipe` and an `empty_row`; a row has `recipe` and `error`.
    """
    wanted, known = {job.key: job for job in jobs}, {row.key: row for row in ledger.rows}
    for key in [key for key in wanted if key in known]:
        yield replace(known[key], recipe=wanted.pop(key).recipe)  # which may be counted in another family by now
    for job, answer in each(do, list(wanted.values()), workers):
        if isinstance(answer, Died):
            answer = replace(job.empty_row, error=f"the process ended with status {answer.code}")
        ledger.append(answer)
        yield answer


def done(job: Job) -> Row:
    """The row of a job, done in this process in one thread; one with the error where something is raised."""
    return attempted(job, _looked)


def attempted(job: Any, work: Callable[[Any], Any]) -> Any:
    """The row of a job of any kind: built where that is the job, else what `work` gives."""
    import torch

    torch.set_num_threads(1)
    try:
        return _built(job) if job.arm == BUILD else work(job)
    except Exception as error:
        return replace(job.empty_row, error=f"{type(error).__name__}: {error}")


def _built(job: Any) -> Any:
    began = time.process_time()
    try:
        row = replace(job.empty_row, made_with=job.recipe.first_acceptable().seed)
    except Unacceptable as error:
        row = replace(job.empty_row, error=f"not built: {error}")
    return replace(row, cpu=time.process_time() - began)


def _looked(job: Job) -> Row:
    from workbench.bench.zoo.arms import ARMS
    from workbench.bench.zoo.scoring import score

    organism = replace(job.recipe, seed=job.made_with).organism()
    return score(job.empty_row, ARMS[job.arm], organism)
