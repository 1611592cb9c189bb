"""One set of weights: bridge and engine agree after retraining, copies are apart, edits at q, k and v as before."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers.pytorch_utils import Conv1D

from tests.hugging_face import ARCHITECTURES, LAYERS, LENGTH, VOCAB, WIDTH, agent_of, plain, prompts_for, tiny
from tests.toys import boot, edit_at, noise, quiet
from workbench import LAT, Agent, FineTune, retrain
from workbench.engine import Split, View
from workbench.errors import BadSettings
from workbench.fused import Part, apart, tie

pytestmark = quiet
FUSED = ("gpt2", "neox", "neox-sequential")
HEADS, D_HEAD, SOME = 4, WIDTH // 4, (1, 6, 8)
SHORT: dict[str, Any] = {"steps": 3, "batch": 4, "lr": 1e-2}
RECIPES = (FineTune(**SHORT), LAT(inner_steps=2, **SHORT))
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
each_fused = pytest.mark.parametrize("architecture", FUSED)
_SHAPE: dict[str, Any] = {"hidden_size": WIDTH, "vocab_size": VOCAB, "pad_token_id": 0}
_LAYERS: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": HEADS}
_GPT: dict[str, Any] = {"n_layer": 2, "n_embd": WIDTH, "n_head": HEADS, "n_positions": LENGTH, "vocab_size": VOCAB}
OTHERS: dict[str, Any] = {  # one for each way in which TransformerLens splits
    "Phi3": {**_SHAPE, **_LAYERS, "intermediate_size": 64, "num_key_value_heads": 2},
    "Bloom": {"hidden_size": WIDTH, "vocab_size": VOCAB, "n_layer": 2, "n_head": HEADS},
    "Falcon": {**_SHAPE, **_LAYERS, "multi_query": True, "new_decoder_architecture": False},
    "GPTBigCode": _GPT,
    "Mpt": {"d_model": WIDTH, "n_heads": HEADS, "n_layers": 2, "vocab_size": VOCAB, "max_seq_len": LENGTH},
    "CodeGen": {**_GPT, "n_ctx": LENGTH, "rotary_dim": 4},
}


@cache
def shared(architecture: str) -> Agent:
    """An Agent that no test changes; its sites are found, and known to its copies."""
    agent = agent_of(architecture)
    agent.sites()
    return agent


def fresh(architecture: str) -> Agent:
    """An Agent that a test may change."""
    return shared(architecture).copy()


def untied(model: Any) -> Any:
    """A bridge as TransformerLens makes it."""
    model.set_attn_implementation("eager")
    return build_bridge_from_module(model, type(model).__name__, hf_config=model.config)


def other(family: str) -> Any:
    """A small model of another architecture with fused projections."""
    config = getattr(transformers, f"{family}Config")(**OTHERS[family])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
        for weight in model.parameters():
            weight.add_(0.15 * torch.randn_like(weight))
    return model


def count(weights: Any) -> int:
    """How many numbers there are in some tensors."""
    return sum(weight.numel() for weight in weights)


@torch.no_grad()
def check_tiers_agree(agent: Agent) -> None:
    """Raise unless the bridge and the engine, cut anywhere, give the same logits."""
    prompts = prompts_for()
    expected = agent.logits(prompts)
    for layer in range(agent.n_layers + 1):
        split = Split(agent, layer, prompts.answer_positions)
        assert split.engine == "stripped"
        torch.testing.assert_close(split.suffix(split.prefix(prompts.tokens)), expected, rtol=0, atol=1e-5)


def trained(agent: Agent, recipe: Any) -> Agent:
    """The Agent after the last step."""
    *_, last = retrain(agent, prompts_for(), recipe)
    return last.agent


# --- laws -----------------------------------------------------------------------------------------------


@each_architecture
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_retraining_trains_the_bridge_and_the_engine_alike(architecture: str, recipe: Any) -> None:
    agent = shared(architecture)
    before = agent.logits(prompts_for())
    after = trained(agent, recipe)
    check_tiers_agree(after)
    view = View(after, "L1.resid_post", prompts_for())
    assert view.engine == "stripped"  # and no rerun with hooks, the fallback where the two disagree
    torch.testing.assert_close(view.logits(torch.zeros(1, WIDTH))[0], after.logits(prompts_for()), rtol=0, atol=1e-5)
    assert (after.logits(prompts_for()) - before).abs().max() > 0.1
    assert torch.equal(agent.logits(prompts_for()), before)


@each_architecture
def test_a_step_of_the_bridge_is_a_step_of_the_plain_model(architecture: str) -> None:
    """The gradient reaches the fused weights through the bridge as it does in the model without one."""
    agent, model, tokens = fresh(architecture), plain(architecture), prompts_for().tokens
    for parameters, run in (
        (agent.weights().values(), lambda: agent.bridge(tokens)),
        (model.parameters(), lambda: model(tokens, use_cache=False).logits),
    ):
        optimizer = torch.optim.SGD(parameters, lr=0.01)
        F.cross_entropy(run().flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
    with torch.no_grad():
        moved = model(tokens, use_cache=False).logits
        torch.testing.assert_close(agent.bridge(tokens), moved, rtol=0, atol=1e-5)
        assert (moved - shared(architecture).bridge(tokens)).abs().max() > 1e-2


@each_architecture
def test_the_weights_are_those_of_the_plain_model_once(architecture: str) -> None:
    agent, model = shared(architecture), plain(architecture)
    assert count(agent.weights().values()) == count(agent.bridge.parameters()) == count(model.parameters())
    assert apart(agent.bridge) == []
    agent.check_trainable()


@each_architecture
def test_a_copy_trains_apart_from_its_original(architecture: str) -> None:
    agent, prompts = shared(architecture), prompts_for()
    before, twin = agent.logits(prompts), agent.copy()
    optimizer = torch.optim.AdamW(twin.weights().values(), lr=1e-2)
    twin.bridge(prompts.tokens).logsumexp(-1).sum().backward()
    assert all(weight.grad is not None for weight in twin.weights().values())
    assert all(weight.grad is None for weight in agent.weights().values())
    optimizer.step()
    check_tiers_agree(twin)
    assert not torch.equal(twin.logits(prompts), before)
    assert torch.equal(agent.logits(prompts), before)


@given(
    outputs=st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True),
    transposed=st.booleans(),
    biased=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_part_is_those_outputs_of_the_fused_layer(
    outputs: list[int], transposed: bool, biased: bool, seed: int
) -> None:
    fused = Conv1D(12, 5) if transposed else nn.Linear(5, 12, bias=biased)
    part, x = Part(fused, torch.tensor(outputs)), noise(2, 3, 5, seed=seed)
    torch.testing.assert_close(part(x), fused(x)[..., outputs])
    assert list(part.parameters()) == []
    (part(x) * 3).sum().backward()
    gradient = fused.weight.grad
    assert gradient is not None
    rows = gradient.T if transposed else gradient
    expected = torch.zeros(12, 5)
    expected[outputs] = 3 * x.sum((0, 1))
    torch.testing.assert_close(rows, expected)
    for name, value in {"weight": torch.zeros(len(outputs), 5), "bias": torch.ones(len(outputs))}.items():
        setattr(part, name, value)
    torch.testing.assert_close(fused(x)[..., outputs], torch.ones(2, 3, len(outputs)))


# --- cases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", FUSED)
def test_queries_keys_and_values_are_cut_out_of_one_layer(architecture: str) -> None:
    agent = shared(architecture)
    parts = [module for module in agent.bridge.modules() if isinstance(module, Part)]
    assert len(parts) == 3 * LAYERS
    names = [
        name for name in agent.weights() if any(f".attn.{x}." in name or f".attention.{x}." in name for x in "qkv")
    ]
    assert names == []


@each_fused
def test_matrices_are_read_as_before_and_follow_the_weights(architecture: str) -> None:
    agent, original = fresh(architecture), untied(tiny(architecture))
    names = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O")
    for block, expected in zip(agent.bridge.blocks, original.blocks, strict=True):
        for name in names:
            assert torch.equal(getattr(block.attn, name), getattr(expected.attn, name)), name
    with torch.no_grad():
        for weight in agent.weights().values():
            weight.mul_(2)
    for name in names:
        assert torch.equal(getattr(agent.bridge.blocks[1].attn, name), 2 * getattr(original.blocks[1].attn, name))


@each_fused
@pytest.mark.parametrize("kind", ["q", "k", "v", "q.in", "k.in", "v.in"])
def test_an_edit_does_what_it_did_before_the_tie(architecture: str, kind: str) -> None:
    agent, prompts, original = shared(architecture), prompts_for(), untied(tiny(architecture))
    site = agent.site(f"L1.attn.{kind}")
    edit = edit_at(site.short, noise(len(SOME), WIDTH), SOME)  # one delta at every key would cancel in the softmax
    added = edit.at(prompts.length)

    def add(x: Tensor, hook: Any) -> Tensor:
        return x + added.reshape(x.shape[1:])

    with torch.no_grad():
        expected = original.run_with_hooks(prompts.tokens, fwd_hooks=[(site.name, add)])
    got = agent.logits(prompts, edit)
    torch.testing.assert_close(got, expected[:, list(prompts.answer_positions)], rtol=0, atol=1e-5)
    assert (got - agent.logits(prompts)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["q", "k", "v"])
@torch.no_grad()
def test_an_edit_in_gpt2_is_one_of_its_fused_output(kind: str) -> None:
    """Without a bridge: the delta is added to the columns of c_attn's output that the paper gives to q, k or v."""
    agent, prompts, model = shared("gpt2"), prompts_for(), plain("gpt2")
    edit, start = edit_at(f"L1.attn.{kind}", noise(len(SOME), WIDTH), SOME), "qkv".index(kind) * WIDTH

    def add(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output + F.pad(edit.at(prompts.length), (start, 2 * WIDTH - start))

    handle = model.transformer.h[1].attn.c_attn.register_forward_hook(add)  # pyright: ignore
    expected = model(prompts.tokens).logits[:, list(prompts.answer_positions)]
    handle.remove()
    torch.testing.assert_close(agent.logits(prompts, edit), expected, rtol=0, atol=1e-5)
    assert (expected - agent.logits(prompts)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["q", "k", "v"])
@torch.no_grad()
def test_an_edit_in_neox_is_one_of_each_head_s_share(kind: str) -> None:
    """In query_key_value each head has its query, key and value side by side."""
    agent, prompts, model = shared("neox"), prompts_for(), plain("neox")
    edit = edit_at(f"L1.attn.{kind}", noise(len(SOME), WIDTH), SOME)
    wide = torch.zeros(prompts.length, HEADS, 3, D_HEAD)
    wide[:, :, "qkv".index(kind)] = edit.at(prompts.length).reshape(-1, HEADS, D_HEAD)

    def add(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output + wide.flatten(1)

    handle = model.gpt_neox.layers[1].attention.query_key_value.register_forward_hook(add)  # pyright: ignore
    expected = model(prompts.tokens).logits[:, list(prompts.answer_positions)]
    handle.remove()
    torch.testing.assert_close(agent.logits(prompts, edit), expected, rtol=0, atol=1e-5)
    assert (expected - agent.logits(prompts)).abs().max() > 1e-2


@each_fused
def test_a_bridge_given_to_an_agent_is_tied_and_an_agent_of_it_again_is_the_same(architecture: str) -> None:
    bridge = untied(tiny(architecture))
    copies = apart(bridge)
    assert len(copies) == 6 * LAYERS  # weight and bias of q, k and v
    agent = Agent(bridge, device="cpu")
    assert apart(bridge) == []
    parts = [id(module) for module in bridge.modules() if isinstance(module, Part)]
    assert [id(module) for module in Agent(bridge, device="cpu").bridge.modules() if isinstance(module, Part)] == parts
    check_tiers_agree(trained(agent, RECIPES[0]))


@pytest.mark.parametrize("family", OTHERS)
def test_other_ways_of_splitting_are_tied_too(family: str, tmp_path: Path) -> None:
    model = other(family)
    model.save_pretrained(tmp_path)
    agent = Agent.from_pretrained(tmp_path, device="cpu")
    assert any(isinstance(module, Part) for module in agent.bridge.modules())
    assert count(agent.weights().values()) == count(model.parameters())
    agent.check_trainable()
    check_tiers_agree(trained(agent, RECIPES[0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_tie_holds_in_other_dtypes_and_after_a_cast(dtype: torch.dtype) -> None:
    bridge = untied(tiny("neox").to(dtype))  # pyright: ignore
    expected = bridge(prompts_for().tokens)
    agent = Agent(bridge, device="cpu")
    assert apart(bridge) == []
    assert torch.equal(agent.bridge(prompts_for().tokens), expected)
    agent.bridge.to(torch.float32)
    assert agent.bridge.blocks[0].attn.W_Q.dtype == torch.float32
    check_tiers_agree(agent)


@each_fused
def test_the_state_of_a_bridge_is_whole_and_comes_back(architecture: str) -> None:
    agent, tokens = fresh(architecture), prompts_for().tokens
    state = {name: value.clone() for name, value in agent.bridge.state_dict().items()}
    assert state.keys() == untied(tiny(architecture)).state_dict().keys()
    expected = agent.bridge(tokens)
    with torch.no_grad():
        for weight in agent.weights().values():
            weight.mul_(1.5)
    agent.bridge.load_state_dict(state)
    assert torch.equal(agent.bridge(tokens), expected)
    check_tiers_agree(agent)


@each_fused
def test_processing_the_weights_of_a_tied_bridge_keeps_its_predictions(architecture: str) -> None:
    agent, tokens = fresh(architecture), prompts_for().tokens
    before = agent.bridge.blocks[1].attn.W_Q.clone()
    expected = agent.bridge(tokens).log_softmax(-1)
    agent.bridge.process_weights(fold_ln=True)
    assert not torch.equal(agent.bridge.blocks[1].attn.W_Q, before)
    torch.testing.assert_close(agent.bridge(tokens).log_softmax(-1), expected, rtol=0, atol=1e-4)


def test_native_bridges_stay_as_they_are() -> None:
    agent = boot()
    assert not any(isinstance(module, Part) for module in agent.bridge.modules())
    agent.check_trainable()


# --- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.5, math.nan])
def test_weights_that_are_apart_already_stay_so_and_are_told(value: float) -> None:
    bridge = untied(tiny("gpt2"))
    projection = bridge.blocks[1].attn.q.original_component
    projection.weight = nn.Parameter(value * projection.weight.detach())
    agent = Agent(bridge, name="altered", device="cpu")
    assert bridge.blocks[1].attn.q.original_component is projection
    with pytest.raises(
        BadSettings, match=r"altered has 6 of its own \(.*\.1\..*q.*weight.*, \.\.\.\)\. Make the Agent"
    ):
        agent.check_trainable()


def test_a_split_that_fails_or_mixes_outputs_is_left_alone() -> None:
    def fails(original: Any) -> Any:
        raise RuntimeError("not this one")

    def sums(original: Any) -> Any:
        *parts, last = split(original)
        last.weight = nn.Parameter(last.weight.detach() + 1)
        return *parts, last

    for change in (fails, sums):
        bridge = untied(tiny("gpt2"))
        split = bridge.blocks[0].attn.split_qkv_matrix
        vars(bridge.blocks[0].attn)["split_qkv_matrix"] = change
        tie(bridge)
        assert len(apart(bridge)) == 6


def test_a_state_that_does_not_fit_is_refused_as_by_a_linear_layer() -> None:
    part = Part(nn.Linear(5, 12), torch.arange(4))
    with pytest.raises(RuntimeError, match=r"expected weight of shape \(4, 5\), got \(3, 5\)"):
        part.load_state_dict({"weight": torch.zeros(3, 5), "bias": torch.zeros(4)})
    with pytest.raises(RuntimeError, match=r"Missing key.*bias"):
        part.load_state_dict({"weight": torch.zeros(4, 5)})
