"""Budgets by example: points worked out by hand, containers, and what a bound budget knows."""

import pytest
import torch
from torch import Tensor

from tests.toys import edit_at, noise, quiet, some_prompts, toy
from workbench import Edit, L1Ball, L2Ball, LInfBall
from workbench.budgets import Bound, Budget, rho_of
from workbench.geometry import Ellipsoid, WeightedL1, WeightedLInf, rescale

pytestmark = quiet
SITE = "L1.resid_post"


def bound(ball: type, radius: float = 2.0) -> Bound:
    """A budget in activation units at a residual site."""
    return ball(radius, unit="activation").bind(toy(), [SITE], some_prompts())


def padded(*numbers: float) -> Tensor:
    """These numbers and then zeros, 16 in all."""
    return torch.cat([torch.tensor(numbers), torch.zeros(16 - len(numbers))])


@pytest.mark.parametrize(
    ("ball", "outside", "nearest"),
    [
        (L1Ball, (3.0, 1.0), (2.0, 0.0)),  # a rescaling would give (1.5, 0.5)
        (L1Ball, (2.0, -1.0), (1.5, -0.5)),
        (L1Ball, (3.0, 2.5, 1.0), (1.25, 0.75, 0.0)),
        (L2Ball, (3.0, -4.0), (1.2, -1.6)),
        (LInfBall, (3.0, -1.0, -7.0), (2.0, -1.0, -2.0)),
        (L1Ball, (1.0, -1.0), (1.0, -1.0)),
        (L2Ball, (0.0,), (0.0,)),
    ],
)
def test_nearest_points_worked_out_by_hand(ball: type, outside: tuple[float, ...], nearest: tuple[float, ...]) -> None:
    projected = bound(ball).project(edit_at(SITE, padded(*outside)))
    torch.testing.assert_close(projected.delta, padded(*nearest), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("ball", "direction", "furthest"),
    [
        (L1Ball, (3.0, -4.0), (0.0, -2.0)),
        (L2Ball, (3.0, -4.0), (1.2, -1.6)),
        (LInfBall, (3.0, -4.0), (2.0, -2.0)),
        (L1Ball, (0.0,), (0.0,)),
        (L2Ball, (0.0,), (0.0,)),
        (LInfBall, (0.0,), (0.0,)),
    ],
)
def test_furthest_points_worked_out_by_hand(
    ball: type, direction: tuple[float, ...], furthest: tuple[float, ...]
) -> None:
    found = bound(ball).extreme(edit_at(SITE, padded(*direction)))
    torch.testing.assert_close(found.delta, padded(*furthest), rtol=1e-5, atol=1e-6)


def test_the_nearest_point_of_an_ellipse_is_no_rescaling() -> None:
    """{x : (x / 2)^2 + y^2 <= 1}: straight above the tip of the short axis, and beyond that of the long one."""
    ellipse = Ellipsoid.of(torch.diag(torch.tensor([0.5, 1.0])), 1.0)
    found = ellipse.project(torch.tensor([[0.0, 3.0], [5.0, 0.0], [3.0, 3.0]]))
    torch.testing.assert_close(found[:2], torch.tensor([[0.0, 1.0], [2.0, 0.0]]), rtol=1e-5, atol=1e-6)
    x, y = found[2].double().tolist()
    assert (x / 2) ** 2 + y**2 == pytest.approx(1.0, abs=1e-5)
    assert (3 - x) * y == pytest.approx((3 - y) * x / 4, abs=1e-4)  # the way there is along the normal (x / 4, y)
    assert y / x != pytest.approx(1.0, abs=0.1)


def test_a_coordinate_of_weight_zero_stays_where_it_is_not_measured() -> None:
    weights = torch.tensor([1.0, 0.0])
    for members in (WeightedL1(weights, 1.0), WeightedLInf(weights, 1.0)):
        assert torch.equal(members.project(torch.tensor([0.5, 7.0])), torch.tensor([0.5, 0.0]))
        assert torch.equal(members.extreme(torch.tensor([0.0, 7.0])), torch.zeros(2))


def test_what_comes_in_a_list_or_tuple_goes_out_in_one() -> None:
    edits = (edit_at(SITE, noise(16), (1,)), edit_at(SITE, noise(16), (2, 3)))
    for budget in (bound(L1Ball), bound(L2Ball), bound(LInfBall)):
        assert isinstance(budget.project(edits[0]), Edit)
        assert budget.project(edits) == tuple(budget.project(edit) for edit in edits)
        assert budget.project(list(edits)) == [budget.project(edit) for edit in edits]
        assert [e.positions for e in budget.extreme(edits)] == [(1,), (2, 3)]
        assert budget.size(edits) == max(budget.size(edit) for edit in edits)
        assert budget.size(()) == 0.0


def test_a_bound_budget_covers_the_sites_it_was_bound_to() -> None:
    budget = L2Ball(1.0).bind(toy(), ["L0.mlp.post", SITE], some_prompts())
    assert budget.radius == 1.0
    assert [site.short for site in budget.rows] == ["L0.mlp.post", SITE]
    assert budget.at("L0.mlp.post") is budget.rows[toy().site("L0.mlp.post")]
    assert isinstance(L2Ball(1.0), Budget)


def test_rho_is_undefined_where_any_edit_has_no_linear_write() -> None:
    known, unknown = edit_at(SITE, noise(16)), edit_at("L1.attn.q", noise(16))
    assert rho_of(toy(), [known], some_prompts()) > 0
    assert rho_of(toy(), [known, unknown], some_prompts()) != rho_of(toy(), [known, unknown], some_prompts())
    assert rho_of(toy(), [], some_prompts()) == 0.0


def test_a_rescaling_is_called_one() -> None:
    members = WeightedL1(torch.ones(2), 2.0)
    torch.testing.assert_close(rescale(members, torch.tensor([[3.0, 1.0]]), 2.0), torch.tensor([[1.5, 0.5]]))
