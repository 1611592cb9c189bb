"""One edit for each prompt: laws of `attack`, which projects, runs and grades; and what ascent reaches."""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.scenes import scene
from tests.surgeons.planted import TOKEN, questions, refused, switched
from tests.toys import LENGTH, hooks_on, no_compute, noise, quiet, some_prompts, toy, unchecked
from workbench import (
    Attack,
    HiddenBehaviour,
    JointL2Ball,
    L1Ball,
    L2Ball,
    LInfBall,
    PerPromptAscent,
    Sparse,
    Target,
    UntargetedLoss,
    WorkbenchError,
    attack,
)
from workbench.budgets import rho_of
from workbench.engine import View
from workbench.engine.each import Each
from workbench.errors import BadPrompts, BadSettings
from workbench.retrain.adversaries import Ascent
from workbench.surgeons.attack import CONTROLS, Attacker
from workbench.surgeons.room import Room
from workbench.surgeons.steps import RULES, StepRule

pytestmark = quiet
RESIDUAL = "L1.resid_post"
BUDGETS = (
    L2Ball(0.7),
    L1Ball(0.9),
    LInfBall(0.2),
    L2Ball(5.0, "activation"),
    JointL2Ball(1.5),
    L2Ball(0.7) & Sparse(neurons=3),
)
budgets = pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: re.sub(r"Both|budgets=", "", str(budget)))


@dataclass(frozen=True)
class Throw:
    """An attacker that throws random edits of one length, and notes which prompts it was shown."""

    size: float = 100.0
    learns: bool = False

    def edits(self, attacked: Each, seen: Each, goal: Any, budget: Any, generator: torch.Generator) -> Tensor:
        """See Attacker."""
        assert (seen is attacked) == (not self.learns)
        shape = (len(attacked.prompts), len(attacked.places), attacked.view.width)
        return self.size * torch.randn(shape, generator=generator)


def run(attacker: Any = None, **changes: Any) -> Attack:
    """An attack of the toy's prompts."""
    settings = {"site": RESIDUAL, "budget": L2Ball(1.0), "attacker": attacker or PerPromptAscent(steps=3)} | changes
    agent, prompts = settings.pop("agent", toy()), settings.pop("prompts", some_prompts(12))
    return attack(agent, prompts, **settings)


# --- what the door does ---------------------------------------------------------------------------------


@budgets
@pytest.mark.parametrize("attacker", [Throw(), PerPromptAscent(steps=2)], ids=("throw", "ascent"))
def test_every_edit_is_within_the_budget(budget: Any, attacker: Any) -> None:
    prompts = some_prompts(4)
    found = run(attacker, budget=budget, prompts=prompts)
    bound = budget.bind(toy(), [RESIDUAL], prompts)
    sizes = [bound.size(edit) for edit in found.edits]
    assert all(0 < size <= bound.radius * (1 + 1e-6) for size in sizes)
    if isinstance(attacker, Throw):
        assert sizes == pytest.approx([bound.radius] * 4, rel=1e-4), "thrown far out, they come to lie at the edge"


@settings(max_examples=5)
@given(st.sampled_from(BUDGETS), st.integers(0, 99))
def test_projecting_one_prompts_edit_is_what_the_budget_does_alone(budget: Any, seed: int) -> None:
    prompts = some_prompts(3)
    bound, each = budget.bind(toy(), [RESIDUAL], prompts), Each(View(toy(), RESIDUAL, prompts))
    edits = 3 * noise(3, LENGTH, 16, seed=seed)
    for share in (0.3, 1.0):
        found = Room.of(each, bound, share).project(edits)
        expected = [share * bound.project(edit).delta for edit in View(toy(), RESIDUAL, prompts).edits(edits / share)]
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-6)


def test_answers_are_those_of_the_agent_itself_under_each_edit_and_without() -> None:
    found = run(Throw(), site="L1.mlp.post")
    assert found.prompts == some_prompts(12)
    assert torch.equal(found.before, toy().logits(found.prompts).argmax(-1))
    alone = [toy().logits(found.prompts[[i]], edit).argmax(-1)[0] for i, edit in enumerate(found.edits)]
    assert torch.equal(found.after, torch.stack(alone))
    assert found.flipped == pytest.approx(float((found.before != found.after).float().mean()))
    assert found.rho.tolist() == pytest.approx([rho_of(toy(), [edit], found.prompts) for edit in found.edits], rel=1e-4)


