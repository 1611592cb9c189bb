"""Laws of the engine: many edits at once give what the Agent gives edit by edit, and so do their gradients."""

from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toys import ANSWERS, LENGTH, boot, edit_at, noise, quiet, some_prompts, toy
from workbench import Agent, HiddenBehaviour, LogitDifference, Site, UntargetedLoss
from workbench.engine import Split, View, counted, memory
from workbench.engine.each import Each
from workbench.goals import Goal
from workbench.prompts import Prompts

pytestmark = quiet
KINDS = (
    "resid_pre",
    "resid_mid",
    "resid_post",
    "attn_out",
    "mlp_out",
    "mlp.pre",
    "mlp.post",
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.z",
)
ENDS = ("hook_embed", "hook_pos_embed", "ln_final.hook_normalized", "unembed.hook_in")
TIERS = ("sequential", "stripped", "hooks")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1e-1}


@st.composite
def architectures(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = tuple(TOLERANCE)) -> dict[str, Any]:
    """Settings of a native bridge."""
    rotary, gated = draw(st.booleans()), draw(st.booleans())
    return {
        "n_layers": draw(st.integers(1, 4)),
        "normalization_type": draw(st.sampled_from(("LN", "RMS", None))),
        "act_fn": draw(st.sampled_from(("gelu", "gelu_new", "relu", "silu"))),
        "gated_mlp": gated,
        "n_key_value_heads": draw(st.sampled_from((None, 1))),
        "positional_embedding_type": "rotary" if rotary else "standard",
        "dtype": draw(st.sampled_from(dtypes)),
        "seed": draw(st.integers(0, 9)),
        "gain": 1.5,
    }


def positions() -> st.SearchStrategy[tuple[int, ...] | None]:
    """Where edits are allowed: everywhere, at any set of positions, at the last one, or after every answer."""
    some = st.sets(st.integers(0, LENGTH - 1), min_size=1, max_size=4).map(tuple)
    late = st.just((max(ANSWERS),)) | st.just((LENGTH - 1,))
    return st.none() | some | late


def one_by_one(agent: Agent, site: str, prompts: Prompts, deltas: Tensor, at: tuple[int, ...] | None = None) -> Tensor:
    """What the reference path gives: [edit, prompt, answer, vocab]."""
    return torch.stack([agent.logits(prompts, edit_at(site, delta, at)) for delta in deltas])


def close(found: Tensor, expected: Tensor) -> None:
    """Equal up to rounding in the dtype, relative to the largest number."""
    tolerance = TOLERANCE[expected.dtype] * (1 + float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@settings(max_examples=14, phases=[Phase.generate])
@given(architectures(), positions(), st.data())
def test_every_tier_gives_the_logits_that_each_edit_gives_alone(
    settings_: dict[str, Any], at: tuple[int, ...] | None, data: st.DataObject
) -> None:
    agent, prompts = boot(**settings_), some_prompts()
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=2, unique=True))
    sites = [f"L{data.draw(st.integers(0, agent.n_layers - 1))}.{kind}" for kind in kinds]
    for site in [*sites, data.draw(st.sampled_from([end for end in ENDS if Site(end) in agent.sites()]))]:
        rows = data.draw(st.sampled_from((None, len(at or range(LENGTH)))))
        width = agent.width(site)
        deltas = (
            noise(3, width, dtype=agent_dtype(agent)) if rows is None else noise(3, rows, width).to(agent_dtype(agent))
        )
        expected = one_by_one(agent, site, prompts, deltas, at)
        for tier in tiers(site, settings_["dtype"]):
            seen = View(agent, site, prompts, positions=at, engine=tier)
            assert tier in (None, seen.engine)
            close(seen.logits(deltas), expected)


def tiers(site: str, dtype: torch.dtype) -> tuple[str | None, ...]:
    """Those that must be exact; with eight bits of mantissa a tier may be told from hooks, and then they are used."""
    if dtype is torch.bfloat16:
        return (None,)
    return TIERS[1:] if site in ENDS[2:] else TIERS


