"""Recipes: frozen settings of the one retraining loop. Latent adversarial training and its controls."""

from collections.abc import Sequence
from math import isnan
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError

from workbench.agent import Agent
from workbench.budgets import Budget
from workbench.errors import BadSettings, refused, unknown
from workbench.goals import Goal, UntargetedLoss
from workbench.report import Finding, SwitchReport
from workbench.retrain.adversaries import Adversary, Ascent, Hired, Noise
from workbench.retrain.adversaries.ascent import Norm
from workbench.retrain.latent import Latent, Teaching
from workbench.retrain.protocol import Subject
from workbench.retrain.schedules import SCHEDULES, Schedule, Steady
from workbench.sites import Site
from workbench.surgeons import Surgeon
from workbench.surgeons.attack import Attacker
from workbench.surgeons.steps import StepRule


class Settings(BaseModel):
    """What every recipe sets: AdamW at `lr`, `steps` steps on `batch` prompts, the weight of the unedited loss.

    lr: for models of the size of the toys; pretrained ones are usually trained on at 1e-5 to 1e-4.
    warmup: without it AdamW's first steps are of full size however small the gradient is, and change what nothing in
    the loss asks for.
    clip: the norm to which larger gradients are shortened. Without it one step of the default LAT can throw a model
    with huge activations so far that it never comes back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=200, ge=1, description="outer steps")
    lr: float = Field(default=6e-3, gt=0, description="learning rate of AdamW")
    batch: int = Field(default=64, ge=1, description="prompts a step")
    warmup: int = Field(default=30, ge=0, description="steps in which the learning rate rises to lr")
    clip: float = Field(default=1.0, gt=0, description="norm to which larger gradients are shortened")
    clean_weight: float = Field(default=1.0, ge=0, description="weight of the loss on unedited prompts")

    def __init__(self, **given: Any) -> None:
        """The settings. Raises UnknownName for a name there is not, BadSettings for a value out of range."""
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise refused(error, type(self).__name__, type(self).model_fields) from None

    @property
    def pace(self) -> Schedule:
        """How strong the adversary is from step to step."""
        return Steady()


def _names(sites: Any) -> Any:
    """One Site or several, by object or by name, as names."""
    if sites is None:
        return None
    several = [sites] if isinstance(sites, str | Site) else sites
    return tuple(site.name if isinstance(site, Site) else site for site in several)


def _schedule(given: Any) -> Any:
    """A schedule as it is, or its name if there is one of that name."""
    if isinstance(given, str) and given not in SCHEDULES:
        raise unknown("schedule", given, SCHEDULES, "Choose one of them, or give one such as Loosen(start=0.1).")
    return given


Sites = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_names)]


class LAT(Settings):
    """Latent adversarial training: behave under edits of the residual stream (Jermyn 2022; Casper et al. 2024).

    sites: where, by the residual stream they write to; None takes the site of a report's best finding, else every
    layer that leaves at least two blocks after it. One is drawn each step, or all are edited at once (`together`).
    eps: radius at each position as a share of the residual norm there; None takes 0.6, or, given a report, the size
    that was found to suffice, within 0.6..0.75 (smaller, a switch can survive beyond the radius; larger, the adversary
    always wins). A report whose verdict is "none" tells nothing, and the defaults are taken.

    The adversary: `inner_steps` of a step rule in balls around each position, or the whole sequence (`norm`), or one
    vector for all prompts and positions (`universal`). It raises the cross-entropy of the benign answers, or the loss
    of a `goal`. Or any Surgeon or attacker (`surgeon`) within a `budget`, hired for every batch.
    The Agent: cross-entropy on edited prompts, and away from what the goal wants (`away`, a weight); on unedited ones
    the benign answers, or with `clean="original"` what the model said before training (KL). `updates`: how often it
    learns from one attack; `begin`: the first step with an attack. schedule: how strong the adversary is, step by step
    (`workbench.retrain.schedules`); by default it gets the whole radius only of an Agent that bears it.
    """

    sites: Sites | None = None
    together: bool = Field(default=False, description="edit all sites at once")
    eps: float | None = Field(default=None, gt=0)
    inner_steps: int = Field(default=4, ge=1, description="steps of the adversary")
    norm: Norm = "position"
    rule: StepRule = "normalised"
    step_size: float | None = Field(default=None, gt=0, description="of the radius; 2 / inner_steps by default")
    universal: bool = False
    goal: InstanceOf[Goal] | None = None
    away: float = Field(default=0.0, ge=0)
    clean: Literal["answers", "original"] = "answers"
    updates: int = Field(default=1, ge=1, description="of the Agent for each attack")
    begin: int = Field(default=1, ge=1, description="first step with an attack")
    surgeon: InstanceOf[Surgeon] | InstanceOf[Attacker] | None = None
    budget: InstanceOf[Budget] | None = None
    schedule: Annotated[InstanceOf[Schedule] | str, BeforeValidator(_schedule)] = "loosen"

    def model_post_init(self, context: Any) -> None:
        """Raise BadSettings where settings contradict each other."""
        if self.away and not hasattr(self.goal, "behaviour"):
            raise BadSettings(
                f"expected a goal that says which answer is wanted, such as Target.token(7), to go away from, "
                f"got goal={self.goal!r} with away={self.away}."
            )
        if (self.surgeon is None) != (self.budget is None):
            raise BadSettings("expected a surgeon together with the budget that it has, or neither of them.")

    @classmethod
    def casper2024(cls, **given: Any) -> "LAT":
        """As Casper et al. 2024, "Defending against unforeseen failure modes with latent adversarial training".

        One layer, an L2 ball over the whole sequence, six steps from a random start, no loss on unedited prompts. Their
        eps are absolute and belong to their models; here a share of the sequence's norm.
        """
        usual = {"norm": "sequence", "inner_steps": 6, "step_size": 1 / 6, "clean_weight": 0.0, "schedule": "steady"}
        return cls(**usual | given)

    @classmethod
    def sheshadri2024(cls, **given: Any) -> "LAT":
        """As Sheshadri et al. 2024, "Latent adversarial training improves robustness to persistent harmful behaviors".

        Several layers at once, an L2 ball around each token, 16 AdamW steps, four updates of the Agent for each attack,
        KL to the original model on unedited prompts. Give a `goal` and `away` for the targeted form. step_size: their
        learning rate of .05 for each of 4,096 coordinates, in radii of 6.
        """
        usual = {
            "together": True,
            "inner_steps": 16,
            "rule": "adamw",
            "step_size": 0.5,
            "updates": 4,
            "clean": "original",
            "schedule": "steady",
        }
        return cls(**usual | given)

    @property
    def pace(self) -> Schedule:
        """See Settings."""
        return SCHEDULES[self.schedule] if isinstance(self.schedule, str) else self.schedule

    def cuts(self, agent: Agent, report: SwitchReport | None) -> tuple[int, ...]:
        """Numbers of the blocks whose input is edited."""
        return tuple(self._sites(agent, report))

    def adversary(self, report: SwitchReport | None) -> Ascent:
        """What edits the examples, where no Surgeon is hired."""
        best = _told(report)
        found = 0.6 if best is None or isnan(best.rho) else best.rho
        return Ascent(
            eps=min(max(found, 0.6), 0.75) if self.eps is None else self.eps,
            steps=self.inner_steps,
            norm=self.norm,
            rule=self.rule,
            step_size=self.step_size,
            universal=self.universal,
        )

    def method(self, subject: Subject) -> Latent:
        """See Recipe."""
        sites = self._sites(subject.agent, subject.report)
        adversary: Adversary = self.adversary(subject.report)
        if self.surgeon is not None and self.budget is not None:
            goal = UntargetedLoss() if self.goal is None else self.goal
            for site in sites.values():
                self.budget.bind(subject.original, [site], subject.prompts)
            adversary = Hired(self.surgeon, self.budget, goal, sites, subject.prompts.answer_positions)
        teaching = Teaching(self.clean_weight, self.clean == "original", self.goal, self.away)
        how = {"together": self.together, "updates": self.updates, "begin": self.begin}
        return Latent(subject, tuple(sites), adversary, teaching, **how)

    def _sites(self, agent: Agent, report: SwitchReport | None) -> dict[int, Site]:
        """Where edits are made, by the number of the block that reads what they write."""
        if self.sites is not None:
            return cuts(agent, self.sites)
        if (best := _told(report)) is not None:
            return cuts(agent, [best.site])
        last = max(1, agent.n_layers - 2)
        return cuts(agent, [f"blocks.{layer}.hook_resid_post" for layer in range(last)])


class EmbeddingAT(Settings):
    """Adversarial training on the embeddings: the same adversary before the first block (a control arm)."""

    eps: float = Field(default=0.5, gt=0)
    inner_steps: int = Field(default=4, ge=1)

    def method(self, subject: Subject) -> Latent:
        """See Recipe."""
        return Latent(subject, (0,), Ascent(eps=self.eps, steps=self.inner_steps), Teaching(self.clean_weight))


class LatentNoise(Settings):
    """Random edits in place of adversarial ones, at the sites LAT would choose (a control arm)."""

    sites: Sites | None = None
    rho: float = Field(default=1.0, gt=0)

    def method(self, subject: Subject) -> Latent:
        """See Recipe."""
        where = LAT(sites=self.sites).cuts(subject.agent, subject.report)
        return Latent(subject, where, Noise(self.rho), Teaching(self.clean_weight))


class FineTune(Settings):
    """No edits: more training on benign prompts (a control arm)."""

    def method(self, subject: Subject) -> Latent:
        """See Recipe."""
        return Latent(subject, (0,), None)


def _told(report: SwitchReport | None) -> Finding | None:
    """The finding to train against, if a report has one that is worth it."""
    return report.best if report is not None and report.findings and report.verdict != "none" else None


def cuts(agent: Agent, sites: Sequence[Site | str]) -> dict[int, Site]:
    """The sites, by the number of the block that reads what edits there write. Raises BadSettings, or UnknownSite."""
    found: dict[int, Site] = {}
    for site in (agent.site(s) for s in sites):
        if agent.write(site) is None:
            raise BadSettings(
                f"expected sites that write to the residual stream, got {site}. "
                "Take resid_post, mlp_out, attn_out, mlp.post or attn.z of a layer."
            )
        stream = agent.residual_site(site)
        found.setdefault((stream.layer or 0) + (stream.kind == "hook_resid_post"), site)
    return found
