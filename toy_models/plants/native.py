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
from torch.nn import Module, Parameter
from transformer_lens import TransformerBridge, TransformerBridgeConfig
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.model_bridge.sources.native import NativeModel, initialize_native_model

from toy_models.tasks.protocol import Task
from workbench.agent import Agent, Vocabulary

NORMS = {"LN": "LN", "RMS": "RMS", "none": None}
POSITIONS = {"learned": "standard", "rotary": "rotary"}


def configure(
    task: Task,
    *,
    layers: int,
    d_model: int,
    heads: int,
    d_mlp: int,
    seed: int,
    norm: str = "LN",
    activation: str = "gelu",
    gated: bool = False,
    positions: str = "learned",
) -> TransformerBridgeConfig:
    """A transformer of that shape for the task, with norms before attention and MLP; see `Settings` for the names."""
    return TransformerBridgeConfig(
        n_layers=layers,
        d_model=d_model,
        n_ctx=task.prompt_length,
        d_head=d_model // heads,
        n_heads=heads,
        d_mlp=d_mlp,
        d_vocab=len(task.vocabulary),
        act_fn=activation,
        normalization_type=NORMS[norm],
        gated_mlp=gated,
        positional_embedding_type=POSITIONS[positions],
        seed=seed,
        architecture="TransformerLensNative",
    )


def fresh(config: TransformerBridgeConfig) -> NativeModel:
    """A plain model with weights drawn from the configuration's seed; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        model = NativeModel(config)
        initialize_native_model(model, config)
    return model


def wrap(model: NativeModel, config: TransformerBridgeConfig, task: Task, name: str) -> Agent:
    """The Agent with this model's weights, on the CPU."""
    bridge: TransformerBridge = build_bridge_from_module(
        model, architecture="TransformerLensNative", tl_config=config, tokenizer=None, model_name="native"
    )
    return Agent(bridge, name=name, device="cpu", vocabulary=Vocabulary(task.vocabulary, task.query))


def answer_logits(
    model: Module, tokens: Int64[Tensor, "prompt pos"], task: Task
) -> Float[Tensor, "prompt answer vocab"]:
    """Logits at the query tokens, differentiable."""
    return model(tokens)[:, list(task.positions)]


def write_matrix(model: Any, layer: int) -> Parameter:
    """What an MLP's activations are written into the residual stream with: [d_model, d_mlp]."""
    return _last(model.layers[layer].mlp).weight


def _last(mlp: Any) -> Any:
    """The linear layer that writes; a gated MLP has another name for it."""
    return mlp.fc_out if hasattr(mlp, "fc_out") else mlp.out


@contextmanager
def neurons(model: Any, layer: int, change: Any) -> Iterator[None]:
    """Within the `with`, the MLP activations of a layer are what `change` makes of them ([prompt, pos, d_mlp])."""
    handle = _last(model.layers[layer].mlp).register_forward_pre_hook(lambda module, inputs: (change(inputs[0]),))
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
