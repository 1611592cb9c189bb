"""The Surgeon panel: live findings, Stop keeps them, the code finds the same, a finding chosen is an edit loaded."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.toys import boot, some_prompts, toy
from tests.wired import LETTER, POST, questions, wired
from workbench.errors import BadSettings, WorkbenchError
from workbench.figures import verdict
from workbench.report import SwitchReport
from workbench.ui.session import Session
from workbench.ui.surgeon import Surgeon
from workbench.ui.surgeon_asked import SEARCHES, SELECTED, TOKEN


def surgeon(**asked: Any) -> Surgeon:
    """A panel on an Agent whose switch is neuron 7, that sweeps the neurons around it."""
    panel = Surgeon(Session(wired(), questions()))
    panel.session.select(POST)
    for name, value in {"search": "NeuronSweep", "where": SELECTED, **asked}.items():
        getattr(panel.asked, name).value = value
    return panel


def twin(panel: Surgeon) -> SwitchReport:
    """The report that the panel's code makes."""
    names: dict[str, Any] = {"agent": panel.session.agent, "prompts": panel.session.prompts}
    exec(panel.code(), names)
    return names["report"]


def test_the_code_finds_what_is_on_screen() -> None:
    panel = surgeon(goal="any wrong answer")
    panel.run()
    report = twin(panel)
    assert panel.session.shared.findings == report.findings
    assert panel.frame.news.text.startswith(verdict(report).headline)
    assert panel.findings.rows[0][1] == report.best.site.short
    assert panel.findings.rows[0][4] == f"{report.best.score:.2f}"
    json.dumps(panel.state, allow_nan=False)
    panel.close()


def test_stop_keeps_what_was_found_and_the_code_finds_the_same() -> None:
    panel = surgeon(search="the usual three", where="where each search looks best")
    panel.run_button.click()
    until = time.monotonic() + 60
    while not panel.session.shared.findings and time.monotonic() < until:
        time.sleep(0.05)
    began = time.monotonic()
    panel.stop_button.click()
    assert time.monotonic() - began < 0.6
    assert panel.frame.job is not None
    assert panel.frame.job.status == "stopped"
    assert panel.session.shared.findings
    assert "Stopped" in panel.frame.news.text
    assert f"islice(events, {len(panel.frame.job.events)})" in panel.code()
    assert twin(panel).findings == panel.session.shared.findings
    panel.close()


def test_a_report_is_saved_and_opened_and_its_edits_tried_elsewhere(tmp_path: Path) -> None:
    panel, path = surgeon(goal="any wrong answer"), str(tmp_path / "mine.report")
    panel.path.value = path
    panel.save_button.click()
    assert "expected findings to save" in panel.frame.error.text
    panel.run()
    panel.save_button.click()
    panel.save_button.click()  # a report may be replaced
    assert (panel.frame.news.text, panel.frame.error.text) == (f"Saved as {path}.", "")
    other = Surgeon(Session(wired(), questions()))
    other.path.value = path
    other.open_button.click()
    assert other.session.shared.findings == panel.session.shared.findings == twin(other).findings
    assert path in other.frame.news.text
    other.findings.chosen = 0
    assert other.session.edits == panel.report.best.edits
    assert "Findings" in other.to_html()
    for each in (panel, other):
        each.close()


def test_what_is_no_report_is_neither_opened_nor_replaced(tmp_path: Path) -> None:
    panel, file = surgeon(goal="any wrong answer"), tmp_path / "thesis.tex"
    file.write_text("years of work")
    panel.run()
    for path, told in ((str(file), "something else"), ("", "the name of a file")):
        with pytest.raises(BadSettings, match=told):
            panel.save(path)
    assert file.read_text() == "years of work"
    found = panel.report
    for path in (str(file), str(tmp_path / "none"), ""):
        with pytest.raises(WorkbenchError):
            panel.open(path)
    assert panel.report is found
    narrow = Surgeon(Session(boot(n_layers=1), some_prompts(40)))
    panel.save(str(tmp_path / "other.report"))
    with pytest.raises(WorkbenchError):
        narrow.open(str(tmp_path / "other.report"))
    for each in (panel, narrow):
        each.close()


def test_a_finding_that_is_chosen_becomes_the_edit_and_shows_what_it_elicits() -> None:
    panel = surgeon(goal=TOKEN, token=str(LETTER))
    panel.session.agent.vocabulary = None
    with pytest.raises(Exception, match="neither token names nor a tokenizer"):
        panel.run()
    panel.asked.goal.value = "any wrong answer"
    panel.run()
    panel.findings.chosen = 0
    (finding, *_) = panel.session.shared.findings
    assert panel.session.edits == finding.edits
    assert panel.session.shared.selection.neurons == finding.neurons
    assert len(panel.answers.rows) == len(finding.portrait.examples)
    assert panel.curve.series[0]["y"] == list(finding.portrait.flipped)
    assert f"score {finding.score:.2f}" in panel.about.text
    panel.close()


def test_the_budget_is_what_the_controls_say() -> None:
    panel = surgeon(ball="L1 ball", radius=1.5, neurons=3, spared=1)
    assert "wb.L1Ball(radius=1.5) & wb.Sparse(neurons=3) & wb.NotLastLayers()" in panel.asked.call().code()
    panel.close()


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_can_be_asked_for(search: str) -> None:
    panel = surgeon(search=search)
    assert f"wb.{search}(" in panel.asked.call().code()
    panel.close()


def test_selected_sites_must_be_selected() -> None:
    panel = Surgeon(Session(toy(), some_prompts(40)))
    panel.asked.where.value = SELECTED
    with pytest.raises(BadSettings, match="Picker"):
        panel.run()
    panel.run_button.click()
    assert "at least one selected site" in panel.frame.error.text
    panel.close()


def test_the_static_view_shows_the_verdict_and_the_answers() -> None:
    panel = surgeon(goal="any wrong answer")
    assert "Nothing was found yet" in panel.to_html()
    panel.run()
    html = panel.to_html()
    assert verdict(twin(panel)).headline in html
    assert "Answers, without and with the edit" in html
    assert "<script" not in html
    assert len(html) < 300_000
    panel.close()
