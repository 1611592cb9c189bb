"""Laws of editing: nothing added changes nothing, additions add up, every listed site is one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toys import LENGTH, VOCAB, edit_at, hooks_on, noise, quiet, some_prompts, toy
from workbench import Site

pytestmark = quiet
AGENTS = {
    "LN": {},
    "RMS gated rotary": {
        "normalization_type": "RMS",
        "gated_mlp": True,
        "act_fn": "silu",
        "positional_embedding_type": "rotary",
    },
    "no norm": {"normalization_type": None, "act_fn": "relu", "gain": 2.0},
}
agents = pytest.mark.parametrize("settings_", AGENTS.values(), ids=AGENTS)
KINDS = ("hook_embed", "L0.resid_post", "L1.mlp.post", "L1.attn.z", "L2.attn.q", "L2.mlp_out", "L1.resid_mid")


@agents
def test_a_zero_edit_is_the_identity_at_every_site(settings_: dict) -> None:
    agent, prompts = toy(**settings_), some_prompts()
    clean = agent.logits(prompts)
    for site in agent.sites():
        edited = agent.logits(prompts, edit_at(site, torch.zeros(agent.width(site))))
        if site.name.endswith(("hook_scale", "hook_normalized")):  # the bridge computes these norms another way then
            torch.testing.assert_close(edited, clean, rtol=1e-4, atol=1e-4)
        else:
            assert torch.equal(edited, clean), site


@agents
def test_an_edit_at_each_listed_site_changes_the_answers(settings_: dict) -> None:
    agent, prompts = toy(**settings_), some_prompts()
    clean = agent.logits(prompts)
    assert len(agent.sites()) == len(set(agent.sites())) > 30
    for number, site in enumerate(agent.sites()):
        delta = noise(LENGTH, agent.width(site), seed=number)  # the same at all positions would change nothing at keys
        edited = agent.logits(prompts, edit_at(site, delta))
        assert (edited - clean).abs().max() > 1e-4, site


@agents
def test_the_width_of_each_site_is_that_of_its_activations(settings_: dict) -> None:
    agent, prompts = toy(**settings_), some_prompts()
    for site in agent.sites():
        assert agent.activations(prompts, site).shape == (len(prompts), LENGTH, agent.width(site)), site


@settings(max_examples=30)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 99), positions=st.sets(st.integers(0, LENGTH - 1), min_size=1))
def test_edits_at_one_site_add_up(kind: str, seed: int, positions: set[int]) -> None:
    agent, prompts = toy(), some_prompts()
    width, where = agent.width(kind), tuple(positions)
    one, other = edit_at(kind, noise(width, seed=seed)), edit_at(kind, noise(len(where), width, seed=seed + 1), where)
    both = edit_at(kind, one.at(LENGTH) + other.at(LENGTH))
    apart, together = agent.logits(prompts, (one, other)), agent.logits(prompts, both)
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-4)


@settings(max_examples=30)
@given(seed=st.integers(0, 99), layer=st.integers(0, 2))
def test_edits_of_blocks_mlp_out_and_of_its_residual_stream_are_one(seed: int, layer: int) -> None:
    agent, prompts = toy(), some_prompts()
    delta, neurons = noise(16, seed=seed), noise(40, seed=seed + 1)
    write = agent.write(f"L{layer}.mlp.post")
    assert write is not None
    after = edit_at(f"L{layer}.resid_post", delta + neurons @ write)
    jointly = agent.logits(prompts, (edit_at(f"L{layer}.mlp_out", delta), edit_at(f"L{layer}.mlp.post", neurons)))
    torch.testing.assert_close(jointly, agent.logits(prompts, after), rtol=1e-4, atol=1e-4)


@settings(max_examples=10)
@given(st.permutations(KINDS))
def test_joint_edits_apply_in_any_order(order: list[str]) -> None:
    agent, prompts = toy(), some_prompts()
    edits = [edit_at(kind, noise(agent.width(kind), seed=i)) for i, kind in enumerate(KINDS)]
    shuffled = [edits[KINDS.index(kind)] for kind in order]
    assert torch.equal(agent.logits(prompts, edits), agent.logits(prompts, shuffled))


def test_edits_at_several_sites_are_what_hooks_by_hand_do() -> None:
    agent, prompts = toy(), some_prompts()
    deltas = {"L0.resid_post": noise(16, seed=1), "L1.attn.z": noise(16, seed=2), "L2.mlp.post": noise(40, seed=3)}

    def hook(delta: torch.Tensor):
        return lambda x, hook: x + delta.reshape(x.shape[2:])

    by_hand = agent.bridge.run_with_hooks(
        prompts.tokens, fwd_hooks=[(Site.parse(name).name, hook(delta)) for name, delta in deltas.items()]
    )[:, list(prompts.answer_positions)]
    edits = [edit_at(name, delta) for name, delta in deltas.items()]
    assert torch.equal(agent.logits(prompts, edits), by_hand)
    assert by_hand.shape == (len(prompts), 2, VOCAB)


@settings(max_examples=20)
@given(position=st.integers(0, LENGTH - 1))
def test_an_edit_at_one_position_changes_no_earlier_answer(position: int) -> None:
    agent, prompts = toy(), some_prompts()
    edited = agent.logits(prompts, edit_at("L0.resid_post", noise(16) * 3, (position,)))
    for answer, where in enumerate(prompts.answer_positions):
        changed = not torch.equal(edited[:, answer], agent.logits(prompts)[:, answer])
        assert changed == (where >= position)


def test_hooks_are_gone_after_a_run_and_after_an_exception_inside_one() -> None:
    agent, prompts = toy(), some_prompts()
    before, clean = hooks_on(agent), agent.logits(prompts)
    agent.logits(prompts, edit_at("L1.mlp.post", noise(40)))
    assert hooks_on(agent) == before

    def fail(activations: torch.Tensor, hook: object) -> None:
        raise RuntimeError("inside the hook")

    hooks = [("blocks.0.hook_resid_post", fail), ("blocks.1.hook_resid_post", fail)]
    with pytest.raises(RuntimeError, match="inside the hook"), agent.hooked(hooks):
        agent.bridge(prompts.tokens)
    assert hooks_on(agent) == before
    assert torch.equal(agent.logits(prompts), clean)


@settings(max_examples=30)
@given(factor=st.floats(-4, 4), seed=st.integers(0, 9))
def test_scaling_an_edit_scales_what_is_added(factor: float, seed: int) -> None:
    edit = edit_at("L0.mlp.post", noise(2, 5, seed=seed), (1, 3))
    assert torch.equal(edit.scaled(factor).at(4), edit.at(4) * factor)
    assert edit.scaled(1.0) == edit
