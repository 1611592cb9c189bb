"""Laws of LAT's variants: what is held, what is taught, how the terms move, and that all of it can be resumed."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch.nn import functional as F

from tests.scenes import scene
from tests.toys import quiet, some_prompts, toy, unchecked
from workbench import LAT, FineTune, L2Ball, Lockstep, Loosen, MoreCompute, Prompts, Step, Target, retrain
from workbench.errors import BadSettings, Diverged, UnknownName
from workbench.goals import UntargetedLoss
from workbench.retrain import Recipe
from workbench.retrain.adversaries import Ascent
from workbench.retrain.latent import Latent, Teaching
from workbench.retrain.protocol import Batch, Subject
from workbench.retrain.schedules import SCHEDULES, Schedule, Steady, Terms
from workbench.surgeons import FrankWolfe, NeuronSweep, PerPromptAscent

pytestmark = quiet
SHORT: dict[str, Any] = {"steps": 4, "batch": 8, "warmup": 0, "inner_steps": 2}
VARIANTS: dict[str, Recipe] = {
    "several sites at once": LAT(together=True, sites=("L0.resid_post", "L1.resid_post"), **SHORT),
    "several updates": LAT(updates=3, **SHORT),
    "universal": LAT(universal=True, **SHORT),
    "targeted": LAT(goal=Target.token(3), away=0.5, **SHORT),
    "KL to the original": LAT(clean="original", **SHORT),
    "loosening": LAT(schedule=Loosen(start=0.1, growth=1.5, below=0.9), **SHORT),
    "late": LAT(begin=3, **SHORT),
    "lockstep": LAT(schedule="lockstep", **SHORT),
    "more compute": LAT(schedule=MoreCompute(growth=1.5, below=0.9), **SHORT),
    "Casper et al.": LAT.casper2024(steps=4, batch=8),
    "Sheshadri et al.": LAT.sheshadri2024(steps=4, batch=8, inner_steps=3),
    "a Surgeon": LAT(surgeon=FrankWolfe(tried=2, starts=2, steps=2), budget=L2Ball(0.5), **SHORT),
    "a sweep": LAT(surgeon=NeuronSweep(doses=(0.5,)), budget=L2Ball(0.5), sites="L0.mlp.post", **SHORT),  # pyright: ignore[reportArgumentType]
    "an attacker": LAT(surgeon=PerPromptAscent(steps=2), budget=L2Ball(0.5), **SHORT),
}
variants = pytest.mark.parametrize("recipe", VARIANTS.values(), ids=VARIANTS.keys())


def refused(do: Callable[[], Any], kind: type[Exception], *told: str) -> None:
    """Assert that it is refused as that, in a message with all of these parts."""
    with unchecked(), pytest.raises(kind) as caught:
        do()
    for part in told:
        assert caught.match(re.escape(part))


def figures(step: Step) -> str:
    """All that a Step tells but the time."""
    return repr((step.number, step.loss, step.adversarial_loss, step.won, step.wins, step.share, step.gradients))


def weights(step: Step) -> list[Tensor]:
    """Copies of the weights as they are."""
    return [weight.detach().clone() for weight in step.agent.weights().values()]


@variants
def test_every_variant_resumed_is_the_unbroken_run_bit_for_bit(recipe: Recipe) -> None:
    whole = [(figures(s), weights(s)) for s in retrain(toy(), some_prompts(24), recipe)]
    stopped = list(islice(retrain(toy(), some_prompts(24), recipe), 2))[-1]
    rest = [(figures(s), weights(s)) for s in retrain(toy(), some_prompts(24), recipe, resume=stopped)]
    assert [told for told, _ in rest] == [told for told, _ in whole[2:]]
    for (_, one), (_, other) in zip(rest, whole[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def latent(adversary: Ascent | None = None, teaching: Teaching | None = None, **given: Any) -> Latent:
    """The method on a copy of the toy, cut before block 1."""
    subject = Subject(toy().copy(), toy(), some_prompts(8), None)
    return Latent(subject, (1,), adversary or Ascent(eps=0.5, steps=2), teaching, **given)


def batch() -> Batch:
    """The toy's first prompts."""
    return Batch(some_prompts(8).tokens, some_prompts(8).answers)


