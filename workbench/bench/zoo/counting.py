"""Counting how often an Agent is run under edits, from outside: the engine itself carries no counter."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workbench.engine.each import Each
from workbench.engine.reruns import RERUNS


@dataclass(slots=True)
class Count:
    """Prompts times edits that were run so far."""

    runs: int = 0


@contextmanager
def counted() -> Iterator[Count]:
    """Within the `with`, every run under edits in this process is counted: searches, judging, controls and probes.

    An edit of its own for each prompt counts as one run a prompt, too.
    """
    count = Count()
    patched: list[tuple[Any, str]] = [*((way, "__call__") for way in RERUNS), (Each, "_best")]
    own = [getattr(kind, name) for kind, name in patched]
    for (kind, name), run in zip(patched, own, strict=True):
        setattr(kind, name, _choosing(run, count) if kind is Each else _counting(run, count))
    try:
        yield count
    finally:
        for (kind, name), run in zip(patched, own, strict=True):
            setattr(kind, name, run)


def _counting(run: Callable[..., Tensor], count: Count) -> Callable[..., Tensor]:
    """The same way of running, which adds the edits and prompts of its logits [edit, prompt, ..] to the count."""

    def counting(*args: Any, **settings: Any) -> Tensor:
        logits = run(*args, **settings)
        count.runs += logits.shape[0] * logits.shape[1]
        return logits

    return counting


def _choosing(best: Callable[[Each], tuple[str, Callable[..., Tensor]]], count: Count) -> Callable[[Each], Any]:
    """The same choice of a way of running, which is counted from then on."""

    def choosing(each: Each) -> tuple[str, Callable[..., Tensor]]:
        engine, run = best(each)
        return engine, _counting(run, count)

    return choosing
