"""The Agent: what it says of its model, what edits write, and what it refuses to load."""

import gc
import json
from pathlib import Path

import pytest
import torch
from transformer_lens import TransformerBridge

from tests.toys import LENGTH, boot, edit_at, no_compute, noise, quiet, some_prompts, toy
from workbench import Agent
from workbench.errors import BadCheckpoint
from workbench.store import digest_of, read_tensors, sha256, write_tensors

pytestmark = quiet


def test_an_agent_knows_its_model() -> None:
    agent = toy()
    assert isinstance(agent.bridge, TransformerBridge)
    assert (agent.n_layers, agent.d_model, agent.d_vocab, agent.device.type) == (3, 16, 20, "cpu")
    assert repr(agent) == "Agent('toy', 3 layers, d_model 16, cpu)"
    assert not agent.bridge.training


def test_logits_are_those_of_the_bridge_at_the_answers() -> None:
    agent, prompts = toy(), some_prompts()
    whole = agent.bridge(prompts.tokens)
    assert torch.equal(agent.logits(prompts), whole[:, list(prompts.answer_positions)].detach())
    assert not agent.logits(prompts).requires_grad


@pytest.mark.parametrize(
    "site", ["hook_embed", "L0.resid_pre", "L1.mlp_out", "L2.attn_out", "L1.mlp.post", "L1.attn.z"]
)
def test_what_a_site_writes_is_found_in_the_residual_stream(site: str) -> None:
    agent, prompts = toy(), some_prompts()
    delta, write = noise(agent.width(site)), agent.write(site)
    assert write is not None
    after = agent.residual_site(site)
    streams = []
    for edits in ((), (edit_at(site, delta),)):
        hooks = [(agent.site(e.site).name, lambda x, hook, d=e.delta: x + d.reshape(x.shape[2:])) for e in edits]
        keep = (after.name, lambda x, hook: streams.append(x.detach().clone()))
        with agent.hooked([*hooks, keep]):
            agent.bridge(prompts.tokens)
    if site.endswith("attn_out") or site.endswith("attn.z"):  # the MLP reads it before the block ends
        assert (streams[1] - streams[0]).abs().max() > 0
    else:
        torch.testing.assert_close(streams[1] - streams[0], (delta @ write).expand_as(streams[0]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("site", ["L0.attn.q", "L0.attn.k", "L0.attn.v", "L1.resid_mid", "L1.mlp.pre", "L1.ln1.out"])
def test_other_sites_have_no_linear_write(site: str) -> None:
    assert toy().write(site) is None


def test_activations_are_what_the_bridge_caches() -> None:
    agent, prompts = toy(), some_prompts()
    _, cache = agent.bridge.run_with_cache(prompts.tokens)
    for site in ("L1.mlp.post", "L1.resid_post", "L0.attn.q"):
        expected = cache[agent.site(site).name].flatten(2)
        assert torch.equal(agent.activations(prompts, site), expected)
        assert expected.shape[:2] == (len(prompts), LENGTH)


def test_the_watch_for_runs_of_the_model_works() -> None:
    """The tests of mistakes rely on it."""
    with no_compute(toy()), pytest.raises(AssertionError, match="the model was run"):
        toy().logits(some_prompts())
    toy().logits(some_prompts())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved Agent."""
    toy().save(tmp_path)
    return tmp_path


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Other tensors, with the sha256 that belongs to them."""
    describe(folder, {"weights": write_tensors(folder / "model.safetensors", tensors)})


def describe(folder: Path, changes: dict) -> None:
    """Another description, with the sha256 that belongs to it."""
    content = json.loads((folder / "agent.json").read_text()) | changes
    kept = {name: value for name, value in content.items() if name not in ("format", "version", "sha256")}
    (folder / "agent.json").write_text(json.dumps(content | {"sha256": digest_of(kept)}))


def refused(folder: Path, *told: str) -> None:
    """Loading fails, and says so."""
    with pytest.raises(BadCheckpoint) as caught:
        Agent.load(folder, device="cpu")
    for part in told:
        assert part in str(caught.value)


def test_missing_and_extra_tensors_are_refused(folder: Path) -> None:
    tensors = read_tensors(folder / "model.safetensors")
    name = sorted(tensors)[0]
    rewrite(folder, {n: t for n, t in tensors.items() if n != name})
    refused(folder, f"missing tensors ['{name}']")
    rewrite(folder, tensors | {"surplus": torch.zeros(2)})
    refused(folder, "unexpected tensors ['surplus']")


def test_tensors_of_another_shape_or_dtype_are_refused(folder: Path) -> None:
    tensors = read_tensors(folder / "model.safetensors")
    name = next(n for n, t in tensors.items() if t.ndim == 2)
    rewrite(folder, tensors | {name: torch.zeros(3, 4)})
    refused(folder, name, "(3, 4)", "another model")
    rewrite(folder, tensors | {name: tensors[name].double()})
    refused(folder, name, "torch.float32", "torch.float64")


def test_altered_truncated_and_pickled_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(folder, "expected sha256", "altered")
    path.write_bytes(whole[:-100])
    refused(folder, "truncated")
    torch.save(dict(toy().weights()), path)
    refused(folder, "expected sha256")
    describe(folder, {"weights": sha256(path.read_bytes())})
    refused(folder, "pickle", "never opened")
    path.unlink()
    refused(folder, "No such file")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something else"},
        {"version": 2},
        {"config": {}},
        {"config": None},
        {"vocabulary": 3},
        {"vocabulary": {}},
    ],
    ids=str,
)
def test_descriptions_that_are_none_are_refused(folder: Path, change: dict) -> None:
    describe(folder, change)
    refused(folder, "agent.json")


@pytest.mark.parametrize(("key", "value"), [("n_layers", 2), ("d_mlp", 8), ("dtype", "os"), ("dtype", "float99")])
def test_configurations_that_do_not_belong_to_the_weights_are_refused(folder: Path, key: str, value: object) -> None:
    content = json.loads((folder / "agent.json").read_text())
    content["config"][key] = value
    (folder / "agent.json").write_text(json.dumps(content))
    refused(folder)


def test_a_description_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "agent.json").write_text('{"format": ')
    refused(folder, "expected JSON", "agent.json")


def test_loading_runs_nothing_of_the_file(folder: Path) -> None:
    """No pickle is opened and no weight is drawn: the weights are those of the file."""
    agent = Agent.load(folder, device="cpu")
    expected = boot().weights()
    assert all(torch.equal(weight, expected[name]) for name, weight in agent.weights().items())


def test_a_copy_of_an_agent_that_has_run_outlives_it() -> None:
    agent = boot()
    expected = agent.logits(some_prompts())
    twin = agent.copy()
    del agent
    gc.collect()
    torch.testing.assert_close(twin.logits(some_prompts()), expected)
