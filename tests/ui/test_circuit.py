"""The Circuit panel: the wired trigger is recovered, parts can be selected, and the code traces the same."""

import json
import math
from typing import Any

import pytest

from tests.wired import POST, TRIGGER, finding, questions, wired
from workbench.edits import Edit
from workbench.errors import BadSettings, WorkbenchError
from workbench.ui.answers import driven
from workbench.ui.circuit import Circuit
from workbench.ui.session import Session

SEARCH = "starts=4, steps=6, tries=400, pairs=0"


def circuit(search: str = SEARCH) -> Circuit:
    panel = Circuit(Session(wired(), questions()))
    panel.search.value, panel.seed.value = search, 1
    return panel


def traced() -> Circuit:
    panel = circuit()
    panel.session.put(findings=(finding(),))
    panel.run()
    return panel


def test_the_trigger_is_recovered_and_the_code_traces_the_same() -> None:
    panel = traced()
    assert panel.traced is not None
    trace = panel.traced.trace
    assert {(one.position, one.token) for one in trace.trigger} == set(TRIGGER)
    assert "Trigger recovered: 2:5 3:9" in panel.frame.news.text
    names: dict[str, Any] = {"agent": panel.session.agent, "prompts": panel.session.prompts}
    exec(panel.code(), names)
    assert names["trace"].summary() == trace.summary()
    assert panel.traced.drives["changed"].tolist() == pytest.approx(names["changed"].tolist())
    assert [row[1] for row in panel.trigger.rows] == ["5", "9"]
    assert len(panel.parts.rows) == len(trace.upstream)
    json.dumps(panel.state, allow_nan=False)
    panel.close()


def test_a_part_that_is_chosen_is_selected() -> None:
    panel = traced()
    assert panel.traced is not None
    upstream = panel.traced.trace.upstream
    rows = upstream.to_dict("records")  # where weights are zero, no edit has an effect: there is no site
    works = [row for row, part in enumerate(rows) if part["ablation"] > 0.01]
    assert {rows[row]["part"] for row in works} == {"head", "token"}
    for row in works:
        panel.parts.chosen = row
        (site,) = panel.session.shared.selection.sites
        if rows[row]["part"] == "head":
            assert site.layer == rows[row]["layer"]
    assert panel.frame.error.text == ""
    panel.close()


def test_the_current_edit_is_traced_rather_than_the_best_finding() -> None:
    panel = circuit()
    with pytest.raises(BadSettings, match="Run the Surgeon"):
        panel.run()
    panel.run_button.click()
    assert "Run the Surgeon" in panel.frame.error.text
    best, second = finding(), finding(Edit.neuron(POST, 3, 1.0, 40))
    panel.session.put(findings=(best, second))
    assert panel.finding is best
    panel.session.edit(second.edits)
    assert panel.finding is second
    panel.session.edit((Edit.neuron(POST, 5, 1.0, 40),))
    assert panel.finding.surgeon == "by hand"
    panel.close()


@pytest.mark.parametrize("search", ["wings=2", "starts=0", "starts"])
def test_a_search_that_there_is_not_is_refused(search: str) -> None:
    panel = circuit(search)
    panel.session.put(findings=(finding(),))
    with pytest.raises(WorkbenchError, match="expected"):
        panel.run()
    panel.close()


def test_what_is_driven_is_counted_at_each_answer() -> None:
    agent, prompts = wired(), questions()
    frame = driven(agent, prompts, finding().edits)
    assert frame["changed"].tolist() == [1.0, 1.0]
    assert frame["mostly to"].tolist() == ["4", "4"]
    nothing = driven(agent, prompts, (Edit.neuron(POST, 3, 0.0, 40),))
    assert nothing["changed"].tolist() == [0.0, 0.0]
    assert math.isnan(nothing["usual"].tolist()[0])


def test_the_static_view_is_small_and_has_the_trigger() -> None:
    panel = circuit()
    assert "Nothing was traced yet" in panel.to_html()
    panel.close()
    panel = traced()
    html = panel.to_html()
    assert "The trigger, token by token" in html
    assert "<script" not in html
    assert len(html) < 300_000
    panel.close()
