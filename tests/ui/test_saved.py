"""Saved notebooks hold what was found last, also where it was found by a click after the cell had ended."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import workbench as wb
from tests.toys import some_prompts, toy
workbench = wb.Workbench(toy(), some_prompts(12))
workbench
"""
CLICK = "workbench.heatmap.draw_button.click()\nworkbench.heatmap.frame.job.join(60)"


@pytest.mark.story
@pytest.mark.filterwarnings("ignore")  # the kernel is another process; what its client warns of is not ours
def test_what_a_click_found_is_in_the_saved_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (SHOW, CLICK, "1")])
    NotebookClient(notebook, timeout=300, store_widget_state=False).execute()
    views = [o["data"]["text/html"] for o in notebook.cells[0]["outputs"] if "text/html" in o["data"]]
    (heatmap,) = [view for view in views if "<h2>Heatmap</h2>" in view]
    assert "data:image/png" in heatmap
    assert "Nothing is drawn yet" not in heatmap
    page = HTMLExporter().from_notebook_node(notebook)[0]
    assert "heatmap of the loss over" in page
    assert page.count("<h2>Heatmap</h2>") == 1
