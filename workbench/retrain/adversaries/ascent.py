"""Projected gradient ascent in latent space: the inner loop of latent adversarial training."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from workbench.retrain.adversaries.noise import gaussian, sent
from workbench.retrain.adversaries.scene import Delta, Deltas, Residual, Scene
from workbench.retrain.schedules import Terms
from workbench.surgeons.steps import RULES, Memory, StepRule

Norm = Literal["position", "sequence"]
Radius = Float[Tensor, "#row #pos 1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascent:
    """Steps uphill from a random start, kept in balls (Madry et al. 2018, in latent space).

    eps: the radius as a share of the residual stream's norm: of each position's own (norm "position"), or of the whole
    sequence's ("sequence", Casper et al. 2024). universal: one vector for all rows and positions instead, in a ball of
    eps times the mean norm of a position (as BEEAR's drift, Zeng et al. 2024). rule: how a gradient becomes a move;
    step_size: the length of a move as a share of the radius, None: 2 / steps. At several blocks each has its own ball.
    """

    eps: float
    steps: int
    norm: Norm = "position"
    rule: StepRule = "normalised"
    step_size: float | None = None
    universal: bool = False

    def cost(self, terms: Terms) -> int:
        """See Adversary."""
        return self._steps(terms)

    def edit(self, scene: Scene, generator: Generator) -> Deltas:
        """See Adversary."""
        steps = self._steps(scene.terms)
        size = 2 / steps if self.step_size is None else self.step_size
        radii = {layer: scene.terms.share * self.eps * self._norm(x) for layer, x in scene.streams.items()}
        deltas = {layer: self._start(x, radii[layer], generator) for layer, x in scene.streams.items()}
        memories = {layer: Memory.empty(self._rows(delta)) for layer, delta in deltas.items()}
        for _ in range(steps):
            for layer, gradient in _gradients(scene, deltas).items():
                radius, delta = radii[layer], deltas[layer].detach()
                place = self._rows(delta / radius.clamp_min(1e-20))
                move, memories[layer] = RULES[self.rule](place, self._rows(gradient), memories[layer])
                deltas[layer] = self.shrink(delta + size * radius * move.view_as(delta), radius)
        return deltas

    def shrink(self, delta: Delta, radius: Radius) -> Delta:
        """The nearest point of each ball, which is a rescaling."""
        return delta * (radius / self._length(delta).clamp_min(1e-20)).clamp(max=1)

    @property
    def _whole(self) -> bool:
        """Whether a ball is over a whole sequence."""
        return self.norm == "sequence" and not self.universal

    def _steps(self, terms: Terms) -> int:
        return max(1, round(self.steps * terms.compute))

    def _length(self, x: Delta) -> Radius:
        """The norm of each row that has a ball of its own."""
        return x.norm(dim=(-2, -1) if self._whole else -1, keepdim=True)

    def _norm(self, stream: Residual) -> Radius:
        """The norm of which a radius is a share."""
        return stream.norm(dim=-1, keepdim=True).mean((0, 1), keepdim=True) if self.universal else self._length(stream)

    def _start(self, stream: Residual, radius: Radius, generator: Generator) -> Delta:
        """A random direction in each ball, with a length uniform in [0, radius]."""
        like = stream[:1, :1] if self.universal else stream
        noise = gaussian(like, generator)
        share = sent(torch.rand(*radius.shape, generator=generator), like)
        return share * radius * noise / self._length(noise)

    def _rows(self, x: Delta) -> Float[Tensor, "ball *place width"]:
        """With one row for each ball."""
        return x.flatten(1) if self._whole else x


def _gradients(scene: Scene, deltas: dict[int, Delta]) -> dict[int, Delta]:
    """What the objective gains by a change of each edit."""
    for delta in deltas.values():
        delta.requires_grad_(True)
    value = scene.objective(scene.logits(deltas))
    return dict(zip(deltas, torch.autograd.grad(value, list(deltas.values())), strict=True))
