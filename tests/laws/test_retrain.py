"""Laws of retraining: a copy learns, a seed means one result, a resumed run is the unbroken one, edits keep to eps."""

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.toys import boot, hooks_on, noise, quiet, some_prompts, toy
from workbench import LAT, Agent, EmbeddingAT, FineTune, LatentNoise, Step, retrain
from workbench.engine import Split
from workbench.retrain import loop
from workbench.retrain.attacks import Ascent, Noise, random_in_ball, shrink_into_ball
from workbench.retrain.recipes import Recipe

pytestmark = quiet
SHORT: dict[str, Any] = {"steps": 4, "batch": 8}
RECIPES = (FineTune(**SHORT), LatentNoise(**SHORT), EmbeddingAT(inner_steps=2, **SHORT), LAT(inner_steps=2, **SHORT))
recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)


def bits(agent: Agent) -> dict[str, Tensor]:
    """A copy of every weight."""
    return {name: weight.detach().clone() for name, weight in agent.weights().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether all weights are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run(recipe: Recipe, agent: Agent | None = None, *, seed: int = 0) -> tuple[list[tuple[float, float]], Agent]:
    """Losses of each step, and the Agent after the last."""
    figures, step = [], None
    for step in retrain(agent or toy(), some_prompts(24), recipe, seed=seed):
        figures.append((step.loss, step.adversarial_loss))
    assert step is not None
    return figures, step.agent


@recipes
def test_the_agent_given_stays_as_it_is_and_a_copy_learns(recipe: Recipe) -> None:
    agent = toy()
    before, state = bits(agent), torch.random.get_rng_state()
    flags = [w.requires_grad for w in agent.weights().values()]
    _, after = run(recipe)
    assert same(bits(agent), before)
    assert [w.requires_grad for w in agent.weights().values()] == flags
    assert all(w.grad is None for w in agent.weights().values())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not same(bits(after), before)
    assert after.bridge is not agent.bridge


@recipes
def test_same_seed_same_result_and_another_seed_another(recipe: Recipe) -> None:
    (figures, first), (again, second), (others, third) = (run(recipe, seed=seed) for seed in (0, 0, 1))
    assert repr(figures) == repr(again) != repr(others)
    assert same(bits(first), bits(second))
    assert not same(bits(first), bits(third))


@recipes
@pytest.mark.parametrize("ask", [lambda step: step, lambda step: step.checkpoint], ids=("step", "checkpoint"))
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(recipe: Recipe, ask: Callable[[Step], Any]) -> None:
    whole = [(s.number, s.loss, s.adversarial_loss, bits(s.agent)) for s in retrain(toy(), some_prompts(24), recipe)]
    steps = retrain(toy(), some_prompts(24), recipe)
    broken_off = ask(list(islice(steps, 2))[-1])
    rest = [
        (s.number, s.loss, s.adversarial_loss, bits(s.agent))
        for s in retrain(toy(), some_prompts(24), recipe, resume=broken_off)
    ]
    assert [repr(r[:3]) for r in rest] == [repr(w[:3]) for w in whole[2:]]
    assert all(same(r[3], w[3]) for r, w in zip(rest, whole[2:], strict=True))


@recipes
def test_closing_the_loop_leaves_no_hooks_and_its_copies_none_either(recipe: Recipe) -> None:
    agent, before, clean = toy(), hooks_on(toy()), toy().logits(some_prompts())
    steps = retrain(agent, some_prompts(24), recipe)
    after = next(steps).agent
    steps.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert hooks_on(agent) == hooks_on(after) == before
    assert torch.equal(agent.logits(some_prompts()), clean)


def test_an_agent_taken_from_a_step_does_not_learn_on() -> None:
    steps = retrain(toy(), some_prompts(24), LAT(**SHORT))
    early = next(steps).agent
    then = bits(early)
    last = list(steps)[-1]
    assert same(bits(early), then)
    assert not same(bits(last.agent), then)


def test_steps_count_from_one_and_only_fine_tuning_has_no_adversarial_loss() -> None:
    for recipe in RECIPES:
        steps = list(retrain(toy(), some_prompts(24), recipe))
        assert [s.number for s in steps] == [1, 2, 3, 4]
        assert [math.isnan(s.adversarial_loss) for s in steps] == [isinstance(recipe, FineTune)] * 4
        assert all(math.isfinite(s.loss) and s.seconds >= 0 for s in steps)
        assert [s.seconds for s in steps] == sorted(s.seconds for s in steps)


def test_the_first_loss_is_that_of_the_agent_and_fine_tuning_lowers_it() -> None:
    agent, prompts = boot(gain=1.0), some_prompts(1)
    steps = list(retrain(agent, prompts, FineTune(steps=40, batch=4, lr=1e-2)))
    expected = torch.nn.functional.cross_entropy(agent.logits(prompts).flatten(0, 1), prompts.answers.flatten())
    assert steps[0].loss == pytest.approx(float(expected), rel=1e-4)
    assert steps[-1].loss < 0.5 * steps[0].loss


@pytest.mark.parametrize("eps", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_adversarial_edits_stay_within_eps_of_each_positions_norm(eps: float, layer: int) -> None:
    agent, prompts = toy(), some_prompts(8)
    split = Split(agent, layer, prompts.answer_positions)
    residual = split.prefix(prompts.tokens).detach()
    delta = Ascent(eps, 3).edit(split, residual, prompts.answers, torch.Generator().manual_seed(0))
    share = delta.norm(dim=-1) / residual.norm(dim=-1)
    assert share.max() <= eps * (1 + 1e-5)
    plain, edited = (loop.cross_entropy(split.suffix(x), prompts.answers) for x in (residual, residual + delta))
    assert edited > plain


def test_ascent_climbs_further_than_noise_of_the_same_size() -> None:
    agent, prompts = toy(), some_prompts(16)
    split = Split(agent, 1, prompts.answer_positions)
    residual = split.prefix(prompts.tokens).detach()

    def loss(attack: Ascent | Noise) -> float:
        delta = attack.edit(split, residual, prompts.answers, torch.Generator().manual_seed(0))
        return float(loop.cross_entropy(split.suffix(residual + delta), prompts.answers).detach())

    assert loss(Ascent(0.5, 6)) > loss(Noise(0.5)) + 0.1


def test_every_edit_of_a_run_stays_within_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    inner = Ascent.edit

    def watched(self: Ascent, split: Split, residual: Tensor, answers: Tensor, generator: torch.Generator) -> Tensor:
        delta = inner(self, split, residual, answers, generator)
        shares.append(float((delta.norm(dim=-1) / residual.norm(dim=-1)).max()))
        return delta

    monkeypatch.setattr(Ascent, "edit", watched)
    run(LAT(eps=0.3, inner_steps=2, **SHORT))
    assert len(shares) == 4
    assert 0 < max(shares) <= 0.3 * (1 + 1e-5)


def test_noise_is_exactly_rho_long_at_every_position() -> None:
    residual, answers = noise(4, 9, 16) * 7, torch.zeros(4, 2, dtype=torch.long)
    delta = Noise(0.4).edit(Split(toy(), 1, (0, 1)), residual, answers, torch.Generator().manual_seed(0))
    torch.testing.assert_close(delta.norm(dim=-1), 0.4 * residual.norm(dim=-1))


def test_starts_and_steps_lie_in_their_balls() -> None:
    residual = noise(50, 9, 16)
    radius = 0.5 * residual.norm(dim=-1, keepdim=True)
    start = random_in_ball(residual, radius, torch.Generator().manual_seed(0))
    assert (start.norm(dim=-1, keepdim=True) <= radius * (1 + 1e-5)).all()
    shrunk = shrink_into_ball(residual, radius)
    torch.testing.assert_close(shrunk, 0.5 * residual)
    assert torch.equal(shrink_into_ball(0.1 * residual, radius), 0.1 * residual)


def test_a_step_can_be_read_without_copying_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = retrain(toy(), some_prompts(24), FineTune(**SHORT))
    monkeypatch.setattr(Agent, "copy", lambda *_, **__: pytest.fail("the model was copied"))
    assert all(isinstance(step, Step) and math.isfinite(step.loss) for step in steps)
