"""Agents of Hugging Face architectures: logits, sites, writes and the engine, without a line about any of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hugging_face import ARCHITECTURES, LAYERS, WIDTH, agent_of, plain, prompts_for
from tests.toys import edit_at, hooks_on, noise
from workbench import Agent, Edit
from workbench.engine import View

POST_NORMS = ("gemma2", "gemma3")
PARALLEL = ("neox",)
SOME = (1, 6, 8)  # at one of them, an answer is read
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
seeds = st.integers(0, 2**16)
layers = st.integers(0, LAYERS - 1)


def change(agent: Agent, *edits: Edit) -> torch.Tensor:
    """What some edits add to the logits."""
    prompts = prompts_for()
    return agent.logits(prompts, edits) - agent.logits(prompts)


def check_same_effect(agent: Agent, first: list[Edit], second: list[Edit]) -> None:
    """Raise unless both lists of edits change the logits, and in the same way."""
    expected, found = change(agent, *second), change(agent, *first)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5)


@each_architecture
def test_logits_are_those_of_the_plain_model(architecture: str) -> None:
    agent, prompts = agent_of(architecture), prompts_for()
    expected = plain(architecture)(prompts.tokens).logits[:, list(prompts.answer_positions)]
    torch.testing.assert_close(agent.logits(prompts), expected, rtol=0, atol=1e-5)


@each_architecture
def test_weights_are_used_as_they_are(architecture: str) -> None:
    held = list(agent_of(architecture).weights().values())
    for name, weight in plain(architecture).named_parameters():
        assert any(weight.shape == other.shape and torch.equal(weight, other) for other in held), name


@each_architecture
def test_sites_are_found_and_no_hook_is_left(architecture: str) -> None:
    agent, prompts = agent_of(architecture), prompts_for()
    sites = {site.short for site in agent.sites()}
    everywhere = ("resid_pre", "resid_post", "attn_out", "mlp_out", "mlp.post", "attn.z", "attn.q")
    assert {f"L{layer}.{kind}" for layer in range(LAYERS) for kind in everywhere} <= sites
    assert ("L1.resid_mid" in sites) == (architecture not in PARALLEL)
    before = hooks_on(agent)
    agent.logits(prompts, edit_at("L1.mlp.post", noise(64 if architecture != "gpt2" else 4 * WIDTH)))
    assert hooks_on(agent) == before


@each_architecture
def test_nothing_is_claimed_to_be_written_through_a_norm(architecture: str) -> None:
    agent = agent_of(architecture)
    written = {site.kind for site in agent.sites() if site.layer is not None and agent.write(site) is not None}
    plain_kinds = {"hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out"}
    inner = set() if architecture in POST_NORMS else {"mlp.hook_post", "attn.hook_z"}
    assert written == plain_kinds | inner


@each_architecture
@settings(max_examples=12)
@given(layer=layers, kind=st.sampled_from(["mlp_out", "mlp.post", "embed"]), seed=seeds)
def test_an_edit_does_what_its_write_does_in_the_stream(architecture: str, layer: int, kind: str, seed: int) -> None:
    agent = agent_of(architecture)
    site = agent.site("hook_embed" if kind == "embed" else f"L{layer}.{kind}")
    if (write := agent.write(site)) is None:
        assert (architecture in POST_NORMS) == (kind == "mlp.post")
        return
    delta = noise(3, agent.width(site), seed=seed)
    stream = agent.residual_site(site)
    check_same_effect(agent, [Edit(site, delta, SOME)], [Edit(stream, delta @ write, SOME)])


@each_architecture
@settings(max_examples=12)
@given(layer=layers, kind=st.sampled_from(["attn_out", "attn.z"]), seed=seeds)
def test_an_edit_in_attention_reaches_the_mlp_and_the_stream(
    architecture: str, layer: int, kind: str, seed: int
) -> None:
    """`resid_mid` is what the MLP reads, and only that: an edit there and one after the block make one in between."""
    agent = agent_of(architecture)
    site = agent.site(f"L{layer}.{kind}")
    if (write := agent.write(site)) is None:
        assert architecture in POST_NORMS
        assert kind == "attn.z"
        return
    delta = noise(3, agent.width(site), seed=seed)
    reached = ["resid_post"] if architecture in PARALLEL else ["resid_mid", "resid_post"]
    parts = [edit_at(f"L{layer}.{name}", delta @ write, SOME) for name in reached]
    check_same_effect(agent, [Edit(site, delta, SOME)], parts)


@each_architecture
def test_a_copy_is_whole_and_apart_also_after_a_gradient(architecture: str) -> None:
    agent, prompts = agent_of(architecture), prompts_for()
    expected = agent.logits(prompts)
    agent.bridge(prompts.tokens).sum().backward()
    twin = agent.copy()
    assert torch.equal(twin.logits(prompts), expected)
    with torch.no_grad():
        for weight in twin.weights().values():
            weight.zero_()
    assert not torch.equal(twin.logits(prompts), expected)
    assert torch.equal(agent.logits(prompts), expected)
    agent.bridge.zero_grad()


@each_architecture
@pytest.mark.parametrize("site", ["L0.resid_pre", "L1.resid_post", "L2.resid_post"])
def test_the_stripped_suffix_is_exact(architecture: str, site: str) -> None:
    agent, prompts = agent_of(architecture), prompts_for()
    view = View(agent, site, prompts)
    assert view.engine == "stripped"
    deltas = noise(3, view.width)
    each = torch.stack([agent.logits(prompts, edit) for edit in view.edits(deltas)])
    torch.testing.assert_close(view.logits(deltas), each, rtol=1e-5, atol=1e-5)
