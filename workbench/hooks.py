"""Hook points of a live bridge: which of them an edit can use, and the hook that adds one."""

import warnings
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.sites import Site

_ATTENTION = ("hook_attn_scores", "hook_pattern")


def adding(delta: Float[Tensor, "pos width"]) -> Callable[..., Tensor]:
    """A forward hook that adds a delta to activations [prompt, pos, ...]."""

    def hook(activations: Tensor, hook: Any) -> Tensor:
        return activations + delta.reshape(delta.shape[0], *activations.shape[2:]).to(activations.dtype)

    return hook


@torch.no_grad()
def usable_sites(bridge: Any, device: torch.device) -> dict[Site, int]:
    """Sites of a live bridge and their widths: edit every candidate once and watch the output."""
    lengths = _two_lengths(bridge)
    short, long = (torch.arange(n, device=device)[None] % bridge.cfg.d_vocab for n in lengths)
    plain = bridge(long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the bridge warns of edits at norms' scales, which are tried here on purpose
        found = {
            Site(name): prod(shape[2:])
            for name, shape in _shapes(bridge, short, long).items()
            if _changes_the_output(bridge, name, long, prod(shape[2:]), plain)
        }
    return dict(sorted(found.items()))


def _changes_the_output(bridge: Any, name: str, tokens: Tensor, width: int, plain: Tensor) -> bool:
    """Whether a huge edit at that hook point, another one at each position, makes any difference."""
    length = tokens.shape[1]
    bump = 100 * torch.linspace(-3.0, 5.0, length * width, device=tokens.device).sin().reshape(length, width)
    edited = bridge.run_with_hooks(tokens, fwd_hooks=[(name, adding(bump))])
    return not torch.equal(edited, plain)


def _two_lengths(bridge: Any) -> tuple[int, int]:
    longest = min(bridge.cfg.n_ctx, 7)
    return max(1, longest - 1), longest


def _shapes(bridge: Any, short: Tensor, long: Tensor) -> Mapping[str, tuple[int, ...]]:
    """Candidates [prompt, pos, width...]: float, and only the second dimension grows with the prompt."""
    seen: list[dict[str, tuple[int, ...]]] = []
    names = _one_name_each(bridge)
    for tokens in (short, long):
        shapes: dict[str, tuple[int, ...]] = {}

        def note(x: Any, hook: Any, name: str, shapes: dict[str, tuple[int, ...]] = shapes) -> None:
            if isinstance(x, Tensor) and x.is_floating_point() and x.ndim >= 3:
                shapes[name] = tuple(x.shape)

        hooks: list[Any] = [(name, lambda x, hook, name=name: note(x, hook, name)) for name in names]
        bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        seen.append(shapes)
    first, second = seen
    return {
        name: shape
        for name, shape in second.items()
        if not name.endswith(_ATTENTION)
        and name in first
        and shape[1] == long.shape[1]
        and first[name][1] == short.shape[1]
        and shape[2:] == first[name][2:]
    }


def _one_name_each(bridge: Any) -> list[str]:
    """One name for each hook point in use: the last listed, TransformerLens' own alias where there is one."""
    names = {id(hook): name for name, hook in bridge.hook_dict.items()}
    return [name for name in names.values() if _in_use(bridge, name)]


def _in_use(bridge: Any, name: str) -> bool:
    """Whether the bridge lets this hook point be used at all: some need an option to be set first."""
    try:
        with bridge.hooks(fwd_hooks=[(name, lambda x, hook: None)]):
            return True
    except ValueError:
        return False
