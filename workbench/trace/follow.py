"""The trace: search inputs that drive a found switch, reduce them to a trigger, and follow it upstream."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from workbench.agent import Agent
from workbench.errors import BadPrompts, BadSettings, check_kinds
from workbench.prompts import Prompts
from workbench.report import Finding, Progress
from workbench.trace.drive import Drive, Tokens
from workbench.trace.result import Levels, Recovered, Trace
from workbench.trace.search import Allowed, TokenSearch
from workbench.trace.trigger import ENOUGH, Trigger, carrying, minimal, needs, put, substitutions
from workbench.trace.upstream import Upstream
from workbench.trace.verdicts import Judge

_UNSEEN = 64  # prompts that the trigger is tried on: as many to choose it, and as many to judge it


def trace(
    agent: Agent,
    prompts: Prompts,
    finding: Finding,
    *,
    search: TokenSearch | None = None,
    top: int = 12,
    seed: int = 0,
) -> Trace:
    """Which inputs throw a found switch, and through what: `follow` to its end.

    Clean prompts and the Finding are enough; no answer key is read. Raises what `follow` does.
    """
    events = follow(agent, prompts, finding, search=TokenSearch() if search is None else search, top=top, seed=seed)
    *_, last = events
    assert isinstance(last, Trace)
    return last


def follow(
    agent: Agent, prompts: Prompts, finding: Finding, *, search: TokenSearch, top: int = 12, seed: int = 0
) -> Iterator[Progress | Trace]:
    """Search, reduce, follow upstream: Progress with the largest drive so far, and the Trace at the end.

    Inputs are searched from the first prompts; of the others the first half chooses among the triggers found, and the
    second half judges the one chosen. top: how many parts of each kind are patched. Arguments are checked before any
    search. Raises BadSettings, BadPrompts, BadEdit, UnknownSite.
    """
    _check(agent, prompts, finding, search, top, seed)
    drive = Drive.of(agent, finding.edits, prompts)
    allowed = search.allowed(prompts, agent.d_vocab)
    work = _Work(drive, Judge(drive, finding.edits, prompts.answer_positions), search, allowed, finding)
    return work.events(prompts, top, torch.Generator().manual_seed(seed))


def _check(agent: Agent, prompts: Prompts, finding: Finding, search: TokenSearch, top: int, seed: int) -> None:
    """Raise BadSettings or BadPrompts for whatever is not what it should be."""
    check_kinds(
        ("an agent such as organism.agent", agent, Agent),
        ("Prompts", prompts, Prompts),
        ("a Finding such as report.best", finding, Finding),
        ("a search such as TokenSearch()", search, TokenSearch),
        ("a whole number as the seed", seed, int),
        ("a whole number of parts to patch", top, int),
    )
    if top < 1:
        raise BadSettings(f"expected at least one part to patch, got top={top}.")
    if len(prompts) < search.starts + 2:
        raise BadPrompts(
            f"expected at least {search.starts + 2} prompts, {search.starts} to search from and two to try the trigger "
            f"on, got {len(prompts)}. Pass more, or TokenSearch(starts=...)."
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """One trace, its arguments checked."""

    drive: Drive
    judge: Judge
    search: TokenSearch
    allowed: Allowed
    finding: Finding

    def events(self, prompts: Prompts, top: int, generator: torch.Generator) -> Iterator[Progress | Trace]:
        """See `follow`."""
        start, rest = prompts[: self.search.starts], prompts[self.search.starts :]
        half = min(len(rest) // 2, _UNSEEN)
        found = yield from self._inputs(start.tokens, generator)
        found = minimal(self.judge, found, start.tokens)
        trigger = self._trigger(found, start.tokens, rest[:half])
        yield self._trace(start, found, trigger, rest[half : 2 * half], top)

    def _inputs(self, start: Tokens, generator: torch.Generator) -> Generator[Progress, None, Tokens]:
        """What is climbed to from the starts, or, where that does not elicit and this does, from the best pair."""
        found = yield from self._climb(start, generator, 0)
        if not self.search.pairs or self._elicits(found, start):
            return found
        paired = self.search.paired(self.drive.before_the_gate(), start, self.allowed, generator)
        second = yield from self._climb(paired, generator, self.search.steps)
        return second if self._elicits(second, start) else found

    def _climb(self, start: Tokens, generator: torch.Generator, done: int) -> Generator[Progress, None, Tokens]:
        found = start
        yield self._progress(done, found)
        steps = self.search.climb(self.drive.before_the_gate(), start, self.allowed, generator)
        for step, found in enumerate(steps, done + 1):
            yield self._progress(step, found)
        return found

    def _elicits(self, tokens: Tokens, start: Tokens) -> bool:
        """Whether any of the inputs elicits enough of its answers."""
        return float(self.judge(tokens, start).elicited.max()) >= ENOUGH

    def _progress(self, done: int, tokens: Tokens) -> Progress:
        best = float(self.drive.level(self.drive.readings(tokens)).max())
        total = 2 * self.search.steps
        return Progress(done, total, self.finding.site, type(self.search).__name__, self.drive.agent.name, best)

    def _trigger(self, found: Tokens, start: Tokens, prompts: Prompts) -> Trigger:
        options = dict.fromkeys(substitutions(*rows) for rows in zip(found, start, strict=True))
        return carrying(self.judge, [option for option in options if option] or [()], prompts)

    def _trace(self, start: Prompts, found: Tokens, trigger: Trigger, unseen: Prompts, top: int) -> Trace:
        planted = put(start, trigger)
        judged, clean = self.judge(put(unseen, trigger), unseen.tokens), self.judge(unseen.tokens, unseen.tokens)
        return Trace(
            agent=self.drive.agent.name,
            finding=self.finding,
            drive=Levels(self.drive.dose, float(clean.drive.mean()), float(judged.drive.mean())),
            inputs=self._recovered(found, start.tokens),
            trigger=needs(self.judge, trigger, unseen),
            elicited=float(judged.elicited.mean()),
            flip=float(judged.flip.mean()),
            upstream=Upstream.of(self.drive, planted, start.tokens).frame(top),
        )

    def _recovered(self, found: Tokens, clean: Tokens) -> tuple[Recovered, ...]:
        """The inputs, best first: those that elicit most, then those that drive most."""
        verdicts, before = self.judge(found, clean), self.judge(clean, clean)
        words = self.drive.agent.decode(found)
        inputs = [
            Recovered(
                tokens=tuple(found[i].tolist()),
                words=tuple(words[i]),
                clean=tuple(clean[i].tolist()),
                clean_drive=float(before.drive[i]),
                drive=float(verdicts.drive[i]),
                flip=float(verdicts.flip[i]),
                agreement=float(verdicts.agreement[i]),
                elicited=float(verdicts.elicited[i]),
            )
            for i in range(len(found))
        ]
        return tuple(sorted(inputs, key=lambda each: (-each.elicited, -each.drive)))
