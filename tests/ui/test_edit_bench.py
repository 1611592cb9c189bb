"""The edit bench: sliders move the edit, history goes back and forth, and the code gives the answers on screen."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import edit_at, noise, some_prompts, toy
from workbench.edits import Edit
from workbench.errors import BadSettings
from workbench.ui.answers import Answers, remains
from workbench.ui.coordinates import Coordinate, cosine, largest, moved, scaled, selected, with_value
from workbench.ui.edit_bench import OWN, EditBench
from workbench.ui.edit_controls import SLIDERS
from workbench.ui.places import Selection
from workbench.ui.session import Session

SWITCH = Edit.neuron("L1.mlp.post", 7, 6.0, 40)


def bench(*edits: Edit) -> EditBench:
    panel = EditBench(Session(toy(), some_prompts(12)))
    if edits:
        panel.session.edit(edits)
    return panel


def settled(panel: EditBench) -> EditBench:
    """The panel after its job has ended."""
    assert panel.frame.job is not None
    assert panel.frame.job.join(20)
    assert panel.frame.error.text == ""
    return panel


def twin(panel: EditBench, **names: Any) -> dict[str, Any]:
    """What the panel's code makes."""
    found: dict[str, Any] = {"agent": panel.session.agent, "prompts": panel.session.prompts, **names}
    exec(panel.code(), found)
    return found


def assert_as_on_screen(panel: EditBench, made: dict[str, Any]) -> None:
    assert panel.tried is not None
    assert set(made["logits"]) == set(panel.tried.ways)
    for way, answers in panel.tried.ways.items():
        np.testing.assert_array_equal(made["answers"][way].indices.numpy(), answers.tokens)
        np.testing.assert_allclose(made["answers"][way].values.numpy(), answers.chances, atol=1e-6)
        assert made["losses"][way] == pytest.approx(answers.loss, abs=1e-6)


# --- laws ---------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 99), rows=st.sampled_from([(), (3,)]), value=st.floats(-9, 9, width=32))
def test_a_coordinate_that_is_set_has_that_value_and_no_other_changes(
    seed: int, rows: tuple[int, ...], value: float
) -> None:
    edit = edit_at("L0.resid_post", noise(*rows, 16, seed=seed), (1, 4, 5) if rows else None)
    for at in largest(edit, SLIDERS):
        changed = with_value(edit, at, value)
        place = at.neuron if at.row is None else (at.row, at.neuron)
        assert changed.delta[place] == value
        assert with_value(changed, at, at.value) == edit


@given(seed=st.integers(0, 99), dose=st.floats(0.1, 9), other=st.floats(-9, -0.1))
def test_the_cosine_knows_the_direction_and_not_the_dose(seed: int, dose: float, other: float) -> None:
    edits = (edit_at("L0.resid_post", noise(16, seed=seed)), edit_at("L1.mlp.post", noise(40, seed=seed), (2,)))
    assert cosine(edits, scaled(edits, dose), 9) == pytest.approx(1.0)
    assert cosine(edits, scaled(edits, other), 9) == pytest.approx(-1.0)
    assert cosine(edits, (edit_at("L2.resid_post", noise(16)),), 9) == 0.0
    assert cosine(edits, scaled(edits, 0.0), 9) == 0.0


def test_an_edit_elsewhere_is_the_same_edit_there() -> None:
    rows = edit_at("L0.resid_post", noise(2, 16), (1, 4))
    assert moved(rows, (1,), 9).delta.equal(rows.delta[:1])
    assert moved(rows, None, 9).at(9).equal(rows.at(9))
    assert moved(SWITCH, (2, 3), 9) == Edit(SWITCH.site, SWITCH.delta, (2, 3))


def test_the_largest_coordinates_come_first_and_zero_has_one() -> None:
    delta = torch.tensor([0.0, -3.0, 1.0, 0.0])
    assert largest(edit_at("L0.resid_post", delta), 9) == (Coordinate(None, 1, -3.0), Coordinate(None, 2, 1.0))
    assert largest(edit_at("L0.resid_post", torch.zeros(4)), 9) == (Coordinate(None, 0, 0.0),)
    assert largest(edit_at("L0.resid_post", delta.reshape(2, 2), (0, 5)), 1) == (Coordinate(0, 1, -3.0),)


def test_what_remains_is_counted_over_what_the_edit_changed() -> None:
    def answers(*tokens: int) -> Answers:
        return Answers(np.array([tokens]), np.ones((1, len(tokens))), 0.0)

    clean, edited = answers(1, 1, 1, 1), answers(1, 2, 3, 4)
    assert remains(edited, clean, edited, clean) == 1.0
    assert remains(edited, clean, clean, clean) == 0.0
    assert remains(edited, clean, answers(9, 2, 5, 1), clean) == pytest.approx(1 / 3)
    assert remains(edited, clean, edited, edited) == 0.0  # an Agent that always answers so needs no edit to
    assert np.isnan(remains(clean, clean, edited, clean))


# --- cases --------------------------------------------------------------------------------------------


