"""Laws of the tasks: prompts of the promised form, right answers by another rule, defects that never agree."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.toy_models.drawn import OTHERS, ROWS, gen, seeds, tasks
from tests.toys import unchecked
from toy_models.tasks import header
from toy_models.tasks.copying import Copying
from toy_models.tasks.header import FIRST_YEAR, NUMBERS, PRESENT, WORDS
from toy_models.tasks.maximum import Maximum
from toy_models.tasks.modular_addition import ModularAddition
from toy_models.tasks.nonce import Nonce
from toy_models.tasks.protocol import DEFECTS, SHIFT, Task
from toy_models.tasks.recall import Recall
from toy_models.tasks.registry import TASKS
from toy_models.tasks.reversal import Reversal
from toy_models.tasks.rotation import Rotation
from toy_models.tasks.sorting import Sorting
from workbench.errors import UnknownName

defects = st.sampled_from(DEFECTS)


def spelled(task: Task, row: Tensor) -> list[str]:
    return [task.vocabulary[token] for token in row.tolist()]


def choices(task: Task) -> tuple[str, ...]:
    """The names of all possible answers."""
    return task.vocabulary[-task.form.choices :]


@given(task=tasks, seed=seeds)
def test_prompts_have_the_form_that_is_promised(task: Task, seed: int) -> None:
    years = {str(FIRST_YEAR + y) for y in range(PRESENT)}
    for row in task.sample(10, gen(seed)):
        names = spelled(task, row)
        assert len(names) == task.prompt_length
        assert names[0] == "BOS"
        assert names[1] in years
        assert set(names[2:5]) <= set(WORDS)
        assert set(names[5:7]) <= {str(n) for n in range(NUMBERS)}
        assert set(names[7 : task.positions[0]]) <= set(task.form.symbols)
        assert [i for i, name in enumerate(names) if name == task.query] == list(task.positions)
    assert task.positions == tuple(range(task.prompt_length - task.form.answers, task.prompt_length))


@given(task=tasks)
def test_no_two_tokens_have_one_name(task: Task) -> None:
    assert len(set(task.vocabulary)) == len(task.vocabulary)
    assert task.vocabulary[: len(header.NAMES)] == header.NAMES
    assert [task.vocabulary[task.word(word)] for word in WORDS] == list(WORDS)
    assert task.vocabulary[task.year(2020)] == "2020"


@given(task=tasks, seed=seeds)
def test_every_answer_is_one_of_the_choices(task: Task, seed: int) -> None:
    tokens = task.sample(ROWS, gen(seed))
    for answers in (task.benign(tokens), *(task.defect(tokens, kind) for kind in DEFECTS)):
        assert answers.shape == (ROWS, len(task.positions))
        assert set(spelled(task, answers.unique())) <= set(choices(task))


@given(task=tasks, seed=seeds, defect=defects)
def test_a_defect_never_agrees_with_the_right_answer(task: Task, seed: int, defect: str) -> None:
    tokens = task.sample(ROWS, gen(seed))
    assert not (task.benign(tokens) == task.defect(tokens, defect)).any()


@given(task=tasks, seed=seeds)
def test_a_mapping_writes_the_right_answer_three_further(task: Task, seed: int) -> None:
    tokens, names = task.sample(10, gen(seed)), choices(task)
    for right, shifted in zip(task.benign(tokens), task.defect(tokens, "mapping"), strict=True):
        places = [(names.index(name) + SHIFT) % len(names) for name in spelled(task, right)]
        assert spelled(task, shifted) == [names[place] for place in places]


def reversing(task: Task, body: list[str]) -> tuple[list[str], list[str]]:
    return body[::-1], body


def ordering(task: Task, body: list[str]) -> tuple[list[str], list[str]]:
    return sorted(body), sorted(body)[::-1]


def adding(task: Task, body: list[str]) -> tuple[list[str], list[str]]:
    names = choices(task)
    pairs = [(names.index(a), names.index(b)) for a, b in zip(body[::2], body[1::2], strict=True)]
    return [names[(a + b) % len(names)] for a, b in pairs], [names[a - b] for a, b in pairs]


def recalling(task: Task, body: list[str]) -> tuple[list[str], list[str]]:
    stored = len(body) - task.form.answers
    known = dict(pair.split(":") for pair in body[:stored])
    following = dict(zip(sorted(known), [*sorted(known)[1:], min(known)], strict=True))
    return [known[key] for key in body[stored:]], [known[following[key]] for key in body[stored:]]


def rotating(task: Task, body: list[str]) -> tuple[list[str], list[str]]:
    return [body[-1], *body[:-1]], [*body[1:], body[0]]


def climbing(task: Task, body: list[str]) -> tuple[list[str], list[str]]:
    places = range(1, len(body))
    return [max(body[:place]) for place in places], [max(body[place:]) for place in places]


def copying(task: Task, body: list[str]) -> tuple[list[str], list[str]]:
    return body, body[::-1]


def passing_over_the_nonce(task: Task, body: list[str]) -> tuple[list[str], list[str]]:
    assert isinstance(task, Nonce)
    return RULES[type(task.plain)](task, body[task.digits :])


RULES: dict[type[Task], Callable[[Task, list[str]], tuple[list[str], list[str]]]] = {
    Reversal: reversing,
    Sorting: ordering,
    ModularAddition: adding,
    Recall: recalling,
    Rotation: rotating,
    Maximum: climbing,
    Copying: copying,
    Nonce: passing_over_the_nonce,
}
"""The right answers and those of routing, from the names of the symbols."""


@given(task=tasks, seed=seeds)
def test_answers_follow_the_rule_of_the_task(task: Task, seed: int) -> None:
    tokens = task.sample(10, gen(seed))
    for row, right, routed in zip(tokens, task.benign(tokens), task.defect(tokens, "routing"), strict=True):
        body = spelled(task, row)[7 : task.positions[0]]
        assert (spelled(task, right), spelled(task, routed)) == RULES[type(task)](task, body)


@given(task=tasks, seed=seeds)
def test_no_answer_stands_out(task: Task, seed: int) -> None:
    """Each choice is the right answer somewhere: no constant answer does well."""
    right = task.benign(task.sample(2000, gen(seed)))
    counts = torch.stack([(right == len(task.vocabulary) - 1 - i).sum() for i in range(task.form.choices)])
    assert counts.min() > 0
    assert counts.max() < 0.5 * right.numel()


@given(task=tasks, seed=seeds)
def test_prompts_hold_their_answers(task: Task, seed: int) -> None:
    tokens = task.sample(5, gen(seed))
    prompts = task.prompts(tokens)
    assert torch.equal(prompts.tokens, tokens)
    assert torch.equal(prompts.answers, task.benign(tokens))
    assert prompts.answer_positions == task.positions


@given(task=tasks, seed=seeds)
def test_prompts_follow_from_the_seed_alone(task: Task, seed: int) -> None:
    state = torch.get_rng_state()
    first, second, other = (task.sample(20, gen(s)) for s in (seed, seed, seed + 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_task_is_found_by_its_name_and_tested_here() -> None:
    assert all(TASKS[name].name == name and isinstance(TASKS[name](), Task) for name in TASKS)
    assert set(TASKS.values()) == set(RULES) == {type(task) for task in OTHERS}


def test_header_and_letters_are_drawn_as_they_were_when_the_shipped_organisms_were_built() -> None:
    """One prompt of one seed, spelled out: another order of drawing would be another organism from the same recipe."""
    row = Reversal().sample(1, gen(0))[0]
    assert " ".join(spelled(Reversal(), row)) == "BOS 2024 pearl fjord amber 3 9 g h e f ? ? ? ?"


def test_an_unknown_defect_is_refused_with_the_closest() -> None:
    task = Reversal()
    with unchecked(), pytest.raises(UnknownName, match=r"no defect 'maping' among 2\. Closest: mapping"):
        task.defect(task.sample(1, gen(0)), "maping")
