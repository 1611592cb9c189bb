"""Errors a user can cause: each says what was expected, what came, and the cure."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Protocol, runtime_checkable


class WorkbenchError(ValueError):
    """Base of every error caused by input; the command line prints it without a traceback."""


class UnknownName(WorkbenchError):
    """A name (organism, recipe, family, option) that nothing answers to."""


class UnknownSite(UnknownName):
    """A hook point that the model at hand does not have, or at which no edit has an effect."""


class BadPrompts(WorkbenchError):
    """Prompts that are empty, misshapen, out of the vocabulary or read outside themselves."""


class BadEdit(WorkbenchError):
    """An edit of the wrong width, at positions that do not exist, or with NaN or infinity."""


class BadBudget(WorkbenchError):
    """A budget whose radius, unit or site makes no sense."""


class BadSettings(WorkbenchError):
    """A setting outside its range."""


class BadCheckpoint(WorkbenchError):
    """A file that is missing, truncated, altered, of another shape, or not ours."""


class CannotStore(WorkbenchError):
    """Something that could not be written: the disk is full, or another process holds the index of the store."""


class Diverged(WorkbenchError):
    """Training whose loss or weights are no longer finite."""


class Unacceptable(WorkbenchError):
    """An organism that falls short of what its family promises, so it is not saved."""


def closest(name: str, known: Iterable[str], count: int = 3) -> str:
    """The known names that look most like `name`, ready to print; all of them if none does."""
    known = list(known)
    near = get_close_matches(name, known, n=count, cutoff=0.4) or known[:8]
    return ", ".join(near) if near else "none"


def check_kinds(*expected: tuple[str, object, Any]) -> None:
    """Raise BadSettings for the first value that is not what it should be: in words, the value, and its class."""
    for what, value, kind in expected:
        if not isinstance(value, kind) or isinstance(value, type):
            raise BadSettings(f"expected {what}, got {value!r}.")


@runtime_checkable
class _Told(Protocol):
    """What a pydantic ValidationError tells."""

    def errors(self) -> Any: ...


def refused(error: _Told, what: str, known: Iterable[str]) -> WorkbenchError:
    """A pydantic ValidationError as UnknownName or BadSettings: the first thing wrong with the settings of `what`.

    An error of ours that a validator raised is given back as it is.
    """
    first = error.errors()[0]
    ours = first.get("ctx", {}).get("error")
    if isinstance(ours, WorkbenchError):
        return ours
    name = ".".join(map(str, first["loc"])) or "settings"
    if first["type"] == "extra_forbidden":
        return unknown(f"setting of {what}", name, known, "Choose one of them.")
    return BadSettings(f"{name} of {what}: {first['msg']}, got {first['input']!r}.")


def unknown(kind: str, name: str, known: Iterable[str], cure: str) -> UnknownName:
    """The error for a name that nothing answers to."""
    known = list(known)
    return UnknownName(f"no {kind} {name!r} among {len(known)}. Closest: {closest(name, known)}. {cure}")
