"""Lines: the loss of neurons over doses, and how training went, as plotly figures."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from workbench.errors import BadSettings, unknown
from workbench.figures.grids import by_site, peaks, picture, sizes
from workbench.figures.theme import blank, plain, theme_of

_NAMED = 3
_AXES = {"dose": "dose (activation)", "rho": "rho (mean residual norms)"}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_MEASURES = {
    "loss": "loss (nats)",
    "adversarial_loss": "adversarial loss (nats)",
    "attack_success": "attack success",
    "clean_accuracy": "clean accuracy",
    "triggered_benign": "triggered-benign",
}


def dose_curves(
    grid: xr.DataArray, neurons: Sequence[int] | None = None, *, x: str = "dose", theme: str = "light"
) -> go.Figure:
    """The loss of a `sweep` over doses: some neurons by name, all others faint.

    neurons: those to name, at every site; by default the three with the largest peak. x: "dose" in activation units, or
    "rho" in residual-write units, with the sign of the dose. Raises BadSettings for a grid without neurons, without a
    known rho, or without the neurons asked for.
    """
    colours, shown = theme_of(theme), picture(grid)
    if shown.square:
        raise BadSettings("expected a grid of workbench.sweep, with a dimension neuron; a landscape has no doses.")
    if x not in _AXES:
        raise unknown("axis", x, _AXES, 'Say x="dose" or x="rho".')
    lines = _lines(grid, x)
    chosen = _chosen(lines, grid, neurons)
    several = len(by_site(grid)) > 1
    at = "" if several or not shown.panels[0].title else f" at {plain(shown.panels[0].title)}"
    title = f"Loss over {x}{at}, one line a neuron"
    figure = blank(colours, title=title, subtitle=plain(shown.subtitle), height=400)
    rest = [lines[key] for key in lines if key not in chosen]
    if rest:
        figure.add_trace(_faint(rest, colours.slate))
    for i, key in enumerate(chosen):
        doses, losses = lines[key]
        colour, name = colours.series[i % 5], plain(f"{key[0]} neuron {key[1]}" if several else f"neuron {key[1]}")
        style = {"color": colour, "width": 2.5, "dash": _DASHES[i // 5 % 5]}
        said = f"{x} %{{x:.3g}}<br><b>loss %{{y:.3f}}</b><extra>{name}</extra>"
        figure.add_trace(
            go.Scatter(
                x=doses, y=losses, name=name, mode="lines+markers", line=style, marker={"size": 6}, hovertemplate=said
            )
        )
    figure.add_hline(y=shown.unedited, line={"color": colours.text, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text=_AXES[x], zeroline=False)
    figure.update_yaxes(title_text=f"loss ({plain(shown.units)})", zeroline=False, ticklabelstandoff=6)
    return figure.update_layout(margin={"t": 92})


def _lines(grid: xr.DataArray, x: str) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """For each site and neuron that was run: where, and the loss there."""
    found = {}
    for site, part in by_site(grid):
        doses, rho = np.asarray(part["dose"].values, dtype=float), sizes(part)
        losses = np.asarray(part.transpose("neuron", "dose").values, dtype=float)
        for i, neuron in enumerate(part["neuron"].values):
            at = doses if x == "dose" else rho[i] * np.sign(doses)
            if not (np.isnan(losses[i]) | np.isnan(at)).all():
                found[site, int(neuron)] = (at, losses[i])
    if not found:
        raise BadSettings(f"expected at least one neuron with a loss and a {x}, got none. "
                          'Where a site has no linear write, rho is undefined: use x="dose".')  # fmt: skip
    return found


def _chosen(lines: dict, grid: xr.DataArray, neurons: Sequence[int] | None) -> list[tuple[str, int]]:
    """The lines to name, in the order asked for, or by their peak."""
    if neurons is None:
        best = {(s, int(n)): p for s, g in by_site(grid) for n, p in zip(g["neuron"].values, peaks(g), strict=True)}
        return sorted(lines, key=lambda key: -best[key])[:_NAMED]
    missing = [n for n in neurons if not any(key[1] == n for key in lines)]
    if missing:
        known = sorted({key[1] for key in lines})
        raise BadSettings(f"expected neurons of the grid, {len(known)} from {known[0]} to {known[-1]}, got {missing}.")
    return [key for n in neurons for key in lines if key[1] == n]


def _faint(lines: list[tuple[np.ndarray, np.ndarray]], colour: str) -> go.Scatter:
    """All lines as one trace, broken between them."""
    x, y = (np.concatenate([np.append(line[side], np.nan) for line in lines]) for side in (0, 1))
    return go.Scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 1}, opacity=0.35, hoverinfo="skip",
                      name=f"{len(lines)} others", legendrank=2000)  # fmt: skip


def training(curves: Mapping[str, pd.DataFrame], *, theme: str = "light") -> go.Figure:
    """How training went: a panel for each measure, a line for each arm.

    curves: for each arm, a table with a column `step` and some of loss, adversarial_loss, attack_success,
    clean_accuracy and triggered_benign. Raises BadSettings for no arm, or a table without `step` or any measure.
    """
    colours = theme_of(theme)
    measures = _measures(curves)
    across, down = min(2, len(measures)), -(-len(measures) // 2)
    height = 120 + 250 * down
    figure = blank(colours, title="Training, step by step", subtitle="", height=height)
    names = [f"<b>{_MEASURES[m]}</b>" for m in measures]
    make_subplots(rows=down, cols=across, figure=figure, subplot_titles=names, vertical_spacing=0.2 / down,
                  horizontal_spacing=0.09)  # fmt: skip
    for i, (arm, table) in enumerate(curves.items()):
        style = {"color": colours.series[i % 5], "width": 2.2, "dash": _DASHES[i % 5]}
        seen = False
        for k, measure in enumerate(measures):
            if measure not in table:
                continue
            line = go.Scatter(
                x=table["step"], y=table[measure], mode="lines", name=plain(arm), legendgroup=str(i), line=style,
                showlegend=not seen, hovertemplate=f"step %{{x}}<br><b>%{{y:.3f}}</b><extra>{plain(arm)}</extra>",
            )  # fmt: skip
            figure.add_trace(line, row=k // 2 + 1, col=k % 2 + 1)
            seen = True
    figure.update_annotations(font={"size": 12, "color": colours.text})
    figure.update_xaxes(zeroline=False, showgrid=False).update_xaxes(title_text="step", row=down)
    figure.update_yaxes(rangemode="tozero", zeroline=False, ticklabelstandoff=6)
    for k, measure in enumerate(measures):
        if "nats" not in _MEASURES[measure]:
            figure.update_yaxes(range=[-0.02, 1.05], row=k // 2 + 1, col=k % 2 + 1)
    return figure.update_layout(margin={"t": 96}, legend={"y": 1 - 36 / height, "yref": "container", "yanchor": "top"})


def _measures(curves: Mapping[str, pd.DataFrame]) -> list[str]:
    """The measures that some arm has, in a fixed order."""
    for arm, table in curves.items():
        if "step" not in table or not any(m in table for m in _MEASURES):
            raise BadSettings(f"expected columns step and some of {', '.join(_MEASURES)} for {arm!r}, "
                              f"got {', '.join(map(str, table.columns)) or 'none'}.")  # fmt: skip
    if not curves:
        raise BadSettings("expected the curves of at least one arm, got none.")
    return [m for m in _MEASURES if any(m in table for table in curves.values())]
