"""What is measured on: native bridges of three shapes with random weights, their prompts and their edits."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module
from transformer_lens import TransformerBridge, TransformerBridgeConfig

from workbench.agent import Agent
from workbench.prompts import Prompts

SITE = "mlp.hook_post"
AnyModule = TypeVar("AnyModule", bound=Module)
_LOUD = 3.0  # so that an edit changes answers, and an error would show in them


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A transformer, its prompts, and how many edits are timed.

    length: tokens a prompt; prompts: rows. whole, suffix, late: edits a timing, for ways that run the whole model,
    the blocks after the site, one position of these. sampled: the layers that stand for all, as deep in the mean;
    None for all. Ways that run the whole model cost the same at each layer: where there is a sample, they are timed at
    its second one. slow: repeats are divided by it, two being the least.
    """

    name: str
    layers: int
    d_model: int
    heads: int
    d_mlp: int
    length: int
    prompts: int
    vocab: int
    whole: int
    suffix: int
    late: int
    sampled: tuple[int, ...] | None = None
    slow: int = 1

    def repeats(self, wanted: int) -> int:
        """How often to time on this shape."""
        return wanted if self.slow == 1 else max(min(2, wanted), wanted // self.slow)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="tiny", layers=4, d_model=64, heads=4, d_mlp=256, length=16, prompts=32, vocab=64,
              whole=8, suffix=64, late=512),
        Shape(name="small", layers=4, d_model=128, heads=4, d_mlp=512, length=32, prompts=64, vocab=128,
              whole=2, suffix=24, late=128),
        Shape(name="gpt2-small", layers=12, d_model=768, heads=12, d_mlp=3072, length=64, prompts=8, vocab=50257,
              whole=1, suffix=1, late=32, sampled=(1, 4, 7, 10), slow=2),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An Agent of a shape, prompts for it, and single-neuron edits of one layer's MLP activations."""

    shape: Shape
    agent: Agent
    prompts: Prompts

    def deltas(self, count: int) -> Float[Tensor, "edit width"]:
        """Edits of one neuron each, by 4 to 8 activation units up or down; the same ones first for every count."""
        generator = torch.Generator().manual_seed(3)
        neurons = torch.randint(self.shape.d_mlp, (count,), generator=generator)
        found = torch.zeros(count, self.shape.d_mlp)
        found[torch.arange(count), neurons] = 4 + 4 * torch.arange(count).remainder(5) / 4
        found[1::2] *= -1
        return found.to(self.agent.device)


def subject(shape: Shape, device: str = "cpu", *, answers: int = 1) -> Subject:
    """A native bridge of that shape with random weights; answers are read at the last positions."""
    return Subject(shape, boot(shape, device), random_prompts(shape, answers))


def boot(shape: Shape, device: str = "cpu") -> Agent:
    """A native bridge with random weights drawn from seed 1; the global generator is left alone."""
    config = TransformerBridgeConfig(
        architecture="TransformerLensNative", n_layers=shape.layers, d_model=shape.d_model, n_heads=shape.heads,
        d_head=shape.d_model // shape.heads, d_mlp=shape.d_mlp, n_ctx=shape.length, d_vocab=shape.vocab,
        act_fn="gelu", normalization_type="LN", seed=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        bridge = TransformerBridge.boot_native(config, device="cpu")  # pyright: ignore[reportAttributeAccessIssue]
    return Agent(louder(bridge), name=shape.name, device=device)


@torch.no_grad()
def louder(model: AnyModule) -> AnyModule:
    """The same model, its matrices three times as large as they were drawn."""
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.mul_(_LOUD)
    return model


def random_prompts(shape: Shape, answers: int = 1) -> Prompts:
    """Random tokens with random answers at the last positions."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(shape.vocab, (shape.prompts, shape.length), generator=generator)
    wanted = torch.randint(shape.vocab, (shape.prompts, answers), generator=generator)
    return Prompts(tokens, tuple(range(shape.length - answers, shape.length)), wanted)
