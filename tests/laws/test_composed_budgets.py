"""Laws of budgets that are spent jointly or composed: nearest, furthest, allowed by each, in any order."""

from dataclasses import dataclass
from functools import cache, cached_property

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toys import LENGTH, edit_at, noise, quiet, some_prompts, toy
from workbench import Edit, JointL1Ball, JointL2Ball, L1Ball, L2Ball, LInfBall, NotLastLayers, Sparse, WeightCap
from workbench.budgets import Both, Bound, Composable

pytestmark = quiet
SITES = ("L0.mlp.post", "L1.resid_post", "L2.resid_post")  # 40, 16 and 16 wide, in a residual stream of 16
CONVEX = (
    JointL2Ball(1.0),
    JointL1Ball(1.0),
    JointL2Ball(2.0, "activation", layer_weights=2.0),
    JointL1Ball(3.0, "activation", layer_weights=(1.0, 0.5, 4.0)),
    L2Ball(1.0) & NotLastLayers(1),
    L2Ball(2.0, "activation") & LInfBall(0.5, "activation"),
    L1Ball(1.0) & LInfBall(0.2),
    L2Ball(1.0) & LInfBall(0.3),
    LInfBall(0.3) & LInfBall(0.5, "activation"),
    JointL2Ball(1.0) & L2Ball(0.6) & NotLastLayers(2),
    JointL1Ball(2.0) & LInfBall(0.1),
    WeightCap(rule="worst", share=0.01) & L2Ball(1.0),
    WeightCap(rule="spectral", share=0.01) & JointL2Ball(1.0),
)
SPARSE = (
    L2Ball(1.0, "activation") & Sparse(neurons=3),
    LInfBall(1.0) & Sparse(fraction=0.1),
    JointL2Ball(1.0) & Sparse(neurons=2) & NotLastLayers(1),
    L2Ball(1.0) & Sparse(fraction=0.5),
)


@cache
def bound_to_all(budget: Composable) -> Bound:
    """The budget at all three sites."""
    return budget.bind(toy(), SITES, some_prompts())


@dataclass
class Case:
    """A bound budget and edits to project: one or two, vectors or a row for each position."""

    budget: Composable
    where: tuple[tuple[str, tuple[int, ...] | None, bool], ...]
    size: float
    seed: int

    @cached_property
    def bound(self) -> Bound:
        """The budget."""
        return bound_to_all(self.budget)

    @cached_property
    def edits(self) -> tuple[Edit, ...]:
        """Random, so long."""
        return self.others(self.seed, self.size)

    def others(self, seed: int, size: float) -> tuple[Edit, ...]:
        """Other edits at the same places."""
        made = []
        for number, (site, positions, apart) in enumerate(self.where):
            width = toy().width(site)
            rows = noise(len(positions or ()), width, seed=seed + number) if apart else noise(width, seed=seed + number)
            made.append(edit_at(site, size * rows, positions))
        return tuple(made)


PLACES = (
    (("L0.mlp.post", None, False),),
    (("L1.resid_post", (2, 5), True),),
    (("L1.resid_post", (3,), False), ("L2.resid_post", None, False)),
    (("L0.mlp.post", (1, 2, 6), True), ("L1.resid_post", (4, 5), False)),
)


LONGEST = Case(WeightCap(rule="worst", share=0.01) & L2Ball(1.0), PLACES[0], 3.0, 94715)
"""One in which the solver runs out of steps."""


def cases(budgets: tuple[Composable, ...] = CONVEX) -> st.SearchStrategy[Case]:
    """Any of the budgets, at any of the places."""
    sizes = st.sampled_from((1e-3, 0.3, 3.0, 100.0))
    return st.builds(Case, st.sampled_from(budgets), st.sampled_from(PLACES), sizes, st.integers(0, 10**6))


def added(edits: tuple[Edit, ...]) -> Tensor:
    """All that is added at all positions, in float64."""
    return torch.cat([edit.at(LENGTH).double().flatten() for edit in edits])


@settings(max_examples=20)
@given(cases(CONVEX + SPARSE))
def test_what_project_gives_is_allowed_by_each_and_stays(case: Case) -> None:
    projected = case.bound.project(case.edits)
    assert case.bound.size(projected) <= case.bound.radius
    assert case.bound.project(projected) == projected
    for budget in case.budget.budgets if isinstance(case.budget, Both) else ():
        alone = budget if budget.sizes else budget & L2Ball(1e6, "activation")
        assert bound_to_all(alone).size(projected) <= bound_to_all(alone).radius


@settings(max_examples=12)
@given(cases())
def test_project_gives_the_nearest_allowed_point(case: Case) -> None:
    """The variational inequality: no allowed direction leads closer."""
    x, p = added(case.edits), added(projected := case.bound.project(case.edits))
    gaps = tuple(Edit(e.site, e.delta - q.delta, e.positions) for e, q in zip(case.edits, projected, strict=True))
    furthest = added(case.bound.extreme(gaps))
    scale = float((x - p).norm() * (p.norm() + furthest.norm()))
    assert float((x - p) @ (furthest - p)) <= 3e-4 * scale + 1e-9


