"""Laws of budgets: project gives the nearest allowed point, extreme the furthest, sizes are in the stated unit."""

from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toys import edit_at, noise, quiet, some_prompts, toy
from workbench import Edit, L1Ball, L2Ball, LInfBall
from workbench.budgets import Bound, mean_residual_norm, rho_of

pytestmark = quiet
BALLS = (L1Ball, L2Ball, LInfBall)
SITES = ("L1.resid_post", "L1.mlp.post", "L0.attn.z")  # 16, 40 and 16 wide, in a residual stream of 16


@dataclass
class Case:
    """A bound budget and an edit to project: made when asked for, from plain settings that Hypothesis draws."""

    site: str
    ball: L1Ball | L2Ball | LInfBall
    positions: tuple[int, ...] | None
    few: int | None
    size: float
    seed: int

    @cached_property
    def bound(self) -> Bound:
        """The budget at the site."""
        return self.ball.bind(toy(), [self.site], some_prompts())

    @cached_property
    def edit(self) -> Edit:
        """Random, dense or of a few neurons, `size` times as large as the budget allows."""
        width = toy().width(self.site)
        shape = (width,) if self.positions is None else (len(self.positions), width)
        delta = noise(*shape, seed=self.seed)
        if self.few is not None:
            delta[..., torch.randperm(width, generator=torch.Generator().manual_seed(self.seed))[self.few :]] = 0
        return self._sized(delta, self.size)

    def like(self, seed: int, size: float) -> Edit:
        """Another edit of that relative size, which touches the same activations."""
        return self._sized(noise(*self.edit.delta.shape, seed=seed) * (self.edit.delta != 0), size)

    def _sized(self, delta: Tensor, size: float) -> Edit:
        edit = edit_at(self.site, delta, self.positions)
        return edit.scaled(size * self.ball.radius / self.bound.size(edit))


def cases(sizes: tuple[float, ...] = (1e-3, 0.3, 0.999, 1.001, 2.0, 30.0, 1e4)) -> st.SearchStrategy[Case]:
    """Any ball, unit and site; one vector or one for each of several positions; dense or of few neurons."""
    balls = [ball(r, unit) for ball in BALLS for r in (0.1, 1.0, 7.0) for unit in ("rho", "activation")]
    return st.builds(
        Case,
        site=st.sampled_from(SITES),
        ball=st.sampled_from(balls),
        positions=st.sampled_from((None, (3,), (0, 4, 8))),
        few=st.sampled_from((None, 1, 3, 8)),
        size=st.sampled_from(sizes),
        seed=st.integers(0, 10**6),
    )


def inner(one: Tensor, other: Tensor) -> float:
    """Inner product, in float64."""
    return float((one.double() * other.double()).sum())


@given(cases())
def test_what_project_gives_is_allowed_and_near_the_edge_if_the_edit_was_outside(case: Case) -> None:
    projected = case.bound.project(case.edit)
    assert case.bound.size(projected) <= case.bound.radius
    if case.bound.size(case.edit) > 1.01 * case.bound.radius:
        assert case.bound.size(projected) >= 0.999 * case.bound.radius


@given(cases())
def test_project_leaves_its_own_results_and_all_points_below_them_bit_for_bit(case: Case) -> None:
    projected = case.bound.project(case.edit)
    assert case.bound.project(projected) == projected
    assert case.bound.project(projected.scaled(0.5)) == projected.scaled(0.5)


@given(cases(sizes=(1e-3, 0.3, 0.999)))
def test_project_leaves_allowed_edits_bit_for_bit(case: Case) -> None:
    if case.few is None and case.site == "L1.mlp.post" and isinstance(case.ball, L2Ball) and case.ball.unit == "rho":
        return  # small, but not in the row space of W_out, within which this ball is taken
    assert case.bound.project(case.edit) == case.edit


@given(cases())
def test_project_gives_the_nearest_allowed_point(case: Case) -> None:
    """The variational inequality: no allowed direction leads closer. This is what a rescaling fails."""
    x, projected = case.edit, case.bound.project(case.edit)
    gap = Edit(x.site, x.delta - projected.delta, x.positions)
    furthest = case.bound.extreme(gap)
    scale = float(gap.delta.norm() * (projected.delta.norm() + furthest.delta.norm()))
    assert inner(gap.delta, furthest.delta - projected.delta) <= 1e-4 * scale + 1e-9


@given(cases(), st.integers(0, 99), st.floats(0.1, 3))
def test_no_random_allowed_point_is_nearer(case: Case, seed: int, size: float) -> None:
    projected = case.bound.project(case.edit)
    other = case.bound.project(case.like(seed, size))
    near = Edit(other.site, 0.9 * projected.delta + 0.1 * other.delta, other.positions)
    distance = float((case.edit.delta - projected.delta).double().norm())
    for candidate in (other, case.bound.project(near)):
        assert float((case.edit.delta - candidate.delta).double().norm()) >= distance * (1 - 1e-5) - 1e-6


