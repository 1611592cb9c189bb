"""`workbench runs`, and `workbench retrain --keep`: kept, broken off, gone on with, shown, compared and handed on."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

from tests.cli.running import Run
from toy_models import Organism
from workbench import Agent, Store
from workbench.cli.subjects import read_prompts, write_prompts

# TransformerLens says so whenever an edit is tried there, which Agent.sites() does once.
pytestmark = pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale:UserWarning")
SHORT = ("retrain", "onyx", "--prompts", "64", "--steps", "6", "--set", "batch=8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of these tests."""
    monkeypatch.setenv("LAT_WORKBENCH_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal: a shell's background jobs, and all that they start, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def losses(data: dict[str, Any]) -> list[Any]:
    return [(row["step"], row["loss"], row["adversarial_loss"]) for row in data["losses"]]


def break_off(monkeypatch: pytest.MonkeyPatch, run: Run, step: int, *words: str) -> None:
    """Run a command and press Ctrl-C within a step."""
    calls, real = [], torch.optim.AdamW.step

    def pressed(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", pressed)
        said = run(*words)
    assert said.status == 130
    assert len(calls) == step
    assert "goes on\n" in said.err


def test_a_run_broken_off_and_resumed_is_the_unbroken_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(*SHORT, "--save", "whole", "--json").data
    break_off(monkeypatch, run, 2, *SHORT, "--keep", "first try")
    listed = run("runs", "list", "--json").data["runs"]
    assert [(row["name"], row["status"], row["steps"]) for row in listed] == [("first try", "stopped", 2)]
    break_off(monkeypatch, run, 3, "runs", "resume", "first try")
    data = run("runs", "resume", "first try", "--save", "resumed", "--json").data
    assert losses(data) == losses(whole)
    assert (data["before"], data["after"], data["notes"]) == (whole["before"], whole["after"], [])
    one, other = (Agent.load(name, device="cpu") for name in ("whole", "resumed"))
    assert all(torch.equal(weight, other.weights()[name]) for name, weight in one.weights().items())


def test_a_rerun_trains_nothing_and_says_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(*SHORT, "--keep", "a", "--json").data
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: pytest.fail("trained again"))
    again = run(*SHORT, "--keep", "b", "--json").data
    assert again == first
    assert [row["name"] for row in run("runs", "list", "--json").data["runs"]] == ["b"]


def test_show_tells_everything(run: Run, folder: Path) -> None:
    data = run(*SHORT, "--keep", "first try", "--json").data
    shown = run("runs", "show", "first try", "--json").data
    assert (shown["key"], shown["status"], shown["steps"]) == (data["run"], "done", 6)
    assert shown["settings"]["recipe"]["kind"] == "LAT"
    assert shown["settings"]["recipe"]["batch"] == 8
    assert shown["outcome"]["after"] == data["after"]
    assert [(r["step"], r["loss"], r["adversarial_loss"]) for r in shown["figures"]] == losses(data)
    text = run("runs", "show", data["run"][:8]).out
    for words in ("first try", "recipe.batch", "after.clean accuracy", "adversarial loss", "command"):
        assert words in text
    assert run("runs", "list", "--kind", "sweep", "--json").data == {"store": str(folder), "runs": []}


def test_compare_shows_what_differs(run: Run) -> None:
    run(*SHORT, "--keep", "one")
    run(*SHORT, "--set", "lr=0.01", "--keep", "two")
    tables = run("runs", "compare", "one", "two", "--json").data
    assert tables["settings"] == [{"": "recipe.lr", "one": 0.006, "two": 0.01}]
    assert {row[""] for row in tables["outcome"]} >= {"before.clean_accuracy", "after.attack_success"}
    assert {row[""]: row["one"] for row in tables["last figures"]}["step"] == 6
    text = run("runs", "compare", "one", "two").out
    assert "recipe.lr" in text
    assert "recipe.batch" not in text


def test_export_writes_the_figures(run: Run) -> None:
    data = run(*SHORT, "--keep", "one", "--json").data
    assert "Exported to csv in" in run("runs", "export", "one", "--output", "one.csv").out
    told = run("runs", "export", "one", "--to", "parquet", "--output", "one.parquet", "--json").data
    assert told == {"run": data["run"], "to": "parquet", "output": str(Path("one.parquet").resolve())}
    for frame in (pandas.read_csv("one.csv").set_index("step"), pandas.read_parquet("one.parquet")):
        assert list(frame.index) == [1, 2, 3, 4, 5, 6]
        assert list(frame["loss"]) == pytest.approx([row["loss"] for row in data["losses"]])


def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(monkeypatch, run, 2, *SHORT, "--keep", "one")
    break_off(monkeypatch, run, 2, "runs", "resume", "one")
    newest = max(folder.glob("objects/*/checkpoint-*"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:100])
    said = run("runs", "resume", "one")
    assert said.status == 0
    assert "going on from step 2" in said.out
    assert "is not the file that was saved" in said.out


def test_a_run_is_not_gone_on_with_on_other_prompts(
    run: Run, organisms: dict[str, Organism], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prompts(Path("mine.json"), organisms["onyx"].prompts(64, seed=5))
    break_off(monkeypatch, run, 2, *SHORT, "--prompts-file", "mine.json", "--keep", "one")
    prompts = read_prompts(Path("mine.json"))
    write_prompts(Path("mine.json"), prompts[:40])
    said = run("runs", "resume", "one")
    assert said.status == 2
    assert "expected the prompts that run one began with, got others" in said.err
    write_prompts(Path("mine.json"), prompts)
    assert run("runs", "resume", "one").status == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("runs", "show", "nothing"), "no run 'nothing' among 1. Closest: mine."),
        (("runs", "compare", "mine"), "expected two runs or more to compare, got 1"),
        (("runs", "export", "mine"), "expected --output, to write csv to"),
        (("runs", "export", "mine", "--to", "tensorboard", "--output", "file"), "expected a folder to write, but file"),
        (("runs", "resume", "mine"), "expected a run of `workbench retrain --keep`, got one of kind 'sweep'"),
        ((*SHORT, "--store", "elsewhere"), "expected --keep NAME beside --store"),
        ((*SHORT, "--keep", "../x"), "expected as a name of a run 1 to 100 letters"),
        ((*SHORT, "--keep", "x", "--store", "file"), "expected a folder to write, but file is none"),
        (("runs", "list", "--store", "other"), "expected the index of a store in"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_mistakes_are_told(run: Run, folder: Path, words: tuple[str, ...], told: str) -> None:
    with Store(folder) as store:
        store.run("sweep", {}, "mine")
    Path("file").write_text("{}")
    Path("other").mkdir()
    (Path("other") / "index.sqlite").write_text(json.dumps({"no": "database"}) * 100)
    said = run(*words)
    assert said.status == 2
    assert told in said.err.replace("\n", " ")
    assert "Traceback" not in said.err
