"""`workbench bench speed`: how fast edits are evaluated, beside what people write today."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from workbench.cli.console import Json, Result, as_json, check_target, columns, facts, progress, shown_as, waiting
from workbench.cli.subjects import one_thread
from workbench.errors import BadSettings
from workbench.store import write_bytes

if TYPE_CHECKING:
    from workbench.bench.speed import Check, Row


@dataclass(frozen=True, kw_only=True)
class BenchSpeed:
    """Time the evaluation of edits, and hunts and retraining with it; exit status 1 where the figures fall short.

    Interleaved in one process on one thread, medians over repeats. About eight CPU minutes with the defaults.

    Examples:
      workbench bench speed
      workbench bench speed --shapes tiny --parts sweeps heatmap --json
      workbench bench speed --output speed.json --plots speed.html
    """

    shapes: Annotated[tuple[str, ...], shown_as("SHAPE ...")] = ()
    """Which of tiny, small and gpt2-small; all by default."""
    parts: Annotated[tuple[str, ...], shown_as("PART ...")] = ()
    """Which of sweeps, architectures, hunts, retraining, heatmap and scaling; all by default."""
    repeats: int = 5
    """Timings of each figure, of which the median is taken."""
    device: str = "cpu"
    """cpu, or cuda for the GPU's figures, of which nothing is asked but that they are exact."""
    output: Annotated[Path | None, shown_as("FILE")] = None
    """Where all figures go, also those of single layers, as JSON."""
    plots: Annotated[Path | None, shown_as("FILE")] = None
    """Where a page with plots of them goes: one HTML file that works offline."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        self._check()
        with waiting("loading"):
            one_thread()
            from workbench.bench.speed import checks, machine, plan, shortfalls

        import torch

        rows: list[Row] = []
        measurements = plan(self.shapes, self.parts, repeats=self.repeats, device=self.device)
        with progress("measuring", len(measurements)) as bar:
            for measurement in measurements:
                bar.set_postfix_str(measurement.name)
                rows += measurement.run()
                bar.update()
        found, about = checks(rows, speed=self.device == "cpu"), machine(torch.device(self.device))
        data = {"machine": about, "rows": [asdict(row) for row in rows], "shortfalls": shortfalls(found)}
        data["checks"] = [asdict(check) | {"reached": check.reached} for check in found]
        self._write(data, rows, found)
        return Result(data=data, text=_text(data, rows, found), status=1 if data["shortfalls"] else 0)

    def _check(self) -> None:
        """Raise BadSettings for what cannot be done, before anything is measured."""
        check_target(self.output)
        check_target(self.plots)
        if self.device not in ("cpu", "cuda"):
            raise BadSettings(f"expected the device cpu or cuda, got {self.device!r}.")

    def _write(self, data: dict[str, Any], rows: "Sequence[Row]", found: "Sequence[Check]") -> None:
        """The files asked for."""
        if self.output is not None:
            write_bytes(self.output, as_json(data).encode())
        if self.plots is not None:
            from workbench.bench.speed.pictures import write_plots

            write_plots(self.plots, data["machine"], rows, found)


def _text(data: dict[str, Any], rows: "Sequence[Row]", found: "Sequence[Check]") -> str:
    """The machine, a table for each part, and what falls short."""
    from workbench.bench.speed import tables

    about = data["machine"]
    head = facts(about | {"versions": ", ".join(f"{k} {v}" for k, v in about["versions"].items())})
    parts = [f"{title}\n\n{columns(lines)}" for title, lines in tables(rows, found, about["device"]).items()]
    verdict = "\n".join(f"falls short: {line}" for line in data["shortfalls"]) or "All that is asked was reached."
    return "\n\n".join([head, *parts, verdict])
