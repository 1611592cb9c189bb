"""Subjects: what AGENT means on the command line, and the prompts that go with it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from workbench.cli.console import shown_as, waiting
from workbench.errors import BadPrompts, unknown
from workbench.store import read_bytes, read_json, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from toy_models import Organism
    from workbench.agent import Agent
    from workbench.prompts import Prompts

PROMPTS_FILE = "prompts.json"
_FIELDS = ("tokens", "answer_positions", "answers")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Which agent, on which prompts."""

    agent: Annotated[Positional[str], arg(metavar="AGENT")]
    """An organism's name (`workbench zoo list`), or a folder that an agent or a Hugging Face model was saved in."""
    prompts_file: Annotated[Path | None, shown_as("FILE")] = None
    """JSON with tokens, answer_positions and answers; by default the organism's own, or prompts.json in the folder."""
    seed: int = 0
    """Seed of everything drawn at random."""

    def open(self, count: int) -> "Opened":
        """Load the agent and at most `count` prompts. Raises WorkbenchError where either is not to be had."""
        agent, organism = open_agent(self.agent)
        if self.prompts_file is not None or organism is None:
            prompts = read_prompts(self.prompts_file or _beside(self.agent))[: max(count, 0)]
        else:
            prompts = organism.prompts(count, seed=self.seed)
        agent.check(prompts)
        return Opened(agent, prompts, organism)


@dataclass(frozen=True, slots=True)
class Opened:
    """A subject, loaded. organism: None for an agent from a folder."""

    agent: "Agent"
    prompts: "Prompts"
    organism: "Organism | None"


def open_agent(name: str) -> "tuple[Agent, Organism | None]":
    """An agent by its organism's name or from its folder; a name goes before a folder (write ./name for that)."""
    import toy_models

    names = toy_models.names()
    if name not in names and not Path(name).exists() and os.sep not in name:
        raise unknown("organism or folder", name, names, "`workbench zoo list` lists the organisms.")
    with waiting(f"loading {name}"):
        organism = toy_models.load(name) if name in names else None
        agent = _load(name) if organism is None else organism.agent
    if agent.is_toy:
        one_thread()
    return agent, organism


def _load(folder: str) -> "Agent":
    """An agent from the folder that `Agent.save` or, where it has no `agent.json`, `save_pretrained` wrote."""
    from workbench.agent import Agent

    path = Path(folder)
    if (path / "config.json").is_file() and not (path / "agent.json").exists():
        return Agent.from_pretrained(path)
    return Agent.load(path)


def one_thread() -> None:
    """Let torch use one thread, unless OMP_NUM_THREADS says otherwise. Toys are slower on more."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def read_prompts(path: Path) -> "Prompts":
    """Prompts from JSON. Raises BadCheckpoint where there is no file, BadPrompts where it holds something else."""
    from workbench.prompts import Prompts

    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            raise BadPrompts(f"expected JSON in {path}: {error}.") from None
        raise
    if not isinstance(content, dict) or sorted(content) != sorted(_FIELDS):
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise BadPrompts(f"expected an object with {', '.join(_FIELDS)} in {path}, got {got}.")
    tokens, answers = (_matrix(name, content[name], path) for name in ("tokens", "answers"))
    return Prompts(tokens, _positions(content["answer_positions"], path), answers)


def _matrix(name: str, rows: Any, path: Path) -> "Tensor":
    """Rows of whole numbers, all of one length, as an int64 matrix; BadPrompts for anything else."""
    import torch

    try:
        matrix = torch.tensor(rows)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadPrompts(f"expected {name} as rows of whole numbers of one length in {path}: {error}.") from None
    if matrix.ndim != 2 or matrix.dtype != torch.int64:
        got = f"{matrix.dtype} of shape {tuple(matrix.shape)}"
        raise BadPrompts(f"expected {name} as rows of whole numbers of one length in {path}, got {got}.")
    return matrix


def _positions(given: Any, path: Path) -> tuple[int, ...]:
    if not isinstance(given, list) or not all(isinstance(p, int) and not isinstance(p, bool) for p in given):
        raise BadPrompts(f"expected answer_positions as a list of whole numbers in {path}, got {given!r}.")
    return tuple(given)


def write_prompts(path: Path, prompts: "Prompts") -> None:
    """Write prompts so that `read_prompts` gives them back."""
    content = {
        "tokens": prompts.tokens.tolist(),
        "answer_positions": list(prompts.answer_positions),
        "answers": prompts.answers.tolist(),
    }
    write_bytes(path, json.dumps(content).encode())


def _beside(folder: str) -> Path:
    path = Path(folder) / PROMPTS_FILE
    if not path.is_file():
        raise BadPrompts(
            f"expected prompts for the agent in {folder}: there is no {PROMPTS_FILE} in it. Give --prompts-file."
        )
    return path


def shipped() -> dict[str, dict[str, Any]]:
    """The manifest's entries by name: what is public of each shipped organism, and the sha256 of its files."""
    from toy_models import zoo

    return read_json(zoo.FOLDER / "manifest.json", format="lat-workbench zoo")["organisms"]
