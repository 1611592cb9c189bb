"""Tiny Agents and prompts to test on: booted once each, never changed by a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jaxtyping
import pytest
import torch
from transformer_lens import TransformerBridge, TransformerBridgeConfig

from workbench.agent import Agent, Vocabulary
from workbench.edits import Edit
from workbench.prompts import Prompts
from workbench.sites import Site

VOCAB, LENGTH, ANSWERS = 20, 9, (6, 8)
SHAPE: dict[str, Any] = {
    "n_layers": 3,
    "d_model": 16,
    "n_heads": 2,
    "d_head": 8,
    "d_mlp": 40,
    "n_ctx": LENGTH,
    "d_vocab": VOCAB,
}

# TransformerLens says so whenever an edit is tried there, which Agent.sites() does once.
quiet = pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale:UserWarning")


def boot(dtype: torch.dtype = torch.float32, gain: float = 3.0, name: str = "toy", **changes: Any) -> Agent:
    """A fresh Agent with random weights, `gain` times as large as usual so that edits change answers."""
    settings: dict[str, Any] = {"act_fn": "gelu", "normalization_type": "LN", "seed": 1} | SHAPE | changes
    config = TransformerBridgeConfig(architecture="TransformerLensNative", **settings)
    bridge = TransformerBridge.boot_native(config, device="cpu", dtype=dtype)  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad():
        for weight in bridge.parameters():
            if weight.ndim > 1:
                weight.mul_(gain)
    return Agent(bridge, name=name, device="cpu")


@cache
def toy(**changes: Any) -> Agent:
    """The Agent of these settings, shared by all tests: three layers, d_model 16, d_mlp 40, 20 tokens."""
    agent = boot(**changes)
    agent.sites()  # the first run of a bridge wires hooks of its own, which stay
    return agent


@cache
def spelled(query: str | None = "?") -> Agent:
    """An Agent whose tokens have names: `?`, then `t1` to `t19`."""
    bridge = boot(name="spelled").bridge
    names = ("?", *(f"t{i}" for i in range(1, VOCAB)))
    return Agent(bridge, name="spelled", device="cpu", vocabulary=Vocabulary(names, query))


def some_prompts(count: int = 6, seed: int = 0, length: int = LENGTH) -> Prompts:
    """Random prompts, no two alike, with random answers at two positions."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB, (count, length), generator=generator)
    tokens[:, 0], tokens[:, 1] = torch.arange(count) % VOCAB, torch.arange(count) // VOCAB
    return Prompts(tokens, ANSWERS, torch.randint(VOCAB, (count, 2), generator=generator))


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Gaussian numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def edit_at(site: str | Site, delta: torch.Tensor, positions: tuple[int, ...] | None = None) -> Edit:
    """An Edit at a site given by its short name."""
    return Edit(Site.parse(site), delta, positions)


def hooks_on(agent: Agent) -> int:
    """How many forward hooks there are anywhere in the bridge."""
    points = sum(len(point.fwd_hooks) for point in agent.bridge.hook_dict.values())
    modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in agent.bridge.modules())
    return points + modules


@contextmanager
def unchecked() -> Iterator[None]:
    """Within the `with`, annotations are not checked, as for a user: our own errors are what is raised."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@contextmanager
def no_compute(agent: Agent) -> Iterator[None]:
    """Within the `with`, running the model is an error. Its sites are known beforehand."""
    agent.sites()

    def refuse(module: Any, inputs: Any) -> None:
        raise AssertionError("the model was run")

    handles = [m.register_forward_pre_hook(refuse) for m in (agent.bridge, agent.bridge.original_model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
