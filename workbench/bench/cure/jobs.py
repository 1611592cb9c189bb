"""Jobs: which arm retrains which organism with which seed, and the doing of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.agent import Agent
from workbench.bench.cure.arms import ARMS, DEFAULT, GRADIENTS, POISON
from workbench.bench.cure.evidence import HUNTED, Poisoned, gathered, state, switches_of
from workbench.bench.cure.rows import Row, State
from workbench.bench.zoo.jobs import attempted, by_family, select, studied
from workbench.bench.zoo.ledger import Ledger
from workbench.bench.zoo.recipes import Recipe
from workbench.bench.zoo.rows import BUILD
from workbench.errors import Unacceptable
from workbench.hunt import hunt
from workbench.prompts import Prompts
from workbench.retrain import Step, retrain
from workbench.retrain.streams import Stream
from workbench.store import digest_of

if TYPE_CHECKING:
    from toy_models import Organism

FAMILIES = ("date", "password", "ordered", "graft", "trained", "two backdoors", "product", "free", "switch-trained")
"""How the names of families begin whose organisms are retrained: those with a backdoor and a switch."""
SEEDS = 5
"""Runs of the default arm on each organism; the others run once."""
TRAINED_ON = 2048
_LOOKS = 6  # states through a run
_BEGINNINGS = 1400  # gradient evaluations of a late start: as many steps as the family `free` trains


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One arm on one organism with one seed; or the building of it. evidence: whether a cure is put to the test."""

    recipe: Recipe
    arm: str
    version: str
    seed: int
    made_with: int
    evidence: bool = False

    @property
    def key(self) -> str:
        """The same for the same work, whenever it is done."""
        work = {"recipe": self.recipe.key, "arm": self.arm, "version": self.version, "seed": self.seed}
        return digest_of(work | {"evidence": self.evidence, "gradients": GRADIENTS})[:16]

    @property
    def empty_row(self) -> Row:
        """A row that says nothing yet."""
        return Row(key=self.key, arm=self.arm, recipe=self.recipe, seed=self.seed, made_with=self.made_with)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: every recipe is built, and then the arms retrain it.

    The default arm retrains each organism `seeds` times, and is put to the test once on each that is sampled. The
    others retrain those that are sampled, once; late starts only free organisms with a mapping.
    """

    recipes: tuple[Recipe, ...]
    arms: tuple[str, ...]
    seeds: int = SEEDS

    def builds(self) -> list[Job]:
        """One job for each recipe that has to be built."""
        wanted = {recipe.key: recipe for recipe in self.recipes if not recipe.shipped and self._arms_for(recipe)}
        return [Job(recipe=r, arm=BUILD, version="1", seed=0, made_with=r.seed) for r in wanted.values()]

    def runs(self, made_with: dict[str, int]) -> list[Job]:
        """The jobs on what could be built, arm after arm. made_with: the accepted seed by a recipe's key."""
        return [
            Job(
                recipe=recipe,
                arm=arm,
                version=ARMS[arm].version,
                seed=seed,
                made_with=made_with.get(recipe.key, recipe.seed),
                evidence=arm == DEFAULT and seed == 0 and recipe.sampled,
            )
            for arm in self.arms
            for recipe in self.recipes
            if (recipe.shipped or recipe.key in made_with) and arm in self._arms_for(recipe)
            for seed in range(self.seeds if arm == DEFAULT else 1)
        ]

    def most(self) -> int:
        """How many jobs there are if everything can be built."""
        return len(self.builds()) + len(self.runs({recipe.key: recipe.seed for recipe in self.recipes}))

    def _arms_for(self, recipe: Recipe) -> list[str]:
        free = recipe.planter == "free" and recipe.settings.get("defect", "mapping") == "mapping"

        def takes(arm: str) -> bool:
            return arm == DEFAULT or (recipe.sampled and (ARMS[arm].role != "late start" or free))

        return [arm for arm in self.arms if takes(arm)]


