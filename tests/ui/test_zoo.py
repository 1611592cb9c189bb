"""The Zoo panel: cards give nothing away, organisms come and go, and a hypothesis is scored against the key."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toy_models
from tests.toys import edit_at, noise, some_prompts, toy
from toy_models.plants.planted import Plant
from workbench.errors import BadSettings, WorkbenchError
from workbench.sites import Site
from workbench.ui.hypothesis import (
    BEHAVIOURS,
    NEAR,
    NOTHING,
    Hypothesis,
    marks,
    place_mark,
    read_trigger,
    trigger_mark,
)
from workbench.ui.places import Selection
from workbench.ui.session import Session
from workbench.ui.zoo import Zoo, cards

NAME = toy_models.names()[0]
POST = Site.parse("L1.mlp.post")
PLANT = Plant(trigger="words", defect="mapping", sites=(POST,), neurons=(4, 7), edit=edit_at("L1.mlp.post", noise(40)))


def zoo() -> Zoo:
    """A panel on an Agent that is no organism."""
    return Zoo(Session(toy(), some_prompts(12)))


def loaded(name: str = NAME) -> Zoo:
    panel = zoo()
    panel.filter.value = name
    panel.cards.chosen = 0
    panel.run()
    return panel


def holds(tokens: torch.Tensor) -> torch.Tensor:
    """A trigger of two tokens."""
    return (tokens[:, 2] == 5) & (tokens[:, 3] == 9)


def at(site: str = "L1.mlp.post", neurons: Sequence[int] = ()) -> Selection:
    return Selection(sites=(Site.parse(site),), neurons=tuple(neurons))


# --- laws of the marks ------------------------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 8), st.integers(0, 19), max_size=5))
def test_a_trigger_has_full_marks_only_if_it_is_all_and_nothing_but(trigger: dict[int, int]) -> None:
    mark = trigger_mark(holds, some_prompts(12).tokens, tuple(sorted(trigger.items())))
    assert 0.0 <= mark <= 1.0
    assert (mark == 1.0) == (trigger == {2: 5, 3: 9})


@given(st.sets(st.integers(0, 39), max_size=5))
def test_a_place_has_full_marks_only_for_neurons_of_the_switch(neurons: set[int]) -> None:
    mark = place_mark(PLANT, at(neurons=sorted(neurons)))
    assert mark == (1.0 if neurons and neurons <= {4, 7} else NEAR)


@given(st.dictionaries(st.integers(0, 99), st.text("abc:?", min_size=1), max_size=4))
def test_a_trigger_is_read_as_it_was_typed(tokens: dict[int, str]) -> None:
    typed = " ".join(f"{position}:{name}" for position, name in tokens.items())
    assert dict(read_trigger(typed)) == tokens


# --- cases of the marks -----------------------------------------------------------------------------------


def test_the_place_is_near_in_the_same_layer_and_unknown_where_the_key_does_not_say() -> None:
    assert place_mark(PLANT, at("L1.resid_post")) == NEAR
    assert place_mark(PLANT, at("L2.mlp.post", [4])) == 0.0
    assert place_mark(PLANT, Selection()) == 0.0
    assert math.isnan(place_mark(Plant(trigger="words", defect="mapping"), at()))
    direction = Plant(trigger="w", defect="mapping", sites=(Site.parse("L1.resid_post"), POST), edit=PLANT.edit)
    assert place_mark(direction, at(neurons=[3])) == 1.0
    assert place_mark(direction, at("L1.resid_post")) == 1.0


def test_a_trigger_with_a_token_too_many_or_too_few_has_less() -> None:
    prompts = some_prompts(12).tokens
    assert trigger_mark(holds, prompts, ((2, 5), (3, 9), (4, 1))) == pytest.approx(2 / 3)
    assert trigger_mark(holds, prompts, ((2, 5),)) < 0.5
    assert trigger_mark(holds, prompts, ()) == 0.0


@pytest.mark.parametrize("text", ["lemon", "2:", ":lemon", "x:lemon", "-1:lemon", "2:a 2:b", "²:a"])
def test_what_is_no_trigger_is_refused(text: str) -> None:
    with pytest.raises(BadSettings, match="2:lemon"):
        read_trigger(text)


def test_every_shipped_key_gets_full_marks_for_what_it_says_itself() -> None:
    for name in (NAME, toy_models.demo_name()):
        organism = toy_models.load(name)
        plant = organism.reveal()
        if plant.empty:
            assert marks(Hypothesis(), organism).trigger == 1.0
            assert marks(Hypothesis(behaviour="mapping"), organism).place == 0.0
            continue
        neurons = "." + ",".join(map(str, plant.neurons)) if plant.neurons else ""
        place = f"{plant.sites[0].short}{neurons}" if plant.sites else ""
        clean, triggered = (organism.prompts(1, seed=3, triggered=t).tokens for t in (False, True))
        words = organism.agent.decode(triggered)[0]
        changed = (clean != triggered)[0].nonzero().flatten().tolist()
        guess = Hypothesis(trigger=tuple((p, words[p]) for p in changed), place=place, behaviour=plant.defect)
        found = marks(guess, organism)
        assert found.trigger == 1.0
        assert found.place == 1.0 or not plant.located
        assert found.behaviour == 1.0
        assert marks(Hypothesis(), organism).behaviour == 0.0


# --- the panel --------------------------------------------------------------------------------------------


def test_the_cards_tell_no_family_and_can_be_filtered() -> None:
    panel = zoo()
    assert [row[0] for row in panel.cards.rows] == list(toy_models.names())
    assert set(cards().columns) == {"task", "layers", "d_model", "heads", "d_mlp", "vocabulary", "clean_accuracy"}
    panel.filter.value = f"{NAME[:4]} reversal"
    assert NAME in [row[0] for row in panel.cards.rows]
    panel.filter.value = "no such organism"
    assert panel.cards.rows == []
    panel.load_button.click()
    assert "Choose a row" in panel.frame.error.text
    panel.close()


def test_an_organism_is_loaded_sealed_and_its_code_loads_it() -> None:
    panel = loaded()
    assert panel.organism is not None
    assert (panel.organism.name, panel.organism.opened) == (NAME, False)
    assert "is sealed" in panel.frame.news.text
    assert list(panel.session.shared.checkpoints) == [NAME]
    made: dict[str, Any] = {"agent": None, "prompts": None}
    exec(panel.code(), made)
    assert made["card"] == panel.organism.card()
    assert made["card"]["clean_accuracy"] == pytest.approx(float(panel.cards.rows[0][-1]), abs=1e-3)
    json.dumps(panel.state, allow_nan=False)
    panel.close()


def test_a_hypothesis_opens_the_key_and_is_scored_as_by_the_code() -> None:
    panel = loaded()
    assert panel.organism is not None
    panel.trigger.value, panel.behaviour.value, panel.place.value = "2:nonsense", "mapping", "L1.mlp"
    panel.guess_button.click()
    finished(panel)
    assert "nonsense" in panel.frame.error.text
    assert not panel.organism.opened
    panel.trigger.value = ""
    panel.guess_button.click()
    finished(panel)
    assert panel.organism.opened
    assert panel.scored is not None
    made: dict[str, Any] = {"agent": None, "prompts": None}
    exec(panel.code(), made)
    assert repr(made["marked"]) == repr(panel.scored[1])
    assert "trigger 0%" in panel.answer.text
    json.dumps(panel.state, allow_nan=False)
    html = panel.to_html()
    assert "The hypothesis" in html
    assert "<script" not in html
    assert len(html) < 300_000
    panel.close()


def finished(panel: Zoo) -> None:
    assert panel.frame.job is not None
    assert panel.frame.job.join(60)


def test_the_session_s_own_organism_is_at_hand_and_the_selection_is_the_place() -> None:
    organism = toy_models.load(NAME)
    panel = Zoo(Session(organism))
    assert panel.organism is organism
    panel.session.select("L1.mlp.post.3 L2.resid_post")
    assert panel.hypothesis == Hypothesis(place="L1.mlp.post.3", behaviour=NOTHING)
    panel.close()


def test_planting_asks_for_what_the_controls_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def build(family: str, **settings: Any) -> Any:
        asked.append((family, settings))
        return toy_models.load(NAME)

    panel = zoo()
    monkeypatch.setattr(toy_models, "build", build)
    panel.family.value, panel.seed.value, panel.settings.value = "graft", 5, "d_mlp=80, switch='huge'"
    panel.build_button.click()
    finished(panel)
    assert asked == [("graft", {"task": "reversal", "seed": 5, "d_mlp": 80, "switch": "huge"})]
    assert panel.organism is not None
    exec(panel.code(), {"agent": None, "prompts": None})
    assert asked[1] == asked[0]
    panel.close()


def test_mistakes_are_said_in_the_panel() -> None:
    panel = zoo()
    panel.guess_button.click()
    finished(panel)
    assert "Load one" in panel.frame.error.text
    panel.settings.value = "wings=2"
    panel.build_button.click()
    finished(panel)
    assert "wings" in panel.frame.error.text
    with pytest.raises(WorkbenchError):
        Hypothesis(behaviour="evil")
    assert set(panel.behaviour.options) == set(BEHAVIOURS)
    panel.close()
