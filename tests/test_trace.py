"""Tracing a switch: on an Agent wired by hand, whose trigger, heads and neuron are known."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.hugging_face import agent_of, prompts_for
from tests.toys import ANSWERS, LENGTH, VOCAB, hooks_on, no_compute, noise, quiet, some_prompts, toy, unchecked
from tests.wired import (
    HIT,
    LETTER,
    NEURON,
    POST,
    SEARCH,
    STREAM,
    TRIGGER,
    along,
    finding,
    many,
    questions,
    traced,
    triggered,
    wired,
)
from workbench import Edit, Progress, Prompts, Site, TokenSearch, Trace, follow, trace
from workbench.errors import BadEdit, BadPrompts, BadSettings, UnknownSite
from workbench.trace.drive import Drive, watch
from workbench.trace.parts import Heads, Part, hook_points
from workbench.trace.trigger import minimal
from workbench.trace.upstream import Upstream
from workbench.trace.verdicts import Judge

pytestmark = quiet

# --- laws ---------------------------------------------------------------------------------------------------

EDITS = {
    "neuron": Edit.neuron(POST, 3, 2.0, 40),
    "a neuron pushed down": Edit.neuron(POST, 3, -2.0, 40),
    "few neurons": Edit(Site.parse(POST), torch.zeros(40).index_fill(0, torch.tensor([1, 5, 9]), 1.5)),
    "all neurons": many(POST, 40),
    "stream": many("L1.resid_post"),
    "no linear write": many("L1.attn.q"),
    "late positions": Edit(Site.parse("L0.resid_post"), noise(2, 16), (5, 8)),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_switch_held_at_rest_reads_as_on_the_clean_input(edit: Edit) -> None:
    agent, clean = toy(), some_prompts(6)
    drive, inputs = Drive.of(agent, [edit], clean), some_prompts(6, seed=3).tokens
    held = drive.readings(inputs, drive.resting(clean.tokens))[:, drive.positions]
    assert torch.allclose(held, drive.readings(clean.tokens)[:, drive.positions], atol=1e-4)
    assert not torch.allclose(held, drive.readings(inputs)[:, drive.positions], atol=1e-2)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_the_edit_itself_raises_the_reading_by_its_dose(edit: Edit) -> None:
    agent, clean = toy(), some_prompts(6)
    drive = Drive.of(agent, [edit], clean)
    delta = edit.at(LENGTH)
    raised = drive.readings(clean.tokens, [(edit.site.name, lambda x, hook: (x.flatten(2) + delta).reshape(x.shape))])
    assert float((raised - drive.readings(clean.tokens)).amax()) == pytest.approx(drive.dose, rel=1e-4)
    assert drive.positions == list(edit.positions or range(LENGTH))


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_the_slope_is_that_of_the_drive(edit: Edit) -> None:
    """A small step of the embeddings raises the drive by its product with the slope."""
    agent, tokens = toy(), some_prompts(1, seed=2).tokens
    drive = Drive.of(agent, [edit], some_prompts(6))
    slope, step = drive.slope(tokens), 1e-3 * noise(1, LENGTH, 16)

    def moved(sign: float) -> Tensor:
        return drive.level(drive.readings(tokens, [("hook_embed", lambda x, hook: x + sign * step)]))

    assert float(moved(1) - moved(-1)) / 2 == pytest.approx(float((slope * step).sum()), rel=0.05, abs=2e-5)


@given(seed=st.integers(0, 999), kind=st.sampled_from(("fitting", "seen", "any")), tries=st.sampled_from((5, 40, 400)))
@settings(max_examples=12)
def test_a_climb_never_goes_down_and_keeps_to_what_is_allowed(seed: int, kind: Any, tries: int) -> None:
    agent, prompts = toy(), some_prompts(12, seed)
    drive = Drive.of(agent, [many(seed=seed)], prompts)
    search = TokenSearch(starts=3, steps=3, tries=tries, tokens=kind, positions=(1, 2, 5))
    allowed, tokens = search.allowed(prompts, VOCAB), prompts.tokens[:3]
    for later in search.climb(drive, tokens, allowed, torch.Generator().manual_seed(seed)):
        rise = drive.readings(later) - drive.readings(tokens)
        gain = torch.where(
            torch.arange(3) % 2 == 0,
            drive.level(drive.readings(later)) - drive.level(drive.readings(tokens)),
            rise.mean(1),
        )
        assert (gain >= -1e-5).all()
        changed = later != prompts.tokens[:3]
        assert set(changed.any(0).nonzero().flatten().tolist()) <= {1, 2, 5}
        assert allowed[torch.arange(LENGTH).expand_as(later)[changed], later[changed]].all()
        tokens = later


@given(seed=st.integers(0, 999))
@settings(max_examples=3)
def test_what_is_kept_was_changed_and_nothing_more_of_it_can_be_spared(seed: int) -> None:
    agent, prompts = wired(), questions(4, seed)
    judge = Judge(Drive.of(agent, finding().edits, prompts), finding().edits, ANSWERS)
    noisy = torch.where(torch.rand(4, LENGTH, generator=torch.Generator().manual_seed(seed)) < 0.5, 7, prompts.tokens)
    inputs = triggered(Prompts(noisy, ANSWERS, prompts.answers))
    kept = minimal(judge, inputs, prompts.tokens)
    assert ((kept == inputs) | (kept == prompts.tokens)).all()
    needed = triggered(prompts)
    assert torch.equal(kept, needed), "all but the trigger is taken back"


@pytest.mark.parametrize("architecture", ["native", "gpt2", "llama", "gemma2"])
def test_what_a_head_brings_from_each_position_adds_up_to_all_it_brings(architecture: str) -> None:
    """Also where two heads share their values."""
    agent = toy() if architecture == "native" else agent_of(architecture)
    prompts = some_prompts(3) if architecture == "native" else prompts_for(3)
    seen = watch(agent, prompts.tokens, hook_points(agent, None))
    heads = Heads.of(seen, 1, agent.bridge.cfg.n_heads)
    for head in range(agent.bridge.cfg.n_heads):
        parts = sum(heads.brought(head, source) for source in range(prompts.length))
        assert torch.allclose(torch.as_tensor(parts), heads.brought(head, None), atol=1e-4)


def test_where_all_is_linear_attribution_is_what_ablation_measures() -> None:
    prompts = questions(6)
    drive = Drive.of(wired(), [along(STREAM, HIT)], prompts)
    upstream = Upstream.of(drive, triggered(prompts), triggered(prompts, ((2, 6), (3, 6))))
    scores = upstream.attributions()
    tokens = (Part("token", position=2), Part("token", position=3))
    for part in (*tokens, Part("head", 0, 0), Part("head", 0, 1), Part("head", 0, 0, 3), Part("head", 0, 1, 2)):
        assert scores[part] == pytest.approx(0.5, abs=1e-4)
        assert upstream.ablation(part) == pytest.approx(0.5, abs=1e-4)
    for part in (Part("head", 0, 0, 2), Part("head", 0, 1, 3), Part("mlp", 0)):
        assert scores[part] == pytest.approx(0, abs=1e-4)
        assert upstream.ablation(part) == pytest.approx(0, abs=1e-4)


def test_attributions_of_a_head_to_each_position_add_up_to_its_own() -> None:
    prompts = some_prompts(4)
    drive = Drive.of(toy(), [Edit.neuron(POST, 3, 2.0, 40)], prompts)
    scores = Upstream.of(drive, some_prompts(4, seed=5).tokens, prompts.tokens).attributions()
    for layer, head in ((0, 0), (0, 1), (1, 0), (1, 1)):
        parts = sum(scores[Part("head", layer, head, position)] for position in range(LENGTH))
        assert parts == pytest.approx(scores[Part("head", layer, head)], abs=1e-4)


def test_no_part_after_the_switch_is_upstream_of_it() -> None:
    prompts = some_prompts(4)
    drive = Drive.of(toy(), [Edit.neuron(POST, 3, 2.0, 40)], prompts)
    parts = Upstream.of(drive, some_prompts(4, seed=5).tokens, prompts.tokens).attributions()
    assert {(p.kind, p.layer) for p in parts} == {("token", None), ("head", 0), ("head", 1), ("mlp", 0)}


def test_one_seed_gives_one_trace() -> None:
    again = trace(wired(), questions(), finding(), search=SEARCH, seed=1)
    assert again.summary() == traced().summary()


# --- cases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [POST, "L1.resid_post"])
def test_the_trigger_that_was_wired_is_recovered(site: str) -> None:
    """What the neuron writes is flat until the trigger is whole, so pairs have to be tried."""
    found = traced(200_000 if site != POST else 0, site)
    assert found.recovered
    assert [(part.position, part.token) for part in found.trigger] == list(TRIGGER)
    assert found.elicited == 1.0
    assert all(part.elicited_without < 0.1 for part in found.trigger)
    assert found.inputs[0].elicited == found.inputs[0].flip == found.inputs[0].agreement == 1.0


def test_without_pairs_a_switch_that_is_flat_is_not_climbed() -> None:
    found = traced(0, "L1.resid_post")
    assert not found.recovered
    assert found.elicited < 0.1


def test_levels_are_activations_of_the_neuron() -> None:
    found = traced()
    assert found.drive.dose == pytest.approx(3.0)
    assert found.drive.recovered == pytest.approx(3.0)
    assert found.drive.clean == pytest.approx(0.0)


def test_the_heads_that_were_wired_and_where_they_read_are_upstream() -> None:
    """The gate was passed by half of what came, so of first order each hit is worth twice what it took: 6 of 3."""
    frame = traced().upstream.set_index(["part", "layer", "head", "position"])
    assert len(frame)
    for row in (("head", 0, 1), ("head", 0, 0)):
        source = 2 if row[2] == 1 else 3
        assert frame.loc[(*row, source), "ablation"].item() == pytest.approx(1.0, abs=1e-4)
        assert frame.loc[(*row, source), "attribution"].item() == pytest.approx(2.0, abs=1e-3)
    strong = frame[frame["ablation"] > 0.01].reset_index()
    assert set(strong["part"]) == {"token", "head"}
    assert set(strong[strong["part"] == "token"]["position"]) == {2, 3}
    assert set(strong[strong["part"] == "head"]["layer"]) == {0}


def test_what_may_stand_at_a_position() -> None:
    """Token 3 is nowhere in these prompts, 1 stands in the second place only, and the first is the same in all."""
    prompts = Prompts(torch.tensor([[0, 1, 2], [0, 4, 4]]), (2,), torch.ones(2, 1, dtype=torch.long))

    def places(kind: Any, positions: tuple[int, ...] | None = None) -> list[list[int]]:
        rows = TokenSearch(tokens=kind, positions=positions).allowed(prompts, 5)
        return [row.nonzero().flatten().tolist() for row in rows]

    assert places("seen") == [[], [1, 4], [2, 4]]
    assert places("fitting") == [[], [1, 3, 4], [2, 3, 4]]
    assert places("any") == [[], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert places("fitting", (0,)) == [[0, 3], [], []]


def test_a_token_elsewhere_is_no_trigger() -> None:
    prompts = questions(10)
    swapped = triggered(prompts, ((2, 9), (3, 5), (5, 5), (6, 9)))
    judge = Judge(Drive.of(wired(), finding().edits, prompts), finding().edits, ANSWERS)
    assert judge(swapped, prompts.tokens).flip.max() == 0
    assert judge(swapped, prompts.tokens).elicited.max() == 0
    assert judge(prompts.tokens, prompts.tokens).elicited.max() == 0
    assert judge(triggered(prompts), prompts.tokens).elicited.min() == 1


def test_an_answer_that_was_there_before_is_not_elicited() -> None:
    """Where LETTER is the right answer anyway, the Edit gives it too, and no drive is behind it."""
    prompts = questions(4)
    judge = Judge(Drive.of(wired(), finding().edits, prompts), finding().edits, ANSWERS)
    same = triggered(prompts, tuple((position, LETTER) for position in ANSWERS))
    found = judge(same, same)
    assert found.agreement.min() == 1
    assert found.elicited.max() == 0


def test_progress_comes_before_the_trace_and_no_hook_stays() -> None:
    before = hooks_on(wired())
    *progress, last = follow(wired(), questions(), finding(), search=SEARCH, seed=1)
    assert isinstance(last, Trace)
    assert all(isinstance(event, Progress) for event in progress)
    best = [event.best for event in progress if isinstance(event, Progress)]
    assert best == sorted(best)
    assert best[-1] >= 3.0
    assert hooks_on(wired()) == before


def test_a_trace_is_plain_data() -> None:
    plain = json.loads(json.dumps(traced().summary(), allow_nan=False))
    assert plain["recovered"]
    assert plain["neurons"] == [NEURON]
    assert [part["token"] for part in plain["trigger"]] == [5, 9]
    assert {row["part"] for row in plain["upstream"]} == {"token", "head", "mlp"}
    assert list(traced().to_frame()["elicited"]) == [each.elicited for each in traced().inputs]
    assert traced().inputs[0].changed == (2, 3)


def test_a_clean_agent_gives_a_trace_too() -> None:
    """Nothing in a random Agent is a switch; the search says how far it got."""
    edit = many(seed=4)
    found = trace(toy(), some_prompts(20), finding(edit), search=TokenSearch(starts=2, steps=2, pairs=50))
    assert found.drive.dose == pytest.approx(float(edit.delta.norm()), rel=1e-4)
    assert set(found.upstream.columns) == {"part", "layer", "head", "position", "attribution", "ablation"}


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_any_bridge_can_be_traced(architecture: str) -> None:
    agent = agent_of(architecture)
    width = agent.width("L1.mlp.post")
    prompts = Prompts(prompts_for(16).tokens, (6, 9), torch.ones(16, 2, dtype=torch.long))
    found = trace(
        agent, prompts, finding(Edit.neuron(POST, 2, 3.0, width)), search=TokenSearch(starts=2, steps=1, pairs=0)
    )
    assert max(each.drive - each.clean_drive for each in found.inputs) > 0
    assert len(found.upstream)


# --- errors -------------------------------------------------------------------------------------------------

NOT_AN_AGENT: Any = "wired"
MISTAKES = {
    "no agent": (lambda: start(agent=NOT_AN_AGENT), BadSettings, "expected an agent"),
    "no finding": (lambda: start(finding=finding().edit), BadSettings, "expected a Finding"),
    "no prompts": (lambda: start(prompts=None), BadSettings, "expected Prompts"),
    "no search": (lambda: start(search="gcg"), BadSettings, "TokenSearch"),
    "too few prompts": (lambda: start(prompts=questions(5)), BadPrompts, "at least 6 prompts, 4 to search.*got 5"),
    "nothing to patch": (lambda: start(top=0), BadSettings, "top=0"),
    "another agent's width": (
        lambda: start(finding=finding(Edit.neuron(POST, 3, 1.0, 7))),
        BadEdit,
        "width 40.*got 7",
    ),
    "no such site": (
        lambda: start(finding=finding(Edit.neuron("L7.mlp.post", 3, 1.0, 40))),
        UnknownSite,
        r"L7\.mlp\.post",
    ),
    "an edit that does nothing": (
        lambda: start(finding=finding(Edit(Site.parse(POST), torch.zeros(40)))),
        BadEdit,
        "writes something",
    ),
    "positions there are not": (lambda: start(search=TokenSearch(starts=4, positions=(9,))), BadSettings, r"0\.\.8"),
    "nothing to change": (
        lambda: start(search=TokenSearch(starts=4, positions=())),
        BadSettings,
        "more than one token",
    ),
    "no steps": (lambda: TokenSearch(steps=0), BadSettings, "at least one start, step and try"),
    "fewer than no pairs": (lambda: TokenSearch(pairs=-1), BadSettings, "0 pairs or more"),
    "words nobody knows": (lambda: TokenSearch(tokens="all"), BadSettings, "'fitting', 'seen', 'any'"),  # pyright: ignore[reportArgumentType]
}


def start(**changes: Any) -> Any:
    """A trace that is not begun."""
    given = {"agent": wired(), "prompts": questions(), "finding": finding(), "search": SEARCH} | changes
    return follow(given.pop("agent"), given.pop("prompts"), given.pop("finding"), **given)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_before_any_search(name: str) -> None:
    do, error, told = MISTAKES[name]
    with unchecked(), pytest.raises(error, match=told):
        do()


def test_arguments_are_checked_before_the_model_runs() -> None:
    with unchecked(), no_compute(wired()), pytest.raises(BadPrompts):
        start(prompts=questions(5))
