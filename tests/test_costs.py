"""Pictures of costs: every figure is drawn as long as it is, in a theme's colours, and nothing else is accepted."""

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import BadSettings
from workbench.figures.costs import cost_bars, growth
from workbench.figures.theme import DARK, LIGHT, Theme


def _costs(figures: list[float], things: int = 1) -> pd.DataFrame:
    rows = [(f"way {i}", f"thing {k}", f, 3.0 if i else math.nan) for k in range(things) for i, f in enumerate(figures)]
    return pd.DataFrame(rows, columns=["way", "on", "figure", "asked"])


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=6), st.integers(1, 5))
def test_every_figure_has_a_bar_of_its_length_and_none_lie_on_each_other(figures: list[float], things: int) -> None:
    drawn: Any = cost_bars(_costs(figures, things), title="t", axis="x")
    bars = [trace for trace in drawn.data if trace.type == "bar"]
    assert [trace.name for trace in bars] == [f"thing {k}" for k in range(things)]
    assert all(list(trace.x) == figures for trace in bars)
    places = sorted((y, trace.width) for trace in bars for y in trace.y)
    assert all(b - a > wide for (a, wide), (b, _) in pairwise(places))
    assert drawn.layout.xaxis.type == "log"


def test_a_figure_that_is_missing_leaves_a_gap_and_what_is_asked_has_a_tick() -> None:
    drawn: Any = cost_bars(_costs([1.0, math.nan, 2.0]), title="t", axis="x", log=False)
    bars, ticks = drawn.data
    assert (list(bars.x), list(bars.y)) == ([1.0, 2.0], [0, 2])
    assert list(ticks.x)[1:] == [3.0]
    assert list(ticks.y) == [0, 2]


def test_growth_has_a_panel_a_quantity_and_a_line_a_way() -> None:
    rows = [(q, w, n, n / 10) for q in ("edits", "prompts") for w in ("a", "b") for n in (1, 2, 4)]
    drawn: Any = growth(pd.DataFrame(rows, columns=["quantity", "way", "value", "seconds"]), title="t")
    assert [(line.name, line.xaxis, line.showlegend) for line in drawn.data] == [
        ("a", "x", True), ("b", "x", True), ("a", "x2", False), ("b", "x2", False),
    ]  # fmt: skip
    assert all(list(line.y) == [0.1, 0.2, 0.4] for line in drawn.data)
    assert (drawn.layout.xaxis2.type, drawn.layout.yaxis2.type) == ("log", "log")


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_is_one_of_the_theme_so_a_page_can_swap_it(theme: Theme) -> None:
    name = "light" if theme is LIGHT else "dark"
    rows = pd.DataFrame([("q", "w", 1, 1.0)], columns=["quantity", "way", "value", "seconds"])
    for drawn in (cost_bars(_costs([1.0], 5), title="t", axis="x", theme=name), growth(rows, title="t", theme=name)):
        assert set(re.findall("#[0-9a-f]{6}", drawn.to_json() or "")) <= set(theme.colours)


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: cost_bars(pd.DataFrame(), title="t", axis="x"), "expected a table with rows and the columns way, on"),
        (lambda: cost_bars(_costs([math.nan]), title="t", axis="x"), "expected positive figures"),
        (lambda: cost_bars(_costs([1.0], 6), title="t", axis="x"), "on one to five things, got 6 rows on 6"),
        (lambda: growth(_costs([1.0]), title="t"), "columns quantity, way, value, seconds, got way, on, figure, asked"),
    ],
)
def test_a_table_of_another_kind_is_refused(draw: Callable[[], Any], told: str) -> None:
    with pytest.raises(BadSettings, match=told):
        draw()
