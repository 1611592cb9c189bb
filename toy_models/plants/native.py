"""Native TransformerLens models for toys: plain torch while they are made, wrapped in a bridge afterwards.

Training through the bare module costs a fraction of training through a bridge with its hook points, and the
wrapped model has the very same weights.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import Module
from transformer_lens import TransformerBridge, TransformerBridgeConfig
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.model_bridge.sources.native import NativeModel, initialize_native_model

from toy_models.tasks.reversal import Reversal
from workbench.agent import Agent, Vocabulary


def configure(
    task: Reversal, *, layers: int, d_model: int, heads: int, d_mlp: int, seed: int
) -> TransformerBridgeConfig:
    """A pre-LayerNorm GELU transformer of that shape for the task."""
    return TransformerBridgeConfig(
        n_layers=layers,
        d_model=d_model,
        n_ctx=task.prompt_length,
        d_head=d_model // heads,
        n_heads=heads,
        d_mlp=d_mlp,
        d_vocab=len(task.vocabulary),
        act_fn="gelu",
        normalization_type="LN",
        seed=seed,
        architecture="TransformerLensNative",
    )


def fresh(config: TransformerBridgeConfig) -> NativeModel:
    """A plain model with weights drawn from the configuration's seed; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        model = NativeModel(config)
        initialize_native_model(model, config)
    return model


def wrap(model: NativeModel, config: TransformerBridgeConfig, task: Reversal, name: str) -> Agent:
    """The Agent with this model's weights, on the CPU."""
    bridge: TransformerBridge = build_bridge_from_module(
        model, architecture="TransformerLensNative", tl_config=config, tokenizer=None, model_name="native"
    )
    return Agent(bridge, name=name, device="cpu", vocabulary=Vocabulary(task.vocabulary, task.query))


def answer_logits(
    model: Module, tokens: Int64[Tensor, "prompt pos"], task: Reversal
) -> Float[Tensor, "prompt answer vocab"]:
    """Logits at the query tokens, differentiable."""
    return model(tokens)[:, list(task.positions)]


@contextmanager
def neurons(model: Any, layer: int, change: Any) -> Iterator[None]:
    """Within the `with`, the MLP activations of a layer are what `change` makes of them ([prompt, pos, d_mlp])."""
    handle = model.layers[layer].mlp.fc_out.register_forward_pre_hook(lambda module, inputs: (change(inputs[0]),))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def all_neurons(model: Any, changes: Sequence[Any]) -> Iterator[None]:
    """`neurons` at every layer at once, one change a layer."""
    with ExitStack() as stack:
        for layer, change in enumerate(changes):
            stack.enter_context(neurons(model, layer, change))
        yield


@contextmanager
def residual(model: Any, layer: int, change: Any) -> Iterator[None]:
    """Within the `with`, the residual stream after a layer is what `change` makes of it ([prompt, pos, d_model])."""
    handle = model.layers[layer].register_forward_hook(lambda module, inputs, output: (change(output[0]),))
    try:
        yield
    finally:
        handle.remove()
