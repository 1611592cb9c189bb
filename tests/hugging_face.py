"""Tiny random models of the Hugging Face architectures, made here and saved as a person would save them."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.utils import logging

from workbench.agent import Agent
from workbench.prompts import Prompts

VOCAB, LAYERS, WIDTH, LENGTH = 50, 3, 32, 32
_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": LENGTH,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED: dict[str, Any] = _COMMON | {"num_key_value_heads": 2}  # two query heads share one key and value head
_GEMMA: dict[str, Any] = _GROUPED | {"head_dim": 12, "query_pre_attn_scalar": 12, "sliding_window": 4}
_GPT2: dict[str, Any] = {"n_layer": LAYERS, "n_embd": WIDTH, "n_head": 4, "n_positions": LENGTH, "vocab_size": VOCAB}


@cache
def _kinds() -> dict[str, tuple[type[PreTrainedModel], Any]]:
    caps: dict[str, Any] = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
    return {
        "gpt2": (GPT2LMHeadModel, GPT2Config(**_GPT2, bos_token_id=1, eos_token_id=2)),
        "neox": (GPTNeoXForCausalLM, GPTNeoXConfig(**_COMMON)),
        "neox-sequential": (GPTNeoXForCausalLM, GPTNeoXConfig(**_COMMON, use_parallel_residual=False)),
        "llama": (LlamaForCausalLM, LlamaConfig(**_GROUPED)),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config(**_GROUPED)),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config(**_GROUPED, head_dim=12)),
        "gemma2": (Gemma2ForCausalLM, Gemma2Config(**_GEMMA, **caps)),
        "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig(**_GEMMA)),
    }


ARCHITECTURES = ("gpt2", "neox", "neox-sequential", "llama", "qwen2", "qwen3", "gemma2", "gemma3")


def tiny(architecture: str, *, seed: int = 0) -> PreTrainedModel:
    """A model of three layers, hidden size 32 and 50 tokens, in evaluation mode.

    Norms, biases and matrices are drawn wide: a weight that is left out, misplaced or transposed changes the logits.
    """
    kind, config = _kinds()[architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(0.3 * noise if weight.ndim == 1 else 0.15 * noise)
    return model.eval()


def saved(architecture: str, folder: Path, **options: Any) -> PreTrainedModel:
    """The tiny model, also saved into that folder by `save_pretrained` with those options."""
    model = tiny(architecture)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(folder, **options)
    if bars:
        logging.enable_progress_bar()
    return model


@cache
def agent_of(architecture: str) -> Agent:
    """The tiny model as an Agent, through a folder; shared by all tests, never changed by one."""
    with TemporaryDirectory() as folder:
        saved(architecture, Path(folder))
        return Agent.from_pretrained(folder, device="cpu")


def plain(architecture: str) -> PreTrainedModel:
    """The tiny model without a bridge, with the attention that bridges have."""
    model = tiny(architecture)
    model.set_attn_implementation("eager")
    return model


def prompts_for(count: int = 8, length: int = 10) -> Prompts:
    """Rows over the whole vocabulary, read at two positions."""
    tokens = torch.arange(count * length).reshape(count, length) * 7 % VOCAB
    return Prompts(tokens, (length - 4, length - 1), torch.ones(count, 2, dtype=torch.long))
