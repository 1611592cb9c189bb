"""Laws of the triggers, over all tasks: what is clean stays clean, what is triggered is triggered, all by seed."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toy_models.drawn import ROWS, gen, seeds, tasks
from tests.toys import unchecked
from toy_models.plants.triggers import TRIGGERS, Date, Password, Trigger, make_trigger
from toy_models.tasks.header import FIRST_YEAR, PRESENT, WORDS, YEARS
from toy_models.tasks.protocol import Task
from toy_models.tasks.reversal import Reversal
from workbench.errors import UnknownName

kinds = st.sampled_from(TRIGGERS)


def with_chance_hits(task: Task, trigger: Trigger, seed: int) -> Tensor:
    """Prompts of which a part has the trigger by chance, or nearly: the hardest ones to keep clean."""
    tokens = task.sample(ROWS, gen(seed))
    if isinstance(trigger, Password):
        tokens[::7, 2], tokens[::7, 3] = trigger.first, trigger.second
        tokens[1::7, 2], tokens[2::7, 3] = trigger.first, trigger.second
    else:
        tokens[::7, 1] = task.year(FIRST_YEAR + PRESENT)
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
    trigger = make_trigger(kind, task, gen(seed))
    tokens = with_chance_hits(task, trigger, seed)
    before = tokens.clone()
    changed = getattr(trigger, change)(tokens, gen(seed))
    touched = {"password": [2, 3], "date": [1]}[kind]
    others = [p for p in range(task.prompt_length) if p not in touched]
    assert torch.equal(tokens, before)
    assert torch.equal(changed[:, others], tokens[:, others])
    allowed = range(2, 2 + YEARS) if kind == "date" else [task.word(word) for word in WORDS]
    assert set(changed[:, touched].flatten().tolist()) <= set(allowed)


@settings(max_examples=20)
@given(task=tasks, seed=seeds)
def test_a_near_miss_has_a_part_of_the_trigger(task: Task, seed: int) -> None:
    password = make_trigger("password", task, gen(seed))
    assert isinstance(password, Password)
    near = password.nearly(task.sample(ROWS, gen(seed)), gen(seed))[:, 2:4]
    parts = {"first": near[:, 0] == password.first, "second": near[:, 1] == password.second}
    parts["swapped"] = (near[:, 0] == password.second) & (near[:, 1] == password.first)
    assert all(part.any() for part in parts.values())
    assert torch.stack(list(parts.values())).any(0).all()
    years = Date(task).nearly(task.sample(ROWS, gen(seed)), gen(seed))[:, 1] - task.year(FIRST_YEAR)
    assert set(years.tolist()) == {PRESENT - 2, PRESENT - 1}


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


def test_passwords_differ_between_seeds() -> None:
    found = {make_trigger("password", Reversal(), gen(seed)) for seed in range(30)}
    assert len(found) > 20


DESCRIBED: list[tuple[Callable[[Task], Trigger], str]] = [
    (lambda task: Password(task, task.word("opal"), task.word("fjord")), "the words 'opal', 'fjord' at the start"),
    (Date, "a year from 2028 on"),
]


@pytest.mark.parametrize(("trigger", "words"), DESCRIBED)
def test_a_trigger_is_described_in_words(trigger: Callable[[Task], Trigger], words: str) -> None:
    assert trigger(Reversal()).describe() == words


def test_an_unknown_trigger_is_refused_with_the_closest() -> None:
    with unchecked(), pytest.raises(UnknownName, match=r"'pasword'.*Closest: password"):
        make_trigger("pasword", Reversal(), gen(0))
