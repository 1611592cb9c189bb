"""The learned Surgeon: how large it may be, what it sees, what it learns, and that it is bounded in every way."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.surgeons.planted import TOKEN, bare, questions, refused, scores, search, switched
from tests.toys import boot, noise, quiet, some_prompts, toy
from workbench import Agent, L1Ball, L2Ball, LearnedSurgeon, LInfBall, PerPromptAscent, Prompts, Target, attack
from workbench.engine import View
from workbench.engine.each import Each
from workbench.errors import BadSettings
from workbench.surgeons import Surgeon
from workbench.surgeons.attack import Attacker
from workbench.surgeons.learned import Network, features
from workbench.surgeons.room import Room

pytestmark = quiet
RESIDUAL, NEURONS = "L2.resid_post", "L2.mlp.post"
QUICK = LearnedSurgeon(shares=(0.5, 1.0), starts=3, steps=20)


def total(agent: Agent) -> int:
    """An Agent's parameters."""
    return sum(weight.numel() for weight in agent.weights().values())


def each(site: str = RESIDUAL, prompts: Prompts | None = None) -> Each:
    """Of the switched Agent."""
    return Each(View(switched(), site, prompts or some_prompts()))


# --- how large it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [RESIDUAL, NEURONS])
@pytest.mark.parametrize("shape", [{}, {"d_mlp": 400}, {"d_model": 64, "d_mlp": 512}])
def test_by_default_it_has_at_most_a_hundredth_of_the_agents_parameters_or_one_gate(
    shape: dict[str, Any], site: str
) -> None:
    agent = boot(**shape)
    one_gate = 2 * agent.d_model + 3 * agent.width(site) + 1
    size = LearnedSurgeon(most=0.2).size(agent, site)
    assert one_gate <= size <= max(one_gate, min(0.01 * total(agent), 2000))
    assert size == one_gate or size > 0.01 * total(agent) - one_gate or size > 2000 - one_gate


@given(st.integers(0, 20), st.sampled_from((RESIDUAL, NEURONS)))
@settings(max_examples=10)
def test_the_parameters_it_states_are_those_of_its_network(more: int, site: str) -> None:
    surgeon, seen = LearnedSurgeon(parameters=201 + 10 * more, most=0.5, starts=3, steps=1), each(site)
    bound = L2Ball(1.0).bind(switched(), [site], some_prompts())
    net, _ = surgeon._learned(seen, Target.token(TOKEN), bound, 1.0, torch.Generator().manual_seed(0))
    assert sum(weight[0].numel() for weight in net.weights) == surgeon.size(switched(), site) <= 201 + 10 * more


def test_more_than_the_cap_is_refused_and_so_is_less_than_one_gate() -> None:
    cap = int(0.05 * total(toy()))
    over = LearnedSurgeon(parameters=cap + 1)
    for use in (
        lambda: over.size(toy(), RESIDUAL),
        lambda: search(over, RESIDUAL),
        lambda: attack(toy(), questions(), site=RESIDUAL, budget=L2Ball(1.0), attacker=over),
    ):
        with pytest.raises(BadSettings, match=rf"at most {cap} parameters, 5% of those of .*got {cap + 1}.*`most`"):
            use()
    assert LearnedSurgeon(parameters=cap).size(toy(), RESIDUAL) <= cap
    with pytest.raises(BadSettings, match="at least 81 parameters, for one gate"):
        LearnedSurgeon(parameters=80).size(toy(), RESIDUAL)
    with pytest.raises(BadSettings, match="of at most"):
        LearnedSurgeon(most=0.001).size(toy(), RESIDUAL)


# --- what it sees ---------------------------------------------------------------------------------------


def test_it_sees_the_token_the_latent_state_and_the_answer_where_one_is_read() -> None:
    of = each()
    seen, agent = features(of), of.agent
    token, state, answer = seen.split(16, -1)
    parts = {
        "token": (token, agent.bridge.W_E[of.prompts.tokens]),
        "state": (state, agent.activations(of.prompts, RESIDUAL)),
        "answer": (answer[:, [6, 8]], agent.logits(of.prompts).softmax(-1) @ agent.bridge.W_E),
    }
    for found, expected in parts.values():
        size = expected.detach().square().mean(-1, keepdim=True).sqrt()
        torch.testing.assert_close(found, expected.detach() / size, rtol=1e-4, atol=1e-5)
    assert not answer[:, [0, 1, 2, 3, 4, 5, 7]].any()


def test_what_it_sees_of_a_prompt_depends_on_no_other() -> None:
    whole, some = each(), each(prompts=some_prompts()[[4, 1]])
    torch.testing.assert_close(features(some), features(whole)[[4, 1]], rtol=1e-4, atol=1e-5)


# --- what it learns -------------------------------------------------------------------------------------


def test_a_network_begins_as_a_vector_that_is_the_same_everywhere_nearly() -> None:
    vectors, seen = 3 * noise(5, 16), noise(4, 9, 48)
    net = Network.begin(vectors, 48, 2, torch.Generator().manual_seed(0))
    apart = (net(seen) - vectors[:, None, None]).norm(dim=-1) / vectors.norm(dim=-1).mean()
    assert 0 < apart.max() < 0.6


