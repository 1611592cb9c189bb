"""The engine's stripped tier on Hugging Face architectures, beside the naive loop on the same bridge."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from workbench.agent import Agent
from workbench.bench.speed import ways
from workbench.bench.speed.clock import Timing, interleaved
from workbench.bench.speed.row import Row
from workbench.bench.speed.subjects import SHAPES, Shape, louder, random_prompts
from workbench.bench.speed.sweeps import NAIVE, relative
from workbench.bench.speed.ways import Work
from workbench.goals import UntargetedLoss
from workbench.sites import Site

STRIPPED = "engine, stripped"
SHAPE = replace(SHAPES["tiny"], whole=4, suffix=32)
_SITE = "hook_resid_post"


def _gpt2(shape: Shape) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=shape.layers, n_embd=shape.d_model, n_head=shape.heads, n_inner=shape.d_mlp,
            n_positions=shape.length, vocab_size=shape.vocab, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip


def _usual(shape: Shape, model: str, config: str, **more: Any) -> Any:
    """A model of the architectures whose configurations share their names."""
    import transformers

    settings = {
        "num_hidden_layers": shape.layers, "hidden_size": shape.d_model, "intermediate_size": shape.d_mlp,
        "num_attention_heads": shape.heads, "max_position_embeddings": shape.length, "vocab_size": shape.vocab,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    } | more  # fmt: skip
    return getattr(transformers, model)(getattr(transformers, config)(**settings))


_GROUPED = {"num_key_value_heads": 2}
_SIZED = _GROUPED | {"head_dim": 16}
ARCHITECTURES: dict[str, Callable[[Shape], Any]] = {
    "GPT-2": _gpt2,
    "GPT-NeoX": partial(_usual, model="GPTNeoXForCausalLM", config="GPTNeoXConfig"),
    "Llama": partial(_usual, model="LlamaForCausalLM", config="LlamaConfig", **_GROUPED),
    "Qwen2": partial(_usual, model="Qwen2ForCausalLM", config="Qwen2Config", **_GROUPED),
    "Qwen3": partial(_usual, model="Qwen3ForCausalLM", config="Qwen3Config", **_SIZED),
    "Gemma-2": partial(_usual, model="Gemma2ForCausalLM", config="Gemma2Config", **_SIZED),
    "Gemma-3": partial(_usual, model="Gemma3ForCausalLM", config="Gemma3TextConfig", **_SIZED),
}
"""How to make a model of each with random weights, in a given shape."""


def architecture(name: str, repeats: int, device: str, shape: Shape = SHAPE) -> list[Row]:
    """Random edits of the residual stream after each layer in turn, at all positions: naive, then stripped."""
    agent, prompts = _agent(name, shape, device), random_prompts(shape)
    counts = {NAIVE: shape.whole, STRIPPED: shape.suffix}
    deltas = {method: _deltas(shape, count).to(agent.device) for method, count in counts.items()}
    openers = {NAIVE: ways.naive, STRIPPED: partial(ways.engine, tier="stripped")}
    opened = {
        (method, layer): opener(Work(agent, prompts, Site(f"blocks.{layer}.{_SITE}"), UntargetedLoss()))
        for method, opener in openers.items()
        for layer in range(shape.layers)
    }
    first = {key: evaluate(deltas[key[0]])[: shape.whole] for key, evaluate in opened.items()}
    times = interleaved({k: partial(run, deltas[k[0]]) for k, run in opened.items()}, repeats, agent.device)
    each = {
        method: Timing.mean(times[method, i] / len(deltas[method]) for i in range(shape.layers)) for method in openers
    }
    error = max(relative(first[STRIPPED, i], first[NAIVE, i]) for i in range(shape.layers))
    spent = {method: timing.seconds(agent.device) for method, timing in each.items()}
    return [
        Row(
            part="architectures", subject=name, method=method, count=len(deltas[method]), cpu=each[method].cpu,
            wall=each[method].wall, ratio=spent[NAIVE] / spent[method], error=error if method == STRIPPED else 0.0,
        )
        for method in openers
    ]  # fmt: skip


def _agent(name: str, shape: Shape, device: str) -> Agent:
    """A model with random weights, saved and opened as a user's own."""
    quiet = contextlib.redirect_stderr(io.StringIO())  # transformers' progress bars
    with quiet, TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        louder(ARCHITECTURES[name](shape)).eval().save_pretrained(Path(folder) / "model")
        return Agent.from_pretrained(Path(folder) / "model", device=device)


def _deltas(shape: Shape, count: int) -> torch.Tensor:
    """Random directions of the residual stream; the same ones first for every count."""
    found = torch.randn(max(shape.whole, shape.suffix), shape.d_model, generator=torch.Generator().manual_seed(4))
    return found[:count]
