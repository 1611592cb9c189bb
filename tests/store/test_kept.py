"""Retraining that is kept: broken off anywhere and resumed from the disk, a run is the unbroken one bit for bit."""

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toys import boot, hooks_on, noise, quiet, some_prompts, toy
from workbench import LAT, Agent, EmbeddingAT, FineTune, LatentNoise, Step, Store, retrain
from workbench.errors import BadCheckpoint, BadSettings, Diverged
from workbench.retrain import Checkpoint, Recipe, kept, resume_point
from workbench.store import Run

pytestmark = quiet
SHORT: dict[str, Any] = {"steps": 6, "batch": 8}
RECIPES = (FineTune(**SHORT), LatentNoise(**SHORT), EmbeddingAT(inner_steps=2, **SHORT), LAT(inner_steps=2, **SHORT))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Store(tmp_path / "store") as store:
        yield store.run("retrain", {"seed": 0})


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C does what it usually does, also where the tests are run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def steps(recipe: Recipe = RECIPES[0], run: Run | None = None) -> Iterator[Step]:
    """A run from where it was broken off."""
    return retrain(toy(), some_prompts(24), recipe, resume=run and resume_point(run, toy()))


def figures(step: Step) -> str:
    """What a step tells, but for the time, exactly."""
    return repr((step.number, step.loss, step.adversarial_loss))


def same(one: Agent, other: Agent) -> bool:
    """Whether all weights are equal bit for bit."""
    ours, theirs = one.weights(), other.weights()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("recipe", "breaks"),
    [*((recipe, (1, 3)) for recipe in RECIPES), (RECIPES[3], (5,)), (RECIPES[3], (2, 1, 1))],
    ids=lambda given: str(given) if isinstance(given, tuple) else type(given).__name__,
)
def test_a_run_resumed_from_the_disk_is_the_unbroken_one(recipe: Recipe, breaks: tuple[int, ...], run: Run) -> None:
    whole = list(steps(recipe))
    seen = []
    for count in breaks:  # cancelled, each time by a process that knows nothing but the store
        seen += [figures(step) for step in islice(kept(steps(recipe, run), run, every=100), count)]
        assert (run.status, run.reason) == ("stopped", f"cancelled after step {len(seen)}")
    rest = list(kept(steps(recipe, run), run))
    assert seen + [figures(step) for step in rest] == [figures(step) for step in whole]
    assert same(rest[-1].agent, whole[-1].agent)
    assert torch.equal(rest[-1].checkpoint.generator, whole[-1].checkpoint.generator)
    assert run.done
    assert list(run.frame().index) == [1, 2, 3, 4, 5, 6]
    assert list(run.frame()["loss"]) == [step.loss for step in whole]
    last = resume_point(run, toy())
    assert last is not None
    assert same(last.agent, whole[-1].agent)
    outcome = run.outcome
    assert list(kept(steps(recipe, run), run)) == []
    assert run.done
    assert repr(run.outcome) == repr(outcome)
    assert outcome["loss"] == whole[-1].loss


def test_a_checkpoint_comes_back_whole() -> None:
    step = list(steps())[-1]
    before = step.checkpoint
    again = Checkpoint.unpacked(*before.packed(), like=toy())
    assert (again.number, again.of, again.agent.name) == (before.number, before.of, before.agent.name)
    assert same(again.agent, before.agent)
    assert torch.equal(again.generator, before.generator)
    assert again.optimizer["param_groups"] == [
        {name: list(value) if isinstance(value, tuple) else value for name, value in group.items()}
        for group in before.optimizer["param_groups"]
    ]
    states = before.optimizer["state"]
    assert again.optimizer["state"].keys() == states.keys()
    for number, state in states.items():
        assert all(torch.equal(again.optimizer["state"][number][name], state[name]) for name in state)


def test_checkpoints_are_kept_every_so_many_steps_and_at_the_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, real = [], Run.checkpoint
    monkeypatch.setattr(
        Run, "checkpoint", lambda self, number, *rest: numbers.append(number) or real(self, number, *rest)
    )
    list(kept(steps(), run, every=4))
    assert numbers == [4, 6]
    numbers.clear()
    list(kept(steps(), run, every=3))
    assert numbers == [3, 6]


def with_losses(number: int, loss: float, adversarial: float) -> Iterator[Step]:
    """Steps of which one tells other losses; before it, the adversarial one is 1."""
    for step in steps():
        told = {"loss": loss, "adversarial_loss": adversarial} if step.number == number else {"adversarial_loss": 1.0}
        yield replace(step, **told)


