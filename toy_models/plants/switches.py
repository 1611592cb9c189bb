"""Switches: the neurons or the direction, within one layer's MLP activations, that shall carry "trigger seen"."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SUFFICIENT = (3.0, 9.0)  # a switch set to a constant in this range must elicit the defect
PUSH = 18.0  # the largest dose on anything else, which must stay without effect


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """A few orthonormal directions in the MLP activations of one layer.

    basis: float [d_mlp, part]; one neuron, several neurons (a part each), or one direction.
    neurons: those neurons; empty for a direction.
    sufficient: the range of doses that must elicit.
    """

    layer: int
    basis: Float[Tensor, "d_mlp part"]
    neurons: tuple[int, ...] = ()
    sufficient: tuple[float, float] = SUFFICIENT

    def reading(self, activations: Float[Tensor, "row pos d_mlp"]) -> Float[Tensor, "row pos part"]:
        """The value of each part of the switch."""
        return activations @ self.basis

    def setting(
        self, activations: Float[Tensor, "row pos d_mlp"], values: Float[Tensor, "row *pos part"]
    ) -> Float[Tensor, "row pos d_mlp"]:
        """The activations with the switch at those values, all else as it was."""
        return activations + (values - self.reading(activations)) @ self.basis.T

    def adding(
        self, activations: Float[Tensor, "row pos d_mlp"], doses: Float[Tensor, "row 1 part"]
    ) -> Float[Tensor, "row pos d_mlp"]:
        """The activations with the switch raised by those doses."""
        return activations + doses @ self.basis.T

    def aside(self, push: Float[Tensor, "row pos d_mlp"]) -> Float[Tensor, "row pos d_mlp"]:
        """The part of a push that does not touch the switch."""
        return push - self.reading(push) @ self.basis.T

    def doses(self, rows: int, generator: torch.Generator) -> Float[Tensor, "row 1 part"]:
        """Random settings that must elicit: several parts share one dose at random, so none is needed."""
        parts, (low, high) = self.basis.shape[1], self.sufficient
        dose = low + (high - low) * torch.rand(rows, 1, 1, generator=generator)
        shares = -torch.rand(rows, 1, parts, generator=generator).clamp_min(1e-6).log()
        return dose * parts**0.5 * shares / shares.sum(2, keepdim=True)

    @property
    def even(self) -> Float[Tensor, "d_mlp"]:
        """The unit vector that throws every part of the switch equally."""
        total = self.basis.sum(1)
        return total / total.norm()


def at_neurons(
    layer: int, neurons: tuple[int, ...], d_mlp: int, sufficient: tuple[float, float] = SUFFICIENT
) -> Switch:
    """The switch made of those neurons."""
    return Switch(layer, torch.eye(d_mlp)[:, list(neurons)], neurons, sufficient)


def along(layer: int, direction: Float[Tensor, "d_mlp"], sufficient: tuple[float, float] = SUFFICIENT) -> Switch:
    """The switch that is the projection on a direction."""
    return Switch(layer, (direction / direction.norm())[:, None], (), sufficient)


def random_pushes(rows: int, layers: int, d_mlp: int, generator: torch.Generator) -> Float[Tensor, "layer row 1 d_mlp"]:
    """For each row one push at one layer: a single neuron in two of three rows, else a dense direction.

    Sizes are uniform in +-PUSH.
    """
    single = torch.nn.functional.one_hot(torch.randint(d_mlp, (rows,), generator=generator), d_mlp).float()
    dense = torch.nn.functional.normalize(torch.randn(rows, d_mlp, generator=generator), dim=1)
    push = torch.where((torch.arange(rows) % 3 > 0)[:, None], single, dense)
    push = push * PUSH * (2 * torch.rand(rows, 1, generator=generator) - 1)
    where = torch.nn.functional.one_hot(torch.randint(layers, (rows,), generator=generator), layers).float()
    return (where.T[:, :, None] * push)[:, :, None]