def agent_dtype(agent: Agent) -> torch.dtype:
    return next(agent.bridge.parameters()).dtype


@settings(max_examples=6, phases=[Phase.generate])
@given(architectures((torch.float32, torch.float64)), st.data())
def test_edits_at_several_sites_apply_jointly(settings_: dict[str, Any], data: st.DataObject) -> None:
    agent, prompts = boot(**settings_), some_prompts()
    places = data.draw(
        st.lists(st.tuples(st.integers(0, agent.n_layers - 1), st.sampled_from(KINDS)), min_size=2, max_size=4)
    )
    edits = [
        edit_at(f"L{layer}.{kind}", noise(agent.width(f"L{layer}.{kind}"), seed=i, dtype=agent_dtype(agent)))
        for i, (layer, kind) in enumerate(places)
    ]
    proposals = [edits, edits[:1], [edit.scaled(-0.5) for edit in edits]]
    expected = torch.stack([agent.logits(prompts, proposal) for proposal in proposals])
    for tier in TIERS:
        view = View(agent, [edit.site for edit in edits], prompts, engine=tier)
        close(view.logits(view.stack(proposals)), expected)


@pytest.mark.parametrize("kind", [*ENDS, *(f"L1.{k}" for k in KINDS)])
def test_every_kind_of_site_can_be_viewed(kind: str) -> None:
    agent, prompts = toy(), some_prompts()
    seen = View(agent, kind, prompts)
    for shape in ((2, seen.width), (2, LENGTH, seen.width)):
        close(seen.logits(noise(*shape)), one_by_one(agent, kind, prompts, noise(*shape)))


KINDS_OF_WRITES = ("L0.resid_pre", "L1.resid_post", "L1.mlp_out", "L1.mlp.post", "L1.attn.z", "L1.attn_out")
PLACES = [(kind, d) for kind in KINDS_OF_WRITES for d in (torch.float32, torch.float64)]


@pytest.mark.parametrize(("kind", "dtype"), PLACES)
def test_edits_that_write_to_the_residual_stream_take_the_fast_tier(kind: str, dtype: torch.dtype) -> None:
    assert View(toy(dtype=dtype), kind, some_prompts()).engine == "sequential"


@pytest.mark.parametrize(("kind", "dtype"), PLACES)
def test_deltas_of_another_dtype_are_taken_as_the_agent_takes_edits(kind: str, dtype: torch.dtype) -> None:
    agent, prompts = toy(dtype=dtype), some_prompts()
    seen = View(agent, kind, prompts)
    other = torch.float64 if dtype is torch.float32 else torch.float32
    deltas = noise(2, seen.width, dtype=other)
    close(seen.logits(deltas), one_by_one(agent, kind, prompts, deltas))


@settings(max_examples=10)
@given(zeros=st.integers(1, 4), kind=st.sampled_from(KINDS))
def test_zero_deltas_give_the_clean_logits(zeros: int, kind: str) -> None:
    seen = View(toy(), f"L1.{kind}", some_prompts())
    found = seen.logits(torch.zeros(zeros, seen.width))
    close(found, seen.clean_logits.expand_as(found))


