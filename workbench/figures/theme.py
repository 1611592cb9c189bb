"""Colours: two themes of the same roles, distinguishable without red and green, and the plotly template of each."""

from dataclasses import dataclass, fields

import plotly.graph_objects as go

from workbench.errors import unknown

FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """A colour (#rrggbb) for each role. No two roles share one, so a page can swap a theme for the other by colour.

    cold, mid, hot: the diverging ramp, each end from faint to strong. missing: cells that were not computed.
    """

    paper: str
    card: str
    text: str
    muted: str
    grid: str
    missing: str
    blue: str
    orange: str
    teal: str
    purple: str
    slate: str
    mid: str
    cold: tuple[str, str, str]
    hot: tuple[str, str, str]

    @property
    def ramp(self) -> tuple[str, ...]:
        """The diverging ramp from the lowest value to the highest; its middle is `mid`."""
        return (*reversed(self.cold), self.mid, *self.hot)

    @property
    def series(self) -> tuple[str, ...]:
        """Colours for named series, in the order they are given out."""
        return (self.orange, self.blue, self.teal, self.purple, self.slate)

    @property
    def colours(self) -> tuple[str, ...]:
        """Every colour, role by role: the same place means the same role in each theme."""
        values = [getattr(self, f.name) for f in fields(self)]
        return tuple(c for value in values for c in ((value,) if isinstance(value, str) else value))


LIGHT = Theme(
    paper="#f7f6f3",
    card="#ffffff",
    text="#1b2130",
    muted="#59627a",
    grid="#e4e2dc",
    missing="#c9c9cb",
    blue="#2368b0",
    orange="#c25507",
    teal="#148577",
    purple="#7b57a8",
    slate="#8a91a0",
    mid="#f3f1ec",
    cold=("#b3d1ea", "#4b8dc9", "#0d478a"),
    hot=("#fbd2a8", "#ef8c36", "#ad4200"),
)
DARK = Theme(
    paper="#0f1218",
    card="#171b23",
    text="#e9ebf0",
    muted="#a3acbd",
    grid="#2b313c",
    missing="#4a505b",
    blue="#68aef4",
    orange="#ff9a45",
    teal="#4cc9b6",
    purple="#b99be8",
    slate="#7c8596",
    mid="#1e232c",
    cold=("#1c4773", "#3c8bdc", "#a2d4ff"),
    hot=("#75400f", "#e27b1f", "#ffcb94"),
)
_THEMES = {"light": LIGHT, "dark": DARK}


def theme_of(name: str) -> Theme:
    """The theme of that name, "light" or "dark"; UnknownName for any other."""
    if name not in _THEMES:
        raise unknown("theme", name, _THEMES, 'Say theme="light" or theme="dark".')
    return _THEMES[name]


def swaps() -> dict[str, dict[str, str]]:
    """For each theme's name: every colour of any theme, and the colour with its role in this one."""
    return {
        name: {old: new for other in _THEMES.values() for old, new in zip(other.colours, theme.colours, strict=True)}
        for name, theme in _THEMES.items()
    }


def blank(theme: Theme, *, title: str, subtitle: str, height: int) -> go.Figure:
    """A plotly figure without traces in that theme: transparent paper, so that it sits on any page.

    title and subtitle are taken as they are; escape names in them with `plain`. height in pixels.
    """
    axis = {
        "gridcolor": theme.grid, "linecolor": theme.grid, "zerolinecolor": theme.grid, "tickcolor": theme.grid,
        "automargin": True, "title": {"font": {"size": 12, "color": theme.muted}, "standoff": 10},
        "tickfont": {"size": 11, "color": theme.muted},
    }  # fmt: skip
    layout = {
        "font": {"family": FONT, "size": 13, "color": theme.text},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "title": {"x": 0, "xanchor": "left", "xref": "container", "y": 1, "yref": "container", "yanchor": "top",
                  "pad": {"t": 8, "l": 4}, "font": {"size": 16, "weight": 600, "color": theme.text},
                  "subtitle": {"font": {"size": 12, "color": theme.muted}}},
        "xaxis": axis,
        "yaxis": axis,
        "hoverlabel": {"bgcolor": theme.card, "bordercolor": theme.grid, "font": {"color": theme.text, "family": FONT}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        "margin": {"l": 60, "r": 20, "t": 78, "b": 48},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": theme.slate, "activecolor": theme.text},
    }  # fmt: skip
    figure = go.Figure(layout={"template": go.layout.Template(layout=layout), "height": height})
    return figure.update_layout(title={"text": title, "subtitle": {"text": subtitle}})


def words(name: object) -> str:
    """A column's name as words: `attack_success` is attack success."""
    return "triggered-benign" if name == "triggered_benign" else str(name).replace("_", " ")


def plain(text: object) -> str:
    """Text as plotly shall show it, letter for letter: plotly reads a few HTML tags, links among them."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "%&#123;")
