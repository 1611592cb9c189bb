"""What a run of the command line said."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FAST_HUNT = ("--sites", "L0.mlp.post", "--prompts", "32")


@dataclass
class Said:
    """One run in this process."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object on stdout, which must be all that is there."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Run = Callable[..., Said]
