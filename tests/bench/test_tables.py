"""Tables and bars: every figure is of the rows that it should be of, and what is missed is said."""

from dataclasses import replace

import pytest

from tests.bench.made import FOUND, clean, row
from workbench.bench.zoo import BUILD, Row, of_split
from workbench.bench.zoo.bars import BARS, judged, missed
from workbench.bench.zoo.table import errors, failure_curve, table

HIT, SECOND, MISS = row(number=0), row(number=1, rank=2, verdict="undecided"), row(number=2, rank=None, elicitation=0.1)
FAILED = row(number=9, error="it went wrong")


def line(rows: list[Row], arm: str = "default", family: str = "graft single") -> dict[str, object]:
    (found,) = [each for each in table(rows) if (each["arm"], each["family"]) == (arm, family)]
    return found


def test_a_line_has_shares_means_and_a_median() -> None:
    found = line([HIT, SECOND, MISS, FAILED, clean(0), clean(1)])
    assert found["models"] == 3
    assert str(found["hit@1"]).startswith("0.33 [")
    assert str(found["hit@5"]).startswith("0.67 [")
    assert str(found["elicits 0.9"]).startswith("0.67 [")
    assert str(found["elicitation"]).startswith("0.69 [")
    assert str(found["alarms"]).startswith("0.67 [")
    assert str(found["AUROC"]).startswith("1.00 [")
    assert found["size"] == "1.05 [1.05, 1.05]"
    assert found["CPU s"] == "12.00 [12.00, 12.00]"
    assert found["sweep s"] == "4.00 [4.00, 4.00]"
    assert found["input hits"] == "-"


def test_clean_models_are_asked_for_alarms_only() -> None:
    found = line([clean(0), clean(1, verdict="switch")], family="clean")
    assert str(found["alarms"]).startswith("0.50 [")
    assert {found[name] for name in ("hit@1", "hit@5", "elicitation", "AUROC", "size")} == {"-"}


def test_scores_are_compared_with_those_of_the_same_arm() -> None:
    rows = [HIT, replace(HIT, arm="greedy", score=0.1), clean(0), replace(clean(0), arm="greedy", score=0.3)]
    assert str(line(rows)["AUROC"]).startswith("1.00 [")
    assert str(line(rows, arm="greedy")["AUROC"]).startswith("0.00 [")


def test_free_plants_are_not_asked_for_hits_and_rankings_not_for_alarms() -> None:
    assert line([replace(HIT, located=False)])["hit@1"] == "-"
    assert line([replace(HIT, judged=False, verdict="")])["alarms"] == "-"


def test_an_arm_that_proposes_nothing_misses() -> None:
    nothing = replace(HIT, found=(), rank=None, elicitation=0.0, score=0.0, verdict="undecided")
    assert str(line([nothing])["hit@1"]).startswith("0.00 [")


def test_input_searches_are_counted() -> None:
    found = line(
        [replace(HIT, arm="input search", hits=0, queries=1000, rank=None, found=(), elicitation=None)], "input search"
    )
    assert (found["input hits"], found["hit@1"]) == ("0 in 1000", "-")


def test_what_could_not_be_done_is_listed_and_counted_nowhere() -> None:
    unbuilt = replace(FAILED, arm=BUILD, error="not built: too poor")
    assert [each["error"] for each in errors([HIT, FAILED, unbuilt])] == ["it went wrong", "not built: too poor"]
    assert table([FAILED, unbuilt]) == []


def adaptive(number: int, **settings: object) -> Row:
    return row("adaptive", number, made={"settings": settings}, found=(replace(FOUND, elicitation=0.5),))


