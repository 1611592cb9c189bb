"""What every panel has: errors shown, code on demand, a static view, and nothing left after it is closed."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import pytest
from ipywidgets.widgets.widget import _instances

from tests.drawn import EVIL
from tests.toys import some_prompts, toy
from workbench.errors import BadSettings
from workbench.figures import Text
from workbench.figures.sections import Section
from workbench.ui import cells
from workbench.ui.job import Job
from workbench.ui.panel import Frame, Panel, Shown, still
from workbench.ui.session import Session
from workbench.ui.views import LONGEST, visible


class Counting(Shown):
    """The least panel: it counts to five."""

    def __init__(self, session: Session, says: str = "counted", seconds: float = 0.01) -> None:
        self.frame, self.says, self.seconds, self.count = Frame("Counting", session, self.code), says, seconds, 0
        self.button = widgets.Button(description="Run")
        self.button.on_click(self.frame.handler(lambda _: self.frame.start(self._steps, self._told)))
        self.frame.fill(widgets.HBox([self.button, widgets.IntSlider()]))
        self.frame.watch(lambda name: None, "selection")

    @property
    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def run(self) -> None:
        self.frame.run(self._steps, self._told)

    def code(self) -> str:
        return f"count = {self.count}"

    def sections(self) -> list[Section]:
        return [Text(f"{self.says} {self.count}")]

    def _steps(self) -> Iterator[int]:
        for number in range(1, 6):
            time.sleep(self.seconds)
            yield number
        if self.says == "fail":
            raise BadSettings(f"expected less than five {EVIL}.")

    def _told(self, job: Job) -> None:
        self.count = job.events[-1] if job.events else 0
        self.frame.news.text = f"{self.count} of 5"


def counting(**settings: Any) -> Counting:
    return Counting(Session(toy(), some_prompts()), **settings)


def test_it_is_a_panel_and_runs_without_a_browser() -> None:
    panel = counting()
    assert isinstance(panel, Panel)
    panel.run()
    assert panel.state == {"count": 5}
    assert panel.frame.news.text == "5 of 5"
    panel.close()


def test_a_click_starts_a_job_and_shows_its_error_in_the_panel() -> None:
    panel = counting(says="fail")
    panel.button.click()
    assert panel.frame.job is not None
    assert panel.frame.job.join(5)
    assert panel.frame.error.text.startswith("expected less than five </script>")
    assert panel.frame.error.text.count("\n") == 0
    with pytest.raises(BadSettings):
        panel.run()
    panel.close()


def test_an_error_in_a_handler_is_seen_and_goes_away_with_the_next_success() -> None:
    panel, fails = counting(), [True]

    def handle() -> None:
        if fails[0]:
            raise ZeroDivisionError("by zero")

    handler = panel.frame.handler(handle)
    handler()
    assert panel.frame.error.text == "ZeroDivisionError: by zero"
    fails[0] = False
    handler()
    assert panel.frame.error.text == ""
    panel.close()


def test_news_take_no_error_away_and_old_jobs_tell_none() -> None:
    panel = counting(seconds=0.1)
    panel.button.click()
    first = panel.frame.job
    assert first is not None
    panel.frame.show_error(BadSettings("expected something else."))
    assert first.join(5)
    assert panel.frame.error.text == "expected something else."
    panel.button.click()
    assert panel.frame.error.text == ""
    panel.count = 77
    first._told(first)
    assert panel.count == 77
    panel.close()


def test_code_is_shown_on_demand_and_kept_up_to_date() -> None:
    panel = counting()
    assert panel.frame.code_area.layout.display == "none"
    panel.frame.code_button.value = True
    assert panel.frame.code_area.value == "count = 0"
    panel.run()
    assert panel.frame.code_area.value == "count = 5"
    panel.close()


def left() -> tuple[int, int]:
    return len(_instances), threading.active_count()


def test_twenty_panels_opened_and_closed_leave_nothing() -> None:
    session = Session(toy(), some_prompts())
    Counting(session).close()
    before = left()
    for _ in range(20):
        panel = Counting(session, seconds=0.2)
        panel.button.click()
        panel.close()
        panel.close()
    assert (left(), session.watchers) == (before, 0)


def test_running_a_cell_again_closes_what_its_last_run_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    session, here = Session(toy(), some_prompts()), [("cell 1", "run 1")]
    monkeypatch.setattr(cells, "_here", lambda: here[0])
    monkeypatch.setattr(cells, "_OPEN", {})
    before = left()
    first = [Counting(session), Counting(session)]
    assert session.watchers == 2
    here[0] = ("cell 2", "run 2")
    other = Counting(session)
    assert session.watchers == 3
    last = other
    for run in range(3, 23):
        here[0] = ("cell 1", f"run {run}")
        last = Counting(session)
        assert session.watchers == 2
    assert all(panel.frame.box.comm is None for panel in first)
    assert other.frame.box.comm is not None
    last.close()
    other.close()
    assert left() == before


def test_the_static_view_is_whole_escaped_and_without_script() -> None:
    panel = counting(says=EVIL)
    for html in (panel.to_html(), still(panel)):
        assert "<script" not in html
        assert "<img" not in html
        assert len(html) < 300_000
    data = panel._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    panel.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("\x00\n\t", "\u2400\u240a\u2409"),
        ("\u202eabc\u200b", "[U+202E]abc[U+200B]"),
        ("\ud800", "[U+D800]"),
        ("x" * 10_000, "x" * LONGEST + "\u2026 (10000 characters)"),
    ],
)
def test_hostile_text_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
