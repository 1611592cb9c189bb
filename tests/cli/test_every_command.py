"""What holds for every command: help, examples, JSON, progress on stderr only."""

import json
import re
import shlex
import subprocess
import sys
from inspect import getdoc
from io import StringIO
from pathlib import Path

import pytest
import torch

from tests.cli.running import FAST_HUNT, Run
from toy_models import zoo
from workbench import cli
from workbench.cli.console import as_json, cell, columns
from workbench.cli.subjects import read_prompts
from workbench.errors import BadPrompts

# TransformerLens says so whenever an edit is tried there, which Agent.sites() does once.
pytestmark = pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale:UserWarning")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_explains_every_option_and_gives_examples(run: Run, name: str) -> None:
    said = run(*name.split(), "--help")
    assert said.status == 0
    assert f"usage: workbench {name}" in said.out
    assert f"Examples:\n  workbench {name}" in said.out
    assert "--json" in said.out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_example_in_the_help_is_understood(name: str) -> None:
    lines = re.findall(r"^ +workbench (.*)$", getdoc(cli.COMMANDS[name]) or "", re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        found, words = cli._route(shlex.split(line.partition(" > ")[0]))
        assert found == name
        cli._parse(found, words)


def test_organisms_named_in_examples_are_shipped() -> None:
    lines = "\n".join(getdoc(kind) or "" for kind in cli.COMMANDS.values())
    named = set(re.findall(r"workbench (?:hunt|sweep|retrain|zoo show) ([a-z]+)(?:$| )", lines, re.MULTILINE))
    named |= {name for found in re.findall(r"--organisms ([a-z ]+[a-z])", lines) for name in found.split()}
    assert named
    assert named <= set(zoo.shipped_names())


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_overview_names_every_command(run: Run, words: tuple[str, ...]) -> None:
    said = run(*words)
    assert said.status == 0
    assert all(f"workbench {name}" in said.out for name in cli.COMMANDS)


def test_a_group_lists_its_own_commands(run: Run) -> None:
    said = run("zoo")
    assert "zoo build" in said.out
    assert "retrain " not in said.out


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("lat-workbench 0.")


@pytest.mark.parametrize(
    "words",
    [
        ("zoo", "list"),
        ("zoo", "show", "quartz", "--reveal"),
        ("doctor",),
        ("hunt", "quartz", *FAST_HUNT),
        ("sweep", "onyx", "--site", "L0.mlp.post", "--neurons", "0", "1"),
        ("retrain", "onyx", "--steps", "2"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_json_is_one_object_and_nothing_else(run: Run, words: tuple[str, ...]) -> None:
    said = run(*words, "--json")
    assert said.status in (0, 1)
    assert isinstance(said.data, dict)
    assert said.err == ""  # progress is for terminals


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := _Terminal())
    assert cli.main(["hunt", "quartz", *FAST_HUNT, "--json"]) == 0
    for words in ("loading quartz: 00:0", "hunting:", "NeuronSweep at L0.mlp.post, best 0."):
        assert words in terminal.getvalue()
    assert json.loads(capsys.readouterr().out)["agent"] == "quartz"


def test_json_knows_no_nan_and_keeps_everything_else() -> None:
    data = {"a": float("nan"), "b": (1, True, None), "c": Path("x"), "d": torch.tensor(2.5), "e": {1: "é"}}
    assert json.loads(as_json(data)) == {"a": None, "b": [1, True, None], "c": "x", "d": 2.5, "e": {"1": "é"}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (None, "-"),
        (float("nan"), "-"),
        (0.12345, "0.123"),
        (0.0, "0.000"),
        (2e-5, "2e-05"),
        ((3, 4), "3 4"),
        ([], "-"),
    ],
)
def test_cells_are_short(value: object, shown: str) -> None:
    assert cell(value) == shown


def test_columns_align_numbers_to_the_right() -> None:
    assert columns([{"name": "a", "loss": 1.0}, {"name": "bcdef", "loss": 10.0}]) == (
        "name     loss\na       1.000\nbcdef  10.000"
    )
    assert columns([]) == "(none)"


@pytest.mark.parametrize(
    ("name", "value"),
    [("tokens", [[1], [1, 2]]), ("tokens", [[0.5]]), ("tokens", "words"), ("tokens", []), ("answers", [1])]
    + [("answer_positions", value) for value in ("0", [0.5], [True], 0)],
)
def test_prompts_in_a_file_are_whole_numbers(name: str, value: object) -> None:
    content = {"tokens": [[1]], "answer_positions": [0], "answers": [[1]]} | {name: value}
    Path("p.json").write_text(json.dumps(content))
    with pytest.raises(BadPrompts, match=f"expected {name} as .* of whole numbers .*p.json"):
        read_prompts(Path("p.json"))


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from workbench.cli import main; main(['--help']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformer_lens', 'pandas', 'plotly')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_module_runs_as_a_program_and_survives_a_reader_that_leaves() -> None:
    command = f"{shlex.quote(sys.executable)} -m workbench.cli --help | head -c 5"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "usage", "")
