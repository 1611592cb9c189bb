"""The inner loop: edits of one batch's residual stream, one per example and position."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.engine import Split

Residual = Float[Tensor, "row pos d_model"]
Answers = Int64[Tensor, "row answer"]


@dataclass(frozen=True, slots=True)
class Ascent:
    """Projected gradient ascent on the cross-entropy of the benign answers (Madry et al. 2018), in latent space.

    Each position's edit stays in an L2 ball of radius `eps` times the norm of the residual stream at that position.
    Starts at random inside the ball; `steps` normalised steps of 2 eps / steps.
    """

    eps: float
    steps: int

    def edit(self, split: Split, residual: Residual, answers: Answers, generator: torch.Generator) -> Residual:
        """The worst edit found for each example."""
        radius = self.eps * residual.norm(dim=-1, keepdim=True)
        delta = random_in_ball(residual, radius, generator)
        for _ in range(self.steps):
            delta.requires_grad_(True)
            loss = cross_entropy(split.suffix(residual + delta), answers)
            (gradient,) = torch.autograd.grad(loss, delta)
            uphill = gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-20)
            delta = shrink_into_ball(delta.detach() + 2 / self.steps * radius * uphill, radius)
        return delta


@dataclass(frozen=True, slots=True)
class Noise:
    """Gaussian directions, `rho` times as long as the residual stream at each position."""

    rho: float

    def edit(self, split: Split, residual: Residual, answers: Answers, generator: torch.Generator) -> Residual:
        """A random edit for each example; the model is not asked."""
        noise = _gaussian(residual, generator)
        return self.rho * residual.norm(dim=-1, keepdim=True) * noise / noise.norm(dim=-1, keepdim=True)


def cross_entropy(logits: Float[Tensor, "row answer vocab"], answers: Answers) -> Float[Tensor, ""]:
    """Mean over rows and answers, in nats."""
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten())


def shrink_into_ball(delta: Residual, radius: Float[Tensor, "row pos 1"]) -> Residual:
    """The nearest point of each position's L2 ball, which is a rescaling."""
    return delta * (radius / delta.norm(dim=-1, keepdim=True).clamp_min(1e-20)).clamp(max=1)


def random_in_ball(like: Residual, radius: Float[Tensor, "row pos 1"], generator: torch.Generator) -> Residual:
    """A random direction at each position, with a length uniform in [0, radius]."""
    noise = _gaussian(like, generator)
    share = _sent(torch.rand(*like.shape[:2], 1, generator=generator), like)
    return share * radius * noise / noise.norm(dim=-1, keepdim=True)


def _gaussian(like: Residual, generator: torch.Generator) -> Residual:
    return _sent(torch.randn(like.shape, generator=generator), like)


def _sent(drawn: Tensor, like: Tensor) -> Tensor:
    """What was drawn on the CPU, so that a seed means the same on every device, where `like` is and in its dtype.

    Pinned memory goes to a GPU while the host goes on, which otherwise waits for all that is still to run there.
    """
    cast = drawn.to(like.dtype)
    return cast.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else cast.to(like.device)
