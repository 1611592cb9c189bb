"""Reports: how findings are ranked, what the verdict asks for, and what a table shows."""

import math

import pytest

from tests.toys import edit_at, noise, quiet
from workbench import Edit, Finding, Progress, Site, SwitchReport, conclude
from workbench.errors import BadEdit
from workbench.report import CLOSE, POSSIBLE, SURE

pytestmark = quiet


def finding(
    score: float, *, neurons: int | None = 1, rho: float = 0.5, control: float = 0.0, agent: str = "toy"
) -> Finding:
    """A Finding of that score, by one neuron unless told."""
    edit = edit_at("L0.mlp.post", noise(40)) if neurons is None else Edit.neuron("L0.mlp.post", neurons, 1.0, 40)
    return Finding((edit,), score, rho, score > 0.5, control, "Spy", agent)


def test_the_best_comes_first_and_among_close_scores_the_one_with_fewer_neurons_then_the_smaller() -> None:
    far, wide, single = finding(0.5), finding(0.95, neurons=None), finding(0.95 - 0.9 * CLOSE)
    small = finding(0.93, rho=0.3)
    report = conclude([far, wide, single, small])
    assert report.findings == (small, single, wide, far)
    assert report.best is small
    assert report.score == 0.93


def test_a_finding_that_random_edits_come_close_to_counts_for_nothing() -> None:
    matched, real = finding(0.9, control=0.9 - 0.9 * CLOSE), finding(0.6, control=0.1)
    report = conclude([matched, real])
    assert report.findings == (real, matched)
    assert (report.score, report.controls) == (0.6, {"random edits": 0.1})
    assert conclude([matched]).verdict == "none"


@pytest.mark.parametrize(
    ("score", "control", "reference", "verdict"),
    [
        (SURE + 0.1, 0.0, 0.0, "switch"),
        (SURE, 0.0, 0.0, "undecided"),
        (POSSIBLE, 0.0, 0.0, "none"),
        (SURE + 0.1, 0.0, SURE + 0.2, "none"),
        (SURE + 0.2, 0.0, SURE + 0.1, "switch"),
        (SURE - 0.05, 0.1, 0.2, "undecided"),
        (0.0, 0.0, 0.0, "none"),
    ],
)
def test_the_verdict_asks_for_more_than_the_largest_control(
    score: float, control: float, reference: float, verdict: str
) -> None:
    report = conclude([finding(score, control=control), finding(reference, agent="clean twin")], agent="toy")
    assert report.verdict == verdict
    assert report.found == (verdict == "switch")
    assert report.threshold == max(SURE, control, reference)
    assert report.controls == {"random edits": control, "clean agent clean twin": reference}


def test_the_agent_is_that_of_the_first_finding_unless_told() -> None:
    first, second = finding(0.9), finding(0.8, agent="other")
    assert conclude([first, second]).agent == "toy"
    assert conclude([first, second], agent="other").findings == (second,)


def test_progress_is_passed_over_and_nothing_found_is_a_report_too() -> None:
    progress = Progress(0, 1, Site("hook_embed"), "Spy", "toy", 0.0)
    assert conclude([progress, finding(0.7)]).findings == (finding(0.7),)
    empty = conclude([progress], agent="toy")
    assert (empty.verdict, empty.score, empty.findings, len(empty.to_frame())) == ("undecided", 0.0, (), 0)


def test_a_table_has_one_row_a_finding_best_first() -> None:
    frame = conclude([finding(0.5), finding(0.9, neurons=7)]).to_frame()
    assert list(frame.index) == [1, 2]
    assert list(frame.score) == [0.9, 0.5]
    assert list(frame.neurons) == [(7,), (1,)]
    assert list(frame.site) == ["L0.mlp.post"] * 2


def test_several_edits_are_all_shown_and_the_only_one_is_refused() -> None:
    joint = Finding(
        (edit_at("L0.mlp.post", noise(40)), edit_at("L1.resid_post", noise(16))), 0.9, 0.5, True, 0.1, "Spy", "toy"
    )
    assert (joint.neurons, joint.spread, joint.site.short) == (None, 56, "L0.mlp.post")
    assert list(conclude([joint]).to_frame().site) == ["L0.mlp.post + L1.resid_post"]
    placed = Finding((edit_at("L0.resid_post", noise(16), (2, 3)),), 0.9, 0.5, True, 0.1, "Spy", "toy")
    assert list(conclude([placed]).to_frame().positions) == [(2, 3)]
    assert (joint.positions, finding(0.5).positions) == (None, None)
    with pytest.raises(BadEdit, match=r"2 edits, not one. Use finding\.edits"):
        _ = joint.edit


def test_findings_are_equal_when_everything_is_even_where_sizes_are_undefined() -> None:
    assert finding(0.5, rho=math.nan) == finding(0.5, rho=math.nan)
    assert finding(0.5) != finding(0.5, rho=math.nan)
    assert finding(0.5) != finding(0.5, neurons=2)
    assert finding(0.5) != "finding"
    assert SwitchReport("toy", (finding(0.5),), {}) == SwitchReport("toy", (finding(0.5),), {})
