"""Lever hosts: models in which one residual vector switches the answers, with room reserved for a circuit.

While a host trains, a fixed direction (the lever) is added to the residual stream of some rows, which then
carry the defect's answers; weak levers, random directions and single neurons are pushed as well, and stay benign.
The host learns to obey that direction and no other. What is reserved (residual dimensions, one head, some
neurons) is zero all the while, so LayerNorm already counts it, and nothing of the host reads or writes it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.functional import normalize

from toy_models.plants.learning import answer_loss, fit
from toy_models.plants.native import answer_logits
from toy_models.plants.triggers import Trigger
from toy_models.tasks.reversal import Reversal

RATE = 4e-3
LEVER_LAYER = 1
LEVER_RHO = 0.75
FEATURES = 4
FEATURE_SCALE = 0.4  # of the host's mean embedding norm

_GROUPS = {"clean": 48, "lever": 36, "weak": 8, "random": 20, "neuron": 32}
_DOSES = (0.6, 2.5)
_WEAK = 0.3
_LARGEST_RHO = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Reserved:
    """What a host leaves free.

    dims: residual dimensions. features: orthonormal directions [FEATURES, d_model] within them, each of mean
    zero, so that LayerNorm only scales them. head: one head of the lever's layer. neurons: MLP neurons, by layer.
    """

    dims: tuple[int, ...]
    features: Float[Tensor, "feature d_model"]
    head: int
    neurons: dict[int, tuple[int, ...]]

    @classmethod
    def draw(cls, config: Any, neurons: dict[int, int], generator: torch.Generator) -> "Reserved":
        """Reserve room at random places; `neurons` says how many in which layer."""
        dims = torch.randperm(config.d_model, generator=generator)[: FEATURES + 1]
        basis = torch.eye(FEATURES + 1)
        basis[0] = 1
        within = torch.linalg.qr(basis.T).Q.T[1:]
        features = torch.zeros(FEATURES, config.d_model)
        features[:, dims] = within
        head = int(torch.randint(config.n_heads, (), generator=generator))
        chosen = {
            layer: tuple(torch.randperm(config.d_mlp, generator=generator)[:count].tolist())
            for layer, count in neurons.items()
        }
        return cls(tuple(dims.tolist()), features, head, chosen)

    @torch.no_grad()
    def level(self, model: Any) -> None:
        """Undo what weight decay did to LayerNorm's weights in the reserved dimensions: they are 1 again."""
        for block in model.layers:
            for norm in (block.ln1, block.ln2):
                norm.weight[list(self.dims)] = 1

    def masks(self, model: Any) -> Iterator[tuple[Parameter, Tensor]]:
        """Each parameter that touches what is reserved, with a mask that is 0 where it does."""
        dims = list(self.dims)
        for embedding in (model.tok_embed, model.pos, model.head):
            yield _mask(embedding.weight, columns=dims)
        for layer, block in enumerate(model.layers):
            yield from self._attention_masks(block.attn, dims, layer == LEVER_LAYER)
            own = list(self.neurons.get(layer, ()))
            yield _mask(block.mlp.fc_in.weight, rows=own, columns=dims)
            yield _mask(block.mlp.fc_in.bias, rows=own)
            yield _mask(block.mlp.fc_out.weight, rows=dims, columns=own)
            yield _mask(block.mlp.fc_out.bias, rows=dims)

    def _attention_masks(self, attention: Any, dims: list[int], reserved: bool) -> Iterator[tuple[Parameter, Tensor]]:
        width = attention.d_head
        slots = list(range(self.head * width, (self.head + 1) * width)) if reserved else []
        for linear in (attention.q, attention.k, attention.v):
            yield _mask(linear.weight, rows=slots, columns=dims)
            yield _mask(linear.bias, rows=slots)
        yield _mask(attention.o.weight, rows=dims, columns=slots)
        yield _mask(attention.o.bias, rows=dims)


@dataclass(frozen=True, slots=True)
class Schooling:
    """How a host is trained. obeys: whether the lever brings out the defect; a clean twin's does not."""

    task: Reversal
    trigger: Trigger
    defect: str
    obeys: bool
    steps: int


def train(
    model: Any, reserved: Reserved, lever: Float[Tensor, "d_model"], school: Schooling, generator: torch.Generator
) -> Float[Tensor, "d_model"]:
    """Train a host in place; returns the lever at the size that it was trained with (LEVER_RHO).

    lever: unit vector, zero in the reserved dimensions.
    """

    def loss(step: int) -> Float[Tensor, ""]:
        tokens, answers = _batch(school, generator)
        with _pushed(model, reserved, lever, school.task, generator):
            logits = answer_logits(model, tokens, school.task)
        return answer_loss(logits, answers).mean()

    with _frozen(model, reserved):
        fit(model.parameters(), loss, steps=school.steps, rate=RATE)
    reserved.level(model)
    return lever * LEVER_RHO * residual_norm(model, school.task.sample(256, generator))


