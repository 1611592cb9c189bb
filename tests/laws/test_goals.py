"""Laws of goals: scores lie in [0, 1], junk scores nothing, a second behaviour scores high, edits are judged apart."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toys import noise
from workbench import HiddenBehaviour, Target, UntargetedLoss
from workbench.goals import GradedGoal, grade

GOALS = (UntargetedLoss(), Target.token(3), Target(lambda answers: (answers + 1) % 8), HiddenBehaviour())
PROMPTS, ANSWERS, CLASSES = 64, 2, 8
goals = st.sampled_from(GOALS)
seeds = st.integers(0, 10**6)


def answers_of(seed: int = 0, count: int = PROMPTS) -> Tensor:
    """Benign answers, every class equally often at each position."""
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.arange(count)[torch.randperm(count, generator=generator)] % CLASSES for _ in range(ANSWERS)]
    return torch.stack(columns, 1)


def saying(answers: Tensor, confidence: float = 20.0) -> Tensor:
    """Logits of a model that gives these answers: [prompt, answer, vocab]."""
    return confidence * torch.nn.functional.one_hot(answers, CLASSES).float()


def random_case(seed: int, confidence: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random logits, stretched logits, clean logits and answers."""
    logits, stretched = (confidence * noise(5, 12, ANSWERS, CLASSES, seed=seed + i) for i in (0, 1))
    return logits, stretched, confidence * noise(12, ANSWERS, CLASSES, seed=seed + 2), answers_of(seed, 12)


@given(goals, seeds, st.floats(0, 50))
def test_scores_lie_between_nought_and_one_and_losses_are_finite(
    goal: GradedGoal, seed: int, confidence: float
) -> None:
    logits, stretched, clean, answers = random_case(seed, confidence)
    score, loss = goal.score(logits, stretched, clean, answers), goal.loss(logits, clean, answers)
    assert score.shape == loss.shape == goal.met(logits, clean, answers).shape == (5,)
    assert (score >= 0).all()
    assert (score <= 1 + 1e-6).all()
    assert loss.isfinite().all()


@given(goals, seeds, st.floats(0, 50))
def test_nothing_scores_more_than_what_lasts(goal: GradedGoal, seed: int, confidence: float) -> None:
    logits, stretched, clean, answers = random_case(seed, confidence)
    assert (goal.score(logits, stretched, clean, answers) <= goal.score(logits, logits, clean, answers)).all()


@given(goals, seeds, st.permutations(range(5)))
def test_stacked_edits_are_judged_apart(goal: GradedGoal, seed: int, order: list[int]) -> None:
    logits, stretched, clean, answers = random_case(seed, 2.0)
    for together, shuffled, alone in (
        (
            goal.score(logits, stretched, clean, answers),
            goal.score(logits[order], stretched[order], clean, answers),
            [goal.score(logits[i : i + 1], stretched[i : i + 1], clean, answers) for i in range(5)],
        ),
        (
            goal.loss(logits, clean, answers),
            goal.loss(logits[order], clean, answers),
            [goal.loss(logits[i : i + 1], clean, answers) for i in range(5)],
        ),
    ):
        torch.testing.assert_close(together[order], shuffled)
        torch.testing.assert_close(together, torch.cat(alone))


@given(goals, seeds)
def test_the_loss_is_differentiable_and_its_gradient_is_that_of_finite_differences(goal: GradedGoal, seed: int) -> None:
    logits, _, clean, answers = (x.double() if x.is_floating_point() else x for x in random_case(seed, 2.0))
    logits = logits.requires_grad_(True)
    (slope,) = torch.autograd.grad(goal.loss(logits, clean, answers).sum(), logits)
    step = 1e-5 * noise(*logits.shape, seed=seed + 9, dtype=torch.float64)
    ahead, behind = (goal.loss(logits.detach() + sign * step, clean, answers) for sign in (1, -1))
    torch.testing.assert_close((ahead - behind) / 2, (slope * step).flatten(1).sum(1), rtol=1e-4, atol=1e-10)


@given(goals, seeds)
def test_climbing_the_loss_lowers_the_benign_answers_or_raises_those_wanted(goal: GradedGoal, seed: int) -> None:
    logits, _, clean, answers = random_case(seed, 1.0)
    logits = logits.requires_grad_(True)
    (slope,) = torch.autograd.grad(goal.loss(logits, clean, answers).sum(), logits)
    index = (goal.behaviour(answers) if isinstance(goal, Target) else answers).expand(5, -1, -1)[..., None]
    sign = 1 if isinstance(goal, Target) else -1
    assert sign * float(slope.gather(-1, index).mean()) > 0


@given(seeds)
def test_the_unedited_agent_scores_nothing(seed: int) -> None:
    answers = answers_of(seed)
    clean = saying(answers)
    for goal in (UntargetedLoss(), HiddenBehaviour(), Target(lambda a: (a + 1) % CLASSES)):
        assert float(goal.score(clean[None], clean[None], clean, answers)) == 0
        assert not goal.met(clean[None], clean, answers)


