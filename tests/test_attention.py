"""Attention of native blocks: every way it is computed gives what a softmax over each row by itself gives."""

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toys import boot, noise, quiet
from workbench.engine import attention as module
from workbench.engine.attention import attention, projected
from workbench.engine.stripped import Parts

pytestmark = quiet
LONGEST = 24
GROUPED = {"n_heads": 4, "d_head": 4, "n_key_value_heads": 2}
KINDS: tuple[dict[str, Any], ...] = (
    {},
    GROUPED,
    {"positional_embedding_type": "rotary"},
    {"positional_embedding_type": "rotary"} | GROUPED,
)
kinds = pytest.mark.parametrize("kind", range(len(KINDS)), ids=("plain", "grouped", "rotary", "grouped rotary"))


@cache
def attn(kind: int = 0) -> Any:
    """The attention of a native block, in float64."""
    blocks, _, _ = Parts(boot(n_ctx=LONGEST, dtype=torch.float64, **KINDS[kind])).bare()
    return blocks[1].attn


def row_by_row(attn: Any, x: Tensor, at: list[int] | None = None, before: Tensor | None = None) -> Tensor:
    """What heads write at some positions of each row: a softmax for each query, over all positions up to its own.

    before: what each row has at the positions before its first.
    """
    whole = x if before is None else torch.cat([before, x], 1)
    first = whole.shape[1] - x.shape[1]
    asked = [first + place for place in (range(x.shape[1]) if at is None else at)]
    q, k, v = (F.linear(whole, part.weight, part.bias).unflatten(-1, (-1, attn.d_head)) for part in heads(attn))
    if attn.rotary is not None:
        places = torch.arange(whole.shape[1])[None]
        q, k = (attn.rotary.apply_rope(t.transpose(1, 2), t.transpose(1, 2), position_ids=places)[0] for t in (q, k))
        q, k = q.transpose(1, 2), k.transpose(1, 2)
    each = [mixed(attn, q[:, place], k[:, : place + 1], v[:, : place + 1]) for place in asked]
    return F.linear(torch.stack(each, 1), attn.o.weight, attn.o.bias)


def heads(attn: Any) -> tuple[Any, Any, Any]:
    """The layers that make queries, keys and values."""
    return attn.q, attn.k, attn.v


