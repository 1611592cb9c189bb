"""A report as one HTML file: no request leaves it, and it follows the reader's light or dark theme."""

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from plotly.offline import get_plotlyjs

from workbench.errors import BadSettings
from workbench.figures.sections import Plot, Section
from workbench.figures.theme import DARK, LIGHT, Theme, swaps
from workbench.store import write_bytes

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the browser may load for the page: nothing that is not in it."""
_ROLES = ("paper", "card", "text", "muted", "grid", "blue", "orange", "teal", "slate")


def page(title: str, sections: Sequence[Section], *, subtitle: str = "") -> str:
    """One self-contained HTML document: the sections in order, with plotly inside it once where there is a Plot.

    Raises BadSettings for anything that is no Section.
    """
    for section in sections:
        if not isinstance(section, Section):
            raise BadSettings(f"expected sections such as Heading, Text, Table or Plot, got {type(section).__name__}.")
    body = "\n".join(section.html() for section in sections)
    under = f"<p class='subtitle'>{escape(subtitle)}</p>" if subtitle else ""
    scripts = _scripts() if any(isinstance(section, Plot) for section in sections) else ""
    return (
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        "<meta name='color-scheme' content='light dark'>\n"
        f"<title>{escape(title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1>{under}</header>\n{body}\n"
        "<footer>LAT workbench. This file is complete: it loads nothing and works offline.</footer>\n"
        f"</main>\n{scripts}</body>\n</html>\n"
    )


def write_page(path: str | Path, title: str, sections: Sequence[Section], *, subtitle: str = "") -> Path:
    """Write `page` to a file, whole or not at all, and return its path."""
    target = Path(path)
    write_bytes(target, page(title, sections, subtitle=subtitle).encode())
    return target


def _asset(name: str) -> str:
    return (files("workbench.figures") / "assets" / name).read_text(encoding="utf-8")


def _style() -> str:
    """The style sheet, after the variables of both themes; paper is white ground for both when printed."""
    return (
        f":root {{ {_variables(LIGHT)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}\n"
        f"{_asset('page.css')}"
    )


def _variables(theme: Theme) -> str:
    return " ".join(f"--{role}: {getattr(theme, role)};" for role in _ROLES)


def _scripts() -> str:
    colours = json.dumps(swaps(), sort_keys=True)
    return f"<script>{get_plotlyjs()}</script>\n<script>const SWAPS = {colours};\n{_asset('page.js')}</script>\n"
