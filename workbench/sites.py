"""Sites: where the latent state can be edited, by the names TransformerLens gives them."""

import re
from dataclasses import dataclass
from functools import total_ordering

from workbench.errors import UnknownSite

_SHORT = re.compile(r"^L(?P<layer>\d+)\.(?P<rest>[A-Za-z0-9_.]+)$")
_LONG = re.compile(r"^blocks\.(?P<layer>\d+)\.(?P<rest>[A-Za-z0-9_.]+)$")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$")
_HELP = "Write a hook point such as 'blocks.1.mlp.hook_post', or its short form 'L1.mlp.post'."


@total_ordering
@dataclass(frozen=True, slots=True)
class Site:
    """A hook point, by its full TransformerLens name. Whether a model has it, the Agent knows."""

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise UnknownSite(f"expected the name of a hook point, got {self.name!r}. {_HELP}")

    @classmethod
    def parse(cls, text: "str | Site") -> "Site":
        """A Site from its full name or its short form: `L1.mlp.post` is `blocks.1.mlp.hook_post`.

        The last part of a short form loses its `hook_`. Raises UnknownSite if it is neither form.
        """
        if isinstance(text, Site):
            return text
        if isinstance(text, str) and (short := _SHORT.match(text)):
            *path, last = short["rest"].split(".")
            last = last if last.startswith("hook_") else f"hook_{last}"
            return cls(".".join(["blocks", str(int(short["layer"])), *path, last]))
        return cls(text)

    @property
    def layer(self) -> int | None:
        """The block the Site belongs to; None outside the blocks (embeddings, final norm)."""
        found = _LONG.match(self.name)
        return int(found["layer"]) if found else None

    @property
    def kind(self) -> str:
        """The name inside its block, the same for every layer: `mlp.hook_post`."""
        found = _LONG.match(self.name)
        return found["rest"] if found else self.name

    @property
    def short(self) -> str:
        """`L1.mlp.post` for `blocks.1.mlp.hook_post`; the full name outside the blocks."""
        *path, last = self.kind.split(".")
        if self.layer is None or not last.startswith("hook_"):
            return self.name
        return ".".join([f"L{self.layer}", *path, last.removeprefix("hook_")])

    def __str__(self) -> str:
        return self.short

    def __lt__(self, other: "Site") -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[int, str]:
        return (-1 if self.layer is None else self.layer, self.name)
