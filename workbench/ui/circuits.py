"""circuitsvis without its page: a widget that loads the package's bundle from the kernel and hands it data as data."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from workbench.ui.views import asset


@cache
def bundle() -> bytes:
    """The script that circuitsvis ships. The package itself is not imported: it would ask the network for another."""
    found = find_spec("circuitsvis")
    assert found is not None
    assert found.submodule_search_locations is not None
    return (Path(next(iter(found.submodule_search_locations))) / "dist" / "cdn" / "iife.js").read_bytes()


class Circuits(anywidget.AnyWidget):
    """One of circuitsvis' elements, such as "AttentionHeads", with its props; nothing while `element` is empty."""

    _esm = asset("circuits.js")
    _css = asset("panel.css")
    element = traitlets.Unicode("").tag(sync=True)
    props = traitlets.Dict().tag(sync=True)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.on_msg(self._answer)

    def show(self, element: str, **props: Any) -> None:
        """Show that element with these props, as JSON."""
        with self.hold_sync():
            self.element, self.props = element, props

    def _answer(self, _: Any, message: dict[str, Any], __: Any) -> None:
        if message.get("kind") == "bundle":
            self.send({"kind": "bundle"}, buffers=[bundle()])