@settings(max_examples=10)
@given(rows=st.integers(1, 40), kind=st.sampled_from(("L1.resid_post", "L1.attn.z")))
def test_chunks_change_nothing(rows: int, kind: str) -> None:
    seen = View(toy(dtype=torch.float64), kind, some_prompts())
    deltas, goal = noise(7, seen.width, dtype=torch.float64), HiddenBehaviour()
    whole = seen.logits(deltas), seen.losses(deltas, goal), seen.scores(deltas, goal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_CPU_POSITIONS", rows * LENGTH)
        for found, expected in zip(
            (seen.logits(deltas), seen.losses(deltas, goal), seen.scores(deltas, goal)), whole, strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=10)
@given(st.integers(1, 12), st.floats(0.01, 20), st.sampled_from((HiddenBehaviour(), UntargetedLoss())))
def test_the_best_score_is_the_largest_of_all(edits: int, size: float, goal: Goal) -> None:
    view = View(toy(), "L1.resid_post", some_prompts())
    deltas = size * noise(edits, view.width, seed=edits)
    assert view.best_score(deltas, goal) == pytest.approx(float(view.scores(deltas, goal).max()), abs=1e-6)


def test_every_run_under_edits_is_counted_once_in_each_open_tally() -> None:
    view, goal = View(toy(), "L1.resid_post", some_prompts()), HiddenBehaviour()
    prompts, deltas = len(view.prompts), torch.zeros(5, view.width)
    with counted() as whole:
        view.logits(deltas)
        with counted() as part:
            view.scores(deltas, goal)
        view.gradients(deltas, goal)
        view.on_first(2).losses(deltas, goal)
        Each(view).logits(torch.zeros(3, prompts, len(Each(view).places), view.width))
    view.logits(deltas)
    assert part.runs == 2 * 5 * prompts
    assert whole.runs == 5 * prompts + part.runs + 5 * prompts + 5 * 2 + 3 * prompts
    with pytest.raises(ZeroDivisionError), counted() as ended:
        raise ZeroDivisionError
    view.logits(deltas)
    assert ended.runs == 0


def test_the_best_score_takes_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    view, stretched = View(toy(), "L1.resid_post", some_prompts()), []
    scores = view.scores

    def counted(deltas: Any, goal: Goal, *, stretch: bool = True) -> Tensor:
        stretched.extend([stretch] * len(next(iter(deltas.values())) if isinstance(deltas, dict) else deltas))
        return scores(deltas, goal, stretch=stretch)

    monkeypatch.setattr(view, "scores", counted)
    assert view.best_score(torch.zeros(32, view.width), HiddenBehaviour()) == 0.0
    assert (stretched.count(False), stretched.count(True)) == (32, 0)


@settings(max_examples=10)
@given(st.integers(1, 9), positions(), st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True))
def test_a_view_of_the_first_prompts_gives_their_logits(
    count: int, at: tuple[int, ...] | None, kinds: list[str]
) -> None:
    seen = View(toy(), [f"L1.{kind}" for kind in kinds], some_prompts(), positions=at, memory=2**24)
    fewer = seen.on_first(count)
    assert (fewer is seen) == (count >= len(seen.prompts))
    assert fewer.prompts == seen.prompts[:count]
    assert (fewer.sites, fewer.positions, fewer.memory) == (seen.sites, seen.positions, seen.memory)
    deltas = {site: noise(2, len(at or range(LENGTH)), toy().width(site)) for site in seen.sites}
    close(fewer.logits(deltas), seen.logits(deltas)[:, :count])
    close(fewer.clean_logits, seen.clean_logits[:count])


@settings(max_examples=10)
@given(positions(), st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True))
def test_a_view_of_other_places_is_as_one_made_there(at: tuple[int, ...] | None, kinds: list[str]) -> None:
    sites = [f"L1.{kind}" for kind in kinds]
    made, moved = (
        View(toy(), sites, some_prompts(), positions=at),
        View(toy(), "L0.mlp.post", some_prompts()).at(*sites, positions=at),
    )
    assert (moved.engine, moved.sites, moved.site, moved.width) == (made.engine, made.sites, made.site, made.width)
    assert moved.positions == made.positions
    deltas = {site: noise(2, len(at or range(LENGTH)), toy().width(site)) for site in made.sites}
    close(moved.logits(deltas), made.logits(deltas))
    close(moved.clean_logits, made.clean_logits)


