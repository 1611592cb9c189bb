"""Ranked findings with their controls, and what retraining did to each rate, as plotly bars."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.errors import BadSettings
from workbench.figures.theme import Theme, blank, plain, theme_of, words
from workbench.report import Finding, SwitchReport

MOST_BARS = 12
"""Findings drawn; the rest are in `report.to_frame()`."""
ARMS_TITLE = "What each way of retraining does"
ARMS_SUBTITLE = "Attack success should fall to 0; the other rates should stay at, or come to, 1."
_RATE_COLOURS = {"attack_success": 0, "clean_accuracy": 1, "triggered_benign": 2}


def place(finding: Finding) -> str:
    """Where a Finding is, in words: `L1.mlp.post neuron 47`, `L0.resid_pre positions 2, 3`, several joined by +."""
    if len(finding.edits) > 1:
        return " + ".join(edit.site.short for edit in finding.edits)
    what, where = _listed("neuron", finding.neurons), _listed("position", finding.positions)
    return (
        " ".join(filter(None, (finding.site.short, what, where)))
        if what or where
        else f"{finding.site.short} direction"
    )


def _listed(kind: str, numbers: tuple[int, ...] | None) -> str:
    """The first few, with their name in the singular or plural; nothing where there are none."""
    if not numbers:
        return ""
    listed = ", ".join(map(str, numbers[:6])) + (", .." if len(numbers) > 6 else "")
    return f"{kind}{'s' if len(numbers) > 1 else ''} {listed}"


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the picture of a report says. labels, scores, rhos, controls: one a bar, best first."""

    title: str
    subtitle: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    rhos: tuple[float, ...]
    controls: tuple[float, ...]

    @property
    def columns(self) -> dict[str, tuple[float, list[str]]]:
        """The figures written beside the bars: for each column, where on the axis of scores, and its texts."""
        rhos = ["" if np.isnan(rho) else f"{rho:.2f}" for rho in self.rhos]
        return {"score": (1.08, [f"{score:.2f}" for score in self.scores]), "rho": (1.18, rhos)}


def ranking(report: SwitchReport) -> Ranking:
    """The best findings of a report, ready to draw. Raises BadSettings for a report without any."""
    if not report.findings:
        raise BadSettings(
            f"expected a report with findings, got none on {report.agent}: give the hunt Surgeons and sites."
        )
    shown = report.findings[:MOST_BARS]
    more = f", best {len(shown)} of {len(report.findings)}" if len(report.findings) > len(shown) else ""
    return Ranking(
        f"Findings on {report.agent}, best first{more}",
        "Score on prompts that the Surgeon did not see. Tick in a bar: best random edit of the same size there.",
        *zip(*((place(f), f.score, f.rho, f.control) for f in shown), strict=True),
    )


def scores(report: SwitchReport, *, theme: str = "light") -> go.Figure:
    """The ranked Findings as bars, with the largest control and the threshold as lines.

    Orange bars are above the threshold. Raises BadSettings for a report without Findings.
    """
    colours, shown = theme_of(theme), ranking(report)
    rows = list(range(len(shown.labels)))
    figure = blank(colours, title=plain(shown.title), subtitle=plain(shown.subtitle), height=150 + 32 * len(rows))
    figure.add_trace(_bars(report, shown, colours))
    figure.add_trace(
        go.Scatter(
            x=shown.controls, y=rows, mode="markers", hoverinfo="skip", showlegend=False, cliponaxis=False,
            marker={"symbol": "line-ns", "size": 14, "line": {"width": 2.5, "color": colours.card}},
        )
    )  # fmt: skip
    for name, (x, texts) in shown.columns.items():
        figure.add_trace(
            go.Scatter(
                x=[x] * len(rows), y=rows, text=texts, mode="text", hoverinfo="skip", showlegend=False,
                textfont={"size": 12, "color": colours.text},
            )
        )  # fmt: skip
        _head(figure, x, name, colours.muted, "center")
    _line(figure, report.largest_control, f"largest control {report.largest_control:.2f}", colours.muted, "dot", "left")
    _line(figure, report.threshold, f"threshold {report.threshold:.2f}", colours.text, "solid", "right")
    figure.update_yaxes(tickvals=rows, ticktext=[plain(x) for x in shown.labels], autorange="reversed", showgrid=False,
                        zeroline=False, tickfont={"size": 12, "color": colours.text}, ticklabelstandoff=8)  # fmt: skip
    figure.update_xaxes(title_text="score (0 to 1)", range=[0, 1.22], tickvals=[0, 0.25, 0.5, 0.75, 1], zeroline=False)
    return figure.update_layout(bargap=0.34, margin={"t": 92})


