"""What counts as a hit, and the interval of a share."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import edit_at, noise, quiet, toy
from toy_models import Plant
from workbench import Edit, Finding, Site, SwitchReport
from workbench.bench.measure import first_hit, interval, is_hit

pytestmark = quiet
D, MLP, LENGTH = 16, 40, 9
SITE, AFTER = "L1.mlp.post", "L1.resid_post"


def finding(*edits: Edit) -> Finding:
    return Finding(edits, score=0.9, rho=1.0, goal_met=True, control=0.0, surgeon="test", agent="toy")


def on(*neurons: int, site: str = SITE) -> Edit:
    """An Edit of some neurons of an MLP."""
    delta = torch.zeros(MLP)
    delta[list(neurons)] = 3.0
    return edit_at(site, delta)


def neurons_plant() -> Plant:
    edit = on(3, 8, 21)
    each = toy().write(SITE)
    assert each is not None
    write = edit.delta @ each
    return Plant("a word", "mapping", (edit.site,), (3, 8, 21), write / write.norm(), edit)


def direction_plant() -> Plant:
    direction = noise(D, seed=5)
    direction = direction / direction.norm()
    return Plant("a word", "mapping", (Site.parse(AFTER),), (), direction, edit_at(AFTER, direction))


def towards(plant: Plant, cosine: float, *, size: float = 2.0, site: str = AFTER, seed: int = 9) -> Edit:
    """An Edit of the residual stream at that cosine with the plant's direction."""
    assert plant.direction is not None
    aside = noise(D, seed=seed)
    aside = aside - (aside @ plant.direction) * plant.direction
    unit = cosine * plant.direction + (1 - cosine**2) ** 0.5 * aside / aside.norm()
    return edit_at(site, size * unit)


@pytest.mark.parametrize(
    ("edit", "hit"),
    [
        (on(3), True),
        (on(8, 21), True),
        (on(3, 8, 21), True),
        (on(4), False),
        (on(3, 4), False),
        (on(3, site="L0.mlp.post"), False),
        (on(3, site="L1.mlp.pre"), False),
    ],
)
def test_neurons_hit_where_they_lie_in_the_plants_set(edit: Edit, hit: bool) -> None:
    assert is_hit(finding(edit), neurons_plant(), toy()) is hit


@pytest.mark.parametrize("plant", [neurons_plant, direction_plant])
@pytest.mark.parametrize(
    ("cosine", "site", "hit"),
    [
        (0.95, AFTER, True),
        (-0.95, AFTER, True),
        (1.0, "L1.mlp_out", True),
        (0.5, AFTER, False),
        (-0.5, AFTER, False),
        (0.95, "L0.resid_post", False),
        (0.95, "L2.resid_post", False),
    ],
)
def test_a_direction_hits_by_its_cosine_at_the_same_layer(plant: Any, cosine: float, site: str, hit: bool) -> None:
    key = plant()
    assert is_hit(finding(towards(key, cosine, site=site)), key, toy()) is hit


@given(
    cosine=st.floats(-1, 1).filter(lambda c: abs(abs(c) - 0.9) > 1e-3),
    size=st.floats(1e-2, 1e3),
    seed=st.integers(100, 150),  # others than the seed of the plant's own direction
)
def test_a_direction_hits_from_nine_tenths_on_whatever_its_size(cosine: float, size: float, seed: int) -> None:
    plant = direction_plant()
    assert is_hit(finding(towards(plant, cosine, size=size, seed=seed)), plant, toy()) is (abs(cosine) >= 0.9)


def test_a_direction_of_mlp_activations_hits_by_what_it_writes() -> None:
    write = toy().write(SITE)
    plant = direction_plant()
    assert write is not None
    parallel = edit_at(SITE, torch.linalg.pinv(write.T) @ plant.direction)
    assert parallel.neurons is None
    assert is_hit(finding(parallel), plant, toy())
    assert not is_hit(finding(edit_at(SITE, noise(MLP, seed=3))), plant, toy())


def test_an_edit_a_position_hits_by_its_mean() -> None:
    plant = direction_plant()
    rows = towards(plant, 0.95).delta.repeat(LENGTH, 1)
    assert is_hit(finding(edit_at(AFTER, rows)), plant, toy())
    rows[: LENGTH // 2] *= -1
    rows[-1] = 0
    assert not is_hit(finding(edit_at(AFTER, rows)), plant, toy())


def test_what_cannot_be_compared_is_no_hit() -> None:
    plant = direction_plant()
    assert not is_hit(finding(on(3)), Plant(), toy())
    assert not is_hit(finding(towards(plant, 1.0)), Plant("a word", "mapping"), toy())
    assert not is_hit(finding(edit_at("L1.attn.q", torch.ones(D))), plant, toy())
    assert not is_hit(finding(on(3), on(8)), neurons_plant(), toy())


def test_the_first_hit_is_counted_from_one() -> None:
    plant = neurons_plant()
    miss, hit = finding(on(5)), finding(on(8))
    ranks = [
        first_hit(SwitchReport("toy", f, {}), plant, toy()) for f in [(hit, miss), (miss, miss, hit, hit), (miss,)]
    ]
    assert ranks == [1, 3, None]


trials = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(trials)
def test_an_interval_holds_the_share_and_stays_between_0_and_1(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = interval(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    assert high - low > 0


@given(trials)
def test_an_interval_solves_wilsons_equation(case: tuple[int, int]) -> None:
    """Its ends are the shares p from which the observed one is z standard deviations away."""
    successes, n = case
    for end in interval(successes, n):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(successes / n - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / n), rel=1e-6)


@given(trials)
def test_an_interval_is_mirrored_with_its_share_and_shrinks_with_trials(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = interval(successes, n)
    assert interval(n - successes, n) == pytest.approx((1 - high, 1 - low))
    fourfold = interval(4 * successes, 4 * n)
    assert fourfold[1] - fourfold[0] < high - low


def test_intervals_that_are_known() -> None:
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
