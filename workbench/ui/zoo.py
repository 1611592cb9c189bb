"""The Zoo panel: organisms as cards, loaded or planted; the answer key stays sealed until a hypothesis is scored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import pandas as pd

import toy_models
from toy_models.families import FAMILIES
from toy_models.organism import Organism
from toy_models.tasks.registry import TASKS
from toy_models.zoo import FOLDER
from workbench.errors import BadSettings
from workbench.figures import Table as StillTable
from workbench.figures.sections import Section, Text
from workbench.store import read_json
from workbench.ui.hypothesis import BEHAVIOURS, Hypothesis, Marks, marks, read_trigger
from workbench.ui.job import Job
from workbench.ui.panel import Frame, Shown
from workbench.ui.retrain_asked import typed
from workbench.ui.session import Session
from workbench.ui.source import source
from workbench.ui.views import Note, Table, snug, visible

_FACTS = ("task", "layers", "d_model", "heads", "d_mlp", "vocabulary", "clean_accuracy")


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """The organism at hand, and Python that gets it; "" where it is the session's own."""

    organism: Organism
    code: str


class Zoo(Shown):
    """Look through the organisms, load one or plant your own, and say what is wrong with it. See Panel."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.held = None if session.organism is None else Held(session.organism, "")
        self.scored: tuple[Hypothesis, Marks] | None = None
        self.frame, self.cards = Frame("Zoo", session, self.code), Table(label="organisms")
        self.about, self.answer = Note(kind="hint"), Note(kind="hint")
        self.filter = widgets.Text(placeholder="name, task or size", layout={"width": "180px"})
        self.load_button = _button("Load", primary=True)
        self.open_button = _button("Open in all panels", wide=150)
        self._open: Callable[[Organism, str], None] | None = None
        self._planting()
        self._guessing()
        handler = self.frame.handler
        self.filter.observe(handler(lambda _: self._list()), "value")
        self.load_button.on_click(handler(lambda _: self.load()))
        self.build_button.on_click(handler(lambda _: self.build()))
        self.guess_button.on_click(handler(lambda _: self.submit()))
        self.open_button.on_click(handler(lambda _: self.open()))
        head = [self.filter, self.load_button, self.open_button]
        self.frame.fill(self.cards, self.about, self.plant_box, self.guess_box, self.answer, head=head)
        self.frame.watch(lambda _: self._place(), "selection")
        self._list()
        self._place()
        self._say()

    def _planting(self) -> None:
        """The controls to plant one."""
        self.family = widgets.Dropdown(options=list(FAMILIES), description="family", layout={"width": "200px"})
        self.task = widgets.Dropdown(
            options=list(TASKS), value="reversal", description="task", layout={"width": "190px"}
        )
        self.seed = widgets.BoundedIntText(min=0, max=2**31 - 1, description="seed", layout={"width": "110px"})
        self.settings = widgets.Text(description="settings", placeholder="layers=4, defect='routing'")
        self.build_button = _button("Plant")
        self.plant_box = widgets.HBox([self.family, self.task, self.seed, self.settings, self.build_button])
        snug(self.plant_box)

    def _guessing(self) -> None:
        """The controls of a hypothesis."""
        self.trigger = widgets.Text(description="trigger", placeholder="2:lemon 3:tiger", layout={"width": "260px"})
        self.place = widgets.Text(description="place", placeholder="L1.mlp.42", layout={"width": "230px"})
        self.behaviour = widgets.Dropdown(options=BEHAVIOURS, description="behaviour", layout={"width": "190px"})
        self.guess_button = _button("Submit hypothesis and open the key", wide=290)
        self.guess_box = widgets.HBox([self.trigger, self.place, self.behaviour, self.guess_button])
        snug(self.guess_box)

    @property
    def state(self) -> dict[str, Any]:
        """See Panel."""
        held, scored = self.held, self.scored
        found = None if scored is None else [None if m != m else m for m in _marks(scored[1]).values()]
        return {
            "filter": self.filter.value,
            "listed": [row[0] for row in self.cards.rows],
            "organism": None if held is None else held.organism.name,
            "opened": None if held is None else held.organism.opened,
            "marks": found,
        }

    @property
    def organism(self) -> Organism | None:
        """The one at hand: the session's own at first, then what was loaded or planted."""
        return None if self.held is None else self.held.organism

    def open_with(self, opener: Callable[[Organism, str], None]) -> None:
        """How to put an organism, and the code that gets it, on the bench that the panel is part of."""
        self._open = opener
        self._say()

    # --- looking and getting ----------------------------------------------------------------------------

    def _list(self) -> None:
        """The cards in which every word of the filter occurs."""
        words = self.filter.value.lower().split()
        frame = cards()
        text = frame.reset_index().astype(str).agg(" ".join, axis=1).str.lower()
        kept = [all(word in line for word in words) for line in text]
        self.cards.chosen = -1
        self.cards.show(frame.loc[kept], digits=3)

    def load(self) -> None:
        """Load the chosen organism in the background. Raises BadSettings where none is chosen."""
        if not 0 <= self.cards.chosen < len(self.cards.rows):
            raise BadSettings("expected an organism, got none. Choose a row of the table.")
        name = self.cards.rows[self.cards.chosen][0]
        self.frame.start(lambda: self._loaded(name), self._got)

    def build(self) -> None:
        """Plant an organism in the background, or take it from the cache."""
        self.frame.start(self._built, self._got)

    def open(self) -> None:
        """Put the organism at hand on the whole bench. Raises BadSettings where it is there, or where no bench is."""
        if not self._can_open or self.held is None or self._open is None:
            raise BadSettings("expected an organism that the other panels do not show yet. Load or plant one first.")
        self._open(self.held.organism, self.held.code)

    @property
    def _can_open(self) -> bool:
        return self._open is not None and self.held is not None and self.held.organism is not self.session.organism

    def run(self) -> None:
        """See Panel: load the chosen organism; without one, say what is at hand."""
        if 0 <= self.cards.chosen < len(self.cards.rows):
            name = self.cards.rows[self.cards.chosen][0]
            self.frame.run(lambda: self._loaded(name), self._got)
        self._say()

    def _loaded(self, name: str) -> Iterator[Held]:
        yield Held(toy_models.load(name), f"organism = toy_models.load({name!r})")

    def _built(self) -> Iterator[Held]:
        family, task, seed = str(self.family.value), str(self.task.value), self.seed.value
        settings = typed(self.settings.value)
        given = "".join(f", {name}={source(value)}" for name, value in settings.items())
        code = f"organism = toy_models.build({family!r}, task={task!r}, seed={seed}{given})"
        yield Held(toy_models.build(family, task=task, seed=seed, **settings), code)

    def _got(self, job: Job) -> None:
        """Take what was loaded or planted; edits can be replayed on it from now on."""
        if job.active:
            self.frame.news.text = f"{job.seconds:.0f} s"
        elif job.events:
            held = self.held = job.events[-1]
            self.scored = None
            known = self.session.shared.checkpoints
            self.session.put(checkpoints={**known, held.organism.name: held.organism.agent})
            self._say()

    def _say(self) -> None:
        """What is at hand, and how its hypothesis was scored."""
        held, scored = self.held, self.scored
        self.frame.news.text = "No organism is at hand: load one." if held is None else _card(held.organism)
        self.about.text = "" if held is None or not held.code else f"{held.code}; workbench.open(organism) shows it"
        self.open_button.disabled = not self._can_open
        self.answer.text = "" if scored is None or held is None else _answer(held.organism, scored[1])

    # --- the hypothesis ---------------------------------------------------------------------------------

    def _place(self) -> None:
        """The selection is the place that is guessed, until another is typed."""
        self.place.value = self.session.shared.selection.text().split(" ")[0]

    def submit(self) -> None:
        """Score the hypothesis, in the background; this opens the answer key. Raises BadSettings for none."""
        hypothesis = self.hypothesis
        self.frame.start(lambda: self._marked(hypothesis), self._judged)

    @property
    def hypothesis(self) -> Hypothesis:
        """What the controls say. Raises BadSettings where that is no hypothesis."""
        trigger = read_trigger(self.trigger.value)
        return Hypothesis(trigger=trigger, place=self.place.value, behaviour=str(self.behaviour.value))

    def _marked(self, hypothesis: Hypothesis) -> Iterator[tuple[Hypothesis, Marks]]:
        if self.organism is None:
            raise BadSettings("expected an organism to have a hypothesis about, got none. Load one.")
        yield hypothesis, marks(hypothesis, self.organism)

    def _judged(self, job: Job) -> None:
        if job.events:
            self.scored = job.events[-1]
            self._say()

    # --- code and the static view -----------------------------------------------------------------------

    def code(self) -> str:
        """See Panel."""
        lines = ["# no organism is at hand yet"] if self.held is None else []
        if self.held is not None:
            lines = [line for line in (self.held.code, "card = organism.card()") if line]
        if self.scored is not None:
            guess = self.scored[0]
            said = f"trigger={guess.trigger!r}, place={guess.place!r}, behaviour={guess.behaviour!r}"
            lines += ["", "from workbench.ui.hypothesis import Hypothesis, marks", ""]
            lines.append(f"marked = marks(Hypothesis({said}), organism)")
        return self.session.code(*lines)

    def sections(self) -> list[Section]:
        """See Panel."""
        parts: list[Section] = [StillTable(cards(), "Organisms", 3)]
        if self.scored is not None and self.organism is not None:
            frame = pd.DataFrame({"mark": _marks(self.scored[1])})
            parts = [StillTable(frame, "The hypothesis"), Text(visible(_answer(self.organism, self.scored[1]))), *parts]
        return parts


