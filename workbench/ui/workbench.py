"""The workbench: all panels on one Agent, with one linked selection."""

from typing import Any

import ipywidgets as widgets

from toy_models.organism import Organism
from workbench.agent import Agent
from workbench.figures import page
from workbench.figures.sections import Code, Heading
from workbench.prompts import Prompts
from workbench.ui.cells import opened
from workbench.ui.circuit import Circuit
from workbench.ui.edit_bench import EditBench
from workbench.ui.heatmap import Heatmap
from workbench.ui.panel import VIEW, Panel, close_all, said, show, still
from workbench.ui.picker import Picker
from workbench.ui.retrain import Retrain
from workbench.ui.session import PROMPTS, Session
from workbench.ui.surgeon import Surgeon
from workbench.ui.tokens import Tokens
from workbench.ui.zoo import Zoo

PANELS = {
    "picker": Picker,
    "tokens": Tokens,
    "surgeon": Surgeon,
    "heatmap": Heatmap,
    "edit_bench": EditBench,
    "retrain": Retrain,
    "circuit": Circuit,
    "zoo": Zoo,
}
"""What is laid out, from above; the names are attributes of a Workbench."""


class Workbench:
    """Panels to pick, hunt, look, edit, retrain and trace, on an Organism, or on an Agent with its prompts.

    Display it in JupyterLab.

    subject: an Organism, or an Agent with `prompts`. count, seed: how many benign prompts are drawn of an Organism, and
    how. Each panel is an attribute, works alone as well, and can be run and read without a browser; `session` holds
    what they share. `open` puts another subject on the bench. Running the cell again closes what its last run opened.
    """

    picker: Picker
    tokens: Tokens
    surgeon: Surgeon
    heatmap: Heatmap
    edit_bench: EditBench
    retrain: Retrain
    circuit: Circuit
    zoo: Zoo

    def __init__(
        self, subject: Organism | Agent, prompts: Prompts | None = None, *, count: int = PROMPTS, seed: int = 0
    ) -> None:
        self.panels: dict[str, Panel] = {}
        self.box = widgets.VBox()
        self._lay_out(Session(subject, prompts, count=count, seed=seed))
        opened(self)

    def open(self, subject: Organism | Agent, prompts: Prompts | None = None, *, code: str = "") -> None:
        """All panels on another Organism or Agent, at the same place in the notebook; see Session for `code`.

        What was found on the one before is closed with its panels. Its Agent stays among the checkpoints, so that an
        edit can be replayed on it. Raises BadSettings before anything is closed.
        """
        session, last = Session(subject, prompts, code=code), self.session
        if session.agent is not last.agent:
            session.put(checkpoints={last.agent.name: last.agent})
        self._lay_out(session)

    def _lay_out(self, session: Session) -> None:
        """Panels on this session, in place of those there were."""
        old, self.session = self.panels, session
        self.panels = {name: kind(session) for name, kind in PANELS.items()}
        for name, panel in self.panels.items():
            setattr(self, name, panel)
        self.zoo.open_with(lambda organism, code: self.open(organism, code=code))
        self.box.children = [panel.frame.box for panel in self.panels.values()]
        for name, panel in old.items():
            panel.frame.give_way(self.panels[name])

    @property
    def state(self) -> dict[str, Any]:
        """The state of every panel, as JSON."""
        return {name: panel.state for name, panel in self.panels.items()}

    def code(self) -> str:
        """What every panel shows, as one script after the other."""
        return "\n".join(f"# {panel.frame.title}\n{panel.code()}" for panel in self.panels.values())

    def to_html(self) -> str:
        """All panels as one self-contained page without script."""
        parts = [[Heading(p.frame.title), *said(p), Code(p.code())] for p in self.panels.values()]
        return page(f"Workbench on {self.session.agent.name}", [part for several in parts for part in several])

    def close(self) -> None:
        """Free threads, watchers and widgets of all panels."""
        for panel in self.panels.values():
            panel.frame.close()
        close_all(self.box)

    def _ipython_display_(self) -> None:
        """What a notebook shows: the live panels, and the saved view of each."""
        show(self.box, self.panels.values())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The live widgets, and the static view for where widgets cannot run."""
        view = (self.box._repr_mimebundle_() or {}).get(VIEW)
        html = "".join(still(panel) for panel in self.panels.values())
        text = f"Workbench on {self.session.agent.name}: {', '.join(self.panels)}"
        return {"text/plain": text, "text/html": html, **({VIEW: view} if view else {})}
