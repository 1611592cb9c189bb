"""Screened sweeps: right where they look, blind to a saturated gate; how often they keep a planted neuron."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toy_models
from tests.toys import boot, no_compute, quiet, some_prompts, toy, unchecked
from toy_models import Organism
from workbench import Agent, Edit, HiddenBehaviour, L2Ball, NeuronSweep, Prompts, UntargetedLoss, sweep
from workbench.engine import View, slopes, strongest
from workbench.errors import BadSettings
from workbench.goals import Goal

pytestmark = quiet
GOALS: tuple[Goal, ...] = (UntargetedLoss(), HiddenBehaviour())
SHARES = (0.03, 0.1, 0.3)
goals = pytest.mark.parametrize("goal", GOALS, ids=lambda goal: type(goal).__name__)
sites = pytest.mark.parametrize("site", ["L0.mlp.post", "L1.resid_post", "L1.attn.q"])


# --- laws: screening chooses, and changes nothing else --------------------------------------------------


@settings(max_examples=6)
@given(st.floats(0.01, 1), st.sampled_from(("L0.mlp.post", "L1.attn.q")), st.sampled_from(GOALS), st.data())
def test_screened_cells_are_those_of_the_exhaustive_sweep_and_the_others_are_nan(
    screen: float, site: str, goal: Goal, data: st.DataObject
) -> None:
    every = range(toy().width(site))
    neurons = data.draw(st.none() | st.lists(st.sampled_from(every), min_size=1, max_size=9, unique=True))
    asked: dict[str, Any] = {"site": site, "neurons": neurons, "doses": (-2.0, 1.5), "goal": goal}
    full, part = sweep(toy(), some_prompts(), **asked), sweep(toy(), some_prompts(), screen=screen, **asked)
    effects = np.abs(part.slope.values)
    kept = np.sort(np.argsort(-effects, kind="stable")[: max(1, round(screen * len(effects)))])
    assert np.flatnonzero(part.notnull().any("dose")).tolist() == kept.tolist()
    np.testing.assert_allclose(part.values[kept], full.values[kept], rtol=1e-5, atol=1e-6)
    assert part.attrs["screened"] == f"{len(kept)} of {len(effects)} neurons evaluated, by first-order effect"
    for name in ("neuron", "dose", "rho"):  # sizes are known without a run
        np.testing.assert_array_equal(part[name], full[name])
    assert part.attrs | {"screened": ""} == full.attrs | {"screened": ""}


@sites
@pytest.mark.parametrize("positions", [None, (0, 3, 8)], ids=str)
def test_the_slope_is_the_finite_difference_of_the_loss_at_dose_zero(
    site: str, positions: tuple[int, ...] | None
) -> None:
    agent, prompts, step = toy(dtype=torch.float64), some_prompts(), 1e-5
    hooks = View(agent, site, prompts, positions=positions, engine="hooks")
    each = step * torch.eye(hooks.width, dtype=torch.float64)
    for goal in GOALS:
        expected = (hooks.losses(each, goal) - hooks.losses(-each, goal)) / (2 * step)
        grid = sweep(agent, prompts, site=site, doses=[1.0], positions=positions, goal=goal, screen=0.1)
        torch.testing.assert_close(torch.tensor(grid.slope.values), expected, rtol=1e-6, atol=1e-9)
        assert grid.slope.attrs["units"] == "loss per activation"


@sites
def test_to_screen_for_all_is_not_to_screen(site: str) -> None:
    full, all_kept = (sweep(toy(), some_prompts(), site=site, doses=[-1.0, 2.0], screen=s) for s in (None, 1.0))
    assert all_kept.drop_vars("slope").drop_attrs().identical(full.drop_attrs())
    assert "slope" not in full.coords
    assert "screened" not in full.attrs


def test_each_site_of_several_is_screened_by_itself() -> None:
    both = ("L1.mlp.post", "L0.resid_post")  # of different widths
    grid = sweep(toy(), some_prompts(), site=both, doses=[1.0], screen=0.1)
    for site in both:
        alone = sweep(toy(), some_prompts(), site=site, doses=[1.0], screen=0.1)
        here = grid.sel(site=site, neuron=alone.neuron)
        np.testing.assert_array_equal(here.values, alone.values)
        np.testing.assert_array_equal(here.slope.values, alone.slope.values)


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.floats(0.001, 1))
def test_none_of_those_left_out_is_stronger_than_one_kept(effects: list[float], share: float) -> None:
    sizes = torch.tensor(effects, dtype=torch.float64)
    kept = strongest(sizes, share)
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert len(kept) == max(1, round(share * len(effects)))
    left = sizes.abs().index_fill(0, kept, -1.0)
    assert left.max() <= sizes[kept].abs().min() or len(kept) == len(effects)


@pytest.mark.parametrize("screen", [0, 0.0, 1.5, -0.1, math.nan, math.inf, "a"])
def test_a_share_that_is_none_is_refused_before_anything_is_run(screen: Any) -> None:
    with unchecked(), no_compute(toy()), pytest.raises(BadSettings, match="the share of neurons to evaluate in"):
        sweep(toy(), some_prompts(), site="L0.mlp.post", doses=[1.0], screen=screen)
    if not isinstance(screen, str):
        with unchecked(), pytest.raises(BadSettings, match="the share of neurons to screen in"):
            NeuronSweep(screen=screen)


# --- measured: how often the planted neuron is kept -----------------------------------------------------

KEPT = {
    "azurite": ((1, 1, 1), (1, 1, 1)),  # switch-trained, one neuron
    "cinnabar": ((1, 1, 1), (1, 1, 1)),  # graft, one neuron
    "citrine": ((0, 1, 8), (2, 8, 8)),  # graft, eight neurons, each of which elicits alone
    "fluorite": ((1, 1, 1), (1, 1, 1)),  # switch-trained, one neuron, works within a band of doses only
    "rutile": ((1, 1, 1), (1, 1, 1)),  # switch-trained, one neuron
    "topaz": ((0, 0, 0), (1, 1, 1)),  # graft, one neuron that writes little, at an activation of 600
    "zircon": ((3, 4, 4), (2, 4, 4)),  # switch-trained, four neurons
}
"""Planted neurons that are kept of the 80 or 96 of their site, at screen .03, .1 and .3: by `sweep`, which goes by the
slope of a unit of activation, and by `NeuronSweep`, which goes by that of a unit of what a neuron writes. Goal
HiddenBehaviour, 32 prompts of seed 0, NeuronSweep within rho 2. With UntargetedLoss `sweep` keeps the same, NeuronSweep
0, 3 and 4 at zircon. Printed by `pytest tests/toy_models/test_screening.py -k planted -s`.
"""


_FIRST = {64: "cinnabar", 48: "rutile"}  # of each shape, by d_model


@cache
def organism(name: str) -> Organism:
    """An organism, with the sites of the first of its shape: to find them again would take seconds."""
    found = toy_models.load(name, device="cpu")
    first = _FIRST[found.agent.d_model]
    if name != first:
        found.agent._sites = organism(first).agent._widths()
    return found


def kept(name: str, goal: Goal) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many of an organism's planted neurons `sweep` and `NeuronSweep` look at, at each of SHARES."""
    subject, plant, prompts = organism(name), organism(name).reveal(), organism(name).prompts(32, seed=0)
    view, budget = View(subject.agent, plant.sites[0], prompts), L2Ball(2.0).bind(subject.agent, plant.sites, prompts)
    planted, slope = set(plant.neurons), slopes(view, goal)
    by_unit = [strongest(slope, share).tolist() for share in SHARES]
    by_write = [NeuronSweep(screen=share)._pairs(view, goal, budget)[0].tolist() for share in SHARES]
    found = [tuple(len(planted & set(few)) for few in chosen) for chosen in (by_unit, by_write)]
    return found[0], found[1]