def test_verdicts_are_the_goals_on_each_prompt_alone_and_the_score_that_of_all() -> None:
    prompts = some_prompts(12)
    right = replace(prompts, answers=toy().logits(prompts).argmax(-1))
    found = run(Throw(), prompts=right, budget=L2Ball(0.25))
    wrong = (found.after != right.answers).float().mean(1)
    assert torch.equal(found.met, wrong >= 0.5)
    assert 0 < found.hit < 1
    assert found.hit == pytest.approx(float((wrong >= 0.5).float().mean()))
    assert found.score == pytest.approx(float(wrong.mean()))


def test_a_goal_that_compares_prompts_scores_all_of_them_together_and_meets_none_alone() -> None:
    found = run(Throw(), goal=HiddenBehaviour())
    assert found.score > 0
    assert not found.met.any()


@pytest.mark.parametrize("size", [0.0, 1e-12])
def test_an_attack_of_size_0_changes_nothing(size: float) -> None:
    found = run(Throw(size))
    assert torch.equal(found.before, found.after)
    assert (found.flipped, float(found.by_chance.max())) == (0.0, 0.0)
    assert found.rho.max() <= 1e-9


@budgets
def test_controls_are_as_large_as_the_edits_position_by_position(budget: Any) -> None:
    prompts = some_prompts(3)
    each = Each(View(toy(), RESIDUAL, prompts))
    room = Room.of(each, budget.bind(toy(), [RESIDUAL], prompts))
    edits = room.project(noise(3, LENGTH, 16) * torch.linspace(0.01, 3, LENGTH)[:, None])
    alike = room.alike(edits.expand(CONTROLS, -1, -1, -1), torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        room.row.size(alike), room.row.size(edits).expand(CONTROLS, -1, -1), rtol=1e-4, atol=1e-6
    )
    assert torch.cosine_similarity(alike[0], alike[1], dim=-1).abs().mean() < 0.6


@pytest.mark.parametrize("learns", [False, True])
def test_an_attacker_that_learns_is_graded_on_prompts_that_it_did_not_see(learns: bool) -> None:
    prompts = some_prompts(33)
    found = run(Throw(learns=learns), prompts=prompts)
    if not learns:
        assert found.prompts == prompts
        return
    seen, unseen = prompts.halves(torch.Generator().manual_seed(0))
    assert found.prompts == unseen
    assert not {tuple(row) for row in seen.tokens.tolist()} & {tuple(row) for row in unseen.tokens.tolist()}


def test_same_seed_same_attack_and_another_seed_another() -> None:
    first, again, other = (run(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.deltas, again.deltas)
    assert torch.equal(first.by_chance, again.by_chance)
    assert not torch.equal(first.deltas, other.deltas)


def test_no_hooks_are_left_and_the_agent_is_as_it_was() -> None:
    before, clean = hooks_on(toy()), toy().logits(some_prompts())
    for site in (RESIDUAL, "L1.attn.q"):
        run(site=site, budget=L2Ball(2.0, "activation"))
    assert hooks_on(toy()) == before
    assert torch.equal(toy().logits(some_prompts()), clean)


def test_a_site_without_a_write_has_no_rho() -> None:
    found = run(site="L1.attn.q", budget=L2Ball(2.0, "activation"))
    assert found.rho.isnan().all()
    assert found.engine == "hooks"


def test_positions_after_the_last_answer_are_left_alone() -> None:
    prompts = some_prompts(4)
    early = replace(prompts, answer_positions=(2, 4))
    deltas = run(prompts=early).deltas
    assert deltas.shape == (4, LENGTH, 16)
    assert deltas[:, :5].abs().amax(-1).min() > 0
    assert not deltas[:, 5:].any()


def test_memory_changes_no_number_and_too_little_is_refused() -> None:
    whole, small = run(), run(memory=1_000_000)
    torch.testing.assert_close(whole.deltas, small.deltas, rtol=1e-4, atol=1e-6)
    assert torch.equal(whole.after, small.after)
    with pytest.raises(BadSettings, match="bytes of memory"):
        run(memory=1000)


def test_one_row_a_prompt_in_words() -> None:
    found = run()
    frame = found.to_frame()
    assert len(frame) == 12
    assert sum(frame["changed"]) / 12 == pytest.approx(found.flipped)
    said = [" ".join(words) for words in toy().decode(found.after)]
    assert frame["with its edit"].tolist() == said


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attacker": PerPromptAscent}, "an attacker such as PerPromptAscent"),
        ({"attacker": object()}, "an attacker such as PerPromptAscent"),
        ({"goal": UntargetedLoss}, "a goal such as UntargetedLoss"),
        ({"budget": 1.0}, "a budget such as L2Ball"),
        ({"prompts": "text"}, "expected Prompts"),
        ({"seed": 0.5}, "a whole number as the seed"),
        ({"site": "L9.resid_post"}, "no site 'L9.resid_post'"),
        ({"site": "L1.attn.q"}, "rho is undefined"),
    ],
)
def test_a_mistake_is_refused_before_the_model_runs(changes: dict[str, Any], told: str) -> None:
    with no_compute(toy()), unchecked(), pytest.raises(WorkbenchError, match=told):
        run(**changes)