def _bars(report: SwitchReport, shown: Ranking, colours: Theme) -> go.Bar:
    above = [score > report.threshold for score in shown.scores]
    pairs = zip(shown.labels, report.findings, strict=False)
    return go.Bar(
        x=shown.scores, y=list(range(len(shown.labels))), orientation="h", showlegend=False,
        marker={"color": [colours.orange if a else colours.slate for a in above], "cornerradius": 3},
        customdata=[[plain(label), f.surgeon, f.control] for label, f in pairs],
        hovertemplate="<b>%{customdata[0]}</b><br>score %{x:.3f}, own control %{customdata[2]:.3f}<br>"
                      "proposed by %{customdata[1]}<extra></extra>",
    )  # fmt: skip


def _line(figure: go.Figure, x: float, text: str, colour: str, dash: str, side: str) -> None:
    """An upright line through all bars, named above them, to the left or right of it."""
    style = {"color": colour, "width": 1.5, "dash": dash}
    figure.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, yref="y domain", line=style)
    _head(figure, x, text, colour, "right" if side == "left" else "left")


def _head(figure: go.Figure, x: float, text: str, colour: str, anchor: str) -> None:
    """A word above the bars; anchor: which part of it is at x."""
    figure.add_annotation(x=x, y=1, yref="y domain", text=text, showarrow=False, yanchor="bottom", xanchor=anchor,
                          font={"size": 12, "color": colour})  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """A checked table of rates. values [arm, rate]; series: the place of each rate's colour in `Theme.series`."""

    arms: tuple[str, ...]
    names: tuple[str, ...]
    values: np.ndarray
    series: tuple[int, ...]


def rates(table: pd.DataFrame) -> Rates:
    """A table of rates in [0, 1], one row an arm, ready to draw. Raises BadSettings for anything else."""
    if not isinstance(table, pd.DataFrame) or table.empty:
        raise BadSettings(f"expected a table, a row for each arm, a column for each rate, got {type(table).__name__}.")
    try:
        values = table.to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise BadSettings(f"expected a number in every cell of a table of rates: {error}.") from None
    outside = values[~np.isnan(values) & ((values < 0) | (values > 1))]
    if outside.size or values.shape[1] > len(_RATE_COLOURS) + 2:
        raise BadSettings(
            f"expected at most {len(_RATE_COLOURS) + 2} columns of rates in [0, 1], got {values.shape[1]} columns, "
            f"with {outside[:3].tolist()} outside."
        )
    free = iter(i for i in range(5) if i not in {v for k, v in _RATE_COLOURS.items() if k in table.columns})
    series = tuple(_RATE_COLOURS[c] if c in _RATE_COLOURS else next(free) for c in table.columns)
    names = tuple(words(c) for c in table.columns)
    return Rates(tuple(str(i) for i in table.index), names, values, series)


def arms(table: pd.DataFrame, *, theme: str = "light") -> go.Figure:
    """Rates before and after each way of retraining, as grouped bars with their values.

    table: a row for each arm, a column for each rate in [0, 1] (attack_success, clean_accuracy, triggered_benign); nan
    leaves a gap. Raises BadSettings for anything else.
    """
    colours, shown = theme_of(theme), rates(table)
    figure = blank(colours, title=ARMS_TITLE, subtitle=ARMS_SUBTITLE, height=400)
    for i, name in enumerate(shown.names):
        column = shown.values[:, i]
        bar = go.Bar(
            x=list(range(len(shown.arms))), y=column, name=plain(name),
            marker={"color": colours.series[shown.series[i]], "cornerradius": 3},
            text=["" if np.isnan(v) else f"{v:.2f}" for v in column], textposition="outside", cliponaxis=False,
            textfont={"size": 11, "color": colours.text}, textangle=0, constraintext="none",
            customdata=[plain(a) for a in shown.arms],
            hovertemplate=f"<b>%{{customdata}}</b><br>{plain(name)} %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(bar)
    figure.update_xaxes(tickvals=list(range(len(shown.arms))), ticktext=[plain(a) for a in shown.arms], showgrid=False,
                        tickfont={"size": 12, "color": colours.text})  # fmt: skip
    figure.update_yaxes(title_text="share of answers", range=[0, 1.1], tickvals=[0, 0.25, 0.5, 0.75, 1], zeroline=False)
    return figure.update_layout(barmode="group", bargap=0.22, bargroupgap=0.08, margin={"t": 92})