def mixed(attn: Any, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query's mixture of the values in each row, all heads side by side; several may share keys and values."""
    found = []
    for head in range(attn.n_heads):
        own, read = (shared[:, :, head // attn.kv_repeats] for shared in (keys, values))
        pattern = (torch.einsum("rpd,rd->rp", own, query[:, head]) / attn.scale).softmax(-1)
        found.append(torch.einsum("rp,rpd->rd", pattern, read))
    return torch.cat(found, -1)


def check(attn: Any, x: Tensor, *, at: list[int] | None = None, graph: bool = False) -> None:
    """Assert that what is written is the reference's, and with a graph also the gradient."""
    expected = row_by_row(attn, x, at)
    if not graph:
        with torch.no_grad():
            return torch.testing.assert_close(attention(attn, x, at), expected)
    ours, theirs = (x.clone().requires_grad_(True) for _ in range(2))
    found, reference = attention(attn, ours, at), row_by_row(attn, theirs, at)
    torch.testing.assert_close(found, reference)
    weights = noise(*found.shape, dtype=torch.float64)
    slopes = [torch.autograd.grad((weights * made).sum(), x)[0] for made, x in ((found, ours), (reference, theirs))]
    return torch.testing.assert_close(*slopes)


def stream(rows: int, length: int, seed: int = 0) -> Tensor:
    """Rows of a residual stream."""
    return noise(rows, length, 16, seed=seed, dtype=torch.float64)


graphs = pytest.mark.parametrize("graph", [False, True], ids=("values", "gradients"))


@kinds
@graphs
@pytest.mark.parametrize(("rows", "length"), [(1, 5), (2, 15), (4, 5), (6, 5), (8, 2), (7, 9), (8, 9)])
def test_short_rows_joined_or_not(kind: int, graph: bool, rows: int, length: int) -> None:
    check(attn(kind), stream(rows, length), graph=graph)


COUNTED = [(8, 5, 4), (6, 5, 2), (7, 5, 1), (4, 2, 4), (8, 2, 8), (8, 15, 2), (8, 16, 1), (8, 24, 1), (1, 5, 1)]


@pytest.mark.parametrize(("rows", "length", "joined"), COUNTED)
def test_how_many_rows_are_joined(rows: int, length: int, joined: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power of two that divides the rows, until they fill the vectors of a CPU; none for a single query."""
    counts, inner = [], module.projected

    def watched(*given: Any) -> Any:
        counts.append(given[-1])
        return inner(*given)

    monkeypatch.setattr(module, "projected", watched)
    attention(attn(), stream(rows, length))
    attention(attn(), stream(rows, length), [length - 1])
    assert counts == [joined, 1]


@kinds
@graphs
@pytest.mark.parametrize(("rows", "length"), [(1, 16), (4, 24), (5, 24), (3, 5), (5, 9)])
def test_rows_that_are_not_joined_attend_causally(kind: int, graph: bool, rows: int, length: int) -> None:
    """Long rows, and odd numbers of short ones."""
    check(attn(kind), stream(rows, length), graph=graph)


@kinds
@graphs
@pytest.mark.parametrize(("rows", "length", "at"), [(4, 9, [8]), (5, 9, [0]), (1, 5, [2]), (4, 20, [7])])
def test_a_single_query(kind: int, graph: bool, rows: int, length: int, at: list[int]) -> None:
    check(attn(kind), stream(rows, length), at=at, graph=graph)


@kinds
@graphs
@pytest.mark.parametrize(
    ("rows", "length", "at"), [(4, 9, [6, 8]), (5, 9, [8, 1, 3]), (1, 20, [5, 19]), (4, 20, [19, 0])]
)
def test_some_queries_in_any_order(kind: int, graph: bool, rows: int, length: int, at: list[int]) -> None:
    check(attn(kind), stream(rows, length), at=at, graph=graph)


@kinds
@graphs
@pytest.mark.parametrize("own", [1, 3])
@pytest.mark.parametrize("at", [None, [0]])
def test_rows_of_one_prompt_share_its_past(kind: int, graph: bool, own: int, at: list[int] | None) -> None:
    """Keys and values of 6 earlier positions come from outside, once for the 5 rows of each of 2 prompts."""
    before, x = stream(2, 6), stream(10, own, seed=1).requires_grad_(graph)
    _, keys, values = projected(attn(kind), before)
    with torch.set_grad_enabled(graph):
        found = attention(attn(kind), x, at, 6, (keys.detach(), values.detach()))
    expected = row_by_row(attn(kind), x, at, before.repeat_interleave(5, 0))
    torch.testing.assert_close(found, expected)
    if graph:
        slopes = [torch.autograd.grad(made.square().sum(), x)[0] for made in (found, expected)]
        torch.testing.assert_close(*slopes)


@settings(max_examples=20)
@given(st.data(), st.integers(0, len(KINDS) - 1), st.integers(1, 9), st.integers(1, LONGEST), st.booleans())
def test_whatever_the_shape(data: st.DataObject, kind: int, rows: int, length: int, graph: bool) -> None:
    places = st.lists(st.integers(0, length - 1), min_size=1, max_size=3, unique=True)
    at = data.draw(st.none() | places)
    check(attn(kind), stream(rows, length, seed=data.draw(st.integers(0, 99))), at=at, graph=graph)


@pytest.mark.parametrize("length", [5, 20])
def test_no_row_knows_of_another(length: int) -> None:
    x = stream(8, length)
    changed = x.clone()
    changed[3] += 1
    found = attention(attn(), x), attention(attn(), changed)
    same = [row != 3 for row in range(8)]
    torch.testing.assert_close(found[0][same], found[1][same])
    assert not torch.allclose(found[0][3], found[1][3])