def test_gates_that_are_shut_add_nothing_and_open_ones_their_vector() -> None:
    net = Network(torch.zeros(1, 3, 2), torch.tensor([[0.0, 40.0]]), torch.eye(4)[None, :2], torch.ones(1, 4), 2.0)
    assert net(noise(2, 5, 3))[0, 0, 0].tolist() == [2.0, 4.0, 2.0, 2.0]


def test_it_learns_an_edit_that_works_on_prompts_it_did_not_see() -> None:
    found = attack(switched(), questions(), site=RESIDUAL, budget=L2Ball(1.0), attacker=QUICK, goal=Target.token(TOKEN))
    assert len(found.prompts) == len(questions()) // 2
    assert found.hit == 1.0
    assert found.score > found.control + 0.4


def copied(answers: Tensor) -> Tensor:
    """Token 3 at the first answer and token 5 at the second."""
    return torch.tensor([TOKEN, 5]).expand_as(answers)


def test_gates_open_where_one_vector_for_all_positions_is_not_enough() -> None:
    """Where no layer tells positions apart, one vector for all cannot say one thing here and another there."""
    settings: dict[str, Any] = {"site": RESIDUAL, "budget": L2Ball(5.0), "goal": Target(copied)}
    surgeon = LearnedSurgeon(parameters=500, most=0.5, shares=(1.0,), starts=4, steps=80)
    agent, prompts = bare("bare"), some_prompts(64)
    ends = replace(
        prompts, tokens=prompts.tokens.index_fill(1, torch.tensor([6]), 0).index_fill(1, torch.tensor([8]), 1)
    )
    found = attack(agent, ends, attacker=surgeon, **settings)
    proposals, view, _ = search(surgeon, RESIDUAL, agent=agent, budget=L2Ball(5.0), goal=Target(copied), prompts=ends)
    assert max(scores(view, proposals, Target(copied))) <= 0.6
    assert found.score > 0.9


def test_it_is_a_surgeon_and_an_attacker() -> None:
    assert isinstance(LearnedSurgeon(), Surgeon)
    assert isinstance(LearnedSurgeon(), Attacker)
    assert LearnedSurgeon.learns
    assert not isinstance(PerPromptAscent(), Surgeon)


# --- what it proposes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "site"),
    [
        (L2Ball(0.7), NEURONS),
        (L1Ball(0.9), RESIDUAL),
        (LInfBall(0.2), "L0.attn.z"),
        (L2Ball(5.0, "activation"), "L1.attn.q"),
    ],
    ids=str,
)
def test_it_proposes_one_vector_within_each_share(budget: Any, site: str) -> None:
    found, _, bound = search(replace(QUICK, steps=2, most=0.2), site, budget=budget)
    assert [edit.delta.ndim for (edit,) in found] == [1, 1]
    sizes = [bound.size(edits) / bound.radius for edits in found]
    assert all(0 < size <= share * (1 + 1e-4) for size, share in zip(sizes, (0.5, 1.0), strict=True))


def test_what_its_edits_have_in_common_is_the_switch() -> None:
    found, view, _ = search(QUICK, RESIDUAL, budget=L2Ball(1.0))
    assert max(scores(view, found)) > 0.9


def test_same_seed_same_proposals_and_another_seed_others() -> None:
    first, again, other = (search(replace(QUICK, steps=3), RESIDUAL, seed=seed)[0] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_agent_is_run_as_often_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    back, forth, gradients, logits = [], [], Each.gradients, Each.logits

    def counting_back(self: Each, deltas: Tensor, goal: Any) -> Any:
        back.append(len(deltas))
        return gradients(self, deltas, goal)

    def counting(self: Each, deltas: Tensor) -> Any:
        forth.append(len(deltas))
        return logits(self, deltas)

    monkeypatch.setattr(Each, "gradients", counting_back)
    monkeypatch.setattr(Each, "logits", counting)
    seen, bound = each(), L2Ball(1.0).bind(switched(), [RESIDUAL], some_prompts())
    QUICK.edits(seen, seen, Target.token(TOKEN), bound, torch.Generator().manual_seed(0))
    assert sum(back) == 2 * 3 * 20
    assert sum(back) + sum(forth) == 2 * 3 * (20 + 2)
    _, view, _ = search(QUICK, RESIDUAL, prompts=some_prompts())
    assert view.runs == 2 * 3 * 4


def test_a_step_is_towards_a_larger_loss_within_the_room() -> None:
    seen, goal = each(), Target.token(TOKEN)
    room = Room.of(seen, L2Ball(1.0).bind(switched(), [RESIDUAL], some_prompts()), 0.5)
    edits = 0.5 * room.directions(4, 6, 9, generator=torch.Generator().manual_seed(0))
    reach = float(edits.norm(dim=-1).mean())
    better = reach * LearnedSurgeon()._better(seen, goal, room, reach, edits / reach)
    assert (room.row.size(better) <= 0.5 * (1 + 1e-5)).all()
    assert (seen.losses(better, goal).mean(1) > seen.losses(edits, goal).mean(1)).all()


def test_bad_settings_are_refused() -> None:
    refused(lambda: LearnedSurgeon(shares=()), (r"shares in \(0, 1\]",))
    refused(lambda: LearnedSurgeon(steps=0), ("steps of at least one",))
    refused(lambda: LearnedSurgeon(starts=0), ("starts of at least one",))
    refused(lambda: LearnedSurgeon(step_size=0.0), (r"step size in \(0, 1\]",))
    refused(lambda: LearnedSurgeon(most=0.9), (r"cap `most` in \(0, .5\]",))
