"""Exports: what other programs get of a run; TensorBoard and wandb are stood in for."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas
import pytest

from workbench import Store
from workbench.errors import BadSettings
from workbench.store import Run
from workbench.store.export import flat, send_to_wandb, table, write_csv, write_events, write_parquet


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Store(tmp_path / "store") as store:
        made = store.run("test", {"lr": 0.1}, "a run")
        for step in (1, 2, 3):
            made.log(step, {"loss": 1 / step, "won": float("nan") if step < 3 else 0.25})
        made.finish({"after": {"asr": 0.01}})
        yield made


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Run]:
    with Store(tmp_path / "store") as store:
        made = store.run("sweep", {})
        for seed in (0, 1):
            made.results.put({"arm": "lat", "seed": seed}, {"asr": seed / 2, "cost": {"gradients": 7}})
        yield made


def test_csv_and_parquet_hold_every_figure_exactly(run: Run, tmp_path: Path) -> None:
    write_csv(run, tmp_path / "x.csv")
    write_parquet(run, tmp_path / "x.parquet")
    assert "\n3,0.3333333333333333,0.25\n" in (tmp_path / "x.csv").read_text()
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "x.csv", index_col="step"), run.frame())
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "x.parquet"), run.frame())


def test_a_sweep_is_a_table_of_its_results(sweep: Run, tmp_path: Path) -> None:
    frame = table(sweep)
    assert list(frame.columns) == ["item.arm", "item.seed", "value.asr", "value.cost.gradients"]
    write_csv(sweep, tmp_path / "x.csv")
    write_parquet(sweep, tmp_path / "x.parquet")
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "x.csv"), frame, check_dtype=False)
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "x.parquet"), frame, check_dtype=False)


def test_parquet_refuses_columns_of_several_kinds(sweep: Run, tmp_path: Path) -> None:
    sweep.results.put({"arm": "noise", "seed": 0}, {"asr": "none"})
    with pytest.raises(BadSettings, match=r"one kind for Parquet: .* Export to csv"):
        write_parquet(sweep, tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


class Writer:
    """What is used of TensorBoard's SummaryWriter."""

    written: dict[str, list[tuple[str, float, int]]]

    def __init__(self, folder: str) -> None:
        self.rows = Writer.written.setdefault(folder, [])
        Path(folder).mkdir(parents=True)
        (Path(folder) / "events").touch()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append((name, value, step))


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """A module in the place of one that may not be installed."""
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_tensorboard_gets_every_figure_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Writer.written = {}
    stand_in(monkeypatch, "torch.utils.tensorboard")
    stand_in(monkeypatch, "torch.utils.tensorboard.writer", SummaryWriter=Writer)
    write_events(run, tmp_path / "events")
    place = str(tmp_path / "events" / run.key[:12])
    assert Writer.written == {place: [("loss", 1.0, 1), ("loss", 0.5, 2), ("loss", 1 / 3, 3), ("won", 0.25, 3)]}
    with pytest.raises(BadSettings, match="this run was exported before"):
        write_events(run, tmp_path / "events")


def test_wandb_gets_figures_settings_and_outcome(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Live:
        def __init__(self) -> None:
            self.summary: dict[str, Any] = {}
            self.logged: list[tuple[dict[str, float], int]] = []

        def __enter__(self) -> "Live":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def log(self, row: dict[str, float], step: int) -> None:
            self.logged.append((row, step))

    asked: dict[str, Any] = {}
    live = Live()
    stand_in(monkeypatch, "wandb", init=lambda **given: asked.update(given) or live)
    send_to_wandb(run, tmp_path / "wandb")
    assert asked == {
        "project": "lat-workbench",
        "name": "a run",
        "job_type": "test",
        "config": {"lr": 0.1},
        "dir": str(tmp_path / "wandb"),
    }
    assert live.logged == [({"loss": 1.0}, 1), ({"loss": 0.5}, 2), ({"loss": 1 / 3, "won": 0.25}, 3)]
    assert live.summary == {"after.asr": 0.01}


@pytest.mark.parametrize(
    ("package", "module", "export"),
    [
        ("pyarrow", "pyarrow", write_parquet),
        ("tensorboard", "torch.utils.tensorboard.writer", write_events),
        ("wandb", "wandb", send_to_wandb),
    ],
)
def test_a_missing_package_is_named_with_the_extra(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, module: str, export: Any
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        BadSettings, match=rf"expected {package}, which is not installed: `pip install 'lat-workbench\[export\]'"
    ):
        export(run, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_values_within_values_are_flattened() -> None:
    assert flat({"a": 1, "b": {"c": [2], "d": {"e": 3}}, "f": {}}) == {"a": 1, "b.c": [2], "b.d.e": 3}
