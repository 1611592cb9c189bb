"""One edit for each prompt: an Agent under as many edits as there are prompts, each on its own prompt only."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.engine.memory import Chunks, Meter, out_of_memory, spans
from workbench.engine.split import Split
from workbench.engine.stripped import Parts, Prefix
from workbench.engine.tally import ran
from workbench.engine.view import View, same
from workbench.goals import STRETCH, Goal, grade

Own = Float[Tensor, "start prompt place width"]
"""For each prompt, and each of several starts, a vector at every place."""
OwnLogits = Float[Tensor, "start prompt answer vocab"]
_Run = Callable[[Own, slice], OwnLogits]

_PROBED = 8  # prompts on which two ways of running are compared
_GOAL_COPIES = 6  # tensors as large as its logits that a Goal may make


class Each:
    """Logits, losses and gradients where every prompt of a View has an edit of its own, at the View's site.

    places: the positions that have a row in an edit: the View's, else all up to the last answer. Where what an edit
    writes into the residual stream is known, only the blocks after it run (see Split), and that way was compared with
    hooks on the bridge on one large edit; else all run with hooks. `engine` says which. A View's `memory` bounds runs,
    but for `gradients`, where a Goal sees all prompts at once: one start with all of them is the least it takes.
    """

    def __init__(self, view: View) -> None:
        assert len(view.sites) == 1
        self.view, self.site, self.agent, self.prompts = view, view.site, view.agent, view.prompts
        self.places = view.positions or tuple(range(max(view.prompts.answer_positions) + 1))
        self._chunks = Chunks(view.agent.device, view.memory)
        self._bytes, self._graph_bytes, self._held = 0, 0, view.clean_logits.nbytes
        self.engine, self._run = self._best()

    def whole(self, deltas: Float[Tensor, "*many place width"]) -> Float[Tensor, "*many pos width"]:
        """With rows for all positions: zeros where edits have none."""
        if self.places == tuple(range(self.prompts.length)):
            return deltas
        places = torch.tensor(self.places, device=deltas.device)
        full = deltas.new_zeros(*deltas.shape[:-2], self.prompts.length, deltas.shape[-1])
        return full.index_copy(-2, places, deltas)

    @torch.no_grad()
    def logits(self, deltas: Own) -> OwnLogits:
        """Logits at the answers."""
        return self._chunks.halving(lambda: self._logits(deltas))

    def scores(self, deltas: Own, goal: Goal) -> Float[Tensor, "start"]:
        """The Goal's score of all prompts together, under the edits and under edits `STRETCH` as large."""
        once, stretched = self.logits(deltas), self.logits(STRETCH * deltas)
        return grade(goal, once, stretched, self.view.clean_logits, self.view.answers)

    def losses(self, deltas: Own, goal: Goal) -> Float[Tensor, "start prompt"]:
        """The Goal's loss of each prompt alone."""
        return self._alone(goal, self.logits(deltas), slice(None))

    def met(self, logits: OwnLogits, goal: Goal) -> Bool[Tensor, "start prompt"]:
        """The Goal's verdict on each prompt alone, from the logits of all."""
        clean, answers = self.view.clean_logits, self.view.answers
        one = [slice(i, i + 1) for i in range(len(answers))]
        return torch.stack([goal.met(logits[:, i], clean[i], answers[i]) for i in one], 1)

    def gradients(self, deltas: Own, goal: Goal) -> tuple[Float[Tensor, "start"], Own]:
        """The Goal's loss of all prompts together, for each start, and its gradient; starts in chunks."""
        every = slice(0, len(self.prompts))

        def loss(logits: OwnLogits, rows: slice) -> Tensor:
            return goal.loss(logits, self.view.clean_logits, self.view.answers)

        def run() -> list[tuple[Tensor, Tensor]]:
            starts = spans(len(deltas), max(1, self._rows(graph=True) // len(self.prompts)))
            return [self._slopes(deltas[some], every, loss) for some in starts]

        losses, slopes = zip(*self._chunks.halving(run), strict=True)
        return torch.cat(losses), torch.cat(slopes)

    def gradients_alone(self, deltas: Own, goal: Goal) -> tuple[Float[Tensor, "start prompt"], Own]:
        """The Goal's loss of each prompt alone, and its gradient in that prompt's edit; both in chunks."""

        def loss(logits: OwnLogits, rows: slice) -> Tensor:
            return self._alone(goal, logits, rows)

        def run() -> tuple[Tensor, Tensor]:
            parts = self._grid(len(deltas), graph=True)
            found = [[self._slopes(deltas[some, rows], rows, loss) for some, rows in row] for row in parts]
            losses, slopes = (torch.cat([torch.cat([each[i] for each in row], 1) for row in found]) for i in (0, 1))
            return losses, slopes

        return self._chunks.halving(run)

    def _alone(self, goal: Goal, logits: OwnLogits, rows: slice) -> Float[Tensor, "start prompt"]:
        clean, answers = self.view.clean_logits[rows], self.view.answers[rows]
        one = [slice(i, i + 1) for i in range(len(answers))]
        return torch.stack([goal.loss(logits[:, i], clean[i], answers[i]) for i in one], 1)

    def _slopes(self, deltas: Own, rows: slice, loss: Callable[[OwnLogits, slice], Tensor]) -> tuple[Tensor, Tensor]:
        own = deltas.detach().to(self.view.clean_logits).requires_grad_(True)
        with torch.enable_grad():
            found = loss(ran(self._run(own, rows)), rows)
            (slope,) = torch.autograd.grad(found.sum(), own)
        return found.detach(), slope

    # --- how to run, and how much at once ---------------------------------------------------------------

    def _logits(self, deltas: Own) -> OwnLogits:
        sent, parts = deltas.to(self.view.clean_logits), self._grid(len(deltas), graph=False)
        return ran(
            torch.cat([torch.cat([self._run(sent[some, rows], rows) for some, rows in row], 1) for row in parts])
        )

    def _grid(self, starts: int, *, graph: bool) -> list[list[tuple[slice, slice]]]:
        """Some starts and some prompts, as many at a time as fit: a list for each of these starts."""
        rows = self._rows(graph=graph)
        several = min(starts, rows)
        parts = list(spans(len(self.prompts), max(1, rows // several)))
        return [[(some, own) for own in parts] for some in spans(starts, several)]

    def _rows(self, *, graph: bool) -> int:
        """How many rows, one of them an edit on its prompt, are run at once."""
        each = self._graph_bytes if graph else self._bytes
        return self._chunks.rows(each, self.prompts.length, held=self._held, graph=graph)

    @torch.no_grad()
    def _best(self) -> tuple[str, _Run]:
        """The fastest way that gives what hooks give."""
        expected = self._measured(self._hooked)
        if self.agent.write(self.site) is not None:
            try:
                engine, run = self._cut()
                if same(self._measured(run), expected):
                    return engine, run
            except (RuntimeError, TypeError, AttributeError, ValueError) as error:
                if out_of_memory(error):
                    raise
        self._measured(self._hooked)
        self._held = self.view.clean_logits.nbytes
        return "hooks", self._hooked

    def _measured(self, run: _Run) -> OwnLogits:
        """Logits under large edits of some prompts, no two alike, run in that way; what a row takes is noted."""
        rows = slice(0, min(_PROBED, len(self.prompts)))
        sizes = torch.linspace(-1, 1, rows.stop * len(self.places)).reshape(1, rows.stop, -1, 1)
        probe = (sizes * torch.linspace(-1, 1, self.view.width)).to(self.view.clean_logits)
        with Meter() as meter:
            found = run(probe, rows)
        goal = _GOAL_COPIES * found[0, 0].nbytes
        self._bytes, self._graph_bytes = meter.peak // rows.stop + goal, 2 * (meter.total // rows.stop + goal)
        return found

    def _hooked(self, deltas: Own, rows: slice) -> OwnLogits:
        """The whole bridge with a hook on it: the reference."""
        added = self.whole(deltas).flatten(0, 1)
        tokens = self.prompts.tokens[rows].to(self.agent.device).repeat(len(deltas), 1)

        def add(activations: Tensor, hook: Any) -> Tensor:
            return activations + added.unflatten(-1, activations.shape[2:])

        with self.agent.hooked([(self.site.name, add)]):
            logits = self.agent.bridge(tokens)
        return logits[:, list(self.prompts.answer_positions)].unflatten(0, (len(deltas), -1))

    def _cut(self) -> tuple[str, _Run]:
        """The blocks after the place where what an edit writes is in the residual stream."""
        after = self.agent.residual_site(self.site)
        layer = (after.layer or 0) + (after.kind == "hook_resid_post")
        split = Split(self.agent, layer, self.prompts.answer_positions)
        base = self.view.each_batch(Prefix(Parts(self.agent), layer))
        self._held += base.nbytes
        write = self.agent.write(self.site)
        identity = write is not None and torch.equal(write, torch.eye(*write.shape).to(write))

        def run(deltas: Own, rows: slice) -> OwnLogits:
            written = deltas if identity or write is None else deltas @ write
            stream = base[rows] + self.whole(written)
            return split.suffix(stream.flatten(0, 1)).unflatten(0, stream.shape[:2])

        return split.engine, run
