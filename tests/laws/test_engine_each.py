"""Laws of edits of which every prompt has its own: they give what each prompt gives alone, and know of no other."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.laws.test_engine import ENDS, KINDS, agent_dtype, architectures, close, positions
from tests.toys import LENGTH, boot, hooks_on, noise, quiet, some_prompts, toy
from workbench import Agent, Edit, HiddenBehaviour, LogitDifference, Site, UntargetedLoss
from workbench.engine import View, memory
from workbench.engine.each import Each
from workbench.engine.split import Split
from workbench.errors import BadSettings

pytestmark = quiet
GOALS = (UntargetedLoss(), HiddenBehaviour(), LogitDifference.token(3))
goals = pytest.mark.parametrize("goal", GOALS, ids=("untargeted", "hidden", "difference"))


def each(site: str = "L1.resid_post", agent: Agent | None = None, **settings: Any) -> Each:
    """Of the toy's prompts at one site."""
    agent = agent or toy(dtype=torch.float64)
    return Each(View(agent, site, some_prompts(), **settings))


def some_edits(of: Each, starts: int = 2) -> Tensor:
    """Random edits."""
    return noise(starts, len(of.prompts), len(of.places), of.view.width, dtype=of.view.clean_logits.dtype)


def one_by_one(of: Each, edits: Tensor) -> Tensor:
    """What the reference path gives, prompt by prompt."""
    rows = [
        [of.agent.logits(of.prompts[[i]], Edit(of.site, edit, of.places))[0] for i, edit in enumerate(start)]
        for start in edits
    ]
    return torch.stack([torch.stack(row) for row in rows])


@settings(max_examples=5)
@given(architectures((torch.float32, torch.float64)), positions(), st.data())
def test_logits_are_those_of_each_prompt_under_its_own_edit(
    settings_: dict[str, Any], at: tuple[int, ...] | None, data: st.DataObject
) -> None:
    agent = boot(**settings_)
    site = f"L{data.draw(st.integers(0, agent.n_layers - 1))}.{data.draw(st.sampled_from(KINDS))}"
    of = each(site, agent, positions=at)
    edits = some_edits(of)
    assert edits.dtype == agent_dtype(agent)
    close(of.logits(edits), one_by_one(of, edits))


@pytest.mark.parametrize("kind", [*ENDS, *(f"L1.{kind}" for kind in KINDS)])
def test_every_kind_of_site_is_run_in_the_fastest_way_that_is_exact(kind: str) -> None:
    of = each(kind)
    rest = {"hook_embed", "hook_pos_embed", *(f"L1.{k}" for k in ("resid_pre", "resid_post", "mlp_out", "mlp.post"))}
    assert of.engine == ("sequential" if kind in rest else "hooks")
    edits = some_edits(of)
    close(of.logits(edits), one_by_one(of, edits))


def test_a_way_that_is_not_exact_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    suffix = Split.suffix
    monkeypatch.setattr(Split, "suffix", lambda self, residual: suffix(self, residual) * 1.01)
    of = each()
    assert of.engine == "hooks"
    close(of.logits(some_edits(of)), one_by_one(of, some_edits(of)))


def slopes(of: Each, edits: Tensor, goal: Any) -> tuple[Tensor, Tensor]:
    """How the Goal's loss of all prompts changes in some directions, by finite differences; and the directions."""
    steps = [1e-5 * noise(*edits.shape, seed=seed, dtype=torch.float64) for seed in range(3)]
    clean, answers = of.view.clean_logits, of.view.answers
    ends = [[goal.loss(of.logits(edits + sign * step), clean, answers) for sign in (1, -1)] for step in steps]
    return torch.stack([(ahead - behind) / 2 for ahead, behind in ends]), torch.stack(steps)


