"""`workbench runs`: what is kept in a store, shown, compared, handed on, and gone on with."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from workbench.cli.console import Json, Result, check_target, columns, facts, shown_as, waiting
from workbench.cli.kept import KIND, TYPED, StoreFolder
from workbench.cli.retrain import Retrain
from workbench.cli.subjects import Subject
from workbench.errors import BadSettings
from workbench.store import Run, Store
from workbench.store.export import flat, send_to_wandb, write_csv, write_events, write_parquet

SHOWN = 8
_SHORT = 12  # letters of a key that are shown
_Name = Annotated[Positional[str], arg(metavar="RUN")]


@dataclass(frozen=True, kw_only=True)
class RunsList:
    """The runs that are kept, those that were changed last first.

    Examples:
      workbench runs list
      workbench runs list --kind retrain --json
    """

    kind: Annotated[str | None, shown_as("NAME")] = None
    """Only runs of this kind."""
    store: StoreFolder = None
    """The store; by default $LAT_WORKBENCH_STORE, or a folder among your data."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        with Store(self.store) as store:
            runs = sorted(store.runs(self.kind), key=lambda run: run.changed, reverse=True)
            rows = [_line(run) for run in runs]
            return Result(data={"store": str(store.folder), "runs": rows}, text=columns(rows))


@dataclass(frozen=True, kw_only=True)
class RunsShow:
    """All that is kept of a run: settings, outcome, figures.

    Examples:
      workbench runs show "first try"
      workbench runs show 3f9a1c20 --json
    """

    name: _Name
    """Its name, or how its key begins (`workbench runs list`)."""
    store: StoreFolder = None
    """The store; by default $LAT_WORKBENCH_STORE, or a folder among your data."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        with Store(self.store) as store:
            run = store.find(self.name)
            figures = _figures(run)
            head = _line(run) | {"results": len(run.results), "checkpoints": run.checkpoints(), "items": run.names()}
            parts = {"Settings": facts(flat(run.settings)), "Outcome": facts(flat(run.outcome))}
            parts["Figures"] = columns(_some(figures)) if figures else ""
            text = facts(head) + "".join(f"\n\n{title}\n{part}" for title, part in parts.items() if part)
            data = head | {"key": run.key, "settings": run.settings, "outcome": run.outcome, "figures": figures}
            return Result(data=data, text=text)


@dataclass(frozen=True, kw_only=True)
class RunsCompare:
    """Runs side by side: the settings in which they differ, their outcomes and their last figures.

    Examples:
      workbench runs compare "first try" "second try"
      workbench runs compare 3f9a1c20 b7710e55 --json
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN RUN ...")]
    """Two runs or more, by name or by how their keys begin."""
    store: StoreFolder = None
    """The store; by default $LAT_WORKBENCH_STORE, or a folder among your data."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        if len(self.names) < 2:
            raise BadSettings(f"expected two runs or more to compare, got {len(self.names)}. `runs list` lists them.")
        with Store(self.store) as store:
            runs = {run.key: run for run in map(store.find, self.names)}.values()
            labels = _labels(list(runs))
            tables = {
                "settings": [row for row in _beside(labels, [flat(run.settings) for run in runs]) if _differs(row)],
                "outcome": _beside(labels, [flat(run.outcome) for run in runs]),
                "last figures": _beside(labels, [_last(run) for run in runs]),
            }
        text = "\n\n".join(f"{title}\n{columns(rows)}" for title, rows in tables.items() if rows)
        return Result(data=tables, text=text or "They are the same.")


@dataclass(frozen=True, kw_only=True)
class RunsExport:
    """Hand a run's figures, or where it has none the results of its sweep, to another program.

    Examples:
      workbench runs export "first try" --to csv --output first.csv
      workbench runs export 3f9a1c20 --to tensorboard --output events
    """

    name: _Name
    """Its name, or how its key begins (`workbench runs list`)."""
    to: Literal["csv", "parquet", "tensorboard", "wandb"] = "csv"
    """As what; all but csv need a package of `pip install 'lat-workbench[export]'`. wandb obeys $WANDB_MODE."""
    output: Annotated[Path | None, shown_as("PATH")] = None
    """The file to write; a folder for tensorboard, and for wandb, which has one by default."""
    store: StoreFolder = None
    """The store; by default $LAT_WORKBENCH_STORE, or a folder among your data."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        if self.output is None and self.to != "wandb":
            raise BadSettings(f"expected --output, to write {self.to} to. Name a path.")
        check_target(self.output, folder=self.to in ("tensorboard", "wandb"))
        with Store(self.store) as store:
            run = store.find(self.name)
            with waiting(f"exporting to {self.to}"):
                _EXPORTS[self.to](run, self.output)
        written = self.output and str(self.output.resolve())
        where = f" in {written}" if written else ""
        return Result(data={"run": run.key, "to": self.to, "output": written}, text=f"Exported to {self.to}{where}")


