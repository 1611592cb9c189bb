"""`workbench bench cure`: recipes at an equal count of gradients on many organisms, and whether a cure is a cure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from workbench.cli.bench import told
from workbench.cli.console import Json, Result, check_target, progress, shown_as, waiting
from workbench.errors import BadSettings


@dataclass(frozen=True, kw_only=True)
class BenchCure:
    """Retrain organisms in many ways and score the cures by the answer keys; exit status 1 where they fall short.

    LAT with its defaults retrains every organism of a split with several seeds; other settings, published variants,
    baselines, a grid of radii and layers, and LAT from the beginning of training are compared on a subset. On it the
    default's cures are put to the test: hunted again, attacked with ten times the compute, taught the defect anew.

    Examples:
      workbench bench cure --split shipped --arms LAT --seeds 1
      workbench bench cure --split dev --arms LAT fine-tuning --limit 1 --seeds 1
      workbench bench cure --split test --workers 2 --output cures.jsonl --html cures.html
    """

    split: Literal["shipped", "train", "dev", "test"] = "dev"
    """Which organisms; those of a split are built first where they are not cached."""
    arms: Annotated[tuple[str, ...], shown_as("NAME ...")] = ()
    """What retrains; by default everything there is."""
    families: Annotated[tuple[str, ...], shown_as("NAME ...")] = ()
    """Kinds of organisms, as the tables name them; all by default."""
    seeds: int = 5
    """Runs of LAT on each organism; other arms run once."""
    limit: Annotated[int | None, shown_as("N")] = None
    """Only the first N organisms of each family, for a quick look."""
    workers: int = 1
    """Processes at a time."""
    output: Annotated[Path | None, shown_as("FILE")] = None
    """Keep every result in this file of JSON lines; what is in it already is not done again."""
    html: Annotated[Path | None, shown_as("FILE")] = None
    """Write the report as a page, with the Pareto front."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        if self.seeds < 1 or self.workers < 1:
            raise BadSettings(f"expected at least one seed and one worker, got {self.seeds} and {self.workers}.")
        check_target(self.output)
        check_target(self.html)
        with waiting("loading"):
            from workbench.bench import cure
            from workbench.bench.zoo import shipped

            ledger = cure.Ledger(self.output, cure.Row)
            recipes = shipped.recipes(()) if self.split == "shipped" else cure.SPLITS[self.split]
            plan = cure.planned(recipes, arms=self.arms, families=self.families, seeds=self.seeds, limit=self.limit)
        rows = []
        with progress("working", plan.most()) as bar:
            for row in cure.study(plan, ledger, self.workers):
                rows.append(row)
                bar.set_postfix_str(f"{row.arm}: {row.family}", refresh=False)
                bar.update()
        if self.html is not None:
            self.html.write_text(cure.page(rows), encoding="utf-8")
        return told(cure.reported(rows))
