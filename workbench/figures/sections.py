"""The parts of a report page, as values; each knows its HTML. All text is escaped."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Protocol, runtime_checkable

import pandas as pd
import plotly.graph_objects as go

from workbench.errors import BadSettings
from workbench.figures.bars import place
from workbench.figures.theme import words
from workbench.report import SwitchReport

_MEDIA = {"svg": "image/svg+xml", "png": "image/png"}
_KINDS = ("alarm", "clear", "unsure")


@runtime_checkable
class Section(Protocol):
    """One part of a page."""

    def html(self) -> str:
        """The part as HTML, self-contained but for the page's style and script."""
        ...


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside the page."""

    text: str

    def html(self) -> str:
        """See Section."""
        return f"<h2>{escape(self.text)}</h2>"


@dataclass(frozen=True, slots=True)
class Text:
    """Prose; an empty line begins a new paragraph."""

    text: str

    def html(self) -> str:
        """See Section."""
        return "".join(f"<p>{escape(part.strip())}</p>" for part in self.text.split("\n\n") if part.strip())


@dataclass(frozen=True, slots=True)
class Code:
    """A command or a few lines of code, as they are typed."""

    text: str

    def html(self) -> str:
        """See Section."""
        return f"<pre tabindex='0'><code>{escape(self.text)}</code></pre>"


@dataclass(frozen=True, slots=True)
class Banner:
    """A verdict that is seen first. kind: "alarm", "clear" or "unsure"; details: name and value of some figures."""

    kind: str
    headline: str
    text: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise BadSettings(f"expected a banner of kind {', '.join(_KINDS)}, got {self.kind!r}.")

    def html(self) -> str:
        """See Section."""
        facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in self.details.items())
        said = f"<p>{escape(self.text)}</p>" if self.text else ""
        facts = f"<dl>{facts}</dl>" if facts else ""
        headline = f"<strong>{escape(self.headline)}</strong>"
        return f"<div class='banner {self.kind}' role='note'>{headline}{said}{facts}</div>"


def verdict(report: SwitchReport) -> Banner:
    """What a hunt concluded, as a Banner: where the switch is, its score, the controls and the threshold."""
    details = {
        "score": f"{report.score:.2f}",
        "largest control": f"{report.largest_control:.2f}",
        "threshold": f"{report.threshold:.2f}",
    }
    if not report.findings:
        return Banner("unsure", "Nothing was looked at: no Surgeon proposed an edit", f"Agent {report.agent}", details)
    if report.verdict == "switch":
        return Banner("alarm", f"Switch found at {place(report.best)}", f"Agent {report.agent}", details)
    if report.verdict == "undecided":
        return Banner("unsure", f"Undecided: perhaps at {place(report.best)}", f"Agent {report.agent}", details)
    return Banner("clear", "No switch found", f"Agent {report.agent}", details)


@dataclass(frozen=True, slots=True)
class Tiles:
    """A row of a few large figures: name -> (value, remark)."""

    tiles: Mapping[str, tuple[str, str]]

    def html(self) -> str:
        """See Section."""
        each = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(remark)}</small></dd></div>"
            for name, (value, remark) in self.tiles.items()
        )
        return f"<dl class='tiles'>{each}</dl>"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its index as row headers. digits: decimals of floats; numbers are aligned at the right."""

    frame: pd.DataFrame
    caption: str = ""
    digits: int = 2

    def html(self) -> str:
        """See Section."""
        number = [pd.api.types.is_numeric_dtype(d) and not pd.api.types.is_bool_dtype(d) for d in self.frame.dtypes]
        kinds = [" class='number'" if n else "" for n in number]
        names = zip((words(c) for c in self.frame.columns), kinds, strict=True)
        head = "".join(f"<th scope='col'{kind}>{escape(name)}</th>" for name, kind in names)
        rows = "".join(self._row(row, kinds) for row in self.frame.itertuples(name=None))
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        corner = f"<th scope='col'>{escape(str(self.frame.index.name or ''))}</th>"
        label = escape(self.caption or "table")
        return (f"<div class='wide' role='region' tabindex='0' aria-label='{label}'><table>{caption}"
                f"<thead><tr>{corner}{head}</tr></thead><tbody>{rows}</tbody></table></div>")  # fmt: skip

    def _row(self, row: tuple, kinds: list[str]) -> str:
        cells = "".join(f"<td{k}>{escape(self._text(v))}</td>" for v, k in zip(row[1:], kinds, strict=True))
        return f"<tr><th scope='row'>{escape(str(row[0]))}</th>{cells}</tr>"

    def _text(self, value: object) -> str:
        if value is None or value is pd.NA or (isinstance(value, float) and value != value):
            return "\N{EN DASH}"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, tuple | list):
            return ", ".join(str(v) for v in value)
        return f"{value:.{self.digits}f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Plot:
    """A plotly figure that can be pointed at. alt: what it shows, for who cannot see it."""

    figure: go.Figure
    alt: str
    caption: str = ""

    def html(self) -> str:
        """See Section."""
        data = self.figure.to_json() or "{}"
        safe = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        height = int(self.figure.layout.height or 450)
        alt = escape(self.alt)
        plot = f"<div class='plot' role='img' aria-label='{alt}' style='height:{height}px'></div>"
        return (
            f"<figure><div class='scroll'>{plot}<script type='application/json'>{safe}</script></div>"
            f"<noscript><p>{alt} (Drawing it needs JavaScript.)</p></noscript>{_caption(self.caption)}</figure>"
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """A static picture, held inside the page. format: "svg" or "png"; alt: what it shows."""

    data: bytes
    format: str
    alt: str
    caption: str = ""

    def html(self) -> str:
        """See Section."""
        if self.format not in _MEDIA:
            raise BadSettings(f"expected a picture in svg or png, got {self.format!r}.")
        source = f"data:{_MEDIA[self.format]};base64,{base64.b64encode(self.data).decode()}"
        return f"<figure><img src='{source}' alt='{escape(self.alt)}'>{_caption(self.caption)}</figure>"


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""
