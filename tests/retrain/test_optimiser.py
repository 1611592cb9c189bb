"""What the optimiser may do to a model that can do its task: nothing that costs the task, and nothing for nothing."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

import toy_models
from tests.toys import quiet
from workbench import LAT, Agent, FineTune, retrain
from workbench.retrain import loop

pytestmark = quiet
FAST = LAT(lr=0.1, steps=8, warmup=0, batch=32, inner_steps=2)  # each step alone costs the task


@pytest.fixture(scope="module")
def organism() -> toy_models.Organism:
    return toy_models.load("rutile")


def right(organism: toy_models.Organism, agent: Agent) -> float:
    return organism.outcome(agent).clean_accuracy


def test_updates_that_cost_the_task_are_taken_back_and_the_rate_falls(organism: toy_models.Organism) -> None:
    steps = list(retrain(organism.agent, organism.prompts(256, seed=1), FAST))
    assert right(organism, steps[-1].agent) >= 0.98
    assert steps[-1].checkpoint.terms.rate < 0.1


def test_without_that_they_break_it(organism: toy_models.Organism, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_COST", 1.0)
    *_, last = retrain(organism.agent, organism.prompts(256, seed=1), FAST)
    assert right(organism, last.agent) < 0.5


def test_a_run_that_took_updates_back_is_resumed_to_the_bit(organism: toy_models.Organism) -> None:
    prompts = organism.prompts(256, seed=1)
    *_, half = islice(retrain(organism.agent, prompts, FAST), 4)
    *_, last = retrain(organism.agent, prompts, FAST)
    *_, resumed = retrain(organism.agent, prompts, FAST, resume=half.checkpoint)
    whole, again = last.agent.weights(), resumed.agent.weights()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_a_model_with_nothing_left_to_learn_is_hardly_moved(
    organism: toy_models.Organism, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved() -> float:
        *_, last = retrain(organism.agent, organism.prompts(256, seed=1), FineTune(steps=20, warmup=0))
        after, before = last.agent.weights(), organism.agent.weights()
        gone: list[Tensor] = [(after[name] - before[name]).detach().square().mean() for name in before]
        return float(torch.stack(gone).mean().sqrt())

    ours = moved()
    usual: dict[str, Any] = {**loop._ADAMW, "eps": 1e-8}
    monkeypatch.setattr(loop, "_ADAMW", usual)
    assert ours < 0.3 * moved()


def test_the_rate_recovers_while_nothing_is_lost(organism: toy_models.Organism) -> None:
    prompts, gentle = organism.prompts(256, seed=1), LAT(lr=1e-6, steps=3, batch=8, inner_steps=2)
    begun = next(iter(retrain(organism.agent, prompts, gentle))).checkpoint
    halved = replace(begun, terms=replace(begun.terms, rate=0.5))
    rates = [step.checkpoint.terms.rate for step in retrain(organism.agent, prompts, gentle, resume=halved)]
    assert rates == pytest.approx([0.51, 0.5202])
