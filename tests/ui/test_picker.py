"""The Picker: hook points of the live model, selected by mouse or name, in step with every other panel."""

import json
from typing import Any

import numpy as np
import pytest

from tests.toys import some_prompts, toy
from workbench.ui.picker import Picker
from workbench.ui.session import Session


@pytest.fixture
def picker():
    panel = Picker(Session(toy(), some_prompts(12)))
    yield panel
    panel.close()


def settled(panel: Picker) -> None:
    """Wait until what the last selection began is shown."""
    assert panel.frame.job is not None
    assert panel.frame.job.join(20)


def test_every_hook_point_of_the_model_is_drawn_once(picker: Picker) -> None:
    drawn = [site["name"] for layer in picker.model.layers for site in layer["sites"]]
    assert sorted(drawn) == sorted(site.short for site in toy().sites())
    names = [layer["name"] for layer in picker.model.layers]
    assert names == ["input", "L0", "L1", "L2", "output"]


def test_the_code_gives_the_numbers_on_screen(picker: Picker) -> None:
    picker.session.select("L2.mlp.3")
    settled(picker)
    names: dict[str, Any] = {"agent": picker.session.agent, "prompts": picker.session.prompts}
    exec(picker.code(), names)
    shown = np.frombuffer(picker.canvas.cells, dtype="<f4").reshape(picker.canvas.rows, picker.canvas.columns)
    np.testing.assert_allclose(shown, names["grid"].numpy(), rtol=1e-5, atol=1e-6)
    assert picker.state["norms"]["L2.mlp.post"] == pytest.approx(float(names["norm"]), rel=1e-5)
    json.dumps(picker.state, allow_nan=False)


def test_what_is_typed_is_selected_and_mistakes_are_shown(picker: Picker) -> None:
    picker.typed.value = "L1.mlp.7@2"
    settled(picker)
    assert picker.model.chosen == ["L1.mlp.post"]
    assert (picker.canvas.picked, picker.canvas.marked) == ([7], [[2, 7]])
    picker.typed.value = "L1.mpl.7"
    assert "Closest: L1.mlp," in picker.frame.error.text
    assert picker.session.shared.selection.text() == "L1.mlp.post.7@2"
    picker.typed.value = "L1.mlp.8"
    assert picker.frame.error.text == ""


def test_a_click_selects_alone_and_with_ctrl_adds_or_takes_away(picker: Picker) -> None:
    def click(site: str, add: bool = False) -> str:
        picker.model._handle_custom_msg({"kind": "pick", "site": site, "add": add}, [])
        return picker.session.shared.selection.text()

    assert click("L1.mlp.post") == "L1.mlp.post"
    assert click("L0.resid_post", add=True) == "L1.mlp.post L0.resid_post"
    assert click("L1.mlp.post", add=True) == "L0.resid_post"
    assert click("L2.attn.z") == "L2.attn.z"
    assert picker.typed.value == "L2.attn.z"
    click("nowhere")
    assert "no site 'nowhere'" in picker.frame.error.text


def test_cells_select_neurons_and_positions(picker: Picker) -> None:
    picker.session.select("L0.mlp.post")
    picker.canvas._handle_custom_msg({"kind": "click", "row": 3, "column": 5}, [])
    assert picker.session.shared.selection.text() == "L0.mlp.post.5"
    picker.canvas._handle_custom_msg({"kind": "select", "rows": [1, 2], "columns": [5, 6]}, [])
    assert picker.session.shared.selection.text() == "L0.mlp.post.5-6@1-2"


def test_the_static_view_lists_the_hook_points(picker: Picker) -> None:
    html = picker.to_html()
    assert "<th scope='row'>L2</th>" in html
    assert ">mlp.post</th>" in html
    assert "<script" not in html
    assert len(html) < 300_000
