"""What a trace says: recovered inputs, the trigger, how far they drive the switch, and what is upstream of it."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.report import Finding
from workbench.trace.trigger import ENOUGH, Needed

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class Recovered:
    """An input that was found, beside the clean prompt it started from.

    tokens, words: of the input; clean: the tokens of its start. drive, clean_drive: how far either throws the switch.
    flip, agreement, elicited: shares of its answers, see Verdicts.
    """

    tokens: tuple[int, ...]
    words: tuple[str, ...]
    clean: tuple[int, ...]
    clean_drive: float
    drive: float
    flip: float
    agreement: float
    elicited: float

    @property
    def changed(self) -> tuple[int, ...]:
        """The positions at which it differs from its start."""
        return tuple(p for p, (new, old) in enumerate(zip(self.tokens, self.clean, strict=True)) if new != old)


@dataclass(frozen=True, slots=True)
class Levels:
    """How far the switch is thrown: by the Finding's own Edits, by clean prompts, and by those with the trigger in."""

    dose: float
    clean: float
    recovered: float


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The circuit around a switch.

    drive: mean levels, in activation units for one neuron, else in those of the residual stream. inputs: what was
    recovered from each start, best first. trigger: the tokens that do it in other prompts. elicited, flip: the shares
    of answers that they elicit there, and that change when the switch is held at rest, on prompts that no search and no
    choice saw. Where much is elicited and little flips, the trigger has the same effect by another way than this
    Finding's direction. upstream: a row a part (see Upstream): part, layer, head, position, attribution, ablation.
    """

    agent: str
    finding: Finding
    drive: Levels
    inputs: tuple[Recovered, ...]
    trigger: tuple[Needed, ...]
    elicited: float
    flip: float
    upstream: "pandas.DataFrame"

    @property
    def recovered(self) -> bool:
        """Whether the trigger elicits at least half of the answers of prompts it was not searched on."""
        return self.elicited >= ENOUGH

    def to_frame(self) -> "pandas.DataFrame":
        """One row an input, best first."""
        import pandas

        columns = ("text", "changed", "clean_drive", "drive", "flip", "agreement", "elicited")
        rows = [(" ".join(i.words), *(getattr(i, name) for name in columns[1:])) for i in self.inputs]
        return pandas.DataFrame(rows, columns=list(columns))

    def summary(self) -> dict[str, Any]:
        """All of it as plain data for JSON; of the Finding, its site and neurons."""
        return {
            "agent": self.agent,
            "site": self.finding.site.short,
            "neurons": None if self.finding.neurons is None else list(self.finding.neurons),
            "recovered": self.recovered,
            "elicited": self.elicited,
            "flip": self.flip,
            "drive": asdict(self.drive),
            "trigger": [asdict(token) for token in self.trigger],
            "inputs": [asdict(each) for each in self.inputs],
            "upstream": json.loads(str(self.upstream.to_json(orient="records"))),
        }
