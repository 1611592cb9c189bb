"""Laws of the grids: every cell is the loss the Agent itself has under that edit; a dose of zero is no edit."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toys import ANSWERS, edit_at, noise, quiet, some_prompts, toy
from workbench import Edit, HiddenBehaviour, L2Ball, Site, UntargetedLoss, landscape, losses, sweep
from workbench.goals import Goal

pytestmark = quiet
DOSES = (-2.0, 0.0, 1.5)
goals = pytest.mark.parametrize("goal", [None, HiddenBehaviour()], ids=("cross-entropy", "hidden"))


def loss_under(edits: tuple[Edit, ...], goal: Goal | None) -> float:
    """The loss by the reference path."""
    agent, prompts = toy(), some_prompts()
    logits = agent.logits(prompts, edits)[None]
    return float((goal or UntargetedLoss()).loss(logits, agent.logits(prompts), prompts.answers))


def pushed(site: str, neuron: int, dose: float, positions: tuple[int, ...] | None = None) -> Edit:
    """One neuron raised by a dose."""
    edit = Edit.neuron(site, neuron, dose, toy().width(site))
    return Edit(edit.site, edit.delta, positions)


@goals
@pytest.mark.parametrize("positions", [None, (2,), (0, 3, 8)], ids=str)
@pytest.mark.parametrize("site", ["L0.mlp.post", "L1.resid_post", "L2.attn.q"])
def test_a_sweep_holds_the_loss_of_each_neuron_at_each_dose(
    site: str, positions: tuple[int, ...] | None, goal: Goal | None
) -> None:
    neurons = (5, 0, 11)
    grid = sweep(toy(), some_prompts(), site=site, neurons=neurons, doses=DOSES, positions=positions, goal=goal)
    assert grid.dims == ("neuron", "dose")
    assert grid.attrs["unedited"] == pytest.approx(loss_under((), goal), rel=1e-5)
    assert tuple(grid.neuron.values) == neurons
    for neuron in neurons:
        for dose in DOSES:
            expected = loss_under((pushed(site, neuron, dose, positions),), goal)
            assert float(grid.sel(neuron=neuron, dose=dose)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert float(grid.sel(neuron=neuron, dose=0.0)) == pytest.approx(grid.attrs["unedited"], rel=1e-4)


def test_a_sweep_takes_every_neuron_unless_told_and_gives_doses_in_rho_too() -> None:
    grid = sweep(toy(), some_prompts(), site="L1.mlp.post", doses=DOSES)
    assert grid.shape == (40, 3)
    bound = L2Ball(1.0).bind(toy(), ["L1.mlp.post"], some_prompts())
    for neuron in (0, 17, 39):
        for dose in DOSES:
            expected = bound.size(pushed("L1.mlp.post", neuron, dose))
            assert float(grid.rho.sel(neuron=neuron, dose=dose)) == pytest.approx(expected, rel=1e-4)
    assert sweep(toy(), some_prompts(), site="L1.attn.q", doses=DOSES).rho.isnull().all()


def test_a_sweep_of_several_sites_is_their_sweeps_stacked() -> None:
    sites = ("L1.mlp.post", "L0.mlp.post")
    both = sweep(toy(), some_prompts(), site=sites, neurons=(3, 4), doses=DOSES)
    assert both.dims == ("site", "neuron", "dose")
    assert tuple(both.site.values) == sites
    for site in sites:
        alone = sweep(toy(), some_prompts(), site=Site.parse(site), neurons=(3, 4), doses=DOSES)
        np.testing.assert_allclose(both.sel(site=site).values, alone.values, rtol=1e-5)
        np.testing.assert_allclose(both.rho.sel(site=site).values, alone.rho.values, rtol=1e-5)


@goals
@pytest.mark.parametrize("places", [("L0.resid_post",) * 2, ("L0.resid_post", "L2.mlp.post")], ids=("one site", "two"))
def test_a_landscape_holds_the_loss_of_both_edits_applied_jointly(places: tuple[str, str], goal: Goal | None) -> None:
    one = edit_at(places[0], noise(toy().width(places[0]), seed=1))
    other = edit_at(places[1], noise(2, toy().width(places[1]), seed=2), (1, 4))
    radii = (-1.0, 0.0, 0.5)
    grid = landscape(toy(), some_prompts(), first=one, second=other, radii=radii, goal=goal)
    assert grid.dims == ("first", "second")
    for a in radii:
        for b in radii:
            expected = loss_under((one.scaled(a), other.scaled(b)), goal)
            assert float(grid.sel(first=a, second=b)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert grid.attrs["unedited"] == pytest.approx(float(grid.sel(first=0, second=0)), rel=1e-4)


@goals
def test_losses_are_those_of_each_edit_alone_on_each_prompt_alone(goal: Goal | None) -> None:
    agent, prompts = toy(), some_prompts()
    sites = ("L1.mlp.post", "L0.attn.q", "L1.mlp.post", "hook_embed")
    edits = [edit_at(site, noise(agent.width(site), seed=i)) for i, site in enumerate(sites)]
    grid = losses(agent, prompts, edits, goal=goal)
    assert grid.dims == ("edit", "prompt")
    assert grid.shape == (4, len(prompts))
    judge = goal or UntargetedLoss()
    for row in range(len(prompts)):
        one = prompts[[row]]
        clean = agent.logits(one)
        assert float(grid.unedited[row]) == pytest.approx(float(judge.loss(clean[None], clean, one.answers)), abs=1e-4)
        for index, edit in enumerate(edits):
            expected = float(judge.loss(agent.logits(one, edit)[None], clean, one.answers))
            assert float(grid[index, row]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


@settings(max_examples=10)
@given(st.permutations(range(4)))
def test_losses_follow_the_order_of_the_edits(order: list[int]) -> None:
    sites = ("L1.mlp.post", "L0.attn.q", "L1.mlp.post", "hook_embed")
    edits = [edit_at(site, noise(toy().width(site), seed=i)) for i, site in enumerate(sites)]
    straight, shuffled = (losses(toy(), some_prompts(), e).values for e in (edits, [edits[i] for i in order]))
    np.testing.assert_allclose(shuffled, straight[order], rtol=1e-5)


def test_the_mean_loss_over_prompts_is_the_cell_of_a_sweep() -> None:
    edit = pushed("L1.mlp.post", 7, 1.5)
    alone = losses(toy(), some_prompts(), [edit])
    grid = sweep(toy(), some_prompts(), site="L1.mlp.post", neurons=[7], doses=[1.5])
    assert float(alone.mean()) == pytest.approx(float(grid[0, 0]), rel=1e-5)
    assert float(alone.unedited.mean()) == pytest.approx(grid.attrs["unedited"], rel=1e-5)


def test_grids_survive_the_formats_of_xarray() -> None:
    """Units and figures are plain values, so a grid can be written anywhere."""
    for grid in (
        sweep(toy(), some_prompts(), site="L1.mlp.post", neurons=[1], doses=DOSES),
        losses(toy(), some_prompts(), [pushed("L1.mlp.post", 1, 1.0)]),
    ):
        again = xr.DataArray.from_dict(grid.to_dict())
        assert again.identical(grid)
        assert grid.attrs["units"] == "nats"


def test_answers_before_the_edited_position_do_not_count() -> None:
    last = max(ANSWERS)
    grid = sweep(toy(), some_prompts(), site="L2.resid_post", neurons=[0], doses=[5.0], positions=[last - 1])
    assert float(grid[0, 0]) == pytest.approx(grid.attrs["unedited"], rel=1e-6)  # nobody reads there in the last block
    assert torch.isfinite(torch.tensor(grid.values)).all()
