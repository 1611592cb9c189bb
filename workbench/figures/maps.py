"""Heatmaps of the loss over edits, as plotly figures."""

import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from workbench.figures.grids import Panel, Picture, picture
from workbench.figures.theme import Theme, blank, plain, theme_of

_AROUND = 150
"""Pixels above and below the panels: title, axis, margins."""


def heatmap(
    grid: xr.DataArray,
    *,
    theme: str = "light",
    order: str = "neuron",
    limits: tuple[float, float] | None = None,
) -> go.Figure:
    """The loss over edits: a panel for each site of a `sweep`, or the plane of a `landscape`.

    Blue is below the unedited loss, orange above it, and the colour in between is exactly `grid.attrs["unedited"]`;
    grey cells were not run. order: "neuron", or "loss" for the largest peak first. limits: (low, high) losses that the
    colours must reach, in the grid's units, for pictures that are to be compared; by default those of the grid, and at
    least one nat on either side. Raises BadSettings for a grid that neither function made, UnknownName for a theme or
    an order.
    """
    colours, shown = theme_of(theme), picture(grid, order=order, limits=limits)
    tall = 460 if shown.square else max(110, min(26 * len(shown.panels[0].y), 340))
    gap = 76 if len(shown.panels) > 1 else 0
    height = _AROUND + len(shown.panels) * tall + (len(shown.panels) - 1) * gap
    figure = blank(colours, title=plain(shown.title), subtitle=plain(shown.subtitle), height=height)
    make_subplots(rows=len(shown.panels), cols=1, figure=figure, vertical_spacing=gap / (height - _AROUND))
    for row, panel in enumerate(shown.panels, 1):
        _draw(figure, row, panel, shown)
        _name(figure, row, panel, colours, alone=len(shown.panels) == 1)
    figure.update_xaxes(title_text=plain(shown.x_title), row=len(shown.panels))
    _finish(figure, shown, colours)
    return figure


def _draw(figure: go.Figure, row: int, panel: Panel, shown: Picture) -> None:
    cells = go.Heatmap(
        z=panel.values, x=panel.x, y=panel.y, coloraxis="coloraxis", hoverongaps=False, name=plain(panel.title),
        text=[[plain(note) for note in line] for line in panel.notes],
        hovertemplate=f"%{{text}}<br><b>loss %{{z:.3f}} {plain(shown.units)}</b><extra></extra>",
    )  # fmt: skip
    figure.add_trace(cells, row=row, col=1)
    figure.update_xaxes(**_ticks(panel.x_labels, len(panel.x)), row=row, col=1)
    figure.update_yaxes(**_ticks(panel.y_labels, len(panel.y)), title_text=plain(shown.y_title), row=row, col=1)


def _ticks(labels: dict[float, str] | None, count: int) -> dict:
    """An axis of `count` cells of equal size, with those labels; nothing for an axis of numbers."""
    if labels is None:
        return {}
    texts = [plain(text) for text in labels.values()]
    return {"tickvals": list(labels), "ticktext": texts, "range": [-0.5, count - 0.5]}


def _name(figure: go.Figure, row: int, panel: Panel, colours: Theme, *, alone: bool) -> None:
    """The panel's title, and its marks: above the cells in a sweep, at points of a landscape."""
    if not alone:
        figure.add_annotation(
            x=0, y=1, xref="x domain", yref="y domain", xanchor="left", yanchor="bottom", showarrow=False,
            yshift=22 if panel.marks else 4,
            text=f"<b>{plain(panel.title)}</b>", font={"size": 12, "color": colours.text}, row=row, col=1,
        )  # fmt: skip
    style = _above(colours) if panel.x_labels else _inside(colours)
    for mark in panel.marks:
        figure.add_annotation(x=mark.x, y=mark.y, text=plain(mark.text), **style, row=row, col=1)
    if panel.marks and not panel.x_labels:
        figure.add_trace(_points(panel, colours), row=row, col=1)


def _above(colours: Theme) -> dict:
    """A word above the cells, with an arrow to its column."""
    arrow = {"arrowcolor": colours.orange, "arrowwidth": 1.5, "arrowhead": 2, "arrowsize": 0.8}
    return {"ax": 0, "ay": -14, "font": {"size": 12, "color": colours.orange}} | arrow


def _inside(colours: Theme) -> dict:
    """A word over the cells, on a ground of its own so that it can be read on any colour."""
    ground = {"bgcolor": colours.card, "opacity": 0.88, "borderpad": 2}
    return {"showarrow": False, "yshift": 18, "font": {"size": 12, "color": colours.text}} | ground


def _points(panel: Panel, colours: Theme) -> go.Scatter:
    return go.Scatter(
        x=[m.x for m in panel.marks], y=[m.y for m in panel.marks], mode="markers", hoverinfo="skip", showlegend=False,
        marker={"size": 9, "color": colours.card, "line": {"width": 2, "color": colours.text}},
    )  # fmt: skip


def _finish(figure: go.Figure, shown: Picture, colours: Theme) -> None:
    """Colours, their bar, and axes without lines."""
    steps = len(colours.ramp) - 1
    quiet = {"size": 12, "color": colours.muted}
    figure.update_layout(
        margin={"t": 84 if len(shown.panels) == 1 else 104},
        plot_bgcolor=colours.missing,
        coloraxis={
            "cmin": shown.unedited - shown.half, "cmid": shown.unedited, "cmax": shown.unedited + shown.half,
            "colorscale": [[i / steps, colour] for i, colour in enumerate(colours.ramp)],
            "colorbar": {
                "title": {"text": f"loss ({plain(shown.units)})", "side": "right", "font": quiet},
                "tickvals": list(shown.ticks), "ticktext": list(shown.ticks.values()), "ticks": "", "thickness": 12,
                "tickfont": quiet | {"size": 11},
                "lenmode": "pixels", "len": 460 if shown.square else 220, "y": 1, "yanchor": "top", "ypad": 0,
                "outlinewidth": 0,
            },
        },
    )  # fmt: skip
    for axes in (figure.update_xaxes, figure.update_yaxes):
        axes(showgrid=False, zeroline=False, showline=False, constrain="domain")
    if shown.square:
        figure.update_yaxes(scaleanchor="x")
        figure.update_xaxes(domain=[0.19, 0.81]).update_layout(coloraxis_colorbar_x=0.83)
