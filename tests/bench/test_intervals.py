"""Intervals: they hold their figure, shrink with more of it, and agree with what others compute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.bench.measure import interval
from workbench.bench.zoo.intervals import Estimate, auroc, exact, mean, median

SHARES = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
SCORES = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=12)


@given(SHARES)
def test_an_exact_interval_holds_the_share_and_mirrors(share: tuple[int, int]) -> None:
    count, of = share
    low, high = exact(count, of)
    assert 0 <= low <= count / of <= high <= 1
    assert exact(of - count, of) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(SHARES)
def test_the_exact_upper_bound_of_none_is_known_in_closed_form(share: tuple[int, int]) -> None:
    _, of = share
    assert exact(0, of) == pytest.approx((0, 1 - 0.025 ** (1 / of)), abs=1e-9)


def test_exact_intervals_are_those_of_clopper_and_pearson() -> None:
    # R: binom.test(2, 100) and binom.test(50, 100)
    assert exact(2, 100) == pytest.approx((0.002431337, 0.070383932), abs=1e-6)
    assert exact(50, 100) == pytest.approx((0.3983211, 0.6016789), abs=1e-6)


@given(SHARES)
def test_the_exact_interval_is_wider_than_wilsons(share: tuple[int, int]) -> None:
    low, high = exact(*share)
    narrow, wide = interval(*share)
    assert high - low >= (wide - narrow) * 0.9


@given(SCORES, SCORES)
def test_an_area_lies_in_its_interval_and_mirrors(above: list[float], below: list[float]) -> None:
    area, low, high = auroc(above, below)
    assert 0 <= low <= area + 1e-9
    assert area - 1e-9 <= high <= 1
    assert auroc(below, above) == pytest.approx((1 - area, 1 - high, 1 - low), abs=1e-6)


@given(SCORES, SCORES)
def test_an_area_is_the_share_of_pairs(above: list[float], below: list[float]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    assert auroc(above, below).value == pytest.approx(sum(pairs) / len(pairs))


def test_an_area_of_one_is_not_sure_and_more_models_make_it_surer() -> None:
    few, many = auroc([1.0] * 5, [0.0] * 5), auroc([1.0] * 50, [0.0] * 50)
    assert few.value == many.value == few.high == 1.0
    assert 0.4 < few.low < many.low < 1.0


def test_means_and_medians() -> None:
    assert mean([1.0, 2.0, 6.0]).value == 3.0
    assert median([1.0, 2.0, 6.0]).value == 2.0
    assert mean([2.0] * 9) == Estimate(2.0, 2.0, 2.0)
    assert mean([0.0, 1.0] * 200).low == pytest.approx(0.451, abs=0.01)
    assert mean([0.0, 1.0] * 200) == mean([0.0, 1.0] * 200)


def test_estimates_are_short() -> None:
    assert str(Estimate(0.951, 0.8, 1.0)) == "0.95 [0.80, 1.00]"
    assert str(Estimate(123456.0, 99.0, 1234567.0)) == "1.23e+05 [99.00, 1.2e+06]"
