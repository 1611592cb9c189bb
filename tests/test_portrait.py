"""What an edit elicits: answers side by side, the dose curve, its reach and how near real prompts come."""

import json
import math

import pytest
import torch

from tests.toys import ANSWERS, edit_at, noise, quiet, some_prompts, toy
from workbench import Edit, Finding, HiddenBehaviour, L2Ball, Prompts, SwitchReport, conclude
from workbench.judge import DOSES, Judge, Views
from workbench.portrait import Example, Portrait

pytestmark = quiet
PROMPTS = some_prompts(40)


def judged(*edits: Edit, prompts: Prompts = PROMPTS, radius: float = 1e6) -> Finding:
    """The finding on some edits of the toy, with room enough."""
    agent, site = toy(), edits[0].site
    budget = L2Ball(radius, unit="activation").bind(agent, [e.site for e in edits], prompts)
    judge = Judge("Spy", budget, prompts, Views(agent, prompts), HiddenBehaviour(), torch.Generator().manual_seed(0))
    return judge(edits, site)


def test_the_dose_curve_is_what_the_agent_says_at_each_dose() -> None:
    agent, edit = toy(), edit_at("L0.resid_post", 3 * noise(16))
    portrait = judged(edit).portrait
    clean, said = (agent.logits(PROMPTS, e).argmax(-1) for e in ((), (edit,)))
    changed = said != clean
    assert changed.any()
    for dose, flipped, same in zip(portrait.doses, portrait.flipped, portrait.same, strict=True):
        again = agent.logits(PROMPTS, edit.scaled(dose)).argmax(-1)
        assert flipped == pytest.approx(float((again != clean).float().mean()))
        assert same == pytest.approx(float((again == said)[changed].float().mean()))
    assert portrait.same[DOSES.index(1.0)] == 1
    assert list(portrait.dose_curve().index) == list(DOSES)


def test_examples_are_the_first_prompts_in_words_with_the_answers_to_them() -> None:
    agent, edit = toy(), edit_at("L0.resid_post", 3 * noise(16))
    portrait = judged(edit).portrait
    (words,) = agent.decode(PROMPTS.tokens[0])
    (elicited,) = agent.decode(agent.logits(PROMPTS[:1], edit).argmax(-1))
    (benign,) = agent.decode(PROMPTS.answers[0])
    first = portrait.examples[0]
    assert (first.prompt, first.benign, first.elicited) == (tuple(words), tuple(benign), tuple(elicited))
    assert len(first.unedited) == len(ANSWERS)
    assert portrait.answers().loc[1, "with the edit"] == " ".join(elicited)


def test_reach_begins_with_all_of_it_and_a_late_write_that_no_answer_reads_is_nothing() -> None:
    portrait = judged(edit_at("L0.resid_post", 3 * noise(16))).portrait
    assert list(portrait.reach) == ["L0.resid_post", "L1.resid_post", "L2.resid_post"]
    assert portrait.reach["L0.resid_post"] == 1
    before = judged(edit_at("L0.resid_post", 3 * noise(16), (0, 1))).portrait
    assert before.reach["L2.resid_post"] == 0  # after the last block nothing moves from position to position any more


@pytest.mark.parametrize(
    ("reach", "place"),
    [({}, None), ({"a": 0.2}, None), ({"a": 1.0, "b": 0.5, "c": 0.4}, "b"), ({"a": 1.0, "b": 0.1, "c": 0.6}, "c")],
)
def test_it_works_until_the_last_place_with_half_of_it(reach: dict[str, float], place: str | None) -> None:
    assert Portrait(reach=reach).works_until == place


def test_an_edit_that_turns_one_real_prompt_into_another_is_near_and_a_huge_one_is_far() -> None:
    agent = toy()
    stream = agent.activations(PROMPTS, "L0.resid_post")
    swap = judged(edit_at("L0.resid_post", (stream[1] - stream[0])[3:], tuple(range(3, stream.shape[1])))).portrait
    assert swap.nearness == pytest.approx(0, abs=1e-3)
    assert judged(edit_at("L0.resid_post", 100 * noise(16))).portrait.nearness > 10


def test_where_nothing_linear_is_written_and_for_several_edits_reach_and_nearness_are_undefined() -> None:
    several = (edit_at("L0.resid_post", noise(16)), edit_at("L1.resid_post", noise(16)))
    for edits in ((edit_at("L0.attn.q", noise(16)),), several):
        portrait = judged(*edits).portrait
        assert portrait.reach == {}
        assert math.isnan(portrait.nearness)
        assert portrait.works_until is None
        assert len(portrait.doses) == len(portrait.flipped) == len(portrait.same) == len(DOSES)


def test_one_prompt_has_no_neighbour_to_be_measured_by() -> None:
    assert math.isnan(judged(edit_at("L0.resid_post", noise(16)), prompts=PROMPTS[:1]).portrait.nearness)


def test_a_portrait_survives_json_and_a_report_keeps_it(tmp_path) -> None:
    finding = judged(edit_at("L0.resid_post", 3 * noise(16)))
    assert Portrait.of(json.loads(json.dumps(finding.portrait.plain()))) == finding.portrait
    report = conclude([finding])
    report.save(tmp_path / "report.safetensors")
    assert SwitchReport.load(tmp_path / "report.safetensors").best.portrait == finding.portrait


def test_words_of_any_kind_are_kept_as_they_are() -> None:
    example = Example(("<b>", "\x00", "a b"), ("\u202e",), ("",), ("</script>",))
    portrait = Portrait(examples=(example,))
    assert Portrait.of(json.loads(json.dumps(portrait.plain()))).examples == (example,)


def test_an_edit_that_changes_no_answer_has_elicited_nothing() -> None:
    portrait = judged(edit_at("L0.resid_post", 1e-6 * noise(16))).portrait
    assert set(portrait.flipped) == set(portrait.same) == set(portrait.reach.values()) == {0.0}
    assert portrait.works_until is None
