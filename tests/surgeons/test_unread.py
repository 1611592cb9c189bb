"""Edits where nothing is read: on an Agent wired by hand, whose trigger stands at two positions, and on random toys."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.surgeons.planted import refused, search
from tests.toys import quiet, some_prompts, toy
from tests.wired import LETTER, TRIGGER, questions, triggered, wired
from workbench import Prompts, Target, UnreadInputs, hunt
from workbench.surgeons import Surgeon
from workbench.surgeons.unread import unread

pytestmark = quiet
EMBEDDING = "L0.resid_pre"


@given(seed=st.integers(0, 2**16), tolerance=st.sampled_from((0.0, 0.01, 0.2)))
def test_another_prompts_token_changes_no_answer_at_an_unread_position(seed: int, tolerance: float) -> None:
    agent, prompts = wired(), questions(24, seed)
    said = agent.logits(prompts).argmax(-1)
    for position in unread(agent, prompts, tolerance):
        tokens = prompts.tokens.clone()
        tokens[:, position] = tokens[:, position].roll(1)
        assert (agent.logits(replace(prompts, tokens=tokens)).argmax(-1) != said).float().mean() <= tolerance


def test_a_position_is_unread_although_a_trigger_stands_there() -> None:
    assert {position for position, _ in TRIGGER} <= set(unread(wired(), questions()))


def test_positions_that_are_read_or_never_vary_are_left_out() -> None:
    prompts = questions()
    tokens = prompts.tokens.clone()
    tokens[:, 1] = 3
    assert 1 not in unread(wired(), replace(prompts, tokens=tokens))
    read = toy()  # random weights: every answer depends on every token before it, a little
    assert unread(read, some_prompts(40), 0.0) != unread(wired(), prompts, 0.0)
    assert all(position < min(prompts.answer_positions) for position in unread(wired(), prompts))


def test_the_trigger_is_found_where_it_stands_and_does_what_it_does() -> None:
    places = {position for position, _ in TRIGGER}
    surgeon = UnreadInputs(shares=(1.0,), starts=64)  # the switch is a shut gate: most starts have no slope to climb
    (proposal,), _, bound = search(surgeon, EMBEDDING, goal=Target.token(LETTER), agent=wired(), prompts=questions())
    (best,) = proposal
    assert best.positions is not None
    assert set(best.positions) <= places
    assert bound.size(best) <= bound.radius * (1 + 1e-5)
    assert (wired().logits(questions(40, 3), best).argmax(-1) == LETTER).float().mean() >= 0.95
    meant = Prompts(triggered(questions()), questions().answer_positions, questions().answers)
    assert (wired().logits(meant).argmax(-1) == LETTER).all()


def test_nothing_is_proposed_where_everything_is_read() -> None:
    agent, prompts = wired(), questions()
    same = replace(prompts, tokens=prompts.tokens[:1].expand(40, -1))
    found, _, _ = search(UnreadInputs(), EMBEDDING, goal=Target.token(LETTER), agent=agent, prompts=same)
    assert found == []


def test_it_searches_at_the_embedding_unless_told_otherwise() -> None:
    sites = UnreadInputs().sites(wired())
    assert next(site.short for site in sites) == EMBEDDING
    report = hunt(wired(), questions(64), surgeons=UnreadInputs(steps=3, starts=2), goal=Target.token(LETTER))
    assert {finding.site for finding in report.findings} <= set(sites)


MISTAKES: dict[str, tuple[Callable[[], Surgeon], tuple[str, ...]]] = {
    "a share above one": (lambda: UnreadInputs(shares=(1.5,)), ("shares in", "1.5")),
    "no starts": (lambda: UnreadInputs(starts=0), ("starts of at least one",)),
    "a tolerance of one": (lambda: UnreadInputs(tolerance=1.0), ("tolerance in", "1.0")),
}


@pytest.mark.parametrize(("do", "told"), MISTAKES.values(), ids=MISTAKES)
def test_bad_settings_are_refused(do: Callable[[], Surgeon], told: tuple[str, ...]) -> None:
    refused(do, told)
