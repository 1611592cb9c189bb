"""Composed budgets by example: which sites are last, what counts how much, and mistakes that are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.toys import edit_at, no_compute, noise, quiet, some_prompts, toy, unchecked
from workbench import JointL1Ball, JointL2Ball, L2Ball, LInfBall, NotLastLayers, Site, Sparse
from workbench.budgets import Both, Budget, layer_of
from workbench.errors import BadBudget

pytestmark = quiet
SITES = ("L0.mlp.post", "L1.resid_post", "L2.resid_post")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("hook_embed", 0), ("hook_pos_embed", 0), ("L0.resid_pre", 0), ("L1.resid_pre", 0), ("L2.resid_pre", 1),
        ("L2.mlp.post", 2), ("L2.resid_post", 2), ("ln_final.hook_normalized", 3), ("unembed.hook_in", 3),
    ],
)  # fmt: skip
def test_which_layer_a_site_belongs_to(name: str, layer: int) -> None:
    assert layer_of(toy(), Site.parse(name)) == layer


def test_in_the_last_layers_only_nothing_is_allowed() -> None:
    bound = (L2Ball(1.0, "activation") & NotLastLayers(1)).bind(toy(), SITES, some_prompts())
    last = edit_at("L2.resid_post", noise(16))
    assert bound.size(last) == float("inf")
    assert not bound.project(last).delta.any()
    assert not bound.extreme(last).delta.any()
    earlier = edit_at("L1.resid_post", noise(16))
    alone = L2Ball(1.0, "activation").bind(toy(), SITES, some_prompts())
    torch.testing.assert_close(bound.project(earlier).delta, alone.project(earlier).delta)
    assert bound.radius == alone.radius == 1.0


def test_later_layers_use_up_more() -> None:
    bound = JointL1Ball(6.0, "activation", layer_weights=(1.0, 2.0, 3.0)).bind(toy(), SITES, some_prompts())
    delta = torch.zeros(16)
    delta[0] = 10.0
    edits = (edit_at("L1.resid_post", delta, (0,)), edit_at("L2.resid_post", delta, (0,)))
    first, second = bound.project(edits)  # 2 x + 3 y = 6, each shortened by its weight: 10 - 2 m and 10 - 3 m
    assert float(first.delta[0]) == pytest.approx(10 - 2 * 44 / 13, rel=1e-4) or float(second.delta[0]) == 0.0
    assert float(first.delta[0]) > float(second.delta[0])
    assert bound.size((first, second)) == pytest.approx(6.0, rel=1e-4)


def test_a_joint_budget_at_every_position_has_less_for_each() -> None:
    bound = JointL2Ball(3.0, "activation").bind(toy(), SITES, some_prompts())
    everywhere, here = edit_at("L1.resid_post", 100 * noise(16)), edit_at("L1.resid_post", 100 * noise(16), (2,))
    assert float(bound.project(everywhere).delta.norm()) == pytest.approx(1.0, rel=1e-4)  # 9 positions, each 1
    assert float(bound.project(here).delta.norm()) == pytest.approx(3.0, rel=1e-4)
    assert float(bound.at("L1.resid_post").extreme(noise(16)).norm()) == pytest.approx(1.0, rel=1e-4)
    assert float(bound.at("L1.resid_post", (2,)).extreme(noise(16)).norm()) == pytest.approx(3.0, rel=1e-4)


def test_a_tenth_of_forty_neurons_is_four() -> None:
    bound = (LInfBall(1.0, "activation") & Sparse(fraction=0.1)).bind(toy(), ["L0.mlp.post"], some_prompts())
    delta = noise(40)
    kept = bound.project(edit_at("L0.mlp.post", delta)).delta
    gains = delta.square() - (delta.abs() - 1).clamp_min(0).square()
    assert set(kept.nonzero().flatten().tolist()) == set(gains.topk(4).indices.tolist())


def test_several_limits_to_sizes_are_measured_in_shares() -> None:
    bound = (L2Ball(4.0, "activation") & LInfBall(1.0, "activation")).bind(toy(), SITES, some_prompts())
    assert bound.radius == 1.0
    assert bound.size(edit_at("L1.resid_post", torch.full((16,), 0.5))) == pytest.approx(0.5)
    assert bound.size(edit_at("L1.resid_post", torch.eye(16)[0] * 0.9)) == pytest.approx(0.9)


def test_all_are_budgets_and_flat_when_composed() -> None:
    both = L2Ball(1.0) & Sparse(neurons=2) & NotLastLayers(1)
    assert both == Both((L2Ball(1.0), Sparse(neurons=2), NotLastLayers(1)))
    assert isinstance(both, Budget)
    assert isinstance(Sparse(neurons=2), Budget)


ANY: Any = "ball"
MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "sparse alone": (lambda: bind(Sparse(neurons=2)), r"limit to sizes.*Sparse\(neurons=2.*L2Ball"),
    "layers alone": (lambda: bind(NotLastLayers(1) & Sparse(neurons=2)), "limit to sizes.*Add one"),
    "no budget": (lambda: L2Ball(1.0) & ANY, "another Budget.*'ball'"),
    "a class": (lambda: L2Ball(1.0) & Sparse, "another Budget.*Sparse"),
    "both ways to be sparse": (lambda: Sparse(neurons=2, fraction=0.1), "either a number of neurons or a fraction"),
    "neither": (lambda: Sparse(), "either.*None and None"),
    "no neurons": (lambda: Sparse(neurons=0), "at least 1, got 0"),
    "a fraction above one": (lambda: Sparse(fraction=3), r"\(0, 1\], got 3.*neurons=3"),
    "a fraction of none": (lambda: bind(L2Ball(1.0) & Sparse(fraction=0.01)), "40 activations.*0.01.*neurons=1"),
    "no layers": (lambda: NotLastLayers(0), "at least 1, got 0"),
    "all layers": (lambda: bind(L2Ball(1.0) & NotLastLayers(3)), "fewer than 3.*got 3"),
    "a weight too few": (lambda: bind(JointL2Ball(1.0, layer_weights=(1.0, 2.0))), r"3 layer weights.*got 2.*g\*\*l"),
    "no weights": (lambda: JointL2Ball(1.0, layer_weights=()), "got none"),
    "a weight of nought": (lambda: JointL1Ball(1.0, layer_weights=(1.0, 0.0)), "positive layer weight, got 0.0"),
    "a joint radius of NaN": (lambda: JointL1Ball(float("nan")), "positive radius, got nan"),
    "a joint unit": (lambda: JointL1Ball(1.0, "metre"), "'rho' or 'activation', got 'metre'"),  # type: ignore[arg-type]
}


def bind(budget: Any) -> Any:
    """The budget at a site of the toy."""
    return budget.bind(toy(), ["L0.mlp.post"], some_prompts())


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_before_the_model_runs(mistake: tuple[Callable[[], Any], str]) -> None:
    do, told = mistake
    with no_compute(toy()), unchecked(), pytest.raises(BadBudget, match=told):
        do()