def test_the_edit_is_held_constant_while_the_agent_is_updated() -> None:
    method, asked = latent(updates=3), []
    inner = method.adversary.edit  # pyright: ignore[reportOptionalMemberAccess]

    class Watched(Ascent):
        def edit(self, scene: Any, generator: Generator) -> Any:
            asked.append(inner(scene, generator))
            return asked[-1]

    method.adversary = Watched(eps=0.5, steps=2)
    found = list(method.turn(batch(), Terms(), Generator().manual_seed(0)))
    assert (len(found), len(asked)) == (3, 1)
    assert all(not delta.requires_grad for delta in asked[0].values())
    assert method.cost(Terms()) == 2 + 2 * 3


@given(st.floats(0, 2), st.floats(0, 3))
@settings(max_examples=10)
def test_losses_are_the_sums_that_are_said(clean_weight: float, away: float) -> None:
    goal, seed = Target.token(3), Generator().manual_seed(0)
    method = latent(teaching=Teaching(clean_weight, True, goal, away))
    (losses,) = method.turn(batch(), Terms(), seed)
    where = scene(toy(), some_prompts(8), 1)
    objective = Teaching(goal=goal).objective(where.answers, toy().logits(some_prompts(8)))
    object.__setattr__(where, "objective", objective)
    deltas = Ascent(eps=0.5, steps=2).edit(where, _after_draw())
    edited = where.logits(deltas).log_softmax(-1)
    toward = F.nll_loss(edited.flatten(0, 1), where.answers.flatten())
    apart = -torch.log1p(-edited[..., 3].exp()).mean()
    assert losses.adversarial is not None
    torch.testing.assert_close(losses.adversarial, (toward + away * apart).detach(), rtol=1e-3, atol=1e-5)
    assert float(losses.clean) == pytest.approx(0, abs=1e-5)  # it is the original still
    torch.testing.assert_close(losses.total.detach(), clean_weight * losses.clean + losses.adversarial)


def _after_draw() -> Generator:
    """A generator as it is after a cut was drawn."""
    seed = Generator().manual_seed(0)
    torch.randint(1, (), generator=seed)
    return seed


def test_a_loosening_constraint_grows_only_while_the_agent_is_robust() -> None:
    schedule = Loosen(start=0.2, growth=2.0, below=0.3)
    shares = []
    terms = schedule.first()
    for wins in (0.5, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1):
        terms = schedule.next(replace(terms, wins=wins))
        shares.append(terms.share)
    assert shares == [0.2, 0.4, 0.8, 0.8, 1.0, 1.0, 1.0]


@given(st.sampled_from(list(SCHEDULES.values())), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=200))
def test_terms_stay_within_their_limits(schedule: Schedule, story: list[tuple[float, float]]) -> None:
    terms = schedule.first()
    for won, right in story:
        terms = schedule.next(terms.after(won, right))
        assert 0 < terms.share <= 1
        assert 1 <= terms.compute <= 4
        assert 0 <= terms.wins <= 1
    assert terms.steps == len(story)


def test_lockstep_follows_what_the_agent_gets_right() -> None:
    assert Lockstep(start=0.1).next(Terms(right=0.6)).share == 0.6
    assert Lockstep(start=0.1).next(Terms(right=0.0)).share == 0.1


def test_a_surgeon_that_always_or_never_wins_is_told() -> None:
    cases = ((1.0, 1.0, "always wins"), (0.8, 0.1, "and 10% of unedited"), (0.0, 1.0, "never wins"), (0.4, 0.9, "^$"))
    for won, right, words in cases:
        terms = Terms()
        for _ in range(49):
            terms = terms.after(won, right)
            assert terms.alarm == ""
        assert re.search(words, terms.after(won, right).alarm)
    stuck = replace(Terms(), steps=50, wins=0.4, right=1.0, rate=0.01)
    assert "always wins, the learning rate is at 1%" in stuck.alarm
    assert replace(stuck, rate=0.5).alarm == ""
    always = list(retrain(toy(), some_prompts(24), LAT(eps=50.0, lr=1e-9, steps=60, batch=8)))
    assert "always wins" in always[-1].alarm
    never = list(retrain(toy(), some_prompts(8), LAT(eps=1e-6, lr=1e-2, steps=80, batch=8)))
    assert "never wins" in never[-1].alarm


class Growing:
    """A Stream whose answers change at a step."""

    identity = "growing"

    def draw(self, step: int, rows: int, generator: Generator) -> Prompts:
        """See Stream."""
        prompts = some_prompts(rows)
        return Prompts(prompts.tokens, prompts.answer_positions, (prompts.answers + (step > 2)) % 10)


