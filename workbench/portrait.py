"""What an edit elicits, as data: answers side by side, the dose curve, its reach, how near real prompts come."""

from dataclasses import asdict, dataclass, field
from math import nan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt in words: its benign answers, the Agent's without the edit, and the Agent's under it."""

    prompt: tuple[str, ...]
    benign: tuple[str, ...]
    unedited: tuple[str, ...]
    elicited: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """What the elicited behaviour is, for a person to decide whether it is a defect or a harmless second mode.

    doses: multiples of the edit. flipped: share of answers that differ from the unedited ones, at each dose. same: of
    the answers that the edit itself (dose 1) changes, the share that is changed to the same at that dose. reach: that
    share where what the edit writes is added to the residual stream after a later layer instead, by short Site; empty
    for edits without a linear write and for several Edits. nearness: distance of the edited residual stream from the
    nearest one of a real prompt, relative to the usual distance of a real prompt from the nearest other (mean over
    edited positions): at 1 or less a real prompt is as near as real prompts are to each other; nan where undefined.
    """

    examples: tuple[Example, ...] = ()
    doses: tuple[float, ...] = ()
    flipped: tuple[float, ...] = ()
    same: tuple[float, ...] = ()
    reach: dict[str, float] = field(default_factory=dict)
    nearness: float = nan

    @property
    def works_until(self) -> str | None:
        """The last place, of those in `reach`, at which it still elicits half of what it does; None: none."""
        return next((site for site, share in reversed(self.reach.items()) if share >= 0.5), None)

    def answers(self) -> "pandas.DataFrame":
        """One row an example: the prompt, its benign answers, the Agent's without the edit, and those under it."""
        import pandas

        rows = [
            {
                "prompt": " ".join(e.prompt),
                "benign": " ".join(e.benign),
                "unedited": " ".join(e.unedited),
                "with the edit": " ".join(e.elicited),
            }
            for e in self.examples
        ]
        return pandas.DataFrame(rows, index=pandas.RangeIndex(1, len(rows) + 1, name="prompt number"))

    def dose_curve(self) -> "pandas.DataFrame":
        """One row a dose: the share of answers changed, and of those changed as by the edit itself."""
        import pandas

        curve = {"changed": self.flipped, "as at dose 1": self.same}
        return pandas.DataFrame(curve, index=pandas.Index(self.doses, name="dose"))

    def plain(self) -> dict[str, Any]:
        """As numbers, strings, lists and dicts, for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Portrait":
        """A portrait from what `plain` gave, also after a trip through JSON."""
        examples = (Example(**{name: tuple(words) for name, words in e.items()}) for e in plain["examples"])
        rows = {name: tuple(plain[name]) for name in ("doses", "flipped", "same")}
        return cls(examples=tuple(examples), reach=dict(plain["reach"]), nearness=plain["nearness"], **rows)
