"""Ways of evaluating many edits at one site, as people do it and as the engine does, behind one signature."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.patching import generic_activation_patch

from workbench.agent import Agent
from workbench.engine import View
from workbench.goals import Goal
from workbench.prompts import Prompts
from workbench.sites import Site

Deltas = Float[Tensor, "edit width"]
Losses = Float[Tensor, "edit"]
Evaluate = Callable[[Deltas], Losses]

_STACKED_ROWS = 512  # rows a call: of 128 to 4096 the fastest at the tiny and the small shape


@dataclass(frozen=True, slots=True)
class Work:
    """What each way is to do: the loss of every edit alone, at these positions of a site (None: at all)."""

    agent: Agent
    prompts: Prompts
    site: Site
    goal: Goal
    positions: tuple[int, ...] | None = None

    @property
    def tokens(self) -> Tensor:
        """Int64 [prompt, pos], where the Agent is."""
        return self.prompts.tokens.to(self.agent.device)

    def loss(self, logits: Float[Tensor, "prompt pos vocab"]) -> Float[Tensor, ""]:
        """The Goal's loss of one run. The Goals timed here do not ask for the clean logits."""
        return self.losses(logits[None])[0]

    def losses(self, logits: Float[Tensor, "edit prompt pos vocab"]) -> Losses:
        """The Goal's loss of each of several runs."""
        read = logits[:, :, list(self.prompts.answer_positions)]
        return self.goal.loss(read, read[0], self.prompts.answers.to(self.agent.device))

    def add(self, activations: Float[Tensor, "*rows pos width"], delta: Tensor) -> Tensor:
        """The activations with a delta [width] or [row, 1, width] added where the edit is."""
        if self.positions is None:
            return activations + delta
        edited = activations.clone()
        edited[:, list(self.positions)] += delta
        return edited


@torch.no_grad()
def each(run: Callable[[Tensor], Tensor], deltas: Deltas) -> Losses:
    """What a loop makes of `run`, which gives the loss of one edit."""
    return torch.stack([run(delta) for delta in deltas])


def naive(work: Work) -> Evaluate:
    """`run_with_hooks` once for every edit: what users of TransformerLens write, and what everything is compared to."""
    tokens = work.tokens

    def run(delta: Tensor) -> Tensor:
        hook = (work.site.name, lambda x, hook: work.add(x, delta))
        return work.loss(work.agent.bridge.run_with_hooks(tokens, fwd_hooks=[hook]))

    return partial(each, run)


def stacked(work: Work) -> Evaluate:
    """The same with several edits in one batch, which one hook tells apart."""
    tokens, count = work.tokens, len(work.prompts)

    def run(chunk: Deltas) -> Losses:
        rows = chunk.repeat_interleave(count, 0)[:, None]
        hook = (work.site.name, lambda x, hook: work.add(x, rows))
        logits = work.agent.bridge.run_with_hooks(tokens.repeat(len(chunk), 1), fwd_hooks=[hook])
        return work.losses(logits.unflatten(0, (len(chunk), count)))

    @torch.no_grad()
    def evaluate(deltas: Deltas) -> Losses:
        return torch.cat([run(chunk) for chunk in deltas.split(max(1, _STACKED_ROWS // count))])

    return evaluate


def patching(work: Work) -> Evaluate:
    """TransformerLens' own helper for many interventions, `generic_activation_patch`.

    The edits stand where its `clean_cache` is looked up, and its patch setter adds the one of that number.
    """

    def setter(activations: Any, index: Any, deltas: Any) -> Any:
        return work.add(activations, deltas[int(index[1])])

    @torch.no_grad()
    def evaluate(deltas: Deltas) -> Losses:
        jobs = pd.DataFrame({"layer": work.site.layer, "edit": range(len(deltas))})
        cache: Any = {work.site.name: deltas}
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            return generic_activation_patch(
                work.agent.bridge, work.tokens, cache, work.loss, setter, "post", index_df=jobs
            )

    return evaluate


def engine(work: Work, tier: str | None = None) -> Evaluate:
    """A View. tier: "sequential", "stripped" or "hooks"; None is the best that is exact."""
    view = View(work.agent, work.site, work.prompts, positions=work.positions, engine=tier)

    @torch.no_grad()
    def evaluate(deltas: Deltas) -> Losses:
        return view.losses(deltas, work.goal)

    return evaluate
