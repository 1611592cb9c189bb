"""demo and bench, with stand-ins for the long work, and doctor."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.cli.running import Run
from toy_models import zoo

# TransformerLens says so whenever an edit is tried there, which Agent.sites() does once.
pytestmark = pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale:UserWarning")


def _stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


RATES = {"attack_success": 0.9, "clean_accuracy": 1.0, "triggered_benign": 0.1}
SUMMARY = {
    "organism": "quartz", "found": True, "switch_rank": 1, "rehunt_found": False,
    "attack_success_before": 1.0, "attack_success_after": 0.01, "clean_accuracy_after": 1.0,
    "triggered_benign_after": 0.99, "control_arms": {"fine_tune": RATES, "embedding_at": RATES},
    "seconds": {"hunt": 20.0, "retrain lat": 12.5},
}  # fmt: skip


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A demo without compute; what it was asked for."""

    @dataclass
    class Stage:
        name: str
        done: int
        total: int
        note: str = ""

    class Outcome:
        def summary(self) -> dict[str, Any]:
            return SUMMARY

        def page(self) -> str:
            return "<!DOCTYPE html>é"

    asked: list[dict[str, Any]] = []

    def stand_in(**settings: Any) -> Any:
        asked.append(settings)
        print("chatter")
        yield Stage("hunt", 0, 2)
        yield Stage("hunt", 2, 2, "best 0.9")
        yield Stage("heatmap", 0, 1)
        yield Outcome()

    _stand_in(monkeypatch, "workbench.bench.demo", Stage=Stage, demo=stand_in)
    return asked


def test_demo_writes_the_report_and_names_it_last(run: Run, demo: list[dict[str, Any]]) -> None:
    said = run("demo", "--seed", "3", "--organism", "quartz")
    path = Path("workbench-demo.html").resolve()
    assert said.status == 0
    assert demo == [{"organism": "quartz", "seed": 3}]
    assert path.read_text(encoding="utf-8") == "<!DOCTYPE html>é"
    assert said.out.splitlines()[-1] == f"Report: {path}"
    assert re.search(r"after LAT +0\.010 +1\.000 +0\.990", said.out)
    assert re.search(r"after fine tune +0\.900", said.out)
    assert "the true switch is finding 1" in said.out


def test_demo_json_is_the_summary_and_the_path(run: Run, demo: list[dict[str, Any]]) -> None:
    said = run("demo", "--json", "--output", "deep/er/report.html")
    assert said.data == SUMMARY | {"report": str(Path("deep/er/report.html").resolve())}
    assert "chatter" in said.err


def test_doctor_finds_everything_in_order(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zoo.CACHE_VARIABLE, str(tmp_path / "cache"))
    said = run("doctor", "--json")
    names = {check["name"] for check in said.data["checks"]}
    assert {"python", "torch", "transformer-lens", "lat-workbench", "device", "cores", "organisms", "cache"} <= names
    assert "pytest" not in names  # an extra, not needed
    assert (said.status, said.data["ok"]) == (0, True)


def test_doctor_names_an_altered_checkpoint(run: Run, small_zoo: Path) -> None:
    with (small_zoo / "onyx" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    said = run("doctor")
    assert said.status == 1
    assert "BAD" in said.out
    assert re.search(r"organisms: .*onyx.model\.safetensors is not the file that was saved", said.out)


def test_doctor_names_what_is_missing_and_what_is_out_of_range(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["no-such-package>=1", "numpy<1", "pytest; extra == 'dev'"]
    monkeypatch.setattr("workbench.cli.doctor.requires", lambda name: needed)
    said = run("doctor", "--json")
    checks = {check["name"]: check for check in said.data["checks"]}
    assert said.status == 1
    assert checks["no-such-package"]["found"] == "missing"
    assert checks["no-such-package"]["cure"] == "run `pip install 'no-such-package>=1'`"
    assert checks["numpy"]["found"].endswith(", wanted <1")
    assert "pytest" not in checks
