"""The same pictures without a browser: matplotlib draws them into bytes that are the same every time."""

from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from workbench.errors import BadSettings, unknown
from workbench.figures.bars import ARMS_SUBTITLE, ARMS_TITLE, Ranking, ranking, rates
from workbench.figures.grids import Mark, Panel, Picture, picture
from workbench.figures.theme import Theme, theme_of
from workbench.report import SwitchReport
from workbench.store import write_bytes

FORMATS = ("svg", "png")
_WIDTH, _SQUARE = 10.0, 7.4
"""Inches: of a picture, and of one that is about as high as wide."""


def static(
    thing: object,
    path: str | Path | None = None,
    *,
    format: str = "svg",
    theme: str = "light",
    order: str = "neuron",
    limits: tuple[float, float] | None = None,
) -> bytes:
    """A static picture, drawn without a browser: of a grid as `heatmap`, a SwitchReport as `scores`, a table as `arms`.

    Returns the bytes, and writes them to `path` if there is one; the same input gives the same bytes. order and limits
    are for grids only, as in `heatmap`. Raises UnknownName for a format, a theme or an order, BadSettings for another
    thing.
    """
    if format not in FORMATS:
        raise unknown("picture format", format, FORMATS, 'Say format="svg" or format="png".')
    colours = theme_of(theme)
    if isinstance(thing, xr.DataArray):
        figure = _heatmap(picture(thing, order=order, limits=limits), colours)
    elif isinstance(thing, SwitchReport):
        figure = _scores(thing, ranking(thing), colours)
    elif isinstance(thing, pd.DataFrame):
        figure = _arms(thing, colours)
    else:
        raise BadSettings(f"expected a grid, a SwitchReport or a table of rates, got {type(thing).__name__}.")
    data = _bytes(figure, format)
    if path is not None:
        write_bytes(Path(path), data)
    return data


def _bytes(figure: Figure, format: str) -> bytes:
    """The figure as a file without a date, a version or random names."""
    drop = {"svg": ("Date", "Creator"), "png": ("Software",)}[format]
    out = BytesIO()
    with mpl.rc_context({"svg.hashsalt": "lat-workbench", "svg.fonttype": "path", "font.family": ["DejaVu Sans"]}):
        figure.savefig(out, format=format, dpi=160, metadata=dict.fromkeys(drop), bbox_inches="tight", pad_inches=0.25)
    return out.getvalue()


def _figure(colours: Theme, height: float, title: str, subtitle: str, width: float = _WIDTH) -> Figure:
    """An empty figure, `height` inches high below its title; no part of matplotlib's global state is touched."""
    engine = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - 0.75 / (height + 0.8)), hspace=0.06)
    figure = Figure(figsize=(width, height + 0.8), facecolor=colours.card, layout=engine)
    top = 1 - 0.05 / (height + 0.8)
    figure.text(0.008, top, title, va="top", size=13, weight="bold", color=colours.text, parse_math=False)
    figure.text(0.008, top - 0.29 / (height + 0.8), subtitle, va="top", size=9, color=colours.muted, parse_math=False)
    return figure


def _plain_axes(axes: Axes, colours: Theme) -> None:
    """No frame, quiet ticks."""
    axes.set_facecolor(colours.card)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8.5, colors=colours.muted)
    axes.xaxis.label.set(color=colours.muted, size=9)
    axes.yaxis.label.set(color=colours.muted, size=9)


def _heatmap(shown: Picture, colours: Theme) -> Figure:
    tall = 4.6 if shown.square else max(1.2, min(0.26 * len(shown.panels[0].y), 3.4))
    height = (tall + 0.35) * len(shown.panels) + 0.4
    figure = _figure(colours, height, shown.title, shown.subtitle, _SQUARE if shown.square else _WIDTH)
    grid = figure.subplots(len(shown.panels), 1, squeeze=False)[:, 0]
    ramp = LinearSegmentedColormap.from_list("loss", colours.ramp)
    norm = TwoSlopeNorm(shown.unedited, shown.unedited - shown.half, shown.unedited + shown.half)
    for axes, panel in zip(grid, shown.panels, strict=True):
        cells = np.ma.masked_invalid(panel.values)
        # As pixels also in an svg: browsers draw seams between neighbouring shapes.
        axes.pcolormesh(_edges(panel.x), _edges(panel.y), cells, cmap=ramp, norm=norm, rasterized=True)
        _plain_axes(axes, colours)
        axes.set_facecolor(colours.missing)
        _label(axes, panel, shown, colours)
    grid[-1].set_xlabel(shown.x_title, parse_math=False)
    bar = figure.colorbar(ScalarMappable(norm, ramp), ax=list(grid), pad=0.015, fraction=0.04,
                          aspect=18, shrink=1 / len(grid), anchor=(0, 1))  # fmt: skip
    bar.set_ticks(list(shown.ticks), labels=list(shown.ticks.values()))
    bar.set_label(f"loss ({shown.units})", color=colours.muted, size=9, parse_math=False)
    bar.outline.set_visible(False)
    bar.ax.set_facecolor(colours.card)
    bar.ax.tick_params(length=0, labelsize=8.5, colors=colours.muted)
    return figure


