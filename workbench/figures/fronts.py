"""Fronts: what each way of retraining leaves of a backdoor against what it costs, and when prevention is in time."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.errors import BadSettings
from workbench.figures.theme import blank, plain, theme_of

_FRONT = ("arm", "attack_success", "clean_loss_change", "on the front")
_STARTS = ("step", "attack_success", "task")


def front(points: pd.DataFrame, *, theme: str = "light") -> go.Figure:
    """Attack success against the change of the clean loss, a point for each arm; those on the Pareto front are joined.

    points: columns arm, attack_success (rate), clean_loss_change (nats) and "on the front" (bool). Raises BadSettings
    where one is missing, or there is no row.
    """
    colours = theme_of(theme)
    _check(points, _FRONT)
    figure = blank(
        colours,
        title="What is left, and what it costs",
        subtitle="Lower left is better; no arm is better in both than those that are joined.",
        height=460,
    )
    ahead = np.asarray(points["on the front"], dtype=bool)
    best: Any = pd.DataFrame(points[ahead]).sort_values(by=["clean_loss_change"])
    rest: Any = points[~ahead]
    for some, colour, mode, name in (
        (rest, colours.slate, "markers+text", "beaten in both"),
        (best, colours.series[0], "lines+markers+text", "on the front"),
    ):
        if len(some):
            figure.add_trace(
                go.Scatter(
                    x=some["clean_loss_change"],
                    y=some["attack_success"],
                    mode=mode,
                    name=name,
                    text=[plain(str(arm)) for arm in some["arm"]],
                    textposition="top center",
                    textfont={"size": 10, "color": colours.text},
                    marker={"size": 9, "color": colour},
                    line={"color": colour, "width": 1.5},
                    hovertemplate="%{text}<br>attack success <b>%{y:.3f}</b><br>clean loss %{x:+.4f}<extra></extra>",
                )
            )
    figure.update_xaxes(title_text="change of the clean loss (nats)", zeroline=True, zerolinecolor=colours.slate)
    figure.update_yaxes(title_text="attack success", range=[-0.05, 1.1], zeroline=False)
    return figure.update_layout(margin={"t": 92})


def starts(runs: pd.DataFrame, *, theme: str = "light") -> go.Figure:
    """Attack success against the step at which LAT began, a point a run and a line through the means.

    runs: columns step (nan: LAT never began), attack_success (rate) and task. Raises BadSettings where one is missing,
    or no run has a step.
    """
    colours = theme_of(theme)
    _check(runs, _STARTS)
    known = runs["step"].notna()
    begun: Any = runs[known]
    never: Any = runs[~known]
    if not len(begun):
        raise BadSettings("expected at least one run in which LAT began at some step, got none.")
    figure = blank(
        colours,
        title="LAT from the beginning",
        subtitle="Attack success in the end, by the step at which LAT began",
        height=400,
    )
    said = "step %{x}<br>attack success <b>%{y:.3f}</b><br>%{text}<extra></extra>"
    figure.add_trace(
        go.Scatter(
            x=begun["step"],
            y=begun["attack_success"],
            mode="markers",
            name="a run",
            hovertemplate=said,
            text=[plain(str(task)) for task in begun["task"]],
            marker={"size": 8, "color": colours.slate},
        )
    )
    means: Any = begun.groupby("step")["attack_success"].mean()
    line = {"color": colours.series[0], "width": 2.5}
    figure.add_trace(go.Scatter(x=means.index, y=means.values, mode="lines+markers", name="mean", line=line))
    if len(never):
        figure.add_hline(
            y=float(np.mean(np.asarray(never["attack_success"]))),
            line={"color": colours.text, "width": 1, "dash": "dot"},
            annotation_text="without LAT",
            annotation_font={"color": colours.text},
        )
    figure.update_xaxes(title_text="step at which LAT began", zeroline=False)
    figure.update_yaxes(title_text="attack success", range=[-0.05, 1.1], zeroline=False)
    return figure.update_layout(margin={"t": 92})


def _check(table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in table]
    if missing or not len(table):
        raise BadSettings(
            f"expected at least one row with the columns {', '.join(columns)}, got {len(table)} rows "
            f"with {', '.join(map(str, table.columns)) or 'none'}."
        )
