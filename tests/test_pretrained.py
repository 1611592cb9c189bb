"""Loading Hugging Face models: what was saved is what is loaded; the doubtful is refused; nothing is run or fetched."""

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BioGptConfig, BioGptForCausalLM, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from tests.hugging_face import VOCAB, plain, prompts_for, saved, tiny
from workbench import agent as agent_module
from workbench.agent import Agent
from workbench.errors import BadCheckpoint, BadPrompts, BadSettings, WorkbenchError
from workbench.prompts import Prompts

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for the network fails, and not in a way that is taken for a bad connection."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A llama as save_pretrained writes it."""
    saved("llama", tmp_path / "small-llama")
    return tmp_path / "small-llama"


def load(folder: Path, **options: Any) -> Agent:
    return Agent.from_pretrained(folder, device="cpu", **options)


def with_tokenizer(folder: Path) -> None:
    """A tokenizer of words `w0` to `w49`, beside the model."""
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    options = {"bos_token": "w1", "eos_token": "w2", "unk_token": "w0", "pad_token": "w0"}
    PreTrainedTokenizerFast(tokenizer_object=words, **options).save_pretrained(folder)


# --- what is loaded is what was saved -------------------------------------------------------------------


def test_a_folder_is_loaded_whole(folder: Path) -> None:
    agent, prompts = load(folder), prompts_for()
    expected = plain("llama")(prompts.tokens).logits[:, list(prompts.answer_positions)]
    torch.testing.assert_close(agent.logits(prompts), expected, rtol=0, atol=1e-5)
    assert (agent.name, agent.n_layers, agent.d_model, agent.d_vocab) == ("small-llama", 3, 32, VOCAB)
    assert not agent.bridge.training
    assert not any(module.training for module in agent.bridge.original_model.modules())
    assert all(p.dtype == torch.float32 for p in agent.weights().values())


def test_a_path_may_be_text_and_end_in_a_slash(folder: Path) -> None:
    assert Agent.from_pretrained(f"{folder}/", device="cpu").name == "small-llama"


