"""Which cell opened what: running a cell again closes what its last run opened."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Closes(Protocol):
    """What can be closed, more than once without harm."""

    def close(self) -> None:
        """Free all that it holds."""
        ...


_OPEN: dict[str, tuple[str, list[Closes]]] = {}


def opened(thing: Closes) -> None:
    """Note that the running cell opened this; first close what an earlier run of the same cell had opened."""
    cell, run = _here()
    if cell is None:
        return
    last, things = _OPEN.get(cell, (run, []))
    if last != run:
        for old in things:
            old.close()
        things = []
    _OPEN[cell] = (run, [*things, thing])


def _here() -> tuple[str | None, str]:
    """The running cell and this run of it: by JupyterLab's name for the cell, else by its code; None elsewhere."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None, ""
    parent = getattr(get_ipython(), "get_parent", dict)()
    content, header = parent.get("content", {}), parent.get("header", {})
    name = parent.get("metadata", {}).get("cellId") or content.get("code")
    return (str(name) if name else None), str(header.get("msg_id", ""))
