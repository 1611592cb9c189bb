"""Laws of retraining: a copy learns, a seed means one result, a resumed run is the unbroken one, edits keep to eps."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.scenes import scene
from tests.toys import boot, hooks_on, noise, quiet, some_prompts, toy
from workbench import LAT, Agent, EmbeddingAT, FineTune, LatentNoise, Step, retrain
from workbench.retrain import Recipe
from workbench.retrain.adversaries import Ascent, Noise, Scene
from workbench.retrain.schedules import Terms

pytestmark = quiet
SHORT: dict[str, Any] = {"steps": 4, "batch": 8, "warmup": 0}
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


def loss_in(where: Scene, adversary: Ascent | Noise | None) -> float:
    """The loss that an adversary reaches."""
    deltas = {cut: torch.zeros_like(stream) for cut, stream in where.streams.items()}
    if adversary is not None:
        deltas = dict(adversary.edit(where, torch.Generator().manual_seed(0)))
    return float(where.objective(where.logits(deltas)).detach())


def balls(adversary: Ascent, where: Scene) -> list[Tensor]:
    """Sizes of all edits, as shares of the norm that eps is a share of."""
    over = (-2, -1) if adversary.norm == "sequence" else -1
    found = []
    for cut, delta in adversary.edit(where, torch.Generator().manual_seed(0)).items():
        norm = where.streams[cut].norm(dim=over, keepdim=True)
        found.append(delta.norm(dim=over, keepdim=True) / (norm.mean() if adversary.universal else norm))
    return found


ASCENTS = [
    Ascent(eps=1.0, steps=3),
    Ascent(eps=1.0, steps=3, norm="sequence", step_size=1 / 6),
    Ascent(eps=1.0, steps=3, universal=True),
    Ascent(eps=1.0, steps=3, rule="adamw", step_size=0.5),
    Ascent(eps=1.0, steps=3, rule="sign", step_size=0.5, norm="sequence"),
]


@pytest.mark.parametrize("cuts", [(0,), (2,), (0, 1)])
@pytest.mark.parametrize("eps", [0.1, 2.0])
@pytest.mark.parametrize("adversary", ASCENTS, ids=repr)
def test_edits_fill_balls_of_eps_at_every_block_and_raise_the_loss(
    adversary: Ascent, eps: float, cuts: tuple[int, ...]
) -> None:
    adversary, where = replace(adversary, eps=eps), scene(toy(), some_prompts(8), *cuts)
    for share in balls(adversary, where):
        assert share.max() <= eps * (1 + 1e-5)
    assert loss_in(where, adversary) > loss_in(where, None)


def test_a_schedule_sets_the_share_of_the_radius_and_the_number_of_steps() -> None:
    adversary = Ascent(eps=0.5, steps=4)
    (share,) = balls(adversary, scene(toy(), some_prompts(8), 1, terms=Terms(share=0.2)))
    assert share.max() <= 0.1 * (1 + 1e-5)
    assert adversary.cost(Terms(compute=2.5)) == 10
    more = scene(toy(), some_prompts(8), 1, terms=Terms(compute=4.0))
    assert loss_in(more, adversary) > loss_in(scene(toy(), some_prompts(8), 1), adversary)


def test_a_universal_edit_is_one_vector() -> None:
    (delta,) = ASCENTS[2].edit(scene(toy(), some_prompts(8), 1), torch.Generator().manual_seed(0)).values()
    assert delta.shape == (1, 1, 16)


def test_ascent_climbs_further_than_noise_of_the_same_size() -> None:
    where = scene(toy(), some_prompts(16), 1)
    assert loss_in(where, Ascent(eps=0.5, steps=6)) > loss_in(where, Noise(0.5)) + 0.1


def test_edits_at_two_blocks_are_those_of_hooks_on_the_bridge() -> None:
    where = scene(toy(), some_prompts(8), 1, 2)
    deltas = {cut: noise(8, *stream.shape[1:], seed=cut) for cut, stream in where.streams.items()}
    hooks: Any = [(f"blocks.{cut - 1}.hook_resid_post", lambda x, hook, cut=cut: x + deltas[cut]) for cut in deltas]
    expected = where.agent.bridge.run_with_hooks(where.tokens, fwd_hooks=hooks)
    positions = list(some_prompts().answer_positions)
    torch.testing.assert_close(where.logits(deltas), expected[:, positions], rtol=1e-4, atol=1e-5)


def test_every_edit_of_a_run_stays_within_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    inner = Ascent.edit

    def watched(self: Ascent, where: Scene, generator: torch.Generator) -> Any:
        deltas = inner(self, where, generator)
        shares.extend(float((d.norm(dim=-1) / where.streams[cut].norm(dim=-1)).max()) for cut, d in deltas.items())
        return deltas

    monkeypatch.setattr(Ascent, "edit", watched)
    run(LAT(eps=0.3, inner_steps=2, **SHORT))
    assert len(shares) == 4
    assert 0 < max(shares) <= 0.3 * (1 + 1e-5)


def test_noise_is_exactly_rho_long_at_every_position() -> None:
    where = scene(toy(), some_prompts(8), 1)
    (delta,) = Noise(0.4).edit(where, torch.Generator().manual_seed(0)).values()
    torch.testing.assert_close(delta.norm(dim=-1), 0.4 * where.streams[1].norm(dim=-1))


def test_a_step_can_be_read_without_copying_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = retrain(toy(), some_prompts(24), FineTune(**SHORT))
    monkeypatch.setattr(Agent, "copy", lambda *_, **__: pytest.fail("the model was copied"))
    assert all(isinstance(step, Step) and math.isfinite(step.loss) for step in steps)
