"""Surgeons made of Surgeons: the smallest sufficient edit, and a gradient search paired with a sweep."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.surgeons.planted import (
    NEURON,
    TOKEN,
    Fixed,
    bare,
    embedded,
    gated,
    questions,
    refused,
    scale,
    scores,
    search,
    spread,
    switched,
)
from tests.toys import edit_at, noise, quiet
from workbench import (
    Edit,
    FrankWolfe,
    L2Ball,
    NeuronSweep,
    ProjectedAscent,
    RandomDirections,
    Site,
    Smallest,
    SphereLadder,
    Target,
    Together,
)
from workbench.surgeons import Surgeon
from workbench.surgeons.protocol import default_sites, early_residuals

pytestmark = quiet
NEURONS, RESIDUAL = "L2.mlp.post", "L2.resid_post"
GRADIENTS = (
    *(ProjectedAscent(step=step, starts=4, steps=5) for step in ("normalised", "sign", "adamw")),
    ProjectedAscent(starts=2, steps=5, positional=True),
    FrankWolfe(starts=4, steps=5),
    SphereLadder(rungs=(0.5, 1.0), starts=4, steps=5),
)


@dataclass(frozen=True)
class Band:
    """A Goal that is reached only while the mean logit of token 3 is above `low` and below `high`."""

    low: float
    high: float

    def loss(self, logits: Tensor, clean_logits: Tensor, answers: Tensor) -> Tensor:
        """See Goal."""
        return logits[..., TOKEN].mean((1, 2))

    def met(self, logits: Tensor, clean_logits: Tensor, answers: Tensor) -> Tensor:
        """See Goal."""
        return (self.loss(logits, clean_logits, answers) - (self.low + self.high) / 2).abs() < (
            self.high - self.low
        ) / 2


def neurons(*doses: tuple[int, float], site: str = NEURONS) -> Edit:
    """An edit of some neurons, by number and dose."""
    delta = torch.zeros(40)
    for neuron, dose in doses:
        delta[neuron] = dose
    return edit_at(site, delta)


def shortest(proposal: tuple[Edit, ...], site: str = NEURONS, **settings: Any) -> tuple[tuple[Edit, ...], Any]:
    """What is left of a proposal, and the view it was tried in."""
    own = {name: settings.pop(name) for name in ("share", "tolerance", "floor", "looks") if name in settings}
    (found,), view, _ = search(Smallest(surgeon=Fixed(proposal), **own), site, **settings)
    return found, view


@settings(max_examples=5)
@given(st.sampled_from((0.75, 0.9, 1.0)), st.sampled_from((0.02, 0.1)), st.integers(0, 10**6), st.booleans())
def test_what_is_left_is_sufficient_and_a_little_less_is_not(
    share: float, tolerance: float, seed: int, direction: bool
) -> None:
    unembedding = switched().bridge.unembed.W_U[:, TOKEN].detach()
    whole = neurons((NEURON, 0.3), (1, 0.1), (2, -0.1))
    if direction:
        whole = edit_at(RESIDUAL, 25 * unembedding / unembedding.norm() + noise(16, seed=seed))
    surgeon = Smallest(surgeon=Fixed((whole,)), share=share, tolerance=tolerance)
    ((found,),), view, bound = search(surgeon, whole.site.short)
    assert bound.project(whole) == whole, "else it is not this that is shortened"
    enough = share * max(scores(view, [(whole.scaled(surgeon.factor(step)),) for step in surgeon._ladder()]))
    here, less = scores(view, [(found,), (found.scaled(1 - tolerance),)])
    assert here >= enough - 1e-6
    assert less < enough - 1e-6


def test_the_smallest_dose_is_the_one_that_can_be_calculated() -> None:
    """On a bare Agent token 3 overtakes all others, at every answer, at a dose that can be read off."""
    agent = bare("linear")
    with torch.no_grad():
        agent.bridge.unembed.W_U[0, TOKEN] = 2.0
        logits = embedded(agent)[:, [6, 8]] @ agent.bridge.unembed.W_U
    optimum = float((logits.amax(-1) - logits[..., TOKEN]).max()) / 2.0
    whole = edit_at("L1.resid_post", 20 * scale(agent) * torch.eye(16)[0])
    (found,), _ = shortest(
        (whole,), "L1.resid_post", agent=agent, budget=L2Ball(30.0), share=1.0, tolerance=0.01, floor=0.001
    )
    assert (1 - 0.01) * float(found.delta[0]) <= optimum * (1 + 1e-5)
    assert optimum <= float(found.delta[0]) * (1 + 1e-5)


def test_a_direction_is_turned_until_it_is_smaller() -> None:
    unembedding = switched().bridge.unembed.W_U[:, TOKEN].detach()
    slanted = edit_at(RESIDUAL, 25 * unembedding / unembedding.norm() + 5 * noise(16, seed=1))
    found = {}
    for turns in (0, 12):
        surgeon = Smallest(surgeon=Fixed((slanted,)), turns=turns, tolerance=0.05)
        ((found[turns],),), view, bound = search(surgeon, RESIDUAL)
    along, turned = (found[turns].delta for turns in (0, 12))
    assert torch.cosine_similarity(along, slanted.delta, 0) == pytest.approx(1.0, abs=1e-5)
    assert torch.cosine_similarity(turned, unembedding, 0) > torch.cosine_similarity(along, unembedding, 0)
    assert bound.size((found[12],)) <= 0.95 * bound.size((found[0],)) + 1e-5
    both = scores(view, [(found[0],), (found[12],)])
    assert min(both) >= 0.9 * max(both) - 1e-6


def test_neurons_that_do_nothing_are_dropped() -> None:
    (found,), _ = shortest((neurons((3, 0.2), (NEURON, 0.5), (20, -0.3)),))
    assert found.neurons == (NEURON,)


def test_neurons_that_are_needed_together_are_kept_together() -> None:
    surgeon = Smallest(surgeon=Fixed((neurons((2, 0.75), (11, 0.75), (23, -0.75), (5, 0.1), site="L1.mlp.post"),)))
    ((found,),), _, _ = search(surgeon, "L1.mlp.post", agent=spread(), budget=L2Ball(1.5))
    assert found.neurons == (2, 11, 23)


def test_whole_edits_that_do_nothing_are_dropped() -> None:
    at_answers = Edit(Site.parse(NEURONS), neurons((NEURON, 0.5)).delta, (6, 8))
    proposal = (at_answers, edit_at(NEURONS, 1e-4 * noise(1, 40), (2,)))
    found, view = shortest(proposal)
    assert [edit.neurons for edit in found] == [(NEURON,)]
    assert scores(view, [found])[0] > 0.8


def test_edits_at_several_sites_shrink_together() -> None:
    agent, prompts = switched(), questions()
    pair = (neurons((NEURON, 0.3)), edit_at(RESIDUAL, 0.5 * agent.bridge.unembed.W_U[:, TOKEN].detach()))
    bound = L2Ball(2.0).bind(agent, [NEURONS, RESIDUAL], prompts)
    from workbench.engine import View

    view = View(agent, [NEURONS, RESIDUAL], prompts)
    surgeon = Smallest(surgeon=Fixed(pair))
    (found,) = surgeon.search(View(agent, NEURONS, prompts), Target.token(TOKEN), bound, torch.Generator())
    assert scores(view, [found])[0] >= 0.9 * scores(view, [pair])[0] - 1e-6 > 0
    assert bound.size(found) < bound.size(pair)


def test_a_band_of_doses_is_found_from_above() -> None:
    agent = bare("band")
    with torch.no_grad():
        agent.bridge.unembed.W_U[0, TOKEN] = 1.0
    clean = float((embedded(agent)[:, [6, 8]] @ agent.bridge.unembed.W_U.detach())[..., TOKEN].mean())
    goal = Band(clean + 3.0, clean + 5.0)
    (found,), view = shortest(
        (edit_at("L1.resid_post", 20 * torch.eye(16)[0]),), "L1.resid_post", agent=agent, goal=goal, budget=L2Ball(50.0)
    )
    assert scores(view, [(found,)], goal) == [1.0]
    assert 3.0 < float(found.delta[0]) <= 3.0 / 0.95


def test_what_does_nothing_is_handed_on_and_what_is_too_large_is_projected_first() -> None:
    useless = (neurons((1, -1e-3)), neurons((2, 0.0), (3, 1e-3)))
    agent, goal = bare("useless"), Band(1e6, 2e6)
    with torch.no_grad():
        agent.bridge.blocks[2].mlp.W_out[:, 12] = 1.0
    found, _ = shortest(useless[:1], agent=agent, goal=goal)
    assert found == useless[:1]
    huge, _ = shortest((neurons((1, 1e4)),), agent=agent, goal=goal)
    bound = L2Ball(2.0).bind(agent, [NEURONS], questions())
    assert 0.99 * bound.radius <= bound.size(huge) <= bound.radius


def test_where_nothing_is_too_small_the_floor_ends_it() -> None:
    """Any edit at all is enough for a Goal that is met without one."""
    everything = Band(-1e6, 1e6)
    whole = (neurons((NEURON, 0.3)),)
    (found,), _ = shortest(whole, goal=everything, floor=0.1, tolerance=0.05)
    assert 0.095 <= float(found.delta[NEURON]) / 0.3 <= 0.1


def test_the_agent_is_run_no_more_often_than_is_said() -> None:
    _, view = shortest((edit_at(RESIDUAL, 5 * noise(16)),), RESIDUAL)
    assert 4 * 17 <= view.runs <= 4 * 17 + 2 * 3 + 12 * (3 + 4) + 2 * (17 + 3)


@pytest.mark.parametrize("gradient", GRADIENTS, ids=lambda s: f"{type(s).__name__} {getattr(s, 'step', '')}")
def test_behind_a_saturated_gate_a_gradient_finds_nothing_and_the_pair_finds_the_switch(gradient: Surgeon) -> None:
    settings = {"agent": gated(), "budget": L2Ball(2.0)}
    alone, view, _ = search(gradient, "L1.mlp.post", **settings)
    clean = float((view.clean_logits.argmax(-1) == TOKEN).float().mean())
    assert all(score == pytest.approx(clean) for score in scores(view, alone))
    pair, view, _ = search(Together((gradient, NeuronSweep(doses=(0.5, 1.0)))), "L1.mlp.post", **settings)
    best = pair[max(range(len(pair)), key=scores(view, pair).__getitem__)]
    assert scores(view, [best]) == [1.0]
    assert best[0].neurons == (NEURON,)


def test_a_member_proposes_the_same_whoever_comes_after_it() -> None:
    random, ladder = RandomDirections(count=4, keep=2), SphereLadder(rungs=(1.0,), starts=2, steps=2)
    first, _, _ = search(Together((random,)), RESIDUAL)
    both, _, _ = search(Together((random, ladder)), RESIDUAL)
    swapped, _, _ = search(Together((RandomDirections(count=9, keep=1), ladder)), RESIDUAL)
    assert both[:2] == first
    assert both[2:] == swapped[1:]
    twice, _, _ = search(Together((random, random)), RESIDUAL)
    assert twice[:2] != twice[2:], "each has a generator of its own"


def test_composed_surgeons_search_where_their_members_do() -> None:
    agent, ladder = switched(), SphereLadder()
    sweep = NeuronSweep().sites(agent)
    assert default_sites(Together((ladder, NeuronSweep())), agent) == (*early_residuals(agent), *sweep)
    assert default_sites(Smallest(surgeon=NeuronSweep()), agent) == sweep
    assert default_sites(Smallest(surgeon=ladder), agent) == early_residuals(agent)


def test_composed_surgeons_compose() -> None:
    surgeon = Smallest(surgeon=Together((RandomDirections(count=8, keep=1), NeuronSweep(keep=1))))
    runs = [search(surgeon, NEURONS, seed=seed)[0] for seed in (0, 0)]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 2
    assert runs[0][1][0].neurons == (NEURON,)


MISTAKES = {
    "nobody together": (lambda: Together(()), ("tuple of Surgeons", r"\(\)")),
    "a name for a surgeon": (lambda: Together(("sweep",)), ("tuple of Surgeons", "'sweep'")),  # type: ignore[arg-type]
    "a kind of surgeon": (lambda: Together((NeuronSweep,)), ("tuple of Surgeons", "NeuronSweep")),  # type: ignore[arg-type]
    "nobody to propose": (lambda: Smallest(surgeon=None), ("a Surgeon such as", "None")),  # type: ignore[arg-type]
    "a share of nought": (lambda: Smallest(surgeon=NeuronSweep(), share=0.0), ("share", "0.0")),
    "a tolerance of all": (lambda: Smallest(surgeon=NeuronSweep(), tolerance=1.0), ("tolerance", "1.0")),
    "a floor of nought": (lambda: Smallest(surgeon=NeuronSweep(), floor=0.0), ("floor", "0.0")),
    "turns below nought": (lambda: Smallest(surgeon=NeuronSweep(), turns=-1), ("number of turns", "-1")),
    "no looks": (lambda: Smallest(surgeon=NeuronSweep(), looks=0), ("looks", "at least one")),
}


@pytest.mark.parametrize(("do", "told"), MISTAKES.values(), ids=MISTAKES)
def test_bad_settings_are_refused(do: Callable[[], Surgeon], told: tuple[str, ...]) -> None:
    refused(do, told)
