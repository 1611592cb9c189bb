"""How sure a figure is: 95 % intervals of shares, means, medians and areas under ROC curves."""

from collections.abc import Callable, Sequence
from math import exp, lgamma, log, log1p
from typing import NamedTuple

import numpy as np

_TAIL = 0.025
_Z = 1.959964
_RESAMPLES = 2000


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


def _short(value: float) -> str:
    """Two decimals, or none where the number is large."""
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.3g}" if abs(value) < 1e6 else f"{value:.2g}"


def exact(successes: int, trials: int) -> tuple[float, float]:
    """The exact 95 % interval of a share, which covers it at least as often (Clopper & Pearson 1934)."""
    low, high = 0.0, 1.0
    if successes > 0:
        low = _where(lambda p: _at_least(successes, trials, p) - _TAIL)
    if successes < trials:
        high = _where(lambda p: _TAIL - (1 - _at_least(successes + 1, trials, p)))
    return low, high


def _at_least(successes: int, trials: int, p: float) -> float:
    """The probability of at least so many successes, each with probability p in (0, 1)."""
    whole = lgamma(trials + 1)
    logs = (
        whole - lgamma(k + 1) - lgamma(trials - k + 1) + k * log(p) + (trials - k) * log1p(-p)
        for k in range(successes, trials + 1)
    )
    return min(1.0, sum(map(exp, logs)))


def _where(rising: Callable[[float], float]) -> float:
    """Where a rising function on (0, 1) is zero, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def resampled(values: Sequence[float], figure: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A figure of some values with its bootstrap interval (Efron 1979, percentiles); seeded.

    figure: of values [.., n], over the last axis. Of one value the interval is that value: it does not say how sure.
    """
    given = np.asarray(values, float)
    drawn = np.random.default_rng(0).integers(len(given), size=(_RESAMPLES, len(given)))
    low, high = np.quantile(figure(given[drawn]), (_TAIL, 1 - _TAIL))
    return Estimate(float(figure(given)), float(low), float(high))


def mean(values: Sequence[float]) -> Estimate:
    """The mean."""
    return resampled(values, lambda v: v.mean(-1))


def median(values: Sequence[float]) -> Estimate:
    """The median."""
    return resampled(values, lambda v: np.median(v, -1))


def auroc(positive: Sequence[float], negative: Sequence[float]) -> Estimate:
    """The share of pairs in which the positive has the higher score, equal ones counting half.

    The interval holds every true area from which this one is at most 1.96 standard errors away, by the variance of
    Hanley & McNeil (1982) with the mean of both sample sizes (Newcombe 2006, method 5). So it is not empty where the
    samples do not overlap.
    """
    above, below = np.asarray(positive, float)[:, None], np.asarray(negative, float)[None]
    area = float(((above > below) + 0.5 * (above == below)).mean())
    pairs, extra = above.size * below.size, (above.size + below.size) / 2 - 1

    def beyond(true: float) -> float:
        spread = 1 + extra * (1 - true) / (2 - true) + extra * true / (1 + true)
        return abs(true - area) - _Z * (true * (1 - true) * spread / pairs) ** 0.5

    low = area * _where(lambda share: -beyond(share * area)) if area > 0 else 0.0
    high = area + (1 - area) * _where(lambda share: beyond(area + share * (1 - area))) if area < 1 else 1.0
    return Estimate(area, low, high)
