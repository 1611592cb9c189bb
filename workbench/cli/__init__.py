"""The command line: `workbench ...`. One command a module; here they are found, run and reported on."""

import inspect
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

from workbench.cli.bench import BenchZoo
from workbench.cli.console import Command, as_json
from workbench.cli.cure import BenchCure
from workbench.cli.demo import Demo
from workbench.cli.doctor import Doctor
from workbench.cli.hunt import Hunt
from workbench.cli.retrain import Retrain
from workbench.cli.runs import RunsCompare, RunsExport, RunsList, RunsResume, RunsShow
from workbench.cli.speed import BenchSpeed
from workbench.cli.sweep import Sweep
from workbench.cli.zoo import ZooBuild, ZooList, ZooShow
from workbench.errors import WorkbenchError, unknown

COMMANDS: dict[str, type] = {
    "demo": Demo,
    "zoo list": ZooList,
    "zoo show": ZooShow,
    "zoo build": ZooBuild,
    "hunt": Hunt,
    "sweep": Sweep,
    "retrain": Retrain,
    "runs list": RunsList,
    "runs show": RunsShow,
    "runs compare": RunsCompare,
    "runs export": RunsExport,
    "runs resume": RunsResume,
    "bench zoo": BenchZoo,
    "bench cure": BenchCure,
    "bench speed": BenchSpeed,
    "doctor": Doctor,
}
_HELP = ("-h", "--help")
_INTERRUPTED = 130
_MISTAKE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: done. 1: done, and the answer is that something falls short. 2: a mistake in what was typed, named on stderr.
    130: interrupted. A mistake that tyro finds itself, and `--help` of a command, raise SystemExit as argparse does.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words == ["--version"]:
            return _say(_version())
        name, rest = _route(words)
        if name not in COMMANDS:
            return _say(_overview(name))
        return _run(_parse(name, rest))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (WorkbenchError, OSError) as error:
        print(f"error: {_explain(error)}", file=sys.stderr)
        return _MISTAKE


def _route(words: list[str]) -> tuple[str, list[str]]:
    """The command meant, or the group whose overview is meant, and the words after it. Raises UnknownName."""
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    if not words or words[0] in _HELP:
        return "", []
    if words[0] in groups:
        if len(words) == 1 or words[1] in _HELP:
            return words[0], []
        name, rest = " ".join(words[:2]), words[2:]
    else:
        name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS, "`workbench --help` lists them.")
    return name, rest


def _overview(group: str) -> str:
    """The commands of a group, or all of them, each in a line."""
    chosen = {name: kind for name, kind in COMMANDS.items() if name.startswith(group)}
    lines = [f"  workbench {name:<13} {_summary(kind)}" for name, kind in chosen.items()]
    return "\n".join(
        [
            f"usage: workbench {group or 'COMMAND'} ...",
            "",
            "Find the switch of a backdoor inside a small transformer, see it, and train it away.",
            "",
            *lines,
            "",
            "`workbench COMMAND --help` explains a command, with examples. Start with `workbench demo`.",
        ]
    )


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n")[0]


def _version() -> str:
    import workbench

    return f"lat-workbench {workbench.__version__}"


def _parse(name: str, words: list[str]) -> Command:
    kind = COMMANDS[name]
    settings = (FlagCreatePairsOff, OmitArgPrefixes)
    return tyro.cli(kind, prog=f"workbench {name}", args=words, description=inspect.getdoc(kind), config=settings)


def _run(command: Command) -> int:
    """Run a command with stdout closed to everything but its result."""
    with redirect_stdout(sys.stderr):
        result = command.run()
    _say(as_json(result.data) if command.json else result.text)
    return result.status


def _say(text: str) -> int:
    """Print a text; the exit status is 0. A reader that has gone away, such as `head`, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}. Mend the path, or its permissions."
    return str(error)
