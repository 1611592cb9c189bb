"""A View: the Agent at one or more sites with some prompts, ready to evaluate many edits there, each alone."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.edits import Edit
from workbench.engine.memory import Chunks, Meter, out_of_memory, spans
from workbench.engine.reruns import RERUNS, Deltas, EditLogits, Hooked, Question, Read, Rerun, Unsuited
from workbench.engine.tally import ran
from workbench.errors import BadSettings
from workbench.goals import STRETCH, Goal, ReadsFewLogits, grade
from workbench.prompts import Prompts
from workbench.sites import Site

Joint = dict[Site, Tensor]
Stack = Float[Tensor, "edit width"] | Float[Tensor, "edit pos width"] | Joint
"""Stacked edits: a delta for each, added at every edited position, or one for each position; by Site where several."""

_AnyStack = TypeVar("_AnyStack", Tensor, Joint)
_EXACT = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_PROBED = 8  # prompts on which two ways of running are compared
_STRETCHED = 4  # edits that are stretched at a time while the best is looked for
_GOAL_COPIES = 6  # tensors as large as its logits that a Goal may make


class View:
    """Logits and losses under stacked edits at one site, differentiable in the edits.

    site: one, or several whose edits apply jointly; stacks are then given by Site. positions: the only ones that edits
    touch; None: all. memory: bytes that a run may take beyond the model and its results; None: see Chunks.
    engine: "sequential" or "stripped" where only what comes after the edit runs, "hooks" where the model or the site is
    not suited to that, and wherever the two were found to differ. A given one is used or refused (BadSettings).
    """

    def __init__(
        self,
        agent: Agent,
        site: Site | str | Sequence[Site | str],
        prompts: Prompts,
        *,
        positions: Sequence[int] | None = None,
        engine: str | None = None,
        memory: int | None = None,
    ) -> None:
        agent.check(prompts)
        self.agent, self.prompts = agent, prompts
        self.sites = tuple(dict.fromkeys(agent.several_sites(site)))
        self.site, self.width = self.sites[0], agent.width(self.sites[0])
        self.positions = _checked(positions, self.site, prompts)
        self.answers = prompts.answers.to(agent.device)
        self._chunks = Chunks(agent.device, memory)
        self._bytes, self._graph_bytes = 0, 0
        tokens = prompts.tokens.to(agent.device)
        self.clean_logits, batch = self._unedited(tokens)
        self._question = Question(agent, self.sites, prompts, self.positions, tokens, self.clean_logits, batch)
        self._rerun = self._best(engine)

    @property
    def engine(self) -> str:
        """Which way edits are evaluated."""
        return self._rerun.name

    @property
    def memory(self) -> int | None:
        """The bytes that a run may take, as given."""
        return self._chunks.limit

    def on_first(self, count: int) -> "View":
        """The same on the first `count` prompts, without running anything again; itself where there are no more."""
        if count >= len(self.prompts):
            return self
        first, some = copy(self), slice(count)
        first.prompts, first.answers = self.prompts[some], self.answers[some]
        first.clean_logits = self.clean_logits[some]
        first._question = replace(
            self._question, prompts=first.prompts, tokens=self._question.tokens[some], clean=first.clean_logits
        )
        first._rerun = next(kind for kind in RERUNS if kind.name == self.engine)(first._question)
        return first

    def at(self, *sites: Site | str, positions: Sequence[int] | None = None) -> "View":
        """The same Agent and prompts, edited elsewhere; what it says unedited is not run again."""
        other = copy(self)
        other.sites = tuple(dict.fromkeys(self.agent.several_sites(sites)))
        other.site, other.width = other.sites[0], self.agent.width(other.sites[0])
        other.positions = _checked(positions, other.site, self.prompts)
        other._question = replace(self._question, sites=other.sites, positions=other.positions)
        other._rerun = other._best(None)
        return other

    def each_batch(self, run: Callable[[Tensor], Tensor]) -> Tensor:
        """`run` of the tokens of all prompts, as many at a time as memory allows unedited; on the Agent's device."""
        return self._question.each_batch(run)

    def logits(self, deltas: Stack) -> EditLogits:
        """Logits at the answers under each delta alone: [edit, prompt, answer, vocab]."""
        parts = self._parts(deltas)
        return self._whole(parts, None) if _wants_graph(parts) else self._over(parts, lambda logits: logits)

    def losses(self, deltas: Stack, goal: Goal) -> Float[Tensor, "edit"]:
        """The Goal's loss under each delta alone; differentiable."""
        parts, read = self._parts(deltas), self._read(goal)
        if _wants_graph(parts):
            return self._loss(self._whole(parts, read), goal)
        return self._over(parts, lambda logits: self._loss(logits, goal), read)

    def gradients(self, deltas: _AnyStack, goal: Goal) -> tuple[Float[Tensor, "edit"], _AnyStack]:
        """The Goal's loss under each delta alone, and its gradient in the delta, shaped like the deltas; in chunks."""
        parts, read = self._parts(deltas), self._read(goal)
        losses, slopes = self._chunks.halving(lambda: self._slopes(parts, goal, read))
        if isinstance(deltas, Tensor):
            return losses, slopes[0].reshape(deltas.shape)
        return losses, {s: slope.reshape(deltas[s].shape) for s, slope in zip(self.sites, slopes, strict=True)}

    def scores(self, deltas: Stack, goal: Goal, *, stretch: bool = True) -> Float[Tensor, "edit"]:
        """The Goal's score of each delta alone, in chunks; not differentiable.

        stretch: whether edits `STRETCH` as large are run too; if not, they are taken to do the same, for half the cost.
        """

        def graded(*doses: EditLogits) -> Tensor:
            return grade(goal, doses[0], doses[-1], self.clean_logits, self.answers)

        return self._over(self._parts(deltas), graded, doses=(1.0, STRETCH) if stretch else (1.0,))

    def best_score(self, deltas: Stack, goal: Goal) -> float:
        """The largest of `scores` from fewer runs: only what could still have it is stretched (branch and bound)."""
        parts = self._parts(deltas)
        bounds = self.scores(deltas, goal, stretch=False)
        best = 0.0
        for some in bounds.argsort(descending=True).split(_STRETCHED):
            if bounds[some[0]] <= best:
                break
            chosen = dict(zip(self.sites, (part[some] for part in parts), strict=True))
            best = max(best, float(self.scores(chosen, goal).max()))
        return best

    def stack(self, proposals: Sequence[Sequence[Edit]]) -> Joint:
        """Proposals of one or several Edits at this View's sites, as a stack; only where no positions are chosen."""
        assert self.positions is None
        length, widths = self.prompts.length, {site: self.agent.width(site) for site in self.sites}
        kind = self.clean_logits.dtype
        parts = {s: torch.zeros(len(proposals), length, w, dtype=kind) for s, w in widths.items()}
        for row, edits in enumerate(proposals):
            for edit in edits:
                parts[self.agent.site(edit.site)][row] += edit.at(length).to("cpu", kind)
        return parts

    def edits(self, deltas: Float[Tensor, "edit width"] | Float[Tensor, "edit pos width"]) -> Iterator[Edit]:
        """The stacked deltas as Edits at this site."""
        return (Edit(self.site, delta.cpu(), self.positions) for delta in deltas)

    # --- stacks in chunks -------------------------------------------------------------------------------

    def _parts(self, deltas: Stack) -> tuple[Deltas, ...]:
        """A tensor [edit, pos or 1, width] for each site, on the Agent's device and in its dtype."""
        given = [deltas] if isinstance(deltas, Tensor) else [deltas[site] for site in self.sites]
        return tuple((d if d.ndim == 3 else d[:, None]).to(self.clean_logits) for d in given)

    def _read(self, goal: Goal) -> Read | None:
        return goal.tokens(self.answers) if isinstance(goal, ReadsFewLogits) else None

    def _loss(self, logits: EditLogits, goal: Goal) -> Float[Tensor, "edit"]:
        if isinstance(goal, ReadsFewLogits):
            return goal.loss_of(logits)
        return goal.loss(logits, self.clean_logits, self.answers)

    def _whole(self, parts: Sequence[Deltas], read: Read | None) -> EditLogits:
        return ran(self._rerun(parts, slice(None), read))

    @torch.no_grad()
    def _over(
        self,
        parts: Sequence[Deltas],
        answer: Callable[..., Tensor],
        read: Read | None = None,
        doses: tuple[float, ...] = (1.0,),
    ) -> Tensor:
        """`answer` of the logits at these doses, for a chunk of edits at a time."""

        def run() -> Tensor:
            rows = self._chunks.rows(self._bytes * len(doses), self._length, held=self._held)
            step = max(1, rows // len(self.prompts))
            chunks = ([part[span] for part in parts] for span in spans(len(parts[0]), step))
            return torch.cat([answer(*(self._rows([d * x for d in c], rows, read) for x in doses)) for c in chunks])

        return self._chunks.halving(run)

    def _rows(self, parts: Sequence[Deltas], rows: int, read: Read | None) -> EditLogits:
        """Logits of some edits, so many rows at a time if not even one edit fits with all its prompts."""
        if rows >= len(self.prompts):
            return self._whole(parts, read)
        some = spans(len(self.prompts), rows)
        return torch.cat([ran(self._rerun(parts, s, None if read is None else read[s])) for s in some], 1)

    def _slopes(
        self, parts: Sequence[Deltas], goal: Goal, read: Read | None
    ) -> tuple[Float[Tensor, "edit"], tuple[Tensor, ...]]:
        step = max(
            1, self._chunks.rows(self._graph_bytes, self._length, held=self._held, graph=True) // len(self.prompts)
        )
        losses, slopes = [], []
        for span in spans(len(parts[0]), step):
            chunk = [part[span].detach().requires_grad_(True) for part in parts]
            with torch.enable_grad():
                loss = self._loss(self._whole(chunk, read), goal)
                slopes.append(torch.autograd.grad(loss.sum(), chunk))
            losses.append(loss.detach())
        return torch.cat(losses), tuple(torch.cat(each) for each in zip(*slopes, strict=True))

    # --- what to run, and how much at once --------------------------------------------------------------

    @property
    def _length(self) -> int:
        """Token positions that a row runs."""
        start = min(self.positions) if self.positions and self.engine == "sequential" else 0
        return max(1, max(self.prompts.answer_positions) + 1 - start)

    @property
    def _held(self) -> int:
        """Bytes that this View keeps."""
        return self._rerun.held + self.clean_logits.nbytes

    @torch.no_grad()
    def _unedited(self, tokens: Tensor) -> tuple[Float[Tensor, "prompt answer vocab"], int]:
        """Logits through the bridge itself, and how many prompts at a time memory allowed for."""
        with Meter() as meter:
            first = self.agent.logits(self.prompts[:1])
        batch = self._chunks.rows(2 * meter.peak, self.prompts.length)  # half is left for what is kept
        rest = spans(len(tokens) - 1, batch)
        return torch.cat([first, *(self.agent.logits(self.prompts[1:][s]) for s in rest)]), batch

    @torch.no_grad()
    def _best(self, wanted: str | None) -> Rerun:
        """The fastest way that gives what hooks give, or the wanted one."""
        reference = Hooked(self._question)
        expected = self._probed(reference)
        for kind in RERUNS:
            if wanted not in (None, kind.name):
                continue
            if kind is Hooked:
                self._measured(reference)
                return reference
            try:
                found = kind(self._question)
                if same(self._measured(found), expected):
                    return found
            except (Unsuited, RuntimeError, TypeError, AttributeError, ValueError) as error:
                if out_of_memory(error):
                    raise
        known = [kind.name for kind in RERUNS]
        raise BadSettings(
            f"expected an engine among {known} that is exact at {self.site} of {self.agent.name}, got {wanted!r}. "
            "Leave it out for the best."
        )

    def _probed(self, rerun: Rerun) -> EditLogits:
        """Logits of one large edit on some of the prompts, run in that way."""
        probe = [torch.linspace(-1, 1, self.agent.width(s)).to(self.clean_logits)[None, None] for s in self.sites]
        return rerun(probe, slice(0, min(_PROBED, len(self.prompts))), None)

    def _measured(self, rerun: Rerun) -> EditLogits:
        """The same; what a row takes is noted."""
        with Meter() as meter:
            found = self._probed(rerun)
        rows = found.shape[1]
        goal = _GOAL_COPIES * found[0, 0].nbytes
        self._bytes, self._graph_bytes = meter.peak // rows + goal, 2 * (meter.total // rows + goal)
        return found


def _wants_graph(parts: Sequence[Deltas]) -> bool:
    return torch.is_grad_enabled() and any(part.requires_grad for part in parts)


def same(found: Tensor, expected: Tensor) -> bool:
    """Equal up to rounding in their dtype, relative to the largest logit."""
    return bool((found - expected).abs().max() <= _EXACT[expected.dtype] * (1 + expected.abs().max()))


def _checked(positions: Sequence[int] | None, site: Site, prompts: Prompts) -> tuple[int, ...] | None:
    """The positions, if the prompts have them; BadEdit otherwise."""
    if positions is None:
        return None
    edit = Edit(site, torch.zeros(1), tuple(positions))
    edit.at(prompts.length)
    return edit.positions