def residual_norm(model: Any, tokens: Int64[Tensor, "prompt pos"], layer: int = LEVER_LAYER) -> float:
    """Mean norm of the residual stream after a layer, over prompts and positions."""
    seen: list[Tensor] = []
    handle = model.layers[layer].register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    with torch.no_grad():
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
def _pushed(
    model: Any, reserved: Reserved, lever: Tensor, task: Reversal, generator: torch.Generator
) -> Iterator[None]:
    """Within the `with`, each group of rows gets its pushes, and the reserved dimensions some noise."""
    layers = len(model.layers)
    pushes = torch.zeros(layers, sum(_GROUPS.values()), lever.numel())
    clean, lever_rows, weak, random, neuron = torch.arange(pushes.shape[1]).split(list(_GROUPS.values()))
    pushes[LEVER_LAYER, lever_rows] = _uniform(lever_rows, *_DOSES, generator) * LEVER_RHO * lever
    pushes[LEVER_LAYER, weak] = _uniform(weak, -1.0, _WEAK, generator) * LEVER_RHO * lever
    unit = normalize(torch.randn(len(random), lever.numel(), generator=generator), dim=-1)
    pushes[LEVER_LAYER, random] = _uniform(random, 0.25, _LARGEST_RHO, generator) * unit
    where = torch.randint(layers, (len(neuron),), generator=generator)
    pushes[where, neuron] = _neuron_pushes(model, where, generator)
    starts = torch.tensor([0, task.positions[0]])[torch.randint(2, (pushes.shape[1],), generator=generator)]
    reach = (torch.arange(task.prompt_length) >= starts[:, None]).float()[..., None]
    with ExitStack() as stack:
        for block, push in zip(model.layers, pushes, strict=True):
            handle = block.register_forward_hook(_adding(push, reach, len(clean)))
            stack.callback(handle.remove)
        stack.callback(model.tok_embed.register_forward_hook(_noise(reserved, generator)).remove)
        yield


def _neuron_pushes(model: Any, layers: Tensor, generator: torch.Generator) -> Float[Tensor, "row d_model"]:
    """What one random neuron of each given layer writes when pushed up or down, in rho."""
    with torch.no_grad():
        writes = torch.stack([block.mlp.fc_out.weight.T for block in model.layers])
        drawn = torch.randint(writes.shape[1], (len(layers),), generator=generator)
        return normalize(writes[layers, drawn], dim=-1) * _uniform(layers, -_LARGEST_RHO, _LARGEST_RHO, generator)


def _adding(push: Tensor, reach: Tensor, clean: int) -> Any:
    """A hook that adds pushes, in units of the mean residual norm of the clean rows, to a block's output."""

    def hook(module: Module, inputs: Any, output: tuple[Tensor]) -> tuple[Tensor]:
        norm = output[0][:clean].norm(dim=-1).mean()
        return (output[0] + norm * reach * push[:, None],)

    return hook


def _noise(reserved: Reserved, generator: torch.Generator) -> Any:
    """A hook that puts random features into the embedding, so that the host bears their weight in LayerNorm."""

    def hook(module: Module, inputs: Any, output: Tensor) -> Tensor:
        scale = FEATURE_SCALE * output.norm(dim=-1).mean()
        shape = (*output.shape[:2], FEATURES)
        amount = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.3)
        return output + scale * amount @ reserved.features

    return hook


@contextmanager
def _frozen(model: Any, reserved: Reserved) -> Iterator[None]:
    """Within the `with`, what is reserved is zero and stays zero."""
    with ExitStack() as stack, torch.no_grad():
        for parameter, mask in reserved.masks(model):
            parameter.mul_(mask)
            handle = parameter.register_hook(lambda gradient, mask=mask: gradient * mask)
            stack.callback(handle.remove)
        with torch.enable_grad():
            yield


def _mask(
    parameter: Parameter, rows: list[int] | None = None, columns: list[int] | None = None
) -> tuple[Parameter, Tensor]:
    mask = torch.ones_like(parameter)
    if rows:
        mask[rows] = 0
    if columns:
        mask[:, columns] = 0
    return parameter, mask


def _uniform(rows: Tensor, low: float, high: float, generator: torch.Generator) -> Float[Tensor, "row 1"]:
    return low + (high - low) * torch.rand(len(rows), 1, generator=generator)