def cards() -> pd.DataFrame:
    """The shipped organisms, one a row, with their public facts: nothing of a key."""
    entries = read_json(FOLDER / "manifest.json", format="lat-workbench zoo")["organisms"]
    rows = [{fact: entries[name].get(fact) for fact in _FACTS} for name in toy_models.names()]
    return pd.DataFrame(rows, index=pd.Index(toy_models.names(), name="organism"))


def _button(name: str, *, primary: bool = False, wide: int = 80) -> widgets.Button:
    style = "primary" if primary else ""
    return widgets.Button(description=name, button_style=style, layout={"width": f"{wide}px"})


def _marks(found: Marks) -> dict[str, float]:
    return {"trigger": found.trigger, "place": found.place, "behaviour": found.behaviour}


def _card(organism: Organism) -> str:
    """The public facts in a line."""
    facts = ", ".join(f"{name} {value}" for name, value in organism.card().items() if name != "name")
    seal = "the answer key was opened" if organism.opened else "the answer key is sealed"
    return f"{visible(organism.name)}: {visible(facts)}; {seal}."


def _answer(organism: Organism, found: Marks) -> str:
    """The marks, and what the key says. Only for an organism whose seal is open."""
    plant = organism.reveal()
    said = ", ".join(f"{name} {'unknown' if m != m else f'{m:.0%}'}" for name, m in _marks(found).items())
    if plant.empty:
        return f"{said}. Nothing was planted."
    sites = ", ".join(site.short for site in plant.sites) or "not known"
    neurons = f", neurons {', '.join(map(str, plant.neurons))}" if plant.neurons else ""
    return f"{said}. Trigger: {visible(plant.trigger)}; behaviour: {plant.defect}; place: {sites}{neurons}."
