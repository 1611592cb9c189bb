"""The retraining loop: a batch is drawn, the recipe's method makes losses of it, and the model lowers them."""

import copy
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from statistics import fmean
from typing import Any

import torch

from workbench.agent import Agent
from workbench.errors import BadSettings, Diverged
from workbench.prompts import Prompts
from workbench.report import SwitchReport
from workbench.retrain.checkpoint import Checkpoint
from workbench.retrain.protocol import Batch, Losses, Recipe, Subject
from workbench.retrain.schedules import Steady
from workbench.retrain.streams import Rows, Stream

_SAMPLE = 256  # prompts of a stream on which sizes are measured
_ADAMW: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-5, "weight_decay": 0.0}
"""Gradients grow with the adversary's radius: with the usual .999 the mean of their squares lags behind for hundreds of
steps, which are then too large. With the usual eps of 1e-8 a model that makes no more mistakes takes full-size steps
wherever the noise points, and forgets what is planted in it: that would be weight noise, not fine-tuning."""
_COST = 0.005
"""The share of unedited answers, from the most that were right, that updates may cost. Beyond it one that costs more is
taken back, and the learning rate halved."""
_RECOVERY = 1.02  # factor by which the rate rises again, a step


@dataclass(frozen=True, slots=True)
class Step:
    """One step of retraining.

    number: from 1. loss, adversarial_loss: means in nats, before the update (of several, their mean). won: the share of
    answers that the adversary turned from the ones wanted; wins: the same over about ten steps. share: of the
    adversary's full radius, by the schedule. gradients: gradient evaluations since the beginning, the adversary's
    included. alarm: what is wrong with the contest, in words, or "". seconds: CPU seconds spent in this loop.
    nan for what there is not. `agent` and `checkpoint` copy the model as it is when they are asked for: ask before the
    loop goes on.
    """

    number: int
    loss: float
    adversarial_loss: float
    seconds: float
    won: float
    wins: float
    share: float
    gradients: int
    alarm: str
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
    prompts: Prompts | Stream,
    recipe: Recipe,
    *,
    report: SwitchReport | None = None,
    resume: Checkpoint | Step | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Retrain a copy of the Agent on benign prompts, one Step at a time; stop iterating to cancel.

    prompts: a fixed set, of which rows are drawn, or a Stream that makes those of every step. report: a hunt whose best
    finding tells LAT where to train and how hard. resume: a Step or Checkpoint of an earlier run with the same
    arguments; the run goes on bit for bit (on a CPU).
    Raises BadSettings, BadPrompts or UnknownSite before anything is trained, and Diverged, before the update, when a
    loss is not a finite number.
    """
    if not isinstance(recipe, Recipe):
        raise BadSettings(f"expected a recipe such as LAT(), got {recipe!r}.")
    stream = Rows(prompts) if isinstance(prompts, Prompts) else prompts
    if not isinstance(stream, Stream):
        raise BadSettings(f"expected Prompts, or a Stream that makes them, got {prompts!r}.")
    sample = prompts if isinstance(prompts, Prompts) else stream.draw(1, _SAMPLE, torch.Generator().manual_seed(seed))
    agent.check(sample)
    agent.check_trainable()
    start = resume.checkpoint if isinstance(resume, Step) else resume
    run = _identity(agent, stream, recipe, seed)
    if start is not None and start.of != run:
        raise BadSettings(
            f"expected a checkpoint of the run {run}, got one of {start.of}. "
            "Resume with the same agent, prompts, recipe and seed."
        )
    name = f"{agent.name} after {type(recipe).__name__}"
    subject = Subject((agent if start is None else start.agent).copy(name=name), agent, sample, report)
    return _steps(_Run(subject, stream, recipe, start, seed, run))


def _identity(agent: Agent, stream: Stream, recipe: Recipe, seed: int) -> str:
    """What a run is of, so that a checkpoint of another is not taken for one of this. More steps make the same run."""
    settings = {name: value for name, value in vars(recipe).items() if name != "steps"}
    described = re.sub(r" at 0x[0-9a-f]+", "", str(settings))  # the address of a function is not what it does
    return f"{type(recipe).__name__}({described}) on {agent.name}, {stream.identity}, seed {seed}"


class _Run:
    """The model in training, its optimiser, the terms of the contest and its source of randomness."""

    def __init__(
        self, subject: Subject, stream: Stream, recipe: Recipe, start: Checkpoint | None, seed: int, identity: str
    ) -> None:
        self.agent, self.recipe, self.stream, self.of = subject.agent, recipe, stream, identity
        self.schedule = getattr(recipe, "pace", Steady())
        self.method = recipe.method(subject)
        self.terms, self.done, self.gradients = self.schedule.first(), 0, 0
        self.generator = torch.Generator().manual_seed(seed)
        if start is None:
            self.method.begin()
        self.learnt = parameters = self.method.parameters()
        weights = {id(weight) for weight in self.agent.weights().values()}
        self.beside = {str(i): leaf for i, leaf in enumerate(parameters) if id(leaf) not in weights}
        self.optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, fused=True, **_ADAMW)
        if start is not None:
            self.done, self.gradients, self.terms = start.number, start.gradients, start.terms
            self.optimizer.load_state_dict(start.optimizer)
            self.generator.set_state(start.generator)
            for name, leaf in self.beside.items():
                leaf.detach().copy_(start.beside[name])

    def step(self) -> list[Losses]:
        """One step, whole: the losses before each update."""
        drawn = self.stream.draw(self.done + 1, self.recipe.batch, self.generator)
        device = self.agent.device
        batch = Batch(drawn.tokens.to(device), drawn.answers.to(device), self.done + 1)
        self._warm()
        told = []
        for losses in self.method.turn(batch, self.terms, self.generator):
            self._update(losses)
            told.append(losses)
        self.done += 1
        self.gradients += self.method.cost(self.terms)
        self._pace(told)
        return told

    def _warm(self) -> None:
        """The learning rate of this step, which rises during the first ones."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * self.terms.rate * min(1, (self.done + 1) / (self.recipe.warmup + 1))

    def _update(self, losses: Losses) -> None:
        """Lower the total; take the update back if it costs the model its task (as a backtracking line search does)."""
        if not isfinite(value := losses.total.item()):
            raise Diverged(f"the loss of step {self.done + 1} is {value}: lower the learning rate, or eps.")
        self.optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self.learnt, self.recipe.clip)
        before = [] if losses.kept is None else [leaf.detach().clone() for leaf in self.learnt]
        self.optimizer.step()
        if losses.kept is not None:
            right = float(losses.right)
            least = min(right, (self.terms.best or right) - _COST)
            self._check(bool(losses.kept() < least), before)

    @torch.no_grad()
    def _check(self, costly: bool, before: list[torch.Tensor]) -> None:
        """Take the last update back where it was costly; and the learning rate after it."""
        if costly:
            for leaf, weight in zip(self.learnt, before, strict=True):
                leaf.copy_(weight)
        rate = self.terms.rate / 2 if costly else min(1.0, self.terms.rate * _RECOVERY)
        self.terms = replace(self.terms, rate=rate)

    def _pace(self, told: list[Losses]) -> None:
        won = _mean([losses.won for losses in told[:1]])
        if isfinite(won):
            self.terms = self.schedule.next(self.terms.after(won, float(told[0].right)))

    def checkpoint(self) -> Checkpoint:
        """The state after the last step, copied."""
        moments = copy.deepcopy(self.optimizer.state_dict())
        state, beside = self.generator.get_state(), {name: leaf.detach().clone() for name, leaf in self.beside.items()}
        return Checkpoint(self.done, self.of, self.agent.copy(), moments, state, self.gradients, self.terms, beside)


def _steps(run: _Run) -> Iterator[Step]:
    spent = 0.0
    while run.done < run.recipe.steps:
        began, terms = time.process_time(), run.terms
        told = run.step()
        spent += time.process_time() - began
        fights = run.terms.steps > 0
        yield Step(
            number=run.done,
            loss=_mean([losses.clean for losses in told]),
            adversarial_loss=_mean([losses.adversarial for losses in told]),
            seconds=spent,
            won=_mean([losses.won for losses in told[:1]]),
            wins=run.terms.wins if fights else nan,
            share=terms.share if fights else nan,
            gradients=run.gradients,
            alarm=run.terms.alarm if fights else "",
            _copy=run.checkpoint,
        )


def _mean(values: list[torch.Tensor | None]) -> float:
    """Their mean; nan where there are none."""
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else nan