@given(cases(), st.integers(0, 99))
def test_extreme_is_allowed_and_no_allowed_point_goes_further(case: Case, seed: int) -> None:
    furthest = case.bound.extreme(case.edit)
    assert case.bound.size(furthest) <= case.bound.radius
    assert case.bound.size(furthest) >= 0.999 * case.bound.radius
    gain = inner(case.edit.delta, furthest.delta)
    for other in (case.bound.project(case.like(seed, 2.0)), case.bound.project(case.edit)):
        assert inner(case.edit.delta, other.delta) <= gain * (1 + 1e-4)


@given(cases())
def test_a_sparse_edit_stays_sparse(case: Case) -> None:
    untouched = case.edit.delta == 0
    assert (case.bound.project(case.edit).delta[untouched] == 0).all()
    if not isinstance(case.bound.budget, LInfBall):
        assert (case.bound.extreme(case.edit).delta[untouched] == 0).all()


@given(cases())
def test_positions_are_projected_apart(case: Case) -> None:
    members = case.bound.at(case.edit.site)
    rows = case.edit.delta.reshape(-1, case.edit.width)
    one_by_one = torch.stack([members.project(row) for row in rows]).reshape(case.edit.delta.shape)
    torch.testing.assert_close(case.bound.project(case.edit).delta, one_by_one, rtol=1e-5, atol=1e-7)
    assert case.bound.size(case.edit) == pytest.approx(max(float(members.size(row)) for row in rows), rel=1e-5)


@given(cases(), st.floats(-100, 100).filter(lambda c: abs(c) > 1e-3))
def test_size_is_absolutely_homogeneous(case: Case, factor: float) -> None:
    assert case.bound.size(case.edit.scaled(factor)) == pytest.approx(
        abs(factor) * case.bound.size(case.edit), rel=1e-4
    )


@given(cases(), st.integers(0, 99))
def test_size_obeys_the_triangle_inequality(case: Case, seed: int) -> None:
    other = case.like(seed, 1.0)
    both = Edit(other.site, case.edit.delta + other.delta, other.positions)
    assert case.bound.size(both) <= (case.bound.size(case.edit) + case.bound.size(other)) * (1 + 1e-5)


@pytest.mark.parametrize("site", SITES)
@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_rho_is_what_is_written_relative_to_the_mean_residual_norm(site: str, seed: int) -> None:
    agent, prompts = toy(), some_prompts()
    write = {"L1.resid_post": torch.eye(16), "L1.mlp.post": agent.bridge.blocks[1].mlp.W_out.detach()}
    write["L0.attn.z"] = agent.bridge.blocks[0].attn.W_O.detach().flatten(0, 1)
    delta, after = noise(agent.width(site), seed=seed), f"{site[:2]}.resid_post"
    norm = float(agent.activations(prompts, after).norm(dim=-1).mean())
    each = (delta[:, None] * write[site]).norm(dim=1) / norm
    expected = {
        L2Ball: float((delta @ write[site]).norm()) / norm,
        L1Ball: float(each.sum()),
        LInfBall: float(each.max()),
    }
    for ball, size in expected.items():
        assert ball(1.0).bind(agent, [site], prompts).size(edit_at(site, delta)) == pytest.approx(size, rel=1e-4)
    assert rho_of(agent, [edit_at(site, delta)], prompts) == pytest.approx(expected[L2Ball], rel=1e-4)
    assert mean_residual_norm(agent, site, prompts) == pytest.approx(norm, rel=1e-5)


@given(seed=st.integers(0, 99), kind=st.sampled_from(("L0.attn.q", "L1.resid_mid", "L1.mlp.pre")))
def test_activation_units_need_no_linear_write(seed: int, kind: str) -> None:
    agent = toy()
    delta = noise(agent.width(kind), seed=seed)
    expected = {L2Ball: delta.norm(), L1Ball: delta.abs().sum(), LInfBall: delta.abs().max()}
    for ball, size in expected.items():
        bound = ball(1.0, unit="activation").bind(agent, [kind], some_prompts())
        assert bound.size(edit_at(kind, delta)) == pytest.approx(float(size), rel=1e-5)


@given(cases(), st.integers(1, 5))
def test_scattered_rows_have_sizes_and_lie_in_the_space_that_is_measured(case: Case, count: int) -> None:
    members = case.bound.at(case.edit.site)
    rows = members.scatter(count, torch.Generator().manual_seed(case.seed))
    assert rows.shape == (count, case.edit.width)
    assert (members.size(rows) > 0).all()
    small = rows * (0.5 * case.bound.radius / members.size(rows))[:, None]
    torch.testing.assert_close(members.project(small), small, rtol=1e-4, atol=1e-6)
