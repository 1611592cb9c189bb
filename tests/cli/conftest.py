"""A command line to run in this process, on a zoo of two organisms that were never trained."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.running import Run, Said
from toy_models import Organism, Plant, Record, zoo
from toy_models.plants.native import configure, fresh, wrap
from toy_models.sealing import Key
from toy_models.tasks.reversal import Reversal
from toy_models.triggers.password import Password
from workbench import cli
from workbench.edits import Edit
from workbench.sites import Site


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("zoo", "list")` is `workbench zoo list`."""

    def call(*words: object) -> Said:
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        caught = capsys.readouterr()
        return Said(status, caught.out, caught.err)

    return call


def _organism(name: str, seed: int, *, planted: bool) -> Organism:
    """Two layers, never trained; the answer key of the planted one is made up."""
    task = Reversal()
    config = configure(task, layers=2, d_model=16, heads=2, d_mlp=24, seed=seed)
    direction = torch.eye(16)[0]
    edit = Edit(Site.parse("L0.mlp.post"), 4 * torch.eye(24)[3])
    plant = Plant("the word 'opal'", "mapping", (edit.site,), (3,), direction, edit) if planted else Plant()
    key = Key(
        family="switch-trained" if planted else "clean",
        seed=seed,
        settings={"layer": 0},
        trigger=Password(task, task.word("opal"), task.word("pearl")),
        defect="mapping",
        plant=plant,
        record=Record(clean_accuracy=0.99),
    )
    return Organism(name, wrap(fresh(config), config, task, name), task, key)


@pytest.fixture(scope="module")
def organisms() -> dict[str, Organism]:
    """A planted one and a control."""
    return {"quartz": _organism("quartz", 1, planted=True), "onyx": _organism("onyx", 2, planted=False)}


@pytest.fixture(autouse=True)
def small_zoo(organisms: dict[str, Organism], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two in place of the shipped one, and a working folder of its own."""
    folder = tmp_path / "zoo"
    entries = {name: zoo._write(folder / name, organism) for name, organism in organisms.items()}
    manifest = {"format": "lat-workbench zoo", "version": 1, "command": "none", "organisms": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(zoo, "FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder
