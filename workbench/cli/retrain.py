"""`workbench retrain`: train a copy of an agent, and compare it with the agent as it was."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, UseAppendAction

from workbench.cli.console import Json, Result, check_target, columns, facts, progress, read_settings, shown_as
from workbench.cli.subjects import PROMPTS_FILE, Opened, Subject, write_prompts
from workbench.errors import BadSettings

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.retrain import Recipe, Step

RECIPES = {"lat": "LAT", "fine-tune": "FineTune", "noise": "LatentNoise", "embedding-at": "EmbeddingAT"}
SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Retrain a copy of an agent on benign prompts, and show how it behaves before and after.

    For an organism, attack success and the share of right answers on triggered prompts are shown, too.

    Examples:
      workbench retrain beryl --recipe lat --save cured
      workbench retrain beryl --recipe lat --report report.safetensors --set inner_steps=8
      workbench retrain beryl --recipe fine-tune --steps 100 --json
    """

    subject: OmitArgPrefixes[Subject]
    prompts: int = 2048
    """How many prompts to train on."""
    recipe: Literal["lat", "fine-tune", "noise", "embedding-at"] = "lat"
    """Against what: latent adversary, nothing, random noise, or an adversary at the embeddings."""
    steps: Annotated[int | None, shown_as("INT")] = None
    """How long; the recipe's own number by default."""
    settings: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], shown_as("KEY=VALUE ...", name="set")] = ()
    """Further settings of the recipe, such as lr=2e-3. A wrong one names those that there are."""
    report: Annotated[Path | None, shown_as("FILE")] = None
    """What `workbench hunt --save` wrote: it tells LAT where to train, and how hard."""
    save: Annotated[Path | None, shown_as("FOLDER")] = None
    """Save the retrained agent there, with prompts, ready for `workbench hunt FOLDER`."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        check_target(self.save, folder=True)
        recipe = self._recipe()
        from workbench.report import SwitchReport
        from workbench.retrain import retrain

        report = None if self.report is None else SwitchReport.load(self.report)
        opened = self.subject.open(self.prompts)
        self._check_savable(opened.agent)
        events = retrain(opened.agent, opened.prompts, recipe, report=report, seed=self.subject.seed)
        steps = list(_shown(events, recipe.steps))
        after = steps[-1].agent
        if self.save is not None:
            after.save(self.save)
            write_prompts(self.save / PROMPTS_FILE, self._fresh(opened))
        return self._result(steps, outcome(opened, opened.agent), outcome(opened, after))

    def _check_savable(self, agent: "Agent") -> None:
        """Raise BadSettings where a retrained agent is to be saved and cannot be: before training, not after it."""
        if self.save is not None and agent.bridge.cfg.architecture != "TransformerLensNative":
            raise BadSettings(
                f"expected a native agent to --save, got {agent.name}, a Hugging Face model: it cannot be written yet. "
                "Leave --save out, or use workbench.retrain in Python and save the weights of its last step's agent."
            )

    def _recipe(self) -> "Recipe":
        """The recipe with what was set. Raises UnknownName or BadSettings."""
        import workbench

        kind = getattr(workbench, RECIPES[self.recipe])
        given = read_settings(self.settings)
        if self.steps is not None:
            if "steps" in given:
                raise BadSettings("expected the number of steps once, got it by --steps and by --set. Leave one out.")
            given["steps"] = self.steps
        return kind(**given)

    def _fresh(self, opened: Opened) -> Any:
        """Prompts to hunt on later: an organism's, not those trained on; else those that there are."""
        if opened.organism is None:
            return opened.prompts
        return opened.organism.prompts(self.prompts, seed=self.subject.seed + 1)

    def _result(self, steps: "list[Step]", before: dict[str, float], after: dict[str, float]) -> Result:
        losses = [{"step": s.number, "loss": s.loss, "adversarial_loss": s.adversarial_loss} for s in steps]
        saved = self.save and str(self.save.resolve())
        data = {
            "agent": self.subject.agent,
            "recipe": self.recipe,
            "before": before,
            "after": after,
            "losses": losses,
            "seconds": steps[-1].seconds,
            "saved": saved,
        }
        marks = {1, *(round(i * len(losses) / SHOWN) for i in range(1, SHOWN + 1))}
        shown = [row for row in losses if row["step"] in marks]
        outcomes = [{"": "before"} | before, {"": "after"} | after]
        foot = f"Saved in {saved}" if saved else "Not saved: give --save FOLDER to keep the retrained agent."
        if "attack_success" not in before:
            foot = f"Clean accuracy is on the prompts trained on.\n{foot}"
        head = facts({"agent": self.subject.agent, "recipe": self.recipe, "CPU seconds": f"{steps[-1].seconds:.1f}"})
        return Result(data=data, text="\n\n".join([head, columns(shown), columns(outcomes), foot]))


def _shown(events: "Iterator[Step]", total: int) -> "Iterator[Step]":
    """The same steps, and a bar."""
    with progress("retraining", total) as bar:
        for step in events:
            bar.set_postfix_str(f"loss {step.loss:.3f}, adversarial {step.adversarial_loss:.3f}", refresh=False)
            bar.update()
            yield step


def outcome(opened: Opened, agent: "Agent") -> dict[str, float]:
    """How an agent behaves, as rates: an organism's on its own fixed prompts, another's on those it was opened with."""
    if opened.organism is not None:
        return asdict(opened.organism.outcome(agent))
    right = agent.logits(opened.prompts).argmax(-1).cpu() == opened.prompts.answers
    return {"clean_accuracy": float(right.double().mean())}
