"""`workbench bench`: the published numbers, measured again."""

from dataclasses import dataclass
from typing import Annotated

from workbench.cli.console import Json, Result, columns, progress, shown_as, waiting
from workbench.errors import BadSettings


@dataclass(frozen=True, kw_only=True)
class BenchZoo:
    """Hunt every shipped organism with several seeds; exit status 1 where the results fall short.

    Opens the answer keys, to score.

    Examples:
      workbench bench zoo
      workbench bench zoo --seeds 1 --organisms beryl zircon --json
      workbench bench zoo --calibration --seeds 2 --workers 2
    """

    seeds: int = 5
    """Hunts of each organism."""
    organisms: Annotated[tuple[str, ...], shown_as("NAME ...")] = ()
    """Which (`workbench zoo list`); all by default."""
    workers: int = 1
    """Processes at a time."""
    calibration: bool = False
    """The organisms that the thresholds were set on, in place of the shipped ones; built where they are not cached."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        if self.seeds < 1 or self.workers < 1:
            raise BadSettings(f"expected at least one seed and one worker, got {self.seeds} and {self.workers}.")
        import toy_models

        with waiting("loading"):
            from workbench.bench.zoo import CALIBRATION, bench, shortfalls, table

        names, rows = self.organisms or toy_models.names(), []
        with progress("hunting", len(CALIBRATION if self.calibration else names) * self.seeds) as bar:
            for row in bench(names, self.seeds, self.workers, calibration=self.calibration):
                rows.append(row)
                bar.update()
        lines, short = table(rows).reset_index().to_dict("records"), shortfalls(rows)
        verdict = "\n".join(f"falls short: {line}" for line in short) or "All that is asked was reached."
        data = {"rows": lines, "shortfalls": short}
        return Result(data=data, text=f"{columns(lines)}\n\n{verdict}", status=1 if short else 0)
