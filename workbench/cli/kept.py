"""Retraining that is kept in a store: what decides what comes out, what was typed, and what is there already."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from warnings import catch_warnings, simplefilter

from workbench.cli.console import shown_as
from workbench.errors import BadCheckpoint
from workbench.store import Run, digest_of, read_bytes, sha256

if TYPE_CHECKING:
    from workbench.agent import Agent
    from workbench.cli.subjects import Opened
    from workbench.retrain import Checkpoint, Recipe, Step

KIND = "retrain"
TYPED = "command"  # the item of a run that says what was typed
StoreFolder = Annotated[Path | None, shown_as("FOLDER")]


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of retraining. losses: a row a step; seconds: of CPU; notes: what went wrong and was got over."""

    agent: "Agent"
    losses: list[dict[str, Any]]
    seconds: float
    run: Run | None = None
    notes: tuple[str, ...] = ()


def at_once(steps: "Iterable[Step]") -> Trained:
    """What came of steps that are kept nowhere."""
    done = list(steps)
    losses = [{"step": s.number, "loss": s.loss, "adversarial_loss": s.adversarial_loss} for s in done]
    return Trained(done[-1].agent, losses, done[-1].seconds)


def from_store(run: Run, agent: "Agent") -> Trained:
    """What came of a run that is done. agent: the one that it began with."""
    point, notes = where_to_go_on(run, agent)
    if point is None:
        raise BadCheckpoint(f"expected the checkpoint of a finished run in {run.folder}, got none. Name another store.")
    frame = run.frame()
    losses = frame[["loss", "adversarial_loss"]].reset_index().to_dict("records")
    clock = [*frame["seconds"], -1.0]
    seconds = sum(now for now, then in pairwise(clock) if then < now)  # it began anew each time that the run went on
    return Trained(point.agent, losses, seconds, run, notes)


def where_to_go_on(run: Run, agent: "Agent") -> "tuple[Checkpoint | None, tuple[str, ...]]":
    """The newest whole checkpoint, and a word on each newer one that is not."""
    from workbench.retrain import resume_point

    with catch_warnings(record=True) as told:
        simplefilter("always")
        point = resume_point(run, agent)
    return point, tuple(str(warning.message) for warning in told)


def deciding(opened: "Opened", recipe: "Recipe", seed: int, report: Path | None) -> dict[str, Any]:
    """All that decides what comes out, whichever files it was read from: the settings of the run."""
    rows = {"tokens": opened.prompts.tokens.tolist(), "answers": opened.prompts.answers.tolist()}
    return {
        "agent": opened.agent.name,
        "weights": _sum_of_weights(opened.agent),
        "prompts": digest_of(rows | {"positions": list(opened.prompts.answer_positions)}),
        "recipe": {"kind": type(recipe).__name__}
        | {name: _plain(value) for name, value in sorted(vars(recipe).items())},
        "report": None if report is None else sha256(read_bytes(report)),
        "seed": seed,
    }


def check_same(run: Run, settings: dict[str, Any]) -> None:
    """Raise BadCheckpoint where a command that is to go on with a run no longer means what it meant."""
    changed = [name for name, value in settings.items() if run.settings.get(name) != value]
    if changed:
        raise BadCheckpoint(
            f"expected the {' and '.join(changed)} that run {run.name or run.key[:12]} began with, got others. Restore "
            "what was there, or begin anew with `workbench retrain ... --keep NAME`."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float) or value is None else repr(value)


def _sum_of_weights(agent: "Agent") -> str:
    """The SHA-256 of all weights, by name."""
    import torch

    total = hashlib.sha256()
    for name, weight in sorted(agent.weights().items()):
        total.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        total.update(weight.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