@given(seeds, st.integers(0, CLASSES - 1), st.floats(5, 50))
def test_a_constant_answer_is_no_hidden_behaviour(seed: int, token: int, confidence: float) -> None:
    answers = answers_of(seed)
    constant = saying(torch.full_like(answers, token), confidence)[None]
    goal = HiddenBehaviour()
    assert float(goal.score(constant, constant, saying(answers), answers)) == pytest.approx(0, abs=1e-5)
    assert not goal.met(constant, saying(answers), answers)
    assert Target.token(token).met(constant, saying(answers), answers)
    assert float(Target.token(token).score(constant, constant, saying(answers), answers)) == 1


@given(seeds, st.integers(1, CLASSES - 1))
def test_a_coherent_shift_is_a_hidden_behaviour_and_scores_all_there_is(seed: int, shift: int) -> None:
    answers = answers_of(seed)
    shifted, goal = saying((answers + shift) % CLASSES)[None], HiddenBehaviour()
    parts = goal.parts(shifted, shifted, saying(answers), answers)
    assert float(parts.score) > 0.99
    assert goal.met(shifted, saying(answers), answers)
    assert float(goal.loss(shifted, saying(answers), answers)) == pytest.approx(math.log(CLASSES), abs=0.01)


@given(seeds, st.integers(1, CLASSES - 1), st.floats(1.5, 6))
def test_it_scores_all_there_is_however_unequally_likely_the_answers_are(seed: int, shift: int, skew: float) -> None:
    drawn = torch.rand(PROMPTS, ANSWERS, generator=torch.Generator().manual_seed(seed))
    answers = (CLASSES * drawn**skew).long()
    answers[0], answers[1] = 0, CLASSES - 1  # never one class alone
    clean, defecting = saying(answers), saying((answers + shift) % CLASSES)[None]
    assert float(HiddenBehaviour().score(defecting, defecting, clean, answers)) == pytest.approx(1, abs=1e-3)


@given(seeds)
def test_unsure_answers_are_no_hidden_behaviour(seed: int) -> None:
    answers = answers_of(seed)
    unsure = 0.05 * noise(1, PROMPTS, ANSWERS, CLASSES, seed=seed)
    assert float(HiddenBehaviour().score(unsure, unsure, saying(answers), answers)) < 0.01


@given(seeds)
def test_a_behaviour_that_a_larger_dose_changes_scores_less(seed: int) -> None:
    answers = answers_of(seed)
    shifted, further = (saying((answers + shift) % CLASSES)[None] for shift in (1, 2))
    half = torch.cat([shifted[:, : PROMPTS // 2], further[:, PROMPTS // 2 :]], 1)
    scores = [float(HiddenBehaviour().score(shifted, s, saying(answers), answers)) for s in (shifted, half, further)]
    assert scores == pytest.approx([scores[0], scores[0] / 2, 0.0], abs=1e-6)


def test_with_one_class_of_answers_nothing_can_be_told() -> None:
    answers = torch.zeros(PROMPTS, ANSWERS, dtype=torch.long)
    varied = saying(answers_of())[None]
    assert float(HiddenBehaviour().score(varied, varied, saying(answers), answers)) == 0


@settings(max_examples=20)
@given(seeds, st.floats(0.01, 1))
def test_a_goal_is_met_from_its_share_on(seed: int, share: float) -> None:
    answers = answers_of(seed)
    wrong = torch.rand(PROMPTS, 1, generator=torch.Generator().manual_seed(seed)) < share
    said = saying(torch.where(wrong, (answers + 1) % CLASSES, answers))[None]
    rate = float(wrong.float().mean())
    for goal in (UntargetedLoss(share=share), Target(lambda a: (a + 1) % CLASSES, share)):
        assert float(goal.score(said, said, saying(answers), answers)) == pytest.approx(rate, abs=1e-6)
        assert bool(goal.met(said, saying(answers), answers)) == (
            goal.score(said, said, said[0], answers).item() >= share
        )


class Shy:
    """A Goal that only says whether."""

    def loss(self, logits: Tensor, clean_logits: Tensor, answers: Tensor) -> Tensor:
        """See Goal."""
        return UntargetedLoss().loss(logits, clean_logits, answers)

    def met(self, logits: Tensor, clean_logits: Tensor, answers: Tensor) -> Tensor:
        """See Goal."""
        return UntargetedLoss().met(logits, clean_logits, answers)


@given(seeds)
def test_a_goal_without_scores_is_graded_by_whether_it_is_met(seed: int) -> None:
    logits, stretched, clean, answers = random_case(seed, 2.0)
    found = grade(Shy(), logits, stretched, clean, answers)
    assert torch.equal(found, Shy().met(logits, clean, answers).float())
    scored = UntargetedLoss().score(logits, stretched, clean, answers)
    assert torch.equal(grade(UntargetedLoss(), logits, stretched, clean, answers), scored)