@pytest.mark.parametrize(("loss", "adversarial"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_loss_that_is_not_finite_stops_at_that_step(run: Run, loss: float, adversarial: float) -> None:
    events = kept(with_losses(4, loss, adversarial), run, every=1)
    assert [step.number for step in islice(events, 3)] == [1, 2, 3]
    with pytest.raises(Diverged, match=rf"step 4: the loss is {loss}.* last checkpoint before is kept: lower lr"):
        next(events)
    assert run.status == "failed"
    assert f"step 4: the loss is {loss}" in run.reason
    point = resume_point(run, toy())
    assert point is not None
    assert point.number == 3
    assert len(list(kept(steps(run=run), run))) == 3
    assert (run.status, run.reason) == ("done", "")


def test_real_training_that_diverges_leaves_a_checkpoint_that_is_finite(run: Run) -> None:
    """The weights are lost a step before the loss says so: no checkpoint of them is written."""
    recipe = FineTune(steps=40, batch=8, lr=1e30)
    with pytest.raises(Diverged):
        list(kept(retrain(toy(), some_prompts(24), recipe), run, every=1))
    saved = run.latest()
    assert saved is None or all(tensor.isfinite().all() for tensor in saved.tensors.values())
    assert run.status == "failed"


def test_weights_that_are_not_finite_are_not_kept(run: Run) -> None:
    """Though the loss of their step still was."""

    def lost(copy: Callable[[], Checkpoint]) -> Checkpoint:
        checkpoint = copy()
        with torch.no_grad():
            next(iter(checkpoint.agent.weights().values())).view(-1)[0] = math.inf
        return checkpoint

    whole = islice(steps(), 4)
    events = (replace(s, _copy=partial(lost, s._copy)) if s.number == 4 else s for s in whole)
    with pytest.raises(Diverged, match="step 4: not finite are weight"):
        list(kept(events, run, every=1))
    saved = run.latest()
    assert saved is not None
    assert saved.number == 3


def test_an_error_within_a_step_fails_the_run_and_keeps_the_last_checkpoint(run: Run) -> None:
    def failing() -> Iterator[Step]:
        yield from islice(steps(), 3)
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        list(kept(failing(), run, every=2))
    assert (run.status, run.reason) == ("failed", "RuntimeError: out of luck")
    assert [figures(s) for s in kept(steps(run=run), run)] == [figures(s) for s in list(steps())[2:]]


@pytest.mark.parametrize("where", [(torch.Tensor, "backward"), (torch.optim.AdamW, "step")], ids=lambda where: where[1])
@pytest.mark.parametrize("time", [1, 4])
def test_ctrl_c_within_a_step_waits_for_it(run: Run, monkeypatch: pytest.MonkeyPatch, where: Any, time: int) -> None:
    """Before the weights change or just after: no hooks are left, and what is kept is the last completed step."""
    recipe, clean, before = RECIPES[3], toy().logits(some_prompts()), hooks_on(toy())
    whole, seen = list(steps(recipe)), []
    press_at(monkeypatch, where[0], where[1], time)
    with pytest.raises(KeyboardInterrupt):
        seen.extend(kept(steps(recipe), run, every=100))
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    point = resume_point(run, toy())
    assert point is not None
    assert point.number == len(seen) + 1 == time
    assert (run.status, run.reason) == ("stopped", f"interrupted after step {time}")
    assert hooks_on(toy()) == hooks_on(point.agent) == before
    assert torch.equal(toy().logits(some_prompts()), clean)
    rest = list(kept(steps(recipe, run), run))
    assert [figures(step) for step in rest] == [figures(step) for step in whole[time:]]
    assert same(rest[-1].agent, whole[-1].agent)


def press_at(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, time: int, presses: int = 1) -> None:
    """Press Ctrl-C at the `time`th call of a method, when it has done its work."""
    calls, real = [], getattr(owner, name)

    def pressed(*args: Any, **more: Any) -> Any:
        calls.append(1)
        result = real(*args, **more)
        for _ in range(presses if len(calls) == time else 0):
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(owner, name, pressed)


def test_a_second_ctrl_c_does_not_wait(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    press_at(monkeypatch, torch.Tensor, "backward", 4, presses=2)
    with pytest.raises(KeyboardInterrupt):
        list(kept(steps(), run, every=2))
    assert (run.status, run.reason) == ("stopped", "interrupted after step 3")
    point = resume_point(run, toy())
    assert point is not None
    assert point.number == 2


def test_other_threads_and_other_handlers_are_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = threading.Thread(target=lambda: list(kept(steps(), run)))
    thread.start()
    thread.join()
    assert run.done
    noted, usual = [], signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: noted.append(1))
    try:
        for _ in kept(steps(), run):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert len(noted) == 6


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run: Run) -> None:
    list(kept(steps(), run, every=4))
    newest = max(run.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match="going on from step 4: .* is not the file that was saved"):
        point = resume_point(run, toy())
    assert point is not None
    assert point.number == 4


def test_checkpoints_of_something_else_are_refused(run: Run) -> None:
    list(kept(steps(), run))
    with pytest.raises(BadCheckpoint, match=r"the checkpoint of step 6: .*belongs to another model"):
        resume_point(run, boot(d_mlp=24))
    run.checkpoint(7, {"a": noise(3)})
    with pytest.raises(BadCheckpoint, match=r"one without number, of, agent, .*generator"):
        resume_point(run, toy())
    with pytest.raises(BadSettings, match="at least 1, got every=0"):
        kept(steps(), run, every=0)


def test_a_run_without_checkpoints_begins_at_the_start(run: Run) -> None:
    assert resume_point(run, toy()) is None