def test_shards_make_the_same_agent(folder: Path, tmp_path: Path) -> None:
    saved("llama", tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    assert torch.equal(load(folder).logits(prompts_for()), load(tmp_path / "sharded").logits(prompts_for()))


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2"])
def test_a_tied_head_is_not_missed(architecture: str, tmp_path: Path) -> None:
    saved(architecture, tmp_path)
    assert not any("lm_head" in name for name in load_file(tmp_path / WEIGHTS))
    load(tmp_path)


def test_weights_saved_in_bf16_become_fp32_unless_asked_for(tmp_path: Path) -> None:
    tiny("llama").to(torch.bfloat16).save_pretrained(tmp_path)  # pyright: ignore
    full, half = load(tmp_path), load(tmp_path, dtype=torch.bfloat16)
    assert full.logits(prompts_for()).dtype == torch.float32
    assert half.logits(prompts_for()).dtype == torch.bfloat16
    for name, weight in half.weights().items():
        assert torch.equal(weight.float(), full.weights()[name])


def test_the_file_may_change_once_it_is_loaded(folder: Path) -> None:
    agent = load(folder)
    before = agent.logits(prompts_for())
    (folder / WEIGHTS).write_bytes(bytes((folder / WEIGHTS).stat().st_size))
    assert torch.equal(agent.logits(prompts_for()), before)


def test_without_a_tokenizer_prompts_are_token_numbers(folder: Path) -> None:
    agent = load(folder)
    assert agent.decode([3, 4]) == [["3", "4"]]
    with pytest.raises(BadPrompts, match="token numbers"):
        agent.encode("w3 w4")


def test_a_tokenizer_in_the_folder_is_used(folder: Path) -> None:
    with_tokenizer(folder)
    agent = load(folder)
    assert agent.encode("w3 w4", continues=True) == [3, 4]
    assert agent.decode([3, 4]) == [["w3", "w4"]]
    assert Prompts.from_text(agent, ["w3 w4", "w5 w6"], ["w7", "w8"]).answers.tolist() == [[7], [8]]


def test_a_cached_model_goes_by_its_name_on_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub" / "models--lab--small"
    shutil.copytree(folder, cached / "snapshots" / "0123456789abcdef0123456789abcdef01234567")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    agent = Agent.from_pretrained("lab/small", device="cpu")
    assert agent.name == "lab/small"
    assert torch.equal(agent.logits(prompts_for()), load(folder).logits(prompts_for()))
    with pytest.raises(BadCheckpoint, match=r"'lab/other'.*hub.*go online once"):
        Agent.from_pretrained("lab/other", device="cpu")


# --- nothing that came with a model is run --------------------------------------------------------------

EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
EVIL_MAP = {"AutoConfig": "modeling_evil.Config", "AutoModelForCausalLM": "modeling_evil.Model"}


def change(file: Path, **changes: Any) -> None:
    """Set fields of a JSON file; None removes one."""
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def plant_code(folder: Path) -> None:
    for name in ("modeling_evil.py", "custom_generate/generate.py", "setup.py", "__init__.py", "tokenization_evil.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(EVIL)


def test_code_beside_a_known_model_is_passed_over(folder: Path) -> None:
    with_tokenizer(folder)
    plant_code(folder)
    change(folder / "config.json", auto_map=EVIL_MAP)
    expected = load(folder).logits(prompts_for())
    assert torch.equal(expected, plain("llama")(prompts_for().tokens).logits[:, [6, 9]])
    assert not list(folder.rglob("ran"))


def test_code_that_a_model_needs_is_refused(folder: Path) -> None:
    plant_code(folder)
    change(folder / "config.json", auto_map=EVIL_MAP, model_type="evil", architectures=["Evil"])
    with pytest.raises(BadCheckpoint, match=r"'evil'.*auto_map.*never run"):
        load(folder)
    assert not list(folder.rglob("ran"))


def test_code_that_a_tokenizer_needs_is_refused(folder: Path) -> None:
    with_tokenizer(folder)
    plant_code(folder)
    own = {"AutoTokenizer": ["tokenization_evil.Slow", "tokenization_evil.Fast"]}
    change(folder / "tokenizer_config.json", auto_map=own, tokenizer_class="EvilTokenizer")
    with pytest.raises(BadCheckpoint, match=r"tokenizer.*without its own code"):
        load(folder)
    assert not list(folder.rglob("ran"))


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_never_opened(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save(Evil(folder / "ran"), folder / "pytorch_model.bin")
    with pytest.raises(BadCheckpoint, match=r"got pytorch_model\.bin.*never opened.*save_pretrained"):
        load(folder)
    torch.save(Evil(folder / "ran"), folder / WEIGHTS)
    with pytest.raises(BadCheckpoint, match="expected safetensors"):
        load(folder)
    assert not (folder / "ran").exists()


# --- anything doubtful is refused -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A way to spoil a folder, and what the error says of it."""

    do: Callable[[Path], Any]
    told: str


def weights(**changes: torch.Tensor | None) -> Callable[[Path], None]:
    """Set tensors in the folder's file, dots written as double underscores; None removes one."""

    def spoil(folder: Path) -> None:
        named = {name.replace("__", "."): tensor for name, tensor in changes.items()}
        tensors = load_file(folder / WEIGHTS) | named
        save_file({k: t for k, t in tensors.items() if t is not None}, folder / WEIGHTS, {"format": "pt"})

    return spoil


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / "config.json", **changes)


def write(name: str, content: bytes | str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def replace_by(model: Any) -> Callable[[Path], Any]:
    return lambda folder: model().save_pretrained(folder)


def index_only(weight_map: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    return spoil


def lose_a_shard(folder: Path) -> None:
    shutil.rmtree(folder)
    saved("llama", folder, max_shard_size="20KB")
    sorted(folder.glob("*.safetensors"))[1].unlink()


Q = "model__layers__1__self_attn__q_proj__weight"
SPOILT = {
    "no configuration": Spoilt(lambda f: (f / "config.json").unlink(), r"expected a file at .*config\.json"),
    "an adapter": Spoilt(
        lambda f: (f / "config.json").rename(f / "adapter_config.json"), "whole model.*an adapter.*Merge"
    ),
    "a configuration cut short": Spoilt(write("config.json", '{"model_type": "ll'), r"expected JSON in .*config\.json"),
    "a configuration that is a list": Spoilt(write("config.json", "[]"), "expected a JSON object"),
    "a configuration in another encoding": Spoilt(write("config.json", b"\xff\xfe{"), "expected JSON"),
    "no model_type": Spoilt(config(model_type=None), "expected a model_type.*None"),
    "an unknown model_type": Spoilt(config(model_type="lama"), "'lama'.*Closest: .*llama"),
    "a width that is text": Spoilt(config(hidden_size="wide"), "does not describe a llama"),
    "heads that do not divide": Spoilt(config(num_attention_heads=5, head_dim=None), "small-llama"),
    "quantized": Spoilt(config(quantization_config={"quant_method": "fp8"}), "plain weights.*quantized"),
    "an encoder and decoder": Spoilt(config(model_type="t5"), "expected a causal language model.*t5"),
    "no weights": Spoilt(lambda f: (f / WEIGHTS).unlink(), "there is neither.*save_pretrained"),
    "weights cut short": Spoilt(truncate, r"expected safetensors in .*truncated"),
    "weights that are text": Spoilt(write(WEIGHTS, "weights"), "expected safetensors"),
    "a weight missing": Spoilt(weights(**{Q: None}), r"1 tensors \(model\.layers\.1\.self_attn\.q_proj.*missing"),
    "an untied head missing": Spoilt(weights(lm_head__weight=None), r"1 tensors \(lm_head\.weight\) missing"),
    "a weight too many": Spoilt(weights(extra=torch.ones(2)), r"1 tensors \(extra\) not in the model"),
    "a weight of another shape": Spoilt(weights(**{Q: torch.ones(4, 4)}), r"\(4, 4\) for \(32, 32\).*another shape"),
    "a weight that is NaN": Spoilt(weights(**{Q: torch.full((32, 32), torch.nan)}), "NaN or infinity in 1 tensors"),
    "more layers than weights": Spoilt(config(num_hidden_layers=4), r"9 tensors \(.*, \.\.\.\) missing"),
    "fewer layers than weights": Spoilt(config(num_hidden_layers=2), r"9 tensors .* not in the model"),
    "a body without its head": Spoilt(
        replace_by(lambda: LlamaModel(cast(LlamaConfig, tiny("llama").config))), "lm_head.*missing"
    ),
    "another kind of model": Spoilt(
        lambda f: replace_by(lambda: tiny("neox"))(f) or config(model_type="llama")(f), "missing"
    ),
    "a model of billions": Spoilt(
        config(hidden_size=2**16, num_hidden_layers=99), r"expected \d{10} weights .* got \d{5}\."
    ),
    "a model beyond counting": Spoilt(config(hidden_size=2**40), "small-llama"),
    "an index of nothing": Spoilt(index_only(None), "weight_map"),
    "an index that points elsewhere": Spoilt(index_only({"a": "../model.safetensors"}), "weight_map"),
    "an index to pickles": Spoilt(index_only({"a": "pytorch_model.bin"}), "weight_map"),
    "a shard missing": Spoilt(lose_a_shard, r"expected a file at .*model-00002"),
    "a broken tokenizer": Spoilt(write("tokenizer.json", "{"), "expected a tokenizer.*Mend or remove"),
}


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_folder_is_refused(spoilt: Spoilt, folder: Path) -> None:
    spoilt.do(folder)
    with pytest.raises(BadCheckpoint, match=spoilt.told):
        load(folder)


def test_a_model_without_a_bridge_is_refused(tmp_path: Path) -> None:
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    BioGptForCausalLM(BioGptConfig(vocab_size=VOCAB, **shape)).save_pretrained(tmp_path)
    with pytest.raises(BadCheckpoint, match=r"a bridge to, got .*BioGptForCausalLM"):
        load(tmp_path)


def test_a_bridge_that_disagrees_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = agent_module.build_bridge_from_module

    def wrong(*args: Any, **kwargs: Any) -> Any:
        bridge = build(*args, **kwargs)
        with torch.no_grad():
            bridge.blocks[1].mlp.out.weight.mul_(1.01)
        return bridge

    monkeypatch.setattr(agent_module, "build_bridge_from_module", wrong)
    with pytest.raises(BadCheckpoint, match="give the logits of the Hugging Face model"):
        load(folder)


@pytest.mark.parametrize("path", ["./nothing", "no/such/folder", Path("nothing")])
def test_a_folder_that_is_not_there_is_not_looked_up_on_the_hub(path: Any) -> None:
    with pytest.raises(BadCheckpoint, match=r"expected a folder at .*there is none"):
        Agent.from_pretrained(path, device="cpu")


def test_a_name_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(BadCheckpoint, match="a name such as 'owner/model'"):
        Agent.from_pretrained("no model ??", device="cpu")


def test_a_dtype_of_whole_numbers_is_refused(folder: Path) -> None:
    with pytest.raises(BadSettings, match="floating-point dtype"):
        load(folder, dtype=torch.int64)
    assert issubclass(BadSettings, WorkbenchError)
