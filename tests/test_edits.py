"""Edits as values: what they hold, how they are written out, and when they are equal."""

import dataclasses

import pytest
import torch

from tests.toys import edit_at, noise
from workbench import Edit, Site
from workbench.edits import as_edits


def test_an_edit_keeps_its_own_memory_and_cannot_be_changed() -> None:
    delta = noise(5)
    edit = edit_at("L0.mlp.post", delta)
    delta.zero_()
    assert torch.equal(edit.delta, noise(5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        edit.delta = delta  # type: ignore[misc]


def test_a_delta_is_written_out_at_its_positions() -> None:
    row, rows = noise(3), noise(2, 3)
    assert torch.equal(edit_at("L0.mlp.post", row).at(4), row.expand(4, 3))
    assert torch.equal(edit_at("L0.mlp.post", noise(4, 3)).at(4), noise(4, 3))
    for delta, expected in ((row, (row, row)), (rows, rows)):
        full = edit_at("L0.mlp.post", delta, (3, 1)).at(4)
        assert torch.equal(full[3], expected[0])
        assert torch.equal(full[1], expected[1])
        assert (full[[0, 2]] == 0).all()


def test_whole_numbers_become_floats_and_gradients_are_left_behind() -> None:
    assert edit_at("L0.mlp.post", torch.tensor([1.0, 2.0], requires_grad=True)).delta.requires_grad is False
    assert edit_at("L0.mlp.post", noise(2, dtype=torch.float64)).delta.dtype == torch.float64


def test_one_neuron_is_named_and_many_are_not() -> None:
    assert Edit.neuron("L0.mlp.post", 3, 2.5, 40).neurons == (3,)
    assert torch.equal(Edit.neuron("L0.mlp.post", 1, 2.5, 3).delta, torch.tensor([0.0, 2.5, 0.0]))
    few, many = torch.zeros(2, 40), torch.zeros(40)
    few[0, [1, 5]], few[1, 7], many[:11] = 1.0, 1.0, 1.0
    assert edit_at("L0.mlp.post", few, (0, 1)).neurons == (1, 5, 7)
    assert edit_at("L0.mlp.post", many).neurons is None
    assert edit_at("L0.mlp.post", torch.zeros(40)).neurons is None


def test_edits_are_equal_when_site_delta_and_positions_are() -> None:
    edit = edit_at("L0.mlp.post", noise(5), (1,))
    assert edit == edit_at("blocks.0.mlp.hook_post", noise(5), (1,))
    assert edit != edit_at("L1.mlp.post", noise(5), (1,))
    assert edit != edit_at("L0.mlp.post", noise(5), (2,))
    assert edit != edit_at("L0.mlp.post", noise(5, seed=1), (1,))
    assert edit != 3


def test_one_edit_or_several() -> None:
    edit = edit_at("L0.mlp.post", noise(5))
    assert as_edits(edit) == as_edits([edit]) == (edit,)
    assert as_edits(()) == ()
    assert (edit.site, edit.width) == (Site("blocks.0.mlp.hook_post"), 5)
