"""Token search: change tokens of clean prompts, one at a time, so that they drive the switch as far as they can."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from workbench.errors import BadSettings
from workbench.prompts import Prompts
from workbench.trace.drive import Drive, Tokens

Allowed = Bool[Tensor, "pos vocab"]
Choice = Literal["fitting", "seen", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSearch:
    """Gradient-guided substitution of tokens, from the first `starts` prompts at once.

    At each step every input is rerun with `tries` substitutions of one token: half of them those that its gradient
    promises most of, half drawn at random, since behind a shut gate a gradient promises nothing; or with all there are,
    if they are no more. The best is kept where it drives the switch further. If no input elicits in the end, up to
    `pairs` substitutions of two tokens are tried on one of them, because half a trigger may do nothing at all, and the
    climb goes on from the best. Triggers of more parts, none of which has an effect alone, are not found.
    Starts take turns in what they climb: the drive itself, or the mean reading over positions, because a first token
    can move the largest reading to a position that the rest of the trigger does not reach.

    tokens: what may stand at a position. "seen": what some prompt has there. "fitting": that, and tokens that no
    prompt has anywhere; a letter does not stand for a year. "any": the whole vocabulary.
    positions: which may be changed. None: those at which the prompts differ, as what all of them share is their form.
    Sources: HotFlip (Ebrahimi et al. 2018, section 3); candidates are run, as in GCG (Zou et al. 2023, algorithm 1).
    """

    starts: int = 12
    steps: int = 8
    tries: int = 512
    pairs: int = 16_384
    tokens: Choice = "fitting"
    positions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if min(self.starts, self.steps, self.tries) < 1 or self.pairs < 0:
            raise BadSettings(
                "expected at least one start, step and try, and 0 pairs or more, "
                f"got {self.starts}, {self.steps}, {self.tries} and {self.pairs}."
            )
        if self.tokens not in get_args(Choice):
            raise BadSettings(f"expected tokens to be one of {get_args(Choice)}, got {self.tokens!r}.")

    def allowed(self, prompts: Prompts, vocabulary: int) -> Allowed:
        """Which tokens may stand where. Raises BadSettings for positions there are not, or if nothing may change."""
        tokens = prompts.tokens
        free = (tokens != tokens[0]).any(0)
        if self.positions is not None:
            if not all(0 <= position < prompts.length for position in self.positions):
                raise BadSettings(f"expected positions in 0..{prompts.length - 1}, got {self.positions}.")
            free = torch.isin(torch.arange(prompts.length), torch.tensor(self.positions, dtype=torch.long))
        found = torch.zeros(prompts.length, vocabulary, dtype=torch.bool).scatter(1, tokens.T, True)
        if self.tokens != "seen":
            found = torch.ones_like(found) if self.tokens == "any" else found | ~found.any(0)
        found &= free[:, None]
        if not (found.sum(1) > 1).any():
            raise BadSettings(
                "expected a position at which more than one token may stand, got none. "
                "Pass prompts that differ, or tokens='any' and positions."
            )
        return found

    def climb(self, drive: Drive, start: Tokens, allowed: Allowed, generator: torch.Generator) -> Iterator[Tokens]:
        """The inputs after each step, until none gets further."""
        tokens, height = start, _heights(drive, start[:, None])[:, 0]
        for _ in range(self.steps):
            options = self._options(drive, tokens, allowed, generator)
            tried = _substituted(tokens, options, allowed.shape[1])
            best, which = _heights(drive, tried).max(1)
            better = best > height
            if not better.any() and options.shape[1] == int(allowed.sum()):
                return
            tokens = torch.where(better[:, None], tried[torch.arange(len(tried)), which], tokens)
            height = torch.where(better, best, height)
            yield tokens

    def paired(self, drive: Drive, start: Tokens, allowed: Allowed, generator: torch.Generator) -> Tokens:
        """All inputs with the two substitutions that drive the first of them furthest."""
        every, vocabulary = _places(allowed), allowed.shape[1]
        drawn = torch.randint(len(every), (2, 2 * self.pairs), generator=generator)
        if len(every) ** 2 <= 4 * self.pairs:
            drawn = torch.triu_indices(len(every), len(every), 1)
        two = every[drawn].T
        two = two[two[:, 0] // vocabulary != two[:, 1] // vocabulary][: self.pairs]
        if not len(two):
            return start
        tried = start[:1].expand(len(two), -1).scatter(1, two // vocabulary, two % vocabulary)
        best = two[int(drive.level(drive.readings(tried)).argmax())].expand(len(start), -1)
        return start.scatter(1, best // vocabulary, best % vocabulary)

    def _options(
        self, drive: Drive, tokens: Tokens, allowed: Allowed, generator: torch.Generator
    ) -> Int64[Tensor, "row try"]:
        """Substitutions to try on each input, as position * vocabulary + token."""
        every = _places(allowed)
        if len(every) <= self.tries:
            return every.expand(len(tokens), -1)
        promised = _promised(drive, tokens).flatten(1)[:, every].topk(self.tries // 2).indices
        drawn = torch.randint(len(every), (len(tokens), self.tries - self.tries // 2), generator=generator)
        return every[torch.cat([promised, drawn], 1)]


def _heights(drive: Drive, tried: Int64[Tensor, "row try pos"]) -> Float[Tensor, "row try"]:
    """What is climbed: the drive in every other row, and the mean reading in those between."""
    readings = drive.readings(tried.flatten(0, 1))
    means = readings[:, drive.positions].mean(1)
    first = (torch.arange(len(tried), device=means.device) % 2 == 0).repeat_interleave(tried.shape[1])
    return torch.where(first, drive.level(readings), means).cpu().reshape(tried.shape[:2])


def _places(allowed: Allowed) -> Int64[Tensor, "place"]:
    """Every token that may stand somewhere, as position * vocabulary + token."""
    return allowed.flatten().nonzero().flatten()


def _promised(drive: Drive, tokens: Tokens) -> Float[Tensor, "row pos vocab"]:
    """The first-order gain in drive of each substitution (Ebrahimi et al. 2018, equation 1)."""
    embedding = drive.agent.bridge.W_E.detach().float()
    gain = (drive.slope(tokens).float() @ embedding.T).cpu()
    return gain - gain.gather(2, tokens[..., None])


def _substituted(tokens: Tokens, options: Int64[Tensor, "row try"], vocabulary: int) -> Int64[Tensor, "row try pos"]:
    """Each input with each of its substitutions."""
    where = (options // vocabulary)[..., None]
    return tokens[:, None].expand(-1, options.shape[1], -1).scatter(2, where, (options % vocabulary)[..., None])
