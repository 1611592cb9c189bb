"""What is asked of the Surgeon: goal, budget, search and seed, as controls and as the settings of `wb.scan`."""

from typing import Any

import ipywidgets as widgets

import workbench as wb
from workbench.budgets import Budget
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.ui.session import Session
from workbench.ui.source import Call
from workbench.ui.views import snug

HIDDEN, WRONG, TOKEN = "hidden behaviour", "any wrong answer", "one answer"
BALLS = {"L2 ball": "L2Ball", "L1 ball": "L1Ball", "L∞ ball": "LInfBall"}
USUAL = "the usual three"
SEARCHES = (
    "NeuronSweep",
    "FrankWolfe",
    "UnreadInputs",
    "ProjectedAscent",
    "SphereLadder",
    "GreedyStimulation",
    "Metropolis",
    "RandomDirections",
)
OWN, SELECTED = "where each search looks best", "the selected sites"


class Asked:
    """The controls of the Surgeon panel. box: all of them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.goal = widgets.Dropdown(options=(HIDDEN, WRONG, TOKEN), description="goal", layout={"width": "210px"})
        self.token = widgets.Text(description="answer", placeholder="a token", layout={"width": "180px"})
        self.search = widgets.Dropdown(
            options=(USUAL, *SEARCHES), description="search", layout={"width": "220px"}, tooltip="who proposes edits"
        )
        self.where = widgets.Dropdown(options=(OWN, SELECTED), description="sites", layout={"width": "280px"})
        self.ball = widgets.Dropdown(options=list(BALLS), description="budget", layout={"width": "150px"})
        self.radius = widgets.BoundedFloatText(
            value=2.0, min=0.01, max=1e6, description="radius", layout={"width": "115px"}
        )
        self.unit = widgets.Dropdown(options=("rho", "activation"), layout={"width": "110px"}, tooltip="of the radius")
        self.neurons = widgets.BoundedIntText(
            min=0, max=10_000, description="neurons ≤", layout={"width": "130px"}, tooltip="0: any number"
        )
        self.spared = widgets.BoundedIntText(
            min=0, max=1000, description="spare last", layout={"width": "130px"}, tooltip="layers that are not edited"
        )
        self.seed = widgets.BoundedIntText(min=0, max=2**31 - 1, description="seed", layout={"width": "110px"})
        first = widgets.HBox([self.goal, self.token, self.search, self.where, self.seed])
        second = widgets.HBox([self.ball, self.radius, self.unit, self.neurons, self.spared])
        self.box = widgets.VBox([first, second])
        self.goal.observe(lambda _: self._arrange(), "value")
        self._arrange()
        snug(self.box)

    def call(self) -> Call:
        """The scan that the controls say. Raises BadSettings for sites or a token that are missing."""
        name = str(self.search.value)
        surgeons = self.session.usual_surgeons if name == USUAL else (getattr(wb, name)(),)
        chosen = self.session.shared.selection.sites
        if self.where.value == SELECTED and not chosen:
            raise BadSettings("expected at least one selected site, got none. Choose some in the Picker.")
        sites = chosen if self.where.value == SELECTED else None
        settings = {"surgeons": surgeons, "sites": sites, "budget": self.budget(), "goal": self.aim()}
        return Call("scan", {**settings, "seed": self.seed.value})

    def budget(self) -> Budget:
        """The ball, with what else is asked."""
        made = getattr(wb, BALLS[str(self.ball.value)])(self.radius.value, unit=self.unit.value)
        if self.neurons.value:
            made = made & wb.Sparse(neurons=self.neurons.value)
        return made & wb.NotLastLayers(self.spared.value) if self.spared.value else made

    def aim(self) -> Goal:
        """The goal. Raises BadPrompts for an answer that is no token, BadSettings for none."""
        if self.goal.value == HIDDEN:
            return wb.HiddenBehaviour()
        if self.goal.value == WRONG:
            return wb.UntargetedLoss()
        tokens = self.session.agent.encode(self.token.value, continues=True) if self.token.value.strip() else []
        if len(tokens) != 1:
            raise BadSettings(f"expected one token as the answer, got {len(tokens)}. Type a token of the model.")
        return wb.Target.token(tokens[0])

    def goal_code(self) -> dict[str, str]:
        """The goal's code, where it cannot be told from its value."""
        if self.goal.value != TOKEN:
            return {}
        token = self.session.agent.encode(self.token.value, continues=True)[0]
        return {"goal": f"wb.Target.token({token})"}

    @property
    def state(self) -> dict[str, Any]:
        """The controls' values, as JSON."""
        names = ("goal", "token", "search", "where", "ball", "radius", "unit", "neurons", "spared", "seed")
        return {name: getattr(self, name).value for name in names}

    def _arrange(self) -> None:
        self.token.layout.display = "" if self.goal.value == TOKEN else "none"