@dataclass(frozen=True, kw_only=True)
class RunsResume:
    """Go on with a run of `workbench retrain --keep` from its last checkpoint, as if nothing had happened.

    Examples:
      workbench runs resume "first try"
      workbench runs resume "first try" --save cured
    """

    name: _Name
    """Its name, or how its key begins (`workbench runs list`)."""
    save: Annotated[Path | None, shown_as("FOLDER")] = None
    """Save the retrained agent there, with prompts, ready for `workbench hunt FOLDER`."""
    store: StoreFolder = None
    """The store; by default $LAT_WORKBENCH_STORE, or a folder among your data."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        with Store(self.store) as store:
            run = store.find(self.name)
            if run.kind != KIND or TYPED not in run.names():
                raise BadSettings(
                    f"expected a run of `workbench retrain --keep`, got one of kind {run.kind!r} that was begun in "
                    "Python. Go on with it there: workbench.retrain.resume_point gives the checkpoint."
                )
            return _again(run.get(TYPED), run.name, self.save).carry_out(run)


def _again(typed: Mapping[str, Any], name: str, save: Path | None) -> Retrain:
    """The command that began a run."""
    file, report = (path and Path(path) for path in (typed["prompts_file"], typed["report"]))
    return Retrain(
        subject=Subject(agent=typed["agent"], prompts_file=file, seed=typed["seed"]),
        prompts=typed["prompts"],
        recipe=typed["recipe"],
        steps=typed["steps"],
        settings=tuple(tuple(group) for group in typed["settings"]),
        report=report,
        save=save,
        keep=name,
    )


def _line(run: Run) -> dict[str, Any]:
    """A run in a few words."""
    return {
        "run": run.key[:_SHORT],
        "name": run.name,
        "kind": run.kind,
        "status": run.status,
        "steps": run.step,
        "changed": f"{datetime.fromtimestamp(run.changed):%Y-%m-%d %H:%M}",
        "reason": run.reason,
    }


def _some(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first row, the last, and some in between."""
    marks = {0, *(round(i * (len(rows) - 1) / SHOWN) for i in range(1, SHOWN + 1))}
    return [rows[mark] for mark in sorted(marks)]


def _labels(runs: Sequence[Run]) -> list[str]:
    """A word for each that none of the others has."""
    names = [run.name for run in runs]
    return [
        name if name and names.count(name) == 1 else run.key[:_SHORT] for name, run in zip(names, runs, strict=True)
    ]


def _beside(labels: Sequence[str], values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each name that any of them has, a column for each of them."""
    names = dict.fromkeys(name for some in values for name in some)
    return [{"": name} | {label: some.get(name) for label, some in zip(labels, values, strict=True)} for name in names]


def _differs(row: Mapping[str, Any]) -> bool:
    first, *others = list(row.values())[1:]
    return any(other != first for other in others)


def _figures(run: Run) -> list[dict[str, Any]]:
    """A row a step; what is counted in whole numbers."""
    frame = run.frame()
    values = {name: frame[name].to_numpy() for name in frame}
    counted = {name: int for name, column in values.items() if (column % 1 == 0).all() and column.max() > 1}
    return frame.astype(counted).reset_index().to_dict("records")


def _last(run: Run) -> dict[str, Any]:
    """The figures of the last step."""
    return {name: value for row in _figures(run)[-1:] for name, value in row.items() if not math.isnan(value)}


_EXPORTS: dict[str, Callable[[Run, Any], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "tensorboard": write_events,
    "wandb": send_to_wandb,
}