def _edges(centres: np.ndarray) -> np.ndarray:
    """Borders of the cells around sorted centres."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])


def _label(axes: Axes, panel: Panel, shown: Picture, colours: Theme) -> None:
    axes.set_ylabel(shown.y_title, parse_math=False)
    if panel.title and len(shown.panels) > 1:
        axes.set_title(panel.title, loc="left", size=9.5, weight="bold", color=colours.text, parse_math=False,
                       pad=25 if panel.marks else 5)  # fmt: skip
    if panel.x_labels is None or panel.y_labels is None:
        axes.set_aspect("equal")
        for mark in panel.marks:
            axes.plot(mark.x, mark.y, "o", ms=7, mfc=colours.card, mec=colours.text, mew=1.8)
            _word(axes, mark, 9, colours)
        return
    axes.set_xticks(list(panel.x_labels), labels=list(panel.x_labels.values()), parse_math=False)
    axes.set_yticks(list(panel.y_labels), labels=list(panel.y_labels.values()), parse_math=False)
    for mark in panel.marks:
        arrow = {"arrowstyle": "-|>", "color": colours.orange, "shrinkA": 0, "shrinkB": 0}
        _word(axes, mark, 11, colours, arrow)


def _word(axes: Axes, mark: Mark, above: int, colours: Theme, arrow: dict | None = None) -> None:
    """A mark's text, so many points above its place, with an arrow, or else on a ground of its own."""
    ground = None if arrow else {"facecolor": colours.card, "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    axes.annotate(
        mark.text, (mark.x, mark.y), (0, above), textcoords="offset points", ha="center", size=9,
        color=colours.orange if arrow else colours.text, arrowprops=arrow, bbox=ground,
    )  # fmt: skip


def _scores(report: SwitchReport, shown: Ranking, colours: Theme) -> Figure:
    rows = np.arange(len(shown.labels))
    figure = _figure(colours, 0.36 * len(rows) + 0.9, shown.title, shown.subtitle)
    axes = figure.subplots()
    above = [colours.orange if score > report.threshold else colours.slate for score in shown.scores]
    axes.barh(rows, shown.scores, 0.64, color=above)
    axes.plot(shown.controls, rows, "|", ms=11, mew=2.2, color=colours.card)
    for name, (x, texts) in shown.columns.items():
        _head(axes, x, name, colours.muted, "center")
        for row, text in enumerate(texts):
            axes.text(x, row, text, va="center", ha="center", size=9, color=colours.text)
    for x, name, colour, dash, side in (
        (report.largest_control, "largest control", colours.muted, ":", "right"),
        (report.threshold, "threshold", colours.text, "-", "left"),
    ):
        axes.axvline(x, color=colour, lw=1.3, ls=dash)
        _head(axes, x, f"{name} {x:.2f}", colour, side)
    _plain_axes(axes, colours)
    axes.set_yticks(rows, labels=list(shown.labels), color=colours.text, parse_math=False)
    axes.set(xlim=(0, 1.22), ylim=(len(rows) - 0.5, -0.5), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="score (0 to 1)")
    return figure


def _head(axes: Axes, x: float, text: str, colour: str, side: str) -> None:
    """A word above the bars; side: which side of it is at x."""
    axes.annotate(text, (x, 1), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points", ha=side, size=9,
                  color=colour)  # fmt: skip


def _arms(table: pd.DataFrame, colours: Theme) -> Figure:
    shown = rates(table)
    figure = _figure(colours, 3.2, ARMS_TITLE, ARMS_SUBTITLE)
    axes, wide = figure.subplots(), 0.8 / len(shown.names)
    for i, name in enumerate(shown.names):
        at = np.arange(len(shown.arms)) + (i - (len(shown.names) - 1) / 2) * wide
        axes.bar(at, shown.values[:, i], wide * 0.92, color=colours.series[shown.series[i]], label=name)
        for x, value in zip(at, shown.values[:, i], strict=True):
            if not np.isnan(value):
                axes.text(x, value + 0.015, f"{value:.2f}", ha="center", size=8.5, color=colours.text)
    _plain_axes(axes, colours)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=colours.grid, lw=0.8)
    axes.set_xticks(range(len(shown.arms)), labels=list(shown.arms), color=colours.text, parse_math=False)
    axes.set(ylim=(0, 1.1), yticks=[0, 0.25, 0.5, 0.75, 1], ylabel="share of answers")
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(shown.names), frameon=False, fontsize=9,
        labelcolor=colours.text,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
