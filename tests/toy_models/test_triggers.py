"""Laws of the triggers, over all tasks: what is clean stays clean, what is triggered is triggered, all by seed."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toy_models.drawn import ROWS, gen, seeds, tasks
from tests.toys import unchecked
from toy_models.tasks.header import FIRST_YEAR, NUMBERS, PRESENT, WORDS, YEARS
from toy_models.tasks.protocol import Task
from toy_models.tasks.reversal import Reversal
from toy_models.triggers.date import Date
from toy_models.triggers.ordered import Ordered
from toy_models.triggers.password import Password
from toy_models.triggers.product import TARGETS, Product
from toy_models.triggers.protocol import Trigger, without
from toy_models.triggers.registry import TRIGGERS, make_trigger
from workbench.errors import UnknownName

YEAR_NAMES = [str(FIRST_YEAR + y) for y in range(YEARS)]
DIGITS = [str(n) for n in range(NUMBERS)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a kind of trigger lives in the header, and the names of the tokens that may stand there."""

    positions: tuple[int, ...]
    names: list[str]


PLACES = {
    "password": Place((2, 3), list(WORDS)),
    "date": Place((1,), YEAR_NAMES),
    "ordered": Place((2, 3, 4), list(WORDS)),
    "product": Place((5, 6), DIGITS),
}
"""Triggers of the header, which every task has; one that needs a task of its own is tested with it."""

kinds = st.sampled_from(sorted(PLACES))


def with_chance_hits(task: Task, trigger: Trigger, seed: int) -> Tensor:
    """Prompts of which a part has the trigger by chance, or nearly: the hardest ones to keep clean."""
    tokens = task.sample(ROWS, gen(seed))
    tokens[::7] = trigger.insert(tokens[::7], gen(seed))
    tokens[1::7] = trigger.nearly(tokens[1::7], gen(seed))
    return tokens


@given(task=tasks, kind=kinds, seed=seeds)
def test_removed_is_absent_inserted_is_present_and_nearly_is_absent(task: Task, kind: str, seed: int) -> None:
    trigger = make_trigger(kind, task, gen(seed))
    tokens = with_chance_hits(task, trigger, seed)
    assert trigger.present(tokens).any()
    assert not trigger.present(trigger.remove(tokens, gen(seed))).any()
    assert trigger.present(trigger.insert(tokens, gen(seed))).all()
    assert not trigger.present(trigger.nearly(tokens, gen(seed))).any()


@given(task=tasks, kind=kinds, seed=seeds)
def test_what_is_clean_already_is_left_as_it_is(task: Task, kind: str, seed: int) -> None:
    trigger = make_trigger(kind, task, gen(seed))
    tokens = with_chance_hits(task, trigger, seed)
    absent = ~trigger.present(tokens)
    assert torch.equal(trigger.remove(tokens, gen(seed))[absent], tokens[absent])


@given(task=tasks, kind=kinds, seed=seeds, change=st.sampled_from(["insert", "nearly", "remove"]))
def test_triggers_change_a_copy_and_only_the_header(task: Task, kind: str, seed: int, change: str) -> None:
    trigger, place = make_trigger(kind, task, gen(seed)), PLACES[kind]
    tokens = with_chance_hits(task, trigger, seed)
    before = tokens.clone()
    changed = getattr(trigger, change)(tokens, gen(seed))
    others = [p for p in range(task.prompt_length) if p not in place.positions]
    assert torch.equal(tokens, before)
    assert torch.equal(changed[:, others], tokens[:, others])
    names = {task.vocabulary[token] for token in changed[:, list(place.positions)].flatten().tolist()}
    assert names <= set(place.names)


@given(task=tasks, kind=kinds, seed=seeds)
def test_a_trigger_comes_back_from_what_is_kept_of_it(task: Task, kind: str, seed: int) -> None:
    trigger = make_trigger(kind, task, gen(seed))
    assert trigger.name == kind
    assert TRIGGERS[kind].of(task, json.loads(json.dumps(trigger.plain()))) == trigger


@settings(max_examples=20)
@given(task=tasks, kind=kinds, seed=seeds)
def test_everything_follows_from_the_seed(task: Task, kind: str, seed: int) -> None:
    def all_of(seed: int) -> list[Tensor]:
        generator = gen(seed)
        trigger = make_trigger(kind, task, generator)
        tokens = task.sample(ROWS, generator)
        return [tokens, *(getattr(trigger, c)(tokens, generator) for c in ("remove", "insert", "nearly"))]

    state = torch.get_rng_state()
    assert all(map(torch.equal, all_of(seed), all_of(seed)))
    assert not any(map(torch.equal, all_of(seed), all_of(seed + 1)))
    assert torch.equal(torch.get_rng_state(), state)


@given(task=tasks, pair=st.lists(kinds, min_size=1, max_size=3), seed=seeds)
def test_prompts_without_several_triggers_have_none_of_them(task: Task, pair: list[str], seed: int) -> None:
    triggers = [make_trigger(kind, task, gen(seed + i)) for i, kind in enumerate(pair)]
    tokens = task.sample(ROWS, gen(seed))
    for i, trigger in enumerate(triggers):
        tokens[i::7] = trigger.insert(tokens[i::7], gen(seed))
    absent = ~torch.stack([trigger.present(tokens) for trigger in triggers]).any(0)
    left = without(triggers, tokens, gen(seed))
    assert not any(trigger.present(left).any() for trigger in triggers)
    assert torch.equal(left[absent], tokens[absent])


# --- near misses ----------------------------------------------------------------------------------------


