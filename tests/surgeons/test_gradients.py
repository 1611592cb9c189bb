"""Gradient searches: laws of their steps, what they climb to, and that they stay in their share of the budget."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.surgeons.planted import NEURON, TOKEN, bare, gated, questions, refused, scores, search, switched
from tests.toys import noise, quiet, some_prompts, toy
from workbench import FrankWolfe, L1Ball, L2Ball, LInfBall, ProjectedAscent, Prompts, Target
from workbench.engine import View
from workbench.surgeons import Surgeon
from workbench.surgeons.ground import Ground
from workbench.surgeons.steps import RULES, Memory, StepRule

pytestmark = quiet
RESIDUAL, NEURONS = "L2.resid_post", "L2.mlp.post"
BALLS = (L1Ball, L2Ball, LInfBall)
CLIMBERS = (
    *(ProjectedAscent(step=step, starts=4, steps=15) for step in RULES),
    ProjectedAscent(starts=3, steps=15, positional=True),
    FrankWolfe(starts=3, steps=15),
    FrankWolfe(starts=3, steps=15, positional=True),
)


def name(climber: Surgeon) -> str:
    """Short, for the list of tests."""
    return re.sub("shares.*keep=1, |step_size.*keep=1, ", "", str(climber))


seeds = st.integers(0, 10**6)


class Bowl(Ground):
    """A Ground on which the loss is minus half the squared distance to a point."""

    point = noise(16)

    def slopes(self, x: Tensor) -> Tensor:
        """See Ground."""
        return self.point.to(x) - x

    def short_of(self, x: Tensor) -> Tensor:
        """By how much the loss is below the largest in the set."""
        best = self.project(self.point[None])
        return ((x - self.point).square().sum(-1) - (best - self.point).square().sum(-1)) / 2


@cache
def bowl(ball: L1Ball | L2Ball | LInfBall, share: float) -> Bowl:
    """That share of a ball at a residual site of the toy."""
    view = View(toy(), "L1.resid_post", some_prompts())
    bound = ball.bind(toy(), [view.site], some_prompts())
    return Bowl(view, Target.token(TOKEN), bound.at(view.site), share, False)


@settings(max_examples=20)
@given(st.sampled_from(BALLS), st.sampled_from((0.1, 0.5, 1.0)), seeds)
def test_the_nearest_point_of_a_share_of_the_budget(ball: type, share: float, seed: int) -> None:
    place = bowl(ball(1.0), share)
    x = 100 * noise(3, 16, seed=seed)
    nearest = place.project(x)
    gap = x - nearest
    assert (place.allowed.size(nearest) <= share * (1 + 1e-6)).all()
    further = (gap * (place.extreme(gap) - nearest)).sum(-1)
    assert (further <= 1e-4 * gap.norm(dim=-1) * nearest.norm(dim=-1)).all()


@given(st.sampled_from(BALLS), st.sampled_from((0.2, 1.0)), st.sampled_from((0.2, 1.0, 3.0)), st.integers(1, 40), seeds)
@settings(max_examples=15)
def test_frank_wolfe_is_as_near_the_top_of_a_hill_as_jaggi_proves(
    ball: type, share: float, radius: float, steps: int, seed: int
) -> None:
    """Jaggi 2013, theorem 1: short by at most 2 C / (steps + 2), with C here the squared diameter of the set."""
    place = bowl(ball(radius), share)
    end = FrankWolfe(steps=steps).climb(place, place.starts(4, torch.Generator().manual_seed(seed))[0])
    longest = place.extreme(torch.cat([torch.eye(16), noise(200, 16, seed=seed)])).norm(dim=-1).max()
    if ball is LInfBall:
        longest = place.extreme(torch.ones(1, 16)).norm()
    assert (place.short_of(end) <= 2 * (2 * longest) ** 2 / (steps + 2) + 1e-4).all()


@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize(
    ("step", "ball"), [*(("normalised", ball) for ball in BALLS), ("sign", LInfBall), ("adamw", LInfBall)]
)
def test_projected_ascent_ends_within_a_few_steps_of_the_top_of_a_hill(
    step: StepRule, ball: type, share: float
) -> None:
    """Signs and AdamW scale each coordinate by itself, and so lead to the top of boxes only."""
    place = bowl(ball(0.3), share)
    start, reach = place.starts(4, torch.Generator().manual_seed(0))
    end = ProjectedAscent(step=step, steps=400, step_size=0.1).climb(place, start, reach)
    assert ((end - place.project(noise(16)[None])).norm(dim=-1) <= 0.25 * reach).all()


@given(st.sampled_from(list(RULES)), st.sampled_from((1e-3, 1.0, 1e6)), seeds)
def test_a_first_move_goes_uphill_has_length_one_and_forgets_how_steep_it_is(
    step: StepRule, steep: float, seed: int
) -> None:
    slope = noise(3, 16, seed=seed)
    here = torch.zeros_like(slope)
    move, _ = RULES[step](here, steep * slope, Memory.empty(here))
    torch.testing.assert_close(move.norm(dim=-1), torch.ones(3), rtol=1e-2, atol=0)
    assert ((move * slope).sum(-1) > 0).all()


@pytest.mark.parametrize("step", RULES)
def test_without_a_slope_there_is_no_move(step: StepRule) -> None:
    here = torch.zeros(2, 16)
    assert not RULES[step](here, torch.zeros(2, 16), Memory.empty(here))[0].any()


def test_adamw_steps_are_those_of_torch() -> None:
    """In our units: a learning rate of 1 / sqrt(width) for a step of 1, and a decay that is not multiplied by it."""
    width, pace = 16, 0.1
    ours, memory = noise(1, width), Memory.empty(noise(1, width))
    theirs = ours.clone().requires_grad_(True)
    torchs = torch.optim.AdamW([theirs], lr=pace / width**0.5, weight_decay=0.01 * width**0.5, eps=1e-12, maximize=True)
    for number in range(5):
        theirs.grad = noise(1, width, seed=number)
        torchs.step()
        move, memory = RULES["adamw"](ours, noise(1, width, seed=number), memory)
        ours = ours + pace * move
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("climber", CLIMBERS, ids=name)
def test_it_climbs_to_the_switch(climber: Surgeon) -> None:
    found, view, _ = search(climber, RESIDUAL, budget=L2Ball(1.0))
    assert len(found) == 3, "one for each share"
    assert max(scores(view, found)) > 0.9
    assert scores(view, found)[-1] == max(scores(view, found)), "the switch has no upper end"


@pytest.mark.parametrize("climber", CLIMBERS, ids=name)
@pytest.mark.parametrize(
    ("budget", "site"),
    [
        (L2Ball(0.7), NEURONS),
        (L1Ball(0.9), NEURONS),
        (LInfBall(0.2), "L0.attn.z"),
        (L2Ball(5.0, "activation"), RESIDUAL),
    ],
    ids=str,
)
def test_proposals_lie_in_their_share_of_the_budget(
    climber: ProjectedAscent | FrankWolfe, budget: L2Ball, site: str
) -> None:
    found, _, bound = search(replace(climber, steps=4), site, budget=budget)
    sizes = [bound.size(edits) / bound.radius for edits in found]
    assert sizes
    assert all(0 < size <= share * (1 + 1e-6) for size, share in zip(sizes, (0.25, 0.5, 1.0), strict=True))


@pytest.mark.parametrize("climber", CLIMBERS, ids=name)
def test_same_seed_same_proposals_and_another_seed_others(climber: ProjectedAscent | FrankWolfe) -> None:
    runs = [search(replace(climber, steps=3), RESIDUAL, seed=seed)[0] for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("climber", CLIMBERS, ids=name)
def test_the_agent_is_run_as_often_as_is_said(climber: ProjectedAscent | FrankWolfe) -> None:
    _, view, _ = search(climber, RESIDUAL)
    each = climber.starts * (climber.steps + 2)
    if isinstance(climber, FrankWolfe):
        each = climber.tried * (climber.trial + 1) + climber.starts * (climber.steps - climber.trial + 2)
    assert view.runs == 3 * each


def test_of_the_starts_of_frank_wolfe_those_with_the_highest_loss_go_on() -> None:
    place = bowl(L2Ball(1.0), 1.0)
    start, _ = place.starts(12, torch.Generator().manual_seed(0))
    tried = FrankWolfe(starts=12, trial=2, steps=2).climb(place, start)
    losses = place.losses(FrankWolfe(starts=3, trial=2).leading(place, start))
    torch.testing.assert_close(losses, place.losses(tried).sort(descending=True).values[:3])


def test_the_best_ends_are_kept_best_first() -> None:
    found, view, _ = search(ProjectedAscent(starts=6, steps=2, shares=(0.5,), keep=4), RESIDUAL)
    values = scores(view, found)
    assert len(values) == 4
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_in_an_l1_ball_frank_wolfe_touches_no_more_neurons_than_it_makes_steps(steps: int) -> None:
    found, _, bound = search(FrankWolfe(steps=steps, starts=4), NEURONS, budget=L1Ball(1.0))
    weights = bound.at(NEURONS).size(torch.eye(40))
    assert all(1 <= int(edit.delta.count_nonzero()) <= steps for (edit,) in found)
    assert NEURON in [int((edit.delta.abs() * weights).argmax()) for (edit,) in found]


def test_where_nothing_has_a_slope_frank_wolfe_proposes_nothing() -> None:
    assert search(FrankWolfe(), "L1.mlp.post", agent=gated())[0] == []


def two_tokens(answers: Tensor) -> Tensor:
    """Token 3 at the first answer and token 5 at the second."""
    return torch.tensor([TOKEN, 5]).expand_as(answers)


@pytest.mark.parametrize("kind", [ProjectedAscent, FrankWolfe])
def test_a_vector_for_each_position_says_what_one_vector_cannot(kind: type) -> None:
    """One vector for all positions cannot say one thing here and another there where no layer tells them apart."""
    agent = bare("bare")
    settings = {"agent": agent, "goal": Target(two_tokens), "budget": L2Ball(5.0)}
    best = {}
    for positional in (False, True):
        found, view, _ = search(kind(positional=positional, starts=1, steps=25), RESIDUAL, **settings)
        best[positional] = max(scores(view, found, Target(two_tokens)))
    assert best[False] <= 0.6
    assert best[True] > 0.9


@pytest.mark.parametrize("kind", [ProjectedAscent, FrankWolfe])
def test_positions_after_the_last_answer_are_left_alone(kind: type) -> None:
    some = questions()
    early = Prompts(some.tokens, (2, 5), some.answers)
    found, _, _ = search(kind(positional=True, starts=2, steps=2), "L1.resid_post", prompts=early)
    for (edit,) in found:
        assert edit.delta.shape == (early.length, 16)
        assert edit.delta[:6].any(1).all()
        assert not edit.delta[6:].any()


def test_a_view_of_some_positions_is_edited_there_alone() -> None:
    view = View(switched(), RESIDUAL, questions(), positions=(6, 8))
    bound = L2Ball(1.0).bind(switched(), [RESIDUAL], questions())
    surgeon = ProjectedAscent(positional=True, starts=2, steps=2, shares=(1.0,))
    ((edit,),) = surgeon.search(view, Target.token(TOKEN), bound, torch.Generator().manual_seed(0))
    assert edit.positions == (6, 8)
    assert edit.delta.shape == (2, 16)


MISTAKES = {
    "a rule nobody knows": (lambda: ProjectedAscent(step="newton"), ("normalised, sign, adamw", "'newton'")),  # type: ignore[arg-type]
    "no share": (lambda: ProjectedAscent(shares=()), (r"\(0, 1\]", "shares")),
    "a share beyond the budget": (lambda: FrankWolfe(shares=(0.5, 1.5)), (r"\(0, 1\]", "1.5")),
    "fewer tried than go on": (lambda: FrankWolfe(tried=4, starts=6), ("tried", "6", "4")),
    "no start": (lambda: FrankWolfe(starts=0), ("starts", "at least one", "0")),
    "no step": (lambda: ProjectedAscent(steps=0), ("steps", "at least one", "0")),
    "nothing kept": (lambda: ProjectedAscent(keep=0), ("keep", "at least one", "0")),
    "a step of nought": (lambda: ProjectedAscent(step_size=0.0), (r"\(0, 1\]", "0.0")),
}


@pytest.mark.parametrize(("do", "told"), MISTAKES.values(), ids=MISTAKES)
def test_bad_settings_are_refused(do: Callable[[], Surgeon], told: tuple[str, ...]) -> None:
    refused(do, told)
