"""Laws of all baselines: a copy learns, a seed means one result, a resumed run is the unbroken one, costs are true."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, get_args

import pytest
import torch

from tests.retrain.scenery import RECIPES, SHAPES, bits, pretrained, running, same, steps
from tests.toys import boot, hooks_on, quiet, some_prompts, toy
from workbench import ANP, Ablation, FinePruning
from workbench.cli import retrain as command
from workbench.engine import Split
from workbench.errors import BadSettings
from workbench.retrain import Checkpoint, Recipe
from workbench.retrain.baselines.substitution import FORWARD

pytestmark = quiet
recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
shapes = pytest.mark.parametrize("shape", SHAPES)


def figures(run: Iterator[Any]) -> list[tuple[Any, ...]]:
    """What each step tells, and its weights."""
    return [(s.number, repr((s.loss, s.adversarial_loss, s.won, s.gradients)), bits(s.agent)) for s in run]


def equal(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    """Whether two runs are the same bit for bit."""
    return len(one) == len(other) and all(a[:2] == b[:2] and same(a[2], b[2]) for a, b in zip(one, other, strict=True))


@recipes
@shapes
def test_the_agent_given_stays_as_it_is_and_a_copy_is_changed(recipe: Recipe, shape: str) -> None:
    agent = toy(**SHAPES[shape])
    before, state, hooks = bits(agent), torch.random.get_rng_state(), hooks_on(agent)
    flags = [w.requires_grad for w in agent.weights().values()]
    leaves = [id(w) for w in agent.weights().values()]
    last = steps(recipe, agent)[-1]
    assert same(bits(agent), before)
    assert [id(w) for w in agent.weights().values()] == leaves
    assert [w.requires_grad for w in agent.weights().values()] == flags
    assert all(w.grad is None for w in agent.weights().values())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not same(bits(last.agent), before)
    assert all(w.requires_grad for w in last.agent.weights().values())
    assert hooks_on(agent) == hooks_on(last.agent) == hooks
    assert math.isfinite(last.loss)
    assert math.isnan(last.adversarial_loss) == isinstance(recipe, FinePruning | Ablation)


@recipes
def test_they_run_in_half_precision(recipe: Recipe) -> None:
    agent = boot(dtype=torch.bfloat16, gain=1.0)
    last = next(running(recipe, agent))
    assert math.isfinite(last.loss)
    assert {weight.dtype for weight in last.agent.weights().values()} == {torch.bfloat16}


def test_every_recipe_has_a_name_on_the_command_line() -> None:
    given = {type(recipe).__name__ for recipe in RECIPES}
    assert given < set(command.RECIPES.values())
    assert set(get_args(command.Retrain.__annotations__["recipe"])) == set(command.RECIPES)


@recipes
def test_same_seed_same_result_and_another_seed_another(recipe: Recipe) -> None:
    first, second, third = (figures(running(recipe, seed=seed)) for seed in (0, 0, 1))
    assert equal(first, second)
    assert not equal(first, third)


@recipes
@pytest.mark.parametrize("packed", [False, True], ids=("in memory", "as tensors"))
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(recipe: Recipe, packed: bool) -> None:
    whole = figures(running(recipe))
    point = list(islice(running(recipe), 2))[-1].checkpoint
    if packed:
        point = Checkpoint.unpacked(*point.packed(), like=toy())
    assert equal(figures(running(recipe, resume=point)), whole[2:])


@recipes
def test_closing_the_loop_leaves_no_hooks_and_the_agent_as_it_was(recipe: Recipe) -> None:
    agent, before, clean = toy(), hooks_on(toy()), toy().logits(some_prompts())
    run = running(recipe)
    after = next(run).agent
    run.close()
    assert hooks_on(agent) == hooks_on(after) == before
    assert torch.equal(agent.logits(some_prompts()), clean)


@recipes
def test_the_cost_is_that_of_the_runs_with_a_way_back_and_a_third_of_those_without(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent, real = [0.0], Split.suffix

    def counted(self: Split, residual: torch.Tensor, *rest: Any) -> torch.Tensor:
        logits = real(self, residual, *rest)
        spent[0] += len(residual) / recipe.batch * (1.0 if logits.requires_grad else FORWARD)
        return logits

    run = running(recipe)
    monkeypatch.setattr(Split, "suffix", counted)
    for step in run:
        assert math.ceil(spent[0] / step.number - 1e-6) * step.number == step.gradients


@pytest.mark.parametrize("recipe", RECIPES[:-1], ids=lambda recipe: type(recipe).__name__)  # ablation: its own tests
@pytest.mark.parametrize("architecture", ["gpt2", "neox", "llama", "gemma2"])
def test_they_run_on_models_of_hugging_face(recipe: Recipe, architecture: str) -> None:
    agent, prompts = pretrained(architecture)
    before = bits(agent)
    last = list(islice(running(recipe, agent, prompts), 2))[-1]
    assert math.isfinite(last.loss)
    assert same(bits(agent), before)
    assert not same(bits(last.agent), before)


@pytest.mark.parametrize("kind", [ANP, FinePruning])
def test_a_model_without_mlps_has_nothing_to_prune(kind: Any) -> None:
    with pytest.raises(BadSettings, match="expected a model with MLP neurons to prune, got toy"):
        running(kind(), toy(attn_only=True))
