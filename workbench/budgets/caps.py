"""Caps from the Agent's weights: how large activations can get at all, whatever the input.

Jermyn (2022) proposes to let a Surgeon go no further than the Agent itself could. Two bounds are followed through the
blocks, for rows x -> x W + b and residual sums:

    worst     |x W + b|_j <= sum_i |W_ij| m_i + |b_j|      each |x_i| at its own largest, m_i, and all signs adverse
                                                           (interval bounds around zero: Gowal et al. 2018)
    spectral  |x W + b|_2 <= |W|_2 |x|_2 + |b|_2           the largest singular values multiply
                                                           (Szegedy et al. 2014, section 4.3)

They start at the largest token and position embeddings. Activation functions with |f(x)| <= |x| leave both as they
are; a gate multiplies them. Attention averages values with weights that sum to 1, so its output is bounded by the
largest value, although attention has no Lipschitz constant. Neither has a norm layer: it divides by a length that may
be small, and a product of spectral norms cannot go through it. But what leaves it is bounded, whatever goes in: |x|_2
by sqrt(d) max|gamma| + |beta|_2, and each |x_i| by sqrt(d) |gamma_i| + |beta_i|. So both bounds start anew behind every
norm, and depth adds up in the residual stream; without norms it multiplies, and soon caps nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.budgets.balls import Rowwise
from workbench.budgets.composed import Composable
from workbench.budgets.protocol import Limit
from workbench.budgets.units import positive
from workbench.errors import BadBudget
from workbench.geometry import Ellipsoid, Member, WeightedLInf
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.prompts import Prompts

Rule = Literal["worst", "spectral"]
_SHRINKING = ("relu", "gelu", "gelu_new", "gelu_fast", "silu", "swish")
_NORMS = ("LN", "LNPre", "RMS", "RMSPre", None)
_KINDS = ("hook_resid_pre", "attn.hook_z", "hook_attn_out", "mlp.hook_post", "hook_mlp_out", "hook_resid_post")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCap(Composable):
    """At each position, an edit no larger than `share` of what the activation itself can be, by the Agent's weights.

    rule: "worst" caps each activation alone, "spectral" the Euclidean norm of all at the site, which is much tighter.
    Sizes are shares of the cap. For native Agents, at the MLP's neurons, attention's z, what both write, and the
    residual stream.
    """

    rule: Rule = "spectral"
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in ("worst", "spectral"):
            raise BadBudget(f"expected the rule 'worst' or 'spectral', got {self.rule!r}.")
        object.__setattr__(self, "share", positive("share", self.share))

    def limits(self, agent: "Agent", sites: Sequence[Site], prompts: "Prompts") -> tuple[Limit, ...]:
        """See Composable. Raises BadBudget for other sites and for Agents that are not native. Runs nothing."""
        _check(agent, sites)
        found = spans(agent)
        return (Rowwise({site: self._set(found[site]) for site in sites}),)

    def _set(self, span: "Span") -> Member:
        if self.rule == "worst":
            return WeightedLInf(1 / span.worst.clamp_min(1e-30), self.share)
        return Ellipsoid.of(torch.eye(len(span.worst)) / max(span.norm, 1e-30), self.share)


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """How large a row of activations can be: each of them, and its Euclidean norm."""

    worst: Float[Tensor, "width"]
    norm: float

    def through(self, weight: Float[Tensor, "width out"], bias: Float[Tensor, "out"] | None) -> "Span":
        """After a linear layer."""
        weight = weight.detach().float().cpu()
        bias = torch.zeros(weight.shape[1]) if bias is None else bias.detach().float().cpu()
        norm = float(torch.linalg.matrix_norm(weight, 2)) * self.norm + float(bias.norm())
        return Span(self.worst @ weight.abs() + bias.abs(), norm)

    def plus(self, other: "Span") -> "Span":
        """Of a sum of two rows."""
        return Span(self.worst + other.worst, self.norm + other.norm)

    def times(self, other: "Span") -> "Span":
        """Of a product, activation by activation."""
        return Span(self.worst * other.worst, self.norm * other.norm)


def spans(agent: "Agent") -> dict[Site, Span]:
    """The bounds of a native Agent at every site that they are known for."""
    stream, found = _embedded(agent.bridge), {}
    for layer, block in enumerate(agent.bridge.blocks):
        z, attended = _attention(block.attn, _normed(block.ln1, stream))
        middle = stream.plus(attended)
        post = _neurons(block.mlp, _normed(block.ln2, middle))
        written = post.through(block.mlp.W_out, block.mlp.b_out)
        after = middle.plus(written)
        here = zip(_KINDS, (stream, z, attended, post, written, after), strict=True)
        found |= {Site(f"blocks.{layer}.{kind}"): span for kind, span in here}
        stream = after
    return found


def _embedded(bridge: Any) -> Span:
    """The largest token, plus the largest position where positions are added."""
    learned = bridge.cfg.positional_embedding_type == "standard"
    tables = [t.detach().float().cpu() for t in (bridge.W_E, *((bridge.W_pos,) if learned else ()))]
    first, *rest = (Span(table.abs().amax(0), float(table.norm(dim=1).max())) for table in tables)
    return first.plus(rest[0]) if rest else first


def _normed(norm: Any, span: Span) -> Span:
    """Behind a norm layer: bounded by its gain alone, whatever goes in. The same as before where there is none."""
    layer = norm.original_component
    if isinstance(layer, torch.nn.Identity):
        return span
    width = len(span.worst)
    gain, shift = (getattr(layer, name, None) for name in ("weight", "bias"))
    gain = torch.ones(width) if gain is None else gain.detach().float().cpu()
    shift = torch.zeros(width) if shift is None else shift.detach().float().cpu()
    norm_bound = width**0.5 * float(gain.abs().max()) + float(shift.norm())
    return Span(width**0.5 * gain.abs() + shift.abs(), norm_bound)


def _attention(attention: Any, span: Span) -> tuple[Span, Span]:
    """z, all heads side by side, and what they write: every head's z is an average of its values."""
    biases = [None] * len(attention.W_V) if attention.b_V is None else attention.b_V
    heads = [span.through(weight, bias) for weight, bias in zip(attention.W_V, biases, strict=True)]
    z = Span(torch.cat([head.worst for head in heads]), sum(head.norm**2 for head in heads) ** 0.5)
    return z, z.through(attention.W_O.flatten(0, 1), attention.b_O)


def _neurons(mlp: Any, span: Span) -> Span:
    """The MLP's activations, behind their activation function and gate."""
    inside = span.through(mlp.W_in, mlp.b_in)
    return inside if mlp.W_gate is None else inside.times(span.through(mlp.W_gate, getattr(mlp, "b_gate", None)))


def _check(agent: "Agent", sites: Sequence[Site]) -> None:
    """BadBudget unless the bounds above are those of this Agent, at these sites."""
    config = agent.bridge.cfg
    plain = not (getattr(config, "attn_only", False) or getattr(config, "parallel_attn_mlp", False))
    known = config.act_fn in _SHRINKING and config.normalization_type in _NORMS
    if config.architecture != "TransformerLensNative" or not (plain and known):
        raise BadBudget(
            f"expected a native Agent with one of {', '.join(_SHRINKING)}, got {agent.name}: {config.architecture} "
            f"with {config.act_fn}. Use a ball in rho, such as L2Ball(2.0), instead of a cap from weights."
        )
    for site in sites:
        if site.kind not in _KINDS:
            raise BadBudget(f"expected a site among {', '.join(_KINDS)}, got {site}. Caps from weights end there.")
