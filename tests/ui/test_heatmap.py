"""The heatmap panel: what is on screen is what its code computes; cells are edits; rough first, then exact."""

import json
from typing import Any

import numpy as np
import pytest

from tests.toys import edit_at, noise, some_prompts, toy
from workbench.errors import BadSettings
from workbench.ui.heatmap import ROUGH, Heatmap
from workbench.ui.maps import KINDS, NeuronDose
from workbench.ui.session import Session


def heatmap(**asked: Any) -> Heatmap:
    panel = Heatmap(Session(toy(), some_prompts(12)))
    panel.asked.steps.value = 3
    for name, value in asked.items():
        getattr(panel.asked, name).value = value
    return panel


def twin(panel: Heatmap) -> np.ndarray:
    """The grid that the panel's code makes."""
    names: dict[str, Any] = {"agent": panel.session.agent, "prompts": panel.session.prompts}
    exec(panel.code(), names)
    return panel.drawn.of.sheet(names["grid"]).values  # pyright: ignore[reportOptionalMemberAccess]


def on_screen(panel: Heatmap) -> np.ndarray:
    return np.frombuffer(panel.canvas.cells, dtype="<f4").reshape(panel.canvas.rows, panel.canvas.columns)


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_gives_the_numbers_on_screen(kind: str) -> None:
    panel = heatmap(kind=kind)
    panel.session.edit((edit_at("L0.mlp.post", noise(40)), edit_at("L2.resid_post", noise(16))))
    panel.run()
    np.testing.assert_allclose(on_screen(panel), twin(panel), rtol=1e-4, atol=1e-4)
    assert panel.state["shown"]["whole"]
    json.dumps(panel.state, allow_nan=False)
    panel.close()


def test_the_goal_and_the_selected_site_are_taken() -> None:
    panel = heatmap(goal="hidden behaviour", count=8)
    panel.session.select("L2.resid_post")
    panel.run()
    assert panel.canvas.columns == 16
    np.testing.assert_allclose(on_screen(panel), twin(panel), rtol=1e-4, atol=1e-4)
    panel.close()


def test_a_rough_map_comes_first_and_its_code_says_so() -> None:
    panel = heatmap()
    steps = list(panel._steps(panel.asked.wanted.of(panel.session)))
    assert [step.whole for step in steps] == [False] * (len(steps) - 1) + [True]
    assert {step.grid.shape for step in steps} == {(40, 3)}
    panel.drawn = steps[0]
    panel._show()
    assert f"prompts[:{ROUGH}]" in panel.code()
    np.testing.assert_allclose(on_screen(panel), twin(panel), rtol=1e-4, atol=1e-4)
    panel.close()


def test_a_map_that_was_stopped_says_which_neurons_are_exact() -> None:
    panel = heatmap(steps=64)
    steps = list(panel._steps(panel.asked.wanted.of(panel.session)))
    panel.drawn = steps[3]
    panel._show()
    exact = steps[3].exact
    assert 0 < exact < 40
    assert f"range(0, {exact})" in panel.code()
    np.testing.assert_allclose(on_screen(panel)[:, :exact], twin(panel), rtol=1e-4, atol=1e-4)
    panel.close()


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_click_loads_the_edit_whose_loss_the_cell_shows(kind: str) -> None:
    panel = heatmap(kind=kind)
    panel.run()
    panel.canvas._handle_custom_msg({"kind": "click", "row": 0, "column": 7}, [])
    (edit,) = panel.session.edits
    assert edit.neurons == (7,)
    assert panel.session.shared.selection.neurons == (7,)
    assert panel.canvas.marked == [[0, 7]]
    assert panel.canvas.picked == [7]
    from workbench import losses

    loss = losses(panel.session.agent, panel.asked.prompts, [edit]).mean().item()
    assert loss == pytest.approx(on_screen(panel)[0, 7], abs=1e-4)
    panel.session.undo()
    assert panel.canvas.marked == []
    panel.close()


def test_a_cell_of_the_plane_is_both_edits_jointly() -> None:
    panel = heatmap(kind=KINDS[2])
    first, second = edit_at("L0.mlp.post", noise(40)), edit_at("L2.resid_post", noise(16))
    panel.session.edit((first, second))
    panel.run()
    panel.canvas._handle_custom_msg({"kind": "click", "row": 0, "column": 0}, [])
    assert panel.session.edits == (first.scaled(-1.0), second.scaled(2.0))
    panel.close()


def test_a_drag_selects_neurons_of_the_row_s_site() -> None:
    panel = heatmap(kind=KINDS[1])
    panel.run()
    panel.canvas._handle_custom_msg({"kind": "select", "rows": [0, 1], "columns": [3, 5]}, [])
    assert panel.session.shared.selection.text() == "L2.mlp.post.3-5"
    panel.close()


def test_a_row_of_the_table_loads_its_edit() -> None:
    panel = heatmap()
    panel.run()
    panel.table_button.value = True
    assert panel.table.columns[:3] == ["rank", "L1.mlp.post neuron", "dose"]
    panel.table.chosen = 0
    (edit,) = panel.session.edits
    assert [str(edit.neurons[0]), f"{float(edit.delta.sum()):g}"] == panel.table.rows[0][1:3]  # pyright: ignore[reportOptionalSubscript]
    panel.close()


def test_colours_stay_the_same_unless_asked_to_fit() -> None:
    panel = heatmap()
    panel.run()
    fixed = panel.canvas.half
    assert fixed == pytest.approx(np.log(20))
    panel.asked.fit.value = True
    assert panel.canvas.half == pytest.approx(np.abs(on_screen(panel) - panel.canvas.centre).max())
    panel.close()


def test_a_plane_without_two_edits_is_refused_with_the_cure() -> None:
    panel = heatmap(kind=KINDS[2])
    with pytest.raises(BadSettings, match="Run the Surgeon"):
        panel.run()
    panel.draw_button.click()
    assert "two different edits" in panel.frame.error.text
    panel.close()


def test_messages_before_anything_is_drawn_do_nothing() -> None:
    panel = heatmap()
    panel.canvas._handle_custom_msg({"kind": "click", "row": 0, "column": 0}, [])
    panel.canvas._handle_custom_msg({"kind": "nonsense"}, [])
    assert (panel.session.edits, panel.frame.error.text) == ((), "")
    panel.close()


def test_the_static_view_is_small_and_has_the_picture() -> None:
    panel = heatmap()
    assert "Nothing is drawn yet" in panel.to_html()
    panel.run()
    html = panel.to_html()
    assert "data:image/" in html
    assert "<script" not in html
    assert len(html) < 300_000
    panel.close()


def test_drawing_in_the_background_can_be_stopped() -> None:
    panel = heatmap(steps=64)
    panel.draw_button.click()
    panel.stop_button.click()
    assert panel.frame.job is not None
    assert panel.frame.job.status in ("stopped", "done")
    panel.close()


def test_the_site_is_one_of_single_neurons_where_none_is_selected() -> None:
    panel = heatmap()
    wanted = panel.asked.wanted.of(panel.session)
    assert isinstance(wanted, NeuronDose)
    assert wanted.site.short == "L1.mlp.post"
    panel.close()
