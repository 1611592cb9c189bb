"""What an edit writes into the residual stream: read off the weights, believed once it was seen on the live model."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.hooks import adding
from workbench.sites import Site

_IDENTITY = ("hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
_EMBEDDINGS = ("hook_embed", "hook_pos_embed")
_IN_ATTENTION = ("hook_attn_out", "attn.hook_z")
_CLOSE, _ROUNDINGS = 1e-3, 20.0

Write = Float[Tensor, "width d_model"]


def read_off(bridge: Any, site: Site, width: int) -> Write | None:
    """The write that a site has in a plain block: the identity, W_out or W_O; None for any other site."""
    d_model = bridge.cfg.d_model
    if site.kind in _IDENTITY or site.name in _EMBEDDINGS:
        return torch.eye(d_model, device=next(bridge.parameters()).device) if width == d_model else None
    if site.kind == "mlp.hook_post":
        return bridge.blocks[site.layer].mlp.W_out.detach()
    if site.kind == "attn.hook_z":
        return bridge.blocks[site.layer].attn.W_O.detach().reshape(-1, d_model)
    return None


@torch.no_grad()
def is_written(bridge: Any, site: Site, write: Write, stream: Site) -> bool:
    """Whether an edit at `site` adds delta @ write to the residual stream, seen at the Site `stream`.

    One edit as large as the stream itself is tried. Not so where a norm or a factor stands between, as in Gemma's
    blocks or Granite's. What the MLP of the same block makes of an edit in its attention is no part of the write.
    """
    if site == stream:
        return True
    watched = [stream.name]
    if site.kind in _IN_ATTENTION and f"blocks.{site.layer}.hook_mlp_out" in bridge.hook_dict:
        watched.append(f"blocks.{site.layer}.hook_mlp_out")
    before = _seen(bridge, watched)
    delta = torch.randn(before[0].shape[1], len(write), generator=torch.Generator().manual_seed(0)).to(write)
    delta *= before[0].norm(dim=-1).mean() / (delta.float() @ write.float()).norm(dim=-1).mean()
    after = _seen(bridge, watched, [(site.name, adding(delta))])
    change, *elsewhere = (a - b for a, b in zip(after, before, strict=True))
    expected = (delta.float() @ write.float()).expand_as(change)
    apart = change - sum(elsewhere) - expected
    return bool(apart.norm() <= max(_CLOSE, _ROUNDINGS * torch.finfo(write.dtype).eps) * expected.norm())


def _seen(bridge: Any, names: list[str], edits: list[Any] | None = None) -> list[Tensor]:
    """The activations at some hook points on a short prompt, in fp32."""
    seen: dict[str, Tensor] = {}

    def keep(activations: Tensor, hook: Any, name: str) -> None:
        seen[name] = activations.float().clone()

    length = min(7, bridge.cfg.n_ctx)
    tokens = torch.arange(1, length + 1, device=next(bridge.parameters()).device)[None] % bridge.cfg.d_vocab
    watching: list[Any] = [(name, lambda x, hook, name=name: keep(x, hook, name)) for name in names]
    bridge.run_with_hooks(tokens, fwd_hooks=[*(edits or []), *watching])
    return [seen[name] for name in names]
