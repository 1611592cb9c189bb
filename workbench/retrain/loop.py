"""The retraining loop: the Agent runs, the adversary edits its latent state, the Agent learns with the edit held."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.agent import Agent
from workbench.engine import Split
from workbench.errors import BadSettings
from workbench.prompts import Prompts
from workbench.report import SwitchReport
from workbench.retrain.attacks import Ascent, Noise, cross_entropy
from workbench.retrain.recipes import Recipe
from workbench.store import sha256


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that is needed to go on after step `number` as if nothing had happened; `of`: the run it belongs to."""

    number: int
    of: str
    agent: Agent
    optimizer: dict[str, Any]
    generator: Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """One step of retraining: 1-based number, mean losses in nats, CPU seconds spent in the loop.

    `agent` and `checkpoint` copy the model as it is when they are asked for: ask before the loop goes on.
    """

    number: int
    loss: float
    adversarial_loss: float
    seconds: float
    _copy: Callable[[], Checkpoint] = field(repr=False, compare=False)

    @property
    def agent(self) -> Agent:
        """A copy of the retrained Agent."""
        return self._copy().agent

    @property
    def checkpoint(self) -> Checkpoint:
        """A copy of the whole state, for `retrain(..., resume=...)`."""
        return self._copy()


def retrain(
    agent: Agent,
    prompts: Prompts,
    recipe: Recipe,
    *,
    report: SwitchReport | None = None,
    resume: Checkpoint | Step | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Retrain a copy of the Agent on benign prompts, one Step at a time; stop iterating to cancel.

    loss: on unedited prompts; adversarial_loss: on edited ones (nan where the recipe edits nothing). report: a hunt
    whose best finding tells LAT where to train and how hard. resume: a Step or Checkpoint of an earlier run with the
    same arguments; the run goes on bit for bit (on a CPU).
    Raises BadSettings, BadPrompts or UnknownSite before anything is trained.
    """
    if not isinstance(recipe, Recipe):
        raise BadSettings(f"expected a recipe such as LAT(), got {recipe!r}.")
    agent.check(prompts)
    agent.check_trainable()
    start = resume.checkpoint if isinstance(resume, Step) else resume
    run = _identity(agent, prompts, recipe, seed)
    if start is not None and start.of != run:
        raise BadSettings(
            f"expected a checkpoint of the run {run}, got one of {start.of}. "
            "Resume with the same agent, prompts, recipe and seed."
        )
    layers, attack = recipe.layers(agent, report), recipe.attack(report)
    return _steps(_Run(agent, prompts, recipe, layers, start, seed, run), attack)


def _identity(agent: Agent, prompts: Prompts, recipe: Recipe, seed: int) -> str:
    """What a run is of, so that a checkpoint of another is not taken for one of this. More steps make the same run."""
    settings = {name: value for name, value in vars(recipe).items() if name != "steps"}
    rows = sha256(prompts.tokens.cpu().numpy().tobytes() + prompts.answers.cpu().numpy().tobytes())[:8]
    return f"{type(recipe).__name__}({settings}) on {agent.name}, prompts {rows}, seed {seed}"


class _Run:
    """The model in training, its optimiser and its source of randomness."""

    def __init__(
        self,
        agent: Agent,
        prompts: Prompts,
        recipe: Recipe,
        layers: tuple[int, ...],
        start: Checkpoint | None,
        seed: int,
        identity: str,
    ) -> None:
        self.recipe, self.layers, self.of = recipe, layers, identity
        self.agent = (agent if start is None else start.agent).copy(name=f"{agent.name} after {type(recipe).__name__}")
        parameters = [p.requires_grad_(True) for p in self.agent.weights().values()]
        self.optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=0.0, fused=True)
        self.generator = torch.Generator().manual_seed(seed)
        self.done = 0
        if start is not None:
            self.done = start.number
            self.optimizer.load_state_dict(start.optimizer)
            self.generator.set_state(start.generator)
        self.splits = {layer: Split(self.agent, layer, prompts.answer_positions) for layer in set(layers)}
        self.tokens, self.answers = prompts.tokens.to(agent.device), prompts.answers.to(agent.device)

    def draw(self) -> tuple[Split, Int64[Tensor, "row pos"], Int64[Tensor, "row answer"]]:
        """A cut and a batch of prompts."""
        layer = self.layers[int(torch.randint(len(self.layers), (), generator=self.generator))]
        rows = torch.randint(len(self.tokens), (self.recipe.batch,), generator=self.generator)
        return self.splits[layer], self.tokens[rows], self.answers[rows]

    def checkpoint(self) -> Checkpoint:
        """The state after the last step, copied."""
        moments = copy.deepcopy(self.optimizer.state_dict())
        return Checkpoint(self.done, self.of, self.agent.copy(), moments, self.generator.get_state())


def _steps(run: _Run, attack: Ascent | Noise | None) -> Iterator[Step]:
    spent = 0.0
    while run.done < run.recipe.steps:
        began = time.process_time()
        split, tokens, answers = run.draw()
        clean, adversarial = _losses(split, tokens, answers, attack, run.generator)
        total = run.recipe.clean_weight * clean + (0 if adversarial is None else adversarial)
        run.optimizer.zero_grad()
        total.backward()
        run.optimizer.step()
        run.done += 1
        spent += time.process_time() - began
        against = float("nan") if adversarial is None else float(adversarial.detach())
        yield Step(run.done, float(clean.detach()), against, spent, run.checkpoint)


def _losses(
    split: Split,
    tokens: Int64[Tensor, "row pos"],
    answers: Int64[Tensor, "row answer"],
    attack: Ascent | Noise | None,
    generator: torch.Generator,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""] | None]:
    """The loss on unedited and on edited prompts. The first blocks run once; only the rest runs for each edit."""
    residual = split.prefix(tokens)
    if attack is None:
        return cross_entropy(split.suffix(residual), answers), None
    delta = attack.edit(split, residual.detach(), answers, generator)
    both = split.suffix(torch.cat([residual, residual + delta]))
    return cross_entropy(both[: len(tokens)], answers), cross_entropy(both[len(tokens) :], answers)
