"""Nearest and furthest points of an intersection of convex sets, each with a bound on how far they are from the best.

The alternating direction method of multipliers in consensus form (Boyd et al. 2011, sections 3.4 and 7.1): project
onto all sets at once, average, and let a multiplier for each set keep count of what it took away. The minimised
function is a |x|^2 / 2 - <z, x>: with a = 1 the nearest member to z is found, with a = 0 the furthest in direction z.

Dykstra's algorithm (Boyle and Dykstra 1986) is the classical choice and was tried first. Its corrections grow by about
one radius a sweep, so a row a thousand radii away took thousands of sweeps (Bauschke et al. 2020 say how it stalls).
Here a step size, one for each row, weighs the corrections, and such a row takes about as long as one close by.

When to stop. Each correction q_i = step * u_i is normal to set i at x_i, the last projection onto it: no member reaches
further along q_i than x_i. So with r = z - sum_i q_i and any common member p, none is better than p by more than

    gap = sum_i <q_i, x_i - p> + |r - p|^2 / 2                  for the nearest: |p - p*|^2 <= 2 gap
    gap = sum_i <q_i, x_i - p> + max over set 1 of <r, x - p>   for the furthest

and p is the average pulled towards zero until every set holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.geometry.rows import Fixed, Flat

CLOSE = 3e-5
"""The nearest point is good enough once sqrt(2 gap) is at most this share of |p| + |z - p|."""
SHARE = 1e-4
"""The furthest point is good enough once the gap is at most this share of what it reaches."""
STEPS = 1000
"""At most; the point found is a member all the same."""
_RELAX, _BALANCE, _EVERY = 1.6, 5.0, 10
_SAME, _ROUNDED = 1e-12, 1e-6

Each = Float[Tensor, "set row width"]
_Column = Float[Tensor, "row 1"]


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """One step's projections onto the sets, its scaled multipliers, and the step size of each row."""

    projected: Each
    multipliers: Each
    step: _Column


def nearest_common(sets: Sequence[Fixed], rows: Flat) -> Flat:
    """The nearest row that all sets hold, for each row; to within the gap above."""
    if len(sets) == 1:
        return sets[0].nearest(rows)
    return _solve(sets, rows, nearest=True)


def furthest_common(sets: Sequence[Fixed], rows: Flat) -> Flat:
    """A member of all sets that maximises the inner product with each row; to within the gap above."""
    if len(sets) == 1:
        return sets[0].furthest(rows)
    return _solve(sets, rows, nearest=False)


def _solve(sets: Sequence[Fixed], rows: Flat, *, nearest: bool) -> Flat:
    """Steps until the gap is small enough in every row; rows that are done stay as they are.

    The furthest is the best member that was seen: where the steps run out, the last one may be worse.
    """
    sets = sorted(sets, key=lambda held: -held.dimension)  # the last one's projection lies in the subspace of all
    if not nearest:
        rows = sets[-1].within(rows)  # what sticks out of it changes no inner product, and only spoils the scale
    length = torch.stack([each.furthest(rows).norm(dim=-1, keepdim=True) for each in sets]).amin(0)
    step = (rows.norm(dim=-1, keepdim=True) / length.clamp_min(1e-300)).clamp_min(1e-3 if nearest else 1e-300)
    zero = rows.new_zeros(len(sets), *rows.shape)
    state = _State(zero, zero, step)
    best, done = _of_one(sets, rows, nearest=nearest)
    if bool(done.all()):
        return best
    for number in range(1, STEPS + 1):
        state, drift = _step(sets, rows, state, nearest=nearest)
        if number % _EVERY and number > 1:
            continue
        member = _pulled_in(sets, state.projected[-1])
        taken = ~done if nearest else ~done & ((rows * member).sum(-1) > (rows * best).sum(-1))
        best = torch.where(taken[:, None], member, best)
        done = done | (_gap(sets, rows, state, member, nearest=nearest) <= _allowed(rows, member, nearest=nearest))
        if bool(done.all()):
            break
        state = _balanced(state, drift, number)
    return best


def _of_one(sets: Sequence[Fixed], rows: Flat, *, nearest: bool) -> tuple[Flat, Bool[Tensor, "row"]]:
    """Each row's best point of one set, or the row itself, where all sets hold it: then that is the answer."""
    best, done = torch.zeros_like(rows), torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    if nearest:  # what rounding has put a little outside is pulled in, not searched for
        moved = torch.stack([(held.nearest(rows) - rows).abs().amax(-1) for held in sets]).amax(0)
        best, done = _pulled_in(sets, rows), moved <= _ROUNDED * rows.abs().amax(-1)
    for held in sets:
        point = held.nearest(rows) if nearest else held.furthest(rows)
        moved = torch.stack([(other.nearest(point) - point).abs().amax(-1) for other in sets if other is not held])
        fits = moved.amax(0) <= _SAME * point.abs().amax(-1)
        best, done = torch.where((fits & ~done)[:, None], point, best), done | fits
    return best, done


def _step(sets: Sequence[Fixed], rows: Flat, state: _State, *, nearest: bool) -> tuple[_State, tuple[_Column, _Column]]:
    """One step, and by how much the projections differ from their consensus and from those before."""
    target = (state.projected - state.multipliers).sum(0) * state.step
    x = (rows + target) / (len(sets) * state.step + float(nearest))
    mixed = _RELAX * x + (1 - _RELAX) * state.projected
    moved = mixed + state.multipliers
    projected = torch.stack([held.nearest(each) for held, each in zip(sets, moved, strict=True)])
    apart = (projected - x).square().sum((0, -1))[:, None].sqrt()
    since = (projected - state.projected).square().sum((0, -1))[:, None].sqrt() * state.step
    return _State(projected, moved - projected, state.step), (apart, since)


def _balanced(state: _State, drift: tuple[_Column, _Column], number: int) -> _State:
    """Longer steps where the sets disagree, shorter ones where the multipliers lag; less and less often."""
    apart, since = drift
    scale_apart = apart / state.projected.square().sum((0, -1))[:, None].sqrt().clamp_min(1e-300)
    scale_since = since / (state.step * state.multipliers.square().sum((0, -1))[:, None].sqrt()).clamp_min(1e-300)
    wanted = (scale_apart / scale_since.clamp_min(1e-300)).sqrt().clamp(1 / _BALANCE, _BALANCE)
    change = wanted ** (1.0 if number < 200 else 200.0 / number)
    change = torch.where((change > 1.5) | (change < 1 / 1.5), change, torch.ones_like(change))
    return _State(state.projected, state.multipliers / change, state.step * change)


def _gap(sets: Sequence[Fixed], rows: Flat, state: _State, member: Flat, *, nearest: bool) -> Float[Tensor, "row"]:
    """How much better than `member` any other one can be."""
    corrections = state.multipliers * state.step
    slack = (corrections * (state.projected - member)).sum((0, -1))
    rest = rows - corrections.sum(0)
    if nearest:
        return slack + (rest - member).square().sum(-1) / 2
    return slack + (rest * (sets[-1].furthest(rest) - member)).sum(-1)


def _allowed(rows: Flat, member: Flat, *, nearest: bool) -> Float[Tensor, "row"]:
    if nearest:
        return (CLOSE * (member.norm(dim=-1) + (rows - member).norm(dim=-1))).square() / 2
    return SHARE * (rows * member).sum(-1)


def _pulled_in(sets: Sequence[Fixed], x: Flat) -> Flat:
    """x, made shorter until all sets hold it."""
    return x / torch.stack([held.gauge(x) for held in sets]).amax(0).clamp_min(1.0)[:, None]