def test_an_attacker_that_learns_needs_prompts() -> None:
    with pytest.raises(BadPrompts, match="at least 32 prompts, half to learn from"):
        run(Throw(learns=True), prompts=some_prompts(31))


# --- ascent ---------------------------------------------------------------------------------------------


@cache
def ground() -> tuple[Each, Room]:
    """Some prompts in float64, and the room of a budget there."""
    each = Each(View(toy(dtype=torch.float64), RESIDUAL, some_prompts()))
    return each, Room.of(each, L2Ball(0.7).bind(each.agent, [RESIDUAL], some_prompts()))


@pytest.mark.parametrize("step", RULES)
def test_a_prompts_edit_depends_on_no_other_prompt(step: StepRule) -> None:
    """From the same starts, permuted prompts have permuted edits, and fewer prompts have the same."""
    each, room = ground()
    climber, start = PerPromptAscent(step=step, steps=4), noise(2, 6, LENGTH, 16, dtype=torch.float64)
    ends = climber.climb(each, HiddenBehaviour(), room, start, 1.0)
    for rows in ([3, 0, 5, 1, 4, 2], [2], [5, 0]):
        some = Each(View(each.agent, RESIDUAL, each.prompts[rows]))
        found = climber.climb(some, HiddenBehaviour(), room, start[:, rows], 1.0)
        torch.testing.assert_close(found, ends[:, rows], rtol=1e-6, atol=1e-9)


def test_it_satisfies_what_an_attacker_is() -> None:
    assert isinstance(PerPromptAscent(), Attacker)
    assert not PerPromptAscent.learns


def test_ascent_changes_more_than_chance_and_more_steps_and_starts_do_no_worse() -> None:
    goal, each = UntargetedLoss(), Each(View(toy(), RESIDUAL, some_prompts(24)))
    bound = L2Ball(0.5).bind(toy(), [RESIDUAL], some_prompts(24))

    def loss(**settings: Any) -> Tensor:
        edits = PerPromptAscent(**settings).edits(each, each, goal, bound, torch.Generator().manual_seed(0))
        return each.losses(edits[None], goal)[0]

    assert loss(steps=8).mean() > loss(steps=1).mean() > each.losses(torch.zeros(1, 24, LENGTH, 16), goal).mean()
    assert loss(steps=8, starts=4).mean() >= loss(steps=8).mean()
    found = run(PerPromptAscent(), prompts=some_prompts(24), budget=L2Ball(0.5))
    assert found.flipped > float(found.by_chance.mean()) + 0.1


def test_any_answer_can_be_forced_on_a_model_without_a_switch() -> None:
    """Why no verdict follows from an attack."""
    found = run(PerPromptAscent(), goal=Target.token(TOKEN), budget=L2Ball(2.0))
    assert found.hit > 0.9


def test_the_switch_is_found_for_every_prompt() -> None:
    found = run(
        PerPromptAscent(), agent=switched(), prompts=questions(), site="L2.resid_post", goal=Target.token(TOKEN)
    )
    assert found.hit == 1.0
    assert found.score > found.control + 0.4


def test_it_does_as_well_as_the_inner_loop_of_lat() -> None:
    """In balls of the same mean radius, in as many steps."""
    each = Each(View(toy(), RESIDUAL, some_prompts(24)))
    generator = torch.Generator().manual_seed(0)
    (theirs,) = Ascent(eps=0.5, steps=8).edit(scene(each.agent, each.prompts, 2), generator).values()
    bound = L2Ball(0.5).bind(each.agent, [RESIDUAL], each.prompts)
    ours = PerPromptAscent(steps=8).edits(each, each, UntargetedLoss(), bound, generator)
    losses = each.losses(torch.stack([ours, theirs]), UntargetedLoss()).mean(1)
    assert losses[0] > 0.9 * losses[1]


def test_bad_settings_are_refused() -> None:
    refused(lambda: PerPromptAscent(step="up"), ("step rule among normalised", "got 'up'"))  # pyright: ignore
    refused(lambda: PerPromptAscent(steps=0), ("steps of at least one",))
    refused(lambda: PerPromptAscent(starts=0), ("starts of at least one",))
    refused(lambda: PerPromptAscent(step_size=1.5), (r"step size in \(0, 1\]",))
