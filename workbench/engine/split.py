"""A model cut in two at a residual stream: run the first part once, the second part often.

The second part is a stripped copy of the wrapped model: the same parameters without the bridge's hook points,
blocks before the cut replaced by one that hands on the given residual, logits made at the answer positions only.
No architecture is spelled out, so it works for any bridge whose blocks are called in turn.
"""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from workbench.agent import Agent

Residual = Float[Tensor, "row pos d_model"]


class Split:
    """An Agent cut before block `layer`: `prefix` makes the residual stream there, `suffix` the logits from it.

    Both share the Agent's parameters and are differentiable, through the residual and through the weights.
    """

    def __init__(self, agent: Agent, layer: int, answer_positions: Sequence[int]) -> None:
        model, bridge = agent.bridge.original_model, agent.bridge
        blocks, _, _ = _path(model, bridge.blocks[0]).rpartition(".")
        head = _path(model, bridge.unembed)
        self._relay = _Relay()

        self._second = _strip(model)
        kept = list(self._second.get_submodule(blocks))[layer:]
        _replace(self._second, blocks, nn.ModuleList([self._relay, *kept]))
        unembed = self._second.get_submodule(head)
        _replace(self._second, head, _AtAnswers(unembed, tuple(answer_positions)))

        self._first = _strip(model)
        kept = list(self._first.get_submodule(blocks))[:layer]
        _replace(self._first, blocks, nn.ModuleList([*kept, _Stop()]))

    def prefix(self, tokens: Int64[Tensor, "row pos"]) -> Residual:
        """The residual stream before the cut."""
        try:
            self._first(tokens)
        except _Reached as reached:
            return reached.residual
        raise RuntimeError("the model never called the block at the cut")

    def suffix(self, residual: Residual) -> Float[Tensor, "row answer vocab"]:
        """Logits at the answer positions, from the residual stream at the cut."""
        self._relay.residual = residual
        placeholder = torch.zeros(residual.shape[:2], dtype=torch.long, device=residual.device)
        try:
            output = self._second(placeholder)
        finally:
            self._relay.residual = None
        return output if isinstance(output, Tensor) else output.logits


class _Reached(Exception):
    """The cut was reached: what comes after it need not run."""

    def __init__(self, residual: Tensor) -> None:
        super().__init__()
        self.residual = residual


class _Stop(nn.Module):
    """Stands for the block at the cut and stops there."""

    def forward(self, residual: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise _Reached(residual)


class _Relay(nn.Module):
    """Stands for all blocks before the cut and hands on the residual it was given."""

    residual: Tensor | None = None

    def forward(self, ignored: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (self.residual,)


class _AtAnswers(nn.Module):
    """The unembedding, applied at the answer positions only."""

    def __init__(self, unembed: nn.Module, positions: tuple[int, ...]) -> None:
        super().__init__()
        self.unembed = unembed
        self.positions = list(positions)

    def forward(self, residual: Tensor) -> Tensor:
        return self.unembed(residual[:, self.positions])


def _path(model: nn.Module, part: nn.Module) -> str:
    """The dotted name of a part of a model."""
    return next(name for name, module in model.named_modules() if module is part)


def _replace(model: nn.Module, path: str, part: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, part)


def _strip(module: nn.Module, known: dict[int, nn.Module] | None = None) -> nn.Module:
    """A copy of a wrapped module without bridge components and hooks, sharing every parameter and buffer."""
    known = {} if known is None else known
    while hasattr(module, "original_component"):
        module = module.original_component
    if id(module) not in known:
        twin = known[id(module)] = copy.copy(module)
        twin.__dict__ = {**module.__dict__, **{name: OrderedDict() for name in _HOOKS}}
        twin._modules = {n: None if m is None else _strip(m, known) for n, m in module._modules.items()}
    return known[id(module)]


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
