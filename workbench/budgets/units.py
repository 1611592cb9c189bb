"""Units: what one activation counts at a site, in rho or as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.edits import Edit
from workbench.errors import BadBudget
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.prompts import Prompts

Unit = Literal["rho", "activation"]


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """What a unit of each activation of a site counts: the norm of what it writes, `write`; 1 where that is None."""

    weights: Float[Tensor, "width"]
    write: Float[Tensor, "width written"] | None = None

    @property
    def matrix(self) -> Float[Tensor, "width written"]:
        """A matrix whose rows have these norms: what is written, or the activation itself."""
        return torch.diag(self.weights) if self.write is None else self.write

    def times(self, factor: float) -> "Measure":
        """All of it multiplied by that."""
        return Measure(self.weights * factor, None if self.write is None else self.write * factor)


def measure(unit: Unit, agent: "Agent", site: Site, prompts: "Prompts") -> Measure:
    """What activations count at one site. Raises BadBudget for rho where there is no linear write."""
    if unit == "activation":
        return Measure(torch.ones(agent.width(site)))
    write = agent.write(site)
    if write is None:
        raise BadBudget(
            f"rho is undefined at {site}, which has no linear write to the residual stream. Use unit='activation'."
        )
    scale, write = mean_residual_norm(agent, site, prompts), write.cpu()
    return Measure(write.norm(dim=1) / scale, write / scale)


def check_radius(radius: object, unit: object) -> float:
    """The radius as a float; BadBudget unless it is positive and the unit known."""
    if unit not in ("rho", "activation"):
        raise BadBudget(f"expected the unit 'rho' or 'activation', got {unit!r}.")
    return positive("radius", radius)


def positive(what: str, value: Any) -> float:
    """The value as a float; BadBudget unless it is a positive number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < inf:
        raise BadBudget(f"expected a positive {what}, got {value!r}.")
    return float(value)


def mean_residual_norm(agent: "Agent", site: Site | str, prompts: "Prompts") -> float:
    """Mean over prompts and positions of the residual stream's L2 norm where an edit at `site` has been written."""
    stream: Float[Tensor, "prompt pos d_model"] = agent.activations(prompts, agent.residual_site(site))
    return float(stream.norm(dim=-1).mean())


def rho_of(agent: "Agent", edits: Sequence[Edit], prompts: "Prompts", norms: dict[Site, float] | None = None) -> float:
    """The size of some edits in rho: the largest over edits and positions; nan where no linear write exists.

    norms: mean residual norms by site that are known of this Agent and these prompts; further ones are added.
    """
    norms = {} if norms is None else norms
    sizes = []
    for edit in edits:
        write = agent.write(edit.site)
        if write is None:
            return float("nan")
        written = edit.delta.to(write) @ write
        if edit.site not in norms:
            norms[edit.site] = mean_residual_norm(agent, edit.site, prompts)
        sizes.append(float(written.norm(dim=-1).max()) / norms[edit.site])
    return max(sizes, default=0.0)
