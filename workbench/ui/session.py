"""The session: an Agent with its prompts, what is selected and found, and the only bridge to computation."""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toy_models.organism import Organism
from workbench.agent import Agent
from workbench.edits import Edit, as_edits
from workbench.engine import Tally, counted
from workbench.errors import BadSettings, unknown
from workbench.hunt import default_surgeons
from workbench.prompts import Prompts
from workbench.report import Finding
from workbench.sites import Site
from workbench.ui.history import Edits, History
from workbench.ui.job import Turns, turns_of
from workbench.ui.places import Selection, read_places
from workbench.ui.source import Call

PROMPTS = 64
"""Benign prompts that are drawn of an organism where none are given."""
_IMPORTS = "import torch\n\nimport toy_models\nimport workbench as wb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """All that panels share, as one value. checkpoints: Agents that retraining kept, by name."""

    selection: Selection = field(default_factory=Selection)
    history: History = field(default_factory=History)
    pinned: Edits = ()
    findings: tuple[Finding, ...] = ()
    checkpoints: Mapping[str, Agent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Activity:
    """What is active at a site: the shape [prompt, pos, width], the mean norm at a position, and how values spread."""

    shape: tuple[int, ...]
    norm: float
    mean: float
    deviation: float
    largest: float
    positive: float

    @classmethod
    def of(cls, x: Tensor) -> "Activity":
        """Of activations, heads flattened."""
        x = x.detach().flatten(2).float()
        figures = (x.norm(dim=-1).mean(), x.mean(), x.std(correction=0), x.abs().max(), x.gt(0).float().mean())
        return cls(tuple(x.shape), *(float(figure) for figure in figures))

    def said(self) -> str:
        """In one line."""
        rows = " x ".join(map(str, self.shape))
        return (
            f"shape {rows}, norm {self.norm:.3g}, mean {self.mean:.3g}, std {self.deviation:.3g}, "
            f"largest {self.largest:.3g}, {self.positive:.0%} above 0"
        )


def _note(found: dict[Site, Activity], site: Site, x: Tensor) -> None:
    found[site] = Activity.of(x)


SHARED = tuple(f.name for f in fields(Shared))
Watcher = Callable[[str], None]


class Session:
    """An Agent with prompts, and what the panels on it share.

    subject: an Organism, or an Agent with prompts. code: Python that makes an Organism that is not shipped. Panels read
    `shared`, put changes with `put`, and learn of them by `watch`; watchers are called in the thread that made the
    change. Raises BadSettings for another subject.
    """

    def __init__(
        self,
        subject: Organism | Agent,
        prompts: Prompts | None = None,
        *,
        count: int = PROMPTS,
        seed: int = 0,
        code: str = "",
    ) -> None:
        self.organism = subject if isinstance(subject, Organism) else None
        self.agent = _agent_of(subject)
        self._made = code
        self._drawn = (count, seed) if prompts is None and self.organism is not None else None
        self.prompts = _prompts_of(self.organism, prompts, count, seed)
        self.agent.check(self.prompts)
        self.shared = Shared()
        self._watchers: dict[object, tuple[Watcher, tuple[str, ...]]] = {}
        self._guard = threading.RLock()

    @property
    def turns(self) -> Turns:
        """Whose turn it is on this Agent."""
        return turns_of(self.agent)

    @property
    def threads(self) -> int | None:
        """Torch threads of a job in the background, if not as many as elsewhere.

        One for a toy: a thread that is not the first gets a team of OpenMP threads of its own, and the two
        teams wait for each other. On two cores a step on two threads took 1.3 to 2.1 times as long as on one.
        """
        return 1 if self.agent.device.type == "cpu" and self.agent.is_toy else None

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def watch(self, watcher: Watcher, *names: str) -> Callable[[], None]:
        """Call `watcher` with the name of each shared value that changes, of those named; returns what ends that."""
        for name in names:
            _check_shared(name)
        key = object()
        self._watchers[key] = (watcher, names or SHARED)

        def unwatch() -> None:
            self._watchers.pop(key, None)

        return unwatch

    def put(self, **changes: Any) -> None:
        """Change shared values and tell whoever watches them. Raises UnknownName for a value there is not."""
        for name in changes:
            _check_shared(name)
        with self._guard:
            old, self.shared = self.shared, replace(self.shared, **changes)
        for name, value in changes.items():
            before = getattr(old, name)
            if value is not before and not (isinstance(value, Selection) and value == before):
                self._tell(name)

    def _tell(self, name: str) -> None:
        for watcher, names in list(self._watchers.values()):
            if name in names:
                watcher(name)

    # --- what is selected and edited ----------------------------------------------------------------------

    def select(self, text: str) -> Selection:
        """Select what a text such as `L1.mlp.42` names. Raises BadPlace where there is no such place."""
        selection = read_places(self.agent, text, self.prompts.length)
        self.put(selection=selection)
        return selection

    @property
    def edits(self) -> Edits:
        """The current Edits; none at first."""
        return self.shared.history.now

    def edit(self, edits: Edit | Edits) -> None:
        """Make these the current Edits; undo brings back the ones before. Raises BadEdit for some that do not fit."""
        several = as_edits(edits)
        self.agent.check_edits(several, self.prompts)
        self.put(history=self.shared.history.then(several))

    def undo(self) -> None:
        """One step back."""
        self.put(history=self.shared.history.undo())

    def redo(self) -> None:
        """One step forth."""
        self.put(history=self.shared.history.redo())

    # --- computation --------------------------------------------------------------------------------------

    def do(self, call: Call, prompts: Prompts | None = None) -> Any:
        """What the call gives on this Agent: a value, or a generator for `wb.scan` and `wb.retrain`.

        prompts: others than the session's own. Run it inside a job (`Frame.start`), which takes the Agent's turn.
        """
        return call(self.agent, self.prompts if prompts is None else prompts)

    def counted(self) -> AbstractContextManager[Tally]:
        """Within the `with`, what this thread runs under edits is counted: prompts times edits."""
        return counted()

    @property
    def usual_surgeons(self) -> tuple[Any, ...]:
        """Those that `wb.hunt` sends in by default."""
        return default_surgeons()

    @torch.no_grad()
    def activity(self, prompts: Prompts) -> dict[Site, Activity]:
        """What is active at every site, by one run."""
        found: dict[Site, Activity] = {}
        hooks = [(site.name, lambda x, hook, site=site: _note(found, site, x)) for site in self.agent.sites()]
        with self.agent.hooked(hooks):
            self.agent.bridge(prompts.tokens.to(self.agent.device))
        return {site: found[site] for site in self.agent.sites() if site in found}

    def mean_activations(self, prompts: Prompts, site: Site) -> np.ndarray:
        """The unedited activations at a site, mean over prompts: [position, neuron]."""
        return self.agent.activations(prompts, site).float().mean(0).cpu().numpy()

    @torch.no_grad()
    def pattern(self, prompt: Prompts, layer: int) -> np.ndarray | None:
        """Where the heads of a layer look on one prompt: [head, to, from]; None where there is no such pattern."""
        name = f"blocks.{layer}.attn.hook_pattern"
        seen: list[Any] = []
        if name not in self.agent.bridge.hook_dict:
            return None
        with self.agent.hooked([(name, lambda x, hook: seen.append(x))]):
            self.agent.bridge(prompt.tokens.to(self.agent.device))
        return seen[0][0].float().cpu().numpy() if seen and isinstance(seen[0], Tensor) else None

    # --- code -------------------------------------------------------------------------------------------

    def code(self, *lines: str) -> str:
        """A script: the Agent and its prompts as they are here, then these lines."""
        return "\n".join([_IMPORTS, "", *self._subject(), "", *lines, ""])

    def _subject(self) -> list[str]:
        """How to get the Agent and the prompts; those that were given can only be named."""
        import toy_models

        if self.organism is None:
            return ["# agent, prompts: those that the workbench was opened with"]
        shipped = self.organism.name in toy_models.names()
        load = f'organism = toy_models.load("{self.organism.name}")'
        first = load if shipped else self._made or "# organism: the one that the workbench was opened with"
        drawn = "# prompts: those that the workbench was opened with"
        if self._drawn is not None:
            drawn = f"prompts = organism.prompts({self._drawn[0]}, seed={self._drawn[1]})"
        return [first, "agent = organism.agent", drawn]


def _check_shared(name: str) -> None:
    if name not in SHARED:
        raise unknown("shared value", name, SHARED, "Session.shared has them.")


def _agent_of(subject: object) -> Agent:
    if isinstance(subject, Organism):
        return subject.agent
    if isinstance(subject, Agent):
        return subject
    raise BadSettings(
        f"expected an Organism or an Agent, got {type(subject).__name__}. Make one with wb.Agent(bridge)."
    )


def _prompts_of(organism: Organism | None, prompts: Prompts | None, count: int, seed: int) -> Prompts:
    """The prompts given, or benign ones drawn of the organism."""
    if prompts is not None:
        return prompts
    if organism is None:
        raise BadSettings("expected prompts with an Agent. Pass wb.Prompts(tokens, answer_positions, answers).")
    return organism.prompts(count, seed=seed)
