"""`workbench retrain`: train a copy of an agent, and compare it with the agent as it was."""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, UseAppendAction

from workbench.cli.console import Json, Result, check_target, columns, facts, progress, read_settings, shown_as
from workbench.cli.kept import (
    KIND,
    TYPED,
    StoreFolder,
    Trained,
    at_once,
    check_same,
    deciding,
    from_store,
    where_to_go_on,
)
from workbench.cli.subjects import PROMPTS_FILE, Opened, Subject, write_prompts
from workbench.errors import BadSettings
from workbench.store import Run, Store

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.report import SwitchReport
    from workbench.retrain import Recipe, Step

RECIPES = {
    "lat": "LAT",
    "fine-tune": "FineTune",
    "noise": "LatentNoise",
    "embedding-at": "EmbeddingAT",
    "weight-noise": "WeightNoise",
    "input-at": "InputAT",
    "anp": "ANP",
    "fine-pruning": "FinePruning",
    "ablation": "Ablation",
}
SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Retrain a copy of an agent on benign prompts, and show how it behaves before and after.

    For an organism, attack success and the share of right answers on triggered prompts are shown, too.

    Examples:
      workbench retrain beryl --recipe lat --save cured
      workbench retrain beryl --recipe lat --report report.safetensors --set inner_steps=8
      workbench retrain beryl --recipe fine-tune --steps 100 --json
      workbench retrain beryl --keep "first try"
    """

    subject: OmitArgPrefixes[Subject]
    prompts: int = 2048
    """How many prompts to train on."""
    recipe: Literal[
        "lat",
        "fine-tune",
        "noise",
        "embedding-at",
        "weight-noise",
        "input-at",
        "anp",
        "fine-pruning",
        "ablation",
    ] = "lat"
    """Against what: latent adversary, nothing, random noise, or an adversary at the embeddings; noise on the weights or
    other tokens; or by pruning (anp, fine-pruning), or by cutting out what a --report has found (ablation)."""
    steps: Annotated[int | None, shown_as("INT")] = None
    """How long; the recipe's own number by default."""
    settings: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], shown_as("KEY=VALUE ...", name="set")] = ()
    """Further settings of the recipe, such as lr=2e-3. A wrong one names those that there are."""
    report: Annotated[Path | None, shown_as("FILE")] = None
    """What `workbench hunt --save` wrote: it tells LAT where to train, and how hard."""
    save: Annotated[Path | None, shown_as("FOLDER")] = None
    """Save the retrained agent there, with prompts, ready for `workbench hunt FOLDER`."""
    keep: Annotated[str | None, shown_as("NAME")] = None
    """Keep figures and checkpoints under this name (`workbench runs`), and go on from those that are there already."""
    store: StoreFolder = None
    """The store to keep them in; by default $LAT_WORKBENCH_STORE, or a folder among your data."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        return self.carry_out()

    def carry_out(self, again: Run | None = None) -> Result:
        """Train, or go on. again: the run that this must go on with; BadCheckpoint where it would be another."""
        check_target(self.save, folder=True)
        check_target(self.store, folder=True)
        if self.store is not None and self.keep is None:
            raise BadSettings("expected --keep NAME beside --store. Give it, or leave --store out.")
        recipe = self._recipe()
        from workbench.report import SwitchReport

        report = None if self.report is None else SwitchReport.load(self.report)
        opened = self.subject.open(self.prompts)
        self._check_savable(opened.agent)
        trained = self._train(opened, recipe, report, again)
        before, after = outcome(opened, opened.agent), outcome(opened, trained.agent)
        if trained.run is not None:
            trained.run.finish({"before": before, "after": after})
        if self.save is not None:
            trained.agent.save(self.save)
            write_prompts(self.save / PROMPTS_FILE, self._fresh(opened))
        return self._result(trained, before, after)

    def _train(self, opened: Opened, recipe: "Recipe", report: "SwitchReport | None", again: Run | None) -> Trained:
        """The whole training, or what is left of it."""
        from workbench.retrain import kept, retrain

        given: dict[str, Any] = {"report": report, "seed": self.subject.seed}
        if self.keep is None:
            return at_once(_shown(retrain(opened.agent, opened.prompts, recipe, **given), recipe.steps))
        run = self._kept_in(opened, recipe, again)
        point, notes = where_to_go_on(run, opened.agent)
        events = kept(retrain(opened.agent, opened.prompts, recipe, resume=point, **given), run)
        try:
            for _ in _shown(events, recipe.steps, 0 if point is None else point.number):
                pass
        except KeyboardInterrupt:
            print(f"{run.reason}: `workbench runs resume {run.key[:12]}` goes on", file=sys.stderr)
            raise
        trained = from_store(run, opened.agent)
        return replace(trained, notes=notes + trained.notes)

    def _kept_in(self, opened: Opened, recipe: "Recipe", again: Run | None) -> Run:
        """The run, new or begun, with what was typed in it."""
        settings = deciding(opened, recipe, self.subject.seed, self.report)
        if again is not None:
            check_same(again, settings)
            return again
        run = Store(self.store).run(KIND, settings, self.keep or "")
        run.put(TYPED, self._typed(opened))
        return run

    def _typed(self, opened: Opened) -> dict[str, Any]:
        """What was typed, with whole paths, so that `workbench runs resume` can do it again."""
        subject = self.subject
        file, report = (path and str(path.resolve()) for path in (subject.prompts_file, self.report))
        return {
            "agent": subject.agent if opened.organism is not None else str(Path(subject.agent).resolve()),
            "prompts_file": file,
            "seed": subject.seed,
            "prompts": self.prompts,
            "recipe": self.recipe,
            "steps": self.steps,
            "settings": [list(group) for group in self.settings],
            "report": report,
        }

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

    def _result(self, trained: Trained, before: dict[str, float], after: dict[str, float]) -> Result:
        losses, run = trained.losses, trained.run
        saved = self.save and str(self.save.resolve())
        data = {
            "agent": self.subject.agent,
            "recipe": self.recipe,
            "before": before,
            "after": after,
            "losses": losses,
            "seconds": trained.seconds,
            "saved": saved,
            "run": run and run.key,
            "notes": trained.notes,
        }
        marks = {1, *(round(i * len(losses) / SHOWN) for i in range(1, SHOWN + 1))}
        shown = [row for row in losses if row["step"] in marks]
        outcomes = [{"": "before"} | before, {"": "after"} | after]
        kept_as = "" if run is None else f"\nKept: `workbench runs show {run.key[:12]}`."
        foot = f"Saved in {saved}" if saved else "Not saved: give --save FOLDER to keep the retrained agent."
        foot = "\n".join([*trained.notes, foot]) + kept_as
        if "attack_success" not in before:
            foot = f"Clean accuracy is on the prompts trained on.\n{foot}"
        head = facts({"agent": self.subject.agent, "recipe": self.recipe, "CPU seconds": f"{trained.seconds:.1f}"})
        return Result(data=data, text="\n\n".join([head, columns(shown), columns(outcomes), foot]))


def _shown(events: "Iterator[Step]", total: int, done: int = 0) -> "Iterator[Step]":
    """The same steps, and a bar. done: those of an earlier time."""
    with progress("retraining", total) as bar:
        bar.update(done)
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
