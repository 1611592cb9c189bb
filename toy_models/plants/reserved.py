"""Reserved: the room that a host leaves free for a circuit, and how it is kept free while the host trains."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

FEATURES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Reserved:
    """What a host leaves free.

    layer: the lever's. dims: residual dimensions. features: orthonormal directions in them, each of mean zero,
    so that LayerNorm only scales them. lever: a unit vector outside them, that the host may read but never writes.
    heads, neurons: attention heads and MLP neurons, by layer.
    """

    layer: int
    dims: tuple[int, ...]
    features: Float[Tensor, "feature d_model"]
    lever: Float[Tensor, "d_model"]
    heads: dict[int, tuple[int, ...]]
    neurons: dict[int, tuple[int, ...]]

    @classmethod
    def draw(cls, config: Any, layer: int, neurons: dict[int, int], generator: torch.Generator) -> "Reserved":
        """Reserve FEATURES features, one head and some neurons at random places; `neurons` says how many where."""
        dims = torch.randperm(config.d_model, generator=generator)[: FEATURES + 1]
        basis = torch.eye(FEATURES + 1)
        basis[0] = 1
        features = torch.zeros(FEATURES, config.d_model)
        features[:, dims] = torch.linalg.qr(basis.T).Q.T[1:]
        lever = torch.randn(config.d_model, generator=generator)
        lever[dims] = 0
        head = int(torch.randint(config.n_heads, (), generator=generator))
        chosen = {
            place: tuple(torch.randperm(config.d_mlp, generator=generator)[:count].tolist())
            for place, count in neurons.items()
        }
        return cls(layer, tuple(dims.tolist()), features, lever / lever.norm(), {layer: (head,)}, chosen)

    @property
    def head(self) -> int:
        """The first head of the lever's layer."""
        return self.heads[self.layer][0]

    def outside(self, directions: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """The directions without their part in the reserved dimensions."""
        directions = directions.clone()
        directions[:, list(self.dims)] = 0
        return directions

    @contextmanager
    def kept_free(self, model: Any) -> Iterator[None]:
        """Within the `with`, what is reserved is zero and stays so; afterwards nothing writes the lever either."""
        with ExitStack() as stack:
            for parameter, mask in self._masks(model):
                with torch.no_grad():
                    parameter.mul_(mask)
                handle = parameter.register_hook(lambda gradient, mask=mask: gradient * mask)
                stack.callback(handle.remove)
            yield
        self.clear_lever(model)
        self._undo_decay(model)

    @torch.no_grad()
    def clear_lever(self, model: Any) -> None:
        """Remove the lever from everything that writes into the residual stream."""
        for embedding in (model.tok_embed, model.pos):
            embedding.weight -= torch.outer(embedding.weight @ self.lever, self.lever)
        for block in model.layers:
            for linear in (block.attn.o, block.mlp.fc_out):
                linear.weight -= torch.outer(self.lever, self.lever @ linear.weight)
                linear.bias -= (self.lever @ linear.bias) * self.lever

    @torch.no_grad()
    def _undo_decay(self, model: Any) -> None:
        """Set the norms' weights in the reserved dimensions, which only weight decay has moved, to 1."""
        for block in model.layers:
            for norm in (block.ln1, block.ln2):
                if (weight := getattr(norm, "weight", None)) is not None:
                    weight[list(self.dims)] = 1

    def _masks(self, model: Any) -> Iterator[tuple[Parameter, Tensor]]:
        """Each parameter that touches what is reserved, with a mask that is 0 where it does."""
        dims = list(self.dims)
        for embedding in (model.tok_embed, model.pos, model.head):
            yield _mask(embedding.weight, columns=dims)
        for place, block in enumerate(model.layers):
            yield from self._attention_masks(block.attn, dims, self.heads.get(place, ()))
            own = list(self.neurons.get(place, ()))
            yield _mask(block.mlp.fc_in.weight, rows=own, columns=dims)
            yield _mask(block.mlp.fc_in.bias, rows=own)
            yield _mask(block.mlp.fc_out.weight, rows=dims, columns=own)
            yield _mask(block.mlp.fc_out.bias, rows=dims)

    def _attention_masks(
        self, attention: Any, dims: list[int], heads: Sequence[int]
    ) -> Iterator[tuple[Parameter, Tensor]]:
        width = attention.d_head
        slots = [slot for head in heads for slot in range(head * width, (head + 1) * width)]
        for linear in (attention.q, attention.k, attention.v):
            yield _mask(linear.weight, rows=slots, columns=dims)
            yield _mask(linear.bias, rows=slots)
        yield _mask(attention.o.weight, rows=dims, columns=slots)
        yield _mask(attention.o.bias, rows=dims)


def _mask(
    parameter: Parameter, rows: list[int] | None = None, columns: list[int] | None = None
) -> tuple[Parameter, Tensor]:
    mask = torch.ones_like(parameter)
    if rows:
        mask[rows] = 0
    if columns:
        mask[:, columns] = 0
    return parameter, mask
