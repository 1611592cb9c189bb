"""Code twins: source text makes an equal value again, and a call says in code what it does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from tests.toys import edit_at, noise, some_prompts, toy
from workbench.errors import BadSettings
from workbench.ui.source import Call, source

NAMES = {"wb": wb, "torch": torch}
FLOATS = st.floats(-(2.0**99), 2.0**99, width=32)  # the largest of all rounds up to infinity
SETTINGS = [
    wb.L2Ball(1.5),
    wb.L2Ball(2.0, unit="activation"),
    wb.L2Ball(2.0) & wb.Sparse(neurons=3) & wb.NotLastLayers(1),
    wb.HiddenBehaviour(),
    wb.UntargetedLoss(share=0.25),
    wb.NeuronSweep(),
    wb.NeuronSweep(keep=1),
    (wb.FrankWolfe(shares=(0.15, 1.0)), wb.UnreadInputs()),
    wb.LAT(steps=7, sites=("L0.resid_post",)),
    [1, 2.5, "x\n'\"", None, True],
    range(-2, 9),
]


def again(value: object) -> object:
    return eval(source(value), dict(NAMES))


@pytest.mark.parametrize("value", SETTINGS, ids=repr)
def test_settings_come_back_equal(value: object) -> None:
    assert again(value) == value


@given(st.lists(FLOATS, min_size=1, max_size=12), st.sampled_from([torch.float32, torch.float64]))
def test_edits_come_back_bit_for_bit(numbers, kind):
    edit = edit_at("L1.mlp.post", torch.tensor(numbers, dtype=kind))
    assert again(edit) == edit


@given(st.integers(0, 39), FLOATS.filter(bool))
def test_an_edit_of_one_neuron_is_said_in_words(neuron, dose):
    edit = wb.Edit.neuron("L1.mlp.post", neuron, dose, 40)
    assert source(edit).startswith("wb.Edit.neuron(")
    assert again(edit) == edit


def test_edits_with_positions_come_back() -> None:
    for edit in (edit_at("L0.resid_post", noise(2, 16), (1, 4)), edit_at("L0.resid_post", noise(16), (3,))):
        assert again(edit) == edit


def test_a_site_is_written_short() -> None:
    assert source(wb.Site("blocks.1.mlp.hook_post")) == "'L1.mlp.post'"


@pytest.mark.parametrize("value", [object(), {1: 2}, lambda: None])
def test_what_cannot_be_written_is_refused(value: object) -> None:
    with pytest.raises(BadSettings, match="written as code"):
        source(value)


def test_a_call_does_what_its_code_says() -> None:
    agent, prompts = toy(), some_prompts()
    call = Call("sweep", {"site": "L1.mlp.post", "neurons": (1, 2), "doses": (-1.0, 2.0), "goal": wb.UntargetedLoss()})
    said = eval(call.code(), {**NAMES, "agent": agent, "prompts": prompts})
    assert said.identical(call(agent, prompts))
    assert "neurons=chosen" in call.code(neurons="chosen")
    assert "prompts[:8]" in call.code("prompts[:8]")