def test_a_stream_makes_the_prompts_of_every_step() -> None:
    steps = list(retrain(toy(), Growing(), FineTune(steps=4, batch=8, lr=1e-9)))
    first, second = (
        F.cross_entropy(toy().logits(p).flatten(0, 1), p.answers.flatten())
        for p in (Growing().draw(1, 8, Generator()), Growing().draw(3, 8, Generator()))
    )
    expected = [first, first, second, second]
    assert [s.loss for s in steps] == pytest.approx([float(e) for e in expected], rel=1e-3)


def test_gradients_are_counted() -> None:
    def counted(recipe: Recipe) -> int:
        return list(retrain(toy(), some_prompts(24), recipe))[-1].gradients

    assert counted(FineTune(steps=4, batch=8)) == 4
    assert counted(LAT(**SHORT)) == 4 * (2 + 2)
    assert counted(LAT(updates=3, **SHORT)) == 4 * (2 + 6)
    assert counted(LAT(begin=3, **SHORT)) == 2 + 2 * (2 + 2)


def test_the_adversary_begins_at_the_step_that_is_said() -> None:
    steps = list(retrain(toy(), some_prompts(24), LAT(begin=3, **SHORT)))
    assert [math.isnan(s.adversarial_loss) for s in steps] == [True, True, False, False]


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The norm of the gradients and the learning rate of every update that is made."""
    seen: list[tuple[float, float]] = []

    def watched(self: Any, *given: Any, **named: Any) -> Any:
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        seen.append((float(torch.stack([grad.norm() for grad in grads]).norm()), self.param_groups[0]["lr"]))
        return inner(self, *given, **named)

    inner = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    return seen


def test_gradients_are_shortened_to_the_norm_that_is_set(updates: list[tuple[float, float]]) -> None:
    list(retrain(toy(gain=1.0), some_prompts(24), LAT(clip=1e-3, **SHORT)))
    list(retrain(toy(gain=1.0), some_prompts(24), LAT(clip=1e6, **SHORT)))
    norms = [norm for norm, _ in updates]
    assert norms[:4] == pytest.approx([1e-3] * 4, rel=1e-2)
    assert min(norms[4:]) > 1e-2


def test_the_learning_rate_rises_during_the_first_steps_also_of_a_resumed_run(
    updates: list[tuple[float, float]],
) -> None:
    recipe = FineTune(lr=1e-2, warmup=3, steps=6, batch=8)
    steps = list(retrain(toy(), some_prompts(24), recipe))
    rates = [rate for _, rate in updates]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])
    half = next(iter(retrain(toy(), some_prompts(24), recipe))).checkpoint
    updates.clear()
    resumed = list(retrain(toy(), some_prompts(24), recipe, resume=half))
    assert [rate for _, rate in updates] == rates[1:]
    ours, theirs = (run[-1].agent.weights() for run in (resumed, steps))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_loss_that_is_not_finite_ends_the_run_before_the_update() -> None:
    steps, done = retrain(toy(), some_prompts(24), FineTune(steps=50, batch=8, lr=1e30)), []
    with pytest.raises(Diverged, match="lower the learning rate"):
        done.extend(steps)
    assert 1 <= len(done) < 50


def test_contradicting_settings_are_refused() -> None:
    refused(lambda: LAT(away=1.0), BadSettings, "goal that says which answer", "away=1.0")
    refused(lambda: LAT(away=1.0, goal=UntargetedLoss()), BadSettings, "goal that says which answer")
    refused(lambda: LAT(surgeon=FrankWolfe()), BadSettings, "together with the budget")
    refused(lambda: LAT(schedule="looser"), UnknownName, "schedule", "loosen")
    refused(lambda: LAT(schedule=3), BadSettings, "schedule")  # pyright: ignore[reportArgumentType]
    refused(lambda: Loosen(start=0), BadSettings, "start in (0, 1]")
    refused(lambda: Loosen(growth=1.0), BadSettings, "growth above 1")
    refused(lambda: MoreCompute(most=0.5), BadSettings, "at least 1")
    refused(lambda: retrain(toy(), "prompts", LAT()), BadSettings, "Prompts, or a Stream")  # pyright: ignore
    assert LAT().pace == Loosen()
    assert LAT(schedule="steady").pace == LAT.casper2024().pace == LAT.sheshadri2024().pace == Steady()
