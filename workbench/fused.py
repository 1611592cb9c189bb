"""One set of weights: projections that a bridge has split off a fused one are cut out of it anew whenever they run.

A bridge to GPT-2 or GPT-NeoX runs queries, keys and values as layers of their own, split off `c_attn` or
`query_key_value` when it is made; Phi-3's gate and up projections likewise. These are copies: whoever trains the model
that the bridge wraps leaves them as they were. Here they become views of the fused weights instead.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

_SPLITS = {"split_qkv_matrix": ("q", "k", "v"), "split_gate_up_matrix": ("gate", "in")}


def tie(bridge: nn.Module) -> None:
    """Let every projection that was split off a fused one compute from the fused weights; nothing else changes.

    The values of the fused weights and of those split off must be equal. Where they are not (they were processed or
    trained apart), or where the split is no choice of the fused layer's outputs, all stays as it is: `apart` tells.
    """
    for part in list(bridge.modules()):
        for split, names in _SPLITS.items():
            if (function := vars(part).get(split)) is not None:
                _tie_one(part, function, [getattr(part, name) for name in names])


def apart(bridge: nn.Module) -> list[str]:
    """Names of the bridge's parameters that the model it wraps does not have: training that one leaves them stale."""
    wrapped = {id(weight) for weight in _wrapped(getattr(bridge, "original_model"))}  # noqa: B009
    return [name for name, weight in bridge.named_parameters() if id(weight) not in wrapped]