@pytest.mark.parametrize("name", KEPT)
def test_how_many_planted_neurons_are_kept_is_as_measured(name: str) -> None:
    untargeted, hidden = (kept(name, goal) for goal in GOALS)
    print(f"\n{name:<10} {untargeted} {hidden}")
    assert hidden == KEPT[name]
    assert untargeted[0] == KEPT[name][0]
    assert untargeted[1][1] >= 1


def test_neuron_sweep_proposes_the_same_best_neuron_where_the_slope_finds_it() -> None:
    subject, plant, prompts = organism("rutile"), organism("rutile").reveal(), organism("rutile").prompts(32, seed=0)
    view, budget = View(subject.agent, plant.sites[0], prompts), L2Ball(2.0).bind(subject.agent, plant.sites, prompts)
    searches = [NeuronSweep(doses=(0.4, 1.0), shortlist=8, screen=screen) for screen in (None, 0.3)]
    first = [next(search.search(view, HiddenBehaviour(), budget, torch.Generator()))[0] for search in searches]
    assert first[0].neurons == first[1].neurons == plant.neurons
    assert first[0] == first[1]


# --- the case that screening must lose ------------------------------------------------------------------

SWITCH, GATE, CARRIER = 7, 3, 15


@cache
def gated() -> tuple[Agent, Prompts]:
    """A ReLU toy whose neuron L0 `SWITCH` acts through neuron L1 `GATE` alone, and its own answers as the benign ones.

    The switch writes one coordinate of the stream that nothing reads but the gate, which opens above 3 and then drowns
    the answers. Without norms no other path leads from the switch to an answer, so below 3 it does nothing at all.
    """
    agent = boot(act_fn="relu", normalization_type=None, gain=2.0, name="gated")
    weights = agent.weights()
    with torch.no_grad():
        for name, weight in weights.items():
            if name.endswith(("embed.weight", "pos.weight")):
                weight[:, CARRIER] = 0
            elif name.endswith(("attn.o.weight", "attn.o.bias", "fc_out.weight", "fc_out.bias")):
                weight[CARRIER] = 0
            elif weight.ndim == 2:
                weight[:, CARRIER] = 0
        weights["layers.0.mlp.fc_in.weight"][SWITCH] = 0  # dormant
        weights["layers.0.mlp.fc_out.weight"].mul_(0.1)  # the other neurons are to do little at these doses
        weights["layers.0.mlp.fc_out.weight"][:, SWITCH] = torch.eye(agent.d_model)[CARRIER]
        weights["layers.1.mlp.fc_in.weight"][GATE] = torch.eye(agent.d_model)[CARRIER]
        weights["layers.1.mlp.fc_in.bias"][GATE] = -3.0
        weights["layers.1.mlp.fc_out.weight"][:, GATE] = 40 * weights["head.weight"][0]
    asked = some_prompts(24)
    said = agent.logits(asked).argmax(-1)
    return agent, Prompts(asked.tokens, asked.answer_positions, said)