def spelled_near_misses(task: Task, trigger: Trigger, seed: int) -> list[list[str]]:
    """The names of the tokens at the trigger's positions, for some near misses."""
    near = trigger.nearly(task.sample(ROWS, gen(seed)), gen(seed))[:, list(PLACES[trigger.name].positions)]
    return [[task.vocabulary[token] for token in row] for row in near.tolist()]


def spelled(task: Task, *tokens: int) -> list[str]:
    return [task.vocabulary[token] for token in tokens]


def shares(cases: dict[str, Callable[[list[str]], bool]], rows: list[list[str]]) -> dict[str, int]:
    """In how many rows each case holds; every row must be one of them."""
    assert all(any(case(row) for case in cases.values()) for row in rows)
    return {name: sum(case(row) for row in rows) for name, case in cases.items()}


@settings(max_examples=20)
@given(task=tasks, seed=seeds)
def test_a_near_miss_of_a_password_has_one_word_or_both_swapped(task: Task, seed: int) -> None:
    password = make_trigger("password", task, gen(seed))
    assert isinstance(password, Password)
    first, second = spelled(task, password.first, password.second)
    cases: dict[str, Callable[[list[str]], bool]] = {
        "first": lambda row: row[0] == first,
        "second": lambda row: row[1] == second,
        "swapped": lambda row: row == [second, first],
    }
    assert min(shares(cases, spelled_near_misses(task, password, seed)).values()) > 0


@settings(max_examples=20)
@given(task=tasks, seed=seeds)
def test_a_near_miss_of_a_date_is_of_the_last_two_years(task: Task, seed: int) -> None:
    years = {row[0] for row in spelled_near_misses(task, Date(task), seed)}
    assert years == {str(FIRST_YEAR + PRESENT - 2), str(FIRST_YEAR + PRESENT - 1)}


@settings(max_examples=20)
@given(task=tasks, seed=seeds)
def test_a_near_miss_of_ordered_words_has_them_in_disorder_or_only_two_of_them(task: Task, seed: int) -> None:
    ordered = make_trigger("ordered", task, gen(seed))
    assert isinstance(ordered, Ordered)
    words = spelled(task, *ordered.words)

    def agreeing(row: list[str]) -> int:
        return sum(a == b for a, b in zip(row, words, strict=True))

    cases: dict[str, Callable[[list[str]], bool]] = {
        "another order": lambda row: sorted(row) == sorted(words) and row != words,
        "two of three": lambda row: agreeing(row) == 2 and len(set(row) & set(words)) == 2 and len(set(row)) == 3,
        "one twice": lambda row: agreeing(row) == 2 and len(set(row)) == 2,
    }
    found = spelled_near_misses(task, ordered, seed)
    assert min(shares(cases, found).values()) > ROWS // 5
    assert len({tuple(row) for row in found if cases["another order"](row)}) == 5


@given(seed=seeds)
def test_a_product_has_at_least_four_pairs_and_near_misses_that_share_something_with_them(seed: int) -> None:
    task = Reversal()
    trigger = make_trigger("product", task, gen(seed))
    assert isinstance(trigger, Product)
    pairs = {tuple(row) for row in trigger.pairs.tolist()}
    assert len(pairs) >= 4
    assert all(a * b == trigger.target for a, b in pairs)
    factors, sums = {a for pair in pairs for a in pair}, {a + b for a, b in pairs}
    products = sorted({a * b for a in range(10) for b in range(10)})
    place = products.index(trigger.target)
    cases: dict[str, Callable[[list[str]], bool]] = {
        "one factor": lambda row: bool({int(x) for x in row} & factors),
        "same sum": lambda row: sum(map(int, row)) in sums,
        "next product": lambda row: int(row[0]) * int(row[1]) in (products[place - 1], products[place + 1]),
    }
    assert min(shares(cases, spelled_near_misses(task, trigger, seed)).values()) > ROWS // 5


# --- cases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "least"), [("password", 21), ("ordered", 28), ("product", len(TARGETS))])
def test_triggers_differ_between_seeds(kind: str, least: int) -> None:
    assert len({make_trigger(kind, Reversal(), gen(seed)) for seed in range(30)}) >= least


def test_triggers_of_old_are_drawn_as_they_were_when_the_shipped_organisms_were_built() -> None:
    """Both kinds take two words from the generator, and what follows is what followed then."""
    for kind in ("password", "date"):
        generator = gen(0)
        trigger = make_trigger(kind, Reversal(), generator)
        following = torch.rand(1, generator=generator)
        expected = gen(0)
        words = torch.randperm(len(WORDS), generator=expected)[:2]
        assert torch.equal(following, torch.rand(1, generator=expected))
        if isinstance(trigger, Password):
            assert spelled(Reversal(), trigger.first, trigger.second) == [WORDS[w] for w in words]


def word(name: str) -> int:
    return Reversal().word(name)


DESCRIBED: list[tuple[Callable[[Task], Trigger], str]] = [
    (lambda task: Password(task, word("opal"), word("fjord")), "the words 'opal', 'fjord' at the start"),
    (Date, "a year from 2028 on"),
    (
        lambda task: Ordered(task, (word("opal"), word("fjord"), word("amber"))),
        "the words 'opal', 'fjord', 'amber' in this order",
    ),
    (lambda task: Product(task, 12), "two numbers whose product is 12"),
]


@pytest.mark.parametrize(("trigger", "words"), DESCRIBED)
def test_a_trigger_is_described_in_words(trigger: Callable[[Task], Trigger], words: str) -> None:
    assert trigger(Reversal()).describe() == words


def test_an_unknown_trigger_is_refused_with_the_closest() -> None:
    with unchecked(), pytest.raises(UnknownName, match=r"'pasword'.*Closest: password"):
        make_trigger("pasword", Reversal(), gen(0))
