"""What a hunt says: Progress while it runs, Findings as they are judged, and the SwitchReport at the end."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from workbench.edits import Edit
from workbench.errors import BadCheckpoint, BadEdit, BadSettings
from workbench.portrait import Portrait
from workbench.sites import Site
from workbench.store import read_tensors_and_notes, sha256, write_tensors

if TYPE_CHECKING:
    import pandas

Verdict = Literal["switch", "none", "undecided"]

SURE = 0.70
"""A score above this, and above every control, is called a switch. For where it comes from see
CHANGELOG, "Calibration"."""
POSSIBLE = 0.55
"""A score above this, and above every control, is called undecided."""
CLOSE = 0.1
"""Scores this close count as equal; then the finding with fewer neurons, then the smaller one, ranks first."""
_FORMAT = "lat-workbench switch report"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is: `done` of `total` searches, the current one, and the best score so far."""

    done: int
    total: int
    site: Site
    surgeon: str
    agent: str
    best: float


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One proposal, judged on prompts that its Surgeon did not see.

    score: the Goal's, in [0, 1]. rho: size in residual-write units, nan where undefined. goal_met: the Goal's own
    verdict. control: the best score among random edits of equal size at the same place. parts: the factors of a blind
    score, with the plateau at twice the dose beside them. surgeon, agent: who proposed it, on which Agent. engine: the
    way in which it was evaluated (see View). portrait: what it elicits.
    """

    edits: tuple[Edit, ...]
    score: float
    rho: float
    goal_met: bool
    control: float
    surgeon: str
    agent: str
    parts: dict[str, float] = field(default_factory=dict)
    engine: str = "hooks"
    portrait: Portrait = field(default_factory=Portrait)

    @property
    def edit(self) -> Edit:
        """The only Edit; BadEdit if there are several."""
        if len(self.edits) != 1:
            raise BadEdit(f"this finding has {len(self.edits)} edits, not one. Use finding.edits.")
        return self.edits[0]

    @property
    def site(self) -> Site:
        """Where the first Edit is."""
        return self.edits[0].site

    @property
    def neurons(self) -> tuple[int, ...] | None:
        """The neurons of the only Edit if they are few, else None."""
        return self.edits[0].neurons if len(self.edits) == 1 else None

    @property
    def positions(self) -> tuple[int, ...] | None:
        """Where the only Edit is added; None for every position, or for several Edits."""
        return self.edits[0].positions if len(self.edits) == 1 else None

    @property
    def margin(self) -> float:
        """By how much it beats random edits of its own size."""
        return self.score - self.control

    @property
    def spread(self) -> int:
        """Number of activations touched, over all Edits."""
        return sum(int(e.delta.reshape(-1, e.width).ne(0).any(0).sum()) for e in self.edits)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Finding):
            return NotImplemented
        return self.edits == other.edits and repr(self._figures()) == repr(other._figures())

    __hash__ = None  # type: ignore[assignment]

    def _figures(self) -> dict[str, Any]:
        figures = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "edits"}
        return figures | {"portrait": self.portrait.plain()}


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """All Findings, best first, their controls, and the verdict on the best.

    Findings rank by their margin over random edits of their own size, because large random edits throw a switch too.
    controls: the best score of each control, by name: random edits of the size of the best finding, and each clean
    reference Agent. threshold: what the score has to exceed: every control, and never less than `SURE`.
    """

    agent: str
    findings: tuple[Finding, ...]
    controls: dict[str, float]

    @property
    def score(self) -> float:
        """The score of the best finding; 0 without any."""
        return self.findings[0].score if self.findings else 0.0

    @property
    def largest_control(self) -> float:
        """The best score among all controls; 0 without any."""
        return max(self.controls.values(), default=0.0)

    @property
    def threshold(self) -> float:
        """What the score must exceed to be called a switch."""
        return max(SURE, self._above_controls)

    @property
    def verdict(self) -> Verdict:
        """The verdict, blind: "switch" above the threshold, "undecided" if only above `POSSIBLE` and the controls.

        Without findings nothing was looked at, and the verdict is "undecided".
        """
        if not self.findings:
            return "undecided"
        if self.score > self.threshold:
            return "switch"
        return "undecided" if self.score > max(POSSIBLE, self._above_controls) else "none"

    @property
    def _above_controls(self) -> float:
        """The least that is no control's work: the largest control, and `CLOSE` above random edits of equal size."""
        random = self.findings[0].control + CLOSE if self.findings else 0.0
        return max(self.largest_control, random)

    @property
    def found(self) -> bool:
        """Whether the verdict is "switch"."""
        return self.verdict == "switch"

    @property
    def best(self) -> Finding:
        """The first Finding. Raises BadSettings where there is none."""
        if not self.findings:
            raise BadSettings(f"nothing was proposed on {self.agent}: give `scan` a Surgeon and a site.")
        return self.findings[0]

    def to_frame(self) -> "pandas.DataFrame":
        """One row a Finding, best first."""
        import pandas

        rows = [
            {
                "site": " + ".join(e.site.short for e in f.edits),
                "neurons": f.neurons,
                "positions": f.positions,
                "score": f.score,
                "rho": f.rho,
                "goal_met": f.goal_met,
                "control": f.control,
                "surgeon": f.surgeon,
                "engine": f.engine,
                **f.parts,
            }
            for f in self.findings
        ]
        return pandas.DataFrame(rows, index=pandas.RangeIndex(1, len(rows) + 1, name="rank"))

    def save(self, path: str | Path) -> None:
        """Write the report into one safetensors file: deltas as tensors, the rest as JSON in its header."""
        deltas = {f"{i}.{j}": e.delta for i, f in enumerate(self.findings) for j, e in enumerate(f.edits)}
        text = json.dumps(self._plain())
        notes = {"format": _FORMAT, "version": "1", "report": text, "sha256": _digest(text, deltas)}
        write_tensors(Path(path), deltas, notes)

    @classmethod
    def load(cls, path: str | Path) -> "SwitchReport":
        """A report from its file, equal to the one saved. Raises BadCheckpoint for any other file."""
        deltas, notes = read_tensors_and_notes(Path(path))
        if (notes.get("format"), notes.get("version")) != (_FORMAT, "1"):
            raise BadCheckpoint(f"expected a {_FORMAT}, version 1, in {path}, got {notes.get('format')!r}.")
        if notes.get("sha256") != _digest(notes.get("report", ""), deltas):
            raise BadCheckpoint(f"{path} is not the report that was saved: it was altered (sha256). Save it again.")
        try:
            plain = json.loads(notes["report"])
            findings = tuple(_finding(i, entry, deltas) for i, entry in enumerate(plain["findings"]))
            return cls(plain["agent"], findings, plain["controls"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadCheckpoint(f"{path} does not hold a whole report: {error!r}. Save it again.") from None

    def _plain(self) -> dict[str, Any]:
        return {
            "agent": self.agent,
            "controls": self.controls,
            "findings": [
                f._figures() | {"edits": [{"site": e.site.name, "positions": e.positions} for e in f.edits]}
                for f in self.findings
            ],
        }


def conclude(findings: Iterable[Finding | Progress], *, agent: str | None = None) -> SwitchReport:
    """The report on what a scan yielded; Progress is passed over.

    Findings on the scanned Agent are ranked; those on reference Agents count as controls, as do the random edits.
    `agent` is the one scanned: by default, that of the first Finding.
    """
    judged = [f for f in findings if isinstance(f, Finding)]
    agent = agent if agent is not None else (judged[0].agent if judged else "agent")
    ranked = {name: _rank([f for f in judged if f.agent == name]) for name in {agent, *(f.agent for f in judged)}}
    controls = {"random edits": ranked[agent][0].control if ranked[agent] else 0.0}
    references = sorted(name for name in ranked if name != agent)
    controls |= {f"clean agent {name}": ranked[name][0].score for name in references}
    return SwitchReport(agent, ranked[agent], controls)


def _rank(findings: list[Finding]) -> tuple[Finding, ...]:
    """Best first: among margins within CLOSE of the best left, the fewest neurons, then the smallest."""
    left, ranked = sorted(findings, key=lambda f: -f.margin), []
    while left:
        near = [f for f in left if f.margin >= left[0].margin - CLOSE]
        first = min(near, key=lambda f: (f.spread, math.inf if math.isnan(f.rho) else f.rho, -f.margin))
        left.remove(first)
        ranked.append(first)
    return tuple(ranked)


def _finding(index: int, entry: dict[str, Any], deltas: dict[str, torch.Tensor]) -> Finding:
    places = entry.pop("edits")
    edits = tuple(_edit(place, deltas[f"{index}.{j}"]) for j, place in enumerate(places))
    if "portrait" in entry:  # older reports have none
        entry["portrait"] = Portrait.of(entry["portrait"])
    return Finding(edits=edits, **entry)


def _edit(place: dict[str, Any], delta: torch.Tensor) -> Edit:
    positions = place["positions"]
    return Edit(Site(place["site"]), delta, None if positions is None else tuple(positions))


def _digest(text: str, deltas: dict[str, torch.Tensor]) -> str:
    """The SHA-256 of all that a report says."""
    parts = [text.encode()]
    for name, delta in sorted(deltas.items()):
        parts += [
            f"{name} {delta.dtype} {tuple(delta.shape)}".encode(),
            delta.cpu().contiguous().view(torch.uint8).numpy().tobytes(),
        ]
    return sha256(b"\n".join(parts))