@settings(max_examples=8)
@given(cases(), st.integers(0, 99), st.floats(0.01, 3))
@example(LONGEST, 0, 1.0)
def test_no_random_allowed_point_is_nearer_or_goes_further(case: Case, seed: int, size: float) -> None:
    x, p = added(case.edits), added(case.bound.project(case.edits))
    far = case.bound.extreme(case.edits)
    assert case.bound.size(far) <= case.bound.radius
    other = added(case.bound.project(case.others(seed, size)))
    for candidate in (other, 0.9 * p + 0.1 * other):
        assert float((x - candidate).norm()) >= float((x - p).norm()) * (1 - 1e-5) - 1e-6
    for candidate in (other, p):
        assert float(x @ candidate) <= float(x @ added(far)) * (1 + 2e-3) + 1e-9


@settings(max_examples=8)
@given(cases(tuple(b for b in CONVEX + SPARSE if isinstance(b, Both))))
def test_the_order_does_not_matter(case: Case) -> None:
    assert isinstance(case.budget, Both)
    turned = bound_to_all(Both(case.budget.budgets[::-1]))
    p, q = added(case.bound.project(case.edits)), added(turned.project(case.edits))
    assert float((p - q).norm()) <= 2e-4 * float(added(case.edits).norm())
    assert turned.size(case.edits) == pytest.approx(case.bound.size(case.edits), rel=1e-6)


@settings(max_examples=15)
@given(cases(CONVEX + SPARSE))
def test_nothing_is_always_allowed(case: Case) -> None:
    nothing = tuple(edit.scaled(0.0) for edit in case.edits)
    assert case.bound.size(nothing) == 0.0
    assert case.bound.project(nothing) == nothing
    assert case.bound.extreme(nothing) == nothing


@settings(max_examples=15)
@given(cases(tuple(b for b in CONVEX if not isinstance(b, Both))))
def test_an_edit_is_the_same_written_out(case: Case) -> None:
    """One vector at several positions, or as many rows: one size, one nearest point."""
    rows = tuple(Edit(e.site, e.at(LENGTH), tuple(range(LENGTH))) for e in case.edits)
    assert case.bound.size(rows) == pytest.approx(case.bound.size(case.edits), rel=1e-5)
    p, q = added(case.bound.project(case.edits)), added(case.bound.project(rows))
    torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5 * float(p.abs().max()) + 1e-9)


@settings(max_examples=15)
@given(
    st.sampled_from(CONVEX + SPARSE), st.sampled_from(SITES), st.sampled_from((None, (3,), (0, 4, 8))),
    st.sampled_from((0.01, 3.0)), st.integers(0, 10**6),
)  # fmt: skip
def test_rows_at_a_site_are_edits_alone(
    budget: Composable, site: str, positions: tuple[int, ...] | None, size: float, seed: int
) -> None:
    bound = bound_to_all(budget)
    edit = edit_at(site, size * noise(toy().width(site), seed=seed), positions)
    rows = bound.at(site, positions)
    assert rows.radius == bound.radius
    assert float(rows.size(edit.delta)) == pytest.approx(bound.size(edit), rel=1e-5)
    p, q = rows.project(edit.delta), bound.project(edit).delta
    assert float((p - q).norm()) <= 2e-4 * float(edit.delta.norm())


@settings(max_examples=15)
@given(cases())
def test_size_is_absolutely_homogeneous_over_all_edits(case: Case) -> None:
    tripled = tuple(edit.scaled(-3.0) for edit in case.edits)
    assert case.bound.size(tripled) == pytest.approx(3 * case.bound.size(case.edits), rel=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 99))
def test_joint_sizes_are_sums_over_sites_and_positions(seed: int) -> None:
    edits = (
        edit_at("L0.mlp.post", noise(40, seed=seed), (1, 2)),
        edit_at("L1.resid_post", noise(3, 16, seed=seed), (0, 4, 5)),
    )
    one, two = edits[0].delta, edits[1].delta
    settings = {"unit": "activation", "layer_weights": (1.0, 3.0, 9.0)}
    expected = {
        JointL2Ball: float((2 * one.square().sum() + 9 * two.square().sum()).sqrt()),
        JointL1Ball: float(2 * one.abs().sum() + 3 * two.abs().sum()),
    }
    for ball, size in expected.items():
        assert bound_to_all(ball(1.0, **settings)).size(edits) == pytest.approx(size, rel=1e-5)
        assert bound_to_all(ball(1.0, "activation", 3.0)).size(edits) == pytest.approx(size, rel=1e-5)
    each = [bound_to_all(L2Ball(1.0)).size(edit_at(e.site, row)) for e in edits for row in e.at(LENGTH)]
    total = sum(size**2 for size in each) ** 0.5
    assert bound_to_all(JointL2Ball(1.0)).size(edits) == pytest.approx(total, rel=1e-4)


@settings(max_examples=15)
@given(cases(SPARSE))
def test_sparse_edits_share_their_neurons_and_forbidden_layers_stay_clean(case: Case) -> None:
    assert isinstance(case.budget, Both)
    for found in (case.bound.project(case.edits), case.bound.extreme(case.edits)):
        for edit in found:
            touched = int(edit.delta.reshape(-1, edit.width).ne(0).any(0).sum())
            for budget in case.budget.budgets:
                if isinstance(budget, Sparse):
                    assert touched <= (budget.neurons or (budget.fraction or 0) * edit.width)
                if isinstance(budget, NotLastLayers) and edit.site.layer == 2:
                    assert touched == 0