def test_the_code_gives_the_answers_on_screen() -> None:
    panel = bench(SWITCH, edit_at("L2.resid_post", noise(16), (3, 8)))
    panel.session.put(pinned=(SWITCH.scaled(-1.0),))
    panel.controls.first.value, panel.controls.count.value = 2, 5
    panel.run()
    assert_as_on_screen(panel, twin(panel))
    assert len(panel.table.rows) == 5 * 2
    assert panel.table.columns == [
        "prompt", "position", "benign", "unedited", "p unedited", "edited", "p edited", "pinned", "p pinned"
    ]  # fmt: skip
    assert "cosine" in panel.beside.text
    json.dumps(panel.state, allow_nan=False)
    panel.close()


def test_without_an_edit_there_are_only_unedited_answers() -> None:
    panel = bench()
    panel.controls.try_button.click()
    settled(panel)
    assert_as_on_screen(panel, twin(panel))
    assert "there is no edit" in panel.frame.news.text
    assert panel.controls.dose.disabled
    panel.close()


def test_the_dose_multiplies_the_edit_as_it_came() -> None:
    panel = bench(SWITCH)
    panel.controls.dose.value = 2.0
    panel.controls.dose.value = -0.5
    assert panel.session.edits == (SWITCH.scaled(-0.5),)
    panel.session.undo()
    assert panel.session.edits == (SWITCH.scaled(2.0),)
    assert panel.controls.dose.value == 1.0
    settled(panel)
    panel.close()


def test_a_slider_sets_its_coordinate() -> None:
    panel = bench(edit_at("L0.resid_post", torch.arange(16.0) - 3))
    assert [slider.description for slider in panel.controls.sliders][:3] == ["15", "14", "13"]
    panel.controls.sliders[1].value = 2.5
    assert panel.session.edits[0].delta[14] == 2.5
    assert panel.controls.dose.value == 1.0
    assert_as_on_screen(settled(panel), twin(panel))
    panel.close()


def test_the_second_of_two_edits_can_be_moved_and_placed() -> None:
    panel = bench(SWITCH, edit_at("L2.resid_post", noise(16)))
    panel.controls.part.value = 1
    panel.controls.positions.value = "2, 4-5"
    first, second = panel.session.edits
    assert first == SWITCH
    assert second.positions == (2, 4, 5)
    panel.controls.positions.value = "all"
    assert panel.session.edits[1].positions is None
    panel.controls.positions.value = "77"
    assert "77" in panel.frame.error.text
    panel.close()


def test_the_selection_becomes_an_edit() -> None:
    panel = bench()
    panel.controls.make_button.click()
    assert "Choose some in the Picker" in panel.frame.error.text
    panel.session.select("L1.mlp.post.3,5@2")
    panel.controls.by.value = 1.5
    panel.controls.make_button.click()
    (edit,) = panel.session.edits
    assert (edit.neurons, edit.positions, float(edit.delta.sum())) == ((3, 5), (2,), 3.0)
    with pytest.raises(BadSettings):
        selected(Selection(), 0, 1.0)
    settled(panel).close()


def test_undo_redo_and_branches() -> None:
    panel = bench(SWITCH)
    panel.session.edit(SWITCH.scaled(2.0))
    panel.controls.undo_button.click()
    assert panel.session.edits == (SWITCH,)
    panel.controls.redo_button.click()
    assert panel.session.edits == (SWITCH.scaled(2.0),)
    panel.controls.name.value = "idea"
    panel.controls.fork_button.click()
    assert panel.controls.branch.value == "idea"
    panel.controls.dose.value = 3.0
    panel.controls.branch.value = "main"
    assert panel.session.edits == (SWITCH.scaled(2.0),)
    panel.controls.name.value = "idea"
    panel.controls.fork_button.click()
    assert "new name" in panel.frame.error.text
    settled_quietly(panel)
    panel.close()


def settled_quietly(panel: EditBench) -> None:
    assert panel.frame.job is not None
    panel.frame.job.join(20)


def test_pinned_and_current_change_places() -> None:
    panel = bench(SWITCH)
    panel.controls.pin_button.click()
    panel.session.edit(SWITCH.scaled(3.0))
    panel.controls.swap_button.click()
    assert panel.session.edits == (SWITCH,)
    assert panel.session.shared.pinned == (SWITCH.scaled(3.0),)
    settled(panel).close()


def test_an_edit_is_replayed_on_another_agent() -> None:
    panel, other = bench(SWITCH), toy(seed=2)
    panel.session.put(checkpoints={"other": other})
    panel.controls.agent.value = "other"
    panel.run()
    assert panel.tried is not None
    expected = Answers.of(other, panel.session.prompts[:4], (SWITCH,))
    np.testing.assert_array_equal(panel.tried.ways["edited"].tokens, expected.tokens)
    assert_as_on_screen(panel, twin(panel, checkpoints={"other": other}))
    panel.session.put(checkpoints={})
    assert panel.controls.agent.value == OWN
    settled(panel).close()


def test_the_static_view_is_small_and_has_the_answers() -> None:
    panel = bench()
    assert "Nothing was tried yet" in panel.to_html()
    panel.session.edit((edit_at("L2.resid_post", noise(16)),))
    settled(panel)
    html = panel.to_html()
    assert "Answers, without and with the edit" in html
    assert "<script" not in html
    assert len(html) < 300_000
    panel.close()
