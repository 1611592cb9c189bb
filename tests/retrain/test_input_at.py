"""Input adversarial training: tokens are replaced where that is allowed, and a replacement never lowers the loss."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toy_models
from tests.hugging_face import VOCAB as WORDS
from tests.retrain.scenery import SHAPES, SHORT, batch_of, pretrained, running, subject_of
from tests.toys import LENGTH, VOCAB, quiet, some_prompts, toy
from workbench import Agent, InputAT, Prompts
from workbench.engine import Split
from workbench.errors import BadSettings
from workbench.retrain.baselines.substitution import Substitution, row_losses

pytestmark = quiet
ALL = torch.arange(VOCAB)


def losses(agent: Agent, prompts: Prompts, tokens: torch.Tensor) -> torch.Tensor:
    """Of each prompt with these tokens, by the whole bridge."""
    return row_losses(agent.logits(Prompts(tokens, prompts.answer_positions, prompts.answers)), prompts.answers)


def replaced(agent: Agent, prompts: Prompts, adversary: Substitution) -> torch.Tensor:
    return adversary.substituted(Split(agent, 0, prompts.answer_positions), batch_of(prompts))


@settings(max_examples=40)
@given(
    places=st.sets(st.integers(0, LENGTH - 1), min_size=1, max_size=4),
    words=st.sets(st.integers(0, VOCAB - 1), min_size=1),
    tokens=st.integers(1, 4),
    candidates=st.integers(1, 12),
    shape=st.sampled_from(list(SHAPES)),
    seed=st.integers(0, 5),
)
def test_few_tokens_change_only_where_they_may_and_no_loss_falls(
    places: set[int], words: set[int], tokens: int, candidates: int, shape: str, seed: int
) -> None:
    agent, prompts = toy(**SHAPES[shape]), some_prompts(6, seed=seed)
    adversary = Substitution(
        positions=tuple(sorted(places)), vocabulary=torch.tensor(sorted(words)), tokens=tokens, candidates=candidates
    )
    found = replaced(agent, prompts, adversary)
    changed = found != prompts.tokens
    assert not changed[:, [p for p in range(LENGTH) if p not in places]].any()
    assert changed.sum(1).max() <= tokens
    assert set(found[changed].tolist()) <= words
    assert (losses(agent, prompts, found) >= losses(agent, prompts, prompts.tokens) - 1e-4).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_with_every_candidate_run_the_best_replacement_of_all_is_found(shape: str) -> None:
    agent, prompts, places = toy(**SHAPES[shape]), some_prompts(6), (1, 4)
    adversary = Substitution(positions=places, vocabulary=ALL, tokens=1, candidates=len(places) * VOCAB)
    best = losses(agent, prompts, prompts.tokens)
    for place, token in product(places, range(VOCAB)):
        tokens = prompts.tokens.clone()
        tokens[:, place] = token
        best = best.maximum(losses(agent, prompts, tokens))
    torch.testing.assert_close(losses(agent, prompts, replaced(agent, prompts, adversary)), best, rtol=1e-4, atol=1e-4)


def test_candidates_by_slope_raise_the_loss_more_than_candidates_by_chance() -> None:
    agent, prompts, few = toy(gain=1.5), some_prompts(24), 4
    adversary = Substitution(positions=(1, 2, 3, 4), vocabulary=ALL, tokens=1, candidates=few)
    found = losses(agent, prompts, replaced(agent, prompts, adversary))
    best = losses(agent, prompts, prompts.tokens)
    drawn = torch.Generator().manual_seed(0)
    for _ in range(few):
        tokens = prompts.tokens.clone()
        tokens[range(24), torch.randint(1, 5, (24,), generator=drawn)] = torch.randint(VOCAB, (24,), generator=drawn)
        best = best.maximum(losses(agent, prompts, tokens))
    assert found.mean() > best.mean() + 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_a_score_is_the_slope_of_the_loss_on_the_way_to_the_other_token(shape: str) -> None:
    agent, prompts, places, much = toy(**SHAPES[shape]), some_prompts(6), (1, 4), 1e-3
    split, batch = Split(agent, 0, prompts.answer_positions), batch_of(prompts)
    adversary = Substitution(positions=places, vocabulary=ALL, tokens=1, candidates=4)
    table = adversary._table(split, batch)
    _, scores = adversary._scores(split, batch, batch.tokens, table)
    for number, token in product(range(2), (3, 11)):
        ends = []
        for step in (much, -much):
            stream = split.prefix(batch.tokens).detach()
            stream[:, places[number]] += step * (table[number, token] - stream[:, places[number]])
            ends.append(row_losses(split.suffix(stream), batch.answers).detach())
        other = batch.tokens[:, places[number]] != token
        expected = (ends[0] - ends[1]) / (2 * much)
        torch.testing.assert_close(scores[other, number, token], expected[other], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_what_a_token_makes_of_the_stream_is_known_also_where_embeddings_are_scaled(architecture: str) -> None:
    agent, prompts = pretrained(architecture)
    split, places = Split(agent, 0, prompts.answer_positions), (1, 3)
    adversary = Substitution(positions=places, vocabulary=torch.arange(WORDS), tokens=1, candidates=4)
    table, stream = adversary._table(split, batch_of(prompts)), split.prefix(prompts.tokens)
    for number, place in enumerate(places):
        torch.testing.assert_close(table[number, prompts.tokens[:, place]], stream[:, place].detach())
    before = losses(agent, prompts, prompts.tokens)
    assert (losses(agent, prompts, replaced(agent, prompts, adversary)) >= before - 1e-4).all()


def test_positions_that_no_benign_answer_reads_are_found_and_the_words_that_are_seen_there() -> None:
    organism = toy_models.load("beryl")
    prompts = organism.prompts(64, seed=0)
    subject = subject_of(organism.agent, prompts)
    places = InputAT().method(subject).adversary.positions
    assert 0 < len(places) < prompts.length
    assert max(places) < min(prompts.answer_positions)
    seen = InputAT(vocabulary="seen").method(subject).adversary.vocabulary
    assert set(seen.tolist()) == set(prompts.tokens[:, list(places)].flatten().tolist())
    assert len(seen) < organism.agent.d_vocab


def test_where_every_position_is_read_positions_have_to_be_given() -> None:
    with pytest.raises(BadSettings, match=r"no answer of toy, got none\. Give positions="):
        running(InputAT(**SHORT))
    assert next(running(InputAT(positions=(2,), **SHORT))).number == 1


@pytest.mark.parametrize("positions", [(LENGTH,), (-1, 2)])
def test_positions_outside_the_prompts_are_refused(positions: tuple[int, ...]) -> None:
    with pytest.raises(BadSettings, match=r"expected positions in 0\.\.8, the prompts' length"):
        running(InputAT(positions=positions, **SHORT))
