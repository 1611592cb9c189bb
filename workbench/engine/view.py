"""A View: the Agent at one site with some prompts, ready to evaluate many edits there, each alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.edits import Edit
from workbench.engine.split import Split
from workbench.goals import STRETCH, Goal, grade
from workbench.prompts import Prompts
from workbench.sites import Site

Deltas = Float[Tensor, "edit width"] | Float[Tensor, "edit pos width"]
EditLogits = Float[Tensor, "edit prompt answer vocab"]

_ROWS = 3072  # rows a chunk on a CPU; larger ones fall out of the cache
_EXACT = 1e-4
_AFTER_BLOCK = ("hook_resid_post", "hook_mlp_out", "mlp.hook_post")
_BEFORE_BLOCK = ("hook_resid_pre",)


@dataclass(frozen=True, slots=True, eq=False)
class _Suffix:
    """The model after the site, the clean residual stream there, and what an edit writes (None: itself)."""

    split: Split
    base: Float[Tensor, "prompt pos d_model"]
    write: Float[Tensor, "width d_model"] | None


class View:
    """Logits and losses under stacked edits at one site, differentiable in the edits.

    engine: "sequential" or "stripped" where an edit there adds linearly to the residual stream between two blocks, so
    that only the blocks after it run; "hooks" elsewhere, and wherever the two were found to differ.
    """

    def __init__(self, agent: Agent, site: Site | str, prompts: Prompts) -> None:
        agent.check(prompts)
        self.agent = agent
        self.site = agent.site(site)
        self.prompts = prompts
        self.width = agent.width(self.site)
        self.answers = prompts.answers.to(agent.device)
        self.clean_logits = agent.logits(prompts)
        self._tokens = prompts.tokens.to(agent.device)
        self._suffix: _Suffix | None = None
        self._suffix = self._open_suffix()

    @property
    def engine(self) -> str:
        """Which way edits are evaluated."""
        return "hooks" if self._suffix is None else self._suffix.split.engine

    def logits(self, deltas: Deltas) -> EditLogits:
        """Logits at the answers under each delta alone, added at every position ([edit, width]) or as given."""
        full = deltas if deltas.ndim == 3 else deltas[:, None]
        full = full.to(self.clean_logits)
        if torch.is_grad_enabled() and deltas.requires_grad:
            return self._run(full)
        with torch.no_grad():
            return torch.cat([self._run(chunk) for chunk in full.split(self._chunk)])

    def losses(self, deltas: Deltas, goal: Goal) -> Float[Tensor, "edit"]:
        """The Goal's loss under each delta alone; differentiable."""
        if torch.is_grad_enabled() and deltas.requires_grad:
            return goal.loss(self.logits(deltas), self.clean_logits, self.answers)
        chunks = deltas.split(self._chunk)
        return torch.cat([goal.loss(self.logits(c), self.clean_logits, self.answers) for c in chunks])

    def scores(self, deltas: Deltas, goal: Goal) -> Float[Tensor, "edit"]:
        """The Goal's score of each delta alone, in chunks; not differentiable."""
        return torch.cat([self._scores(chunk, goal) for chunk in deltas.split(self._chunk)])

    def edits(self, deltas: Deltas) -> Iterator[Edit]:
        """The stacked deltas as Edits at this site."""
        return (Edit(self.site, delta.cpu()) for delta in deltas)

    @property
    def _chunk(self) -> int:
        return max(1, _ROWS // len(self.prompts))

    @torch.no_grad()
    def _scores(self, deltas: Deltas, goal: Goal) -> Float[Tensor, "edit"]:
        both = self.logits(torch.cat([deltas, deltas * STRETCH]))
        return grade(goal, both[: len(deltas)], both[len(deltas) :], self.clean_logits, self.answers)

    def _run(self, full: Float[Tensor, "edit pos width"]) -> EditLogits:
        logits = self._run_hooks(full) if self._suffix is None else self._run_suffix(self._suffix, full)
        return logits.unflatten(0, (len(full), len(self.prompts)))

    def _run_suffix(
        self, suffix: "_Suffix", full: Float[Tensor, "edit pos width"]
    ) -> Float[Tensor, "row answer vocab"]:
        written = full if suffix.write is None else full @ suffix.write
        return suffix.split.suffix((suffix.base[None] + written[:, None]).flatten(0, 1))

    def _run_hooks(self, full: Float[Tensor, "edit pos width"]) -> Float[Tensor, "row answer vocab"]:
        count, length = len(self.prompts), self.prompts.length
        rows = full.expand(-1, length, -1).repeat_interleave(count, 0)

        def add(activations: Tensor, hook: Any) -> Tensor:
            return activations + rows.reshape(activations.shape)

        with self.agent.hooked([(self.site.name, add)]):
            logits = self.agent.bridge(self._tokens.repeat(len(full), 1))
        return logits[:, list(self.prompts.answer_positions)]

    def _open_suffix(self) -> "_Suffix | None":
        """The model after this site, if it is exact there; otherwise None, and hooks are used."""
        layer, write = self._resume_at(), self.agent.write(self.site)
        if layer is None or write is None:
            return None
        base = self.agent.activations(self.prompts, self.agent.residual_site(self.site))
        identity = self.site.kind in _AFTER_BLOCK[:2] + _BEFORE_BLOCK or self.site.layer is None
        found = _Suffix(Split(self.agent, layer, self.prompts.answer_positions), base, None if identity else write)
        return found if self._agrees(found) else None

    def _resume_at(self) -> int | None:
        if self.site.layer is None or self.site.kind in _BEFORE_BLOCK:
            return self.site.layer or 0
        return self.site.layer + 1 if self.site.kind in _AFTER_BLOCK else None

    @torch.no_grad()
    def _agrees(self, suffix: "_Suffix") -> bool:
        """Whether the suffix gives what hooks give, on one large edit of all the prompts."""
        probe = torch.linspace(-1, 1, self.width).to(self.clean_logits)[None, None]
        try:
            expected, found = self._run_hooks(probe), self._run_suffix(suffix, probe)
            return bool((found - expected).abs().max() <= _EXACT * (1 + expected.abs().max()))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, AttributeError):
            return False
