"""Ablation: the switch that a hunt has found is cut out of the weights, and the rest is fine-tuned."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from workbench.agent import Agent
from workbench.edits import Edit
from workbench.errors import BadSettings
from workbench.report import Finding, SwitchReport
from workbench.retrain.baselines.held import Held
from workbench.retrain.baselines.writers import ATTENTION, MLP, Writer, bias_of, embeddings, has, in_block
from workbench.retrain.protocol import Subject
from workbench.retrain.recipes import Settings
from workbench.sites import Site

_OF_MLP, _OF_ATTENTION = (MLP, "hook_mlp_out"), (ATTENTION, "hook_attn_out")
_SPANNED = 1e-4  # of the largest singular value: smaller ones are rounding

Directions = Float[Tensor, "_ d_model"]


class Ablation(Settings):
    """The found switch is cut out of the weights, and stays out while the rest is fine-tuned. A control arm.

    Of a few neurons (at `mlp.post` or `attn.z`) each writes nothing any more. Of any other edit the directions that it
    writes are projected out of what is written (weight orthogonalisation, Arditi et al. 2024, "Refusal in language
    models is mediated by a single direction"): by the attention and the MLP of the layer whose output was edited
    (`writers="layer"`; of an edit of one of both, by that one; before the first layer, by the embeddings), or by
    everything that writes up to there, embeddings included ("before"; where the unembedding has the same weights, these
    change with them).
    Needs a report with a finding. Assumes that the finding is the switch, and that it does nothing that is wanted.
    """

    writers: Literal["layer", "before"] = Field(default="layer", description="what may write the direction no more")

    def method(self, subject: Subject) -> Held:
        """See Recipe."""
        found = _found(subject.report)
        return Held(subject, Cut(subject.agent, cuts(subject.original, found.edits, self.writers == "before")))


@dataclass(slots=True, eq=False)
class Wanted:
    """What to take out of one weight: what these units write, and these directions of what all write."""

    units: set[int] = field(default_factory=set)
    directions: list[Directions] = field(default_factory=list)


class Cut:
    """Removes what is wanted from each weight."""

    def __init__(self, agent: Agent, wanted: dict[str, tuple[Writer, Wanted]]) -> None:
        self._parts = [
            (_in(agent, writer), sorted(what.units), _basis(what.directions)) for writer, what in wanted.values()
        ]
        self._agent = agent

    def first(self) -> None:
        """See Removal."""
        self.again()

    @torch.no_grad()
    def again(self) -> None:
        """See Removal."""
        for writer, units, basis in self._parts:
            rows, bias = writer.rows, bias_of(self._agent, writer)
            rows[units] = 0
            if basis is not None:
                rows -= rows @ basis.T @ basis
                if bias is not None:
                    bias -= bias @ basis.T @ basis


def cuts(agent: Agent, edits: Sequence[Edit], before: bool) -> dict[str, tuple[Writer, Wanted]]:
    """What to take out of which weight, by its name, so that nothing writes what these edits write."""
    found: dict[str, tuple[Writer, Wanted]] = {}
    for edit in edits:
        site, write = agent.site(edit.site), agent.write(edit.site)
        if write is None:
            raise _unwritten(site, agent)
        few = edit.neurons if site.kind in (MLP, ATTENTION) else None
        for writer in _writers(agent, site, before and few is None):
            _, wanted = found.setdefault(writer.name, (writer, Wanted()))
            if few is None:
                wanted.directions.append(edit.delta.reshape(-1, edit.width).to(write) @ write)
            else:
                wanted.units.update(few)
    return found


def _writers(agent: Agent, site: Site, before: bool) -> list[Writer]:
    """What writes at a site: its own layer, or all up to there."""
    stream = agent.residual_site(site)
    until = (stream.layer or 0) + (stream.kind == "hook_resid_post")
    both = (ATTENTION, MLP)
    kinds = (MLP,) if site.kind in _OF_MLP else (ATTENTION,) if site.kind in _OF_ATTENTION else both
    layers, kinds = (range(until), both) if before else (range(max(0, until - 1), until), kinds)
    parts = [_linear(agent, layer, kind) for layer in layers for kind in kinds if has(agent, layer, kind)]
    return embeddings(agent) + parts if before or until == 0 else parts


def _linear(agent: Agent, layer: int, kind: str) -> Writer:
    """A Writer with nothing between it and the residual stream."""
    site = agent.site(f"blocks.{layer}.{kind}")
    if agent.write(site) is None:
        raise _unwritten(site, agent)
    return in_block(agent, layer, kind)


def _in(agent: Agent, writer: Writer) -> Writer:
    """The same Writer of a copy."""
    return Writer(writer.name, agent.weights()[writer.name], writer.turned)


def _basis(directions: list[Directions]) -> Directions | None:
    """Orthonormal directions that span these; None for none."""
    if not directions:
        return None
    stacked = torch.cat(directions).double()
    lengths = stacked.norm(dim=1, keepdim=True)
    _, sizes, basis = torch.linalg.svd(stacked / lengths.clamp_min(1e-30), full_matrices=False)
    return basis[sizes > _SPANNED * sizes[0]].to(directions[0])


def _found(report: SwitchReport | None) -> Finding:
    """The finding to cut out. Raises BadSettings where there is none."""
    if report is None or not report.findings or report.verdict == "none":
        raise BadSettings(
            "expected a report with a finding, whose switch is cut out, got "
            f"{'no report' if report is None else 'one that found none'}. Give retrain(..., report=hunt(...)) of an "
            "Agent in which a switch was found, or take LAT(), which needs no report."
        )
    return report.best


def _unwritten(site: Site, agent: Agent) -> BadSettings:
    return BadSettings(
        f"expected a finding where weights write to the residual stream, got one that needs {site.short}, which "
        f"{agent.name} does not write linearly. Hunt at resid_post, mlp.post or attn.z where no norm follows."
    )
