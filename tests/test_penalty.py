"""The penalty form: what is counted, what it is weighed against, and a stand-in with a gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import edit_at, noise, quiet, some_prompts, toy
from workbench import Edit, JointL2Ball, L2Ball, NotLastLayers, Penalty
from workbench.errors import BadSettings

pytestmark = quiet
SITES = ("L0.mlp.post", "L1.resid_post", "L2.mlp.post")
BOUND = L2Ball(2.0, "activation").bind(toy(), SITES, some_prompts())
PENALTY = Penalty(weight=3.0, largest=1.0, neurons=0.01, layers=0.1)


def one(site: str, *neurons: int, dose: float = 1.0, positions: tuple[int, ...] | None = None) -> Edit:
    """An edit of these neurons by that dose."""
    delta = torch.zeros(toy().width(site))
    delta[list(neurons)] = dose
    return edit_at(site, delta, positions)


def test_the_largest_edit_the_neurons_and_the_layers_are_counted() -> None:
    edits = (one("L0.mlp.post", 1, 2, dose=3.0), one("L2.mlp.post", 5, dose=1.0))
    assert PENALTY.size(edits, BOUND) == pytest.approx(18**0.5 / 2 + 0.01 * 3 + 0.1 * 2)
    assert PENALTY.value(edits, 0.5, BOUND) == pytest.approx(PENALTY.size(edits, BOUND) - 1.5)


def test_a_neuron_at_several_positions_is_one_and_nothing_costs_nothing() -> None:
    twice = (one("L0.mlp.post", 1, positions=(2,)), one("L0.mlp.post", 1, positions=(3,)))
    assert PENALTY.size(twice, BOUND) == PENALTY.size(twice[0], BOUND)
    assert PENALTY.size((), BOUND) == 0.0
    assert PENALTY.size(one("L0.mlp.post", 1, dose=0.0), BOUND) == 0.0


def test_of_a_joint_budget_too_the_largest_edit_counts() -> None:
    bound = JointL2Ball(2.0, "activation").bind(toy(), SITES, some_prompts())
    edits = (one("L0.mlp.post", 1, positions=(2,)), one("L1.resid_post", 1, positions=(2,), dose=2.0))
    assert Penalty(neurons=0.0, layers=0.0).size(edits, bound) == pytest.approx(1.0)


def test_what_is_forbidden_costs_more_than_anything() -> None:
    bound = (L2Ball(2.0, "activation") & NotLastLayers(1)).bind(toy(), SITES, some_prompts())
    assert PENALTY.size(one("L2.mlp.post", 3), bound) == float("inf")


@given(seed=st.integers(0, 10**6), few=st.integers(0, 16), size=st.floats(0.01, 100))
def test_the_stand_in_is_never_more_and_comes_close_as_the_blur_goes(seed: int, few: int, size: float) -> None:
    rows = size * noise(2, 16, seed=seed).double()
    rows[:, few:] = 0
    members = BOUND.at("L1.resid_post")
    sizes = [PENALTY.size(edit_at("L1.resid_post", row), BOUND) for row in rows]
    for blur, slack in ((0.1, float("inf")), (1e-9, 1e-4)):
        found = PENALTY.smooth(rows, members, blur=blur).tolist()
        assert all(smooth <= size + 1e-6 for smooth, size in zip(found, sizes, strict=True))
        assert all(smooth >= size - slack for smooth, size in zip(found, sizes, strict=True))


def test_the_stand_in_has_a_finite_gradient_also_at_zero() -> None:
    rows = torch.stack([noise(16), torch.zeros(16)]).requires_grad_()
    PENALTY.smooth(rows, BOUND.at("L1.resid_post")).sum().backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    assert float((rows.grad[0] * rows[0].detach()).sum()) > 0


@pytest.mark.parametrize("settings", [{"weight": -1.0}, {"neurons": float("nan")}, {"layers": float("inf")}])
def test_a_price_below_nought_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(BadSettings, match=f"{next(iter(settings))}.*0 or more"):
        Penalty(**settings)
    with pytest.raises(BadSettings, match="blur above 0"):
        PENALTY.smooth(noise(2, 16), BOUND.at("L1.resid_post"), blur=0.0)
