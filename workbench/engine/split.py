"""A model cut in two at a residual stream: run the first part once, the second part often.

The second part is, in general, a stripped copy of the wrapped model: the same parameters without the bridge's hook
points, blocks before the cut passed over, the one at the cut handed the given residual, logits made at the answer
positions only. No architecture is spelled out, so it works for any bridge whose blocks are called in turn. Native
blocks take a faster way.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from workbench.agent import Agent
from workbench.engine.sequential import Sequential, is_sequential

Residual = Float[Tensor, "row pos d_model"]


class Split:
    """An Agent cut before block `layer`: `prefix` makes the residual stream there, `suffix` the logits from it.

    Both share the Agent's parameters and are differentiable, through the residual and through the weights. The cut may
    also be after the last block. engine: "sequential" for blocks that the fast tier knows, else "stripped".
    """

    def __init__(self, agent: Agent, layer: int, answer_positions: Sequence[int]) -> None:
        plan = _Plan(agent, layer)
        self._prefix = plan.until()
        self._sequential = plan.sequential(answer_positions)
        self._handed = _Handed()
        self._stripped = plan.after(self._handed, answer_positions)

    @property
    def engine(self) -> str:
        """Which tier makes the logits."""
        return "stripped" if self._sequential is None else "sequential"

    def prefix(self, tokens: Int64[Tensor, "row pos"]) -> Residual:
        """The residual stream before the cut."""
        try:
            self._prefix(tokens, use_cache=False)
        except _Reached as reached:
            return reached.residual
        raise RuntimeError("the model never called the block at the cut")

    def suffix(self, residual: Residual) -> Float[Tensor, "row answer vocab"]:
        """Logits at the answer positions, from the residual stream at the cut."""
        if self._sequential is not None:
            return self._sequential(residual)
        self._handed.residual = residual
        placeholder = torch.zeros(residual.shape[:2], dtype=torch.long, device=residual.device)
        try:
            output = self._stripped(placeholder, use_cache=False)
        finally:
            self._handed.residual = None
        return output if isinstance(output, Tensor) else output.logits


class _Plan:
    """Where a wrapped model keeps its blocks, final norm and unembedding, and how to cut it before one block."""

    def __init__(self, agent: Agent, layer: int) -> None:
        bridge = agent.bridge
        self.model, self.layer = bridge.original_model, layer
        self.blocks = [_path(self.model, block) for block in bridge.blocks]
        self.norm, self.unembed = _path(self.model, bridge.ln_final), _path(self.model, bridge.unembed)
        self.cut = [*self.blocks, self.norm][layer]
        self.capped = bridge.cfg.output_logits_soft_cap > 0

    def until(self) -> nn.Module:
        """The model, stopping at the cut."""
        stripped = _strip(self.model)
        _replace(stripped, self.cut, _Stop)
        return stripped

    def after(self, handed: "_Handed", positions: Sequence[int]) -> nn.Module:
        """The model from the cut on, where it is handed a residual; logits at these positions only.

        Blocks before the cut are passed over, not left out: some models look up things by a block's number.
        """
        stripped = _strip(self.model)
        for block in self.blocks[: self.layer]:
            _replace(stripped, block, _Skip)
        _replace(stripped, self.cut, lambda module: _Resume(module, handed))
        _replace(stripped, self.unembed, lambda module: _AtAnswers(module, positions))
        return stripped

    def sequential(self, positions: Sequence[int]) -> Sequential | None:
        """The same in the fast tier, or None for blocks that it does not know."""
        stripped = _strip(self.model)
        blocks = [stripped.get_submodule(path) for path in self.blocks[self.layer :]]
        if type(self.model).__name__ != "NativeModel" or self.capped or not is_sequential(blocks):
            return None
        norm, unembed = stripped.get_submodule(self.norm), stripped.get_submodule(self.unembed)
        return Sequential(blocks, norm, unembed, positions)


class _Reached(Exception):
    """The cut was reached: what comes after it need not run."""

    def __init__(self, residual: Tensor) -> None:
        super().__init__()
        self.residual = residual


class _Handed:
    """The residual stream to go on from, while a suffix runs."""

    residual: Tensor | None = None


class _StandIn(nn.Module):
    """Takes a module's place in its model, and answers for its attributes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.replaced = module

    def __getattr__(self, name: str) -> Any:
        if name == "replaced":
            return super().__getattr__(name)
        return getattr(self.replaced, name)


class _Stop(_StandIn):
    """Stops the model where it stands."""

    def forward(self, residual: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise _Reached(residual)


class _Skip(_StandIn):
    """Stands for a block that is passed over. Native blocks return a tuple, others the residual stream itself."""

    def forward(self, residual: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (residual,) if type(self.replaced).__name__ == "NativeBlock" else residual


class _Resume(_StandIn):
    """Runs its module on the residual stream that was handed over, whatever it is called with."""

    def __init__(self, module: nn.Module, handed: _Handed) -> None:
        super().__init__(module)
        self._handed = handed

    def forward(self, ignored: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.replaced(self._handed.residual, *args, **kwargs)


class _AtAnswers(_StandIn):
    """The unembedding, applied at the answer positions only."""

    def __init__(self, module: nn.Module, positions: Sequence[int]) -> None:
        super().__init__(module)
        self._positions = list(positions)

    def forward(self, residual: Tensor) -> Tensor:
        return self.replaced(residual[:, self._positions])


def _path(model: nn.Module, part: nn.Module) -> str:
    """The dotted name of a part of a model."""
    return next(name for name, module in model.named_modules() if module is part)


def _replace(model: nn.Module, path: str, stand_in: Callable[[nn.Module], nn.Module]) -> None:
    """Put a stand-in where a part was."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, stand_in(model.get_submodule(path)))


def _strip(module: nn.Module, known: dict[int, nn.Module] | None = None) -> nn.Module:
    """A copy of a wrapped module without bridge components and hooks, sharing every parameter and buffer."""
    known = {} if known is None else known
    while isinstance(wrapped := getattr(module, "original_component", None), nn.Module):
        module = wrapped
    if id(module) not in known:
        twin = known[id(module)] = copy.copy(module)
        twin.__dict__ = {**module.__dict__, **{name: OrderedDict() for name in _HOOKS}}
        twin._modules = {n: None if m is None else _strip(m, known) for n, m in module._modules.items()}
    return known[id(module)]


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