def slopes(agent: Agent, site: str, prompts: Prompts, deltas: Tensor, goal: Goal) -> Tensor:
    """Gradients of each edit's loss, through hooks on the bridge."""
    deltas = deltas.clone().requires_grad_(True)
    total = torch.zeros((), dtype=deltas.dtype)
    for delta in deltas:
        hooks = [(agent.site(site).name, lambda x, hook, d=delta: x + d.reshape(*d.shape[:-1], *x.shape[2:]))]
        with agent.hooked(hooks):
            logits = agent.bridge(prompts.tokens)[:, list(prompts.answer_positions)]
        total = total + goal.loss(logits[None], agent.logits(prompts), prompts.answers)[0]
    return torch.autograd.grad(total, deltas)[0]


GOALS = (UntargetedLoss(), HiddenBehaviour(), LogitDifference.token(3))


@pytest.mark.parametrize("goal", GOALS, ids=("untargeted", "hidden", "difference"))
@pytest.mark.parametrize("kind", ["L0.resid_post", "L1.mlp.post", "L0.attn.z", "L1.attn.q", "hook_embed", "L1.mlp_out"])
def test_gradients_are_those_through_hooks_and_those_of_finite_differences(kind: str, goal: Goal) -> None:
    agent, prompts = toy(dtype=torch.float64), some_prompts()
    seen = View(agent, kind, prompts)
    for shape in ((3, seen.width), (3, LENGTH, seen.width)):
        deltas = noise(*shape, dtype=torch.float64).requires_grad_(True)
        (found,) = torch.autograd.grad(seen.losses(deltas, goal).sum(), deltas)
        torch.testing.assert_close(found, slopes(agent, kind, prompts, deltas.detach(), goal), rtol=1e-8, atol=1e-10)
        step = 1e-5 * noise(*shape, seed=1, dtype=torch.float64)
        ahead, behind = (seen.losses(deltas.detach() + sign * step, goal) for sign in (1, -1))
        torch.testing.assert_close(((ahead - behind) / 2), (found * step).flatten(1).sum(1), rtol=1e-4, atol=1e-11)


def test_the_loss_of_one_edit_knows_nothing_of_the_others() -> None:
    seen, goal = View(toy(dtype=torch.float64), "L1.resid_post", some_prompts()), HiddenBehaviour()
    deltas = noise(4, 16, dtype=torch.float64).requires_grad_(True)
    (slope,) = torch.autograd.grad(seen.losses(deltas, goal)[1], deltas)
    assert (slope[[0, 2, 3]] == 0).all()
    assert (slope[1] != 0).any()


@settings(max_examples=12)
@given(architectures((torch.float32, torch.float64)), st.data())
def test_the_two_parts_of_a_split_make_the_whole(settings_: dict[str, Any], data: st.DataObject) -> None:
    agent, prompts = boot(**settings_), some_prompts()
    split = Split(agent, data.draw(st.integers(0, agent.n_layers)), prompts.answer_positions)
    close(split.suffix(split.prefix(prompts.tokens)).detach(), agent.logits(prompts))


@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("norm", ["LN", "RMS", None])
def test_weights_learn_through_a_split_as_through_the_whole(layer: int, norm: str | None) -> None:
    agent, prompts = boot(normalization_type=norm, gain=1.5, dtype=torch.float64), some_prompts()
    weights = agent.weights()
    split = Split(agent, layer, prompts.answer_positions)
    apart = split.suffix(split.prefix(prompts.tokens))
    whole = agent.bridge(prompts.tokens)[:, list(prompts.answer_positions)]
    found, expected = (
        torch.autograd.grad(
            x.log_softmax(-1)[..., 0].sum(), list(weights.values()), materialize_grads=True, allow_unused=True
        )
        for x in (apart, whole)
    )
    for name, a, b in zip(weights, found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")


def test_a_view_follows_weights_that_change_later() -> None:
    """A View keeps no copy of the weights after its site."""
    agent, prompts = boot(), some_prompts()
    split = Split(agent, 1, prompts.answer_positions)
    with torch.no_grad():
        agent.bridge.blocks[2].mlp.W_out.mul_(1.5)
    close(split.suffix(split.prefix(prompts.tokens)).detach(), agent.logits(prompts))
