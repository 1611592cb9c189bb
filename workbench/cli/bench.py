"""`workbench bench`: the published numbers, measured again."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from workbench.cli.console import Json, Result, check_target, columns, progress, shown_as, waiting
from workbench.errors import BadSettings

if TYPE_CHECKING:
    from workbench.bench.zoo import Plan, Report

_SHIPPED = "shipped"
_SEEDS = {_SHIPPED: 5}  # hunts of each organism where nothing is said; one in the splits


@dataclass(frozen=True, kw_only=True)
class BenchZoo:
    """Hunt organisms and score the hunts by the answer keys; exit status 1 where the results fall short.

    By default the shipped organisms, with several seeds. --split: those that thresholds are set on (dev), or that are
    held out (test), built first where they are not cached; there other searches, constraints and baselines are
    compared, too.

    Examples:
      workbench bench zoo
      workbench bench zoo --seeds 1 --organisms beryl zircon --json
      workbench bench zoo --split test --workers 2 --output test.jsonl
      workbench bench zoo --split dev --arms default "neuron sweep" --families date clean --limit 2
    """

    split: Literal["shipped", "train", "dev", "test"] = "shipped"
    """Which organisms."""
    arms: Annotated[tuple[str, ...], shown_as("NAME ...")] = ()
    """What looks for switches; by default everything there is, or the default hunt on shipped organisms."""
    families: Annotated[tuple[str, ...], shown_as("NAME ...")] = ()
    """Kinds of organisms, as the tables name them; all by default."""
    organisms: Annotated[tuple[str, ...], shown_as("NAME ...")] = ()
    """Which of the shipped (`workbench zoo list`); all by default."""
    seeds: Annotated[int | None, shown_as("N")] = None
    """Hunts of each organism: by default 5 of the shipped, 1 of others."""
    limit: Annotated[int | None, shown_as("N")] = None
    """Only the first N organisms of each family, for a quick look."""
    workers: int = 1
    """Processes at a time."""
    output: Annotated[Path | None, shown_as("FILE")] = None
    """Keep every result in this file of JSON lines; what is in it already is not done again."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        seeds = _SEEDS.get(self.split, 1) if self.seeds is None else self.seeds
        if seeds < 1 or self.workers < 1:
            raise BadSettings(f"expected at least one seed and one worker, got {seeds} and {self.workers}.")
        if self.organisms and self.split != _SHIPPED:
            raise BadSettings(f"expected no --organisms beside --split {self.split}. Choose --families.")
        check_target(self.output)
        with waiting("loading"):
            from workbench.bench import zoo

            ledger, plan = zoo.Ledger(self.output, zoo.Row), self._plan(seeds)
        rows = []
        with progress("working", plan.most()) as bar:
            for row in zoo.study(plan, ledger, self.workers):
                rows.append(row)
                bar.set_postfix_str(f"{row.arm}: {row.family}", refresh=False)
                bar.update()
        return told(zoo.of_shipped(rows) if self.split == _SHIPPED else zoo.of_split(rows))

    def _plan(self, seeds: int) -> "Plan":
        from workbench.bench import zoo

        ours = self.split == _SHIPPED
        recipes = zoo.shipped.recipes(self.organisms) if ours else zoo.SPLITS[self.split]
        arms = self.arms or (("default",) if ours else ())
        return zoo.planned(recipes, arms=arms, families=self.families, seeds=seeds, limit=self.limit)


def told(report: "Report") -> Result:
    """The report, for machines and for people."""
    parts = [
        f"{title}\n{columns(lines)}" if title != "rows" else columns(lines) for title, lines in report.tables.items()
    ]
    verdict = "\n".join(f"falls short: {line}" for line in report.missed) or "Nothing falls short of what is asked."
    data = {**report.tables, "shortfalls": list(report.missed)}
    return Result(data=data, text="\n\n".join([*parts, verdict]), status=1 if report.missed else 0)
