"""Laws of intersections of sets of rows: against every support in turn, and against a solver of general programs."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toys import noise
from workbench.geometry import AtMost, Ellipsoid, Intersection, Member, Only, WeightedL1, WeightedLInf, rescale

WIDTH = 6


def sets(kind: str, seed: int) -> tuple[Member, ...]:
    """Sets of rows of width 6: with one weight for all, with one for each, boxes, or several."""
    weights = 0.1 + noise(WIDTH, seed=seed).abs()
    known = {
        "l1": (WeightedL1(torch.ones(WIDTH), 1.0),),
        "l2": (Ellipsoid.of(torch.eye(WIDTH), 1.0),),
        "box": (WeightedLInf(weights, 1.0),),
        "weighted l1": (WeightedL1(weights, 1.0),),
        "weighted l2": (Ellipsoid.of(torch.diag(weights), 1.0),),
        "l2 and box": (Ellipsoid.of(torch.eye(WIDTH), 1.0), WeightedLInf(weights, 0.7)),
        "written": (Ellipsoid.of(noise(WIDTH, WIDTH, seed=seed) + 2 * torch.eye(WIDTH), 1.0),),
    }
    return known[kind]


def on_every_support(convex: Intersection, row: Tensor, most: int) -> tuple[float, float]:
    """The smallest distance to a member with so many coordinates, and the largest inner product with one."""
    near, far = float("inf"), 0.0
    for chosen in combinations(range(WIDTH), most):
        masked = torch.zeros_like(row)
        masked[list(chosen)] = row[list(chosen)]
        near = min(near, float((row - convex.project(masked)).norm()))
        far = max(far, float(row @ convex.extreme(masked)))
    return near, far


@pytest.mark.parametrize("kind", ["l1", "l2", "box", "weighted l1", "weighted l2", "l2 and box", "written"])
@settings(max_examples=4)
@given(most=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_no_other_support_is_better(kind: str, most: int, seed: int) -> None:
    """Exchanging neurons finds the best support here; where what neurons write is correlated, nearly so."""
    members = sets(kind, seed)
    sparse = Intersection.of(members, [AtMost.of_row(WIDTH, most)])
    row = 3 * noise(WIDTH, seed=seed + 1, dtype=torch.float64)
    near, far = sparse.project(row), sparse.extreme(row)
    nearest, furthest = on_every_support(Intersection.of(members), row, most)
    slack = 0.3 if kind == "written" else 1e-4
    assert float((row - near).norm()) <= nearest * (1 + slack)
    assert float(row @ far) >= furthest * (1 - slack)
    for point in (near, far):
        assert float(sparse.size(point)) <= sparse.radius
        assert int((point != 0).sum()) <= most


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), size=st.sampled_from((0.5, 5.0, 500.0)))
def test_a_general_solver_finds_no_nearer_point(seed: int, size: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    matrix, limits = noise(WIDTH, 4, seed=seed).double(), (0.1 + noise(WIDTH, seed=seed + 1).abs()).double()
    matrix = torch.cat([matrix, 0.3 * torch.eye(WIDTH, dtype=torch.float64)], 1)
    row = size * noise(WIDTH, seed=seed + 2, dtype=torch.float64)
    found = Intersection.of([Ellipsoid.of(matrix, 1.0), WeightedLInf(1 / limits, 1.0)]).project(row)
    gram = (matrix @ matrix.T).numpy()
    solved = optimize.minimize(
        lambda p: ((p - row.numpy()) ** 2).sum(),
        found.numpy() * 0.5,
        jac=lambda p: 2 * (p - row.numpy()),
        bounds=[(-limit, limit) for limit in limits.tolist()],
        constraints={"type": "ineq", "fun": lambda p: 1 - p @ gram @ p, "jac": lambda p: -2 * gram @ p},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    if solved.success and 1 - solved.x @ gram @ solved.x > -1e-9:
        inside = 2e-6 * float(row.norm())  # a projection stops that far short of the edge, to be allowed after rounding
        assert float((found - row).norm()) <= solved.fun**0.5 * (1 + 1e-4) + inside


@given(seed=st.integers(0, 10**6), first=st.floats(0.1, 3), second=st.floats(0.1, 3))
def test_boxes_merge_into_the_box_of_the_smaller_limits(seed: int, first: float, second: float) -> None:
    one, two = (0.1 + noise(WIDTH, seed=seed + i).abs() for i in (0, 1))
    merged = Intersection.of([WeightedLInf(one, first), WeightedLInf(two, second)])
    row = 100 * noise(WIDTH, seed=seed).sign()
    torch.testing.assert_close(merged.project(row).abs(), torch.minimum(first / one, second / two), rtol=1e-5, atol=0.0)
    assert len(merged.sized) == 1


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), size=st.floats(0.1, 10))
def test_rescaling_gives_the_size_also_to_rows_that_touch_too_much(seed: int, size: float) -> None:
    members = Intersection.of([Ellipsoid.of(torch.eye(WIDTH), 2.0)], [AtMost.of_row(WIDTH, 2)])
    rows = noise(3, WIDTH, seed=seed)
    assert members.size(rows).isinf().all()
    torch.testing.assert_close(members.size(rescale(members, rows, size)), torch.full((3,), size), rtol=1e-5, atol=0.0)


@given(seed=st.integers(0, 10**6), most=st.integers(1, 4))
def test_scattered_rows_touch_what_they_may(seed: int, most: int) -> None:
    allowed = Only(torch.tensor([True, True, True, True, True, False]))
    members = Intersection.of([Ellipsoid.of(torch.eye(WIDTH), 2.0)], [AtMost.of_row(WIDTH, most), allowed])
    rows = members.scatter(5, torch.Generator().manual_seed(seed))
    assert members.size(rows).isfinite().all()
    assert ((rows != 0).sum(1) == most).all()
    assert (rows[:, 5] == 0).all()


def test_neurons_of_several_pools_are_chosen_apart() -> None:
    """Two sites of two and three neurons, the first with two rows: its neurons are chosen for both rows at once."""
    support = AtMost(torch.tensor([0, 1, 0, 1, 2, 3, 4]), torch.tensor([0, 0, 1, 1, 1]), (1, 2))
    gains = torch.tensor([[3.0, 1.0, 0.0, 4.0, 5.0, 1.0, 2.0]], dtype=torch.float64)
    kept = support.best(gains)
    assert kept.tolist() == [[False, True, False, True, True, False, True]]
    assert support.holds(kept.double()).all()
    assert len(support.swaps(kept[0])) == 1 + 2
