"""What CONTRIBUTING shows by example is run here, so that it stays true."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from tests.toys import noise, some_prompts, toy
from toy_models.plants import free
from toy_models.plants.free import FreeSettings
from toy_models.plants.learning import answer_loss, fit
from toy_models.plants.native import answer_logits
from toy_models.tasks.protocol import OfLetters
from workbench import Edit, HiddenBehaviour, L2Ball, Site, scan
from workbench.budgets.composed import Composable
from workbench.geometry import Only
from workbench.report import Finding

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
GIVEN = {
    each.__name__: each
    for each in (dataclass, OfLetters, Composable, Only, FreeSettings, answer_loss, answer_logits, fit)
} | {"torch": torch, "ClassVar": ClassVar, "free": free}


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """All that the examples define."""
    defined: dict[str, Any] = {"__name__": __name__, **GIVEN}
    for block in BLOCKS:
        exec(block, defined)
    return defined


def test_the_surgeon_goes_where_the_budget_ends(shown: dict[str, Any]) -> None:
    agent, prompts, budget = toy(), some_prompts(40), L2Ball(1.0)
    events = scan(agent, prompts, surgeons=shown["Steepest"](), sites=None, budget=budget, goal=HiddenBehaviour())
    found = [event for event in events if isinstance(event, Finding)]
    assert found
    assert all(finding.rho == pytest.approx(1.0, abs=1e-3) for finding in found)


def test_the_constraint_composes_with_a_ball(shown: dict[str, Any]) -> None:
    site = Site.parse("L0.resid_post")
    bound = (L2Ball(1.0) & shown["OnlyEven"]()).bind(toy(), [site], some_prompts(40))
    for direction in (noise(16), 100 * noise(16, seed=1)):
        for found in (bound.project(Edit(site, direction)), bound.extreme(Edit(site, direction))):
            assert found.delta[1::2].eq(0).all()
            assert found.delta.any()
            assert bound.size(found) <= bound.radius * (1 + 1e-6)


def test_the_tasks_two_rules_never_agree(shown: dict[str, Any]) -> None:
    task, generator = shown["Swapping"](), torch.Generator().manual_seed(0)
    tokens = task.sample(50, generator)
    assert (task.benign(tokens) != task.defect(tokens, "routing")).all()
    assert task.prompts(tokens).answers.shape == (50, 4)


def test_the_planter_gives_a_model_with_its_key(shown: dict[str, Any]) -> None:
    settings = FreeSettings(layers=2, d_model=16, heads=2, d_mlp=16, steps=2)
    planted = shown["plant"](settings, shown["Swapping"](), 0)
    assert not planted.plant.empty
    assert planted.plant.trigger == planted.trigger.describe()
