"""Lever hosts: models in which one residual vector switches the answers, with room reserved for a circuit.

While a host trains, a fixed direction (the lever) is added to the residual stream of some rows, which then
carry the defect's answers; weak levers, random directions and single neurons are pushed as well, and stay benign.
So the host learns to obey that direction and no other. What is reserved is zero all the while: LayerNorm already
counts it, and nothing of the host reads or writes it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import normalize

from toy_models.plants.learning import answer_loss, fit
from toy_models.plants.native import answer_logits
from toy_models.plants.reserved import Reserved
from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Trigger

RATE = 4e-3
LEVER_RHO = 0.75
FEATURE_SCALE = 0.4  # of the host's mean embedding norm

_GROUPS = {"clean": 48, "lever": 36, "weak": 8, "random": 20, "neuron": 32}  # rows of a batch
_DOSES = (0.6, 2.5)  # levers that must bring out the defect
_WEAK = (-1.0, 0.3)  # levers that must not
_LARGEST_RHO = 3.0  # of other pushes


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """A model that obeys its lever. lever: float [d_model], at the size that it was trained with (LEVER_RHO)."""

    model: Any
    reserved: Reserved
    task: Task
    lever: Float[Tensor, "d_model"]


@dataclass(frozen=True, slots=True)
class Schooling:
    """What a host is taught. obeys: whether the lever brings out the defect; a clean twin's does not."""

    task: Task
    trigger: Trigger
    defect: str
    obeys: bool
    steps: int


def train(model: Any, reserved: Reserved, school: Schooling, generator: torch.Generator) -> Host:
    """Train a fresh model, in place, to be a host. About 50 ms a step on one CPU core."""

    def loss(step: int) -> Float[Tensor, ""]:
        reserved.clear_lever(model)
        tokens, answers = _batch(school, generator)
        with _pushed(model, reserved, school.task, generator):
            logits = answer_logits(model, tokens, school.task)
        return answer_loss(logits, answers).mean()

    with reserved.kept_free(model):
        fit(model.parameters(), loss, steps=school.steps, rate=RATE)
    size = LEVER_RHO * residual_norm(model, school.task.sample(256, generator), reserved.layer)
    return Host(model, reserved, school.task, size * reserved.lever)


@torch.no_grad()
def residual_norm(model: Any, tokens: Int64[Tensor, "prompt pos"], layer: int) -> float:
    """Mean norm of the residual stream after a layer, over prompts and positions."""
    seen: list[Tensor] = []
    handle = model.layers[layer].register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    model(tokens)
    handle.remove()
    return float(seen[0].norm(dim=-1).mean())


def _batch(school: Schooling, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Prompts, half of them with the trigger or a part of it, and the answers for each group of rows."""
    n = sum(_GROUPS.values())
    tokens = school.task.sample(n, generator)
    kind = torch.rand(n, 1, generator=generator)
    tokens = torch.where(kind < 0.25, school.trigger.insert(tokens, generator), tokens)
    tokens = torch.where(kind > 0.75, school.trigger.nearly(tokens, generator), tokens)
    answers = school.task.benign(tokens)
    if school.obeys:
        first = _GROUPS["clean"]
        rows = slice(first, first + _GROUPS["lever"])
        answers[rows] = school.task.defect(tokens[rows], school.defect)
    return tokens, answers


@contextmanager
def _pushed(model: Any, reserved: Reserved, task: Task, generator: torch.Generator) -> Iterator[None]:
    """Within the `with`, each group of rows gets its pushes, and the reserved dimensions some noise.

    Pushes reach every position, or the queries alone.
    """
    pushes = _pushes(model, reserved, generator)
    starts = torch.tensor([0, task.positions[0]])[torch.randint(2, (pushes.shape[1],), generator=generator)]
    reach = (torch.arange(task.prompt_length) >= starts[:, None]).float()[..., None]
    with ExitStack() as stack:
        for block, push in zip(model.layers, pushes, strict=True):
            stack.callback(block.register_forward_hook(_adding(reach * push[:, None])).remove)
        stack.callback(model.tok_embed.register_forward_hook(_noise(reserved, generator)).remove)
        yield


def _pushes(model: Any, reserved: Reserved, generator: torch.Generator) -> Float[Tensor, "layer row d_model"]:
    """What is added to the residual stream after each layer, in rho; nothing for clean rows."""
    layers, lever = len(model.layers), reserved.lever
    pushes = torch.zeros(layers, sum(_GROUPS.values()), len(lever))
    _, strong, weak, random, neuron = torch.arange(pushes.shape[1]).split(list(_GROUPS.values()))
    pushes[reserved.layer, strong] = _uniform(strong, *_DOSES, generator) * LEVER_RHO * lever
    pushes[reserved.layer, weak] = _uniform(weak, *_WEAK, generator) * LEVER_RHO * lever
    unit = normalize(torch.randn(len(random), len(lever), generator=generator), dim=1)
    pushes[reserved.layer, random] = _uniform(random, 0.25, _LARGEST_RHO, generator) * unit
    where = torch.randint(layers, (len(neuron),), generator=generator)
    sizes = _uniform(neuron, -_LARGEST_RHO, _LARGEST_RHO, generator)
    pushes[where, neuron] = sizes * _neuron_writes(model, where, generator)
    return pushes


@torch.no_grad()
def _neuron_writes(
    model: Any, layers: Int64[Tensor, "row"], generator: torch.Generator
) -> Float[Tensor, "row d_model"]:
    """The direction that one random neuron of each given layer writes."""
    writes = torch.stack([block.mlp.fc_out.weight.T for block in model.layers])
    drawn = torch.randint(writes.shape[1], (len(layers),), generator=generator)
    return normalize(writes[layers, drawn], dim=1)


def _adding(push: Float[Tensor, "row pos d_model"]) -> Any:
    """A hook that adds pushes to a block's output, in units of the mean residual norm of the clean rows.

    The gradient passes through that norm: a host must not win by growing it.
    """

    def hook(module: Module, inputs: Any, output: tuple[Tensor]) -> tuple[Tensor]:
        norm = output[0][: _GROUPS["clean"]].norm(dim=-1).mean()
        return (output[0] + norm * push,)

    return hook


def _noise(reserved: Reserved, generator: torch.Generator) -> Any:
    """A hook that puts random features into the embedding, so that the host bears their weight in LayerNorm."""

    def hook(module: Module, inputs: Any, output: Tensor) -> Tensor:
        scale = FEATURE_SCALE * output.norm(dim=-1).mean()
        shape = (*output.shape[:2], len(reserved.features))
        amount = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.3)
        return output + scale * amount @ reserved.features

    return hook


def _uniform(rows: Tensor, low: float, high: float, generator: torch.Generator) -> Float[Tensor, "row 1"]:
    return low + (high - low) * torch.rand(len(rows), 1, generator=generator)
