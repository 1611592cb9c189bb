"""The shipped organisms' benchmark: what falls short is named."""

from typing import Any

import pytest

from tests.bench.made import clean, row
from tests.toy_models.shelf import NAMES, shipped
from tests.toys import quiet
from workbench.bench.zoo import Row
from workbench.bench.zoo.shipped import BARS, kind, missed, recipes, table
from workbench.errors import UnknownName

pytestmark = quiet


def hunted(family: str = "graft single", organism: str = "agate", seed: int = 0, **changes: Any) -> Row:
    """A row of a shipped organism."""
    return row(family, seed, organism=organism, seed=seed, made={"shipped": organism}, **changes)


GOOD = hunted()
CONTROL = clean(organism="onyx", made={"family": "control clean"})
KINDS = ("graft rotated", "graft huge", "switch-trained rotated", "switch-trained rotated iso")


def test_nothing_falls_short_where_nothing_was_measured() -> None:
    assert missed([]) == []


def test_what_passes_is_not_named() -> None:
    rows = [GOOD, CONTROL, hunted("switch-trained distributed"), *(hunted(kind, rank=2) for kind in KINDS)]
    assert missed(rows) == []


SHORT: dict[str, tuple[Row, str]] = {
    "missed": (hunted(rank=None), "hit@1 on single and distributed switches: 0.000 < 0.95 (agate)"),
    "second": (hunted("switch-trained distributed", rank=2), "hit@1 on single and distributed"),
    "rotated": (hunted("graft rotated", "beryl", elicitation=0.5), "on rotated grafts: 0.500 < 0.9 (beryl)"),
    "huge": (hunted("graft huge", elicitation=0.89), "elicitation on huge grafts: 0.890 < 0.9"),
    "iso": (hunted("switch-trained rotated iso", elicitation=0.1), "rotated and iso switch-trained"),
    "alarm": (hunted("control clean", "onyx"), "no alarm on controls: 0.000 < 1.0 (onyx)"),
    "twin's alarm": (hunted("control graft single"), "no alarm on controls"),
    "failed": (hunted("free", seed=3, error="it went wrong"), "agate, default, seed 3: it went wrong"),
}


@pytest.mark.parametrize("case", SHORT)
def test_what_falls_short_is_named(case: str) -> None:
    one, told = SHORT[case]
    (line,) = missed([one])
    assert told in line


@pytest.mark.parametrize("free", ["free", "switch-trained rotated iso tube", "switch-trained single band"])
def test_nothing_is_asked_of_kinds_without_a_bar(free: str) -> None:
    assert missed([hunted(free, rank=None, elicitation=0.0, verdict="none")]) == []


def test_nothing_is_asked_of_other_arms() -> None:
    assert missed([hunted(rank=None, arm="greedy")]) == []


def test_a_bar_is_over_all_its_rows_and_names_the_worst() -> None:
    hits = [hunted(seed=seed) for seed in range(19)]
    miss = hunted(organism="topaz", rank=None)
    assert missed([*hits, miss]) == []
    assert missed([*hits, miss, miss]) == ["hit@1 on single and distributed switches: 0.905 < 0.95 (topaz)"]


def test_the_table_has_a_line_an_organism() -> None:
    rows = [GOOD, hunted(seed=1, rank=None, elicitation=0.79, verdict="none", score=0.5)]
    line, control = table([*rows, hunted("control clean", "onyx", located=False, elicitation=None)])[::-1]
    assert (line["kind"], line["organism"], line["hunts"]) == ("graft single", "agate", 2)
    assert line["hit@1"].startswith("0.50 [")
    assert line["alarms"].startswith("0.50 [")
    assert line["elicitation"] == pytest.approx(0.89)
    assert line["least"] == 0.79
    assert line["score"] == pytest.approx(0.7)
    assert line["CPU s"] == 12.0
    assert line["found at"] == "L1.mlp.post [3]"
    assert (control["hit@1"], control["elicitation"], control["least"]) == ("-", None, None)


def test_every_shipped_organism_is_of_a_kind_and_most_have_a_bar() -> None:
    kinds = {name: kind(shipped(name)) for name in NAMES}
    for name, words in kinds.items():
        assert words.startswith("control") == shipped(name).reveal().empty
    barred = [name for name, words in kinds.items() if any(bar.applies(words) for bar in BARS)]
    assert all(any(bar.applies(words) for words in kinds.values()) for bar in BARS)
    assert {kinds[name] for name in set(NAMES) - set(barred)} == {
        "free", "switch-trained single band", "switch-trained rotated iso tube",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["nothing", NAMES[1][:-1]])
def test_an_unknown_organism_is_refused_before_the_first_hunt(name: str) -> None:
    with pytest.raises(UnknownName, match=f"no organism '{name}'"):
        recipes([NAMES[0], name])
