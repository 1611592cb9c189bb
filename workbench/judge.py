"""The judge: every proposal evaluated on prompts that its Surgeon did not see, beside random edits of its own size."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import Bound, rho_of
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.geometry import rescale
from workbench.goals import STRETCH, Goal, HiddenBehaviour, grade
from workbench.portrait import Example, Portrait
from workbench.prompts import Prompts
from workbench.report import Finding
from workbench.sites import Site

CONTROLS = 32
"""Random directions of equal size judged beside every proposal."""
DOSES = (0.25, 0.5, 0.75, 1.0, STRETCH, 1.5, 2.0)
"""Multiples of an edit at which its behaviour is shown."""
_EXAMPLES = 6

Said = Int64[Tensor, "prompt answer"]


class Views:
    """Views of one Agent on the same prompts, each made when it is first wanted. norms: see `rho_of`."""

    def __init__(self, agent: Agent, prompts: Prompts) -> None:
        self.agent, self.prompts = agent, prompts
        self.norms: dict[Site, float] = {}
        self._made: dict[tuple[Site, ...], View] = {}

    def at(self, *sites: Site | str) -> View:
        """The View at these sites together."""
        key = tuple(dict.fromkeys(self.agent.several_sites(sites)))
        if key not in self._made:
            known = next(iter(self._made.values()), None)
            self._made[key] = View(self.agent, key, self.prompts) if known is None else known.at(*key)
        return self._made[key]


class Judge:
    """Grades the proposals of one Surgeon at one site. prompts: all that were given; views: of the unseen ones."""

    def __init__(
        self, surgeon: str, budget: Bound, prompts: Prompts, views: Views, goal: Goal, generator: torch.Generator
    ) -> None:
        self.surgeon, self.budget, self.prompts, self.views = surgeon, budget, prompts, views
        self.goal, self.generator = goal, generator

    def __call__(self, proposal: tuple[Edit, ...], site: Site) -> Finding:
        """The finding on a proposal of the search at `site`. Raises BadSettings for an empty one."""
        if not proposal:
            raise BadSettings(f"expected one or more Edits from {self.surgeon}, got an empty proposal.")
        agent, edits = self.views.agent, self.budget.project(proposal)
        view = self.views.at(*(edit.site for edit in edits))
        logits = view.logits(view.stack([[edit.scaled(dose) for edit in edits] for dose in DOSES]))
        once, stretched, twice = (logits[DOSES.index(dose)][None] for dose in (1.0, STRETCH, 2.0))
        return Finding(
            edits=edits,
            score=float(grade(self.goal, once, stretched, view.clean_logits, view.answers)[0]),
            rho=rho_of(agent, edits, self.prompts, self.views.norms),
            goal_met=bool(self.goal.met(once, view.clean_logits, view.answers)[0]),
            control=self._control(edits, self.views.at(site)),
            surgeon=self.surgeon,
            agent=agent.name,
            engine=view.engine,
            parts=self._parts(view, once, stretched, twice),
            portrait=_portrait(self.views, view, edits, logits),
        )

    def _parts(self, view: View, once: Tensor, stretched: Tensor, twice: Tensor) -> dict[str, float]:
        if not isinstance(self.goal, HiddenBehaviour):
            return {}
        parts = self.goal.parts(once, stretched, view.clean_logits, view.answers)
        wide = self.goal.parts(once, twice, view.clean_logits, view.answers)
        return {name: float(value[0]) for name, value in parts._asdict().items()} | {
            "plateau_2x": float(wide.plateau[0])
        }

    def _control(self, edits: tuple[Edit, ...], view: View) -> float:
        """The best score among random edits of the proposal's size and positions, at its first place.

        Directions only: other neurons are no control, since they may be members of the same distributed switch.
        """
        first, length = edits[0], view.prompts.length
        allowed = self.budget.at(view.site, first.positions)
        rows = rescale(allowed, allowed.scatter(CONTROLS, self.generator), self.budget.size(edits))
        where = torch.zeros(length, 1)
        where[list(range(length) if first.positions is None else first.positions)] = 1.0
        return view.best_score(rows[:, None] * where, self.goal)


def _portrait(
    views: Views, view: View, edits: tuple[Edit, ...], logits: Float[Tensor, "dose prompt answer vocab"]
) -> Portrait:
    """What some edits elicit, from the logits at `DOSES`."""
    said, clean = logits.argmax(-1), view.clean_logits.argmax(-1)
    elicited = said[DOSES.index(1.0)]
    written = _written(views.agent, edits, view.prompts.length)
    return Portrait(
        examples=_examples(view, clean, elicited),
        doses=DOSES,
        flipped=tuple((each != clean).float().mean().item() for each in said),
        same=tuple(_same(each, elicited, clean != elicited) for each in said),
        reach={} if written is None else _reach(views, edits[0].site, written, elicited, clean != elicited),
        nearness=float("nan") if written is None else _nearness(views, edits[0], written),
    )


def _examples(view: View, clean: Said, elicited: Said) -> tuple[Example, ...]:
    """The first prompts, in words."""
    decode, shown = view.agent.decode, slice(_EXAMPLES)
    columns = (view.prompts.tokens[shown], view.prompts.answers[shown], clean[shown].cpu(), elicited[shown].cpu())
    return tuple(Example(*map(tuple, row)) for row in zip(*map(decode, columns), strict=True))


def _same(said: Said, elicited: Said, changed: Bool[Tensor, "prompt answer"]) -> float:
    """Among the answers that the edit changed, the share that is said again; 0 if it changed none."""
    return float(((said == elicited) & changed).sum() / changed.sum().clamp_min(1))


def _written(agent: Agent, edits: Sequence[Edit], length: int) -> Float[Tensor, "pos d_model"] | None:
    """What the only edit writes into the residual stream at each position; None where that is not defined."""
    write = agent.write(edits[0].site) if len(edits) == 1 else None
    return None if write is None else edits[0].at(length).to(write) @ write


def _reach(
    views: Views,
    site: Site,
    written: Float[Tensor, "pos d_model"],
    elicited: Said,
    changed: Bool[Tensor, "prompt answer"],
) -> dict[str, float]:
    """The share of the changed answers that are elicited by the same write after each layer from the site's own on."""
    first = views.agent.site(site).layer or 0
    places = [views.agent.site(f"blocks.{layer}.hook_resid_post") for layer in range(first, views.agent.n_layers)]
    view, alone = views.at(*places), torch.eye(len(places), device=written.device)
    stack = {place: alone[:, i, None, None] * written for i, place in enumerate(view.sites)}
    found = view.logits(stack).argmax(-1)
    return {place.short: _same(said, elicited, changed) for place, said in zip(view.sites, found, strict=True)}


def _nearness(views: Views, edit: Edit, written: Float[Tensor, "pos d_model"]) -> float:
    """Distance from the nearest real stream over the usual one between real ones; see Portrait."""
    stream = views.agent.activations(views.prompts, views.agent.residual_site(edit.site)).transpose(0, 1)
    at = slice(None) if edit.positions is None else list(edit.positions)
    stream, moved = stream[at], (stream + written[:, None])[at]
    alone = torch.eye(stream.shape[1], dtype=torch.bool, device=stream.device)
    apart = torch.cdist(stream, stream).masked_fill(alone, float("inf")).amin(-1).median(-1).values
    near = torch.cdist(moved, stream).amin((-1, -2))
    kept = (apart > 1e-6 * written.norm(dim=-1).amax()) & apart.isfinite()
    return float((near[kept] / apart[kept]).mean())