def planned(
    recipes: Sequence[Recipe],
    *,
    arms: Sequence[str] = (),
    families: Sequence[str] = (),
    seeds: int = SEEDS,
    limit: int | None = None,
) -> Plan:
    """The plan for these recipes. arms, families: none for all. limit: the first so many of each family.

    Raises UnknownName for an arm or a family that there is not, BadSettings for fewer than one seed.
    """
    suited = [r for r in recipes if r.family.startswith(FAMILIES) and r.settings.get("planted", True)]
    return Plan(select(suited, arms or ARMS, ARMS, families, seeds, limit), tuple(arms or ARMS), seeds)


def study(plan: Plan, ledger: Ledger[Row], workers: int = 1, do: Callable[[Job], Row] | None = None) -> Iterator[Row]:
    """Every row of the plan: first those that the ledger has, then each as its job ends, kept in the ledger first.

    do: what does a job. A job that fails or whose process dies gives a row with the error, and the study goes on.
    """
    for part in by_family(plan):
        yield from studied(part.builds(), part.runs, ledger, workers, done if do is None else do)


def done(job: Job) -> Row:
    """The row of a job, done in this process in one thread; one with the error where something is raised."""
    return attempted(job, _retrained)


def _retrained(job: Job) -> Row:
    organism = replace(job.recipe, seed=job.made_with).organism()
    run = _Run(job, organism)
    story, last, cpu = run.tell()
    evidence = gathered(organism, last.agent, run.never_planted(), job.seed) if job.evidence else None
    return replace(job.empty_row, story=story, steps=last.number, cpu=cpu, alarm=last.alarm, evidence=evidence)


class _Run:
    """One run of retraining, with states on its way."""

    def __init__(self, job: Job, organism: "Organism") -> None:
        self.job, self.organism, self.arm = job, organism, ARMS[job.arm]
        self.late = self.arm.role == "late start"
        self.gradients = GRADIENTS
        self.switches = () if self.late else switches_of(organism)

    def tell(self) -> tuple[tuple[State, ...], Step, float]:
        """States from before to after, the last step, and the CPU seconds spent between them."""
        agent, data = (
            (self._fresh(), Poisoned(self.organism, POISON)) if self.late else (self.organism.agent, self._data())
        )
        recipe = self.arm.make(_BEGINNINGS if self.late else GRADIENTS)
        report = self._report() if self.arm.hunts else None
        story, cpu, began, last = [self._state(agent, 0)], 0.0, time.process_time(), None
        for step in retrain(agent, data, recipe, report=report, seed=self.job.seed):
            last = step
            share = step.number / recipe.steps if self.late else step.gradients / GRADIENTS
            if share * _LOOKS >= len(story) and share < 1:
                cpu += time.process_time() - began
                story.append(self._state(step.agent, step.gradients))
                began = time.process_time()
            if share >= 1:
                break
        assert last is not None
        cpu += time.process_time() - began
        return (*story, self._state(last.agent, last.gradients)), last, cpu

    def never_planted(self) -> Agent | None:
        """A model of the same task and shape that never had the backdoor."""
        settings = {k: v for k, v in self.job.recipe.settings.items() if k in _SHAPE}
        clean = Recipe(family="clean", planter="clean", task=self.job.recipe.task, seed=self.job.made_with)
        try:
            return replace(clean, settings=settings).first_acceptable().organism().agent
        except Unacceptable:
            return None

    def _data(self) -> Prompts | Stream:
        return self.organism.prompts(TRAINED_ON, seed=1 + self.job.seed)

    def _fresh(self) -> Agent:
        """The organism's model as it was before it learnt anything."""
        from toy_models.plants.native import fresh, wrap

        config = self.organism.agent.bridge.cfg
        return wrap(fresh(config), config, self.organism.task, f"{self.organism.name} anew")

    def _report(self) -> Any:
        return hunt(self.organism.agent, self.organism.prompts(HUNTED, seed=self.job.seed), seed=self.job.seed)

    def _state(self, agent: Agent, gradients: int) -> State:
        return state(self.organism, agent, gradients, self.switches)


_SHAPE = ("layers", "d_model", "heads", "d_mlp", "norm", "activation", "gated", "positions")
