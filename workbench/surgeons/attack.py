"""One edit for each prompt: the attacker makes them, the door projects, runs and grades them. Never a Finding."""

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import Bound, Budget, mean_residual_norm
from workbench.edits import Edit
from workbench.engine import View
from workbench.engine.each import Each
from workbench.errors import BadPrompts, check_kinds
from workbench.goals import Goal, UntargetedLoss
from workbench.portrait import Example
from workbench.prompts import Prompts
from workbench.sites import Site
from workbench.surgeons.room import Room

if TYPE_CHECKING:
    import pandas

CONTROLS = 8
"""Random edits of equal size for every prompt, run beside the attack."""
_FEWEST = 32

Said = Int64[Tensor, "prompt answer"]


@runtime_checkable
class Attacker(Protocol):
    """What makes one edit for each prompt: a frozen value whose fields are its settings.

    learns: whether it learns from some prompts how to edit others; then it is graded on those that it did not see.
    """

    learns: ClassVar[bool]

    def edits(
        self, attacked: Each, seen: Each, goal: Goal, budget: Bound, generator: torch.Generator
    ) -> Float[Tensor, "prompt place width"]:
        """An edit for each attacked prompt, with a row for each of `attacked.places`.

        seen: the prompts to learn from; for an attacker that does not learn, those attacked.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Attack:
    """Edits of which every prompt has its own, and what they did.

    prompts: those attacked, all that were given, or the unseen half for an attacker that learns. deltas: what is added
    at each position. before, after: the Agent's answers without and with the edits, `examples` the same in words. met:
    the Goal's verdict on each prompt alone. rho: the size of each prompt's edit, nan where undefined. by_chance: the
    share of a prompt's answers that random edits of its size change. score, control: the Goal's score of all prompts
    together, and the best one under random edits. engine: the way in which all was run (see Each).
    """

    agent: str
    attacker: str
    site: Site
    prompts: Prompts
    deltas: Float[Tensor, "prompt pos width"]
    before: Said
    after: Said
    met: Bool[Tensor, "prompt"]
    rho: Float[Tensor, "prompt"]
    by_chance: Float[Tensor, "prompt"]
    score: float
    control: float
    engine: str
    examples: tuple[Example, ...]

    @property
    def flipped(self) -> float:
        """The share of answers that changed."""
        return float((self.after != self.before).float().mean())

    @property
    def hit(self) -> float:
        """The share of prompts on which the Goal is met."""
        return float(self.met.float().mean())

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Each prompt's edit, one row a token."""
        return tuple(Edit(self.site, delta) for delta in self.deltas)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a prompt, with its answers in words."""
        import pandas

        rows = {
            "prompt": [" ".join(e.prompt) for e in self.examples],
            "benign": [" ".join(e.benign) for e in self.examples],
            "unedited": [" ".join(e.unedited) for e in self.examples],
            "with its edit": [" ".join(e.elicited) for e in self.examples],
            "changed": (self.after != self.before).float().mean(1).tolist(),
            "changed by chance": self.by_chance.tolist(),
            "goal_met": self.met.tolist(),
            "rho": self.rho.tolist(),
        }
        return pandas.DataFrame(rows, index=pandas.RangeIndex(1, len(self.examples) + 1, name="prompt number"))


def attack(
    agent: Agent,
    prompts: Prompts,
    *,
    site: Site | str,
    budget: Budget,
    attacker: Attacker,
    goal: Goal | None = None,
    seed: int = 0,
    memory: int | None = None,
) -> Attack:
    """What an adversary that may edit every prompt differently can make of an Agent, within the budget.

    This measures robustness, and is what `LAT` trains against. It is no evidence of a switch, and no verdict follows
    from it: with an edit for each prompt any answer can be forced on almost any Agent, planted or clean. Only an edit
    that does the same to prompts that nobody searched on says something of the Agent: that is what `scan` is for.

    goal=None: any wrong answer (UntargetedLoss). An attacker that learns sees a seeded half of the prompts and is
    graded on the other. Edits are projected onto the budget, each prompt's by itself, before they are run; beside them
    run `CONTROLS` random edits for each prompt, as large position by position. memory: bytes that a run may take.
    Raises BadSettings, BadPrompts, BadBudget or UnknownSite before anything is searched.
    """
    goal = UntargetedLoss() if goal is None else goal
    _check(agent, prompts, budget, goal, attacker, seed)
    place, bound = agent.site(site), budget.bind(agent, [site], prompts)
    halves = prompts.halves(torch.Generator().manual_seed(seed)) if attacker.learns else (prompts,)
    scenes = [Each(View(agent, place, some, memory=memory)) for some in halves]
    name = type(attacker).__name__
    made = attacker.edits(scenes[-1], scenes[0], goal, bound, _generator(seed, "attack", name, place))
    deltas = Room.of(scenes[-1], bound).project(made.detach())
    norm = mean_residual_norm(agent, place, prompts) if agent.write(place) is not None else float("nan")
    return _graded(scenes[-1], name, deltas, goal, bound, norm, _generator(seed, "controls", name, place))


def _graded(
    each: Each,
    attacker: str,
    deltas: Float[Tensor, "prompt place width"],
    goal: Goal,
    budget: Bound,
    norm: float,
    generator: torch.Generator,
) -> Attack:
    """The attack of these edits. norm: the mean residual norm."""
    logits, agent = each.logits(deltas[None]), each.agent
    before, after = each.view.clean_logits.argmax(-1).cpu(), logits[0].argmax(-1).cpu()
    random = Room.of(each, budget).alike(deltas.expand(CONTROLS, -1, -1, -1), generator)
    chance = (each.logits(random).argmax(-1).cpu() != before).float().mean((0, 2))
    return Attack(
        agent=agent.name,
        attacker=attacker,
        site=each.site,
        prompts=each.prompts,
        deltas=each.whole(deltas).cpu(),
        before=before,
        after=after,
        met=each.met(logits, goal)[0].cpu(),
        rho=_rho(each, deltas, norm),
        by_chance=chance,
        score=float(each.scores(deltas[None], goal)[0]),
        control=float(each.scores(random, goal).max()),
        engine=each.engine,
        examples=_examples(agent, each.prompts, before, after),
    )


def _rho(each: Each, deltas: Float[Tensor, "prompt place width"], norm: float) -> Float[Tensor, "prompt"]:
    """The largest write of each prompt's edit over its positions, in mean residual norms."""
    write = each.agent.write(each.site)
    if write is None:
        return torch.full((len(deltas),), float("nan"))
    return ((deltas.to(write) @ write).norm(dim=-1).amax(-1) / norm).cpu()


def _examples(agent: Agent, prompts: Prompts, before: Said, after: Said) -> tuple[Example, ...]:
    columns = map(agent.decode, (prompts.tokens, prompts.answers, before, after))
    return tuple(Example(*map(tuple, row)) for row in zip(*columns, strict=True))


def _generator(seed: int, *words: Any) -> torch.Generator:
    """So seeded that the attacker does not move the dice of its controls."""
    return torch.Generator().manual_seed(zlib.crc32("/".join(map(str, (seed, *words))).encode()))


def _check(agent: object, prompts: Any, budget: object, goal: object, attacker: Any, seed: object) -> None:
    """BadSettings or BadPrompts for whatever is not what it should be."""
    check_kinds(
        ("an agent such as organism.agent", agent, Agent),
        ("Prompts", prompts, Prompts),
        ("a budget such as L2Ball(1.0)", budget, Budget),
        ("a goal such as UntargetedLoss()", goal, Goal),
        ("an attacker such as PerPromptAscent()", attacker, Attacker),
        ("a whole number as the seed", seed, int),
    )
    if attacker.learns and len(prompts) < _FEWEST:
        raise BadPrompts(
            f"expected at least {_FEWEST} prompts, half to learn from and half to be graded on, got {len(prompts)}."
        )
