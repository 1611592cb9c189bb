"""What things cost: each way's figure as bars with what is asked of it, and time over size as lines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.errors import BadSettings
from workbench.figures.theme import Theme, blank, plain, theme_of

_BAR, _GAP = 17, 10  # pixels: of a bar, and between the groups of two ways
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def cost_bars(
    table: pd.DataFrame, *, title: str, axis: str, subtitle: str = "", log: bool = True, theme: str = "light"
) -> go.Figure:
    """Figures as bars, a group for each way, a colour for each thing it was done on; a tick where one is asked.

    table: columns `way`, `on`, `figure` (positive; nan leaves a gap) and `asked` (nan for nothing). axis: its title.
    log: whether it is logarithmic. Raises BadSettings for a table without these columns, without a figure, or with more
    than five things.
    """
    colours = theme_of(theme)
    ways, things = _checked(table)
    wide = 1 / (len(things) + _GAP / _BAR)
    height = 130 + round(len(ways) * (len(things) * _BAR + _GAP))
    figure = blank(colours, title=plain(title), subtitle=plain(subtitle), height=height)
    for i, thing in enumerate(things):
        own: Any = table[(table["on"] == thing) & table["figure"].notna()]
        at = [ways.index(way) + (i - (len(things) - 1) / 2) * wide for way in own["way"]]
        figure.add_trace(_bars(own, at, plain(thing), colours.series[i], colours, wide))
        figure.add_trace(_ticks(own["asked"], at, colours, first=i == 0))
    labels = [plain(way) for way in ways]
    figure.update_yaxes(tickvals=list(range(len(ways))), ticktext=labels, range=[len(ways) - 0.5, -0.5], showgrid=False,
                        zeroline=False, tickfont={"size": 12, "color": colours.text}, ticklabelstandoff=8)  # fmt: skip
    figure.update_xaxes(title_text=axis, type="log" if log else "linear", zeroline=False, dtick=1 if log else None)
    return figure.update_layout(barmode="overlay", margin={"t": 92, "r": 50})


def _bars(own: pd.DataFrame, at: list[float], name: str, colour: str, colours: Theme, wide: float) -> go.Bar:
    return go.Bar(
        x=own["figure"], y=at, width=wide * 0.88, orientation="h", name=name, marker={"color": colour},
        text=[f"{value:.3g}" for value in own["figure"]], textposition="outside", cliponaxis=False,
        textfont={"size": 10, "color": colours.text}, customdata=[plain(way) for way in own["way"]],
        hovertemplate=f"<b>%{{customdata}}</b><br>{name} %{{x:.3g}}<extra></extra>",
    )  # fmt: skip


def _ticks(asked: pd.Series, at: list[float], colours: Theme, *, first: bool) -> go.Scatter:
    """An upright tick at what is asked of each bar."""
    return go.Scatter(
        x=asked, y=at, mode="markers", name="asked", legendgroup="asked", showlegend=first,
        hovertemplate="asked %{x:.3g}<extra></extra>",
        marker={"symbol": "line-ns", "size": 13, "line": {"width": 2.5, "color": colours.text}},
    )  # fmt: skip


def _checked(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The ways and the things of a table of figures, in its order; BadSettings for any other."""
    _need(table, ("way", "on", "figure", "asked"))
    ways, things = list(dict.fromkeys(table["way"])), list(dict.fromkeys(table["on"]))
    if not np.any(table["figure"].to_numpy() > 0) or len(things) > 5:
        raise BadSettings(f"expected positive figures on one to five things, got {len(table)} rows on {len(things)}.")
    return ways, things


def growth(table: pd.DataFrame, *, title: str, subtitle: str = "", theme: str = "light") -> go.Figure:
    """Time over size, both logarithmic: a panel for each quantity, a line for each way.

    table: columns `quantity`, `way`, `value` and `seconds`, the last two positive. Raises BadSettings for a table
    without these columns or without rows.
    """
    colours = theme_of(theme)
    _need(table, ("quantity", "way", "value", "seconds"))
    quantities, ways = list(dict.fromkeys(table["quantity"])), list(dict.fromkeys(table["way"]))
    down, across = -(-len(quantities) // 3), min(3, len(quantities))
    height = 130 + 230 * down
    figure = blank(colours, title=plain(title), subtitle=plain(subtitle), height=height)
    make_subplots(rows=down, cols=across, figure=figure, subplot_titles=[f"<b>{plain(q)}</b>" for q in quantities],
                  vertical_spacing=0.24 / down, horizontal_spacing=0.09)  # fmt: skip
    for k, quantity in enumerate(quantities):
        for i, way in enumerate(ways):
            own: Any = table[(table["quantity"] == quantity) & (table["way"] == way)]
            figure.add_trace(_line(own, plain(way), i, colours, named=k == 0), row=k // 3 + 1, col=k % 3 + 1)
    figure.update_annotations(font={"size": 12, "color": colours.text})
    figure.update_xaxes(type="log", zeroline=False, dtick=1)
    figure.update_yaxes(type="log", zeroline=False, dtick=1, ticksuffix=" s", ticklabelstandoff=6)
    return figure.update_layout(margin={"t": 110}, legend={"y": 1 - 40 / height, "yref": "container", "yanchor": "top"})


def _line(own: pd.DataFrame, name: str, i: int, colours: Theme, *, named: bool) -> go.Scatter:
    style = {"color": colours.series[i % 5], "width": 2.2, "dash": _DASHES[i % 5]}
    return go.Scatter(
        x=own["value"], y=own["seconds"], mode="lines+markers", name=name, legendgroup=name, showlegend=named,
        line=style, marker={"size": 6}, hovertemplate=f"%{{x}}<br><b>%{{y:.3g}} s</b><extra>{name}</extra>",
    )  # fmt: skip


def _need(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise BadSettings unless the table has rows and these columns."""
    if not isinstance(table, pd.DataFrame) or table.empty or not set(names) <= set(table.columns):
        got = ", ".join(map(str, table.columns)) or "none" if isinstance(table, pd.DataFrame) else type(table).__name__
        raise BadSettings(f"expected a table with rows and the columns {', '.join(names)}, got {got}.")
