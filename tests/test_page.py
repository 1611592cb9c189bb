"""The report page: self-contained, escaped, readable without seeing it."""

import base64
import json
import re
from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from tests.drawn import (
    EVIL,
    arms_table,
    curves,
    report,
    sites_grid,
    sweep_grid,
)
from workbench import figures
from workbench.figures.theme import plain
from workbench.report import POSSIBLE, SURE, SwitchReport


class Reader(HTMLParser):
    """What a browser would make of a page: its tags, its text outside scripts, and the JSON of its figures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.data = "", []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attrs = self.tags[-1] if self.tags else ("", {})
        if tag == "script" and attrs.get("type") == "application/json":
            self.data.append(json.loads(data))
        elif tag not in ("script", "style"):
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def everything(name: str = "demo") -> list[figures.Section]:
    """One of each section, with `name` wherever a name can come from outside."""
    frame = pd.DataFrame({name: [0.5, float("nan")], "seen": [True, False]}, index=[name, "other"])
    grid = sweep_grid(name).assign_attrs(agent=name, goal=name, units=name)
    return [
        figures.verdict(report(name)),
        figures.Banner("clear", name, name, {name: name}),
        figures.Tiles({name: (name, name)}),
        figures.Heading(name),
        figures.Text(f"{name}\n\n{name}"),
        figures.Code(name),
        figures.Table(frame, name),
        figures.Plot(figures.scores(report(name)), name, name),
        figures.Plot(figures.heatmap(grid), name),
        figures.Plot(figures.dose_curves(grid), name),
        figures.Plot(figures.arms(arms_table().rename(index={"LAT": name}, columns={"clean_accuracy": name})), name),
        figures.Plot(figures.training({name: curves()["LAT"]}), name),
        figures.Picture(figures.static(grid, format="png"), "png", name, name),
    ]


# The page.


def test_nothing_from_outside_becomes_markup():
    safe, hostile = (
        Reader(figures.page("demo", everything())),
        Reader(figures.page(EVIL, everything(EVIL), subtitle=EVIL)),
    )
    assert {tag for tag, _ in hostile.tags} == {tag for tag, _ in safe.tags}
    assert hostile.count("script") == safe.count("script")
    assert not any(name.startswith("on") for _, attrs in hostile.tags for name in attrs)
    assert "</script><script>alert('x')</script>" in hostile.text
    titles = [figure["layout"]["title"]["text"] for figure in hostile.data]
    assert all("<" not in title for title in titles)


@given(st.text(max_size=40))
def test_plotly_is_given_text_without_tags_and_without_templates(text):
    said = plain(text)
    assert not set("<>") & set(said)
    assert "%{" not in said


def test_the_page_asks_the_network_for_nothing():
    html = figures.page("demo", everything())
    assert html.count(get_plotlyjs()) == 1
    own = html.replace(get_plotlyjs(), "")
    assert not re.search(r"(?:src|href|action|url|@import)\s*[=(]?\s*['\"]?\s*(?:https?:)?//", own)
    assert "http" not in own.replace("http-equiv", "")
    assert all(
        str(value).startswith("data:") for _, attrs in Reader(html).tags for key, value in attrs.items() if key == "src"
    )
    (policy,) = [a["content"] for t, a in Reader(html).tags if t == "meta" and "http-equiv" in a]
    assert str(policy).startswith("default-src 'none'")


def test_a_page_without_plots_carries_no_plotly():
    assert len(figures.page("demo", [figures.Heading("x"), figures.Text("y")])) < 20_000


def test_the_page_can_be_read_without_seeing_it(tmp_path):
    path = figures.write_page(tmp_path / "page.html", "demo", everything())
    page = Reader(path.read_text(encoding="utf-8"))
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all(attrs.get("aria-label") for _, attrs in page.tags if attrs.get("class") == "plot")
    assert ("html", {"lang": "en"}) in page.tags
    assert page.count("h1") == 1


def test_a_plot_is_held_whole_and_a_picture_byte_for_byte():
    figure, data = figures.heatmap(sites_grid()), figures.static(sweep_grid())
    page = Reader(figures.page("demo", [figures.Plot(figure, "alt"), figures.Picture(data, "svg", "alt")]))
    assert go.Figure(page.data[0]) == go.Figure(json.loads(figure.to_json() or ""))
    (source,) = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert base64.b64decode(str(source).split(",")[1]) == data


def test_a_table_aligns_numbers_and_says_what_is_missing():
    html = figures.Table(report().to_frame()).html()
    assert "<th scope='col' class='number'>score</th>" in html
    assert "<th scope='col'>surgeon</th>" in html
    assert "<td class='number'>0.98</td>" in html
    assert "<td>47</td>" in html
    assert "<td>yes</td>" in html
    assert "<td>\N{EN DASH}</td>" in html


def test_the_verdict_says_what_was_found_and_beside_what():
    found, perhaps, nothing = (figures.verdict(report(best=best)) for best in (0.98, (SURE + POSSIBLE) / 2, 0.2))
    assert (found.kind, found.headline) == ("alarm", "Switch found at L1.mlp.post neuron 47")
    assert found.details == {"score": "0.98", "largest control": "0.11", "threshold": f"{SURE:.2f}"}
    assert [perhaps.kind, nothing.kind] == ["unsure", "clear"]
    assert figures.verdict(SwitchReport("demo", (), {})).kind == "unsure"
