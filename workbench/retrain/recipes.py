"""Recipes: frozen settings of the one retraining loop."""

from collections.abc import Sequence
from math import isnan
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from workbench.agent import Agent
from workbench.errors import BadSettings, refused
from workbench.report import Finding, SwitchReport
from workbench.retrain.attacks import Ascent, Noise
from workbench.sites import Site


@runtime_checkable
class Recipe(Protocol):
    """How to retrain: how long, how fast, and against which edits where."""

    steps: int
    lr: float
    batch: int
    clean_weight: float

    def layers(self, agent: Agent, report: SwitchReport | None) -> tuple[int, ...]:
        """The cuts at which examples are edited, by the number of the block that follows; one is drawn each step."""
        ...

    def attack(self, report: SwitchReport | None) -> Ascent | Noise | None:
        """What edits the examples; None trains on unedited ones alone."""
        ...


class _Settings(BaseModel):
    """What every recipe sets: AdamW at `lr`, `steps` steps on `batch` prompts, the weight of the unedited loss."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=300, ge=1, description="outer steps")
    lr: float = Field(default=1e-3, gt=0, description="learning rate of AdamW")
    batch: int = Field(default=64, ge=1, description="prompts a step")
    clean_weight: float = Field(default=1.0, ge=0, description="weight of the loss on unedited prompts")

    def __init__(self, **given: Any) -> None:
        """The settings. Raises UnknownName for a name there is not, BadSettings for a value out of range."""
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise refused(error, type(self).__name__, type(self).model_fields) from None


def _names(sites: Any) -> Any:
    """One Site or several, by object or by name, as names."""
    if sites is None:
        return None
    several = [sites] if isinstance(sites, str | Site) else sites
    return tuple(site.name if isinstance(site, Site) else site for site in several)


_Sites = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_names)]


class LAT(_Settings):
    """Latent adversarial training: behave under edits of the residual stream (Jermyn 2022; Casper et al. 2024).

    sites: where, by the residual stream they write to; None takes the site of a report's best finding, else every
    layer that leaves at least two blocks after it, one drawn each step. eps: radius at each position as a share of
    the residual norm there; None takes 0.6, or, given a report, the size that was found to suffice, within 0.6..0.75
    (smaller, a switch can survive beyond the radius; larger, the adversary always wins). A report whose verdict is
    "none" tells nothing, and the defaults are taken.
    """

    sites: _Sites | None = None
    eps: float | None = Field(default=None, gt=0)
    inner_steps: int = Field(default=4, ge=1, description="steps of the adversary")

    def layers(self, agent: Agent, report: SwitchReport | None) -> tuple[int, ...]:
        """See Recipe."""
        if self.sites is not None:
            return _cuts(agent, self.sites)
        if (best := _told(report)) is not None:
            return _cuts(agent, [best.site])
        return tuple(range(1, max(1, agent.n_layers - 2) + 1))

    def attack(self, report: SwitchReport | None) -> Ascent:
        """See Recipe."""
        if self.eps is not None:
            return Ascent(self.eps, self.inner_steps)
        best = _told(report)
        found = 0.6 if best is None or isnan(best.rho) else best.rho
        return Ascent(min(max(found, 0.6), 0.75), self.inner_steps)


class EmbeddingAT(_Settings):
    """Adversarial training on the embeddings: the same adversary before the first block (a control arm)."""

    eps: float = Field(default=0.5, gt=0)
    inner_steps: int = Field(default=4, ge=1)

    def layers(self, agent: Agent, report: SwitchReport | None) -> tuple[int, ...]:
        """See Recipe."""
        return (0,)

    def attack(self, report: SwitchReport | None) -> Ascent:
        """See Recipe."""
        return Ascent(self.eps, self.inner_steps)


class LatentNoise(_Settings):
    """Random edits in place of adversarial ones, at the sites LAT would choose (a control arm)."""

    sites: _Sites | None = None
    rho: float = Field(default=1.0, gt=0)

    def layers(self, agent: Agent, report: SwitchReport | None) -> tuple[int, ...]:
        """See Recipe."""
        return LAT(sites=self.sites).layers(agent, report)

    def attack(self, report: SwitchReport | None) -> Noise:
        """See Recipe."""
        return Noise(self.rho)


class FineTune(_Settings):
    """No edits: more training on benign prompts (a control arm)."""

    def layers(self, agent: Agent, report: SwitchReport | None) -> tuple[int, ...]:
        """See Recipe."""
        return (0,)

    def attack(self, report: SwitchReport | None) -> None:
        """See Recipe."""
        return


def _told(report: SwitchReport | None) -> Finding | None:
    """The finding to train against, if a report has one that is worth it."""
    return report.best if report is not None and report.findings and report.verdict != "none" else None


def _cuts(agent: Agent, sites: Sequence[Site | str]) -> tuple[int, ...]:
    """The blocks that read what edits at these sites write. Raises BadSettings, or UnknownSite."""
    cuts = []
    for site in (agent.site(s) for s in sites):
        if agent.write(site) is None:
            raise BadSettings(
                f"expected sites that write to the residual stream, got {site}. "
                "Take resid_post, mlp_out, attn_out, mlp.post or attn.z of a layer."
            )
        stream = agent.residual_site(site)
        cuts.append((stream.layer or 0) + (stream.kind == "hook_resid_post"))
    return tuple(dict.fromkeys(cuts))
