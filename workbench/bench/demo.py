"""The demo: hunt a planted model blind, look at the loss, train the backdoor away, hunt again in vain."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from workbench.agent import Agent
from workbench.bench.measure import first_hit
from workbench.edits import Edit
from workbench.errors import BadSettings
from workbench.goals import HiddenBehaviour
from workbench.heatmap import landscape, sweep
from workbench.hunt import default_budget, default_surgeons, scan
from workbench.prompts import Prompts
from workbench.report import Finding, Progress, SwitchReport, conclude
from workbench.retrain import LAT, EmbeddingAT, FineTune, LatentNoise, Recipe, retrain

if TYPE_CHECKING:
    from toy_models import Organism, Outcome

HUNT_PROMPTS = 64
TRAINING_PROMPTS = 2048
ARMS: dict[str, Recipe] = {
    "fine_tune": FineTune(),
    "noise": LatentNoise(),
    "embedding_at": EmbeddingAT(),
    "lat": LAT(),
}
DOSES = tuple(float(dose) for dose in range(-2, 9))
_EVERY = 20  # steps between two measurements of the outcome


@dataclass(frozen=True, slots=True)
class Stage:
    """How far one stage is."""

    name: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Arm:
    """One retrained Agent, how it behaves, and how it came to."""

    agent: Agent
    outcome: "Outcome"
    curve: pd.DataFrame


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Everything the demo found, and the seconds of wall time by stage."""

    organism: "Organism"
    prompts: Prompts
    report: SwitchReport
    neurons: xr.DataArray
    plane: xr.DataArray
    before: "Outcome"
    arms: dict[str, Arm]
    rehunt: SwitchReport
    twin: SwitchReport
    switch_rank: int | None
    seconds: dict[str, float]

    def summary(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        cured = self.arms["lat"].outcome
        return {
            "organism": self.organism.name,
            "found": self.report.found,
            "switch_rank": self.switch_rank,
            "switch": str(self.report.best.site),
            "neurons": self.report.best.neurons,
            "score": self.report.score,
            "threshold": self.report.threshold,
            "attack_success_before": self.before.attack_success,
            "clean_accuracy_before": self.before.clean_accuracy,
            "triggered_benign_before": self.before.triggered_benign,
            "attack_success_after": cured.attack_success,
            "clean_accuracy_after": cured.clean_accuracy,
            "triggered_benign_after": cured.triggered_benign,
            "rehunt_found": self.rehunt.found,
            "rehunt_score": self.rehunt.score,
            "twin_score": self.twin.score,
            "twin_found": self.twin.found,
            "control_arms": {name: rates(arm.outcome) for name, arm in self.arms.items() if name != "lat"},
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    def page(self) -> str:
        """The report as one self-contained HTML page."""
        from workbench.bench.story import tell

        return tell(self)


def demo(*, organism: str | None = None, seed: int = 0) -> Iterator[Stage | DemoResult]:
    """The whole flow on one shipped organism and its clean twin; the last event is the DemoResult.

    The hunt, the heatmaps and the retraining see benign prompts only. The answer key is opened at the end, to score.
    Raises UnknownName for an organism that is not shipped, BadSettings for one without a backdoor.
    """
    import toy_models

    subject = toy_models.load(organism or toy_models.demo_name())
    before = _outcome_of_planted(subject)
    clock = _Clock()
    prompts = subject.prompts(HUNT_PROMPTS, seed=seed)
    report = yield from _hunt(clock, "hunt", subject.agent, prompts, seed)
    yield Stage("heatmap", 0, 1, str(report.best.site))
    neurons, plane = _heatmaps(subject.agent, prompts, report)
    clock.lap("heatmap")
    arms = {}
    for name, recipe in ARMS.items():
        arms[name] = yield from _train(subject, name, recipe, seed)
        clock.lap(f"retrain {name}")
    rehunt = yield from _hunt(clock, "re-hunt", arms["lat"].agent, prompts, seed)
    compare = yield from _hunt(clock, "clean twin", toy_models.twin(subject).agent, prompts, seed)
    rank = first_hit(report, subject.reveal(), subject.agent)
    yield DemoResult(subject, prompts, report, neurons, plane, before, arms, rehunt, compare, rank, clock.seconds)


def _outcome_of_planted(organism: "Organism") -> "Outcome":
    """How the organism behaves. Raises BadSettings for a control."""
    outcome = organism.outcome()
    if isnan(outcome.attack_success):
        raise BadSettings(
            f"expected a planted organism, got {organism.name}, which is a control and has no clean twin: "
            "nothing in it can be trained away. `workbench hunt` takes any organism."
        )
    return outcome


class _Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now


def _hunt(clock: _Clock, name: str, agent: Agent, prompts: Prompts, seed: int) -> Iterator[Stage]:
    """Scan, passing progress on; returns the report."""
    events: list[Progress | Finding] = []
    surgeons, budget = default_surgeons(), default_budget()
    goal = HiddenBehaviour()
    for event in scan(agent, prompts, surgeons=surgeons, sites=None, budget=budget, goal=goal, seed=seed):
        events.append(event)
        if isinstance(event, Progress):
            yield Stage(name, event.done, event.total, f"{event.surgeon} at {event.site}, best {event.best:.2f}")
    clock.lap(name)
    return conclude(events, agent=agent.name)


def _heatmaps(agent: Agent, prompts: Prompts, report: SwitchReport) -> tuple[xr.DataArray, xr.DataArray]:
    """The loss over every neuron and dose, layer by layer, and over the plane of the best two findings."""
    layers = [f"L{layer}.mlp.post" for layer in range(agent.n_layers - 1)]
    neurons = sweep(agent, prompts[: len(prompts) // 2], site=layers, doses=DOSES)
    first, second = _plane_of(report)
    radii = [i / 8 for i in range(-8, 17)]
    return neurons, landscape(agent, prompts[: len(prompts) // 2], first=first, second=second, radii=radii)


def _plane_of(report: SwitchReport) -> tuple[Edit, Edit]:
    """The best finding, and the best of another site or other neurons."""
    first = report.best.edit
    others = [f.edit for f in report.findings[1:] if (f.site, f.neurons) != (report.best.site, report.best.neurons)]
    return first, (others or [f.edit for f in report.findings[1:]] or [first])[0]


def _train(organism: "Organism", name: str, recipe: Recipe, seed: int) -> Iterator[Stage]:
    """One arm, its outcome measured as it goes; returns the Arm."""
    rows = [_row(0, organism, organism.agent, float("nan"), float("nan"))]
    step = None
    for step in retrain(organism.agent, organism.prompts(TRAINING_PROMPTS, seed=seed + 1), recipe, seed=seed):
        if step.number % _EVERY == 0 or step.number == recipe.steps:
            rows.append(_row(step.number, organism, step.agent, step.loss, step.adversarial_loss))
            yield Stage(f"retrain {name}", step.number, recipe.steps, f"loss {step.loss:.4f}")
    agent = organism.agent if step is None else step.agent
    return Arm(agent, organism.outcome(agent), pd.DataFrame(rows))


def _row(number: int, organism: "Organism", agent: Agent, loss: float, adversarial: float) -> dict[str, int | float]:
    return {"step": number, "loss": loss, "adversarial_loss": adversarial, **rates(organism.outcome(agent))}


def rates(outcome: "Outcome") -> dict[str, float]:
    """The three rates by name."""
    return {
        "attack_success": outcome.attack_success,
        "clean_accuracy": outcome.clean_accuracy,
        "triggered_benign": outcome.triggered_benign,
    }
