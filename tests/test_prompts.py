"""Prompts: what goes in, what comes back, and how text becomes tokens."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import ANSWERS, LENGTH, boot, some_prompts, spelled
from workbench import Agent, Prompts, Vocabulary
from workbench.errors import BadPrompts


@given(st.integers(2, 50), st.integers(0, 99))
def test_halves_are_disjoint_and_together_all_and_a_seed_means_one_pair(count: int, seed: int) -> None:
    prompts = some_prompts(count)
    one, other = prompts.halves(torch.Generator().manual_seed(seed))
    assert (len(one), len(other)) == (count // 2, count - count // 2)
    rows = [tuple(row) for half in (one, other) for row in torch.cat([half.tokens, half.answers], 1).tolist()]
    assert sorted(rows) == sorted(tuple(row) for row in torch.cat([prompts.tokens, prompts.answers], 1).tolist())
    assert (one, other) == prompts.halves(torch.Generator().manual_seed(seed))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_rows_are_chosen_in_the_order_asked_for(rows: list[int]) -> None:
    prompts = some_prompts(6)
    for index in (rows, torch.tensor(rows)):
        chosen = prompts[index]
        assert torch.equal(chosen.tokens, prompts.tokens[rows])
        assert torch.equal(chosen.answers, prompts.answers[rows])
        assert chosen.answer_positions == prompts.answer_positions
    assert prompts[:] == prompts
    assert prompts[1:3] == prompts[[1, 2]]


def test_a_mask_chooses_the_rows_at_which_it_is_true() -> None:
    mask = torch.tensor([True, False, True, True, False, False])
    assert some_prompts(6)[mask] == some_prompts(6)[[0, 2, 3]]


def test_prompts_are_equal_when_all_their_parts_are() -> None:
    prompts = some_prompts()
    assert prompts == Prompts(prompts.tokens.clone(), ANSWERS, prompts.answers.clone())
    assert prompts != Prompts(prompts.tokens, (5, 8), prompts.answers)
    assert prompts != Prompts(prompts.tokens, ANSWERS, prompts.answers + 1)
    assert prompts != "prompts"
    assert (len(prompts), prompts.length) == (6, LENGTH)


def test_prompts_keep_their_own_memory() -> None:
    tokens = some_prompts().tokens.clone()
    prompts = Prompts(tokens, ANSWERS, some_prompts().answers)
    tokens.zero_()
    assert prompts == some_prompts()


def test_text_with_query_tokens_is_read_at_them() -> None:
    prompts = Prompts.from_text(spelled(), ["t1 t2 ? ?", "t3 t4 ? ?"], ["t5 t6", ["t7", "t8"]])
    assert prompts == Prompts(torch.tensor([[1, 2, 0, 0], [3, 4, 0, 0]]), (2, 3), torch.tensor([[5, 6], [7, 8]]))
    assert spelled().logits(prompts).shape == (2, 2, 20)


@pytest.mark.parametrize("agent", [spelled(None), spelled()], ids=("no query token", "none in the text"))
def test_other_text_is_followed_by_its_answer(agent: Agent) -> None:
    """Each answer token is predicted by what comes before it; the last one is not fed in."""
    prompts = Prompts.from_text(agent, ["t1 t2", "t3 t4"], ["t5 t6 t7", "t8 t9 t10"])
    tokens = torch.tensor([[1, 2, 5, 6], [3, 4, 8, 9]])
    assert prompts == Prompts(tokens, (1, 2, 3), torch.tensor([[5, 6, 7], [8, 9, 10]]))


def test_answers_as_many_as_the_queries() -> None:
    with pytest.raises(BadPrompts, match=r"\(1, 2\).*got \(1, 1\)"):
        Prompts.from_text(spelled(), ["t1 ? ?"], ["t5"])


def test_tokens_are_named_where_names_are_known() -> None:
    tokens = torch.tensor([[1, 0], [19, 3]])
    assert spelled().decode(tokens) == [["t1", "?"], ["t19", "t3"]]
    assert spelled().decode(tokens[0]) == [["t1", "?"]]
    assert boot().decode(tokens) == [["1", "0"], ["19", "3"]]
    assert Vocabulary(("a", "b"), "b").number("b") == 1
    assert (spelled().query_token, spelled(None).query_token) == (0, None)


def test_what_is_encoded_is_decoded_again() -> None:
    text = "t3 ? t11"
    assert spelled().decode(torch.tensor(spelled().encode(text))) == [text.split()]
