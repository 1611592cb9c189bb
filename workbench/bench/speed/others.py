"""The same work by other libraries, where they are installed, and by plain torch.

All three run the torch model that the bridge wraps, with the bridge's weights but without the bridge: what they gain
over `run_with_hooks` is the bridge's own cost.
"""

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.model_bridge.sources.native import NativeModel

from workbench.agent import Agent
from workbench.bench.speed.ways import Evaluate, Work, each

PLAIN = "plain torch model of the same weights, no bridge"


def missing(package: str) -> str:
    """What to say of a package that is not installed; empty where it is."""
    return "" if find_spec(package) else "not installed: pip install 'lat-workbench[bench]'"


def plain(agent: Agent) -> NativeModel:
    """The model that a native bridge wraps, with the same parameters, without the bridge."""
    with torch.random.fork_rng(devices=[]):
        model = NativeModel(agent.bridge.cfg).to(agent.device)
    model.load_state_dict(agent.weights(), assign=True)
    return model.eval()


def torch_hooks(work: Work, model: NativeModel) -> Evaluate:
    """A forward pre-hook of torch on the matrix that reads the MLP's activations; one edit a call."""
    part, tokens = _reader(model, work), work.tokens

    def run(delta: Tensor) -> Tensor:
        handle = part.register_forward_pre_hook(lambda module, inputs: (work.add(inputs[0], delta),))
        try:
            return work.loss(model(tokens))
        finally:
            handle.remove()

    return partial(each, run)


def nnsight(work: Work, model: NativeModel) -> Evaluate:
    """A trace of nnsight for every edit."""
    traced, tokens = import_module("nnsight").NNsight(model), work.tokens
    part = traced.layers[work.site.layer].mlp.fc_out

    def run(delta: Tensor) -> Tensor:
        logits: Any = None  # the trace binds it again
        with traced.trace(tokens):
            part.input = work.add(part.input, delta)
            logits = traced.output.save()
        return work.loss(logits)

    return partial(each, run)


def pyvene(work: Work, model: NativeModel) -> Evaluate:
    """One IntervenableModel of pyvene, called for every edit."""
    now: list[Tensor] = []
    model.config = model.cfg  # pyright: ignore[reportArgumentType] - pyvene asks every model for one
    place = {"component": f"layers[{work.site.layer}].mlp.fc_out.input"}
    intervention: Any = {"intervention": lambda base, source: work.add(base, now[0])}
    edited = import_module("pyvene").IntervenableModel(place | intervention, model=model)
    tokens = work.tokens

    def run(delta: Tensor) -> Tensor:
        now[:] = [delta]
        _, logits = edited({"input_ids": tokens})
        return work.loss(logits)

    return partial(each, run)


def _reader(model: NativeModel, work: Work) -> nn.Module:
    """The matrix whose input is what the bridge calls `mlp.hook_post`."""
    block: Any = model.layers[work.site.layer or 0]
    return block.mlp.fc_out
