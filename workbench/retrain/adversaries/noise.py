"""Random edits, the control of every adversary; and how what is drawn reaches a device."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from workbench.retrain.adversaries.scene import Deltas, Residual, Scene
from workbench.retrain.schedules import Terms


@dataclass(frozen=True, slots=True)
class Noise:
    """Gaussian directions, `rho` times as long as the residual stream at each position."""

    rho: float

    def cost(self, terms: Terms) -> int:
        """See Adversary."""
        return 0

    def edit(self, scene: Scene, generator: Generator) -> Deltas:
        """See Adversary. The model is not asked."""
        return {layer: self._one(scene.terms.share, stream, generator) for layer, stream in scene.streams.items()}

    def _one(self, share: float, stream: Residual, generator: Generator) -> Residual:
        noise = gaussian(stream, generator)
        return share * self.rho * stream.norm(dim=-1, keepdim=True) * noise / noise.norm(dim=-1, keepdim=True)


def gaussian(like: Tensor, generator: Generator) -> Tensor:
    """Standard normal numbers in the shape of another tensor, on its device and in its dtype."""
    return sent(torch.randn(like.shape, generator=generator), like)


def sent(drawn: Tensor, like: Tensor) -> Tensor:
    """What was drawn on the CPU, so that a seed means the same on every device, where `like` is and in its dtype.

    Pinned memory goes to a GPU while the host goes on, which otherwise waits for all that is still to run there.
    """
    cast = drawn.to(like.dtype)
    return cast.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else cast.to(like.device)