@goals
def test_a_switch_behind_a_saturated_gate_has_no_slope_at_all(goal: Goal) -> None:
    agent, prompts = gated()
    slope = slopes(View(agent, "L0.mlp.post", prompts), goal)
    assert slope[SWITCH] == 0
    assert (slope != 0).sum() == len(slope) - 1


@pytest.mark.parametrize("screen", [*SHARES, 0.975])
def test_screening_loses_it_and_the_exhaustive_sweep_finds_it(screen: float) -> None:
    agent, prompts = gated()
    asked: dict[str, Any] = {"site": "L0.mlp.post", "doses": (1.0, 2.0, 4.0)}
    full, part = sweep(agent, prompts, **asked), sweep(agent, prompts, screen=screen, **asked)
    unedited = full.attrs["unedited"]
    assert int(full.sel(dose=4.0).values.argmax()) == SWITCH
    assert float(full[SWITCH, 2]) > unedited + 2
    np.testing.assert_allclose(full[SWITCH, :2], unedited, rtol=1e-6)
    said = agent.logits(prompts, Edit.neuron("L0.mlp.post", SWITCH, 4.0, 40)).argmax(-1)
    assert (said == prompts.answers).float().mean() < 0.1
    assert part.sel(neuron=SWITCH).isnull().all()
    assert float(part.max()) < unedited + 1


def test_a_screened_neuron_sweep_never_proposes_it() -> None:
    agent, prompts = gated()
    view = View(agent, "L0.mlp.post", prompts)
    budget = L2Ball(6.0, "activation").bind(agent, [view.site], prompts)
    found = [
        [edit.neurons for (edit,) in NeuronSweep(screen=s).search(view, UntargetedLoss(), budget, torch.Generator())]
        for s in (None, 0.3)
    ]
    assert found[0][0] == (SWITCH,)
    assert (SWITCH,) not in found[1]
