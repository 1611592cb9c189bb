"""Schedules: how strong the adversary is while the Agent learns, and when to call the contest one-sided."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from workbench.errors import BadSettings

_KEPT = 0.9  # of a running share at each step
_SUPPOSED = 0.5  # that share before the first step
_SETTLED = 50  # steps after which it says something
ALWAYS, NEVER, LOST, STUCK = 0.95, 0.005, 0.5, 0.05
"""Running shares of answers turned at which the adversary is said to win always, or never. Below the third, of unedited
answers that are right, and the fourth, of the learning rate, it is said to win always, too."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of the contest at one step.

    share: of the adversary's full radius. compute: by how much its inner steps are multiplied. wins, right: running
    shares, over about ten steps, of the answers that it turns, and of unedited answers that the Agent gets right.
    steps: over how many steps they were counted. best: the most that `right` was, without what was supposed before.
    rate: of the full learning rate; halved by every update that is taken back.
    """

    share: float = 1.0
    compute: float = 1.0
    wins: float = _SUPPOSED
    right: float = _SUPPOSED
    steps: int = 0
    best: float = 0.0
    rate: float = 1.0

    def after(self, won: float, right: float) -> "Terms":
        """With one more step counted."""
        wins, rights = (_KEPT * old + (1 - _KEPT) * new for old, new in ((self.wins, won), (self.right, right)))
        told = 1 - _KEPT ** (self.steps + 1)  # of the running share; the rest is what was supposed
        best = max(self.best, (rights - (1 - told) * _SUPPOSED) / told)
        return replace(self, wins=wins, right=rights, best=best, steps=self.steps + 1)

    @property
    def alarm(self) -> str:
        """What is wrong with the contest, in words; empty while both sides win.

        One that the Surgeon always wins teaches nothing but to break (Jermyn 2022 names that failure); the Agent may
        break so far that it cannot do its task unedited, or its updates are taken back because they would. One that it
        never wins is fine-tuning at a higher price, or a cure that needs no more of it.
        """
        always = self.wins >= ALWAYS or self.right < LOST or self.rate < STUCK
        if self.steps < _SETTLED or (self.wins > NEVER and not always):
            return ""
        if always:
            rate = f"the learning rate is at {self.rate:.0%}, because updates cost the task, " if self.rate < 1 else ""
            return (
                f"the Surgeon always wins, {rate}and {self.right:.0%} of unedited answers are right: lower eps, loosen "
                "constraints more slowly, or give the Agent more steps"
            )
        return "the Surgeon never wins: the Agent is robust at this eps, or the Surgeon is too weak to tell"


@runtime_checkable
class Schedule(Protocol):
    """Moves the terms after every step. A frozen value."""

    def first(self) -> Terms:
        """The terms of the first step."""
        ...

    def next(self, terms: Terms) -> Terms:
        """The terms of the next step, from those with the last one counted."""
        ...


@dataclass(frozen=True, slots=True)
class Steady:
    """The same terms from beginning to end."""

    def first(self) -> Terms:
        """See Schedule."""
        return Terms()

    def next(self, terms: Terms) -> Terms:
        """See Schedule."""
        return terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Loosen:
    """A tight constraint that is loosened whenever the Agent is robust: when fewer answers than `below` are turned.

    The radius starts at `start` of the full one and grows by the factor `growth` a step, up to all of it.
    """

    start: float = 0.25
    growth: float = 1.05
    below: float = 0.2

    def __post_init__(self) -> None:
        _check_share("start", self.start)
        _check_share("below", self.below)
        _check_growth(self.growth)

    def first(self) -> Terms:
        """See Schedule."""
        return Terms(share=self.start)

    def next(self, terms: Terms) -> Terms:
        """See Schedule."""
        grown = min(1.0, terms.share * self.growth) if terms.wins < self.below else terms.share
        return replace(terms, share=grown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockstep:
    """A radius that keeps step with the Agent's learning: the share of unedited answers that it gets right.

    For LAT from the beginning of training, when the Agent cannot do anything yet. Never below `start`.
    """

    start: float = 0.1

    def __post_init__(self) -> None:
        _check_share("start", self.start)

    def first(self) -> Terms:
        """See Schedule."""
        return Terms(share=self.start)

    def next(self, terms: Terms) -> Terms:
        """See Schedule."""
        return replace(terms, share=max(self.start, terms.right))


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreCompute:
    """More inner steps for a Surgeon that turns fewer answers than `below`: a factor `growth` a step, up to `most`."""

    growth: float = 1.02
    below: float = 0.2
    most: float = 4.0

    def __post_init__(self) -> None:
        _check_share("below", self.below)
        _check_growth(self.growth)
        if self.most < 1:
            raise BadSettings(f"expected the most compute as a factor of at least 1, got {self.most}.")

    def first(self) -> Terms:
        """See Schedule."""
        return Terms()

    def next(self, terms: Terms) -> Terms:
        """See Schedule."""
        grown = min(self.most, terms.compute * self.growth) if terms.wins < self.below else terms.compute
        return replace(terms, compute=grown)


def _check_share(what: str, share: float) -> None:
    if not 0 < share <= 1:
        raise BadSettings(f"expected {what} in (0, 1], got {share}.")


def _check_growth(growth: float) -> None:
    if growth <= 1:
        raise BadSettings(f"expected a growth above 1, a factor for each step, got {growth}.")


SCHEDULES: dict[str, Schedule] = {
    "steady": Steady(),
    "loosen": Loosen(),
    "lockstep": Lockstep(),
    "more-compute": MoreCompute(),
}
"""Schedules with their usual settings, by the name that a command takes."""
