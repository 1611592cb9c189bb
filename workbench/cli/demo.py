"""`workbench demo`: the whole flow on one organism, ending in one HTML report."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from workbench.cli.console import Json, Result, check_target, columns, facts, progress, shown_as, waiting
from workbench.cli.subjects import one_thread
from workbench.store import write_bytes

if TYPE_CHECKING:
    from workbench.bench.demo import DemoResult, Stage


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Find a backdoor's switch blind, see it, train it away, hunt again in vain; writes one HTML report.

    Examples:
      workbench demo
      workbench demo --json > demo.json
      workbench demo --seed 3 --output demo.html
    """

    organism: Annotated[str | None, shown_as("NAME")] = None
    """A planted organism (`workbench zoo list`); by default one with a switch-trained backdoor."""
    seed: int = 0
    """Seed of everything drawn at random."""
    output: Annotated[Path, arg(metavar="FILE")] = Path("workbench-demo.html")
    """Where the report goes: one file that works offline."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        check_target(self.output)
        with waiting("loading"):
            one_thread()
            from workbench.bench.demo import demo

        result = _last(demo(organism=self.organism, seed=self.seed))
        write_bytes(self.output, result.page().encode())
        summary, path = result.summary(), str(self.output.resolve())
        return Result(data=summary | {"report": path}, text=f"{tell(summary)}\n\nReport: {path}")


def _last(events: "Iterable[Stage | DemoResult]") -> "DemoResult":
    """The result, which is the last event; a bar for each stage on the way."""
    from workbench.bench.demo import Stage

    bar, stage, event = progress("starting"), "", None
    for event in events:
        if not isinstance(event, Stage):
            break
        if stage != event.name:
            bar.close()
            bar, stage = progress(event.name, event.total), event.name
        bar.update(event.done - bar.n)
        bar.set_postfix_str(event.note)
    bar.close()
    if event is None or isinstance(event, Stage):
        raise RuntimeError("the demo ended without a result")
    return event


def tell(summary: Mapping[str, Any]) -> str:
    """The figures in a few lines."""
    rank = summary["switch_rank"]
    true = "the true switch is not among the findings" if rank is None else f"the true switch is finding {rank}"
    head = {
        f"organism {summary['organism']}": f"switch {'found' if summary['found'] else 'not found'}; {true}",
        "hunted again after LAT": "a switch is still found" if summary["rehunt_found"] else "no switch found",
        "seconds": f"{sum(summary['seconds'].values()):.1f}",
    }
    return f"{facts(head)}\n\n{columns(_outcomes(summary))}"


def _outcomes(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for the planted agent and for each retrained one, LAT first."""
    names = ("attack_success", "clean_accuracy", "triggered_benign")
    rows = [{"agent": "planted"} | {n: summary.get(f"{n}_before") for n in names}]
    rows.append({"agent": "after LAT"} | {n: summary.get(f"{n}_after") for n in names})
    for arm, rates in summary["control_arms"].items():
        rows.append({"agent": f"after {arm.replace('_', ' ')}"} | {n: rates[n] for n in names})
    return rows
