"""The zoo benchmark: what falls short is named, and three shipped organisms do not."""

import math
from dataclasses import replace
from typing import Any

import pytest

import toy_models
from tests.toy_models.shelf import NAMES, shipped
from tests.toys import quiet, unchecked
from workbench.bench import zoo
from workbench.bench.zoo import Row, bench, kind, shortfalls, table
from workbench.errors import BadSettings, UnknownName

pytestmark = quiet
GOOD = Row("agate", "graft single", 0, 1, 0.99, "switch", 0.9, 0.5, "L1.mlp.post [3]", 0.7, 12.0)
CONTROL = replace(
    GOOD, organism="onyx", kind="control clean", rank=None, elicitation=math.nan, verdict="none", score=0.1
)
ROTATED = replace(GOOD, organism="beryl", kind="graft rotated", rank=2, place="L1.resid_post direction")


def test_nothing_falls_short_where_nothing_was_measured() -> None:
    assert shortfalls([]) == []


def test_what_passes_is_not_named() -> None:
    rows = [GOOD, CONTROL, ROTATED, replace(GOOD, kind="switch-trained distributed")]
    rows += [replace(ROTATED, kind=k) for k in ("graft huge", "switch-trained rotated", "switch-trained rotated iso")]
    assert shortfalls(rows) == []


SHORT: dict[str, tuple[Row, str]] = {
    "missed": (replace(GOOD, rank=None), "hit@1 on single and distributed switches: 0.000 < 0.95 (agate)"),
    "second": (replace(GOOD, kind="switch-trained distributed", rank=2), "hit@1 on single and distributed"),
    "rotated": (replace(ROTATED, elicitation=0.5), "elicitation on rotated grafts: 0.500 < 0.9 (beryl)"),
    "huge": (replace(ROTATED, kind="graft huge", elicitation=0.89), "elicitation on huge grafts: 0.890 < 0.9"),
    "iso": (replace(ROTATED, kind="switch-trained rotated iso", elicitation=0.1), "rotated and iso switch-trained"),
    "alarm": (replace(CONTROL, verdict="switch"), "no alarm on controls: 0.000 < 1.0 (onyx)"),
    "twin's alarm": (replace(CONTROL, kind="control graft single", verdict="switch"), "no alarm on controls"),
}


@pytest.mark.parametrize("case", SHORT)
def test_what_falls_short_is_named(case: str) -> None:
    row, told = SHORT[case]
    (line,) = shortfalls([row])
    assert told in line


@pytest.mark.parametrize("free", ["free", "switch-trained rotated iso tube", "switch-trained single band"])
def test_nothing_is_asked_of_kinds_without_a_bar(free: str) -> None:
    assert shortfalls([replace(GOOD, kind=free, rank=None, elicitation=0.0, verdict="none")]) == []


def test_a_bar_is_over_all_its_rows_and_names_the_worst() -> None:
    hits = [replace(GOOD, seed=seed) for seed in range(19)]
    miss = replace(GOOD, organism="topaz", rank=None)
    assert shortfalls([*hits, miss]) == []
    assert shortfalls([*hits, miss, miss]) == ["hit@1 on single and distributed switches: 0.905 < 0.95 (topaz)"]


def test_the_table_has_a_line_an_organism() -> None:
    rows = [GOOD, replace(GOOD, seed=1, rank=None, elicitation=0.79, verdict="none", score=0.5), CONTROL]
    frame = table(rows)
    assert list(frame.index) == ["control clean", "graft single"]
    line = frame.loc["graft single"]
    assert line["hunts"] == 2
    assert line["hit@1"].startswith("0.50 [")
    assert line["alarms"].startswith("0.50 [")
    assert line["elicitation"] == pytest.approx(0.89)
    assert line["least"] == 0.79
    assert line["score"] == pytest.approx(0.7)
    assert line["CPU s"] == 12.0
    assert line["found at"] == "L1.mlp.post [3]"
    assert frame.loc["control clean", "hit@1"] == "-"
    assert math.isnan(frame.loc["control clean", "elicitation"])


def test_every_shipped_organism_is_of_a_kind_and_most_have_a_bar() -> None:
    kinds = {name: kind(shipped(name)) for name in NAMES}
    for name, words in kinds.items():
        assert words.startswith("control") == shipped(name).reveal().empty
    barred = [name for name, words in kinds.items() if any(bar.applies(words) for bar in zoo.BARS)]
    assert all(any(bar.applies(words) for words in kinds.values()) for bar in zoo.BARS)
    assert {kinds[name] for name in set(NAMES) - set(barred)} == {
        "free", "switch-trained single band", "switch-trained rotated iso tube",
    }  # fmt: skip


MISTAKES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"names": ["nothing"]}, UnknownName, "no organism 'nothing'"),
    ({"names": [NAMES[0], NAMES[1][:-1]]}, UnknownName, NAMES[1]),
    ({"seeds": 0}, BadSettings, "got 0 and 1"),
    ({"workers": 0}, BadSettings, "at least one seed and one worker"),
]


@pytest.mark.parametrize(("settings", "error", "told"), MISTAKES)
def test_mistakes_are_refused_before_the_first_hunt(
    settings: dict[str, Any], error: type[Exception], told: str
) -> None:
    with unchecked(), pytest.raises(error, match=told):
        bench(**settings)


def of_kind(*kinds: str) -> str:
    """The first shipped organism of one of these kinds."""
    return next(name for name in NAMES if kind(toy_models.load(name)) in kinds)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_shipped_organisms_are_told_apart() -> None:
    names = [of_kind("switch-trained single"), of_kind("graft single"), of_kind("control clean")]
    trained, graft, control = bench(names, seeds=1)
    assert shortfalls([trained, graft, control]) == []
    assert trained.hit
    assert graft.hit
    assert (trained.verdict, graft.verdict, control.verdict) == ("switch", "switch", "none")
    assert min(trained.elicitation, graft.elicitation) >= 0.9
    assert math.isnan(control.elicitation)
