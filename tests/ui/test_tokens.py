"""The tokens panel: one prompt token by token, the same numbers in code, and a bundle that is sent when asked for."""

import json
from typing import Any

import numpy as np
import pytest

from tests.toys import some_prompts, toy
from workbench.ui.circuits import bundle
from workbench.ui.session import Session
from workbench.ui.tokens import Tokens


@pytest.fixture
def tokens():
    panel = Tokens(Session(toy(), some_prompts(12)))
    yield panel
    panel.close()


@pytest.mark.parametrize("place", ["L2.mlp.3", "L0.resid_post"])
def test_the_code_gives_the_numbers_on_screen(tokens: Tokens, place: str) -> None:
    tokens.session.select(place)
    tokens.prompt.value = 5
    tokens.run()
    names: dict[str, Any] = {"agent": tokens.session.agent, "prompts": tokens.session.prompts}
    exec(tokens.code(), names)
    np.testing.assert_allclose(tokens.values.props["values"], names["values"].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tokens.heads.props["attention"], names["patterns"][0][0].numpy(), atol=1e-6)
    json.dumps([tokens.state, tokens.heads.props, tokens.values.props], allow_nan=False)


def test_it_follows_the_selection_once_something_is_shown(tokens: Tokens) -> None:
    tokens.session.select("L1.mlp.3")
    assert tokens.seen is None
    tokens.run()
    tokens.session.select("L1.mlp.4")
    assert tokens.frame.job is not None
    assert tokens.frame.job.join(20)
    assert tokens.state["shown"]["of"] == "L1.mlp.post neuron 4"


def test_the_bundle_is_sent_when_it_is_asked_for(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[dict, list[bytes]]] = []
    monkeypatch.setattr(tokens.values, "send", lambda message, buffers: sent.append((message, buffers)))
    tokens.values._handle_custom_msg({"kind": "bundle"}, [])
    tokens.values._handle_custom_msg({"kind": "else"}, [])
    assert [(message, len(buffers[0])) for message, buffers in sent] == [({"kind": "bundle"}, len(bundle()))]
    assert b"CircuitsVis" in bundle()[:200]


def test_the_static_view_has_values_and_where_heads_look(tokens: Tokens) -> None:
    assert "Nothing is shown yet" in tokens.to_html()
    tokens.run()
    html = tokens.to_html()
    assert "L1H0" in html
    assert "<script" not in html