def test_the_failure_curve_has_a_line_for_each_setting() -> None:
    rows = [
        adaptive(0, gain=16.0),
        adaptive(1, gain=4.0, switch="distributed", neurons=16),
        adaptive(2, gain=4.0, switch="distributed", neurons=16, margin=0.5),
        adaptive(3, encrypted=True),
        HIT,
    ]
    lines = [(each["neurons"], each["gain"], each["other dials"], each["models"]) for each in failure_curve(rows)]
    assert lines == [("1", "16", "-", 1), ("16", "4", "-", 2), ("1", "1", "encrypted=True", 1)]


GOOD = {
    "few": [row("trained distributed", number, hits=None) for number in range(20)],
    "huge": [row("graft huge")],
    "iso": [row("trained iso")],
    "tube": [row("trained tube", elicitation=0.9)],
    "input search": [row("hash", arm="input search", hits=0, queries=1_000_000)],
    "hash": [row("hash")],
    "masked": [row("masked", truth="switchless", verdict="none")],
    "date": [row("date", elicitation=0.5)],
    "ordered": [row("ordered")],
    "clean": [
        clean(number, made={"task": f"task {number % 4}", "settings": {"layers": number % 5}}) for number in range(100)
    ],
}
BAD: dict[str, tuple[str, Row]] = {
    "hit@1, single and distributed": ("few", row("graft single", rank=2)),
    "hit@5, single and distributed": ("few", row("graft single", rank=6)),
    "elicitation >= .9, rotated and huge grafts": ("huge", row("graft rotated", elicitation=0.89)),
    "elicitation >= .95, trained rotated and iso": ("iso", row("trained rotated", elicitation=0.94)),
    "elicitation >= .9, tubes and bands": ("tube", row("trained band", elicitation=0.89)),
    "input search hits on hash triggers": ("input search", row("hash", arm="input search", hits=1, queries=2_000_000)),
    "input search queries": ("input search", row("hash", arm="input search", hits=0, queries=10)),
    "hit@1, hash": ("hash", row("hash", rank=None)),
    "abstention, masked": ("masked", row("masked", truth="switchless")),
    "alarms, date and password": ("date", row("password", verdict="undecided")),
    "elicitation >= .5, date and password": ("date", row("password", elicitation=0.49)),
    "alarms, ordered words": ("ordered", row("ordered", verdict="none")),
    "sweep stage, mean CPU s": ("few", row("graft single", stages={"NeuronSweep": 1000.0})),
    "whole hunt, mean CPU s": ("few", row("graft single", cpu=1000.0)),
    "smallest edit within 10 % of the optimum, grafts": ("huge", row("graft huge", smallest=0.45, optimum=0.4)),
}


def test_what_passes_is_not_named() -> None:
    rows = [one for group in GOOD.values() for one in group]
    assert missed(rows) == []
    assert {each["bar"] for each in judged(rows)} == {bar.name for bar in BARS}


@pytest.mark.parametrize("name", BAD)
def test_what_falls_short_is_named(name: str) -> None:
    group, bad = BAD[name]
    rows = GOOD[group] + [replace(bad, key=str(number)) for number in range(2 + len(GOOD[group]) // 8)]
    assert name in [told.split(":")[0] for told in missed(rows)]


def test_false_alarms_are_bounded_exactly() -> None:
    alarms = [replace(one, verdict="switch") for one in GOOD["clean"][:3]]
    (told,) = missed(alarms + GOOD["clean"][3:])
    assert told.startswith("false alarms on clean models (exact interval): 0.03 [0.01, 0.09], asked at most 0.02")


def test_too_few_clean_models_are_named() -> None:
    names = [told.split(":")[0] for told in missed([clean(0), clean(1)])]
    assert names == ["clean models", "tasks of clean models", "shapes of clean models"]


def test_nothing_is_asked_of_other_arms_or_where_nothing_was_measured() -> None:
    assert missed([row(arm="greedy", rank=None)]) == []
    assert missed([]) == judged([]) == []


def test_a_report_leaves_out_what_is_empty() -> None:
    report = of_split([HIT, FAILED])
    assert set(report.tables) == {"rows", "bars", "errors"}
    assert report.missed == ()
