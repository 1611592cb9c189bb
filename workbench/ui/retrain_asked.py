"""What is asked of retraining: recipe, schedule and settings, as controls and as the settings of `wb.retrain`."""

import ast
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

import workbench as wb
from workbench.errors import BadSettings
from workbench.prompts import Prompts
from workbench.ui.finding_code import report_of
from workbench.ui.session import Session
from workbench.ui.source import Call
from workbench.ui.views import snug

RECIPES = {
    "LAT": ("LAT", ""),
    "LAT as Casper et al. 2024": ("LAT", "casper2024"),
    "LAT as Sheshadri et al. 2024": ("LAT", "sheshadri2024"),
    "adversarial training on embeddings": ("EmbeddingAT", ""),
    "adversarial training on inputs": ("InputAT", ""),
    "noise in the latent state": ("LatentNoise", ""),
    "noise in the weights": ("WeightNoise", ""),
    "fine-tuning": ("FineTune", ""),
    "fine-pruning": ("FinePruning", ""),
    "ANP": ("ANP", ""),
    "ablation of what was found": ("Ablation", ""),
}
"""What can be chosen: the name of the recipe in `workbench`, and of its preset."""
SCHEDULES = ("loosen", "steady", "lockstep", "more-compute")
OWN = ("steps", "lr", "batch", "schedule")
"""Controls that begin with the recipe's own settings."""
DRAWN = 2048
"""Prompts that are drawn of an organism to train on, where nothing else is said."""


class Asked:
    """The controls of the Retrain panel. box: all of them; only those that the chosen recipe has are shown."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.recipe = widgets.Dropdown(options=list(RECIPES), description="recipe", layout={"width": "320px"})
        self.steps = widgets.BoundedIntText(min=1, max=10**6, description="steps", layout={"width": "125px"})
        self.lr = widgets.BoundedFloatText(min=1e-9, max=10.0, step=1e-4, description="rate", layout={"width": "125px"})
        self.batch = widgets.BoundedIntText(min=1, max=10**5, description="batch", layout={"width": "115px"})
        self.eps = widgets.BoundedFloatText(
            max=1e3, step=0.05, description="eps", layout={"width": "110px"}, tooltip="0: as the recipe chooses"
        )
        self.schedule = widgets.Dropdown(options=SCHEDULES, description="schedule", layout={"width": "190px"})
        self.told = widgets.Checkbox(value=True, description="where the hunt found it", indent=False)
        self.told.layout.width = "180px"
        self.more = widgets.Text(
            description="more", placeholder="inner_steps=8, norm='sequence'", layout={"width": "300px"}
        )
        self.prompts = widgets.BoundedIntText(
            value=DRAWN, min=1, max=10**6, description="prompts", layout={"width": "135px"}
        )
        self.seed = widgets.BoundedIntText(min=0, max=2**31 - 1, description="seed", layout={"width": "110px"})
        self.every = widgets.BoundedIntText(
            value=50, min=1, max=10**6, description="keep every", layout={"width": "140px"}
        )
        first = [self.recipe, self.steps, self.lr, self.batch, self.seed, self.every, self.prompts]
        self.box = widgets.VBox([widgets.HBox(first), widgets.HBox([self.eps, self.schedule, self.told, self.more])])
        self.recipe.observe(lambda _: self._arrange(), "value")
        self._arrange()
        snug(self.box)

    @property
    def make(self) -> Callable[..., Any]:
        """What makes the chosen recipe."""
        name, preset = RECIPES[str(self.recipe.value)]
        return getattr(getattr(wb, name), preset) if preset else getattr(wb, name)

    def settings(self) -> dict[str, Any]:
        """The settings that differ from the recipe's own. Raises BadSettings for what is typed and is none."""
        own = self.make()
        given = {name: getattr(self, name).value for name in OWN if hasattr(own, name)}
        given = {name: value for name, value in given.items() if value != getattr(own, name)}
        if hasattr(own, "eps") and self.eps.value:
            given["eps"] = self.eps.value
        return given | typed(self.more.value)

    def call(self) -> Call:
        """The retraining that the controls say. Raises BadSettings or UnknownName for settings that it has not."""
        recipe = self.make(**self.settings())
        settings: dict[str, Any] = {"recipe": recipe, "seed": self.seed.value}
        findings = self.session.shared.findings
        if findings and self.told.value:
            settings["report"] = report_of(findings[0], self.session.agent.name)
        elif isinstance(recipe, wb.Ablation):
            raise BadSettings("expected a finding to cut out, got none. Run the Surgeon first, and tell what it found.")
        return Call("retrain", settings)

    def drawn(self) -> Prompts:
        """What is trained on: new prompts of the organism, or the session's where there is none."""
        organism = self.session.organism
        return self.session.prompts if organism is None else organism.prompts(self.prompts.value, seed=self._draw_seed)

    def drawn_code(self) -> str:
        """The same as Python."""
        if self.session.organism is None:
            return "prompts"
        return f"organism.prompts({self.prompts.value}, seed={self._draw_seed})"

    @property
    def _draw_seed(self) -> int:
        return self.seed.value + 1

    @property
    def state(self) -> dict[str, Any]:
        """The controls' values, as JSON."""
        names = ("recipe", "steps", "lr", "batch", "eps", "schedule", "told", "more", "prompts", "seed", "every")
        return {name: getattr(self, name).value for name in names}

    def _arrange(self) -> None:
        """Show what the recipe has, and its own steps, rate, batch and schedule."""
        own = self.make()
        for name in OWN:
            if hasattr(own, name):
                getattr(self, name).value = getattr(own, name)
        for name in ("eps", "schedule"):
            getattr(self, name).layout.display = "" if hasattr(own, name) else "none"
        self.prompts.layout.display = "none" if self.session.organism is None else ""


def typed(text: str) -> dict[str, Any]:
    """Settings as somebody types them, `eps=0.7, norm='sequence'`: plain values only; nothing of it is run."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("a setting without a name")
        names = {word.arg for word in call.keywords if word.arg}
        if len(names) < len(call.keywords):
            raise ValueError("a name twice")
        return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise BadSettings(f"expected settings such as inner_steps=8, norm='sequence', got {text[:80]!r}.") from None