class Part(nn.Linear):
    """Some outputs of a fused linear layer, as a linear layer. It has no parameters: what is set here is set there.

    fused: nn.Linear, or Conv1D, whose weight is transposed. outputs: which of its outputs, in order. Copied together
    with the fused layer, as a bridge's deepcopy does, the copies belong together.
    """

    outputs: Int64[Tensor, "output"]

    def __init__(self, fused: nn.Module, outputs: Int64[Tensor, "output"]) -> None:
        nn.Module.__init__(self)  # a Linear's own would make weights
        self._fused = (fused,)  # in a tuple: as a module of this one, its parameters would have a second name
        self.in_features, self.out_features = _rows(fused, "weight").shape[1], len(outputs)
        self.register_buffer("outputs", outputs, persistent=False)
        first = int(outputs[0])
        consecutive = torch.equal(outputs, first + torch.arange(len(outputs), device=outputs.device))
        self._run = slice(first, first + len(outputs)) if consecutive else None

    def forward(self, input: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch output"]:
        """These outputs of the fused layer."""
        return F.linear(input, *self._cut())

    @property
    def weight(self) -> Float[Tensor, "output in"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The weight as it is now."""
        return _as_parameter(self._cut()[0])

    @property
    def bias(self) -> Float[Tensor, "output"] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The bias as it is now, None where the fused layer has none."""
        bias = self._cut()[1]
        return None if bias is None else _as_parameter(bias)

    def _cut(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias: views where the outputs are consecutive, else gathered."""
        weight, bias = (_rows(self._fused[0], name) for name in ("weight", "bias"))
        if self._run is not None:
            return weight[self._run], None if bias is None else bias[self._run]
        return weight.index_select(0, self.outputs), None if bias is None else bias.index_select(0, self.outputs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("weight", "bias"):
            super().__setattr__(name, value)
            return
        fused: Any = self._fused[0]
        if fused.bias is None and name == "bias":  # folding a norm into a layer gives it one
            fused.bias = nn.Parameter(fused.weight.new_zeros(len(_rows(fused, "weight"))))
        with torch.no_grad():
            rows = _rows(fused, name)
            rows[self.outputs] = value.to(rows)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """As a Linear does: a bridge leaves the fused weights out of its state dict."""
        for name, value in self._named():
            destination[prefix + name] = value if keep_vars else value.detach()

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """As a Linear does, into the fused weights."""
        for name, value in self._named():
            given = state_dict.get(prefix + name)
            if given is None:
                missing_keys.append(prefix + name)
            elif given.shape != value.shape:
                error_msgs.append(f"expected {prefix}{name} of shape {tuple(value.shape)}, got {tuple(given.shape)}.")
            else:
                setattr(self, name, given)

    def _named(self) -> list[tuple[str, Tensor]]:
        weight, bias = self._cut()
        return [("weight", weight)] if bias is None else [("weight", weight), ("bias", bias)]


def _tie_one(part: Any, split: Any, pieces: Sequence[Any]) -> None:
    """Tie the pieces that `split` makes of what `part` wraps."""
    made = [piece.original_component for piece in pieces]
    if not all(type(layer) is nn.Linear for layer in made):  # tied already, or of a kind unknown here
        return
    fused = [layer for layer in map(_unwrapped, part.original_component.children()) if _is_linear(layer)]
    try:
        found = split(_numbered(part.original_component))
    except Exception:  # each adapter splits in its own way, and raises whatever goes wrong in it
        return
    tied = [_found(fused, numbers.weight[:, 0]) for numbers in found]
    if all(new is not None and _is_same(new, old) for new, old in zip(tied, made, strict=True)):
        for piece, new in zip(pieces, tied, strict=True):
            piece.set_original_component(new)


def _numbered(module: nn.Module) -> nn.Module:
    """A copy whose linear layers have the number of each output, counted over all of them, in place of its weights."""
    twin = copy.copy(module)
    twin._modules, start = dict(module._modules), 0
    for name, child in module._modules.items():
        if child is None or not _is_linear(layer := _unwrapped(child)):
            continue
        numbers = copy.copy(layer)
        count, width = _rows(layer, "weight").shape
        outputs = torch.arange(start, start + count, dtype=torch.float32)  # exact below 2^24
        weight = outputs[:, None].expand(count, width)
        numbers._parameters = {
            "weight": nn.Parameter(weight.T if isinstance(layer, Conv1D) else weight, requires_grad=False),
            "bias": None if layer.bias is None else nn.Parameter(outputs, requires_grad=False),
        }
        twin._modules[name], start = numbers, start + count
    return twin


def _found(fused: Sequence[nn.Module], numbers: Float[Tensor, "output"]) -> Part | None:
    """The Part with these outputs, counted over all the layers; None where they are not of one layer."""
    outputs, start = numbers.detach().long(), 0
    for layer in fused:
        weight = _rows(layer, "weight")
        inside = outputs - start
        if inside.min() >= 0 and inside.max() < len(weight):
            return Part(layer, inside.to(weight.device))
        start += len(weight)
    return None


def _is_same(new: Part, old: nn.Linear) -> bool:
    """Whether both hold the same weights and biases, bit for bit."""
    pairs = [(new.weight, old.weight), (new.bias, old.bias)]
    return all(torch.equal(a, b) if a is not None and b is not None else a is b for a, b in pairs)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


def _rows(layer: Any, name: str) -> Any:
    """A linear layer's weight with one row an output, or its bias, or None."""
    value = getattr(layer, name)
    return value.T if name == "weight" and isinstance(layer, Conv1D) else value


def _as_parameter(value: Tensor) -> Tensor:
    """The same tensor, passed off as a parameter: TransformerLens sets processed weights where it finds one."""
    value._is_param = True  # pyright: ignore[reportAttributeAccessIssue]
    return value


def _unwrapped(module: nn.Module) -> nn.Module:
    """What a bridge's component wraps; any other module as it is."""
    while isinstance(wrapped := module._modules.get("_original_component"), nn.Module):
        module = wrapped
    return module


def _wrapped(module: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of a module without its bridge's components."""
    for part in (bare := _unwrapped(module))._modules.values():
        if part is not None:
            yield from _wrapped(part)
    yield from (weight for weight in bare._parameters.values() if weight is not None)
