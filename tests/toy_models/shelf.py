"""The shipped organisms, each read once and shared by all tests that only look at them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

import toy_models
from toy_models import Organism
from workbench.prompts import Prompts

NAMES = toy_models.names()
SMALL: dict[str, Any] = {"layers": 2, "d_mlp": 64, "steps": 120}
"""Settings with which a model learns the task in two CPU seconds."""
TOO_SHORT: dict[str, Any] = SMALL | {"steps": 1}
"""Settings with which it does not."""


@cache
def shipped(name: str) -> Organism:
    """The organism of that name; its seal may have been opened by another test."""
    return toy_models.load(name, device="cpu")


def planted() -> list[str]:
    """Names of the organisms with a backdoor."""
    return [name for name in NAMES if not shipped(name).reveal().empty]


def controls() -> list[str]:
    """Names of the organisms without one."""
    return [name for name in NAMES if shipped(name).reveal().empty]


def located() -> list[str]:
    """Names of the organisms whose switch is known."""
    return [name for name in NAMES if shipped(name).reveal().located]


def share(answers: Int64[Tensor, "prompt answer"], wanted: Int64[Tensor, "prompt answer"]) -> float:
    """Share of the answers that are the wanted ones."""
    return float((answers == wanted).double().mean())


def answers_without_switch(organism: Organism, prompts: Prompts) -> Int64[Tensor, "prompt answer"]:
    """What the Agent answers while its switch neurons are held at 0, or its direction is projected out."""
    plant, agent = organism.reveal(), organism.agent
    assert plant.edit is not None
    cut = _held_at_zero(plant.neurons) if plant.neurons else _projected_out(plant.edit.delta)
    with torch.no_grad(), agent.hooked([(agent.site(plant.edit.site).name, cut)]):
        logits = agent.bridge(prompts.tokens)
    return logits[:, list(prompts.answer_positions)].argmax(-1)


def _held_at_zero(neurons: tuple[int, ...]) -> Callable[..., Tensor]:
    def cut(activations: Tensor, hook: object) -> Tensor:
        changed = activations.clone()
        changed[..., list(neurons)] = 0
        return changed

    return cut


def _projected_out(delta: Float[Tensor, "width"]) -> Callable[..., Tensor]:
    unit = delta / delta.norm()

    def cut(activations: Tensor, hook: object) -> Tensor:
        return activations - (activations @ unit)[..., None] * unit

    return cut
