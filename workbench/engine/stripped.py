"""The general tier: any wrapped model without its bridge, run from a block on.

A stripped copy of the model shares its parameters but has none of the bridge's hook points. Blocks before the cut are
passed over, the one at the cut is handed the given residual stream, and logits are made at the answer positions only.
No architecture is spelled out, so it works for any bridge whose blocks are called in turn.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from workbench.agent import Agent

Residual = Float[Tensor, "row pos d_model"]
Write = Float[Tensor, "row _ d_model"]  # at every position, or one for all


class Parts:
    """Where a wrapped model keeps its blocks, final norm and unembedding, and how to cut it before one block.

    kept: modules of the bridge that stay as they are, hook points and all.
    """

    def __init__(self, agent: Agent, kept: Sequence[nn.Module] = ()) -> None:
        bridge = agent.bridge
        self.model = bridge.original_model
        self._kept = {id(module): module for module in kept}
        self._steps = [_path(self.model, part) for part in (*bridge.blocks, bridge.ln_final)]
        self._unembed = _path(self.model, bridge.unembed)
        self.n_layers = len(bridge.blocks)

    def bare(self) -> tuple[list[nn.Module], nn.Module, nn.Module]:
        """Stripped blocks, final norm and unembedding."""
        stripped = self._strip()
        *blocks, norm = (stripped.get_submodule(path) for path in self._steps)
        return blocks, norm, stripped.get_submodule(self._unembed)

    def until(self, layer: int) -> nn.Module:
        """The model, stopping before block `layer`."""
        stripped = self._strip()
        _replace(stripped, self._steps[layer], _Stop)
        return stripped

    def after(self, layer: int, handed: "Handed", positions: Sequence[int]) -> nn.Module:
        """The model from block `layer` on, where it is handed a residual; logits at these positions only.

        Blocks before the cut are passed over, not left out: some models look up things by a block's number.
        """
        stripped = self._strip()
        for path in self._steps[:layer]:
            _replace(stripped, path, _Skip)
        for number, path in enumerate(self._steps[layer:], layer):
            _replace(stripped, path, lambda module, number=number: _Entered(module, handed, number, number == layer))
        _replace(stripped, self._unembed, lambda module: _AtAnswers(module, positions, handed))
        return stripped

    def _strip(self) -> nn.Module:
        return _strip(self.model, dict(self._kept))


@dataclass
class Handed:
    """What a stripped suffix is given while it runs: the residual at its cut, what is added to the stream before which
    block (after the last: the number of blocks), and the tokens whose logits are wanted (None: all)."""

    residual: Residual | None = None
    writes: Mapping[int, Write] = field(default_factory=dict)
    tokens: Int64[Tensor, "row answer read"] | None = None


class Prefix:
    """Tokens to the residual stream before block `layer`."""

    def __init__(self, parts: Parts, layer: int) -> None:
        self._model = parts.until(layer)

    def __call__(self, tokens: Int64[Tensor, "row pos"]) -> Residual:
        """The residual stream before the cut."""
        try:
            self._model(tokens, use_cache=False)
        except _Reached as reached:
            return reached.residual
        raise RuntimeError("the model never called the block at the cut")


class Stripped:
    """The residual stream before block `layer` to logits at the answer positions."""

    def __init__(self, parts: Parts, layer: int, positions: Sequence[int]) -> None:
        self._handed = Handed()
        self._model = parts.after(layer, self._handed, positions)

    def __call__(
        self,
        residual: Residual,
        writes: Mapping[int, Write] | None = None,
        tokens: Int64[Tensor, "row answer read"] | None = None,
    ) -> Float[Tensor, "row answer read"]:
        """Logits at the answers, of `tokens` or of all. writes: added to the stream before later blocks, by number."""
        placeholder = torch.zeros(residual.shape[:2], dtype=torch.long, device=residual.device)
        self._handed.residual, self._handed.writes, self._handed.tokens = residual, writes or {}, tokens
        try:
            output = self._model(placeholder, use_cache=False)
        finally:
            self._handed.residual, self._handed.writes, self._handed.tokens = None, {}, None
        return output if isinstance(output, Tensor) else output.logits


class _Reached(Exception):
    """The cut was reached: what comes after it need not run."""

    def __init__(self, residual: Tensor) -> None:
        super().__init__()
        self.residual = residual


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


class _Entered(_StandIn):
    """Runs its module on the stream it is called with, or on the one handed over at the cut, and adds what is added."""

    def __init__(self, module: nn.Module, handed: Handed, number: int, is_cut: bool) -> None:
        super().__init__(module)
        self._handed, self._number, self._is_cut = handed, number, is_cut

    def forward(self, residual: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._is_cut and self._handed.residual is not None:
            residual = self._handed.residual
        if self._number in self._handed.writes:
            residual = residual + self._handed.writes[self._number]
        return self.replaced(residual, *args, **kwargs)


class _AtAnswers(_StandIn):
    """The unembedding, applied at the answer positions only, and for the wanted tokens only."""

    def __init__(self, module: nn.Module, positions: Sequence[int], handed: Handed) -> None:
        super().__init__(module)
        self._positions, self._handed = list(positions), handed

    def forward(self, residual: Tensor) -> Tensor:
        tokens = self._handed.tokens
        if hasattr(self.replaced, "original_component"):  # kept, with hooks that know all the positions
            logits = self.replaced(residual)[:, self._positions]
            return logits if tokens is None else logits.gather(-1, tokens)
        at = residual[:, self._positions]
        if tokens is None:
            return self.replaced(at)
        if type(self.replaced) is nn.Linear and self.replaced.bias is None:
            return torch.einsum("rad,rakd->rak", at, F.embedding(tokens, self.replaced.weight))
        return self.replaced(at).gather(-1, tokens)


def _path(model: nn.Module, part: nn.Module) -> str:
    """The dotted name of a part of a model."""
    return next(name for name, module in model.named_modules() if module is part)


def _replace(model: nn.Module, path: str, stand_in: Callable[[nn.Module], nn.Module]) -> None:
    """Put a stand-in where a part was."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, stand_in(model.get_submodule(path)))


def _strip(module: nn.Module, known: dict[int, nn.Module]) -> nn.Module:
    """A copy of a wrapped module without bridge components and hooks, sharing every parameter and buffer."""
    if id(module) in known:
        return known[id(module)]
    while isinstance(wrapped := getattr(module, "original_component", None), nn.Module):
        module = wrapped
    if id(module) not in known:
        twin = known[id(module)] = copy.copy(module)
        twin.__dict__ = {**module.__dict__, **{name: OrderedDict() for name in _HOOKS}}
        twin._modules = {n: None if m is None else _strip(m, known) for n, m in module._modules.items()}
    return known[id(module)]


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
