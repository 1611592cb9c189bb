"""A job: a generator run in a thread, which can be stopped at any operation and tells its news a few times a second."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch.overrides import TorchFunctionMode

from workbench.agent import Agent

LEAST, MOST = 0.22, 0.4
"""Seconds between two tellings of a running job: more than twice and less than five times a second."""

Status = Literal["new", "running", "paused", "done", "stopped", "failed"]


class Stopped(BaseException):
    """Raised inside a job that is asked to stop. Not an Exception, so that nothing takes it for a mistake."""


class Turns:
    """One at a time, in the order of asking; who waits can be told to give up.

    A job holds its turn for one step of its generator, so that a heatmap is drawn while a hunt goes on.
    """

    def __init__(self) -> None:
        self._changed, self._queue = threading.Condition(), deque[object]()

    @contextmanager
    def taken(self, stop: threading.Event) -> Iterator[None]:
        """Hold the turn for a `with`. Raises Stopped where `stop` is set before the turn comes."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            with self._changed:
                while self._queue[0] is not ticket:
                    if stop.is_set():
                        raise Stopped
                    self._changed.wait(0.05)
            yield
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()


_TURNS: WeakKeyDictionary[Agent, Turns] = WeakKeyDictionary()
_MAKING = threading.Lock()


def turns_of(agent: Agent) -> Turns:
    """The turns of that Agent: hooks are global to a model, so whatever runs it takes one."""
    with _MAKING:
        return _TURNS.setdefault(agent, Turns())


class _Breaks(TorchFunctionMode):
    """Raises Stopped at this thread's next torch operation once `stop` is set: one search can take seconds."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.stop.is_set():
            raise Stopped
        return func(*args, **(kwargs or {}))


class Job:
    """What a button starts. `events` holds all that the generator has yielded, also after a stop or an error.

    steps: makes the generator; it is called in the job's own thread, with the turn. told: called with it soon after an
    event, in any case some times a second, and once when it has ended, in a thread of its own. turns: of the Agent
    that runs. threads: torch's in the background, if not as many as elsewhere.
    """

    def __init__(
        self,
        steps: Callable[[], Iterable[Any]],
        *,
        told: Callable[["Job"], None],
        turns: Turns | None = None,
        threads: int | None = None,
    ) -> None:
        self.events: list[Any] = []
        self.status: Status = "new"
        self.error: Exception | None = None
        self.seconds = 0.0
        self._steps, self._told, self._turns, self._torch = steps, told, turns or Turns(), threads
        self._stop, self._go, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._new = threading.Event()
        self._go.set()
        self._threads: tuple[threading.Thread, ...] = ()

    @property
    def active(self) -> bool:
        """Whether it has begun and not ended."""
        return self.status in ("running", "paused")

    def start(self) -> "Job":
        """Begin in the background; returns at once, with itself."""
        self.status = "running"
        work = partial(self._aside, torch.get_num_threads())
        self._threads = tuple(threading.Thread(target=part, daemon=True) for part in (work, self._tell))
        for thread in self._threads:
            thread.start()
        return self

    def run(self) -> "Job":
        """The same here and now; an interrupt of the kernel stops it. Raises what the generator raises."""
        self.status = "running"
        teller = threading.Thread(target=self._tell, daemon=True)
        self._threads = (teller,)
        teller.start()
        try:
            self._work()
        finally:
            teller.join()
        if self.error is not None:
            raise self.error
        return self

    def stop(self, timeout: float | int = 0.5) -> bool:
        """Ask it to stop and wait that long; whether it has ended. What was found stays in `events`."""
        self._stop.set()
        self._go.set()
        return self.join(timeout)

    def pause(self) -> None:
        """Go no further than the step that is being made."""
        if self.status == "running":
            self._go.clear()
            self.status = "paused"

    def resume(self) -> None:
        """Go on after a pause."""
        if self.status == "paused":
            self.status = "running"
            self._go.set()

    def join(self, timeout: float | int | None = None) -> bool:
        """Wait until it has ended and its last news are told; whether that is so. From its own threads: do not wait."""
        until = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return self._ended.is_set() and not any(t.is_alive() for t in self._threads if t != threading.current_thread())

    def _aside(self, usual: int) -> None:
        """The work in a thread of its own, on as many torch threads as it may have; then as many as `usual` again."""
        torch.set_num_threads(self._torch or usual)
        try:
            self._work()
        finally:
            torch.set_num_threads(usual)

    def _work(self) -> None:
        """Make every step, each within a turn; then say how it ended."""
        began, status = time.monotonic(), "done"
        try:
            self._iterate(began)
        except (Stopped, KeyboardInterrupt):
            status = "stopped"
        except Exception as error:
            status, self.error = "failed", error
        self.seconds, self.status = time.monotonic() - began, status
        self._ended.set()
        self._new.set()

    def _iterate(self, began: float) -> None:
        steps, end = None, object()
        while True:
            self._go.wait()
            with self._turns.taken(self._stop), _Breaks(self._stop):
                steps = iter(self._steps()) if steps is None else steps
                event = next(steps, end)
            if event is end:
                return
            self.events.append(event)
            self._new.set()
            self.seconds = time.monotonic() - began
            if self._stop.is_set():
                raise Stopped

    def _tell(self) -> None:
        """Tell of what is new, but not too often, and of the time; then once more."""
        while not self._ended.is_set():
            self._new.wait(MOST - LEAST)
            self._new.clear()
            if self._ended.is_set():
                break
            self._told(self)
            self._ended.wait(LEAST)
        self._told(self)
