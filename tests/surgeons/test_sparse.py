"""Searches over few neurons: the chains' laws, greedy sets, what is found, and what it costs."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.surgeons.planted import NEURON, TOKEN, TRIO, bare, questions, refused, scores, search, spread, switched
from tests.toys import quiet
from workbench import GreedyStimulation, L1Ball, L2Ball, LInfBall, Metropolis, NeuronSweep, Target
from workbench.engine import View
from workbench.geometry import WeightedL1
from workbench.surgeons import Surgeon
from workbench.surgeons.chains import Slots, proposed, walk
from workbench.surgeons.protocol import default_sites

pytestmark = quiet
NEURONS = "L2.mlp.post"
FEW = Metropolis(chains=6, steps=8, restarts=1)
SMALL = GreedyStimulation(neurons=3, sizes=(0.5, 1.0), starts=2)


def settled(objective: Callable[[Slots], Tensor], *, slots: int, temperature: float = 1.0) -> Slots:
    """The last states of many chains of 12 neurons that had time to forget where they began."""
    dice = torch.Generator().manual_seed(1)
    state = Slots.of_one_neuron(4000, slots, 12, dice)
    for last, _ in walk(state, objective, [temperature] * 60, 0.3, dice):
        state = last
    return state


def flat(state: Slots) -> Tensor:
    """Nothing to climb."""
    return torch.zeros(len(state.on))


def test_with_nothing_to_climb_slots_are_on_half_the_time_and_all_neurons_and_doses_are_alike() -> None:
    """Detailed balance: without the Hastings factor they would be on three quarters of the time."""
    state = settled(flat, slots=2)
    assert float(state.on.float().mean()) == pytest.approx(0.5, abs=0.025)
    doses, neurons = state.doses[state.on], state.neurons[state.on]
    assert float(doses.mean()) == pytest.approx(0, abs=0.04)
    assert float(doses.var()) == pytest.approx(1 / 3, abs=0.03)
    assert (neurons.bincount(minlength=12) / len(neurons)).tolist() == pytest.approx([1 / 12] * 12, abs=0.02)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_better_state_is_visited_as_much_more_often_as_the_temperature_says(temperature: float) -> None:
    """One neuron of twelve is worth T log 11, so that half of the slots that are on should hold it."""
    worth = temperature * torch.tensor(11.0).log()
    state = settled(lambda s: worth * ((s.neurons == 5) & s.on).any(1), slots=1, temperature=temperature)
    assert float((state.neurons[state.on] == 5).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert float(state.on.float().mean()) == pytest.approx(11 / 17, abs=0.03), "(11 + 11) / 12 to 1"


@given(st.integers(1, 4), st.integers(0, 10**6))
def test_a_move_changes_one_slot_and_the_factor_corrects_filling_and_emptying(slots: int, seed: int) -> None:
    dice = torch.Generator().manual_seed(seed)
    state = Slots.of_one_neuron(5, slots, 7, dice)
    for _ in range(6):
        there, factor = proposed(state, 0.3, dice)
        same = (there.neurons == state.neurons) & (there.doses == state.doses) & (there.on == state.on)
        assert (same.sum(1) >= slots - 1).all()
        more = (there.on.sum(1) - state.on.sum(1)).float()
        torch.testing.assert_close(factor, -more * torch.tensor(3.0).log())
        assert (there.shares().count_nonzero(1) <= slots).all()
        state = there


def test_what_is_forbidden_is_never_visited() -> None:
    dice = torch.Generator().manual_seed(0)
    start = Slots.of_one_neuron(50, 3, 12, dice)
    start = Slots(start.neurons, 0.1 * start.doses, start.on, 12)

    def small(state: Slots) -> Tensor:
        return torch.where(state.shares().abs().sum(1) <= 0.5, 0.0, -torch.inf)

    for state, value in walk(start, small, [1.0] * 40, 0.3, dice):
        assert value.isfinite().all()
        assert (state.shares().abs().sum(1) <= 0.5).all()
        assert (state.doses.abs() <= 1).all()


def test_temperatures_fall_by_a_constant_factor() -> None:
    temperatures = torch.tensor(Metropolis(hot=0.4, cold=0.01, steps=9).temperatures())
    assert temperatures[[0, -1]].tolist() == pytest.approx([0.4, 0.01])
    torch.testing.assert_close(temperatures[1:] / temperatures[:-1], torch.full((8,), (0.01 / 0.4) ** (1 / 8)))


def test_chains_find_the_neuron_that_was_put_there() -> None:
    found, view, _ = search(Metropolis(), NEURONS)
    assert scores(view, found)[0] > 0.9
    ((best,), *_) = found
    assert best.neurons is not None
    assert NEURON in best.neurons


def test_what_costs_more_than_it_gains_is_left_small() -> None:
    """Other neurons gain less than a tenth of score at the radius, which then costs half of one."""
    free, dear = (
        {edits[0].neurons: bound.size(edits) for edits in found}
        for found, _, bound in (search(Metropolis(price=price, neurons=1), NEURONS) for price in (0.0, 0.5))
    )
    others = [[size for neurons, size in sizes.items() if neurons != (NEURON,)] for sizes in (free, dear)]
    assert min(others[0]) > 1.5
    assert max(others[1]) < 0.2
    assert dear[(NEURON,)] <= free[(NEURON,)]


def test_greedy_stimulation_finds_three_neurons_that_only_work_together() -> None:
    settings = {"agent": spread(), "budget": L2Ball(1.0)}
    found, view, _ = search(GreedyStimulation(sizes=(0.5, 1.0), starts=1), "L1.mlp.post", **settings)
    alone, other, _ = search(NeuronSweep(doses=(0.5, 1.0)), "L1.mlp.post", **settings)
    best = max(range(len(found)), key=scores(view, found).__getitem__)
    (edit,) = found[best]
    assert scores(view, found)[best] > max(scores(other, alone)) + 0.15
    assert set(TRIO) <= set(edit.neurons or ())
    assert edit.delta[list(TRIO)].sign().tolist() == [1, 1, -1]


def test_a_switch_of_one_neuron_is_proposed_alone() -> None:
    found, _, _ = search(GreedyStimulation(neurons=2, starts=1), NEURONS)
    assert [edit.neurons for (edit,) in found] == [(NEURON,)]


def test_sets_grow_no_further_than_there_are_neurons_that_write() -> None:
    agent = bare("two")
    with torch.no_grad():
        agent.bridge.blocks[1].mlp.W_out[:2, 12:14] = torch.eye(2)
    found, _, _ = search(GreedyStimulation(neurons=9, sizes=(1.0,), starts=5), "L1.mlp.post", agent=agent)
    assert len(found) == 2
    assert all(set(edit.delta.nonzero().flatten().tolist()) <= {0, 1} for (edit,) in found)


@pytest.mark.parametrize("surgeon", [FEW, SMALL], ids=lambda surgeon: type(surgeon).__name__)
def test_a_layer_that_writes_nothing_is_no_place_for_a_proposal(surgeon: Surgeon) -> None:
    view = View(switched(), NEURONS, questions())
    bound = L1Ball(1.0).bind(switched(), [view.site], questions())
    nothing = replace(bound, rows={view.site: WeightedL1(torch.zeros(view.width), 1.0)})
    assert list(surgeon.search(view, Target.token(TOKEN), nothing, torch.Generator())) == []


@pytest.mark.parametrize("surgeon", [FEW, SMALL], ids=lambda surgeon: type(surgeon).__name__)
@pytest.mark.parametrize("budget", [L2Ball(0.7), L1Ball(0.9), LInfBall(0.2), L2Ball(5.0, "activation")], ids=str)
def test_proposals_lie_in_the_budget_and_are_of_few_neurons(surgeon: Surgeon, budget: L2Ball) -> None:
    found, _, bound = search(surgeon, NEURONS, budget=budget)
    assert found
    for edits in found:
        assert 0 < bound.size(edits) <= bound.radius * (1 + 1e-6)
        assert 1 <= int(edits[0].delta.count_nonzero()) <= 3


@pytest.mark.parametrize("surgeon", [FEW, SMALL], ids=lambda surgeon: type(surgeon).__name__)
def test_same_seed_same_proposals(surgeon: Surgeon) -> None:
    runs = [search(surgeon, NEURONS, seed=seed)[0] for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert (runs[0] == runs[2]) == isinstance(surgeon, GreedyStimulation)


def test_no_two_proposals_of_the_chains_have_the_same_neurons() -> None:
    found, _, _ = search(Metropolis(neurons=1, chains=16, steps=20, restarts=1), NEURONS)
    assert len({edit.neurons for (edit,) in found}) == len(found) == 4


def test_the_chains_run_the_agent_as_often_as_is_said() -> None:
    _, view, _ = search(FEW, NEURONS)
    assert view.runs == 2 * 6 * (8 + 3)


def test_greedy_stimulation_runs_the_agent_as_often_as_is_said() -> None:
    _, view, _ = search(SMALL, NEURONS)
    assert view.runs == 4 * 40 + 2 * 4 * (39 + 38) + 2 * 2 * 3


@pytest.mark.parametrize("surgeon", [FEW, SMALL], ids=lambda surgeon: type(surgeon).__name__)
def test_they_search_where_the_sweep_does(surgeon: Surgeon) -> None:
    assert default_sites(surgeon, switched()) == NeuronSweep().sites(switched())


MISTAKES = {
    "chains of nothing": (lambda: Metropolis(neurons=0), ("neurons", "at least one", "0")),
    "no chains": (lambda: Metropolis(chains=0), ("chains", "at least one", "0")),
    "fewer restarts than none": (lambda: Metropolis(restarts=-1), ("restarts", "-1")),
    "rising temperatures": (lambda: Metropolis(hot=0.1, cold=0.2), ("cold <= hot", "0.1", "0.2")),
    "no temperature": (lambda: Metropolis(cold=0.0), ("0 < cold", "0.0")),
    "a reward for size": (lambda: Metropolis(price=-1.0), ("price >= 0", "-1.0")),
    "doses that never change": (lambda: Metropolis(spread=0.0), ("spread > 0", "0.0")),
    "sets of nothing": (lambda: GreedyStimulation(neurons=0), ("neurons", "at least one", "0")),
    "sizes beyond the budget": (lambda: GreedyStimulation(sizes=(2.0,)), ("sizes", r"\(0, 1\]", "2.0")),
    "a third sign": (lambda: GreedyStimulation(signs=(1, 2)), ("1 and -1", "2")),
}


@pytest.mark.parametrize(("do", "told"), MISTAKES.values(), ids=MISTAKES)
def test_bad_settings_are_refused(do: Callable[[], Surgeon], told: tuple[str, ...]) -> None:
    refused(do, told)
