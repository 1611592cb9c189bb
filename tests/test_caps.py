"""Caps from weights: no activation of a real run is beyond them, and by how much they are too large."""

from typing import Any

import pytest
import torch

from tests.toys import edit_at, no_compute, noise, quiet, some_prompts, toy, unchecked
from workbench import L2Ball, WeightCap
from workbench.budgets.caps import Span, spans
from workbench.errors import BadBudget

pytestmark = quiet
RULES = ("worst", "spectral")
UNKNOWN: Any = "tight"
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"normalization_type": "RMS", "act_fn": "silu", "gated_mlp": True, "positional_embedding_type": "rotary"},
    {"normalization_type": None, "act_fn": "relu", "gain": 1.0},
    {"normalization_type": "LNPre", "act_fn": "relu"},
)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_activation_is_beyond_its_cap(shape: dict[str, Any]) -> None:
    agent = toy(**shape)
    for site, span in spans(agent).items():
        seen = agent.activations(some_prompts(200), agent.site(site))
        assert (seen.abs().amax((0, 1)) <= span.worst * (1 + 1e-5)).all(), site
        assert float(seen.norm(dim=-1).max()) <= span.norm * (1 + 1e-5), site


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_the_spectral_cap_is_the_tighter_one_at_neurons(shape: dict[str, Any]) -> None:
    found = spans(toy(**shape))
    for site, span in found.items():
        if site.kind == "mlp.hook_post" and not shape.get("gated_mlp"):
            assert span.norm < float(span.worst.norm())


def test_a_linear_layer_worked_out_by_hand() -> None:
    span = Span(torch.tensor([1.0, 2.0]), 2.0).through(
        torch.tensor([[3.0, 0.0], [0.0, -4.0]]), torch.tensor([0.0, 1.0])
    )
    assert span.worst.tolist() == [3.0, 9.0]
    assert span.norm == pytest.approx(2 * 4 + 1)


def test_behind_a_norm_caps_do_not_depend_on_what_came_before() -> None:
    """The product of spectral norms starts anew: every layer's neurons have a cap of their own weights only."""
    agent = toy().copy()
    before = spans(agent)
    with torch.no_grad():
        agent.bridge.embed.weight.mul_(100.0)
    after = spans(agent)
    for layer in range(3):
        site = agent.site(f"L{layer}.mlp.post")
        assert after[site].norm == pytest.approx(before[site].norm)
        stream = agent.site(f"L{layer}.resid_post")
        assert after[stream].norm > before[stream].norm


def test_without_norms_they_multiply() -> None:
    found = spans(toy(normalization_type=None, act_fn="relu", gain=1.0))
    ratios = [found[s].norm for s in sorted(found) if s.kind == "hook_resid_post"]
    assert ratios[2] / ratios[1] > 1.2
    assert ratios[1] / ratios[0] > 1.2


def test_a_cap_is_a_box_or_a_ball_of_shares() -> None:
    with no_compute(toy()):
        worst, ball = (WeightCap(rule=rule, share=0.5).bind(toy(), ["L1.mlp.post"], some_prompts()) for rule in RULES)
    span = spans(toy())[toy().site("L1.mlp.post")]
    assert worst.size(edit_at("L1.mlp.post", 0.25 * span.worst)) == pytest.approx(0.25)
    far = edit_at("L1.mlp.post", 100 * span.worst)
    torch.testing.assert_close(worst.project(far).delta, 0.5 * span.worst, rtol=1e-5, atol=0.0)
    assert float(ball.project(edit_at("L1.mlp.post", 1e6 * noise(40))).delta.norm()) == pytest.approx(0.5 * span.norm)
    assert (WeightCap() & L2Ball(1.0)).bind(toy(), ["L1.mlp.post"], some_prompts()).radius == 1.0


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: WeightCap(rule=UNKNOWN).bind(toy(), ["L1.mlp.post"], some_prompts()), "'worst' or 'spectral'.*tight"),
        (lambda: WeightCap(share=0.0), "positive share.*0.0"),
        (lambda: WeightCap().bind(toy(), ["L1.attn.q"], some_prompts()), "hook_post.*L1.attn.q"),
        (lambda: WeightCap().bind(toy(act_fn="solu"), ["L1.mlp.post"], some_prompts()), "native.*solu.*L2Ball"),
    ],
)
def test_what_has_no_cap_is_refused(make: Any, told: str) -> None:
    with unchecked(), pytest.raises(BadBudget, match=told):
        make()
