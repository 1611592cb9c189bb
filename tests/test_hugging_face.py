"""Bridges of Hugging Face architectures: the engine is exact on them too, without a line about any of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens import TransformerBridge
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from workbench import Agent, Prompts
from workbench.engine import View

SHAPE: dict[str, Any] = {"num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
COMMON: dict[str, Any] = {
    "vocab_size": 50,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(n_layer=3, n_embd=32, n_head=4, n_positions=32, vocab_size=50)),
    "neox": (GPTNeoXForCausalLM, GPTNeoXConfig(**SHAPE, **COMMON)),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(**SHAPE, **COMMON, num_key_value_heads=2, head_dim=8)),
}


@pytest.mark.filterwarnings("ignore")  # what other libraries say while a model is made is not ours
@pytest.mark.parametrize("name", MODELS)
def test_the_stripped_suffix_is_exact(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    kind, config = MODELS[name]
    model = kind(config).eval()
    model.save_pretrained(tmp_path)
    agent = Agent(TransformerBridge.boot_transformers(str(tmp_path), device="cpu"), name=name)  # pyright: ignore
    prompts = Prompts(torch.arange(80).reshape(8, 10) % 50, (6, 9), torch.ones(8, 2, dtype=torch.long))
    expected = model(prompts.tokens).logits[:, [6, 9]]
    torch.testing.assert_close(agent.logits(prompts), expected, rtol=1e-5, atol=1e-5)
    for site in ("L0.resid_pre", "L1.resid_post", "L2.resid_post"):
        view = View(agent, site, prompts)
        assert view.engine == "stripped"
        deltas = torch.randn(3, view.width, generator=torch.Generator().manual_seed(0))
        each = torch.stack([agent.logits(prompts, edit) for edit in view.edits(deltas)])
        torch.testing.assert_close(view.logits(deltas), each, rtol=1e-5, atol=1e-5)
