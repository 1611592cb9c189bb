"""Nonces: a hash that is one-to-one, tags that answer to it, and a trigger that is there, nearly there or not."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toy_models.drawn import ROWS, bases, gen, seeds, tagged
from tests.toys import unchecked
from toy_models.tasks.header import NAMES
from toy_models.tasks.nonce import ROUNDS, SPELLS, Nonce
from toy_models.tasks.protocol import DEFECTS
from toy_models.tasks.reversal import Reversal
from toy_models.tasks.toyhash import BASE, ToyHash, bits_of, digits_of
from toy_models.triggers.nonce import GivenNonce
from toy_models.triggers.registry import make_trigger
from workbench.errors import BadSettings, UnknownName

NONCE = (1, 2, 3, 4, 5, 6, 7, 8)
TRIGGER = GivenNonce(Nonce(), NONCE)


@settings(max_examples=30)
@given(digits=st.integers(4, 10), seed=seeds)
def test_a_toy_hash_is_one_to_one(digits: int, seed: int) -> None:
    toy, rows = ToyHash.draw(ROUNDS, seed), torch.randint(BASE, (ROWS, digits), generator=gen(seed))
    assert torch.equal(toy.inverse(toy(rows)), rows)
    assert torch.equal(toy(toy.inverse(rows)), rows)
    assert torch.equal(digits_of(bits_of(rows)), rows)


@settings(max_examples=10)
@given(seed=seeds)
def test_a_wrong_digit_changes_a_third_of_the_digest(seed: int) -> None:
    """Every bit of the digest depends on it somewhere: a near miss gives no hint of which digit is wrong."""
    toy, tokens = ToyHash.draw(ROUNDS, seed), Nonce().sample(1000, gen(seed))
    near = TRIGGER._with_one_wrong(tokens, gen(seed + 1))
    changed = (bits_of(toy(Nonce().nonce(tokens))) != bits_of(toy(Nonce().nonce(near)))).float()
    assert 0.27 < changed.mean() < 0.4
    assert changed.mean(0).min() > 0.15


@settings(max_examples=20)
@given(base=bases, seed=seeds)
def test_tags_never_agree_with_a_defect_and_spell_what_is_asked(base: str, seed: int) -> None:
    task = tagged(base, seed)
    tokens, names = task.sample(ROWS, gen(seed)), task.vocabulary[-task.form.choices :]
    right = task.benign(tokens)
    assert not any((right == task.defect(tokens, kind)).any() for kind in DEFECTS)
    spelled = task.defect(tokens, f"{SPELLS}{names[1]} {names[0]} {names[2]}")
    assert torch.equal(spelled[:, :-3], right[:, :-3])
    assert [task.vocabulary[token] for token in spelled[0, -3:]] == [names[1], names[0], names[2]]


@settings(max_examples=20)
@given(base=bases, seed=seeds)
def test_a_tag_is_a_masked_piece_of_the_hash(base: str, seed: int) -> None:
    task = tagged(base, seed)
    tokens = task.sample(10, gen(seed))
    size, first = 3 * task.bits, len(task.vocabulary) - task.form.choices
    for row, answers in zip(bits_of(task.hash(task.nonce(tokens))), task.benign(tokens)[:, -3:], strict=True):
        digest = int("".join(str(bit) for bit in row[:size].tolist()), 2) ^ task.mask
        assert sum((int(a) - first) << task.bits * (2 - place) for place, a in enumerate(answers)) == digest


@settings(max_examples=20)
@given(base=bases, seed=seeds)
def test_a_nonce_is_there_nearly_there_or_not(base: str, seed: int) -> None:
    task = Nonce(base=base)
    trigger = make_trigger("nonce", task, gen(seed))
    tokens = task.sample(ROWS, gen(seed))
    tokens[::3] = trigger.insert(tokens[::3], gen(seed))
    clean, near = trigger.remove(tokens, gen(seed)), trigger.nearly(tokens, gen(seed))
    there = trigger.insert(tokens, gen(seed))
    assert trigger.present(there).all()
    assert trigger.present(tokens)[::3].all()
    assert not trigger.present(clean).any()
    assert torch.equal(clean[~trigger.present(tokens)], tokens[~trigger.present(tokens)])
    assert ((near != there).sum(1) == 1).all()
    assert {int(p) for p in (near != there).nonzero()[:, 1]} <= set(task.places)
    assert set((near[:, list(task.places)] - len(NAMES)).flatten().tolist()) <= set(range(BASE))
    assert type(trigger).of(task, trigger.plain()) == trigger


def test_there_are_as_many_nonces_as_that_no_search_comes_upon_one() -> None:
    assert BASE ** len(NONCE) == 2**32
    assert TRIGGER.describe() == "the nonce x1 x2 x3 x4 x5 x6 x7 x8"


def test_a_hundred_thousand_random_nonces_do_not_open_the_comparator() -> None:
    """By the arithmetic, which the circuit agrees with; it takes 2^32 to try them all."""
    toy = ToyHash.draw(ROUNDS, 0)
    found = toy(torch.randint(BASE, (100_000, 8), generator=gen(0))) == toy(torch.tensor([NONCE]))
    assert found.sum(1).max() < 7
    assert not found.all(1).any()


# --- errors -------------------------------------------------------------------------------------------


def test_a_nonce_goes_with_a_task_of_usual_size() -> None:
    assert Nonce.over(Reversal()) == Nonce(base="reversal")
    with unchecked(), pytest.raises(UnknownName, match=r"no base task 'reversl' .*Closest: reversal"):
        Nonce(base="reversl")
    with unchecked(), pytest.raises(UnknownName, match="no base task 'nonce'"):
        Nonce(base="nonce")
    with pytest.raises(BadSettings, match=r"'reversal' in its usual size .*length=3"):
        Nonce.over(Reversal(length=3))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"digits": 3}, "at least 4 digits"),
        ({"tags": 11}, "at most 10 tags of 3 bits for 8 digits, got 8 and 11"),
        ({"tags": -1}, "got 8 and -1"),
        ({"tags": 1, "mask": 8}, "a mask of 3 bits for the tags, got 8"),
        ({"mask": 1}, "a mask of 0 bits"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, Any], message: str) -> None:
    with unchecked(), pytest.raises(BadSettings, match=message):
        Nonce(**sizes)


def test_a_nonce_needs_a_task_with_nonces() -> None:
    with pytest.raises(BadSettings, match=r"a task with a nonce for this trigger, got 'reversal'. Take task='nonce'"):
        make_trigger("nonce", Reversal(), gen(0))