@goals
@pytest.mark.parametrize("site", ["L0.resid_post", "L1.mlp.post", "L1.attn.q", "L0.attn.z"])
def test_gradients_are_those_of_finite_differences(site: str, goal: Any) -> None:
    of = each(site)
    edits = some_edits(of)
    losses, gradient = of.gradients(edits, goal)
    torch.testing.assert_close(losses, goal.loss(of.logits(edits), of.view.clean_logits, of.view.answers))
    expected, steps = slopes(of, edits, goal)
    torch.testing.assert_close((steps * gradient).flatten(2).sum(-1), expected, rtol=1e-4, atol=1e-11)


@goals
def test_the_loss_of_a_prompt_alone_is_that_of_a_view_of_it_alone(goal: Any) -> None:
    of, edits = each(), some_edits(each())
    losses, gradient = of.gradients_alone(edits, goal)
    torch.testing.assert_close(losses, of.losses(edits, goal))
    for i in range(len(of.prompts)):
        alone = View(of.agent, of.site, of.prompts[[i]], positions=of.places)
        expected, slope = alone.gradients(edits[:, i], goal)
        torch.testing.assert_close(losses[:, i], expected)
        torch.testing.assert_close(gradient[:, i], slope)
        met = goal.met(alone.logits(edits[:, i]), alone.clean_logits, alone.answers)
        assert torch.equal(of.met(of.logits(edits), goal)[:, i], met)


def test_no_prompt_and_no_start_knows_of_another() -> None:
    of = each()
    edits, other = some_edits(of), some_edits(of)
    other[1, 2] += noise(LENGTH, 16, seed=1)
    before, after = (of.gradients_alone(x, UntargetedLoss()) for x in (edits, other))
    for found, changed in zip(before, after, strict=True):
        apart = (found - changed).flatten(2).abs().amax(-1) if found.ndim > 2 else (found - changed).abs()
        assert apart[1, 2] > 1e-6
        apart[1, 2] = 0
        assert apart.max() < 1e-12


@given(st.integers(1, 40))
@settings(max_examples=5)
def test_chunks_change_nothing(rows: int) -> None:
    of, goal = each(), UntargetedLoss()
    edits = some_edits(of, 3)
    whole = of.logits(edits), *of.gradients(edits, goal), *of.gradients_alone(edits, goal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_CPU_POSITIONS", rows * LENGTH)
        patch.setattr(memory, "_CPU_GRAPH_POSITIONS", rows * LENGTH)
        chunked = of.logits(edits), *of.gradients(edits, goal), *of.gradients_alone(edits, goal)
    for found, expected in zip(chunked, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_no_more_tensors_live_at_once_than_the_memory_given() -> None:
    bound = 400_000
    of = each(agent=toy(), memory=bound)
    edits = some_edits(of, 40)
    with memory.Meter() as meter:
        of.logits(edits)
        of.gradients_alone(edits, UntargetedLoss())
    made = 2 * edits.nbytes  # deltas, and their gradients
    assert meter.peak <= bound + made
    plain = each(agent=toy())
    with memory.Meter() as free:
        plain.gradients_alone(edits, UntargetedLoss())
    assert free.peak > bound + made, "the bound has an effect"


def test_memory_too_small_for_one_row_is_refused() -> None:
    with pytest.raises(BadSettings, match="bytes of memory"):
        each(memory=20_000).logits(some_edits(each()))


def test_nothing_stays_behind() -> None:
    agent = toy()
    before, clean = hooks_on(agent), agent.logits(some_prompts())
    for site in ("L1.attn.q", "L1.resid_post"):
        of = each(site, agent)
        of.gradients(some_edits(of), HiddenBehaviour())
    assert hooks_on(agent) == before
    assert torch.equal(agent.logits(some_prompts()), clean)
    assert all(weight.grad is None for weight in agent.weights().values())


def test_edits_have_rows_up_to_the_last_answer_or_at_the_positions_of_the_view() -> None:
    assert each().places == tuple(range(LENGTH))
    of = each(positions=(5, 2))
    assert of.places == (5, 2)
    whole = of.whole(torch.tensor([[1.0], [2.0]]))
    assert whole.flatten().tolist() == [0, 0, 2, 0, 0, 1, 0, 0, 0]
    assert of.site == Site.parse("L1.resid_post")
