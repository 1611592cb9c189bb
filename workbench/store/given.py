"""What users give, checked: names, which are labels and never part of a path, and plain values."""

import json
import re
from typing import Any

from workbench.errors import BadSettings

LONGEST = 100
_ALLOWED = re.compile(r"[A-Za-z0-9_-]([A-Za-z0-9._ -]*[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def check_name(name: str, what: str) -> str:
    """The name, if it is one. Raises BadSettings otherwise.

    No name becomes a part of a path here. One that is allowed could: people use labels as file names elsewhere.
    """
    if len(name) > LONGEST or not _ALLOWED.fullmatch(name) or _RESERVED.fullmatch(name):
        shown = repr(name) if len(name) <= LONGEST else f"{name[:40]!r} and more ({len(name)} characters)"
        raise BadSettings(
            f"expected as {what} 1 to {LONGEST} letters, digits, '.', '_', '-' or spaces, without a dot at either end "
            f"or a space there, and no word that Windows reserves, got {shown}. Choose another."
        )
    return name


def as_text(value: Any, what: str, *, sort: bool = False) -> str:
    """A plain value as JSON. Raises BadSettings for one that is not plain. sort: the same for equal values.

    NaN and infinity are written as Python's `json` writes them, since figures can be either.
    """
    try:
        text = json.dumps(value, sort_keys=sort, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadSettings(f"expected {what} as numbers, texts, lists and dicts of these: {error}.") from None
    return text
