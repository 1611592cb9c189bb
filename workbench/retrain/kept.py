"""Retraining that survives its process: every step is logged in a run of a store, and its state kept now and then."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from math import isfinite, isinf, isnan
from warnings import warn

from workbench.agent import Agent
from workbench.errors import BadSettings, Diverged, WorkbenchError
from workbench.retrain.checkpoint import Checkpoint
from workbench.retrain.loop import Step
from workbench.store import Run


def kept(steps: Iterator[Step], run: Run, *, every: int = 25) -> Iterator[Step]:
    """The same steps; each one's figures go into the run, and a checkpoint every `every` steps and after the last.

    The run is done after the last step. It is stopped, with a checkpoint, where the caller stops iterating or presses
    Ctrl-C, which waits for the step to be whole (a second one does not, and the checkpoint is then an earlier one). It
    has failed, with the reason, where a step raises. Raises Diverged, and keeps the last good checkpoint, as soon as a
    loss or a weight is not finite. Go on with `kept(retrain(..., resume=resume_point(run, agent)), run)`.
    """
    if every < 1:
        raise BadSettings(f"expected a checkpoint every so many steps, at least 1, got every={every}.")
    return _kept(steps, run, every)


def resume_point(run: Run, agent: Agent) -> Checkpoint | None:
    """The newest whole checkpoint of a run of `agent`, for `retrain(..., resume=...)`; None where there is none.

    Warns of newer ones that are damaged. Raises BadCheckpoint where all are, or are of another model.
    """
    saved = run.latest()
    if saved is None:
        return None
    for damage in saved.skipped:
        warn(f"going on from step {saved.number}: {damage}", RuntimeWarning, stacklevel=2)
    return Checkpoint.unpacked(saved.tensors, saved.notes, agent)


def _kept(steps: Iterator[Step], run: Run, every: int) -> Iterator[Step]:
    keeper = _Keeper(run)
    try:
        while True:
            with _undisturbed() as interrupted:
                step = next(steps, None)
                if step is None:
                    break
                keeper.take(step)
                if interrupted or step.number % every == 0:
                    keeper.save()
            if interrupted:
                raise KeyboardInterrupt
            yield step
        keeper.save()
    except GeneratorExit:
        keeper.save()
        run.stop(f"cancelled after step {keeper.number}")
        raise
    except KeyboardInterrupt:
        run.stop(f"interrupted after step {keeper.number}")
        raise
    except Exception as error:
        run.fail(str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}")
        raise
    run.finish(keeper.figures or run.outcome)  # nothing was left to do: what is told stays


@contextmanager
def _undisturbed() -> Iterator[list[int]]:
    """Within the `with`, Ctrl-C is noted in the list that is given, so that a step is done whole; a second one is not.

    Only where Python would raise KeyboardInterrupt: in the main thread, under nobody else's handler.
    """
    noted: list[int] = []
    usual = signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield noted
        return

    def note(number: int, frame: object) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, usual)


class _Keeper:
    """The last step that was taken, and whether its state is on the disk."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.figures: dict[str, float] = {}
        self._step: Step | None = None
        self._saved = False

    @property
    def number(self) -> int:
        """Of the last step; 0 before there is one."""
        return 0 if self._step is None else self._step.number

    def take(self, step: Step) -> None:
        """Log a step. Raises Diverged where its losses say that nothing good can come of it."""
        before, self.figures = self.figures, _figures(step)
        self.run.log(step.number, self.figures)
        self._step, self._saved = step, False
        lost = isnan(step.adversarial_loss) and isfinite(before.get("adversarial_loss", float("nan")))
        if not isfinite(step.loss) or isinf(step.adversarial_loss) or lost:
            raise self._diverged(f"the loss is {step.loss}, the adversarial loss {step.adversarial_loss}")

    def save(self) -> None:
        """Write a checkpoint of the last step, unless there is one. Raises Diverged for weights that are not finite."""
        if self._step is None or self._saved:
            return
        tensors, notes = self._step.checkpoint.packed()
        if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise self._diverged(f"not finite are {', '.join(bad[:3])}{' and others' if len(bad) > 3 else ''}")
        self.run.checkpoint(self._step.number, tensors, notes)
        self._saved = True

    def _diverged(self, what: str) -> Diverged:
        return Diverged(
            f"step {self.number}: {what}. The last checkpoint before is kept: lower lr, or eps, and begin anew."
        )


def _figures(step: Step) -> dict[str, float]:
    """Every number that a Step tells, by its name."""
    found = {field.name: getattr(step, field.name) for field in fields(step) if not field.name.startswith("_")}
    return {name: float(value) for name, value in found.items() if name != "number" and isinstance(value, int | float)}
